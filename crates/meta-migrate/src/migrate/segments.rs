//! Rewrites segment records after the commit: logs that have separate keys are removed from the
//! record.
//!
//! Releases that read both prefer the logs in the record, so every intermediate state is valid.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::mpsc::{Sender, channel};

use meta_store::{Op, Store};
use milvus_meta::entry::Entry;
use milvus_meta::keys::{Family, KeyRange, LogKind};
use milvus_meta::plural::{agree, counted};
use milvus_meta::transform::{Migration, Put, SegmentForm, SegmentRewrite, remaining_segment};

use super::Run;
use crate::diff::{Collector, Diff};
use crate::error::{EngineErrorKind, written_at};
use crate::throughput::pages::Pages;
use crate::write::Write;

/// Pages of records that are prefetched while others are written.
const PAGES_AHEAD: usize = 2;

impl<S: Store> Run<'_, S> {
    /// Rewrites the segment records that are not rewritten yet.
    pub(super) async fn rewrite_segments(&mut self) -> Result<(), EngineErrorKind> {
        let planned = self
            .prepared
            .as_ref()
            .map(|it| it.migration.segment_rewrites());
        if planned == Some(0) || planned.is_none() && self.keeps_segments()? {
            return Ok(());
        }
        let observer = self.etcd.observer;
        observer.phase_started("rewrite segments", planned);
        let revision = self.etcd.newest_revision().await?;
        let (sender, receiver) = channel(PAGES_AHEAD);
        // The writer receives an error as well, and waits for the requests in flight before it
        // returns.
        let produce = async {
            if let Err(failure) = self.send_rewrites(&sender, revision).await {
                drop(sender.send(Err(failure)).await);
            }
            drop(sender);
        };
        let writer = self.writer().read_at(revision);
        let ((), stats) = tokio::join!(produce, writer.run(receiver));
        observer.phase_finished();
        self.own += stats?;
        Ok(())
    }

    /// Returns whether the journal says that segment records keep their logs.
    fn keeps_segments(&self) -> Result<bool, EngineErrorKind> {
        let form = self
            .journal_store
            .journal()
            .map_or("", |it| &it.segment_form);
        let form: SegmentForm = form.parse().map_err(|error| {
            EngineErrorKind::Usage(format!("the journal cannot be used: {error}"))
        })?;
        Ok(form == SegmentForm::Inline)
    }

    async fn send_rewrites(
        &self,
        sender: &Sender<Result<Vec<Write>, EngineErrorKind>>,
        revision: i64,
    ) -> Result<(), EngineErrorKind> {
        let range = self.etcd.root.range_below(&Family::Segment.prefix());
        let mut pages = Pages::begin(self.etcd, range, revision).await?;
        while let Some(page) = pages.next().await? {
            let ops = match &self.prepared {
                Some(prepared) => planned(&prepared.migration, &page, prepared.revision)?,
                None => self.remaining_segments(&page, revision).await?,
            };
            let writes: Vec<_> = ops.into_iter().map(Write::over).collect();
            let is_wanted = writes.is_empty() || sender.send(Ok(writes)).await.is_ok();
            if !is_wanted {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Returns the remaining rewrites of a page, derived from the keys: the plan is no longer
    /// available.
    async fn remaining_segments(
        &self,
        page: &[Entry],
        revision: i64,
    ) -> Result<Vec<Op>, EngineErrorKind> {
        let keys = self.logs_of(page, revision).await?;
        let root = self.etcd.root;
        let captured = self.journal_store.capture_revision();
        let mut ops = Vec::new();
        for entry in page {
            if let Some(Put { key, value }) = remaining_segment(root, entry, &keys) {
                if ops.is_empty() {
                    self.journal_store.check_revisions()?;
                }
                if entry.mod_revision > captured {
                    return Err(changed(entry, captured));
                }
                ops.push(Op::put(key, value));
            }
        }
        Ok(ops)
    }

    /// Returns the log keys of the segments in a page, whose keys are adjacent.
    async fn logs_of(
        &self,
        page: &[Entry],
        revision: i64,
    ) -> Result<BTreeMap<Bytes, Bytes>, EngineErrorKind> {
        let root = self.etcd.root;
        let segments = root.join(Family::Segment.prefix().as_bytes()).len();
        let mut keys = BTreeMap::new();
        let (Some(first), Some(last)) = (page.first(), page.last()) else {
            return Ok(keys);
        };
        for kind in LogKind::ALL {
            let of = |entry: &Entry| {
                let mut key = root.join(kind.family().prefix().as_bytes());
                key.extend_from_slice(&entry.key[segments..]);
                key.push(b'/');
                KeyRange::prefix(key)
            };
            let range = KeyRange::new(of(first).start, of(last).end);
            let mut pages = Pages::begin(self.etcd, range, revision).await?;
            while let Some(page) = pages.next().await? {
                keys.extend(page.into_iter().map(|entry| (entry.key, entry.value)));
            }
        }
        Ok(keys)
    }

    /// Checks that every planned segment record was rewritten.
    pub(super) async fn compare_segments(
        &self,
        revision: i64,
        collector: &mut Collector,
    ) -> Result<(), EngineErrorKind> {
        let migration = &self.prepared()?.migration;
        let mut missing = migration.segment_rewrites();
        if missing == 0 {
            return Ok(());
        }
        let range = self.etcd.root.range_below(&Family::Segment.prefix());
        let mut pages = Pages::begin(self.etcd, range, revision).await?;
        while let Some(page) = pages.next().await? {
            for entry in page {
                let is_done = match migration.rewritten_segment(&entry) {
                    SegmentRewrite::Stays => continue,
                    SegmentRewrite::Done => true,
                    SegmentRewrite::Put(_) | SegmentRewrite::Changed => false,
                };
                missing = missing.saturating_sub(1);
                if !is_done {
                    let mod_revision = entry.mod_revision;
                    collector.add(&Diff::Different {
                        found: entry.value.clone(),
                        wanted: entry,
                        mod_revision,
                    });
                }
            }
        }
        if missing > 0 {
            let message = format!(
                "{} that the plan read {} missing",
                counted(missing, "segment"),
                agree(missing, "is", "are")
            );
            let key = self.etcd.root.join(Family::Segment.prefix().as_bytes());
            collector.push(milvus_meta::finding::Finding::error(
                "missing", &key, message,
            ));
        }
        Ok(())
    }
}

fn planned(
    migration: &Migration,
    page: &[Entry],
    captured: i64,
) -> Result<Vec<Op>, EngineErrorKind> {
    let mut ops = Vec::new();
    for entry in page {
        match migration.rewritten_segment(entry) {
            SegmentRewrite::Stays | SegmentRewrite::Done => {}
            SegmentRewrite::Put(value) => ops.push(Op::put(entry.key.clone(), value)),
            SegmentRewrite::Changed => return Err(changed(entry, captured)),
        }
    }
    Ok(ops)
}

fn changed(entry: &Entry, captured: i64) -> EngineErrorKind {
    EngineErrorKind::SourceChanged {
        revision: captured,
        what: format!(
            "{}, with logs in the record, and would be rewritten",
            written_at(entry)
        ),
    }
}
