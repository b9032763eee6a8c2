//! Every mapping for secrets that the process has, in a table that needs no lock: for code that
//! must find all of them at once, which is a signal handler that wipes, or a child process right
//! after its fork.
//!
//! A slot of the table is taken before a mapping is made, and given up before the mapping is
//! unmapped. Nothing here waits for a lock, and only taking a slot may ask the system for memory.

use super::access::{Access, ClosedState, Use};
use super::error::{LockError, MapError, Protection, Refusals};
use super::options::{ForkPolicy, PageOptions};
use super::pins::Pins;
use super::stack_usage::StackUsage;
use super::tables::{release_table, seal_table, zeroed_table};
use crate::cleanse::memory_cleanse;
use crate::fork::notice_child;
use crate::poison;
use crate::sys::{Limits, Memory, NotHardened, System, Threads};
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU16, AtomicU32, AtomicUsize, fence,
};

/// What is known of a mapping.
#[derive(bytemuck::Zeroable)]
pub(super) struct Slot {
    /// First byte, or one of the marks below.
    addr: AtomicUsize,
    len: AtomicUsize,
    /// The bits below.
    flags: AtomicU32,
    /// Of the threads that are just using the mapping through the table. It stays mapped meanwhile.
    pins: Pins,
    /// Why it is not locked.
    errno: AtomicI32,
    limit: AtomicUsize,
    /// The thread that runs on this memory at times, by its number; 0 for memory that is no stack.
    thread: AtomicUsize,
    /// See [`StackUsage`].
    stack_usage: AtomicU32,
    /// Of a mapping that is closed while it is not in use.
    access: Access,
    /// See [`Refusals`].
    refusals: [AtomicU16; Protection::ALL.len()],
}

/// The address in a slot that is free.
const VACANT: usize = 0;
/// The address in a slot that is taken while there is no mapping to use: it is not made yet, or
/// about to go.
const CLOSED: usize = 1;

const LOCKED: u32 = 1;
/// The kernel sees to what a child finds.
const BY_KERNEL: u32 = 1 << 1;
const SECRET_MEMORY: u32 = 1 << 2;
/// What a child finds, if not the contents.
const WIPE_IN_CHILD: u32 = 1 << 3;
const ABSENT_IN_CHILD: u32 = 1 << 4;
/// In a child: the memory has stayed with the parent, and the addresses are set aside.
const ABSENT: u32 = 1 << 5;
/// In a child, besides: something else lies at the addresses.
const TAKEN: u32 = 1 << 6;
/// The access to the memory cannot be taken away any more.
const SEALED: u32 = 1 << 7;

/// On its own stack, a thread wipes from so many bytes below its frame downwards: it wipes by
/// functions that have frames there. Then there is room for theirs, and for the bytes below a frame
/// that the calling convention lets a function use.
const OWN_FRAMES: usize = 4096;

const FIRST_BLOCK: usize = 64;
const BLOCKS: usize = 24;

static FIRST: [Slot; FIRST_BLOCK] = [const { Slot::new() }; FIRST_BLOCK];
/// Further slots: each block has as many as all before it. Blocks are never given back.
static MORE: [AtomicPtr<Slot>; BLOCKS] = [const { AtomicPtr::new(ptr::null_mut()) }; BLOCKS];
/// Where the search for a vacant slot begins.
static NEXT: AtomicUsize = AtomicUsize::new(0);
/// Whether blocks are sealed as they are added.
static IS_SEALED: AtomicBool = AtomicBool::new(false);
/// The bytes of all stacks that are locked, or that their threads are just locking.
static LOCKED_STACKS: AtomicUsize = AtomicUsize::new(0);
/// How often a locked stack has become idle; wraps around.
static IDLE_AGAIN: AtomicUsize = AtomicUsize::new(0);
/// How often [`wipe_everything`] has begun or ended.
static WIPES: AtomicU32 = AtomicU32::new(0);

impl Slot {
    const fn new() -> Self {
        Self {
            addr: AtomicUsize::new(VACANT),
            len: AtomicUsize::new(0),
            flags: AtomicU32::new(0),
            pins: Pins::new(),
            errno: AtomicI32::new(0),
            limit: AtomicUsize::new(0),
            thread: AtomicUsize::new(0),
            stack_usage: AtomicU32::new(0),
            access: Access::new(),
            refusals: [const { AtomicU16::new(0) }; Protection::ALL.len()],
        }
    }

