//! The command line: what can be asked for, and how.
//!
//! The help, the man pages and the completions for shells are all made of [`definition`]
//! (`command/tests/pages.rs` makes the files).

use crate::amount::parse_amount;
use crate::check::WANTED_MEMLOCK;
use crate::host::Host;
use crate::output::{Color, Destination};
use crate::parse::Bound;
use crate::survey::{Selection, Wanted};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, ValueHint, value_parser};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The exit codes, each with its meaning. The first four are those of Nagios's plugins.
pub const EXIT_STATUS: [(&str, &str); 4] = [
    ("0", "OK: nothing worse than notes."),
    ("1", "Warning: copies of secrets outside locked memory can leak, or a protection is missing."),
    (
        "2",
        "Critical: secrets in locked memory can be written to a disk in the clear, or have been.",
    ),
    (
        "3",
        "Unknown: the command line is wrong; or the host, or a process that was asked for, cannot be read; or the \
         report cannot be written.",
    ),
];

/// Examples, each with what it does.
pub const EXAMPLES: [(&str, &str); 4] = [
    (
        "systemd-run --pipe -p User=bitcoin -p LimitMEMLOCK=4M bitcoin-support check",
        "Checks the host as the user of a service, with the limits of its unit.",
    ),
    ("bitcoin-support inspect bitcoind", "Inspects each node that runs here."),
    (
        "bitcoin-support inspect --all",
        "Lists the processes that have locked memory, or memory that looks as if it should be locked.",
    ),
    (
        "bitcoin-support inspect bitcoind --format prometheus --output /var/lib/node_exporter/bitcoind.prom",
        "Writes metrics for node_exporter, by a timer.",
    ),
];

const ABOUT: &str = "Shows what could leak secrets from a program's memory";
const LONG_ABOUT: &str = "\
Shows what on this host could leak secrets from a program's memory, and how a running process keeps them. The command \
reads what the kernel reports. It changes nothing, and it never reads the contents of another process's memory.";

const CHECK: &str = "Inspects this host";
const LONG_CHECK: &str = "\
Inspects this host: how much memory may be locked, swap and whether it is encrypted, hibernation, core dumps, who may \
trace whom, secret memory, huge pages and page merging. Reports what could leak secrets, and what to do about it.

Run it as the program's user, with the program's limits: those of another login or systemd unit may differ.";

const INSPECT: &str = "Inspects the locked memory of running processes";
const LONG_INSPECT: &str = "\
Inspects the locked memory of any running processes: where it is, whether it is locked, whether core dumps have it, \
whether guard pages lie around it, whether any of it is on swap. Never reads the contents.

It needs the permission to trace a process, which root has.";

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The host that is looked at.
    pub host: Host,
    /// What is to be found out.
    pub task: Task,
    /// The form of the report.
    pub format: Format,
    /// Where the report goes.
    pub destination: Destination,
    /// When the report has colours.
    pub color: Color,
    /// The time between two reports. `None` for one report.
    pub watch: Option<Duration>,
}

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text for people.
    Text,
    /// JSON in the schema of docs/command.schema.json.
    Json,
    /// The text format of Prometheus.
    Prometheus,
}

/// What is to be found out.
#[derive(Clone, Debug)]
pub enum Task {
    /// What on the host could leak secrets.
    Check {
        /// Bytes that a program should be able to lock.
        memlock: Bound,
        /// What is printed.
        print: Print,
    },
    /// How processes keep their secrets.
    Inspect {
        /// The processes.
        selection: Selection,
        /// Whether each region has its own row.
        all_regions: bool,
    },
}

/// What `check` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Print {
    /// Its report.
    Report,
    /// A drop-in for a systemd unit, made of its findings.
    Unit,
    /// Options for a container, made of its findings.
    Container,
}

/// The command line, with its subcommands.
pub fn definition() -> Command {
    Command::new("bitcoin-support")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .long_about(LONG_ABOUT)
        .after_long_help(after_help())
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .max_term_width(100)
        .subcommands([check(), inspect()])
}

