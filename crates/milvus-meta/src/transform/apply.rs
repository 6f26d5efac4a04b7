//! Lays a migration over the entries it was made from.

use std::iter;

use super::migration::merged;
use super::{Migration, Put, SegmentRewrite, ranges};
use crate::entry::Entry;
use crate::keys::KeyRange;

impl Migration {
    /// The complete target image, ascending, from the source entries in ascending order: what etcd holds
    /// after the migration. Entries that the migration does not concern pass unchanged.
    pub fn apply<'m, E>(
        &'m self,
        entries: impl Iterator<Item = Result<Entry, E>> + 'm,
    ) -> impl Iterator<Item = Result<Entry, E>> + 'm
    where
        E: 'm,
    {
        apply(self, entries)
    }
}

/// What becomes of the entries of the source.
#[derive(Debug)]
pub struct Overlay<'m> {
    migration: &'m Migration,
    gone: Vec<KeyRange>,
}

impl Migration {
    /// What becomes of the entries of the source, one by one; without the new keys.
    #[must_use]
    pub fn overlay(&self) -> Overlay<'_> {
        let gone = self.removals().iter().chain(self.leftovers());
        Overlay {
            migration: self,
            gone: ranges::sorted(gone.cloned()),
        }
    }

    /// The new keys, ascending.
    pub fn new_keys(&self) -> impl Iterator<Item = Put> + '_ {
        merged(self.staged(), self.history().iter().cloned())
    }
}

impl Overlay<'_> {
    /// The entry after the migration; `None` where it goes.
    #[must_use]
    pub fn apply(&self, mut entry: Entry) -> Option<Entry> {
        if covered(&self.gone, &entry.key) {
            return None;
        }
        let rewrites = self.migration.rewrites();
        let position = rewrites.binary_search_by(|put| put.key.as_slice().cmp(&entry.key));
        if let Some(put) = position.ok().and_then(|position| rewrites.get(position)) {
            entry.value = put.value.clone().into();
        } else if let SegmentRewrite::Put(value) = self.migration.rewritten_segment(&entry) {
            entry.value = value.into();
        }
        Some(entry)
    }
}

fn apply<'m, E: 'm>(
    migration: &'m Migration,
    entries: impl Iterator<Item = Result<Entry, E>> + 'm,
) -> impl Iterator<Item = Result<Entry, E>> + 'm {
    let mut source = entries.peekable();
    let mut new = migration.new_keys().peekable();
    let overlay = migration.overlay();
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
                // A staged key that is there already, from a run that was interrupted.
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

/// Whether one of the sorted, disjoint ranges holds the key.
fn covered(ranges: &[KeyRange], key: &[u8]) -> bool {
    let behind = ranges.partition_point(|range| range.start.as_slice() <= key);
    behind > 0 && ranges[behind - 1].contains(key)
}