    /// Gives the slot up, in which there is no mapping any more.
    pub(super) fn vacate(&self) {
        if self.is_locked_stack() {
            self.uncount();
        }
        self.addr.store(VACANT, Release);
    }

    /// Keeps other threads off the mapping, which is going to be unmapped: waits for those that are
    /// using it.
    pub(super) fn close(&self) {
        // A thread that sets a pin looks at the address afterwards. Here it is the other way round:
        // one of the two sees what the other has done.
        self.addr.store(CLOSED, SeqCst);
        self.pins.wait();
    }

    pub(super) fn set_lock_state(&self, state: Result<(), LockError>) {
        match state {
            Ok(()) => {
                self.flags.fetch_or(LOCKED, Relaxed);
            }
            Err(LockError { errno, limit }) => {
                self.errno.store(errno, Relaxed);
                self.limit.store(limit, Relaxed);
                self.flags.fetch_and(!LOCKED, Relaxed);
            }
        }
    }

    pub(super) fn lock_state(&self) -> Result<(), LockError> {
        if self.has(LOCKED) {
            return Ok(());
        }
        Err(LockError { errno: self.errno.load(Relaxed), limit: self.limit.load(Relaxed) })
    }

    pub(super) fn refusals(&self) -> Refusals {
        let mut refusals = Refusals::default();
        for (refusal, errno) in refusals.0.iter_mut().zip(&self.refusals) {
            *refusal = errno.load(Relaxed);
        }
        refusals
    }

    fn has(&self, flag: u32) -> bool {
        self.flags.load(Relaxed) & flag != 0
    }

    pub(super) fn is_secret_memory(&self) -> bool {
        self.has(SECRET_MEMORY)
    }

    /// Whether the memory has stayed with the parent process.
    pub(super) fn is_absent(&self) -> bool {
        self.has(ABSENT)
    }

    /// Whether something else lies at the addresses.
    pub(super) fn is_taken(&self) -> bool {
        self.has(TAKEN)
    }

    /// Closes the mapping, from now on whenever there is no use of it. The secret in it has `size`
    /// bytes, more than 0, from `offset` on.
    ///
    /// # Errors
    /// When the system refuses. The mapping stays accessible.
    ///
    /// # Safety
    /// The caller must own the mapping, and must not use it but between [`begin_use`] and
    /// [`end_use`].
    ///
    /// [`begin_use`]: Self::begin_use
    /// [`end_use`]: Self::end_use
    pub(super) unsafe fn close_while_unused(
        &self,
        offset: usize,
        size: usize,
    ) -> Result<(), MapError> {
        let Some(pages) = self.pages() else { return Err(MapError::invalid()) };
        // Here, where no signal is blocked, the key is taken: the handler of a signal by which a
        // sandbox answers can run.
        System::has_protection_key();
        // A thread that sets a pin to wipe looks at the announcement afterwards. Here it is the
        // other way round: one of the two sees what the other has done.
        self.access.announce(offset, size);
        self.pins.wait();
        // SAFETY: the caller owns the mapping, and uses it as it is counted. Wipes that have begun
        // before the announcement are over.
        unsafe { self.access.close_while_unused(pages) }
    }

    /// Makes the mapping accessible for a use, if it is one that is closed.
    ///
    /// # Errors
    /// When the system refuses. There is no use then.
    ///
    /// # Safety
    /// The mapping must have an owner until the use ends.
    pub(super) unsafe fn begin_use(&self, purpose: Use) -> Result<(), MapError> {
        let Some(pages) = self.pages() else { return Err(MapError::invalid()) };
        // SAFETY: the mapping has an owner until the use ends.
        unsafe { self.access.begin(purpose, pages) }
    }

    /// Ends a use of the mapping, which is closed unless there are others. `false` if there is no
    /// such use.
    ///
    /// # Errors
    /// When the system refuses to close it. The use has ended all the same.
    ///
    /// # Safety
    /// The use that ends must be the caller's.
    pub(super) unsafe fn end_use(&self, purpose: Use) -> Result<bool, MapError> {
        // In a child without the memory, something else may lie at the addresses.
        let Some(pages) = self.pages().filter(|_| !self.has(ABSENT)) else { return Ok(false) };
        // SAFETY: the use is the caller's, and the mapping has an owner until it ends.
        unsafe { self.access.end(purpose, pages) }
    }

