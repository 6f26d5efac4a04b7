//! `backup prune`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::Serialize;

use super::list::{name, other_files};
use crate::cli::options::OutputOptions;
use crate::cli::output::exit::Exit;
use crate::cli::output::failure::Failure;
use crate::cli::output::style::Style;
use crate::cli::output::terminal::line;
use crate::cli::{Outcome, confirm, logging, output};
use crate::config::number;
use meta_backup::repository::{PrunePlan, Repository};
use meta_migrate::CancelToken;
use meta_report::shell::quoted;

/// More backups than a folder has.
const KEEP_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999_999);

/// Delete all but the newest backups of a folder
///
/// Counts and deletes valid backups in the native format only, separately for each cluster, meta root and
/// layout. Skips all other files, and reports them. Asks for confirmation; without a terminal it requires --yes.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The folder
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Only show which backups would be deleted
    #[arg(long)]
    dry_run: bool,
    /// Number of newest backups to keep of each cluster, meta root and layout
    #[arg(long, value_name = "N", value_parser = number::between(NonZeroUsize::MIN..=KEEP_MAX))]
    keep: NonZeroUsize,
    #[command(flatten)]
    output: OutputOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    logging::start(&args.output, None);
    let plan = Repository::open(&args.folder)
        .and_then(|repository| repository.plan_prune(args.keep))
        .map_err(|error| Failure::from_error(Exit::Failed, &error))?;
    if !args.dry_run && !plan.remove.is_empty() {
        confirm(&plan, &args.output)?;
    }
    let removed = match args.dry_run {
        true => plan.paths(),
        false => plan
            .carry_out()
            .map_err(|error| Failure::from_error(Exit::Failed, &error))?,
    };
    let done = Pruned {
        dry_run: args.dry_run,
        removed: removed
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
        kept: plan
            .keep
            .iter()
            .map(|file| file.path.display().to_string())
            .collect(),
        untouched: plan
            .untouched
            .iter()
            .map(|file| Untouched {
                path: file.path.display().to_string(),
                reason: file.reason.clone(),
                is_other: file.is_other,
            })
            .collect(),
    };
    output::print(args.output.format, &done, text)?;
    Ok(Exit::Done)
}

/// Asks, unless the user confirmed beforehand.
fn confirm(plan: &PrunePlan, output: &OutputOptions) -> Result<(), Failure> {
    if output.yes {
        return Ok(());
    }
    if !confirm::is_wanted(output) {
        let again = std::env::args().map(|word| quoted(&word));
        let again = again.collect::<Vec<_>>().join(" ");
        return Err(Failure {
            changed: "no file was deleted".into(),
            ..confirm::impossible().hint(format!("{again} --yes"))
        });
    }
    let files = plan.remove.iter().map(|file| file.path.display());
    let files: Vec<String> = files.map(|path| format!("  {path}\n")).collect();
    output::inform(&files.concat());
    if confirm::ask("Delete these backups?", &CancelToken::never()) {
        return Ok(());
    }
    Err(Failure {
        changed: "no file was deleted".into(),
        ..Failure::new(Exit::Failed, "not confirmed")
    })
}

#[derive(Debug, Serialize)]
struct Pruned {
    /// Whether the files would be removed.
    dry_run: bool,
    removed: Vec<String>,
    kept: Vec<String>,
    untouched: Vec<Untouched>,
}

/// A file that `prune` never deletes.
#[derive(Debug, Serialize)]
struct Untouched {
    path: String,
    reason: String,
    #[serde(skip)]
    is_other: bool,
}

fn text(done: &Pruned, style: Style) -> String {
    let (removes, keeps, skips) = match done.dry_run {
        true => ("would remove", "would keep", "would skip"),
        false => ("removed", "kept", "skipped"),
    };
    let removed = done.removed.iter();
    let removed = removed.map(|path| format!("{removes} {}", line(path)));
    let kept = done.kept.iter();
    let kept = kept.map(|path| format!("{keeps} {}", line(path)));
    let (others, skipped): (Vec<&Untouched>, Vec<&Untouched>) =
        done.untouched.iter().partition(|file| file.is_other);
    let skipped = skipped.iter().map(|file| {
        let (path, reason) = (line(&file.path), line(&file.reason));
        format!("{} {path}: {reason}", style.careful(skips))
    });
    let others: Vec<_> = others.iter().map(|file| name(&file.path)).collect();
    let lines = removed.chain(kept).chain(skipped);
    let lines = lines.chain(other_files(&others, style));
    lines.map(|line| line + "\n").collect()
}
