//! A signal handler that has interrupted this library's work on a pool and uses the same pool.

/// Ends a call that has no way to fail, made by such a signal handler: to wait for the mutex would
/// be to wait for the thread's own interrupted work.
#[cold]
#[track_caller]
pub(crate) fn refuse_interrupted() -> ! {
    panic!("LockedPool: a signal handler uses a pool that the same thread is at work on")
}
