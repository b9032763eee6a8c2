//! Models of how threads affect each other in the process-wide pool, at a fork, and where secret
//! stacks are unlocked. Loom runs each model through the orders of events, and through the values
//! that the memory model lets a load return, as far as they can make a difference.
//!
//! `gate.rs`, `remote_free.rs`, `guard.rs` and `stack_usage.rs` are the library's own files, over
//! loom's atomics and another `sync`. The models restate the rest of the protocol (which thread
//! takes the mutex when) as it is in `alloc.rs`, `free.rs`, `pause.rs`, `abandoned.rs`,
//! `supply.rs`, `registry.rs` and the files of `fork`. Loom's search is limited to a few
//! preemptions in a run, which finds nearly all errors (Musuvathi and Qadeer, "Iterative Context
//! Bounding", PLDI 2007). Loom has no loads that return a value which is stored later in the same
//! run.
//!
//! Each protection has a negative control: the same models must fail with a barrier left out, with
//! the memory ordering of one place weakened (every place in turn), or with a step done wrongly.

use loom::cell::UnsafeCell;
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::panic::{self, AssertUnwindSafe};

#[allow(dead_code, reason = "models have no forks")]
#[path = "../src/thread_heap/gate.rs"]
mod gate;
#[allow(dead_code, reason = "models have no children")]
#[path = "../src/fork/guard.rs"]
mod guard;
#[path = "../src/thread_heap/remote_free.rs"]
mod remote_free;
#[allow(dead_code, reason = "models have no signal handlers and no children")]
#[path = "../src/pages/stack_usage.rs"]
mod stack_usage;

/// Replaces `sync` for the library's files.
mod sync {
    use super::experiment::{self, Experiment};
    use loom::sync::atomic::{AtomicUsize, Ordering::AcqRel};
    use std::cell::Cell;

    /// The largest number of threads in a model that pass [`barrier_here`].
    const THREADS: usize = 3;

    loom::lazy_static! {
        static ref BARRIERS: [AtomicUsize; THREADS] = Default::default();
    }
    loom::thread_local! {
        static NUMBER: Cell<usize> = Cell::new(0);
    }

    /// Numbers the calling thread, so that its barriers are told from others'. A thread that does
    /// not call this has number 0.
    pub(crate) fn this_is_thread(number: usize) {
        NUMBER.with(|own| own.set(number));
    }

    /// The kernel says of `membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)` that each running thread
    /// of the process passes a full memory barrier at some point of the call; threads that do not
    /// run have passed one when they were stopped (membarrier(2); the kernel's
    /// `sched/membarrier.c`). So with regard to a place in a thread's program that the compiler
    /// moves no memory access across, the call comes either before or after. If after, it shows its
    /// caller all that the thread did before that place; if before, the thread sees behind the
    /// place all that its caller did.
    ///
    /// Read-modify-write operations with acquire and release ordering on a word that belongs to the
    /// thread promise that much and no more. Sequentially consistent fences would promise too much:
    /// they also order two threads that pass `barrier_here`, which in truth are not. (Goldblatt,
    /// "Asymmetric fences", P1202, for C++, has the two kinds as `asymmetric_thread_fence_light`
    /// and `_heavy`.)
    pub(crate) fn barrier_everywhere() {
        if !experiment::is(Experiment::NoBarrierEverywhere) {
            BARRIERS.iter().for_each(pass);
        }
    }

    pub(crate) fn barrier_here() {
        if !experiment::is(Experiment::NoBarrierHere) {
            pass(&BARRIERS[NUMBER.with(Cell::get)]);
        }
    }

    fn pass(barrier: &AtomicUsize) {
        barrier.fetch_add(1, AcqRel);
    }

    pub(crate) fn is_short(_: u32) -> bool {
        false
    }

    pub(crate) fn wait_a_turn(_: u32) {
        loom::thread::yield_now();
    }

    /// Waits for ever if the word does not change. Loom fails the model then.
    pub(crate) fn wait_while(word: &atomic::AtomicU32, value: u32) {
        while word.load(atomic::Ordering::Relaxed) == value {
            loom::thread::yield_now();
        }
    }

    pub(crate) fn wake_one(_: &atomic::AtomicU32) {}

    /// Loom's atomics, with orderings that an experiment can weaken.
    pub(crate) mod atomic {
        use super::super::experiment::{ordering, weakens_a_load};
        pub(crate) use loom::sync::atomic::Ordering;

        loom::lazy_static! {
            static ref ORDER: loom::sync::atomic::AtomicUsize = Default::default();
        }

        /// Loom reverses the order of two operations only if the later one is the next on the same
        /// word. It would miss that a `compare_exchange` can come before another thread's load if
        /// its own thread has loaded the word in between. So every operation is also an operation
        /// on one common word, which orders nothing between threads.
        fn any_order() {
            ORDER.fetch_add(1, Ordering::Relaxed);
        }

        /// Runs an operation with the ordering that the experiment leaves it.
        ///
        /// Loom treats sequentially consistent operations as acquiring and releasing ones. A fence
        /// between each operation that writes and the next that reads puts all of them in one
        /// order. Processors have the fence either after every operation that writes or before
        /// every one that reads. The choice makes no difference unless an experiment weakens an
        /// operation: then the fence belongs to the operation that is weakened.
        #[track_caller]
        fn strong_as<T>(name: &'static str, order: Ordering, run: impl FnOnce(Ordering) -> T) -> T {
            any_order();
            let order = ordering(name, order);
            let fence = |is_wanted: bool| {
                if is_wanted && order == Ordering::SeqCst {
                    loom::sync::atomic::fence(order);
                }
            };
            let in_front = weakens_a_load();
            fence(in_front && name != "store");
            let result = run(order);
            fence(!in_front && name != "load");
            result
        }

