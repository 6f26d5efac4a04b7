//! The `verify` use case: checks the 2.2 layout without writing.

use std::path::PathBuf;
use std::sync::Arc;

use crate::journal::{Journal, Phase};
use meta_backup::Backup;
use meta_report::VerifyReport;
use meta_store::{RangeRequest, Store};
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::keys::{Family, LogKind, MetaRoot};
use milvus_meta::layout::Layout;
use milvus_meta::release::Release;
use milvus_meta::transform::{
    CollectionForm, Migration, OnBrokenRecord, Options, SegmentForm, Task,
};
use milvus_meta::verify::Context;

use crate::Environment;
use crate::background::blocking;
use crate::completeness::{context, survey};
use crate::context::{Etcd, RunContext};
use crate::diff::{Actual, Collector, Expected, compare};
use crate::error::{EngineError, EngineErrorKind};
use crate::fingerprint::Filter;
use crate::journal_store::{JournalStore, journal_options};
use crate::key_count;
use crate::limits::Limits;
use crate::plan_report::unfinished_message;
use crate::sessions;
use crate::throughput::stream::feed;
use crate::throughput::transform_job::TransformJob;

/// Options of [`verify`].
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// The location of the metadata.
    pub root: MetaRoot,
    /// The backup whose migration etcd should contain; `None` only checks consistency.
    pub backup: Option<PathBuf>,
    /// How that backup was migrated; `None` takes it from the journal or from the current keys.
    pub options: Option<Options>,
    /// The release that will read the metadata; `None` takes it from the journal.
    pub target: Option<Release>,
    /// Every limit.
    pub limits: Limits,
}

/// Checks that the 2.2 layout is complete and consistent, or equals the result of migrating a
/// backup.
///
/// Differences are part of the report, not an error. For an unfinished migration or restore the
/// report contains only that finding.
///
/// # Errors
/// [`EngineError`] if etcd or the backup cannot be read, or another run holds the migration lock.
pub async fn verify<S: Store>(
    store: &S,
    options: &VerifyOptions,
    environment: &Environment,
) -> Result<VerifyReport, EngineError> {
    let check = async {
        let etcd = environment.etcd(store, &options.root, &options.limits);
        let holder = sessions::lock_holder(etcd).await?;
        if let Some(holder) = holder.filter(|holder| !holder.never_expires()) {
            return Err(EngineErrorKind::Locked(holder));
        }
        let journal_store = JournalStore::load(etcd).await?;
        if let Some(phase) = journal_store.phase().filter(|phase| *phase != Phase::Done) {
            let message = unfinished_message(phase, journal_store.journal());
            let mut collector = Collector::default();
            collector.push(Finding::error(
                "unfinished",
                &etcd.root.journal_key(),
                message,
            ));
            return Ok(collector.report());
        }
        let mut context = context(options.target.as_ref(), journal_store.journal());
        let form = options.options.as_ref().map(|options| options.form);
        context.accepts_embedded = form == Some(CollectionForm::Embedded);
        let expectation = Expectation {
            backup: options.backup.clone(),
            options: options.options.clone(),
            context,
            backup_is_optional: false,
        };
        verify_against(etcd, expectation).await
    };
    check.await.map_err(EngineError::before_writing)
}

/// What the metadata is compared with.
pub(super) struct Expectation {
    pub(super) backup: Option<PathBuf>,
    pub(super) options: Option<Options>,
    /// The context of the completeness check.
    pub(super) context: Context,
    /// Whether to continue without a backup that cannot be opened here (a file on another machine).
    pub(super) backup_is_optional: bool,
}

pub(super) async fn verify_against<S: Store>(
    etcd: Etcd<'_, S>,
    expectation: Expectation,
) -> Result<VerifyReport, EngineErrorKind> {
    if let Some(path) = expectation.backup {
        // An optional backup is verified first, so that it can be ignored if it is damaged.
        let optional = expectation.backup_is_optional;
        let meta_root = etcd.root.meta_root().to_owned();
        let tolerance = etcd.limits.tolerance;
        let open = move || {
            Backup::open_instance(Some(&meta_root), |root| match optional {
                true => Backup::open_with(&path, root, tolerance),
                false => Backup::announced(&path, root, tolerance),
            })
        };
        match blocking(open).await? {
            Ok(backup) => {
                let options = match expectation.options {
                    Some(options) => options,
                    None => options_of_run(etcd).await?,
                };
                let task = options.task;
                let migration = migration_of(&backup, etcd.ctx, options).await?;
                // The plan of a repair is only executed if it has no errors.
                if task == Task::Migration || !migration.has_errors() {
                    return against_backup(etcd, backup, migration).await;
                }
                etcd.observer.note(
                    "the repair restored schemas from another file, so the result is checked for completeness and not \
                     compared with the backup",
                );
            }
            Err(error) if expectation.backup_is_optional => {
                etcd.observer.note(&format!(
                    "the backup cannot be read here, so the result is checked without it: {error}"
                ));
            }
            Err(error) => return Err(EngineErrorKind::Backup(error)),
        }
    }
    let journal_store = JournalStore::load(etcd).await?;
    consistency(etcd, expectation.context, journal_store.journal()).await
}

