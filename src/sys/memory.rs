//! The contract about memory.
//!
//! Addresses are *reserved* first: they are inaccessible, have no memory, and are not locked, also
//! in a process that has everything locked that it maps. Then they are made *accessible*, which
//! gives them memory as it is touched, full of zeros.

use super::errno::Errno;
use core::ffi::CStr;
use core::ptr::NonNull;

/// Pages of memory, see the [contract](super).
pub(crate) trait Memory {
    /// Size of a page in bytes, a power of two. It never changes. Cheap: no system call after the
    /// first.
    fn page_size() -> usize;

    /// Whether the system has pages of `size` bytes besides those of
    /// [`page_size`](Self::page_size). Allocates.
    fn has_huge_pages(size: usize) -> bool;

    /// Reserves `len` bytes of addresses.
    fn reserve(len: usize) -> Result<NonNull<u8>, Errno>;

    /// Reserves `len` bytes of addresses, with a guard page in front of them and one behind them.
    /// `len` must be small enough that two pages more fit into the address space.
    fn reserve_guarded(len: usize) -> Result<NonNull<u8>, Errno>;

    /// Maps `len` accessible bytes in pages of `huge` bytes, of which `len` is a multiple, with a
    /// guard page of the common size in front of them and one behind them.
    fn map_guarded_huge(len: usize, huge: usize) -> Result<NonNull<u8>, Errno>;

    /// Makes reserved addresses readable and writable. They hold zeros, or what they have held when
    /// they were [readable](Self::make_readable).
    ///
    /// # Safety
    /// The caller must own the addresses: they must be reserved by this trait, and used by no one,
    /// or only by readers that [`make_readable`](Self::make_readable) lets read zeros there.
    unsafe fn make_accessible(addr: NonNull<u8>, len: usize) -> Result<(), Errno>;

    /// Makes reserved addresses readable. They hold zeros. They take no memory; except on Windows,
    /// they take no part of what a system promises to processes that promises no more than it has.
    ///
    /// # Safety
    /// The caller must own the addresses: they must be reserved by this trait, and used by no one.
    unsafe fn make_readable(addr: NonNull<u8>, len: usize) -> Result<(), Errno>;

    /// Turns pages into reserved addresses: unlocks them and gives their memory up. Where the
    /// system refuses that for another reason than a sandbox, the bookkeeping of this library is
    /// broken, and the process ends.
    ///
    /// # Safety
    /// The caller must own the pages: they must be reserved by this trait, and used by no one, or
    /// only by threads that may end the process by an access that faults.
    unsafe fn make_inaccessible(addr: NonNull<u8>, len: usize);

    /// Unmaps pages, which unlocks them. Where the system refuses that for another reason than a
    /// sandbox, the bookkeeping of this library is broken, and the process ends. Where a sandbox
    /// refuses, the addresses stay reserved, without memory as far as the sandbox allows that.
    ///
    /// # Safety
    /// The caller must own the pages: they must come from [`reserve`](Self::reserve), whole, and be
    /// used by no one.
    unsafe fn unmap(addr: NonNull<u8>, len: usize);

    /// Unmaps pages and the guard pages around them; see [`unmap`](Self::unmap). Where the process
    /// has as many mappings as it may have, the guard pages may stay.
    ///
    /// # Safety
    /// The caller must own the pages: they must come from
    /// [`reserve_guarded`](Self::reserve_guarded) or [`map_guarded_huge`](Self::map_guarded_huge)
    /// with the same `len`, and be used by no one.
    unsafe fn unmap_guarded(addr: NonNull<u8>, len: usize);

    /// Locks pages: those in memory at once, the others as they come into memory. All of them count
    /// against the limit at once. Where the system cannot do that, every page is brought into
    /// memory and locked. Locks do not nest: one unlock undoes any number of them.
    ///
    /// # Safety
    /// The caller must own the pages, which must be accessible.
    unsafe fn lock(addr: NonNull<u8>, len: usize) -> Result<(), LockRefusal>;

    /// Unlocks pages. Where that is refused, they stay as they are.
    ///
    /// # Safety
    /// The pages must be mapped, and no one may count on their lock.
    unsafe fn unlock(addr: NonNull<u8>, len: usize) -> Result<(), Errno>;

    /// Excludes pages from core dumps, from merging with equal pages and from huge pages, as far as
    /// the system has these notions. Tries everything, and tells what was refused.
    ///
    /// # Safety
    /// The caller must own the pages, which must be accessible.
    unsafe fn keep_private(addr: NonNull<u8>, len: usize) -> NotPrivate;

