//! Every console block of the documents is run, by a test or by `.ci/run`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::documents::{Block, Marker, blocks, documents, path};

/// What runs the blocks of the documents.
struct Runners {
    /// The sources of the integration tests.
    tests: Vec<String>,
    /// The lines of `.ci/run`.
    ci: Vec<String>,
}

impl Runners {
    fn read() -> Self {
        let mut tests = Vec::new();
        let mut folders = vec![path("tests/it")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    tests.push(fs::read_to_string(path).unwrap());
                }
            }
        }
        let ci = fs::read_to_string(path(".ci/run")).unwrap();
        let ci = ci.lines().map(str::to_owned).collect();
        Self { tests, ci }
    }

    /// Why nothing ensures that a block is correct.
    fn problem(&self, block: &Block) -> Option<String> {
        match block.marker {
            Marker::Run { .. } => {
                let is_followed = self.tests.iter().any(|source| is_followed(source, block));
                (!is_followed).then(|| format!("no test follows {:?}", block.heading))
            }
            Marker::RunByCi => {
                let mut steps = block.commands(0).into_iter();
                let missing = steps.find(|step| !self.ci.contains(&step.command))?;
                Some(format!(".ci/run does not run {:?}", missing.command))
            }
            Marker::Missing => Some("neither <!-- run --> nor <!-- run by .ci/run -->".to_owned()),
        }
    }
}

/// Whether a source follows the complete document, or names the section.
fn is_followed(source: &str, block: &Block) -> bool {
    let document = format!("\"{}\"", block.document);
    source.contains(&document)
        && (source.contains(&format!("{document}, None"))
            || source.contains(&format!("\"{}\"", block.heading)))
}

#[test]
fn every_console_block_is_run() {
    let runners = Runners::read();
    let blocks: Vec<Block> = documents().iter().flat_map(|name| blocks(name)).collect();
    let problems: Vec<String> = blocks
        .iter()
        .filter_map(|block| Some(format!("{}: {}", block.place(), runners.problem(block)?)))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(blocks.len() > 40, "only {} blocks", blocks.len());
}

/// A fresh machine needs two commands: one that does the main job, and one that runs all tests.
#[test]
fn the_two_commands_of_the_readme_are_run_by_ci() {
    let mut blocks = blocks("README.md");
    blocks.retain(|block| block.marker == Marker::RunByCi);
    let steps = blocks.iter().flat_map(|block| block.commands(0));
    let commands: Vec<String> = steps.map(|step| step.command).collect();
    assert_eq!(commands, ["make demo", "make test"]);
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