        macro_rules! atomic {
            ($($name:ident: $value:ty),*) => { $(
                #[derive(Debug)]
                pub(crate) struct $name(loom::sync::atomic::$name);

                #[allow(dead_code, reason = "not every type needs every operation")]
                impl $name {
                    pub(crate) fn new(value: $value) -> Self {
                        Self(loom::sync::atomic::$name::new(value))
                    }

                    #[track_caller]
                    pub(crate) fn load(&self, order: Ordering) -> $value {
                        strong_as("load", order, |order| self.0.load(order))
                    }

                    #[track_caller]
                    pub(crate) fn store(&self, value: $value, order: Ordering) {
                        strong_as("store", order, |order| self.0.store(value, order));
                    }

                    #[track_caller]
                    pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                        strong_as("swap", order, |order| self.0.swap(value, order))
                    }

                    #[track_caller]
                    pub(crate) fn compare_exchange(
                        &self,
                        current: $value,
                        new: $value,
                        success: Ordering,
                        failure: Ordering,
                    ) -> Result<$value, $value> {
                        strong_as("compare_exchange", success, |success| {
                            self.0.compare_exchange(current, new, success, failure)
                        })
                    }

                    #[track_caller]
                    pub(crate) fn compare_exchange_weak(
                        &self,
                        current: $value,
                        new: $value,
                        success: Ordering,
                        failure: Ordering,
                    ) -> Result<$value, $value> {
                        strong_as("compare_exchange_weak", success, |success| {
                            self.0.compare_exchange_weak(current, new, success, failure)
                        })
                    }
                }
            )* };
        }
        atomic!(AtomicBool: bool, AtomicU8: u8, AtomicU32: u32, AtomicU64: u64, AtomicUsize: usize);

        impl AtomicU32 {
            #[track_caller]
            pub(crate) fn fetch_add(&self, value: u32, order: Ordering) -> u32 {
                strong_as("fetch_add", order, |order| self.0.fetch_add(value, order))
            }

            #[track_caller]
            pub(crate) fn fetch_sub(&self, value: u32, order: Ordering) -> u32 {
                strong_as("fetch_sub", order, |order| self.0.fetch_sub(value, order))
            }
        }

        impl AtomicU64 {
            #[track_caller]
            pub(crate) fn fetch_or(&self, value: u64, order: Ordering) -> u64 {
                strong_as("fetch_or", order, |order| self.0.fetch_or(value, order))
            }
        }
    }
}

/// Mistakes that a run makes on purpose.
mod experiment {
    use loom::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::panic::Location;

    #[derive(Clone, Debug, PartialEq)]
    pub(crate) enum Experiment {
        Nothing,
        NoBarrierHere,
        NoBarrierEverywhere,
        /// A place in the library's files uses a weaker ordering.
        Weaker(Place, Half),
        /// Slabs change their owner, or become shared, while other threads use them.
        NoPause,
        /// A thread that frees a chunk of a shared slab claims it as if the slab were not shared.
        PlainClaim,
        /// A slab is marked as shared before its chunk is claimed as if it were not.
        ShareFirst,
        /// A slab is put on the stack before its slots are noted.
        PushFirst,
        /// A locker does not look whether a thread forks.
        NoLook,
        /// The thread that forks does not wait for threads that hold a lock.
        NoWait,
        /// A stack is unlocked whatever its thread does with it.
        UnlockInCall,
    }

    /// A place where the ordering is not `Relaxed`: file, line and column, operation, ordering.
    pub(crate) type Place = (&'static str, u32, u32, &'static str, String);

    #[derive(Clone, Copy, Debug, PartialEq)]
    pub(crate) enum Half {
        Acquire,
        Release,
        /// The single order that all threads agree on.
        Order,
    }

    // Loom's threads take turns on the thread that runs the model, so they share these values.
    thread_local! {
        static CURRENT: RefCell<Experiment> = const { RefCell::new(Experiment::Nothing) };
        static PLACES: RefCell<BTreeSet<Place>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub(crate) fn is(experiment: Experiment) -> bool {
        CURRENT.with_borrow(|current| *current == experiment)
    }

    pub(crate) fn set(experiment: Experiment) {
        CURRENT.set(experiment);
    }

    pub(crate) fn weakens_a_load() -> bool {
        CURRENT.with_borrow(
            |current| matches!(current, Experiment::Weaker(place, _) if place.3 == "load"),
        )
    }

    /// The places that the runs on this thread have passed.
    pub(crate) fn places() -> BTreeSet<Place> {
        PLACES.with_borrow(Clone::clone)
    }

    /// The ordering for an operation whose code has `order`.
    #[track_caller]
    pub(crate) fn ordering(operation: &'static str, order: Ordering) -> Ordering {
        if order == Relaxed {
            return order;
        }
        let at = Location::caller();
        let place = (at.file(), at.line(), at.column(), operation, format!("{order:?}"));
        let weaker = CURRENT.with_borrow(|current| match current {
            Experiment::Weaker(weak, half) if *weak == place => Some(*half),
            _ => None,
        });
        PLACES.with_borrow_mut(|places| places.insert(place));
        match (order, weaker) {
            (SeqCst, Some(_)) => match operation {
                "load" => Acquire,
                "store" => Release,
                _ => AcqRel,
            },
            (AcqRel, Some(Half::Acquire)) => Release,
            (AcqRel, Some(Half::Release)) => Acquire,
            (_, Some(_)) => Relaxed,
            (_, None) => order,
        }
    }
}

use experiment::{Experiment, Half};
use gate::Gate;
use guard::{ForkGuard, Lock};
use remote_free::{RemoteFreeStack, RemoteFrees, claim, claim_exact};
use stack_usage::StackUsage;
use sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
use sync::{barrier_everywhere, this_is_thread};

/// Runs a model through all orders of events with up to so many preemptions.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// Runs `work` while another thread is kept out of its heap. The caller holds the mutex.
fn paused<T>(gate: &Gate, work: impl FnOnce() -> T) -> T {
    if experiment::is(Experiment::NoPause) {
        return work();
    }
    gate.close();
    barrier_everywhere();
    gate.wait();
    let result = work();
    gate.open();
    result
}

// ---- Gate -------------------------------------------------------------------------------------

/// A heap, reduced to its gate: each use of the heap counts. The cell fails the model if two uses
/// are not ordered for both threads.
struct Counted {
    gate: Gate,
    count: UnsafeCell<usize>,
}

impl Counted {
    fn new() -> Self {
        Self { gate: Gate::new(), count: UnsafeCell::new(0) }
    }

