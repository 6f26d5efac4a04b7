//! The meta root: where in etcd one Milvus instance keeps its metadata.
//!
//! Milvus composes keys with POSIX path cleaning: empty parts are dropped, `//` collapses, `.` and
//! `..` are resolved, a trailing slash goes, a leading slash stays. This module does the same once,
//! and from then on only ever uses prefixes that **end in a slash**, so that `by-dev/meta2/…` is
//! never taken for a part of `by-dev/meta`.

use std::fmt;

use super::KeyRange;

/// The root of an instance's metadata, with the two sub-paths that Milvus' configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaRoot {
    root_path: String,
    meta_root: String,
    kv_root: String,
}

impl MetaRoot {
    /// Joins `etcd.rootPath` with `etcd.metaSubPath` and `etcd.kvSubPath` the way Milvus does.
    ///
    /// # Errors
    /// [`RootError`] when the meta root would be empty or would contain the kv root.
    pub fn new(root_path: &str, meta_sub_path: &str, kv_sub_path: &str) -> Result<Self, RootError> {
        let meta_root = clean_join(&[root_path, meta_sub_path]);
        let kv_root = clean_join(&[root_path, kv_sub_path]);
        if meta_root.is_empty() || meta_root == "/" {
            return Err(RootError::Empty);
        }
        if kv_root == meta_root || kv_root.starts_with(&format!("{meta_root}/")) {
            return Err(RootError::KvInside { meta_root, kv_root });
        }
        Ok(Self {
            root_path: clean_join(&[root_path]),
            meta_root,
            kv_root,
        })
    }

    /// The cleaned `etcd.rootPath`.
    #[must_use]
    pub fn root_path(&self) -> &str {
        &self.root_path
    }

    /// The meta root without a trailing slash, for example `by-dev/meta`.
    #[must_use]
    pub fn meta_root(&self) -> &str {
        &self.meta_root
    }

    /// The kv root without a trailing slash, for example `by-dev/kv`. Nothing is ever written there.
    #[must_use]
    pub fn kv_root(&self) -> &str {
        &self.kv_root
    }

    /// The complete key for a key relative to the meta root.
    #[must_use]
    pub fn join(&self, relative: &[u8]) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.meta_root.len() + 1 + relative.len());
        key.extend_from_slice(self.meta_root.as_bytes());
        key.push(b'/');
        key.extend_from_slice(relative);
        key
    }

    /// The part of `key` below the meta root, or `None` when the key belongs to another program.
    #[must_use]
    pub fn strip<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        key.strip_prefix(self.meta_root.as_bytes())?
            .strip_prefix(b"/")
    }

    /// Every key below the meta root, and no key of a neighbour.
    #[must_use]
    pub fn range(&self) -> KeyRange {
        KeyRange::prefix(self.join(b""))
    }

    /// Every key below a relative prefix; the prefix has to end in a slash to be exact.
    #[must_use]
    pub fn range_below(&self, relative_prefix: &str) -> KeyRange {
        KeyRange::prefix(self.join(relative_prefix.as_bytes()))
    }

    /// The lock key, `<metaRoot>/session/migration`: the same key the official tool registers.
    #[must_use]
    pub fn lock_key(&self) -> Vec<u8> {
        self.join(b"session/migration")
    }

    /// The counter from which Milvus takes server ids. It is not a session.
    #[must_use]
    pub fn session_id_key(&self) -> Vec<u8> {
        self.join(b"session/id")
    }

    /// The journal key, `<rootPath>/migration/journal/<metaSubPath>`: each meta root has its own. It lies
    /// outside the meta root, unless `etcd.metaSubPath` is empty.
    #[must_use]
    pub fn journal_key(&self) -> Vec<u8> {
        self.record_key("journal")
    }

    /// The history key, `<rootPath>/migration/history/<metaSubPath>`, beside the journal key.
    #[must_use]
    pub fn history_key(&self) -> Vec<u8> {
        self.record_key("history")
    }

    /// The keys that hold this program's records, the journal and the history: they are no metadata.
    #[must_use]
    pub fn record_keys(&self) -> [Vec<u8>; 2] {
        [self.history_key(), self.journal_key()]
    }

    fn record_key(&self, kind: &str) -> Vec<u8> {
        let below = self.meta_root.strip_prefix(self.root_path.as_str());
        let sub_path = match below {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.to_owned(),
            Some(_) if self.root_path.is_empty() => format!("/{}", self.meta_root),
            // A sub-path with `..` leads out of the root path: two slashes keep it apart from those inside.
            Some(_) | None => format!("//{}", self.meta_root),
        };
        let prefix = clean_join(&[&self.root_path, "migration", kind]);
        (prefix + &sub_path).into_bytes()
    }
}

