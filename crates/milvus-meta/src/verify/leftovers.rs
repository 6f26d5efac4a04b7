//! Leftovers of 2.1: keys that nothing reads, and keys that Milvus 2.2 reads.

use std::collections::{BTreeMap, BTreeSet};

use super::collection::LiveCollections;
use super::index::Indexes;
use super::versioned_object::{History, Value, Version};
use crate::codec::v2_1;
use crate::keys::{Evidence, Family, Key, Object, Timestamp, is_tombstone};
use crate::model::{CollectionId, IndexId};
use crate::plural::{agree, counted, listed};
use crate::transform::Findings;

#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// The number of keys of each family, and the smallest key.
    keys: BTreeMap<Family, (u64, Vec<u8>)>,
    aliases: BTreeMap<Vec<u8>, History<()>>,
    /// Indexes of 2.1 that are not deleted, with their names.
    indexes: BTreeMap<(CollectionId, IndexId), String>,
}

impl Leftovers {
    pub(super) fn push(&mut self, family: Family, relative: &[u8], value: &[u8]) {
        let collections = matches!(family, Family::Collection | Family::CollectionSnapshot);
        let old = matches!(family.evidence(), Evidence::V2_1 | Evidence::V2_1Leftover);
        if !old || collections || (family == Family::LegacyAlias && !is_tombstone(value)) {
            return;
        }
        let (count, first) = self
            .keys
            .entry(family)
            .or_insert_with(|| (0, relative.to_vec()));
        *count += 1;
        if relative < first.as_slice() {
            *first = relative.to_vec();
        }
    }

    pub(super) fn push_index(&mut self, ids: (CollectionId, IndexId), value: &[u8]) {
        if is_tombstone(value) {
            return;
        }
        // An unreadable record was not migrated either.
        let definition = v2_1::index_definition(value).unwrap_or_default();
        if !definition.deleted {
            self.indexes.insert(ids, definition.name);
        }
    }

    /// Reports indexes of 2.1 that have no definition of 2.2.
    pub(super) fn check_indexes(
        &self,
        live: &LiveCollections,
        indexes: &Indexes,
        report: &mut Findings,
    ) {
        let recorded = self.indexes.keys().copied();
        let recorded = recorded.filter(|(id, _)| live.stays(*id) || !live.is_known(*id));
        let listed_in_2_1 = live.indexes().filter(|(id, _)| live.stays(*id));
        let wanted: BTreeSet<_> = recorded
            .chain(listed_in_2_1)
            .filter(|(collection, index)| !indexes.has_definition(*collection, *index))
            .collect();
        if wanted.is_empty() {
            return;
        }
        let named = wanted.iter().map(|(collection, index)| {
            let name = self.indexes.get(&(*collection, *index));
            let name = name.map_or(String::new(), |name| format!("{name:?} "));
            format!("{name}({index}) of collection {}", live.name(*collection))
        });
        let names = listed(named);
        let message = format!(
            "{} of 2.1 {} no definition of 2.2: {names}. Milvus 2.2 does not know {}. Restore a backup from before \
             the metadata was migrated, then migrate again",
            counted(wanted.len(), "index"),
            agree(wanted.len(), "has", "have"),
            agree(
                wanted.len(),
                "it and removes its files",
                "them and removes their files"
            )
        );
        report.error("index-not-migrated", b"", message);
    }

    pub(super) fn push_alias(&mut self, name: &[u8], timestamp: Option<Timestamp>, value: &[u8]) {
        let object = Object::LegacyAlias(name);
        let key = Key::Plain(object).render();
        let record = match is_tombstone(value) {
            true => Value::Dropped,
            false => Value::Live(()),
        };
        let version = Version {
            object,
            timestamp,
            key: &key,
            value,
        };
        let history = self.aliases.entry(name.to_vec()).or_default();
        history.push(version, record);
    }

    /// Reports the leftovers. `recorded`: a finished migration of this program, which leaves no
    /// alias, is recorded.
    pub(super) fn finish(mut self, recorded: bool, report: &mut Findings) {
        if self.living_aliases(recorded, report) {
            self.keys.remove(&Family::LegacyAliasSnapshot);
        }
        for (family, (count, first)) in &self.keys {
            let name = family.name();
            if *family == Family::QueryReplica {
                report.warning(
                    "legacy-replica",
                    first,
                    format!(
                        "{} of 2.1 {} left below {name} (first here): Milvus 2.2 reads {} at every start, overwrites \
                         replicas with the same ids, and has {} again after a release",
                        counted(*count, "replica"),
                        agree(*count, "is", "are"),
                        agree(*count, "it", "them"),
                        agree(*count, "it", "them")
                    ),
                );
                continue;
            }
            report.notice(
                "leftover",
                first,
                format!(
                    "{} of 2.1 {} left below {name} (first here); Milvus 2.2 does not use {}",
                    counted(*count, "key"),
                    agree(*count, "is", "are"),
                    agree(*count, "it", "them")
                ),
            );
        }
    }

    /// Reports aliases that are not dropped. Returns whether one has a newest snapshot that is not
    /// a tombstone.
    ///
    /// 2.2.0 to 2.2.2 read the plain key, later releases the newest snapshot.
    fn living_aliases(&self, recorded: bool, report: &mut Findings) -> bool {
        let mut in_history = false;
        if recorded {
            self.new_aliases(report);
        }
        for (name, history) in &self.aliases {
            let newest = match history.newest {
                Some((timestamp, Value::Live(()))) => Some(timestamp),
                _ => None,
            };
            in_history |= newest.is_some();
            if history.live().is_some() {
                report.error(
                    "legacy-alias",
                    &history.key,
                    "an alias of 2.1 remains: Milvus 2.2 treats it as a collection. Run meta-migration migrate",
                );
            } else if let Some(timestamp) = newest {
                report.error(
                    "legacy-alias",
                    &Key::Snapshot(Object::LegacyAlias(name), timestamp).render(),
                    "an alias of 2.1 is not dropped in its newest snapshot: Milvus 2.2.3 and later treat \
                     it as a collection. Run meta-migration migrate",
                );
            }
        }
        in_history
    }

    /// Reports aliases that 2.1 wrote after a migration.
    fn new_aliases(&self, report: &mut Findings) {
        let living = self.aliases.iter().filter(|(_, it)| it.live().is_some());
        let names = living.map(|(name, _)| format!("{:?}", String::from_utf8_lossy(name)));
        let names: Vec<_> = names.collect();
        if !names.is_empty() {
            let message = format!(
                "a finished migration is recorded, but {} {} in the form of 2.1, so Milvus 2.1 ran on the \
                 migrated metadata: {}. Stop Milvus 2.1, then run meta-migration migrate: it carries over what \
                 2.1 wrote",
                counted(names.len(), "alias"),
                agree(names.len(), "is", "are"),
                listed(names.into_iter())
            );
            report.error("2.1-ran", b"", message);
        }
    }
}
