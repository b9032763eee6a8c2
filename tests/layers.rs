//! Compares the floors of the crate, as `src/lib.rs` lists them, with the imports of each file.
//!
//! Every `use` under `src`, and every path that begins with `crate::`, `super::` or `self::`, leads
//! from one file to another. It must lead down: to a floor that the table says its floor knows, or
//! to a file that stands further down in its floor's list. No file imports from its parent. A file
//! that declares modules defines nothing.
//!
//! Tests within a file (`#[cfg(test)]`) may import from any file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Places that do not follow the table yet: the beginning of the files' names, a part of the
/// finding, and the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

// ---- The table ------------------------------------------------------------------

struct Floor {
    name: String,
    knows: Vec<String>,
    /// From the top down.
    files: Vec<String>,
}

/// The names in backquotes of a cell.
fn names(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(String::from).collect()
}

/// The floors from the top down, from the section "Floors" of the crate's documentation.
fn floors(lib: &str) -> Vec<Floor> {
    let section = lib.lines().skip_while(|line| *line != "//! # Floors").skip(1);
    section
        .take_while(|line| !line.starts_with("//! # "))
        .filter(|line| line.starts_with("//! | `"))
        .map(|line| {
            let cells: Vec<_> = line.trim_start_matches("//! |").split('|').collect();
            let name = names(cells[0]).remove(0);
            Floor { name, knows: names(cells[1]), files: names(cells[2]) }
        })
        .collect()
}

// ---- The files ------------------------------------------------------------------

/// A file by its path below `src` without the ending: `pool/private`; `lib` for the root.
type Files = BTreeMap<String, String>;

fn read(folder: &Path, prefix: &str, files: &mut Files) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.is_dir() {
            read(&path, &format!("{prefix}{name}/"), files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.insert(format!("{prefix}{name}"), fs::read_to_string(&path).unwrap());
        }
    }
}

/// The words and signs of a source with their lines, without comments, strings and characters. `::`
/// is one sign.
fn tokens(source: &str) -> Vec<(&str, usize)> {
    let (bytes, mut tokens, mut at, mut line) = (source.as_bytes(), Vec::new(), 0, 1);
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    while at < bytes.len() {
        let (start, rest) = (at, &source[at..]);
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            at += rest.find("*/").unwrap() + 2;
        } else if rest.starts_with("r#\"") {
            at += rest.find("\"#").unwrap() + 2;
        } else if bytes[at] == b'"' {
            at += 1;
            while bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at += 1;
        } else if rest.starts_with("'\\") || bytes[at] == b'\'' && bytes.get(at + 2) == Some(&b'\'')
        {
            let skip = if rest.starts_with("'\\") { 3 } else { 2 };
            at += skip + rest[skip..].find('\'').unwrap() + 1;
        } else if is_word(bytes[at]) {
            while at < bytes.len() && is_word(bytes[at]) {
                at += 1;
            }
            tokens.push((&source[start..at], line));
        } else if rest.starts_with("::") {
            at += 2;
            tokens.push(("::", line));
        } else {
            at += rest.chars().next().unwrap().len_utf8();
            if !source[start..at].trim().is_empty() {
                tokens.push((&source[start..at], line));
            }
        }
        line += source[start..at].matches('\n').count();
    }
    tokens
}

/// The contents of a file.
#[derive(Default)]
struct Contents {
    /// The modules that it declares and that are files.
    declares: Vec<String>,
    /// The first thing that it defines, and its line.
    defines: Option<(String, usize)>,
    /// Paths that it names, each from the root of the crate, and their lines.
    paths: Vec<(Vec<String>, usize)>,
}