    fn count(&self) {
        // SAFETY: no other thread uses the cell meanwhile; the model fails otherwise.
        self.count.with_mut(|count| unsafe { *count += 1 });
    }

    /// The heap's thread uses the heap.
    fn use_own(&self, mutex: &Mutex<()>) {
        if self.gate.enter() {
            self.count();
            self.gate.leave();
        } else {
            let _guard = mutex.lock().unwrap();
            self.count();
        }
    }

    fn use_paused(&self, mutex: &Mutex<()>) {
        let _guard = mutex.lock().unwrap();
        paused(&self.gate, || self.count());
    }

    fn assert_uses(&self, uses: usize) {
        // SAFETY: no other thread uses the cell meanwhile; the model fails otherwise.
        self.count.with(|count| assert_eq!(unsafe { *count }, uses));
    }
}

/// A thread uses its heap twice while another pauses it.
fn one_pauses_another() {
    let shared = Arc::new((Counted::new(), Mutex::new(())));
    let owner = {
        let shared = shared.clone();
        thread::spawn(move || (0..2).for_each(|_| shared.0.use_own(&shared.1)))
    };
    shared.0.use_paused(&shared.1);
    owner.join().unwrap();
    shared.0.assert_uses(3);
}

/// A thread uses its heap, and two others pause it, one after the other.
fn two_pause_another() {
    let shared = Arc::new((Counted::new(), Mutex::new(())));
    let others: Vec<_> = (0..2)
        .map(|_| {
            let shared = shared.clone();
            thread::spawn(move || shared.0.use_paused(&shared.1))
        })
        .collect();
    (0..2).for_each(|_| shared.0.use_own(&shared.1));
    others.into_iter().for_each(|other| other.join().unwrap());
    shared.0.assert_uses(4);
}

/// Two threads have a heap each, and each pauses the other.
fn two_pause_each_other() {
    let shared = Arc::new(([Counted::new(), Counted::new()], Mutex::new(())));
    let work = |own: usize| {
        let shared = shared.clone();
        move || {
            this_is_thread(own);
            shared.0[own].use_own(&shared.1);
            shared.0[1 - own].use_paused(&shared.1);
        }
    };
    let other = thread::spawn(work(1));
    work(0)();
    other.join().unwrap();
    shared.0.iter().for_each(|heap| heap.assert_uses(2));
}

// ---- Returned slabs ----------------------------------------------------------------------------

/// A slab whose slots other threads free, with its memory.
struct Slab {
    returned: AtomicU64,
    next: AtomicU32,
    slots: [UnsafeCell<usize>; 3],
}

/// Slabs numbered from 1 on, and the stack on which they return.
struct Slabs {
    slabs: Vec<Slab>,
    stack: RemoteFreeStack,
}

impl Slabs {
    fn new(slabs: usize) -> Self {
        let slab = |_| Slab {
            returned: AtomicU64::new(0),
            next: AtomicU32::new(0),
            slots: std::array::from_fn(|_| UnsafeCell::new(0)),
        };
        Self { slabs: (0..slabs).map(slab).collect(), stack: RemoteFreeStack::new() }
    }

    fn slab(&self, number: u32) -> &Slab {
        &self.slabs[number as usize - 1]
    }

    fn returns(&self, number: u32) -> RemoteFrees<'_> {
        let slab = self.slab(number);
        RemoteFrees { slots: &slab.returned, next: &slab.next }
    }

    /// Frees a slot of another thread's slab: wipes the slot and returns it.
    fn give(&self, number: u32, slot: usize) {
        // SAFETY: the slot is in use by the caller alone; the model fails otherwise.
        self.slab(number).slots[slot].with_mut(|memory| unsafe { *memory += 1 });
        if experiment::is(Experiment::PushFirst) {
            self.give_in_wrong_order(number, 1 << slot);
        } else {
            self.stack.give(number, self.returns(number), 1 << slot);
        }
    }

    fn give_in_wrong_order(&self, number: u32, slots: u64) {
        let RemoteFrees { slots: returned, next } = self.returns(number);
        if returned.load(Relaxed) == 0 {
            // Pushes the slab with an empty list of slots, and notes the slots afterwards.
            self.stack.give(number, RemoteFrees { slots: &AtomicU64::new(0), next }, 0);
        }
        returned.fetch_or(slots, sync::atomic::Ordering::AcqRel);
    }

