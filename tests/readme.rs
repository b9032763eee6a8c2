//! The documents agree with the code. The README's examples are the programs in `examples/`, which
//! the tests build and run. The tests exist that docs/contents.md and docs/threat-model.md name.
//! The picture of the floors in docs/README.md has the modules of the table in `src/lib.rs`.

use std::fs;
use std::path::Path;

#[test]
fn quotes_the_examples() {
    let readme = include_str!("../README.md");
    for (language, program) in [
        ("rust", include_str!("../examples/keep_secret.rs")),
        ("c", include_str!("../examples/c/keep_secret.c")),
        ("cpp", include_str!("../examples/cpp/keep_secret.cpp")),
    ] {
        let block = format!("```{language}\n{program}```");
        assert!(readme.contains(&block), "README.md: the {language} example is not the program");
    }
}

#[test]
fn the_guide_quotes_its_program() {
    let program = include_str!("../examples/wallet/main.rs");
    let block = format!("```rust\n{program}```");
    assert!(include_str!("../docs/wallet.md").contains(&block), "docs/wallet.md: not the program");
}

/// The lines of a text without the blanks at both ends of each.
fn trimmed(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

/// The code for people who come from other libraries is in programs that the tests compile and run.
#[test]
fn the_comparison_quotes_its_programs() {
    let page = include_str!("../docs/coming-from.md");
    let programs = [
        ("c", include_str!("../examples/c/coming_from.c"), 5),
        ("rust", include_str!("coming_from.rs"), 3),
        ("go", include_str!("../examples/go/keep_secret.go"), 1),
    ];
    let mut all = 0;
    for (language, program, count) in programs {
        let blocks: Vec<_> = page.split(&format!("\n```{language}\n")).skip(1).collect();
        assert_eq!(blocks.len(), count, "blocks in {language}");
        for block in blocks {
            let block = block.split("```").next().unwrap();
            assert!(
                trimmed(program).contains(trimmed(block).trim()),
                "not in the program: {block}"
            );
        }
        all += count;
    }
    assert_eq!(page.matches("\n```").count(), 2 * all, "a block in another language");
}

/// The picture has every floor of the table in the order of the table, except the two that stand
/// beside the floors.
#[test]
fn draws_the_floors() {
    let (_, picture) = include_str!("../docs/README.md").split_once("\n## The floors\n").unwrap();
    let (_, table) = include_str!("../src/lib.rs").split_once("//! # Floors\n").unwrap();
    let (table, _) = table.split_once("//! # ").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let modules = rows.map(|row| row.split('`').next().unwrap());
    let modules: Vec<_> =
        modules.filter(|name| !["events", "unique_path"].contains(name)).collect();
    assert!(modules.len() > 10);
    let mut rest = picture.split(|c: char| !c.is_alphanumeric() && c != '_');
    for module in modules {
        assert!(
            rest.any(|word| word == module),
            "docs/README.md: no floor {module}, or out of order"
        );
    }
}

/// The text of a test, up to the next one. Empty if its file is not in the published crate, whose
/// tests cannot read it.
fn text_of(file: &str, test: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Ok(text) = fs::read_to_string(root.join(file)) else {
        assert!(!root.join(".git").exists(), "{file} is not there");
        return String::new();
    };
    let starts = [
        format!("fn {test}("),
        format!("BOOST_AUTO_TEST_CASE({test})"),
        format!("static void {test}(void)"),
        format!("add_test(NAME {test} "),
    ];
    let Some(at) = starts.iter().find_map(|start| text.find(start)) else {
        panic!("{file} has no test {test}");
    };
    let ends = ["\n#[test]", "\nstatic void ", "\nBOOST_AUTO_TEST_CASE", "\nadd_test("];
    let end = ends.iter().filter_map(|end| text[at..].find(end)).min();
    let end = end.map_or(text.len(), |end| at + end);
    // Includes the comment above the test.
    let begin = text[..at].rfind("\n\n").unwrap_or(0);
    text[begin..end].to_owned()
}

/// The tests that a cell names: files, each followed by the names of tests in it.
fn tests_in(cell: &str) -> Vec<(&str, &str)> {
    let mut file = None;
    let mut tests = Vec::new();
    for name in cell.split('`').skip(1).step_by(2) {
        if name.contains('/') {
            file = Some(name);
        } else {
            tests.push((file.expect("a file comes first"), name));
        }
    }
    tests
}

fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn the_tests_that_are_named_exist() {
    let rows: Vec<_> = include_str!("../docs/contents.md")
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| system "))
        .collect();
    assert!(rows.len() > 20);
    for row in rows {
        let cells = cells(row);
        assert!(cells.len() == 5 && cells.iter().all(|cell| !cell.is_empty()), "{row}");
        let tests = tests_in(cells[4]);
        assert!(!tests.is_empty(), "{row}");
        tests.iter().for_each(|(file, test)| drop(text_of(file, test)));
    }
}

/// Every protection in the threat model has a test and a control, and the control's text says that
/// it is one.
#[test]
fn every_protection_has_a_test_and_a_control() {
    let model = include_str!("../docs/threat-model.md");
    let (_, protections) = model.split_once("\n## Protections\n").unwrap();
    let (protections, _) = protections.split_once("\n## ").unwrap();
    let heads = ["| protection |", "|---"];
    let rows: Vec<_> = protections
        .lines()
        .filter(|line| line.starts_with('|') && !heads.iter().any(|head| line.starts_with(head)))
        .collect();
    assert!(rows.len() > 30);
    for row in rows {
        let cells = cells(row);
        assert_eq!(cells.len(), 6, "{row}");
        let (tests, controls) = (tests_in(cells[3]), tests_in(cells[4]));
        assert!(!tests.is_empty(), "no test: {row}");
        tests.iter().for_each(|(file, test)| drop(text_of(file, test)));
        let within: Vec<_> = if cells[4] == "in the test" {
            tests
        } else {
            assert!(!controls.is_empty(), "no control: {row}");
            controls.into_iter().filter(|control| tests.contains(control)).collect()
        };
        for (file, test) in within {
            let text = text_of(file, test);
            assert!(text.is_empty() || text.contains("ontrol"), "{file}: {test} has no control");
        }
    }
}
