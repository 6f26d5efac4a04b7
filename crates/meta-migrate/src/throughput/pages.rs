//! Reads ranges in pages at one revision, with retries, progress and cancellation.

use meta_store::Store;
use meta_store::scan::{PageLimits, Scan};
use milvus_meta::entry::Entry;
use milvus_meta::keys::KeyRange;

use crate::context::{Etcd, RunContext};
use crate::error::{EngineErrorKind, while_doing};
use crate::fingerprint::family_starts;
use crate::retry::RetryingPages;

/// The entries of a range at one revision, page by page.
pub(crate) struct Pages<'a, S: Store> {
    scan: Scan<RetryingPages<S>>,
    ctx: RunContext<'a>,
}

impl<'a, S: Store> Pages<'a, S> {
    pub(crate) async fn begin(
        etcd: Etcd<'a, S>,
        range: KeyRange,
        revision: i64,
    ) -> Result<Self, EngineErrorKind> {
        let cuts = family_starts(etcd.root);
        let limits = PageLimits::default();
        let scan = Scan::in_parts(etcd.retrying_pages(), range, &cuts, Some(revision), limits)
            .await
            .map_err(while_doing("reading the metadata"))?;
        Ok(Self {
            scan,
            ctx: etcd.ctx,
        })
    }

    /// Returns the number of keys in the range at that revision, as counted by etcd.
    pub(crate) fn keys(&self) -> u64 {
        self.scan.keys()
    }

    /// Returns the next page, in ascending order; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Entry>>, EngineErrorKind> {
        if let Some(signal) = self.ctx.stop.requested() {
            return Err(EngineErrorKind::Interrupted(signal));
        }
        let page = self
            .scan
            .next_page()
            .await
            .map_err(while_doing("reading the metadata"))?;
        if let Some(page) = &page {
            self.ctx
                .observer
                .advanced(u64::try_from(page.len()).unwrap_or(u64::MAX));
        }
        Ok(page)
    }
}
