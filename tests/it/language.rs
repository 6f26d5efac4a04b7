//! Rejects outdated phrases in sources and documents. `docs/glossary.md` lists the terms to use.

use std::fs;
use std::path::{Path, PathBuf};

/// Phrases with their replacements. A line with `language: allow` is not checked.
const PHRASES: &[(&str, &str)] = &[
    ("way back", "rollback"),
    ("at hand", "available"),
    ("all the same,", "anyway"),
    ("made anew", "recreated"),
    ("hangs on a lease", "has a lease"),
    ("stands whole", "is intact"),
    ("stands in the way", "blocks"),
    ("leads on", "resumes"),
    ("is told", "is reported"),
    ("are told", "are reported"),
    ("sound backup", "valid backup"),
    ("lies below", "is below"),
    ("put right", "fixed"),
    ("took up again", "resumed"),
    ("not as it should be", "verification failed"),
    ("somebody", "another user"),
    ("someone else", "another user"),
    ("kept out", "rejected"),
    ("goes on", "resumes"),
    ("took away", "deleted"),
    ("takes away", "deletes"),
    ("taken away", "deleted"),
    ("put back", "restored"),
    ("is looked at", "is checked"),
    ("not looked at", "not checked"),
    ("the whole way", "end to end"),
    ("forth and back", "round trip"),
    ("no longer believed", "not trusted"),
    ("beside it", "next to it"),
    ("where it was not", "unless"),
    ("is there already", "exists"),
];

const FOLDERS: &[&str] = &[
    "src", "crates", "tests", "benches", "docs", "deploy", "scripts",
];
const FILES: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Makefile",
    ".ci/run",
];

#[test]
fn no_old_phrases_are_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<PathBuf> = FILES.iter().map(|name| root.join(name)).collect();
    for folder in FOLDERS {
        collect(&root.join(folder), &mut paths);
    }
    let mut found = Vec::new();
    for path in paths {
        // Backups and other binary files are skipped.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            let line = line.to_lowercase();
            for (phrase, better) in PHRASES {
                if mentions(&line, phrase) && !line.contains("language: allow") {
                    let name = path.strip_prefix(root).unwrap_or(&path).display();
                    found.push(format!("{name}:{}: {phrase:?}: {better}", number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Whether the line has the phrase as complete words.
fn mentions(line: &str, phrase: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    line.match_indices(phrase).any(|(start, _)| {
        let (before, after) = (&line[..start], &line[start + phrase.len()..]);
        let ends_a_word = !phrase.ends_with(char::is_alphanumeric);
        !is_word(before.chars().next_back()) && (ends_a_word || !is_word(after.chars().next()))
    })
}

#[test]
fn phrases_are_found_as_complete_words() {
    assert!(mentions("// it is at hand.", "at hand"));
    assert!(mentions("at hand", "at hand"));
    assert!(!mentions("that handles it", "at hand"));
    assert!(!mentions("at handles", "at hand"));
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if !path.ends_with("language.rs") {
            paths.push(path);
        }
    }
}
