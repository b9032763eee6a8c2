//! Every mapping for secrets that the process has, in a table that needs no lock: for whoever must find
//! them all in a hurry, a signal handler that wipes or a child process right after its fork.
//!
//! Private to `pages`; depends on `cleanse`, `edges`, `fork` and the operating system's file. A slot of the table is taken
//! when a mapping is made and given up before it is unmapped. Nothing here waits for a lock, and nothing
//! but taking a slot may ask the system for memory.

use super::{ForkPolicy, LockError, MapError, Protection, Refusals, exit, os, secret_memory};
use crate::cleanse::memory_cleanse;
use crate::edges;
use crate::fork::{self, Participant};
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU16, AtomicU32, AtomicUsize};

/// What is known of a mapping.
#[derive(bytemuck::Zeroable)]
pub(super) struct Slot {
    /// First byte, or one of the marks below.
    addr: AtomicUsize,
    len: AtomicUsize,
    /// The bits below.
    flags: AtomicU32,
    /// How many are just writing to the mapping through the table. It stays mapped meanwhile.
    pins: AtomicU32,
    /// Why it is not locked.
    errno: AtomicI32,
    limit: AtomicUsize,
    /// See [`Refusals`].
    refusals: [AtomicU16; Protection::ALL.len()],
}

/// Nobody's slot.
const VACANT: usize = 0;
/// Somebody's, and not to be used: the mapping is not made yet, or about to go.
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
/// In a child, besides: somebody else has the addresses.
const TAKEN: u32 = 1 << 6;

const FIRST_BLOCK: usize = 64;
const BLOCKS: usize = 24;

static FIRST: [Slot; FIRST_BLOCK] = [const { Slot::new() }; FIRST_BLOCK];
/// Further slots: each block has as many as all before it. Blocks are never given back.
static MORE: [AtomicPtr<Slot>; BLOCKS] = [const { AtomicPtr::new(ptr::null_mut()) }; BLOCKS];
/// Where the search for a vacant slot begins.
static NEXT: AtomicUsize = AtomicUsize::new(0);
/// How often [`wipe_everything`] has begun or ended.
static WIPES: AtomicU32 = AtomicU32::new(0);

impl Slot {
    const fn new() -> Self {
        Self {
            addr: AtomicUsize::new(VACANT),
            len: AtomicUsize::new(0),
            flags: AtomicU32::new(0),
            pins: AtomicU32::new(0),
            errno: AtomicI32::new(0),
            limit: AtomicUsize::new(0),
            refusals: [const { AtomicU16::new(0) }; Protection::ALL.len()],
        }
    }

