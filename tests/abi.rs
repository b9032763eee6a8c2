//! The C ABI keeps its promise: what programs that are linked already rely on is as `docs/abi.txt`
//! records it, or the ABI number is higher than the recorded one. That file is the ABI of the last
//! release. It may be extended at any time: new functions, statuses, constants and types, and new
//! members at the end of the structures whose size is passed along.
//!
//! `UPDATE_ABI=1 cargo test --test abi` records the present ABI. It refuses to record a break under
//! a number that has been released; 0 promises nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::{env, fs};

/// Structures of which callers pass the size, so that more members may follow the last one.
const EXTENSIBLE: [&str; 5] = [
    "bitcoin_support_locked_pool_options",
    "bitcoin_support_arena_stats",
    "bitcoin_support_locked_pool_stats",
    "bitcoin_support_memory_stats",
    "bitcoin_support_address_report",
];

const HEADER: &str = include_str!("../include/bitcoin_support.h");

/// What a header declares: from the kind and the name of a thing to its declaration.
type Abi = BTreeMap<String, String>;

/// A header without comments.
fn without_comments(header: &str) -> String {
    let mut code = String::new();
    let mut rest = header;
    while let Some(start) = rest.find("/*") {
        code += &rest[..start];
        let end = rest[start..].find("*/").expect("the end of a comment");
        rest = &rest[start + end + 2..];
    }
    code += rest;
    code.lines().map(|line| line.split("//").next().unwrap_or("").to_owned() + "\n").collect()
}

/// One space between words, and none beside punctuation.
fn tidy(code: &str) -> String {
    let mut text = code.split_whitespace().collect::<Vec<_>>().join(" ");
    for mark in ["*", "(", ")", ",", ";", "[", "]", "{", "}", "="] {
        for spaced in [format!(" {mark}"), format!("{mark} ")] {
            text = text.replace(&spaced, mark);
        }
    }
    text
}

/// A declaration without the attributes, which are macros such as `BITCOIN_SUPPORT_ALLOC_SIZE(1)`.
fn without_attributes(declaration: &str) -> String {
    let mut kept = String::new();
    let mut rest = declaration;
    while let Some(at) = rest.find("BITCOIN_SUPPORT_") {
        kept += &rest[..at];
        rest = rest[at..].trim_start_matches(|c: char| c.is_ascii_uppercase() || c == '_');
        if rest.starts_with('(') {
            rest = rest.split_once(')').expect("the end of an attribute").1;
        }
    }
    kept + rest
}

fn abi_of(header: &str) -> Abi {
    let mut abi = Abi::new();
    let mut add = |kind: &str, name: &str, what: &str| {
        let before = abi.insert(format!("{kind} {name}"), what.to_owned());
        assert!(before.is_none(), "{kind} {name} is declared twice");
    };
    let code = without_comments(header);
    let mut declarations = String::new();
    let mut attributes = false;
    for line in code.lines() {
        // The definitions of attributes stand between #if and #endif.
        if line.starts_with("#if ") {
            attributes = true;
        } else if line.starts_with("#endif") {
            attributes = false;
        } else if let Some(constant) = line.strip_prefix("#define ") {
            let (name, value) = constant.split_once(' ').unwrap_or((constant, ""));
            let of_this_version = name == "BITCOIN_SUPPORT_ABI"
                || name == "BITCOIN_SUPPORT_C_API_H"
                || name.starts_with("BITCOIN_SUPPORT_VERSION_");
            if !attributes && !of_this_version {
                add("constant", name, value.trim());
            }
        } else if !line.starts_with('#')
            && !line.starts_with("extern \"C\"")
            && !line.starts_with("}  ")
        {
            declarations += line;
            declarations.push('\n');
        }
    }
    // What remains is a sequence of declarations, each of which ends in a semicolon outside of
    // braces.
    let mut depth = 0;
    let mut declaration = String::new();
    for c in declarations.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ';' if depth == 0 => {
                let text = without_attributes_of_functions(&tidy(&declaration));
                declaration.clear();
                add_declaration(&text, &mut add);
                continue;
            }
            _ => {}
        }
        declaration.push(c);
    }
    abi
}

