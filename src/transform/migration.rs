//! The decision: everything that a migration writes and deletes, as data.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::collection::Converted;
use super::ranges;
use super::segment_index::SegmentIndexes;
use super::{CollectionForm, NewKeys, Put, overlay};
use crate::entry::Entry;
use crate::finding::{Finding, Severity};
use crate::keys::{Family, KeyRange, MetaRoot};

/// What becomes of 2.1 metadata. Pure data: the same input gives the same bytes.
#[derive(Debug)]
pub struct Migration {
    pub(super) root: MetaRoot,
    form: CollectionForm,
    findings: Vec<Finding>,
    /// New keys but segment indexes, relative to the meta root.
    pub(super) small: NewKeys,
    pub(super) segments: SegmentIndexes,
    history: Vec<Put>,
    rewrites: Vec<Put>,
    removals: Vec<KeyRange>,
    leftovers: Vec<KeyRange>,
    /// Source keys read, by family.
    pub(super) read: BTreeMap<Family, u64>,
    /// Source keys of the collection families that go, by family.
    pub(super) removed: BTreeMap<Family, u64>,
    measure: Measure,
}

/// What is known of everything that is staged when it was encoded once.
#[derive(Debug, Default)]
struct Measure {
    /// SHA-256, in hexadecimal, of everything that is written and deleted.
    digest: String,
    staged_bytes: u64,
    largest_staged: Option<Put>,
}

/// What [`Source::finish`](super::Source::finish) hands over.
pub(super) struct Parts {
    pub(super) root: MetaRoot,
    pub(super) form: CollectionForm,
    pub(super) findings: Vec<Finding>,
    pub(super) staged: NewKeys,
    pub(super) segments: SegmentIndexes,
    pub(super) converted: Converted,
    pub(super) staying: BTreeSet<Vec<u8>>,
    pub(super) read: BTreeMap<Family, u64>,
}

impl Migration {
    pub(super) fn new(parts: Parts) -> Self {
        let root = parts.root;
        let converted = parts.converted;
        let whole = |keys: NewKeys| -> Vec<Put> {
            let puts = keys.into_iter();
            puts.map(|(key, value)| Put {
                key: root.join(&key),
                value,
            })
            .collect()
        };
        let (removals, removed) =
            removals(&root, parts.form, &converted, &parts.staying, &parts.read);
        let mut migration = Self {
            form: parts.form,
            findings: parts.findings,
            small: parts.staged,
            segments: parts.segments,
            history: whole(converted.history),
            rewrites: whole(converted.rewrites),
            removals,
            leftovers: ranges::leftover_ranges(&root),
            read: parts.read,
            removed,
            measure: Measure::default(),
            root,
        };
        migration.measure = migration.measured();
        migration
    }

    /// All findings, worst first.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether the metadata cannot be migrated as it is.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.severity == Severity::Error)
    }

    /// The form in which collections are written.
    #[must_use]
    pub fn form(&self) -> CollectionForm {
        self.form
    }

    /// All new keys, every one in a family that only 2.2 has, in ascending order. Values are encoded
    /// on demand, the same every time.
    pub fn staged(&self) -> impl Iterator<Item = Put> + '_ {
        let segment_indexes = Family::SegmentIndex.prefix().into_bytes();
        let before = self.small.range(..segment_indexes.clone());
        let after = self.small.range(segment_indexes..);
        let put = |(key, value): (&Vec<u8>, &Vec<u8>)| Put {
            key: self.root.join(key),
            value: value.clone(),
        };
        before
            .map(put)
            .chain(self.segments.puts(&self.root))
            .chain(after.map(put))
    }

    /// How many keys [`Self::staged`] gives.
    #[must_use]
    pub fn staged_count(&self) -> u64 {
        self.small.len() as u64 + self.segments.len()
    }

    /// How many bytes of keys and values [`Self::staged`] gives.
    #[must_use]
    pub fn staged_bytes(&self) -> u64 {
        self.measure.staged_bytes
    }

    /// The largest of all puts, staged or not: a server takes every one of them when it takes this one.
    #[must_use]
    pub fn largest(&self) -> Option<Put> {
        let old = self.history.iter().chain(&self.rewrites);
        let all = old.chain(&self.measure.largest_staged);
        all.max_by_key(|put| bytes_of(put)).cloned()
    }

    /// Snapshots added to an old family (T2), ascending: written in or right after the commit.
    #[must_use]
    pub fn history(&self) -> &[Put] {
        &self.history
    }

    /// New values of collection records and their snapshots that stay where they are, ascending.
    #[must_use]
    pub fn rewrites(&self) -> &[Put] {
        &self.rewrites
    }

    /// What 2.2 must not see, ascending: deleted in the commit transaction.
    #[must_use]
    pub fn removals(&self) -> &[KeyRange] {
        &self.removals
    }

    /// Old families that nobody reads any more, ascending: deleted when tidying.
    #[must_use]
    pub fn leftovers(&self) -> &[KeyRange] {
        &self.leftovers
    }

    /// SHA-256, in hexadecimal, of everything that is written and deleted.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.measure.digest
    }

    /// Encodes everything once.
    fn measured(&self) -> Measure {
        let (mut staged_bytes, mut largest_staged) = (0, None);
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(self.form.name().as_bytes());
        let counts = [
            self.staged_count(),
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
            staged_bytes += bytes_of(&put) as u64;
            if bytes_of(&put) > largest_staged.as_ref().map_or(0, bytes_of) {
                largest_staged = Some(put);
            }
        }
        for put in self.history.iter().chain(&self.rewrites) {
            part(&put.key);
            part(&put.value);
        }
        for range in self.removals.iter().chain(&self.leftovers) {
            part(&range.start);
            part(&range.end);
        }
        let digest = hash.finalize();
        Measure {
            digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            staged_bytes,
            largest_staged,
        }
    }

    /// The complete target image, ascending, from the source entries in ascending order: what etcd holds
    /// after the migration. Entries that the migration does not concern pass unchanged.
    pub fn apply<'m, E>(
        &'m self,
        entries: impl Iterator<Item = Result<Entry, E>> + 'm,
    ) -> impl Iterator<Item = Result<Entry, E>> + 'm
    where
        E: 'm,
    {
        overlay::apply(self, entries)
    }
}

fn bytes_of(put: &Put) -> usize {
    put.key.len() + put.value.len()
}

/// The ranges that go in the commit, and how many source keys of the collection families go with them.
fn removals(
    root: &MetaRoot,
    form: CollectionForm,
    converted: &Converted,
    staying: &BTreeSet<Vec<u8>>,
    read: &BTreeMap<Family, u64>,
) -> (Vec<KeyRange>, BTreeMap<Family, u64>) {
    let mut removed = BTreeMap::new();
    let mut gone: Vec<KeyRange> = ranges::GONE
        .into_iter()
        .map(|family| ranges::below(root, family))
        .collect();
    match form {
        CollectionForm::Database => {
            for family in [Family::Collection, Family::CollectionSnapshot] {
                gone.extend(ranges::below_except(root, family, staying));
                let stay = staying
                    .iter()
                    .filter(|key| Family::of(key) == family)
                    .count() as u64;
                let all = read.get(&family).copied().unwrap_or_default();
                removed.insert(family, all - stay);
            }
        }
        CollectionForm::Split | CollectionForm::Embedded => {
            for key in &converted.removed {
                gone.push(KeyRange::single(root.join(key)));
                *removed.entry(Family::of(key)).or_default() += 1;
            }
        }
    }
    (ranges::sorted(gone), removed)
}
