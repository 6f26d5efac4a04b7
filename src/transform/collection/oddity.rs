//! Collections that no release of Milvus can use. They are carried all the same: nothing is lost, and
//! nothing gets worse.

use crate::codec::v2_1::Collection;

/// What is odd about a record: a code and what to say.
pub(super) fn oddity(record: &Collection) -> Option<(&'static str, String)> {
    let mut names: Vec<_> = record.fields.iter().map(|field| &field.name).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let what = format!("two fields of the schema are named {:?}", pair[0]);
        return Some(("duplicate-field-name", what));
    }
    let keys = record.fields.iter().filter(|field| field.is_primary_key);
    let count = keys.count();
    if count > 1 {
        let what = format!("the schema has {count} primary keys");
        return Some(("several-primary-keys", what));
    }
    record.partition_ids.is_empty().then(|| {
        let what = if record.fields.is_empty() {
            "the record lists neither fields nor partitions"
        } else {
            "the record lists no partitions"
        };
        ("collection-without-partitions", what.to_owned())
    })
}
