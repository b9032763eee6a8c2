//! A finding: what was seen, how bad it is, and what to do about it.

use serde::Serialize;

/// How bad a finding is, from least to worst. The worst of a report decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing; no secret leaks by it alone.
    Note,
    /// Copies of secrets outside locked memory can leak, or a protection is missing.
    Warning,
    /// Secrets in locked memory themselves can end up on a disk in the clear, or have.
    Danger,
}

impl Severity {
    /// What the command exits with when this is the worst: 0 for ok and note, 1 for warning, 2 for danger.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Ok | Self::Note => 0,
            Self::Warning => 1,
            Self::Danger => 2,
        }
    }

    /// The name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Danger => "danger",
        }
    }
}

/// One thing that was looked at. Scripts rely on `id`, `subject` and `severity`; the texts are for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, from a fixed set (docs/command.md lists it).
    pub id: &'static str,
    /// Which one, where there can be several: a swap area's name.
    pub subject: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// What was seen.
    pub seen: String,
    /// What that means for secrets.
    pub means: String,
    /// What to do about it. Always there for warnings and dangers.
    pub remedy: Option<String>,
}

impl Finding {
    pub(crate) fn new(
        id: &'static str,
        severity: Severity,
        seen: impl Into<String>,
        means: impl Into<String>,
    ) -> Self {
        let (seen, means) = (seen.into(), means.into());
        Self { id, subject: None, severity, seen, means, remedy: None }
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    pub(crate) fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }
}

/// The worst severity of all.
pub(crate) fn worst(findings: &[Finding]) -> Severity {
    findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
}
