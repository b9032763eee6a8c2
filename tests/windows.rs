//! What the library does on Windows, as the system sees it: which pages there are and how they may
//! be accessed, the limit on locked memory, and what is left when the process exits. Under Wine the
//! same calls are Wine's.

#![cfg(windows)]

#[path = "common/this_program.rs"]
mod this_program;

use bitcoin_support::{
    ExitPolicy, LockedPages, LockedPoolManager, SecureVec, lock_limit, page_size, raise_lock_limit,
    set_exit_policy,
};
use core::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering::SeqCst};
use this_program::this_program;
use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_WORKING_SET_QUOTA};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
use windows_sys::Win32::System::Memory::{
    MEM_COMMIT, MEM_FREE, MEM_RESERVE, MEMORY_BASIC_INFORMATION, PAGE_READWRITE, VirtualQuery,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, TerminateProcess};

/// What the system says of the page at an address: its state, and the access to it.
fn page_at(addr: usize) -> (u32, u32) {
    // SAFETY: plain data, for which zeros are a value.
    let mut info: MEMORY_BASIC_INFORMATION = unsafe { std::mem::zeroed() };
    let len = size_of_val(&info);
    // SAFETY: `info` is a valid place for the answer; any address may be asked for.
    let got = unsafe { VirtualQuery(ptr::without_provenance(addr), &mut info, len) };
    assert_eq!(got, len);
    (info.State, info.Protect)
}

#[test]
fn pages_lie_between_guard_pages_and_are_given_back() {
    let mut pages = LockedPages::new(3 * page_size()).unwrap();
    let first = pages.as_ptr().addr().get();
    let end = first + pages.len();
    assert!(pages.as_slice().iter().all(|&byte| byte == 0));
    pages.as_mut_slice().fill(0xa5);
    for page in (first..end).step_by(page_size()) {
        assert_eq!(page_at(page), (MEM_COMMIT, PAGE_READWRITE));
    }
    for guard in [first - page_size(), first - 1, end, end + page_size() - 1] {
        assert_eq!(page_at(guard).0, MEM_RESERVE, "a guard page has memory");
    }
    drop(pages);
    for page in (first - page_size()..end + page_size()).step_by(page_size()) {
        assert_eq!(page_at(page).0, MEM_FREE, "a page is left");
    }
}

#[test]
fn what_is_locked_is_told_and_so_is_why_not() {
    let pages = LockedPages::new(page_size()).unwrap();
    match pages.lock_state() {
        Ok(()) => {}
        Err(error) => {
            println!("skipped: no page can be locked here: {error}");
            // Windows refuses at the limit alone. Wine has no such limit, and refuses at the
            // host's.
            let number = if is_wine() { ERROR_ACCESS_DENIED } else { ERROR_WORKING_SET_QUOTA };
            assert_eq!(error.errno, number as i32, "{error}");
            assert!(error.remedy().contains("working set"), "{error}");
        }
    }
}

#[test]
fn the_limit_is_the_working_set_and_grows_on_request() {
    let before = lock_limit();
    assert!(before >= page_size() && before != usize::MAX);
    let after = raise_lock_limit().unwrap();
    assert_eq!(after, lock_limit());
    if is_wine() {
        println!("skipped: in Wine the working set has a size that cannot be changed");
        return;
    }
    assert!(after > before);
    let pages = LockedPages::new(page_size()).unwrap();
    assert!(pages.lock_state().is_ok(), "a page is refused below the new limit");
}

#[test]
fn the_process_wide_pool_serves_threads_that_come_and_go() {
    let threads: Vec<_> = (0..8_usize)
        .map(|number| {
            std::thread::spawn(move || {
                let mut kept = Vec::new();
                for round in 0..2000_usize {
                    let mut secret = SecureVec::from(vec![number as u8; 1 + round % 300]);
                    secret.expose_secret_mut()[0] ^= 0xff;
                    kept.push(secret);
                    if round % 3 == 0 {
                        kept.swap_remove(round / 2 % kept.len());
                    }
                }
                let holds = |secret: &SecureVec<u8>| {
                    secret.expose_secret()[1..].iter().all(|&byte| byte == number as u8)
                };
                assert!(kept.iter().all(holds));
                kept
            })
        })
        .collect();
    let kept: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let stats = LockedPoolManager::instance().stats();
    assert_eq!(stats.chunks_used, kept.iter().map(Vec::len).sum::<usize>());
    let secret = kept[0][0].expose_secret().as_ptr();
    assert_eq!(page_at(secret.addr()), (MEM_COMMIT, PAGE_READWRITE));
    drop(kept);
    assert_eq!(LockedPoolManager::instance().stats().chunks_used, 0);
}

// ---- The end of the process -------------------------------------------------------------------

/// A secret that is alive when the process exits: 64 bytes.
static LEFT: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

/// Called by the system after the library's function, as its section comes later: ends the process
/// with what is left of the secret.
extern "system" fn last_of_all(_: *mut c_void, event: u32, _: *mut c_void) {
    let left = LEFT.load(SeqCst);
    if event != 0 || left.is_null() {
        return;
    }
    // SAFETY: the pages are mapped until the process has ended, and no other thread is left.
    let bytes = unsafe { std::slice::from_raw_parts(left, 64) };
    let code = match bytes {
        bytes if bytes.iter().all(|&byte| byte == 0) => 40,
        bytes if bytes.iter().all(|&byte| byte == 0x5a) => 41,
        _ => 42,
    };
    // SAFETY: the handle is the process itself.
    unsafe { TerminateProcess(GetCurrentProcess(), code) };
}

#[used]
#[unsafe(link_section = ".CRT$XLYZ")]
static LAST_OF_ALL: extern "system" fn(*mut c_void, u32, *mut c_void) = last_of_all;

/// Exits with a secret in locked memory, while another thread runs.
#[test]
#[ignore = "run by the tests of the exit"]
fn victim() {
    if std::env::var_os("KEEP").is_some() {
        set_exit_policy(ExitPolicy::NEVER);
    }
    let mut secret = SecureVec::from(vec![0x5a_u8; 64]);
    LEFT.store(secret.expose_secret_mut().as_mut_ptr(), SeqCst);
    std::mem::forget(secret);
    std::thread::spawn(|| {
        loop {
            drop(SecureVec::from(vec![1_u8; 100]));
        }
    });
    std::process::exit(0);
}

fn exit_code(keep: bool) -> Option<i32> {
    let mut command = this_program();
    command.args(["victim", "--exact", "--ignored", "--nocapture"]);
    if keep {
        command.env("KEEP", "1");
    }
    command.status().unwrap().code()
}

/// Whether this is Wine, which does not call such functions of a program when the process exits.
fn is_wine() -> bool {
    // SAFETY: names that end with a zero. The library is loaded in every process.
    unsafe {
        let library = GetModuleHandleA(c"ntdll.dll".as_ptr().cast());
        GetProcAddress(library, c"wine_get_version".as_ptr().cast()).is_some()
    }
}

#[test]
fn secrets_are_wiped_when_the_process_exits() {
    match exit_code(false) {
        Some(0) if is_wine() => println!("skipped: Wine does not tell a program of its exit"),
        code => assert_eq!(code, Some(40)),
    }
}

#[test]
fn control_secrets_stay_when_the_policy_is_to_keep_them() {
    match exit_code(true) {
        Some(0) if is_wine() => println!("skipped: Wine does not tell a program of its exit"),
        code => assert_eq!(code, Some(41)),
    }
}
