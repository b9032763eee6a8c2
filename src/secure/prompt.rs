//! Asking for a secret at the terminal, from the keyboard straight into locked memory.
//!
//! Depends on `vec` and `string`. The terminal is put out of line editing for as long as it takes, so
//! that the process sees every key: then the keys that send signals can restore the terminal first, and
//! no signal handlers, which are the program's own affair, have to be touched.

use super::{ReadSecretError, SecureString, SecureVec};
use core::mem::MaybeUninit;
use core::time::Duration;
use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;

/// More than this many bytes are no line: what a terminal itself takes at most.
const LONGEST_LINE: usize = 4096;

/// Ample time for a signal to take effect.
const SIGNAL_DELIVERY: Duration = Duration::from_millis(100);

impl SecureString {
    /// Shows `text` and reads a line from the terminal, without showing it, byte by byte into locked
    /// memory. The line's end is not part of it. An empty line is an empty string.
    ///
    /// It asks at the process's terminal (`/dev/tty`), wherever standard input comes from. A process that
    /// has none is taken to be fed by another program: then a line is read from standard input, without
    /// buffering, and `text` is shown only if that is a terminal (on standard error).
    ///
    /// The keys for erasing a character, a word or the line, for end of input and for signals work as
    /// they are set up for the terminal. Those for signals restore the terminal, then send their signal
    /// to the process group as the terminal would have; a program that survives an interruption finds
    /// [`ReadSecretError::Interrupted`], one that was suspended and goes on asks again. The terminal is
    /// restored on errors and when a panic unwinds, too. A signal from elsewhere that ends the process
    /// in the middle of a prompt leaves the terminal without echo; `stty sane` brings it back.
    ///
    /// One prompt at a time: others wait. The kernel's own buffers, and those of a terminal emulator,
    /// are beyond the reach of any process.
    ///
    /// ```no_run
    /// use bitcoin_support::SecureString;
    ///
    /// let passphrase = SecureString::prompt("Passphrase: ")?;
    /// # Ok::<(), bitcoin_support::ReadSecretError>(())
    /// ```
    ///
    /// # Errors
    /// See [`ReadSecretError`]. The limit is 4096 bytes. What had been typed is wiped.
    pub fn prompt(text: &str) -> Result<Self, ReadSecretError> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock();
        let terminal =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open("/dev/tty");
        let line = match terminal {
            Ok(terminal) => ask(&terminal, &terminal, text)?,
            // Not `std::io::Stdin`, which reads ahead into a buffer of its own.
            Err(_) => {
                let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
                ask(&stdin, io::stderr(), text)?
            }
        };
        Ok(Self::from_utf8(line)?)
    }
}

/// Reads a line from `input`; if that is a terminal, unseen, and shows `text` on `output` first.
fn ask(
    mut input: &File,
    mut output: impl Write,
    text: &str,
) -> Result<SecureVec<u8>, ReadSecretError> {
    let mut line = SecureVec::new();
    let Some(settings) = settings_of(input) else {
        return match read_line(&mut input, None, &mut line)? {
            End::OfInput => Err(ReadSecretError::EndOfInput),
            End::OfLine | End::Signal(_) => Ok(line),
        };
    };
    loop {
        line.clear();
        let unseen = Unseen::begin(input, settings)?;
        output.write_all(text.as_bytes())?;
        output.flush()?;
        let end = read_line(&mut input, Some(&settings), &mut line)?;
        // The key that ended the line has not been shown either.
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
        // SAFETY: sends a signal to the process group; takes no pointers.
        unsafe { libc::kill(0, signal) };
        // Another thread may have to take it. If it ends or stops the process, it does so here, and not
        // in the middle of what comes next.
        std::thread::sleep(SIGNAL_DELIVERY);
        if signal != libc::SIGTSTP {
            return Err(ReadSecretError::Interrupted);
        }
    }
}

/// What ended a line.
enum End {
    OfLine,
    /// End of input, with nothing before it.
    OfInput,
    /// The key that sends this signal.
    Signal(libc::c_int),
}

/// Reads up to the end of a line, or of the input, into `line`, byte by byte, so that nothing behind the
/// line is taken. With the settings of a terminal, minds its special keys.
fn read_line(
    input: &mut impl Read,
    keys: Option<&libc::termios>,
    line: &mut SecureVec<u8>,
) -> Result<End, ReadSecretError> {
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
        let key = if count == 0 { Key::EndOfInput } else { key(line.expose_secret()[len], keys) };
        if !matches!(key, Key::Text) {
            line.truncate(len);
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

enum Key {
    Text,
    EndOfLine,
    EndOfInput,
    Signal(libc::c_int),
    Erase,
    EraseWord,
    EraseLine,
}

/// What a byte means, given a terminal's settings.
fn key(byte: u8, settings: Option<&libc::termios>) -> Key {
    if byte == b'\n' {
        return Key::EndOfLine;
    }
    let Some(settings) = settings else { return Key::Text };
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
    // Terminals may send either, whatever the settings say.
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

/// Erases the last character, be it several bytes of UTF-8.
fn erase_character(line: &mut SecureVec<u8>) {
    let is_continuation = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    erase_while(line, is_continuation);
    line.truncate(line.len().saturating_sub(1));
}

fn erase_while(line: &mut SecureVec<u8>, erases: impl Fn(u8) -> bool) {
    let kept = line.expose_secret().iter().rposition(|&byte| !erases(byte));
    line.truncate(kept.map_or(0, |last| last + 1));
}

/// The settings of a terminal; `None` for anything else.
fn settings_of(file: &File) -> Option<libc::termios> {
    let mut settings = MaybeUninit::uninit();
    // SAFETY: `settings` is a valid place for the answer.
    match unsafe { libc::tcgetattr(file.as_raw_fd(), settings.as_mut_ptr()) } {
        // SAFETY: on success it has been filled in.
        0 => Some(unsafe { settings.assume_init() }),
        _ => None,
    }
}

/// A terminal that shows nothing of what is typed and hands over every key at once, until it is restored
/// on drop.
struct Unseen<'f> {
    terminal: &'f File,
    before: libc::termios,
}

impl<'f> Unseen<'f> {
    /// Discards what has been typed before, which was seen.
    fn begin(terminal: &'f File, before: libc::termios) -> io::Result<Self> {
        let mut settings = before;
        settings.c_lflag &= !(libc::ECHO | libc::ECHONL | libc::ICANON | libc::ISIG | libc::IEXTEN);
        settings.c_cc[libc::VMIN] = 1;
        settings.c_cc[libc::VTIME] = 0;
        apply(terminal, libc::TCSAFLUSH, &settings)?;
        Ok(Self { terminal, before })
    }

    /// Restores the terminal, and keeps what has been typed ahead.
    fn end(self) -> io::Result<()> {
        apply(self.terminal, libc::TCSADRAIN, &self.before)?;
        // Dropping it would restore once more, and discard.
        core::mem::forget(self);
        Ok(())
    }
}

impl Drop for Unseen<'_> {
    /// Restores the terminal and discards what has not been read: the rest of a secret must not become a
    /// command line.
    fn drop(&mut self) {
        // There is nobody to tell of a failure: the terminal has probably gone.
        let _ = apply(self.terminal, libc::TCSAFLUSH, &self.before);
    }
}

fn apply(terminal: &File, when: libc::c_int, settings: &libc::termios) -> io::Result<()> {
    loop {
        // SAFETY: `settings` is read only.
        if unsafe { libc::tcsetattr(terminal.as_raw_fd(), when, settings) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
