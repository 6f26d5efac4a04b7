//! What the official tool leaves when it is killed: its deletes and writes, one by one, as data.

use std::collections::BTreeMap;

/// Keys relative to the meta root, with their values.
pub(crate) type Image = BTreeMap<String, Vec<u8>>;

/// Deleted first, each in one request.
const DELETED: [&str; 11] = [
    "root-coord/collection",
    "snapshots/root-coord/collection",
    "root-coord/collection-alias",
    "snapshots/root-coord/collection-alias",
    "root-coord/segment-index",
    "root-coord/index",
    "indexes",
    "root-coord/dd-msg-send",
    "snapshots/root-coord/dd-msg-send",
    "root-coord/dd-operation",
    "snapshots/root-coord/dd-operation",
];

/// Written then, a key a request.
const WRITTEN: [&str; 8] = [
    "snapshots/root-coord/collection/",
    "root-coord/collection/",
    "snapshots/root-coord/aliases/",
    "root-coord/aliases/",
    "field-index/",
    "segment-index/",
    "querycoord-collection-loadinfo/",
    "querycoord-partition-loadinfo/",
];

/// etcd after each request of a run that turns `before` into `after`; the last one is `after`.
pub(crate) fn states(before: &Image, after: &Image) -> Vec<Image> {
    let mut state = before.clone();
    let mut states = Vec::new();
    for prefix in DELETED {
        state.retain(|key, _| !key.starts_with(prefix));
        states.push(state.clone());
    }
    for prefix in WRITTEN {
        for (key, value) in after.iter().filter(|(key, _)| key.starts_with(prefix)) {
            state.insert(key.clone(), value.clone());
            states.push(state.clone());
        }
    }
    assert_eq!(&state, after);
    states
}
