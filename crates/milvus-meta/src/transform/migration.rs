//! The result of the transform: everything that a migration writes and deletes, as data.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;

use sha2::{Digest as _, Sha256};

use super::collection::Converted;
use super::objects::ObjectPlan;
use super::ranges;
use super::segment_index::SegmentIndexes;
use super::segment_log::{SegmentLogs, SegmentRewrite};
use super::{CollectionForm, NewKeys, Options, Put, SegmentForm, Task};
use crate::entry::Entry;
use crate::finding::Finding;
use crate::keys::{Family, KeyRange, MetaRoot};

/// The changes of a migration or repair. Pure data: the same input gives the same bytes.
#[derive(Debug)]
pub struct Migration {
    /// The task.
    pub task: Task,
    pub(super) root: MetaRoot,
    /// The form in which collections are written.
    pub form: CollectionForm,
    /// Where segment logs are stored.
    pub segment_form: SegmentForm,
    /// All findings, most severe first.
    pub findings: Vec<Finding>,
    /// New keys other than segment indexes and segment logs, relative to the meta root.
    pub(super) small: NewKeys,
    pub(super) segments: SegmentIndexes,
    pub(super) logs: SegmentLogs,
    /// The snapshots added to an old family (T2), in ascending order. They are written in or
    /// immediately after the commit.
    pub history: Vec<Put>,
    /// The new values of existing collection records and snapshots, in ascending order.
    pub rewrites: Vec<Put>,
    /// The ranges that 2.2 must not see, in ascending order; the commit deletes them.
    pub removals: Vec<KeyRange>,
    /// The old families that 2.2 does not read, in ascending order; the cleanup deletes them.
    pub leftovers: Vec<KeyRange>,
    /// Source keys read, by family.
    pub(super) read: BTreeMap<Family, u64>,
    /// Deleted source keys of the collection families, by family.
    pub(super) removed: BTreeMap<Family, u64>,
    /// Milvus objects before and after the migration, by kind.
    pub(super) objects: Vec<ObjectPlan>,
    /// SHA-256, in hexadecimal, of everything that is written and deleted.
    pub digest: String,
    /// The number of keys in [`Self::staged`].
    pub staged_count: u64,
    /// The bytes of keys and values in [`Self::staged`].
    pub staged_bytes: u64,
    largest_staged: Option<Put>,
}

/// What a repair writes and deletes; keys are relative to the meta root.
#[derive(Debug, Default)]
pub(super) struct RepairChanges {
    /// New keys that no release reads while the collection's record is embedded.
    pub(super) staged: NewKeys,
    /// New keys that every 2.2 reads: written with or after the commit.
    pub(super) visible: NewKeys,
    /// New values of existing keys.
    pub(super) rewrites: NewKeys,
    /// Keys that 2.2 must not see: deleted in the commit.
    pub(super) removed: BTreeSet<Vec<u8>>,
    /// Keys that were replaced or that no release reads; deleted last.
    pub(super) replaced: BTreeSet<Vec<u8>>,
}

impl Migration {
    /// Creates a plan without changes.
    pub(super) fn new(
        root: MetaRoot,
        options: &Options,
        findings: Vec<Finding>,
        read: BTreeMap<Family, u64>,
    ) -> Self {
        Self {
            task: options.task,
            root,
            form: options.form,
            segment_form: match options.task {
                Task::Migration => options.segment_form,
                Task::Repair => SegmentForm::Inline,
            },
            findings,
            small: NewKeys::new(),
            segments: SegmentIndexes::default(),
            logs: SegmentLogs::default(),
            history: Vec::new(),
            rewrites: Vec::new(),
            removals: Vec::new(),
            leftovers: Vec::new(),
            read,
            removed: BTreeMap::new(),
            objects: Vec::new(),
            digest: String::new(),
            staged_count: 0,
            staged_bytes: 0,
            largest_staged: None,
        }
    }

    /// Adds the changes of a repair, which lists every deleted key.
    pub(super) fn repairing(mut self, changes: RepairChanges) -> Self {
        for key in changes.removed.iter().chain(&changes.replaced) {
            *self.removed.entry(Family::of(key)).or_default() += 1;
        }
        self.small = changes.staged;
        self.history = puts(&self.root, changes.visible);
        self.rewrites = puts(&self.root, changes.rewrites);
        self.removals = ranges::single_keys(&self.root, &changes.removed);
        self.leftovers = ranges::single_keys(&self.root, &changes.replaced);
        self.measured()
    }

    /// Adds the changes to the old families: `kept` are the keys of the collection families that stay unchanged,
    /// `replaced` the keys of converted collections.
    pub(super) fn converting(
        mut self,
        converted: Converted,
        kept: &BTreeSet<Vec<u8>>,
        replaced: &BTreeSet<Vec<u8>>,
    ) -> Self {
        self.remove(&converted, kept, replaced);
        self.history = puts(&self.root, converted.history);
        self.rewrites = puts(&self.root, converted.rewrites);
        self.leftovers = ranges::leftover_ranges(&self.root);
        self.measured()
    }

