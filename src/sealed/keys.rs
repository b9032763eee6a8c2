//! The process's sealing keys: the current one, with which secrets are sealed, and older ones that
//! are still needed.
//!
//! A key is a prekey of 16 KiB in the process-wide pool, so that what holds for secrets there holds
//! for it: the panic button and the exit of the process wipe it, and a child of `fork` has it or
//! not as the pool's policy says. A use of the key finds out afterwards whether it was whole.
//!
//! There are as many places for keys as [`PLACES`]. So the locked memory for keys is bounded.

use super::cipher::{PREKEY_LEN, Salt, ValueKey, has_zero_word, new_salt};
use super::error::SealedError;
use crate::fork::{self, Mutex, MutexGuard, Participant};
use crate::pages;
use crate::secure::{ReadSecretError, SecureBox};
use core::ptr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, fence};

/// How many keys there may be at a time.
const PLACES: usize = 4;

static PLACE: [Place; PLACES] = [const { Place::new() }; PLACES];

/// A place for a key.
struct Place {
    is_taken: AtomicBool,
    /// The number of [`KeyRef`]s to the key.
    users: AtomicUsize,
    /// The number of the key, which no other key of the process has had.
    number: AtomicU64,
    /// Whether a buffer has been sealed with the key, of which the library does not know whether it
    /// is still there.
    has_buffers: AtomicBool,
    /// In the process-wide pool.
    prekey: AtomicPtr<[u8; PREKEY_LEN]>,
    /// The [`generation`](fork::generation) of the process in which the prekey was last seen.
    seen_in: AtomicU32,
}

impl Place {
    const fn new() -> Self {
        Self {
            is_taken: AtomicBool::new(false),
            users: AtomicUsize::new(0),
            number: AtomicU64::new(0),
            has_buffers: AtomicBool::new(false),
            prekey: AtomicPtr::new(ptr::null_mut()),
            seen_in: AtomicU32::new(0),
        }
    }
}

/// A counted reference to a key. The key is wiped and freed with the last one.
pub(super) struct KeyRef(&'static Place);

impl KeyRef {
    /// Puts a prekey into a vacant place; gives it back if there is none.
    fn install(prekey: Prekey, number: u64) -> Result<Self, Prekey> {
        let is_vacant =
            |place: &&Place| place.is_taken.compare_exchange(false, true, Acquire, Relaxed).is_ok();
        let Some(place) = PLACE.iter().find(is_vacant) else { return Err(prekey) };
        place.number.store(number, Relaxed);
        place.has_buffers.store(false, Relaxed);
        place.seen_in.store(fork::generation(), Relaxed);
        place.prekey.store(prekey.into_raw(), Relaxed);
        place.users.store(1, Relaxed);
        Ok(Self(place))
    }

    /// The key of one value.
    ///
    /// # Errors
    /// [`SealedError::KeyWiped`], and when there is no locked memory.
    pub(super) fn derive(&self, salt: &Salt) -> Result<ValueKey, SealedError> {
        if self.is_absent() {
            return Err(SealedError::KeyWiped);
        }
        // SAFETY: the place has a prekey as long as there is a reference to the key, which `self`
        // is. Its memory is this process's, and bytes may be zeros at any moment.
        let prekey = unsafe { &*self.0.prekey.load(Relaxed) };
        let key = ValueKey::derive(prekey, salt)?;
        if has_zero_word(prekey) { Err(SealedError::KeyWiped) } else { Ok(key) }
    }

    /// Whether this process is a child whose parent has kept the memory of the pool.
    pub(super) fn is_absent(&self) -> bool {
        // A handler of another library may ask this in the child before ours has run there.
        fork::notice_child();
        let generation = fork::generation();
        if self.0.seen_in.load(Relaxed) == generation {
            return false;
        }
        if pages::is_absent_at(self.0.prekey.load(Relaxed).addr()) {
            return true;
        }
        self.0.seen_in.store(generation, Relaxed);
        false
    }

    /// The number of the key.
    pub(super) fn number(&self) -> u64 {
        self.0.number.load(Relaxed)
    }

    fn is_same(&self, other: &Self) -> bool {
        ptr::eq(self.0, other.0)
    }

    fn is_needed_by_buffers(&self) -> bool {
        self.0.has_buffers.load(Relaxed)
    }

    fn has_other_users(&self) -> bool {
        self.0.users.load(Acquire) > 1
    }
}

impl Clone for KeyRef {
    fn clone(&self) -> Self {
        self.0.users.fetch_add(1, Relaxed);
        Self(self.0)
    }
}

impl Drop for KeyRef {
    fn drop(&mut self) {
        if self.0.users.fetch_sub(1, Release) > 1 {
            return;
        }
        fence(Acquire);
        let prekey = self.0.prekey.swap(ptr::null_mut(), Relaxed);
        // SAFETY: the prekey was put there by `into_raw`. This was the last reference to the key,
        // and the place has no other prekey before it is vacant.
        drop(unsafe { Prekey::from_raw(prekey) });
        self.0.is_taken.store(false, Release);
    }
}

type Prekey = SecureBox<[u8; PREKEY_LEN]>;

fn new_prekey() -> Result<Prekey, SealedError> {
    Prekey::try_random().map_err(|error| match error {
        ReadSecretError::OutOfLockedMemory(error) => error.into(),
        _ => SealedError::NoRandomness,
    })
}

/// The references that the library itself keeps.
struct Keys {
    current: Option<KeyRef>,
    /// Those that buffers may need, from the newest to the oldest.
    older: [Option<KeyRef>; PLACES - 1],
    /// The number of the newest key.
    number: u64,
}

/// No key is made, wiped or freed under this lock: the pool has locks too.
static KEYS: Mutex<Keys> =
    Mutex::new(Keys { current: None, older: [const { None }; PLACES - 1], number: 0 });

fn keys() -> Result<MutexGuard<'static, Keys>, SealedError> {
    static WHILE_FORKING: Participant =
        Participant::new(|| KEYS.wait_until_free(), || KEYS.after_fork(), || ());
    WHILE_FORKING.join();
    KEYS.lock().map_err(|_| SealedError::Interrupted)
}

