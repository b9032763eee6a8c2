//! What the system can refuse to pages for secrets, as types. What can be done about it is in
//! `remedy`.

use crate::sys::{Errno, LockRefusal};
use core::fmt;
use std::io;

/// Why pages could not be mapped.
#[derive(Debug)]
pub struct MapError(io::Error);

impl MapError {
    pub(super) fn of(errno: Errno) -> Self {
        Self(errno.into())
    }

    pub(crate) fn no_memory() -> Self {
        Self::of(Errno::ENOMEM)
    }

    /// Nothing of this size can be mapped.
    pub(super) fn invalid() -> Self {
        Self(io::ErrorKind::InvalidInput.into())
    }

    /// The operating system's error number; 0 where it was not asked, because no size like this can
    /// be mapped.
    pub fn errno(&self) -> i32 {
        self.0.raw_os_error().unwrap_or(0)
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot map pages: {}", self.0)
    }
}

impl std::error::Error for MapError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Why pages that are mapped are not locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockError {
    /// The operating system's error number, 0 when a foreign page allocator did not tell, and
    /// for a secret stack whose lock was given up or not tried.
    pub errno: i32,
    /// The limit on locked bytes that was in force (`RLIMIT_MEMLOCK`), `usize::MAX` for none.
    pub limit: usize,
}

impl From<LockRefusal> for LockError {
    fn from(LockRefusal { errno, limit }: LockRefusal) -> Self {
        Self { errno: errno.number(), limit }
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot lock pages")?;
        if self.errno != 0 {
            write!(f, ": {}", io::Error::from_raw_os_error(self.errno))?;
        }
        if self.limit != usize::MAX {
            write!(f, "; the process may lock {} bytes", self.limit)?;
        }
        write!(f, ": {}", self.remedy())
    }
}

impl std::error::Error for LockError {}

/// Why there are no pages as they were asked for. Nothing is mapped then.
#[derive(Debug)]
#[non_exhaustive]
pub enum PagesError {
    /// They cannot be mapped.
    Map(MapError),
    /// They were to be locked, and cannot be.
    Lock(LockError),
    /// They were to be secret memory, which the system does not have; its error number.
    SecretMemory(i32),
    /// They were to have all protections, and lack these.
    Protections(MissingProtections),
}

impl From<MapError> for PagesError {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

impl From<LockError> for PagesError {
    fn from(error: LockError) -> Self {
        Self::Lock(error)
    }
}

impl fmt::Display for PagesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(error) => error.fmt(f),
            Self::Lock(error) => error.fmt(f),
            Self::SecretMemory(errno) => {
                write!(f, "no secret memory: {}", io::Error::from_raw_os_error(*errno))
            }
            Self::Protections(missing) => match missing.refusal() {
                Some(error) => error.fmt(f),
                None => f.write_str("memory lacks a protection"),
            },
        }
    }
}

impl std::error::Error for PagesError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Map(error) => Some(error),
            Self::Lock(error) => Some(error),
            Self::SecretMemory(_) | Self::Protections(_) => None,
        }
    }
}

/// What the system has refused to [`map`](super::map).
#[derive(Debug)]
pub(crate) struct Refused {
    /// Why there are no pages.
    pub(crate) error: PagesError,
    /// The error number with which secret memory was refused on the way to that, if it was.
    pub(crate) secret_memory: Option<i32>,
}

/// A protection that memory for secrets is to have besides its lock, and that the system can
/// refuse. (Guard pages are not among them: the mapping is made with them, or not at all.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protection {
    /// The memory is left out of core dumps (`MADV_DONTDUMP`).
    DumpExclusion,
    /// Children find what the [`ForkPolicy`](super::ForkPolicy) says, by the kernel's doing
    /// (`MADV_WIPEONFORK`, `MADV_DONTFORK`). Where that is refused, children that the C library
    /// makes find it all the same, as this library sees to it there; those made by the bare system
    /// call have the contents.
    ForkPolicy,
    /// The memory is not merged with equal pages (`MADV_UNMERGEABLE`).
    NoMerging,
    /// The memory is not backed by huge pages, which would lock more than is wanted
    /// (`MADV_NOHUGEPAGE`).
    NoHugePages,
}

impl Protection {
    /// Every protection.
    pub const ALL: [Self; 4] =
        [Self::DumpExclusion, Self::ForkPolicy, Self::NoMerging, Self::NoHugePages];

    fn name(self) -> &'static str {
        match self {
            Self::DumpExclusion => "left out of core dumps",
            Self::ForkPolicy => "kept from children by the kernel",
            Self::NoMerging => "kept from being merged with equal pages",
            Self::NoHugePages => "kept from huge pages",
        }
    }
}

/// A protection that the system has refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtectionError {
    /// Which.
    pub protection: Protection,
    /// The operating system's error number.
    pub errno: i32,
}

impl fmt::Display for ProtectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = io::Error::from_raw_os_error(self.errno);
        write!(f, "memory cannot be {}: {why}: {}", self.protection.name(), self.remedy())
    }
}

impl std::error::Error for ProtectionError {}

/// What was refused of one protection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Bytes that were to have it and have not.
    pub bytes: usize,
    /// The operating system's error number at the last refusal; 0 if there was none. (Memory that
    /// was given up again, as a pool does that requires its protections, is in no count of bytes.)
    pub errno: i32,
}

/// Which protections besides the lock memory was to have and has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MissingProtections([Missing; 4]);

impl MissingProtections {
    pub(crate) const NONE: Self = Self([Missing { bytes: 0, errno: 0 }; 4]);

    /// What is missing of one.
    pub fn of(&self, protection: Protection) -> Missing {
        self.0[protection as usize]
    }

    /// The first that has been refused, if any.
    pub fn refusal(&self) -> Option<ProtectionError> {
        let errors = Protection::ALL
            .map(|protection| ProtectionError { protection, errno: self.of(protection).errno });
        errors.into_iter().find(|error| error.errno != 0)
    }

    /// Adds what is missing elsewhere.
    pub(crate) fn plus(mut self, other: &Self) -> Self {
        for (sum, other) in self.0.iter_mut().zip(other.0) {
            sum.bytes += other.bytes;
            sum.errno = if other.errno == 0 { sum.errno } else { other.errno };
        }
        self
    }

    /// Adds memory to the count, or takes it away.
    pub(crate) fn count(
        &mut self,
        refusals: Refusals,
        len: usize,
        change: fn(usize, usize) -> usize,
    ) {
        for (sum, errno) in self.0.iter_mut().zip(refusals.0).filter(|(_, errno)| *errno != 0) {
            sum.bytes = change(sum.bytes, len);
            sum.errno = errno.into();
        }
    }

    /// Notes what was refused to memory that the figures do not include.
    pub(crate) fn note(&mut self, refusals: Refusals) {
        self.count(refusals, 0, usize::wrapping_add);
    }
}

/// By protection, the error number with which the system has refused it to a mapping; 0 for none.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Refusals(pub(super) [u16; 4]);

impl Refusals {
    pub(super) fn add(&mut self, protection: Protection, errno: Errno) {
        // The numbers of all systems are below 4096.
        self.0[protection as usize] = u16::try_from(errno.number()).unwrap_or(u16::MAX);
    }

    /// The first.
    pub(crate) fn first(self) -> Option<ProtectionError> {
        self.missing().refusal()
    }

    /// As missing protections, of no bytes.
    pub(super) fn missing(self) -> MissingProtections {
        let mut missing = MissingProtections::NONE;
        missing.note(self);
        missing
    }
}
