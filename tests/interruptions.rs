//! Interruptions of a thread that works on a pool: callbacks and signal handlers that use the pool,
//! cancellation (`pthread_cancel`), and a sandbox that takes `membarrier` away. No thread waits for
//! itself, and no lock stays held. Each observation has its control.

#![cfg(target_os = "linux")]

mod common;

use bitcoin_support::{
    FreeError, LockedAllocation, LockedPageAllocator, LockedPages, LockedPool, LockedPoolManager,
    PosixLockedPageAllocator, SecureBox, SecureString, SecureVec, page_size,
};
use common::{
    alone, give_up_after, in_child, limit_locked_memory, locked_by_kernel, refuse_everywhere,
};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

fn pool() -> &'static LockedPoolManager {
    LockedPoolManager::instance()
}

/// The process-wide pool, or a private one.
enum Pool {
    Process,
    Own(Arc<LockedPool>),
}

impl Pool {
    fn both() -> [fn() -> Self; 2] {
        [|| Self::Process, || Self::Own(Arc::new(LockedPool::default()))]
    }

    fn same(&self) -> Self {
        match self {
            Self::Process => Self::Process,
            Self::Own(pool) => Self::Own(pool.clone()),
        }
    }

    fn alloc(&self, size: usize) -> Option<NonNull<u8>> {
        match self {
            Self::Process => pool().alloc(size, 16),
            Self::Own(pool) => pool.alloc(size, 16),
        }
    }

    fn free(&self, chunk: NonNull<u8>) -> Result<(), FreeError> {
        // SAFETY: no test uses a chunk afterwards.
        unsafe {
            match self {
                Self::Process => pool().free(chunk.as_ptr()),
                Self::Own(pool) => pool.free(chunk.as_ptr()),
            }
        }
    }

    fn stats(&self) -> bitcoin_support::PoolStats {
        match self {
            Self::Process => pool().stats(),
            Self::Own(pool) => pool.stats(),
        }
    }

    fn set_locking_failed(&self, callback: Option<bitcoin_support::LockingFailed>) {
        match self {
            Self::Process => pool().set_locking_failed(callback),
            Self::Own(pool) => pool.set_locking_failed(callback),
        }
    }

    fn walk(&self, visit: impl FnMut(usize, usize, bool)) {
        match self {
            Self::Process => pool().walk(visit),
            Self::Own(pool) => pool.walk(visit),
        }
    }
}

// ---- Callbacks ------------------------------------------------------------------

/// In the callback, the statistics are exact, and free memory can be allocated and freed. An
/// allocation that would need the callback's consent fails at once. The callback can set another
/// callback, which is called next.
#[test]
fn the_callback_may_use_the_pool() {
    fn uses_it(pool: Pool) {
        let kept = pool.alloc(100_000).unwrap();
        let addr = kept.as_ptr().expose_provenance();
        let asked = Arc::new(AtomicUsize::new(0));
        let (inner, count) = (pool.same(), asked.clone());
        pool.set_locking_failed(Some(Box::new(move |error| {
            count.fetch_add(1, Ordering::Relaxed);
            assert_eq!(error.limit, 256 * 1024);
            let stats = inner.stats();
            assert_eq!((stats.locked, stats.total), (256 * 1024, 256 * 1024));
            assert_eq!(stats.locked, locked_by_kernel());
            assert_eq!((stats.chunks_used, stats.lock_failures), (1, 1));
            let small = inner.alloc(3000).expect("room");
            assert_eq!(inner.alloc(200_000), None, "there is no other callback to ask");
            assert_eq!(inner.free(small), Ok(()));
            inner.walk(|_, size, used| assert!(!used || size >= 100_000));
            let chunk = NonNull::new(std::ptr::with_exposed_provenance_mut(addr)).unwrap();
            assert_eq!(inner.free(chunk), Ok(()));
            let later = count.clone();
            inner.set_locking_failed(Some(Box::new(move |_| {
                later.fetch_add(100, Ordering::Relaxed);
                false
            })));
            true
        })));
        // All memory is free when the allocation is tried again.
        let chunk =
            pool.alloc(256 * 1024).expect("what the callback has freed, or unlocked memory");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert_eq!(pool.stats().chunks_used, 1);
        let second = pool.alloc(256 * 1024);
        assert!(second.is_none() && asked.load(Ordering::Relaxed) == 101);
        pool.set_locking_failed(None);
        assert!(pool.alloc(256 * 1024).is_some());
        assert_eq!(pool.free(chunk), Ok(()));
    }
    alone("the_callback_may_use_the_pool", || {
        give_up_after(60);
        limit_locked_memory(256 * 1024, 256 * 1024);
        for pool in Pool::both() {
            in_child(|| uses_it(pool()));
        }
    });
}

