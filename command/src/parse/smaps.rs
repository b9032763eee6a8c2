//! `/proc/PID/smaps`: the mappings of a process, each with what it takes and how it is treated.

/// A mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// The address behind the last; above `start`.
    pub end: u64,
    /// Whether it may be read, written, executed.
    pub access: Access,
    /// Whether it is shared with other processes that map it, not copied when written to.
    pub shared: bool,
    /// What is mapped, empty for anonymous memory; in brackets where the kernel names it
    /// (`[heap]`).
    pub path: String,
    /// The mapped file's number, 0 for anonymous memory.
    pub inode: u64,
    /// Bytes in memory.
    pub resident: u64,
    /// Bytes on swap.
    pub swap: u64,
    /// Bytes locked into memory; of pages that several processes share, this one's part.
    pub locked: u64,
    /// Bytes in transparent huge pages.
    pub huge: u64,
    /// Whether the kernel would give it transparent huge pages (the line `THPeligible`; older
    /// kernels do not say).
    pub huge_eligible: bool,
    /// `None` when the kernel does not say.
    pub flags: Option<Flags>,
    /// The words of the line `VmFlags`, as they are.
    pub flag_words: String,
}

/// What may be done with memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Whether it may be read.
    pub read: bool,
    /// Whether it may be written to.
    pub write: bool,
    /// Whether it may be executed.
    pub execute: bool,
}

impl Access {
    fn any(self) -> bool {
        self.read || self.write || self.execute
    }
}

/// What of the line `VmFlags` concerns secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `lo`: locked.
    pub locked: bool,
    /// `dd`: left out of core dumps.
    pub dont_dump: bool,
    /// `dc`: not there in forked children.
    pub dont_fork: bool,
    /// `wf`: zeros in forked children.
    pub wipe_on_fork: bool,
    /// `nh`: never huge pages.
    pub no_huge_pages: bool,
    /// `mg`: may be merged with equal pages.
    pub mergeable: bool,
    /// `ht`: of the system's huge pages.
    pub huge_tlb: bool,
    /// `io` or `pf`: a device's memory, or what has no pages that could be swapped.
    pub device: bool,
    /// `dp`: never on swap, as the kernel drops it when memory is short (`MAP_DROPPABLE`). The C
    /// library keeps the state of its random numbers in such memory. It cannot be locked.
    pub droppable: bool,
    /// `gu`: there may be guards inside (`MADV_GUARD_INSTALL`).
    pub guards_inside: bool,
    /// `sl`: the kernel refuses to unmap it or to change the access to it (`mseal`).
    pub sealed: bool,
}

/// The words that a line `VmFlags` has had, up to Linux 6.19. Most say nothing about secrets.
const WORDS: [&str; 41] = [
    "rd", "wr", "ex", "sh", "mr", "mw", "me", "ms", // access
    "gd", "gu", "pf", "dw", "lo", "lf", "io", "sr", "rr", "dc", "de", "ac", "nr", "ht", "sf", "wf",
    "dd", "sd", "mm", "hg", "nh", "mg", "um", "uw", "ui", "dp", "sl", "nl", //
    "ar", "bt", "mt", "mp", "ss", // of some processors
];

impl Mapping {
    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.end - self.start
    }

    /// Whether nothing can be done with it: a guard.
    pub fn is_inaccessible(&self) -> bool {
        !self.access.any()
    }

    /// Whether it is private memory that is no file's. (Huge pages are shown as a file's without a
    /// name.)
    pub fn is_anonymous(&self) -> bool {
        let unnamed = self.path.is_empty() || self.path.starts_with("[anon");
        !self.shared && (self.inode == 0 && unnamed || self.path == "/anon_hugepage (deleted)")
    }

    /// Whether it is of `memfd_secret`.
    pub fn is_secret_memory(&self) -> bool {
        self.shared && is_secret_memory_file(&self.path)
    }
}

/// Those words of a line `VmFlags` that are not known here: of a newer kernel.
pub fn unknown_flags(words: &str) -> impl Iterator<Item = &str> {
    words.split_whitespace().filter(|word| !WORDS.contains(word))
}

/// Whether a path, as `/proc` shows that of a mapping or of an open file, is that of
/// `memfd_secret`.
pub fn is_secret_memory_file(path: &str) -> bool {
    path.strip_suffix(" (deleted)").unwrap_or(path) == "/secretmem"
}

/// The mappings, in the order of the file, which is that of addresses.
pub fn mappings(smaps: &str) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        if let Some(mapping) = heading(line) {
            mappings.push(mapping);
        } else if let (Some(mapping), Some((name, value))) =
            (mappings.last_mut(), line.split_once(':'))
        {
            let bytes = || super::kilobytes(value.trim()).unwrap_or(0);
            match name {
                "Rss" => mapping.resident = bytes(),
                "Swap" => mapping.swap = bytes(),
                "Locked" => mapping.locked = bytes(),
                "AnonHugePages" => mapping.huge = bytes(),
                "THPeligible" => mapping.huge_eligible = value.trim() != "0",
                "VmFlags" => {
                    mapping.flags = Some(flags(value));
                    mapping.flag_words = value.trim().to_owned();
                }
                _ => {}
            }
        }
    }
    mappings
}