    /// Takes the slots that have returned, and reads their memory.
    fn collect(&self, seen: &mut Vec<(u32, usize)>) {
        self.stack.collect(
            |number| self.returns(number),
            |number, slots| {
                for slot in (0..3).filter(|slot| slots >> slot & 1 != 0) {
                    // SAFETY: a slot that has returned is used by the owner alone; the model fails
                    // otherwise.
                    let wipes = self.slab(number).slots[slot].with_mut(|memory| unsafe { *memory });
                    assert_eq!(wipes, 1);
                    seen.push((number, slot));
                }
            },
        );
    }
}

/// Threads return slots of one or two slabs while the owner collects them. Each gift is a list of
/// (slab, slot).
fn every_slot_comes_back(slabs: usize, collects: usize, gifts: &'static [&'static [(u32, usize)]]) {
    let shared = Arc::new(Slabs::new(slabs));
    let givers: Vec<_> = gifts
        .iter()
        .map(|gift| {
            let shared = shared.clone();
            thread::spawn(move || gift.iter().for_each(|&(slab, slot)| shared.give(slab, slot)))
        })
        .collect();
    let mut seen = Vec::new();
    (0..collects).for_each(|_| shared.collect(&mut seen));
    givers.into_iter().for_each(|giver| giver.join().unwrap());
    shared.collect(&mut seen);
    let mut given: Vec<_> = gifts.iter().flat_map(|gift| gift.iter().copied()).collect();
    given.sort_unstable();
    seen.sort_unstable();
    assert_eq!(seen, given);
}

fn two_return_to_one_slab() {
    every_slot_comes_back(1, 2, &[&[(1, 0)], &[(1, 1), (1, 2)]]);
}

fn two_return_to_two_slabs() {
    every_slot_comes_back(2, 1, &[&[(1, 0), (2, 0)], &[(2, 1), (1, 1)]]);
}

fn three_return_to_two_slabs() {
    every_slot_comes_back(2, 1, &[&[(1, 0)], &[(2, 0)], &[(1, 1)]]);
}

// ---- Claims ---------------------------------------------------------------------

const CLASS: u8 = 3;

/// Two threads free the same chunk of a third thread's slab.
fn one_of_two_frees() {
    let shared = Arc::new((Slabs::new(1), AtomicU8::new(CLASS)));
    let free = |shared: Arc<(Slabs, AtomicU8)>| {
        let slab_is_shared = !experiment::is(Experiment::PlainClaim);
        let claimed = claim(&shared.1, slab_is_shared).is_some();
        if claimed {
            shared.0.give(1, 0);
        }
        usize::from(claimed)
    };
    let other = {
        let shared = shared.clone();
        thread::spawn(move || free(shared))
    };
    let mut seen = Vec::new();
    let third = {
        let shared = shared.clone();
        thread::spawn(move || free(shared))
    };
    shared.0.collect(&mut seen);
    assert_eq!(other.join().unwrap() + third.join().unwrap(), 1);
    shared.0.collect(&mut seen);
    assert_eq!(seen, [(1, 0)]);
}

/// Two threads free the same chunk while the owner allocates the slot again. There are no more
/// frees than allocations, although a late free may hit the second allocation. Each free returns
/// the slot.
fn no_more_frees_than_allocations() {
    let shared = Arc::new((Slabs::new(1), AtomicU8::new(CLASS)));
    let frees: Vec<_> = (0..2)
        .map(|_| {
            let shared = shared.clone();
            thread::spawn(move || {
                let (slabs, chunk) = &*shared;
                let claimed = claim(chunk, !experiment::is(Experiment::PlainClaim)).is_some();
                if claimed {
                    slabs.stack.give(1, slabs.returns(1), 1);
                }
                usize::from(claimed)
            })
        })
        .collect();
    let (slabs, chunk) = &*shared;
    let (mut allocations, mut returned) = (1, 0);
    let mut collect = |allocate: bool| {
        let take = |_, slots: u64| {
            assert_eq!(slots, 1);
            returned += 1;
            if allocate {
                // As in `Heap::hand_out`.
                chunk.store(CLASS, Relaxed);
                allocations += 1;
            }
        };
        slabs.stack.collect(|slab| slabs.returns(slab), take);
    };
    collect(true);
    let frees: usize = frees.into_iter().map(|thread| thread.join().unwrap()).sum();
    collect(false);
    assert!((1..=allocations).contains(&frees));
    assert_eq!(returned, frees);
}

/// What the entry of an exact chunk holds while it lies in an exact cache.
const FREE: u8 = 128;

/// Two threads free the same exact chunk: one into its cache, and one into the arena. One of them
/// gets it.
fn an_exact_chunk_has_one_place() {
    let shared = Arc::new((AtomicU8::new(CLASS), UnsafeCell::new(0)));
    let free = |shared: &(AtomicU8, UnsafeCell<i32>), left: u8| {
        let (chunk, memory) = shared;
        let found = chunk.load(Relaxed);
        let claimed = found == CLASS
            && if experiment::is(Experiment::PlainClaim) {
                chunk.store(left, Relaxed);
                true
            } else {
                claim_exact(chunk, found, left)
            };
        if claimed {
            // SAFETY: the model fails if another thread uses the cell meanwhile.
            memory.with_mut(|wipes| unsafe { *wipes += 1 });
        }
        usize::from(claimed)
    };
    let other = {
        let shared = shared.clone();
        thread::spawn(move || free(&shared, FREE))
    };
    let own = free(&shared, 0);
    assert_eq!(own + other.join().unwrap(), 1);
    assert_eq!(shared.0.load(Relaxed), if own == 1 { 0 } else { FREE });
}

