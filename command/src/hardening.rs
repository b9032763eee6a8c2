//! What a process has given up for good, step by step, as the library's `harden_process` takes the
//! steps, or a line in a systemd unit does from outside.

use crate::amount::{in_container, in_unit};
use crate::finding::{Finding, Severity};
use crate::parse::{self, Bound, Limit};
use serde::Serialize;

/// The name of the findings about steps.
pub(crate) const ID: &str = "hardening";

const NO_NEW_PRIVILEGES: &str = "no-new-privileges";

/// The smallest core dump in bytes: Linux's smallest page.
const PAGE: u64 = 4096;

/// The bits of the core filter for memory that may have been written to: anonymous memory, private
/// and shared, shared mappings of files, huge pages, and mappings of persistent memory. (Private
/// pages of files that were written to count as anonymous too.)
const WRITTEN_TO: u64 = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8;

/// Whether a step has been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is in force.
    InForce,
    /// It is not.
    NotChosen,
    /// The kernel does not show it.
    NotShown,
}

impl State {
    fn of(is_in_force: Option<bool>) -> Self {
        match is_in_force {
            Some(true) => Self::InForce,
            Some(false) => Self::NotChosen,
            None => Self::NotShown,
        }
    }
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its name, as the library has it.
    pub step: &'static str,
    /// Whether it has been taken.
    pub state: State,
    /// The line of a systemd unit that does the same; null if there is none.
    pub unit: Option<String>,
    /// The option for a container that does the same.
    #[serde(skip)]
    container: Option<String>,
    #[serde(skip)]
    means: &'static str,
}

impl Step {
    pub(crate) fn finding(&self) -> Finding {
        let seen = match (self.state, &self.unit) {
            (State::InForce, _) => "in force".to_owned(),
            (State::NotChosen, Some(unit)) => format!("not chosen; `{unit}` in a systemd unit"),
            (State::NotChosen, None) => "not chosen".to_owned(),
            (State::NotShown, Some(unit)) => {
                format!("the kernel does not show it; `{unit}` in a systemd unit")
            }
            (State::NotShown, None) => "the kernel does not show it".to_owned(),
        };
        let mut finding = Finding::new(ID, Severity::Ok, seen, self.means).subject(self.step);
        if self.state != State::InForce {
            finding.settings.unit = self.unit.clone();
            finding.settings.container = self.container.clone();
            if self.step == NO_NEW_PRIVILEGES {
                finding.settings.kubernetes =
                    Some("`securityContext.allowPrivilegeEscalation: false`".into());
            }
        }
        finding
    }
}

/// What the kernel shows of a process.
pub(crate) struct Shown<'a> {
    /// The file `status` of each of its threads.
    pub(crate) statuses: &'a [&'a str],
    pub(crate) limits: &'a str,
    pub(crate) core_filter: Option<u64>,
    /// Whether it has a mapping that may be written and executed; `None` if that is not known.
    pub(crate) has_writable_code: Option<bool>,
}

impl Shown<'_> {
    /// The steps that a process inherits, or a unit takes. `lock_limit` is how much a program
    /// should be able to lock.
    pub(crate) fn inherited(&self, lock_limit: Bound) -> Vec<Step> {
        // In every thread.
        let all = |field: &str, value: &str| -> Option<bool> {
            let mut fields = self.statuses.iter().map(|status| parse::field(status, field));
            fields.try_fold(true, |all, field| Some(all && field? == value))
        };
        let limit =
            |name, is_in_force: fn(Limit) -> bool| parse::limit(self.limits, name).map(is_in_force);
        vec![
            Step {
                step: "lock-limit",
                state: State::of(limit("Max locked memory", |limit| limit.soft == limit.hard)),
                unit: Some(format!("LimitMEMLOCK={}", in_unit(lock_limit))),
                container: Some(format!("--ulimit memlock={}", in_container(lock_limit))),
                means: "Whether the limit on locked memory is as high as the process may raise it.",
            },
            Step {
                step: "core-filter",
                state: State::of(self.core_filter.map(|filter| filter & WRITTEN_TO == 0)),
                unit: Some("CoredumpFilter=elf-headers".into()),
                container: None,
                means: "Whether a core dump has no memory that was written to.",
            },
            Step {
                step: "no-core-file",
                state: State::of(limit("Max core file size", |limit| {
                    limit.hard.is_some_and(|limit| limit < PAGE)
                })),
                unit: Some("LimitCORE=0".into()),
                container: Some("--ulimit core=0:0".into()),
                means: "Whether the process writes no core file, and may not raise that limit.",
            },
            Step {
                step: "no-huge-pages",
                state: State::of(all("THP_enabled", "0")),
                unit: None,
                container: None,
                means: "Whether the kernel makes no memory of huge pages by itself.",
            },
            Step {
                step: "no-write-execute",
                // The kernel shows no more than this: what has such memory either does not have the
                // step, or had the memory before.
                state: State::of(self.has_writable_code.filter(|&has| has).map(|_| false)),
                unit: Some("MemoryDenyWriteExecute=yes".into()),
                container: None,
                means: "Whether no memory becomes executable that has been writable.",
            },
            Step {
                step: NO_NEW_PRIVILEGES,
                state: State::of(all("NoNewPrivs", "1")),
                unit: Some("NoNewPrivileges=yes".into()),
                container: Some("--security-opt no-new-privileges".into()),
                means: "Whether no program that it executes has more privileges.",
            },
        ]
    }
}

