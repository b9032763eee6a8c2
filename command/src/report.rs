//! Reports for people: a line for what is as it should be, three for what is not.
//!
//! Names that others chose (a process's, a file's) are printed with control characters escaped: they must not
//! reach the terminal of who inspects them.

use crate::amount::amount;
use crate::finding::Finding;
use crate::{check, inspect};
use std::fmt::{self, Write};

/// Columns of the text.
const WIDTH: usize = 100;
/// Columns of the severity, and of the name of a finding.
const SEVERITY: usize = 9;
const ID: usize = 24;

/// Text without what a terminal would obey.
struct Printable<'a>(&'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

fn findings(f: &mut fmt::Formatter<'_>, findings: &[Finding]) -> fmt::Result {
    for finding in findings {
        let mut text = String::new();
        if let Some(subject) = &finding.subject {
            write!(text, "{}: ", Printable(subject))?;
        }
        write!(text, "{}", Printable(&finding.seen))?;
        let severity = finding.severity.name();
        let first = format!("{severity:SEVERITY$}{:ID$}", finding.id);
        paragraph(f, &first, &text)?;
        if let Some(remedy) = &finding.remedy {
            paragraph(f, "", &finding.means)?;
            paragraph(f, "", &format!("To do: {}", Printable(remedy)))?;
        }
    }
    Ok(())
}

/// Text in the last column, behind `first` in the others.
fn paragraph(f: &mut fmt::Formatter<'_>, first: &str, text: &str) -> fmt::Result {
    let indent = " ".repeat(SEVERITY + ID);
    let first = format!("{first:width$}", width = indent.len());
    let options = textwrap::Options::new(WIDTH)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .initial_indent(&first)
        .subsequent_indent(&indent);
    for line in textwrap::wrap(text, options) {
        writeln!(f, "{line}")?;
    }
    Ok(())
}

/// How many findings of each severity that is not ok.
fn summary(findings: &[Finding]) -> String {
    use crate::Severity::{Danger, Note, Warning};
    let parts: Vec<_> = [(Danger, "danger"), (Warning, "warning"), (Note, "note")]
        .into_iter()
        .filter_map(|(severity, name)| {
            let number = findings.iter().filter(|finding| finding.severity == severity).count();
            let plural = if number == 1 { "" } else { "s" };
            (number > 0).then(|| format!("{number} {name}{plural}"))
        })
        .collect();
    if parts.is_empty() { "all ok".into() } else { parts.join(", ") }
}

impl fmt::Display for check::Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let summary = summary(&self.findings);
        writeln!(f, "This host (Linux {}): {summary}\n", Printable(&self.kernel))?;
        findings(f, &self.findings)
    }
}

impl fmt::Display for inspect::Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = &self.process;
        let name = Printable(&process.name);
        writeln!(f, "Process {} ({name}): {}\n", process.pid, summary(&self.findings))?;
        if !self.regions.is_empty() {
            table(f, &self.regions)?;
            let totals = &self.totals;
            writeln!(
                f,
                "\n{}, {} like arenas of the library: {} locked, {} not, {} in memory, {} on swap\n",
                inspect::count(totals.regions),
                totals.arenas,
                amount(Some(totals.locked_size)),
                amount(Some(totals.unlocked_size)),
                amount(Some(totals.resident)),
                amount(Some(totals.swap)),
            )?;
        }
        findings(f, &self.findings)
    }
}

fn table(f: &mut fmt::Formatter<'_>, regions: &[inspect::Region]) -> fmt::Result {
    const HEADING: [&str; 11] = [
        "start", "end", "size", "kind", "locked", "on swap", "dumped", "fork", "guards", "huge",
        "merged",
    ];
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let row = |region: &inspect::Region| {
        let guards = match (region.guard_before, region.guard_after) {
            (true, true) => "both",
            (true, false) => "before",
            (false, true) => "after",
            (false, false) => "none",
        };
        [
            format!("{:x}", region.start),
            format!("{:x}", region.end),
            amount(Some(region.size)),
            region.kind.name().into(),
            // Pages that are not in memory yet are locked as they come to be.
            amount(Some(if region.locked { region.size } else { region.locked_bytes })),
            amount(Some(region.swap_bytes)),
            yes(region.dumpable).into(),
            region.fork.name().into(),
            guards.into(),
            if region.no_huge_pages { "never".into() } else { amount(Some(region.huge_bytes)) },
            (if region.mergeable { "may be" } else { "no" }).into(),
        ]
    };
    let rows: Vec<_> = regions.iter().map(row).collect();
    let mut widths = HEADING.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let mut line = |cells: [&str; HEADING.len()], path: &str| {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            write!(text, "{cell:width$}  ")?;
        }
        write!(text, "{}", Printable(path))?;
        writeln!(f, "{}", text.trim_end())
    };
    line(HEADING, "")?;
    for (row, region) in rows.iter().zip(regions) {
        line(row.each_ref().map(String::as_str), &region.path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let text = Printable("a\x1b[2J\u{9b}b\n\u{e9}").to_string();
        assert_eq!(text, "a\\u{1b}[2J\\u{9b}b\\n\u{e9}");
    }
}
