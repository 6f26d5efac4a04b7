//! `backup diff`.

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::context::{CommandContext, unusable};
use crate::cli::options::{EtcdOptions, OutputOptions};
use crate::cli::output::exit::Exit;
use crate::cli::output::failure::Failure;
use crate::cli::output::style::Style;
use crate::cli::output::units::count;
use crate::cli::reading::ReadingOptions;
use crate::cli::{Outcome, output};
use meta_backup::repository::{Difference, diff};
use milvus_meta::entry::printable;

/// Compare two backups key by key
///
/// Exits with code 6 if they differ.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The two backup files; with --from, the one to compare it with
    #[arg(value_name = "FILE", num_args = 1..=2, required = true)]
    files: Vec<PathBuf>,
    /// The first of the two, as an option
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    etcd: EtcdOptions,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let context = CommandContext::begin(&args.etcd, &args.output)?;
    let files: Vec<&PathBuf> = args.from.iter().chain(&args.files).collect();
    let [before, after] = files[..] else {
        return Err(Failure::usage("name two backup files to compare"));
    };
    let (before, after) = (
        context.open(before, args.reading)?,
        context.open(after, args.reading)?,
    );
    let mut differences = Vec::new();
    let counts = diff(before.backup(), after.backup(), |difference| {
        differences.push(Line::new(&difference));
    })
    .map_err(|error| unusable(&error))?;
    let found = Differing {
        added: counts.added,
        removed: counts.removed,
        changed: counts.changed,
        equal: counts.equal,
        differences,
    };
    output::print(context.output.format, &found, text)?;
    Ok(if found.differences.is_empty() {
        Exit::Done
    } else {
        Exit::Differences
    })
}

#[derive(Debug, Serialize)]
struct Differing {
    added: u64,
    removed: u64,
    changed: u64,
    equal: u64,
    differences: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    change: &'static str,
    key: String,
}

impl Line {
    fn new(difference: &Difference) -> Self {
        let (change, entry) = match difference {
            Difference::Added(entry) => ("added", entry),
            Difference::Removed(entry) => ("removed", entry),
            Difference::Changed { after, .. } => ("changed", after),
        };
        Self {
            change,
            key: printable(&entry.key),
        }
    }
}

fn text(found: &Differing, style: Style) -> String {
    let mut text: String = found
        .differences
        .iter()
        .map(|line| format!("{:7} {}\n", line.change, line.key))
        .collect();
    let told = format!(
        "{} added, {} removed, {} changed, {} unchanged\n",
        count(found.added),
        count(found.removed),
        count(found.changed),
        count(found.equal)
    );
    text.push_str(&style.strong(&told));
    text
}
