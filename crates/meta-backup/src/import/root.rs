//! The meta root of an imported file, specified by the header or the user, or detected from the
//! keys.

use std::collections::BTreeSet;

use super::super::FormatError;
use super::sorted::Sorted;
use milvus_meta::keys::Family;

pub(super) fn is_below(root: &str, key: &[u8]) -> bool {
    strip(root, key).is_some()
}

/// The part of `key` below `root`.
pub(super) fn strip<'k>(root: &str, key: &'k [u8]) -> Option<&'k [u8]> {
    key.strip_prefix(root.as_bytes())?.strip_prefix(b"/")
}

/// Adds the leading slash that the official tool loses in the header, if no key is below `root`,
/// but some are below `/root`.
pub(super) fn repair_lost_slash(root: String, entries: &Sorted) -> Result<String, FormatError> {
    let holds = |root: &str| entries.any(|key| is_below(root, key));
    if !entries.any(|_| true)? || holds(&root)? {
        return Ok(root);
    }
    let absolute = format!("/{root}");
    if holds(&absolute)? {
        return Ok(absolute);
    }
    Err(FormatError::NothingBelowRoot(root))
}

const ROOTS_LIMIT: usize = 100;

/// Detects the meta root of Milvus metadata among arbitrary keys.
pub(super) fn detect(entries: &Sorted) -> Result<String, FormatError> {
    let (mut roots, mut weak) = (BTreeSet::new(), BTreeSet::new());
    for record in entries.records() {
        let key = record?.key;
        let sets = [
            (&mut roots, root_of(&key, is_root_coordinator_key)),
            (&mut weak, root_of(&key, |_| true)),
        ];
        for (set, root) in sets {
            if let Some(root) = root.filter(|_| set.len() < ROOTS_LIMIT)
                && !set.contains(root)
            {
                set.insert(root.to_owned());
            }
        }
    }
    let roots = if roots.is_empty() { weak } else { roots };
    let mut roots: Vec<String> = roots.into_iter().collect();
    match roots.len() {
        0 => Err(FormatError::NoRoot),
        1 => Ok(roots.remove(0)),
        _ => Err(FormatError::SeveralRoots(roots)),
    }
}

/// Whether the key is of the root coordinator: all metadata has such keys, and other programs do
/// not.
fn is_root_coordinator_key(relative: &[u8]) -> bool {
    relative.starts_with(b"root-coord/") || relative.starts_with(b"snapshots/root-coord/")
}

/// The root for which the key belongs to a known family, at the first possible position:
/// `a/snapshots/root-coord/collection/5_ts4` is below `a`, not below `a/snapshots`.
fn root_of(key: &[u8], is_evidence: impl Fn(&[u8]) -> bool) -> Option<&str> {
    let end = key.iter().enumerate().find_map(|(at, byte)| {
        let relative = key.get(at + 1..)?;
        (*byte == b'/' && is_known(relative) && is_evidence(relative)).then_some(at)
    })?;
    let root = std::str::from_utf8(&key[..end]).ok()?;
    (!root.is_empty()).then_some(root)
}

/// Whether a relative key belongs to Milvus. Of `session/` only `session/id` counts, because other
/// programs may use the word.
fn is_known(relative: &[u8]) -> bool {
    let family = Family::of(relative);
    family != Family::Other && (family != Family::Session || relative == b"session/id")
}

#[cfg(test)]
mod tests {
    use super::super::sorted::{Record, Sorter, State};
    use super::*;

    fn sorted(keys: &[&str]) -> Sorted {
        let mut sorter = Sorter::default();
        for key in keys {
            let record = Record::new(key.as_bytes().to_vec(), Vec::new(), State::Live);
            sorter.push(record).unwrap();
        }
        sorter.finish().unwrap()
    }

    fn detected(keys: &[&str]) -> Result<String, FormatError> {
        detect(&sorted(keys))
    }

    #[test]
    fn the_root_precedes_a_known_family() {
        let keys = [
            "by-dev/kv/gid/timestamp",
            "by-dev/meta/session/id",
            "by-dev/meta/snapshots/root-coord/collection/5_ts4",
            "other/application",
        ];
        assert_eq!(detected(&keys).unwrap(), "by-dev/meta");
        assert_eq!(detected(&["/a/root-coord/index/1/2"]).unwrap(), "/a");
        assert_eq!(detected(&["a/b/session/id"]).unwrap(), "a/b");
    }

    #[test]
    fn several_roots_or_none_are_errors() {
        let error = detected(&["b/root-coord/collection/1", "a/root-coord/collection/1"]);
        let Err(FormatError::SeveralRoots(roots)) = error else {
            panic!("{error:?}");
        };
        assert_eq!(roots, ["a", "b"]);
        assert!(matches!(
            detected(&["other/application"]),
            Err(FormatError::NoRoot)
        ));
    }

    #[test]
    fn weaker_evidence_of_a_second_root_is_ignored() {
        // A `session/id` elsewhere is weaker evidence than a root coordinator's record.
        let keys = ["a/meta/root-coord/collection/1", "shop/session/id"];
        assert_eq!(detected(&keys).unwrap(), "a/meta");
    }

    #[test]
    fn d15_keys_restore_a_slash_lost_in_the_header() {
        let entries = sorted(&["/by-dev/meta/session/id"]);
        assert_eq!(
            repair_lost_slash("by-dev/meta".into(), &entries).unwrap(),
            "/by-dev/meta"
        );
        assert!(matches!(
            repair_lost_slash("else/where".into(), &entries),
            Err(FormatError::NothingBelowRoot { .. })
        ));
    }
}