/// Values of an enum have the same prefix as attributes, but stand in braces.
fn without_attributes_of_functions(declaration: &str) -> String {
    if declaration.contains('{') {
        declaration.to_owned()
    } else {
        tidy(&without_attributes(declaration))
    }
}

/// Enters one declaration.
fn add_declaration(text: &str, add: &mut impl FnMut(&str, &str, &str)) {
    if let Some(definition) = text.strip_prefix("typedef enum ") {
        let body = definition.split_once('{').expect("values").1;
        for value in body.split_once('}').expect("an end").0.split(',').filter(|it| !it.is_empty())
        {
            let (name, number) = value.split_once('=').expect("a value with a number");
            add("status", name, number);
        }
    } else if let Some(definition) = text.strip_prefix("typedef struct ") {
        match definition.split_once('{') {
            Some((name, body)) => add("struct", name, body.split_once('}').expect("an end").0),
            None => add("handle", definition.split_once(' ').expect("two names").0, ""),
        }
    } else if let Some(definition) = text.strip_prefix("typedef ") {
        match definition.split_once("(*") {
            Some((result, rest)) => {
                let (name, parameters) = rest.split_once(')').expect("parameters");
                let parameters = without_names(parameters.trim_matches(['(', ')']));
                add("callback", name, &format!("{result}({parameters})"));
            }
            None => {
                let (what, name) = definition.rsplit_once(' ').expect("a name");
                add("type", name, what);
            }
        }
    } else {
        let (start, parameters) = text.split_once('(').expect("a function");
        let name = start.rsplit([' ', '*']).next().expect("a name");
        let result = start.strip_suffix(name).expect("the name at the end").trim();
        let parameters = without_names(parameters.trim_end_matches(')'));
        add("function", name, &format!("{result}({parameters})"));
    }
}

/// The types of parameters: their names may change.
fn without_names(parameters: &str) -> String {
    let types = parameters.split(',').map(|parameter| {
        let name = parameter.rsplit([' ', '*']).next().expect("a last word");
        // `void` alone stands for no parameters.
        let named = name != parameter;
        if named { parameter.strip_suffix(name).unwrap_or(parameter).trim() } else { parameter }
    });
    types.collect::<Vec<_>>().join(",")
}

/// What is in `recorded` and not in `present`, in a way that programs rely on.
fn breaks(recorded: &Abi, present: &Abi) -> Vec<String> {
    let mut found = Vec::new();
    for (name, before) in recorded {
        let extensible = EXTENSIBLE.iter().any(|it| *name == format!("struct {it}"));
        match present.get(name) {
            None => found.push(format!("{name} is gone")),
            Some(now) if now == before || extensible && now.starts_with(before.as_str()) => {}
            Some(now) => found.push(format!("{name} was `{before}` and is `{now}`")),
        }
    }
    found
}

/// The number and the ABI of a record.
fn parse(record: &str) -> (u32, Abi) {
    let mut lines = record.lines().filter(|line| !line.starts_with('#'));
    let number = lines.next().and_then(|line| line.strip_prefix("abi ")).expect("a number");
    let abi = lines.map(|line| {
        let (name, what) = line.split_once(": ").expect("a name and a declaration");
        (name.to_owned(), what.to_owned())
    });
    (number.parse().expect("a number"), abi.collect())
}

/// The number in the header.
fn present_number() -> u32 {
    let line = HEADER.lines().find_map(|line| line.strip_prefix("#define BITCOIN_SUPPORT_ABI "));
    line.expect("the header has the number").trim().parse().expect("a number")
}

