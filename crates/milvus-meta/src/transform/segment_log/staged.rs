//! The log keys that a migration writes, and the segment records that it rewrites.

use std::collections::BTreeMap;

use super::super::Put;
use super::super::arena::Arena;
use super::packed::unpacked;
use super::{Fingerprint, Row, by_segment, fingerprint};
use crate::codec::patch;
use crate::keys::{Family, Key, LogKind, MetaRoot};

/// The logs that get separate keys, in key order, encoded on demand.
#[derive(Debug, Default)]
pub(in crate::transform) struct SegmentLogs {
    pub(super) rows: Vec<Row>,
    pub(super) arena: Arena,
    /// The storage roots of all paths, the most frequent one first.
    pub(in crate::transform) roots: Vec<String>,
}

/// The state of a segment record in a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentRewrite {
    /// It stays unchanged.
    Stays,
    /// It already has its new value.
    Done,
    /// It must be replaced with this value.
    Put(Vec<u8>),
    /// It differs from both the value that was read and the new value.
    Changed,
}

impl SegmentLogs {
    /// Returns the keys to write below `root`, in ascending order.
    pub(in crate::transform) fn puts<'s>(
        &'s self,
        root: &'s MetaRoot,
    ) -> impl Iterator<Item = Put> + 's {
        LogKind::ALL.into_iter().flat_map(move |wanted| {
            self.rows.iter().flat_map(move |row| {
                let (c, p, s) = row.ids;
                let logs = unpacked(self.arena.get(row.logs));
                let logs = logs.filter(move |(kind, ..)| *kind == wanted);
                logs.map(move |(kind, field, value)| Put {
                    key: root.key(&Key::SegmentLog(kind, c, p, s, field)),
                    value: value.to_vec(),
                })
            })
        })
    }

    /// Returns the number of new keys in each family.
    pub(in crate::transform) fn counts(&self) -> BTreeMap<Family, u64> {
        let mut counts = BTreeMap::new();
        for row in &self.rows {
            for (kind, ..) in unpacked(self.arena.get(row.logs)) {
                *counts.entry(kind.family()).or_default() += 1;
            }
        }
        counts
    }

    /// Returns the number of records to rewrite.
    pub(in crate::transform) fn rewrites(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Returns the bytes of the keys and new values of these records, below `root`.
    pub(in crate::transform) fn rewritten_bytes(&self, root: &MetaRoot) -> u64 {
        let key = |row: &Row| root.key(&Key::Segment(row.ids.0, row.ids.1, row.ids.2));
        let rows = self.rows.iter();
        rows.map(|row| key(row).len() as u64 + u64::from(row.record_bytes))
            .sum()
    }

    /// Returns the relative keys and the fingerprints of the new values, for a digest.
    pub(in crate::transform) fn rewritten(&self) -> impl Iterator<Item = (Vec<u8>, Fingerprint)> {
        self.rows.iter().map(|row| {
            let key = Key::Segment(row.ids.0, row.ids.1, row.ids.2);
            (key.render(), row.fingerprint)
        })
    }

    /// Returns the state of the record at a relative key.
    pub(in crate::transform) fn rewrite(&self, relative: &[u8], value: &[u8]) -> SegmentRewrite {
        let Key::Segment(collection, partition, segment) = Key::parse(relative) else {
            return SegmentRewrite::Stays;
        };
        let ids = (collection, partition, segment);
        let Ok(position) = self.rows.binary_search_by(|row| by_segment(row.ids, ids)) else {
            return SegmentRewrite::Stays;
        };
        let wanted = self.rows[position].fingerprint;
        match patch::segment_without_logs(value) {
            _ if fingerprint(value) == wanted => SegmentRewrite::Done,
            Ok(record) if fingerprint(&record) == wanted => SegmentRewrite::Put(record),
            Ok(_) | Err(_) => SegmentRewrite::Changed,
        }
    }
}
