//! `inspect`: the processes that are asked for, each with its report.
//!
//! A process is asked for by its number or by its name. Several can have one name. Processes begin
//! and end meanwhile: one that ends before it is read counts as not there.

use crate::finding::{Severity, worst_of};
use crate::host::{Host, Unreadable};
use crate::inspect::{Error, Reason, Report, inspect};
use crate::parse;
use serde::Serialize;

/// The longest name of a process in bytes. The kernel cuts off the rest.
const LONGEST_NAME: usize = 15;

/// A process, as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The one with this number.
    Pid(u32),
    /// All whose own name is this, or the name of whose program file is.
    Named(String),
}

/// The processes that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These.
    These(Vec<Wanted>),
    /// All that have regions, of those that the caller may inspect.
    All,
}

/// The result of `inspect`.
#[derive(Clone, Debug, Serialize)]
pub struct Survey {
    /// Always `bitcoin-support-inspect`.
    pub format: &'static str,
    /// [`SCHEMA`](crate::SCHEMA).
    pub version: u32,
    /// The worst of all findings.
    pub severity: Severity,
    /// The processes that were inspected: those that were asked for, or of all those that have
    /// regions.
    pub processes: Vec<Report>,
    /// Of all processes, the number of those without regions, which are not in the list.
    pub without_regions: usize,
    /// The processes that could not be inspected.
    pub not_inspected: Vec<NotInspected>,
    /// Whether all processes were asked for.
    #[serde(skip)]
    pub is_of_all: bool,
}

/// A process that could not be inspected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotInspected {
    /// Its number or its name, as it was asked for; `--all` for those that `/proc` hides.
    pub process: String,
    /// Its number; null if no process has the name.
    pub pid: Option<u32>,
    /// Why, for scripts.
    pub reason: Reason,
    /// Why, for people.
    pub message: String,
}

impl Survey {
    /// The exit code: that of the worst finding. If there is nothing worse than notes, but a
    /// process could not be inspected, it is [`EXIT_UNKNOWN`](crate::EXIT_UNKNOWN).
    pub fn exit_code(&self) -> u8 {
        match self.severity.exit_code() {
            0 if !self.not_inspected.is_empty() => crate::EXIT_UNKNOWN,
            code => code,
        }
    }
}

/// Inspects the processes that are asked for. One that cannot be inspected is part of the result.
///
/// # Errors
/// When the host's `/proc` cannot be read at all.
pub fn survey(host: &Host, selection: &Selection) -> Result<Survey, Unreadable> {
    let mut survey = Survey {
        format: "bitcoin-support-inspect",
        version: crate::SCHEMA,
        severity: Severity::Ok,
        processes: Vec::new(),
        without_regions: 0,
        not_inspected: Vec::new(),
        is_of_all: *selection == Selection::All,
    };
    match selection {
        Selection::All => survey.add_all(host)?,
        Selection::These(processes) => {
            for process in processes {
                match process {
                    Wanted::Pid(pid) => survey.add(host, *pid),
                    Wanted::Named(name) => survey.add_named(host, name)?,
                }
            }
        }
    }
    survey.severity = worst_of(survey.processes.iter().map(|report| report.severity));
    Ok(survey)
}

impl Survey {
    /// Takes those processes out that began after an earlier survey with the number of one that was
    /// in it: the one that was asked for has ended.
    pub fn remove_successors(&mut self, earlier: &Self) {
        let started = |survey: &Self, pid| {
            let mut reports = survey.processes.iter().map(|report| &report.process);
            reports.find(|process| process.pid == pid).map(|process| process.started)
        };
        let pids: Vec<_> = self.processes.iter().map(|report| report.process.pid).collect();
        for pid in pids {
            if started(earlier, pid).is_some_and(|before| Some(before) != started(self, pid)) {
                self.processes.retain(|report| report.process.pid != pid);
                self.refused(pid.to_string(), Some(pid), &Error::NoProcess(pid));
            }
        }
        self.severity = worst_of(self.processes.iter().map(|report| report.severity));
    }

    fn has(&self, pid: u32) -> bool {
        self.processes.iter().any(|report| report.process.pid == pid)
            || self.not_inspected.iter().any(|other| other.pid == Some(pid))
    }

    fn add(&mut self, host: &Host, pid: u32) {
        if self.has(pid) {
            return;
        }
        match inspect(host, pid) {
            Ok(report) => self.processes.push(report),
            Err(error) => self.refused(pid.to_string(), Some(pid), &error),
        }
    }

