//! Collects all findings, in an order that does not depend on the order of the input.

use std::collections::BTreeMap;
use std::fmt;

use super::OnBrokenRecord;
use crate::codec::v2_1::UnknownField;
use crate::entry::printable;
use crate::finding::Finding;
use crate::keys::{Family, MetaRoot};

/// The findings so far. Keys are passed relative to the meta root and reported completely; an empty key stays empty.
#[derive(Debug)]
pub(crate) struct Findings {
    root: MetaRoot,
    on_broken: OnBrokenRecord,
    /// Whether they are of a repair, which skips no record.
    is_repair: bool,
    list: Vec<Finding>,
    /// The number of each unknown field, by family, message and field number, and its smallest key.
    unknown: BTreeMap<(Family, UnknownField), (u64, Vec<u8>)>,
}

impl Findings {
    pub(crate) fn new(root: MetaRoot, on_broken: OnBrokenRecord) -> Self {
        Self {
            root,
            on_broken,
            is_repair: false,
            list: Vec::new(),
            unknown: BTreeMap::new(),
        }
    }

    /// Creates an empty list for a repair, which skips no record.
    pub(super) fn of_repair(root: MetaRoot) -> Self {
        Self {
            is_repair: true,
            ..Self::new(root, OnBrokenRecord::Fail)
        }
    }

    /// Returns whether broken records are skipped instead of rejected.
    pub(super) fn skips(&self) -> bool {
        self.on_broken == OnBrokenRecord::Skip
    }

    /// Returns the complete key, printable.
    pub(crate) fn name(&self, relative: &[u8]) -> String {
        printable(&self.root.join(relative))
    }

    pub(crate) fn notice(&mut self, code: &'static str, key: &[u8], message: impl Into<String>) {
        self.add(Finding::notice, code, key, message.into());
    }

    pub(crate) fn warning(&mut self, code: &'static str, key: &[u8], message: impl Into<String>) {
        self.add(Finding::warning, code, key, message.into());
    }

    pub(crate) fn error(&mut self, code: &'static str, key: &[u8], message: impl Into<String>) {
        self.add(Finding::error, code, key, message.into());
    }

    fn add(
        &mut self,
        of: fn(&'static str, &[u8], String) -> Finding,
        code: &'static str,
        key: &[u8],
        message: String,
    ) {
        // A finding that is not about a single key has none.
        let key = match key {
            [] => Vec::new(),
            key => self.root.join(key),
        };
        self.list.push(of(code, &key, message));
    }

    /// Returns an empty list with the same policy.
    pub(super) fn beside(&self) -> Self {
        Self {
            is_repair: self.is_repair,
            ..Self::new(self.root.clone(), self.on_broken)
        }
    }

    /// Replaces a key, also in its snapshots, and removes the findings that say that the record names a database.
    pub(super) fn in_database(&mut self, outside: &[u8], inside: &[u8]) {
        let [outside, inside] = [outside, inside].map(|key| String::from_utf8_lossy(key));
        self.list.retain(|finding| finding.code != "id-mismatch");
        for finding in &mut self.list {
            finding.key = finding.key.replace(&*outside, &inside);
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        self.list.iter().any(Finding::is_error)
    }

    /// Adds the findings of another list, except unknown fields: a 2.2 record has more of them than
    /// a 2.1 record, and keeps them.
    pub(super) fn take(&mut self, other: Self) {
        self.list.extend(other.list);
    }

    /// Adds a finding that is not about a single key.
    pub(crate) fn general(&mut self, finding: Finding) {
        self.list.push(finding);
    }

    /// Adds a finding about a record that cannot be converted: an error, or under `skip` a warning
    /// with the consequences of skipping it.
    pub(super) fn broken(&mut self, code: &'static str, key: &[u8], what: &str, skipped: &str) {
        match self.on_broken {
            OnBrokenRecord::Fail if self.is_repair => self.error(
                code,
                key,
                format!(
                    "{what}; nothing of the collection is changed. Compare it with meta-migration inspect, then \
                     drop the collection in Milvus where it is of no use, or restore a backup"
                ),
            ),
            OnBrokenRecord::Fail => self.error(
                code,
                key,
                format!("{what}; with --on-broken-record skip it is skipped: {skipped}"),
            ),
            OnBrokenRecord::Skip => self.warning(
                code,
                key,
                format!("{what}; skipped (it stays in the backup): {skipped}"),
            ),
        }
    }

    /// Returns a decoded record; adds a finding if decoding failed. `what` names the record.
    pub(super) fn decoded<T, E: fmt::Display>(
        &mut self,
        decoded: Result<T, E>,
        what: &str,
        key: impl FnOnce() -> Vec<u8>,
        skipped: &str,
    ) -> Option<T> {
        decoded
            .map_err(|error| {
                let what = format!("the value is not {what}: {error}");
                self.broken("undecodable-value", &key(), &what, skipped);
            })
            .ok()
    }

    /// Adds a notice about a record with the same ids as another one that takes precedence.
    pub(super) fn outranked(&mut self, key: &[u8]) {
        self.notice(
            "duplicate-record",
            key,
            "a record with a greater key has the same ids and takes precedence; this one is skipped \
             (it stays in the backup)",
        );
    }

    pub(super) fn unknown(&mut self, family: Family, key: &[u8], fields: &[UnknownField]) {
        for field in fields {
            let (count, first) = self
                .unknown
                .entry((family, *field))
                .or_insert_with(|| (0, key.to_vec()));
            *count += 1;
            if key < first.as_slice() {
                *first = key.to_vec();
            }
        }
    }

    /// Returns all findings, most severe first.
    pub(crate) fn finish(mut self) -> Vec<Finding> {
        for ((family, field), (count, first)) in std::mem::take(&mut self.unknown) {
            let stays = matches!(family, Family::Collection | Family::CollectionSnapshot);
            let fate = if stays {
                "it is kept byte for byte, but Milvus 2.2 drops it when it next writes the record"
            } else {
                "the 2.2 record has no place for it; it stays in the backup only"
            };
            let message = format!(
                "field {} of {} is unknown ({count} times below {}/, first here): {fate}",
                field.number,
                field.message,
                family.name()
            );
            self.warning("unknown-field", &first, message);
        }
        self.list.sort();
        self.list.dedup();
        self.list
    }
}