/// The owner and another thread free chunks of a slab that is not shared. The other thread must
/// pause the owner first, and marks the slab as shared. Both free a second chunk afterwards.
fn a_slab_becomes_shared() {
    struct Heap {
        gate: Gate,
        mutex: Mutex<()>,
        is_shared: loom::sync::atomic::AtomicBool,
        chunks: [AtomicU8; 2],
        frees: [UnsafeCell<usize>; 2],
    }
    impl Heap {
        /// Claims a chunk for a free, under the mutex or within the gate. Returns whether the chunk
        /// was in use.
        fn claim(&self, chunk: usize) -> bool {
            claim(&self.chunks[chunk], self.is_shared.load(Acquire)).is_some()
        }
    }
    let heap = Arc::new(Heap {
        gate: Gate::new(),
        mutex: Mutex::new(()),
        is_shared: loom::sync::atomic::AtomicBool::new(false),
        chunks: [AtomicU8::new(CLASS), AtomicU8::new(CLASS)],
        frees: [UnsafeCell::new(0), UnsafeCell::new(0)],
    });
    // SAFETY: only the thread that has claimed the chunk wipes it; the model fails otherwise.
    let wipe = |heap: &Heap, chunk: usize| heap.frees[chunk].with_mut(|n| unsafe { *n += 1 });
    let owner = {
        let heap = heap.clone();
        thread::spawn(move || {
            for chunk in 0..2 {
                let claimed = if heap.gate.enter() {
                    let claimed = heap.claim(chunk);
                    heap.gate.leave();
                    claimed
                } else {
                    let _guard = heap.mutex.lock().unwrap();
                    heap.claim(chunk)
                };
                if claimed {
                    wipe(&heap, chunk);
                }
            }
        })
    };
    for chunk in 0..2 {
        let claimed = if heap.is_shared.load(Acquire) {
            heap.claim(chunk)
        } else {
            let _guard = heap.mutex.lock().unwrap();
            paused(&heap.gate, || {
                let claimed = heap.claim(chunk);
                heap.is_shared.store(true, Release);
                claimed
            })
        };
        if claimed {
            wipe(&heap, chunk);
        }
    }
    owner.join().unwrap();
    for frees in &heap.frees {
        // SAFETY: the other thread has ended.
        frees.with(|frees| assert_eq!(unsafe { *frees }, 1));
    }
}

// ---- Slabs that change hands ----------------------------------------------------

/// A thread ends and leaves its slab to heap 0 while another thread frees a chunk of it. Whenever
/// the free happens, the slot ends up with the owner of the slab.
fn a_slab_is_left_behind() {
    struct Pool {
        mutex: Mutex<()>,
        /// The gate of the thread that frees.
        gate: Gate,
        /// The owner of the slab: heap 0 or 1.
        owner: AtomicU32,
        slabs: Slabs,
        chunk: AtomicU8,
        /// Free slots that heap 0 has. The mutex guards them.
        free: UnsafeCell<u64>,
    }
    let pool = Arc::new(Pool {
        mutex: Mutex::new(()),
        gate: Gate::new(),
        owner: AtomicU32::new(1),
        slabs: Slabs::new(1),
        chunk: AtomicU8::new(CLASS),
        free: UnsafeCell::new(0),
    });
    let other = {
        let pool = pool.clone();
        thread::spawn(move || {
            if pool.gate.enter() {
                let owned = pool.owner.load(Acquire) == 1;
                if owned {
                    assert!(claim(&pool.chunk, true).is_some());
                    pool.slabs.give(1, 0);
                }
                pool.gate.leave();
                if owned {
                    return;
                }
            }
            let _guard = pool.mutex.lock().unwrap();
            assert_eq!(
                pool.owner.load(Acquire),
                0,
                "the ending thread has not given up its slab yet"
            );
            assert!(claim(&pool.chunk, true).is_some());
            // SAFETY: the mutex is held; the model fails if the cell is used at once elsewhere.
            pool.free.with_mut(|free| unsafe { *free |= 1 });
        })
    };
    {
        let _guard = pool.mutex.lock().unwrap();
        paused(&pool.gate, || {
            let mut seen = Vec::new();
            pool.slabs.collect(&mut seen);
            // SAFETY: the mutex is held; the model fails if another thread uses the cell meanwhile.
            pool.free.with_mut(|free| unsafe { *free |= seen.len() as u64 });
            pool.owner.store(0, Release);
        });
    }
    other.join().unwrap();
    // SAFETY: the other thread has ended.
    pool.free.with(|free| assert_eq!(unsafe { *free }, 1, "the slot is lost"));
}

