//! Removing old backups: a plan first, which the user can read, then the act.
//!
//! Only our own valid files ever go, and unfinished ones whose writer is long gone. A file that is damaged, import, or has no creation time
//! stays, and the plan says why.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::SystemTime;

use super::super::atomic_file::sync_folder;
use super::super::disk::RealDisk;
use super::super::{Backup, BackupError, Format, Summary};
use super::{Listing, TempFile};
use milvus_meta::keys::MetaRoot;
use milvus_meta::layout::LayoutDetector;

/// A file that pruning leaves alone whatever its age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untouched {
    /// The file.
    pub path: PathBuf,
    /// Why it is left alone.
    pub reason: String,
}

/// Which backups go and which stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunePlan {
    /// Those that go, oldest first.
    pub remove: Vec<Summary>,
    /// Those that stay because they are the newest of their cluster, meta root and layout, newest first in
    /// each.
    pub keep: Vec<Summary>,
    /// Unfinished backups that go: nobody wrote to them for a day.
    pub abandoned: Vec<TempFile>,
    /// Everything else in the folder.
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
            .partition(|leftover| leftover.is_abandoned(now));
        let unfinished = unfinished.into_iter().map(|leftover| Untouched {
            path: leftover.path,
            reason: String::from("it is unfinished, and was written to less than a day ago"),
        });
        let mut plan = Self {
            remove: Vec::new(),
            keep: Vec::new(),
            abandoned,
            untouched: unfinished.collect(),
        };
        let mut by_kind: BTreeMap<Kind, Vec<(SystemTime, Summary)>> = BTreeMap::new();
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

    /// The files that go.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let abandoned = self.abandoned.iter().map(|leftover| &leftover.path);
        let removed = self.remove.iter().map(|summary| &summary.path);
        abandoned.chain(removed).cloned().collect()
    }

    /// Removes what the plan says, and returns the files that are gone. First every file of the plan
    /// is opened again: one that is kept must still be valid, one that goes has to be the same.
    ///
    /// # Errors
    /// When a file changed since the plan was made (then nothing was removed), or cannot be removed.
    pub fn carry_out(&self) -> Result<Vec<PathBuf>, BackupError> {
        let checked = if self.remove.is_empty() {
            &[]
        } else {
            &self.keep[..]
        };
        for summary in checked.iter().chain(&self.remove) {
            let now = Backup::open(&summary.path)?;
            if now.summary() != summary {
                return Err(BackupError::Changed {
                    path: summary.path.clone(),
                });
            }
        }
        for leftover in &self.abandoned {
            if TempFile::read(&leftover.path)?.as_ref() != Some(leftover) {
                return Err(BackupError::Changed {
                    path: leftover.path.clone(),
                });
            }
        }
        let mut gone = Vec::new();
        for TempFile { path, .. } in &self.abandoned {
            fs::remove_file(path).map_err(|error| BackupError::file("remove", path, error))?;
            gone.push(path.clone());
        }
        for Summary { path, .. } in &self.remove {
            fs::remove_file(path).map_err(|error| BackupError::file("remove", path, error))?;
            gone.push(path.clone());
        }
        if let Some(path) = gone.first() {
            sync_folder(&RealDisk, path)?;
        }
        Ok(gone)
    }
}

/// Backups that are interchangeable: of one root of one cluster, in one layout. A backup of the 2.2
/// layout cannot restore 2.1, and most clusters have the same root.
type Kind = (String, String, &'static str);

/// The layout that the content of a backup shows.
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

/// A file that may go when it is old enough, with its age; or why it may not.
fn candidate(listing: Listing) -> Result<(Kind, SystemTime, Summary), Untouched> {
    let is_other = listing.is_other();
    let Listing { path, check, .. } = listing;
    let untouched = |reason: String| Untouched {
        path: path.clone(),
        reason,
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
    let Ok(time) = humantime::parse_rfc3339_weak(&summary.header.created_at) else {
        return Err(untouched(String::from("its creation time is unknown")));
    };
    let layout = layout(&summary).map_err(untouched)?;
    let cluster = summary.header.cluster_id.clone();
    Ok(((cluster, summary.meta_root.clone(), layout), time, summary))
}
