//! Functions that the dynamic linker calls: pointers to them lie in sections that it knows.

/// Declares a static whose function runs when the library is loaded: at the start of the program,
/// or in `dlopen`.
///
/// The dynamic linker has relocated the library by then, and calls the function once, on one
/// thread. A linker that takes from an archive only what the program refers to leaves the static
/// out, unless code that the program uses refers to it.
macro_rules! at_load {
    ($(#[$attribute:meta])* $visibility:vis static $name:ident = $function:path;) => {
        $(#[$attribute])*
        #[used]
        #[cfg_attr(
            not(any(target_vendor = "apple", windows)),
            unsafe(link_section = ".init_array")
        )]
        // The C runtime goes through these in the order of the sections' names. Those of the
        // program end with a U.
        #[cfg_attr(windows, unsafe(link_section = ".CRT$XCT"))]
        #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
        $visibility static $name: extern "C" fn() = $function;
    };
}

/// Declares a static whose function runs when the process exits by `exit` or by a return from
/// `main`, after the program's exit handlers and the destructors of its static objects. As for
/// [`at_load`], code must refer to it.
#[cfg(not(windows))]
macro_rules! at_exit {
    ($(#[$attribute:meta])* $visibility:vis static $name:ident = $function:path;) => {
        $(#[$attribute])*
        // The number in the section's name puts the function behind those of the program.
        #[used]
        #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".fini_array.00000"))]
        #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_term_func"))]
        $visibility static $name: extern "C" fn() = $function;
    };
}

/// As on other systems, but after the system has ended all other threads: it calls the callbacks
/// for thread-local variables then. `std`'s, by which these variables are destroyed, is in a
/// section whose name is earlier.
#[cfg(windows)]
macro_rules! at_exit {
    ($(#[$attribute:meta])* $visibility:vis static $name:ident = $function:path;) => {
        $(#[$attribute])*
        #[used]
        #[unsafe(link_section = ".CRT$XLY")]
        $visibility static $name: extern "system" fn(
            *mut core::ffi::c_void,
            u32,
            *mut core::ffi::c_void,
        ) = {
            extern "system" fn at_event(
                _: *mut core::ffi::c_void,
                event: u32,
                _: *mut core::ffi::c_void,
            ) {
                const DLL_PROCESS_DETACH: u32 = 0;
                if event == DLL_PROCESS_DETACH {
                    $function();
                }
            }
            at_event
        };
    };
}

pub(crate) use {at_exit, at_load};
