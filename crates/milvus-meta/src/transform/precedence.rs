//! Records with the same ids under several keys: the one with the greatest key takes precedence.

use std::collections::BTreeMap;

use super::findings::Findings;

/// Records by the ids in their values, with their keys.
pub(super) type Keyed<I, T> = BTreeMap<I, (Vec<u8>, T)>;

/// Adds a record, unless the table has one with a greater key.
pub(super) fn keep_greatest<I: Ord, T>(
    table: &mut Keyed<I, T>,
    id: I,
    key: Vec<u8>,
    record: T,
    findings: &mut Findings,
) {
    match table.get(&id) {
        Some((other, _)) if *other > key => findings.outranked(&key),
        other => {
            if let Some((other, _)) = other {
                findings.outranked(other);
            }
            table.insert(id, (key, record));
        }
    }
}

/// Sorts records by their ids and merges those whose keys have other ids than their values, which `key_of` returns for
/// the ids in the value. Returns the keys of the merged records.
pub(super) fn merge<I: Ord + Copy, T>(
    records: &mut Vec<T>,
    odd: Keyed<I, T>,
    id_of: impl Fn(&T) -> I,
    key_of: impl Fn(I) -> Vec<u8>,
    findings: &mut Findings,
) -> BTreeMap<I, Vec<u8>> {
    records.sort_unstable_by_key(&id_of);
    let (mut keys, mut added) = (BTreeMap::new(), Vec::new());
    for (id, (key, record)) in odd {
        if let Ok(position) = records.binary_search_by_key(&id, &id_of) {
            let regular = key_of(id);
            if key < regular {
                findings.outranked(&key);
                continue;
            }
            findings.outranked(&regular);
            records[position] = record;
        } else {
            added.push(record);
        }
        keys.insert(id, key);
    }
    records.extend(added);
    records.sort_unstable_by_key(id_of);
    keys
}
