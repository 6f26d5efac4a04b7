//! `history`.

use meta_report::{BackupRef, HistoryReport, RunRecord, RunResult};

use super::Outcome;
use super::context::{CommandContext, limits};
use super::options::CommonOptions;
use super::output::Format;
use super::output::columns::{Column, Detail, How, table};
use super::output::exit::Exit;
use super::output::style::Style;
use super::output::units::{count, minute};

/// List the recorded runs: migrations, repairs, rollbacks and restores
///
/// Each finished run is recorded in etcd next to the journal, with its time, host, version and backup, in the
/// transaction that finishes it. The newest 100 are kept. A run that is unfinished is listed first. Writes nothing.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    common: CommonOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let context = CommandContext::begin(&args.common)?;
    let root = &context.config.root;
    let found =
        context.read(async |store, _| meta_migrate::history(store, root, &limits()).await)?;
    let detail = match context.output.format {
        Format::Wide => Detail::Wide,
        Format::Table | Format::Json | Format::Yaml => Detail::Roomy,
    };
    context.print(&found, |found, style| text(found, detail, style))?;
    Ok(Exit::Done)
}

/// A run of the table.
struct Row<'r> {
    result: String,
    /// The record of a finished run.
    done: Option<&'r RunRecord>,
    backup: Option<&'r BackupRef>,
}

impl<'r> Row<'r> {
    fn new(done: &'r RunRecord) -> Self {
        let result = match done.result {
            RunResult::Migrated => "migrated",
            RunResult::Repaired => "repaired",
            RunResult::RolledBack => "rolled back",
            RunResult::Restored if done.families.is_empty() => "restored",
            RunResult::Restored => "part restored",
        };
        Self {
            result: result.to_owned(),
            done: Some(done),
            backup: done.backup.as_ref(),
        }
    }

    /// Returns a member of the record; empty for an unfinished run.
    fn of(&self, member: impl FnOnce(&RunRecord) -> String) -> String {
        self.done.map(member).unwrap_or_default()
    }

    fn backup(&self) -> &str {
        self.backup.map_or("", |backup| &backup.path)
    }
}

fn text(found: &HistoryReport, detail: Detail, style: Style) -> String {
    type Of<'r> = Column<Row<'r>>;
    if found.runs.is_empty() && found.unfinished.is_none() {
        return "No runs are recorded\n".to_owned();
    }
    let columns = [
        Of::fixed("FINISHED", |it| it.of(|run| minute(&run.finished_at))),
        Of::text("RESULT", |it| it.result.clone()),
        Of::fixed("TARGET", |it| {
            it.of(|run| run.target_version.clone().unwrap_or_default())
        }),
        Of::number("PUT", |it| it.of(|run| count(run.put))),
        Of::number("REWRITTEN", |it| it.of(|run| count(run.rewrite))),
        Of::number("DELETED", |it| it.of(|run| count(run.delete))),
        match detail {
            Detail::Wide => Of::fixed("BACKUP", |it| it.backup().to_owned()),
            // The name of the file.
            Detail::Always | Detail::Roomy => Of::text("BACKUP", |it| {
                it.backup()
                    .rsplit('/')
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            }),
        },
        Of::fixed("SOURCE", |it| {
            it.of(|run| run.source_version.clone().unwrap_or_default())
        })
        .wide(),
        Of::fixed("TOOL", |it| it.of(|run| run.tool_version.clone())).wide(),
        Of::fixed("HOST", |it| it.of(|run| run.host.clone())).wide(),
        Of::fixed("RUN", |it| it.of(|run| run.run.clone())).wide(),
    ];
    let unfinished = found.unfinished.iter().map(|run| Row {
        result: format!("unfinished {} ({})", run.command, run.phase),
        done: None,
        backup: run.backup.as_ref(),
    });
    let rows: Vec<Row<'_>> = unfinished.chain(found.runs.iter().map(Row::new)).collect();
    let how = How {
        detail,
        ..How::of(style)
    };
    table(&rows, &columns, how).join("\n") + "\n"
}
