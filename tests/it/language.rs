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
                if line.contains(phrase) && !line.contains("language: allow") {
                    let name = path.strip_prefix(root).unwrap_or(&path).display();
                    found.push(format!("{name}:{}: {phrase:?}: {better}", number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
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
