//! What the command prints as JSON is what docs/command.schema.json says.
//!
//! The check of a schema here knows the keywords that the schema uses, and refuses others: none is
//! passed over. It is stricter than the schema in one thing: a field that the schema does not name
//! is an error, although later versions may add fields.

use serde_json::{Map, Value, json};
use std::fs;
use std::process::Command;

fn schema() -> Value {
    serde_json::from_str(include_str!("../../docs/command.schema.json")).unwrap()
}

/// Checks a value against a part of the schema.
fn check(whole: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    let no = |why: String| Err(format!("{place}: {why}: {value}"));
    let keywords = schema.as_object().ok_or_else(|| format!("{place}: no schema: {schema}"))?;
    for (keyword, rule) in keywords {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "examples" => {}
            "$ref" => {
                let name = rule.as_str().and_then(|rule| rule.strip_prefix('#')).unwrap();
                let rule = whole.pointer(name).ok_or_else(|| format!("no {name}"))?;
                check(whole, rule, value, place)?;
            }
            "oneOf" | "anyOf" => {
                let rules = rule.as_array().unwrap().iter();
                let errors: Vec<_> = rules
                    .clone()
                    .filter_map(|rule| check(whole, rule, value, place).err())
                    .collect();
                let fits = rules.len() - errors.len();
                if fits == 0 || keyword == "oneOf" && fits != 1 {
                    return no(format!("fits {fits} of the kinds: {errors:?}"));
                }
            }
            "const" if rule != value => return no(format!("is not {rule}")),
            "enum" if !rule.as_array().unwrap().contains(value) => {
                return no(format!("is none of {rule}"));
            }
            "const" | "enum" => {}
            "type" => {
                let types: Vec<_> =
                    rule.as_array().map_or(vec![rule], |types| types.iter().collect());
                if !types.iter().any(|name| is_of_type(value, name.as_str().unwrap())) {
                    return no(format!("is no {rule}"));
                }
            }
            "minimum" if value.as_f64().is_some_and(|number| number < rule.as_f64().unwrap()) => {
                return no(format!("is less than {rule}"));
            }
            "minLength" if value.as_str().is_some_and(str::is_empty) => {
                return no("is empty".into());
            }
            "minimum" | "minLength" => {}
            "pattern" => {
                let matches = |text: &str| match rule.as_str().unwrap() {
                    "^0x[0-9a-f]+$" => {
                        let digits = text.strip_prefix("0x").unwrap_or_default();
                        let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
                        !digits.is_empty() && digits.chars().all(is_digit)
                    }
                    "^[a-z]+(-[a-z]+)*$" => text.split('-').all(|word| {
                        !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase())
                    }),
                    other => panic!("{place}: the pattern {other} is not known here"),
                };
                if value.as_str().is_some_and(|text| !matches(text)) {
                    return no(format!("does not match {rule}"));
                }
            }
            "required" => {
                for name in rule.as_array().unwrap() {
                    let fields = value.as_object();
                    if fields.is_some_and(|fields| !fields.contains_key(name.as_str().unwrap())) {
                        return no(format!("has no {name}"));
                    }
                }
            }
            "properties" => {
                let empty = Map::new();
                for (name, value) in value.as_object().unwrap_or(&empty) {
                    let place = format!("{place}.{name}");
                    match rule.get(name) {
                        Some(rule) => check(whole, rule, value, &place)?,
                        // A condition names some of the fields.
                        None if !keywords.contains_key("required") => {}
                        None => return Err(format!("{place}: the schema does not have it")),
                    }
                }
            }
            "items" => {
                for (index, value) in value.as_array().unwrap_or(&Vec::new()).iter().enumerate() {
                    check(whole, rule, value, &format!("{place}[{index}]"))?;
                }
            }
            other => panic!("{place}: the keyword {other} is not known here"),
        }
    }
    Ok(())
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        other => panic!("the type {other} is not known here"),
    }
}

/// Whether a report fits the schema, or why not.
fn fits(report: &Value) -> Result<(), String> {
    let schema = schema();
    check(&schema, &schema, report, "report")
}

