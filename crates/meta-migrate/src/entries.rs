//! Handing out entries unchanged, for inspection.

use std::ops::ControlFlow;

use meta_store::Store;
use milvus_meta::entry::Entry;
use milvus_meta::keys::{KeyRange, MetaRoot};

use super::Environment;
use super::context::newest_revision;
use super::error::{EngineError, Failure};
use super::limits::Limits;
use super::pages::Pages;

/// Reads ranges, all at one revision, and hands every entry to `visit` until that has seen enough.
/// Leased entries are among them. Returns the revision.
///
/// # Errors
/// [`EngineError`] when etcd cannot be read.
pub async fn entries<S: Store>(
    store: &S,
    (root, ranges): (&MetaRoot, &[KeyRange]),
    (limits, environment): (&Limits, &Environment),
    mut visit: impl FnMut(Entry) -> ControlFlow<()>,
) -> Result<i64, EngineError> {
    let around = environment.around(root, limits);
    let read = async {
        let revision = newest_revision(store, root, limits).await?;
        for range in ranges {
            let mut pages = Pages::begin(store, around, range.clone(), revision).await?;
            while let Some(page) = pages.next().await? {
                for entry in page {
                    if visit(entry).is_break() {
                        return Ok(revision);
                    }
                }
            }
        }
        Ok::<_, Failure>(revision)
    };
    read.await.map_err(EngineError::before_writing)
}
