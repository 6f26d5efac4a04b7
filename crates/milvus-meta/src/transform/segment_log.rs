//! Logs of segments (T14, T18): 2.1 lists them in the segment's record, with paths; 2.2 keeps those of each
//! field in a separate key, with ids, and derives the paths from the storage root.
//!
//! Later releases write a segment's record without logs whenever they alter it, and lose those that have no
//! keys. Releases that read both prefer what the record lists, so keys come first and records later.

mod split;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::arena::{Arena, Slot};
use super::findings::Findings;
use super::segment_index::as_text;
use super::{Put, SegmentForm};
use crate::codec::edit;
use crate::codec::wire::{self, Content, push_bytes, push_number};
use crate::finding::Finding;
use crate::keys::{Family, Key, LogKind, MetaRoot, is_tombstone};
use crate::model::{CollectionId, FieldId, PartitionId, SegmentId};
use split::{Ids, NewLogs, Obstacle, RowCounts, Split, split};

pub(super) use split::Moved;

/// So many segments of a collection are named in a finding.
const NAMED_MAX: usize = 20;

/// A digest of a value.
type Fingerprint = [u8; 16];

fn fingerprint(value: &[u8]) -> Fingerprint {
    let digest = Sha256::digest(value);
    let mut short = Fingerprint::default();
    short.copy_from_slice(&digest[..16]);
    short
}

/// One segment whose logs move. A million of these are held: keep it small.
#[derive(Debug, Clone, Copy)]
struct Row {
    ids: Ids,
    logs: Slot,
    /// Position in the table of roots.
    root: Option<u32>,
    /// Of the new record.
    fingerprint: Fingerprint,
    record_bytes: u32,
    row_counts: RowCounts,
}

/// Segments of a collection of which the same is to be said.
#[derive(Debug, Clone)]
struct Named {
    count: u64,
    /// The smallest ids.
    first: BTreeSet<(SegmentId, PartitionId)>,
    /// What is said of the smallest.
    why: Option<Obstacle>,
}

/// What is said of a collection's segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Remark {
    Unreadable,
    OtherIds,
    SharedId,
    Path,
    Root,
    Keys,
    RowCounts,
}

/// Reads segments and the keys of logs that are there.
#[derive(Debug)]
pub(super) struct LogTable {
    form: SegmentForm,
    rows: Vec<Row>,
    arena: Arena,
    roots: BTreeMap<String, u32>,
    /// How many segments have each of the roots.
    with_root: Vec<u64>,
    /// Keys of logs in the source.
    present: Vec<Present>,
    remarks: BTreeMap<(CollectionId, Remark), Named>,
    /// Segments whose records list logs, and keep them.
    stay: u64,
}