/// Control: a callback waits for a lock that its caller holds. The child does not end before its
/// alarm, so the test notices.
#[test]
fn control_what_waits_for_itself_is_noticed() {
    alone("control_what_waits_for_itself_is_noticed", || {
        let held = std::sync::Mutex::new(());
        // SAFETY: the child takes a lock, and is ended by its alarm.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            give_up_after(1);
            let _guard = held.lock();
            let callback = || drop(held.lock());
            callback();
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        // SAFETY: `status` is a valid place for the answer.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGALRM, "{status}");
    });
}

/// A panic in the callback reaches the code that allocates, and leaves the pool usable.
#[test]
fn the_callback_may_panic() {
    alone("the_callback_may_panic", || {
        give_up_after(60);
        limit_locked_memory(0, 0);
        for pool in Pool::both() {
            let pool = pool();
            pool.set_locking_failed(Some(Box::new(|_| panic!("no"))));
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.alloc(32)));
            assert!(outcome.is_err());
            pool.set_locking_failed(None);
            assert!(pool.alloc(32).is_some());
            assert_eq!(pool.stats().chunks_used, 1);
        }
    });
}

/// Two threads that need consent at the same time ask one after the other.
#[test]
fn the_callback_is_in_one_thread_at_a_time() {
    alone("the_callback_is_in_one_thread_at_a_time", || {
        give_up_after(60);
        limit_locked_memory(0, 0);
        for pool in Pool::both() {
            let pool = pool();
            let within = Arc::new(AtomicBool::new(false));
            let inner = within.clone();
            pool.set_locking_failed(Some(Box::new(move |_| {
                assert!(!inner.swap(true, Ordering::SeqCst));
                std::thread::yield_now();
                assert!(inner.swap(false, Ordering::SeqCst));
                false
            })));
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    let pool = pool.same();
                    scope.spawn(move || (0..50).for_each(|_| assert_eq!(pool.alloc(100), None)));
                }
            });
        }
    });
}

/// A visitor may allocate, free, and read the statistics. It sees the chunks of one moment.
#[test]
fn a_visitor_may_use_the_pool() {
    alone("a_visitor_may_use_the_pool", || {
        give_up_after(60);
        for pool in Pool::both() {
            let pool = pool();
            let mut chunks: Vec<_> = (1..50).map(|i| pool.alloc(i * 100).unwrap()).collect();
            let before = pool.stats();
            let mut seen = (0, 0);
            pool.walk(|_, size, used| {
                seen = (seen.0 + usize::from(used), seen.1 + if used { size } else { 0 });
                chunks.extend(pool.alloc(6000));
                assert_eq!(pool.free(chunks.remove(0)), Ok(()));
                assert_eq!(pool.stats().chunks_used, chunks.len());
            });
            assert_eq!(seen, (before.chunks_used, before.used));
            chunks.into_iter().for_each(|chunk| assert_eq!(pool.free(chunk), Ok(())));
            assert_eq!(pool.stats().used, 0);
        }
    });
}

