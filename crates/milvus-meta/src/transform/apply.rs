//! Applies a migration to the entries from which it was created.

use std::iter;

use super::migration::merged;
use super::{Migration, Put, SegmentRewrite, ranges};
use crate::entry::Entry;
use crate::keys::KeyRange;

/// The changes of a migration to existing entries.
#[derive(Debug)]
pub struct Overlay<'m> {
    migration: &'m Migration,
    deleted: Vec<KeyRange>,
}

impl Migration {
    /// Returns the changes to existing entries, without the new keys.
    #[must_use]
    pub fn overlay(&self) -> Overlay<'_> {
        let deleted = self.removals.iter().chain(&self.leftovers);
        Overlay {
            migration: self,
            deleted: ranges::sorted(deleted.cloned()),
        }
    }

    /// Returns the new keys in ascending order.
    pub fn new_keys(&self) -> impl Iterator<Item = Put> + '_ {
        merged(self.staged(), self.history.iter().cloned())
    }

    /// Returns the complete result, in ascending order, from the source entries in ascending order:
    /// the contents of etcd after the migration. Other entries are passed on unchanged.
    pub fn apply<'m, E: 'm>(
        &'m self,
        entries: impl Iterator<Item = Result<Entry, E>> + 'm,
    ) -> impl Iterator<Item = Result<Entry, E>> + 'm {
        let mut source = entries.peekable();
        let mut new = self.new_keys().peekable();
        let overlay = self.overlay();
        iter::from_fn(move || {
            loop {
                let next_new = match (source.peek(), new.peek()) {
                    (Some(Ok(entry)), Some(put)) => put.key <= entry.key,
                    (Some(Err(_)), _) => false,
                    (None, Some(_)) => true,
                    (_, None) => false,
                };
                if next_new {
                    let put = new.next()?;
                    // The key is already staged by an interrupted run.
                    source.next_if(|entry| entry.as_ref().is_ok_and(|entry| entry.key == put.key));
                    return Some(Ok(Entry::new(put.key, put.value)));
                }
                match source.next()? {
                    Ok(entry) => {
                        if let Some(entry) = overlay.apply(entry) {
                            return Some(Ok(entry));
                        }
                    }
                    Err(error) => return Some(Err(error)),
                }
            }
        })
    }
}

impl Overlay<'_> {
    /// Returns the entry after the migration; `None` if it is deleted.
    #[must_use]
    pub fn apply(&self, mut entry: Entry) -> Option<Entry> {
        if covered(&self.deleted, &entry.key) {
            return None;
        }
        let rewrites = &self.migration.rewrites;
        let position = rewrites.binary_search_by(|put| put.key.as_slice().cmp(&entry.key));
        if let Some(put) = position.ok().and_then(|position| rewrites.get(position)) {
            entry.value = put.value.clone().into();
        } else if let SegmentRewrite::Put(value) = self.migration.rewritten_segment(&entry) {
            entry.value = value.into();
        }
        Some(entry)
    }
}

/// Returns whether one of the sorted, disjoint ranges contains the key.
fn covered(ranges: &[KeyRange], key: &[u8]) -> bool {
    let behind = ranges.partition_point(|range| range.start.as_slice() <= key);
    behind > 0 && ranges[behind - 1].contains(key)
}