    /// Takes a slot for a mapping that is going to be made.
    pub(super) fn take() -> Result<&'static Self, MapError> {
        /// A slot of a block that is vacant and now the caller's, with its place.
        fn vacant_in(slots: &'static [Slot], from: usize) -> Option<(usize, &'static Slot)> {
            (from..slots.len()).map(|at| (at, &slots[at])).find(|(_, slot)| {
                slot.addr.load(Relaxed) == VACANT
                    && slot.addr.compare_exchange(VACANT, CLOSED, Acquire, Relaxed).is_ok()
            })
        }
        at_fork_of_process();
        let from = NEXT.load(Relaxed);
        for start in [from, 0] {
            let mut first = 0;
            for block in blocks() {
                if let Some((at, slot)) = vacant_in(block, start.saturating_sub(first)) {
                    NEXT.store(first + at + 1, Relaxed);
                    slot.flags.store(0, Relaxed);
                    return Ok(slot);
                }
                first += block.len();
            }
        }
        let block = add_block()?;
        let taken = vacant_in(block, 0).map(|(_, slot)| slot);
        // It is `None` only if others were quicker, a whole block of times.
        taken.ok_or_else(MapError::no_memory)
    }

    /// Gives up a slot whose mapping could not be made.
    pub(super) fn vacate(&self) {
        self.addr.store(VACANT, Release);
    }

    /// Gives the mapping its protections but for the lock, and enters it.
    pub(super) fn open(&self, addr: NonNull<u8>, len: usize, fork: ForkPolicy, secret: bool) {
        let mut flags = if secret { SECRET_MEMORY } else { 0 };
        let mut refusals = os::keep_private(addr, len);
        let by_kernel = match fork {
            ForkPolicy::Keep => Ok(()),
            ForkPolicy::Wipe => {
                flags |= WIPE_IN_CHILD;
                os::wipe_on_fork(addr, len)
            }
            ForkPolicy::Absent => {
                flags |= ABSENT_IN_CHILD;
                os::do_not_fork(addr, len)
            }
        };
        match by_kernel {
            Ok(()) => flags |= BY_KERNEL,
            // The child sees to it itself. (A system that does not know the notion has refused nothing.)
            Err(error) => refusals.add(Protection::ForkPolicy, super::errno_of(&error)),
        }
        for (place, errno) in self.refusals.iter().zip(refusals.0) {
            place.store(errno, Relaxed);
        }
        self.flags.store(flags, Relaxed);
        self.len.store(len, Relaxed);
        self.addr.store(addr.as_ptr().expose_provenance(), Release);
    }

    /// Keeps everybody off the mapping, which is going to be unmapped: waits for those who are writing.
    pub(super) fn close(&self) {
        // Whoever sets a pin looks at the address afterwards, and the other way round here.
        self.addr.store(CLOSED, SeqCst);
        while self.pins.load(SeqCst) != 0 {
            std::thread::yield_now();
        }
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

    /// Whether somebody else has the addresses.
    pub(super) fn is_taken(&self) -> bool {
        self.has(TAKEN)
    }

    /// Zeros in all of it, if it is a mapping with memory.
    fn wipe(&self) {
        self.pins.fetch_add(1, SeqCst);
        let addr = self.addr.load(SeqCst);
        if addr > CLOSED && !self.has(ABSENT) {
            let start = ptr::with_exposed_provenance_mut(addr);
            edges::open(start, self.len.load(Relaxed));
            // SAFETY: an entered mapping is writable over its length, and is not unmapped as long as the
            // pin is set. Whoever uses it may find zeros there from now on, which is what is asked for.
            unsafe { memory_cleanse(start, self.len.load(Relaxed)) };
        }
        self.pins.fetch_sub(1, SeqCst);
    }

    /// Takes the memory of the mapping away, if it has any. Its addresses stay set aside.
    ///
    /// # Safety
    /// Whoever uses the mapping must be one that may end the process.
    unsafe fn withdraw(&self) {
        self.pins.fetch_add(1, SeqCst);
        if let (Some(addr), false) = (self.mapping(), self.has(ABSENT)) {
            // SAFETY: an entered mapping is not unmapped as long as the pin is set; for those who use it, by
            // this function's contract.
            unsafe { os::make_inaccessible(addr, self.len.load(Relaxed)) };
        }
        self.pins.fetch_sub(1, SeqCst);
    }

    /// Sees to the mapping in a child process, in which it is the only thread.
    fn after_fork(&self) {
        // Whoever was writing has stayed with the parent.
        self.pins.store(0, Relaxed);
        let Some(addr) = self.mapping() else { return };
        let len = self.len.load(Relaxed);
        if self.has(ABSENT) {
            return; // since an earlier fork
        }
        if self.has(ABSENT_IN_CHILD) {
            self.set_lock_state(Err(LockError { errno: 0, limit: os::limit() }));
            self.flags.fetch_or(ABSENT, Relaxed);
            // SAFETY: the mapping is ours, and from here on nobody uses it.
            if !unsafe { os::withdraw(addr, len, self.has(BY_KERNEL)) } {
                self.flags.fetch_or(TAKEN, Relaxed);
            }
            return;
        }
        if self.has(WIPE_IN_CHILD) && !self.has(BY_KERNEL) {
            self.wipe();
        }
        if self.has(LOCKED) {
            self.set_lock_state(os::try_lock(addr, len));
        }
    }

    /// The address, if a mapping is entered.
    fn mapping(&self) -> Option<NonNull<u8>> {
        let addr = self.addr.load(Acquire);
        if addr > CLOSED { NonNull::new(ptr::with_exposed_provenance_mut(addr)) } else { None }
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

/// Adds a block; the first of those that nobody else has added meanwhile.
fn add_block() -> Result<&'static [Slot], MapError> {
    for (number, place) in MORE.iter().enumerate() {
        if !place.load(Acquire).is_null() {
            continue;
        }
        let block: &'static [Slot] = super::zeroed_table(FIRST_BLOCK << number)?;
        let start = block.as_ptr().cast_mut();
        match place.compare_exchange(ptr::null_mut(), start, Release, Acquire) {
            Ok(_) => return Ok(block),
            // SAFETY: nobody has seen this table, and this is its last use.
            Err(_) => unsafe { super::release_table(block) },
        }
    }
    Err(MapError::no_memory())
}

/// The slot of the mapping that begins at `addr`.
pub(super) fn find(addr: NonNull<u8>) -> Option<&'static Slot> {
    slots().find(|slot| slot.addr.load(Acquire) == addr.addr().get())
}

