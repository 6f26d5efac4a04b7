//! Titles of objects in findings: the name, if the metadata contains one, and the id.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::codec::v2_1::Collection;
use crate::model::{CollectionId, FieldId, PartitionId};

/// The names of all collections, including dropped ones.
pub(super) type CollectionNames = BTreeMap<CollectionId, String>;

/// Returns a title such as `collection "articles" (470792582854606849)`.
pub(super) fn named(kind: &str, name: Option<&str>, id: impl Display) -> String {
    match name.filter(|name| !name.is_empty()) {
        Some(name) => format!("{kind} {name:?} ({id})"),
        None => format!("{kind} {id}"),
    }
}

pub(super) fn collection(names: &CollectionNames, id: CollectionId) -> String {
    named("collection", names.get(&id).map(String::as_str), id)
}

/// Returns the title of a collection from its record.
pub(super) fn collection_of(record: &Collection) -> String {
    named("collection", record.name.as_deref(), record.id)
}

pub(super) fn field(record: &Collection, id: FieldId) -> String {
    let mut fields = record.fields.iter();
    let schema = fields.find(|schema| schema.id == id);
    named("field", schema.map(|schema| schema.name.as_str()), id)
}

pub(super) fn partition(record: &Collection, id: PartitionId) -> String {
    let mut ids = record.partition_ids.iter().zip(&record.partition_names);
    let name = ids.find(|(other, _)| **other == id);
    named("partition", name.map(|(_, name)| name.as_str()), id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_show_name_and_id() {
        assert_eq!(
            named("collection", Some("articles"), 470),
            "collection \"articles\" (470)"
        );
        assert_eq!(
            named("collection", Some("a\"b"), 1),
            "collection \"a\\\"b\" (1)"
        );
        assert_eq!(named("partition", Some(""), 7), "partition 7");
        assert_eq!(named("index", None, 7), "index 7");
    }
}
