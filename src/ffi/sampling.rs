//! Sampling of allocations, which finds overruns; and what a faulting address was.

use super::sized::fill;
use super::status::{
    BITCOIN_SUPPORT_NOT_IN_POOL, BITCOIN_SUPPORT_NULL_ARGUMENT, BITCOIN_SUPPORT_OK,
    BITCOIN_SUPPORT_OUT_OF_MEMORY, bitcoin_support_status,
};
use crate::pool::{AddressReport, LockedPoolManager};
use core::ffi::{c_char, c_void};
use core::fmt::{self, Write};
use core::mem::offset_of;
use core::num::NonZeroU32;
use core::ptr;

/// Finds overruns. From this call on, about one in `one_in` allocations from the process-wide pool,
/// chosen at random, is a sample: it gets separate pages, and lies at their end or at their
/// beginning, next to a guard page. When it is freed, its pages become inaccessible for a while. So
/// an access behind the chunk, in front of it, or after its free is a SIGSEGV at that very
/// instruction. The library does not catch the signal; bitcoin_support_describe_address explains
/// the address. Up to 15 bytes between the chunk and the end of its pages are compared when it is
/// freed: see BITCOIN_SUPPORT_OVERRUN.
///
/// `one_in` = 1 finds every such bug, in development and tests. For production, choose thousands. 0
/// stops sampling. A process starts without it, and only this function (or its counterpart in Rust)
/// changes that. At most `max_locked` bytes are locked for samples at once, a page for each small
/// chunk in use, and no more than half of what the process may lock. Where none are left, an
/// allocation is served as usual. In the statistics, a sample counts as an arena while it is in
/// use.
///
/// Returns: BITCOIN_SUPPORT_OK, or _OUT_OF_MEMORY (there is no address space for samples).
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_locked_pool_sample(
    one_in: u32,
    max_locked: usize,
) -> bitcoin_support_status {
    match LockedPoolManager::instance().sample_one_in(NonZeroU32::new(one_in), max_locked) {
        Ok(()) => BITCOIN_SUPPORT_OK,
        Err(_) => BITCOIN_SUPPORT_OUT_OF_MEMORY,
    }
}

/// An address in a sampled chunk, used or freed, or in the guard pages around it. Later versions
/// append members.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bitcoin_support_address_report {
    /// The chunk.
    pub chunk: *mut c_void,
    /// Number of bytes that the program asked for.
    pub size: usize,
    /// The address minus the chunk's: below 0 in front of the chunk, `size` or more behind it.
    pub offset: isize,
    /// The operating system's number of the thread that allocated the chunk (0: unknown).
    pub allocated_by: u64,
    /// The same for the thread that freed it (0: unknown, or not freed).
    pub freed_by: u64,
    /// Whether the chunk has been freed.
    pub freed: bool,
    /// All of this in a sentence, such as "0 bytes after a chunk of 32 bytes, allocated by thread
    /// 4711, freed by thread 4712".
    pub text: [c_char; 191],
}

/// Length of the text. It is chosen so that no padding follows: a member that a later version put
/// there would not change the size, by which the library knows what a caller has room for.
const TEXT: usize = 191;
const _: () = assert!(
    offset_of!(bitcoin_support_address_report, text) + TEXT
        == size_of::<bitcoin_support_address_report>()
);

impl From<AddressReport> for bitcoin_support_address_report {
    fn from(report: AddressReport) -> Self {
        let mut text = Text { bytes: [0; TEXT], len: 0 };
        // It fits: the longest report has 141 characters.
        let _ = write!(text, "{report}");
        Self {
            chunk: ptr::with_exposed_provenance_mut(report.chunk),
            size: report.size,
            offset: report.offset,
            allocated_by: report.allocated_by.into(),
            freed_by: report.freed_by.unwrap_or(0).into(),
            freed: report.freed_by.is_some(),
            text: text.bytes,
        }
    }
}

/// A C string being written. All bytes from `len` on are zeros, the last byte always.
struct Text {
    bytes: [c_char; TEXT],
    len: usize,
}

impl Write for Text {
    fn write_str(&mut self, string: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..TEXT - 1];
        if string.len() > room.len() {
            return Err(fmt::Error);
        }
        for (place, byte) in room.iter_mut().zip(string.bytes()) {
            *place = byte as c_char;
        }
        self.len += string.len();
        Ok(())
    }
}

/// Explains an address that lies in a sampled chunk (see bitcoin_support_locked_pool_sample), used
/// or freed, in a closed secret (see bitcoin_support_closed_alloc), or in the guard pages around
/// one of them. Of a closed secret, `chunk`, `size` and `offset` are set, and `text`, which says
/// whether it is open; the threads are not known. If several chunks have been at that place, the
/// report is about the last one. May be called in a signal handler: it takes no lock and allocates
/// nothing. The report is right unless the chunk is being allocated or freed at the same moment.
///
/// `size` is sizeof(bitcoin_support_address_report), which tells the library what members the
/// caller knows. Members that the library does not know become zeros.
///
/// Out: `*report`.
/// Returns: BITCOIN_SUPPORT_OK, _NOT_IN_POOL (the address lies in neither) or _NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_describe_address(
    address: *const c_void,
    report: *mut bitcoin_support_address_report,
    size: usize,
) -> bitcoin_support_status {
    if report.is_null() {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    }
    match LockedPoolManager::describe_address(address.cast()) {
        // SAFETY: `report` is not null, and the caller promises that it is valid for `size` bytes.
        Some(answer) => unsafe { fill(report, size, &answer.into()) },
        None => return BITCOIN_SUPPORT_NOT_IN_POOL,
    }
    BITCOIN_SUPPORT_OK
}
