//! The owner of pages, and how they are mapped.

use super::access::{ClosedState, Use};
use super::address_range::Place;
use super::error::{LockError, MapError, PagesError, ProtectionError, Refusals, Refused};
use super::forks::join_forks;
use super::limits::{has_page_size, page_size};
use super::options::{ForkPolicy, PageOptions, SecretMemory};
use super::registry::{self, Slot, TakenSlot};
use crate::cleanse::memory_cleanse;
use crate::fork::notice_child;
use crate::sys::{Hardening, Limits, LockRefusal, Memory, NoSecretMemory, NotHardened, System};
use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Owner of a mapping for secrets: readable and writable, zero-filled, between two inaccessible
/// guard pages, and as far as the system lets it, locked into memory, excluded from core dumps, and
/// neither merged with other pages nor backed by huge ones. Wiped, unlocked and unmapped on drop.
///
/// Sending it to another thread is sound: a mapping belongs to the process.
///
/// ```
/// use bitcoin_support::LockedPages;
///
/// let mut pages = LockedPages::new(1)?;
/// assert_eq!(pages.len(), bitcoin_support::page_size());
/// pages.as_mut_slice()[..6].copy_from_slice(b"secret");
/// if let Err(error) = pages.lock_state() {
///     eprintln!("{error}");
/// }
/// # Ok::<(), bitcoin_support::MapError>(())
/// ```
pub struct LockedPages {
    addr: NonNull<u8>,
    len: usize,
    /// Its entry in the registry, which has the rest: what a child process may have to change.
    slot: &'static Slot,
    /// Whether the pages lie in an [`AddressRange`](super::AddressRange), to which they return.
    in_range: bool,
    /// See [`secret_memory_refusal`](Self::secret_memory_refusal).
    secret_memory_refusal: Option<i32>,
}

// SAFETY: the mapping is owned by this value alone and is valid in every thread of the process.
unsafe impl Send for LockedPages {}
// SAFETY: a shared reference gives read access only, and nothing in here changes behind it.
unsafe impl Sync for LockedPages {}

impl LockedPages {
    /// Maps `len` bytes, rounded up to whole pages, and locks them. Pages that cannot be locked are
    /// returned all the same: ask [`lock_state`](Self::lock_state).
    ///
    /// Costs about six system calls, and later a page fault for every page when it is first
    /// touched.
    ///
    /// # Errors
    /// When the pages cannot be mapped, or `len` is 0 or too large for the address space.
    pub fn new(len: usize) -> Result<Self, MapError> {
        Self::with_page_size(len, page_size())
    }

    /// Like [`new`](Self::new), with pages of a given size in bytes: the system's common ones or,
    /// where it has them ([`has_page_size`]), huge ones. `len` is rounded up to whole pages of that
    /// size.
    ///
    /// # Errors
    /// As for [`new`](Self::new); also when the system has no such pages, or none left: huge pages
    /// are set aside by its administrator (`vm.nr_hugepages` on Linux).
    pub fn with_page_size(len: usize, page_size: usize) -> Result<Self, MapError> {
        let pages = map_protected(len, &PageOptions { page_size, ..PageOptions::default() })?;
        pages.lock();
        Ok(pages)
    }

    /// Like [`new`](Self::new), but keeps no pages that cannot be locked.
    ///
    /// # Errors
    /// As for [`new`](Self::new) ([`PagesError::Map`]); also when they cannot be locked
    /// ([`PagesError::Lock`]).
    pub fn new_locked(len: usize) -> Result<Self, PagesError> {
        let options = PageOptions { require_lock: true, ..PageOptions::default() };
        map(Place::anywhere(len), &options).map_err(|refused| refused.error)
    }

    /// Locks the pages, as far as the system lets it.
    fn lock(&self) {
        // SAFETY: this value owns the pages.
        let lock = || unsafe { System::lock(self.addr, self.len) };
        let locked = lock()
            .or_else(|refusal| if make_room(self.len, &refusal) { lock() } else { Err(refusal) });
        self.slot.set_lock_state(locked.map_err(LockError::from));
    }

