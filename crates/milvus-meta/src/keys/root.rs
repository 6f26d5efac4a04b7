//! The meta root: the key prefix of the metadata of a Milvus instance.
//!
//! Milvus composes keys with POSIX path cleaning: empty parts are removed, `//` collapses, `.` and
//! `..` are resolved, a trailing slash is removed, a leading slash is kept. This module does the
//! same, and then only uses prefixes that **end in a slash**, so that `by-dev/meta2/…` is never
//! considered a part of `by-dev/meta`.

use std::fmt;

use super::KeyRange;

/// The root of an instance's metadata, with the two sub-paths of Milvus' configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaRoot {
    root_path: String,
    meta_root: String,
    kv_root: String,
}

impl MetaRoot {
    /// Joins `etcd.rootPath` with `etcd.metaSubPath` and `etcd.kvSubPath` like Milvus.
    ///
    /// # Errors
    /// [`RootError`] if the meta root would be empty or would contain the kv root.
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

    /// Returns the cleaned `etcd.rootPath`.
    #[must_use]
    pub fn root_path(&self) -> &str {
        &self.root_path
    }

    /// Returns the prefix of all keys below the root path: empty without a root path, else with a
    /// trailing slash.
    #[must_use]
    pub fn prefix(&self) -> String {
        match self.root_path.as_str() {
            "" => String::new(),
            path => format!("{}/", path.trim_end_matches('/')),
        }
    }

    /// Returns the meta root without a trailing slash, for example `by-dev/meta`.
    #[must_use]
    pub fn meta_root(&self) -> &str {
        &self.meta_root
    }

    /// Returns the kv root without a trailing slash, for example `by-dev/kv`. Nothing is ever
    /// written there.
    #[must_use]
    pub fn kv_root(&self) -> &str {
        &self.kv_root
    }

    /// Returns the complete key for a key relative to the meta root.
    #[must_use]
    pub fn join(&self, relative: &[u8]) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.meta_root.len() + 1 + relative.len());
        key.extend_from_slice(self.meta_root.as_bytes());
        key.push(b'/');
        key.extend_from_slice(relative);
        key
    }

    /// Returns the part of `key` below the meta root, or `None` if the key is outside.
    #[must_use]
    pub fn strip<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        key.strip_prefix(self.meta_root.as_bytes())?
            .strip_prefix(b"/")
    }

    /// Returns the range of all keys below the meta root, and of no other instance.
    #[must_use]
    pub fn range(&self) -> KeyRange {
        KeyRange::prefix(self.join(b""))
    }

    /// Returns the range of all keys below a relative prefix, which must end in a slash to be
    /// exact.
    #[must_use]
    pub fn range_below(&self, relative_prefix: &str) -> KeyRange {
        KeyRange::prefix(self.join(relative_prefix.as_bytes()))
    }

    /// Returns the lock key, `<metaRoot>/session/migration`, which the official tool registers,
    /// too.
    #[must_use]
    pub fn lock_key(&self) -> Vec<u8> {
        self.join(b"session/migration")
    }

    /// Returns the key of the counter for Milvus' server ids, which is not a session.
    #[must_use]
    pub fn session_id_key(&self) -> Vec<u8> {
        self.join(b"session/id")
    }

    /// Returns the journal key, `<rootPath>/migration/journal/<metaSubPath>`. Each meta root has a
    /// separate one. It is outside the meta root, unless `etcd.metaSubPath` is empty.
    #[must_use]
    pub fn journal_key(&self) -> Vec<u8> {
        self.record_key("journal")
    }

    /// Returns the history key, `<rootPath>/migration/history/<metaSubPath>`.
    #[must_use]
    pub fn history_key(&self) -> Vec<u8> {
        self.record_key("history")
    }

    /// Returns the keys of this program's records, the journal and the history, which are not
    /// metadata.
    #[must_use]
    pub fn record_keys(&self) -> [Vec<u8>; 2] {
        [self.history_key(), self.journal_key()]
    }

    fn record_key(&self, kind: &str) -> Vec<u8> {
        let root_path = self.root_path.trim_end_matches('/');
        let below = self.meta_root.strip_prefix(root_path);
        let sub_path = match below {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.to_owned(),
            Some(_) if self.root_path.is_empty() => format!("/{}", self.meta_root),
            // A sub-path with `..` is outside the root path: two slashes distinguish it from those
            // inside.
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

/// An invalid combination of root path and sub-paths.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RootError {
    /// The root path and the meta sub-path are both empty.
    #[error("the root path and the meta sub-path are both empty")]
    Empty,
    /// The kv root (id and timestamp allocators) is inside the meta root.
    #[error("the kv root {kv_root:?} is inside the meta root {meta_root:?}")]
    KvInside {
        /// The cleaned meta root.
        meta_root: String,
        /// The cleaned kv root.
        kv_root: String,
    },
}

/// Joins and cleans path parts like POSIX path cleaning. A leading slash of the first non-empty
/// part is kept.
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

/// Accepts a root path or sub-path unless it is empty: that would select another location, and the
/// usual cause is an unset shell variable. [`NO_PATH`] and [`ONLY_SLASH`] state it explicitly.
///
/// # Errors
/// Why it is rejected.
pub fn path_part(text: &str) -> Result<String, &'static str> {
    let is_empty = text.split('/').all(|part| matches!(part.trim(), "" | "."));
    if is_empty && !matches!(text, NO_PATH | ONLY_SLASH) {
        Err("the path is empty; leave it out for the default, or write . for no path")
    } else {
        Ok(text.to_owned())
    }
}