/// A step that the process alone can take.
pub(crate) fn of_the_process(
    step: &'static str,
    is_in_force: Option<bool>,
    means: &'static str,
) -> Step {
    Step { step, state: State::of(is_in_force), unit: None, container: None, means }
}

/// The steps by name, each with its state.
#[cfg(test)]
pub(crate) fn states(steps: &[Step]) -> Vec<(&'static str, State)> {
    steps.iter().map(|step| (step.step, step.state)).collect()
}

/// The states of the inherited steps where both limits on locked memory are equal and the rest is
/// as a kernel starts with it.
#[cfg(test)]
pub(crate) const INHERITED_UNCHOSEN: [(&str, State); 6] = [
    ("lock-limit", State::InForce),
    ("core-filter", State::NotChosen),
    ("no-core-file", State::NotChosen),
    ("no-huge-pages", State::NotShown),
    ("no-write-execute", State::NotShown),
    ("no-new-privileges", State::NotShown),
];

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: &str = "\
Max core file size        0                    0                    bytes     
Max locked memory         8388608              8388608              bytes     
";
    const STATUS: &str = "Name:\tnode\nTHP_enabled:\t0\nNoNewPrivs:\t1\n";

    fn state(shown: &Shown<'_>, name: &str) -> State {
        shown.inherited(None).iter().find(|step| step.step == name).unwrap().state
    }

    #[test]
    fn each_step_in_force_and_not() {
        use State::{InForce, NotChosen, NotShown};
        let all = Shown {
            statuses: &[STATUS, STATUS],
            limits: LIMITS,
            core_filter: Some(0x10),
            has_writable_code: Some(false),
        };
        for step in all.inherited(None) {
            let expected = if step.step == "no-write-execute" { NotShown } else { InForce };
            assert_eq!(step.state, expected, "{}", step.step);
        }
        let writable = Shown { has_writable_code: Some(true), ..all };
        assert_eq!(state(&writable, "no-write-execute"), NotChosen);
        for filter in [0x33, 0x11, 0x12, 0x18, 0x20, 0x40, 0x80, 0x100] {
            let filtered = Shown { core_filter: Some(filter), ..all };
            assert_eq!(state(&filtered, "core-filter"), NotChosen, "{filter:#x}");
        }
        assert_eq!(state(&Shown { core_filter: None, ..all }, "core-filter"), NotShown);
        for (from, to, step) in [
            ("0                    0  ", "0                    unlimited  ", "no-core-file"),
            ("0                    0  ", "0                    4096  ", "no-core-file"),
            ("8388608              8388608", "8388608              unlimited", "lock-limit"),
        ] {
            let limits = LIMITS.replace(from, to);
            assert_ne!(limits, LIMITS);
            assert_eq!(state(&Shown { limits: &limits, ..all }, step), NotChosen, "{limits}");
        }
        // One thread without it is enough.
        for (from, to, step) in [
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "no-new-privileges"),
            ("THP_enabled:\t0", "THP_enabled:\t1", "no-huge-pages"),
        ] {
            let other = STATUS.replace(from, to);
            let shown = Shown { statuses: &[STATUS, &other], ..all };
            assert_eq!(state(&shown, step), NotChosen);
            let silent = STATUS.replace(from, "");
            assert_eq!(state(&Shown { statuses: &[&silent], ..all }, step), NotShown);
        }
    }

    #[test]
    fn findings_name_the_line_of_the_unit() {
        let none = Shown {
            statuses: &["NoNewPrivs:\t0\nTHP_enabled:\t1\n"],
            limits: "Max core file size  unlimited unlimited bytes\nMax locked memory  0 1 bytes\n",
            core_filter: Some(0x33),
            has_writable_code: None,
        };
        let texts: Vec<_> =
            none.inherited(Some(4 << 20)).iter().map(|step| step.finding().seen).collect();
        for line in [
            "LimitCORE=0",
            "NoNewPrivileges=yes",
            "MemoryDenyWriteExecute=yes",
            "LimitMEMLOCK=4096K",
            "CoredumpFilter=elf-headers",
        ] {
            assert!(texts.iter().any(|text| text.contains(line)), "{line}: {texts:?}");
        }
    }
}
