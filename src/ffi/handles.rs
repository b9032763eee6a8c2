//! Which handles C callers hold, so that one that is destroyed twice, or is none, is refused.
//!
//! Part of `ffi`; depends on `fork`. A handle is the address of what it stands for. When that has been destroyed,
//! its memory is kept until many others have been, so that no new handle has the address soon.

use crate::fork::{self, Interrupted, Mutex, Participant};
use core::hash::BuildHasherDefault;
use core::mem::MaybeUninit;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;

/// What a handle stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Buffer,
    Arena,
    Pool,
}

/// How many destroyed handles of a kind keep their address from new ones.
const RETIRED: usize = 256;

/// Addresses of destroyed handles, the oldest at `oldest`; 0 for none.
struct Retired {
    addresses: [usize; RETIRED],
    oldest: usize,
}

struct Handles {
    live: HashMap<usize, Kind, BuildHasherDefault<DefaultHasher>>,
    retired: [Retired; 3],
}

static HANDLES: Mutex<Handles> = Mutex::new(Handles {
    live: HashMap::with_hasher(BuildHasherDefault::new()),
    retired: [const { Retired { addresses: [0; RETIRED], oldest: 0 } }; 3],
});

fn handles() -> Result<fork::MutexGuard<'static, Handles>, Interrupted> {
    static WHILE_FORKING: Participant = Participant {
        prepare: || HANDLES.wait_until_free(),
        child: || HANDLES.after_fork(),
        done: || (),
    };
    fork::register(&WHILE_FORKING);
    HANDLES.lock()
}

/// Why a handle cannot be entered.
pub(super) enum NotEntered {
    OutOfMemory,
    Interrupted,
}

/// Makes a handle of a value.
pub(super) fn enter<T>(value: Box<T>, kind: Kind) -> Result<*mut T, NotEntered> {
    let Ok(mut handles) = handles() else { return Err(NotEntered::Interrupted) };
    if handles.live.try_reserve(1).is_err() {
        // The value is dropped while nothing is held.
        drop(handles);
        return Err(NotEntered::OutOfMemory);
    }
    let handle = Box::into_raw(value);
    handles.live.insert(handle.addr(), kind);
    Ok(handle)
}

/// Takes a handle from its caller and destroys what it stands for; `false` if it is no handle of this kind, or no
/// longer.
///
/// # Safety
/// If [`enter`] has made the handle, it was of a `T`; and nothing may use what it stands for any more.
pub(super) unsafe fn leave<T>(handle: *mut T, kind: Kind) -> Result<bool, Interrupted> {
    let mut all = handles()?;
    if all.live.get(&handle.addr()) != Some(&kind) {
        return Ok(false);
    }
    all.live.remove(&handle.addr());
    drop(all);
    // What is destroyed may be code of others.
    // SAFETY: made by `enter` from a `Box` of a `T`, and taken out of the list by this thread alone.
    unsafe { handle.drop_in_place() };
    let Ok(mut all) = handles() else { return Ok(true) };
    let Retired { addresses, oldest } = &mut all.retired[kind as usize];
    let address = core::mem::replace(&mut addresses[*oldest], handle.expose_provenance());
    *oldest = (*oldest + 1) % RETIRED;
    drop(all);
    if address != 0 {
        let place = core::ptr::with_exposed_provenance_mut::<MaybeUninit<T>>(address);
        // SAFETY: the address of a handle of this kind, which `enter` had from a `Box`; its value has been
        // destroyed, and nobody else has taken it from the list.
        drop(unsafe { Box::from_raw(place) });
    }
    Ok(true)
}
