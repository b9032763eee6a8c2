//! The metrics are in the text format of Prometheus. A strict parser reads them, and
//! `promtool check metrics` where it is installed. The values are those of the JSON.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

/// The labels of a sample, and its value.
type Samples = BTreeMap<BTreeMap<String, String>, f64>;

/// Reads metrics, each with its samples.
fn parse(text: &str) -> Result<BTreeMap<String, Samples>, String> {
    let mut metrics = BTreeMap::<String, Samples>::new();
    let mut current = String::new();
    let mut helped = BTreeSet::new();
    if !text.ends_with('\n') {
        return Err("the last line has no end".into());
    }
    for line in text.lines() {
        let wrong = |why: &str| format!("{why}: {line:?}");
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').ok_or_else(|| wrong("no help"))?;
            if help.is_empty() || !helped.insert(name.to_owned()) {
                return Err(wrong("no help, or a second one"));
            }
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let name = kind.strip_suffix(" gauge").ok_or_else(|| wrong("no gauge"))?;
            if !is_name(name) || !helped.contains(name) {
                return Err(wrong("no name, or one without help"));
            }
            // All samples of a metric are together.
            if metrics.insert(name.to_owned(), Samples::new()).is_some() {
                return Err(wrong("a second time"));
            }
            current = name.to_owned();
        } else {
            let (name, labels, value) = sample(line).ok_or_else(|| wrong("no sample"))?;
            if name != current {
                return Err(wrong("a sample of another metric"));
            }
            let samples = metrics.get_mut(&current).ok_or_else(|| wrong("no type"))?;
            if samples.insert(labels, value).is_some() {
                return Err(wrong("labels that another sample has"));
            }
        }
    }
    match metrics.iter().find(|(_, samples)| samples.is_empty()) {
        Some((name, _)) => Err(format!("{name} has no sample")),
        None => Ok(metrics),
    }
}

fn is_name(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.chars().all(is_inner) && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// `name{label="value",...} 1`
fn sample(line: &str) -> Option<(&str, BTreeMap<String, String>, f64)> {
    let (name, mut rest) = line.split_at(line.find(['{', ' '])?);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"")?;
            let mut value = String::new();
            let mut characters = after.chars();
            loop {
                value.push(match characters.next()? {
                    '"' => break,
                    '\\' => match characters.next()? {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        _ => return None,
                    },
                    c => c,
                });
            }
            if !is_name(label) || labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            rest = characters.as_str();
            match rest.strip_prefix(',') {
                Some(after) => rest = after,
                None => break,
            }
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.strip_prefix(' ')?;
    let number = if value == "+Inf" { f64::INFINITY } else { value.parse::<u64>().ok()? as f64 };
    is_name(name).then_some((name, labels, number))
}

/// The control: the parser refuses what is wrong.
#[test]
fn the_parser_is_strict() {
    let sound = "# HELP x A help.\n# TYPE x gauge\nx{a=\"b\\\\\\\"\\nc\",d=\"\"} 1\nx +Inf\n";
    let metrics = parse(sound).unwrap();
    let labels = BTreeMap::from([("a".into(), "b\\\"\nc".into()), ("d".into(), String::new())]);
    assert_eq!(metrics["x"][&labels], 1.0);
    for (from, to) in [
        ("x +Inf\n", "x +Inf"),
        ("x +Inf", "y 1"),
        ("x +Inf", "x"),
        ("x +Inf", "x -1"),
        ("x +Inf", "x{} 1 1"),
        ("x +Inf", "x{a=\"b\\\\\\\"\\nc\",d=\"\"} 2"),
        ("\\nc", "\\tc"),
        (",d=", ",a="),
        (",d=", ", d="),
        ("\"} 1", "\" 1"),
        ("gauge", "number"),
        ("# HELP x A help.\n", ""),
        ("# HELP x A help.", "# HELP x "),
        ("x{a=\"b\\\\\\\"\\nc\",d=\"\"} 1\nx +Inf\n", ""),
        ("x +Inf", "# TYPE x gauge\nx +Inf"),
    ] {
        assert!(sound.contains(from), "{from}");
        assert!(parse(&sound.replace(from, to)).is_err(), "{from} -> {to}");
    }
}

