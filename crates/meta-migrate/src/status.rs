//! The `status` use case: reports the state of etcd without writing.

use std::collections::BTreeMap;

use crate::journal::{Journal, Phase};
use meta_report::{EtcdReport, FamilyStatus, SessionReport, StatusReport};
use meta_store::{RangeRequest, Store};
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::keys::{Family, MetaRoot};
use milvus_meta::layout::{Layout, LayoutDetector};

use crate::Environment;
use crate::blocking::LOCK_HELD;
use crate::completeness::{context, survey};
use crate::context::Etcd;
use crate::error::{EngineError, EngineErrorKind};
use crate::fingerprint::Filter;
use crate::journal_store::JournalStore;
use crate::limits::Limits;
use crate::retry::with_retry;
use crate::throughput::pages::Pages;
use crate::{quota, sessions};

/// Reports the layout, the families, sessions, lock, journal and the cluster.
///
/// # Errors
/// [`EngineError`] if etcd or the journal cannot be read. If the user may not read the cluster's
/// status, the rest is reported.
pub async fn status<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
    environment: &Environment,
) -> Result<StatusReport, EngineError> {
    match status_with_journal_error(store, root, limits, environment).await? {
        (report, None) => Ok(report),
        (_, Some(unusable)) => Err(unusable),
    }
}

/// Like [`status`], but also returns why the journal cannot be used instead of failing because of
/// it.
pub async fn status_with_journal_error<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
    environment: &Environment,
) -> Result<(StatusReport, Option<EngineError>), EngineError> {
    let etcd = environment.etcd(store, root, limits);
    let (report, unusable) = collect(etcd).await.map_err(EngineError::before_writing)?;
    Ok((report, unusable.map(EngineError::before_writing)))
}

async fn collect<S: Store>(
    etcd: Etcd<'_, S>,
) -> Result<(StatusReport, Option<EngineErrorKind>), EngineErrorKind> {
    let (sessions, _) = sessions::registered(etcd).await?;
    let lock = sessions::lock_holder(etcd).await?;
    let (journal_store, journal, unusable) = match JournalStore::load(etcd).await {
        Ok(journal_store) => {
            if let Err(brought) = journal_store.check_revisions() {
                etcd.observer.note(&brought.to_string());
            }
            let journal = journal_store.journal();
            let journal = journal.and_then(|journal| serde_json::to_value(journal).ok());
            (Some(journal_store), journal, None)
        }
        Err(failure @ EngineErrorKind::Journal { .. }) => {
            (None, raw_journal(etcd).await?, Some(failure))
        }
        Err(failure) => return Err(failure),
    };
    let journal_error = match &unusable {
        Some(EngineErrorKind::Journal { source, .. }) => Some(source.to_string()),
        Some(_) | None => None,
    };
    let (families, found) = count(etcd).await?;
    let journal_of_run = journal_store.as_ref().and_then(JournalStore::journal);
    let phase = journal_of_run.map(|journal| journal.phase);
    let layout = layout_in(phase, found);
    let findings = match (phase, &unusable) {
        (Some(Phase::Done) | None, None) => {
            problems(etcd, layout, journal_of_run, lock.as_ref()).await?
        }
        _ => Vec::new(),
    };
    let status = with_retry(etcd.limits.retry_timeout, || etcd.store.status()).await;
    let etcd = status.map_or_else(
        |_| EtcdReport::default(),
        |status| quota::summarize(&status),
    );
    let report = StatusReport {
        layout,
        families,
        sessions,
        lock,
        journal,
        journal_error,
        etcd,
        findings,
    };
    Ok((report, unusable))
}

/// Returns the layout in a phase of a run; without an unfinished run that of the keys.
fn layout_in(phase: Option<Phase>, found: Layout) -> Layout {
    match phase {
        Some(Phase::Staging | Phase::Staged) => Layout::Staged,
        Some(Phase::Restoring) => Layout::Mixed,
        // Between the commit and the end of the cleanup, old keys remain, which 2.2 does not read.
        Some(Phase::Committed | Phase::Tidying) => Layout::V2_2,
        Some(Phase::Done) | None => found,
    }
}

/// Returns the problems of metadata in the 2.2 layout; 2.1 metadata is not checked here.
async fn problems<S: Store>(
    etcd: Etcd<'_, S>,
    layout: Layout,
    journal: Option<&Journal>,
    lock: Option<&SessionReport>,
) -> Result<Vec<Finding>, EngineErrorKind> {
    if matches!(layout, Layout::V2_1 | Layout::Staged) {
        return Ok(Vec::new());
    }
    let found = survey(etcd, context(None, journal)).await?;
    let mut findings = found.findings(etcd.root, journal);
    findings.retain(|finding| finding.severity != Severity::Notice);
    if let Some(lock) = lock.filter(|lock| !lock.never_expires()) {
        let message = format!(
            "{} holds the migration lock: its run is not finished ({})",
            lock.address,
            lock.ending()
        );
        findings.push(Finding::error(LOCK_HELD, &etcd.root.lock_key(), message));
        findings.sort();
    }
    Ok(findings)
}

/// Returns an unusable journal unchanged: as JSON, or as text if it is not valid JSON.
async fn raw_journal<S: Store>(
    etcd: Etcd<'_, S>,
) -> Result<Option<serde_json::Value>, EngineErrorKind> {
    let request = RangeRequest::key(etcd.root.journal_key());
    let found = etcd.read(request, "reading the journal").await?;
    Ok(found.entries.first().map(|entry| {
        serde_json::from_slice(&entry.value)
            .unwrap_or_else(|_| String::from_utf8_lossy(&entry.value).into_owned().into())
    }))
}

/// Counts every family and detects the layout in one pass.
async fn count<S: Store>(
    etcd: Etcd<'_, S>,
) -> Result<(Vec<FamilyStatus>, Layout), EngineErrorKind> {
    let (root, filter) = (etcd.root, Filter::all(etcd.root));
    let mut families: BTreeMap<Family, FamilyStatus> = BTreeMap::new();
    let mut detector = LayoutDetector::new(root.clone());
    let revision = etcd.newest_revision().await?;
    let mut pages = Pages::begin(etcd, root.range(), revision).await?;
    etcd.observer.phase_started("read", Some(pages.keys()));
    while let Some(page) = pages.next().await? {
        for entry in &page {
            let Some(relative) = root.strip(&entry.key) else {
                continue;
            };
            let family = Family::of(relative);
            let status = families.entry(family).or_insert_with(|| FamilyStatus {
                name: family.name().to_owned(),
                ..FamilyStatus::default()
            });
            status.keys += 1;
            status.bytes += u64::try_from(entry.key.len() + entry.value.len()).unwrap_or(u64::MAX);
            if filter.keeps(entry) {
                detector.push(entry);
            }
        }
    }
    etcd.observer.phase_finished();
    Ok((families.into_values().collect(), detector.layout()))
}
