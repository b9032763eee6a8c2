//! `ClosedBox`: a secret on pages to which there is no access while it is not in use.

use super::error::ClosedError;
use super::guard::{ClosedRef, ClosedRefMut};
use super::place::{give_up, pages_for};
use crate::pages::{ClosedState, LockedPages, Use, has_protection_key, with_thread_right};
use crate::secure::{LockedAllocator, SecureBox, Zeroed};
use bytemuck::NoUninit;
use core::alloc::Layout;
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

/// A secret on pages that cannot be accessed while it is not in use: no bug of the process that
/// reads or writes at a wrong address reaches it then, but ends the process (SIGSEGV).
/// [`describe_address`](crate::LockedPoolManager::describe_address) says in a handler of that
/// signal that the address belongs to a closed secret.
///
/// [`open`](Self::open) and [`open_mut`](Self::open_mut) return guards, and the secret is closed
/// again when the last of them is dropped. The secret stays where it is, in locked memory: nothing
/// is copied or encrypted. ([`SealedBox`](crate::SealedBox) encrypts secrets, so that many need
/// little locked memory.)
///
/// ```
/// use bitcoin_support::{ClosedBox, ClosedState, SecureBox};
///
/// let mut key = ClosedBox::close(SecureBox::<[u8; 32]>::random())?;
/// assert_eq!(key.state(), ClosedState::Closed);
/// let first = key.open()?.expose_secret()[0]; // closed again at the end of the statement
/// key.open_mut()?.expose_secret_mut()[0] ^= 1;
/// assert_eq!(key.open()?.expose_secret()[0], first ^ 1);
/// # Ok::<(), bitcoin_support::ClosedError>(())
/// ```
///
/// The value is plain data, without pointers, padding or cells ([`NoUninit`], such as byte arrays,
/// numbers, and structures that derive it): what a `String` points to would not be closed with it,
/// and a cell could be written to on pages that are open to readers.
///
/// # Who can access an open secret
/// While a guard lives, all threads of the process can: references to the secret may be sent to
/// other threads. Each secret is opened by itself.
///
/// [`read_on_this_thread`](Self::read_on_this_thread) and
/// [`write_on_this_thread`](Self::write_on_this_thread) open the secret to the calling thread
/// alone, where there is a [protection key](has_protection_key): by two instructions, while `open`
/// makes system calls. They are unsafe, because another thread that is given a reference crashes
/// there. All closed secrets have one key. So meanwhile that thread can access all of them, and no
/// other thread can that was there before. A thread that is made meanwhile has the same right, for
/// as long as it lives: so make none in those functions, and none of a thread pool.
///
/// # Cost
/// At least a page of locked memory for each secret (4 KiB on most systems), two guard pages of
/// addresses, and up to three mappings of the process. To close a new secret takes about ten
/// system calls, and a guard five when it opens the secret and closes it again, which takes
/// microseconds.
///
/// The memory is what the options of the process-wide pool say. It is never unlocked: where it
/// cannot be locked, there is no closed secret. [`memory_stats`](crate::memory_stats) counts it.
///
/// # Forks, signals, exit
/// A child of `fork` finds the secret as the fork policy of the process-wide pool says, and as open
/// as it was. Guards that other threads of the parent had are never dropped in the child: the
/// secret stays open there.
///
/// A program that is executed (`exec`) has neither the memory nor a thread's right to it.
///
/// A signal handler may open a secret by a guard. It begins without the right that
/// `read_on_this_thread` gives to the code that it interrupts: a read of an open secret there is a
/// SIGSEGV, unless a guard has opened it.
///
/// [`wipe_everything`](crate::wipe_everything) and the wipe at exit wipe closed secrets too. They
/// open one after the other, to all threads, and close it again.
///
/// # What does not compile
/// A value that refers to something, to send a guard to another thread, to keep a reference longer
/// than the guard, or to use the secret while it is open for changes:
/// ```compile_fail,E0277
/// use bitcoin_support::{ClosedBox, SecureBox};
/// ClosedBox::close(SecureBox::new(String::from("correct horse")));
/// ```
/// ```compile_fail,E0277
/// use bitcoin_support::{ClosedBox, SecureBox};
/// let key = ClosedBox::close(SecureBox::new([1_u8; 32])).unwrap();
/// let opened = key.open().unwrap();
/// std::thread::scope(|scope| scope.spawn(|| drop(opened)));
/// ```
/// ```compile_fail,E0716
/// use bitcoin_support::{ClosedBox, SecureBox};
/// let key = ClosedBox::close(SecureBox::new([1_u8; 32])).unwrap();
/// let bytes = key.open().unwrap().expose_secret();
/// assert_eq!(bytes[0], 1);
/// ```
/// ```compile_fail,E0502
/// use bitcoin_support::{ClosedBox, SecureBox};
/// let mut key = ClosedBox::close(SecureBox::new([1_u8; 32])).unwrap();
/// let opened = key.open_mut().unwrap();
/// key.open();
/// drop(opened);
/// ```
pub struct ClosedBox<T: ?Sized> {
    value: NonNull<T>,
    pages: ManuallyDrop<LockedPages>,
    _value: PhantomData<T>,
}

