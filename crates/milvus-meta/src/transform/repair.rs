//! Plans the repair of 2.2 metadata that a later release would misread, or that still contains keys of 2.1.
//!
//! The plan is pure data, like that of a migration: a [`Migration`]. Keys that no 2.2 reads while the record of
//! their collection is embedded are staged. Keys that every 2.2 reads are written with or after the commit. The
//! keys that they replace are deleted last. Correct keys are not changed.
//!
//! A plan from partly repaired metadata is the remaining work. An interrupted repair resumes with it after its
//! commit.

mod aliases;
mod collections;
mod contradictions;
mod frozen;
mod leftovers;
mod legacy_aliases;
mod lost;
mod moves;
mod schemas;
mod segment_indexes;
mod snapshots;
mod used;

use std::collections::{BTreeMap, BTreeSet};

use super::findings::Findings;
use super::migration::{Migration, RepairChanges};
use super::names::CollectionNames;
use super::snapshots::RawHistory;
use super::{NewKeys, Options};
use crate::codec::v2_1;
use crate::keys::{Evidence, Family, Key, MetaRoot, Object, Timestamp, is_tombstone};
use crate::model::CollectionId;
use collections::Refusal;
use lost::Lost;
use segment_indexes::SegmentIndexes;
use used::Used;

/// Keys, relative to the meta root, with their values.
type Keys = BTreeMap<Vec<u8>, Vec<u8>>;

/// Collects the entries that a repair inspects.
#[derive(Debug, Default)]
pub(super) struct Repair {
    entries: Keys,
    segment_indexes: SegmentIndexes,
    used: Used,
    read: BTreeMap<Family, u64>,
}

/// The metadata and the decisions so far. Keys are relative to the meta root.
#[derive(Debug)]
struct Plan<'t> {
    /// The current metadata.
    entries: &'t Keys,
    changes: RepairChanges,
    /// Collections that are repaired or could not be.
    touched: BTreeSet<CollectionId>,
    /// Collections that could not be repaired; none of their keys is changed.
    refused: BTreeSet<CollectionId>,
    /// Collections that were dropped although they still have a live record.
    dropped: BTreeSet<CollectionId>,
    /// The collections that move into the database `default`, with their creation times.
    moved: BTreeMap<CollectionId, Timestamp>,
    findings: Findings,
}

impl Plan<'_> {
    /// Returns whether a key is deleted.
    fn deletes(&self, key: &[u8]) -> bool {
        self.changes.removed.contains(key) || self.changes.replaced.contains(key)
    }

    /// Returns whether an entry exists with this value.
    fn has(&self, key: &[u8], value: &[u8]) -> bool {
        self.entries.get(key).is_some_and(|found| found == value)
    }

    /// Returns the first of the keys that exists with another value.
    fn conflict<'k>(
        &self,
        mut keys: impl Iterator<Item = (&'k Vec<u8>, &'k Vec<u8>)>,
    ) -> Option<&'k [u8]> {
        let is_other = |found: &Vec<u8>, value: &Vec<u8>| found != value;
        let other =
            keys.find(|(key, value)| self.entries.get(*key).is_some_and(|it| is_other(it, value)));
        other.map(|(key, _)| key.as_slice())
    }

    /// Writes those of the keys that do not exist, with or after the commit.
    fn add(&mut self, keys: NewKeys) {
        let missing = keys
            .into_iter()
            .filter(|(key, _)| !self.entries.contains_key(key));
        self.changes.visible.extend(missing);
    }

    /// Leaves a collection unchanged and reports why.
    fn refuse(&mut self, id: CollectionId, key: &[u8], title: &str, why: &Refusal) {
        let (code, message) = why.finding(title, &self.findings);
        self.findings.error(code, key, message);
        self.refused.insert(id);
    }
}

