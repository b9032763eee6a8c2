//! Runs a test in a separate process.

use super::this_program::this_program;

/// Runs a test alone in a separate process, and returns what it printed there. Returns `None` in
/// that process, where the test must do its work. Panics if the test fails there.
pub(crate) fn printed_alone(test: &str, variables: &[(&str, &str)]) -> Option<String> {
    if std::env::var_os("ALONE").is_some() {
        return None;
    }
    let output = this_program()
        .args([test, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
        .env("ALONE", "1")
        .envs(variables.iter().copied())
        .output()
        .expect("this program can be run");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let passed = output.status.success() && text.contains("1 passed");
    assert!(passed, "{}:\n{text}", output.status);
    Some(text.into_owned())
}
