//! What is really in etcd. Reads only.

use std::collections::BTreeMap;

use crate::journal::{Journal, Phase};
use meta_report::{EtcdReport, FamilyStatus, SessionReport, StatusReport};
use meta_store::{RangeRequest, Store};
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::keys::{Family, MetaRoot};
use milvus_meta::layout::Layout;
use milvus_meta::layout::LayoutDetector;

use super::Environment;
use super::completeness::{context, survey};
use super::context::Surroundings;
use super::context::newest_revision;
use super::error::{EngineError, Failure, while_doing};
use super::fingerprint::Filter;
use super::ledger::Ledger;
use super::limits::Limits;
use super::pages::Pages;
use super::patience::{patiently, read};
use super::{room, sessions};

/// Reports the layout, the families, sessions, lock, journal and the cluster.
///
/// # Errors
/// [`EngineError`] when etcd cannot be read, or the journal. A user who may not ask for the cluster's status
/// gets the rest.
pub async fn status<S: Store>(
    store: &S,
    root: &MetaRoot,
    around: (&Limits, &Environment),
) -> Result<StatusReport, EngineError> {
    match status_all_the_same(store, root, around).await? {
        (report, None) => Ok(report),
        (_, Some(unusable)) => Err(unusable),
    }
}

/// The same, and why the journal cannot be used: the rest is reported although it cannot.
///
/// # Errors
/// [`EngineError`] when etcd cannot be read.
pub async fn status_all_the_same<S: Store>(
    store: &S,
    root: &MetaRoot,
    (limits, environment): (&Limits, &Environment),
) -> Result<(StatusReport, Option<EngineError>), EngineError> {
    let (report, unusable) = look(store, root, limits, environment)
        .await
        .map_err(EngineError::before_writing)?;
    Ok((report, unusable.map(EngineError::before_writing)))
}

async fn look<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
    environment: &Environment,
) -> Result<(StatusReport, Option<Failure>), Failure> {
    let (sessions, _) = sessions::list(store, root, limits.patience)
        .await
        .map_err(while_doing("reading the sessions"))?;
    let lock = sessions::lock_holder(store, root, limits).await?;
    let (ledger, journal, unusable) = match Ledger::load(store, root, limits).await {
        Ok(ledger) => {
            if let Err(brought) = ledger.check_revisions() {
                environment.observer.note(&brought.to_string());
            }
            let journal = ledger.journal();
            let journal = journal.and_then(|journal| serde_json::to_value(journal).ok());
            (Some(ledger), journal, None)
        }
        Err(failure @ Failure::Journal { .. }) => {
            (None, raw_journal(store, root, limits).await?, Some(failure))
        }
        Err(failure) => return Err(failure),
    };
    let journal_error = match &unusable {
        Some(Failure::Journal { source, .. }) => Some(source.to_string()),
        Some(_) | None => None,
    };
    let (families, found) = count(store, root, limits, environment).await?;
    let journal_of_run = ledger.as_ref().and_then(Ledger::journal);
    let phase = journal_of_run.map(|journal| journal.phase);
    let layout = match phase {
        Some(Phase::Staging | Phase::Staged) => Layout::Staged,
        Some(Phase::Restoring) => Layout::Mixed,
        // Between commit and the end of cleanup old keys are still there, and 2.2 reads none of them.
        Some(Phase::Committed | Phase::Tidying) => Layout::V2_2,
        Some(Phase::Done) | None => found,
    };
    let findings = match (phase, &unusable) {
        (Some(Phase::Done) | None, None) => {
            let around = environment.around(root, limits);
            wrong(store, around, layout, (journal_of_run, lock.as_ref())).await?
        }
        _ => Vec::new(),
    };
    let etcd = patiently(limits.patience, || store.status())
        .await
        .map_or_else(|_| EtcdReport::default(), |status| room::summarize(&status));
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

/// What is wrong where the layout is not that of 2.1, with which there is nothing to check yet.
async fn wrong<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    layout: Layout,
    (journal, lock): (Option<&Journal>, Option<&SessionReport>),
) -> Result<Vec<Finding>, Failure> {
    if matches!(layout, Layout::V2_1 | Layout::Staged) {
        return Ok(Vec::new());
    }
    let found = survey(store, around, context(None, journal)).await?;
    let mut findings = found.findings(around.root, journal);
    findings.retain(|finding| finding.severity != Severity::Notice);
    if let Some(lock) = lock.filter(|lock| !lock.stays()) {
        let message = format!(
            "{} holds the migration lock: its run is not finished ({})",
            lock.address,
            lock.ending()
        );
        findings.push(Finding::error("locked", &around.root.lock_key(), message));
        findings.sort();
    }
    Ok(findings)
}

/// A journal that cannot be read, as it is: its JSON, or its text where it is none.
async fn raw_journal<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
) -> Result<Option<serde_json::Value>, Failure> {
    let request = RangeRequest::key(root.journal_key());
    let found = read(store, limits.patience, request)
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
) -> Result<(Vec<FamilyStatus>, Layout), Failure> {
    let filter = Filter::all(root);
    let mut families: BTreeMap<Family, FamilyStatus> = BTreeMap::new();
    let mut detector = LayoutDetector::new(root.clone());
    let revision = newest_revision(store, root, limits).await?;
    let mut pages = Pages::begin(
        store,
        environment.around(root, limits),
        root.range(),
        revision,
    )
    .await?;
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
