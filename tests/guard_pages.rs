//! The guard pages around every arena: an overrun that leaves an arena ends the process at that access.
//! (Apart from the other tests of pages: while a child lives, the kernel counts half of a page for each.)

#![cfg(target_os = "linux")]

use bitcoin_support::{LockedPages, LockedPool, LockedPoolManager};

/// Address of `len` bytes of an ordinary mapping, for the life of the process.
fn anonymous_pages(len: usize) -> usize {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new private mapping at a place of the system's choice.
    let addr = unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, -1, 0) };
    assert_ne!(addr, libc::MAP_FAILED);
    addr.expose_provenance()
}

/// Whether a child process dies of writing a byte.
fn kills_a_child(addr: usize) -> bool {
    // SAFETY: the child makes system calls and a write, and ends at once.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: none. Either nobody uses the byte, or the child is to die here.
        unsafe {
            std::ptr::with_exposed_provenance_mut::<u8>(addr).write_volatile(1);
            libc::_exit(0);
        }
    }
    let mut status = 0;
    // SAFETY: `status` is a valid place for the answer.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(libc::WIFSIGNALED(status) || status == 0, "{status:#x}");
    libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV
}

/// An overrun that leaves an arena, in either direction, ends the process, and does not where there are no
/// guard pages.
#[test]
fn guard_pages_stop_what_leaves_an_arena() {
    let len = LockedPool::ARENA_SIZE;
    let mut own = Vec::new();
    // An arena as a whole of the process-wide pool, and of a pool of its own; and pages alone.
    let pool = LockedPool::default();
    own.push(LockedPoolManager::instance().alloc(len, 16).unwrap().as_ptr().expose_provenance());
    own.push(LockedPoolManager::instance().alloc(len, 16).unwrap().as_ptr().expose_provenance());
    own.push(pool.alloc(len, 16).unwrap().as_ptr().expose_provenance());
    own.push(pool.alloc(len, 16).unwrap().as_ptr().expose_provenance());
    let pages = LockedPages::new(len).unwrap();
    own.push(pages.as_ptr().as_ptr().expose_provenance());
    for start in own {
        assert!(kills_a_child(start + len) && kills_a_child(start - 1));
        assert!(!kills_a_child(start) && !kills_a_child(start + len - 1));
    }
    // The middle third of a mapping has none.
    let ordinary = anonymous_pages(3 * len) + len;
    assert!(!kills_a_child(ordinary + len) && !kills_a_child(ordinary - 1));
}