/// A page allocator may use other pools and read the statistics of its pool. A request for more
/// pages from within it is refused at once.
#[test]
fn a_page_allocator_may_use_pools() {
    struct Curious(Arc<Mutex<Option<Arc<LockedPool>>>>);
    impl LockedPageAllocator for Curious {
        fn allocate_locked(&mut self, len: usize) -> Option<LockedAllocation> {
            let own = self.0.lock().unwrap().clone();
            if let Some(own) = own {
                let stats = own.stats();
                assert_eq!(stats.used + stats.free, stats.total);
                assert_eq!(own.alloc(LockedPool::ARENA_SIZE, 16), None);
                drop(SecureString::from("on the way"));
            }
            PosixLockedPageAllocator.allocate_locked(len)
        }
        unsafe fn free_locked(&mut self, addr: NonNull<u8>, len: usize) {
            // SAFETY: the caller passes a range that `allocate_locked` of the same allocator
            // returned.
            unsafe { PosixLockedPageAllocator.free_locked(addr, len) };
        }
        fn limit(&self) -> usize {
            usize::MAX
        }
    }
    alone("a_page_allocator_may_use_pools", || {
        give_up_after(60);
        let place = Arc::new(Mutex::new(None));
        let pool = Arc::new(LockedPool::with_page_allocator(Box::new(Curious(place.clone()))));
        *place.lock().unwrap() = Some(pool.clone());
        for arenas in 1..5 {
            assert!(pool.alloc(LockedPool::ARENA_SIZE, 16).is_some());
            assert_eq!(pool.stats().arenas, arenas);
        }
        // Two threads that need pages at once.
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| assert!(pool.alloc(LockedPool::ARENA_SIZE / 2, 16).is_some()));
            }
        });
        assert_eq!(pool.stats().arenas, 5);
        *place.lock().unwrap() = None;
    });
}

// ---- Signal handlers ------------------------------------------------------------

#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod signals {
    use super::*;
    use bitcoin_support::ClosedBox;

    static CHUNK: AtomicUsize = AtomicUsize::new(0);
    static OWN: Mutex<Option<Arc<LockedPool>>> = Mutex::new(None);
    /// The result of the allocation plus 1; 0 if the handler was not called.
    static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
    static FREED: AtomicUsize = AtomicUsize::new(0);

    /// The work of the handler. It uses a static pool, as programs do.
    static WORK: Mutex<Option<fn()>> = Mutex::new(None);

    /// Replaces a system call that a sandbox traps while the thread is in the pool. The call
    /// returns as if the system did not know it.
    extern "C" fn on_trap(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
        let work = WORK.lock().unwrap().take();
        if let Some(work) = work {
            work();
        }
        // SAFETY: the kernel passes the interrupted thread's registers.
        unsafe {
            let context = &mut *context.cast::<libc::ucontext_t>();
            context.uc_mcontext.gregs[libc::REG_RAX as usize] = -i64::from(libc::ENOSYS);
        }
    }

    fn trap(call: libc::c_long) {
        // SAFETY: the handler is a function of this program, with the arguments that the flag
        // demands.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_trap as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            assert_eq!(libc::sigaction(libc::SIGSYS, &action, null_mut()), 0);
        }
        common::trap(call);
    }

    fn chunk() -> NonNull<u8> {
        let addr = CHUNK.load(Ordering::Relaxed);
        NonNull::new(std::ptr::with_exposed_provenance_mut(addr)).unwrap()
    }

    fn note(allocated: Option<NonNull<u8>>, freed: Result<(), FreeError>) {
        ALLOCATED.store(1 + usize::from(allocated.is_some()), Ordering::Relaxed);
        FREED.store(1 + usize::from(freed != Err(FreeError::Interrupted)), Ordering::Relaxed);
    }

    /// A sandbox may answer by a signal what this library calls in a child to lock its memory
    /// there.
    #[test]
    fn a_sandbox_may_send_a_signal_in_a_child() {
        alone("signals::a_sandbox_may_send_a_signal_in_a_child", || {
            // The first mapping, and so the first that is locked in the child.
            let closed = ClosedBox::<[u8; 32]>::new_with(|secret| *secret = [7; 32]).unwrap();
            let kept = Pool::Process.alloc(5000).unwrap();
            trap(libc::SYS_mlock2);
            static TRAPS: AtomicUsize = AtomicUsize::new(0);
            *WORK.lock().unwrap() = Some(|| _ = TRAPS.fetch_add(1, Ordering::Relaxed));
            in_child(|| {
                assert_eq!(TRAPS.load(Ordering::Relaxed), 1);
                assert_eq!(*closed.open().unwrap().expose_secret(), [7; 32]);
                assert_eq!(Pool::Process.free(kept), Ok(()));
            });
        });
    }

    /// A handler that interrupts this library while it holds its mutex cannot allocate or free
    /// there, and learns that at once. The control: where it interrupts other code it can.
    #[test]
    fn a_handler_that_interrupts_the_pool_is_refused() {
        alone("signals::a_handler_that_interrupts_the_pool_is_refused", || {
            give_up_after(60);
            let uses: [fn(); 2] = [
                || note(Pool::Process.alloc(5000), Pool::Process.free(chunk())),
                || {
                    let own = Pool::Own(OWN.lock().unwrap().clone().unwrap());
                    note(own.alloc(5000), own.free(chunk()));
                },
            ];
            for (make, work) in Pool::both().into_iter().zip(uses) {
                for interrupts_pool in [true, false] {
                    in_child(|| {
                        let pool = make();
                        if let Pool::Own(own) = &pool {
                            *OWN.lock().unwrap() = Some(own.clone());
                        }
                        let kept = pool.alloc(5000).unwrap();
                        CHUNK.store(kept.as_ptr().expose_provenance(), Ordering::Relaxed);
                        trap(libc::SYS_mlock2);
                        *WORK.lock().unwrap() = Some(work);
                        let pages = match interrupts_pool {
                            // Growth takes place while the mutex is held.
                            true => {
                                assert!(pool.alloc(LockedPool::ARENA_SIZE).is_some());
                                None
                            }
                            false => Some(LockedPages::new(1).unwrap()),
                        };
                        let expected = if interrupts_pool { (1, 1) } else { (2, 2) };
                        let outcome =
                            (ALLOCATED.load(Ordering::Relaxed), FREED.load(Ordering::Relaxed));
                        assert_eq!(outcome, expected, "{interrupts_pool}");
                        if interrupts_pool {
                            assert_eq!(pool.free(kept), Ok(()));
                        }
                        let stats = pool.stats();
                        assert_eq!(stats.used + stats.free, stats.total);
                        assert_eq!(stats.chunks_used, 1);
                        drop(pages);
                    });
                }
            }
        });
    }
}

