//! What 2.1 left behind: keys that nobody reads any more, and those that Milvus 2.2 does read.

use std::collections::BTreeMap;

use super::Report;
use super::object::{History, Value};
use crate::keys::{Evidence, Family, Key, Object, Timestamp, is_tombstone};

#[derive(Debug, Default)]
pub(super) struct Legacy {
    /// Keys by family: how many, and the smallest.
    keys: BTreeMap<Family, (u64, Vec<u8>)>,
    aliases: BTreeMap<Vec<u8>, History<()>>,
}

impl Legacy {
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

    pub(super) fn push_alias(&mut self, name: &[u8], timestamp: Option<Timestamp>, value: &[u8]) {
        let value = if is_tombstone(value) {
            Value::Dropped
        } else {
            Value::Live(())
        };
        let key = Key::Plain(Object::LegacyAlias(name)).render();
        let history = self.aliases.entry(name.to_vec()).or_default();
        history.push(timestamp, &key, value);
    }

    pub(super) fn finish(mut self, report: &mut Report) {
        if self.living_aliases(report) {
            self.keys.remove(&Family::LegacyAliasSnapshot);
        }
        for (family, (count, first)) in &self.keys {
            let name = family.name();
            if *family == Family::QueryReplica {
                report.warning(
                    "legacy-replica",
                    first,
                    format!(
                        "{count} replicas of 2.1 are left below {name} (first here): Milvus 2.2 reads \
                         them at every start, where they overwrite replicas with the same ids and \
                         come back after a release"
                    ),
                );
                continue;
            }
            report.notice(
                "leftover",
                first,
                format!(
                    "{count} keys of 2.1 are left below {name} (first here); Milvus 2.2 does not use \
                     them"
                ),
            );
        }
    }

    /// Reports aliases that live, and says whether one does in its snapshots.
    ///
    /// 2.2.0 to 2.2.2 read the plain key, later releases the newest snapshot.
    fn living_aliases(&self, report: &mut Report) -> bool {
        let mut in_history = false;
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
                    "an alias of 2.1 is still there: Milvus 2.2 takes it for a collection",
                );
            } else if let Some(timestamp) = newest {
                report.error(
                    "legacy-alias",
                    &Key::Snapshot(Object::LegacyAlias(name), timestamp).render(),
                    "an alias of 2.1 still lives in its newest snapshot: Milvus 2.2.3 and later take \
                     it for a collection",
                );
            }
        }
        in_history
    }
}
