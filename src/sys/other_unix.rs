//! What Unix systems other than Linux have where `linux` has more. Mostly they have nothing, and
//! the answer says so.

use super::errno::Errno;
use super::hardening::NotHardened;
use super::memory::{NoSecretMemory, NotPrivate};
use super::posix::{LockOnFault, map_inaccessible, unlock_reserved};
use core::ffi::c_int;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;

/// See `linux`.
pub(super) const DO_NOT_NEED_LOCKED: Option<c_int> = None;

/// What `mmap` takes to map at an address, whatever is there.
pub(super) fn flags_in_place(_: bool) -> c_int {
    libc::MAP_FIXED
}

pub(super) fn has_huge_pages(_: usize) -> bool {
    false
}

pub(super) fn map_guarded_huge(_: usize, _: usize) -> Result<NonNull<u8>, Errno> {
    Err(Errno::ENOSYS)
}

pub(super) fn reserve(len: usize) -> Result<NonNull<u8>, Errno> {
    let addr = map_inaccessible(len, 0)?;
    // SAFETY: mapped just now.
    unsafe { unlock_reserved(addr, len) };
    Ok(addr)
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

#[cfg(not(any(target_os = "freebsd", target_os = "dragonfly")))]
pub(super) fn keep_private(_: NonNull<u8>, _: usize) -> NotPrivate {
    NotPrivate::default()
}

pub(super) fn wipe_in_children(_: NonNull<u8>, _: usize) -> Result<bool, Errno> {
    Ok(false)
}

pub(super) fn keep_from_children(_: NonNull<u8>, _: usize) -> Result<bool, Errno> {
    Ok(false)
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
