//! `SecureString::prompt` at a real terminal: a pseudo-terminal that is the controlling terminal of
//! a child process (this test binary again). This test holds the other end: it types what a user
//! would type, and reads what a user would see.

#![cfg(target_os = "linux")]

#[path = "common/this_program.rs"]
mod this_program;

use bitcoin_support::{ReadSecretError, SecureString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ExitStatus, Stdio};
use std::{env, mem};
use this_program::this_program;

const CHILD: &str = "BITCOIN_SUPPORT_TEST_PROMPT";

/// The work of the child: it asks `prompts` times and prints each answer on standard output, in
/// capital letters, so that it differs from what was typed.
fn child(prompts: usize) {
    for _ in 0..prompts {
        let answer = match SecureString::prompt("Passphrase: ") {
            Ok(text) => format!("<{}>", text.expose_secret().to_uppercase()),
            Err(ReadSecretError::NotUtf8(error)) => format!("<NOT UTF-8 {}>", error.valid_up_to()),
            Err(ReadSecretError::TooLong(limit)) => format!("<TOO LONG {limit}>"),
            Err(ReadSecretError::EndOfInput) => "<END>".into(),
            Err(ReadSecretError::Interrupted) => "<INTERRUPTED>".into(),
            Err(error) => format!("<{error}>"),
        };
        println!("{answer}");
    }
}

struct Dialogue {
    /// The user's end of the terminal.
    user: File,
    terminal: File,
    child: Child,
    before: libc::termios,
    /// What the user has seen.
    seen: String,
}