/// A key of logs that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Present {
    ids: Ids,
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
            remarks: BTreeMap::new(),
            stay: 0,
        }
    }

    /// Takes the record of the segment with these ids in its key.
    pub(super) fn push(&mut self, ids: Ids, value: &[u8]) {
        if is_tombstone(value) {
            return;
        }
        match split(ids, value) {
            Split::NoLogs => {}
            Split::Stays(obstacle, row_counts) => self.stays(ids, Some(obstacle), row_counts),
            Split::Moves(moved) => {
                let root = moved.root.map(|root| self.root(root));
                if self.form == SegmentForm::Inline {
                    self.stays(ids, None, moved.row_counts);
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

    /// Takes a key of logs that is there.
    pub(super) fn push_key(&mut self, kind: LogKind, ids: Ids, field: FieldId, value: &[u8]) {
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

    fn stays(&mut self, ids: Ids, obstacle: Option<Obstacle>, row_counts: RowCounts) {
        self.stay += 1;
        if let Some(obstacle) = obstacle {
            self.remark(ids, Remark::of(&obstacle), Some(obstacle));
        }
        if row_counts != RowCounts::Known {
            self.remark(ids, Remark::RowCounts, None);
        }
    }

    fn remark(
        &mut self,
        (collection, partition, segment): Ids,
        remark: Remark,
        why: Option<Obstacle>,
    ) {
        let named = self.remarks.entry((collection, remark)).or_insert(Named {
            count: 0,
            first: BTreeSet::new(),
            why: None,
        });
        named.count += 1;
        named.first.insert((segment, partition));
        if named.first.first() == Some(&(segment, partition)) {
            named.why = why;
        }
        if named.first.len() > NAMED_MAX {
            named.first.pop_last();
        }
    }

    /// Decides which segments' logs move, and says why others' do not; `name` gives a collection's name.
    pub(super) fn convert(
        mut self,
        name: impl Fn(CollectionId) -> String,
        findings: &mut Findings,
    ) -> SegmentLogs {
        sort_by_key(&mut self.rows);
        self.present.sort_unstable();
        let shared = shared_ids(&self.rows);
        let common = self.common_root();
        let mut rows = std::mem::take(&mut self.rows);
        rows.retain_mut(|row| match self.place(row, &shared, common) {
            Ok(()) => {
                if row.row_counts == RowCounts::Unknown {
                    self.remark(row.ids, Remark::RowCounts, None);
                }
                true
            }
            Err(obstacle) => {
                self.stays(row.ids, Some(obstacle), row.row_counts);
                false
            }
        });
        let roots = self.roots_by_use();
        self.report(&roots, name, findings);
        SegmentLogs {
            rows,
            arena: self.arena,
            roots,
        }
    }

    /// The root that most segments have; of several the first in the order of their names.
    fn common_root(&self) -> Option<u32> {
        let most = self.with_root.iter().max()?;
        let mut roots = self.roots.values();
        roots
            .find(|position| self.with_root[**position as usize] == *most)
            .copied()
    }

    /// All roots, that of most segments first.
    fn roots_by_use(&self) -> Vec<String> {
        let mut roots: Vec<(&String, &u32)> = self.roots.iter().collect();
        roots.sort_by_key(|(_, position)| std::cmp::Reverse(self.with_root[**position as usize]));
        roots.into_iter().map(|(root, _)| root.clone()).collect()
    }

    /// Whether a segment's logs can move, beside those of the others and beside what is there.
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
        // What is there already as it is to be is not put again.
        let mut logs = unpacked(self.arena.get(row.logs)).collect::<Vec<_>>();
        for there in present {
            let same = logs.iter().position(|(kind, field, value)| {
                (*kind, *field) == (there.kind, there.field)
                    && fingerprint(value) == there.fingerprint
            });
            let Some(same) = same else {
                let (c, p, s) = there.ids;
                let key = Key::SegmentLog(there.kind, c, p, s, there.field).render();
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

/// Ids that more than one segment has: releases that read logs from their keys tell segments apart by
/// nothing else.
fn shared_ids(rows: &[Row]) -> BTreeSet<SegmentId> {
    let mut ids: Vec<SegmentId> = rows.iter().map(|row| row.ids.2).collect();
    ids.sort_unstable();
    let pairs = ids.windows(2).filter(|pair| pair[0] == pair[1]);
    pairs.map(|pair| pair[0]).collect()
}

/// Brings rows into the order of the keys.
fn sort_by_key(rows: &mut [Row]) {
    rows.sort_unstable_by(|a, b| by_key(a.ids, b.ids));
}

fn by_key(a: Ids, b: Ids) -> std::cmp::Ordering {
    as_text(a.0.0, b.0.0)
        .then_with(|| as_text(a.1.0, b.1.0))
        .then_with(|| as_text(a.2.0, b.2.0))
}

/// The keys and values of a segment's logs as one byte string: a message with a member for each.
fn packed(logs: &[NewLogs]) -> Vec<u8> {
    let mut out = Vec::with_capacity(logs.iter().map(|logs| logs.value.len() + 16).sum());
    let mut one = Vec::new();
    for NewLogs { kind, field, value } in logs {
        one.clear();
        push_number(&mut one, 1, field.0.cast_unsigned());
        push_bytes(&mut one, 2, value);
        push_bytes(&mut out, 1 + *kind as u32, &one);
    }
    out
}

fn unpacked(packed: &[u8]) -> impl Iterator<Item = (LogKind, FieldId, &[u8])> {
    wire::fields(packed).filter_map(|member| {
        let member = member.ok()?;
        let kind = LogKind::ALL
            .into_iter()
            .find(|kind| 1 + *kind as u32 == member.number)?;
        let Content::Bytes(one) = member.content else {
            return None;
        };
        let (mut field, mut value) = (0, &[][..]);
        for part in wire::fields(one) {
            match part.ok()?.content {
                Content::Varint(id) => field = id.cast_signed(),
                Content::Bytes(bytes) => value = bytes,
                Content::Other => {}
            }
        }
        Some((kind, FieldId(field), value))
    })
}

/// The logs that get separate keys, in key order, encoded on demand.
#[derive(Debug, Default)]
pub(super) struct SegmentLogs {
    rows: Vec<Row>,
    arena: Arena,
    /// The storage roots of all paths, that of most segments first.
    pub(super) roots: Vec<String>,
}

/// What becomes of the record of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentRewrite {
    /// It stays as it is.
    Stays,
    /// It has the value that the migration gives it.
    Done,
    /// It gets this value.
    Put(Vec<u8>),
    /// It is neither as it was read nor as the migration makes it.
    Changed,
}

impl SegmentLogs {
    /// What is put below `root`, in ascending order.
    pub(super) fn puts<'s>(&'s self, root: &'s MetaRoot) -> impl Iterator<Item = Put> + 's {
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

    /// How many keys are put in each family.
    pub(super) fn counts(&self) -> BTreeMap<Family, u64> {
        let mut counts = BTreeMap::new();
        for row in &self.rows {
            for (kind, ..) in unpacked(self.arena.get(row.logs)) {
                *counts.entry(kind.family()).or_default() += 1;
            }
        }
        counts
    }

    /// How many records are rewritten.
    pub(super) fn rewrites(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Bytes of the keys and new values of these records, below `root`.
    pub(super) fn rewritten_bytes(&self, root: &MetaRoot) -> u64 {
        let key = |row: &Row| root.key(&Key::Segment(row.ids.0, row.ids.1, row.ids.2));
        let rows = self.rows.iter();
        rows.map(|row| key(row).len() as u64 + u64::from(row.record_bytes))
            .sum()
    }

    /// What is rewritten, for a digest: relative keys and fingerprints of the new values.
    pub(super) fn rewritten(&self) -> impl Iterator<Item = (Vec<u8>, Fingerprint)> {
        self.rows.iter().map(|row| {
            let key = Key::Segment(row.ids.0, row.ids.1, row.ids.2);
            (key.render(), row.fingerprint)
        })
    }

    /// What becomes of the record at a relative key.
    pub(super) fn rewrite(&self, relative: &[u8], value: &[u8]) -> SegmentRewrite {
        let Key::Segment(collection, partition, segment) = Key::parse(relative) else {
            return SegmentRewrite::Stays;
        };
        let ids = (collection, partition, segment);
        let Ok(position) = self.rows.binary_search_by(|row| by_key(row.ids, ids)) else {
            return SegmentRewrite::Stays;
        };
        let wanted = self.rows[position].fingerprint;
        match edit::segment_without_logs(value) {
            _ if fingerprint(value) == wanted => SegmentRewrite::Done,
            Ok(record) if fingerprint(&record) == wanted => SegmentRewrite::Put(record),
            Ok(_) | Err(_) => SegmentRewrite::Changed,
        }
    }
}

/// Takes the logs out of one record, without knowledge of others.
pub(super) fn moved(ids: Ids, value: &[u8]) -> Option<Moved<'_>> {
    match split(ids, value) {
        Split::Moves(moved) => Some(moved),
        Split::NoLogs | Split::Stays(..) => None,
    }
}

impl Moved<'_> {
    /// The keys and values that hold the logs of the segment with these ids.
    pub(super) fn puts(&self, (c, p, s): Ids, root: &MetaRoot) -> Vec<Put> {
        let put = |logs: &NewLogs| Put {
            key: root.key(&Key::SegmentLog(logs.kind, c, p, s, logs.field)),
            value: logs.value.clone(),
        };
        self.logs.iter().map(put).collect()
    }
}

impl Remark {
    fn of(obstacle: &Obstacle) -> Self {
        match obstacle {
            Obstacle::Unreadable(_) => Self::Unreadable,
            Obstacle::OtherIds => Self::OtherIds,
            Obstacle::SharedId => Self::SharedId,
            Obstacle::Path(_) => Self::Path,
            Obstacle::Root(_) => Self::Root,
            Obstacle::Keys(_) => Self::Keys,
        }
    }
}

/// What is to be done about segments that later releases would empty.
const COPY: &str = "copy the rows of the collection into a new collection";

impl LogTable {
    fn report(
        &self,
        roots: &[String],
        name: impl Fn(CollectionId) -> String,
        findings: &mut Findings,
    ) {
        for ((collection, remark), named) in &self.remarks {
            let Some((segment, partition)) = named.first.first() else {
                continue;
            };
            let key = Key::Segment(*collection, *partition, *segment).render();
            let who = format!("{} of {}", listed(named), name(*collection));
            let common = roots.first().map_or("", String::as_str);
            let (code, message) = match (*remark, &named.why) {
                (Remark::RowCounts, _) => ("segment-row-count", self.without_row_counts(&who)),
                (_, Some(why)) => ("segment-inline", stays_inline(&who, why, common)),
                (_, None) => continue,
            };
            findings.warning(code, &key, message);
        }
        if self.form == SegmentForm::Inline && self.stay > 0 {
            findings.general(Finding::warning(
                "inline-segment-form",
                b"",
                format!(
                    "{} segments keep their logs in the segment record, as --segment-form inline asks: \
                     Milvus 2.3 and later lose the logs of such a segment, and its rows, when they alter \
                     it, and 2.4.0 alters every segment within a minute of its first start. Before the \
                     upgrade to 2.3 or later, {COPY} in Milvus 2.2; or migrate with --segment-form auto",
                    self.stay
                ),
            ));
        }
        self.report_root(roots, findings);
    }

    fn without_row_counts(&self, who: &str) -> String {
        let stay = if self.form == SegmentForm::Inline {
            "with --segment-form inline they are not filled in"
        } else {
            "they do not follow from the number of rows of the segment"
        };
        format!(
            "{who}: Milvus 2.1 recorded no row counts for insert logs, and {stay}. Milvus 2.2 and later set \
             the number of rows of such a segment to 0 or -1 after the next insert, flush and restart, and \
             then fail to load the collection. To prevent that, {COPY} before the next restart"
        )
    }

    /// Where the paths say that the files are, which the new release has to be configured with.
    fn report_root(&self, roots: &[String], findings: &mut Findings) {
        let Some(root) = roots.first().filter(|root| !root.starts_with('/')) else {
            return;
        };
        let message = format!(
            "the paths of logs are relative, below the storage root {root:?}. With object storage, Milvus \
             2.2 finds the files if minio.rootPath is {root:?}. With local storage, localStorage.path has \
             to name the folder that {root:?} was for Milvus 2.1 (relative to its working directory)"
        );
        findings.general(if self.stay == 0 {
            Finding::notice("relative-storage-root", b"", message)
        } else {
            Finding::warning(
                "relative-storage-root",
                b"",
                format!(
                    "{message}; where localStorage.path is absolute, the garbage collection of Milvus 2.2 \
                     deletes the files of the {} segments whose logs stay in the segment record. To keep \
                     them, start Milvus in the same working directory with localStorage.path: {root}, or \
                     set dataCoord.enableGarbageCollection: false",
                    self.stay
                ),
            )
        });
    }
}

fn listed(named: &Named) -> String {
    let ids = named.first.iter().map(|(segment, _)| segment.to_string());
    let ids: Vec<String> = ids.collect();
    let more = named.count - ids.len() as u64;
    let what = if named.count == 1 {
        "segment"
    } else {
        "segments"
    };
    let ids = ids.join(", ");
    match more {
        0 => format!("{what} {ids}"),
        more => format!("{what} {ids} and {more} more"),
    }
}

fn stays_inline(who: &str, why: &Obstacle, common: &str) -> String {
    let why = match why {
        Obstacle::Unreadable(error) => format!("their logs cannot be read completely ({error})"),
        Obstacle::OtherIds => "the ids in the key and in the value differ".to_owned(),
        Obstacle::SharedId => "another segment has the same id".to_owned(),
        Obstacle::Path(path) => format!(
            "the path {path:?} is not made of a storage root, insert_log, delta_log or stats_log, the ids \
             of collection, partition, segment and field, and a log id, or has another storage root than \
             the segment's other logs"
        ),
        Obstacle::Root(root) => format!(
            "the storage root of their logs is {root:?}, and that of most other segments is {common:?}"
        ),
        Obstacle::Keys(key) => {
            format!("the key {key:?} is there, with another value or for other logs")
        }
    };
    format!(
        "{who}: the logs stay in the segment record, because {why}. Milvus 2.3 and later lose the logs of \
         such a segment, and its rows, when they alter it, and 2.4.0 alters every segment within a minute of \
         its first start. Before the upgrade to 2.3 or later, {COPY} in Milvus 2.2"
    )
}

#[cfg(test)]
mod tests;
