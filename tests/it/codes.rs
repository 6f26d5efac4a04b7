//! The codes in comments, documents and test names are defined in `docs/`: T (decisions about the
//! metadata) in `decisions.md`, D and S (defects of the official tool and its script) in
//! `safety.md`, W (weaknesses of that script) in `official-tool.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::safety_page::tests;

const PAGES: [(char, &str); 4] = [
    ('T', "decisions.md"),
    ('D', "safety.md"),
    ('S', "safety.md"),
    ('W', "official-tool.md"),
];

fn page(name: &str) -> String {
    fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("docs")
            .join(name),
    )
    .unwrap()
}

/// The codes defined in a table of their page, with the row.
fn defined() -> BTreeMap<String, String> {
    let mut defined = BTreeMap::new();
    for (letter, name) in PAGES {
        for line in page(name).lines() {
            let first = line
                .strip_prefix("| ")
                .and_then(|rest| rest.split(' ').next());
            if let Some(code) = first.filter(|word| word.starts_with(letter) && is_code(word)) {
                let earlier = defined.insert(code.to_owned(), line.to_owned());
                assert!(earlier.is_none(), "{code} is defined twice in {name}");
            }
        }
    }
    defined
}

/// `T2b`, `W19`: a letter, a number without leading zero, and at most one more letter.
fn is_code(word: &str) -> bool {
    let Some(rest) = word.strip_prefix(|c| PAGES.iter().any(|(letter, _)| *letter == c)) else {
        return false;
    };
    let digits = rest.trim_end_matches('b');
    (1..=2).contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The codes in a text. S is excluded: S3 is also a storage service.
fn codes(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let codes = words.filter(|word| is_code(word) && !word.starts_with('S'));
    codes.map(str::to_owned).collect()
}

/// The codes in the name of a test: `w07_w08_…` covers W7 and W8.
fn codes_of_name(test: &str) -> BTreeSet<String> {
    let codes = test.split('_').filter_map(|part| {
        let letter = part.chars().next()?.to_ascii_uppercase();
        let digits = part.get(1..)?.trim_start_matches('0');
        Some(format!("{letter}{digits}")).filter(|code| is_code(code))
    });
    codes.collect()
}

/// Sources and documents.
fn texts() -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for name in [
        "src",
        "crates",
        "tests",
        "benches",
        "docs",
        "deploy",
        "scripts",
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ] {
        collect(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(name),
            &mut paths,
        );
    }
    paths
}

fn collect(path: &Path, paths: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), paths);
        }
    } else if path.extension().is_some_and(|extension| {
        ["rs", "md", "yaml", "toml", "sh", "proto"]
            .iter()
            .any(|one| extension == *one)
    }) {
        paths.push(path.to_owned());
    }
}

#[test]
fn every_code_in_the_tree_is_defined() {
    let defined = defined();
    let mut unknown = Vec::new();
    for path in texts() {
        // These files have examples, and the numbers that are not used.
        if path.ends_with("codes.rs") || path.ends_with("safety_page.rs") {
            continue;
        }
        for code in codes(&fs::read_to_string(&path).unwrap()) {
            if !defined.contains_key(&code) {
                unknown.push(format!("{}: {code}", path.display()));
            }
        }
    }
    for test in tests() {
        let codes = codes_of_name(&test);
        let missing = codes.iter().filter(|code| !defined.contains_key(*code));
        unknown.extend(missing.map(|code| format!("{test}: {code}")));
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

#[test]
fn every_script_weakness_has_a_test_or_a_reason() {
    let tested: BTreeSet<String> = tests()
        .iter()
        .flat_map(|test| codes_of_name(test))
        .collect();
    let defined = defined();
    for number in 1..=24 {
        let code = format!("W{number}");
        let row = &defined[&code];
        assert!(
            tested.contains(&code) || row.contains("cannot occur"),
            "{code} has neither a test nor a reason"
        );
    }
}

#[test]
fn codes_are_recognised() {
    let found = codes("see T2b (D41), W19.x; not T, T100, AT1, T1x, W01 or D54_x");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["D41", "T2b", "W19"]);
    let found = codes_of_name("taken_over_and_w05_w19_counts_d41x_v2");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["W19", "W5"]);
}
