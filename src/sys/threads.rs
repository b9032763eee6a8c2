//! The contract about threads.

use core::sync::atomic::AtomicU32;

/// Threads of this process: which one this is, and how they wait for each other.
pub(crate) trait Threads {
    /// The calling thread, as a number other than 0. Two threads that exist at the same time have
    /// different numbers, and a child of `fork` has its parent's. No system call.
    fn this_thread() -> usize;

    /// The number by which the system's tools know the calling thread; 0 where it has none, or does
    /// not tell.
    fn thread_number() -> u32;

    /// The calling thread's word, which is 0 until the thread sets it. A few instructions, also in
    /// a shared library; it can be used however late in a thread's life.
    fn thread_word() -> usize;

    /// Sets the calling thread's word.
    ///
    /// # Safety
    /// The word has one user in this library (`thread_heap`), which relies on the values that it
    /// has set. No other module may set it.
    unsafe fn set_thread_word(word: usize);

    /// Calls a function during which no signal handler interrupts the calling thread. A fault in
    /// the function ends the process, and so does a system call that a sandbox answers by a signal.
    /// The function must not panic.
    fn without_signals<R>(function: impl FnOnce() -> R) -> R;

    /// [`without_signals`](Self::without_signals), but for SIGSYS, by which a sandbox may answer a
    /// system call of the function.
    fn without_signals_but_sigsys<R>(function: impl FnOnce() -> R) -> R;

    /// Sleeps for so many nanoseconds, less than a second; or for less time.
    fn sleep(nanoseconds: u32);

    /// Sleeps until [`wake_one`](Self::wake_one) is called for the word. Returns at once if the
    /// word does not have this value, and may return at any time for no reason.
    fn wait_while(word: &AtomicU32, value: u32);

    /// Wakes one thread that sleeps in [`wait_while`](Self::wait_while). The word must have changed
    /// before.
    fn wake_one(word: &AtomicU32);

    /// Whether [`barrier_everywhere`](Self::barrier_everywhere) will work, unless a sandbox forbids
    /// it later. To be called before it, and again in a child of `fork`.
    fn register_barrier() -> bool;

    /// Makes the processors of all threads of this process pass a memory barrier. `false` if the
    /// system refuses, as it may from one call to the next where a sandbox (a seccomp filter) is
    /// set up late.
    fn barrier_everywhere() -> bool;
}
