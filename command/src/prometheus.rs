//! Reports in the text format of Prometheus, for the textfile collector of node_exporter.
//!
//! All metrics are gauges: each shows how things are now. A severity is a number, from 0 (ok) to 3
//! (danger), so that an alert can ask for those above a bound.

use crate::check;
use crate::finding::{Finding, Severity};
use crate::hardening::{State, Step};
use crate::inspect::{self, Kind, Region};
use crate::printable::Printable;
use crate::survey::Survey;
use std::collections::BTreeMap;
use std::fmt::Display;

/// The number of a severity.
fn number(severity: Severity) -> u64 {
    match severity {
        Severity::Ok => 0,
        Severity::Note => 1,
        Severity::Warning => 2,
        Severity::Danger => 3,
    }
}

/// Labels, each with its value.
type Labels<'a> = Vec<(&'static str, &'a dyn Display)>;

fn labels<'a, const N: usize>(labels: [(&'static str, &'a dyn Display); N]) -> Labels<'a> {
    labels.into()
}

/// The text: for each metric its help, its type and its samples.
struct Page(String);

impl Page {
    /// Writes a metric. No two samples have the same labels: of those that would, the one with the
    /// highest value is written. A metric without samples is left out.
    fn gauge<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, Option<u64>)>,
    ) {
        let mut values = BTreeMap::new();
        for (labels, value) in samples {
            let labels: Vec<_> = labels
                .iter()
                .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
                .collect();
            // No limit is more than any.
            let value = value.map_or((true, 0), |value| (false, value));
            let highest = values.entry(labels.join(",")).or_insert(value);
            *highest = value.max(*highest);
        }
        if values.is_empty() {
            return;
        }
        self.0 += &format!("# HELP {name} {help}\n# TYPE {name} gauge\n");
        for (labels, (is_unlimited, value)) in values {
            let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
            let value = if is_unlimited { "+Inf".into() } else { value.to_string() };
            self.0 += &format!("{name}{labels} {value}\n");
        }
    }
}

/// A label's value: printable, with backslashes, quotes and line ends escaped as the format has it.
fn escaped(value: &dyn Display) -> String {
    let mut text = String::new();
    for c in Printable(&value.to_string()).to_string().chars() {
        match c {
            '\\' => text += "\\\\",
            '"' => text += "\\\"",
            _ => text.push(c),
        }
    }
    text
}

const SEVERITIES: &str = "0 ok, 1 note, 2 warning, 3 danger.";

fn subject(finding: &Finding) -> &str {
    finding.subject.as_deref().unwrap_or("")
}

/// The findings except those of steps of `harden_process`, which have another metric.
fn findings(all: &[Finding]) -> impl Iterator<Item = &Finding> {
    all.iter().filter(|finding| finding.id != crate::hardening::ID)
}

/// The steps that the kernel shows, each with 1 if it is in force.
fn steps(all: &[Step]) -> impl Iterator<Item = (&Step, Option<u64>)> {
    all.iter().filter_map(|step| match step.state {
        State::InForce => Some((step, Some(1))),
        State::NotChosen => Some((step, Some(0))),
        State::NotShown => None,
    })
}

pub(crate) fn of_check(report: &check::Report) -> String {
    let mut page = Page(String::new());
    page.gauge(
        "bitcoin_support_check_info",
        "Always 1. The labels are the versions of the command and of the kernel.",
        [(labels([("version", &env!("CARGO_PKG_VERSION")), ("kernel", &report.kernel)]), Some(1))],
    );
    page.gauge(
        "bitcoin_support_check_severity",
        &format!("The worst finding about this host: {SEVERITIES}"),
        [(vec![], Some(number(report.severity)))],
    );
    let all: Vec<_> = findings(&report.findings).map(|it| (it, subject(it))).collect();
    page.gauge(
        "bitcoin_support_check_finding_severity",
        &format!("Each finding about this host: {SEVERITIES}"),
        all.iter().map(|(finding, subject)| {
            let of_finding = labels([("id", &finding.id), ("subject", subject)]);
            (of_finding, Some(number(finding.severity)))
        }),
    );
    page.gauge(
        "bitcoin_support_check_hardening",
        "Whether a step of harden_process is in force for what is started as the command was.",
        steps(&report.hardening).map(|(step, value)| (labels([("step", &step.step)]), value)),
    );
    page.0
}

