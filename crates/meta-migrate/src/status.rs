//! The `status` use case: reports the state of etcd without writing.

use std::collections::BTreeMap;

use crate::journal::{Journal, Phase};
use meta_report::{EtcdReport, FamilyStatus, SessionReport, StatusReport};
use meta_store::{RangeRequest, Store};
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::keys::{Family, MetaRoot};
use milvus_meta::layout::Layout;
use milvus_meta::layout::LayoutDetector;

use crate::Environment;
use crate::completeness::{context, survey};
use crate::context::RunContext;
use crate::context::newest_revision;
use crate::error::{EngineError, EngineErrorKind, while_doing};
use crate::fingerprint::Filter;
use crate::journal_store::JournalStore;
use crate::limits::Limits;
use crate::retry::{read, with_retry};
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
///
/// # Errors
/// [`EngineError`] if etcd cannot be read.
pub async fn status_with_journal_error<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
    environment: &Environment,
) -> Result<(StatusReport, Option<EngineError>), EngineError> {
    let (report, unusable) = collect(store, root, limits, environment)
        .await
        .map_err(EngineError::before_writing)?;
    Ok((report, unusable.map(EngineError::before_writing)))
}

async fn collect<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
    environment: &Environment,
) -> Result<(StatusReport, Option<EngineErrorKind>), EngineErrorKind> {
    let (sessions, _) = sessions::list(store, root, limits.retry_timeout)
        .await
        .map_err(while_doing("reading the sessions"))?;
    let lock = sessions::lock_holder(store, root, limits).await?;
    let (journal_store, journal, unusable) = match JournalStore::load(store, root, limits).await {
        Ok(journal_store) => {
            if let Err(brought) = journal_store.check_revisions() {
                environment.observer.note(&brought.to_string());
            }
            let journal = journal_store.journal();
            let journal = journal.and_then(|journal| serde_json::to_value(journal).ok());
            (Some(journal_store), journal, None)
        }
        Err(failure @ EngineErrorKind::Journal { .. }) => {
            (None, raw_journal(store, root, limits).await?, Some(failure))
        }
        Err(failure) => return Err(failure),
    };
    let journal_error = match &unusable {
        Some(EngineErrorKind::Journal { source, .. }) => Some(source.to_string()),
        Some(_) | None => None,
    };
    let (families, found) = count(store, root, limits, environment).await?;
    let journal_of_run = journal_store.as_ref().and_then(JournalStore::journal);
    let phase = journal_of_run.map(|journal| journal.phase);
    let layout = match phase {
        Some(Phase::Staging | Phase::Staged) => Layout::Staged,
        Some(Phase::Restoring) => Layout::Mixed,
        // Between the commit and the end of the cleanup, old keys remain, which 2.2 does not read.
        Some(Phase::Committed | Phase::Tidying) => Layout::V2_2,
        Some(Phase::Done) | None => found,
    };
    let findings = match (phase, &unusable) {
        (Some(Phase::Done) | None, None) => {
            let ctx = environment.ctx(root, limits);
            problems(store, ctx, layout, journal_of_run, lock.as_ref()).await?
        }
        _ => Vec::new(),
    };
    let etcd = with_retry(limits.retry_timeout, || store.status())
        .await
        .map_or_else(
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

/// Returns the problems of metadata in the 2.2 layout; 2.1 metadata is not checked here.
async fn problems<S: Store>(
    store: &S,
    ctx: RunContext<'_>,
    layout: Layout,
    journal: Option<&Journal>,
    lock: Option<&SessionReport>,
) -> Result<Vec<Finding>, EngineErrorKind> {
    if matches!(layout, Layout::V2_1 | Layout::Staged) {
        return Ok(Vec::new());
    }
    let found = survey(store, ctx, context(None, journal)).await?;
    let mut findings = found.findings(ctx.root, journal);
    findings.retain(|finding| finding.severity != Severity::Notice);
    if let Some(lock) = lock.filter(|lock| !lock.never_expires()) {
        let message = format!(
            "{} holds the migration lock: its run is not finished ({})",
            lock.address,
            lock.ending()
        );
        findings.push(Finding::error("locked", &ctx.root.lock_key(), message));
        findings.sort();
    }
    Ok(findings)
}

/// Returns an unusable journal unchanged: as JSON, or as text if it is not valid JSON.
async fn raw_journal<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
) -> Result<Option<serde_json::Value>, EngineErrorKind> {
    let request = RangeRequest::key(root.journal_key());
    let found = read(store, limits.retry_timeout, request)
        .await
        .map_err(while_doing("reading the journal"))?;
    Ok(found.entries.first().map(|entry| {
        serde_json::from_slice(&entry.value)
            .unwrap_or_else(|_| String::from_utf8_lossy(&entry.value).into_owned().into())
    }))
}

/// Counts every family and detects the layout in one pass.
async fn count<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
    environment: &Environment,
) -> Result<(Vec<FamilyStatus>, Layout), EngineErrorKind> {
    let filter = Filter::all(root);
    let mut families: BTreeMap<Family, FamilyStatus> = BTreeMap::new();
    let mut detector = LayoutDetector::new(root.clone());
    let revision = newest_revision(store, root, limits).await?;
    let mut pages =
        Pages::begin(store, environment.ctx(root, limits), root.range(), revision).await?;
    environment
        .observer
        .phase_started("read", Some(pages.keys()));
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
    environment.observer.phase_finished();
    Ok((families.into_values().collect(), detector.layout()))
}