impl Dialogue {
    fn new(test: &str, prompts: usize, prepare: fn()) -> Self {
        // SAFETY: plain system calls. The descriptors are new, and the values made of them own
        // them.
        let (user, terminal) = unsafe {
            let user = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
            assert!(user >= 0 && libc::grantpt(user) == 0 && libc::unlockpt(user) == 0);
            let user = OwnedFd::from_raw_fd(user);
            let mut name = [0; 128];
            assert_eq!(libc::ptsname_r(user.as_raw_fd(), name.as_mut_ptr(), name.len()), 0);
            let terminal =
                libc::open(name.as_ptr(), libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
            assert!(terminal >= 0);
            (File::from(user), File::from(OwnedFd::from_raw_fd(terminal)))
        };
        let before = settings(&terminal);
        let mut command = this_program();
        command
            .args(["--exact", test, "--nocapture"])
            .env(CHILD, prompts.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let controlling = terminal.as_raw_fd();
        // SAFETY: only system calls between fork and exec.
        unsafe {
            command.pre_exec(move || {
                if libc::setsid() < 0 || libc::ioctl(controlling, libc::TIOCSCTTY, 0) != 0 {
                    return Err(io::Error::last_os_error());
                }
                // A shell that starts the tests in the background may have these signals ignored.
                for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP] {
                    libc::signal(signal, libc::SIG_DFL);
                }
                prepare();
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        Self { user, terminal, child, before, seen: String::new() }
    }

    /// Reads what the user sees until it ends in `text`.
    fn see(&mut self, text: &str) {
        let mut byte = [0];
        let mut unread = Vec::new();
        while !String::from_utf8_lossy(&unread).ends_with(text) {
            self.user.read_exact(&mut byte).expect("the terminal is open");
            unread.push(byte[0]);
        }
        self.seen.push_str(&String::from_utf8_lossy(&unread));
    }

    fn type_in(&mut self, keys: impl AsRef<[u8]>) {
        self.user.write_all(keys.as_ref()).unwrap();
    }

    /// The child's output, its exit status, and everything that the user has seen.
    fn end(mut self) -> (String, ExitStatus, String) {
        let mut answer = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
        let status = self.child.wait().unwrap();
        assert!(same(&settings(&self.terminal), &self.before), "the terminal is not restored");
        // Without blocking: reads what has arrived by now.
        // SAFETY: plain system calls on a descriptor that is open.
        unsafe { libc::fcntl(self.user.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        let mut rest = Vec::new();
        let _ = self.user.read_to_end(&mut rest);
        self.seen.push_str(&String::from_utf8_lossy(&rest));
        let answer =
            answer.lines().filter(|line| line.starts_with('<')).collect::<Vec<_>>().join(" ");
        (answer, status, self.seen)
    }
}

fn settings(terminal: &File) -> libc::termios {
    // SAFETY: zeros are a `termios`, which is filled in.
    unsafe {
        let mut settings = mem::zeroed();
        assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), &mut settings), 0);
        settings
    }
}

fn same(left: &libc::termios, right: &libc::termios) -> bool {
    (left.c_iflag, left.c_oflag, left.c_lflag, left.c_cc)
        == (right.c_iflag, right.c_oflag, right.c_lflag, right.c_cc)
}

/// Runs a dialogue: `talk` types and sees.
fn dialogue(
    test: &str,
    prompts: usize,
    prepare: fn(),
    talk: impl FnOnce(&mut Dialogue),
) -> Option<(String, ExitStatus, String)> {
    if let Some(prompts) = env::var_os(CHILD) {
        child(prompts.to_str().unwrap().parse().unwrap());
        return None;
    }
    let mut user = Dialogue::new(test, prompts, prepare);
    talk(&mut user);
    Some(user.end())
}

/// One prompt, `keys` typed at it.
fn typed(test: &str, keys: &[u8]) -> Option<(String, ExitStatus, String)> {
    dialogue(
        test,
        1,
        || {},
        |user| {
            user.see("Passphrase: ");
            user.type_in(keys);
        },
    )
}

#[test]
fn what_is_typed_is_read_and_not_shown() {
    let keys = "correct horse, šifra\n";
    let result = typed("what_is_typed_is_read_and_not_shown", keys.as_bytes());
    let Some((answer, status, seen)) = result else { return };
    assert_eq!(answer, "<CORRECT HORSE, ŠIFRA>");
    assert!(status.success());
    assert_eq!(seen, "Passphrase: \r\n");
}

#[test]
fn control_the_terminal_shows_what_it_is_not_told_to_hide() {
    let test = "control_the_terminal_shows_what_it_is_not_told_to_hide";
    if env::var_os(CHILD).is_some() {
        // Reads from the terminal as other programs do.
        let mut terminal = File::options().read(true).write(true).open("/dev/tty").unwrap();
        terminal.write_all(b"Passphrase: ").unwrap();
        let count = terminal.read(&mut [0; 100]).unwrap();
        return println!("<{count}>");
    }
    let Some((answer, _, seen)) = typed(test, b"correct horse\n") else { return };
    assert_eq!(answer, "<14>");
    assert_eq!(seen, "Passphrase: correct horse\r\n");
}

#[test]
fn an_empty_line_is_an_empty_passphrase() {
    let result = typed("an_empty_line_is_an_empty_passphrase", b"\n");
    let Some((answer, ..)) = result else { return };
    assert_eq!(answer, "<>");
}

#[test]
fn keys_that_erase() {
    // Backspace, control-H, over several bytes; control-W; control-U.
    let keys = "xyz\x15ab€\x7fc\x08d one two  \x17end\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7fz\r";
    let result = typed("keys_that_erase", keys.as_bytes());
    let Some((answer, _, seen)) = result else { return };
    assert_eq!(answer, "<ABDZ>");
    assert_eq!(seen, "Passphrase: \r\n");
}

#[test]
fn erasing_stops_at_the_beginning() {
    let result = typed("erasing_stops_at_the_beginning", b"\x7f\x7f\x17\x15a\x7f\x7fb\n");
    let Some((answer, ..)) = result else { return };
    assert_eq!(answer, "<B>");
}

#[test]
fn what_is_pasted_is_taken_as_it_is() {
    // In turn: in the middle of a line, with line ends and keys that erase; keys that erase behind
    // it; marks that are none; one that is never closed.
    let pastes: [(&[u8], &str); 5] = [
        (b"ab\x1b[200~c d\n\x1b[201~e\n", "<ABC DE>"),
        (b"\x1b[200~one\rtwo\x7f\x15\x04\r\r\x1b[201~\n", "<ONE"),
        (b"\x1b[200~abc\x1b[201~\x7f\x1b[200~d\x1b[201~\n", "<ABD>"),
        (b"a\x1b[201~\n", "<A\x1b[201~>"),
        (b"\x1b[200~\x1b[201~\n", "<>"),
    ];
    for (keys, expected) in pastes {
        let Some((answer, _, seen)) = typed("what_is_pasted_is_taken_as_it_is", keys) else {
            return;
        };
        assert_eq!(answer, expected, "{keys:?}");
        assert_eq!(seen, "Passphrase: \r\n");
    }
    // A signal's key works even in a paste that does not end.
    let result = typed("what_is_pasted_is_taken_as_it_is", b"\x1b[200~abc\x03");
    assert_eq!(result.unwrap().1.signal(), Some(libc::SIGINT));
}

#[test]
fn a_new_passphrase_is_asked_for_twice() {
    let test = "a_new_passphrase_is_asked_for_twice";
    if env::var_os(CHILD).is_some() {
        let answer = match SecureString::prompt_confirmed("New: ", "Again: ") {
            Ok(text) => text.expose_secret().to_uppercase(),
            Err(error) => error.to_string(),
        };
        return println!("<{answer}>");
    }
    for (second, expected) in [
        ("horse\n", "<HORSE>"),
        ("hors\n", "<the two inputs are different>"),
        ("Horse\n", "<the two inputs are different>"),
        ("\x04", "<the input ended before the secret>"),
    ] {
        let talk = |user: &mut Dialogue| {
            user.see("New: ");
            user.type_in("horse\n");
            user.see("Again: ");
            user.type_in(second);
        };
        let (answer, _, seen) = dialogue(test, 1, || {}, talk).unwrap();
        assert_eq!((answer.as_str(), seen.as_str()), (expected, "New: \r\nAgain: \r\n"));
    }
}

#[test]
fn end_of_input() {
    let result = typed("end_of_input", b"\x04");
    let Some((answer, ..)) = result else { return };
    assert_eq!(answer, "<END>");
}

#[test]
fn what_is_not_text_is_refused() {
    let result = typed("what_is_not_text_is_refused", b"abc\xff\xfe\n");
    let Some((answer, ..)) = result else { return };
    assert_eq!(answer, "<NOT UTF-8 3>");
}

#[test]
fn lines_have_a_limit() {
    let test = "lines_have_a_limit";
    let result = dialogue(
        test,
        2,
        || {},
        |user| {
            user.see("Passphrase: ");
            user.type_in([b'a'; 2000]);
            user.type_in([b'b'; 2096]);
            user.type_in("\n");
            user.see("Passphrase: ");
            user.type_in([b'c'; 2000]);
            user.type_in([b'd'; 2000]);
            user.type_in([b'e'; 97]);
        },
    );
    let Some((answer, _, seen)) = result else { return };
    let longest = "A".repeat(2000) + &"B".repeat(2096);
    assert_eq!(answer, format!("<{longest}> <TOO LONG 4096>"));
    assert!(!seen.contains("cc") && !seen.contains("ee"), "{seen:?}");
}

#[test]
fn two_lines_typed_at_once_answer_two_prompts() {
    let test = "two_lines_typed_at_once_answer_two_prompts";
    let result = dialogue(
        test,
        2,
        || {},
        |user| {
            user.see("Passphrase: ");
            user.type_in("first\n");
            user.see("Passphrase: ");
            user.type_in("second\n");
        },
    );
    let Some((answer, _, seen)) = result else { return };
    assert_eq!(answer, "<FIRST> <SECOND>");
    assert_eq!(seen, "Passphrase: \r\nPassphrase: \r\n");
}

#[test]
fn interruption_restores_the_terminal_and_ends_the_process() {
    let test = "interruption_restores_the_terminal_and_ends_the_process";
    for (key, signal) in [(b"secret\x03", libc::SIGINT), (b"secret\x1c", libc::SIGQUIT)] {
        let Some((answer, status, seen)) = typed(test, key) else { return };
        assert_eq!(status.signal(), Some(signal));
        assert_eq!((answer.as_str(), seen.as_str()), ("", "Passphrase: \r\n"));
    }
}

#[test]
fn a_process_that_survives_interruption_is_told() {
    fn ignore() {
        // SAFETY: between fork and exec; an ignored signal stays ignored.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    }
    let test = "a_process_that_survives_interruption_is_told";
    let result = dialogue(test, 1, ignore, |user| {
        user.see("Passphrase: ");
        user.type_in("secret\x03");
    });
    let Some((answer, status, _)) = result else { return };
    assert_eq!(answer, "<INTERRUPTED>");
    assert!(status.success());
}

#[test]
fn after_suspension_it_asks_again() {
    fn ignore() {
        // The group of this process is orphaned, so that the kernel would not stop it anyway.
        // SAFETY: between fork and exec; an ignored signal stays ignored.
        unsafe { libc::signal(libc::SIGTSTP, libc::SIG_IGN) };
    }
    let test = "after_suspension_it_asks_again";
    let result = dialogue(test, 1, ignore, |user| {
        user.see("Passphrase: ");
        user.type_in("half\x1a");
        user.see("Passphrase: ");
        user.type_in("whole\n");
    });
    let Some((answer, _, seen)) = result else { return };
    assert_eq!(answer, "<WHOLE>");
    assert_eq!(seen, "Passphrase: \r\nPassphrase: \r\n");
}

#[test]
fn a_terminal_that_goes_away_is_an_end() {
    let test = "a_terminal_that_goes_away_is_an_end";
    if let Some(prompts) = env::var_os(CHILD) {
        return child(prompts.to_str().unwrap().parse().unwrap());
    }
    fn ignore() {
        // SAFETY: between fork and exec; an ignored signal stays ignored.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
    }
    let mut user = Dialogue::new(test, 1, ignore);
    user.see("Passphrase: ");
    let Dialogue { user, terminal, mut child, .. } = user;
    drop((user, terminal));
    let mut answer = String::new();
    child.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    assert!(answer.contains("<END>") || answer.contains("<cannot read"), "{answer:?}");
}

/// Without a terminal, prompt reads one line of standard input, and no byte after it.
#[test]
fn a_process_without_terminal_reads_standard_input() {
    let test = "a_process_without_terminal_reads_standard_input";
    if let Some(prompts) = env::var_os(CHILD) {
        return child(prompts.to_str().unwrap().parse().unwrap());
    }
    let mut command = this_program();
    command
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "5")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: one system call between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::setsid() {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"first\n\nnext\r\nla\x7fst").unwrap();
    let output = child.wait_with_output().unwrap();
    let answer = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<&str> = answer.lines().filter(|line| line.starts_with('<')).collect();
    assert_eq!(answers, ["<FIRST>", "<>", "<NEXT>", "<LA\x7fST>", "<END>"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("Passphrase"));
}