    /// The state of a mapping that is closed while it is not in use.
    pub(super) fn closed_state(&self) -> Option<ClosedState> {
        self.access.report().map(|(_, _, state)| state)
    }

    /// Whether the memory is a stack of some thread.
    fn is_stack(&self) -> bool {
        self.thread.load(Relaxed) != 0
    }

    /// Whether the memory is a stack that is locked, whose bytes are in [`LOCKED_STACKS`].
    fn is_locked_stack(&self) -> bool {
        self.is_stack() && self.has(LOCKED)
    }

    /// What its thread does with this stack.
    pub(super) fn stack_usage(&self) -> StackUsage<'_> {
        StackUsage(&self.stack_usage)
    }

    /// Counts this stack, which its thread is going to lock, unless all stacks that are counted
    /// would have more than `bound` bytes with it; returns whether it is counted. For its thread,
    /// in a call, while it is not locked.
    pub(super) fn count(&self, bound: usize) -> bool {
        let len = self.len.load(Relaxed);
        let with = |locked: usize| locked.checked_add(len).filter(|&sum| sum <= bound);
        LOCKED_STACKS.fetch_update(Relaxed, Relaxed, with).is_ok()
    }

    /// Takes this stack out of the count, which has it: it is not locked, or about to go.
    pub(super) fn uncount(&self) {
        let len = self.len.load(Relaxed);
        // (A child counts the stacks that are locked in it. If a signal handler has forked since
        // this stack was counted or unlocked, and this is the child, the count has not got it.)
        let without = |locked: usize| Some(locked.saturating_sub(len));
        let _ = LOCKED_STACKS.fetch_update(Relaxed, Relaxed, without);
    }

    /// For the thread of this stack, which is in a call: the stack holds zeros, and is idle.
    pub(super) fn end_call(&self) {
        let is_locked = self.is_locked_stack();
        self.stack_usage().end_call();
        if is_locked {
            // A thread that sees the change finds the stack idle.
            IDLE_AGAIN.fetch_add(1, Release);
        }
    }

    /// Unlocks the memory, if it is a stack that is locked and idle, as far as the system lets it;
    /// returns how many bytes that were.
    fn unlock_idle_stack(&self) -> usize {
        if !self.is_locked_stack() {
            return 0;
        }
        self.while_mapped(|addr| {
            let mut unlocked = 0;
            if self.is_stack() && self.stack_usage().begin_unlock() {
                let len = self.len.load(Relaxed);
                // SAFETY: the mapping is not unmapped meanwhile. It holds zeros, and its thread
                // waits for `end_unlock` before it uses it, and then looks at the lock anew.
                if self.has(LOCKED) && unsafe { System::unlock(addr, len) }.is_ok() {
                    unlocked = len;
                    self.set_lock_state(Err(LockError { errno: 0, limit: System::lock_limit() }));
                    self.uncount();
                }
                self.stack_usage().end_unlock();
            }
            unlocked
        })
        .unwrap_or(0)
    }

    /// Whether the memory is a stack of the calling thread.
    fn is_own_stack(&self) -> bool {
        self.thread.load(Relaxed) == System::this_thread()
    }

    /// How many bytes from an address on can be wiped: all, but of a stack of the calling thread
    /// only those that no function is using which the thread has yet to return to.
    fn wipeable(&self, addr: usize) -> usize {
        let len = self.len.load(Relaxed);
        if !self.is_own_stack() {
            return len;
        }
        let frame = 0_u8;
        let frame = ptr::from_ref(&frame).addr();
        match frame.checked_sub(addr) {
            Some(below) if below < len => below.saturating_sub(OWN_FRAMES),
            // The thread has gone on to another stack from this one. (Or it is about to switch to
            // this one, or back from it, a few instructions away: that looks the same.)
            _ if self.stack_usage().is_in_call() => 0,
            // The thread needs nothing of what the function has left.
            _ => len,
        }
    }

    /// Whether the access to the memory need never be taken away by this library: not in a child
    /// either, whose kernel has left it with the parent.
    pub(super) fn may_be_sealed(&self) -> bool {
        !self.has(ABSENT) && (!self.has(ABSENT_IN_CHILD) || self.has(BY_KERNEL))
    }

    pub(super) fn note_sealed(&self) {
        self.flags.fetch_or(SEALED, Relaxed);
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.has(SEALED)
    }

    /// Calls a function with the address of the mapping, if one is entered. It stays mapped
    /// meanwhile.
    fn while_mapped<R>(&self, function: impl FnOnce(NonNull<u8>) -> R) -> Option<R> {
        let pin = self.pins.set();
        // In one order with the pin: see `close`.
        let addr = self.addr.load(SeqCst);
        let addr =
            if addr > CLOSED { NonNull::new(ptr::with_exposed_provenance_mut(addr)) } else { None };
        let result = addr.map(function);
        self.pins.take_away(pin);
        result
    }

    /// Zeros in all of it, if it is a mapping with memory, as far as it can be opened.
    pub(super) fn wipe(&self) {
        self.while_mapped(|addr| {
            if !self.has(ABSENT) {
                let len = self.len.load(Relaxed);
                poison::unpoison(addr.as_ptr(), len);
                let wipeable = self.wipeable(addr.addr().get());
                // SAFETY: an entered mapping is writable over its length while this is called, and
                // is not unmapped meanwhile. Its users may find zeros there from now on, which is
                // what is asked for.
                let wipe = || unsafe { memory_cleanse(addr.as_ptr(), wipeable) };
                // SAFETY: the mapping is not unmapped meanwhile.
                unsafe { self.access.while_writable((addr, len), wipe) };
            }
        });
    }

    /// Takes the memory of the mapping away, if it has any that is not sealed. Its addresses stay
    /// set aside.
    ///
    /// # Safety
    /// The threads that use the mapping must be ones that may end the process.
    unsafe fn withdraw(&self) {
        self.while_mapped(|addr| {
            // A thread cannot do without the stack that it runs on.
            if !self.has(ABSENT | SEALED) && !self.is_own_stack() {
                // SAFETY: an entered mapping is not unmapped meanwhile, and the threads that use it
                // may end the process.
                let take = || unsafe { System::make_inaccessible(addr, self.len.load(Relaxed)) };
                self.access.withdraw(take);
            }
        });
    }

    /// Sees to the mapping in a child process, in which it is the only thread.
    fn after_fork(&self) {
        self.pins.after_fork();
        self.stack_usage().after_fork();
        let Some(addr) = self.mapping() else { return };
        let len = self.len.load(Relaxed);
        if self.has(ABSENT) {
            return; // since an earlier fork
        }
        // The thread of another stack has stayed with the parent.
        let is_others_stack = self.is_stack() && !self.is_own_stack();
        if self.has(ABSENT_IN_CHILD) || is_others_stack {
            self.set_lock_state(Err(LockError { errno: 0, limit: System::lock_limit() }));
            self.flags.fetch_or(ABSENT, Relaxed);
            // What lies at the addresses in the child is not what was sealed.
            self.flags.fetch_and(!SEALED, Relaxed);
            let is_gone = self.has(BY_KERNEL) && !is_others_stack;
            // SAFETY: the mapping is the parent's, and the child is told that it is absent, or has
            // no thread that would use it.
            if !unsafe { System::withdraw_in_child(addr, len, is_gone) } {
                self.flags.fetch_or(TAKEN, Relaxed);
            }
            return;
        }
        // SAFETY: the mapping is entered, so that it does not go.
        unsafe { self.access.after_fork((addr, len)) };
        if self.has(WIPE_IN_CHILD) && !self.has(BY_KERNEL) {
            self.wipe();
        }
        if self.has(LOCKED) {
            // Pages that cannot be accessed cannot be locked everywhere.
            let lock = || {
                // SAFETY: the mapping is entered, so that it has an owner, who wants it locked.
                let locked = unsafe { System::lock(addr, len) };
                self.set_lock_state(locked.map_err(LockError::from));
            };
            // SAFETY: the mapping is entered, so that it does not go. The child has one thread.
            if !unsafe { self.access.while_writable_in_child((addr, len), lock) } {
                self.set_lock_state(Err(LockError { errno: 0, limit: System::lock_limit() }));
            }
        }
    }

    /// The address and the length, if a mapping is entered.
    fn pages(&self) -> Option<(NonNull<u8>, usize)> {
        self.mapping().map(|addr| (addr, self.len.load(Relaxed)))
    }

    /// The address, if a mapping is entered.
    fn mapping(&self) -> Option<NonNull<u8>> {
        let addr = self.addr.load(Acquire);
        if addr > CLOSED { NonNull::new(ptr::with_exposed_provenance_mut(addr)) } else { None }
    }
}

