//! Fields: members of the schema in 2.1, records of their own in the split form, byte for byte the same.

use super::history::{Child, Children};
use crate::codec::v2_1::Collection;

/// The fields of a collection record as 2.2 stores them.
pub(super) fn fields(record: &Collection) -> Children {
    record
        .fields
        .iter()
        .map(|field| {
            let child = Child {
                value: field.raw.clone(),
                created: record.create_time,
            };
            (field.id.0, child)
        })
        .collect()
}

/// What makes a schema one that the proxies of 2.1 and 2.2 refuse to serve. It is carried all the same:
/// nothing is lost, and nothing gets worse.
pub(super) fn contradiction(record: &Collection) -> Option<(&'static str, String)> {
    let mut names: Vec<_> = record.fields.iter().map(|field| &field.name).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let what = format!("two fields of the schema are named {:?}", pair[0]);
        return Some(("duplicate-field-name", what));
    }
    let keys = record.fields.iter().filter(|field| field.is_primary_key);
    let count = keys.count();
    (count > 1).then(|| {
        let what = format!("the schema has {count} primary keys");
        ("several-primary-keys", what)
    })
}
