//! Segment logs (T14, T18): 2.1 lists them in the segment record, with paths; 2.2 stores the logs
//! of each field under a separate key, with ids, and derives the paths from the storage root.
//!
//! Later releases write a segment record without logs whenever they alter it, and lose logs without
//! separate keys. Releases that read both prefer the record, so the keys are written first and the
//! records are rewritten later.

mod packed;
mod remarks;
mod split;
mod staged;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::arena::{Arena, Slot};
use super::findings::Findings;
use super::segment_index::by_segment;
use super::{Put, SegmentForm};
use crate::keys::{Key, LogKind, MetaRoot, is_tombstone};
use crate::model::{CollectionId, FieldId, SegmentId, SegmentIds};
use packed::{packed, unpacked};
use remarks::Remarks;
use split::{NewLogs, Obstacle, RowCounts, Split, split};

pub(super) use split::Moved;
pub(super) use staged::SegmentLogs;
pub use staged::SegmentRewrite;

/// A digest of a value.
type Fingerprint = [u8; 16];

fn fingerprint(value: &[u8]) -> Fingerprint {
    let digest = Sha256::digest(value);
    let mut short = Fingerprint::default();
    short.copy_from_slice(&digest[..16]);
    short
}

/// A segment whose logs are moved. Kept small, because there may be a million.
#[derive(Debug, Clone, Copy)]
struct Row {
    ids: SegmentIds,
    logs: Slot,
    /// Position in the table of roots.
    root: Option<u32>,
    /// The fingerprint of the new record.
    fingerprint: Fingerprint,
    record_bytes: u32,
    row_counts: RowCounts,
}

/// Reads segments and existing log keys.
#[derive(Debug)]
pub(super) struct LogTable {
    form: SegmentForm,
    rows: Vec<Row>,
    arena: Arena,
    roots: BTreeMap<String, u32>,
    /// Number of segments with each root.
    with_root: Vec<u64>,
    /// Log keys in the source.
    present: Vec<Present>,
    remarks: Remarks,
}

/// An existing log key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Present {
    ids: SegmentIds,
    kind: LogKind,
    field: FieldId,
    fingerprint: Fingerprint,
}

impl LogTable {
    pub(super) fn new(form: SegmentForm) -> Self {
        Self {
            form,
            rows: Vec::new(),
            arena: Arena::default(),
            roots: BTreeMap::new(),
            with_root: Vec::new(),
            present: Vec::new(),
            remarks: Remarks::new(form),
        }
    }

    /// Adds the record of the segment with these ids in its key.
    pub(super) fn push(&mut self, ids: SegmentIds, value: &[u8]) {
        if is_tombstone(value) {
            return;
        }
        match split(ids, value) {
            Split::NoLogs => {}
            Split::Stays(obstacle, row_counts) => {
                self.remarks.stays(ids, Some(obstacle), row_counts);
            }
            Split::Moves(moved) => {
                let root = moved.root.map(|root| self.root(root));
                if self.form == SegmentForm::Inline {
                    self.remarks.stays(ids, None, moved.row_counts);
                    return;
                }
                self.rows.push(Row {
                    ids,
                    logs: self.arena.push(&packed(&moved.logs)),
                    root,
                    fingerprint: fingerprint(&moved.record),
                    record_bytes: u32::try_from(moved.record.len()).unwrap_or(u32::MAX),
                    row_counts: moved.row_counts,
                });
            }
        }
    }

    /// Adds an existing log key.
    pub(super) fn push_key(
        &mut self,
        kind: LogKind,
        ids: SegmentIds,
        field: FieldId,
        value: &[u8],
    ) {
        self.present.push(Present {
            ids,
            kind,
            field,
            fingerprint: fingerprint(value),
        });
    }

    fn root(&mut self, root: &str) -> u32 {
        let next = u32::try_from(self.with_root.len()).unwrap_or(u32::MAX);
        let position = match self.roots.get(root) {
            Some(position) => *position,
            None => {
                self.roots.insert(root.to_owned(), next);
                self.with_root.push(0);
                next
            }
        };
        self.with_root[position as usize] += 1;
        position
    }