/// A slot for a mapping that is going to be made. Given up when it is dropped.
pub(super) struct TakenSlot(&'static Slot);

impl TakenSlot {
    /// Takes a slot.
    pub(super) fn take() -> Result<Self, MapError> {
        let from = NEXT.load(Relaxed);
        for start in [from, 0] {
            let mut first = 0;
            for block in blocks() {
                if let Some((at, slot)) = Self::vacant_in(block, start.saturating_sub(first)) {
                    NEXT.store(first + at + 1, Relaxed);
                    return Ok(slot);
                }
                first += block.len();
            }
        }
        let block = add_block()?;
        let taken = Self::vacant_in(block, 0).map(|(_, slot)| slot);
        // `None` only if other threads have taken all slots of a new block meanwhile.
        taken.ok_or_else(MapError::no_memory)
    }

    /// The first vacant slot of a block, from a place on, which is taken now; with its place.
    fn vacant_in(slots: &'static [Slot], from: usize) -> Option<(usize, Self)> {
        let mut from_there = slots.iter().enumerate().skip(from);
        let (at, slot) = from_there.find(|(_, slot)| {
            slot.addr.load(Relaxed) == VACANT
                && slot.addr.compare_exchange(VACANT, CLOSED, Acquire, Relaxed).is_ok()
        })?;
        slot.flags.store(0, Relaxed);
        slot.access.reset();
        Some((at, Self(slot)))
    }

    /// Gives the mapping its protections but for the lock, and enters it.
    ///
    /// # Safety
    /// The caller must own the pages, which must be accessible, until it [closes](Slot::close) the
    /// slot. It must accept that they are wiped by [`wipe_everything`], and that children find in
    /// them what the policy says.
    pub(super) unsafe fn enter(
        self,
        addr: NonNull<u8>,
        len: usize,
        options: &PageOptions,
        is_secret_memory: bool,
    ) -> &'static Slot {
        let slot = self.0;
        core::mem::forget(self);
        let mut flags = if is_secret_memory { SECRET_MEMORY } else { 0 };
        // SAFETY: the caller owns the pages, and accepts what children find.
        let (private, by_kernel) = unsafe {
            let private = System::keep_private(addr, len);
            let by_kernel = match options.fork {
                ForkPolicy::Keep => Ok(true),
                ForkPolicy::Wipe => {
                    flags |= WIPE_IN_CHILD;
                    System::wipe_in_children(addr, len)
                }
                ForkPolicy::Absent => {
                    flags |= ABSENT_IN_CHILD;
                    System::keep_from_children(addr, len)
                }
            };
            (private, by_kernel)
        };
        flags |= if by_kernel == Ok(true) { BY_KERNEL } else { 0 };
        let mut refusals = Refusals::default();
        for (protection, refusal) in [
            (Protection::DumpExclusion, private.dump),
            // The child sees to it itself.
            (Protection::ForkPolicy, by_kernel.err()),
            (Protection::NoMerging, private.merging),
            (Protection::NoHugePages, private.huge_pages),
        ] {
            if let Some(errno) = refusal {
                refusals.add(protection, errno);
            }
        }
        for (place, errno) in slot.refusals.iter().zip(refusals.0) {
            place.store(errno, Relaxed);
        }
        slot.flags.store(flags, Relaxed);
        slot.len.store(len, Relaxed);
        // Before the address: a child that finds the mapping also finds whose stack it is.
        slot.thread.store(if options.is_stack { System::this_thread() } else { 0 }, Relaxed);
        slot.stack_usage.store(0, Relaxed);
        slot.addr.store(addr.as_ptr().expose_provenance(), Release);
        slot
    }
}