// ---- Cancellation ---------------------------------------------------------------

mod cancellation {
    use super::*;

    unsafe extern "C" {
        fn pthread_setcancelstate(state: i32, old: *mut i32) -> i32;
    }

    unsafe extern "C-unwind" {
        fn close(fd: i32) -> i32;
    }

    const DISABLE: i32 = 1;

    /// Runs `work` in a thread that is cancelled at its first system call that is a cancellation
    /// point. Returns whether the thread finished `work`.
    fn comes_through(work: fn()) -> bool {
        extern "C-unwind" fn run(work: *mut libc::c_void) -> *mut libc::c_void {
            // SAFETY: the pointer is the one given to `pthread_create` below, made from a function
            // of this type.
            let work: fn() = unsafe { std::mem::transmute(work) };
            // SAFETY: names the calling thread, which continues until it reaches a cancellation
            // point.
            unsafe { libc::pthread_cancel(libc::pthread_self()) };
            work();
            // SAFETY: `old` may be null here.
            unsafe { pthread_setcancelstate(DISABLE, null_mut()) };
            std::ptr::without_provenance_mut(1)
        }
        type Start = extern "C" fn(*mut libc::c_void) -> *mut libc::c_void;
        let start: extern "C-unwind" fn(*mut libc::c_void) -> *mut libc::c_void = run;
        let mut outcome = null_mut();
        // SAFETY: the places are valid for the calls. The two function types differ only in what a
        // caller expects of unwinding; the C library is the caller, and it unwinds cancelled
        // threads.
        unsafe {
            let mut thread = std::mem::zeroed();
            let start = std::mem::transmute::<
                extern "C-unwind" fn(*mut libc::c_void) -> *mut libc::c_void,
                Start,
            >(start);
            let work = work as *mut libc::c_void;
            assert_eq!(libc::pthread_create(&mut thread, std::ptr::null(), start, work), 0);
            assert_eq!(libc::pthread_join(thread, &mut outcome), 0);
        }
        outcome.addr() == 1
    }

