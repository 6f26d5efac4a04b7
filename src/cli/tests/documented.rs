//! Checks the command lines in the documents against the real options.
//!
//! Checks all code blocks, including output that names the next command, and inline code that begins with the program's
//! name. Lines with an ellipsis are skipped.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::{Call, Cli, command, unused};

/// A command of a document, and where it was found.
struct Documented {
    place: String,
    words: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md"]
        .map(|name| root().join(name))
        .into();
    for folder in ["docs", "deploy", "deploy/compose"] {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        paths.extend(
            entries
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.is_file()),
        );
    }
    paths
}

/// Returns the lines of a document that may contain a command: code blocks and inline code.
fn code(text: &str, is_markdown: bool) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut is_inside = !is_markdown;
    let mut is_continued = false;
    for (number, line) in text.lines().enumerate() {
        if is_markdown && line.trim_start().starts_with("```") {
            is_inside = !is_inside;
        } else if is_inside {
            let line = line.trim_start_matches('#').trim();
            let (line, continues) = match line.strip_suffix('\\') {
                Some(line) => (line, true),
                None => (line, false),
            };
            match found.last_mut() {
                Some((_, last)) if is_continued => last.push_str(line),
                _ => found.push((number + 1, line.to_owned())),
            }
            is_continued = continues;
        } else {
            let spans = line.split('`').skip(1).step_by(2);
            let spans = spans.filter(|span| span.starts_with("meta-migration "));
            found.extend(spans.map(|span| (number + 1, span.to_owned())));
        }
    }
    found
}

/// Splits a line as a shell does, up to a pipe, a redirection or a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (c, quote) {
            (_, Some(open)) if c == open => quote = None,
            (_, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('|' | '>' | '<' | ';' | '&', None) => break,
            ('#', None) if word.is_none() => break,
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Returns the calls of the program in a line. Checks each part of a pipeline, and skips text before the program, such as
/// `docker run IMAGE` and `next:`.
fn calls(line: &str) -> Vec<Vec<String>> {
    let parts = line.split(['|', ';']).map(words);
    let calls = parts.filter_map(|words| {
        let is_program = |word: &String| {
            ["meta-migration", "milvus-migrate"].contains(&word.as_str())
                || word.ends_with("/meta-migration")
        };
        let at = words.iter().position(is_program)?;
        Some(words[at..].to_vec()).filter(|words| words.len() > 1)
    });
    calls.collect()
}

fn documented() -> Vec<Documented> {
    let mut all = Vec::new();
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let is_markdown = path.extension().is_some_and(|extension| extension == "md");
        let name = path.strip_prefix(root()).unwrap().display();
        for (number, line) in code(&text, is_markdown) {
            if line.contains('…') {
                continue;
            }
            let place = format!("{name}:{number}: {line}");
            all.extend(calls(&line).into_iter().map(|words| Documented {
                place: place.clone(),
                words,
            }));
        }
    }
    all
}

/// Returns the program's error about a command line.
fn refusal(words: &[String]) -> Option<String> {
    let arguments = words.iter().map(OsString::from).collect();
    let parsed = Call::parse(arguments).and_then(|call| match call {
        Call::Command(_, matches) => unused::reject(&matches).map_err(|failure| {
            Cli::command().error(ErrorKind::InvalidValue, format!("{failure:?}"))
        }),
        Call::Official(_) => Ok(()),
    });
    let error = parsed.err()?;
    // A mention of a command in a sentence has no arguments.
    let is_mention = words.len() <= 3 && error.kind() == ErrorKind::MissingRequiredArgument;
    (error.use_stderr() && !is_mention).then(|| error.to_string())
}

#[test]
fn every_command_line_in_the_documents_is_accepted() {
    let documented = documented();
    assert!(
        documented.len() > 40,
        "only {} command lines",
        documented.len()
    );
    let refused = documented
        .iter()
        .filter_map(|one| Some(format!("{}\n  {}", one.place, refusal(&one.words)?)));
    let refused: Vec<_> = refused.collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn every_command_has_its_row_in_usage() {
    let page = fs::read_to_string(root().join("docs/usage.md")).unwrap();
    let rows: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let command = command();
    let commands = command.get_subcommands().filter(|one| !one.is_hide_set());
    let missing: Vec<_> = commands
        .map(clap::Command::get_name)
        .filter(|name| !rows.iter().any(|row| row.contains(&format!("`{name}`"))))
        .collect();
    assert!(missing.is_empty(), "no row: {missing:?}");
}

#[test]
fn a_wrong_option_in_a_document_is_found() {
    let page = "`meta-migration status --sideways`\n```console\n$ docker run IMAGE meta-migration plan \\\n  --sideways | less\n\
                  next: /milvus/bin/meta-migration rollback --sideways   # why\n```\nmeta-migration --sideways\n";
    let found: Vec<_> = code(page, true)
        .into_iter()
        .flat_map(|(_, line)| calls(&line))
        .collect();
    let lines: Vec<_> = found.iter().map(|words| words[1..].join(" ")).collect();
    assert_eq!(
        lines,
        [
            "status --sideways",
            "plan --sideways",
            "rollback --sideways"
        ]
    );
    for words in found {
        assert!(refusal(&words).unwrap().contains("--sideways"));
    }
    let without_effect = words("meta-migration status --yes");
    assert!(refusal(&without_effect).is_some());
    assert_eq!(words("a 'b c' \"d\" # e"), ["a", "b c", "d"]);
}
