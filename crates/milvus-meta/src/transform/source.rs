//! Reads the entries of the source and stores only what the migration needs of each.

use std::collections::{BTreeMap, BTreeSet};

use super::checkpoint::Checkpoints;
use super::findings::Findings;
use super::incomplete::{self, Known, References};
use super::index::{Definitions, IndexContext};
use super::kept::Kept;
use super::load_state::LoadTable;
use super::migration::Migration;
use super::nested::NestedInstances;
use super::objects::{self, ObjectKind, Objects};
use super::pending_ddl::LastOperation;
use super::repair::Repair;
use super::segment_index::SegmentTable;
use super::segment_log::LogTable;
use super::snapshots::RawHistory;
use super::{CollectionForm, Options, Task, alias, collection, database, names};
use crate::entry::Entry;
use crate::keys::{Evidence, Family, Key, MetaRoot, Object, Timestamp, split_timestamp};
use crate::layout::{Layout, LayoutDetector};
use crate::model::CollectionId;

const LAST_MOMENT: &str =
    "the key of this snapshot has the largest possible timestamp, which 2.1 never writes";

/// Reads 2.1 metadata.
#[derive(Debug)]
pub struct Source {
    root: MetaRoot,
    options: Options,
    detector: LayoutDetector,
    findings: Findings,
    read: BTreeMap<Family, u64>,
    last: Family,
    collections: BTreeMap<CollectionId, RawHistory>,
    aliases: BTreeMap<Vec<u8>, RawHistory>,
    last_operation: LastOperation,
    definitions: Definitions,
    segments: SegmentTable,
    logs: LogTable,
    loads: LoadTable,
    checkpoints: Checkpoints,
    references: References,
    nested: NestedInstances,
    /// The 2.2 metadata that exists next to the 2.1 metadata.
    kept: Kept,
    /// Whether the database `default` exists.
    has_database: bool,
    /// Keys in the collection families that stay unchanged, relative to the meta root.
    staying: BTreeSet<Vec<u8>>,
    /// The input of a repair, which uses none of the above.
    repair: Repair,
}

impl Source {
    /// Starts reading the metadata below `root`.
    #[must_use]
    pub fn new(root: MetaRoot, options: Options) -> Self {
        Self {
            detector: LayoutDetector::new(root.clone()),
            findings: Findings::new(root.clone(), options.on_broken_record),
            logs: LogTable::new(options.segment_form),
            root,
            options,
            read: BTreeMap::new(),
            last: Family::Other,
            collections: BTreeMap::new(),
            aliases: BTreeMap::new(),
            last_operation: LastOperation::default(),
            definitions: Definitions::default(),
            segments: SegmentTable::default(),
            loads: LoadTable::default(),
            checkpoints: Checkpoints::default(),
            references: References::default(),
            nested: NestedInstances::default(),
            kept: Kept::default(),
            has_database: false,
            staying: BTreeSet::new(),
            repair: Repair::default(),
        }
    }

    /// Adds an entry. Entries outside the meta root are ignored; the result does not depend on the
    /// order, but ascending order is fastest.
    pub fn push(&mut self, entry: &Entry) {
        let Some(relative) = self.root.strip(&entry.key) else {
            return;
        };
        let family = Family::of_near(relative, self.last);
        self.last = family;
        self.detector.push_known(family, entry);
        match self.options.task {
            Task::Repair => self.repair.push(family, relative, &entry.value),
            Task::Migration => self.push_known(family, relative, entry),
        }
    }

    fn push_known(&mut self, family: Family, relative: &[u8], entry: &Entry) {
        self.note(relative, entry);
        if family.evidence() == Evidence::V2_2 {
            self.kept.push(relative, &entry.value);
            return;
        }
        if family == Family::Other {
            self.nested.push(relative);
        }
        if !is_read(family) {
            return;
        }
        *self.read.entry(family).or_default() += 1;
        if family == Family::ChannelCheckpoint {
            self.checkpoints.push_existing(relative);
            return;
        }
        self.push_record(family, relative, &entry.value);
    }

    /// Adds an entry of a family that is converted.
    fn push_record(&mut self, family: Family, relative: &[u8], value: &[u8]) {
        let findings = &mut self.findings;
        match Key::parse(relative) {
            Key::Plain(object) => self.push_object(object, None, value),
            // No snapshot can be added after the last timestamp.
            Key::Snapshot(_, Timestamp::LAST) => self.unreadable_key(family, relative),
            Key::Snapshot(object, timestamp) => self.push_object(object, Some(timestamp), value),
            Key::LegacyIndex(collection, index) => {
                self.definitions.push((collection, index), value, findings);
            }
            Key::LegacySegmentIndex(collection, index, partition, segment) => {
                let ids = (collection, partition, segment, index);
                self.segments.push(ids, value, findings);
            }
            Key::IndexBuild(id) => self.segments.push_build(id, value, findings),
            Key::QueryCollection(id) => {
                self.references.push_load_state(id, value);
                self.loads.push_state(id, value, findings);
            }
            Key::QueryReplica(id) => self.loads.push_replica(id, value, findings),
            Key::Segment(collection, partition, segment) => {
                let ids = (collection, partition, segment);
                self.segments.segments.push(ids, value, findings);
                self.logs.push(ids, value);
            }
            Key::SegmentLog(kind, collection, partition, segment, field) => {
                let ids = (collection, partition, segment);
                self.logs.push_key(kind, ids, field, value);
            }
            Key::Unknown(_) => self.unreadable_key(family, relative),
            // Of families that a migration does not read.
            Key::FieldIndex(..)
            | Key::SegmentIndex(..)
            | Key::CollectionLoadInfo(_)
            | Key::PartitionLoadInfo(..)
            | Key::Replica(..)
            | Key::SessionId
            | Key::Session(_) => {}
        }
    }

