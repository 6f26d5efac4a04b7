//! The states of etcd after each delete and write of the official tool, as data.

use std::collections::BTreeMap;

/// Keys relative to the meta root, with their values.
pub(crate) type Image = BTreeMap<String, Vec<u8>>;

/// Deleted first, one family per request.
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

/// Written next, one key per request.
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

/// The order in which the tool writes the keys of one family: random, as it iterates over a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Ascending,
    Descending,
}

/// etcd after each request of a run that turns `before` into `after`; the last state is `after`.
pub(crate) fn states(before: &Image, after: &Image, order: Order) -> Vec<Image> {
    let mut state = before.clone();
    let mut states = Vec::new();
    for prefix in DELETED {
        state.retain(|key, _| !key.starts_with(prefix));
        states.push(state.clone());
    }
    for prefix in WRITTEN {
        let family = after.iter().filter(|(key, _)| key.starts_with(prefix));
        let mut family: Vec<_> = family.collect();
        if order == Order::Descending {
            family.reverse();
        }
        for (key, value) in family {
            state.insert(key.clone(), value.clone());
            states.push(state.clone());
        }
    }
    assert!(&state == after, "the last state differs from the result");
    states
}

/// The result of a run of the tool on `before`: it deletes its old families and writes its new ones
/// as in `embedded`, the same metadata in the embedded form.
pub(crate) fn result(before: &Image, embedded: Image) -> Image {
    let is_below = |prefixes: &[&str], key: &str| prefixes.iter().any(|it| key.starts_with(it));
    let mut after = before.clone();
    after.retain(|key, _| !is_below(&DELETED, key));
    after.extend(
        embedded
            .into_iter()
            .filter(|(key, _)| is_below(&WRITTEN, key)),
    );
    after
}