    /// Locks a stack that is in a call and not locked, as far as the system lets it; unless all
    /// stacks that are locked would have more than `bound` bytes with it. Those in no call give way
    /// to it.
    pub(crate) fn lock_stack(&self, bound: usize) -> Result<(), LockError> {
        let others_give_way = || self.len <= bound && registry::unlock_idle_stacks(self.len) > 0;
        if self.slot.count(bound) || (others_give_way() && self.slot.count(bound)) {
            self.lock();
            if self.lock_state().is_err() {
                self.slot.uncount();
            }
        }
        self.lock_state()
    }

    /// Notes that this stack, which is idle, is in a call from now on. Its lock stays as it is
    /// until the call is over: the locks of idle stacks are given up where memory cannot be locked
    /// otherwise.
    pub(crate) fn begin_call(&self) {
        // A handler of another library may do this in the child before ours has run there: the
        // stack is not locked yet, and a thread of the parent may have been unlocking it.
        notice_child();
        self.slot.stack_usage().begin_call();
    }

    /// Notes that the function has returned, and that the thread is on another stack again. From
    /// now on the panic button wipes all of this one.
    pub(crate) fn note_return(&self) {
        self.slot.stack_usage().note_return();
    }

    /// Notes that this stack holds zeros, and is in no call any more.
    pub(crate) fn end_call(&self) {
        self.slot.end_call();
    }

    /// The pages, if they have what the options require. Nothing has been written to them.
    fn if_accepted(self, options: &PageOptions) -> Result<Self, PagesError> {
        let refusals = self.refusals();
        match self.lock_state() {
            Err(error) if options.require_lock => {
                self.discard();
                Err(error.into())
            }
            _ if options.require_protections && refusals.first().is_some() => {
                self.discard();
                Err(PagesError::Protections(refusals.missing()))
            }
            _ => Ok(self),
        }
    }

    /// Gives up pages in which there is no secret, without wiping them: a wipe would make them
    /// resident.
    pub(crate) fn discard(self) {
        ManuallyDrop::new(self).unmap();
    }

    /// Gives the mapping back to the system, or to its range. The last thing that happens to it.
    fn unmap(&mut self) {
        self.slot.close();
        if self.slot.is_taken() || self.slot.is_sealed() {
            // In this child, something else has the addresses; or they stay as they are.
        } else if self.in_range {
            // SAFETY: this value owns the pages, and nothing can use them after it. Their addresses
            // stay reserved.
            unsafe { System::make_inaccessible(self.addr, self.len) };
        } else {
            // SAFETY: this value owns the pages, and nothing can use them after it. `map` has them
            // from `reserve_guarded` or `map_guarded_huge`, with this length.
            unsafe { System::unmap_guarded(self.addr, self.len) };
        }
        self.slot.vacate();
    }

    /// Has the kernel refuse, for good, to unmap, replace or change the access to the pages and the
    /// guard pages on both sides. They are never unmapped then.
    ///
    /// # Safety
    /// There must be a guard page on each side that is one as long as the process lives.
    pub(crate) unsafe fn seal(&self) -> Result<(), NotHardened> {
        if !self.slot.may_be_sealed() {
            return Err(NotHardened::NotSupported);
        }
        let page = page_size();
        let Some(start) = NonNull::new(self.addr.as_ptr().wrapping_sub(page)) else {
            return Err(NotHardened::NotSupported);
        };
        // SAFETY: the pages are mapped, and so are the guard pages, as the caller says. The
        // registry takes no access away from pages that are noted as sealed, in this process or in
        // a child, and `unmap` leaves them.
        unsafe { System::seal(start, self.len + 2 * page) }?;
        self.slot.note_sealed();
        Ok(())
    }

    /// Whether the pages are locked, and if not, why.
    ///
    /// In a child process they have been locked again before `fork` returned, as far as the system
    /// let us.
    pub fn lock_state(&self) -> Result<(), LockError> {
        // A handler of another library may ask this in the child before ours has run there.
        notice_child();
        self.slot.lock_state()
    }

    /// Whether this is secret memory.
    pub(crate) fn is_secret_memory(&self) -> bool {
        self.slot.is_secret_memory()
    }

