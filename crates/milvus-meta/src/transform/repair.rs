//! Plans the repair of 2.2 metadata that a later release would misread, or that still contains keys of 2.1.
//!
//! Pure, as the migration is, and the result is the same data: a [`Migration`]. Keys that no 2.2 reads while the
//! record they belong to is embedded are staged; what every 2.2 sees is written with and after the commit; what
//! it replaces is deleted last. Correct keys are not changed.
//!
//! Planned again from partly repaired metadata, the result is the remaining work: an interrupted repair
//! resumes this way after its commit.

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

/// Collects the entries that a repair inspects; all others stay.
#[derive(Debug, Default)]
pub(super) struct Repair {
    there: Keys,
    segment_indexes: SegmentIndexes,
    used: Used,
    read: BTreeMap<Family, u64>,
}

/// The metadata, and what is decided about it so far. Keys are relative to the meta root.
#[derive(Debug)]
struct Plan<'t> {
    there: &'t Keys,
    changes: RepairChanges,
    /// Collections that are repaired or could not be.
    touched: BTreeSet<CollectionId>,
    /// Collections that could not be repaired: nothing of them is changed.
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
        self.there.get(key).is_some_and(|found| found == value)
    }

    /// Returns the first of the keys that exists with another value.
    fn conflict<'k>(
        &self,
        mut keys: impl Iterator<Item = (&'k Vec<u8>, &'k Vec<u8>)>,
    ) -> Option<&'k [u8]> {
        let is_other = |found: &Vec<u8>, value: &Vec<u8>| found != value;
        let other =
            keys.find(|(key, value)| self.there.get(*key).is_some_and(|it| is_other(it, value)));
        other.map(|(key, _)| key.as_slice())
    }

    /// Writes those of the keys that do not exist, with or after the commit.
    fn add(&mut self, keys: NewKeys) {
        let missing = keys
            .into_iter()
            .filter(|(key, _)| !self.there.contains_key(key));
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
    /// Takes one entry.
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
        self.there.insert(relative.to_vec(), value.to_vec());
    }

    /// Plans all changes.
    pub(super) fn finish(mut self, root: MetaRoot, options: &Options) -> Migration {
        let mut plan = Plan {
            there: &self.there,
            changes: RepairChanges::default(),
            touched: BTreeSet::new(),
            refused: BTreeSet::new(),
            dropped: BTreeSet::new(),
            moved: BTreeMap::new(),
            findings: Findings::of_repair(root.clone()),
        };
        self.used.push_loads(&self.there);
        collections::repair(&mut plan, options.form);
        frozen::repair(&mut plan, &self.used);
        let lost = Lost {
            used: &self.used,
            source: options.schemas.as_deref(),
            form: options.form,
        };
        if lost.repair(&mut plan) {
            // Only this run has the backup: nothing may be staged that a rollback could not plan again.
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
        Migration::repairing(root, options.form, findings, self.read, plan.changes)
    }
}

/// Returns whether a repair inspects a family.
fn is_read(family: Family) -> bool {
    matches!(
        family,
        Family::Collection
            | Family::CollectionSnapshot
            | Family::DatabaseCollection
            | Family::DatabaseCollectionSnapshot
            | Family::Partition
            | Family::PartitionSnapshot
            | Family::Field
            | Family::FieldSnapshot
            | Family::Alias
            | Family::AliasSnapshot
            | Family::DatabaseAlias
            | Family::DatabaseAliasSnapshot
            | Family::Database
            | Family::DatabaseSnapshot
            | Family::CollectionLoadInfo
            | Family::PartitionLoadInfo
            | Family::Replica
    ) || family.evidence() == Evidence::V2_1Leftover
        || super::ranges::LAST_DDL_HISTORY.contains(&family)
        || family == Family::LegacyAliasSnapshot
}

/// Returns the objects that exist by their plain keys, with these and their values.
fn live(there: &Keys) -> impl Iterator<Item = (Object<'_>, &[u8], &[u8])> {
    there.iter().filter_map(|(key, value)| {
        let Key::Plain(object) = Key::parse(key) else {
            return None;
        };
        (!is_tombstone(value)).then_some((object, key.as_slice(), value.as_slice()))
    })
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
fn names_of(there: &Keys) -> CollectionNames {
    let named = live(there).filter_map(|(object, _, value)| {
        let (_, id) = object.collection_record()?;
        Some((id, v2_1::collection(value).ok()?.name?))
    });
    named.collect()
}
