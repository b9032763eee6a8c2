//! Starts this test program again.

use std::process::Command;

/// A command that starts this test program again: by the emulator that runs it, if the variable
/// `TEST_RUNNER` names one with its arguments. Without arguments the command runs all tests of the
/// program.
pub(crate) fn this_program() -> Command {
    let program = std::env::current_exe().expect("a path");
    let runner = std::env::var("TEST_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    match words.next() {
        None => Command::new(program),
        Some(emulator) => {
            let mut command = Command::new(emulator);
            command.args(words).arg(program);
            command
        }
    }
}