/// The index after the bracket that closes the one at `open`.
fn behind(tokens: &[(&str, usize)], open: usize) -> usize {
    let mut depth = 0;
    for (at, (token, _)) in tokens.iter().enumerate().skip(open) {
        match *token {
            "{" | "[" | "(" => depth += 1,
            "}" | "]" | ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// All paths of a tree such as `a::{b, c::d}` that begins at `at`, and the index after the tree.
fn tree(
    tokens: &[(&str, usize)],
    mut at: usize,
    prefix: &[String],
    paths: &mut Vec<Vec<String>>,
) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match tokens.get(at).map(|token| token.0) {
            Some("{") => {
                let end = behind(tokens, at);
                at += 1;
                while at < end - 1 {
                    at = tree(tokens, at, &path, paths);
                    if tokens[at].0 == "," {
                        at += 1;
                    }
                }
                return end;
            }
            Some(word) => path.push(word.to_string()),
            None => break,
        }
        at += 1;
        if tokens.get(at).is_none_or(|token| token.0 != "::") {
            break;
        }
        at += 1;
    }
    paths.push(path);
    if tokens.get(at).is_some_and(|token| token.0 == "as") { at + 2 } else { at }
}

/// A path from the root of the crate, as seen in the file's module `here` with `inline` modules
/// around it; `None` for other crates.
fn absolute(path: &[String], here: &[String], inline: usize) -> Option<Vec<String>> {
    let (mut base, mut rest) = (here.to_vec(), path);
    let mut inline = inline;
    match path[0].as_str() {
        "crate" => (base, rest) = (Vec::new(), &path[1..]),
        "self" if inline == 0 => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|word| word == "super") {
                // Leads out of a module within the file, or out of the file.
                if inline > 0 {
                    inline -= 1;
                } else {
                    base.pop();
                }
                rest = &rest[1..];
            }
            if base == here {
                return None;
            }
        }
        _ => return None,
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

fn contents(source: &str, here: &[String]) -> Contents {
    let tokens = tokens(source);
    let (mut contents, mut at, mut depth) = (Contents::default(), 0, 0);
    // The depths at which modules within the file began.
    let mut inline = Vec::new();
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|token| token.0 == word);
    while at < tokens.len() {
        let (token, line) = tokens[at];
        let after_path = at > 0 && is(at - 1, "::");
        match token {
            "#" => {
                let open = if is(at + 1, "!") { at + 2 } else { at + 1 };
                let end = behind(&tokens, open);
                let words: Vec<_> = tokens[open..end].iter().map(|token| token.0).collect();
                at = end;
                if words == ["[", "cfg", "(", "test", ")", "]"] {
                    // Skips the item that follows, to its end.
                    while !is(at, "{") && !is(at, ";") {
                        at += 1;
                    }
                    at = if is(at, "{") { behind(&tokens, at) } else { at + 1 };
                }
                continue;
            }
            "use" if !after_path => {
                let mut paths = Vec::new();
                at = tree(&tokens, at + 1, &[], &mut paths);
                let own = paths.iter().filter_map(|path| absolute(path, here, inline.len()));
                contents.paths.extend(own.map(|path| (path, line)));
                continue;
            }
            "mod" if is(at + 2, ";") => {
                contents.declares.push(tokens[at + 1].0.to_string());
                at += 3;
                continue;
            }
            "mod" if is(at + 2, "{") => {
                inline.push(depth);
                if depth == 0 {
                    let name = format!("mod {}", tokens[at + 1].0);
                    contents.defines.get_or_insert((name, line));
                }
                at += 2;
                continue;
            }
            // (`pub(in crate::a)` names a module and imports nothing. `$crate::a` is a path of the
            // code that uses the macro.)
            "crate" | "super" | "self"
                if is(at + 1, "::")
                    && !after_path
                    && !(at > 0 && (is(at - 1, "in") || is(at - 1, "$"))) =>
            {
                let mut paths = Vec::new();
                let end = tree(&tokens, at, &[], &mut paths);
                let own = paths.iter().filter_map(|path| absolute(path, here, inline.len()));
                contents.paths.extend(own.map(|path| (path, line)));
                at = end;
                continue;
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inline.last() == Some(&depth) {
                    inline.pop();
                }
            }
            "fn" | "struct" | "enum" | "union" | "trait" | "impl" | "const" | "static" | "type"
            | "macro_rules"
                if depth == 0 =>
            {
                let name = format!("{token} {}", tokens.get(at + 1).map_or("", |next| next.0));
                contents.defines.get_or_insert((name, line));
            }
            _ => {}
        }
        at += 1;
    }
    contents
}

// ---- What is found --------------------------------------------------------------

fn segments(file: &str) -> Vec<String> {
    if file == "lib" { Vec::new() } else { file.split('/').map(String::from).collect() }
}

/// The file that a path leads to: the longest part of the path that names a file.
fn target<'a>(path: &[String], files: &'a Files) -> &'a str {
    let parts = (1..=path.len()).rev().map(|len| path[..len].join("/"));
    let mut found = parts.filter_map(|part| files.get_key_value(&part));
    found.next().map_or("lib", |(file, _)| file)
}

