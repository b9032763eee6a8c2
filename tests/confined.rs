//! A process that is confined otherwise than by the limit on locked memory: threads with the smallest legal
//! stack. Each observation has its control.

#![cfg(target_os = "linux")]

mod common;

use bitcoin_support::{
    LockedPages, LockedPool, LockedPoolManager, SecureBox, SecureString, SecureVec,
    get_unique_path, wipe_everything,
};
use common::{alone, in_child};
use std::hint::black_box;
use std::num::NonZeroU32;
use std::ptr::null_mut;

/// How much larger what is on the stack is than in an optimized program.
const FRAMES: usize = if cfg!(debug_assertions) { 2 } else { 1 };

/// Runs `body` in a thread with the smallest stack that a thread may have here.
fn on_the_smallest_stack(body: fn()) {
    extern "C" fn run(body: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: the pointer that was given to `pthread_create` below, made from this kind of function.
        let body: fn() = unsafe { std::mem::transmute(body) };
        body();
        null_mut()
    }
    // SAFETY: takes no pointers.
    let smallest = unsafe { libc::sysconf(libc::_SC_THREAD_STACK_MIN) };
    let size = FRAMES * usize::try_from(smallest).unwrap_or(0).max(libc::PTHREAD_STACK_MIN);
    // SAFETY: all places are valid for the calls, the function takes what it is given, and the thread has
    // ended before they go.
    unsafe {
        let mut attributes = std::mem::zeroed();
        assert_eq!(libc::pthread_attr_init(&mut attributes), 0);
        assert_eq!(libc::pthread_attr_setstacksize(&mut attributes, size), 0);
        let mut thread = std::mem::zeroed();
        let argument = body as *mut libc::c_void;
        assert_eq!(libc::pthread_create(&mut thread, &attributes, run, argument), 0);
        assert_eq!(libc::pthread_join(thread, null_mut()), 0);
        libc::pthread_attr_destroy(&mut attributes);
    }
}

/// What the process-wide pool and all else is made of when it is first used is not made on the stack.
#[test]
fn the_smallest_stack_is_enough() {
    // Each is the first use of the library in a process, and comes in a thread of its own.
    const USES: [fn(); 11] = [
        || assert!(LockedPoolManager::instance().alloc(32, 16).is_some()),
        || assert!(LockedPoolManager::instance().alloc(100_000, 16).is_some()),
        || assert!(LockedPoolManager::instance().stats().arenas < 100),
        || LockedPoolManager::instance().sample_one_in(NonZeroU32::new(1), 1 << 20).unwrap(),
        || assert!(LockedPool::default().alloc(100, 16).is_some()),
        || assert!(LockedPages::new(1).unwrap().lock_state().is_ok()),
        || assert_eq!(SecureString::from("a passphrase").expose_secret(), "a passphrase"),
        || assert_eq!(SecureVec::from(vec![1_u8; 1000]).expose_secret().len(), 1000),
        || assert_eq!(SecureBox::new([7_u8; 32]).expose_secret()[31], 7),
        || assert!(get_unique_path(std::path::Path::new("/tmp")).is_ok()),
        // SAFETY: there is nothing that must not be zeros.
        || unsafe { wipe_everything() },
    ];
    alone("the_smallest_stack_is_enough", || {
        for first in USES {
            in_child(|| {
                on_the_smallest_stack(first);
                USES.into_iter().for_each(on_the_smallest_stack);
            });
        }
        // The control: as much as a heap has does not fit.
        // SAFETY: the child ends in here, by a signal.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            on_the_smallest_stack(|| assert_eq!(black_box([1_u8; FRAMES * 13 * 1024])[9], 1));
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        // SAFETY: `status` is a valid place for the answer.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(libc::WIFSIGNALED(status), "{status:#x}");
    });
}