impl Repair {
    /// Adds an entry.
    pub(super) fn push(&mut self, family: Family, relative: &[u8], value: &[u8]) {
        if family == Family::SegmentIndex {
            *self.read.entry(family).or_default() += 1;
            self.segment_indexes.push(relative, value);
            return;
        }
        if !is_read(family) {
            self.used.push(family, relative, value);
            return;
        }
        *self.read.entry(family).or_default() += 1;
        self.entries.insert(relative.to_vec(), value.to_vec());
    }

    /// Plans all changes.
    pub(super) fn finish(mut self, root: MetaRoot, options: &Options) -> Migration {
        let mut plan = Plan {
            entries: &self.entries,
            changes: RepairChanges::default(),
            touched: BTreeSet::new(),
            refused: BTreeSet::new(),
            dropped: BTreeSet::new(),
            moved: BTreeMap::new(),
            findings: Findings::of_repair(root.clone()),
        };
        self.used.push_loads(&self.entries);
        collections::repair(&mut plan, options.form);
        frozen::repair(&mut plan, &self.used);
        let lost = Lost {
            used: &self.used,
            source: options.schemas.as_deref(),
            form: options.form,
        };
        if lost.repair(&mut plan) {
            // A rollback before the commit plans again without the backup, so nothing is staged.
            let staged = std::mem::take(&mut plan.changes.staged);
            plan.changes.visible.extend(staged);
        }
        collections::add_default_database(&mut plan);
        aliases::repair(&mut plan);
        legacy_aliases::repair(&mut plan);
        leftovers::repair(&mut plan);
        snapshots::repair(&mut plan);
        self.segment_indexes.repair(&mut plan);
        let findings = plan.findings.finish();
        Migration::new(root, options, findings, self.read).repairing(plan.changes)
    }
}

/// Returns whether a repair inspects a family.
fn is_read(family: Family) -> bool {
    match family.evidence() {
        Evidence::V2_1Leftover => true,
        Evidence::V2_2 => !matches!(family, Family::FieldIndex | Family::SegmentIndex),
        Evidence::V2_1 | Evidence::Trace | Evidence::Both => {
            matches!(family, Family::Database | Family::DatabaseSnapshot)
        }
    }
}

/// Returns the objects that exist by their plain keys, with these and their values.
fn live(entries: &Keys) -> impl Iterator<Item = (Object<'_>, &[u8], &[u8])> {
    entries.iter().filter_map(|(key, value)| {
        let Key::Plain(object) = Key::parse(key) else {
            return None;
        };
        (!is_tombstone(value)).then_some((object, key.as_slice(), value.as_slice()))
    })
}

/// Returns the values of the objects for which `id_of` returns an id, by these ids.
fn histories<'t, I: Ord>(
    entries: &'t Keys,
    id_of: impl Fn(Object<'t>) -> Option<I>,
) -> BTreeMap<I, RawHistory> {
    let mut histories: BTreeMap<I, RawHistory> = BTreeMap::new();
    for (key, value) in entries {
        if let Some((object, timestamp)) = Key::parse(key).object()
            && let Some(id) = id_of(object)
        {
            histories.entry(id).or_default().set(timestamp, value);
        }
    }
    histories
}

/// Returns the keys that start with `prefix`, with their values.
fn below(keys: &Keys, prefix: Vec<u8>) -> impl Iterator<Item = (&[u8], &[u8])> {
    keys.range(prefix.clone()..)
        .take_while(move |(key, _)| key.starts_with(&prefix))
        .map(|(key, value)| (key.as_slice(), value.as_slice()))
}

/// Returns the prefix of the records of one collection in a family.
fn prefix_of(family: Family, id: CollectionId) -> Vec<u8> {
    format!("{}/{id}/", family.name()).into_bytes()
}

/// Returns the names of the existing collections.
fn names_of(entries: &Keys) -> CollectionNames {
    let named = live(entries).filter_map(|(object, _, value)| {
        let (_, id) = object.collection_record()?;
        Some((id, v2_1::collection(value).ok()?.name?))
    });
    named.collect()
}