/// Returns the options of the migration from the journal. Without one, derives the forms from the
/// keys.
async fn options_of_run<S: Store>(etcd: Etcd<'_, S>) -> Result<Options, EngineErrorKind> {
    let journal_store = JournalStore::load(etcd).await?;
    if let Some(journal) = journal_store.journal()
        && let Ok(options) = journal_options(journal)
    {
        return Ok(options);
    }
    let form = if holds(etcd, Family::DatabaseCollection).await? {
        CollectionForm::Database
    } else if holds(etcd, Family::Partition).await? {
        CollectionForm::Split
    } else {
        CollectionForm::Embedded
    };
    let mut segment_form = SegmentForm::Inline;
    for kind in LogKind::ALL {
        if holds(etcd, kind.family()).await? {
            segment_form = SegmentForm::Auto;
        }
    }
    Ok(options_shown(form, segment_form))
}

/// Returns the options of a migration to these forms, which skips broken records.
pub(super) fn options_shown(form: CollectionForm, segment_form: SegmentForm) -> Options {
    Options {
        task: Task::Migration,
        form,
        segment_form,
        on_broken_record: OnBrokenRecord::Skip,
        schemas: None,
        target: Release::LATEST_2_2,
    }
}

async fn holds<S: Store>(etcd: Etcd<'_, S>, family: Family) -> Result<bool, EngineErrorKind> {
    let range = etcd.root.range_below(&family.prefix());
    let request = RangeRequest::new(range).keys_only().limit(1);
    let action = "looking for the form of collections and segments";
    let response = etcd.read(request, action).await?;
    Ok(!response.entries.is_empty())
}

async fn against_backup<S: Store>(
    etcd: Etcd<'_, S>,
    backup: Backup,
    migration: Migration,
) -> Result<VerifyReport, EngineErrorKind> {
    let mut collector = Collector::default();
    let revision = etcd.newest_revision().await?;
    let sessions = etcd.root.range_below("session/");
    let filter = Filter::all(etcd.root);
    let actual = Actual {
        ranges: vec![etcd.root.range()],
        revision,
        ignore: &mut |entry| !filter.keeps(entry) || sessions.contains(&entry.key),
    };
    let expected = migrated(backup, Arc::new(migration), etcd.root);
    let keys = key_count::in_ranges(etcd, &actual.ranges, revision);
    etcd.observer.phase_started("compare", Some(keys.await?));
    compare(etcd, expected, actual, |diff| {
        collector.add(&diff);
        Ok(())
    })
    .await?;
    etcd.observer.phase_finished();
    Ok(collector.report())
}

/// Reads and transforms a backup.
async fn migration_of(
    backup: &Backup,
    ctx: RunContext<'_>,
    options: Options,
) -> Result<Migration, EngineErrorKind> {
    let entries = backup.summary().entries;
    let backup = backup.clone();
    let mut chunks = feed(move |sink| {
        let mut entries = sink.checked(backup.entries())?;
        entries.try_for_each(|entry| {
            let entry = sink.checked(entry)?;
            sink.push(entry)
        })
    });
    let transform = TransformJob::start(ctx.root.clone(), options);
    ctx.observer.phase_started("read backup", Some(entries));
    while let Some(chunk) = chunks.recv().await {
        if let Some(signal) = ctx.stop.requested() {
            return Err(EngineErrorKind::Interrupted(signal));
        }
        let chunk = chunk?;
        let entries = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        transform.push(Arc::new(chunk)).await;
        ctx.observer.advanced(entries);
    }
    ctx.observer.phase_finished();
    Ok(transform.finish().await?.migration)
}

/// Returns the entries that the migration of a backup produces, without sessions.
fn migrated(backup: Backup, migration: Arc<Migration>, root: &MetaRoot) -> Expected {
    let sessions = root.range_below("session/");
    feed(move |sink| {
        let entries = sink.checked(backup.entries())?;
        for entry in migration.apply(entries) {
            let entry = sink.checked(entry)?;
            if !sessions.contains(&entry.key) {
                sink.push(entry)?;
            }
        }
        Ok(())
    })
}

async fn consistency<S: Store>(
    etcd: Etcd<'_, S>,
    context: Context,
    journal: Option<&Journal>,
) -> Result<VerifyReport, EngineErrorKind> {
    let form = journal.and_then(|journal| journal.collection_form.parse().ok());
    let mut found = survey(etcd, context).await?;
    // The embedded form without index or alias looks the same in both layouts: then only leftovers
    // look like 2.1.
    let unfinished = journal.is_some_and(|journal| journal.phase != Phase::Done);
    let is_embedded = form == Some(CollectionForm::Embedded);
    let findings = if unfinished
        || is_embedded
            && found.detector.layout() == Layout::V2_1
            && found.detector.is_only_leftovers()
    {
        std::mem::take(&mut found.checked)
    } else {
        found.findings(etcd.root, journal)
    };
    let mut collector = Collector::default();
    for mut finding in findings {
        // A 2.1 key that appeared after the commit is reported, but it is not an error of the
        // migration.
        if unfinished && finding.code == "index-not-migrated" {
            finding.severity = Severity::Warning;
        }
        collector.push(finding);
    }
    Ok(collector.report())
}
