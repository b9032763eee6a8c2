//! The participants of a fork, and the handlers that the C library calls.

use super::guard::ForkGuard;
use crate::sys::{Process, System, Threads, at_load};
use core::ptr;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicUsize};

/// Holds back the threads that want a [`Mutex`](super::Mutex) while another thread forks.
pub(super) static GUARD: ForkGuard = ForkGuard::of(AtomicUsize::new(0));

/// What a part of this library does at a fork, in the thread that forks.
pub(crate) struct Participant {
    prepare: fn(),
    child: fn(),
    done: fn(),
    /// Whether it takes part. Set when that is certain.
    has_joined: AtomicBool,
}

impl Participant {
    /// - `prepare` runs before the fork. Other threads that want a [`Mutex`](super::Mutex) wait
    ///   already. It waits for those that hold one, see
    ///   [`Mutex::wait_until_free`](super::Mutex::wait_until_free).
    /// - `child` runs in the child, in which this is the only thread: it puts in order what the
    ///   other threads have left. It runs once, before anything of this library is used there.
    /// - `done` runs in the parent, and in the child, when the fork is over.
    pub(crate) const fn new(prepare: fn(), child: fn(), done: fn()) -> Self {
        Self { prepare, child, done, has_joined: AtomicBool::new(false) }
    }

    /// From the first call on, the participant takes part in every fork. Called before a lock is
    /// taken that a fork has to wait for. The participants that join first are the first ones in
    /// the child.
    ///
    /// It waits for no lock. So a child finds it done or not begun, whatever its parent's other
    /// threads were doing.
    #[inline]
    pub(crate) fn join(&'static self) {
        self.join_after(|| ());
    }

    /// [`join`](Self::join), after another participant has joined by `first`.
    #[inline]
    pub(crate) fn join_after(&'static self, first: fn()) {
        if !self.has_joined.load(Acquire) {
            self.join_now(first);
        }
    }

    #[cold]
    fn join_now(&'static self, first: fn()) {
        first();
        register(self);
        self.has_joined.store(true, Release);
    }
}

/// The participants in the order in which they were registered. A place that is set stays so.
static PARTICIPANTS: [AtomicPtr<Participant>; 5] = [const { AtomicPtr::new(ptr::null_mut()) }; 5];

/// How often this process, or those that it descends from, has been the child of a fork.
static GENERATION: AtomicU32 = AtomicU32::new(0);

// Only the thread that forks uses these three, which its children inherit.

/// How many forks have begun in handlers of the first one.
static NESTED: AtomicUsize = AtomicUsize::new(0);
/// The process that forks.
static PROCESS: AtomicI32 = AtomicI32::new(0);
/// A bit for each fork that is under way ([`bit_of_fork`]): whether this process is its child, and
/// has been put in order although our handler of that fork is still to run.
static EARLY: AtomicUsize = AtomicUsize::new(0);

fn participants() -> impl DoubleEndedIterator<Item = &'static Participant> {
    // SAFETY: null, or put there by `register`, from a static.
    PARTICIPANTS.iter().filter_map(|place| unsafe { place.load(Acquire).as_ref() })
}

/// Gives a participant a place. Registering it again changes nothing.
fn register(participant: &'static Participant) {
    let own = ptr::from_ref(participant).cast_mut();
    for place in &PARTICIPANTS {
        let there = place.load(Acquire);
        if there == own {
            return;
        }
        if there.is_null() {
            register_early();
            match place.compare_exchange(ptr::null_mut(), own, AcqRel, Acquire) {
                Ok(_) => return,
                Err(there) if there == own => return,
                Err(_) => {}
            }
        }
    }
    unreachable!("there are as many places as participants");
}

/// How many forks lie between the first process of this program and this one. A caller that sees
/// the number change runs in a child. (In a child that has not been put in order it has not changed
/// yet: see [`notice_child`].)
pub(crate) fn generation() -> u32 {
    GENERATION.load(Relaxed)
}

