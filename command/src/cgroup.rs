//! How much of a process its control group allows to be swapped.
//!
//! In version 2 of control groups, `memory.swap.max` limits the number of bytes on swap. If it is
//! 0, the kernel swaps nothing of the group, even when the whole host is short of memory. In
//! version 1, `memory.memsw.limit_in_bytes` limits the sum of memory and swap. If it is not higher
//! than `memory.limit_in_bytes`, the group's own limit never leads to swap, but a shortage of the
//! whole host still does.

use crate::host::Host;
use crate::parse::{self, Bound, Mount};

/// A group's limit on swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SwapLimit {
    /// Bytes that may be on swap; `None` for no limit.
    pub(crate) bytes: Bound,
    /// The file with the limit: of the group, or of a group above it. Without a limit, the group's
    /// own file.
    pub(crate) file: String,
    /// Whether the kernel obeys the limit even when the whole host is short of memory, as in
    /// version 2.
    pub(crate) holds_always: bool,
}

impl SwapLimit {
    /// Whether nothing of the group's processes is ever written to swap.
    pub(crate) fn forbids_swap(&self) -> bool {
        self.bytes == Some(0) && self.holds_always
    }
}

/// The lowest limit of a process's group and the groups above it. `None` if there is no such file:
/// the host has no control groups, or they do not count memory, or this container does not show
/// them.
pub(crate) fn swap_limit(host: &Host, process: &str) -> Option<SwapLimit> {
    let groups = host.read(&format!("/proc/{process}/cgroup")).ok().flatten()?;
    let mounts = parse::mounts(&host.read("/proc/self/mountinfo").ok().flatten()?);
    // Memory is counted in one of the two: where version 1 does (alone, or beside the other),
    // version 2 does not.
    match parse::cgroup(&groups, Some("memory")) {
        Some(group) => version_1(host, &mounts, group),
        None => version_2(host, &mounts, parse::cgroup(&groups, None)?),
    }
}

fn version_2(host: &Host, mounts: &[Mount], group: &str) -> Option<SwapLimit> {
    let directories = directories(mounts, group, |mount| mount.kind == "cgroup2")?;
    let limits = directories.iter().filter_map(|directory| {
        let file = format!("{directory}/memory.swap.max");
        let text = host.read(&file).ok().flatten()?;
        Some(SwapLimit { bytes: parse::bound(text.trim())?, file, holds_always: true })
    });
    lowest(limits)
}

/// The number of bytes that version 1 shows if there is no limit: the largest multiple of the page
/// size, for any page size.
const NO_LIMIT: u64 = i64::MAX as u64 & !0xffff;

fn version_1(host: &Host, mounts: &[Mount], group: &str) -> Option<SwapLimit> {
    let directories = directories(mounts, group, |mount| {
        mount.kind == "cgroup" && mount.options.split(',').any(|option| option == "memory")
    })?;
    let limits = directories.iter().filter_map(|directory| {
        let read = |name: &str| {
            let file = format!("{directory}/{name}");
            let text = host.read(&file).ok().flatten()?;
            Some((text.trim().parse::<u64>().ok()?, file))
        };
        let (both, file) = read("memory.memsw.limit_in_bytes")?;
        let (memory, _) = read("memory.limit_in_bytes")?;
        let bytes = (both < NO_LIMIT).then(|| both.saturating_sub(memory));
        Some(SwapLimit { bytes, file, holds_always: false })
    });
    lowest(limits)
}

/// The lowest limit. Of several equal ones the first, which is nearest to the process.
fn lowest(limits: impl Iterator<Item = SwapLimit>) -> Option<SwapLimit> {
    limits.min_by_key(|limit| limit.bytes.unwrap_or(u64::MAX))
}

