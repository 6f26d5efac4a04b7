//! Preconditions of a rollback or restore, other than losses.

use crate::journal::Phase;
use meta_backup::{Backup, Coverage};
use meta_report::BackupRef;
use meta_store::Store;
use milvus_meta::keys::Family;
use milvus_meta::layout::Layout;
use milvus_meta::transform::Task;

use super::gap::Gap;
use super::interrupted::unfinished_families;
use super::{RestoreCommand, Run, desired_entries};
use crate::error::EngineErrorKind;
use crate::journal_store::JournalStore;

impl<S: Store> Run<'_, S> {
    /// Rejects a restore that would keep the staged keys of an unfinished migration: without the
    /// journal, they cannot be identified, and with them neither 2.2 nor a new migration recognizes
    /// the layout.
    pub(super) fn check_staged(
        &self,
        backup: &Backup,
        journal_store: &JournalStore,
    ) -> Result<(), EngineErrorKind> {
        if !journal_store.is_before_commit() {
            return Ok(());
        }
        let why = match backup.coverage() {
            _ if self.options.keep_extra => "--keep-extra leaves them there",
            Coverage::Families(_) | Coverage::Entries => {
                "the backup holds only a part of the metadata"
            }
            Coverage::All => return Ok(()),
        };
        Err(EngineErrorKind::StagedWouldStay { why })
    }

    /// Rejects the deletion of keys that are not in a backup with missing entries.
    pub(super) fn check_missing(&self, backup: &Backup) -> Result<(), EngineErrorKind> {
        if *backup.coverage() != Coverage::Entries || self.options.keep_extra {
            return Ok(());
        }
        Err(EngineErrorKind::Usage(format!(
            "entries are missing from the backup {}, so keys that it does not hold must not be deleted: restore it \
             with --keep-extra",
            backup.summary().path.display()
        )))
    }

    /// Returns the families to restore: those of an unfinished restore, which must be finished
    /// first, or else those of the options.
    pub(super) fn families(
        &self,
        journal_store: &JournalStore,
    ) -> Result<Vec<Family>, EngineErrorKind> {
        let requested = &self.options.families;
        if journal_store.phase() != Some(Phase::Restoring) {
            return Ok(requested.clone());
        }
        let unfinished = unfinished_families(journal_store)?;
        let is_restore = self.options.command == RestoreCommand::Restore;
        if unfinished == *requested || (is_restore && requested.is_empty()) {
            return Ok(unfinished);
        }
        let names: Vec<_> = unfinished.iter().map(|family| family.name()).collect();
        let what = match names[..] {
            [] => "all families".to_owned(),
            _ => names.join(", "),
        };
        Err(EngineErrorKind::Usage(format!(
            "a restore of {what} is unfinished: finish it first with restore --backup-file, without --family"
        )))
    }

    /// Rejects families that the backup does not contain. Also rejects a restore of some families
    /// while a migration is unfinished, because it would replace the journal.
    pub(super) fn check_families(
        &self,
        backup: &Backup,
        journal_store: &JournalStore,
    ) -> Result<(), EngineErrorKind> {
        let families = self.families(journal_store)?;
        let is_finished = matches!(
            journal_store.phase(),
            None | Some(Phase::Done | Phase::Restoring)
        );
        if !families.is_empty() && !is_finished {
            return Err(EngineErrorKind::Usage(format!(
                "a {} is unfinished: finish it or roll it back before some families are restored",
                journal_store.task().name()
            )));
        }
        let Coverage::Families(held) = backup.coverage() else {
            return Ok(());
        };
        match families.iter().find(|family| !held.contains(family)) {
            None => Ok(()),
            Some(missing) => Err(EngineErrorKind::Usage(format!(
                "the backup {} does not contain the family {}",
                backup.summary().path.display(),
                missing.name()
            ))),
        }
    }

    /// Checks that a rollback can use this backup.
    pub(super) fn check_backup(
        &self,
        backup: &Backup,
        journal_store: &JournalStore,
    ) -> Result<(), EngineErrorKind> {
        let is_committed = journal_store.phase().is_some_and(Phase::is_committed);
        if self.options.keep_extra && is_committed {
            return Err(EngineErrorKind::Usage(
                "--keep-extra would keep the 2.2 keys of the migration beside the 2.1 metadata, and neither \
                 Milvus 2.1 nor 2.2 starts on both. Roll back without --keep-extra; what was written since the \
                 migration is lost then, and is reported before"
                    .to_owned(),
            ));
        }
        let reference = backup.summary().reference();
        if let Some(recorded) = self.backup.as_ref()
            && self.options.backup.is_none()
        {
            desired_entries::check_digest(backup, recorded)?;
        }
        let is_partial = !matches!(backup.coverage(), Coverage::All);
        if is_partial
            && journal_store
                .phase()
                .is_some_and(|phase| !phase.is_before_commit())
        {
            return Err(EngineErrorKind::Usage(format!(
                "the backup {} holds only a part of the metadata, so it cannot undo a migration: the rest \
                 would stay in the 2.2 layout. Roll back with the backup that the migration saved, or use restore for this one",
                reference.path
            )));
        }
        Ok(())
    }

    /// Rejects a backup that is not the one that the migration saved, unless the loss is accepted.
    fn check_other(&self, path: String, recorded: String) -> Result<(), EngineErrorKind> {
        let other = EngineErrorKind::NotSaved { path, recorded };
        if !self.options.accept_loss {
            return Err(other);
        }
        self.etcd.observer.note(&other.to_string());
        Ok(())
    }

    /// Checks the result of the comparison. A rollback must result in the 2.1 layout. Without a
    /// journal that shows what was written since, or with that of a restore of another backup, keys
    /// may be added, but only deleted or overwritten with `--accept-loss`.
    pub(super) fn check_gap(
        &self,
        diff: &Gap,
        backup: &BackupRef,
        journal_store: &JournalStore,
    ) -> Result<(), EngineErrorKind> {
        let recorded = journal_store.backup();
        let is_saved = recorded.is_some_and(|recorded| recorded.digest == backup.digest);
        let resumes = is_saved && journal_store.restoring().is_some();
        if resumes && !self.options.accept_loss {
            diff.check_newer(journal_store)?;
        }
        diff.check_kept()?;
        diff.check_layouts()?;
        if !self.options.accept_loss {
            diff.check_rewritten()?;
        }
        let is_rollback = self.options.command == RestoreCommand::Rollback;
        let unknown = match journal_store.phase() {
            Some(Phase::Restoring) if !resumes => Some("a restore of another backup is unfinished"),
            None if is_rollback => Some("no migration is recorded here"),
            Some(_) | None => None,
        };
        // A repair starts with the 2.2 layout, as does a migration that carries over writes of 2.1
        // after another migration.
        let is_expected = is_saved || journal_store.task() == Task::Repair;
        if is_rollback && diff.layout == Layout::V2_2 && !is_expected {
            return Err(EngineErrorKind::Usage(format!(
                "the backup {} holds the 2.2 layout, but rollback restores 2.1: name the backup that the \
                    migration saved, or use restore for this one",
                backup.path
            )));
        }
        let is_other = !is_saved && unknown.is_none() && diff.loses();
        if is_rollback && let Some(recorded) = recorded.filter(|_| is_other) {
            self.check_other(backup.path.clone(), recorded.path.clone())?;
        }
        match unknown {
            Some(why) if !self.options.accept_loss => diff.check_lost(why),
            Some(_) | None => Ok(()),
        }
    }
}