/// A mark of this process, which differs in a child process. (The system's number also differs in
/// children that the C library does not know of; the number of forks also where a sandbox hides the
/// system's number.)
pub(crate) fn this_process() -> (u32, u32) {
    (std::process::id(), generation())
}

/// Whether the calling thread forks, and is between this library's handlers.
pub(crate) fn is_under_way() -> bool {
    !GUARD.is_idle() && GUARD.is_forking(System::this_thread())
}

at_load! {
    /// Registers the handlers when this library is loaded.
    static AT_LOAD = register_handlers;
}

/// Registers the handlers for code that runs before [`AT_LOAD`]: other static initializers.
fn register_early() {
    // The compiler cannot know the value of a volatile read. So a program that uses this library
    // refers to the static, and a linker that takes from an archive only what is referred to takes
    // the static too. SAFETY: the static is a function pointer, and is never written to.
    let register = unsafe { ptr::from_ref(&AT_LOAD).read_volatile() };
    register();
}

/// Has the C library call the handlers, once. (Where it has no room to note them, a child may find
/// locks held and memory that is not locked. There is no caller to report that to.)
extern "C" fn register_handlers() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.swap(true, AcqRel) {
        System::at_fork(prepare, parent, child);
    }
}

extern "C" fn prepare() {
    let thread = System::this_thread();
    if GUARD.is_forking(thread) {
        // A fork handler of another library forks. If that is in a child, and our handler has not
        // run there, the child is put in order now. Its own child inherits the bit that says so:
        // there, our handler of the outer fork must do nothing.
        notice_child();
        NESTED.fetch_add(1, Relaxed);
        return;
    }
    // Before a signal handler on this thread can ask: every thread of a process stores the same
    // number.
    PROCESS.store(System::process_number(), Relaxed);
    GUARD.begin(thread);
    participants().rev().for_each(|participant| (participant.prepare)());
}

extern "C" fn parent() {
    // It is not if a fork handler of another library has loaded this library.
    if is_under_way() {
        finish();
    }
}

extern "C" fn child() {
    // A signal handler may notice the child too. It finds it in order or not begun.
    System::without_signals_but_sigsys(|| {
        let bit = bit_of_fork();
        if EARLY.fetch_and(!bit, Relaxed) & bit == 0 {
            put_in_order();
        }
    });
    if is_under_way() {
        finish();
    }
}

/// The bit in [`EARLY`] of the fork that has begun last and is under way. (0 for a fork in handlers
/// of so many others that there is no bit for it. Its child is put in order twice.)
fn bit_of_fork() -> usize {
    1_usize.checked_shl(NESTED.load(Relaxed) as u32).unwrap_or(0)
}

fn finish() {
    let nested = NESTED.load(Relaxed);
    if nested > 0 {
        NESTED.store(nested - 1, Relaxed);
        return;
    }
    participants().rev().for_each(|participant| (participant.done)());
    GUARD.end();
}

/// Signals are blocked: a handler that interrupted this could wait for a lock that a thread of the
/// parent held, and which this has not released yet. (Handlers of SIGSYS run, because a sandbox may
/// answer what is called here by that signal. Such a handler must not wipe everything.)
fn put_in_order() {
    PROCESS.store(System::process_number(), Relaxed);
    GENERATION.fetch_add(1, Relaxed);
    participants().for_each(|participant| (participant.child)());
}

/// For a thread that is about to take a lock, to use memory for secrets by the registry, or to say
/// what the registry knows of it. In the child of its own fork, where a handler of another library
/// or a signal handler runs before our handler, it puts the child in order. In a thread that forks
/// it asks for the number of the process, and elsewhere it makes no system call.
#[inline]
pub(crate) fn notice_child() {
    if !GUARD.is_idle() {
        notice_child_of_own();
    }
}

#[cold]
fn notice_child_of_own() {
    let is_child = || PROCESS.load(Relaxed) != System::process_number();
    if is_under_way() && is_child() {
        System::without_signals_but_sigsys(|| {
            // A signal handler may have noticed it meanwhile.
            if is_child() {
                EARLY.fetch_or(bit_of_fork(), Relaxed);
                put_in_order();
            }
        });
    }
}