    fn add_named(&mut self, host: &Host, name: &str) -> Result<(), Unreadable> {
        let mut is_there = false;
        for pid in host.processes()? {
            if !is_named(host, pid, name) {
                continue;
            }
            if self.has(pid) {
                is_there = true;
                continue;
            }
            match inspect(host, pid) {
                Ok(report) => self.processes.push(report),
                Err(Error::NoProcess(_) | Error::Ended(_)) => continue,
                Err(error) => self.refused(name.to_owned(), Some(pid), &error),
            }
            is_there = true;
        }
        if !is_there {
            let error = Error::NoneNamed(name.to_owned(), host.hidepid());
            self.refused(name.to_owned(), None, &error);
        }
        Ok(())
    }

    fn add_all(&mut self, host: &Host) -> Result<(), Unreadable> {
        let processes = host.processes()?;
        for &pid in &processes {
            match inspect(host, pid) {
                Ok(report) if report.regions.is_empty() => self.without_regions += 1,
                Ok(report) => self.processes.push(report),
                // These have no memory.
                Err(Error::NoProcess(_) | Error::Ended(_) | Error::OfKernel(_)) => {}
                Err(error) => self.refused(pid.to_string(), Some(pid), &error),
            }
        }
        // The first process is root's, or the container's.
        if let Some(value) = host.hidepid().filter(|_| !processes.contains(&1)) {
            self.refused("--all".into(), None, &Error::SomeHidden(value));
        }
        Ok(())
    }

    fn refused(&mut self, process: String, pid: Option<u32>, error: &Error) {
        let (reason, message) = (error.reason(), error.to_string());
        self.not_inspected.push(NotInspected { process, pid, reason, message });
    }
}

