//! The files of a host that the kernel provides, below a root directory: `/` for the host itself.
//!
//! Depends on the file system, and on the kernel for the one answer that no file has.

use crate::parse;
use serde::Serialize;
use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A host, given by the directory that has its `/proc`, `/sys` and `/etc`.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
    membarrier: Option<bool>,
    is_this: bool,
}

/// What keeps the processes of a container apart from those of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Container {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// A pod of Kubernetes, whatever its engine.
    Kubernetes,
}

impl Container {
    /// The name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Docker => "Docker",
            Self::Podman => "Podman",
            Self::Kubernetes => "Kubernetes",
        }
    }
}

/// A file that exists, or should exist, and could not be read.
#[derive(Debug)]
pub struct Unreadable {
    /// The file, as the host names it.
    pub path: PathBuf,
    /// The reason.
    pub error: io::Error,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read {}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl Host {
    /// The host on which this command runs.
    pub fn this() -> Self {
        use rustix::thread::{MembarrierQuery, membarrier_query};
        // The commands of `membarrier` that the library registers and uses.
        let wanted =
            MembarrierQuery::PRIVATE_EXPEDITED | MembarrierQuery::REGISTER_PRIVATE_EXPEDITED;
        Self {
            root: "/".into(),
            membarrier: Some(membarrier_query().contains(wanted)),
            is_this: true,
        }
    }

    /// A copy of a host's files. Answers that only a running kernel can give are unknown.
    pub fn copy_at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), membarrier: None, is_this: false }
    }

    /// Sets the answer to whether `membarrier` is there.
    pub fn with_membarrier(mut self, there: bool) -> Self {
        self.membarrier = Some(there);
        self
    }

    pub(crate) fn membarrier(&self) -> Option<bool> {
        self.membarrier
    }

    /// Whether a process with this number exists, also if `/proc` does not show it. `None` for a
    /// copy of a host's files, and if the kernel does not answer.
    pub(crate) fn has_process(&self, pid: u32) -> Option<bool> {
        use rustix::io::Errno;
        use rustix::process::{Pid, test_kill_process};
        if !self.is_this {
            return None;
        }
        match test_kill_process(Pid::from_raw(pid.try_into().ok()?)?) {
            Ok(()) | Err(Errno::PERM) => Some(true),
            Err(Errno::SRCH) => Some(false),
            Err(_) => None,
        }
    }

    /// The container that this is, as far as the files that its engine puts there tell.
    pub(crate) fn container(&self) -> Option<Container> {
        // The engine of a pod may leave its own mark too.
        let has_service = self.is_this && env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        if has_service || self.exists("/run/secrets/kubernetes.io") {
            Some(Container::Kubernetes)
        } else if self.exists("/run/.containerenv") {
            Some(Container::Podman)
        } else if self.exists("/.dockerenv") {
            Some(Container::Docker)
        } else {
            None
        }
    }

    /// The numbers of the processes, in order.
    pub(crate) fn processes(&self) -> Result<Vec<u32>, Unreadable> {
        let names = self.try_names("/proc")?;
        let mut processes: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
        if processes.is_empty() {
            return Err(Unreadable { path: "/proc".into(), error: io::ErrorKind::NotFound.into() });
        }
        processes.sort_unstable();
        Ok(processes)
    }

    /// How much of other users' processes `/proc` hides: the value of its option `hidepid`, if it
    /// hides any.
    pub(crate) fn hidepid(&self) -> Option<String> {
        let mounts = self.read("/proc/self/mountinfo").ok().flatten().unwrap_or_default();
        parse::hidepid(&parse::mounts(&mounts)).map(str::to_owned)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file, with bytes that are not UTF-8 replaced; `None` if the file does not
    /// exist.
    pub(crate) fn read(&self, path: &str) -> Result<Option<String>, Unreadable> {
        match fs::read(self.at(path)) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(Unreadable { path: path.into(), error }),
        }
    }

    /// The text of a file that every host has.
    pub(crate) fn require(&self, path: &str) -> Result<String, Unreadable> {
        self.read(path)?
            .ok_or_else(|| Unreadable { path: path.into(), error: io::ErrorKind::NotFound.into() })
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// The user number of a file's owner.
    pub(crate) fn owner(&self, path: &str) -> Option<u32> {
        fs::metadata(self.at(path)).ok().map(|metadata| metadata.uid())
    }

    /// The names in a directory, sorted; empty if the directory does not exist or cannot be read.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        self.try_names(path).unwrap_or_default()
    }

    /// The names in a directory, sorted; empty if the directory does not exist.
    pub(crate) fn try_names(&self, path: &str) -> Result<Vec<String>, Unreadable> {
        let entries = match fs::read_dir(self.at(path)) {
            Ok(entries) => entries,
            Err(error) if is_absence(&error) => return Ok(Vec::new()),
            Err(error) => return Err(Unreadable { path: path.into(), error }),
        };
        let mut names: Vec<_> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// The target of a symbolic link; `None` if the path is not a link or cannot be read.
    pub(crate) fn link(&self, path: &str) -> Option<String> {
        fs::read_link(self.at(path)).ok()?.into_os_string().into_string().ok()
    }

    /// The name of the directory that really has the path, with all links followed.
    pub(crate) fn parent_name(&self, path: &str) -> Option<String> {
        let real = fs::canonicalize(self.at(path)).ok()?;
        real.parent().and_then(Path::file_name)?.to_str().map(str::to_owned)
    }
}

/// Whether the error says that a file does not exist. A read below `/proc` gives "no such process"
/// when the process ends meanwhile.
fn is_absence(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
        || error.raw_os_error() == Some(rustix::io::Errno::NOTDIR.raw_os_error())
}