    /// The error number with which secret memory was refused, if it was preferred and these are
    /// other pages. (A refusal by the limit on locked memory does not count: it says nothing about
    /// secret memory.)
    pub(crate) fn secret_memory_refusal(&self) -> Option<i32> {
        self.secret_memory_refusal
    }

    /// Whether this is a child process and the memory has stayed with its parent.
    pub(crate) fn is_absent(&self) -> bool {
        // A handler of another library may ask this in the child before ours has run there.
        notice_child();
        self.slot.is_absent()
    }

    /// Whether the system accepted the protections besides locking (no core dump, no merging, no
    /// huge pages); otherwise the error number of the first that it refused.
    pub fn advice_state(&self) -> Result<(), i32> {
        self.refusals().first().map_or(Ok(()), |error| Err(error.errno))
    }

    /// What the system refused besides the lock.
    pub(crate) fn refusals(&self) -> Refusals {
        self.slot.refusals()
    }

    /// Closes the pages, from now on whenever there is no [use](Self::begin_use) of them: an access
    /// is a fault then. They stay locked. The secret in them has `size` bytes, more than 0, from
    /// `offset` on.
    ///
    /// # Errors
    /// When the system refuses. The pages stay accessible.
    ///
    /// # Safety
    /// The caller must not access the pages without a use from now on, and must begin one for
    /// writing before the pages are dropped.
    pub(crate) unsafe fn close_while_unused(
        &self,
        offset: usize,
        size: usize,
    ) -> Result<(), MapError> {
        // SAFETY: this value owns the mapping, and the caller uses it as it is counted.
        unsafe { self.slot.close_while_unused(offset, size) }
    }

    /// Makes the pages accessible to all threads of the process, until the use
    /// [ends](Self::end_use). Two or three system calls. Any thread may call this, and a signal
    /// handler too.
    ///
    /// # Errors
    /// When the system refuses. There is no use then.
    pub(crate) fn begin_use(&self, purpose: Use) -> Result<(), MapError> {
        // SAFETY: this value owns the mapping. The count of uses ends with it.
        unsafe { self.slot.begin_use(purpose) }
    }

    /// Ends a use. The pages are closed with the last. `false` if there is no such use.
    ///
    /// # Errors
    /// When the system refuses to close them. The use has ended all the same.
    ///
    /// # Safety
    /// The use that ends must be the caller's.
    pub(crate) unsafe fn end_use(&self, purpose: Use) -> Result<bool, MapError> {
        // A handler of another library may do this in the child before ours has run there.
        notice_child();
        // SAFETY: the caller says that the use is its own.
        unsafe { self.slot.end_use(purpose) }
    }

    /// Gives pages back that the system refuses to open for writing. The calling thread wipes them
    /// before if they are closed and there is a protection key. Otherwise the system gets them as
    /// they are: it fills them with zeros before a process gets them again, this one included.
    pub(crate) fn give_up_closed(self) {
        self.slot.wipe();
        self.discard();
    }

    /// The pages of the closed secret that begins at an address; `None` if there is none. Takes a
    /// step for each mapping.
    ///
    /// # Safety
    /// If there is one, its pages must have been given up by [`into_raw`](Self::into_raw) of an
    /// owner that was mapped anywhere, and must not go during the life of the value.
    pub(crate) unsafe fn of_closed(secret: NonNull<u8>) -> Option<ManuallyDrop<Self>> {
        let (slot, addr, len) = registry::find_closed(secret.addr().get())?;
        let pages = Self { addr, len, slot, in_range: false, secret_memory_refusal: None };
        Some(ManuallyDrop::new(pages))
    }

    /// The state of pages that are closed while they are not in use.
    pub(crate) fn closed_state(&self) -> ClosedState {
        self.slot.closed_state().unwrap_or(ClosedState::Writable)
    }

