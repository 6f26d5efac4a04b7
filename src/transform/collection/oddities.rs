//! Collections that no release of Milvus can use. They are carried all the same: nothing is lost, and
//! nothing gets worse.

use crate::codec::v2_1::Collection;

/// What is odd about a record: codes and what to say.
pub(super) fn oddities(record: &Collection) -> Vec<(&'static str, String)> {
    let mut oddities = Vec::new();
    let mut names: Vec<_> = record.fields.iter().map(|field| &field.name).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let what = format!("two fields of the schema are named {:?}", pair[0]);
        oddities.push(("duplicate-field-name", what));
    }
    let keys = record.fields.iter().filter(|field| field.is_primary_key);
    let count = keys.count();
    if count > 1 {
        let what = format!("the schema has {count} primary keys");
        oddities.push(("several-primary-keys", what));
    }
    if record.partition_ids.is_empty() {
        let what = if record.fields.is_empty() {
            "the record lists neither fields nor partitions"
        } else {
            "the record lists no partitions"
        };
        oddities.push(("collection-without-partitions", what.to_owned()));
    }
    oddities
}