/// An empty path, in an option or a YAML file.
const NO_PATH: &str = ".";
/// The path `/`, in an option or a YAML file.
const ONLY_SLASH: &str = "/.";

/// Returns a cleaned path for an option: see [`path_part`].
#[must_use]
pub fn path_option(path: &str) -> &str {
    match path {
        "" => NO_PATH,
        "/" => ONLY_SLASH,
        other => other,
    }
}

/// Splits a meta root into the options for root path and meta sub-path.
#[must_use]
pub fn root_options(meta_root: &str) -> (&str, &str) {
    match meta_root.rsplit_once('/') {
        None => (NO_PATH, meta_root),
        Some(("", sub_path)) => (ONLY_SLASH, sub_path),
        Some(parts) => parts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_joined_like_milvus() {
        for (root, meta, expected) in [
            ("by-dev", "meta", "by-dev/meta"),
            ("/by-dev/", "/meta/", "/by-dev/meta"),
            ("a//b", "./meta", "a/b/meta"),
            ("a/../b", "meta", "b/meta"),
            ("", "meta", "meta"),
            (".", "meta", "meta"),
            ("/.", "meta", "/meta"),
        ] {
            let joined = MetaRoot::new(root, meta, "kv").unwrap();
            assert_eq!(joined.meta_root(), expected);
            let (path, sub_path) = root_options(joined.meta_root());
            assert_eq!(MetaRoot::new(path, sub_path, "kv").unwrap(), joined);
            assert_eq!(path_option(joined.root_path()), path);
            assert_eq!(path_part(path).unwrap(), path);
        }
        assert_eq!(
            MetaRoot::new("one", "", "../kv").unwrap().meta_root(),
            "one"
        );
    }

    #[test]
    fn d14_instance_with_the_same_prefix_is_excluded() {
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
    fn every_meta_root_has_a_separate_journal() {
        let keys: Vec<String> = [
            ("by-dev", "meta", "by-dev/migration/journal/meta"),
            ("by-dev", "meta2", "by-dev/migration/journal/meta2"),
            ("by-dev", "a/b", "by-dev/migration/journal/a/b"),
            ("by-dev", "", "by-dev/migration/journal"),
            ("/by-dev", "meta", "/by-dev/migration/journal/meta"),
            ("", "meta", "migration/journal/meta"),
            ("/.", "meta", "/migration/journal/meta"),
            ("by-dev", "../meta", "by-dev/migration/journal//meta"),
            ("by-dev", "../by-dev2", "by-dev/migration/journal//by-dev2"),
        ]
        .map(|(root, meta, expected)| {
            let root = MetaRoot::new(root, meta, "../kv").unwrap();
            assert_eq!(root.journal_key(), expected.as_bytes());
            let history = expected.replace("journal", "history");
            assert_eq!(root.history_key(), history.as_bytes());
            assert!(expected.starts_with(&root.prefix()), "{:?}", root.prefix());
            expected.to_owned()
        })
        .into();
        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn kv_root_inside_the_meta_root_is_rejected() {
        assert!(matches!(
            MetaRoot::new("a", "", "kv"),
            Err(RootError::KvInside { .. })
        ));
        assert_eq!(MetaRoot::new("", "", ""), Err(RootError::Empty));
    }
}
