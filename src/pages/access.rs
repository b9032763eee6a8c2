//! The access to a mapping whose secret is closed while it is not in use.

use super::error::MapError;
use crate::sync::wait_a_turn;
use crate::sys::{Errno, Memory, PageAccess, System, Threads};
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicU32, AtomicUsize};

/// Whether a closed secret is accessible, for the threads of this process in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClosedState {
    /// It is not: an access is a SIGSEGV.
    Closed,
    /// It can be read.
    Readable,
    /// It can be read and written.
    Writable,
}

impl From<PageAccess> for ClosedState {
    fn from(access: PageAccess) -> Self {
        match access {
            PageAccess::Closed => Self::Closed,
            PageAccess::Read => Self::Readable,
            PageAccess::Write => Self::Writable,
        }
    }
}

/// Whether closed secrets are closed by a protection key, so that a single thread can open one for
/// itself ([`ClosedBox::read_on_this_thread`](crate::ClosedBox::read_on_this_thread)) without a
/// system call. Otherwise `mprotect` opens and closes them, for all threads of the process.
///
/// Linux has protection keys on x86-64 processors that have them. A process has 15, of which this
/// library takes one for all closed secrets. It takes it at the first call, or when the first
/// secret is closed; the answer stays the same from then on, also in children of `fork`.
pub fn has_protection_key() -> bool {
    System::has_protection_key()
}

/// What is wanted of a closed secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Read,
    Write,
}

/// Calls a function in which the calling thread has the right to use closed secrets, all of them,
/// where there is a [protection key](has_protection_key). The thread has the right that it had
/// before when the function has returned or panicked.
pub(crate) fn with_thread_right<R>(purpose: Use, function: impl FnOnce() -> R) -> R {
    struct Before(PageAccess);
    impl Drop for Before {
        fn drop(&mut self) {
            System::set_thread_right(self.0);
        }
    }
    let right = match purpose {
        Use::Read => PageAccess::Read,
        Use::Write => PageAccess::Write,
    };
    let before = Before(System::set_thread_right(right));
    // A thread that writes to a secret goes on to have that right while it reads another.
    if before.0 == PageAccess::Write {
        System::set_thread_right(PageAccess::Write);
    }
    function()
}

/// The pages of a mapping: the first address, and the length in bytes.
pub(super) type Pages = (NonNull<u8>, usize);

/// How many uses of a mapping there are, and the access that its pages have.
///
/// One thread at a time looks at the counts and changes the access. It holds a lock meanwhile, and
/// signals are blocked in it. So a signal handler never interrupts the holder of the lock: it may
/// wait for the lock, and so it can open a secret and wipe it.
#[derive(bytemuck::Zeroable)]
pub(super) struct Access {
    is_held: AtomicU32,
    /// Length of the secret in bytes, and where it begins in the pages. The length is 0 for a
    /// mapping that is never closed.
    size: AtomicUsize,
    offset: AtomicUsize,
    readers: AtomicU32,
    writers: AtomicU32,
    /// What the pages have: one of the four below.
    actual: AtomicU32,
}

const WRITE: u32 = 0;
const READ: u32 = 1;
const CLOSED: u32 = 2;
/// The pages have been taken away. Whatever is wanted of them, an access is a fault.
const WITHDRAWN: u32 = 3;

impl Access {
    pub(super) const fn new() -> Self {
        Self {
            is_held: AtomicU32::new(0),
            size: AtomicUsize::new(0),
            offset: AtomicUsize::new(0),
            readers: AtomicU32::new(0),
            writers: AtomicU32::new(0),
            actual: AtomicU32::new(WRITE),
        }
    }

    /// For a mapping that is going to be made: it is accessible, and never closed.
    pub(super) fn reset(&self) {
        self.size.store(0, Relaxed);
        self.readers.store(0, Relaxed);
        self.writers.store(0, Relaxed);
        self.actual.store(WRITE, Relaxed);
    }

    /// Notes that the pages are going to be closed: a wipe that begins from now on holds the lock.
    /// The pages are still accessible. `size` must not be 0.
    pub(super) fn announce(&self, offset: usize, size: usize) {
        self.offset.store(offset, Relaxed);
        self.size.store(size, SeqCst);
    }

