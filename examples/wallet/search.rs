//! A search of the process's own memory, every readable mapping, for secrets that it has had.

use memchr::memmem;
use std::borrow::Borrow;
use std::fs::{self, File};
use std::hint::black_box;
use std::io;
use std::os::unix::fs::FileExt;
use std::{ptr, slice};

/// Secrets to search for are kept masked, so that the search does not find its own.
const MASK: u8 = 0x95;
/// The search counts a sequence of this many bytes of a secret.
const PART: usize = 16;
const BUFFER: usize = 1 << 20;

/// What is searched for.
pub(crate) struct Search {
    masked: Vec<(&'static str, Vec<u8>)>,
}

impl Search {
    pub(crate) const fn new() -> Self {
        Self { masked: Vec::new() }
    }

    /// Searches for the bytes of `secret` too from now on. Bytes after the last multiple of 16 are
    /// left out.
    pub(crate) fn note<B: Borrow<u8>>(
        &mut self,
        name: &'static str,
        secret: impl IntoIterator<Item = B>,
    ) {
        let masked = secret.into_iter().map(|byte| byte.borrow() ^ black_box(MASK));
        let mut masked: Vec<u8> = masked.collect();
        masked.truncate(masked.len() / PART * PART);
        self.masked.push((name, masked));
    }

    /// The name of each secret, and in how many places of this process's memory a part of it lies.
    pub(crate) fn found(&self) -> io::Result<Vec<(&'static str, usize)>> {
        // The search reads into a mapping that it does not search, and has what it looks for there.
        let longest = self.masked.iter().map(|(_, masked)| masked.len()).max().unwrap_or(0);
        // SAFETY: a new mapping of zeros, used here only.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                BUFFER + longest,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping has so many bytes, and lives until it is unmapped below.
        let own = unsafe { slice::from_raw_parts_mut(start.cast::<u8>(), BUFFER + longest) };
        let places = self.masked.iter().map(|(name, masked)| {
            let (buffer, sought) = own.split_at_mut(BUFFER);
            let sought = &mut sought[..masked.len()];
            sought.iter_mut().zip(masked).for_each(|(place, masked)| *place = masked ^ MASK);
            Ok((*name, count(sought, buffer)?))
        });
        let found = places.collect();
        // Also after an error: the mapping has a secret in clear.
        // SAFETY: the mapping was made above, and is not used any more.
        unsafe { libc::munmap(start, BUFFER + longest) };
        found
    }
}

/// Counts the parts of `sought` in all memory but the two slices, which are one behind the other.
fn count(sought: &[u8], buffer: &mut [u8]) -> io::Result<usize> {
    let own = buffer.as_ptr().addr()..sought.as_ptr().addr() + sought.len();
    let memory = File::open("/proc/self/mem")?;
    let mut found = 0;
    for line in fs::read_to_string("/proc/self/maps")?.lines() {
        let mut words = line.split(' ');
        let (Some(range), Some(permissions)) = (words.next(), words.next()) else { continue };
        let Some((from, to)) = range.split_once('-') else { continue };
        let parse = |digits| usize::from_str_radix(digits, 16).map_err(io::Error::other);
        let (mut from, to) = (parse(from)?, parse(to)?);
        if !permissions.starts_with('r') || line.ends_with("[vvar]") || line.ends_with("[vsyscall]")
        {
            continue;
        }
        while from < to {
            if own.contains(&from) {
                from = own.end.next_multiple_of(PART);
                continue;
            }
            let end = if from < own.start { to.min(own.start) } else { to };
            let len = buffer.len().min(end - from);
            // Device memory, and what has been unmapped meanwhile, cannot be read.
            if memory.read_exact_at(&mut buffer[..len], from as u64).is_err() {
                break;
            }
            found += parts_in(&buffer[..len], sought);
            from = if from + len == end { end } else { from + len - (PART - 1) };
        }
    }
    Ok(found)
}

fn parts_in(bytes: &[u8], sought: &[u8]) -> usize {
    sought.chunks_exact(PART).map(|part| memmem::find_iter(bytes, part).count()).sum()
}
