//! Where a report goes.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Where a report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file, which is replaced as a whole: readers find the old report or the new one.
    File(PathBuf),
}

impl Destination {
    /// Whether the report goes to a terminal.
    pub fn is_terminal(&self) -> bool {
        *self == Self::Stdout && io::stdout().is_terminal()
    }

    /// Waits for a time, or until standard output has no reader any more. Returns whether it has
    /// none. (A write shows that too, but there may be nothing to write.)
    pub fn waits(&self, time: Duration) -> bool {
        let Ok(timeout) = Timespec::try_from(time) else { return false };
        if *self == Self::Stdout {
            let out = io::stdout();
            let mut polled = [PollFd::new(&out, PollFlags::empty())];
            match poll(&mut polled, Some(&timeout)) {
                Ok(0) | Err(Errno::INTR) => return false,
                Ok(_) => return true,
                Err(_) => {}
            }
        }
        thread::sleep(time);
        false
    }

    /// Writes a report.
    ///
    /// # Errors
    /// Those of the file system, with the name of the file. `BrokenPipe` if the reader of standard
    /// output has closed it.
    pub fn write(&self, text: &str) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes()).and_then(|()| out.flush())
            }
            Self::File(path) => replace(path, text).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            }),
        }
    }
}

/// Replaces a file. All users may read it, as far as the mode mask lets them: the collector that
/// reads it is another user than root.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // A device or a link would be replaced by a file.
    if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(io::Error::other("is there, and is no ordinary file"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    // In the same folder, so that it can be renamed. Collectors read files with other endings.
    let mut file = tempfile::Builder::new()
        .prefix(".bitcoin-support-")
        .suffix(".tmp")
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    // After a crash of the host the file is the old one or the new one, too.
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// When a report has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// On a terminal that knows them, unless the environment has a `NO_COLOR` that is not empty.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether the report has colours, by the terminal and the environment.
    pub fn is_wanted(
        self,
        is_terminal: bool,
        variable: impl Fn(&'static str) -> Option<OsString>,
    ) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                let refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
                is_terminal && knows_escapes(variable) && !refused
            }
        }
    }
}

/// Whether the terminal obeys escape sequences, by the environment.
pub fn knows_escapes(variable: impl Fn(&'static str) -> Option<OsString>) -> bool {
    variable("TERM").is_some_and(|name| name != "dumb" && !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_are_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.prom");
        let write = |text: &str| Destination::File(path.clone()).write(text);
        write("a long first report\n").unwrap();
        // A reader that has the old file open keeps it.
        let mut old = fs::File::open(&path).unwrap();
        write("second\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second\n");
        assert_eq!(io::read_to_string(&mut old).unwrap(), "a long first report\n");
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "nothing else is left: {names:?}");
        // Others may read it, and not write to it.
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let mask = u32::from_str_radix(parse::field(&status, "Umask").unwrap(), 8).unwrap();
        assert_eq!(mode & 0o777, 0o644 & !mask);
    }

    #[test]
    fn what_is_no_ordinary_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        fs::write(&target, "kept").unwrap();
        let link = folder.path().join("link");
        symlink(&target, &link).unwrap();
        for path in [link.as_path(), folder.path(), Path::new("/dev/null")] {
            let error = Destination::File(path.into()).write("new").unwrap_err().to_string();
            assert!(error.contains("no ordinary file"), "{error}");
            assert!(error.starts_with(&path.display().to_string()), "{error}");
        }
        assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
        let nowhere = folder.path().join("none/file");
        assert!(Destination::File(nowhere).write("new").is_err());
    }

    #[test]
    fn colours() {
        let with = |variables: &'static [(&'static str, &'static str)]| {
            move |name: &'static str| {
                variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into())
            }
        };
        let term = ("TERM", "xterm");
        for (variables, expected) in [
            (&[term][..], true),
            (&[term, ("NO_COLOR", "1")], false),
            (&[term, ("NO_COLOR", "0")], false),
            (&[term, ("NO_COLOR", "")], true),
            (&[("TERM", "dumb")], false),
            (&[("TERM", "")], false),
            (&[], false),
        ] {
            let variables: &'static [_] = Vec::leak(variables.to_vec());
            assert_eq!(Color::Auto.is_wanted(true, with(variables)), expected, "{variables:?}");
            assert!(!Color::Auto.is_wanted(false, with(variables)));
            assert!(Color::Always.is_wanted(false, with(variables)));
            assert!(!Color::Never.is_wanted(true, with(variables)));
        }
    }
}