    /// Has nothing to destroy, so that a cancelled thread can be unwound from here.
    fn closes() {
        // SAFETY: no descriptor has this number.
        unsafe { close(-1) };
    }

    /// The system calls that the library makes while it holds a lock or a gate, each in a thread
    /// that is to be cancelled at the first opportunity. No thread may be cancelled there, as it
    /// would never unlock.
    #[test]
    fn no_system_call_of_the_library_is_a_cancellation_point() {
        const WORK: &[(&str, fn())] = &[
            ("the first use, a heap, and a thread's end", || {
                drop(SecureString::from("a passphrase"));
            }),
            ("a large chunk, growth", || drop(SecureVec::from(vec![1_u8; 200_000]))),
            ("statistics", || assert!(pool().stats().arenas < 100)),
            ("a walk", || pool().walk(|_, _, _| ())),
            ("samples", || {
                drop(SecureString::from("a sample"));
                drop(SecureVec::from(vec![1_u8; 6000]));
            }),
            ("separate pages", || drop(SecureVec::from(vec![1_u8; 300_000]))),
            ("locked pages", || drop(LockedPages::new(1).unwrap())),
            ("a private pool", || {
                let own = LockedPool::default();
                assert!(own.alloc(100, 16).is_some() && own.alloc(200_000, 16).is_some());
                own.walk(|_, _, _| ());
                assert_eq!(own.stats().chunks_used, 2);
            }),
            ("a pool over foreign pages", || {
                let own = LockedPool::with_page_allocator(Box::new(PosixLockedPageAllocator));
                assert!(own.alloc(100, 16).is_some());
            }),
            ("the limit", || drop(bitcoin_support::raise_lock_limit())),
            ("everything wiped", || {
                // SAFETY: this process uses no value afterwards that zeros would invalidate.
                unsafe { bitcoin_support::wipe_everything() };
            }),
            ("a fork", || {
                // SAFETY: the child uses this library and ends.
                let child = unsafe { libc::fork() };
                if child == 0 {
                    drop(SecureString::from("in the child"));
                    // SAFETY: ends the child.
                    unsafe { libc::_exit(0) };
                }
            }),
        ];
        alone("cancellation::no_system_call_of_the_library_is_a_cancellation_point", || {
            give_up_after(60);
            assert!(
                !comes_through(closes),
                "the control: a system call that is a cancellation point"
            );
            for (what, work) in WORK {
                let one_in = std::num::NonZeroU32::new(1).filter(|_| *what == "samples");
                pool().sample_one_in(one_in, 1 << 20).unwrap();
                assert!(comes_through(*work), "{what}");
                works_as_ever();
            }
        });
    }

    /// The same calls with secret memory, which is a file that is closed.
    #[test]
    fn nor_is_one_for_secret_memory() {
        use bitcoin_support::{ConfigureError, ForkPolicy, PoolError, PoolOptions, SecretMemory};
        alone("cancellation::nor_is_one_for_secret_memory", || {
            give_up_after(60);
            let options = PoolOptions::new()
                .secret_memory(SecretMemory::Require)
                .fork_policy(ForkPolicy::Absent);
            // SAFETY: this process makes no child.
            match unsafe { pool().configure_unchecked(&options) } {
                Ok(()) => {}
                Err(ConfigureError::Pool(PoolError::SecretMemory(_))) => {
                    println!("skipped: there is no secret memory here");
                    return;
                }
                Err(error) => panic!("{error}"),
            }
            let work: [fn(); 3] = [
                || drop(SecureString::from("a passphrase")),
                || drop(SecureVec::from(vec![1_u8; 300_000])),
                || {
                    let options = PoolOptions::new()
                        .secret_memory(SecretMemory::Require)
                        .fork_policy(ForkPolicy::Absent);
                    let own = LockedPool::with_options(&options).unwrap();
                    assert!(own.alloc(100, 16).is_some());
                },
            ];
            for work in work {
                assert!(comes_through(work));
                works_as_ever();
            }
        });
    }

