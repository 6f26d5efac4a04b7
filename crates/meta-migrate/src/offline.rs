//! The use cases that work on backup files without etcd. All of them block.

use std::ops::ControlFlow;

use meta_backup::{Backup, Coverage, Header};
use meta_report::{BackupRef, MigrateOutcome, MigrateReport, VerifyReport};
use milvus_meta::entry::Entry;
use milvus_meta::finding::Finding;
use milvus_meta::keys::{Family, LogKind, MetaRoot};
use milvus_meta::layout::{Layout, LayoutDetector};
use milvus_meta::release::Release;
use milvus_meta::transform::{
    CollectionForm, Migration, Options, PlanReport, SchemaSource, SegmentForm, Source,
};
use milvus_meta::verify::Context;

use crate::Environment;
use crate::clock::now;
use crate::completeness::{EntryCheck, Survey, context, context_of};
use crate::diff::{Collector, Diff};
use crate::error::{EngineError, EngineErrorKind};
use crate::fingerprint::Filter;
use crate::layout::carried_finding;
use crate::throughput::backup_job::BackupTarget;
use crate::verify::options_shown;

/// Number of entries between two checks for cancellation.
const CANCEL_CHECK_INTERVAL: u64 = 4096;

/// A backup and the meta root of its keys.
#[derive(Debug, Clone)]
pub struct BackupSource {
    backup: Backup,
    root: MetaRoot,
}

impl BackupSource {
    /// Creates a source from a backup whose keys are below `root`.
    #[must_use]
    pub fn new(backup: Backup, root: MetaRoot) -> Self {
        Self { backup, root }
    }

    /// Returns the backup.
    #[must_use]
    pub fn backup(&self) -> &Backup {
        &self.backup
    }

    /// Returns the meta root of its keys.
    #[must_use]
    pub fn root(&self) -> &MetaRoot {
        &self.root
    }

    /// Returns the layout of the backup and the evidence for it.
    pub fn layout(&self, environment: &Environment) -> Result<(Layout, Vec<String>), EngineError> {
        let mut detector = LayoutDetector::new(self.root.clone());
        self.read("check", environment, |entry| detector.push(&entry))
            .map_err(EngineError::before_writing)?;
        Ok((detector.layout(), detector.evidence()))
    }