#[test]
fn no_break_under_the_same_number() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/abi.txt");
    let present = abi_of(HEADER);
    assert!(present.len() > 90, "{present:#?}");
    for name in EXTENSIBLE {
        assert!(present.contains_key(&format!("struct {name}")), "there is no {name}");
    }
    let number = present_number();
    if env::var_os("UPDATE_ABI").is_some() {
        if let Ok(record) = fs::read_to_string(&path) {
            let (recorded_number, recorded) = parse(&record);
            let found = breaks(&recorded, &present);
            assert!(
                found.is_empty() || number > recorded_number,
                "raise `abi` in Cargo.toml and BITCOIN_SUPPORT_ABI first:\n{}",
                found.join("\n")
            );
        }
        let mut text = String::from(
            "# The C ABI of the last release. tests/abi.rs compares the header with it, and writes it.\n",
        );
        text += &format!("abi {number}\n");
        for (name, what) in &present {
            text += &format!("{name}: {what}\n");
        }
        fs::write(&path, text).expect("docs/abi.txt can be written");
    }
    let (recorded_number, recorded) = parse(&fs::read_to_string(&path).expect("docs/abi.txt"));
    assert!(recorded.len() > 90);
    assert!(number >= recorded_number, "the ABI number goes up only");
    let found = breaks(&recorded, &present);
    assert!(
        found.is_empty() || number > recorded_number,
        "this breaks programs that are linked with ABI {recorded_number}. Undo it, or raise `abi` in Cargo.toml and \
         BITCOIN_SUPPORT_ABI in src/ffi/version.rs:\n{}",
        found.join("\n")
    );
}

/// Deliberate breaks are found, and extensions are no breaks.
#[test]
fn control_breaks_are_found() {
    let before = abi_of(HEADER);
    let after = |from: &str, to: &str| {
        assert!(HEADER.contains(from), "{from} is not in the header");
        breaks(&before, &abi_of(&HEADER.replacen(from, to, 1)))
    };
    for (from, to) in [
        ("    size_t peak_used;\n", ""),
        ("    size_t peak_used;\n", "    int peak_used;\n"),
        ("    size_t peak_used;\n", "    size_t another;\n    size_t peak_used;\n"),
        ("    void *context;\n", "    size_t size;\n    void *context;\n"),
        ("missing_protections[8];", "missing_protections[9];"),
        ("char text[191];", "char text[128];"),
        ("BITCOIN_SUPPORT_OVERRUN = 13", "BITCOIN_SUPPORT_OVERRUN = 14"),
        ("#define BITCOIN_SUPPORT_FORK_WIPE 1", "#define BITCOIN_SUPPORT_FORK_WIPE 2"),
        (
            "typedef uint32_t bitcoin_support_fork_policy",
            "typedef uint8_t bitcoin_support_fork_policy",
        ),
        ("*bitcoin_support_alloc(size_t size)", "*bitcoin_support_alloc(uint32_t size)"),
        ("*bitcoin_support_alloc(size_t size)", "*bitcoin_support_allocate(size_t size)"),
        ("uint32_t bitcoin_support_abi(void)", "int bitcoin_support_abi(void)"),
        ("(void *context, int error, size_t limit)", "(int error, size_t limit)"),
    ] {
        assert_eq!(after(from, to).len(), 1, "{from} -> {to}");
    }
    for (from, to) in [
        ("    char text[191];\n", "    char text[191];\n    size_t page;\n"),
        (
            "uint32_t bitcoin_support_abi(void)",
            "int bitcoin_support_new(void);\nuint32_t bitcoin_support_abi(void)",
        ),
        (
            "BITCOIN_SUPPORT_OVERRUN = 13,",
            "BITCOIN_SUPPORT_OVERRUN = 13,\n    BITCOIN_SUPPORT_NEW = 99,",
        ),
        (
            "#define BITCOIN_SUPPORT_FORK_WIPE 1",
            "#define BITCOIN_SUPPORT_FORK_WIPE 1\n#define BITCOIN_SUPPORT_NEW 1",
        ),
    ] {
        assert_eq!(after(from, to), [""; 0], "{from} -> {to}");
    }
}