impl Drop for TakenSlot {
    fn drop(&mut self) {
        self.0.vacate();
    }
}

/// All slots, block by block.
fn blocks() -> impl Iterator<Item = &'static [Slot]> {
    let more = MORE.iter().enumerate().map_while(|(number, block)| {
        let start = NonNull::new(block.load(Acquire))?;
        // SAFETY: `add_block` put it there: a table of so many slots, for the life of the process.
        Some(unsafe { core::slice::from_raw_parts(start.as_ptr(), FIRST_BLOCK << number) })
    });
    core::iter::once(&FIRST[..]).chain(more)
}

fn slots() -> impl Iterator<Item = &'static Slot> {
    blocks().flatten()
}

/// Adds a block, the first that no other thread has added meanwhile.
fn add_block() -> Result<&'static [Slot], MapError> {
    for (number, place) in MORE.iter().enumerate() {
        if !place.load(Acquire).is_null() {
            continue;
        }
        let block: &'static [Slot] = zeroed_table(FIRST_BLOCK << number)?;
        let start = block.as_ptr().cast_mut();
        match place.compare_exchange(ptr::null_mut(), start, Release, Acquire) {
            Ok(_) => {
                // As in `seal_registry`: one of the two threads sees what the other has done.
                fence(SeqCst);
                if IS_SEALED.load(Relaxed) {
                    // SAFETY: the table comes from `zeroed_table`, and blocks are never given back.
                    let _ = unsafe { seal_table(block, block.len()) };
                }
                return Ok(block);
            }
            // SAFETY: the table comes from `zeroed_table`, no other thread has seen it, and this is
            // its last use.
            Err(_) => unsafe { release_table(block) },
        }
    }
    Err(MapError::no_memory())
}

