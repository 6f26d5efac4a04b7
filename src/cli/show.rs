//! `show`.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::context::CommandContext;
use super::entries::{EntrySource, find};
use super::options::{CommonOptions, ReadingOptions};
use super::output::columns::{self, Detail, How};
use super::output::exit::Exit;
use super::output::failure::Failure;
use super::output::style::Style;
use super::output::terminal::line;
use super::output::units::counted;
use super::{Outcome, output};
use milvus_meta::catalog::{Catalog, Reader};
use milvus_meta::model::CollectionId;
use outlook::{Outlook, OutlookReader};

mod collection;
mod outlook;
mod tables;

/// Show what the metadata holds: collections, indexes, segments and more
///
/// Reads 2.1 and 2.2 metadata alike, from etcd or from a backup file of any format. With a COLLECTION, shows only
/// what belongs to it; `show collection NAME` shows everything about one, and what `migrate` does with it or, on 2.2
/// metadata, what `verify` finds. Ids are text in JSON and YAML. Writes nothing, and never shows credentials.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// What to show
    #[arg(value_enum, value_name = "WHAT")]
    what: What,
    /// A collection, by name, alias or id
    #[arg(value_name = "COLLECTION")]
    collection: Option<String>,
    /// Read a backup file instead of etcd
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    common: CommonOptions,
}

/// The kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    #[value(alias = "collection")]
    Collections,
    #[value(alias = "partition")]
    Partitions,
    #[value(alias = "index")]
    Indexes,
    #[value(alias = "segment")]
    Segments,
    #[value(alias = "alias")]
    Aliases,
    #[value(alias = "load")]
    Loads,
    #[value(alias = "channel")]
    Channels,
    #[value(alias = "session")]
    Sessions,
    #[value(alias = "database")]
    Databases,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let has_collection = !matches!(args.what, What::Sessions | What::Databases);
    if args.collection.is_some() && !has_collection {
        let message = "sessions and databases belong to no collection; leave out its name";
        return Err(Failure::usage(message));
    }
    let context = CommandContext::begin(&args.common)?;
    let source = EntrySource::open(&context, args.from.as_deref(), args.reading)?;
    let is_one = args.what == What::Collections && args.collection.is_some();
    let mut outlook = match is_one {
        true => Some(OutlookReader::new(&context, source.root(&context))?),
        false => None,
    };
    let mut reader = Reader::new(source.root(&context).clone());
    source.all(&context, |entry| {
        reader.push(entry);
        if let Some(outlook) = &mut outlook {
            outlook.push(entry);
        }
    })?;
    let mut shown = Shown {
        what: args.what,
        catalog: reader.finish(),
        one: None,
        detail: columns::detail(context.output.is_detailed()),
        is_one: args.collection.is_some(),
        note: note(args.what, source.is_file()),
    };
    if let Some(text) = &args.collection {
        let id = find(&shown.catalog, text)?;
        let outlook = outlook.map(|outlook| outlook.finish(&shown.catalog, id));
        shown.one = outlook.map(|outlook| (id, outlook));
        shown.catalog = shown.catalog.of_collection(id);
    }
    output::print(context.output.format, &shown.document(), |_, style| {
        shown.text(style)
    })?;
    Ok(Exit::Done)
}

/// Explains an empty list if objects may exist anyway.
fn note(what: What, is_file: bool) -> &'static str {
    match what {
        What::Sessions if is_file => "A backup holds no sessions: they are on leases.",
        What::Databases => "Milvus keeps databases from 2.2.9 on.",
        What::Sessions
        | What::Collections
        | What::Partitions
        | What::Indexes
        | What::Segments
        | What::Aliases
        | What::Loads
        | What::Channels => "",
    }
}

/// The output of the command.
struct Shown {
    what: What,
    catalog: Catalog,
    /// The collection that is shown in detail.
    one: Option<(CollectionId, Outlook)>,
    detail: Detail,
    /// Whether everything belongs to one collection.
    is_one: bool,
    note: &'static str,
}

impl Shown {
    fn document(&self) -> Value {
        let catalog = &self.catalog;
        if let Some((_, outlook)) = &self.one {
            return json!({
                "layout": catalog.layout,
                "collection": catalog.collections.first(),
                "partitions": catalog.partitions,
                "indexes": catalog.indexes,
                "segments": catalog.segments,
                "aliases": catalog.aliases,
                "loads": catalog.loads,
                "channels": catalog.channels,
                "outlook": outlook,
                "unreadable": catalog.unreadable,
            });
        }
        let (name, list) = match self.what {
            What::Collections => ("collections", json!(catalog.collections)),
            What::Partitions => ("partitions", json!(catalog.partitions)),
            What::Indexes => ("indexes", json!(catalog.indexes)),
            What::Segments => ("segments", json!(catalog.segments)),
            What::Aliases => ("aliases", json!(catalog.aliases)),
            What::Loads => ("loads", json!(catalog.loads)),
            What::Channels => ("channels", json!(catalog.channels)),
            What::Sessions => ("sessions", json!(catalog.sessions)),
            What::Databases => ("databases", json!(catalog.databases)),
        };
        json!({ "layout": catalog.layout, name: list, "unreadable": catalog.unreadable })
    }

    fn text(&self, style: Style) -> String {
        let how = How {
            style,
            detail: self.detail,
            is_one: self.is_one,
        };
        let mut lines = match &self.one {
            Some((id, outlook)) => collection::lines(&self.catalog, *id, outlook, how),
            None => self.list(how),
        };
        lines.extend(unreadable(&self.catalog, style));
        lines.push(String::new());
        lines.join("\n")
    }

    fn list(&self, how: How) -> Vec<String> {
        let catalog = &self.catalog;
        let mut lines = match self.what {
            What::Collections => tables::collections(&catalog.collections, how),
            What::Partitions => tables::partitions(&catalog.partitions, how),
            What::Indexes => tables::indexes(&catalog.indexes, how),
            What::Segments => tables::segments(&catalog.segments, how),
            What::Aliases => tables::aliases(&catalog.aliases, how),
            What::Loads => tables::loads(&catalog.loads, how),
            What::Channels => tables::channels(&catalog.channels, how),
            What::Sessions => tables::sessions(&catalog.sessions, how),
            What::Databases => tables::databases(&catalog.databases, how),
        };
        if lines.len() <= 1 {
            lines = vec!["None.".to_owned()];
            lines.extend((!self.note.is_empty()).then(|| self.note.to_owned()));
        }
        let is_of_all = self.what == What::Collections;
        lines.extend(tables::dropped(is_of_all, catalog, how.style));
        lines
    }
}

/// Says how many values are missing from the tables because they cannot be decoded.
fn unreadable(catalog: &Catalog, style: Style) -> Vec<String> {
    let all = &catalog.unreadable;
    let Some(first) = all.first() else {
        return Vec::new();
    };
    let text = format!(
        "{} cannot be decoded, such as {} (-o json lists all)",
        counted(all.len() as u64, "value"),
        line(&first.key)
    );
    let lines = style.wrapped(&text, "  ").into_iter();
    lines.map(|text| style.careful(&text)).collect()
}