// SAFETY: the box owns the value, and pages belong to the process. A guard is what is bound to a
// thread, and it borrows the box.
unsafe impl<T: ?Sized + Send> Send for ClosedBox<T> {}
// SAFETY: a shared reference to the box lends the value to readers only, in several threads at a
// time. The count of guards is changed by one thread at a time.
unsafe impl<T: ?Sized + Sync> Sync for ClosedBox<T> {}

impl<T: NoUninit> ClosedBox<T> {
    /// Closes a secret. It is moved, from locked memory to its pages, and its old place is wiped.
    ///
    /// # Errors
    /// [`ClosedError::OutOfLockedMemory`] or [`ClosedError::Refused`]. The secret is gone.
    pub fn close<A: LockedAllocator>(secret: SecureBox<T, A>) -> Result<Self, ClosedError> {
        let (pages, place) = pages_for(Layout::new::<T>())?;
        let place = place.cast::<T>();
        // SAFETY: a place for a `T` in new pages, and a value of plain data.
        unsafe { place.copy_from_nonoverlapping(NonNull::from(secret.expose_secret()), 1) };
        // SAFETY: the value lies in the pages, and has no other owner.
        unsafe { Self::of(place, pages, size_of::<T>()) }
    }
}

impl<T: Zeroed + NoUninit> ClosedBox<T> {
    /// A secret that is made in its place, and then closed: zeros, which `fill` changes.
    ///
    /// ```
    /// let key = bitcoin_support::ClosedBox::<[u8; 32]>::new_with(|key| key[31] = 1)?;
    /// assert_eq!(key.open()?.expose_secret()[31], 1);
    /// # Ok::<(), bitcoin_support::ClosedError>(())
    /// ```
    ///
    /// # Errors
    /// [`ClosedError::OutOfLockedMemory`], when `fill` has not been called, or
    /// [`ClosedError::Refused`].
    pub fn new_with(fill: impl FnOnce(&mut T)) -> Result<Self, ClosedError> {
        let (pages, place) = pages_for(Layout::new::<T>())?;
        let mut place = place.cast::<T>();
        // SAFETY: a place for a `T` in new pages, which are zeros: a value of a `Zeroable` type.
        fill(unsafe { place.as_mut() });
        // SAFETY: the value lies in the pages, and has no other owner.
        unsafe { Self::of(place, pages, size_of::<T>()) }
    }
}

impl<T: NoUninit> ClosedBox<[T]> {
    /// Closes the elements of a slice, as [`close`](ClosedBox::close) does a single value.
    ///
    /// ```
    /// use bitcoin_support::{ClosedBox, SecureVec};
    ///
    /// let words = SecureVec::from_slice(b"correct horse");
    /// let words = ClosedBox::close_slice(words.into_boxed_slice())?;
    /// assert_eq!(words.open()?.expose_secret(), b"correct horse");
    /// # Ok::<(), bitcoin_support::ClosedError>(())
    /// ```
    ///
    /// # Errors
    /// As for [`close`](ClosedBox::close).
    pub fn close_slice<A: LockedAllocator>(secret: SecureBox<[T], A>) -> Result<Self, ClosedError> {
        let elements = secret.expose_secret();
        let (pages, place) = pages_for(Layout::for_value(elements))?;
        let place = place.cast::<T>();
        let from = NonNull::from(elements).cast();
        // SAFETY: a place for the elements in new pages, and elements of plain data.
        unsafe { place.copy_from_nonoverlapping(from, elements.len()) };
        let value = NonNull::slice_from_raw_parts(place, elements.len());
        // SAFETY: the value lies in the pages, and has no other owner.
        unsafe { Self::of(value, pages, size_of_val(elements)) }
    }
}

impl<T: ?Sized> ClosedBox<T> {
    /// The owner of a value in pages, which are closed.
    ///
    /// # Safety
    /// The value must lie in the pages, have `size` bytes and no other owner.
    unsafe fn of(value: NonNull<T>, pages: LockedPages, size: usize) -> Result<Self, ClosedError> {
        let offset = value.cast::<u8>().addr().get() - pages.as_ptr().addr().get();
        let made = Self { value, pages: ManuallyDrop::new(pages), _value: PhantomData };
        // SAFETY: from now on the pages are accessed by guards, by threads that have a right to
        // them, and by `drop`, which begins a use.
        unsafe { made.pages.close_while_unused(offset, size.max(1)) }?;
        Ok(made)
    }

