//! The man pages in `command/man` and the completions for shells in `command/completions` are what
//! the definition of the command line says. `UPDATE_PAGES=1 cargo test -p bitcoin-support-command
//! --test pages` makes them anew. Packagers take the files as they are.

use bitcoin_support_command::command_line::{EXAMPLES, EXIT_STATUS, definition};
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use roff::{Roff, bold, roman};
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

/// All files by their places below `command`.
fn files() -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut whole = definition();
    whole.build();
    let pages: Vec<_> = whole.get_subcommands().cloned().chain([whole.clone()]).collect();
    let names: Vec<_> = pages.iter().map(name).collect();
    for command in pages {
        let name = name(&command);
        let others: Vec<_> = names.iter().filter(|&other| *other != name).cloned().collect();
        files.insert(format!("man/{name}.1").into(), man_page(command, &others));
    }
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut definition(), "bitcoin-support", &mut text);
        if shell == Shell::Bash {
            // clap_complete 4.6.11 has two names for the state behind a subcommand if the name of
            // the program has a hyphen (clap's issue 6421), and then offers nothing there.
            let one_name = String::from_utf8(text).unwrap();
            text = one_name.replace("bitcoin__subcmd__support", "bitcoin__support").into_bytes();
        }
        // Each shell looks for a file of this name.
        let name = match shell {
            Shell::Zsh => "_bitcoin-support",
            Shell::Fish => "bitcoin-support.fish",
            _ => "bitcoin-support",
        };
        files.insert(format!("completions/{shell}/{name}").into(), text);
    }
    files
}

/// The name of a page: `bitcoin-support-check`.
fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or(command.get_name()).to_owned()
}

fn man_page(command: Command, others: &[String]) -> Vec<u8> {
    let has_subcommands = command.has_subcommands();
    // It is the same for all: no date, so that the same source gives the same file.
    let page = Man::new(command)
        .date("")
        .source(concat!("bitcoin-support ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut text = Vec::new();
    page.render_title(&mut text).unwrap();
    // clap_mangen writes an empty date without quotes, and what follows would count as the date.
    text = String::from_utf8(text).unwrap().replacen(" 1  \"", " 1 \"\" \"", 1).into_bytes();
    page.render_name_section(&mut text).unwrap();
    page.render_synopsis_section(&mut text).unwrap();
    page.render_description_section(&mut text).unwrap();
    page.render_options_section(&mut text).unwrap();
    if has_subcommands {
        page.render_subcommands_section(&mut text).unwrap();
    }
    let mut rest = Roff::new();
    rest.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_STATUS {
        rest.control("TP", []).text([bold(code)]).text([roman(meaning)]);
    }
    rest.control("SH", ["EXAMPLES"]);
    for (example, meaning) in EXAMPLES {
        rest.control("TP", []).text([bold(example)]).text([roman(meaning)]);
    }
    rest.control("SH", ["SEE ALSO"]);
    let names = others.iter().map(|name| format!("{name}(1)"));
    let names: Vec<_> = names
        .chain(["proc(5)", "core(5)", "mlock(2)", "systemd.exec(5)"].map(String::from))
        .collect();
    rest.text([roman(names.join(", "))]);
    // The first lines are a macro for quotes, which the page has already.
    let rest = rest.to_roff();
    text.extend_from_slice(rest.as_bytes());
    text
}

#[test]
fn the_files_are_those_of_the_definition() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (place, text) in files() {
        let file = root.join(&place);
        if env::var_os("UPDATE_PAGES").is_some() {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &text).unwrap();
        }
        let found = fs::read(&file).unwrap_or_default();
        assert!(
            found == text,
            "{} is not what the definition of the command line says: UPDATE_PAGES=1 cargo test -p \
             bitcoin-support-command --test pages",
            place.display()
        );
    }
}

/// Each option, each exit code and each example is on the page of its command.
#[test]
fn the_man_pages_have_everything() {
    let files = files();
    let mut whole = definition();
    whole.build();
    for command in whole.get_subcommands().chain([&whole]) {
        let page = String::from_utf8(files[Path::new(&format!("man/{}.1", name(command)))].clone());
        // The hyphens of options are escaped, so that they can be searched for.
        let page = page.unwrap().replace("\\-", "-");
        for section in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "\"EXIT STATUS\"",
            "EXAMPLES",
            "\"SEE ALSO\"",
        ] {
            assert!(page.contains(&format!(".SH {section}\n")), "{section}: {page}");
        }
        for option in command.get_arguments().filter_map(|option| option.get_long()) {
            assert!(page.contains(&format!("--{option}")), "{option}: {page}");
        }
        for text in EXIT_STATUS.iter().chain(&EXAMPLES).flat_map(|(left, right)| [left, right]) {
            assert!(page.contains(text), "{text}: {page}");
        }
        let title = format!(
            ".TH {} 1 \"\" \"bitcoin-support {}\" \"User Commands\"\n",
            name(command),
            env!("CARGO_PKG_VERSION")
        );
        assert!(page.contains(&title), "{page}");
    }
}

/// What bash offers for a line that ends in the word that is being typed.
fn offered(words: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("completions");
    fs::write(&file, &files()[Path::new("completions/bash/bitcoin-support")]).unwrap();
    let script = r#"
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        function=$(complete -p bitcoin-support | sed 's/.*-F \([^ ]*\).*/\1/')
        "$function" bitcoin-support "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = process::Command::new("bash");
    bash.args(["--norc", "-c", script, "bash"]).arg(&file).args(words);
    let output = bash.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes() {
    assert_eq!(offered(&["bitcoin-support", "in"]), ["inspect"]);
    assert_eq!(offered(&["bitcoin-support", "check", "--mem"]), ["--memlock"]);
    assert_eq!(offered(&["bitcoin-support", "inspect", "--all-r"]), ["--all-regions"]);
    // The control: what is no option.
    assert_eq!(offered(&["bitcoin-support", "inspect", "--mem"]), [""]);
}
