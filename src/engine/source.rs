//! Reading the source: one capture at one revision feeds the transform and the backup at once.

use std::sync::Arc;
use std::time::Instant;

use crate::keys::{KeyRange, MetaRoot};
use crate::report::Layout;
use crate::store::{RangeRequest, Store, StoreErrorKind};
use crate::transform::{Migration, Options, leftover_ranges};

use super::backup_job::{BackupJob, BackupTarget};
use super::census::Outsiders;
use super::deletion::Cuts;
use super::error::{Failure, while_doing};
use super::fingerprint::{Filter, Fingerprint};
use super::limits::Limits;
use super::observer::Observer;
use super::pages::Pages;
use super::patience::read;
use super::stop::Stop;
use super::transform_job::{TransformJob, Transformed};

/// What the run works with.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) root: &'a MetaRoot,
    pub(super) limits: &'a Limits,
    pub(super) stop: &'a Stop,
    pub(super) observer: &'a dyn Observer,
    pub(super) holder: &'a str,
}

/// The source as it was read.
pub(super) struct Reading {
    pub(super) migration: Migration,
    pub(super) layout: Layout,
    pub(super) evidence: Vec<String>,
    pub(super) moment: Moment,
    pub(super) fingerprint: Fingerprint,
    /// Keys of the source at that revision, counted by etcd.
    pub(super) source_keys: u64,
    /// Those of them that go with a lease.
    pub(super) leased_keys: u64,
    /// The old families that go in the end, cut into ranges that may be deleted at once.
    pub(super) deletes: Vec<KeyRange>,
    /// The backup, written but not yet finished.
    pub(super) backup: Option<BackupJob>,
    pub(super) read_seconds: f64,
    pub(super) transform_seconds: f64,
}

/// Reads the source and transforms it, starting again at a newer revision when etcd compacts the one
/// being read.
pub(super) async fn read_source<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    (filter, options): (&Filter, &Options),
    backup: Option<&BackupTarget>,
) -> Result<Reading, Failure> {
    let mut retries = Retries::new(around);
    loop {
        match read_once(store, around, (filter, options), backup).await {
            Err(failure) if retries.again_after(&failure) => {}
            outcome => return outcome,
        }
    }
}

/// How often something that reads at one revision may begin again at a newer one.
pub(super) struct Retries<'a> {
    around: Surroundings<'a>,
    left: u32,
}

impl<'a> Retries<'a> {
    pub(super) fn new(around: Surroundings<'a>) -> Self {
        Self {
            around,
            left: around.limits.capture_attempts_max.saturating_sub(1),
        }
    }

    /// Whether the failure is that etcd compacted the revision, and another attempt is left.
    pub(super) fn again_after(&mut self, failure: &Failure) -> bool {
        let compacted = matches!(
            failure,
            Failure::Store { source, .. } if source.kind == StoreErrorKind::Compacted
        );
        if !compacted || self.left == 0 {
            return false;
        }
        self.left -= 1;
        let note = "etcd compacted the revision being read: reading again";
        self.around.observer.note(note);
        true
    }
}

/// What is read at: a revision of one cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) revision: i64,
    /// 0 where the store does not tell.
    pub(super) cluster: u64,
}

impl Moment {
    /// The cluster's id as etcdctl writes it; empty where the store does not tell.
    pub(super) fn cluster_id(self) -> String {
        cluster_id(self.cluster)
    }
}

/// A cluster's id as etcdctl writes it; empty where it is unknown.
pub(super) fn cluster_id(cluster: u64) -> String {
    match cluster {
        0 => String::new(),
        known => format!("{known:x}"),
    }
}

/// The store's newest revision.
pub(super) async fn newest_revision<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
) -> Result<i64, Failure> {
    newest(store, root, limits)
        .await
        .map(|moment| moment.revision)
}

/// The store's newest revision, and which cluster it is.
pub(super) async fn newest<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
) -> Result<Moment, Failure> {
    let request = RangeRequest::key(root.journal_key()).count_only();
    let response = read(store, limits.patience, request)
        .await
        .map_err(while_doing("asking for the newest revision"))?;
    Ok(Moment {
        revision: response.revision,
        cluster: response.cluster,
    })
}

async fn read_once<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    (filter, options): (&Filter, &Options),
    backup: Option<&BackupTarget>,
) -> Result<Reading, Failure> {
    let started = Instant::now();
    let moment = newest(store, around.root, around.limits).await?;
    let revision = moment.revision;
    let backup = backup.map(|target| BackupJob::start(target, around.root, moment));
    let transform = TransformJob::start(around.root.clone(), options.clone());
    let mut fingerprint = Fingerprint::default();
    let mut skipped_leased = 0;
    let mut cuts = Cuts::new(leftover_ranges(around.root), around.limits.delete_keys_max);
    around.observer.phase_started("read", None);
    let mut pages = Pages::begin(store, around, around.root.range(), revision).await?;
    let mut outsiders = Outsiders::new(around.root, filter);
    let mut is_saving = backup.is_some();
    while let Some(page) = pages.next().await? {
        outsiders.see(&page);
        let mut kept = page;
        kept.retain(|entry| {
            skipped_leased += u64::from(filter.skips_leased(entry));
            filter.keeps(entry)
        });
        for entry in &kept {
            fingerprint.add(entry);
            cuts.see(&entry.key);
        }
        let kept = Arc::new(kept);
        transform.push(Arc::clone(&kept)).await;
        // Where the backup fails the rest is read all the same: nothing may be decided on a part.
        if is_saving && let Some(job) = &backup {
            is_saving = job.push(kept).await;
        }
    }
    if let Some(job) = &backup {
        job.seal(skipped_leased).await;
    }
    around.observer.phase_finished();
    let read_seconds = started.elapsed().as_secs_f64();
    let transforming = Instant::now();
    let Transformed {
        layout,
        evidence,
        migration,
    } = transform.finish().await?;
    Ok(Reading {
        migration,
        layout,
        evidence,
        moment,
        fingerprint,
        source_keys: outsiders.source_keys(pages.keys()),
        leased_keys: outsiders.leased(),
        deletes: cuts.into_pieces(),
        backup,
        read_seconds,
        transform_seconds: transforming.elapsed().as_secs_f64(),
    })
}
