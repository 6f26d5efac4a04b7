//! Returns entries unchanged, for inspection.

use std::ops::ControlFlow;

use meta_store::Store;
use milvus_meta::entry::Entry;
use milvus_meta::keys::{KeyRange, MetaRoot};

use crate::Environment;
use crate::error::{EngineError, EngineErrorKind};
use crate::limits::Limits;
use crate::throughput::pages::Pages;

/// Reads ranges at one revision and passes every entry to `visit` until it breaks, including leased
/// entries. Returns the revision.
pub async fn entries<S: Store>(
    store: &S,
    root: &MetaRoot,
    ranges: &[KeyRange],
    limits: &Limits,
    environment: &Environment,
    mut visit: impl FnMut(Entry) -> ControlFlow<()>,
) -> Result<i64, EngineError> {
    let etcd = environment.etcd(store, root, limits);
    let read = async {
        let revision = etcd.newest_revision().await?;
        for range in ranges {
            let mut pages = Pages::begin(etcd, range.clone(), revision).await?;
            while let Some(page) = pages.next().await? {
                for entry in page {
                    if visit(entry).is_break() {
                        return Ok(revision);
                    }
                }
            }
        }
        Ok::<_, EngineErrorKind>(revision)
    };
    read.await.map_err(EngineError::before_writing)
}
