//! `inspect`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::context::CommandContext;
use super::entries::EntrySource;
use super::options::{CommonOptions, ReadingOptions, family_parser};
use super::output::exit::Exit;
use super::output::failure::Failure;
use super::{Outcome, output};
use crate::config::number;
use meta_report::FamilyStatus;
use milvus_meta::catalog::Owner;
use milvus_meta::codec::{describe, mask_secrets};
use milvus_meta::entry::{Entry, printable};
use milvus_meta::keys::{Family, KeyRange, MetaRoot};
use milvus_meta::model::SegmentId;

/// Print entries of etcd or of a backup file, decoded, as JSON lines
///
/// Each line is {"key", "family", "revision", "lease", "value"}; ids are text, and timestamps have a readable time
/// next to them. Password hashes are masked. Writes nothing. Here --key is a key of the metadata; the key of a client
/// certificate is --tls-key.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Read a backup file instead of etcd
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Only entries of this family, for example root-coord/collection
    #[arg(long, value_name = "NAME", value_parser = family_parser(&[Family::Other]), hide_possible_values = true)]
    family: Option<Family>,
    /// Only keys with this prefix; absolute, or relative to the meta root
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Only this key; absolute, or relative to the meta root
    #[arg(id = "entry_key", long = "key", value_name = "KEY")]
    entry_key: Option<String>,
    /// Only entries of this collection, by name, alias or id
    #[arg(long, value_name = "COLLECTION")]
    collection: Option<String>,
    /// Only entries of the segment with this id
    #[arg(long, value_name = "ID", value_parser = number::between(1..=i64::MAX))]
    segment: Option<i64>,
    /// Show the password hashes of users
    #[arg(long)]
    show_secrets: bool,
    /// Print a table of the families instead of the entries
    #[arg(long)]
    summary: bool,
    /// Print keys and values as base64, undecoded: a dump that `restore --backup-file` and --from read
    #[arg(long, conflicts_with = "summary")]
    raw: bool,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    common: CommonOptions,
}

impl Args {
    /// Returns the key or object that must exist.
    fn required(&self) -> Option<String> {
        let key = self.entry_key.as_ref().map(|key| format!("key {key:?}"));
        let segment = || self.segment.map(|id| format!("entry of segment {id}"));
        let collection = || {
            let text = self.collection.as_ref()?;
            Some(format!("entry of collection {text:?}"))
        };
        key.or_else(segment).or_else(collection)
    }

    /// Fails if there is no entry although one was named.
    fn found(&self, any: bool, root: &MetaRoot) -> Outcome {
        match self.required() {
            Some(required) if !any => {
                let message = format!("there is no {required} below {}", root.meta_root());
                Err(Failure::new(Exit::Failed, message))
            }
            Some(_) | None => Ok(Exit::Done),
        }
    }
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let context = CommandContext::begin(&args.common)?;
    let source = EntrySource::open(&context, args.from.as_deref(), args.reading)?;
    let root = source.root(&context);
    let mut selection = Selection::new(args, root);
    if let Some(text) = &args.collection {
        selection.owner.collection = Some(source.collection(&context, text)?);
    }
    if args.summary {
        let mut summary = Summary::default();
        selection.each(&context, &source, |family, entry| {
            summary.add(family, entry);
            ControlFlow::Continue(())
        })?;
        let summary = FamilySummary {
            families: summary.0.into_values().collect(),
        };
        output::print(context.output.format, &summary, |summary, style| {
            output::status::summary(&summary.families, style)
        })?;
        return args.found(!summary.families.is_empty(), root);
    }
    let mut lines = output::Lines::new();
    let (mut count, mut flow) = (0_u64, ControlFlow::Continue(()));
    let revision = selection.each(&context, &source, |family, entry| {
        count += 1;
        flow = match args.raw {
            true => lines.write(&RawEntry::new(entry)),
            false => lines.write(&Shown::new(root, family, args.show_secrets, entry)),
        };
        flow
    })?;
    if args.raw && flow.is_continue() {
        let end = End {
            entries: count,
            revision,
            meta_root: root.meta_root(),
            complete: selection.is_everything(),
        };
        // `finish` reports a failed write.
        let _ = lines.write(&LastLine { end });
    }
    lines.finish()?;
    args.found(count > 0, root)
}

/// The entries to print.
struct Selection<'a> {
    root: &'a MetaRoot,
    /// Ranges that contain them, and possibly others.
    ranges: Vec<KeyRange>,
    family: Option<Family>,
    prefix: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
    /// The selected collection and segment.
    owner: Owner,
}

