//! What is written to disk when memory is short: swap areas, whether they are encrypted, zswap, and whether the control
//! group lets anything be swapped.
//!
//! Encryption is told as far as the kernel shows it: dm-crypt anywhere under the device, by the name that
//! cryptsetup gives it. What a disk encrypts by itself looks like one that does not.

use super::{or_unreadable, unreadable};
use crate::amount::amount;
use crate::cgroup::{SwapLimit, swap_limit};
use crate::finding::{Finding, Severity};
use crate::host::{Host, Unreadable};
use crate::parse::{self, Mount, SwapArea};

/// Where what is swapped ends up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On a disk, encrypted by the device of this name.
    Encrypted(String),
    /// In memory, compressed.
    Memory,
    /// On a disk or a network, in the clear as far as the kernel knows.
    Clear(String),
    /// It cannot be told, and why.
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
    /// The host's swap areas, and what the group of this process may have on them.
    pub(super) fn of(host: &Host) -> Self {
        Self { areas: areas(host), limit: swap_limit(host, "self") }
    }

    /// Whether some area is not known to be encrypted.
    pub(super) fn has_exposed_areas(&self) -> bool {
        self.areas.as_ref().map_or(true, |areas| areas.iter().any(|(_, place)| place.is_exposed()))
    }

    /// Whether some area is not in memory, or not known.
    pub(super) fn has_areas_on_disk(&self) -> bool {
        let on_disk = |areas: &Vec<_>| areas.iter().any(|(_, place)| *place != Place::Memory);
        self.areas.as_ref().map_or(true, on_disk)
    }

    fn is_forbidden(&self) -> bool {
        self.limit.as_ref().is_some_and(SwapLimit::forbids_swap)
    }

    /// Whether memory of this process's group may be written to an area that is not known to be encrypted.
    pub(super) fn is_exposed(&self) -> bool {
        self.has_exposed_areas() && !self.is_forbidden()
    }
}

fn areas(host: &Host) -> Areas {
    // A kernel without swap has no such file.
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
    // The numbers are sure; file systems over several devices, or none, have major 0.
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
        // The other devices of a btrfs may be different ones.
        return match of_path(host, &mount.source, above) {
            Place::Encrypted(_) if btrfs_devices(host, &mount.source) != Some(1) => {
                Place::Unknown("its btrfs may have devices that are not encrypted".into())
            }
            place => place,
        };
    }
    Place::Unknown(format!("it is on {} ({})", mount.source, mount.kind))
}

/// How many devices the btrfs has that this one is part of.
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
    // Devices of the device mapper have names of their own besides.
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

/// `above` holds the devices that are made of this one: the kernel makes no rings, but a made-up tree might.
fn device(host: &Host, name: &str, above: &mut Vec<String>) -> Place {
    // In a name in /sys an exclamation mark stands for a slash.
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
        // Without the kernel's option for it there is no such file.
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
    // A mapped device, a RAID: as well encrypted as its worst part.
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
    // A partition has the parts of its disk, which may be a RAID.
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

/// Whether a device of the device mapper is one of dm-crypt. cryptsetup also makes devices that check what
/// they hold and do not encrypt it.
fn encrypts(uuid: &str) -> bool {
    let kind = uuid.trim().strip_prefix("CRYPT-").unwrap_or("");
    !["", "VERITY", "INTEGRITY", "SUBDEV"].contains(&kind.split('-').next().unwrap_or(""))
}

const NO_SWAP: &str = "Nothing is swapped.";

/// One finding for each area; one if there is none.
pub(super) fn findings(swap: &Swap) -> Vec<Finding> {
    const ID: &str = "swap";
    let areas = match &swap.areas {
        Ok(areas) => areas,
        Err(error) => return vec![unreadable(ID, error)],
    };
    if areas.is_empty() {
        return vec![Finding::new(ID, Severity::Ok, "no swap", NO_SWAP)];
    }
    // What the group forbids concerns its own processes alone.
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
                let means =
                    "What is swapped is encrypted on the disk; who has the machine running has it.";
                Finding::new(ID, Severity::Ok, seen(&format!("encrypted by {by}")), means)
            }
            Place::Memory => {
                let means = "What is swapped stays in memory.";
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
            let means = "What is swapped goes to the swap area as it is.";
            return Ok(Finding::new(ID, Severity::Ok, "off", means));
        }
        if !swap.is_exposed() {
            let means =
                "It compresses what is swapped, in memory; nothing reaches a disk in the clear.";
            return Ok(Finding::new(ID, Severity::Ok, "on", means));
        }
        let means = "It compresses what is swapped, in memory, and writes it to the swap area later: it \
                     does not keep it from the disk.";
        Ok(Finding::new(ID, Severity::Note, "on", means)
            .remedy("See to the swap areas; zswap itself need not be changed."))
    };
    or_unreadable(ID, look())
}

/// How much of this control group may be swapped.
pub(super) fn cgroup_swap(swap: &Swap) -> Finding {
    const ID: &str = "cgroup-swap";
    const REMEDY: &str = "In the program's systemd unit: `MemorySwapMax=0`, which writes 0 to the group's \
                          memory.swap.max. For a container: a swap limit equal to the memory limit \
                          (`--memory` and `--memory-swap`).";
    const VERSION_1: &str = "Boot with control groups of version 2 \
                             (`systemd.unified_cgroup_hierarchy=1`), and `MemorySwapMax=0` in the program's \
                             systemd unit.";
    let exposed = swap.has_exposed_areas();
    let Some(limit) = &swap.limit else {
        let seen = "no limit that can be seen from here";
        if !exposed {
            return Finding::new(ID, Severity::Ok, seen, "No swap in the clear needs one.");
        }
        let means = "The kernel may swap what this process has not locked.";
        return Finding::new(ID, Severity::Note, seen, means).remedy(REMEDY);
    };
    let seen = format!("{} may be swapped ({})", amount(limit.bytes), limit.file);
    if limit.forbids_swap() {
        let means = "Nothing of the processes in this group is swapped, locked or not.";
        return Finding::new(ID, Severity::Ok, seen, means);
    }
    if !exposed {
        return Finding::new(ID, Severity::Ok, seen, "No swap in the clear needs a limit.");
    }
    let means = if limit.bytes == Some(0) {
        "The group's own limit never makes its processes swap. A host that is short of memory may still swap what \
         they have not locked."
    } else {
        "The kernel may swap what the processes of this group have not locked."
    };
    let remedy = if limit.holds_always { REMEDY } else { VERSION_1 };
    Finding::new(ID, Severity::Note, seen, means).remedy(remedy)
}
