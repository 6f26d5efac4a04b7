//! The diff of two backups, which are read in parallel in key order and not kept in memory.

use std::cmp::Ordering;

use meta_report::Change;

use super::super::{Backup, BackupError, Entries};
use milvus_meta::entry::Entry;

/// Compares two backups. Calls `visit` for every key in order, with its change and its entry: that of the second backup
/// unless the key was removed. A key with the same value in both has no change.
///
/// # Errors
/// If a file is unreadable or changed since it was opened.
pub fn diff(
    before: &Backup,
    after: &Backup,
    mut visit: impl FnMut(Option<Change>, Entry),
) -> Result<(), BackupError> {
    let mut old = Side::new(before)?;
    let mut new = Side::new(after)?;
    loop {
        let order = match (&old.head, &new.head) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.key.cmp(&new.key),
        };
        let before = if order.is_le() { old.take()? } else { None };
        let after = if order.is_ge() { new.take()? } else { None };
        match (before, after) {
            (Some(before), None) => visit(Some(Change::Removed), before),
            (None, Some(after)) => visit(Some(Change::Added), after),
            (Some(before), Some(after)) => {
                let is_changed = before.value != after.value;
                visit(is_changed.then_some(Change::Changed), after);
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
