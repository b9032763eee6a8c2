//! Keeps the shared object that holds this library loaded, also when the program closes it.
//!
//! Threads that have used the process-wide pool call into the library when they end, the process
//! does when it forks and when it exits, and the pool has the secrets of all its users. So
//! `dlclose` must not take the library away. The shared library is linked with `-z nodelete`. An
//! archive has no such mark to pass on to a plugin that links it, and a Rust library has none. So
//! when an object is loaded that holds one of these, it opens itself once more, for good.
//!
//! That happens at load and not when the pool is first used, because a `dlopen` waits for the
//! dynamic linker's lock. The thread that holds that lock may be waiting for the pool; and in a
//! child of `fork`, the lock may be held by a thread that the child does not have.
//!
//! glibc only: musl's `dlclose` unloads nothing, and Apple's unloads nothing that has thread-local
//! variables.

/// Names the static that runs at load, so that a linker takes it out of the archive for every
/// program that uses the pool.
#[inline]
pub(super) fn keep_loaded() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    core::hint::black_box(&at_load::AT_LOAD);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod at_load {
    use crate::sys::hooks::at_load;
    use core::ffi::{c_char, c_int, c_void};
    use core::mem::{self, MaybeUninit};
    use core::ptr;

    at_load! {
        pub(super) static AT_LOAD = stay_loaded;
    }

    /// What the dynamic linker knows of the object at an address; `None` for an address in none.
    fn object_at(address: *const c_void) -> Option<libc::Dl_info> {
        let mut info = MaybeUninit::zeroed();
        // SAFETY: `info` is a valid place for the answer; any address may be asked for.
        let found = unsafe { libc::dladdr(address, info.as_mut_ptr()) } != 0;
        // SAFETY: pointers, for which zeros are valid values where dladdr has written none.
        let info: libc::Dl_info = unsafe { info.assume_init() };
        (found && !info.dli_fname.is_null()).then_some(info)
    }

    /// Opens the object that this lies in once more, unless that is the program. Where it cannot be
    /// opened, it is unloaded when it is closed, as other objects are.
    extern "C" fn stay_loaded() {
        // SAFETY: takes a number, and returns one.
        let program_headers = unsafe { libc::getauxval(libc::AT_PHDR) };
        let program = object_at(ptr::with_exposed_provenance(program_headers as usize));
        let Some(own) = object_at(ptr::from_ref(&AT_LOAD).cast()) else { return };
        if program.is_some_and(|program| program.dli_fbase == own.dli_fbase) {
            return;
        }
        // By name, because to name it in the code makes the linker warn of every program without a
        // dynamic linker. SAFETY: the name ends with a zero.
        let dlopen = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"dlopen".as_ptr()) };
        if dlopen.is_null() {
            return;
        }
        // SAFETY: the C library's function of that name has this type.
        let dlopen: extern "C" fn(*const c_char, c_int) -> *mut c_void =
            unsafe { mem::transmute(dlopen) };
        // An object that is being loaded is found by the name that the dynamic linker has for it;
        // no file is read.
        let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
        // Something is left to do after the call, which is therefore made from within this object:
        // the dynamic linker looks in the namespace of the caller.
        core::hint::black_box(dlopen(own.dli_fname, flags));
    }
}
