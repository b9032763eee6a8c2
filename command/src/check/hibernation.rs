//! Hibernation writes all memory to a swap area, locked memory too. The kernel does not hibernate
//! while a process has secret memory. It then shows the same word as a kernel that cannot hibernate
//! at all; this module distinguishes the two.

use super::or_unreadable;
use super::swap::Swap;
use crate::finding::{Finding, Severity};
use crate::host::{Host, Unreadable};
use crate::parse::{self, smaps};

const ID: &str = "hibernation";

const REMEDY: &str = "Put `nohibernate` on the kernel's command line, or `systemctl mask hibernate.target \
                      hybrid-sleep.target suspend-then-hibernate.target`. Or encrypt the swap area.";

/// Whether the machine can hibernate.
enum State {
    /// Not before the next boot, for this reason.
    Never(&'static str),
    /// Not now. The text says what is known about the reason.
    NotNow(String),
    Possible,
}

pub(super) fn hibernation(host: &Host, release: Option<(u32, u32)>, swap: &Swap) -> Finding {
    or_unreadable(ID, look(host, release, swap))
}

fn look(host: &Host, release: Option<(u32, u32)>, swap: &Swap) -> Result<Finding, Unreadable> {
    let now = match state(host, release)? {
        State::Never(why) => {
            let means = "Memory is never written to disk as a whole.";
            let seen = format!("not possible: {why}");
            return Ok(Finding::new(ID, Severity::Ok, seen, means));
        }
        State::NotNow(why) => Some(why),
        State::Possible => None,
    };
    let command_line = host.read("/proc/cmdline")?.unwrap_or_default();
    let resume = match parse::parameter(&command_line, "resume") {
        Some(device) if !device.is_empty() => Some(device.to_owned()),
        _ => host
            .read("/sys/power/resume")?
            .map(|device| device.trim().to_owned())
            .filter(|device| !device.is_empty() && device != "0:0"),
    };
    let mut seen = now.clone().unwrap_or_else(|| "possible".into());
    seen += &match &resume {
        Some(device) => format!(", to be resumed from {device}"),
        None => ", with no device to resume from".into(),
    };
    let (severity, means) = if !swap.has_areas_on_disk() {
        let means = "It would write all memory, locked memory too, to a swap area; there is none now that \
                     could take it.";
        (Severity::Note, means)
    } else if !swap.has_exposed_areas() {
        let means = "It writes all memory, locked memory too, to the encrypted swap area: as safe as that \
                     area's key.";
        (Severity::Note, means)
    } else {
        let means = "It writes all memory, locked memory too, to a swap area that is not known to be \
                     encrypted, and the image stays there.";
        (if resume.is_some() { Severity::Danger } else { Severity::Warning }, means)
    };
    Ok(match now {
        None => Finding::new(ID, severity, seen, means).remedy(REMEDY),
        // Nothing is written while a process has secret memory.
        Some(_) => {
            let means =
                format!("It is possible again as soon as no process holds secret memory. {means}");
            Finding::new(ID, severity.min(Severity::Warning), seen, means).remedy(REMEDY)
        }
    })
}

fn state(host: &Host, release: Option<(u32, u32)>) -> Result<State, Unreadable> {
    let states = host.read("/sys/power/state")?.unwrap_or_default();
    let Some(modes) = host.read("/sys/power/disk")? else {
        return Ok(State::Never("not in this kernel"));
    };
    if parse::chosen(&modes) != Some("disabled") {
        let offered = states.split_whitespace().any(|state| state == "disk");
        return Ok(if offered { State::Possible } else { State::Never("not offered") });
    }
    let command_line = host.read("/proc/cmdline")?.unwrap_or_default();
    let forbidden = parse::parameter(&command_line, "nohibernate").is_some()
        || parse::parameter(&command_line, "hibernate") == Some("no");
    if forbidden {
        return Ok(State::Never("forbidden on the kernel's command line"));
    }
    let lockdown = host.read("/sys/kernel/security/lockdown").ok().flatten().unwrap_or_default();
    if matches!(parse::chosen(&lockdown), Some("integrity" | "confidentiality")) {
        return Ok(State::Never("the kernel is locked down"));
    }
    if host.names("/sys/bus/cxl/devices").iter().any(|name| name.starts_with("mem")) {
        return Ok(State::Never("the host has CXL memory"));
    }
    if !super::reach::may_have_secret_memory(host, release) {
        return Ok(State::Never("disabled in this kernel"));
    }
    Ok(State::NotNow(holders(host)))
}

/// The processes that have secret memory, as far as they are visible.
fn holders(host: &Host) -> String {
    const SHOWN: usize = 5;
    let mut named = Vec::new();
    let mut unseen = 0;
    for process in host.processes().unwrap_or_default() {
        match holds_secret_memory(host, process) {
            Ok(true) => {
                let status = host.read(&format!("/proc/{process}/status")).ok().flatten();
                let name = parse::process_name(&status.unwrap_or_default());
                named.push(format!("{process} ({name})"));
            }
            Ok(false) => {}
            Err(_) => unseen += 1,
        }
    }
    let mut text = "not while secret memory is in use".to_owned();
    if !named.is_empty() {
        let word = if named.len() == 1 { "process" } else { "processes" };
        text += &format!(", by {word} {}", named[..named.len().min(SHOWN)].join(", "));
        if let Some(more @ 1..) = named.len().checked_sub(SHOWN) {
            text += &format!(" and {more} more");
        }
    }
    // The caller may not be permitted to inspect all processes.
    if unseen > 0 || host.hidepid().is_some() {
        text += if named.is_empty() {
            "; root can see which process that is"
        } else {
            "; other processes may hold some too, which root can see"
        };
    } else if named.is_empty() {
        // The process has ended meanwhile, or is outside of this container, or the kernel has
        // another reason.
        text += "; no process that can be seen here holds any";
    }
    text
}

/// Whether a process has secret memory mapped, or has a file of it open. (The kernel counts the
/// files.)
fn holds_secret_memory(host: &Host, process: u32) -> Result<bool, Unreadable> {
    let maps = host.read(&format!("/proc/{process}/maps"))?.unwrap_or_default();
    if smaps::mappings(&maps).iter().any(smaps::Mapping::is_secret_memory) {
        return Ok(true);
    }
    let directory = format!("/proc/{process}/fd");
    let files = host.try_names(&directory)?;
    let mut files = files.iter().filter_map(|file| host.link(&format!("{directory}/{file}")));
    Ok(files.any(|file| smaps::is_secret_memory_file(&file)))
}
