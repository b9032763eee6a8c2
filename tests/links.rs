//! The documents have no dead link: each relative link leads to a file or a folder of the checkout,
//! and the part behind `#` to a heading, as GitHub names headings. (rustdoc checks the links in the
//! crate's documentation.)
//!
//! Only in a checkout: the published crate does not have all files that the documents link to.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The lines of a document outside of its blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !fence && !in_code
    })
}

/// The text without what stands in backquotes.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// The names of the headings.
fn anchors(text: &str) -> HashSet<String> {
    let mut used: HashMap<String, usize> = HashMap::new();
    let mut anchors = HashSet::new();
    for line in prose(text) {
        let level = line.bytes().take_while(|&byte| byte == b'#').count();
        let Some(heading) = line[level..].strip_prefix(' ').filter(|_| level > 0) else { continue };
        // Of a link only the text counts.
        let mut shown = String::new();
        let mut rest = heading;
        while let Some((text, after)) = rest.split_once("](") {
            shown += text;
            rest = after.split_once(')').map_or("", |(_, after)| after);
        }
        shown += rest;
        let name: String = shown
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let count = used.entry(name.clone()).or_default();
        anchors.insert(if *count == 0 { name } else { format!("{name}-{count}") });
        *count += 1;
    }
    anchors
}

/// The targets of the links, without those to other hosts.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    for line in prose(text) {
        let line = without_code(line);
        let mut targets: Vec<_> = line
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
            .collect();
        // A definition: [name]: target
        if let Some((name, target)) = line.split_once("]: ") {
            targets.extend(name.starts_with('[').then_some(target.trim()));
        }
        let relative = |target: &&&str| !target.contains("://") && !target.starts_with("mailto:");
        links.extend(targets.iter().filter(relative).map(|&target| target.to_owned()));
    }
    links
}

/// What is wrong with the links of a document.
fn dead_links(file: &Path, text: &str) -> Vec<String> {
    let folder = file.parent().expect("a folder");
    let dead = |link: &String| {
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = if path.is_empty() { file.to_owned() } else { folder.join(path) };
        if !target.exists() {
            return Some(format!("{}: {link}: there is no such file", file.display()));
        }
        let other = if path.is_empty() {
            text.to_owned()
        } else {
            fs::read_to_string(&target).unwrap_or_default()
        };
        let found = anchor.is_empty() || anchors(&other).contains(anchor);
        (!found).then(|| format!("{}: {link}: there is no such heading", file.display()))
    };
    links(text).iter().filter_map(dead).collect()
}

/// The documents in a folder and below it.
fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("entries") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let built = ["target", "build", ".git"].contains(&name.as_str());
        if path.is_dir() && !path.is_symlink() && !built {
            documents(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

#[test]
fn no_link_is_dead() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !root.join(".git").exists() {
        println!("skipped: this is not a checkout");
        return;
    }
    let mut found = Vec::new();
    documents(root, &mut found);
    let (mut count, mut dead) = (0, Vec::new());
    for file in &found {
        let text = fs::read_to_string(file).expect("UTF-8");
        count += links(&text).len();
        dead.extend(dead_links(file, &text));
    }
    assert!(found.len() > 15 && count > 100, "{count} links in {} documents", found.len());
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

/// The control: dead links are found, and others are not taken for dead.
#[test]
fn dead_links_are_found() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/README.md");
    let text = "# A `b_c`, [d](limits.md)!\n\n## Same\n\n## Same\n\n\
        [1](#a-b_c-d) [2](#same-1) [3](limits.md#sealed-secrets) [4](https://example.org/x) `[5](y)`\n\
        ```\n[6](z)\n```\n";
    assert_eq!(dead_links(&file, text), Vec::<String>::new());
    let text =
        "[1](#same) [2](limits.md#no-such-heading) [3](no-such-file.md)\n[4]: no-such-file\n";
    assert_eq!(dead_links(&file, text).len(), 4);
}