    /// Decides which segments' logs are moved and reports the others; `name` returns a collection's
    /// name.
    pub(super) fn convert(
        mut self,
        name: impl Fn(CollectionId) -> String,
        findings: &mut Findings,
    ) -> SegmentLogs {
        self.rows.sort_unstable_by(|a, b| by_segment(a.ids, b.ids));
        self.present.sort_unstable();
        let shared = shared_ids(&self.rows);
        let common = self.common_root();
        let mut rows = std::mem::take(&mut self.rows);
        rows.retain_mut(|row| match self.place(row, &shared, common) {
            Ok(()) => {
                if row.row_counts == RowCounts::Unknown {
                    self.remarks.lacks_row_counts(row.ids);
                }
                true
            }
            Err(obstacle) => {
                self.remarks.stays(row.ids, Some(obstacle), row.row_counts);
                false
            }
        });
        let roots = self.roots_by_use();
        self.remarks.report(&roots, name, findings);
        SegmentLogs {
            rows,
            arena: self.arena,
            roots,
        }
    }

    /// Returns the most frequent root; the first by name if there are several.
    fn common_root(&self) -> Option<u32> {
        let most = self.with_root.iter().max()?;
        let mut roots = self.roots.values();
        roots
            .find(|position| self.with_root[**position as usize] == *most)
            .copied()
    }

    /// Returns all roots, the most frequent one first.
    fn roots_by_use(&self) -> Vec<String> {
        let mut roots: Vec<(&String, &u32)> = self.roots.iter().collect();
        roots.sort_by_key(|(_, position)| std::cmp::Reverse(self.with_root[**position as usize]));
        roots.into_iter().map(|(root, _)| root.clone()).collect()
    }

    /// Checks whether a segment's logs can be moved, given the other segments and the existing
    /// keys.
    fn place(
        &mut self,
        row: &mut Row,
        shared: &BTreeSet<SegmentId>,
        common: Option<u32>,
    ) -> Result<(), Obstacle> {
        if shared.contains(&row.ids.2) {
            return Err(Obstacle::SharedId);
        }
        if row.root.is_some() && row.root != common {
            let root = self.roots.iter().find(|(_, root)| Some(**root) == row.root);
            return Err(Obstacle::Root(
                root.map_or_else(String::new, |(root, _)| root.clone()),
            ));
        }
        let from = self
            .present
            .partition_point(|present| present.ids < row.ids);
        let present = &self.present[from..];
        let present = &present[..present.partition_point(|present| present.ids == row.ids)];
        if present.is_empty() {
            return Ok(());
        }
        // Keys that already have the new value are not written again.
        let mut logs = unpacked(self.arena.get(row.logs)).collect::<Vec<_>>();
        for existing in present {
            let same = logs.iter().position(|(kind, field, value)| {
                (*kind, *field) == (existing.kind, existing.field)
                    && fingerprint(value) == existing.fingerprint
            });
            let Some(same) = same else {
                let (c, p, s) = existing.ids;
                let key = Key::SegmentLog(existing.kind, c, p, s, existing.field).render();
                return Err(Obstacle::Keys(String::from_utf8_lossy(&key).into_owned()));
            };
            logs.remove(same);
        }
        let rest = logs.into_iter().map(|(kind, field, value)| NewLogs {
            kind,
            field,
            value: value.to_vec(),
        });
        let rest = packed(&rest.collect::<Vec<_>>());
        row.logs = self.arena.push(&rest);
        Ok(())
    }
}

/// Returns the ids of more than one segment: releases that read logs from separate keys distinguish
/// segments only by their id.
fn shared_ids(rows: &[Row]) -> BTreeSet<SegmentId> {
    let mut ids: Vec<SegmentId> = rows.iter().map(|row| row.ids.2).collect();
    ids.sort_unstable();
    let pairs = ids.windows(2).filter(|pair| pair[0] == pair[1]);
    pairs.map(|pair| pair[0]).collect()
}

/// Moves the logs out of a record, regardless of other segments.
pub(super) fn moved(ids: SegmentIds, value: &[u8]) -> Option<Moved<'_>> {
    match split(ids, value) {
        Split::Moves(moved) => Some(moved),
        Split::NoLogs | Split::Stays(..) => None,
    }
}

impl Moved<'_> {
    /// Returns the log keys of the segment with these ids, with their values.
    pub(super) fn puts(&self, (c, p, s): SegmentIds, root: &MetaRoot) -> Vec<Put> {
        let put = |logs: &NewLogs| Put {
            key: root.key(&Key::SegmentLog(logs.kind, c, p, s, logs.field)),
            value: logs.value.clone(),
        };
        self.logs.iter().map(put).collect()
    }
}

#[cfg(test)]
mod tests;
