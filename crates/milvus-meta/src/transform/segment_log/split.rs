//! Moves the logs of a segment out of its record, if all their paths can be derived from ids.

use crate::codec::patch;
use crate::codec::v2_1::{self, FieldLogs, Log};
use crate::codec::v2_2;
use crate::keys::{LogKind, LogPath};
use crate::model::{FieldId, SegmentIds};

use super::super::segment_index::as_text;

/// How a segment's logs are migrated, based only on its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::transform) enum Split<'v> {
    /// The record has no logs.
    NoLogs,
    /// The logs of each field are moved to a separate key.
    Moves(Moved<'v>),
    /// The logs must stay in the record.
    Stays(Obstacle, RowCounts),
}

/// A segment whose logs have separate keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::transform) struct Moved<'v> {
    /// The storage root of all paths; `None` if there is no path.
    pub(in crate::transform) root: Option<&'v str>,
    /// The new logs, in key order.
    pub(in crate::transform) logs: Vec<NewLogs>,
    /// The record without its logs.
    pub(in crate::transform) record: Vec<u8>,
    pub(in crate::transform) row_counts: RowCounts,
}

/// The logs of a kind and field, which are the value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::transform) struct NewLogs {
    pub(in crate::transform) kind: LogKind,
    pub(in crate::transform) field: FieldId,
    pub(in crate::transform) value: Vec<u8>,
}

/// Whether all insert logs of a segment have a number of rows (T18). Irrelevant for dropped
/// segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transform) enum RowCounts {
    /// 2.1 wrote all numbers.
    Known,
    /// Missing numbers are derived from the number of rows of the segment.
    Derived,
    /// At least one number is missing and cannot be derived.
    Unknown,
}

/// The reason why logs stay in the record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::transform) enum Obstacle {
    /// A log has fields that would be lost.
    Unreadable(String),
    /// The ids in the key and in the value differ.
    OtherIds,
    /// Another segment has the same id.
    SharedId,
    /// A path cannot be derived from ids.
    Path(String),
    /// The paths have another storage root than those of other segments.
    Root(String),
    /// There are other log keys of the segment.
    Keys(String),
}

/// Moves the logs out of the record with these ids in its key.
pub(in crate::transform) fn split(ids: SegmentIds, value: &[u8]) -> Split<'_> {
    let segment = match v2_1::segment(value) {
        Ok(segment) => segment,
        // A value that is not a segment at all is reported by `RowTable`.
        Err(_) if v2_1::segment_rows(value).is_err() => return Split::NoLogs,
        Err(error) => {
            return Split::Stays(Obstacle::Unreadable(error.to_string()), RowCounts::Known);
        }
    };
    if segment.logs.is_empty() {
        return Split::NoLogs;
    }
    let own = (segment.collection, segment.partition, segment.id);
    let mut fields = merged(segment.logs);
    let mut row_counts = fill(&mut fields, segment.rows);
    if segment.is_dropped {
        row_counts = RowCounts::Known;
    }
    if own != ids {
        return Split::Stays(Obstacle::OtherIds, row_counts);
    }
    let taken = paths(ids, &fields).and_then(|(root, logs)| {
        let record = patch::segment_without_logs(value);
        let record = record.map_err(|error| Obstacle::Unreadable(error.to_string()))?;
        Ok(Moved {
            root,
            logs,
            record,
            row_counts,
        })
    });
    match taken {
        Ok(moved) => Split::Moves(moved),
        Err(obstacle) => Split::Stays(obstacle, row_counts),
    }
}

/// Merges the logs of each kind and field, in key order. If a record lists a field twice, Milvus
/// uses the logs of both.
fn merged(mut lists: Vec<FieldLogs<'_>>) -> Vec<FieldLogs<'_>> {
    lists.sort_by(|a, b| {
        let kinds = a.kind.cmp(&b.kind);
        kinds.then_with(|| as_text(a.field.0, b.field.0))
    });
    lists.dedup_by(|next, first| {
        let is_same = (next.kind, next.field) == (first.kind, first.field);
        if is_same {
            first.logs.append(&mut next.logs);
        }
        is_same
    });
    lists
}

/// Fills in the numbers of rows that 2.1's compaction omitted: if a field has a single log without
/// a number, its number is the segment's number minus those of the other logs.
fn fill(fields: &mut [FieldLogs<'_>], rows: i64) -> RowCounts {
    let mut counts = RowCounts::Known;
    for field in fields {
        if field.kind != LogKind::Insert {
            continue;
        }
        let given = field.logs.iter().map(|log| log.entries);
        let given = given.filter(|entries| *entries > 0);
        let rest = given.fold(rows, i64::saturating_sub);
        let mut missing = field.logs.iter_mut().filter(|log| log.entries <= 0);
        counts = match (missing.next(), missing.next()) {
            (None, _) => counts,
            (Some(log), None) if rest > 0 => {
                log.entries = rest;
                match counts {
                    RowCounts::Known | RowCounts::Derived => RowCounts::Derived,
                    RowCounts::Unknown => RowCounts::Unknown,
                }
            }
            (Some(_), _) => RowCounts::Unknown,
        };
    }
    counts
}

/// Returns the common storage root of all paths, and the new logs of each field.
fn paths<'v>(
    ids: SegmentIds,
    fields: &[FieldLogs<'v>],
) -> Result<(Option<&'v str>, Vec<NewLogs>), Obstacle> {
    let mut root = None;
    let mut all = Vec::with_capacity(fields.len());
    for field in fields {
        let mut logs: Vec<(i64, Log<'v>)> = Vec::with_capacity(field.logs.len());
        for log in &field.logs {
            let path = LogPath::parse(field.kind, log.path).filter(|path| {
                let own = (path.collection, path.partition, path.segment);
                let is_own_field = path.field.is_none_or(|named| named == field.field);
                own == ids && is_own_field && *root.get_or_insert(path.root) == path.root
            });
            let Some(path) = path else {
                let path = String::from_utf8_lossy(log.path).into_owned();
                return Err(Obstacle::Path(path));
            };
            logs.push((path.log, *log));
        }
        all.push(NewLogs {
            kind: field.kind,
            field: field.field,
            value: v2_2::field_logs(field.field, &logs),
        });
    }
    Ok((root, all))
}