    /// Passes every entry, in ascending order, to `visit` until it breaks. Returns the revision.
    pub fn entries(
        &self,
        environment: &Environment,
        mut visit: impl FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<i64, EngineError> {
        let failed = |error| EngineError::before_writing(EngineErrorKind::Backup(error));
        for (index, entry) in (0_u64..).zip(self.backup.entries().map_err(failed)?) {
            check_cancelled(index, environment).map_err(EngineError::before_writing)?;
            if visit(entry.map_err(failed)?).is_break() {
                break;
            }
        }
        Ok(self.backup.summary().revision)
    }

    /// Returns the schemas of the collections in the backup, for a repair of metadata that lost
    /// them.
    pub fn schemas(&self, environment: &Environment) -> Result<SchemaSource, EngineError> {
        let path = self.backup.summary().path.display().to_string();
        let mut schemas = SchemaSource::new(self.root.clone(), path);
        self.read("read", environment, |entry| schemas.push(&entry))
            .map_err(EngineError::before_writing)?;
        Ok(schemas)
    }

    /// Returns the plan of the backup's migration.
    pub fn plan(
        &self,
        options: &Options,
        environment: &Environment,
    ) -> Result<PlanReport, EngineError> {
        let made = self.transform(options, environment);
        made.map(|(_, plan)| plan)
            .map_err(EngineError::before_writing)
    }

    /// Checks a 2.2 backup for completeness and consistency, or compares it with the migration of
    /// `before`.
    pub fn verify(
        &self,
        before: Option<&Self>,
        options: Option<&Options>,
        target: Option<&Release>,
        environment: &Environment,
    ) -> Result<VerifyReport, EngineError> {
        let outcome = match before {
            Some(before) => self.compare(before, options, environment),
            None => {
                let mut context = context(target, None);
                let form = options.map(|options| options.form);
                context.accepts_embedded = form == Some(CollectionForm::Embedded);
                self.check(context, environment).map(|found| {
                    let mut collector = Collector::default();
                    let findings = found.findings(&self.root, None);
                    findings.into_iter().for_each(|it| collector.push(it));
                    collector.report()
                })
            }
        };
        outcome.map_err(EngineError::before_writing)
    }

    /// Converts a 2.1 backup to a 2.2 backup.
    ///
    /// # Errors
    /// [`EngineError`]; no file remains.
    pub fn migrate(
        &self,
        options: &Options,
        target: &BackupTarget,
        environment: &Environment,
    ) -> Result<MigrateReport, EngineError> {
        self.convert(options, target, environment)
            .map_err(EngineError::before_writing)
    }

    /// Passes every entry of the source to `visit`, with progress.
    fn read(
        &self,
        phase: &str,
        environment: &Environment,
        mut visit: impl FnMut(Entry),
    ) -> Result<(), EngineErrorKind> {
        let observer = &environment.observer;
        observer.phase_started(phase, Some(self.backup.summary().entries));
        let read = self.each(environment, |entry| {
            visit(entry);
            observer.advanced(1);
        });
        observer.phase_finished();
        read
    }

    fn each(
        &self,
        environment: &Environment,
        mut visit: impl FnMut(Entry),
    ) -> Result<(), EngineErrorKind> {
        let filter = Filter::all(&self.root);
        let entries = self.backup.entries()?;
        for (index, entry) in (0_u64..).zip(entries) {
            check_cancelled(index, environment)?;
            let entry = entry?;
            if filter.keeps(&entry) {
                visit(entry);
            }
        }
        Ok(())
    }

    fn transform(
        &self,
        options: &Options,
        environment: &Environment,
    ) -> Result<(Migration, PlanReport), EngineErrorKind> {
        let mut source = Source::new(self.root.clone(), options.clone());
        self.read("read", environment, |entry| source.push(&entry))?;
        let (layout, evidence) = (source.layout(), source.evidence());
        let migration = source.finish();
        let mut plan = migration.plan(layout, self.backup.summary().revision);
        match layout {
            Layout::Mixed => {
                let mut check = EntryCheck::new(&self.root, context_of(options, None));
                let entries = self.backup.entries()?;
                for entry in migration.apply(entries) {
                    check.push(&entry?);
                }
                let wrong = check.finish().checked.into_iter();
                plan.findings.extend(wrong.filter(Finding::is_error));
                plan.findings.push(carried_finding(&evidence, None));
                plan.findings.sort();
            }
            Layout::V2_2 => {
                let context = context_of(options, None);
                plan.findings = self.check(context, environment)?.checked;
            }
            Layout::V2_1 | Layout::Staged | Layout::Empty => {}
        }
        Ok((migration, plan))
    }

    fn check(
        &self,
        context: Context,
        environment: &Environment,
    ) -> Result<Survey, EngineErrorKind> {
        let mut check = EntryCheck::new(&self.root, context);
        self.each(environment, |entry| check.push(&entry))?;
        Ok(check.finish())
    }

    fn compare(
        &self,
        before: &Self,
        options: Option<&Options>,
        environment: &Environment,
    ) -> Result<VerifyReport, EngineErrorKind> {
        let options = match options {
            Some(options) => options.clone(),
            None => self.options_shown(environment)?,
        };
        let (migration, _) = before.transform(&options, environment)?;
        let sessions = before.root.range_below("session/");
        let expected = before.backup.entries()?;
        let mut expected = migration
            .apply(expected)
            .filter(|entry| !matches!(entry, Ok(entry) if sessions.contains(&entry.key)));
        let sessions = self.root.range_below("session/");
        let mut collector = Collector::default();
        let mut next = || expected.next().transpose().map_err(EngineErrorKind::Backup);
        let mut head = next()?;
        let actual = self.backup.entries()?;
        for (index, entry) in (0_u64..).zip(actual) {
            check_cancelled(index, environment)?;
            let entry = entry?;
            if sessions.contains(&entry.key) {
                continue;
            }
            while let Some(wanted) = head.take_if(|wanted| wanted.key < entry.key) {
                collector.add(&Diff::Missing(wanted));
                head = next()?;
            }
            let Some(wanted) = head.take_if(|wanted| wanted.key == entry.key) else {
                collector.add(&Diff::Extra(entry));
                continue;
            };
            head = next()?;
            if wanted.value != entry.value {
                collector.add(&Diff::Different {
                    wanted,
                    found: entry.value,
                    mod_revision: entry.mod_revision,
                });
            }
        }
        while let Some(wanted) = head.take() {
            collector.add(&Diff::Missing(wanted));
            head = next()?;
        }
        Ok(collector.report())
    }

    /// Returns the options with the form that the keys show, and the policy that skips broken
    /// records.
    fn options_shown(&self, environment: &Environment) -> Result<Options, EngineErrorKind> {
        let (mut form, mut segment_form) = (CollectionForm::Embedded, SegmentForm::Inline);
        self.each(environment, |entry| {
            let family = self.root.strip(&entry.key).map(Family::of);
            if LogKind::ALL
                .map(|kind| Some(kind.family()))
                .contains(&family)
            {
                segment_form = SegmentForm::Auto;
            }
            if family == Some(Family::DatabaseCollection) {
                form = CollectionForm::Database;
            } else if family == Some(Family::Partition) && form == CollectionForm::Embedded {
                form = CollectionForm::Split;
            }
        })?;
        Ok(options_shown(form, segment_form))
    }

    fn convert(
        &self,
        options: &Options,
        target: &BackupTarget,
        environment: &Environment,
    ) -> Result<MigrateReport, EngineErrorKind> {
        let started = std::time::Instant::now();
        if *self.backup.coverage() != Coverage::All {
            return Err(EngineErrorKind::Usage(format!(
                "the backup {} holds only a part of the metadata, so it cannot become a complete 2.2 backup: \
                 restore it into etcd and migrate there",
                self.backup.summary().path.display(),
            )));
        }
        let (migration, plan) = self.transform(options, environment)?;
        let read = started.elapsed().as_secs_f64();
        let mut report = MigrateReport::unchanged(MigrateOutcome::Migrated);
        report.seconds.read = read;
        if plan.findings.iter().any(Finding::is_error) {
            return Err(EngineErrorKind::Findings(Box::new(plan)));
        }
        report.outcome = match plan.layout {
            Layout::V2_2 => MigrateOutcome::AlreadyMigrated,
            Layout::Empty => MigrateOutcome::NothingToDo,
            Layout::V2_1 | Layout::Mixed | Layout::Staged => MigrateOutcome::Migrated,
        };
        if report.outcome == MigrateOutcome::Migrated {
            let writing = std::time::Instant::now();
            let entries = (self.backup.summary().entries + plan.put).saturating_sub(plan.delete);
            report.backup = Some(self.write(&migration, entries, target, environment)?);
            report.verified = true;
            report.plan = Some(plan);
            report.seconds.write = writing.elapsed().as_secs_f64();
        }
        report.seconds.total = started.elapsed().as_secs_f64();
        Ok(report)
    }

    /// Writes the migrated entries; the writer reads the file back and compares it.
    fn write(
        &self,
        migration: &Migration,
        entries: u64,
        target: &BackupTarget,
        environment: &Environment,
    ) -> Result<BackupRef, EngineErrorKind> {
        let summary = self.backup.summary();
        let header = Header {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            created_at: now(),
            source_version: target.source_version.clone(),
            skipped_leased: summary.skipped_leased,
            ..summary.header.clone()
        };
        let observer = &environment.observer;
        observer.phase_started("write", Some(entries));
        let mut writer = target.writer(header)?;
        let entries = self.backup.entries()?;
        for (index, entry) in (0_u64..).zip(migration.apply(entries)) {
            check_cancelled(index, environment)?;
            let entry = entry?;
            writer.push(&entry.key, &entry.value)?;
            observer.advanced(1);
        }
        observer.phase_finished();
        Ok(writer.finish()?.reference())
    }
}

fn check_cancelled(index: u64, environment: &Environment) -> Result<(), EngineErrorKind> {
    match environment.stop.requested() {
        Some(signal) if index.is_multiple_of(CANCEL_CHECK_INTERVAL) => {
            Err(EngineErrorKind::Interrupted(signal))
        }
        Some(_) | None => Ok(()),
    }
}