    /// Address of the first byte. Writing through it needs what any shared mutable memory needs;
    /// the pages themselves are writable for as long as the owner lives.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.addr
    }

    /// Number of bytes, a multiple of [`page_size`].
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.len
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the mapping is readable over its length, initialized (zero-filled by the system),
        // and writable through an exclusive reference to its owner only.
        unsafe { core::slice::from_raw_parts(self.addr.as_ptr(), self.len) }
    }

    /// The bytes, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is readable and writable over its length and initialized, and its
        // owner is borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.addr.as_ptr(), self.len) }
    }

    /// Gives up ownership of the mapping, which stays as it is: its address, and whether it is
    /// locked.
    pub(crate) fn into_raw(self) -> (NonNull<u8>, bool) {
        let pages = ManuallyDrop::new(self);
        (pages.addr, pages.lock_state().is_ok())
    }

    /// Takes ownership of a mapping back.
    ///
    /// # Safety
    /// `addr` must come from [`into_raw`](Self::into_raw) of an owner made by [`new`](Self::new) or
    /// [`map`] anywhere, with the same `len`, and must not be owned again already.
    pub(crate) unsafe fn from_raw(addr: NonNull<u8>, len: usize) -> Self {
        // Without an entry it is no mapping of this library: the caller has broken the contract.
        let Some(slot) = registry::find(addr) else { std::process::abort() };
        let len = len.next_multiple_of(page_size());
        Self { addr, len, slot, in_range: false, secret_memory_refusal: None }
    }
}

impl Zeroize for LockedPages {
    fn zeroize(&mut self) {
        // SAFETY: the mapping is writable over its length and borrowed exclusively.
        unsafe { memory_cleanse(self.addr.as_ptr(), self.len) };
    }
}

impl ZeroizeOnDrop for LockedPages {}

impl Drop for LockedPages {
    fn drop(&mut self) {
        if !self.is_absent() {
            self.zeroize();
        }
        self.unmap();
    }
}

impl fmt::Debug for LockedPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedPages")
            .field("addr", &self.addr)
            .field("len", &self.len)
            .field("lock", &self.lock_state())
            .finish_non_exhaustive()
    }
}

/// Maps pages in a place, readable and writable, with every protection but the lock before they are
/// locked: no page is ever resident without them. The length is rounded up to whole pages; in an
/// address range it must be whole pages.
///
/// Costs about six system calls; for secret memory, one more for each page.
///
/// # Errors
/// What was refused and is required by the options; or [`PagesError::Map`] when the pages cannot be
/// mapped, or the length is 0 or too large for the address space.
pub(crate) fn map(place: Place, options: &PageOptions) -> Result<LockedPages, Refused> {
    let mut secret_memory = None;
    match try_map(place, options, &mut secret_memory) {
        Ok(mut pages) => {
            pages.secret_memory_refusal = secret_memory;
            Ok(pages)
        }
        Err(error) => Err(Refused { error, secret_memory }),
    }
}

/// [`map`], which notes the error number of a refusal of secret memory.
fn try_map(
    place: Place,
    options: &PageOptions,
    secret_memory_refusal: &mut Option<i32>,
) -> Result<LockedPages, PagesError> {
    let secret_memory = options.secret_memory;
    let (in_range, len) = place.into_parts();
    if secret_memory == SecretMemory::Off && in_range.is_none() {
        let pages = map_protected(len, options)?;
        if options.is_stack {
            let not_tried = LockError { errno: 0, limit: System::lock_limit() };
            pages.slot.set_lock_state(Err(not_tried));
        } else {
            pages.lock();
        }
        return pages.if_accepted(options);
    }
    let len = padded(len, page_size())?;
    join_forks();
    let slot = TakenSlot::take()?;
    let reserved = Reserved::at(in_range, len)?;
    if secret_memory != SecretMemory::Off {
        let place = || {
            // SAFETY: the addresses are reserved, and used by no one.
            let placed = unsafe { System::place_secret_memory(reserved.addr, len) };
            if placed.is_err() {
                // SAFETY: as long as they are reserved, no one uses them.
                unsafe { System::make_inaccessible(reserved.addr, len) };
            }
            placed
        };
        let placed = place().or_else(|refusal| match &refusal {
            NoSecretMemory::Limit(refused) if make_room(len, refused) => place(),
            _ => Err(refusal),
        });
        match placed {
            Ok(()) => {
                let pages = reserved.into_pages(slot, options, true);
                pages.slot.set_lock_state(Ok(()));
                return pages.if_accepted(options);
            }
            Err(refusal) => {
                let is_required = secret_memory == SecretMemory::Require;
                match refusal {
                    NoSecretMemory::Limit(refusal) if is_required || options.require_lock => {
                        return Err(PagesError::Lock(refusal.into()));
                    }
                    NoSecretMemory::Limit(_) => {}
                    NoSecretMemory::Unavailable(errno) => {
                        *secret_memory_refusal = Some(errno.number());
                        if is_required {
                            return Err(PagesError::SecretMemory(errno.number()));
                        }
                    }
                }
            }
        }
    }
    // SAFETY: the addresses are reserved, and used by no one.
    unsafe { System::make_accessible(reserved.addr, len) }.map_err(MapError::of)?;
    let pages = reserved.into_pages(slot, options, false);
    pages.lock();
    pages.if_accepted(options)
}

