//! The version of the library and of its ABI.

use core::ffi::c_char;

/// Version of the exported interface. The shared library's SONAME ends in it.
pub const BITCOIN_SUPPORT_ABI: u32 = 1;
/// Version of the library that these declarations belong to.
pub const BITCOIN_SUPPORT_VERSION_MAJOR: u32 = 0;
/// See BITCOIN_SUPPORT_VERSION_MAJOR.
pub const BITCOIN_SUPPORT_VERSION_MINOR: u32 = 1;
/// See BITCOIN_SUPPORT_VERSION_MAJOR.
pub const BITCOIN_SUPPORT_VERSION_PATCH: u32 = 0;
/// The version as one number, to be compared with: 1000000 times MAJOR, plus 1000 times MINOR, plus
/// PATCH.
pub const BITCOIN_SUPPORT_VERSION_NUMBER: u32 = 1000;

const fn parse(digits: &str) -> u32 {
    match u32::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("not a number"),
    }
}

/// Version of the library in use, such as "0.1.0". The text must not be freed.
/// cbindgen:postfix=BITCOIN_SUPPORT_NEVER_NULL
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_version() -> *const c_char {
    const {
        assert!(BITCOIN_SUPPORT_VERSION_MAJOR == parse(env!("CARGO_PKG_VERSION_MAJOR")));
        assert!(BITCOIN_SUPPORT_VERSION_MINOR == parse(env!("CARGO_PKG_VERSION_MINOR")));
        assert!(BITCOIN_SUPPORT_VERSION_PATCH == parse(env!("CARGO_PKG_VERSION_PATCH")));
        assert!(BITCOIN_SUPPORT_ABI == parse(env!("BITCOIN_SUPPORT_ABI")));
    }
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// BITCOIN_SUPPORT_VERSION_NUMBER of the library in use.
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_version_number() -> u32 {
    const {
        assert!(
            BITCOIN_SUPPORT_VERSION_NUMBER
                == BITCOIN_SUPPORT_VERSION_MAJOR * 1_000_000
                    + BITCOIN_SUPPORT_VERSION_MINOR * 1_000
                    + BITCOIN_SUPPORT_VERSION_PATCH
        );
    }
    BITCOIN_SUPPORT_VERSION_NUMBER
}

/// BITCOIN_SUPPORT_ABI of the library in use.
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_abi() -> u32 {
    BITCOIN_SUPPORT_ABI
}
