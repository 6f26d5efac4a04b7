//! The schemas in a backup, from which a repair restores lost fields and partitions.

use std::collections::BTreeMap;

use crate::entry::Entry;
use crate::keys::{Family, MetaRoot};

/// The collections of a backup, with their partitions and fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaSource {
    root: MetaRoot,
    title: String,
    pub(super) keys: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl SchemaSource {
    /// Creates an empty source for entries below `root`; `title` is its name in findings.
    #[must_use]
    pub fn new(root: MetaRoot, title: impl Into<String>) -> Self {
        Self {
            root,
            title: title.into(),
            keys: BTreeMap::new(),
        }
    }

    /// Adds an entry; entries that are not about schemas are ignored.
    pub fn push(&mut self, entry: &Entry) {
        let Some(relative) = self.root.strip(&entry.key) else {
            return;
        };
        if is_of_schemas(Family::of(relative)) {
            self.keys.insert(relative.to_vec(), entry.value.to_vec());
        }
    }

    /// Returns its name in findings.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }
}

fn is_of_schemas(family: Family) -> bool {
    matches!(
        family,
        Family::Collection
            | Family::CollectionSnapshot
            | Family::DatabaseCollection
            | Family::DatabaseCollectionSnapshot
            | Family::Partition
            | Family::Field
    )
}
