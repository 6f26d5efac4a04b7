//! What the commit transaction compares and deletes.

use meta_store::{Compare, Op};
use milvus_meta::keys::{Family, KeyRange, MetaRoot};
use milvus_meta::transform::Migration;

/// The small families that decide what the commit removes and rewrites: none of their keys was written since
/// the capture. They cover every range that the commit deletes.
pub(super) fn source_compares(root: &MetaRoot, revision: i64) -> Vec<Compare> {
    let span = |first: Family, last: Family| {
        let start = root.range_below(&first.prefix()).start;
        KeyRange::new(start, root.range_below(&last.prefix()).end)
    };
    // Families that are neighbours share one range.
    [
        span(Family::LegacyAlias, Family::Collection),
        span(Family::LegacyAliasSnapshot, Family::CollectionSnapshot),
        span(Family::QueryReplica, Family::QueryCollection),
    ]
    .map(|range| Compare::ChangedBefore(range, revision + 1))
    .into()
}

/// What goes in the commit itself.
pub(super) fn removal_ops(migration: &Migration) -> Vec<Op> {
    let ranges = migration.removals().iter();
    ranges.cloned().map(Op::Delete).collect()
}
