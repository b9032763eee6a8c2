//! A finding: the observation, its severity, and the remedy.

use serde::Serialize;

/// The severity of a finding, from best to worst. The worst of a report decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing; no secret leaks by it alone.
    Note,
    /// Copies of secrets outside locked memory can leak, or a protection is missing.
    Warning,
    /// Secrets in locked memory can be written to a disk in the clear, or have been.
    Danger,
}

impl Severity {
    /// The exit code of a report whose worst finding has this severity: 0 for ok and note, 1 for
    /// warning, 2 for danger.
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

/// The result of one check. Scripts rely on `id`, `subject` and `severity`; the texts are for
/// people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The name of the check, from a fixed set (docs/command.md lists it).
    pub id: &'static str,
    /// The object, if a check has several: the name of a swap area.
    pub subject: Option<String>,
    /// The severity.
    pub severity: Severity,
    /// The observation.
    pub seen: String,
    /// Its meaning for secrets.
    pub means: String,
    /// What to do about it. Every warning and danger has a remedy.
    pub remedy: Option<String>,
    /// The settings that do it, for what starts the program.
    pub settings: Settings,
}

/// Settings that a finding asks for, each as it is written in its place. None where there is
/// nothing to do, or no such setting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// A line of the section `[Service]` of a systemd unit.
    pub unit: Option<String>,
    /// An option of `docker run` and `podman run`.
    pub container: Option<String>,
    /// What to do in Kubernetes, for people.
    pub kubernetes: Option<String>,
}

impl Finding {
    pub(crate) fn new(
        id: &'static str,
        severity: Severity,
        seen: impl Into<String>,
        means: impl Into<String>,
    ) -> Self {
        let (seen, means) = (seen.into(), means.into());
        Self {
            id,
            subject: None,
            severity,
            seen,
            means,
            remedy: None,
            settings: Settings::default(),
        }
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    pub(crate) fn unit(mut self, line: impl Into<String>) -> Self {
        self.settings.unit = Some(line.into());
        self
    }

    pub(crate) fn container(mut self, option: impl Into<String>) -> Self {
        self.settings.container = Some(option.into());
        self
    }

    pub(crate) fn kubernetes(mut self, text: impl Into<String>) -> Self {
        self.settings.kubernetes = Some(text.into());
        self
    }

    pub(crate) fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }
}

/// The worst severity of all.
pub(crate) fn worst(findings: &[Finding]) -> Severity {
    worst_of(findings.iter().map(|finding| finding.severity))
}

/// The worst of some severities, ok if there is none.
pub(crate) fn worst_of(severities: impl Iterator<Item = Severity>) -> Severity {
    severities.max().unwrap_or(Severity::Ok)
}
