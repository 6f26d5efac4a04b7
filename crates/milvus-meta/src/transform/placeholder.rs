//! T3: build ids for segments that were never indexed.

use crate::model::BuildId;

/// Assigns the largest free ids below the smallest known one, then the smallest free ids from 1 up.
#[derive(Debug)]
pub(super) struct PlaceholderIds {
    /// All ids from 1 to this one are free.
    below: i64,
    /// Known ids in ascending order; empty if there are enough below.
    known: Vec<i64>,
    up: i64,
}

impl PlaceholderIds {
    /// Creates a source of this number of ids that are not among the known ones.
    pub(super) fn new(number: usize, known: impl Iterator<Item = BuildId> + Clone) -> Self {
        let ids = known.map(|id| id.0).filter(|id| *id > 0);
        let below = ids.clone().min().map_or(0, |smallest| smallest - 1);
        let is_enough = i64::try_from(number).is_ok_and(|number| number <= below);
        let mut known: Vec<i64> = ids.filter(|_| !is_enough).collect();
        known.sort_unstable();
        Self {
            below,
            known,
            up: below,
        }
    }

    pub(super) fn next(&mut self) -> BuildId {
        if self.below > 0 {
            let id = self.below;
            self.below -= 1;
            return BuildId(id);
        }
        loop {
            self.up += 1;
            if self.known.binary_search(&self.up).is_err() {
                return BuildId(self.up);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(builds: &[i64], number: usize) -> Vec<i64> {
        let known = builds.iter().copied().chain([0]).map(BuildId);
        let mut ids = PlaceholderIds::new(number, known);
        (0..number).map(|_| ids.next().0).collect()
    }

    #[test]
    fn d35_t3_placeholders_use_ids_below_the_smallest() {
        assert_eq!(numbered(&[100, 90], 3), [89, 88, 87]);
    }

    #[test]
    fn t3_placeholders_use_free_ids_from_one() {
        assert_eq!(numbered(&[], 3), [1, 2, 3]);
        assert_eq!(numbered(&[3, 4, 6], 5), [2, 1, 5, 7, 8]);
        assert_eq!(numbered(&[1], 2), [2, 3]);
    }
}
