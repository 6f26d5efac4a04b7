//! Is the 2.2 layout what it should be? Reads only.

use std::path::PathBuf;
use std::sync::Arc;

use crate::journal::{Journal, Phase};
use meta_backup::Backup;
use meta_report::VerifyReport;
use meta_store::{RangeRequest, Store};
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::keys::{Family, LogKind, MetaRoot};
use milvus_meta::layout::Layout;
use milvus_meta::transform::{
    CollectionForm, Migration, OnBrokenRecord, Options, SegmentForm, Task,
};
use milvus_meta::verify::Context;
use milvus_meta::version::Release;

use super::Environment;
use super::census;
use super::completeness::{context, survey};
use super::context::Surroundings;
use super::context::newest_revision;
use super::difference::{Actual, Collector, Expected, compare};
use super::error::{EngineError, Failure, while_doing};
use super::feed::feed;
use super::fingerprint::Filter;
use super::ledger::{Ledger, task_of};
use super::limits::Limits;
use super::patience::read;
use super::plan_report::unfinished_message;
use super::sessions;
use super::transform_job::TransformJob;

/// What to compare with.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// The location of the metadata.
    pub root: MetaRoot,
    /// The backup whose migration etcd should hold; `None` checks consistency only.
    pub backup: Option<PathBuf>,
    /// How that backup was migrated; `None` takes it from the journal, or from what is there.
    pub options: Option<Options>,
    /// The release that will read the metadata; `None` takes it from the journal.
    pub target: Option<Release>,
    /// Every limit.
    pub limits: Limits,
}

/// Checks that the 2.2 layout is complete and consistent, or, with a backup, exactly what its
/// migration gives. Differences are in the report, not an error. Of an unfinished migration or restore
/// only that is reported.
///
/// # Errors
/// [`EngineError`] when etcd or the backup cannot be read, or another run holds the migration lock.
pub async fn verify<S: Store>(
    store: &S,
    options: &VerifyOptions,
    environment: &Environment,
) -> Result<VerifyReport, EngineError> {
    let check = async {
        let around = environment.around(&options.root, &options.limits);
        let holder = sessions::lock_holder(store, around.root, around.limits).await?;
        if let Some(holder) = holder.filter(|holder| !holder.stays()) {
            return Err(Failure::Locked(holder));
        }
        let ledger = Ledger::load(store, around.root, around.limits).await?;
        if let Some(phase) = ledger.phase().filter(|phase| *phase != Phase::Done) {
            let message = unfinished_message(phase, ledger.journal());
            let mut collector = Collector::default();
            collector.push(Finding::error(
                "unfinished",
                &around.root.journal_key(),
                message,
            ));
            return Ok(collector.report());
        }
        let mut context = context(options.target.as_ref(), ledger.journal());
        let form = options.options.as_ref().map(|options| options.form);
        context.accepts_embedded = form == Some(CollectionForm::Embedded);
        let expectation = Expectation {
            backup: options.backup.clone(),
            options: options.options.clone(),
            context,
            backup_is_optional: false,
        };
        verify_against(store, around, expectation).await
    };
    check.await.map_err(EngineError::before_writing)
}

/// What the metadata is held against.
pub(super) struct Expectation {
    pub(super) backup: Option<PathBuf>,
    pub(super) options: Option<Options>,
    /// What is known where it is checked for completeness.
    pub(super) context: Context,
    /// Whether a backup that cannot be opened here (a file on another machine) is done without.
    pub(super) backup_is_optional: bool,
}

pub(super) async fn verify_against<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    expectation: Expectation,
) -> Result<VerifyReport, Failure> {
    if let Some(path) = expectation.backup {
        // One that is not needed is checked at once, so that it can still be done without.
        let optional = expectation.backup_is_optional;
        let meta_root = around.root.meta_root().to_owned();
        let tolerance = around.limits.tolerance;
        let open = move || {
            Backup::open_instance(Some(&meta_root), |root| match optional {
                true => Backup::open_with(&path, root, tolerance),
                false => Backup::announced(&path, root, tolerance),
            })
        };
        let opened = tokio::task::spawn_blocking(open)
            .await
            .map_err(|error| Failure::Worker(error.to_string()))?;
        match opened {
            Ok(backup) => {
                let options = match expectation.options {
                    Some(options) => options,
                    None => options_of_run(store, around).await?,
                };
                return against_backup(store, around, backup, options).await;
            }
            Err(error) if expectation.backup_is_optional => {
                around.observer.note(&format!(
                    "the backup cannot be read here, so the result is checked without it: {error}"
                ));
            }
            Err(error) => return Err(Failure::Backup(error)),
        }
    }
    let ledger = Ledger::load(store, around.root, around.limits).await?;
    consistency(store, around, expectation.context, ledger.journal()).await
}

