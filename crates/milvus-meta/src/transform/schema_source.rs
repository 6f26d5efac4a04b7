//! The collections of a backup, from which a repair restores fields and partitions that the metadata lost.

use std::collections::BTreeMap;

use crate::entry::Entry;
use crate::keys::{Family, MetaRoot};

/// What a backup holds of collections, their partitions and their fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaSource {
    root: MetaRoot,
    title: String,
    pub(super) keys: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl SchemaSource {
    /// An empty source for entries below `root`; `title` names it in findings.
    #[must_use]
    pub fn new(root: MetaRoot, title: impl Into<String>) -> Self {
        Self {
            root,
            title: title.into(),
            keys: BTreeMap::new(),
        }
    }

    /// Takes one entry; those that say nothing about a schema are ignored.
    pub fn push(&mut self, entry: &Entry) {
        let Some(relative) = self.root.strip(&entry.key) else {
            return;
        };
        if is_of_schemas(Family::of(relative)) {
            self.keys.insert(relative.to_vec(), entry.value.to_vec());
        }
    }

    /// What findings call it.
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