/// Has the kernel refuse, for good, to unmap or replace the blocks of slots, also those that are
/// added later. (The first slots lie in the library's own data.)
///
/// # Errors
/// The first error; the other blocks are sealed all the same.
pub(crate) fn seal_registry() -> Result<(), NotHardened> {
    IS_SEALED.store(true, Relaxed);
    // `add_block` enters a block first, and looks at the flag afterwards. Here it is the other way
    // round. So each block is sealed here or there.
    fence(SeqCst);
    // SAFETY: `add_block` has the blocks from `zeroed_table`, and they are never given back.
    let seal = |block: &'static [Slot]| unsafe { seal_table(block, block.len()) };
    blocks().skip(1).map(seal).fold(Ok(()), Result::and)
}

/// The slot of the mapping that begins at `addr`.
pub(super) fn find(addr: NonNull<u8>) -> Option<&'static Slot> {
    slots().find(|slot| slot.addr.load(Acquire) == addr.addr().get())
}

/// The slot of the closed secret that begins at an address, with its pages.
pub(super) fn find_closed(secret: usize) -> Option<(&'static Slot, NonNull<u8>, usize)> {
    slots().find_map(|slot| {
        let (addr, len) = slot.pages()?;
        let (offset, ..) = slot.access.report()?;
        (addr.addr().get() + offset == secret).then_some((slot, addr, len))
    })
}

/// Whether the mapping that begins at `addr` is one of this library's, and locked.
pub(crate) fn is_locked(addr: NonNull<u8>) -> bool {
    notice_child();
    find(addr).is_some_and(|slot| slot.lock_state().is_ok())
}

/// Whether an address lies in a mapping of this library's that is locked. Takes a step for each
/// mapping. The caller must own memory there: other mappings come and go meanwhile.
pub(crate) fn is_locked_at(addr: usize) -> bool {
    notice_child();
    slots().any(|slot| {
        let start = slot.addr.load(Acquire);
        let len = slot.len.load(Relaxed);
        let has_it = start > CLOSED && addr.checked_sub(start).is_some_and(|at| at < len);
        let is_locked = has_it && slot.lock_state().is_ok();
        // The slot may have gone to another mapping meanwhile, which is elsewhere.
        fence(Acquire);
        is_locked && slot.addr.load(Relaxed) == start
    })
}

