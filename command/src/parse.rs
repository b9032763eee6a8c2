//! Turns the text of the kernel's files into types. Every function accepts any text, and skips
//! lines that it does not understand. The formats are those of the kernel's
//! Documentation/filesystems/proc.rst and Documentation/admin-guide, and of proc(5).

pub mod smaps;

/// A resource limit: a number, or `None` for no limit.
pub type Bound = Option<u64>;

/// A soft and a hard resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The limit that is in force.
    pub soft: Bound,
    /// The limit up to which the process may raise the soft one.
    pub hard: Bound,
}

/// A limit of `/proc/PID/limits`, by its name there ("Max locked memory").
pub fn limit(limits: &str, name: &str) -> Option<Limit> {
    let rest = limits.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    let mut words = rest.split_whitespace().map(bound);
    Some(Limit { soft: words.next()??, hard: words.next()?? })
}

/// A number, or one of the kernel's words for no limit. The outer `None` is for any other text.
pub fn bound(word: &str) -> Option<Bound> {
    if matches!(word, "unlimited" | "max") { Some(None) } else { word.parse().ok().map(Some) }
}

/// The value of a line `name: value`, as in `/proc/PID/status` and `/proc/meminfo`.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// The name of a process in its `/proc/PID/status`. The file escapes line ends and backslashes; the
/// result does not.
pub fn process_name(status: &str) -> String {
    let mut name = String::new();
    let mut rest = field(status, "Name").unwrap_or("").chars();
    while let Some(c) = rest.next() {
        name.push(match (c, rest.as_str().chars().next()) {
            ('\\', Some('n')) => '\n',
            ('\\', Some('\\')) => '\\',
            _ => {
                name.push(c);
                continue;
            }
        });
        rest.next();
    }
    name
}

/// The start of a process in its `/proc/PID/stat`: in ticks since the host started. Together with
/// the number of the process it identifies the process.
pub fn start_time(stat: &str) -> Option<u64> {
    // The name is in parentheses, and may contain blanks and parentheses. The fields behind it
    // contain neither.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// The path of a process's control group in `/proc/PID/cgroup`: in the hierarchy of version 1 with
/// a controller, or in version 2's.
pub fn cgroup<'a>(groups: &'a str, controller: Option<&str>) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let wanted = match controller {
            Some(controller) => controllers.split(',').any(|name| name == controller),
            None => number == "0" && controllers.is_empty(),
        };
        wanted.then_some(path)
    })
}

/// Whether a `/proc/PID/uid_map` is that of a host's first user namespace, or of one that maps all
/// users onto themselves.
pub fn maps_all_users(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The number of a user namespace's root outside of the namespace, in a `/proc/PID/uid_map`.
pub fn mapped_root(uid_map: &str) -> Option<u32> {
    uid_map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace();
        (numbers.next()? == "0").then(|| numbers.next()?.parse().ok())?
    })
}

/// The bytes in a value such as `256 kB`.
pub fn kilobytes(value: &str) -> Option<u64> {
    let number = value.strip_suffix("kB")?.trim_end();
    number.parse::<u64>().ok()?.checked_mul(1024)
}

/// A hexadecimal number, such as a set of capabilities or a core filter.
pub fn hexadecimal(text: &str) -> Option<u64> {
    let text = text.trim();
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

/// The chosen word, in brackets, of a text such as `always [madvise] never`.
pub fn chosen(choice: &str) -> Option<&str> {
    choice.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
}

/// The last value of a parameter on the kernel's command line. Empty for a parameter without a
/// value.
pub fn parameter<'a>(command_line: &'a str, name: &str) -> Option<&'a str> {
    // The arguments behind `--` are for the first process.
    let words = command_line.split_whitespace().take_while(|&word| word != "--");
    words.filter_map(|word| value_of(word, name)).last()
}

fn value_of<'a>(word: &'a str, name: &str) -> Option<&'a str> {
    let rest = word.strip_prefix(name)?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('=') }
}