fn run(arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitcoin-support"));
    let output = command.args(arguments).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

/// Asks Prometheus's own program, which also looks at names and units.
fn ask_promtool(text: &str) {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        println!("skipped: promtool (Debian's prometheus) is not installed");
        return;
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && complaint.is_empty(), "{complaint}: {text}");
}

fn label<'a>(labels: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    labels.get(name).map_or("", String::as_str)
}

const SEVERITIES: [&str; 4] = ["ok", "note", "warning", "danger"];

fn number(severity: &Value) -> f64 {
    SEVERITIES.iter().position(|name| severity == name).unwrap() as f64
}

#[test]
fn metrics_of_this_host_are_those_of_the_json() {
    let (text, code) = run(&["check", "--format", "prometheus"]);
    let (json, code_of_json) = run(&["check", "--json"]);
    assert_eq!(code, code_of_json);
    ask_promtool(&text);
    let metrics = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let json: Value = serde_json::from_str(&json).unwrap();
    let [worst] = metrics["bitcoin_support_check_severity"].values().collect::<Vec<_>>()[..] else {
        panic!("{text}");
    };
    assert_eq!(*worst, number(&json["severity"]));
    // Of findings with the same labels the worst.
    let mut expected = Samples::new();
    for finding in json["findings"].as_array().unwrap() {
        if finding["id"] == "hardening" {
            continue;
        }
        let of = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        let labels = ["id", "subject"].map(|name| (name.to_owned(), of(name)));
        let worst = expected.entry(labels.into()).or_default();
        *worst = worst.max(number(&finding["severity"]));
    }
    assert_eq!(metrics["bitcoin_support_check_finding_severity"], expected);
    let steps = json["hardening"].as_array().unwrap().iter();
    let expected: Samples = steps
        .filter(|step| step["state"] != "not_shown")
        .map(|step| {
            let name = step["step"].as_str().unwrap().to_owned();
            let labels = BTreeMap::from([("step".to_owned(), name)]);
            (labels, if step["state"] == "in_force" { 1.0 } else { 0.0 })
        })
        .collect();
    assert_eq!(metrics["bitcoin_support_check_hardening"], expected);
}