/// Whether a process has this name, or its program file has.
fn is_named(host: &Host, pid: u32, name: &str) -> bool {
    let status = host.read(&format!("/proc/{pid}/status")).ok().flatten();
    let Some(status) = status else { return false };
    let own = parse::process_name(&status);
    if own == name {
        return true;
    }
    // Who may inspect a process may read this link.
    match host.link(&format!("/proc/{pid}/exe")) {
        Some(program) => {
            // An update has replaced the file.
            let program = program.strip_suffix(" (deleted)").unwrap_or(&program);
            program.rsplit('/').next() == Some(name)
        }
        None => {
            name.len() > LONGEST_NAME && Some(own.as_bytes()) == name.as_bytes().get(..LONGEST_NAME)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    const LOCKED: &str = "1000-2000 rw-p 0 0:0 0\nLocked: 4 kB\nVmFlags: rd wr lo dd\n";
    const PLAIN: &str = "1000-2000 rw-p 0 0:0 0\nVmFlags: rd wr\n";

    fn process(host: &TempDir, pid: u32, name: &str, smaps: &str) {
        for (file, text) in [
            ("status", format!("Name:\t{name}\nState:\tS (sleeping)\n")),
            ("limits", "Max locked memory 8388608 8388608 bytes\n".into()),
            ("smaps", smaps.into()),
        ] {
            made_up::write(host, &format!("proc/{pid}/{file}"), &text);
        }
    }

    /// Two nodes, a wallet whose program was updated, a shell, a thread of the kernel, a process
    /// that may not be inspected, and what is no process.
    fn host() -> TempDir {
        let host = tempfile::tempdir().unwrap();
        process(&host, 7, "node", LOCKED);
        process(&host, 12, "node", LOCKED);
        process(&host, 20, "main", LOCKED);
        symlink("/opt/a b/wallet (deleted)", host.path().join("proc/20/exe")).unwrap();
        process(&host, 21, "sh", PLAIN);
        symlink("/bin/dash", host.path().join("proc/21/exe")).unwrap();
        process(&host, 2, "kthreadd", "");
        process(&host, 30, "a-rather-long-n", PLAIN);
        process(&host, 40, "odd", PLAIN);
        made_up::unreadable(&host, "proc/40/smaps");
        made_up::write(&host, "proc/version", "6.12\n");
        host
    }

    fn ask(host: &TempDir, selection: &Selection) -> Survey {
        survey(&Host::copy_at(host.path()), selection).unwrap()
    }

    fn named(host: &TempDir, name: &str) -> Survey {
        ask(host, &Selection::These(vec![Wanted::Named(name.into())]))
    }

    fn numbers(survey: &Survey) -> Vec<u32> {
        survey.processes.iter().map(|report| report.process.pid).collect()
    }

    #[test]
    fn by_name() {
        let host = host();
        for (name, expected) in [
            ("node", &[7, 12][..]),
            ("main", &[20]),
            ("wallet", &[20]),
            ("dash", &[21]),
            ("a-rather-long-n", &[30]),
            ("a-rather-long-name", &[30]),
        ] {
            let found = named(&host, name);
            assert_eq!(numbers(&found), expected, "{name}");
            assert_eq!(found.not_inspected, [], "{name}");
        }
        for name in ["nod", "nodes", "a-rather-long-m-and-more", "b", "wallet (deleted)", ""] {
            let found = named(&host, name);
            assert_eq!(numbers(&found), [0; 0], "{name}");
            let [none] = &found.not_inspected[..] else { panic!("{found:?}") };
            assert_eq!((none.process.as_str(), none.pid), (name, None));
            assert_eq!(none.reason, Reason::NoProcess);
            assert_eq!(none.message, format!("there is no process with the name {name:?}"));
            assert_eq!(found.exit_code(), 3);
        }
        // One that has ended is not there, also while its parent has not waited for it.
        process(&host, 13, "node", "");
        made_up::write(&host, "proc/13/status", "Name:\tnode\nState:\tZ (zombie)\n");
        let found = named(&host, "node");
        assert_eq!((numbers(&found), found.not_inspected.len()), (vec![7, 12], 0));
        process(&host, 14, "ended", "");
        made_up::write(&host, "proc/14/status", "Name:\tended\nState:\tZ (zombie)\n");
        let found = named(&host, "ended");
        assert_eq!(found.not_inspected[0].reason, Reason::NoProcess);
        let found = ask(&host, &Selection::These(vec![Wanted::Pid(14)]));
        assert_eq!(found.not_inspected[0].reason, Reason::Ended, "by number");
        // A process is reported once, however often it is asked for.
        let twice =
            [Wanted::Pid(12), Wanted::Named("node".into()), Wanted::Pid(12), Wanted::Pid(7)];
        let found = ask(&host, &Selection::These(twice.into()));
        assert_eq!((numbers(&found), found.not_inspected.len()), (vec![12, 7], 0));
    }

    #[test]
    fn what_cannot_be_inspected_is_part_of_the_result() {
        let host = host();
        let asked = [Wanted::Pid(7), Wanted::Pid(8), Wanted::Named("odd".into()), Wanted::Pid(2)];
        let found = ask(&host, &Selection::These(asked.into()));
        assert_eq!(numbers(&found), [7]);
        let refused = found.not_inspected.iter();
        let refused: Vec<_> = refused.map(|it| (it.process.as_str(), it.pid, it.reason)).collect();
        let expected = [
            ("8", Some(8), Reason::NoProcess),
            ("odd", Some(40), Reason::Unreadable),
            ("2", Some(2), Reason::OfKernel),
        ];
        assert_eq!(refused, expected);
        assert!(found.severity < Severity::Warning);
        assert_eq!(found.exit_code(), 3, "it is not complete");
        // What is worse than notes comes first.
        let asked = [Wanted::Pid(21), Wanted::Pid(8)];
        let found = ask(&host, &Selection::These(asked.into()));
        assert_eq!((found.severity, found.exit_code()), (Severity::Warning, 1));
    }

    /// A process that has the number of one that has ended is not taken for it.
    #[test]
    fn successors() {
        let host = host();
        let selection = Selection::These(vec![Wanted::Pid(7), Wanted::Pid(12)]);
        let started = |ticks: u32| {
            let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18";
            made_up::write(&host, "proc/7/stat", &format!("7 (node) {fields} {ticks} 20\n"));
            ask(&host, &selection)
        };
        let first = started(4711);
        assert_eq!(first.processes[0].process.started, Some(4711));
        let mut later = started(4711);
        later.remove_successors(&first);
        assert_eq!(numbers(&later), [7, 12]);
        let mut later = started(4712);
        later.remove_successors(&first);
        assert_eq!(numbers(&later), [12]);
        assert_eq!(later.not_inspected[0].message, "there is no process 7");
    }

    #[test]
    fn all() {
        let host = host();
        let found = ask(&host, &Selection::All);
        assert_eq!(numbers(&found), [7, 12, 20], "those with regions, by number");
        assert_eq!(found.without_regions, 2);
        let refused: Vec<_> = found.not_inspected.iter().map(|it| it.pid).collect();
        assert_eq!(refused, [Some(40)], "and not the kernel's thread");
        // Processes of others that are not shown.
        let mounts = "20 1 0:20 / /proc rw - proc proc rw,hidepid=invisible\n";
        made_up::write(&host, "proc/self/mountinfo", mounts);
        let found = ask(&host, &Selection::All);
        let hidden = found.not_inspected.last().unwrap();
        assert_eq!((hidden.process.as_str(), hidden.pid), ("--all", None));
        assert_eq!(hidden.reason, Reason::Hidden);
        // Where the first process is shown, all are.
        process(&host, 1, "init", PLAIN);
        assert_eq!(ask(&host, &Selection::All).not_inspected.len(), 1);
        // Nothing is a host without processes.
        let empty = tempfile::tempdir().unwrap();
        assert!(survey(&Host::copy_at(empty.path()), &Selection::All).is_err());
    }
}