    /// Closes the pages, from now on whenever there is no use of them.
    ///
    /// # Errors
    /// When the system refuses. The pages stay accessible.
    ///
    /// # Safety
    /// The caller must own the pages, and no thread may use them but as this type counts. It must
    /// have [announced](Self::announce) this, and waited for the wipes that had begun before.
    pub(super) unsafe fn close_while_unused(&self, pages: Pages) -> Result<(), MapError> {
        self.exclusively(|| {
            // SAFETY: the caller owns the pages, which have no use.
            let closed = unsafe { self.settle(pages) };
            if closed.is_err() {
                self.size.store(0, Relaxed);
            }
            closed.map_err(MapError::of)
        })
    }

    /// Counts a use, and gives the pages the access that it takes.
    ///
    /// # Errors
    /// When the system refuses. There is no use then.
    ///
    /// # Safety
    /// The caller must own the pages, or borrow them, and end the use.
    pub(super) unsafe fn begin(&self, purpose: Use, pages: Pages) -> Result<(), MapError> {
        self.exclusively(|| {
            let count = self.count_of(purpose);
            let uses = count.load(Relaxed);
            // Guards that are forgotten can make it so many.
            let more = uses.checked_add(1).ok_or_else(MapError::no_memory)?;
            count.store(more, Relaxed);
            // SAFETY: the caller may use the pages, and they have the access of all other uses.
            let opened = unsafe { self.settle(pages) };
            if opened.is_err() {
                count.store(uses, Relaxed);
            }
            opened.map_err(MapError::of)
        })
    }

    /// Ends a use. The pages get the access that the others take. `false` if there is no such use.
    ///
    /// # Errors
    /// When the system refuses. The use has ended, and the pages stay as they are until the next
    /// one has.
    ///
    /// # Safety
    /// The use that ends must be the caller's, who must own the pages, or borrow them.
    pub(super) unsafe fn end(&self, purpose: Use, pages: Pages) -> Result<bool, MapError> {
        self.exclusively(|| {
            let count = self.count_of(purpose);
            let Some(fewer) = count.load(Relaxed).checked_sub(1) else { return Ok(false) };
            count.store(fewer, Relaxed);
            // SAFETY: the caller may use the pages, and does not any more. They have the access of
            // all other uses.
            let settled = unsafe { self.settle(pages) };
            settled.map(|()| true).map_err(MapError::of)
        })
    }

    /// Calls a function while the calling thread can write to the pages, whatever uses there are.
    /// `false` where that cannot be: the function has not been called.
    ///
    /// # Safety
    /// The mapping must not go meanwhile.
    pub(super) unsafe fn while_writable(&self, pages: Pages, function: impl FnOnce()) -> bool {
        if self.size.load(SeqCst) == 0 {
            function();
            return true;
        }
        // SAFETY: the mapping does not go meanwhile, and no other thread changes the access.
        self.exclusively(|| unsafe { self.open_and_close(pages, function) })
    }

    /// [`while_writable`](Self::while_writable) for a child process that is being put in order:
    /// this is its only thread, and signals but SIGSYS are blocked already. SIGSYS is not blocked
    /// here, because a sandbox may answer by it what the function calls.
    ///
    /// # Safety
    /// The mapping must not go meanwhile, and there must be no other thread.
    pub(super) unsafe fn while_writable_in_child(
        &self,
        pages: Pages,
        function: impl FnOnce(),
    ) -> bool {
        if self.size.load(Relaxed) == 0 {
            function();
            return true;
        }
        // SAFETY: the mapping does not go meanwhile, and there is no other thread.
        unsafe { self.open_and_close(pages, function) }
    }

    /// Opens the pages for writing, calls a function and gives them the access that they had;
    /// `false` where they cannot be opened.
    ///
    /// # Safety
    /// The mapping must not go meanwhile, and no other thread may change the access.
    unsafe fn open_and_close(&self, pages: Pages, function: impl FnOnce()) -> bool {
        if self.is_withdrawn() {
            return false;
        }
        let before = self.actual();
        // SAFETY: the mapping does not go meanwhile, and threads that use it may do more now.
        if unsafe { self.set(PageAccess::Write, pages) }.is_ok() {
            function();
            // Not what the uses take: pages that are going to be closed for the first time may be
            // in use by a wipe that began before that was announced.
            // SAFETY: the mapping does not go meanwhile, and threads that use it may do afterwards
            // what they could do before.
            let _ = unsafe { self.set(before, pages) };
            return true;
        }
        // The system refuses. A thread needs no system call to open them to itself.
        let has_right = before == PageAccess::Closed && has_protection_key();
        if has_right {
            with_thread_right(Use::Write, function);
        }
        has_right
    }