    /// Opens the secret, to read it. It is closed again with the last guard.
    ///
    /// # Errors
    /// [`ClosedError::Refused`] or [`ClosedError::Absent`].
    pub fn open(&self) -> Result<ClosedRef<'_, T>, ClosedError> {
        self.check()?;
        // SAFETY: the value lies in the pages, and is borrowed by readers as long as the guard
        // lives.
        Ok(unsafe { ClosedRef::open(self.value, &self.pages) }?)
    }

    /// Opens the secret, to read and write it. It is closed again when the guard is dropped.
    ///
    /// # Errors
    /// [`ClosedError::Refused`] or [`ClosedError::Absent`].
    pub fn open_mut(&mut self) -> Result<ClosedRefMut<'_, T>, ClosedError> {
        self.check()?;
        // SAFETY: the value lies in the pages, and is exclusively borrowed as long as the guard
        // lives.
        Ok(unsafe { ClosedRefMut::open(self.value, &self.pages) }?)
    }

    /// Calls a function with the secret, opened to the calling thread alone where there is a
    /// [protection key](has_protection_key), and to all threads elsewhere. The secret is closed
    /// again when the function has returned or panicked.
    ///
    /// ```
    /// # let key = bitcoin_support::ClosedBox::<[u8; 32]>::new_with(|key| key[31] = 1)?;
    /// // SAFETY: the sum is made on this thread.
    /// let sum = unsafe { key.read_on_this_thread(|key| key.iter().map(|&byte| byte as u32).sum()) };
    /// assert_eq!(sum, Ok(1_u32));
    /// # Ok::<(), bitcoin_support::ClosedError>(())
    /// ```
    ///
    /// # Errors
    /// [`ClosedError::Absent`], and [`ClosedError::Refused`] where there is no protection key.
    ///
    /// # Safety
    /// The function must use the secret on the calling thread only, and not in a signal handler: an
    /// access from elsewhere ends the process (SIGSEGV), though a reference promises that there is
    /// a value.
    pub unsafe fn read_on_this_thread<R>(
        &self,
        function: impl FnOnce(&T) -> R,
    ) -> Result<R, ClosedError> {
        if !has_protection_key() {
            let opened = self.open()?;
            return Ok(function(opened.expose_secret()));
        }
        self.check()?;
        Ok(with_thread_right(Use::Read, || {
            // SAFETY: the thread has the right to read the pages now, however they are open to
            // others. The value is borrowed by readers.
            function(unsafe { self.value.as_ref() })
        }))
    }

    /// Calls a function with the secret, to be changed. Else as
    /// [`read_on_this_thread`](Self::read_on_this_thread).
    ///
    /// # Errors
    /// As for [`read_on_this_thread`](Self::read_on_this_thread).
    ///
    /// # Safety
    /// As for [`read_on_this_thread`](Self::read_on_this_thread).
    pub unsafe fn write_on_this_thread<R>(
        &mut self,
        function: impl FnOnce(&mut T) -> R,
    ) -> Result<R, ClosedError> {
        // Pages that a forgotten guard has opened have no key. They may be open to readers only.
        if !has_protection_key() || self.state() != ClosedState::Closed {
            let mut opened = self.open_mut()?;
            return Ok(function(opened.expose_secret_mut()));
        }
        self.check()?;
        let mut value = self.value;
        Ok(with_thread_right(Use::Write, || {
            // SAFETY: the thread has the right to write to the pages now. The value is exclusively
            // borrowed.
            function(unsafe { value.as_mut() })
        }))
    }

    /// Whether a guard has opened the secret.
    pub fn state(&self) -> ClosedState {
        self.pages.closed_state()
    }

    /// Whether the secret is locked now, so that it is never in swap. It is, but in a child of
    /// `fork` where the system refuses.
    pub fn is_locked(&self) -> bool {
        self.pages.lock_state().is_ok()
    }

    /// Whether the memory is there.
    fn check(&self) -> Result<(), ClosedError> {
        if self.pages.is_absent() { Err(ClosedError::Absent) } else { Ok(()) }
    }
}

impl<T: ?Sized> Drop for ClosedBox<T> {
    /// Wipes the pages. Where the system refuses to open them for writing, the thread can wipe them
    /// by a [protection key](has_protection_key) alone, and only if they are closed: a guard for
    /// reading that was forgotten keeps them open. Otherwise they are given back to the system as
    /// they are: it fills them with zeros before any process gets them again.
    fn drop(&mut self) {
        // SAFETY: the pages are not used again.
        give_up(unsafe { ManuallyDrop::take(&mut self.pages) });
    }
}

impl<T: ?Sized> fmt::Debug for ClosedBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClosedBox([closed])")
    }
}
