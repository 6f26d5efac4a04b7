//! The meta root of an imported file: named by its header, by the user, or only by its keys.

use std::collections::BTreeSet;

use super::super::FormatError;
use super::Pair;
use milvus_meta::keys::Family;

/// Whether `key` is below `root`.
pub(super) fn is_below(root: &str, key: &[u8]) -> bool {
    strip(root, key).is_some()
}

/// The part of `key` below `root`.
pub(super) fn strip<'k>(root: &str, key: &'k [u8]) -> Option<&'k [u8]> {
    key.strip_prefix(root.as_bytes())?.strip_prefix(b"/")
}

/// Keeps the entries below `root`; also returns how many others there were.
pub(super) fn below(root: &str, mut pairs: Vec<Pair>) -> (Vec<Pair>, u64) {
    let before = pairs.len();
    pairs.retain(|(key, _)| is_below(root, key));
    let outside = (before - pairs.len()) as u64;
    (pairs, outside)
}

/// The root of entries with absolute keys. The official tool loses a leading slash in the header, while
/// the keys still have it: where no key is below the root without the slash, but some are below the
/// root with it, the keys are right.
pub(super) fn repair_lost_slash(root: String, pairs: &[Pair]) -> Result<String, FormatError> {
    let holds = |root: &str| pairs.iter().any(|(key, _)| is_below(root, key));
    if pairs.is_empty() || holds(&root) {
        return Ok(root);
    }
    let absolute = format!("/{root}");
    if holds(&absolute) {
        return Ok(absolute);
    }
    Err(FormatError::NothingBelowRoot { root })
}

/// Finds the one root below which Milvus metadata lies, among keys of any origin.
pub(super) fn detect<'k>(
    keys: impl Iterator<Item = &'k [u8]> + Clone,
) -> Result<String, FormatError> {
    let mut roots = candidates(keys.clone(), is_root_coordinator_key);
    if roots.is_empty() {
        roots = candidates(keys, |_| true);
    }
    let mut roots: Vec<String> = roots.into_iter().collect();
    match roots.len() {
        0 => Err(FormatError::NoRoot),
        1 => Ok(roots.remove(0)),
        _ => Err(FormatError::SeveralRoots { roots }),
    }
}

/// Records of the root coordinator are in every metadata, and their prefixes are unlike anything else.
fn is_root_coordinator_key(relative: &[u8]) -> bool {
    relative.starts_with(b"root-coord/") || relative.starts_with(b"snapshots/root-coord/")
}

/// Every root that makes some key one of a known family. Of several cuts of a key the first counts:
/// `a/snapshots/root-coord/collection/5_ts4` is below `a`, not below `a/snapshots`.
fn candidates<'k>(
    keys: impl Iterator<Item = &'k [u8]>,
    is_evidence: impl Fn(&[u8]) -> bool,
) -> BTreeSet<String> {
    keys.filter_map(|key| {
        let cut = key.iter().enumerate().find_map(|(at, byte)| {
            let relative = key.get(at + 1..)?;
            (*byte == b'/' && is_known(relative) && is_evidence(relative)).then_some(at)
        })?;
        let root = std::str::from_utf8(&key[..cut]).ok()?;
        (!root.is_empty()).then(|| root.to_owned())
    })
    .collect()
}

/// Whether a relative key belongs to Milvus. Of `session/` only the id counter counts: the word is too
/// common.
fn is_known(relative: &[u8]) -> bool {
    let family = Family::of(relative);
    family != Family::Other && (family != Family::Session || relative == b"session/id")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detected(keys: &[&str]) -> Result<String, FormatError> {
        detect(keys.iter().map(|key| key.as_bytes()))
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
        let Err(FormatError::SeveralRoots { roots }) = error else {
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
        // A stray `session/id` elsewhere is weaker than a root coordinator's record.
        let keys = ["a/meta/root-coord/collection/1", "shop/session/id"];
        assert_eq!(detected(&keys).unwrap(), "a/meta");
    }

    #[test]
    fn d15_keys_restore_a_slash_lost_in_the_header() {
        let pairs = vec![(b"/by-dev/meta/session/id".to_vec(), Vec::new())];
        assert_eq!(
            repair_lost_slash("by-dev/meta".into(), &pairs).unwrap(),
            "/by-dev/meta"
        );
        assert!(matches!(
            repair_lost_slash("else/where".into(), &pairs),
            Err(FormatError::NothingBelowRoot { .. })
        ));
    }
}
