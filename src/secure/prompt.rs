//! Asking for a secret at the terminal: from the keyboard straight into locked memory.
//!
//! During a prompt the terminal does no line editing, so that the process sees every key. On a key
//! that sends a signal, the process can then restore the terminal first. It needs no signal
//! handler, and leaves those of the program alone.

use super::error::ReadSecretError;
use super::string::SecureString;
use super::vec::SecureVec;
use core::mem::MaybeUninit;
use core::time::Duration;
use parking_lot::{Mutex, MutexGuard};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;

/// The longest line in bytes: the most that a terminal takes.
const LONGEST_LINE: usize = 4096;

/// A wait that is long enough for a signal to take effect.
const SIGNAL_DELIVERY: Duration = Duration::from_millis(100);

impl SecureString {
    /// Shows `text` and reads a line from the terminal, without showing it, byte by byte into
    /// locked memory. The string does not include the end of the line. An empty line is an empty
    /// string.
    ///
    /// The prompt uses the process's terminal (`/dev/tty`), even if standard input is redirected.
    /// If the process has no terminal, it is taken to get its input from another program: the line
    /// is read from standard input, without buffering, and `text` is shown (on standard error) only
    /// if standard input is a terminal.
    ///
    /// The keys that erase a character, a word or the line, that end the input, and that send
    /// signals are those of the terminal's settings. On a key that sends a signal, the terminal is
    /// restored, and the signal is sent to the process group, as the terminal would do. If the
    /// program survives an interruption, the result is [`ReadSecretError::Interrupted`]. If it was
    /// suspended and continues, it asks again. The terminal is also restored after errors and when
    /// a panic unwinds. If a signal from elsewhere ends the process during a prompt, the terminal
    /// stays without echo; `stty sane` restores it.
    ///
    /// Text that the user pastes is taken as it is, if the terminal marks it (bracketed paste,
    /// which the program or a shell before it has switched on): the marks, and line ends at the end
    /// of the text, are no part of the line, other line ends in it do not end the line, and no
    /// character in it erases others.
    ///
    /// One prompt runs at a time; other threads wait for it. No process can wipe the buffers of the
    /// kernel or of a terminal emulator.
    ///
    /// ```no_run
    /// use bitcoin_support::SecureString;
    ///
    /// let passphrase = SecureString::prompt("Passphrase: ")?;
    /// # Ok::<(), bitcoin_support::ReadSecretError>(())
    /// ```
    ///
    /// # Errors
    /// See [`ReadSecretError`]. The limit is 4096 bytes. The bytes that had been read have been
    /// wiped.
    pub fn prompt(text: &str) -> Result<Self, ReadSecretError> {
        let _turn = turn();
        Ok(Self::from_utf8(ask_somewhere(text)?)?)
    }

    /// [`prompt`](Self::prompt) for a new secret: asks for it with `text`, and once more with
    /// `again`. The two are compared in constant time.
    ///
    /// ```no_run
    /// use bitcoin_support::{ReadSecretError, SecureString};
    ///
    /// let passphrase = loop {
    ///     match SecureString::prompt_confirmed("New passphrase: ", "The same again: ") {
    ///         Err(ReadSecretError::Different) => eprintln!("These are two different passphrases."),
    ///         answer => break answer?,
    ///     }
    /// };
    /// # Ok::<(), ReadSecretError>(())
    /// ```
    ///
    /// # Errors
    /// As for [`prompt`](Self::prompt); also when the two are different
    /// ([`ReadSecretError::Different`]).
    pub fn prompt_confirmed(text: &str, again: &str) -> Result<Self, ReadSecretError> {
        let _turn = turn();
        let first = Self::from_utf8(ask_somewhere(text)?)?;
        let second = Self::from_utf8(ask_somewhere(again)?)?;
        if first == second { Ok(first) } else { Err(ReadSecretError::Different) }
    }
}

/// Waits until no other thread has a prompt.
fn turn() -> MutexGuard<'static, ()> {
    // Why it is a mutex of `parking_lot`: docs/design.md, Prompts.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock()
}