fn check() -> Command {
    let memlock = Arg::new("memlock")
        .long("memlock")
        .value_name("AMOUNT")
        .help("How much a program should be able to lock")
        .long_help(
            "How much a program should be able to lock: a number of bytes, or one with K, M, G, KiB, MiB or GiB \
             (powers of 1024), or `unlimited`. 4M are 16 arenas of 256 KiB.",
        )
        .default_value("4M")
        .allow_hyphen_values(true)
        .value_parser(parse_amount);
    let unit = Arg::new("print-unit")
        .long("print-unit")
        .help("Print a drop-in for the program's systemd unit")
        .long_help(
            "Print a drop-in for the program's systemd unit instead of the report: a line for each setting that a \
             finding asks for, with the finding.",
        )
        .conflicts_with_all(["print-container", "format", "json", "watch"])
        .action(ArgAction::SetTrue);
    let container = Arg::new("print-container")
        .long("print-container")
        .help("Print options for docker run and podman run")
        .long_help(
            "Print options for docker run and podman run instead of the report, one a line, for each setting that a \
             finding asks for.",
        )
        .conflicts_with_all(["format", "json", "watch"])
        .action(ArgAction::SetTrue);
    let command = Command::new("check").about(CHECK).long_about(LONG_CHECK);
    with_common_options(command.args([memlock, unit, container]))
}

fn inspect() -> Command {
    let process = Arg::new("process")
        .value_name("PROCESS")
        .help("The number or the name of a process")
        .long_help(
            "The number of a process, or a name: that which the process has (ps -o comm), or that of its program \
             file. All processes with the name are inspected. Digits are always a number.",
        )
        .num_args(1..)
        .required_unless_present("all")
        .value_parser(parse_process);
    let all = Arg::new("all")
        .long("all")
        .help("All processes that have locked memory, in a table")
        .long_help(
            "All processes that have locked memory, or memory that looks as if it should be locked, in a table. \
             Those that may not be inspected are counted.",
        )
        .conflicts_with("process")
        .action(ArgAction::SetTrue);
    let all_regions = Arg::new("all-regions")
        .long("all-regions")
        .help("A row for each region, however many there are")
        .long_help(
            "A row for each region, however many there are. Without it, regions that are alike share a row where \
             there are many.",
        )
        .action(ArgAction::SetTrue);
    let command = Command::new("inspect").about(INSPECT).long_about(LONG_INSPECT);
    with_common_options(command.args([process, all, all_regions]))
}

/// Digits are the number of a process, anything else is a name.
fn parse_process(word: &str) -> Result<Wanted, String> {
    if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_digit()) {
        return match word {
            "" => Err("a name is not empty".into()),
            name => Ok(Wanted::Named(name.into())),
        };
    }
    match word.parse() {
        Ok(0) | Err(_) => Err("no process has this number".into()),
        Ok(pid) => Ok(Wanted::Pid(pid)),
    }
}

/// Adds the options that all subcommands have.
fn with_common_options(command: Command) -> Command {
    let format = Arg::new("format")
        .long("format")
        .value_name("FORMAT")
        .help("Text for people, JSON, or metrics for Prometheus")
        .long_help(
            "Text for people; JSON, in the schema of docs/command.schema.json; or metrics in the text format of \
             Prometheus, for the textfile collector of node_exporter.",
        )
        .default_value("text")
        .value_parser(["text", "json", "prometheus"]);
    let json = Arg::new("json")
        .long("json")
        .help("The same as --format json")
        .conflicts_with("format")
        .action(ArgAction::SetTrue);
    let output = Arg::new("output")
        .long("output")
        .value_name("FILE")
        .help("Write to a file, which is replaced as a whole")
        .long_help(
            "Write to a file, which is replaced as a whole: readers find the old report or the new one. All users \
             may read it, as far as the umask lets them.",
        )
        .value_hint(ValueHint::FilePath)
        .value_parser(value_parser!(PathBuf));
    let color = Arg::new("color")
        .long("color")
        .value_name("WHEN")
        .help("Whether severities have colours")
        .long_help(
            "Whether severities have colours. `auto`: on a terminal, unless the variable NO_COLOR is set and not \
             empty, or TERM is `dumb`.",
        )
        .default_value("auto")
        .value_parser(["auto", "always", "never"]);
    let watch = Arg::new("watch")
        .long("watch")
        .value_name("SECONDS")
        .help("Report again and again")
        .long_help(
            "Report again and again, every so many seconds (2 if no number is given), until no process that was \
             asked for by number can be inspected any more, or until the command is interrupted. A terminal is \
             redrawn. Otherwise a report is written when it says something new, JSON on one line; a file is always \
             replaced. The exit code is the worst of all.",
        )
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("2")
        .value_parser(parse_seconds);
    command.args([format, json, output, color, watch]).after_long_help(after_help())
}

