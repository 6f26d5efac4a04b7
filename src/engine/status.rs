//! What is really in etcd. Reads only.

use std::collections::BTreeMap;

use crate::journal::Phase;
use crate::keys::{Family, MetaRoot};
use crate::layout::LayoutDetector;
use crate::report::{EtcdReport, FamilyStatus, Layout, SessionReport, StatusReport};
use crate::store::{RangeRequest, Store};

use super::Environment;
use super::error::{EngineError, Failure, while_doing};
use super::fingerprint::Filter;
use super::ledger::Ledger;
use super::limits::Limits;
use super::pages::Pages;
use super::patience::{patiently, read};
use super::source::newest_revision;
use super::{room, sessions};

/// Reports the layout, the families, sessions, lock, journal and the cluster.
///
/// # Errors
/// [`EngineError`] when etcd cannot be read. A user who may not ask for the cluster's status gets the
/// rest.
pub async fn status<S: Store>(
    store: &S,
    root: &MetaRoot,
    (limits, environment): (&Limits, &Environment),
) -> Result<StatusReport, EngineError> {
    look(store, root, limits, environment)
        .await
        .map_err(EngineError::before_writing)
}

async fn look<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
    environment: &Environment,
) -> Result<StatusReport, Failure> {
    let (sessions, _) = sessions::list(store, root, limits.patience)
        .await
        .map_err(while_doing("reading the sessions"))?;
    let lock = lock_holder(store, root, limits).await?;
    let ledger = Ledger::load(store, root, limits).await?;
    let (families, found) = survey(store, root, limits, environment).await?;
    let layout = match ledger.phase() {
        Some(Phase::Staging | Phase::Staged) => Layout::Staged,
        Some(Phase::Restoring) => Layout::Mixed,
        // Between commit and the end of tidying old keys are still there, and 2.2 reads none of them.
        Some(Phase::Committed | Phase::Tidying) => Layout::V2_2,
        Some(Phase::Done) | None => found,
    };
    let journal = ledger
        .journal()
        .and_then(|journal| serde_json::to_value(journal).ok());
    let etcd = patiently(limits.patience, || store.status())
        .await
        .map_or_else(|_| EtcdReport::default(), |status| room::summarize(&status));
    Ok(StatusReport {
        layout,
        families,
        sessions,
        lock,
        journal,
        etcd,
    })
}

async fn lock_holder<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
) -> Result<Option<SessionReport>, Failure> {
    let held = read(store, limits.patience, RangeRequest::key(root.lock_key()))
        .await
        .map_err(while_doing("reading the lock"))?;
    let Some(entry) = held.entries.first() else {
        return Ok(None);
    };
    let holder = sessions::describe(store, root, entry)
        .await
        .map_err(while_doing("reading the lock's lease"))?;
    Ok(Some(holder))
}

/// Counts every family and detects the layout in one pass.
async fn survey<S: Store>(
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
    environment.observer.phase_started("read", None);
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