    /// Adds the value of an object with history. The history of the last operation is not read.
    fn push_object(&mut self, object: Object<'_>, timestamp: Option<Timestamp>, value: &[u8]) {
        if let Object::Collection(id) = object {
            let history = self.collections.entry(id).or_default();
            history.set(timestamp, value);
        } else if let Object::LegacyAlias(name) = object {
            let history = self.aliases.entry(name.to_vec()).or_default();
            history.set(timestamp, value);
        } else if object == Object::DdMessageSend && timestamp.is_none() {
            self.last_operation.push_sent(value);
        } else if object == Object::DdOperation && timestamp.is_none() {
            self.last_operation.push_operation(value);
        }
    }

    /// Adds an entry of which only the existence or a part is relevant.
    fn note(&mut self, relative: &[u8], entry: &Entry) {
        if self.last == Family::Segment {
            self.checkpoints.push_segment(&entry.value);
        }
        if let Some(channel) = Family::ChannelWatch.rest(relative) {
            self.references.push_channel(channel);
        }
        let is_default = Family::Database.rest(relative) == Some(b"1");
        self.has_database |= is_default && !entry.is_tombstone();
    }

    /// Reports a key that does not have the format of its family.
    fn unreadable_key(&mut self, family: Family, relative: &[u8]) {
        let split = split_timestamp(relative);
        let without_timestamp = split.is_none();
        let is_last = split.is_some_and(|(_, timestamp)| timestamp == Timestamp::LAST);
        let is_of_segments = matches!(
            family,
            Family::Segment | Family::Binlog | Family::Deltalog | Family::Statslog
        );
        if is_of_segments || super::ranges::LAST_DDL_HISTORY.contains(&family) {
            // The former stay unchanged; the latter is not read.
            return;
        }
        if family == Family::LegacyAliasSnapshot {
            let (code, what) = if is_last {
                ("snapshot-at-the-last-moment", LAST_MOMENT)
            } else {
                (
                    "snapshot-without-timestamp",
                    "the key of this snapshot does not end in _ts and a number",
                )
            };
            let message = format!(
                "{what}; it is deleted with all snapshots of aliases, and stays in the backup"
            );
            self.findings.notice(code, relative, message);
            return;
        }
        if !matches!(family, Family::Collection | Family::CollectionSnapshot) {
            self.findings.broken(
                "unreadable-key",
                relative,
                "the key does not hold the ids that keys of its family hold",
                "its record is not converted",
            );
            return;
        }
        self.staying.insert(relative.to_vec());
        if family == Family::CollectionSnapshot && without_timestamp {
            self.findings.warning(
                "snapshot-without-timestamp",
                relative,
                "the key of this snapshot does not end in _ts and a number; it stays as it is, and \
                 Milvus 2.2.3 and later skip it or do not start on it",
            );
        } else {
            let what = if is_last {
                LAST_MOMENT
            } else {
                "the key does not end in a collection's id, or in one and a timestamp"
            };
            self.findings.broken(
                "unreadable-key",
                relative,
                what,
                "it stays in etcd unchanged, and Milvus 2.2 may fail on it",
            );
        }
    }

