//! Reports as they are printed. For people: a finding that is ok takes one line, any other takes
//! three; then there is a table. For scripts: JSON.
//!
//! Names of processes and files are untrusted. Control characters and invisible characters in them
//! are escaped, so that they do not reach the terminal of the person who reads the report.

use crate::amount::amount;
use crate::finding::{Finding, Severity};
use crate::host::Container;
use crate::inspect::{Kind, Reason, Region};
use crate::printable::{Printable, printable_json, printable_lines};
use crate::survey::{NotInspected, Survey};
use crate::{check, inspect, prometheus};
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::collections::BTreeMap;

/// How a report is laid out for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Width of the text in columns. Findings are wrapped to it.
    pub width: usize,
    /// Whether wider rows of a table are wrapped too, as for a terminal. Otherwise each row is one
    /// line of any length. No row is cut off.
    pub wrap_rows: bool,
    /// Whether each region has its own row, even if there are many.
    pub all_rows: bool,
    /// Whether severities have colours, which are escape sequences for a terminal.
    pub color: bool,
}

impl Default for Layout {
    /// For a file or a pipe.
    fn default() -> Self {
        Self { width: 80, wrap_rows: false, all_rows: false, color: false }
    }
}

/// A report that can be printed.
pub trait Report {
    /// The exit code of the command that prints it.
    fn exit_code(&self) -> u8;
    /// For people, with a line end.
    fn text(&self, layout: Layout) -> String;
    /// For scripts, with a line end: the schema of docs/command.schema.json, indented or on one
    /// line.
    ///
    /// # Errors
    /// Those of the serializer.
    fn json(&self, is_one_line: bool) -> Result<String, serde_json::Error>;
    /// For Prometheus.
    fn prometheus(&self) -> String;
    /// Messages for standard error, about what is not part of the text.
    fn messages(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A message for standard error, with a line end.
pub fn complaint(text: &str) -> String {
    format!("bitcoin-support: {}\n", printable_lines(text))
}

impl Report for check::Report {
    fn exit_code(&self) -> u8 {
        self.severity.exit_code()
    }

    fn text(&self, layout: Layout) -> String {
        let summary = summary(&self.findings);
        let kernel = Printable(&self.kernel);
        let title = match self.container {
            Some(container) => {
                format!("This container ({}, Linux {kernel}): {summary}", container.name())
            }
            None => format!("This host (Linux {kernel}): {summary}"),
        };
        let mut text = String::new();
        paragraph(&mut text, layout, "", "", &title);
        text.push('\n');
        findings(&mut text, layout, &self.findings, self.container);
        text
    }

    fn json(&self, is_one_line: bool) -> Result<String, serde_json::Error> {
        json(self, is_one_line)
    }

    fn prometheus(&self) -> String {
        prometheus::of_check(self)
    }
}

impl Report for Survey {
    fn exit_code(&self) -> u8 {
        Self::exit_code(self)
    }

    fn text(&self, layout: Layout) -> String {
        if self.is_of_all {
            return overview(self, layout);
        }
        let texts: Vec<_> = self.processes.iter().map(|report| report.text(layout)).collect();
        texts.join("\n")
    }

    fn json(&self, is_one_line: bool) -> Result<String, serde_json::Error> {
        json(self, is_one_line)
    }

    fn prometheus(&self) -> String {
        prometheus::of_survey(self)
    }

    fn messages(&self) -> Vec<String> {
        // The table of all processes says it.
        let of_text = self.not_inspected.iter().filter(|_| !self.is_of_all);
        of_text.map(|process| process.message.clone()).collect()
    }
}

impl inspect::Report {
    /// What is known of one process, for people.
    pub(crate) fn text(&self, layout: Layout) -> String {
        let process = &self.process;
        let name = Printable(&process.name);
        let title = format!("Process {} ({name}): {}", process.pid, summary(&self.findings));
        let mut text = String::new();
        paragraph(&mut text, layout, "", "", &title);
        text.push('\n');
        findings(&mut text, layout, &self.findings, None);
        if self.regions.is_empty() {
            return text;
        }
        text.push('\n');
        regions(&mut text, layout, &self.regions);
        let totals = &self.totals;
        let totals = format!(
            "{}, {} like arenas of the library: {} locked, {} not, {} in memory, {} on swap",
            inspect::count(totals.regions),
            totals.arenas,
            amount(Some(totals.locked_size)),
            amount(Some(totals.unlocked_size)),
            amount(Some(totals.resident)),
            amount(Some(totals.swap)),
        );
        text.push('\n');
        paragraph(&mut text, layout, "", "", &totals);
        text
    }
}

fn json(report: &impl Serialize, is_one_line: bool) -> Result<String, serde_json::Error> {
    let text = if is_one_line {
        serde_json::to_string(report)?
    } else {
        serde_json::to_string_pretty(report)?
    };
    Ok(printable_json(&text) + "\n")
}

/// Columns of the severity, and of the name of a finding.
const SEVERITY: usize = 9;
const ID: usize = 24;
/// The least width of a finding's text in columns. If the names leave less, the text goes below
/// them.
const TEXT: usize = 40;

/// The findings; of those with a remedy, also the settings for the container that was checked.
fn findings(out: &mut String, layout: Layout, findings: &[Finding], container: Option<Container>) {
    let beside = layout.width >= SEVERITY + ID + TEXT;
    let indent = " ".repeat(if beside { SEVERITY + ID } else { 4 });
    for finding in findings {
        let mut text = String::new();
        if let Some(subject) = &finding.subject {
            text += &format!("{}: ", Printable(subject));
        }
        text += &Printable(&finding.seen).to_string();
        let severity = painted(layout, finding.severity);
        // Colours take no room.
        let blanks = " ".repeat(SEVERITY - finding.severity.name().len());
        if beside {
            let names = format!("{severity}{blanks}{:ID$}", finding.id);
            paragraph(out, layout, &names, &indent, &text);
        } else {
            paragraph(out, layout, "", "", &format!("{severity}{blanks}{}", finding.id));
            paragraph(out, layout, &indent, &indent, &text);
        }
        if let Some(remedy) = &finding.remedy {
            paragraph(out, layout, &indent, &indent, &finding.means);
            paragraph(out, layout, &indent, &indent, &format!("To do: {}", Printable(remedy)));
            let settings = &finding.settings;
            let of_container = match container {
                Some(Container::Kubernetes) => settings.kubernetes.clone(),
                Some(engine) => settings
                    .container
                    .as_ref()
                    .map(|option| format!("`{option}` of `{} run`.", engine.name().to_lowercase())),
                None => None,
            };
            if let Some(text) = of_container {
                let text = format!("For this container: {}", Printable(&text));
                paragraph(out, layout, &indent, &indent, &text);
            }
        }
    }
}

/// The name of a severity, in its colour if colours are wanted.
fn painted(layout: Layout, severity: Severity) -> String {
    let color = match severity {
        Severity::Ok => AnsiColor::Green.on_default(),
        Severity::Note => AnsiColor::Cyan.on_default(),
        Severity::Warning => AnsiColor::Yellow.on_default().bold(),
        Severity::Danger => AnsiColor::Red.on_default().bold(),
    };
    let style = if layout.color { color } else { Style::new() };
    format!("{style}{}{style:#}", severity.name())
}

/// Wraps text, with one indentation for the first line and another for the others. A word that is
/// longer than a line is not broken.
fn paragraph(out: &mut String, layout: Layout, first: &str, others: &str, text: &str) {
    let options = textwrap::Options::new(layout.width)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .initial_indent(first)
        .subsequent_indent(others);
    for line in textwrap::wrap(text, options) {
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// The number of findings of each severity except ok.
fn summary<'a>(findings: impl IntoIterator<Item = &'a Finding> + Clone) -> String {
    use Severity::{Danger, Note, Warning};
    let parts: Vec<_> = [(Danger, "danger"), (Warning, "warning"), (Note, "note")]
        .into_iter()
        .filter_map(|(severity, name)| {
            let all = findings.clone().into_iter();
            let number = all.filter(|finding| finding.severity == severity).count();
            let plural = if number == 1 { "" } else { "s" };
            (number > 0).then(|| format!("{number} {name}{plural}"))
        })
        .collect();
    if parts.is_empty() { "all ok".into() } else { parts.join(", ") }
}

/// The most regions that have a row each. If there are more, similar regions share a row.
const LONG: usize = 20;

const COLUMNS: usize = 10;
const HEADING: [&str; COLUMNS] =
    ["start", "size", "kind", "locked", "swap", "dump", "fork", "guards", "huge", "merge"];

/// A row of the table: one region, or several similar ones.
struct Row<'a> {
    regions: Vec<&'a Region>,
}

/// The properties that regions must have in common to share a row.
#[derive(PartialEq)]
struct Likeness<'a> {
    kind: Kind,
    /// The mapping's name. `None` for a file: files with different names are similar.
    path: Option<&'a str>,
    is_locked: bool,
    has_swap: bool,
    has_huge_pages: bool,
    words: [&'static str; 5],
}

impl<'a> Likeness<'a> {
    fn of(region: &'a Region) -> Self {
        Self {
            kind: region.kind,
            path: Some(region.path.as_str()).filter(|path| !path.starts_with('/')),
            is_locked: region.locked,
            has_swap: region.swap_bytes > 0,
            has_huge_pages: region.huge_bytes > 0,
            words: words(region),
        }
    }
}

/// The words of a region in the table: dump, fork, guards, huge, merge.
fn words(region: &Region) -> [&'static str; 5] {
    let guards = match (region.guard_before, region.guard_after) {
        (true, true) => "both",
        _ if region.guards_inside => "inside",
        (true, false) => "before",
        (false, true) => "after",
        (false, false) => "none",
    };
    [
        if region.dumpable { "yes" } else { "no" },
        region.fork.name(),
        guards,
        match region {
            Region { no_huge_pages: true, .. } => "never",
            Region { huge_eligible: true, .. } => "may be",
            _ => "no",
        },
        if region.mergeable { "may be" } else { "no" },
    ]
}

impl<'a> Row<'a> {
    fn cells(&self) -> [String; COLUMNS] {
        let sum = |bytes: fn(&Region) -> u64| {
            let bytes = self.regions.iter().map(|&region| bytes(region));
            amount(Some(bytes.fold(0, u64::saturating_add)))
        };
        let first = self.regions[0];
        let [dump, fork, guards, huge, merge] = words(first);
        [
            match self.regions.len() {
                1 => format!("{:x}", first.start),
                number => inspect::count(number),
            },
            sum(|region| region.size),
            first.kind.name().into(),
            // A page of a locked region that is not in memory yet is locked when it is first
            // touched.
            sum(|region| if region.locked { region.size } else { region.locked_bytes }),
            sum(|region| region.swap_bytes),
            dump.into(),
            fork.into(),
            guards.into(),
            match sum(|region| region.huge_bytes) {
                none if none == "0" => huge.into(),
                some => some,
            },
            merge.into(),
        ]
    }

    /// The mapping's name, for people.
    fn path(&self) -> String {
        let first = &self.regions[0].path;
        if self.regions.iter().all(|region| region.path == *first) {
            Printable(first).to_string()
        } else {
            "files".into()
        }
    }
}

fn rows(regions: &[Region], layout: Layout) -> Vec<Row<'_>> {
    let mut rows: Vec<(Likeness<'_>, Row<'_>)> = Vec::new();
    let alike = regions.len() > LONG && !layout.all_rows;
    for region in regions {
        let likeness = Likeness::of(region);
        match rows.iter_mut().find(|(other, _)| alike && *other == likeness) {
            Some((_, row)) => row.regions.push(region),
            None => rows.push((likeness, Row { regions: vec![region] })),
        }
    }
    rows.into_iter().map(|(_, row)| row).collect()
}

/// The table of regions.
fn regions(out: &mut String, layout: Layout, regions: &[Region]) {
    let rows = rows(regions, layout);
    let cells = rows.iter().map(|row| {
        let cells = row.cells().into_iter().chain([row.path()]);
        cells.map(|text| Cell { text, severity: None }).collect()
    });
    // The mapping's name is in a last column without a heading.
    let heading: Vec<_> = HEADING.into_iter().chain([""]).collect();
    table(out, layout, &heading, &cells.collect::<Vec<_>>());
    if rows.len() < regions.len() {
        let hint = format!(
            "Similar regions share a row, with sums; `--all-regions` shows all {} one by one.",
            regions.len()
        );
        paragraph(out, layout, "", "", &hint);
    }
}

/// A field of a table. Its text is printable.
struct Cell {
    text: String,
    /// The severity that the text is the name of.
    severity: Option<Severity>,
}

impl Cell {
    fn plain(text: impl ToString) -> Self {
        Self { text: text.to_string(), severity: None }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }

