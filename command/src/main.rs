//! The command `bitcoin-support`: arguments in, a report and an exit code out.

#![forbid(unsafe_code)]

use bitcoin_support_command::command_line::{self, Request, Task};
use bitcoin_support_command::survey::Survey;
use bitcoin_support_command::{EXIT_UNKNOWN, Layout, Report, check, complaint, survey};
use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(match command_line::parse(env::args_os()) {
        Ok(request) => run(&request),
        Err(error) if error.use_stderr() => {
            let text = error.render().to_string();
            complain(text.strip_prefix("error: ").unwrap_or(&text).trim_end());
            EXIT_UNKNOWN
        }
        // The help, or the version.
        Err(text) => print(&text.render().to_string(), 0),
    })
}

fn run(request: &Request) -> u8 {
    let Request { host, task, json } = request;
    match task {
        Task::Check { memlock } => report(*json, layout(false), check(host, *memlock)),
        Task::Inspect { selection, all_regions } => {
            let survey = survey(host, selection);
            survey.iter().for_each(complain_of_missing);
            report(*json, layout(*all_regions), survey)
        }
    }
}

/// Says on standard error which of the processes that were asked for could not be inspected.
fn complain_of_missing(survey: &Survey) {
    // With `--all` the report says it.
    if !survey.is_of_all {
        survey.not_inspected.iter().for_each(|process| complain(&process.message));
    }
}

/// The layout: as wide as the terminal, if the report goes to one.
fn layout(all_rows: bool) -> Layout {
    let layout = Layout { all_rows, ..Layout::default() };
    match rustix::termios::tcgetwinsize(io::stdout()) {
        // Terminals that do not know their size say 0.
        Ok(size) if size.ws_col > 0 => {
            Layout { width: size.ws_col.into(), wrap_rows: true, ..layout }
        }
        _ => layout,
    }
}

/// Prints a report, and returns the exit code.
fn report<R: Report, E: Display>(json: bool, layout: Layout, report: Result<R, E>) -> u8 {
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            complain(&error.to_string());
            return EXIT_UNKNOWN;
        }
    };
    let text = if json { report.json() } else { Ok(report.text(layout)) };
    match text {
        Ok(text) => print(&text, report.exit_code()),
        Err(error) => {
            complain(&error.to_string());
            EXIT_UNKNOWN
        }
    }
}

/// Prints, and returns `code`, or the code for an error. It is no error if the reader has closed
/// the pipe.
fn print(text: &str, code: u8) -> u8 {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => code,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(error) => {
            complain(&format!("cannot write: {error}"));
            EXIT_UNKNOWN
        }
    }
}

fn complain(text: &str) {
    // If this fails, there is no other place to report it.
    let _ = io::stderr().write_all(complaint(text).as_bytes());
}