/// A thread gets the heap of one that has ended, and three threads free the same chunk of its slab:
/// the heap's new one, and two others. As long as no thread has the heap, the holder of the mutex
/// uses it, and marks the slab as shared without a pause. One of the three gets the chunk.
fn a_heap_is_left_to_the_next_thread() {
    struct Heap {
        gate: Gate,
        /// Whether a thread has the heap. The mutex guards it.
        mutex: Mutex<bool>,
        is_shared: loom::sync::atomic::AtomicBool,
        chunk: AtomicU8,
        slabs: Slabs,
        /// Free slots that the heap has.
        free: UnsafeCell<usize>,
    }
    impl Heap {
        /// Frees the chunk for a thread that may use the heap.
        fn free_own(&self, is_shared: bool) {
            if claim(&self.chunk, is_shared).is_some() {
                // SAFETY: the caller may use the heap; the model fails otherwise.
                self.free.with_mut(|free| unsafe { *free += 1 });
            }
        }

        /// Frees the chunk for another thread, as in `free_slow`.
        fn free_slow(&self) {
            let has_thread = self.mutex.lock().unwrap();
            let is_shared = self.is_shared.load(Acquire);
            let free_and_share = || {
                if experiment::is(Experiment::ShareFirst) {
                    self.is_shared.store(true, Release);
                }
                self.free_own(is_shared);
                self.is_shared.store(true, Release);
            };
            if *has_thread {
                paused(&self.gate, free_and_share);
            } else {
                free_and_share();
            }
        }
    }
    let heap = Arc::new(Heap {
        gate: Gate::new(),
        mutex: Mutex::new(false),
        is_shared: loom::sync::atomic::AtomicBool::new(false),
        chunk: AtomicU8::new(CLASS),
        slabs: Slabs::new(1),
        free: UnsafeCell::new(0),
    });
    let others = [(); 2].map(|()| {
        let heap = heap.clone();
        thread::spawn(move || {
            if !heap.is_shared.load(Acquire) {
                heap.free_slow();
            } else if claim(&heap.chunk, true).is_some() {
                heap.slabs.give(1, 0);
            }
        })
    });
    *heap.mutex.lock().unwrap() = true;
    if heap.gate.enter() {
        heap.free_own(heap.is_shared.load(Relaxed));
        heap.gate.leave();
    } else {
        let _guard = heap.mutex.lock().unwrap();
        heap.free_own(heap.is_shared.load(Relaxed));
    }
    others.into_iter().for_each(|other| other.join().unwrap());
    let mut seen = Vec::new();
    heap.slabs.collect(&mut seen);
    // SAFETY: the other threads have ended.
    heap.free.with(|free| assert_eq!(unsafe { *free } + seen.len(), 1));
}

