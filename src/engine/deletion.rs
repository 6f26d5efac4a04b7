//! Deleting much in small pieces: ranges cut so that one removes at most so many keys.

use crate::entry::{Entry, printable};
use crate::keys::{KeyRange, successor};
use crate::store::{Op, Store};

use super::error::Failure;
use super::fingerprint::KeyPages;
use super::limits::Limits;

/// Deletes of all keys that stand in the ranges, each of at most `delete_keys_max` keys.
///
/// # Errors
/// [`Failure::SourceChanged`] when one of them was written after the revision `known`.
pub(super) async fn bounded_deletes<S: Store>(
    store: &S,
    (ranges, known): (&[KeyRange], i64),
    limits: &Limits,
) -> Result<Vec<Op>, Failure> {
    let mut deletes = Vec::new();
    for range in ranges {
        let mut pages = KeyPages::new(range.clone());
        while let Some(page) = pages.next(store, limits.patience).await? {
            if let Some(newer) = page.iter().find(|entry| entry.mod_revision > known) {
                return Err(Failure::SourceChanged {
                    revision: known,
                    what: format!(
                        "{} was written at revision {} and would be deleted",
                        printable(&newer.key),
                        newer.mod_revision
                    ),
                });
            }
            for keys in page.chunks(limits.delete_keys_max.max(1)) {
                deletes.extend(span(keys).map(Op::Delete));
            }
        }
    }
    Ok(deletes)
}

/// The range from the first to the last of some ascending keys.
fn span(keys: &[Entry]) -> Option<KeyRange> {
    let (first, last) = (keys.first()?, keys.last()?);
    Some(KeyRange::new(first.key.clone(), successor(&last.key)))
}

/// Collects keys to delete one by one, in ascending order, into ranges that hold no other key.
#[derive(Debug, Default)]
pub(super) struct Runs {
    finished: Vec<KeyRange>,
    open: Option<(KeyRange, usize)>,
}

impl Runs {
    /// The next key goes.
    pub(super) fn delete(&mut self, key: &[u8], keys_max: usize) {
        match &mut self.open {
            Some((range, keys)) if *keys < keys_max => {
                range.end = successor(key);
                *keys += 1;
            }
            _ => {
                self.keep();
                self.open = Some((KeyRange::single(key.to_vec()), 1));
            }
        }
    }

    /// The next key stays: no range may reach over it.
    pub(super) fn keep(&mut self) {
        self.finished
            .extend(self.open.take().map(|(range, _)| range));
    }

    pub(super) fn into_ranges(mut self) -> Vec<KeyRange> {
        self.keep();
        self.finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_never_reach_over_a_key_that_stays_and_hold_only_so_many() {
        let mut runs = Runs::default();
        for (key, goes) in [
            ("a", true),
            ("b", true),
            ("c", false),
            ("d", true),
            ("e", true),
            ("f", true),
        ] {
            if goes {
                runs.delete(key.as_bytes(), 2);
            } else {
                runs.keep();
            }
        }
        let ranges = runs.into_ranges();
        let holding = |key: &str| {
            ranges
                .iter()
                .filter(|range| range.contains(key.as_bytes()))
                .count()
        };
        assert_eq!(ranges.len(), 3);
        assert_eq!(holding("c"), 0);
        for key in ["a", "b", "d", "e", "f"] {
            assert_eq!(holding(key), 1, "{key}");
        }
    }
}
