//! `backup check`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::context::CommandContext;
use crate::cli::options::{CommonOptions, ReadingOptions};
use crate::cli::output::exit::Exit;
use crate::cli::output::style::Style;
use crate::cli::{Outcome, output};
use meta_backup::Backup;
use meta_report::BackupReport;
use milvus_meta::layout::Layout;

/// Read a complete backup and check all of it
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The backup file
    #[arg(value_name = "FILE", required_unless_present = "from")]
    file: Option<PathBuf>,
    /// The backup file, as an option
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    from: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    common: CommonOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let context = CommandContext::begin(&args.common)?;
    let path = args.file.as_ref().or(args.from.as_ref());
    let path = path.map(PathBuf::as_path).unwrap_or(Path::new(""));
    let source = context.open_announced(path, args.reading)?;
    let (layout, _) = context.offline(|environment| source.layout(environment))?;
    let found = Checked::new(source.backup(), layout);
    output::print(context.output.format, &found, text)?;
    Ok(Exit::Done)
}

/// The report about a valid backup.
#[derive(Debug, Serialize)]
struct Checked {
    #[serde(flatten)]
    backup: BackupReport,
    layout: Layout,
    meta_root: String,
    /// The families in it, unless it has all.
    only_families: Option<Vec<&'static str>>,
    created_at: String,
    tool_version: String,
    source_version: Option<String>,
    /// Entries that are missing, and checks that were skipped.
    notes: Vec<String>,
    #[serde(skip)]
    has_checksums: bool,
}

impl Checked {
    fn new(backup: &Backup, layout: Layout) -> Self {
        let summary = backup.summary();
        let header = &summary.header;
        Self {
            backup: summary.report(),
            layout,
            meta_root: summary.meta_root.clone(),
            only_families: backup.coverage().names(),
            created_at: header.created_at.clone(),
            tool_version: header.tool_version.clone(),
            source_version: header.source_version.clone(),
            notes: summary.notes.clone(),
            has_checksums: backup.format().has_checksums(),
        }
    }
}

fn text(found: &Checked, style: Style) -> String {
    let mut text = output::outcome::backup(&found.backup, style);
    text.push_str(&format!(
        "  of {}, layout {}\n",
        found.meta_root,
        output::plan::layout(found.layout)
    ));
    if let Some(families) = &found.only_families {
        text.push_str(&format!("  partial metadata: {}\n", families.join(", ")));
    }
    if !found.created_at.is_empty() {
        text.push_str(&format!(
            "  created {} by meta-migration {}\n",
            found.created_at, found.tool_version
        ));
    }
    for note in &found.notes {
        text.push_str(&format!("  note: {note}\n"));
    }
    if found.notes.is_empty() {
        text.push_str(match found.has_checksums {
            true => "  all checksums match\n",
            false => "  read to its end; the format has no checksums\n",
        });
    }
    text
}