/// A boolean as the kernel parses it. A parameter without a value is true.
pub fn boolean(value: &str) -> Option<bool> {
    match value.trim().as_bytes() {
        [] | [b'y' | b'Y' | b't' | b'T' | b'1', ..] | [b'o' | b'O', b'n' | b'N', ..] => Some(true),
        [b'n' | b'N' | b'f' | b'F' | b'0', ..] | [b'o' | b'O', b'f' | b'F', ..] => Some(false),
        _ => None,
    }
}

/// Major and minor version of a kernel release such as `6.1.0-18-amd64`.
pub fn release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A line of `/proc/swaps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapArea {
    /// The device or file.
    pub name: String,
    /// Whether it is a file; otherwise it is a device.
    pub is_file: bool,
    /// Size in bytes.
    pub size: u64,
    /// Bytes in use.
    pub used: u64,
}

/// The areas of `/proc/swaps`.
pub fn swap_areas(swaps: &str) -> Vec<SwapArea> {
    // The first line is the heading.
    swaps.lines().skip(1).filter_map(swap_area).collect()
}

fn swap_area(line: &str) -> Option<SwapArea> {
    let mut words = line.split_whitespace();
    let name = unescape(words.next()?);
    let is_file = words.next()? == "file";
    let mut bytes = || words.next()?.parse::<u64>().ok()?.checked_mul(1024);
    Some(SwapArea { name, is_file, size: bytes()?, used: bytes()? })
}

/// Undoes the octal escapes (`\040` for a blank) in names that `/proc` prints.
fn unescape(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = match *rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &rest[4..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A line of `/proc/PID/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The path in the file system that is mounted: `/` for all of it.
    pub root: String,
    /// Where it is mounted.
    pub point: String,
    /// `major:minor` of the device. The major number is 0 if it is not a single block device.
    pub device: String,
    /// The kind of file system.
    pub kind: String,
    /// The source, as the file system names it: `/dev/sda2`.
    pub source: String,
    /// The options, separated by commas.
    pub options: String,
}

/// The mounts of `/proc/PID/mountinfo`, in its order. Of two mounts at one place, the later hides
/// the earlier.
pub fn mounts(mountinfo: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Mount> {
    // A hyphen separates the common fields from those of the file system.
    let (common, special) = line.split_once(" - ")?;
    let mut common = common.split(' ').skip(2);
    let device = common.next()?.to_owned();
    let root = unescape(common.next()?);
    let point = unescape(common.next()?);
    let mut special = special.split(' ');
    Some(Mount {
        root,
        point,
        device,
        kind: special.next()?.to_owned(),
        source: unescape(special.next()?),
        options: special.next().unwrap_or("").to_owned(),
    })
}

/// The mount that a file is on.
pub fn mount_of<'a>(mounts: &'a [Mount], file: &str) -> Option<&'a Mount> {
    let holds = |mount: &&Mount| {
        let rest = file.strip_prefix(mount.point.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.starts_with('/'))
    };
    // The last of the longest.
    mounts.iter().filter(holds).max_by_key(|mount| mount.point.len())
}

/// How much of other users' processes a mount of `/proc` hides: the value of its option `hidepid`,
/// if it hides any.
pub fn hidepid(mounts: &[Mount]) -> Option<&str> {
    let proc = mounts.iter().rfind(|mount| mount.point == "/proc" && mount.kind == "proc")?;
    let value = proc.options.split(',').find_map(|option| option.strip_prefix("hidepid="))?;
    // Older kernels show numbers, newer ones words.
    (!matches!(value, "0" | "off")).then_some(value)
}