/// A name and an area of swap that would break the format if they were not escaped, a finding
/// twice, no limit, and a process that is not there.
#[test]
fn metrics_of_processes() {
    let host = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = host.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (path, text) in [
        ("proc/7/status", "Name:\tno\"d\\\\e\\n}\nUid:\t1 1 1 1\nVmLck:\t4 kB\n"),
        ("proc/7/limits", "Max locked memory unlimited unlimited bytes\n"),
        ("proc/7/smaps", "2000-4000 rw-p 0 0:0 0\nRss: 8 kB\nSwap: 4 kB\nVmFlags: rd wr lo\n"),
        ("proc/9/status", "Name:\tplain\n"),
        ("proc/9/limits", "Max locked memory 65536 65536 bytes\n"),
        ("proc/9/smaps", "2000-3000 rw-p 0 0:0 0\nVmFlags: rd wr dd\n"),
        ("proc/sys/kernel/osrelease", "6.12\n"),
        ("proc/self/limits", "Max locked memory 0 0 bytes\n"),
        (
            "proc/swaps",
            "Filename Type Size Used Priority\n/a\\040\"b file 8 0 -2\n/a\\040\"b file 8 0 -2\n",
        ),
    ] {
        write(path, text);
    }
    let root = host.path().to_str().unwrap();
    let (text, code) =
        run(&["inspect", "7", "9", "gone", "--format", "prometheus", "--root", root]);
    assert_eq!(code, Some(2), "pages on swap");
    ask_promtool(&text);
    let metrics = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let value = |metric: &str, wanted: &[(&str, &str)]| {
        let samples = metrics.get(&format!("bitcoin_support_{metric}"));
        let samples = samples.unwrap_or_else(|| panic!("no {metric}: {text}"));
        let fits = |labels: &BTreeMap<String, String>| {
            wanted.iter().all(|(name, value)| label(labels, name) == *value)
        };
        let those: Vec<_> = samples.iter().filter(|(labels, _)| fits(labels)).collect();
        assert_eq!(those.len(), 1, "{metric} {wanted:?}: {text}");
        *those[0].1
    };
    // Its line end is told as the report for people tells it.
    let odd = ("name", "no\"d\\e\\n}");
    for (metric, labels, expected) in [
        ("inspect_severity", &[][..], 3.0),
        ("inspect_processes", &[], 2.0),
        ("inspect_refused_processes", &[("process", "gone"), ("reason", "no_process")], 1.0),
        ("process_severity", &[("pid", "7"), odd], 3.0),
        ("process_severity", &[("pid", "9"), ("name", "plain")], 2.0),
        ("process_locked_bytes", &[("pid", "7")], 4096.0),
        ("process_locked_bytes", &[("pid", "9")], 0.0),
        ("process_lock_limit_bytes", &[("pid", "7")], f64::INFINITY),
        ("process_lock_limit_bytes", &[("pid", "9")], 65536.0),
        ("process_regions_locked_bytes", &[("pid", "7")], 8192.0),
        ("process_regions_unlocked_bytes", &[("pid", "9")], 4096.0),
        ("process_regions_resident_bytes", &[("pid", "7")], 8192.0),
        ("process_regions_swap_bytes", &[("pid", "7")], 4096.0),
        ("process_regions", &[("pid", "7"), ("kind", "locked")], 1.0),
        ("process_regions", &[("pid", "9"), ("kind", "unlocked")], 1.0),
        ("process_regions", &[("pid", "9"), ("kind", "secret_memory")], 0.0),
        ("process_finding_severity", &[("pid", "7"), ("id", "swapped-regions")], 3.0),
        ("process_finding_severity", &[("pid", "9"), ("id", "swapped-regions")], 0.0),
        ("process_hardening", &[("pid", "7"), ("step", "sealed-pool")], 0.0),
    ] {
        assert_eq!(value(metric, labels), expected, "{metric} {labels:?}");
    }
    let (text, _) = run(&["check", "--format", "prometheus", "--root", root]);
    ask_promtool(&text);
    let metrics = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let findings = &metrics["bitcoin_support_check_finding_severity"];
    let swap = findings.keys().filter(|labels| label(labels, "id") == "swap");
    let subjects: Vec<_> = swap.map(|labels| label(labels, "subject")).collect();
    assert_eq!(subjects, ["/a \"b"], "two areas of one name are one sample");
    // No process at all is a page as well.
    let (text, code) = run(&["inspect", "gone", "--format", "prometheus", "--root", root]);
    assert_eq!(code, Some(3));
    let metrics = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(!metrics.contains_key("bitcoin_support_process_severity"));
    ask_promtool(&text);
}

/// A file is replaced as a whole, also if nothing could be inspected; all may read it.
#[test]
fn into_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secrets.prom");
    let path = file.to_str().unwrap();
    let (text, _) = run(&["check", "--format", "prometheus", "--output", path]);
    assert_eq!(text, "");
    let checked = fs::read_to_string(&file).unwrap();
    assert!(parse(&checked).unwrap().contains_key("bitcoin_support_check_severity"));
    let none = "4194305";
    let (_, code) = run(&["inspect", none, "--format", "prometheus", "--output", path]);
    assert_eq!(code, Some(3));
    let inspected = parse(&fs::read_to_string(&file).unwrap()).unwrap();
    assert!(inspected.contains_key("bitcoin_support_inspect_refused_processes"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    // What cannot be written is told, and the old file is still there.
    let nowhere = folder.path().join("none/secrets.prom");
    let (_, code) = run(&["check", "--output", nowhere.to_str().unwrap()]);
    assert_eq!(code, Some(3));
    assert!(file.exists());
}
