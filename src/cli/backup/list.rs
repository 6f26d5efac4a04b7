//! `backup list`.

use std::error::Error;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::options::OutputOptions;
use crate::cli::output::columns::{self, Column, How};
use crate::cli::output::exit::Exit;
use crate::cli::output::failure::Failure;
use crate::cli::output::style::Style;
use crate::cli::output::table::cell;
use crate::cli::output::terminal::line;
use crate::cli::output::units::{agree, bytes, counted, minute};
use crate::cli::{Outcome, logging, output};
use meta_backup::BackupError;
use meta_backup::repository::{Listing, Repository};

/// List the backups in a folder
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The folder [default: the working directory]
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// The folder, as an option
    #[arg(long, value_name = "FOLDER", conflicts_with = "folder")]
    from: Option<PathBuf>,
    #[command(flatten)]
    output: OutputOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    logging::start(&args.output, None);
    let folder = args.folder.as_ref().or(args.from.as_ref());
    let folder = folder.map(PathBuf::as_path).unwrap_or(Path::new("."));
    let listings = Repository::open(folder)
        .and_then(|repository| repository.list())
        .map_err(|error| Failure::from_error(Exit::Failed, &error))?;
    let found = Listed {
        folder: folder.display().to_string(),
        backups: listings.iter().map(Line::new).collect(),
    };
    output::print(args.output.format, &found, text)?;
    Ok(Exit::Done)
}

/// The files of the folder.
#[derive(Debug, Serialize)]
struct Listed {
    folder: String,
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
    source_version: Option<String>,
    tool_version: Option<String>,
    revision: Option<i64>,
    entries: Option<u64>,
    digest: Option<String>,
    /// Why the file is not usable.
    problem: Option<String>,
    /// Whether neither the content nor the name is that of a backup.
    #[serde(skip)]
    is_other: bool,
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
            source_version: summary.and_then(|summary| summary.header.source_version.clone()),
            tool_version: summary.map(|summary| summary.header.tool_version.clone()),
            revision: summary.map(|summary| summary.revision),
            entries: summary.map(|summary| summary.entries),
            digest: summary.map(|summary| summary.digest.clone()),
            problem: listing.check.as_ref().err().map(reason),
            is_other: listing.is_other(),
        }
    }
}

/// Returns what is wrong with a file, without its name.
fn reason(error: &BackupError) -> String {
    match error.source() {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    }
}

fn text(found: &Listed, style: Style) -> String {
    if found.backups.is_empty() {
        return format!("No files in {}\n", line(&found.folder));
    }
    let mut roots: Vec<&str> = found
        .backups
        .iter()
        .filter_map(|it| it.meta_root.as_deref())
        .collect();
    roots.sort_unstable();
    roots.dedup();
    // A single root is part of the heading; several roots have a column.
    let heading = match roots[..] {
        [root] => format!("{} of {}", line(&found.folder), line(root)),
        _ => line(&found.folder).into_owned(),
    };
    let mut lines = vec![format!("{} {heading}", style.strong("Backups:"))];
    let (others, backups): (Vec<&Line>, Vec<&Line>) =
        found.backups.iter().partition(|it| it.is_other);
    if !backups.is_empty() {
        lines.extend(table(&backups, roots.len() > 1, style));
    }
    for it in backups {
        if let Some(problem) = &it.problem {
            let problem = format!("{}: {}", line(name(&it.path)), line(problem));
            let problem = format!("{} {problem}", style.careful("not usable:"));
            lines.extend(style.wrapped(&problem, "  "));
        }
    }
    let others: Vec<_> = others.iter().map(|it| name(&it.path)).collect();
    lines.extend(other_files(&others, style));
    lines.push(String::new());
    lines.join("\n")
}

/// Names the files of a folder that are no backups.
pub(super) fn other_files(names: &[&str], style: Style) -> Vec<String> {
    if names.is_empty() {
        return Vec::new();
    }
    let number = names.len() as u64;
    let names: Vec<_> = names.iter().copied().map(line).collect();
    let summary = format!(
        "{}, not {}: {}",
        counted(number, "other file"),
        agree(number, "a backup", "backups"),
        names.join(", ")
    );
    style.wrapped(&summary, "  ")
}

fn table(backups: &[&Line], has_roots: bool, style: Style) -> Vec<String> {
    type Of<'a> = Column<&'a Line>;
    let roots = Of::fixed("META ROOT", |it| it.meta_root.clone().unwrap_or_default());
    let columns = [
        Some(Of::fixed("FILE", |it| name(&it.path).to_owned())),
        has_roots.then_some(roots),
        Some(Of::fixed("CREATED", |it| {
            minute(it.created_at.as_deref().unwrap_or_default())
        })),
        Some(Of::fixed("MILVUS", |it| {
            it.source_version.clone().unwrap_or_default()
        })),
        Some(Of::number("ENTRIES", |it| {
            cell(it.entries.unwrap_or_default())
        })),
        Some(Of::number("SIZE", |it| bytes(it.bytes))),
        Some(Of::fixed("FORMAT", |it| {
            it.format.unwrap_or("not usable").to_owned()
        })),
    ];
    let columns: Vec<_> = columns.into_iter().flatten().collect();
    columns::table(backups, &columns, How::of(style))
}

/// Returns the name of the file.
pub(super) fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
