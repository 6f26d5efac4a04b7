//! `backup diff`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::context::{CommandContext, limits};
use crate::cli::options::{CommonOptions, ReadingOptions};
use crate::cli::output::exit::Exit;
use crate::cli::output::failure::Failure;
use crate::cli::output::style::Style;
use crate::cli::output::terminal::line;
use crate::cli::output::units::count;
use crate::cli::{Outcome, output};
use meta_backup::Tolerance;
use meta_backup::repository::diff;
use meta_migrate::Limits;
use meta_report::{DiffBuilder, DiffReport, KeyChange};

/// Number of keys shown of each family.
const FAMILY_KEYS_MAX: usize = 20;

/// Compare two backups, or a backup and etcd, key by key
///
/// One of the two may be `etcd`: the metadata as it is now. Shows how many keys the second adds, changes and removes
/// by family and by collection, with the first keys; JSON has all of them. Exits with code 6 if they differ.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The two backup files, or a backup file and the word etcd; with --from, the one to compare it with
    #[arg(value_name = "FILE", num_args = 1..=2, required = true)]
    files: Vec<PathBuf>,
    /// The first of the two, as an option
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    common: CommonOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let context = CommandContext::begin(&args.common)?;
    let files: Vec<&PathBuf> = args.from.iter().chain(&args.files).collect();
    let [before, after] = files[..] else {
        let compare = format!(
            "{} etcd   # compares the backup with etcd",
            context.next_steps.again()
        );
        return Err(
            Failure::usage("name two backup files to compare, or a backup file and etcd")
                .hint(compare),
        );
    };
    let tolerance = args.reading.tolerance();
    let found = match (is_etcd(before), is_etcd(after)) {
        // The engine reports the changes that a restore makes to etcd.
        (false, true) => with_etcd(&context, before, tolerance)?.reversed(),
        (true, false) => with_etcd(&context, after, tolerance)?,
        (false, false) => of_files(&context, before, after, args.reading)?,
        (true, true) => return Err(Failure::usage("name a backup file to compare etcd with")),
    };
    let name = |path: &Path| match is_etcd(path) {
        true => context.target(),
        false => path.display().to_string(),
    };
    let found = Differing::new((name(before), name(after)), found);
    output::print(context.output.format, &found, text)?;
    Ok(match found.differences.is_empty() {
        true => Exit::Done,
        false => Exit::Differences,
    })
}

/// The report with the first keys of each family, and all keys.
#[derive(Debug, Serialize)]
struct Differing {
    before: String,
    after: String,
    #[serde(flatten)]
    report: DiffReport,
    differences: Vec<KeyChange>,
}

impl Differing {
    fn new((before, after): (String, String), mut report: DiffReport) -> Self {
        let mut differences = Vec::new();
        for family in &mut report.families {
            differences.extend_from_slice(&family.keys);
            family.keys.truncate(FAMILY_KEYS_MAX);
        }
        Self {
            before,
            after,
            report,
            differences,
        }
    }
}

fn is_etcd(path: &Path) -> bool {
    path == Path::new("etcd")
}

fn with_etcd(
    context: &CommandContext,
    file: &Path,
    tolerance: Tolerance,
) -> Result<DiffReport, Failure> {
    let limits = Limits {
        tolerance,
        ..limits()
    };
    context.require_one_instance(file, tolerance)?;
    let root = &context.config.root;
    context.read(async |store, environment| {
        meta_migrate::diff(store, root, file.to_owned(), &limits, environment).await
    })
}

fn of_files(
    context: &CommandContext,
    before: &Path,
    after: &Path,
    reading: ReadingOptions,
) -> Result<DiffReport, Failure> {
    let (before, after) = (
        context.open(before, reading)?,
        context.open(after, reading)?,
    );
    let mut report = DiffBuilder::new(after.root().clone(), usize::MAX);
    diff(before.backup(), after.backup(), |change, entry| {
        report.add(change, &entry.key, &entry.value);
    })
    .map_err(|error| Failure::before_changes(&error))?;
    Ok(report.finish())
}

fn text(found: &Differing, style: Style) -> String {
    let (before, after) = (line(&found.before), line(&found.after));
    let mut lines = vec![format!(
        "{} from {before} to {after}",
        style.strong("Diff:")
    )];
    let found = &found.report;
    lines.extend(output::diff::lines(found, style));
    lines.push(style.strong(&format!(
        "{} added, {} removed, {} changed, {} unchanged",
        count(found.counts.added),
        count(found.counts.removed),
        count(found.counts.changed),
        count(found.equal)
    )));
    lines.push(String::new());
    lines.join("\n")
}