/// A setting of an ini file such as systemd's: the last value of `key` in `[section]`.
pub fn setting<'a>(text: &'a str, section: &str, key: &str) -> Option<&'a str> {
    let mut inside = false;
    let mut value = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name == section;
        } else if inside {
            if let Some((name, text)) = line.split_once('=') {
                if name.trim() == key {
                    value = Some(text.trim());
                }
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max core file size        0                    unlimited            bytes     \n\
                    Max locked memory         8388608              16777216             bytes     \n\
                    Max nice priority         0                    0                    \n\
                    Max bogus                 many                 few                  bytes     \n";
        let locked = Limit { soft: Some(8 << 20), hard: Some(16 << 20) };
        assert_eq!(limit(text, "Max locked memory"), Some(locked));
        assert_eq!(limit(text, "Max core file size"), Some(Limit { soft: Some(0), hard: None }));
        assert_eq!(limit(text, "Max nice priority").map(|limit| limit.hard), Some(Some(0)));
        assert_eq!(limit(text, "Max bogus"), None);
        assert_eq!(limit(text, "Max locked"), None);
        assert_eq!(limit("", "Max locked memory"), None);
    }

    #[test]
    fn fields_and_numbers() {
        let status =
            "Name:\tnode\nVmLck:\t     256 kB\nVmLckd:\t 1 kB\nUid:\t1000\t1001\t1000\t1000\n";
        assert_eq!(field(status, "VmLck"), Some("256 kB"));
        assert_eq!(field(status, "Vm"), None);
        assert_eq!(kilobytes("256 kB"), Some(256 << 10));
        assert_eq!(kilobytes("256"), None);
        assert_eq!(kilobytes("18446744073709551615 kB"), None, "too large");
        assert_eq!(hexadecimal("00000033\n"), Some(0x33));
        assert_eq!(hexadecimal("0x33"), Some(0x33));
        assert_eq!(hexadecimal(""), None);
        assert_eq!(chosen("always [madvise] never\n"), Some("madvise"));
        assert_eq!(chosen("always madvise"), None);
        assert_eq!(release("6.1.0-18-amd64\n"), Some((6, 1)));
        assert_eq!(release("5.10"), Some((5, 10)));
        assert_eq!(release("unknown"), None);
    }

    #[test]
    fn the_command_line() {
        let line = "BOOT_IMAGE=/vmlinuz resume=/dev/sda1 quiet resume=UUID=1-2 -- resume=other";
        assert_eq!(parameter(line, "resume"), Some("UUID=1-2"));
        assert_eq!(parameter(line, "quiet"), Some(""));
        assert_eq!(parameter(line, "noresume"), None);
        assert_eq!(parameter(line, "res"), None);
        for (text, value) in
            [("", true), ("y", true), ("1", true), ("on", true), ("N\n", false), ("off", false)]
        {
            assert_eq!(boolean(text), Some(value), "{text:?}");
        }
        assert_eq!(boolean("perhaps"), None);
    }

    #[test]
    fn swaps() {
        let text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
                    /dev/dm-1                               partition\t999420\t\t12\t\t-2\n\
                    /var/swap\\040file                      file\t\t2048\t\t0\t\t-3\n\
                    garbage\n";
        let areas = swap_areas(text);
        assert_eq!(areas.len(), 2);
        assert_eq!((areas[0].name.as_str(), areas[0].is_file), ("/dev/dm-1", false));
        assert_eq!((areas[0].size, areas[0].used), (999_420 << 10, 12 << 10));
        assert_eq!((areas[1].name.as_str(), areas[1].is_file), ("/var/swap file", true));
        assert_eq!(unescape("\\134\\9\\04"), "\\\\9\\04", "only whole escapes");
    }

    #[test]
    fn the_mount_of_a_file() {
        let text = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
                    30 22 0:45 /@ /var rw - btrfs /dev/mapper/data rw,subvol=/@\n\
                    31 22 8:1 / /va rw - ext4 /dev/sda1 rw\n\
                    32 30 8:2 / /var/a\\040b rw master:2 - xfs /dev/sda2 rw\n\
                    33 30 8:3 / /var/a\\040b rw - xfs /dev/sda3 rw\n\
                    broken line\n";
        let mounts = mounts(text);
        assert_eq!(mounts.len(), 5);
        for (file, source) in [
            ("/swapfile", "/dev/root"),
            ("/var/swap", "/dev/mapper/data"),
            ("/variable", "/dev/root"),
            ("/va/x", "/dev/sda1"),
            ("/var/a b/swap", "/dev/sda3"),
        ] {
            assert_eq!(mount_of(&mounts, file).unwrap().source, source, "{file}");
        }
        assert_eq!((mounts[1].device.as_str(), mounts[1].kind.as_str()), ("0:45", "btrfs"));
        assert_eq!(mount_of(&mounts, "relative"), None);
        assert_eq!((mounts[1].root.as_str(), mounts[1].options.as_str()), ("/@", "rw,subvol=/@"));
    }

    #[test]
    fn what_proc_hides() {
        let of = |options: &str| {
            let text = format!("20 1 0:20 / /proc rw - proc proc {options}\n");
            hidepid(&mounts(&text)).map(str::to_owned)
        };
        assert_eq!(of("rw"), None);
        assert_eq!(of("rw,hidepid=0"), None);
        assert_eq!(of("rw,hidepid=off"), None);
        for value in ["1", "2", "4", "noaccess", "invisible", "ptraceable"] {
            assert_eq!(of(&format!("rw,gid=4,hidepid={value}")).as_deref(), Some(value));
        }
        // The mount on top counts.
        let text = "20 1 0:20 / /proc rw - proc proc rw,hidepid=2\n\
                    21 20 0:21 / /proc rw - proc proc rw\n";
        assert_eq!(hidepid(&mounts(text)), None);
    }

    #[test]
    fn processes() {
        for (text, name) in [
            ("Name:\tnode\n", "node"),
            ("Name:\ta\\nb\n", "a\nb"),
            ("Name:\ta\\\\nb\\\n", "a\\nb\\"),
            ("Name:\t\\t\n", "\\t"),
            ("", ""),
        ] {
            assert_eq!(process_name(text), name, "{text:?}");
        }
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        assert_eq!(start_time(&format!("7 (a) 1 (b) {fields}\n")), Some(4711));
        assert_eq!(start_time("7 (a) S 1"), None);
        assert_eq!(start_time(""), None);
        let groups = "4:cpu,memory:/a:b\n1:name=systemd:/x\n0::/y\n";
        assert_eq!(cgroup(groups, Some("memory")), Some("/a:b"));
        assert_eq!(cgroup(groups, Some("mem")), None);
        assert_eq!(cgroup(groups, None), Some("/y"));
        assert_eq!(cgroup("4:memory:/a\n", None), None);
        assert!(maps_all_users("         0          0 4294967295\n"));
        assert_eq!(mapped_root("1 5 1\n 0 100000 1\n"), Some(100_000));
        assert_eq!(mapped_root("1000 1000 1\n"), None);
        for map in ["", "0 1000 1\n", "0 0 4294967295\n5 5 1\n", "0 100000 4294967295\n"] {
            assert!(!maps_all_users(map), "{map:?}");
        }
    }

    #[test]
    fn settings() {
        let text = "[Other]\nStorage=journal\n[Coredump]\n#Storage=external\n Storage = none \nX\n";
        assert_eq!(setting(text, "Coredump", "Storage"), Some("none"));
        assert_eq!(setting(text, "Other", "Storage"), Some("journal"));
        assert_eq!(setting("Storage=none", "Coredump", "Storage"), None);
    }

    /// Text with the marks that these formats are made of, so that it gets past the first look.
    fn nearly() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            proptest::collection::vec(
                prop_oneof![
                    Just("\n".to_owned()),
                    Just(" - ".to_owned()),
                    Just("\\04".to_owned()),
                    Just("VmFlags:".to_owned()),
                    Just("Swap:".to_owned()),
                    Just("18446744073709551615 kB".to_owned()),
                    Just("7f00-8f00 rw-p 0 0:0 0".to_owned()),
                    "[0-9a-f:=\\[\\]\\\\ /.|-]{0,12}",
                ],
                0..40
            )
            .prop_map(|parts| parts.concat()),
        ]
    }

    proptest! {
        #[test]
        fn no_text_makes_them_panic(text in nearly(), name in "[A-Za-z ]{0,8}") {
            limit(&text, &name);
            field(&text, &name);
            kilobytes(&text);
            hexadecimal(&text);
            chosen(&text);
            parameter(&text, &name);
            boolean(&text);
            release(&text);
            swap_areas(&text);
            unescape(&text);
            mount_of(&mounts(&text), &text);
            setting(&text, &name, &name);
            hidepid(&mounts(&text));
            process_name(&text);
            start_time(&text);
            cgroup(&text, Some(&name));
            maps_all_users(&text);
            mapped_root(&text);
            for mapping in smaps::mappings(&text) {
                prop_assert!(mapping.start < mapping.end);
            }
        }
    }
}
