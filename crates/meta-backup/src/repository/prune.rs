//! Removal of old backups: first a plan that the user can review, then its execution.
//!
//! Only valid native backups and abandoned unfinished ones are removed. Files that are damaged, in
//! an import format, or without a creation time are kept, and the plan has the reason.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::SystemTime;

use jiff::Timestamp;

use super::super::atomic_file::sync_folder;
use super::super::disk::RealDisk;
use super::super::{Backup, BackupError, Format, Summary};
use super::{Listing, TempFile};
use milvus_meta::keys::MetaRoot;
use milvus_meta::layout::LayoutDetector;

/// A file that is never pruned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untouched {
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub reason: String,
    /// Whether the file is no backup at all.
    pub is_other: bool,
}

/// The backups to remove and to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunePlan {
    /// Backups to remove, oldest first.
    pub remove: Vec<Summary>,
    /// The newest backups of each cluster, meta root and layout; newest first in each group.
    pub keep: Vec<Summary>,
    /// Unfinished backups to remove: not written to for a day.
    pub abandoned: Vec<TempFile>,
    /// All other files in the folder.
    pub untouched: Vec<Untouched>,
}

impl PrunePlan {
    pub(super) fn new(
        listings: Vec<Listing>,
        temp_files: Vec<TempFile>,
        keep: NonZeroUsize,
    ) -> Self {
        let now = SystemTime::now();
        let (abandoned, unfinished): (Vec<_>, Vec<_>) = temp_files
            .into_iter()
            .partition(|temp_file| temp_file.is_abandoned(now));
        let unfinished = unfinished.into_iter().map(|temp_file| Untouched {
            path: temp_file.path,
            reason: String::from("it is unfinished, and was written to less than a day ago"),
            is_other: false,
        });
        let mut plan = Self {
            remove: Vec::new(),
            keep: Vec::new(),
            abandoned,
            untouched: unfinished.collect(),
        };
        let mut by_kind: BTreeMap<Group, Vec<(Timestamp, Summary)>> = BTreeMap::new();
        for listing in listings {
            match candidate(listing) {
                Ok((kind, time, summary)) => by_kind.entry(kind).or_default().push((time, summary)),
                Err(untouched) => plan.untouched.push(untouched),
            }
        }
        let mut old = Vec::new();
        for (_, mut backups) in by_kind {
            backups.sort_by(|(time, a), (other_time, b)| {
                (other_time, b.revision, &b.path).cmp(&(time, a.revision, &a.path))
            });
            let rest = backups.split_off(keep.get().min(backups.len()));
            plan.keep
                .extend(backups.into_iter().map(|(_, summary)| summary));
            old.extend(rest);
        }
        old.sort_by(|(time, a), (other_time, b)| (time, &a.path).cmp(&(other_time, &b.path)));
        plan.remove = old.into_iter().map(|(_, summary)| summary).collect();
        plan
    }

    /// The files to remove.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let abandoned = self.abandoned.iter().map(|temp_file| &temp_file.path);
        let removed = self.remove.iter().map(|summary| &summary.path);
        abandoned.chain(removed).cloned().collect()
    }

    /// Removes the files and returns their paths. First every file of the plan is opened again:
    /// those to keep must be valid, and all must be unchanged.
    ///
    /// # Errors
    /// If a file changed since the plan was made (nothing is removed), or a removal fails.
    pub fn carry_out(&self) -> Result<Vec<PathBuf>, BackupError> {
        let checked = if self.remove.is_empty() {
            &[]
        } else {
            &self.keep[..]
        };
        for summary in checked.iter().chain(&self.remove) {
            let now = Backup::open(&summary.path)?;
            if now.summary() != summary {
                return Err(BackupError::Changed(summary.path.clone()));
            }
        }
        for temp_file in &self.abandoned {
            if TempFile::read(&temp_file.path)?.as_ref() != Some(temp_file) {
                return Err(BackupError::Changed(temp_file.path.clone()));
            }
        }
        let mut removed_paths = Vec::new();
        for TempFile { path, .. } in &self.abandoned {
            fs::remove_file(path).map_err(|error| BackupError::file("remove", path, error))?;
            removed_paths.push(path.clone());
        }
        for Summary { path, .. } in &self.remove {
            fs::remove_file(path).map_err(|error| BackupError::file("remove", path, error))?;
            removed_paths.push(path.clone());
        }
        if let Some(path) = removed_paths.first() {
            sync_folder(&RealDisk, path)?;
        }
        Ok(removed_paths)
    }
}

/// Cluster id, meta root and layout: backups that share them are interchangeable. A backup of the
/// 2.2 layout cannot restore 2.1, and most clusters have the same root.
type Group = (String, String, &'static str);

/// The layout of the metadata in a backup.
fn layout(summary: &Summary) -> Result<&'static str, String> {
    let unreadable = |error: BackupError| error.to_string();
    let root = MetaRoot::new("", &summary.meta_root, "").map_err(|error| error.to_string())?;
    let backup = Backup::open(&summary.path).map_err(unreadable)?;
    let mut detector = LayoutDetector::new(root);
    for entry in backup.entries().map_err(unreadable)? {
        detector.push(&entry.map_err(unreadable)?);
    }
    Ok(detector.layout().name())
}

/// A backup that may be removed, with its group and creation time, or the reason why it may not.
fn candidate(listing: Listing) -> Result<(Group, Timestamp, Summary), Untouched> {
    let is_other = listing.is_other();
    let Listing { path, check, .. } = listing;
    let untouched = |reason: String| Untouched {
        path: path.clone(),
        reason,
        is_other,
    };
    let summary = check.map_err(|error| {
        if is_other {
            return untouched(String::from("it is not a backup"));
        }
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        untouched(cause.unwrap_or_else(|| error.to_string()))
    })?;
    if summary.format != Format::Native {
        return Err(untouched(format!(
            "it is of the import format {}",
            summary.format.name()
        )));
    }
    let Ok(time) = summary.header.created_at.parse::<Timestamp>() else {
        return Err(untouched(String::from("its creation time is unknown")));
    };
    let layout = layout(&summary).map_err(untouched)?;
    let cluster = summary.header.cluster_id.clone();
    Ok(((cluster, summary.meta_root.clone(), layout), time, summary))
}