    /// Sets the ranges that the commit deletes, and the number of collection keys in them by family.
    fn remove(
        &mut self,
        converted: &Converted,
        kept: &BTreeSet<Vec<u8>>,
        replaced: &BTreeSet<Vec<u8>>,
    ) {
        let root = &self.root;
        let removed = ranges::REMOVED.into_iter();
        let mut deleted: Vec<KeyRange> =
            removed.map(|family| ranges::below(root, family)).collect();
        match self.form {
            CollectionForm::Database => {
                for family in [Family::Collection, Family::CollectionSnapshot] {
                    let mut between = ranges::below_except(root, family, kept);
                    // Between keys that stay, keep only ranges with keys to delete, because the commit
                    // has a size limit.
                    if !kept.is_empty() {
                        between.retain(|range| {
                            replaced.iter().any(|key| range.contains(&root.join(key)))
                        });
                    }
                    deleted.extend(between);
                    let stay = kept.iter().filter(|key| Family::of(key) == family);
                    let all = self.read.get(&family).copied().unwrap_or_default();
                    self.removed.insert(family, all - stay.count() as u64);
                }
            }
            CollectionForm::Split | CollectionForm::Embedded => {
                for key in &converted.removed {
                    deleted.push(KeyRange::single(root.join(key)));
                    *self.removed.entry(Family::of(key)).or_default() += 1;
                }
            }
        }
        self.removals = ranges::sorted(deleted);
    }

    /// Returns whether the metadata cannot be migrated in its current state.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(Finding::is_error)
    }

    /// Returns whether nothing is written or deleted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.staged_count == 0
            && self.history.is_empty()
            && self.rewrites.is_empty()
            && self.removals.is_empty()
            && self.leftovers.is_empty()
    }

    /// Returns all new keys in ascending order, all in families that 2.1 does not read. Values are
    /// encoded on demand, identically on every call.
    pub fn staged(&self) -> impl Iterator<Item = Put> + '_ {
        let small = self.small.iter().map(|(key, value)| Put {
            key: self.root.join(key),
            value: value.clone(),
        });
        let large = self.logs.puts(&self.root);
        merged(merged(small, large), self.segments.puts(&self.root))
    }

    /// Returns the largest of all puts, staged or not; a server that accepts it accepts all others.
    #[must_use]
    pub fn largest(&self) -> Option<Put> {
        let old = self.history.iter().chain(&self.rewrites);
        let all = old.chain(&self.largest_staged);
        all.max_by_key(|put| bytes_of(put)).cloned()
    }

    /// Returns the new value of a segment record whose logs get separate keys (T14).
    #[must_use]
    pub fn rewritten_segment(&self, entry: &Entry) -> SegmentRewrite {
        match self.root.strip(&entry.key) {
            Some(relative) => self.logs.rewrite(relative, &entry.value),
            None => SegmentRewrite::Stays,
        }
    }

    /// Returns the number of segment records to rewrite.
    #[must_use]
    pub fn segment_rewrites(&self) -> u64 {
        self.logs.rewrites()
    }

    /// Returns the storage roots of all log paths, the most frequent one first.
    #[must_use]
    pub fn storage_roots(&self) -> &[String] {
        &self.logs.roots
    }

    /// Sets the digest and the numbers of staged keys and bytes by encoding everything once.
    fn measured(mut self) -> Self {
        let (mut staged_count, mut staged_bytes, mut largest_staged) = (0_u64, 0, None);
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(self.form.name().as_bytes());
        part(self.segment_form.to_string().as_bytes());
        let counts = [
            self.history.len() as u64,
            self.rewrites.len() as u64,
            self.removals.len() as u64,
            self.leftovers.len() as u64,
        ];
        for count in counts {
            part(&count.to_le_bytes());
        }
        for put in self.staged() {
            part(&put.key);
            part(&put.value);
            staged_count += 1;
            staged_bytes += bytes_of(&put) as u64;
            if bytes_of(&put) > largest_staged.as_ref().map_or(0, bytes_of) {
                largest_staged = Some(put);
            }
        }
        part(&staged_count.to_le_bytes());
        for put in self.history.iter().chain(&self.rewrites) {
            part(&put.key);
            part(&put.value);
        }
        for (key, fingerprint) in self.logs.rewritten() {
            part(&key);
            part(&fingerprint);
        }
        part(&self.logs.rewrites().to_le_bytes());
        for range in self.removals.iter().chain(&self.leftovers) {
            part(&range.start);
            part(&range.end);
        }
        let digest = hash.finalize();
        self.digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.staged_count = staged_count;
        self.staged_bytes = staged_bytes;
        self.largest_staged = largest_staged;
        self
    }
}

/// Returns keys relative to the meta root as complete puts.
pub(super) fn puts(root: &MetaRoot, keys: NewKeys) -> Vec<Put> {
    let put = |(key, value): (Vec<u8>, Vec<u8>)| Put {
        key: root.join(&key),
        value,
    };
    keys.into_iter().map(put).collect()
}

/// Merges two ascending sequences without common keys.
pub(super) fn merged(
    first: impl Iterator<Item = Put>,
    second: impl Iterator<Item = Put>,
) -> impl Iterator<Item = Put> {
    let mut first = first.peekable();
    let mut second = second.peekable();
    iter::from_fn(move || match (first.peek(), second.peek()) {
        (Some(a), Some(b)) if b.key < a.key => second.next(),
        (Some(_), _) => first.next(),
        (None, _) => second.next(),
    })
}

fn bytes_of(put: &Put) -> usize {
    put.key.len() + put.value.len()
}