/// The files that each file imports from. A façade's `use` of its own children passes names on, and
/// is no import.
fn imports(files: &Files) -> Vec<(&str, &str, usize)> {
    let mut imports = Vec::new();
    for (file, source) in files {
        let here = segments(file);
        for (path, line) in contents(source, &here).paths {
            let to = target(&path, files);
            if to != file && !to.starts_with(&format!("{file}/")) && (file != "lib") {
                imports.push((file.as_str(), to, line));
            }
        }
    }
    imports
}

/// A chain of files each of which imports from the next, back to the first.
fn circle<'a>(
    file: &'a str,
    edges: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    chain: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<Vec<&'a str>> {
    if let Some(start) = chain.iter().position(|link| *link == file) {
        return Some(chain[start..].to_vec());
    }
    if !done.insert(file) {
        return None;
    }
    chain.push(file);
    let next = edges.get(file).into_iter().flatten();
    let found = next.copied().find_map(|next| circle(next, edges, chain, done));
    chain.pop();
    found
}

/// Everything that does not follow the table: a file, and what is wrong there.
fn findings(floors: &[Floor], files: &Files) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut add = |file: &str, what: String| {
        let finding = (file.to_string(), what);
        if !found.contains(&finding) {
            found.push(finding);
        }
    };
    let place = |file: &str| {
        let floor = file.split('/').next().unwrap();
        let number = floors.iter().position(|known| known.name == floor)?;
        let rest = file.get(floor.len() + 1..);
        let within = rest.map(|rest| floors[number].files.iter().position(|name| name == rest));
        Some((number, within))
    };
    for (file, source) in files {
        if file != "lib" {
            match place(file) {
                None => add(file, "is on no floor of the table".into()),
                Some((_, Some(None))) => add(file, "is not in its floor's list".into()),
                _ => {}
            }
        }
        let contents = contents(source, &segments(file));
        if let (false, Some((what, line))) = (contents.declares.is_empty(), contents.defines) {
            add(file, format!("declares modules and defines `{what}`, line {line}"));
        }
    }
    for floor in floors {
        let listed = floor.files.iter().map(|file| format!("{}/{file}", floor.name));
        for file in listed.chain([floor.name.clone()]).filter(|file| !files.contains_key(file)) {
            add(&file, "is in the table, and there is no such file".into());
        }
    }
    let imports = imports(files);
    for &(from, to, line) in &imports {
        if to == "lib" || from.starts_with(&format!("{to}/")) {
            add(from, format!("imports from its parent {to}, line {line}"));
            continue;
        }
        let (Some((from_floor, from_place)), Some((to_floor, to_place))) = (place(from), place(to))
        else {
            continue;
        };
        if from_floor == to_floor {
            // The façade has no place in the list, and stands above all files in it.
            if from_place >= to_place && from_place.is_some() {
                add(from, format!("imports from {to}, which stands above it, line {line}"));
            }
        } else if !floors[from_floor].knows.contains(&floors[to_floor].name) {
            let floor = &floors[from_floor].name;
            add(from, format!("imports from {to}, which {floor} does not know, line {line}"));
        }
    }
    for (number, floor) in floors.iter().enumerate() {
        for known in &floor.knows {
            if !floors[number + 1..].iter().any(|lower| lower.name == *known) {
                add(&floor.name, format!("knows {known}, which is not below it"));
            }
            let floor_of = |file: &str| file.split('/').next().map(String::from);
            let is_used = |&(from, to, _): &(&str, &str, usize)| {
                floor_of(from).as_ref() == Some(&floor.name) && floor_of(to).as_ref() == Some(known)
            };
            if !imports.iter().any(is_used) {
                add(&floor.name, format!("knows {known}, and imports nothing from it"));
            }
        }
    }
    let mut edges = BTreeMap::<_, BTreeSet<_>>::new();
    for &(from, to, _) in &imports {
        edges.entry(from).or_default().insert(to);
    }
    let mut done = BTreeSet::new();
    for file in files.keys() {
        if let Some(circle) = circle(file, &edges, &mut Vec::new(), &mut done) {
            add(circle[0], format!("is in a circle: {}", circle.join(", ")));
        }
    }
    found
}

fn crate_files() -> Files {
    let mut files = Files::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut files);
    files
}

