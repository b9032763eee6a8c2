//! The command `bitcoin-support`: arguments in, a report and an exit code out.

#![forbid(unsafe_code)]

use bitcoin_support_command::command_line::{self, Format, Print, Request, Task};
use bitcoin_support_command::output::{Destination, knows_escapes};
use bitcoin_support_command::survey::{Selection, Survey, Wanted};
use bitcoin_support_command::{EXIT_UNKNOWN, Layout, Report, check, complaint, settings, survey};
use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    ExitCode::from(match command_line::parse(env::args_os()) {
        Ok(request) => run(&request).unwrap_or_else(|error| {
            complain(&error.to_string());
            EXIT_UNKNOWN
        }),
        Err(error) if error.use_stderr() => {
            let text = error.render().to_string();
            complain(text.strip_prefix("error: ").unwrap_or(&text).trim_end());
            EXIT_UNKNOWN
        }
        // The help, or the version.
        Err(text) => match write(&Destination::Stdout, &text.render().to_string()) {
            Ok(()) => 0,
            Err(error) => {
                complain(&error.to_string());
                EXIT_UNKNOWN
            }
        },
    })
}

/// Does what is asked for, and returns the exit code.
fn run(request: &Request) -> Result<u8, Box<dyn Error>> {
    if let Task::Check { memlock, print: print @ (Print::Unit | Print::Container) } = request.task {
        let report = check(&request.host, memlock)?;
        let text = match print {
            Print::Unit => settings::drop_in(&report),
            _ => settings::container_options(&report),
        };
        write(&request.destination, &text)?;
        return Ok(0);
    }
    if let Some(interval) = request.watch {
        return watch(request, interval);
    }
    let found = look(request)?;
    found.report().messages().iter().for_each(|message| complain(message));
    write(&request.destination, &text(request, found.report())?)?;
    Ok(found.report().exit_code())
}

/// What was found out.
enum Found {
    Check(check::Report),
    Inspect(Survey),
}

impl Found {
    fn report(&self) -> &dyn Report {
        match self {
            Self::Check(report) => report,
            Self::Inspect(survey) => survey,
        }
    }
}

/// Finds out what is asked for.
fn look(request: &Request) -> Result<Found, Box<dyn Error>> {
    Ok(match &request.task {
        Task::Check { memlock, .. } => Found::Check(check(&request.host, *memlock)?),
        Task::Inspect { selection, .. } => Found::Inspect(survey(&request.host, selection)?),
    })
}

/// The report in the form that is asked for.
fn text(request: &Request, report: &dyn Report) -> Result<String, Box<dyn Error>> {
    Ok(match request.format {
        Format::Text => report.text(layout(request)),
        Format::Json => report.json(request.watch.is_some())?,
        Format::Prometheus => report.prometheus(),
    })
}

/// Moves to the upper left corner of a terminal, and clears it.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// The exit codes from best to worst.
const BY_SEVERITY: [u8; 4] = [0, EXIT_UNKNOWN, 1, 2];

/// Reports again and again, and returns the worst of the exit codes. It ends when no process that
/// was asked for by number can be inspected any more, or when the output has no reader any more.
fn watch(request: &Request, interval: Duration) -> Result<u8, Box<dyn Error>> {
    let numbers_alone = match &request.task {
        Task::Inspect { selection: Selection::These(processes), .. } => {
            processes.iter().all(|process| matches!(process, Wanted::Pid(_)))
        }
        _ => false,
    };
    let is_redrawn = request.format == Format::Text
        && request.destination.is_terminal()
        && knows_escapes(env::var_os);
    let mut first = None;
    let (mut last_text, mut last_messages) = (String::new(), Vec::new());
    let mut worst = 0;
    loop {
        let mut found = look(request)?;
        if let Found::Inspect(survey) = &mut found {
            if numbers_alone {
                let earlier = first.get_or_insert_with(|| survey.clone());
                survey.remove_successors(earlier);
            }
        }
        let report = found.report();
        let code = report.exit_code();
        worst =
            BY_SEVERITY.into_iter().rfind(|other| [code, worst].contains(other)).unwrap_or(code);
        let (text, messages) = (text(request, report)?, report.messages());
        let is_news = text != last_text;
        let result = match &request.destination {
            Destination::Stdout if is_redrawn => {
                let text = format!("{CLEAR}{text}\nEvery {interval:?}. Ctrl-C ends it.\n");
                request.destination.write(&text)
            }
            Destination::Stdout if !is_news => Ok(()),
            // A blank line parts two reports for people.
            Destination::Stdout if request.format == Format::Text && !last_text.is_empty() => {
                request.destination.write(&format!("\n{text}"))
            }
            destination => destination.write(&text),
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(worst),
            Err(error) => return Err(format!("cannot write: {error}").into()),
            Ok(()) => {}
        }
        if is_redrawn || messages != last_messages {
            messages.iter().for_each(|message| complain(message));
        }
        let is_over = matches!(&found, Found::Inspect(survey) if survey.processes.is_empty());
        if numbers_alone && is_over {
            return Ok(worst);
        }
        (last_text, last_messages) = (text, messages);
        if request.destination.waits(interval) {
            return Ok(worst);
        }
    }
}

/// The layout of the text: as wide as the terminal, if it goes to one.
fn layout(request: &Request) -> Layout {
    let is_terminal = request.destination.is_terminal();
    let layout = Layout {
        all_rows: matches!(request.task, Task::Inspect { all_regions: true, .. }),
        color: request.color.is_wanted(is_terminal, env::var_os),
        ..Layout::default()
    };
    match rustix::termios::tcgetwinsize(io::stdout()) {
        // Terminals that do not know their size say 0.
        Ok(size) if is_terminal && size.ws_col > 0 => {
            Layout { width: size.ws_col.into(), wrap_rows: true, ..layout }
        }
        _ => layout,
    }
}

/// Writes a text. It is no error if the reader has closed the pipe.
fn write(destination: &Destination, text: &str) -> Result<(), String> {
    match destination.write(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write: {error}"))
        }
        _ => Ok(()),
    }
}

fn complain(text: &str) {
    // If this fails, there is no other place to report it.
    let _ = io::stderr().write_all(complaint(text).as_bytes());
}