pub(crate) fn of_survey(survey: &Survey) -> String {
    let mut page = Page(String::new());
    page.gauge(
        "bitcoin_support_inspect_info",
        "Always 1. The label is the version of the command.",
        [(labels([("version", &env!("CARGO_PKG_VERSION"))]), Some(1))],
    );
    page.gauge(
        "bitcoin_support_inspect_severity",
        &format!("The worst finding about the processes that were inspected: {SEVERITIES}"),
        [(vec![], Some(number(survey.severity)))],
    );
    page.gauge(
        "bitcoin_support_inspect_processes",
        "The number of processes that were inspected and have memory for secrets, or were asked for.",
        [(vec![], Some(survey.processes.len() as u64))],
    );
    // Of all processes, those that were refused are counted: their numbers would come and go.
    let mut refused: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for other in &survey.not_inspected {
        let process = if survey.is_of_all { "--all" } else { other.process.as_str() };
        *refused.entry((process, other.reason.name())).or_default() += 1;
    }
    page.gauge(
        "bitcoin_support_inspect_refused_processes",
        "The number of processes that could not be inspected, by what was asked for and the reason.",
        refused.iter().map(|((process, reason), count)| {
            (labels([("process", process), ("reason", reason)]), Some(*count))
        }),
    );
    processes(&mut page, survey);
    page.0
}

fn processes(page: &mut Page, survey: &Survey) {
    let reports = &survey.processes;
    fn of(report: &inspect::Report) -> Labels<'_> {
        labels([("pid", &report.process.pid), ("name", &report.process.name)])
    }
    let mut one = |name: &str, help: &str, value: fn(&inspect::Report) -> Option<u64>| {
        page.gauge(name, help, reports.iter().map(|report| (of(report), value(report))));
    };
    one(
        "bitcoin_support_process_severity",
        &format!("The worst finding about a process: {SEVERITIES}"),
        |report| Some(number(report.severity)),
    );
    one(
        "bitcoin_support_process_locked_bytes",
        "What a process has locked, by the kernel's count.",
        |report| Some(report.process.locked),
    );
    one("bitcoin_support_process_lock_limit_bytes", "What a process may lock.", |report| {
        if report.process.lock_limit_exempt { None } else { report.process.lock_limit }
    });
    one(
        "bitcoin_support_process_regions_locked_bytes",
        "The size of the regions of a process that are locked.",
        |report| Some(report.totals.locked_size),
    );
    one(
        "bitcoin_support_process_regions_unlocked_bytes",
        "The size of the regions of a process that should be locked and are not.",
        |report| Some(report.totals.unlocked_size),
    );
    one(
        "bitcoin_support_process_regions_resident_bytes",
        "How much of the regions of a process is in memory.",
        |report| Some(report.totals.resident),
    );
    one(
        "bitcoin_support_process_regions_swap_bytes",
        "How much of the regions of a process is on swap.",
        |report| Some(report.totals.swap),
    );
    let kinds: Vec<_> =
        [Kind::Arena, Kind::Locked, Kind::SecretMemory, Kind::Unlocked].map(Kind::id).into();
    page.gauge(
        "bitcoin_support_process_regions",
        "The number of regions of a process, by kind.",
        reports.iter().flat_map(|report| {
            kinds.iter().map(move |kind| {
                let is_of_kind = |region: &&Region| region.kind.id() == *kind;
                let count = report.regions.iter().filter(is_of_kind).count();
                (with(of(report), "kind", kind), Some(count as u64))
            })
        }),
    );
    let all: Vec<_> = reports
        .iter()
        .flat_map(|report| findings(&report.findings).map(move |it| (report, it, subject(it))))
        .collect();
    page.gauge(
        "bitcoin_support_process_finding_severity",
        &format!("Each finding about a process: {SEVERITIES}"),
        all.iter().map(|(report, finding, subject)| {
            let of_finding = with(of(report), "id", &finding.id);
            (with(of_finding, "subject", subject), Some(number(finding.severity)))
        }),
    );
    page.gauge(
        "bitcoin_support_process_hardening",
        "Whether a step of harden_process is in force in a process.",
        reports.iter().flat_map(|report| {
            let of_process = steps(&report.process.hardening);
            of_process.map(move |(step, value)| (with(of(report), "step", &step.step), value))
        }),
    );
}

fn with<'a>(mut labels: Labels<'a>, name: &'static str, value: &'a dyn Display) -> Labels<'a> {
    labels.push((name, value));
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_unique_and_escaped() {
        let mut page = Page(String::new());
        let names = ["a\"b\\c\nd\u{202e}", "plain"];
        let samples = [(0, Some(1)), (0, Some(3)), (0, Some(2)), (1, None), (1, Some(u64::MAX))];
        page.gauge(
            "x",
            "A help.",
            samples.iter().map(|&(name, value)| (labels([("name", &names[name])]), value)),
        );
        page.gauge("y", "Nothing.", []);
        page.gauge("z", "No labels.", [(vec![], Some(7))]);
        let expected = "\
# HELP x A help.
# TYPE x gauge
x{name=\"a\\\"b\\\\c\\\\nd\\\\u{202e}\"} 3
x{name=\"plain\"} +Inf
# HELP z No labels.
# TYPE z gauge
z 7
";
        assert_eq!(page.0, expected);
    }

    #[test]
    fn severities_rise() {
        let all = [Severity::Ok, Severity::Note, Severity::Warning, Severity::Danger];
        assert_eq!(all.map(number), [0, 1, 2, 3]);
        assert!(all.is_sorted());
    }
}
