//! What the documents say of the code is so: the README's examples are the programs in `examples/`, which
//! the tests build and run, and every test that docs/contents.md names is there.

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
fn the_tests_that_are_named_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rows: Vec<_> = include_str!("../docs/contents.md")
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| system "))
        .collect();
    assert!(rows.len() > 20);
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert!(cells.len() == 5 && cells.iter().all(|cell| !cell.is_empty()), "{row}");
        let mut quoted = cells[4].split('`').skip(1).step_by(2);
        let (file, test) = (quoted.next().unwrap(), quoted.next().unwrap());
        // What is not part of the published crate cannot be looked at in it.
        let Ok(text) = fs::read_to_string(root.join(file)) else {
            assert!(!root.join(".git").exists(), "{file} is not there");
            continue;
        };
        let there = text.contains(&format!("fn {test}("))
            || text.contains(&format!("BOOST_AUTO_TEST_CASE({test}"));
        assert!(there, "{file} has no test {test}");
    }
}
