//! The console blocks of the documents: commands with their expected output.
//!
//! The line above a block says what runs it:
//!
//! - `<!-- run -->`: a test runs the commands. Each must exit with code 0, or with the code of
//!   `<!-- run: exit 3 -->`, and the lines below it must appear in its output in this order.
//! - `<!-- run by .ci/run -->`: continuous integration runs the commands.
//!
//! In an expected line an ellipsis matches any text, and runs of spaces are equal.

use std::fs;
use std::path::{Path, PathBuf};

/// A console block of a document.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) document: String,
    /// The title of the document or the heading of its section.
    pub(crate) heading: String,
    pub(crate) marker: Marker,
    /// The number of its first line.
    first: usize,
    lines: Vec<String>,
}

/// What the line above a block says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marker {
    Run { code: i32 },
    RunByCi,
    Missing,
}

/// A command with its expected result.
pub(crate) struct Step {
    pub(crate) place: String,
    pub(crate) command: String,
    code: i32,
    expected: Vec<String>,
}

impl Marker {
    fn parse(line: &str) -> Self {
        let comment = line.strip_prefix("<!-- ");
        let text = comment.and_then(|rest| rest.strip_suffix(" -->"));
        match text.map(|text| text.split_once(": ").unwrap_or((text, ""))) {
            Some(("run", "")) => Self::Run { code: 0 },
            Some(("run", exit)) => {
                let code = exit
                    .strip_prefix("exit ")
                    .and_then(|code| code.parse().ok());
                code.map_or(Self::Missing, |code| Self::Run { code })
            }
            Some(("run by .ci/run", "")) => Self::RunByCi,
            _ => Self::Missing,
        }
    }
}

impl Block {
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.document, self.first)
    }

    /// The commands of a block that a test runs.
    pub(crate) fn steps(&self) -> Vec<Step> {
        match self.marker {
            Marker::Run { code } => self.commands(code),
            Marker::RunByCi | Marker::Missing => Vec::new(),
        }
    }

    /// The commands, each with an expected exit code.
    pub(crate) fn commands(&self, code: i32) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for (number, line) in self.lines.iter().enumerate() {
            let place = format!("{}:{}", self.document, self.first + number);
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step {
                    place,
                    command: without_comment(command).to_owned(),
                    code,
                    expected: Vec::new(),
                }),
                (None, Some(step)) if step.command.ends_with('\\') => {
                    step.command.pop();
                    step.command.push_str(line.trim());
                }
                (None, Some(step)) => step.expected.push(line.clone()),
                (None, None) => panic!("{place}: output without a command"),
            }
        }
        steps
    }
}

impl Step {
    /// Changes the expected lines.
    pub(crate) fn map(mut self, change: impl Fn(&str) -> String) -> Self {
        for line in &mut self.expected {
            *line = change(line);
        }
        self
    }

    /// Fails unless the command ended as documented.
    pub(crate) fn expect(&self, code: i32, output: &str) {
        let place = format!("{}: {}", self.place, self.command);
        assert_eq!(code, self.code, "{place}\n{output}");
        if let Some(missing) = missing(&self.expected, output) {
            panic!("{place}\nnot in the output: {missing}\n\n{output}");
        }
    }
}

/// Removes a comment at the end of a command.
fn without_comment(command: &str) -> &str {
    let end = command.find("  #").unwrap_or(command.len());
    command[..end].trim_end()
}

/// The documents with console blocks.
pub(crate) fn documents() -> Vec<String> {
    let names = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];
    let mut documents: Vec<String> = names.map(str::to_owned).into();
    let pages = fs::read_dir(path("docs")).unwrap();
    let names = pages.map(|page| page.unwrap().file_name().into_string().unwrap());
    documents.extend(
        names
            .filter(|name| name.ends_with(".md"))
            .map(|name| format!("docs/{name}")),
    );
    documents.sort();
    documents
}

pub(crate) fn path(document: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(document)
}

/// The console blocks of a document.
pub(crate) fn blocks(document: &str) -> Vec<Block> {
    blocks_of(document, &fs::read_to_string(path(document)).unwrap())
}

/// The blocks of a section that a test runs.
pub(crate) fn section(document: &str, heading: &str) -> Vec<Block> {
    let mut blocks = blocks(document);
    blocks.retain(|block| block.heading == heading && matches!(block.marker, Marker::Run { .. }));
    assert!(
        !blocks.is_empty(),
        "{document}: nothing to run below {heading}"
    );
    blocks
}

pub(crate) fn blocks_of(document: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut heading = "";
    let mut above = "";
    let mut open: Option<Option<Block>> = None;
    for (number, line) in text.lines().enumerate() {
        if let Some(block) = &mut open {
            if line == "```" {
                blocks.extend(open.take().flatten());
            } else if let Some(block) = block {
                block.lines.push(line.to_owned());
            }
        } else if let Some(language) = line.strip_prefix("```") {
            let block = || Block {
                document: document.to_owned(),
                heading: heading.to_owned(),
                marker: Marker::parse(above),
                first: number + 2,
                lines: Vec::new(),
            };
            open = Some((language == "console").then(block));
        } else if let Some(title) = line.trim_start_matches('#').strip_prefix(' ')
            && line.starts_with('#')
        {
            heading = title;
        }
        above = line;
    }
    blocks
}

/// The first expected line that is missing from the output; the order counts.
fn missing<'e>(expected: &'e [String], output: &str) -> Option<&'e str> {
    let mut lines = output.lines();
    let mut expected = expected
        .iter()
        .filter(|line| !matches!(line.trim(), "" | "…"));
    expected
        .find(|wanted| !lines.any(|line| matches(wanted, line)))
        .map(String::as_str)
}

/// Whether a line matches the documented one.
fn matches(documented: &str, line: &str) -> bool {
    let spaced = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (documented, line) = (spaced(documented), spaced(line));
    let mut parts = documented.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut is_open = false;
    for part in parts {
        is_open = part.is_empty();
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    is_open || rest.is_empty()
}

#[test]
fn documented_lines_match_output_with_ellipses() {
    let expected = [
        "Layout: 2.1".to_owned(),
        "  backup … (160 entries, …".to_owned(),
        "done".to_owned(),
    ];
    let output = "x\nLayout:  2.1\n backup b.mmb (160 entries, digest 1)\nnot done\ndone\n";
    assert_eq!(missing(&expected, output), None);
    assert_eq!(
        missing(&expected, "backup b (160 entries, x\nLayout: 2.1\n"),
        Some("  backup … (160 entries, …")
    );
    assert!(!matches("a … c", "a b c d"));
    assert!(matches("a … c", "a b c"));
}

#[test]
fn blocks_have_the_marker_of_the_line_above() {
    let page = "# Title\n<!-- run: exit 3 -->\n```console\n# no heading\n$ a  # why\nb\n```\n## Section\n\
                <!-- run by .ci/run -->\n```console\n$ c\n```\n<!-- not run: d -->\n```console\n```\n```yaml\ne: 1\n```\n";
    let blocks = blocks_of("page.md", page);
    let found: Vec<_> = blocks
        .iter()
        .map(|block| (block.place(), block.heading.as_str(), block.marker))
        .collect();
    assert_eq!(
        found,
        [
            ("page.md:4".to_owned(), "Title", Marker::Run { code: 3 }),
            ("page.md:11".to_owned(), "Section", Marker::RunByCi),
            ("page.md:15".to_owned(), "Section", Marker::Missing),
        ]
    );
}