/// `start-end perms offset device inode path`
fn heading(line: &str) -> Option<Mapping> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    let mut fields = rest.splitn(5, ' ');
    let permissions = fields.next()?.as_bytes();
    let inode = fields.nth(2)?.parse().ok()?;
    // It is padded with blanks on its left, and may have some inside.
    let path = fields.next().unwrap_or("").trim_start_matches(' ').to_owned();
    let &[read, write, execute, shared] = permissions else { return None };
    let access = Access { read: read == b'r', write: write == b'w', execute: execute == b'x' };
    (start < end).then(|| Mapping {
        start,
        end,
        access,
        shared: shared == b's',
        path,
        inode,
        ..Mapping::default()
    })
}

fn flags(value: &str) -> Flags {
    let mut flags = Flags::default();
    for word in value.split_whitespace() {
        match word {
            "lo" => flags.locked = true,
            "dd" => flags.dont_dump = true,
            "dc" => flags.dont_fork = true,
            "wf" => flags.wipe_on_fork = true,
            "nh" => flags.no_huge_pages = true,
            "mg" => flags.mergeable = true,
            "ht" => flags.huge_tlb = true,
            "io" | "pf" => flags.device = true,
            "dp" => flags.droppable = true,
            "gu" => flags.guards_inside = true,
            "sl" => flags.sealed = true,
            _ => {}
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_read() {
        let text = "\
7f10-7f20 ---p 00000000 00:00 0 \nSize: 4 kB\nVmFlags: mr mw me nr sd \n\
7f20-7f60 rw-p 00000000 00:00 0 \nRss:                 256 kB\nAnonHugePages:  8 kB\n\
Swap:                 12 kB\nSwapPss: 99 kB\nLocked:              128 kB\nTHPeligible:           1\n\
ProtectionKey:         0\nVmFlags: rd wr mr mw me lo ac dd dc wf nh mg ht gu dp sl \n\
7f70-7f80 rw-s 00000000 00:0e 614132                     /secretmem (deleted)\n\
VmFlags: rd wr sh mr mw ms lo dd \n\
7f90-7fa0 r-xp 00001000 fe:00 77                         /opt/with a  blank/7-8 x\n\
VmFlags: rd ex io\n\
7fa0-7fb0 rw-p 00000000 00:00 0                          [anon:arena]\n";
        let mappings = mappings(text);
        assert_eq!(mappings.len(), 5);
        let [guard, arena, secret, file, named] = &mappings[..] else { unreachable!() };
        assert!(guard.is_inaccessible() && guard.is_anonymous());
        assert_eq!((arena.start, arena.end, arena.size()), (0x7f20, 0x7f60, 0x40));
        assert_eq!(arena.access, Access { read: true, write: true, execute: false });
        assert!(arena.is_anonymous() && !arena.shared && !arena.is_inaccessible());
        assert_eq!((arena.resident, arena.huge), (256 << 10, 8 << 10));
        assert_eq!((arena.swap, arena.locked), (12 << 10, 128 << 10));
        let all = Flags {
            locked: true,
            dont_dump: true,
            dont_fork: true,
            wipe_on_fork: true,
            no_huge_pages: true,
            mergeable: true,
            huge_tlb: true,
            device: false,
            droppable: true,
            guards_inside: true,
            sealed: true,
        };
        assert_eq!(arena.flags, Some(all));
        assert!(secret.is_secret_memory() && secret.shared && !secret.is_anonymous());
        assert_eq!(file.path, "/opt/with a  blank/7-8 x");
        assert!(!file.is_anonymous() && !file.is_secret_memory() && file.access.execute);
        assert!(file.flags.unwrap().device);
        assert!(named.is_anonymous() && named.flags.is_none());
        assert!(arena.huge_eligible && !secret.huge_eligible && !named.huge_eligible);
        assert_eq!(secret.flag_words, "rd wr sh mr mw ms lo dd");
    }

    /// Words of all kernels are known, and those of later ones are told.
    #[test]
    fn words_of_a_newer_kernel() {
        let unknown = |words: &str| {
            let mappings = mappings(&format!("10-20 rw-p 0 0:0 0\nVmFlags: {words} \n"));
            unknown_flags(&mappings[0].flag_words).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(unknown("rd wr lo xx ac ?? dd"), ["xx", "??"]);
        assert_eq!(unknown(&WORDS.join(" ")), [""; 0]);
    }

    #[test]
    fn what_is_no_mapping_is_none() {
        for line in [
            "",
            "7f20-7f20 rw-p 0 0:0 0",
            "7f20-7f10 rw-p 0 0:0 0",
            "7f20-7f30 rw 0 0:0 0",
            "7f20-7f30 rw-p 0 0:0 x",
            "x-7f30 rw-p 0 0:0 0",
            "10000000000000000-10000000000000001 rw-p 0 0:0 0",
            "Rss: 4 kB",
        ] {
            assert_eq!(mappings(line), [], "{line:?}");
        }
        // A private file of that name is no secret memory.
        let text = "10-20 rw-p 0 0:0 5 /secretmem (deleted)\n10-20 rw-s 0 0:0 5 /x/secretmem\n";
        assert!(mappings(text).iter().all(|mapping| !mapping.is_secret_memory()));
    }
}