fn json_of(arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitcoin-support"));
    let output = command.args(arguments).arg("--json").output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// The files of a process that has a region of each kind, with everything that a process can have.
fn made_up_host() -> tempfile::TempDir {
    let host = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = host.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (path, text) in [
        ("proc/7/status", "Name:\tnode\nUid:\t1 1 1 1\nTracerPid:\t9\nVmLck:\t4 kB\n"),
        ("proc/7/limits", "Max locked memory 8 8 bytes\nMax core file size 0 0 bytes\n"),
        (
            "proc/7/smaps",
            "1000-2000 ---p 0 0:0 0\nVmFlags: mr\n\
             2000-3000 rw-p 0 0:0 0\nLocked: 4 kB\nVmFlags: rd wr lo dd\n\
             3000-4000 ---p 0 0:0 0\nVmFlags: mr\n\
             5000-6000 rw-p 0 0:0 0 [heap]\nSwap: 4 kB\nVmFlags: rd wr lo wf\n\
             6000-7000 rw-p 0 0:0 0\nVmFlags: rd wr dd dc\n\
             8000-9000 rw-s 0 0:e 5 /secretmem (deleted)\nVmFlags: rd wr sh lo dd\n",
        ),
        ("proc/9/status", "Name:\tended\nState:\tZ (zombie)\n"),
        ("proc/9/smaps", ""),
        ("proc/sys/kernel/osrelease", "6.12\n"),
        ("proc/self/limits", "Max locked memory 0 0 bytes\n"),
        ("proc/swaps", "Filename Type Size Used Priority\n/dev/sda1 partition 8 0 -2\n"),
        // It cannot be read.
        ("proc/sys/kernel/core_pattern/folder", ""),
    ] {
        write(path, text);
    }
    host
}

#[test]
fn what_is_printed_fits() {
    let own = std::process::id().to_string();
    for arguments in [&["check"][..], &["inspect", &own], &["inspect", "--all"]] {
        assert_eq!(fits(&json_of(arguments)), Ok(()), "{arguments:?}");
    }
    let host = made_up_host();
    let root = host.path().to_str().unwrap();
    let made_up = json_of(&["inspect", "7", "8", "9", "nobody", "--root", root]);
    assert_eq!(fits(&made_up), Ok(()));
    let kinds: Vec<_> = made_up["processes"][0]["regions"].as_array().unwrap().iter().collect();
    let kinds: Vec<_> = kinds.iter().map(|region| region["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["arena", "locked", "unlocked", "secret_memory"]);
    assert_eq!(made_up["not_inspected"].as_array().unwrap().len(), 3);
    assert_eq!(fits(&json_of(&["check", "--root", root])), Ok(()));
}

/// The control: a report that is wrong in one place does not fit.
#[test]
fn what_is_wrong_does_not_fit() {
    let host = made_up_host();
    let root = host.path().to_str().unwrap();
    let inspect = json_of(&["inspect", "7", "8", "--root", root]);
    let checked = json_of(&["check", "--root", root]);
    let mut danger = checked["findings"].as_array().unwrap().iter();
    let danger = danger.position(|finding| finding["severity"] == "danger").unwrap();
    for (report, place, wrong) in [
        (&inspect, "/format", json!("bitcoin-support-check")),
        (&inspect, "/version", json!(2)),
        (&inspect, "/severity", json!("bad")),
        (&inspect, "/processes", json!({})),
        (&inspect, "/processes/0/process/pid", json!("7")),
        (&inspect, "/processes/0/process/pid", json!(0)),
        (&inspect, "/processes/0/process/locked", json!(-1)),
        (&inspect, "/processes/0/process/locked", json!(1.5)),
        (&inspect, "/processes/0/process/locked", json!(null)),
        (&inspect, "/processes/0/process/dumpable", json!("no")),
        (&inspect, "/processes/0/regions/0/start", json!(4096)),
        (&inspect, "/processes/0/regions/0/start", json!("0x12G")),
        (&inspect, "/processes/0/regions/0/fork", json!("gone")),
        (&inspect, "/processes/0/findings/0/id", json!("Locked regions")),
        (&inspect, "/processes/0/findings/0/seen", json!("")),
        (&inspect, "/not_inspected/0/reason", json!("unknown")),
        (&checked, &format!("/findings/{danger}/remedy"), json!(null)),
        (&checked, "/kernel", json!("")),
        (&checked, "/hardening/0/state", json!("taken")),
    ] {
        let mut report = report.clone();
        assert_eq!(fits(&report), Ok(()));
        *report.pointer_mut(place).unwrap() = wrong.clone();
        assert!(fits(&report).is_err(), "{place} with {wrong}");
    }
    // A field too few, and one too many.
    let mut report = checked.clone();
    report.as_object_mut().unwrap().remove("kernel");
    assert!(fits(&report).is_err());
    let mut report = inspect.clone();
    let process = report.pointer_mut("/processes/0/process").unwrap();
    process.as_object_mut().unwrap().insert("shoe_size".into(), json!(44));
    assert!(fits(&report).is_err());
}
