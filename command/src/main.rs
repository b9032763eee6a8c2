//! The command `bitcoin-support`: arguments in, a report and an exit code out.

#![forbid(unsafe_code)]

use bitcoin_support_command::check::WANTED_MEMLOCK;
use bitcoin_support_command::{
    EXIT_UNREADABLE, EXIT_USAGE, Host, Layout, Report, check, complaint, inspect, parse_amount,
};
use lexopt::{Arg, Parser, ValueExt};
use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
NAME
    bitcoin-support - what could leak secrets from a program's memory

SYNOPSIS
    bitcoin-support check [--json] [--memlock AMOUNT]
    bitcoin-support inspect PID [--json] [--all]
    bitcoin-support --help | --version

DESCRIPTION
    check    Inspects this host: how much memory may be locked, swap and whether it
             is encrypted, hibernation, core dumps, who may trace whom, secret
             memory, huge pages and page merging. Reports what could leak secrets,
             and what to do about it. Run it as the program's user, with the
             program's limits: those of another login or systemd unit may differ.

    inspect  Inspects the locked memory of any running process: where it is, whether
             it is locked, whether core dumps have it, whether guard pages lie
             around it, whether any of it is on swap. Never reads the contents.
             Needs the permission to trace the process, which root has.

    The command changes nothing.

OPTIONS
    --json             Report as JSON, in the schema of docs/command.md.
    --memlock AMOUNT   How much a program should be able to lock: bytes, 4096K, 4M,
                       4MiB, 1G, unlimited [4M: 16 arenas of 256 KiB].
    --all              A row for each region, however many there are. Without it,
                       regions that are alike share a row where there are many.
    -h, --help         This text.
    -V, --version      The version.

EXIT STATUS
    0    Nothing worse than notes.
    1    Warnings: copies of secrets outside locked memory can leak, or a protection
         is missing.
    2    Danger: secrets in locked memory can be written to a disk in the clear, or
         have been.
    64   The command line is wrong.
    70   The host or the process cannot be read, or the report cannot be written.

EXAMPLES
    systemd-run --pipe -p User=bitcoin -p LimitMEMLOCK=4M bitcoin-support check
    bitcoin-support inspect $(pidof bitcoind)
";

enum Command {
    Help,
    Version,
    Check { json: bool, memlock: Option<u64>, host: Host },
    Inspect { json: bool, pid: u32, all_rows: bool, host: Host },
}

fn main() -> ExitCode {
    let command = match command_line(Parser::from_env()) {
        Ok(command) => command,
        Err(error) => {
            complain(&format!("{error}\nTry `bitcoin-support --help`."));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    ExitCode::from(match command {
        Command::Help => print(HELP, 0),
        Command::Version => print(concat!("bitcoin-support ", env!("CARGO_PKG_VERSION"), "\n"), 0),
        Command::Check { json, memlock, host } => {
            report(json, layout(false), check(&host, memlock))
        }
        Command::Inspect { json, pid, all_rows, host } => {
            report(json, layout(all_rows), inspect(&host, pid))
        }
    })
}

fn command_line(mut arguments: Parser) -> Result<Command, lexopt::Error> {
    let mut name = None;
    let mut pid = None;
    let mut json = false;
    let mut memlock = None;
    let mut all_rows = false;
    let mut host = None;
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Command::Version),
            Arg::Long("json") => json = true,
            Arg::Long("memlock") => {
                let amount = parse_amount(&arguments.value()?.string()?);
                memlock = Some(amount.map_err(|error| format!("--memlock: {error}"))?);
            }
            Arg::Long("all") => all_rows = true,
            // For tests: read a copy of a host's files.
            Arg::Long("root") => {
                host = Some(Host::copy_at(PathBuf::from(arguments.value()?)));
            }
            Arg::Value(value) if name.is_none() => name = Some(value.string()?),
            Arg::Value(value) if name.as_deref() == Some("inspect") && pid.is_none() => {
                pid = Some(value.parse()?);
            }
            other => return Err(other.unexpected()),
        }
    }
    let host = host.unwrap_or_else(Host::this);
    match name.as_deref() {
        Some("check") if all_rows => Err("--all is for `inspect`".into()),
        Some("check") => {
            Ok(Command::Check { json, memlock: memlock.unwrap_or(Some(WANTED_MEMLOCK)), host })
        }
        Some("inspect") if memlock.is_some() => Err("--memlock is for `check`".into()),
        Some("inspect") => match pid {
            Some(pid) => Ok(Command::Inspect { json, pid, all_rows, host }),
            None => Err("which process? `bitcoin-support inspect PID`".into()),
        },
        Some(other) => Err(format!("there is no command {other:?}").into()),
        None => Err("which command? `check` or `inspect`".into()),
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
            return EXIT_UNREADABLE;
        }
    };
    let text = if json { report.json() } else { Ok(report.text(layout)) };
    match text {
        Ok(text) => print(&text, report.severity().exit_code()),
        Err(error) => {
            complain(&error.to_string());
            EXIT_UNREADABLE
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
            EXIT_UNREADABLE
        }
    }
}

fn complain(text: &str) {
    // If this fails, there is no other place to report it.
    let _ = io::stderr().write_all(complaint(text).as_bytes());
}
