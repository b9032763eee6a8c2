//! What `check` prints instead of a report: a drop-in for a systemd unit, and options for a
//! container, both made of its findings.

use crate::check::Report;
use crate::finding::Finding;
use crate::printable::Printable;
use std::fmt::Write;

/// A drop-in for a program's systemd unit: a line for each setting that a finding asks for, below a
/// comment with what was seen.
pub fn drop_in(report: &Report) -> String {
    let mut text = format!(
        "# Made by `bitcoin-support check --print-unit` (Linux {}).\n\
         # Save it as /etc/systemd/system/NAME.service.d/secrets.conf, then: systemctl daemon-reload\n\
         [Service]\n",
        Printable(&report.kernel)
    );
    let mut names = Vec::new();
    for finding in &report.findings {
        let Some(line) = &finding.settings.unit else { continue };
        let name = line.split('=').next().unwrap_or(line);
        // Of two findings that ask for one setting the first is the more exact one.
        if names.contains(&name) {
            continue;
        }
        names.push(name);
        let remark = match name {
            "MemoryDenyWriteExecute" => {
                "# Not for programs that compile code while they run, such as engines of JavaScript.\n"
            }
            _ => "",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n{remark}# {}\n{line}", reason(finding));
    }
    if names.is_empty() {
        text += "# There is nothing to add.\n";
    }
    text
}

/// What was seen, on one line.
fn reason(finding: &Finding) -> String {
    let name = match &finding.subject {
        Some(subject) => format!("{} {}", finding.id, Printable(subject)),
        None => finding.id.to_owned(),
    };
    // A remark behind the observation is for people who read the report.
    let seen = finding.seen.split(';').next().unwrap_or_default();
    format!("{name}: {}", Printable(seen))
}

/// Options for `docker run` and `podman run`, one a line, so that a shell can put them into a
/// command: `docker run $(bitcoin-support check --print-container) ...`.
pub fn container_options(report: &Report) -> String {
    let mut options: Vec<&str> = report
        .findings
        .iter()
        .filter_map(|finding| finding.settings.container.as_deref())
        .collect();
    let mut seen = Vec::new();
    options.retain(|option| {
        let is_new = !seen.contains(option);
        seen.push(option);
        is_new
    });
    options.iter().map(|option| format!("{option}\n")).collect()
}