// ---- Tests ----------------------------------------------------------------------

#[test]
fn every_import_leads_down() {
    let all = crate_files();
    let floors = floors(&all["lib"]);
    assert!(floors.len() >= 10, "the table has not been found");
    let found = findings(&floors, &all);
    let is_excepted = |file: &str, what: &str| {
        EXCEPTIONS.iter().any(|(files, part, _)| file.starts_with(files) && what.contains(part))
    };
    let wrong: Vec<_> = found
        .iter()
        .filter(|(file, what)| !is_excepted(file, what))
        .map(|(file, what)| format!("src/{file}.rs {what}"))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    for (files, part, why) in EXCEPTIONS {
        let is_needed =
            found.iter().any(|(file, what)| file.starts_with(files) && what.contains(part));
        assert!(is_needed, "no longer an exception: {files} {part} ({why})");
    }
}

/// Control: the test finds each kind of bad line.
#[test]
fn bad_lines_are_found() {
    let lib = "//! # Floors\n//! | `top` | `low` | `a` `b` | |\n//! | `low` | | `c` | |\n//! # End\nmod low;\nmod top;";
    let good: Files = [
        ("lib", lib),
        ("top", "mod a;\nmod b;\npub use a::A;"),
        ("top/a", "use super::b::B;\nuse crate::low::C;\npub struct A(B, C);"),
        ("top/b", "pub struct B;\n#[cfg(test)]\nmod tests { use super::super::a::A; }"),
        ("low", "mod c;\npub use c::C;"),
        ("low/c", "pub struct C; // use crate::top::A;\nmod inline { use super::C; }"),
    ]
    .into_iter()
    .map(|(file, source)| (file.to_string(), source.to_string()))
    .collect();
    assert_eq!(findings(&floors(lib), &good), []);
    for (file, line, want) in [
        ("low/c", "use crate::top::A;", "low/c imports from top, which low does not know"),
        ("low/c", "fn f() { crate::top::f() }", "low/c imports from top, which low does not know"),
        ("top/b", "use super::a::A;", "top/b imports from top/a, which stands above it"),
        ("top/b", "use super::{b::B, a::A};", "top/b imports from top/a, which stands above it"),
        // (The test reports it at the first file of the circle.)
        ("top/b", "use super::a::A;", "top/a is in a circle"),
        (
            "top/b",
            "mod inline { use super::super::a::A; }",
            "top/b imports from top/a, which stands above it",
        ),
        ("top/b", "use super::A;", "top/b imports from its parent top"),
        ("low/c", "use crate::low::C;", "low/c imports from its parent low"),
        ("top/a", "use crate::C;", "top/a imports from its parent lib"),
        ("top", "fn f() {}", "top declares modules and defines `fn f`"),
        ("lib", "const X: u8 = 0;", "lib declares modules and defines `const X`"),
    ] {
        let mut bad = good.clone();
        bad.get_mut(file).unwrap().push_str(&format!("\n{line}"));
        let found = findings(&floors(lib), &bad);
        assert!(
            found.iter().any(|(at, what)| format!("{at} {what}").contains(want)),
            "{line} in {file}: {found:?}"
        );
    }
    let unused = lib.replace("`low` | | `c`", "`low` | `deep` | `c`") + "\n";
    let unused = unused.replace("//! # End", "//! | `deep` | | | |\n//! # End");
    let mut with_deep = good.clone();
    with_deep.insert("deep".into(), String::new());
    assert_eq!(findings(&floors(&unused), &with_deep).len(), 1, "a floor that is not used");
    let mut more = good.clone();
    more.insert("low/d".into(), String::new());
    assert_eq!(findings(&floors(lib), &more).len(), 1, "a file that is not in the table");
    let mut less = good;
    less.remove("low/c");
    assert!(!findings(&floors(lib), &less).is_empty(), "a file that is only in the table");
}

/// Control: the test finds a bad line in a file of the crate.
#[test]
fn a_bad_line_in_the_crate_is_found() {
    let good = crate_files();
    let floors = floors(&good["lib"]);
    let before = findings(&floors, &good).len();
    for line in ["use crate::pool::LockedPool;", "use crate::LockedPool;", "use super::Arena;"] {
        let mut bad = good.clone();
        bad.get_mut("arena/error").unwrap().push_str(line);
        assert!(findings(&floors, &bad).len() > before, "{line}");
    }
}
