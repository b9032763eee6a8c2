//! Memory that is written to disk when memory is short: swap areas, their encryption, zswap, and
//! the limit of the control group.
//!
//! Encryption is reported as far as the kernel shows it: a device of dm-crypt anywhere below the
//! swap area, by the name that cryptsetup gives it. A disk that encrypts by itself is not
//! recognized.

use super::{or_unreadable, unreadable};
use crate::amount::amount;
use crate::cgroup::{SwapLimit, swap_limit};
use crate::finding::{Finding, Severity};
use crate::host::{Host, Unreadable};
use crate::parse::{self, Mount, SwapArea};

/// Where swapped pages are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To a disk, encrypted by the device of this name.
    Encrypted(String),
    /// To memory, compressed.
    Memory,
    /// To a disk or a network, not encrypted as far as the kernel shows.
    Clear(String),
    /// Unknown, for this reason.
    Unknown(String),
}

impl Place {
    fn is_exposed(&self) -> bool {
        matches!(self, Self::Clear(_) | Self::Unknown(_))
    }
}

type Areas = Result<Vec<(SwapArea, Place)>, Unreadable>;

/// Where memory may be swapped to.
pub(super) struct Swap {
    areas: Areas,
    limit: Option<SwapLimit>,
}

impl Swap {
    /// The host's swap areas, and the limit of this process's control group.
    pub(super) fn of(host: &Host) -> Self {
        Self { areas: areas(host), limit: swap_limit(host, "self") }
    }

    /// Whether some area is not known to be encrypted.
    pub(super) fn has_exposed_areas(&self) -> bool {
        self.areas.as_ref().map_or(true, |areas| areas.iter().any(|(_, place)| place.is_exposed()))
    }

    /// Whether an area is not in memory, or its place is unknown.
    pub(super) fn has_areas_on_disk(&self) -> bool {
        let on_disk = |areas: &Vec<_>| areas.iter().any(|(_, place)| *place != Place::Memory);
        self.areas.as_ref().map_or(true, on_disk)
    }

    fn is_forbidden(&self) -> bool {
        self.limit.as_ref().is_some_and(SwapLimit::forbids_swap)
    }

    /// Whether memory of this process's group may be written to an area that is not known to be
    /// encrypted.
    pub(super) fn is_exposed(&self) -> bool {
        self.has_exposed_areas() && !self.is_forbidden()
    }
}

fn areas(host: &Host) -> Areas {
    // A kernel without swap does not have this file.
    let Some(swaps) = host.read("/proc/swaps")? else { return Ok(Vec::new()) };
    let areas = parse::swap_areas(&swaps);
    let mountinfo = host.read("/proc/self/mountinfo").ok().flatten().unwrap_or_default();
    let mounts = parse::mounts(&mountinfo);
    let placed = areas.into_iter().map(|area| {
        let place = if area.is_file {
            of_file(host, &area.name, &mounts, &mut Vec::new())
        } else {
            of_path(host, &area.name, &mut Vec::new())
        };
        (area, place)
    });
    Ok(placed.collect())
}

fn of_file(host: &Host, file: &str, mounts: &[Mount], above: &mut Vec<String>) -> Place {
    let Some(mount) = parse::mount_of(mounts, file) else {
        return Place::Unknown("its file system is not known".into());
    };
    // The numbers are reliable. A file system over several devices, or over none, has the major
    // number 0.
    if !mount.device.starts_with("0:") {
        let uevent = host.read(&format!("/sys/dev/block/{}/uevent", mount.device));
        let name = uevent.ok().flatten().and_then(|text| {
            text.lines().find_map(|line| line.strip_prefix("DEVNAME=").map(str::to_owned))
        });
        if let Some(name) = name {
            return device(host, &name, above);
        }
    }
    if mount.source.starts_with("/dev/") && mount.kind != "btrfs" {
        return of_path(host, &mount.source, above);
    }
    if mount.source.starts_with("/dev/") {
        // Other devices of the same btrfs may not be encrypted.
        return match of_path(host, &mount.source, above) {
            Place::Encrypted(_) if btrfs_devices(host, &mount.source) != Some(1) => {
                Place::Unknown("its btrfs may have devices that are not encrypted".into())
            }
            place => place,
        };
    }
    Place::Unknown(format!("it is on {} ({})", mount.source, mount.kind))
}

/// The number of devices of the btrfs that this device belongs to.
fn btrfs_devices(host: &Host, source: &str) -> Option<usize> {
    let name = device_name(host, source)?;
    let systems = host.names("/sys/fs/btrfs").into_iter();
    let mut devices = systems.map(|id| host.names(&format!("/sys/fs/btrfs/{id}/devices")));
    devices.find(|devices| devices.contains(&name)).map(|devices| devices.len())
}

