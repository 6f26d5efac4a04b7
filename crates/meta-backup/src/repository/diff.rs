//! The difference between two backups: both are read side by side, in key order, neither is kept.

use std::cmp::Ordering;

use super::super::{Backup, BackupError, Entries};
use milvus_meta::entry::Entry;

/// One key of two backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Only the second has it.
    Added(Entry),
    /// Only the first has it.
    Removed(Entry),
    /// Both have it, with different values.
    Changed {
        /// As the first has it.
        before: Entry,
        /// As the second has it.
        after: Entry,
    },
    /// Both have it, with the same value.
    Equal(Entry),
}

/// How many keys differ, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiffCounts {
    /// Keys that only the second has.
    pub added: u64,
    /// Keys that only the first has.
    pub removed: u64,
    /// Keys that both have, with different values.
    pub changed: u64,
    /// Keys that are the same in both.
    pub equal: u64,
}

/// Compares two backups and hands every key to `visit`, in order.
///
/// # Errors
/// When a file cannot be read again, or changed since it was opened.
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

/// One of the two, and its next entry.
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
