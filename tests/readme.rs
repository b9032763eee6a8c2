//! The README's examples are the programs in `examples/`, which the tests build and run.

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