    /// Waits of threads for each other: for a mutex, and for a heap whose thread is interrupted in
    /// it.
    #[test]
    fn nor_does_a_thread_end_that_waits() {
        extern "C" fn hold_up(_: i32) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        alone("cancellation::nor_does_a_thread_end_that_waits", || {
            give_up_after(120);
            // SAFETY: a function of this program.
            unsafe { libc::signal(libc::SIGUSR1, hold_up as *const () as usize) };
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let (send, id) = std::sync::mpsc::channel();
                scope.spawn(|| {
                    let send = send;
                    // The pool is not empty when others look at it.
                    let _kept = SecureBox::new(1_u8);
                    // SAFETY: takes nothing.
                    send.send(unsafe { libc::pthread_self() } as usize).unwrap();
                    // The thread is in its heap most of the time, where chunks are wiped.
                    while !done.load(Ordering::Relaxed) {
                        drop(SecureBox::new([1_u8; 4096]));
                    }
                });
                let id = id.recv().unwrap();
                let interrupt = scope.spawn(move || {
                    for _ in 0..60 {
                        // SAFETY: the thread runs until this one has ended.
                        unsafe { libc::pthread_kill(id as libc::pthread_t, libc::SIGUSR1) };
                        std::thread::sleep(std::time::Duration::from_millis(3));
                    }
                });
                for _ in 0..10 {
                    assert!(comes_through(
                        || (0..200).for_each(|_| assert!(pool().stats().total > 0))
                    ));
                    assert!(comes_through(|| drop(SecureVec::from(vec![1_u8; 5000]))));
                }
                interrupt.join().unwrap();
                done.store(true, Ordering::Relaxed);
            });
            works_as_ever();
        });
    }

    fn works_as_ever() {
        drop(SecureString::from("as ever"));
        drop(SecureVec::from(vec![1_u8; 100_000]));
        let stats = pool().stats();
        assert_eq!(stats.used + stats.free, stats.total);
    }
}

// ---- A sandbox ------------------------------------------------------------------

/// Other threads have heaps when a sandbox takes `membarrier` away. From then on all threads share
/// a mutex. Every byte and every figure is right, also in a child.
#[test]
fn membarrier_may_be_refused_later() {
    alone("membarrier_may_be_refused_later", || {
        give_up_after(120);
        let (ready, refused) = (Barrier::new(4), Barrier::new(4));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for number in 1..4_u8 {
                let (ready, refused, done) = (&ready, &refused, &done);
                scope.spawn(move || {
                    let mut kept: Vec<_> =
                        (1..100_usize).map(|i| SecureVec::from(vec![number; i * 20])).collect();
                    ready.wait();
                    if number == 1 {
                        // The filter applies to all threads.
                        refuse_everywhere(libc::SYS_membarrier, libc::EPERM);
                    }
                    refused.wait();
                    for round in 1_usize.. {
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                        let at = round * 7 % kept.len();
                        assert!(kept[at].expose_secret().iter().all(|&byte| byte == number));
                        kept[at] = SecureVec::from(vec![number; round % 3000 + 1]);
                    }
                    for secret in &kept {
                        assert!(secret.expose_secret().iter().all(|&byte| byte == number));
                    }
                });
            }
            let text = SecureString::from("of this thread");
            // Control: the barrier worked before, and does not any more.
            const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
            // SAFETY: the call takes no pointers.
            let has_barrier =
                || unsafe { libc::syscall(libc::SYS_membarrier, PRIVATE_EXPEDITED, 0, 0) == 0 };
            assert!(has_barrier());
            ready.wait();
            refused.wait();
            assert!(!has_barrier());
            for _ in 0..30 {
                let stats = pool().stats();
                assert_eq!(stats.used + stats.free, stats.total);
                assert!(stats.chunks_used >= 3 * 98, "{stats:?}");
                in_child(|| {
                    let stats = pool().stats();
                    assert_eq!(stats.locked, locked_by_kernel());
                    assert_eq!(text.expose_secret(), "of this thread");
                    drop(SecureVec::from(vec![1_u8; 5000]));
                });
                std::thread::spawn(|| drop(SecureString::from("of a new thread"))).join().unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        let stats = pool().stats();
        assert_eq!((stats.used, stats.chunks_used), (0, 0));
        assert_eq!(stats.total, page_size() * (stats.total / page_size()));
    });
}
