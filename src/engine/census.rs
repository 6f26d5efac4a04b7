//! Counting keys without reading them.

use crate::keys::{KeyRange, MetaRoot};
use crate::store::{RangeRequest, Store};
use crate::transform::new_family_ranges;

use super::error::{Failure, while_doing};
use super::limits::Limits;
use super::patience::read;

/// Keys below the meta root, without those below `session/` and without the journal, at a revision.
pub(super) async fn keys<S: Store>(
    store: &S,
    root: &MetaRoot,
    revision: i64,
    limits: &Limits,
) -> Result<u64, Failure> {
    let all = count(store, root.range(), revision, limits).await?;
    let sessions = count(store, root.range_below("session/"), revision, limits).await?;
    let journal = KeyRange::single(root.journal_key());
    let inside = root.range().contains(&journal.start);
    let journal = if inside {
        count(store, journal, revision, limits).await?
    } else {
        0
    };
    Ok(all.saturating_sub(sessions).saturating_sub(journal))
}

/// The same without the families that staging writes.
pub(super) async fn source_keys<S: Store>(
    store: &S,
    root: &MetaRoot,
    revision: i64,
    limits: &Limits,
) -> Result<u64, Failure> {
    let mut left = keys(store, root, revision, limits).await?;
    for range in new_family_ranges(root) {
        left = left.saturating_sub(count(store, range, revision, limits).await?);
    }
    Ok(left)
}

async fn count<S: Store>(
    store: &S,
    range: KeyRange,
    revision: i64,
    limits: &Limits,
) -> Result<u64, Failure> {
    let request = RangeRequest::new(range).count_only().at(revision);
    let response = read(store, limits.patience, request)
        .await
        .map_err(while_doing("counting keys"))?;
    Ok(u64::try_from(response.count).unwrap_or(0))
}
