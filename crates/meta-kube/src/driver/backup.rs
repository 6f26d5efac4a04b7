//! The backup that a rollback would use: which file it is, and whether it is one.

use std::path::Path;

use serde::Deserialize;

use super::{Driver, StageError, fail};
use crate::BACKUP_FOLDER;
use crate::job_kind::JobKind;
use crate::stage::is_for_old;
use meta_report::{BackupRef, MigrateOutcome, MigrateReport};
use milvus_meta::layout::Layout;

/// What a Job found in the volume.
#[derive(Debug, Deserialize)]
struct Listed {
    backups: Vec<Line>,
}

#[derive(Debug, Deserialize)]
struct Line {
    path: String,
    valid: bool,
    digest: Option<String>,
}

impl Listed {
    /// Whether it is a valid backup, with this digest if one is given.
    fn has(&self, path: &str, digest: Option<&String>) -> bool {
        let mut valid = self.backups.iter().filter(|one| one.valid);
        valid.any(|one| one.path == path && (digest.is_none() || one.digest.as_ref() == digest))
    }
}

impl Driver<'_> {
    /// Saves what 2.1 wrote. A backup of a 2.2 layout is none that a rollback could use.
    pub(super) async fn back_up(&mut self) -> Result<(), StageError> {
        if self.state.layout_before == Some(Layout::V2_2) {
            self.observer
                .message("the metadata is 2.2 already: no backup");
            return Ok(());
        }
        // Nothing ran since: this is the second time on the way forward.
        if self.state.has_backup {
            return Ok(());
        }
        self.run(JobKind::Backup).await?;
        // Another user may have migrated by hand since the probe. What is 2.1 now was 2.1 when it was saved.
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

    /// Migrates, and finds out which backup leads back.
    pub(super) async fn migrate(&mut self) -> Result<(), StageError> {
        if self.state.verified && self.unlocked_status().await?.layout != Layout::V2_2 {
            if let Some(saved) = &self.state.saved {
                return fail(format!(
                    "the rollback put the metadata back already, and with it what the new release wrote (saved in \
                     {saved}): migrated again, that would be missing. Upgrade again once the rollback is finished"
                ));
            }
            // It was restored since: what an earlier Job did does not count, and what it gives is compared.
            self.state.verified = false;
            self.next_attempt(JobKind::Migrate).await?;
        }
        let report: Option<MigrateReport> = self.report(JobKind::Migrate).await?;
        if let Some(report) = report
            && let Some(backup) = report.backup
        {
            // The migration makes another one where the metadata is not what the backup holds.
            let made_now = report.outcome == MigrateOutcome::Migrated && !report.resumed;
            let known = self.state.has_backup && backup.path == self.state.backup_file;
            if known || made_now || self.is_in_the_volume(&backup).await? {
                self.state.backup_file = backup.path;
                self.state.has_backup = true;
            }
        }
        Ok(())
    }

    /// Compares the new layout with what the backup gives, or where that is lost with itself: the metadata
    /// is no worse for it.
    pub(super) async fn verify(&mut self) -> Result<(), StageError> {
        if self.state.verified {
            self.observer.message(
                "it was compared with the backup before the new release ran; now only its completeness is checked",
            );
            return self.run(JobKind::VerifyAlone).await.map(|_| ());
        }
        let Some(lost) = self.run_with_backup(JobKind::Verify).await? else {
            return Ok(());
        };
        self.observer.message(&format!(
            "{lost}: the metadata is checked without it, and no rollback is possible until the file is there again"
        ));
        self.run(JobKind::VerifyAlone).await.map(|_| ())
    }

    /// Restores the 2.1 metadata; where the backup is lost, that may not be needed.
    pub(super) async fn restore(&mut self) -> Result<(), StageError> {
        // Without a backup there is nothing to restore: the check that follows finds out whether that is needed.
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

    /// Runs a Job that reads the backup. Where it failed because the backup is lost, that is returned.
    async fn run_with_backup(&mut self, kind: JobKind) -> Result<Option<String>, StageError> {
        let why = match self.run(kind).await {
            Err(StageError::Failed(why)) => why,
            outcome => return outcome.map(|_| None),
        };
        if !self.is_lost().await? {
            return fail(why);
        }
        Ok(Some(format!(
            "the backup {} is no longer in volume claim {}",
            self.state.backup_file, self.state.claim
        )))
    }

    /// Whether there was a backup and a Job cannot open it.
    async fn is_lost(&mut self) -> Result<bool, StageError> {
        if !self.state.has_backup {
            return Ok(false);
        }
        let listed: Option<Listed> = match self.report(JobKind::List).await {
            // Then that is not what it failed of.
            Err(StageError::Failed(_)) => None,
            listed => listed?,
        };
        Ok(listed.is_some_and(|listed| !listed.has(&self.state.backup_file, None)))
    }

    /// Whether a Job could open the backup that an earlier migration named: that may have been made by
    /// hand, or with another volume.
    async fn is_in_the_volume(&mut self, backup: &BackupRef) -> Result<bool, StageError> {
        let is_there = lies_in_the_volume(&backup.path) && {
            let listed: Option<Listed> = self.report(JobKind::List).await?;
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

fn lies_in_the_volume(path: &str) -> bool {
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
        let listed: Listed = serde_json::from_str(text).unwrap();
        let has = |path: &str, digest: &str| listed.has(path, Some(&digest.to_owned()));
        assert!(has("/milvus/data/a.mmb", "1"));
        assert!(!has("/milvus/data/a.mmb", "2"));
        assert!(!has("/milvus/data/b.mmb", ""));
        assert!(!has("/milvus/data/c.mmb", "1"));
    }

    #[test]
    fn a_local_path_is_not_in_the_volume() {
        assert!(lies_in_the_volume("/milvus/data/3f9a2c1d.mmb"));
        assert!(!lies_in_the_volume("/milvus/database/3f9a2c1d.mmb"));
        assert!(!lies_in_the_volume("/milvus/data/../b.mmb"));
        assert!(!lies_in_the_volume("b.mmb"));
    }
}