/// The lock state of the secret stack that the caller runs on; `None` if it runs on none. Takes a
/// step for each mapping.
pub(crate) fn own_stack_lock_state() -> Option<Result<(), LockError>> {
    notice_child();
    let frame = 0_u8;
    let frame = ptr::from_ref(&frame).addr();
    // A stack of this thread is neither made nor given up meanwhile.
    let own = slots().find(|slot| {
        let start = slot.addr.load(Acquire);
        let is_within = frame.checked_sub(start).is_some_and(|at| at < slot.len.load(Relaxed));
        start > CLOSED && slot.is_own_stack() && is_within
    })?;
    Some(own.lock_state())
}

/// Unlocks stacks that are in no call, of all threads, until that has been so many bytes; returns
/// how many bytes that were. Such stacks hold zeros, and each is locked again for its next call, as
/// far as there is room then.
///
/// Waits for nothing and allocates nothing. Takes a step for each mapping, if any stack is locked,
/// and two system calls for each stack that it unlocks. A stack that the system refuses to unlock
/// stays locked.
pub(super) fn unlock_idle_stacks(wanted: usize) -> usize {
    let mut unlocked = 0;
    if LOCKED_STACKS.load(Relaxed) != 0 {
        for slot in slots() {
            if unlocked >= wanted {
                break;
            }
            unlocked += slot.unlock_idle_stack();
        }
    }
    unlocked
}

/// How often a stack that is locked has become idle; wraps around. If this has changed since before
/// a lock was refused, another attempt may be worth it: the stack may give way.
pub(crate) fn stacks_idle_again() -> usize {
    IDLE_AGAIN.load(Acquire)
}

/// Whether an address lies in a mapping that has stayed with the parent process. Takes a step for
/// each mapping.
#[cfg(feature = "sealed")]
pub(crate) fn is_absent_at(addr: usize) -> bool {
    slots().any(|slot| {
        let start = slot.addr.load(Acquire);
        let at = addr.checked_sub(start);
        start > CLOSED && slot.is_absent() && at.is_some_and(|at| at < slot.len.load(Relaxed))
    })
}

/// A closed secret, as an address near it tells.
pub(crate) struct ClosedSecret {
    /// First address.
    pub(crate) addr: usize,
    /// Bytes.
    pub(crate) size: usize,
    pub(crate) state: ClosedState,
}

/// The closed secret that an address lies in, or in the guard pages around it. Takes a step for
/// each mapping, and no lock. Right unless the secret comes or goes at the same moment.
pub(crate) fn closed_secret_at(addr: usize) -> Option<ClosedSecret> {
    let page = System::page_size();
    slots().find_map(|slot| {
        let (start, len) = (slot.addr.load(Acquire), slot.len.load(Relaxed));
        let from_guard = addr.checked_sub(start.checked_sub(page)?)?;
        let is_near = start > CLOSED && from_guard < len + 2 * page && !slot.is_absent();
        let (offset, size, state) = slot.access.report().filter(|_| is_near)?;
        Some(ClosedSecret { addr: start + offset, size, state })
    })
}

/// Overwrites every live secret in locked memory with zeros, at once: all memory of every pool over
/// the system's own pages, the process-wide one included, and of every
/// [`LockedPages`](super::LockedPages). A panic button, for a signal handler or before a deliberate
/// crash.
///
/// It waits for no lock that the interrupted code could hold, and allocates nothing, so that it may
/// be called anywhere, also in a signal handler that interrupts this library. It makes no system
/// call, except that it opens each closed secret ([`ClosedBox`](crate::ClosedBox)), and closes it
/// again. (Where the system refuses to open one for writing, a
/// [protection key](crate::has_protection_key) lets it be wiped if it is closed. Without one, or if
/// it is open for reading, that one is not wiped. And in a child of `fork`, if it is called there
/// before this library's fork handler has run, the memory is put in order first.) Nothing else
/// changes: chunks stay allocated, and the pools remain usable. What other threads write meanwhile
/// or afterwards stays; what they read may be zeros from one moment to the next, so that a program
/// should end soon after it. Memory of foreign page allocators is not touched. It takes as long as
/// `memset` of all locked memory.
///
/// The secret stacks of other threads are wiped too, and a thread that runs on one crashes then.
/// (Those of the calling thread hold what it returns to: only what lies below that is wiped, from
/// 4 KiB below on. A stack whose function has returned is wiped whole.)
///
/// ```
/// let mut key = bitcoin_support::SecureBox::new([0x5a_u8; 32]);
/// // SAFETY: the only secret of this program is plain data, to which zeros are a value.
/// unsafe { bitcoin_support::wipe_everything() };
/// assert_eq!(key.expose_secret(), &[0; 32]);
/// key.expose_secret_mut()[0] = 1; // still usable
/// ```
///
/// # Safety
/// Objects that the program goes on to use must be valid when all their bytes are zeros: plain data
/// is, references and containers in locked memory are not. And it is as if any other thread had
/// written to its memory: a thread that must not take zeros for data must not go on.
pub unsafe fn wipe_everything() {
    // In a child, memory may be absent, and threads may have had locks that are not there.
    notice_child();
    WIPES.fetch_add(1, SeqCst);
    slots().for_each(Slot::wipe);
    WIPES.fetch_add(1, SeqCst);
}