/// How the migration was made: the journal says it; without one the keys show the form.
async fn options_of_run<S: Store>(store: &S, around: Surroundings<'_>) -> Result<Options, Failure> {
    let ledger = Ledger::load(store, around.root, around.limits).await?;
    if let Some(journal) = ledger.journal()
        && let Ok(form) = journal.collection_form.parse::<CollectionForm>()
        && let Ok(segment_form) = journal.segment_form.parse::<SegmentForm>()
        && let Ok(on_broken_record) = journal.on_broken_record.parse::<OnBrokenRecord>()
        && let Some(Ok(target)) = journal.target_version.as_deref().map(str::parse::<Release>)
    {
        return Ok(Options {
            task: task_of(journal),
            form,
            segment_form,
            on_broken_record,
            target,
        });
    }
    let form = if holds(store, around, Family::DatabaseCollection).await? {
        CollectionForm::Database
    } else if holds(store, around, Family::Partition).await? {
        CollectionForm::Split
    } else {
        CollectionForm::Embedded
    };
    let mut segment_form = SegmentForm::Inline;
    for kind in LogKind::ALL {
        if holds(store, around, kind.family()).await? {
            segment_form = SegmentForm::Auto;
        }
    }
    let target = Release::LATEST_2_2;
    Ok(Options {
        task: Task::Migration,
        form,
        segment_form,
        on_broken_record: OnBrokenRecord::Skip,
        target,
    })
}

async fn holds<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    family: Family,
) -> Result<bool, Failure> {
    let range = around.root.range_below(&family.prefix());
    let request = RangeRequest::new(range).keys_only().limit(1);
    let response = read(store, around.limits.patience, request)
        .await
        .map_err(while_doing(
            "looking for the form of collections and segments",
        ))?;
    Ok(!response.entries.is_empty())
}

async fn against_backup<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    backup: Backup,
    options: Options,
) -> Result<VerifyReport, Failure> {
    let migration = migration_of(&backup, around, options).await?;
    let mut collector = Collector::default();
    let revision = newest_revision(store, around.root, around.limits).await?;
    let sessions = around.root.range_below("session/");
    let filter = Filter::all(around.root);
    let actual = Actual {
        store,
        ranges: vec![around.root.range()],
        revision,
        ignore: &mut |entry| !filter.keeps(entry) || sessions.contains(&entry.key),
    };
    let expected = migrated(backup, Arc::new(migration), around.root);
    let keys = census::in_ranges(store, &actual.ranges, revision, around.limits);
    around.observer.phase_started("compare", Some(keys.await?));
    compare(expected, actual, around, |difference| {
        collector.add(&difference);
        Ok(())
    })
    .await?;
    around.observer.phase_finished();
    Ok(collector.report())
}

/// Reads and transforms a backup.
async fn migration_of(
    backup: &Backup,
    around: Surroundings<'_>,
    options: Options,
) -> Result<Migration, Failure> {
    let entries = backup.summary().entries;
    let backup = backup.clone();
    let mut chunks = feed(move |sink| {
        let mut entries = match backup.entries() {
            Ok(entries) => entries,
            Err(error) => return sink.push(Err(Failure::Backup(error))),
        };
        entries.try_for_each(|entry| sink.push(entry.map_err(Failure::Backup)))
    });
    let transform = TransformJob::start(around.root.clone(), options);
    around.observer.phase_started("read backup", Some(entries));
    while let Some(chunk) = chunks.recv().await {
        if let Some(signal) = around.stop.requested() {
            return Err(Failure::Interrupted(signal));
        }
        let chunk = chunk?;
        let entries = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        transform.push(Arc::new(chunk)).await;
        around.observer.advanced(entries);
    }
    around.observer.phase_finished();
    Ok(transform.finish().await?.migration)
}

/// What the migration of a backup gives, without the sessions.
fn migrated(backup: Backup, migration: Arc<Migration>, root: &MetaRoot) -> Expected {
    let sessions = root.range_below("session/");
    feed(move |sink| {
        let entries = match backup.entries() {
            Ok(entries) => entries,
            Err(error) => return sink.push(Err(Failure::Backup(error))),
        };
        for entry in migration.apply(entries) {
            match entry {
                Ok(entry) if sessions.contains(&entry.key) => {}
                outcome => sink.push(outcome.map_err(Failure::Backup))?,
            }
        }
        Ok(())
    })
}

async fn consistency<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    context: Context,
    journal: Option<&Journal>,
) -> Result<VerifyReport, Failure> {
    let form = journal.and_then(|journal| journal.collection_form.parse().ok());
    let mut found = survey(store, around, context).await?;
    // The embedded form without index or alias looks the same in both layouts.
    let unfinished = journal.is_some_and(|journal| journal.phase != Phase::Done);
    let is_embedded = form == Some(CollectionForm::Embedded);
    let findings = if unfinished
        || is_embedded && found.detector.layout() == Layout::V2_1 && found.is_only_embedded()
    {
        std::mem::take(&mut found.checked)
    } else {
        found.findings(around.root, journal)
    };
    let mut collector = Collector::default();
    for mut finding in findings {
        // A key of 2.1 that appeared after the commit is reported, and nobody's to migrate.
        if unfinished && finding.code == "index-not-migrated" {
            finding.severity = Severity::Warning;
        }
        collector.push(finding);
    }
    Ok(collector.report())
}
