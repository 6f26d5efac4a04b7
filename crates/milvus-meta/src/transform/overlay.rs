//! Lays a migration over the entries it was made from.

use std::iter::{self, Peekable};

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

fn apply<'m, E: 'm>(
    migration: &'m Migration,
    entries: impl Iterator<Item = Result<Entry, E>> + 'm,
) -> impl Iterator<Item = Result<Entry, E>> + 'm {
    let mut source = entries.peekable();
    let mut new = merged(migration.staged(), migration.history().iter().cloned()).peekable();
    let gone = ranges::sorted(
        migration
            .removals()
            .iter()
            .chain(migration.leftovers())
            .cloned(),
    );
    let mut rewrites = migration.rewrites().iter().peekable();
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
            let mut entry = match source.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            if covered(&gone, &entry.key) {
                continue;
            }
            if let Some(rewrite) = rewrite_of(&mut rewrites, &entry.key) {
                entry.value = rewrite.value.clone().into();
            } else if let SegmentRewrite::Put(value) = migration.rewritten_segment(&entry) {
                entry.value = value.into();
            }
            return Some(Ok(entry));
        }
    })
}

fn rewrite_of<'m>(
    rewrites: &mut Peekable<impl Iterator<Item = &'m Put>>,
    key: &[u8],
) -> Option<&'m Put> {
    while rewrites.next_if(|put| put.key.as_slice() < key).is_some() {}
    rewrites.next_if(|put| put.key == key)
}

/// Whether one of the sorted, disjoint ranges holds the key.
fn covered(ranges: &[KeyRange], key: &[u8]) -> bool {
    let behind = ranges.partition_point(|range| range.start.as_slice() <= key);
    behind > 0 && ranges[behind - 1].contains(key)
}
