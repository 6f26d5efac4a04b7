//! `history`.

use meta_report::{HistoryReport, RunRecord, RunResult};

use super::context::{CommandContext, limits};
use super::options::{EtcdOptions, OutputOptions};
use super::output::exit::Exit;
use super::output::style::Style;
use super::output::table::{Align, Table};
use super::output::terminal::line;
use super::output::units::count;
use super::{Outcome, output};

/// List the recorded runs: migrations, repairs, rollbacks and restores
///
/// Each finished run is recorded in etcd beside the journal, with its time, host, version and backup, in the
/// transaction that finishes it. The newest 100 are kept. A run that is unfinished is listed first. Writes nothing.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    etcd: EtcdOptions,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let context = CommandContext::begin(&args.etcd, &args.output)?;
    let root = &context.config.root;
    let found =
        context.read(async |store, _| meta_migrate::history(store, root, &limits()).await)?;
    let title = context.target();
    output::print(context.output.format, &found, |found, style| {
        text(found, &title, style)
    })?;
    Ok(Exit::Done)
}

fn text(found: &HistoryReport, target: &str, style: Style) -> String {
    if found.runs.is_empty() && found.unfinished.is_none() {
        return format!("No runs recorded for {}\n", line(target));
    }
    let mut table = Table::new(&[
        ("FINISHED", Align::Fixed),
        ("RESULT", Align::Left),
        ("RELEASES", Align::Left),
        ("PUT", Align::Right),
        ("REWRITTEN", Align::Right),
        ("DELETED", Align::Right),
        ("BACKUP", Align::Left),
        ("TOOL", Align::Left),
        ("HOST", Align::Left),
    ]);
    if let Some(run) = &found.unfinished {
        let mut cells = vec![
            "-".to_owned(),
            format!("unfinished {} ({})", run.command, run.phase),
        ];
        cells.extend(["-", "-", "-", "-"].map(str::to_owned));
        cells.push(file(run.backup.as_ref().map(|backup| backup.path.as_str())));
        cells.extend(["-", "-"].map(str::to_owned));
        table.row(cells);
    }
    found.runs.iter().for_each(|run| table.row(row(run)));
    let mut lines = vec![format!("{} {}", style.strong("Runs:"), line(target))];
    lines.extend(table.painted(style));
    lines.push(String::new());
    lines.join("\n")
}

fn row(run: &RunRecord) -> Vec<String> {
    let result = match run.result {
        RunResult::Migrated => "migrated",
        RunResult::Repaired => "repaired",
        RunResult::RolledBack => "rolled back",
        RunResult::Restored => "restored",
    };
    vec![
        known(&run.finished_at),
        result.to_owned(),
        releases(run),
        count(run.put),
        count(run.rewrite),
        count(run.delete),
        file(run.backup.as_ref().map(|backup| backup.path.as_str())),
        known(&run.tool_version),
        known(&run.host),
    ]
}

fn releases(run: &RunRecord) -> String {
    match (&run.source_version, &run.target_version) {
        (Some(source), Some(target)) => format!("{source} to {target}"),
        (None, Some(target)) => format!("to {target}"),
        (Some(source), None) => format!("from {source}"),
        (None, None) => "-".to_owned(),
    }
}

fn file(path: Option<&str>) -> String {
    known(path.unwrap_or_default())
}

fn known(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}
