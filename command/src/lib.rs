//! The parts of the command `bitcoin-support`. It inspects a host, or a running process, and
//! reports what could leak secrets that a program keeps in locked memory. It changes nothing. It
//! shares no code with the library, so that it reports what the kernel says, independently of the
//! library's own statistics.
//!
//! # Layers
//! Each module depends only on those below it.
//!
//! | module | |
//! |---|---|
//! | [`command_line`] | what can be asked for |
//! | [`output`] | where a report goes, and whether in colour |
//! | `report` | text and tables for people; the JSON is the serialized report types |
//! | `prometheus` | metrics for monitoring |
//! | [`settings`] | a drop-in for a systemd unit, options for a container |
//! | [`survey`](mod@survey) | inspects the processes that are asked for |
//! | [`check`](mod@check), [`inspect`](mod@inspect) | derive findings from the kernel's files |
//! | `hardening` | what a process has given up for good, by the steps of the library's `harden_process` |
//! | `cgroup` | how much of a process its control group allows to be swapped |
//! | `host` | reads the kernel's files, and asks the kernel the one question that no file answers |
//! | `parse` | turns the text of the kernel's files into types; accepts any text |
//! | `finding` | a finding and its severity |
//! | `amount` | prints and parses numbers of bytes |
//! | `printable` | escapes untrusted text for terminals |
//!
//! All files are read below a root directory, so that tests can present a made-up host.

#![forbid(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("bitcoin-support-command reads Linux's /proc and /sys; other systems have neither");

mod amount;
mod cgroup;
pub mod check;
pub mod command_line;
mod finding;
mod hardening;
mod host;
pub mod inspect;
#[cfg(test)]
mod made_up;
pub mod output;
pub mod parse;
mod printable;
mod prometheus;
mod report;
pub mod settings;
pub mod survey;

pub use amount::parse_amount;
pub use check::check;
pub use finding::{Finding, Settings, Severity};
pub use host::{Container, Host, Unreadable};
pub use report::{Layout, Report, complaint};
pub use survey::survey;

/// Version of the JSON schema, raised when a field changes its meaning or goes away, not when one
/// is added.
pub const SCHEMA: u32 = 1;

/// Exit code when the command line is wrong, when the host or a process that was asked for cannot
/// be read, or when the report cannot be written. Monitoring takes it for "unknown", as it takes
/// those of [`Severity::exit_code`] for ok, warning and critical (Nagios's plugins have the same
/// four).
pub const EXIT_UNKNOWN: u8 = 3;