/// Near the limit a slab is dissolved into exact chunks. Meanwhile its owner frees one chunk and
/// another thread frees the second. Whenever the two frees happen, both chunks end up free in the
/// arena.
fn a_slab_is_dissolved() {
    const BOTH: u64 = 0b11;
    struct Pool {
        mutex: Mutex<()>,
        /// The gates of the owner and of the other thread.
        gates: [Gate; 2],
        /// Whether the slab exists.
        is_slab: AtomicU32,
        slabs: Slabs,
        chunks: [AtomicU8; 2],
        /// Slots that the owner keeps for its next allocations.
        cached: UnsafeCell<u64>,
        /// The arena's chunks of an exact size: those in use, and those that are free. The mutex
        /// guards them.
        arena: UnsafeCell<(u64, u64)>,
    }
    impl Pool {
        /// Frees a chunk as a thread does. The owner frees chunk 0.
        fn free(&self, chunk: usize) {
            this_is_thread(chunk + 1);
            let bit = 1 << chunk;
            if self.gates[chunk].enter() {
                let is_slab = self.is_slab.load(Acquire) != 0;
                if is_slab {
                    assert!(claim(&self.chunks[chunk], true).is_some());
                    if chunk == 0 {
                        // SAFETY: the cell belongs to the owner; the model fails if it is used at
                        // once elsewhere.
                        self.cached.with_mut(|cached| unsafe { *cached |= bit });
                    } else {
                        self.slabs.give(1, chunk);
                    }
                }
                self.gates[chunk].leave();
                if is_slab {
                    return;
                }
            }
            let _guard = self.mutex.lock().unwrap();
            assert_eq!(
                self.is_slab.load(Acquire),
                0,
                "a gate was closed, and the slab is there yet"
            );
            // SAFETY: the mutex is held; the model fails if the cell is used at once elsewhere.
            self.arena.with_mut(|arena| unsafe {
                assert!((*arena).0 & bit != 0, "no used chunk begins there");
                (*arena).0 &= !bit;
                (*arena).1 |= bit;
            });
        }

        /// As in `reclaim` and `dissolve`.
        fn dissolve(&self) {
            let mut seen = Vec::new();
            self.slabs.collect(&mut seen);
            let mut free = seen.iter().fold(0, |free, (_, slot)| free | 1 << slot);
            // SAFETY: the owner is paused; the model fails if the cell is used at once elsewhere.
            self.cached.with_mut(|cached| unsafe { free |= std::mem::take(&mut *cached) });
            for chunk in &self.chunks {
                chunk.store(0, Relaxed);
            }
            self.is_slab.store(0, Release);
            // SAFETY: the mutex is held; the model fails if another thread uses the cell meanwhile.
            self.arena.with_mut(|arena| unsafe { *arena = (BOTH & !free, free) });
        }
    }
    let pool = Arc::new(Pool {
        mutex: Mutex::new(()),
        gates: [Gate::new(), Gate::new()],
        is_slab: AtomicU32::new(1),
        slabs: Slabs::new(1),
        chunks: [AtomicU8::new(CLASS), AtomicU8::new(CLASS)],
        cached: UnsafeCell::new(0),
        arena: UnsafeCell::new((0, 0)),
    });
    let threads = [0, 1].map(|chunk| {
        let pool = pool.clone();
        thread::spawn(move || pool.free(chunk))
    });
    {
        let _guard = pool.mutex.lock().unwrap();
        paused(&pool.gates[0], || paused(&pool.gates[1], || pool.dissolve()));
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    // SAFETY: the other threads have ended.
    pool.arena.with(|arena| assert_eq!(unsafe { *arena }, (0, BOTH), "a chunk is lost"));
}

// ---- Forks ----------------------------------------------------------------------

/// Values behind locks, which threads and forks use. The cell fails the model if two uses are not
/// ordered for both threads.
struct Guarded {
    guard: ForkGuard,
    locks: [Lock; 2],
    counts: [UnsafeCell<usize>; 2],
}

impl Guarded {
    fn new() -> Self {
        let zero = || AtomicUsize::new(0);
        let lock = || Lock::of(zero(), AtomicU32::new(0), AtomicU32::new(0));
        Self {
            guard: ForkGuard::of(zero()),
            locks: [lock(), lock()],
            counts: [UnsafeCell::new(0), UnsafeCell::new(0)],
        }
    }

    /// A thread uses a value under its lock.
    fn use_locked(&self, thread: usize, number: usize) {
        let other = ForkGuard::of(AtomicUsize::new(0));
        let guard = if experiment::is(Experiment::NoLook) { &other } else { &self.guard };
        assert!(self.locks[number].acquire(guard, thread));
        // SAFETY: the lock is held; the model fails if the cell is used at once elsewhere.
        self.counts[number].with_mut(|count| unsafe { *count += 1 });
        assert!(!self.locks[number].acquire(guard, thread), "it does not wait for itself");
        self.locks[number].release();
    }

    /// A thread forks. It uses all values without their locks.
    fn fork(&self, thread: usize) {
        self.guard.begin(thread);
        if !experiment::is(Experiment::NoWait) {
            self.locks.iter().for_each(|lock| lock.wait_until_free(thread));
        }
        for count in &self.counts {
            // SAFETY: no other thread uses the value; the model fails otherwise.
            count.with_mut(|count| unsafe { *count += 1 });
        }
        self.guard.end();
    }

    fn assert_uses(&self, uses: [usize; 2]) {
        for (count, uses) in self.counts.iter().zip(uses) {
            // SAFETY: the other threads have ended.
            count.with(|count| assert_eq!(unsafe { *count }, uses));
        }
    }
}

/// Runs a thread for each part. The threads are numbered from 1 on.
fn together(parts: Vec<fn(&Guarded, usize)>, uses: [usize; 2]) {
    let shared = Arc::new(Guarded::new());
    let mut parts = parts.into_iter().zip(1..);
    let first = parts.next();
    let others: Vec<_> = parts
        .map(|(part, thread)| {
            let shared = shared.clone();
            thread::spawn(move || part(&shared, thread))
        })
        .collect();
    if let Some((part, thread)) = first {
        part(&shared, thread);
    }
    others.into_iter().for_each(|other| other.join().unwrap());
    shared.assert_uses(uses);
}

fn one_forks_while_another_uses() {
    together(
        vec![|shared, thread| shared.fork(thread), |shared, thread| {
            shared.use_locked(thread, 0);
            shared.use_locked(thread, 1);
        }],
        [2, 2],
    );
}

fn two_fork() {
    together(
        vec![|shared, thread| shared.fork(thread), |shared, thread| shared.fork(thread)],
        [2, 2],
    );
}

fn two_use_and_one_forks() {
    together(
        vec![
            |shared, thread| shared.use_locked(thread, 0),
            |shared, thread| shared.use_locked(thread, 0),
            |shared, thread| shared.fork(thread),
        ],
        [3, 1],
    );
}

fn two_use() {
    together(
        vec![
            |shared, thread| (0..2).for_each(|_| shared.use_locked(thread, 0)),
            |shared, thread| (0..2).for_each(|_| shared.use_locked(thread, 0)),
        ],
        [4, 0],
    );
}

// ---- Secret stacks ----------------------------------------------------------------

/// A stack, with its lock. The cell fails the model if two uses are not ordered for both threads.
struct Stack {
    usage: AtomicU32,
    is_locked: UnsafeCell<bool>,
}

impl Stack {
    fn new() -> Self {
        Self { usage: AtomicU32::new(0), is_locked: UnsafeCell::new(false) }
    }

    /// A call, which locks the stack. It is locked until the call is over.
    fn call(&self) {
        let usage = StackUsage(&self.usage);
        usage.begin_call();
        // SAFETY: no other thread uses the cell meanwhile; the model fails otherwise.
        self.is_locked.with_mut(|is_locked| unsafe { *is_locked = true });
        usage.note_return();
        // SAFETY: as long as the call is not over, the same.
        self.is_locked.with(|is_locked| assert!(unsafe { *is_locked }));
        usage.end_call();
    }

    /// As in `unlock_idle_stack`.
    fn unlock(&self) {
        let usage = StackUsage(&self.usage);
        if usage.begin_unlock() || experiment::is(Experiment::UnlockInCall) {
            // SAFETY: no other thread uses the cell meanwhile; the model fails otherwise.
            self.is_locked.with_mut(|is_locked| unsafe { *is_locked = false });
            usage.end_unlock();
        }
    }
}

/// Runs a thread for each part.
fn around_a_stack(calls: usize, unlocks: &'static [usize]) {
    let stack = Arc::new(Stack::new());
    let others: Vec<_> = unlocks
        .iter()
        .map(|&unlocks| {
            let stack = stack.clone();
            thread::spawn(move || (0..unlocks).for_each(|_| stack.unlock()))
        })
        .collect();
    (0..calls).for_each(|_| stack.call());
    others.into_iter().for_each(|other| other.join().unwrap());
    // It is idle in the end: the next call does not wait.
    stack.call();
}

fn one_unlocks_between_calls() {
    around_a_stack(2, &[2]);
}

fn two_unlock_between_calls() {
    around_a_stack(1, &[1, 1]);
}

// ---- Tests ----------------------------------------------------------------------

/// A model: its name, the number of preemptions, and the function.
type Model = (&'static str, usize, fn());

const GATES: &[Model] = &[
    ("one_pauses_another", 3, one_pauses_another),
    ("two_pause_another", 2, two_pause_another),
    ("two_pause_each_other", 2, two_pause_each_other),
];

const RETURNS: &[Model] = &[
    ("two_return_to_two_slabs", 2, two_return_to_two_slabs),
    ("two_return_to_one_slab", 2, two_return_to_one_slab),
    ("three_return_to_two_slabs", 2, three_return_to_two_slabs),
];

const CLAIMS: &[Model] = &[
    ("one_of_two_frees", 2, one_of_two_frees),
    ("no_more_frees_than_allocations", 2, no_more_frees_than_allocations),
    ("an_exact_chunk_has_one_place", 2, an_exact_chunk_has_one_place),
];

const OWNERS: &[Model] = &[
    ("a_slab_becomes_shared", 2, a_slab_becomes_shared),
    ("a_heap_is_left_to_the_next_thread", 2, a_heap_is_left_to_the_next_thread),
    ("a_slab_is_left_behind", 3, a_slab_is_left_behind),
    ("a_slab_is_dissolved", 2, a_slab_is_dissolved),
];

const FORKS: &[Model] = &[
    ("one_forks_while_another_uses", 2, one_forks_while_another_uses),
    ("two_fork", 2, two_fork),
    ("two_use_and_one_forks", 1, two_use_and_one_forks),
];

const STACKS: &[Model] = &[
    ("one_unlocks_between_calls", 3, one_unlocks_between_calls),
    ("two_unlock_between_calls", 2, two_unlock_between_calls),
];

const LOCKS: &[Model] = &[("two_use", 3, two_use)];

fn passes(experiment: &Experiment, &(_, preemptions, model): &Model) -> bool {
    experiment::set(experiment.clone());
    let passed = panic::catch_unwind(AssertUnwindSafe(|| check(preemptions, model))).is_ok();
    experiment::set(Experiment::Nothing);
    passed
}

#[track_caller]
fn assert_holds(models: &[Model]) {
    for model in models {
        assert!(passes(&Experiment::Nothing, model), "{}", model.0);
    }
}

/// Every one of the models must fail.
#[track_caller]
fn assert_all_notice(models: &[Model], experiment: Experiment) {
    for model in models {
        assert!(!passes(&experiment, model), "{} does not notice {experiment:?}", model.0);
    }
}

/// No place in a library file uses a stronger memory ordering than it needs: with any ordering
/// weakened, one of the models fails. The `exceptions` are left out.
#[track_caller]
fn assert_orderings_needed(file: &str, models: &[Model], exceptions: &[(&str, Half)]) {
    let places = experiment::places();
    let places = places.iter().filter(|place| place.0.ends_with(file));
    let mut tried = 0;
    for place in places {
        for half in [Half::Acquire, Half::Release, Half::Order] {
            let asked_for = match half {
                Half::Order => place.4 == "SeqCst",
                _ => place.4 == "AcqRel" || place.4 == format!("{half:?}"),
            };
            let name = format!("{} {}", place.3, place.4);
            if !asked_for || exceptions.contains(&(name.as_str(), half)) {
                continue;
            }
            let experiment = Experiment::Weaker(place.clone(), half);
            let noticed = models.iter().any(|model| !passes(&experiment, model));
            assert!(noticed, "{experiment:?} goes unnoticed");
            tried += 1;
        }
    }
    assert!(tried >= 4, "the places have not been seen");
}

#[test]
fn gates_keep_threads_apart() {
    assert_holds(GATES);
    assert_all_notice(GATES, Experiment::NoBarrierHere);
    assert_all_notice(GATES, Experiment::NoBarrierEverywhere);
    assert_all_notice(GATES, Experiment::NoPause);
    assert_orderings_needed("gate.rs", GATES, &[]);
}

#[test]
fn returned_slots_arrive() {
    assert_holds(RETURNS);
    assert_all_notice(RETURNS, Experiment::PushFirst);
    // These two are a pair: they keep a thread from putting a slab on the stack again before the
    // owner has read the next slab. Loom cannot see it, as no load in loom returns a value that is
    // stored later.
    let exceptions = [("fetch_or AcqRel", Half::Acquire), ("swap AcqRel", Half::Release)];
    assert_orderings_needed("remote_free.rs", RETURNS, &exceptions);
}

#[test]
fn chunks_are_freed_once() {
    assert_holds(CLAIMS);
    assert_all_notice(CLAIMS, Experiment::PlainClaim);
}

#[test]
fn slabs_and_heaps_change_hands() {
    assert_holds(OWNERS);
    assert_all_notice(OWNERS, Experiment::NoPause);
    assert_all_notice(OWNERS, Experiment::NoBarrierHere);
    assert_all_notice(&OWNERS[1..2], Experiment::ShareFirst);
}

#[test]
fn forks_keep_lockers_out() {
    assert_holds(FORKS);
    assert_holds(LOCKS);
    assert_all_notice(&FORKS[..1], Experiment::NoLook);
    assert_all_notice(&FORKS[..1], Experiment::NoWait);
    let models: Vec<_> = FORKS.iter().chain(LOCKS).copied().collect();
    // These two are a pair: a thread that learns that it is to try again also sees that the lock is
    // free. Here a fence after the store that frees the lock orders the two already. The fence
    // stands for the store's sequential consistency.
    let exceptions = [("fetch_add Release", Half::Release), ("load Acquire", Half::Acquire)];
    assert_orderings_needed("guard.rs", &models, &exceptions);
}

#[test]
fn no_stack_is_unlocked_in_a_call() {
    assert_holds(STACKS);
    // Controls.
    assert_all_notice(STACKS, Experiment::UnlockInCall);
    assert_orderings_needed("stack_usage.rs", STACKS, &[]);
}
