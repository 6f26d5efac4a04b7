//! `history`.

use meta_report::{BackupRef, HistoryReport, RunRecord, RunResult};

use super::Outcome;
use super::context::{CommandContext, limits};
use super::options::{EtcdOptions, OutputOptions};
use super::output::Format;
use super::output::exit::Exit;
use super::output::style::Style;
use super::output::table::{Align, Table};
use super::output::units::{count, minute};

/// List the recorded runs: migrations, repairs, rollbacks and restores
///
/// Each finished run is recorded in etcd beside the journal, with its time, host, version and backup, in the
/// transaction that finishes it. The newest 100 are kept. A run that is unfinished is listed first. Writes nothing.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    etcd: EtcdOptions,
    #[command(flatten)]
    output: OutputOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let context = CommandContext::begin(&args.etcd, &args.output)?;
    let root = &context.config.root;
    let found =
        context.read(async |store, _| meta_migrate::history(store, root, &limits()).await)?;
    let is_wide = context.output.format == Format::Wide;
    context.print(&found, |found, style| text(found, is_wide, style))?;
    Ok(Exit::Done)
}

fn text(found: &HistoryReport, is_wide: bool, style: Style) -> String {
    if found.runs.is_empty() && found.unfinished.is_none() {
        return "No runs are recorded\n".to_owned();
    }
    let mut columns = vec![
        ("FINISHED", Align::Fixed),
        ("RESULT", Align::Left),
        ("TARGET", Align::Fixed),
        ("PUT", Align::Right),
        ("REWRITTEN", Align::Right),
        ("DELETED", Align::Right),
        ("BACKUP", if is_wide { Align::Fixed } else { Align::Left }),
    ];
    if is_wide {
        columns.extend(["SOURCE", "TOOL", "HOST", "RUN"].map(|name| (name, Align::Fixed)));
    }
    let mut table = Table::new(&columns);
    let mut row = |mut cells: Vec<String>| {
        cells.resize(columns.len(), String::new());
        table.row(cells);
    };
    if let Some(run) = &found.unfinished {
        let result = format!("unfinished {} ({})", run.command, run.phase);
        let unknown = [const { String::new() }; 4];
        let mut cells = vec![String::new(), result];
        cells.extend(unknown);
        cells.push(file(run.backup.as_ref(), is_wide));
        row(cells);
    }
    found.runs.iter().for_each(|run| row(cells(run, is_wide)));
    let mut lines = table.painted(style);
    lines.push(String::new());
    lines.join("\n")
}

fn cells(run: &RunRecord, is_wide: bool) -> Vec<String> {
    let result = match run.result {
        RunResult::Migrated => "migrated",
        RunResult::Repaired => "repaired",
        RunResult::RolledBack => "rolled back",
        RunResult::Restored if run.families.is_empty() => "restored",
        RunResult::Restored => "part restored",
    };
    let release = |release: &Option<String>| release.clone().unwrap_or_default();
    let mut cells = vec![
        minute(&run.finished_at),
        result.to_owned(),
        release(&run.target_version),
        count(run.put),
        count(run.rewrite),
        count(run.delete),
        file(run.backup.as_ref(), is_wide),
    ];
    if is_wide {
        cells.extend([
            release(&run.source_version),
            run.tool_version.clone(),
            run.host.clone(),
            run.run.clone(),
        ]);
    }
    cells
}

/// Returns the file name of the backup, in a wide table its path.
fn file(backup: Option<&BackupRef>, is_wide: bool) -> String {
    let path = backup.map_or("", |backup| backup.path.as_str());
    match path.rsplit_once('/') {
        Some((_, name)) if !is_wide => name.to_owned(),
        Some(_) | None => path.to_owned(),
    }
}