impl fmt::Display for MetaRoot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.meta_root)
    }
}

/// A root path with which no migration can work.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RootError {
    /// The root path and the meta sub-path are both empty.
    #[error("the root path and the meta sub-path are both empty")]
    Empty,
    /// The kv root (id and timestamp allocators) is inside the meta root.
    #[error("the kv root {kv_root:?} lies inside the meta root {meta_root:?}")]
    KvInside {
        /// The cleaned meta root.
        meta_root: String,
        /// The cleaned kv root.
        kv_root: String,
    },
}

/// Joins and cleans path parts as POSIX path cleaning does; a leading slash of the first non-empty
/// part stays.
#[must_use]
pub fn clean_join(parts: &[&str]) -> String {
    let joined = parts
        .iter()
        .filter(|part| !part.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join("/");
    let absolute = joined.starts_with('/');
    let mut cleaned: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => match cleaned.last() {
                Some(last) if *last != ".." => {
                    cleaned.pop();
                }
                _ if absolute => {}
                _ => cleaned.push(".."),
            },
            other => cleaned.push(other),
        }
    }
    let path = cleaned.join("/");
    if absolute { format!("/{path}") } else { path }
}

/// Accepts the root path or a sub-path unless it is empty: that would move the metadata to another
/// place, and an unset shell variable is the usual cause.
///
/// # Errors
/// Why it is refused.
pub fn path_part(text: &str) -> Result<String, &'static str> {
    let is_empty = text.split('/').all(|part| matches!(part.trim(), "" | "."));
    if is_empty {
        Err("the path is empty; leave it out for the default")
    } else {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_joined_the_way_milvus_joins_them() {
        for (root, meta, expected) in [
            ("by-dev", "meta", "by-dev/meta"),
            ("/by-dev/", "/meta/", "/by-dev/meta"),
            ("a//b", "./meta", "a/b/meta"),
            ("a/../b", "meta", "b/meta"),
            ("", "meta", "meta"),
        ] {
            assert_eq!(
                MetaRoot::new(root, meta, "kv").unwrap().meta_root(),
                expected
            );
        }
        assert_eq!(
            MetaRoot::new("one", "", "../kv").unwrap().meta_root(),
            "one"
        );
    }

    #[test]
    fn d14_a_neighbour_that_shares_the_prefix_is_not_ours() {
        let root = MetaRoot::new("by-dev", "meta", "kv").unwrap();
        assert_eq!(
            root.strip(b"by-dev/meta/indexes/1"),
            Some(&b"indexes/1"[..])
        );
        assert_eq!(root.strip(b"by-dev/meta2/indexes/1"), None);
        assert!(!root.range().contains(b"by-dev/meta2/indexes/1"));
        assert!(!root.range().contains(b"by-dev/meta"));
        assert!(root.range().contains(b"by-dev/meta/x"));
    }

    #[test]
    fn every_meta_root_has_its_own_journal() {
        let keys: Vec<String> = [
            ("by-dev", "meta", "by-dev/migration/journal/meta"),
            ("by-dev", "meta2", "by-dev/migration/journal/meta2"),
            ("by-dev", "a/b", "by-dev/migration/journal/a/b"),
            ("by-dev", "", "by-dev/migration/journal"),
            ("/by-dev", "meta", "/by-dev/migration/journal/meta"),
            ("", "meta", "migration/journal/meta"),
            ("by-dev", "../meta", "by-dev/migration/journal//meta"),
            ("by-dev", "../by-dev2", "by-dev/migration/journal//by-dev2"),
        ]
        .map(|(root, meta, expected)| {
            let root = MetaRoot::new(root, meta, "../kv").unwrap();
            assert_eq!(root.journal_key(), expected.as_bytes());
            let history = expected.replace("journal", "history");
            assert_eq!(root.history_key(), history.as_bytes());
            expected.to_owned()
        })
        .into();
        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn the_kv_root_must_not_lie_inside_the_meta_root() {
        assert!(matches!(
            MetaRoot::new("a", "", "kv"),
            Err(RootError::KvInside { .. })
        ));
        assert_eq!(MetaRoot::new("", "", ""), Err(RootError::Empty));
    }
}
