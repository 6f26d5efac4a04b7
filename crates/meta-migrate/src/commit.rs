//! The comparisons and deletions of the commit transaction.

use meta_store::{Compare, Op};
use milvus_meta::keys::{Family, KeyRange, MetaRoot};
use milvus_meta::transform::{Migration, Task};

/// Returns the comparisons that the source of the commit has not changed since the capture: the
/// small families that determine the removals and rewrites. They cover every range that the commit
/// deletes.
pub(super) fn source_compares(root: &MetaRoot, task: Task, revision: i64) -> Vec<Compare> {
    let span = |first: Family, last: Family| {
        let start = root.range_below(&first.prefix()).start;
        KeyRange::new(start, root.range_below(&last.prefix()).end)
    };
    // Adjacent families share one range.
    let mut ranges = vec![
        span(Family::LegacyAlias, Family::Collection),
        span(Family::LegacyAliasSnapshot, Family::CollectionSnapshot),
        span(Family::QueryReplica, Family::QueryCollection),
    ];
    if task == Task::Repair {
        // A repair stages nothing in these families, and its commit may write to them.
        ranges.extend([
            span(Family::Alias, Family::Alias),
            span(Family::AliasSnapshot, Family::AliasSnapshot),
            span(Family::DatabaseAlias, Family::Database),
            span(Family::DatabaseAliasSnapshot, Family::DatabaseSnapshot),
            span(Family::Replica, Family::Replica),
        ]);
    }
    let compares = ranges.into_iter();
    compares
        .map(|range| Compare::ChangedBefore(range, revision + 1))
        .collect()
}

pub(super) fn removal_ops(migration: &Migration) -> Vec<Op> {
    let ranges = migration.removals.iter();
    ranges.cloned().map(Op::Delete).collect()
}