/// When a lock has been refused to `len` bytes: unlocks as much of the stacks that are in no call,
/// unless the limit is too low for those bytes anyway, or a sandbox refuses all locks. Returns
/// whether another attempt is worth it: some stack has been unlocked.
fn make_room(len: usize, refusal: &LockRefusal) -> bool {
    let is_of_limit = len <= refusal.limit && !refusal.errno.is_of_a_sandbox();
    is_of_limit && registry::unlock_idle_stacks(len) > 0
}

/// Maps `len` bytes anywhere, rounded up to whole pages, with every protection but the lock.
fn map_protected(len: usize, options: &PageOptions) -> Result<LockedPages, MapError> {
    let size = options.page_size;
    if !has_page_size(size) {
        return Err(MapError::invalid());
    }
    let len = padded(len, size)?;
    join_forks();
    let slot = TakenSlot::take()?;
    let reserved = if size == page_size() {
        let reserved = Reserved::at(None, len)?;
        // SAFETY: the addresses are reserved, and used by no one.
        unsafe { System::make_accessible(reserved.addr, len) }.map_err(MapError::of)?;
        reserved
    } else {
        let addr = System::map_guarded_huge(len, size).map_err(MapError::of)?;
        Reserved { addr, len, in_range: false }
    };
    Ok(reserved.into_pages(slot, options, false))
}

/// The first protection besides the lock that the system refuses now to memory for secrets, if any.
pub(crate) fn refused_protection(fork: ForkPolicy) -> Result<Option<ProtectionError>, MapError> {
    let pages = map_protected(1, &PageOptions { fork, ..PageOptions::default() })?;
    let refusal = pages.refusals().first();
    pages.discard();
    Ok(refusal)
}

/// `len` rounded up to whole pages of `size` bytes, if it is a length that can be mapped.
fn padded(len: usize, size: usize) -> Result<usize, MapError> {
    let padded = len
        .checked_next_multiple_of(size)
        .filter(|&len| len > 0 && len <= isize::MAX as usize - 2 * page_size());
    padded.ok_or_else(MapError::invalid)
}

/// Addresses for pages that are not made yet. Given back to the system when they are dropped,
/// unless they lie in a range.
struct Reserved {
    addr: NonNull<u8>,
    len: usize,
    in_range: bool,
}

impl Reserved {
    /// `len` bytes at an address in a range, or anywhere between guard pages.
    fn at(in_range: Option<NonNull<u8>>, len: usize) -> Result<Self, MapError> {
        match in_range {
            Some(addr) => Ok(Self { addr, len, in_range: true }),
            None => {
                let addr = System::reserve_guarded(len).map_err(MapError::of)?;
                Ok(Self { addr, len, in_range: false })
            }
        }
    }

    /// The owner of the pages, which are accessible now, with its entry in the registry.
    fn into_pages(self, slot: TakenSlot, options: &PageOptions, is_secret: bool) -> LockedPages {
        let Self { addr, len, in_range } = *ManuallyDrop::new(self);
        // SAFETY: the pages are accessible, and belong to the value that is made here, which closes
        // the entry before it unmaps them.
        let slot = unsafe { slot.enter(addr, len, options, is_secret) };
        LockedPages { addr, len, slot, in_range, secret_memory_refusal: None }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.in_range {
            // SAFETY: reserved with guard pages, or mapped with them, with this length; used by no
            // one.
            unsafe { System::unmap_guarded(self.addr, self.len) };
        }
    }
}
