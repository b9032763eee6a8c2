//! What runs in the guests of `scripts/vm-test`, besides the library's test programs. Each command
//! makes observations, and prints a line for each: `holds: <what>`, `fails: <what>` or
//! `skipped: <why>`.

#![cfg(target_os = "linux")]

mod hibernation;
mod holder;
mod kernel;
mod ksm;
mod marks;
mod memory_limits;
mod numa;
mod protection_keys;
mod refused;
mod swap;

const USAGE: &str = "\
usage: vm-guest hibernation
       vm-guest swap DEVICE
       vm-guest zswap DEVICE
       vm-guest ksm
       vm-guest memory-limits
       vm-guest touch-locked BYTES              a process in a limited group, for the command above
       vm-guest numa
       vm-guest protection-keys
       vm-guest refused CALL... -- COMMAND...   runs a command for which system calls fail
       vm-guest hold KIND...                    a process with marks, for the other commands
       vm-guest count KIND FILE                 how many different marks a file has";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["hibernation"] => hibernation::hibernation(),
        ["swap", device] => swap::swap(device.as_ref()),
        ["zswap", device] => swap::zswap(device.as_ref()),
        ["ksm"] => ksm::ksm(),
        ["memory-limits"] => memory_limits::memory_limits(),
        ["touch-locked", bytes] => memory_limits::touch_locked(bytes.parse().expect("a number")),
        ["numa"] => numa::numa(),
        ["protection-keys"] => protection_keys::protection_keys(),
        ["refused", ref rest @ ..] => refused::refused(rest),
        ["hold", ref kinds @ ..] => holder::hold(kinds),
        ["count", kind, file] => println!("{}", marks::count(file.as_ref(), kind)),
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(2);
        }
    }
}