/// Asks at the process's terminal, or at standard input if it has none.
fn ask_somewhere(text: &str) -> Result<SecureVec<u8>, ReadSecretError> {
    let terminal =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open("/dev/tty");
    match terminal {
        Ok(terminal) => ask(&terminal, &terminal, text),
        // Not `std::io::Stdin`, which reads ahead into its buffer.
        Err(_) => {
            let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
            ask(&stdin, io::stderr(), text)
        }
    }
}

/// Reads a line from `input`. If that is a terminal, shows `text` on `output` first, and does not
/// show the line.
fn ask(
    mut input: &File,
    mut output: impl Write,
    text: &str,
) -> Result<SecureVec<u8>, ReadSecretError> {
    let Some(settings) = settings_of(input) else {
        return SecureVec::read_line(input, LONGEST_LINE);
    };
    let mut line = SecureVec::new();
    loop {
        line.clear();
        let unseen = Unseen::begin(input, settings)?;
        output.write_all(text.as_bytes())?;
        output.flush()?;
        let end = read_line(&mut input, &settings, &mut line)?;
        // The key that ended the line was not shown, so the cursor is still behind `text`.
        output.write_all(b"\n")?;
        output.flush()?;
        let signal = match end {
            End::OfLine => {
                unseen.end()?;
                return Ok(line);
            }
            End::OfInput => return Err(ReadSecretError::EndOfInput),
            End::Signal(signal) => signal,
        };
        line.clear();
        drop(unseen);
        // SAFETY: `kill` takes no pointers.
        unsafe { libc::kill(0, signal) };
        // The kernel may deliver the signal to another thread, a little later. If it ends or stops
        // the process, that should happen before the terminal is used again.
        std::thread::sleep(SIGNAL_DELIVERY);
        if signal != libc::SIGTSTP {
            return Err(ReadSecretError::Interrupted);
        }
    }
}

/// How a line ended.
enum End {
    OfLine,
    /// The input ended, and the line is empty.
    OfInput,
    /// By the key that sends this signal.
    Signal(libc::c_int),
}

