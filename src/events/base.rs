//! `Base`: libevent's `event_base`, shared by its owners and by all objects that were made for it.

use super::flags::EventFlags;
use super::libevent;
use core::any::Any;
use core::cell::{Cell, RefCell};
use core::ffi::{c_int, c_short, c_void};
use core::ptr::{self, NonNull};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

/// An `event_base`. It is freed when the last `Rc` is dropped.
pub(super) struct Base {
    ptr: NonNull<libevent::event_base>,
    /// Number of callbacks that are running, one within the other.
    depth: Cell<usize>,
    /// The payload of the first panic in a callback.
    panic: Cell<Option<Box<dyn Any + Send>>>,
    /// Objects that were dropped in a callback and are not freed yet.
    unfreed: RefCell<Vec<Dropped>>,
}

/// An object of libevent's whose owner has been dropped. Dropping this frees the object.
pub(super) struct Dropped {
    object: Object,
    /// The closures that libevent may call until the object is freed. They are dropped after that.
    _closures: Rc<dyn Any>,
}

pub(super) enum Object {
    Event(NonNull<libevent::event>),
    Http(NonNull<libevent::evhttp>),
    Connection(NonNull<libevent::evhttp_connection>),
}

impl Dropped {
    /// # Safety
    /// The object must be alive, made for a base that outlives the result, and not used by any
    /// other code from now on; and `closures` must keep alive all that its callbacks use.
    pub(super) unsafe fn new(object: Object, closures: Rc<dyn Any>) -> Self {
        Self { object, _closures: closures }
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        match self.object {
            // SAFETY: the caller of `new` promises an object that is alive and not used any more,
            // and a base that is alive.
            Object::Event(event) => unsafe { libevent::event_free(event.as_ptr()) },
            // SAFETY: the caller of `new` promises the same for a server.
            Object::Http(http) => unsafe { libevent::evhttp_free(http.as_ptr()) },
            // SAFETY: the caller of `new` promises the same for a connection.
            Object::Connection(connection) => unsafe {
                libevent::evhttp_connection_free(connection.as_ptr());
            },
        }
    }
}

impl Base {
    /// A new `event_base`, or `None` if libevent cannot make one.
    pub(super) fn new() -> Option<Rc<Self>> {
        // SAFETY: `event_base_new` has no precondition.
        let ptr = NonNull::new(unsafe { libevent::event_base_new() })?;
        Some(Rc::new(Self {
            ptr,
            depth: Cell::new(0),
            panic: Cell::new(None),
            unfreed: RefCell::new(Vec::new()),
        }))
    }

    /// libevent's object, which is alive as long as `self`.
    pub(super) fn as_ptr(&self) -> *mut libevent::event_base {
        self.ptr.as_ptr()
    }

    /// Whether a callback is running.
    pub(super) fn is_in_callback(&self) -> bool {
        self.depth.get() > 0
    }

    /// Frees an object: at once, or when no callback is running.
    pub(super) fn free(&self, dropped: Dropped) {
        if !self.is_in_callback() {
            return drop(dropped);
        }
        // No callback may come for it any more. A server answers requests until it is freed, and
        // the owner of a connection has taken the closures out of its requests; only an event must
        // be stopped.
        if let Object::Event(event) = dropped.object {
            // SAFETY: the event is alive until `dropped` is dropped.
            unsafe { libevent::event_del(event.as_ptr()) };
        }
        self.unfreed.borrow_mut().push(dropped);
        let now = libc::timeval { tv_sec: 0, tv_usec: 0 };
        // SAFETY: the base is alive, and it is alive whenever it calls `free_dropped` with its own
        // address.
        let scheduled = unsafe {
            libevent::event_base_once(
                self.ptr.as_ptr(),
                -1,
                EventFlags::TIMEOUT.bits(),
                free_dropped,
                ptr::from_ref(self).cast_mut().cast(),
                &now,
            )
        };
        // If libevent cannot schedule it, the object is freed when the loop ends.
        let _ = scheduled;
    }

    /// Runs a program's callback for libevent. Keeps the payload if the callback panics.
    pub(super) fn call(&self, callback: impl FnOnce()) {
        self.depth.set(self.depth.get() + 1);
        if let Err(payload) = catch_unwind(AssertUnwindSafe(callback)) {
            let first = self.panic.take().unwrap_or(payload);
            self.panic.set(Some(first));
            self.loop_break();
        }
        self.depth.set(self.depth.get() - 1);
    }

    /// Makes the loop end after the callback that is running.
    pub(super) fn loop_break(&self) {
        // SAFETY: the base is alive. (The call fails only for null.)
        unsafe { libevent::event_base_loopbreak(self.ptr.as_ptr()) };
    }

    /// Frees the objects that were dropped in callbacks, unless a callback is still running.
    fn free_dropped(&self) {
        while !self.is_in_callback() {
            // The list is not borrowed while an object is freed: a closure may own other objects,
            // which are then dropped too.
            let Some(dropped) = self.unfreed.borrow_mut().pop() else { return };
            drop(dropped);
        }
    }

    /// Must be called after every function of libevent that may make callbacks: frees dropped
    /// objects, and continues a panic.
    pub(super) fn back_from_libevent(&self) {
        self.free_dropped();
        if !self.is_in_callback() {
            if let Some(payload) = self.panic.take() {
                resume_unwind(payload);
            }
        }
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        // There is no owner left that could have entered the loop, so no callback is running.
        self.unfreed.get_mut().clear();
        // SAFETY: all objects that were made for the base hold an `Rc` of it or were in `unfreed`,
        // so none is left.
        unsafe { libevent::event_base_free(self.ptr.as_ptr()) };
    }
}

extern "C" fn free_dropped(_: c_int, _: c_short, base: *mut c_void) {
    // SAFETY: `Base::free` has passed the address of the base that is now making this callback. Its
    // loop is running, so it is alive.
    let base = unsafe { &*base.cast::<Base>() };
    base.free_dropped();
}