impl Keys {
    /// Makes a key the current one. Returns the last one if it is not kept: it is to be dropped
    /// without the lock.
    fn exchange(&mut self, prekey: Prekey) -> Result<Option<KeyRef>, Prekey> {
        let key = KeyRef::install(prekey, self.number + 1)?;
        self.number += 1;
        let Some(last) = self.current.replace(key) else { return Ok(None) };
        if !last.is_needed_by_buffers() {
            return Ok(Some(last));
        }
        // Each key here has a place, and the current one has another: there is room for the last.
        let gap = self.older.iter().position(Option::is_none).unwrap_or(self.older.len() - 1);
        self.older[..=gap].rotate_right(1);
        Ok(self.older[0].replace(last))
    }

    /// Takes out the oldest key that only buffers may need.
    fn take_oldest(&mut self) -> Option<KeyRef> {
        let mut oldest_first = self.older.iter_mut().rev();
        oldest_first.find(|key| key.as_ref().is_some_and(|key| !key.has_other_users()))?.take()
    }
}

/// Makes a new current key, if the current one is still `last`.
fn replace(last: Option<&KeyRef>) -> Result<(), SealedError> {
    let mut prekey = new_prekey()?;
    loop {
        let mut keys = keys()?;
        let is_still = match (&keys.current, last) {
            (Some(current), Some(last)) => current.is_same(last),
            (None, None) => true,
            _ => false,
        };
        if !is_still {
            drop(keys); // before the prekey
            return Ok(());
        }
        match keys.exchange(prekey) {
            Ok(unneeded) => {
                drop(keys);
                drop(unneeded);
                return Ok(());
            }
            Err(given_back) => prekey = given_back,
        }
        let oldest = keys.take_oldest();
        drop(keys);
        if oldest.is_none() {
            return Err(SealedError::KeysInUse);
        }
    }
}

/// What a key is taken for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyUse {
    /// A value that keeps the [`KeyRef`].
    Value,
    /// A buffer, which keeps its number alone.
    Buffer,
}

/// The current key, which is made if there is none. A rotation after this call finds the key used.
fn current(usage: KeyUse) -> Result<KeyRef, SealedError> {
    loop {
        let keys = keys()?;
        let current = keys.current.clone();
        if let (Some(key), KeyUse::Buffer) = (&current, usage) {
            key.0.has_buffers.store(true, Relaxed);
        }
        drop(keys);
        match current {
            Some(key) => return Ok(key),
            None => replace(None)?,
        }
    }
}

/// The key with a number: `None` if it has been rotated out.
///
/// # Errors
/// [`SealedError::Tampered`] if no key has had the number.
pub(super) fn with_number(number: u64) -> Result<Option<KeyRef>, SealedError> {
    let keys = keys()?;
    if number == 0 || number > keys.number {
        return Err(SealedError::Tampered);
    }
    let mut all = keys.current.iter().chain(keys.older.iter().flatten());
    Ok(all.find(|key| key.0.number.load(Relaxed) == number).cloned())
}

/// What one encryption takes: the current key, a salt, and the key that follows from both.
pub(super) fn new_value_key(usage: KeyUse) -> Result<(KeyRef, Salt, ValueKey), SealedError> {
    let salt = new_salt()?;
    for _ in 0..PLACES {
        let key = current(usage)?;
        match key.derive(&salt) {
            Ok(value_key) => return Ok((key, salt, value_key)),
            // What was sealed before is gone; what is sealed from now on is not.
            Err(SealedError::KeyWiped) => replace(Some(&key))?,
            Err(error) => return Err(error),
        }
    }
    Err(SealedError::KeyWiped)
}

/// Makes a new sealing key. What is sealed from now on is sealed with it; what is sealed already
/// stays as it is, and readable, until it is sealed anew ([`SealedBox::reseal`],
/// [`SealedVec::reseal`], or a guard of `open_mut`).
///
/// A key is wiped when no [`SealedBox`] or [`SealedVec`] uses it. There are at most four keys at a
/// time, of 16 KiB each. Keys with which buffers were sealed through the C interface are kept too,
/// until their places are needed. So a buffer can be opened after one rotation, and may be
/// [lost](SealedError::KeyWiped) at the next.
///
/// Any thread may call it at any time. It takes tens of microseconds.
///
/// ```
/// use bitcoin_support::{SealedVec, SecureVec, rotate_sealing_key};
///
/// let mut seed = SealedVec::seal(SecureVec::random(64))?;
/// rotate_sealing_key()?;
/// seed.open()?; // with the older key
/// seed.reseal()?; // the older key is wiped
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`SealedError::KeysInUse`] when secrets use all older keys that there may be;
/// [`SealedError::NoRandomness`], [`SealedError::OutOfLockedMemory`] and
/// [`SealedError::Interrupted`]. Nothing has changed.
///
/// [`SealedBox`]: crate::SealedBox
/// [`SealedBox::reseal`]: crate::SealedBox::reseal
/// [`SealedVec`]: crate::SealedVec
/// [`SealedVec::reseal`]: crate::SealedVec::reseal
pub fn rotate_sealing_key() -> Result<(), SealedError> {
    let last = keys()?.current.clone();
    let Some(last) = last else { return Ok(()) }; // the first use makes one
    replace(Some(&last))
}
