//! The differences between two states of the metadata, by family and collection.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use milvus_meta::codec::v2_1;
use milvus_meta::entry::printable;
use milvus_meta::keys::{Family, Key, MetaRoot, Object};
use milvus_meta::model::CollectionId;

/// The kind of difference of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The key is only in the second state.
    Added,
    /// The value differs.
    Changed,
    /// The key is only in the first state.
    Removed,
}

impl Change {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }

    /// The change from the second state to the first.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::Added => Self::Removed,
            Self::Changed => Self::Changed,
            Self::Removed => Self::Added,
        }
    }
}

/// Number of differing keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChangeCounts {
    /// Keys only in the second state.
    pub added: u64,
    /// Keys with different values.
    pub changed: u64,
    /// Keys only in the first state.
    pub removed: u64,
}

impl ChangeCounts {
    fn add(&mut self, change: Change) {
        match change {
            Change::Added => self.added += 1,
            Change::Changed => self.changed += 1,
            Change::Removed => self.removed += 1,
        }
    }

    /// The sum of the counts.
    #[must_use]
    pub fn total(self) -> u64 {
        self.added + self.changed + self.removed
    }
}

/// A differing key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChange {
    /// The kind of difference.
    pub change: Change,
    /// The complete key, printable.
    pub key: String,
}

/// The differences in one family.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FamilyDiff {
    /// The family's name.
    pub name: String,
    /// Number of differing keys.
    #[serde(flatten)]
    pub counts: ChangeCounts,
    /// The first differing keys, in key order.
    pub keys: Vec<KeyChange>,
}

/// The differences in the records of one collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionDiff {
    /// The id.
    pub id: String,
    /// The name, if one of the states contains the collection's record.
    pub name: Option<String>,
    /// Number of differing keys.
    #[serde(flatten)]
    pub counts: ChangeCounts,
}

/// The differences between two states.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DiffReport {
    /// Number of differing keys.
    #[serde(flatten)]
    pub counts: ChangeCounts,
    /// Number of equal keys.
    pub equal: u64,
    /// By family, in key order.
    pub families: Vec<FamilyDiff>,
    /// By collection, in order of ids. Keys without a collection are omitted.
    pub collections: Vec<CollectionDiff>,
}

/// Collects differences, which must be added in key order.
#[derive(Debug)]
pub struct DiffBuilder {
    root: MetaRoot,
    keys_max: usize,
    equal: u64,
    families: BTreeMap<Family, FamilyDiff>,
    collections: BTreeMap<CollectionId, ChangeCounts>,
    names: BTreeMap<CollectionId, String>,
}

impl DiffBuilder {
    /// Starts a report with at most `keys_max` keys per family.
    #[must_use]
    pub fn new(root: MetaRoot, keys_max: usize) -> Self {
        Self {
            root,
            keys_max,
            equal: 0,
            families: BTreeMap::new(),
            collections: BTreeMap::new(),
            names: BTreeMap::new(),
        }
    }

    /// Adds a key with its value in either state. `None`: the value is the same in both.
    pub fn add(&mut self, change: Option<Change>, key: &[u8], value: &[u8]) {
        self.record_name(key, value);
        match change {
            Some(change) => self.count(change, key),
            None => self.equal += 1,
        }
    }

    fn record_name(&mut self, key: &[u8], value: &[u8]) {
        let parsed = self.root.strip(key).map(Key::parse);
        let Some(Key::Plain(object) | Key::Snapshot(object, _)) = parsed else {
            return;
        };
        if let Object::Collection(id) | Object::DatabaseCollection(_, id) = object
            && let Ok(record) = v2_1::collection(value)
            && let Some(name) = record.name.filter(|name| !name.is_empty())
        {
            self.names.insert(id, name);
        }
    }

    fn count(&mut self, change: Change, key: &[u8]) {
        let relative = self.root.strip(key).unwrap_or(key);
        let family = Family::of(relative);
        let found = self.families.entry(family).or_default();
        found.counts.add(change);
        if found.keys.len() < self.keys_max {
            let key = printable(key);
            found.keys.push(KeyChange { change, key });
        }
        if let Some(id) = Key::parse(relative).collection() {
            self.collections.entry(id).or_default().add(change);
        }
    }

    /// Returns the report.
    #[must_use]
    pub fn finish(self) -> DiffReport {
        let mut counts = ChangeCounts::default();
        for family in self.families.values() {
            counts.added += family.counts.added;
            counts.changed += family.counts.changed;
            counts.removed += family.counts.removed;
        }
        let families = self.families.into_iter().map(|(family, found)| FamilyDiff {
            name: family.name().to_owned(),
            ..found
        });
        let names = self.names;
        let collections = self.collections.into_iter();
        let collections = collections.map(|(id, counts)| CollectionDiff {
            id: id.to_string(),
            name: names.get(&id).cloned(),
            counts,
        });
        DiffReport {
            counts,
            equal: self.equal,
            families: families.collect(),
            collections: collections.collect(),
        }
    }
}

impl DiffReport {
    /// The differences from the second state to the first.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        let swap =
            |counts: &mut ChangeCounts| std::mem::swap(&mut counts.added, &mut counts.removed);
        swap(&mut self.counts);
        for family in &mut self.families {
            swap(&mut family.counts);
            let keys = family.keys.iter_mut();
            keys.for_each(|key| key.change = key.change.reversed());
        }
        let collections = self.collections.iter_mut();
        collections.for_each(|collection| swap(&mut collection.counts));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diff_is_sorted_by_family_and_collection() {
        let root = MetaRoot::new("by-dev", "meta", "kv").unwrap();
        let mut diff = DiffBuilder::new(root, 1);
        for (change, key) in [
            (Some(Change::Added), "by-dev/meta/datacoord-meta/s/7/1/2"),
            (Some(Change::Changed), "by-dev/meta/datacoord-meta/s/7/1/3"),
            (None, "by-dev/meta/datacoord-meta/s/8/1/3"),
            (Some(Change::Removed), "by-dev/meta/indexes/5"),
        ] {
            diff.add(change, key.as_bytes(), b"");
        }
        let diff = diff.finish();
        assert_eq!((diff.counts.total(), diff.equal), (3, 1));
        let names: Vec<_> = diff.families.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["datacoord-meta/s", "indexes"]);
        assert_eq!(diff.families[0].counts.total(), 2);
        assert_eq!(diff.families[0].keys.len(), 1, "the first only");
        assert_eq!(diff.collections.len(), 1);
        assert_eq!(
            (
                diff.collections[0].id.as_str(),
                diff.collections[0].counts.added
            ),
            ("7", 1)
        );
        let reversed = diff.clone().reversed();
        assert_eq!(reversed.counts.removed, 1);
        assert_eq!(reversed.families[1].keys[0].change, Change::Added);
        assert_eq!(reversed.reversed(), diff);
    }
}
