//! `backup list`.

use std::error::Error;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::context::unusable;
use crate::cli::options::OutputOptions;
use crate::cli::output::exit::Exit;
use crate::cli::output::style::Style;
use crate::cli::output::table::{Align, Table, cell};
use crate::cli::output::units::{bytes, short_digest};
use crate::cli::{Outcome, logging, output};
use meta_backup::BackupError;
use meta_backup::repository::{Listing, Repository};

/// List the backups in a folder
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The folder
    #[arg(value_name = "FOLDER", required_unless_present = "from")]
    folder: Option<PathBuf>,
    /// The folder, as an option
    #[arg(long, value_name = "FOLDER", conflicts_with = "folder")]
    from: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    logging::start(&args.output, None);
    let folder = args.folder.as_ref().or(args.from.as_ref());
    let folder = folder.map(PathBuf::as_path).unwrap_or(Path::new("."));
    let listings = Repository::open(folder)
        .and_then(|repository| repository.list())
        .map_err(|error| unusable(&error))?;
    let found = Listed {
        backups: listings.iter().map(Line::new).collect(),
    };
    output::print(args.output.format, &found, text)?;
    Ok(Exit::Done)
}

/// The files of the folder.
#[derive(Debug, Serialize)]
struct Listed {
    backups: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    path: String,
    bytes: u64,
    valid: bool,
    format: Option<&'static str>,
    meta_root: Option<String>,
    created_at: Option<String>,
    revision: Option<i64>,
    entries: Option<u64>,
    digest: Option<String>,
    /// Why it is not usable.
    problem: Option<String>,
}

impl Line {
    fn new(listing: &Listing) -> Self {
        let summary = listing.check.as_ref().ok();
        Self {
            path: listing.path.display().to_string(),
            bytes: listing.bytes,
            valid: listing.is_valid(),
            format: summary.map(|summary| summary.format.name()),
            meta_root: summary.map(|summary| summary.meta_root.clone()),
            created_at: summary.map(|summary| summary.header.created_at.clone()),
            revision: summary.map(|summary| summary.revision),
            entries: summary.map(|summary| summary.entries),
            digest: summary.map(|summary| summary.digest.clone()),
            problem: listing.check.as_ref().err().map(reason),
        }
    }
}

/// What is wrong with a file, without its name.
fn reason(error: &BackupError) -> String {
    match error.source() {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    }
}

fn text(found: &Listed, style: Style) -> String {
    let mut table = Table::new(&[
        ("FILE", Align::Left),
        ("META ROOT", Align::Left),
        ("MADE", Align::Fixed),
        ("REVISION", Align::Right),
        ("ENTRIES", Align::Right),
        ("SIZE", Align::Right),
        ("FORMAT", Align::Fixed),
        ("DIGEST", Align::Fixed),
    ]);
    for line in found.backups.iter().filter(|line| line.valid) {
        table.row(vec![
            line.path.clone(),
            line.meta_root.clone().unwrap_or_default(),
            line.created_at.clone().unwrap_or_default(),
            line.revision.unwrap_or_default().to_string(),
            cell(line.entries.unwrap_or_default()),
            bytes(line.bytes),
            line.format.unwrap_or_default().to_owned(),
            short_digest(line.digest.as_deref().unwrap_or_default()).to_owned(),
        ]);
    }
    let mut lines = table.painted(style);
    for line in &found.backups {
        if let Some(problem) = &line.problem {
            lines.push(format!(
                "{} {}: {problem}",
                style.careful("not usable:"),
                line.path
            ));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}