/// What this library has mapped for secrets in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// Number of mappings.
    pub mappings: usize,
    /// Bytes in all of them, in whole pages, without their guard pages.
    pub total: usize,
    /// Bytes of `total` that are locked into memory.
    pub locked: usize,
}

impl MemoryStats {
    /// Whether all of it is locked, so that no secret of this process that lies in this library's
    /// memory can be swapped out.
    pub const fn is_fully_locked(&self) -> bool {
        self.locked == self.total
    }
}

/// What this library has mapped for secrets in this process: the arenas of every pool over the
/// system's own pages, the process-wide pool included, the pages of
/// [sampled](crate::LockedPoolManager::sample_one_in) chunks, every
/// [`LockedPages`](super::LockedPages), closed secrets, secret stacks, and the secrets that are
/// larger than an arena and so in no pool's statistics. If nothing else of the process locks
/// memory, `locked` is what the kernel counts (`VmLck` in `/proc/self/status`), except that some
/// kernels do not count secret memory there.
///
/// Memory that a child of `fork` does not have is not counted there, nor is memory of foreign page
/// allocators. The figures belong together as long as no other thread makes or frees a mapping
/// meanwhile. The call takes a step for each mapping, and no lock.
///
/// ```
/// use bitcoin_support::{SecureVec, memory_stats};
///
/// let before = memory_stats();
/// let large = SecureVec::try_from_slice(&[7_u8; 1 << 20])?; // in no pool
/// assert!(memory_stats().total >= before.total + large.len());
/// assert!(memory_stats().is_fully_locked());
/// # Ok::<(), bitcoin_support::OutOfLockedMemory>(())
/// ```
pub fn memory_stats() -> MemoryStats {
    // A handler of another library may ask this in the child before ours has run there.
    notice_child();
    let mut stats = MemoryStats::default();
    for slot in slots() {
        let (start, len) = (slot.addr.load(Acquire), slot.len.load(Relaxed));
        let (is_absent, is_locked) = (slot.is_absent(), slot.has(LOCKED));
        // The slot may have gone to another mapping meanwhile, of which this may be the length.
        fence(Acquire);
        if start > CLOSED && slot.addr.load(Relaxed) == start && !is_absent {
            stats.mappings += 1;
            stats.total += len;
            stats.locked += if is_locked { len } else { 0 };
        }
    }
    stats
}

/// Whether there is any mapping.
pub(super) fn is_used() -> bool {
    slots().any(|slot| slot.mapping().is_some())
}

/// Takes the memory of all mappings away, also of those that are in use: for the exit of the
/// process.
///
/// # Safety
/// The threads that use a mapping from then on must be ones that may end the process.
pub(super) unsafe fn withdraw_everything() {
    // SAFETY: the caller says that all threads that use a mapping may end the process.
    slots().for_each(|slot| unsafe { slot.withdraw() });
}

/// Changes with every [`wipe_everything`], when it begins and when it ends: a thread that sees it
/// change may find zeros where something else was.
pub(crate) fn wipes() -> u32 {
    WIPES.load(SeqCst)
}

/// For a child process, in which this is the only thread: puts all mappings in order.
pub(super) fn after_fork() {
    slots().for_each(Slot::after_fork);
    let locked = slots().filter(|slot| slot.is_locked_stack() && slot.mapping().is_some());
    LOCKED_STACKS.store(locked.map(|slot| slot.len.load(Relaxed)).sum(), Relaxed);
}
