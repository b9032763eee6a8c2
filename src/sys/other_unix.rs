//! What Unix systems other than Linux have where `linux` has more, by their manuals: no test has
//! run there. Where they have nothing, the answer says so.
//!
//! | | core dumps | zeros in children | absent in children |
//! |---|---|---|---|
//! | FreeBSD | `MADV_NOCORE` | `INHERIT_ZERO` | `INHERIT_NONE` |
//! | DragonFly BSD | `MADV_NOCORE` | | `INHERIT_NONE` |
//! | OpenBSD | `MAP_CONCEAL` | `MAP_INHERIT_ZERO` | `MAP_INHERIT_NONE` |
//! | NetBSD | | `MAP_INHERIT_ZERO` | `MAP_INHERIT_NONE` |
//! | macOS and its kin | | | `VM_INHERIT_NONE` |
//!
//! illumos and others have none of these.

use super::errno::Errno;
use super::hardening::NotHardened;
use super::memory::{NoSecretMemory, NotPrivate, PageAccess};
pub(super) use super::posix::set_access;
use super::posix::{LockOnFault, map_inaccessible, unlock_reserved};
use core::ffi::c_int;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;
use inherit::{ABSENT_IN_CHILDREN, let_children_find};

/// See `linux`.
pub(super) const DO_NOT_NEED_LOCKED: Option<c_int> = None;

/// What `mmap` takes to map at an address: with `gone`, only if nothing is there, and else in place
/// of what is there.
pub(super) fn flags_in_place(gone: bool) -> c_int {
    LEFT_OUT_OF_DUMPS | if gone { WHERE_NOTHING_IS } else { libc::MAP_FIXED }
}

/// What `mmap` takes to map at an address only if nothing is there. Where there is no such flag, an
/// address without any flag is a wish: something else may be mapped, which the caller unmaps.
#[cfg(target_os = "freebsd")]
const WHERE_NOTHING_IS: c_int = libc::MAP_FIXED | libc::MAP_EXCL;
#[cfg(target_os = "netbsd")]
const WHERE_NOTHING_IS: c_int = libc::MAP_TRYFIXED;
#[cfg(not(any(target_os = "freebsd", target_os = "netbsd")))]
const WHERE_NOTHING_IS: c_int = 0;

/// What `mmap` takes to leave a mapping out of core dumps, however it is made accessible later.
#[cfg(target_os = "openbsd")]
pub(super) const LEFT_OUT_OF_DUMPS: c_int = libc::MAP_CONCEAL;
#[cfg(not(target_os = "openbsd"))]
pub(super) const LEFT_OUT_OF_DUMPS: c_int = 0;

pub(super) fn has_huge_pages(_: usize) -> bool {
    false
}

pub(super) fn map_guarded_huge(_: usize, _: usize) -> Result<NonNull<u8>, Errno> {
    Err(Errno::ENOSYS)
}

pub(super) fn reserve(len: usize) -> Result<NonNull<u8>, Errno> {
    let addr = map_inaccessible(len, LEFT_OUT_OF_DUMPS)?;
    // SAFETY: mapped just now.
    unsafe { unlock_reserved(addr, len) };
    Ok(addr)
}

pub(super) fn has_protection_key() -> bool {
    false
}

/// Nothing changes: there is no protection key.
pub(super) fn set_thread_right(_: PageAccess) -> PageAccess {
    PageAccess::Closed
}

pub(super) fn lock_on_fault(_: NonNull<u8>, _: usize) -> LockOnFault {
    LockOnFault::NotMade
}

#[cfg(any(target_os = "freebsd", target_os = "dragonfly"))]
pub(super) fn keep_private(addr: NonNull<u8>, len: usize) -> NotPrivate {
    // SAFETY: the advice changes nothing of the contents.
    let result = unsafe { libc::madvise(addr.as_ptr().cast(), len, libc::MADV_NOCORE) };
    NotPrivate { dump: super::posix::check(result).err(), ..NotPrivate::default() }
}

/// Memory cannot be left out of core dumps here, which the systems do not write unless a limit is
/// raised. The kernel is asked to wipe pages that are locked when the process ends. If it refuses,
/// it treats them as other systems do.
#[cfg(target_vendor = "apple")]
pub(super) fn keep_private(addr: NonNull<u8>, len: usize) -> NotPrivate {
    // SAFETY: the advice changes nothing of the contents while the process runs.
    unsafe { libc::madvise(addr.as_ptr().cast(), len, libc::MADV_ZERO_WIRED_PAGES) };
    NotPrivate::default()
}

#[cfg(not(any(target_os = "freebsd", target_os = "dragonfly", target_vendor = "apple")))]
pub(super) fn keep_private(_: NonNull<u8>, _: usize) -> NotPrivate {
    NotPrivate::default()
}

/// What `minherit` takes for pages that are zeros in children; `None` where it has no such value.
#[cfg(target_os = "freebsd")]
const ZERO_IN_CHILDREN: Option<c_int> = Some(libc::INHERIT_ZERO);
#[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
const ZERO_IN_CHILDREN: Option<c_int> = Some(libc::MAP_INHERIT_ZERO);
#[cfg(not(any(target_os = "freebsd", target_os = "netbsd", target_os = "openbsd")))]
const ZERO_IN_CHILDREN: Option<c_int> = None;

