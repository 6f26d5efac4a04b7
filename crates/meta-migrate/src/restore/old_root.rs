//! Finds values that contain the root path of the backed-up instance. A restore to another root
//! moves keys and changes no values, and Milvus uses names in them, for example of channels,
//! unchanged.

use meta_report::OldRoot;
use milvus_meta::entry::{Entry, printable};

/// Maximum number of listed keys.
const KEYS_MAX: usize = 20;

/// Searches the restored values for a root path.
pub(super) struct OldRootSearch(OldRoot);

impl OldRootSearch {
    /// Creates a search for the root path of `from`, if its backup is restored to another root
    /// path. `from` and `to` are meta roots, and `root_path` is the root path of `to`.
    pub(super) fn new(from: &str, to: &str, root_path: &str) -> Option<Self> {
        let sub_path = to.strip_prefix(root_path).unwrap_or_default();
        let root = from.strip_suffix(sub_path).unwrap_or(from);
        let is_moved = from != to && !root.is_empty() && root != root_path;
        is_moved.then(|| {
            Self(OldRoot {
                root: root.to_owned(),
                values: 0,
                keys: Vec::new(),
            })
        })
    }

    pub(super) fn see(&mut self, entry: &Entry) {
        if !contains_word(&entry.value, self.0.root.as_bytes()) {
            return;
        }
        self.0.values += 1;
        if self.0.keys.len() < KEYS_MAX {
            self.0.keys.push(printable(&entry.key));
        }
    }

    pub(super) fn finish(self) -> Option<OldRoot> {
        (self.0.values > 0).then_some(self.0)
    }
}

/// Returns whether a value contains `root`, not as part of a longer word.
fn contains_word(value: &[u8], root: &[u8]) -> bool {
    let is_word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let mut starts = value.windows(root.len()).enumerate();
    starts.any(|(start, part)| {
        let before = start.checked_sub(1).and_then(|index| value.get(index));
        part == root && !is_word(before) && !is_word(value.get(start + root.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_root_is_found_as_a_word() {
        for (value, found) in [
            (&b"by-dev-rootcoord-dml_0"[..], true),
            (b"\x0aby-dev/meta\x12", true),
            (b"files/by-dev", true),
            (b"by-dev2-rootcoord", false),
            (b"nearby-dev/x", false),
            (b"", false),
        ] {
            assert_eq!(contains_word(value, b"by-dev"), found, "{value:?}");
        }
    }

    #[test]
    fn old_root_exists_only_for_a_move() {
        let root = |from, to, path| Some(OldRootSearch::new(from, to, path)?.0.root);
        assert_eq!(
            root("by-dev/meta", "x/meta", "x").as_deref(),
            Some("by-dev")
        );
        assert_eq!(
            root("by-dev/meta", "x/m", "x").as_deref(),
            Some("by-dev/meta")
        );
        assert_eq!(root("by-dev/meta", "by-dev/meta", "by-dev"), None);
        assert_eq!(
            root("by-dev/m", "by-dev/meta", "by-dev").as_deref(),
            Some("by-dev/m")
        );
    }
}