/// The kernel's name of the device at a path.
fn device_name(host: &Host, path: &str) -> Option<String> {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let name = path.strip_prefix("/dev/")?;
    if host.exists(&format!("/sys/class/block/{name}")) {
        return Some(name.to_owned());
    }
    // A device of the device mapper also has a second name.
    let mapped = name.strip_prefix("mapper/")?;
    host.names("/sys/class/block").into_iter().find(|device| {
        let text = host.read(&format!("/sys/class/block/{device}/dm/name"));
        text.ok().flatten().is_some_and(|text| text.trim() == mapped)
    })
}

fn of_path(host: &Host, path: &str, above: &mut Vec<String>) -> Place {
    match device_name(host, path) {
        Some(name) => device(host, &name, above),
        None => Place::Unknown(format!("there is nothing about {path} in /sys/class/block")),
    }
}

/// `above` has the devices that are built on this one. The kernel makes no cycles, but a made-up
/// tree may have one.
fn device(host: &Host, name: &str, above: &mut Vec<String>) -> Place {
    // In names in /sys, an exclamation mark replaces a slash.
    let name = name.replace('/', "!");
    if above.contains(&name) {
        return Place::Unknown(format!("{name} is its own part"));
    }
    above.push(name.clone());
    let place = device_under(host, name, above);
    above.pop();
    place
}

fn device_under(host: &Host, name: String, above: &mut Vec<String>) -> Place {
    let directory = format!("/sys/class/block/{name}");
    if !host.exists(&directory) {
        return Place::Unknown(format!("there is no {directory}"));
    }
    let text = |file: &str| host.read(&format!("{directory}/{file}")).ok().flatten();
    if text("dm/uuid").is_some_and(|uuid| encrypts(&uuid)) {
        return Place::Encrypted(text("dm/name").map_or(name, |name| name.trim().to_owned()));
    }
    if name.starts_with("zram") {
        // A kernel without this option does not have the file.
        return match text("backing_dev").as_deref().map(str::trim) {
            None | Some("none" | "") => Place::Memory,
            Some(path) => match device_name(host, path) {
                Some(backing) => device(host, &backing, above),
                None => Place::Unknown(format!("{name} writes to {path}")),
            },
        };
    }
    if let Some(file) = text("loop/backing_file") {
        let mountinfo = host.read("/proc/self/mountinfo").ok().flatten().unwrap_or_default();
        return of_file(host, file.trim(), &parse::mounts(&mountinfo), above);
    }
    // A mapped device or a RAID is only as well encrypted as its worst part.
    let parts = host.names(&format!("{directory}/slaves"));
    if !parts.is_empty() {
        let mut worst = None;
        for part in parts {
            match device(host, &part, above) {
                exposed @ (Place::Clear(_) | Place::Unknown(_)) => return exposed,
                place => worst = Some(place),
            }
        }
        return worst.unwrap_or(Place::Clear(name));
    }
    // A partition is on the parts of its disk, which may be a RAID.
    if host.exists(&format!("{directory}/partition")) {
        let disk = host.parent_name(&directory).filter(|disk| *disk != "block");
        if let Some(disk) = disk.filter(|disk| host.exists(&format!("/sys/class/block/{disk}"))) {
            return match device(host, &disk, above) {
                Place::Clear(_) => Place::Clear(name),
                place => place,
            };
        }
    }
    Place::Clear(name)
}

/// Whether a device of the device mapper is one of dm-crypt. cryptsetup also makes devices that
/// only check their contents and do not encrypt them.
fn encrypts(uuid: &str) -> bool {
    let kind = uuid.trim().strip_prefix("CRYPT-").unwrap_or("");
    !["", "VERITY", "INTEGRITY", "SUBDEV"].contains(&kind.split('-').next().unwrap_or(""))
}

const NO_SWAP: &str = "Nothing is swapped.";

