//! Every console block of the documents is run by a test, or says why it is not.

use std::fs;
use std::path::{Path, PathBuf};

use super::safety_page;
use crate::support::documents::{Block, Marker, blocks, documents, path};

/// The sources of the integration tests.
fn sources() -> Vec<String> {
    let mut sources = Vec::new();
    let mut folders = vec![path("tests/it")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                sources.push(fs::read_to_string(path).unwrap());
            }
        }
    }
    sources
}

/// Whether a source follows the complete document, or names the section.
fn is_followed(source: &str, block: &Block) -> bool {
    let document = format!("\"{}\"", block.document);
    source.contains(&document)
        && (source.contains(&format!("{document}, None"))
            || source.contains(&format!("\"{}\"", block.heading)))
}

/// The first name of a test in a reason that does not exist.
fn unknown_test(reason: &str) -> Option<&str> {
    let tests = safety_page::tests();
    reason
        .split(' ')
        .find(|word| word.matches('_').count() >= 2 && !tests.contains(*word))
}

/// Why nothing ensures that a block is correct.
fn problem(block: &Block, sources: &[String]) -> Option<String> {
    match &block.marker {
        Marker::Run { .. } => {
            let is_followed = sources.iter().any(|source| is_followed(source, block));
            (!is_followed).then(|| format!("no test follows {:?}", block.heading))
        }
        Marker::NotRun { reason } => {
            unknown_test(reason).map(|name| format!("there is no test {name}"))
        }
        Marker::Missing => Some("neither <!-- run --> nor <!-- not run: REASON -->".to_owned()),
    }
}

#[test]
fn every_console_block_is_run_or_says_why_not() {
    let sources = sources();
    let blocks: Vec<Block> = documents().iter().flat_map(|name| blocks(name)).collect();
    let problems: Vec<String> = blocks
        .iter()
        .filter_map(|block| Some(format!("{}: {}", block.place(), problem(block, &sources)?)))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let is_run = |block: &&Block| matches!(block.marker, Marker::Run { .. });
    let run = blocks.iter().filter(is_run).count();
    assert!(
        run > blocks.len() / 2,
        "only {run} of {} are run",
        blocks.len()
    );
}

#[test]
fn links_between_documents_resolve() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
    ];
    let mut pages: Vec<PathBuf> = names.iter().map(|name| root.join(name)).collect();
    pages.extend(
        fs::read_dir(root.join("docs"))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    let mut dead = Vec::new();
    for page in pages
        .iter()
        .filter(|page| page.extension().is_some_and(|one| one == "md"))
    {
        let text = fs::read_to_string(page).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                page.clone()
            } else {
                page.with_file_name("").join(path)
            };
            let is_there = target.exists()
                && (anchor.is_empty() || anchors(&target).contains(&anchor.to_owned()));
            if !link.contains("://") && !is_there {
                dead.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

/// The link anchors of all headings.
fn anchors(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let titles = text.lines().filter_map(|line| {
        line.trim_start_matches('#')
            .strip_prefix(' ')
            .filter(|_| line.starts_with('#'))
    });
    let anchors = titles.map(|title| {
        let kept = title.to_lowercase().replace(' ', "-");
        kept.chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
            .collect()
    });
    anchors.collect()
}
