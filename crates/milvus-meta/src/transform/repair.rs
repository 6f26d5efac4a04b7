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
use super::migration::{Migration, RepairParts};
use super::names::CollectionNames;
use super::{NewKeys, Options};
use crate::codec::v2_1;
use crate::keys::{Evidence, Family, Key, MetaRoot, Object, is_tombstone};
use crate::model::CollectionId;
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

/// What a repair writes and deletes. Keys are relative to the meta root.
#[derive(Debug, Default)]
struct Changes {
    /// New keys that no release reads while the collection's record is embedded.
    staged: NewKeys,
    /// New keys that every 2.2 reads: written with or after the commit.
    visible: NewKeys,
    /// New values of keys that are there.
    rewrites: NewKeys,
    /// Keys that 2.2 must not see: deleted in the commit.
    removed: BTreeSet<Vec<u8>>,
    /// Keys that were replaced or that no release reads; deleted last.
    replaced: BTreeSet<Vec<u8>>,
    /// Collections that are repaired or could not be.
    touched: BTreeSet<CollectionId>,
    /// Collections that could not be repaired: nothing of them is changed.
    refused: BTreeSet<CollectionId>,
    /// Collections that were dropped although a record of them lives.
    dropped: BTreeSet<CollectionId>,
}

impl Changes {
    /// Whether a key gets another value or goes.
    fn goes(&self, key: &[u8]) -> bool {
        self.removed.contains(key) || self.replaced.contains(key)
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

    /// Decides everything.
    pub(super) fn finish(mut self, root: MetaRoot, options: &Options) -> Migration {
        let mut findings = Findings::of_repair(root.clone());
        let mut changes = Changes::default();
        let there = &self.there;
        self.used.push_loads(there);
        let mut moved = collections::repair(there, options, &mut changes, &mut findings);
        frozen::repair(there, &self.used, &mut changes, &mut findings);
        let lost = Lost {
            used: &self.used,
            source: options.schemas.as_deref(),
            form: options.form,
        };
        if lost.repair(there, &mut moved, &mut changes, &mut findings) {
            // Only this run has the backup: nothing may be staged that a rollback could not plan again.
            let staged = std::mem::take(&mut changes.staged);
            changes.visible.extend(staged);
        }
        collections::add_default_database(there, &moved, &mut changes);
        aliases::repair(there, &moved, &mut changes, &mut findings);
        legacy_aliases::repair(there, &moved, &mut changes, &mut findings);
        leftovers::repair(there, &mut changes, &mut findings);
        snapshots::repair(there, &mut changes, &mut findings);
        self.segment_indexes
            .repair(&names_of(there), &mut changes, &mut findings);
        let Changes {
            staged,
            visible,
            rewrites,
            removed,
            replaced,
            ..
        } = changes;
        Migration::repairing(RepairParts {
            root,
            form: options.form,
            findings: findings.finish(),
            staged,
            visible,
            rewrites,
            removed,
            replaced,
            read: self.read,
        })
    }
}

/// The families that a repair looks at.
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

/// The objects that live by their plain keys, with these and their values.
fn live(there: &Keys) -> impl Iterator<Item = (Object<'_>, &[u8], &[u8])> {
    there.iter().filter_map(|(key, value)| {
        let Key::Plain(object) = Key::parse(key) else {
            return None;
        };
        (!is_tombstone(value)).then_some((object, key.as_slice(), value.as_slice()))
    })
}

/// The names of the collections that live.
fn names_of(there: &Keys) -> CollectionNames {
    let named = live(there).filter_map(|(object, _, value)| {
        let (Object::Collection(id) | Object::DatabaseCollection(_, id)) = object else {
            return None;
        };
        let record = v2_1::collection(value).ok()?;
        Some((id, record.name?))
    });
    named.collect()
}

/// The collections that have a record that lives.
fn living_collections(there: &Keys) -> BTreeSet<CollectionId> {
    live(there)
        .filter_map(|(object, ..)| {
            let (Object::Collection(id) | Object::DatabaseCollection(_, id)) = object else {
                return None;
            };
            Some(id)
        })
        .collect()
}
