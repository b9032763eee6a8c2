//! The contract about the process.

#[cfg(feature = "asan")]
use core::ffi::{CStr, c_void};

/// The process: its number, its forks, its end, and the symbols in it.
pub(crate) trait Process {
    /// The number of this process. It is above 0, unless a sandbox refuses to tell it. A child made
    /// by `vfork` has its parent's memory and another number.
    fn process_number() -> i32;

    /// From now on `fork` calls `prepare` in the thread that forks, and afterwards `parent` and
    /// `child` in the two processes. Functions that are registered later run earlier in `prepare`,
    /// and later afterwards. Where the C library has no room to note the functions, they are not
    /// called: the caller is not told.
    fn at_fork(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn());

    /// Whether no thread but this one, and no other process, uses the memory of this process;
    /// `false` where that is not known. A thread that is about to end is waited for, up to a tenth
    /// of a second. Allocates nothing.
    fn is_alone() -> bool;

    /// Whether the process exits, and the system has ended all threads but this one already,
    /// wherever they were: locks that they held are never released. Only Windows does that.
    fn has_ended_threads() -> bool;

    /// Writes what the streams of the C library have not written yet. Streams of the program's own
    /// run its code.
    fn flush_streams();

    /// The address of a symbol of the program or of a library that it has loaded; null if there is
    /// none.
    #[cfg(feature = "asan")]
    fn find_symbol(name: &CStr) -> *mut c_void;

    /// Has the linker include what keeps the object that holds this library loaded, also when the
    /// program closes it. No code runs.
    fn keep_loaded();
}