/// A time between two reports.
fn parse_seconds(word: &str) -> Result<Duration, String> {
    const BOUNDS: std::ops::RangeInclusive<f64> = 0.1..=86400.0;
    let seconds = word.parse().ok().filter(|seconds| BOUNDS.contains(seconds));
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.ok_or_else(|| "a number of seconds from 0.1 to 86400 is wanted".into())
}

/// The exit codes and the examples, for the help.
fn after_help() -> String {
    let mut text = "Exit status:\n".to_owned();
    for (code, meaning) in EXIT_STATUS {
        text += &format!("  {code}  {meaning}\n");
    }
    text += "\nExamples:\n";
    for (example, meaning) in EXAMPLES {
        text += &format!("  {example}\n      {meaning}\n");
    }
    text
}

/// Reads a command line, whose first word is the name of the program.
///
/// # Errors
/// What is wrong with it. `--help` and `--version` are errors too, which
/// [`use_stderr`](clap::Error::use_stderr) tells apart.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Request, clap::Error> {
    // For tests: the folder of a copy of a host's files. It is part of no help and no completion.
    let root = Arg::new("root").long("root").hide(true).global(true);
    let root = root.value_parser(value_parser!(PathBuf));
    let matches = definition().arg(root).try_get_matches_from(words)?;
    // The definition requires a subcommand.
    let (task, of_task) = match matches.subcommand() {
        Some(("check", options)) => {
            let memlock = options.get_one::<Bound>("memlock").copied();
            let memlock = memlock.unwrap_or(Some(WANTED_MEMLOCK));
            let print = if options.get_flag("print-unit") {
                Print::Unit
            } else if options.get_flag("print-container") {
                Print::Container
            } else {
                Print::Report
            };
            (Task::Check { memlock, print }, options)
        }
        Some(("inspect", options)) => {
            let processes = options.get_many::<Wanted>("process").unwrap_or_default();
            let selection = if options.get_flag("all") {
                Selection::All
            } else {
                Selection::These(processes.cloned().collect())
            };
            let all_regions = options.get_flag("all-regions");
            (Task::Inspect { selection, all_regions }, options)
        }
        _ => unreachable!("clap accepts no other subcommand"),
    };
    let root = of_task.get_one::<PathBuf>("root");
    let host = root.map_or_else(Host::this, Host::copy_at);
    let word = |name| of_task.get_one::<String>(name).map(String::as_str);
    let format = match word("format") {
        _ if of_task.get_flag("json") => Format::Json,
        Some("json") => Format::Json,
        Some("prometheus") => Format::Prometheus,
        _ => Format::Text,
    };
    let color = match word("color") {
        Some("always") => Color::Always,
        Some("never") => Color::Never,
        _ => Color::Auto,
    };
    let file = of_task.get_one::<PathBuf>("output");
    let destination = file.map_or(Destination::Stdout, |file| Destination::File(file.clone()));
    let watch = of_task.get_one::<Duration>("watch").copied();
    if watch.is_some() && format == Format::Prometheus && destination == Destination::Stdout {
        // The format has no room for a second report.
        let message = "metrics of --watch go to a file: --output FILE";
        return Err(definition().error(ErrorKind::MissingRequiredArgument, message));
    }
    Ok(Request { host, task, format, destination, color, watch })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// clap's own check of the definition.
    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn the_amount_that_the_help_names_is_the_default() {
        let words = ["bitcoin-support", "check"].map(OsString::from);
        let Task::Check { memlock, .. } = parse(words).unwrap().task else { unreachable!() };
        assert_eq!(memlock, Some(WANTED_MEMLOCK));
    }

    #[test]
    fn seconds() {
        for (word, expected) in [("2", 2000), ("0.1", 100), ("1.5", 1500), ("86400", 86_400_000)] {
            assert_eq!(parse_seconds(word), Ok(Duration::from_millis(expected)), "{word}");
        }
        for word in ["", "0", "0.09", "-1", "86401", "1s", "inf", "NaN", "1e99"] {
            assert!(parse_seconds(word).is_err(), "{word}");
        }
    }

    #[test]
    fn processes_by_number_and_by_name() {
        for (word, expected) in [
            ("7", Wanted::Pid(7)),
            ("007", Wanted::Pid(7)),
            ("7a", Wanted::Named("7a".into())),
            ("\u{664}", Wanted::Named("\u{664}".into())),
        ] {
            assert_eq!(parse_process(word), Ok(expected), "{word}");
        }
        for word in ["", "0", "4294967296"] {
            assert!(parse_process(word).is_err(), "{word}");
        }
    }
}