/// Systems with `minherit`.
#[cfg(any(
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd",
    target_vendor = "apple"
))]
mod inherit {
    use crate::sys::errno::Errno;
    use crate::sys::posix::check;
    use core::ffi::c_int;
    use core::ptr::NonNull;

    /// What it takes for pages that children do not have.
    pub(super) const ABSENT_IN_CHILDREN: Option<c_int> = Some(ABSENT);
    #[cfg(any(target_os = "freebsd", target_os = "dragonfly"))]
    const ABSENT: c_int = libc::INHERIT_NONE;
    #[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
    const ABSENT: c_int = libc::MAP_INHERIT_NONE;
    #[cfg(target_vendor = "apple")]
    const ABSENT: c_int = libc::VM_INHERIT_NONE;

    /// Says what children find in pages.
    pub(super) fn let_children_find(
        addr: NonNull<u8>,
        len: usize,
        what: c_int,
    ) -> Result<(), Errno> {
        // SAFETY: nothing changes in this process.
        check(unsafe { libc::minherit(addr.as_ptr().cast(), len, what) })
    }
}

/// Systems without it.
#[cfg(not(any(
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd",
    target_vendor = "apple"
)))]
mod inherit {
    use crate::sys::errno::Errno;
    use core::ffi::c_int;
    use core::ptr::NonNull;

    pub(super) const ABSENT_IN_CHILDREN: Option<c_int> = None;

    pub(super) fn let_children_find(_: NonNull<u8>, _: usize, _: c_int) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
}

pub(super) fn wipe_in_children(addr: NonNull<u8>, len: usize) -> Result<bool, Errno> {
    match ZERO_IN_CHILDREN {
        Some(what) => let_children_find(addr, len, what).map(|()| true),
        None => Ok(false),
    }
}

pub(super) fn keep_from_children(addr: NonNull<u8>, len: usize) -> Result<bool, Errno> {
    match ABSENT_IN_CHILDREN {
        Some(what) => let_children_find(addr, len, what).map(|()| true),
        None => Ok(false),
    }
}

pub(super) fn has_secret_memory() -> Result<(), Errno> {
    Err(Errno::ENOSYS)
}

/// Always refuses: the system has no secret memory.
///
/// # Safety
/// As for `Memory::place_secret_memory`. (The addresses are not used.)
pub(super) unsafe fn place_secret_memory(_: NonNull<u8>, _: usize) -> Result<(), NoSecretMemory> {
    Err(NoSecretMemory::Unavailable(Errno::ENOSYS))
}

pub(super) fn may_exceed_lock_limit() -> bool {
    false
}

#[cfg(target_os = "freebsd")]
pub(super) fn thread_number() -> u32 {
    // SAFETY: takes nothing.
    u32::try_from(unsafe { libc::pthread_getthreadid_np() }).unwrap_or(0)
}

#[cfg(target_os = "openbsd")]
pub(super) fn thread_number() -> u32 {
    // SAFETY: takes nothing.
    u32::try_from(unsafe { libc::getthrid() }).unwrap_or(0)
}

#[cfg(not(any(target_os = "freebsd", target_os = "openbsd")))]
pub(super) fn thread_number() -> u32 {
    0
}

pub(super) fn sleep(_: u32) {
    std::thread::yield_now();
}

pub(super) fn wait_while(_: &AtomicU32, _: u32) {
    std::thread::yield_now();
}

pub(super) fn wake_one(_: &AtomicU32) {}

pub(super) fn register_barrier() -> bool {
    false
}

pub(super) fn barrier_everywhere() -> bool {
    false
}

/// Not known here.
pub(super) fn is_alone() -> bool {
    false
}

/// By `procctl`, which has both in one.
#[cfg(target_os = "freebsd")]
pub(super) fn forbid_dumps_and_tracers() -> Result<(), NotHardened> {
    let mut value = libc::PROC_TRACE_CTL_DISABLE;
    // SAFETY: takes nothing.
    let this_process = libc::id_t::from(unsafe { libc::getpid() });
    let place = core::ptr::from_mut(&mut value).cast();
    // SAFETY: `value` is the number that this command reads.
    let result = unsafe { libc::procctl(libc::P_PID, this_process, libc::PROC_TRACE_CTL, place) };
    super::posix::check(result).map_err(NotHardened::Refused)
}

#[cfg(not(target_os = "freebsd"))]
pub(super) fn forbid_dumps_and_tracers() -> Result<(), NotHardened> {
    Err(NotHardened::NotSupported)
}

pub(super) fn forbid_write_and_execute() -> Result<(), NotHardened> {
    Err(NotHardened::NotSupported)
}

pub(super) fn forbid_new_privileges() -> Result<(), NotHardened> {
    Err(NotHardened::NotSupported)
}

pub(super) fn forbid_huge_pages() -> Result<(), NotHardened> {
    Err(NotHardened::NotSupported)
}

pub(super) fn empty_core_dumps() -> Result<(), NotHardened> {
    Err(NotHardened::NotSupported)
}

pub(super) fn forbid_named_tracer() -> Result<(), NotHardened> {
    Err(NotHardened::NotSupported)
}

/// Never done: the system has no such call.
///
/// # Safety
/// The addresses are not used, so the caller has no obligation.
pub(super) unsafe fn seal(_: NonNull<u8>, _: usize) -> Result<(), NotHardened> {
    Err(NotHardened::NotSupported)
}

pub(super) fn can_seal() -> Result<(), NotHardened> {
    Err(NotHardened::NotSupported)
}
