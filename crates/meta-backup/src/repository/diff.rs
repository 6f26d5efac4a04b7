//! The diff of two backups, which are read in parallel in key order and not kept in memory.

use std::cmp::Ordering;

use super::super::{Backup, BackupError, Entries};
use milvus_meta::entry::Entry;

/// A key in one or both backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The key is only in the second backup.
    Added(Entry),
    /// The key is only in the first backup.
    Removed(Entry),
    /// The key is in both, with different values.
    Changed {
        /// The entry in the first backup.
        before: Entry,
        /// The entry in the second backup.
        after: Entry,
    },
    /// The key is in both, with the same value.
    Equal(Entry),
}

/// Number of keys of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiffCounts {
    /// Keys only in the second backup.
    pub added: u64,
    /// Keys only in the first backup.
    pub removed: u64,
    /// Keys in both, with different values.
    pub changed: u64,
    /// Keys in both, with the same value.
    pub equal: u64,
}

/// Compares two backups and calls `visit` for every key in order.
///
/// # Errors
/// If a file is unreadable or changed since it was opened.
pub fn diff(
    before: &Backup,
    after: &Backup,
    mut visit: impl FnMut(Difference),
) -> Result<DiffCounts, BackupError> {
    let mut counts = DiffCounts::default();
    let mut old = Side::new(before)?;
    let mut new = Side::new(after)?;
    loop {
        let order = match (&old.head, &new.head) {
            (None, None) => return Ok(counts),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.key.cmp(&new.key),
        };
        let before = if order.is_le() { old.take()? } else { None };
        let after = if order.is_ge() { new.take()? } else { None };
        match (before, after) {
            (Some(before), None) => {
                counts.removed += 1;
                visit(Difference::Removed(before));
            }
            (None, Some(after)) => {
                counts.added += 1;
                visit(Difference::Added(after));
            }
            (Some(before), Some(after)) if before.value != after.value => {
                counts.changed += 1;
                visit(Difference::Changed { before, after });
            }
            (Some(_), Some(after)) => {
                counts.equal += 1;
                visit(Difference::Equal(after));
            }
            (None, None) => {}
        }
    }
}

/// The rest of one backup, and its next entry.
struct Side {
    entries: Entries,
    head: Option<Entry>,
}

impl Side {
    fn new(backup: &Backup) -> Result<Self, BackupError> {
        let mut entries = backup.entries()?;
        let head = entries.next().transpose()?;
        Ok(Self { entries, head })
    }

    fn take(&mut self) -> Result<Option<Entry>, BackupError> {
        let next = self.entries.next().transpose()?;
        Ok(std::mem::replace(&mut self.head, next))
    }
}