/// The group's directory and those above it as far as they are mounted, from the group upwards.
fn directories(
    mounts: &[Mount],
    group: &str,
    is_mount: impl Fn(&Mount) -> bool,
) -> Option<Vec<String>> {
    // The group has been removed while processes were in it.
    let group = group.strip_suffix(" (deleted)").unwrap_or(group);
    let inside = |mount: &Mount| {
        let rest = group.strip_prefix(mount.root.trim_end_matches('/'))?;
        let whole = rest.is_empty() || rest.starts_with('/');
        // The path of a group that is not visible here begins with `/..`.
        (whole && !rest.split('/').any(|name| name == "..")).then(|| rest.to_owned())
    };
    let (mount, rest) = mounts
        .iter()
        .filter(|mount| is_mount(mount))
        .find_map(|mount| inside(mount).map(|rest| (mount, rest)))?;
    let mut rest = rest.trim_end_matches('/');
    let mut directories = vec![format!("{}{rest}", mount.point)];
    while let Some((above, _)) = rest.rsplit_once('/') {
        rest = above;
        directories.push(format!("{}{rest}", mount.point));
    }
    Some(directories)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up;

    struct Fixture(tempfile::TempDir);

    impl Fixture {
        fn new(groups: &str, mounts: &str) -> Self {
            let host = Self(tempfile::tempdir().unwrap());
            host.write("/proc/7/cgroup", groups).write("/proc/self/mountinfo", mounts);
            host
        }

        fn write(&self, path: &str, text: &str) -> &Self {
            made_up::write(&self.0, path, text);
            self
        }

        fn limit(&self) -> Option<SwapLimit> {
            swap_limit(&Host::copy_at(self.0.path()), "7")
        }

        #[track_caller]
        fn expect(&self, bytes: Bound, file: &str, forbids: bool) -> &Self {
            let limit = self.limit().unwrap();
            assert_eq!((limit.bytes, limit.file.as_str()), (bytes, file));
            assert_eq!(limit.forbids_swap(), forbids);
            self
        }
    }

    const UNIFIED: &str =
        "30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                          35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                          36 31 0:33 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                          41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn version_2_and_the_groups_above() {
        let unit = "/sys/fs/cgroup/system.slice/node.service/memory.swap.max";
        let slice = "/sys/fs/cgroup/system.slice/memory.swap.max";
        let host = Fixture::new("0::/system.slice/node.service\n", UNIFIED);
        assert_eq!(host.limit(), None, "memory is not counted");
        host.write(unit, "max\n").write(slice, "max\n").expect(None, unit, false);
        host.write(unit, "1048576\n").expect(Some(1 << 20), unit, false);
        host.write(unit, "0\n").expect(Some(0), unit, true);
        host.write(unit, "max\n").write(slice, "0\n").expect(Some(0), slice, true);
        host.write("/proc/7/cgroup", "0::/system.slice/node.service (deleted)\n");
        host.expect(Some(0), slice, true);
        // The root group has no such file, and a group outside of the container's view cannot be
        // looked at.
        host.write("/proc/7/cgroup", "0::/\n");
        assert_eq!(host.limit(), None);
        host.write("/proc/7/cgroup", "0::/../other\n");
        assert_eq!(host.limit(), None);
        host.write("/proc/7/cgroup", "what is this\n");
        assert_eq!(host.limit(), None);
    }

    #[test]
    fn version_1_alone_and_beside_version_2() {
        let groups = "8:pids:/x\n4:cpu,memory:/box/node\n0::/unified\n";
        let host = Fixture::new(groups, HYBRID);
        assert_eq!(host.limit(), None, "swap is not counted (swapaccount=0)");
        let both = "/sys/fs/cgroup/memory/box/node/memory.memsw.limit_in_bytes";
        let memory = "/sys/fs/cgroup/memory/box/node/memory.limit_in_bytes";
        host.write(both, "9223372036854771712\n").write(memory, "9223372036854771712\n");
        host.expect(None, both, false);
        host.write(memory, "1048576\n").write(both, "3145728\n").expect(Some(2 << 20), both, false);
        host.write(both, "1048576\n").expect(Some(0), both, false);
        // A group without a limit in a group that has one.
        let above = "/sys/fs/cgroup/memory/box/memory.memsw.limit_in_bytes";
        host.write(both, "9223372036854771712\n")
            .write(above, "4096\n")
            .write("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "4096\n")
            .expect(Some(0), above, false);
    }

    /// A container in which only a part of the groups is mounted.
    #[test]
    fn a_part_of_the_groups_is_mounted() {
        let mounts = UNIFIED.replace("0:26 / ", "0:26 /docker/abc ");
        let host = Fixture::new("0::/docker/abc/inner\n", &mounts);
        let inner = "/sys/fs/cgroup/inner/memory.swap.max";
        host.write(inner, "0\n").expect(Some(0), inner, true);
        host.write("/proc/7/cgroup", "0::/docker/abcdef\n");
        assert_eq!(host.limit(), None);
    }
}