/// Whether the mapping that begins at `addr` is one of this library's, and locked.
pub(crate) fn is_locked(addr: NonNull<u8>) -> bool {
    find(addr).is_some_and(|slot| slot.lock_state().is_ok())
}

/// Overwrites every live secret in locked memory with zeros, at once: all memory of every pool over the
/// system's own pages, the process-wide one included, and of every [`LockedPages`](super::LockedPages).
/// A panic button, for a signal handler or before a deliberate crash.
///
/// It takes no lock, allocates nothing and makes no system call, so that it may be called anywhere, also
/// in a signal handler that interrupts this library. Nothing else changes: chunks stay allocated, and the
/// pools remain usable. What other threads write meanwhile or afterwards stays; what they read may be zeros
/// from one moment to the next, so that a program should end soon after it. Memory of foreign page
/// allocators is not touched. It takes as long as `memset` of all locked memory.
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
/// Objects that the program goes on to use must be valid when all their bytes are zeros: plain data is,
/// references and containers in locked memory are not. And it is as if any other thread had written to its
/// memory: a thread that must not take zeros for data must not go on.
pub unsafe fn wipe_everything() {
    WIPES.fetch_add(1, SeqCst);
    slots().for_each(Slot::wipe);
    WIPES.fetch_add(1, SeqCst);
}

/// Whether there is any mapping.
pub(super) fn is_used() -> bool {
    slots().any(|slot| slot.mapping().is_some())
}

/// Takes the memory of all mappings away, whoever uses it: for the exit of the process.
///
/// # Safety
/// Whoever uses a mapping from then on must be one that may end the process.
pub(super) unsafe fn withdraw_everything() {
    // SAFETY: by this function's contract.
    slots().for_each(|slot| unsafe { slot.withdraw() });
}

/// Changes with every [`wipe_everything`], when it begins and when it ends: whoever sees it change may find
/// zeros where something else was.
pub(crate) fn wipes() -> u32 {
    WIPES.load(SeqCst)
}

/// From the first call on, a child process sees to its mappings before it uses any, and before `fork` returns in
/// it.
pub(crate) fn at_fork_of_process() {
    static RELOCK: Participant = Participant { prepare: || (), child: in_child, done: || () };
    exit::note_process();
    fork::register(&RELOCK);
}

fn in_child() {
    exit::note_child();
    slots().for_each(Slot::after_fork);
}

/// Whether the system has secret memory, asked of it anew; the error number if not.
pub(crate) fn has_secret_memory() -> Result<(), i32> {
    secret_memory::probe().map_err(|error| super::errno_of(&error))
}