    /// From now on, child processes find zeros in the pages. `false` where the system has no such
    /// notion.
    ///
    /// # Safety
    /// The caller must own the pages. Children must not take the zeros for what their parent had
    /// there.
    unsafe fn wipe_in_children(addr: NonNull<u8>, len: usize) -> Result<bool, Errno>;

    /// From now on, child processes do not have the pages. `false` where the system has no such
    /// notion.
    ///
    /// # Safety
    /// The caller must own the pages. Children must not access them.
    unsafe fn keep_from_children(addr: NonNull<u8>, len: usize) -> Result<bool, Errno>;

    /// For a child process: makes pages inaccessible, and keeps their addresses reserved. With
    /// `gone`, the system has kept the pages from the child
    /// ([`keep_from_children`](Self::keep_from_children)). Then something else may lie at their
    /// addresses already, which is left alone; the answer is `false`. Where the system refuses to
    /// take pages away that the child has, the process ends.
    ///
    /// # Safety
    /// The parent must own the pages, and no one may use them in the child.
    unsafe fn withdraw_in_child(addr: NonNull<u8>, len: usize, gone: bool) -> bool;

    /// Whether the system has secret memory, which the kernel itself cannot read for another
    /// process; or why not. Asks anew each time.
    fn has_secret_memory() -> Result<(), Errno>;

    /// Puts secret memory in the place of reserved addresses. It is accessible, locked from the
    /// start, counts against the limit on locked memory, is left out of core dumps, and children do
    /// not have it. Takes a system call for each page. After an error the caller owns the
    /// addresses, and must [make them inaccessible](Self::make_inaccessible) or
    /// [unmap](Self::unmap) them.
    ///
    /// # Safety
    /// The caller must own the addresses: they must be reserved by this trait, and used by no one.
    unsafe fn place_secret_memory(addr: NonNull<u8>, len: usize) -> Result<(), NoSecretMemory>;

    /// Changes the access to pages that are closed while they are not in use. What they hold and
    /// their lock stay. [`PageAccess::Closed`] is by a protection key where there is one
    /// ([`has_protection_key`](Self::has_protection_key)).
    ///
    /// # Safety
    /// The caller must own the pages, which must have been accessible, and no thread may use them
    /// in a way that the new access forbids.
    unsafe fn set_access(addr: NonNull<u8>, len: usize, access: PageAccess) -> Result<(), Errno>;

    /// Whether closed pages are closed by a protection key: a thread can give itself the right to
    /// access them, by an instruction. The answer is the same as long as the process lives, and in
    /// its children. The first call asks the system.
    fn has_protection_key() -> bool;

    /// Changes the right of the calling thread to access closed pages, where there is a protection
    /// key, and does nothing elsewhere. Returns what it was. No system call. A signal handler
    /// begins without the right, and a new thread has the right that its maker has.
    fn set_thread_right(right: PageAccess) -> PageAccess;

    /// What an administrator can do about a refusal by [`keep_private`](Self::keep_private), or,
    /// with `of_fork_policy`, by [`wipe_in_children`](Self::wipe_in_children) or
    /// [`keep_from_children`](Self::keep_from_children): a line of ASCII.
    fn protection_remedy(errno: Errno, of_fork_policy: bool) -> &'static CStr;
}

/// What may be done with pages that are closed while they are not in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageAccess {
    /// Nothing: an access is a fault.
    Closed,
    Read,
    Write,
}

/// Why pages could not be locked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LockRefusal {
    pub(crate) errno: Errno,
    /// The limit that was in force, in bytes; `usize::MAX` for none.
    pub(crate) limit: usize,
}

/// What [`Memory::keep_private`] was refused, each by the system's error number. `None` for what
/// was done, and for what the system has no need of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NotPrivate {
    /// Exclusion from core dumps.
    pub(crate) dump: Option<Errno>,
    /// Exclusion from merging.
    pub(crate) merging: Option<Errno>,
    /// Exclusion from huge pages.
    pub(crate) huge_pages: Option<Errno>,
}

/// Why there is no secret memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NoSecretMemory {
    /// The system does not have it, or has none left.
    Unavailable(Errno),
    /// The process must not lock so much.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "only Linux has secret memory")
    )]
    Limit(LockRefusal),
}