/// Reads into `line` up to the end of a line or of the input. It reads byte by byte, so that it
/// takes no byte behind the line. `keys` are the settings of the terminal, with its special keys.
fn read_line(
    input: &mut impl Read,
    keys: &libc::termios,
    line: &mut SecureVec<u8>,
) -> Result<End, ReadSecretError> {
    let mut paste = Paste { begins: None };
    loop {
        let len = line.len();
        if len > LONGEST_LINE {
            return Err(ReadSecretError::TooLong(LONGEST_LINE));
        }
        line.try_resize(len + 1, 0)?;
        let count = match input.read(&mut line.expose_secret_mut()[len..]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                line.truncate(len);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let mut key =
            if count == 0 { Key::EndOfInput } else { key(line.expose_secret()[len], keys) };
        if paste.begins.is_some() && count > 0 && !matches!(key, Key::Signal(_)) {
            key = Key::Text;
        }
        if !matches!(key, Key::Text) {
            line.truncate(len);
        } else {
            paste.note(line);
        }
        match key {
            Key::Text => {}
            Key::EndOfLine => return Ok(End::OfLine),
            Key::EndOfInput if line.is_empty() => return Ok(End::OfInput),
            Key::EndOfInput => return Ok(End::OfLine),
            Key::Signal(signal) => return Ok(End::Signal(signal)),
            Key::Erase => erase_character(line),
            Key::EraseWord => {
                erase_while(line, |byte| byte == b' ');
                erase_while(line, |byte| byte != b' ');
            }
            Key::EraseLine => line.clear(),
        }
    }
}

/// Text that a terminal marks as pasted.
struct Paste {
    /// Where in the line it begins, while it comes in.
    begins: Option<usize>,
}

impl Paste {
    const BEGIN: &[u8] = b"\x1b[200~";
    const END: &[u8] = b"\x1b[201~";

    /// Looks for a mark at the end of the line, and takes it out.
    fn note(&mut self, line: &mut SecureVec<u8>) {
        let bytes = line.expose_secret();
        match self.begins {
            None if bytes.ends_with(Self::BEGIN) => {
                let begin = bytes.len() - Self::BEGIN.len();
                line.truncate(begin);
                self.begins = Some(begin);
            }
            Some(begin) if bytes[begin..].ends_with(Self::END) => {
                let text = &bytes[begin..bytes.len() - Self::END.len()];
                let last = text.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r'));
                line.truncate(begin + last.map_or(0, |last| last + 1));
                self.begins = None;
            }
            _ => {}
        }
    }
}

enum Key {
    Text,
    EndOfLine,
    EndOfInput,
    Signal(libc::c_int),
    Erase,
    EraseWord,
    EraseLine,
}

/// The meaning of a byte by a terminal's settings.
fn key(byte: u8, settings: &libc::termios) -> Key {
    if byte == b'\n' {
        return Key::EndOfLine;
    }
    let is = |index: usize| {
        let special = settings.c_cc[index];
        special != libc::_POSIX_VDISABLE && byte == special
    };
    if settings.c_lflag & libc::ISIG != 0 {
        let signals = [
            (libc::VINTR, libc::SIGINT),
            (libc::VQUIT, libc::SIGQUIT),
            (libc::VSUSP, libc::SIGTSTP),
        ];
        for (index, signal) in signals {
            if is(index) {
                return Key::Signal(signal);
            }
        }
    }
    // A terminal may send either of the two, whatever its settings say.
    const BACKSPACE: u8 = 0x08;
    const DELETE: u8 = 0x7f;
    match byte {
        b'\r' => Key::EndOfLine,
        BACKSPACE | DELETE => Key::Erase,
        _ if is(libc::VERASE) => Key::Erase,
        _ if is(libc::VWERASE) => Key::EraseWord,
        _ if is(libc::VKILL) => Key::EraseLine,
        _ if is(libc::VEOF) => Key::EndOfInput,
        _ => Key::Text,
    }
}

/// Erases the last character, which may be several bytes of UTF-8.
fn erase_character(line: &mut SecureVec<u8>) {
    let is_continuation = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    erase_while(line, is_continuation);
    line.truncate(line.len().saturating_sub(1));
}

fn erase_while(line: &mut SecureVec<u8>, erases: impl Fn(u8) -> bool) {
    let kept = line.expose_secret().iter().rposition(|&byte| !erases(byte));
    line.truncate(kept.map_or(0, |last| last + 1));
}

/// The settings of a terminal. `None` if the file is not a terminal.
fn settings_of(file: &File) -> Option<libc::termios> {
    let mut settings = MaybeUninit::uninit();
    // SAFETY: `settings` is valid for a write.
    match unsafe { libc::tcgetattr(file.as_raw_fd(), settings.as_mut_ptr()) } {
        // SAFETY: `tcgetattr` has written all of it when it returns 0.
        0 => Some(unsafe { settings.assume_init() }),
        _ => None,
    }
}

/// A terminal that does not show what is typed, and passes every key on at once. Dropping it
/// restores the terminal.
struct Unseen<'f> {
    terminal: &'f File,
    before: libc::termios,
}

impl<'f> Unseen<'f> {
    /// Discards input that was typed before, because the terminal has shown it.
    fn begin(terminal: &'f File, before: libc::termios) -> io::Result<Self> {
        let mut settings = before;
        settings.c_lflag &= !(libc::ECHO | libc::ECHONL | libc::ICANON | libc::ISIG | libc::IEXTEN);
        settings.c_cc[libc::VMIN] = 1;
        settings.c_cc[libc::VTIME] = 0;
        apply(terminal, libc::TCSAFLUSH, &settings)?;
        Ok(Self { terminal, before })
    }

    /// Restores the terminal, and keeps input that has been typed ahead.
    fn end(self) -> io::Result<()> {
        apply(self.terminal, libc::TCSADRAIN, &self.before)?;
        // `drop` would restore the terminal again, and discard that input.
        core::mem::forget(self);
        Ok(())
    }
}

impl Drop for Unseen<'_> {
    /// Restores the terminal and discards input that has not been read: the rest of a secret must
    /// not become a command line.
    fn drop(&mut self) {
        // A failure cannot be reported from here. The terminal has probably been closed.
        let _ = apply(self.terminal, libc::TCSAFLUSH, &self.before);
    }
}

fn apply(terminal: &File, when: libc::c_int, settings: &libc::termios) -> io::Result<()> {
    loop {
        // SAFETY: `settings` is valid for reads.
        if unsafe { libc::tcsetattr(terminal.as_raw_fd(), when, settings) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