impl<'a> Selection<'a> {
    fn new(args: &Args, root: &'a MetaRoot) -> Self {
        let absolute = |text: &String| {
            let bytes = text.as_bytes();
            match root.strip(bytes) {
                Some(_) => bytes.to_vec(),
                None => root.join(bytes),
            }
        };
        let key = args.entry_key.as_ref().map(absolute);
        let prefix = args.prefix.as_ref().map(|text| {
            let is_root = text.as_bytes() == root.meta_root().as_bytes();
            if is_root {
                root.join(b"")
            } else {
                absolute(text)
            }
        });
        let ranges = match (&key, &prefix, args.family) {
            (Some(key), _, _) => vec![KeyRange::single(key.clone())],
            (None, Some(prefix), _) => vec![KeyRange::prefix(prefix.clone())],
            (None, None, Some(family)) if family != Family::Other => family.ranges(root),
            (None, None, _) => vec![root.range()],
        };
        Self {
            root,
            ranges,
            family: args.family,
            prefix,
            key,
            owner: Owner {
                collection: None,
                segment: args.segment.map(SegmentId),
            },
        }
    }

    /// Calls `visit` for every selected entry until it breaks. Returns the revision.
    fn each(
        &self,
        context: &CommandContext,
        source: &EntrySource,
        mut visit: impl FnMut(Family, &Entry) -> ControlFlow<()>,
    ) -> Result<i64, Failure> {
        source.each(context, &self.ranges, |entry| match self.family_of(entry) {
            Some(family) => visit(family, entry),
            None => ControlFlow::Continue(()),
        })
    }

    /// Whether every entry below the meta root is selected.
    fn is_everything(&self) -> bool {
        let is_narrowed = self.prefix.is_some() || self.key.is_some();
        self.family.is_none() && !is_narrowed && self.owner == Owner::default()
    }

    /// Returns the family of an entry if it is selected.
    fn family_of(&self, entry: &Entry) -> Option<Family> {
        let key = &*entry.key;
        let relative = self.root.strip(key)?;
        let family = Family::of(relative);
        let wanted = self.family.is_none_or(|wanted| wanted == family)
            && self.key.as_ref().is_none_or(|wanted| wanted == key)
            && self
                .prefix
                .as_ref()
                .is_none_or(|prefix| key.starts_with(prefix))
            && self.is_owner(relative, &entry.value);
        wanted.then_some(family)
    }

    /// Whether an entry belongs to the selected collection and segment.
    fn is_owner(&self, relative: &[u8], value: &[u8]) -> bool {
        if self.owner == Owner::default() {
            return true;
        }
        let owner = Owner::of(relative, value);
        let is_of = |wanted: Option<i64>, found: Option<i64>| wanted.is_none() || wanted == found;
        let (wanted, found) = (self.owner, owner);
        is_of(
            wanted.collection.map(|id| id.0),
            found.collection.map(|id| id.0),
        ) && is_of(wanted.segment.map(|id| id.0), found.segment.map(|id| id.0))
    }
}

/// A decoded entry, as one line of the output.
#[derive(Serialize)]
struct Shown {
    key: String,
    family: &'static str,
    revision: i64,
    lease: String,
    value: serde_json::Value,
}

impl Shown {
    fn new(root: &MetaRoot, family: Family, with_secrets: bool, entry: &Entry) -> Self {
        let relative = root.strip(&entry.key).unwrap_or(&entry.key);
        let mut value = describe(relative, &entry.value);
        if !with_secrets {
            mask_secrets(family, &mut value);
        }
        Self {
            key: printable(&entry.key),
            family: family.name(),
            revision: entry.mod_revision,
            lease: entry.lease.to_string(),
            value,
        }
    }
}

/// An undecoded entry, in the form of etcdctl's JSON output.
#[derive(Serialize)]
struct RawEntry {
    key: String,
    create_revision: i64,
    mod_revision: i64,
    value: String,
    lease: i64,
}

impl RawEntry {
    fn new(entry: &Entry) -> Self {
        Self {
            key: STANDARD.encode(&entry.key),
            create_revision: entry.create_revision,
            mod_revision: entry.mod_revision,
            value: STANDARD.encode(&entry.value),
            lease: entry.lease,
        }
    }
}

/// The last line of raw entries, which proves that the dump is complete.
#[derive(Serialize)]
struct LastLine<'a> {
    end: End<'a>,
}

#[derive(Serialize)]
struct End<'a> {
    entries: u64,
    revision: i64,
    meta_root: &'a str,
    /// Whether every entry below the meta root was printed.
    complete: bool,
}

/// Keys and bytes by family.
#[derive(Default)]
struct Summary(BTreeMap<Family, FamilyStatus>);

impl Summary {
    fn add(&mut self, family: Family, entry: &Entry) {
        let sum = self.0.entry(family).or_insert_with(|| FamilyStatus {
            name: family.name().to_owned(),
            ..FamilyStatus::default()
        });
        sum.keys += 1;
        sum.bytes += (entry.key.len() + entry.value.len()) as u64;
    }
}

#[derive(Serialize)]
struct FamilySummary {
    families: Vec<FamilyStatus>,
}
