//! Collections that no release of Milvus can use. They are migrated anyway, so that nothing is
//! lost.

use crate::codec::v2_1::Collection;
use crate::model::CollectionId;

/// Returns the codes and messages of the findings about a record.
pub(super) fn oddities(record: &Collection) -> Vec<(&'static str, String)> {
    let mut oddities = Vec::new();
    let mut odd = |code, what: String| {
        let message =
            format!("{what}; it is migrated unchanged: Milvus 2.2 cannot use it, like 2.1");
        oddities.push((code, message));
    };
    let mut names: Vec<_> = record.fields.iter().map(|field| &field.name).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let what = format!("two fields of the schema are named {:?}", pair[0]);
        odd("duplicate-field-name", what);
    }
    let keys = record.fields.iter().filter(|field| field.is_primary_key);
    let count = keys.count();
    if count > 1 {
        let what = format!("the schema has {count} primary keys");
        odd("several-primary-keys", what);
    }
    if record.partition_ids.is_empty() {
        let what = if record.fields.is_empty() {
            "the record lists neither fields nor partitions"
        } else {
            "the record lists no partitions"
        };
        odd("collection-without-partitions", what.to_owned());
    }
    oddities
}

/// Returns messages about a record that does not belong to the key of collection `key`.
pub(super) fn misplaced(key: CollectionId, record: &Collection) -> Vec<String> {
    let mut messages = Vec::new();
    if record.id != key {
        messages.push(format!(
            "the record is under the key of collection {key}; it stays there, where Milvus 2.1 read it and \
             2.2 will",
        ));
    }
    if record.database != 0 {
        messages.push(format!(
            "the record names database {}, which Milvus 2.1 and 2.2 before 2.2.9 do not \
             know; it is migrated unchanged",
            record.database
        ));
    }
    messages
}
