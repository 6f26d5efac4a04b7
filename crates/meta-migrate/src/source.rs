//! Reads the source at one revision and passes it to the transform and to the backup.

use std::sync::Arc;
use std::time::Instant;

use meta_store::Store;
use milvus_meta::keys::KeyRange;
use milvus_meta::layout::Layout;
use milvus_meta::transform::{Migration, Options, Task, leftover_ranges};

use crate::context::{Etcd, ReadRevision};
use crate::error::EngineErrorKind;
use crate::fingerprint::{Filter, Fingerprint};
use crate::key_count::KeyCounter;
use crate::range_delete::RangeSplits;
use crate::throughput::backup_job::{BackupJob, BackupTarget};
use crate::throughput::pages::Pages;
use crate::throughput::transform_job::TransformJob;

/// The source at one revision.
pub(super) struct Reading {
    pub(super) migration: Migration,
    pub(super) layout: Layout,
    pub(super) evidence: Vec<String>,
    pub(super) read_revision: ReadRevision,
    pub(super) fingerprint: Fingerprint,
    /// Number of source keys at that revision, as counted by etcd.
    pub(super) source_keys: u64,
    /// Number of source keys with a lease.
    pub(super) leased_keys: u64,
    /// The old families to delete in the cleanup, split into ranges that can be deleted in one
    /// request.
    pub(super) deletes: Vec<KeyRange>,
    /// The backup, written but not yet finished.
    pub(super) backup: Option<BackupJob>,
    pub(super) read_seconds: f64,
    pub(super) transform_seconds: f64,
}

/// Reads and transforms the source. Starts again if etcd compacts the revision being read.
pub(super) async fn read_source<S: Store>(
    etcd: Etcd<'_, S>,
    filter: &Filter,
    options: &Options,
    backup: Option<&BackupTarget>,
) -> Result<Reading, EngineErrorKind> {
    etcd.at_one_revision(|| read_once(etcd, filter, options, backup))
        .await
}

async fn read_once<S: Store>(
    etcd: Etcd<'_, S>,
    filter: &Filter,
    options: &Options,
    backup: Option<&BackupTarget>,
) -> Result<Reading, EngineErrorKind> {
    let started = Instant::now();
    let read_revision = etcd.newest().await?;
    let revision = read_revision.revision;
    let backup = backup.map(|target| BackupJob::start(target, etcd.root, read_revision));
    let transform = TransformJob::start(etcd.root.clone(), options.clone());
    let mut fingerprint = Fingerprint::default();
    let mut splits = RangeSplits::new(leftover_ranges(etcd.root), etcd.limits.delete_keys_max);
    let mut pages = Pages::begin(etcd, etcd.root.range(), revision).await?;
    etcd.observer.phase_started("read", Some(pages.keys()));
    let mut counter = KeyCounter::new(etcd.root, filter);
    let mut is_saving = backup.is_some();
    while let Some(mut page) = pages.next().await? {
        counter.see(&page);
        page.retain(|entry| filter.keeps(entry));
        for entry in &page {
            fingerprint.add(entry);
            splits.see(&entry.key);
        }
        let page = Arc::new(page);
        transform.push(Arc::clone(&page)).await;
        // If the backup fails, the rest is read anyway: no decision is based on a part of the
        // source.
        if is_saving && let Some(job) = &backup {
            is_saving = job.push(page).await;
        }
    }
    if let Some(job) = &backup {
        job.seal(counter.skipped_leased).await;
    }
    etcd.observer.phase_finished();
    let read_seconds = started.elapsed().as_secs_f64();
    let transforming = Instant::now();
    let done = transform.finish().await?;
    // Plain keys last: they show what an interrupted repair has not deleted yet.
    let leftovers = done.migration.leftovers.iter().rev().cloned().collect();
    Ok(Reading {
        migration: done.migration,
        layout: done.layout,
        evidence: done.evidence,
        read_revision,
        fingerprint,
        source_keys: counter.source_keys(pages.keys()),
        leased_keys: counter.leased,
        deletes: match options.task {
            Task::Migration => splits.into_pieces(),
            Task::Repair => leftovers,
        },
        backup,
        read_seconds,
        transform_seconds: transforming.elapsed().as_secs_f64(),
    })
}
