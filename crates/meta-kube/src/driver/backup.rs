//! The backup for a rollback: which file it is, and whether it is valid.

use std::path::Path;

use serde::Deserialize;

use super::{Driver, StageError, fail};
use crate::BACKUP_FOLDER;
use crate::job_kind::JobKind;
use crate::stage::is_for_old;
use meta_report::{BackupRef, BackupReport, MigrateOutcome, MigrateReport};
use milvus_meta::layout::Layout;

/// Output of `backup list` in the volume.
#[derive(Debug, Deserialize)]
struct BackupList {
    backups: Vec<BackupEntry>,
}

#[derive(Debug, Deserialize)]
struct BackupEntry {
    path: String,
    valid: bool,
    digest: Option<String>,
}

impl BackupList {
    /// Whether the list has a valid backup at this path, with this digest if one is given.
    fn has(&self, path: &str, digest: Option<&String>) -> bool {
        let mut valid = self.backups.iter().filter(|one| one.valid);
        valid.any(|one| one.path == path && (digest.is_none() || one.digest.as_ref() == digest))
    }
}

impl Driver<'_> {
    /// Backs up the 2.1 metadata. A backup of a 2.2 layout would be useless for a rollback.
    pub(super) async fn back_up(&mut self) -> Result<(), StageError> {
        if self.state.layout_before == Some(Layout::V2_2) {
            self.observer
                .message("the metadata is 2.2 already: no backup");
            return Ok(());
        }
        // Milvus has not run since: this stage is repeated.
        if self.state.has_backup {
            return Ok(());
        }
        self.run(JobKind::Backup).await?;
        // The metadata may have been migrated manually since the probe. If it is 2.1 now, it was
        // 2.1 when it was saved.
        let status = self.status().await?;
        self.state.has_backup = self.is_intact(&status);
        if !self.state.has_backup {
            self.observer.message(&format!(
                "the metadata is {} now: the saved backup cannot restore 2.1",
                status.layout.name()
            ));
        }
        Ok(())
    }

    /// Migrates, and records which backup a rollback uses.
    pub(super) async fn migrate(&mut self) -> Result<(), StageError> {
        if self.state.verified && self.unlocked_status().await?.layout != Layout::V2_2 {
            if let Some(saved) = &self.state.saved {
                return fail(format!(
                    "the rollback already restored the 2.1 metadata, without what the new release wrote (saved in {saved}): \
                     another migration would not contain it. Finish the rollback with -o resume, then upgrade again"
                ));
            }
            // The metadata was restored since: an earlier Job's result does not count, and the new
            // one is compared.
            self.state.verified = false;
            self.next_attempt(JobKind::Migrate).await?;
        }
        let report: Option<MigrateReport> = self.report(JobKind::Migrate).await?;
        if let Some(report) = report
            && let Some(backup) = report.backup
        {
            // The migration writes another backup if the metadata differs from the existing one.
            let made_now = report.outcome == MigrateOutcome::Migrated && !report.resumed;
            let known = self.state.has_backup && backup.path == self.state.backup_file;
            if known || made_now || self.is_on_volume(&backup).await? {
                self.state.backup_file = backup.path;
                self.state.has_backup = true;
            }
        }
        Ok(())
    }

    /// Compares the new layout with the result expected from the backup. If the backup is lost,
    /// checks the new layout for consistency only, because the metadata itself is fine.
    pub(super) async fn verify(&mut self) -> Result<(), StageError> {
        if self.state.verified {
            self.observer.message(
                "the metadata was compared with the backup before the new release ran: only its completeness is checked now",
            );
            return self.run(JobKind::VerifyAlone).await.map(|_| ());
        }
        let Some(lost) = self.run_with_backup(JobKind::Verify).await? else {
            return Ok(());
        };
        self.observer.message(&format!(
            "{lost}: the metadata is checked without it, and no rollback is possible until the file is restored"
        ));
        self.run(JobKind::VerifyAlone).await.map(|_| ())
    }

    /// Saves what a rollback discards.
    pub(super) async fn save_new(&mut self) -> Result<(), StageError> {
        let is_saved = self.state.saved.is_some();
        if is_saved || !self.state.policy.accept_loss {
            return Ok(());
        }
        let report: Option<BackupReport> = self.report(JobKind::Save).await?;
        let file = report.map_or_else(|| self.state.saved_file(), |report| report.path);
        self.observer
            .message(&format!("what the new release wrote is saved in {file}"));
        self.state.saved = Some(file);
        Ok(())
    }

    /// Restores the 2.1 metadata. If the backup is lost, that may not be necessary.
    pub(super) async fn restore(&mut self) -> Result<(), StageError> {
        // Without a backup there is nothing to restore; the next stage checks whether that is acceptable.
        if !self.state.has_backup {
            return Ok(());
        }
        let Some(lost) = self.run_with_backup(JobKind::Rollback).await? else {
            return Ok(());
        };
        let layout = self.check_layout().await?;
        if is_for_old(layout, self.state.layout_before) {
            self.observer.message(&format!(
                "{lost}, and is not needed: the metadata is {}",
                layout.name()
            ));
            return Ok(());
        }
        fail(format!(
            "{lost}, and the metadata is {}: copy the file there, or name the claim that has it with --backup-pvc, then run -o resume; or abandon the rollback with -o forward",
            layout.name()
        ))
    }

    /// Runs a Job that reads the backup. If it failed because the backup is lost, returns the reason.
    async fn run_with_backup(&mut self, kind: JobKind) -> Result<Option<String>, StageError> {
        let why = match self.run(kind).await {
            Err(StageError::Failed(why)) => why,
            outcome => return outcome.map(|_| None),
        };
        if !self.is_backup_lost().await? {
            return fail(why);
        }
        Ok(Some(format!(
            "the backup {} is no longer in volume claim {}",
            self.state.backup_file, self.state.claim
        )))
    }

    /// Whether there was a backup and a Job cannot open it.
    async fn is_backup_lost(&mut self) -> Result<bool, StageError> {
        if !self.state.has_backup {
            return Ok(false);
        }
        let listed: Option<BackupList> = match self.report(JobKind::List).await {
            // The Job failed for another reason.
            Err(StageError::Failed(_)) => None,
            listed => listed?,
        };
        Ok(listed.is_some_and(|listed| !listed.has(&self.state.backup_file, None)))
    }

    /// Whether a Job can open the backup that an earlier migration named. That migration may have
    /// been run manually, or with another volume.
    async fn is_on_volume(&mut self, backup: &BackupRef) -> Result<bool, StageError> {
        let is_there = is_in_backup_folder(&backup.path) && {
            let listed: Option<BackupList> = self.report(JobKind::List).await?;
            listed.is_some_and(|listed| listed.has(&backup.path, Some(&backup.digest)))
        };
        if !is_there {
            self.observer.message(&format!(
                "the backup of the migration, {}, is not in volume claim {}",
                backup.path, self.state.claim
            ));
        }
        Ok(is_there)
    }
}

fn is_in_backup_folder(path: &str) -> bool {
    Path::new(path).parent() == Some(Path::new(BACKUP_FOLDER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_file_with_the_digest_is_the_backup() {
        let text = r#"{"backups":[
            {"path":"/milvus/data/a.mmb","valid":true,"digest":"1"},
            {"path":"/milvus/data/b.mmb","valid":false,"digest":null}]}"#;
        let listed: BackupList = serde_json::from_str(text).unwrap();
        let has = |path: &str, digest: &str| listed.has(path, Some(&digest.to_owned()));
        assert!(has("/milvus/data/a.mmb", "1"));
        assert!(!has("/milvus/data/a.mmb", "2"));
        assert!(!has("/milvus/data/b.mmb", ""));
        assert!(!has("/milvus/data/c.mmb", "1"));
    }

    #[test]
    fn a_local_path_is_not_in_the_volume() {
        assert!(is_in_backup_folder("/milvus/data/3f9a2c1d.mmb"));
        assert!(!is_in_backup_folder("/milvus/database/3f9a2c1d.mmb"));
        assert!(!is_in_backup_folder("/milvus/data/../b.mmb"));
        assert!(!is_in_backup_folder("b.mmb"));
    }
}