    /// Calls a function that takes the pages away for good. Uses begin and end as before, and
    /// change nothing any more.
    pub(super) fn withdraw(&self, function: impl FnOnce()) {
        let function = || {
            function();
            self.actual.store(WITHDRAWN, Relaxed);
        };
        if self.size.load(SeqCst) == 0 {
            return function();
        }
        self.exclusively(function);
    }

    /// For a child process, in which this is the only thread, and another thread of the parent may
    /// just have been changing the access.
    ///
    /// # Safety
    /// The mapping must not go meanwhile.
    pub(super) unsafe fn after_fork(&self, pages: Pages) {
        self.is_held.store(0, Relaxed);
        if self.size.load(Relaxed) != 0 {
            let wanted = self.wanted();
            // SAFETY: the mapping does not go meanwhile, and the access is the one that all uses
            // take.
            let _ = unsafe { self.set_anew(wanted, pages) };
        }
    }

    /// Where the secret begins in the pages, its length, and its state; `None` for a mapping that
    /// is never closed.
    pub(super) fn report(&self) -> Option<(usize, usize, ClosedState)> {
        let size = self.size.load(Acquire);
        (size != 0).then(|| (self.offset.load(Relaxed), size, self.actual().into()))
    }

    fn count_of(&self, purpose: Use) -> &AtomicU32 {
        match purpose {
            Use::Read => &self.readers,
            Use::Write => &self.writers,
        }
    }

    fn actual(&self) -> PageAccess {
        match self.actual.load(Relaxed) {
            WRITE => PageAccess::Write,
            READ => PageAccess::Read,
            _ => PageAccess::Closed,
        }
    }

    fn is_withdrawn(&self) -> bool {
        self.actual.load(Relaxed) == WITHDRAWN
    }

    /// The access that all uses together take.
    fn wanted(&self) -> PageAccess {
        if self.size.load(Relaxed) == 0 || self.writers.load(Relaxed) > 0 {
            PageAccess::Write
        } else if self.readers.load(Relaxed) > 0 {
            PageAccess::Read
        } else {
            PageAccess::Closed
        }
    }

    /// Gives the pages the access that all uses together take.
    ///
    /// # Safety
    /// The mapping must not go meanwhile.
    unsafe fn settle(&self, pages: Pages) -> Result<(), Errno> {
        // SAFETY: the mapping does not go meanwhile, and the access is the one that all uses take.
        unsafe { self.set(self.wanted(), pages) }
    }

    /// # Safety
    /// The mapping must not go meanwhile, and no use of it may need more access.
    unsafe fn set(&self, access: PageAccess, pages: Pages) -> Result<(), Errno> {
        if self.actual() == access {
            return Ok(());
        }
        // SAFETY: the mapping does not go meanwhile, and no use of it needs more.
        unsafe { self.set_anew(access, pages) }
    }

    /// # Safety
    /// The mapping must not go meanwhile, and no use of it may need more access.
    unsafe fn set_anew(&self, access: PageAccess, (addr, len): Pages) -> Result<(), Errno> {
        if self.is_withdrawn() {
            return Ok(());
        }
        // SAFETY: the mapping does not go meanwhile, and no use of it needs more.
        unsafe { System::set_access(addr, len, access) }?;
        let actual = match access {
            PageAccess::Write => WRITE,
            PageAccess::Read => READ,
            PageAccess::Closed => CLOSED,
        };
        self.actual.store(actual, Relaxed);
        Ok(())
    }

    /// Calls a function while no other thread, and no signal handler, looks at the counts or
    /// changes the access.
    fn exclusively<R>(&self, function: impl FnOnce() -> R) -> R {
        System::without_signals(|| {
            let mut turn = 0;
            while self.is_held.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
                // The holder makes a few system calls, or wipes the secret.
                wait_a_turn(turn);
                turn = turn.saturating_add(1);
            }
            let result = function();
            self.is_held.store(0, Release);
            result
        })
    }
}