    fn painted(&self, layout: Layout) -> String {
        self.severity.map_or_else(|| self.text.clone(), |severity| painted(layout, severity))
    }
}

/// Columns below their headings; or, where they are wider than the terminal, a paragraph for each
/// row, in which each field but the first follows its heading.
fn table(out: &mut String, layout: Layout, heading: &[&str], rows: &[Vec<Cell>]) {
    let widths: Vec<_> = heading
        .iter()
        .enumerate()
        .map(|(column, heading)| {
            rows.iter().map(|row| row[column].width()).max().unwrap_or(0).max(heading.len())
        })
        .collect();
    // Two blanks lie between columns. One in which there is nothing is not printed.
    let whole = widths.iter().filter(|&&width| width > 0).map(|width| width + 2).sum::<usize>();
    if layout.wrap_rows && whole > layout.width + 2 {
        for row in rows {
            let named = heading[1..].iter().zip(&row[1..]).filter(|(_, cell)| cell.width() > 0);
            let fields: Vec<_> = named
                .map(|(name, cell)| {
                    format!("{name} {}", cell.painted(layout)).trim_start().to_owned()
                })
                .collect();
            let first = format!("{}: ", row[0].text);
            paragraph(out, layout, &first, "    ", &fields.join(", "));
        }
        return;
    }
    let heading: Vec<_> = heading.iter().map(Cell::plain).collect();
    for row in [&heading].into_iter().chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line += &cell.painted(layout);
            line += &" ".repeat(width - cell.width() + 2);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

const OVERVIEW: [&str; 8] =
    ["process", "name", "severity", "arenas", "locked", "not locked", "swap", "findings"];

/// All processes that have regions, a row for each.
fn overview(survey: &Survey, layout: Layout) -> String {
    let mut text = String::new();
    let findings = survey.processes.iter().flat_map(|report| &report.findings);
    let mut title = format!("All processes: {}", summary(findings));
    if !survey.not_inspected.is_empty() {
        title += &format!(", {} not inspected", survey.not_inspected.len());
    }
    paragraph(&mut text, layout, "", "", &title);
    text.push('\n');
    let rows: Vec<_> = survey.processes.iter().map(overview_row).collect();
    if !rows.is_empty() {
        table(&mut text, layout, &OVERVIEW, &rows);
        text.push('\n');
    }
    let number = match rows.len() {
        0 => "No process has".to_owned(),
        1 => "1 process has".to_owned(),
        number => format!("{number} processes have"),
    };
    let rest = format!(
        "{number} locked memory, or memory that looks as if it should be locked; {} without. `bitcoin-support \
         inspect PID` says more about one.",
        survey.without_regions
    );
    paragraph(&mut text, layout, "", "", &rest);
    let mut refused: BTreeMap<Reason, Vec<&NotInspected>> = BTreeMap::new();
    for process in &survey.not_inspected {
        refused.entry(process.reason).or_default().push(process);
    }
    for those in refused.values() {
        let mut seen = "Not inspected: ".to_owned();
        if those.len() > 1 {
            seen += &format!("{} processes. The first: ", those.len());
        }
        seen += &Printable(&those[0].message).to_string();
        paragraph(&mut text, layout, "", "", &seen);
    }
    text
}

fn overview_row(report: &inspect::Report) -> Vec<Cell> {
    let totals = &report.totals;
    let bad = report.findings.iter().filter(|finding| finding.severity >= Severity::Warning);
    let bad: Vec<_> = bad.map(|finding| finding.id).collect();
    vec![
        Cell::plain(report.process.pid),
        Cell::plain(Printable(&report.process.name)),
        Cell { text: report.severity.name().into(), severity: Some(report.severity) },
        Cell::plain(totals.arenas),
        Cell::plain(amount(Some(totals.locked_size))),
        Cell::plain(amount(Some(totals.unlocked_size))),
        Cell::plain(amount(Some(totals.swap))),
        Cell::plain(bad.join(" ")),
    ]
}