/// One finding for each area, or one finding if there is no area.
pub(super) fn findings(swap: &Swap) -> Vec<Finding> {
    const ID: &str = "swap";
    let areas = match &swap.areas {
        Ok(areas) => areas,
        Err(error) => return vec![unreadable(ID, error)],
    };
    if areas.is_empty() {
        return vec![Finding::new(ID, Severity::Ok, "no swap", NO_SWAP)];
    }
    // The limit of the control group concerns only its own processes.
    let (severity, leaks) = if swap.is_forbidden() {
        let leaks = "Nothing of this control group is swapped (see cgroup-swap). Of other processes, copies of \
                     secrets in memory that is not locked may be.";
        (Severity::Note, leaks)
    } else {
        let leaks = "Locked memory is never swapped; copies of secrets elsewhere (the stack, the heap, memory \
                     that could not be locked) may be, and stay on the disk.";
        (Severity::Warning, leaks)
    };
    let remedy = |name: &str| {
        format!(
            "Without it: `swapoff '{name}'`, and remove it from /etc/fstab. Encrypted with a key that \
             is forgotten at each boot: the option `swap,cipher=aes-xts-plain64,size=512` with \
             /dev/urandom as key in /etc/crypttab. Or compressed in memory: zram. Or not for this program: \
             `MemorySwapMax=0` in its systemd unit."
        )
    };
    let finding = |(area, place): &(SwapArea, Place)| {
        let kind = if area.is_file { "a file" } else { "a device" };
        let seen = |what: &str| {
            format!(
                "{kind} of {}, {} used, {what}",
                amount(Some(area.size)),
                amount(Some(area.used))
            )
        };
        let finding = match place {
            Place::Encrypted(by) => {
                let means = "Swapped pages are encrypted on the disk. The key is in memory while the machine runs.";
                Finding::new(ID, Severity::Ok, seen(&format!("encrypted by {by}")), means)
            }
            Place::Memory => {
                let means = "Swapped pages stay in memory.";
                Finding::new(ID, Severity::Ok, seen("compressed in memory"), means)
            }
            Place::Clear(device) => {
                let seen = seen(&format!("on {device}, not encrypted"));
                Finding::new(ID, severity, seen, leaks).remedy(remedy(&area.name))
            }
            Place::Unknown(why) => {
                let seen = seen(&format!("not known to be encrypted: {why}"));
                Finding::new(ID, severity, seen, leaks).remedy(remedy(&area.name))
            }
        };
        finding.subject(area.name.clone())
    };
    areas.iter().map(finding).collect()
}

/// zswap keeps compressed pages in memory before they go to a swap area.
pub(super) fn zswap(host: &Host, swap: &Swap) -> Finding {
    const ID: &str = "zswap";
    let look = || {
        let Some(text) = host.read("/sys/module/zswap/parameters/enabled")? else {
            return Ok(Finding::new(ID, Severity::Ok, "not in this kernel", NO_SWAP));
        };
        if parse::boolean(&text) != Some(true) {
            let means = "Swapped pages are written to the swap area without compression.";
            return Ok(Finding::new(ID, Severity::Ok, "off", means));
        }
        if !swap.is_exposed() {
            let means =
                "It compresses swapped pages in memory. Nothing reaches a disk in the clear.";
            return Ok(Finding::new(ID, Severity::Ok, "on", means));
        }
        let means = "It compresses swapped pages in memory, and writes them to the swap area later. It does not keep \
                     them from the disk.";
        Ok(Finding::new(ID, Severity::Note, "on", means)
            .remedy("Encrypt the swap areas. zswap itself need not be changed."))
    };
    or_unreadable(ID, look())
}

/// How much of this process's control group may be swapped.
pub(super) fn cgroup_swap(swap: &Swap) -> Finding {
    const ID: &str = "cgroup-swap";
    const REMEDY: &str = "In the program's systemd unit: `MemorySwapMax=0`, which writes 0 to the group's \
                          memory.swap.max. For a container: a swap limit equal to the memory limit \
                          (`--memory` and `--memory-swap`).";
    const VERSION_1: &str = "Boot with control groups of version 2 \
                             (`systemd.unified_cgroup_hierarchy=1`), and `MemorySwapMax=0` in the program's \
                             systemd unit.";
    // An engine's option for it takes the container's memory limit, which is not known here.
    let with_settings = |finding: Finding| {
        finding.unit("MemorySwapMax=0").kubernetes(
            "The kubelet forbids swap to containers where its configuration has `swapBehavior: NoSwap` below \
             `memorySwap`.",
        )
    };
    let exposed = swap.has_exposed_areas();
    let Some(limit) = &swap.limit else {
        let seen = "no limit that can be seen from here";
        if !exposed {
            return Finding::new(
                ID,
                Severity::Ok,
                seen,
                "There is no unencrypted swap, so none is needed.",
            );
        }
        let means = "The kernel may swap what this process has not locked.";
        return with_settings(Finding::new(ID, Severity::Note, seen, means).remedy(REMEDY));
    };
    let seen = format!("{} may be swapped ({})", amount(limit.bytes), limit.file);
    if limit.forbids_swap() {
        let means = "Nothing of the processes in this group is swapped, locked or not.";
        return Finding::new(ID, Severity::Ok, seen, means);
    }
    if !exposed {
        return Finding::new(
            ID,
            Severity::Ok,
            seen,
            "There is no unencrypted swap, so no limit is needed.",
        );
    }
    let means = if limit.bytes == Some(0) {
        "The group's own limit never makes its processes swap. A host that is short of memory may still swap what \
         they have not locked."
    } else {
        "The kernel may swap what the processes of this group have not locked."
    };
    let finding = Finding::new(ID, Severity::Note, seen, means);
    if limit.holds_always {
        with_settings(finding.remedy(REMEDY))
    } else {
        finding.remedy(VERSION_1)
    }
}
