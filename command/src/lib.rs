//! What the command `bitcoin-support` is made of: it looks at a host, or at a running process, and says
//! what could leak secrets that a program keeps in locked memory. It changes nothing, and depends on nothing of
//! the library: it sees what the kernel says, whatever the library claims of itself.
//!
//! # Layers
//! Each module depends only on those below it.
//!
//! | module | |
//! |---|---|
//! | `report` | the words and tables for people; JSON is the report types themselves, serialized |
//! | [`check`](mod@check), [`inspect`](mod@inspect) | from what was read to findings |
//! | `cgroup` | what of a process may be swapped, by its control group |
//! | `host` | where the kernel's files are read, and the one question that no file answers |
//! | `parse` | text of the kernel's files in, types out; total: any text gives an answer |
//! | `finding` | a finding and its severity |
//! | `amount` | numbers of bytes as words, and back |
//! | `printable` | text that others chose, for terminals |
//!
//! Everything is read below a root directory, so that tests can show it a host that they made up.

#![forbid(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("bitcoin-support-command reads Linux's /proc and /sys; other systems have neither");

mod amount;
mod cgroup;
pub mod check;
mod finding;
mod host;
pub mod inspect;
pub mod parse;
mod printable;
mod report;

pub use amount::parse_amount;
pub use check::check;
pub use finding::{Finding, Severity};
pub use host::{Host, Unreadable};
pub use inspect::inspect;
pub use report::{Layout, Report, complaint};

/// Version of the JSON schema, raised when a field changes its meaning or goes away, not when one is added.
pub const SCHEMA: u32 = 1;

/// Exit code for a wrong command line (`EX_USAGE`).
pub const EXIT_USAGE: u8 = 64;
/// Exit code when what was to be looked at could not be read, or the output not be written (`EX_SOFTWARE`).
pub const EXIT_UNREADABLE: u8 = 70;