    /// Returns the layout of the entries added so far, regardless of a journal.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.detector.layout()
    }

    /// Returns the evidence for each layout, for messages.
    #[must_use]
    pub fn evidence(&self) -> Vec<String> {
        self.detector.evidence()
    }

    /// Counts the objects in the 2.1 metadata.
    fn objects(&self) -> Objects {
        let mut objects = Objects::default();
        let living = self.segments.segments.living();
        let segments = living.values().map(|(segments, _)| segments).sum();
        objects.found(ObjectKind::Collection, objects::living(&self.collections));
        objects.found(ObjectKind::Segment, segments);
        objects.found(ObjectKind::SegmentIndex, self.segments.len());
        objects.found(ObjectKind::Alias, objects::living(&self.aliases));
        objects.found(ObjectKind::LoadedCollection, self.loads.len());
        objects
    }

    /// Makes all decisions and returns the migration.
    #[must_use]
    pub fn finish(mut self) -> Migration {
        match self.options.task {
            Task::Repair => self.repair.finish(self.root, &self.options),
            Task::Migration => {
                advise(&self.options, &mut self.findings);
                self.last_operation.check(&mut self.findings);
                self.nested.check(&mut self.findings);
                if self.detector.layout() == Layout::V2_1 {
                    let traces = self.detector.traces();
                    incomplete::check_traces(&traces, &mut self.findings);
                }
                self.migration()
            }
        }
    }

    fn migration(self) -> Migration {
        let mut objects = self.objects();
        let (mut kept, mut staying, mut findings) = (self.kept, self.staying, self.findings);
        let (options, form) = (&self.options, self.options.form);
        let of_2_1 = kept.divide(self.collections, &mut staying, &mut findings);
        let (known, all) = known_to(&kept, &of_2_1);
        let going = keys_of(&of_2_1);
        let mut converted = collection::convert(form, of_2_1, &mut findings);
        let others = kept.collections(&mut converted, &mut findings);
        let mut aliases = alias::convert(form, self.aliases, &converted, &mut findings);
        kept.aliases(&mut aliases, &converted.names, &others, &mut findings);
        let ctx = IndexContext {
            live: &converted.live,
            names: &converted.names,
            target: &options.target,
            kept: &kept.index_ids(),
        };
        let mut indexes = self.definitions.convert(ctx, &mut findings);
        kept.indexes(&mut indexes, &others, ctx, &mut findings);
        let loads = (self.loads).convert(&indexes, ctx, &others, &kept.loaded(), &mut findings);
        let living = self.segments.segments.living();
        let references = incomplete::Referenced {
            references: &self.references,
            living,
            converted: &converted,
        };
        references.check(&all, &mut findings);
        if kept.is_empty() {
            references.check_indexes(&self.read, &mut findings);
        }
        let referenced = incomplete::referenced(&known, living, &self.references);
        converted.keep_dropped(form, referenced);
        let segments = self.segments.convert(&indexes, &kept.built, &mut findings);
        objects.keep(&converted.live, &indexes, &aliases, &loads, &segments);
        let named = |id| names::collection(&converted.names, id);
        let logs = self.logs.convert(named, &mut findings);
        let mut staged = std::mem::take(&mut converted.staged);
        self.checkpoints.stage(&converted.live, &mut staged);
        staged.extend(aliases.into_iter().chain(indexes.staged).chain(loads));
        kept.rest(&mut staged, &mut findings);
        // 2.2.9 or later creates the database, if it ran before.
        if form == CollectionForm::Database && !self.has_database {
            database::stage(converted.oldest, &mut staged);
        }
        let mut migration = Migration::new(self.root, options, findings.finish(), self.read);
        migration.small = staged;
        migration.segments = segments;
        migration.logs = logs;
        migration.objects = objects.plans();
        migration.converting(converted, &staying, &going)
    }
}

/// Returns the collections known only to 2.1, and all known collections.
fn known_to(kept: &Kept, of_2_1: &BTreeMap<CollectionId, RawHistory>) -> (Known, Known) {
    let mut known = incomplete::known(of_2_1);
    let mut all = known.clone();
    for id in kept.known() {
        known.remove(&id);
        all.insert(id, None);
    }
    (known, all)
}

/// Returns the keys of collections outside databases.
fn keys_of(collections: &BTreeMap<CollectionId, RawHistory>) -> BTreeSet<Vec<u8>> {
    let all = collections.iter();
    all.flat_map(|(id, history)| history.keys(Object::Collection(*id)))
        .collect()
}

/// Returns whether a migration reads the family, to convert or delete it.
fn is_read(family: Family) -> bool {
    use super::ranges::{LAST_DDL, LAST_DDL_HISTORY, REMOVED, UNREAD};
    matches!(
        family,
        Family::ChannelCheckpoint
            | Family::Collection
            | Family::CollectionSnapshot
            | Family::Segment
            | Family::Binlog
            | Family::Deltalog
            | Family::Statslog
    ) || REMOVED.contains(&family)
        || UNREAD.contains(&family)
        || LAST_DDL.contains(&family)
        || LAST_DDL_HISTORY.contains(&family)
}

/// T1: reports the consequences of the chosen form for the target.
fn advise(options: &Options, findings: &mut Findings) {
    let target = &options.target;
    match options.form {
        CollectionForm::Split if !target.has_databases() => {
            findings.notice(
                "target-before-2.2.9",
                b"",
                format!(
                    "migrate to 2.2.9 or later rather than to {target}: collections written for earlier releases \
                        belong to no database, and after a later upgrade their \
                     altered aliases, renames and property changes are lost at restarts"
                ),
            );
        }
        CollectionForm::Split => findings.warning(
            "split-form",
            b"",
            format!(
                "in the split form collections belong to no database: Milvus {target} then loses aliases \
                 at a restart after an alias with the same beginning was created or altered, and from 2.3 on \
                 it undoes renames and property changes; the database form has neither fault: use \
                 --collection-form database (or auto)"
            ),
        ),
        CollectionForm::Embedded => findings.warning(
            "embedded-form",
            b"",
            "in the embedded form every collection loses all its fields and partitions: under 2.2 at \
             the first restart after it was renamed or altered, and from 2.3.18 and 2.4.5 on at the \
             first start; use the split or database form",
        ),
        CollectionForm::Database => {}
    }
}
