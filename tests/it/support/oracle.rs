//! The required result of a migration, specified independently of the transform: only with
//! hand-written keys and the stored messages. It knows less than the transform, and shares no code
//! with it.

use std::collections::BTreeMap;

use bytes::Bytes;
use milvus_meta::proto::{v2_1, v2_2};
use milvus_meta::transform::CollectionForm;
use prost::Message;

/// Values by keys relative to the meta root.
pub(crate) type Keys = BTreeMap<String, Bytes>;

const TOMBSTONE: &[u8] = &[0xE2, 0x9B, 0xBC];

/// States of a segment.
const FLUSHED: i32 = 4;
const DROPPED: i32 = 6;

/// 2.1 families that 2.2 must not find.
const REMOVED: [&str; 8] = [
    "root-coord/index/",
    "root-coord/segment-index/",
    "root-coord/collection-alias/",
    "snapshots/root-coord/collection-alias/",
    "root-coord/dd-",
    "indexes/",
    "queryCoord-ReplicaMeta/",
    "queryCoord-collectionMeta/",
];

/// Families that a migration does not change.
const KEPT: [&str; 4] = ["root-coord/credential/", "channelwatch/", "session/", "kv/"];

struct Oracle<'a> {
    form: CollectionForm,
    before: &'a Keys,
    after: &'a Keys,
    wrong: Vec<String>,
}

/// Returns the first missing or wrong object in `after`, the result of a migration of `before`.
pub(crate) fn complete(form: CollectionForm, before: &Keys, after: &Keys) -> Result<(), String> {
    let mut oracle = Oracle {
        form,
        before,
        after,
        wrong: Vec::new(),
    };
    oracle.collections();
    oracle.indexes();
    oracle.aliases();
    oracle.segments();
    oracle.old_families();
    if oracle.wrong.is_empty() {
        return Ok(());
    }
    Err(format!("the oracle misses {}", oracle.wrong.join(", ")))
}

/// Returns the first object of 2.1 in `before` that 2.2 does not find in `after`: collections with
/// their schemas and partitions, aliases, segments, and indexes with files. Each collection may
/// have any form.
pub(crate) fn found(before: &Keys, after: &Keys) -> Result<(), String> {
    let mut oracle = Oracle {
        form: CollectionForm::Embedded,
        before,
        after,
        wrong: Vec::new(),
    };
    oracle.found_collections();
    oracle.found_aliases();
    oracle.found_indexes();
    oracle.found_segments();
    if oracle.wrong.is_empty() {
        return Ok(());
    }
    Err(format!("2.2 does not find {}", oracle.wrong.join(", ")))
}

fn decoded<M: Message + Default>(value: &Bytes) -> M {
    M::decode(value.clone()).unwrap()
}

impl Oracle<'_> {
    /// The records of a family without tombstones, by the rest of their key.
    fn live_records<'k>(
        keys: &'k Keys,
        prefix: &'k str,
    ) -> impl Iterator<Item = (&'k str, &'k Bytes)> {
        keys.iter().filter_map(move |(key, value)| {
            let rest = key.strip_prefix(prefix)?;
            (**value != *TOMBSTONE).then_some((rest, value))
        })
    }

    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(what());
        }
    }

    /// The record at a key of the new layout; a default one and a complaint if it is missing.
    fn at<M: Message + Default>(&mut self, key: &str) -> M {
        let found = self.after.get(key).filter(|value| ***value != *TOMBSTONE);
        let record = found.map(decoded);
        self.expect(record.is_some(), || key.to_owned());
        record.unwrap_or_default()
    }

    fn collection_key(&self, id: i64) -> String {
        match self.form {
            CollectionForm::Database => format!("root-coord/database/collection-info/1/{id}"),
            CollectionForm::Split | CollectionForm::Embedded => {
                format!("root-coord/collection/{id}")
            }
        }
    }

    fn collections(&mut self) {
        for (_, value) in Self::live_records(self.before, "root-coord/collection/") {
            let old: v2_1::etcd::CollectionInfo = decoded(value);
            let (id, key) = (old.id, self.collection_key(old.id));
            let new: v2_2::etcd::CollectionInfo = self.at(&key);
            let name = |schema: Option<&str>| schema.unwrap_or_default().to_owned();
            let (old_schema, new_schema) = (old.schema.unwrap_or_default(), new.schema.as_ref());
            let same = name(new_schema.map(|it| &*it.name)) == old_schema.name
                && new.create_time == old.create_time
                && new.shards_num == old.shards_num
                && new.virtual_channel_names == old.virtual_channel_names
                && new.field_indexes.is_empty();
            self.expect(same, || format!("{key} as it was"));
            let is_inside = self.form == CollectionForm::Embedded;
            if is_inside {
                let same_lists = new.partition_i_ds == old.partition_i_ds
                    && new_schema.map_or(0, |it| it.fields.len()) == old_schema.fields.len();
                self.expect(same_lists, || format!("partitions and fields of {key}"));
                continue;
            }
            for (partition, name) in old.partition_i_ds.iter().zip(&old.partition_names) {
                let key = format!("root-coord/partitions/{id}/{partition}");
                let found: v2_2::etcd::PartitionInfo = self.at(&key);
                let same = found.partition_name == *name && found.collection_id == id;
                self.expect(same, || format!("{key} named {name}"));
            }
            for field in &old_schema.fields {
                let key = format!("root-coord/fields/{id}/{}", field.field_id);
                let found: v2_2::schema::FieldSchema = self.at(&key);
                let same = found.name == field.name && found.data_type == field.data_type;
                self.expect(same, || format!("{key} named {}", field.name));
            }
        }
    }

    /// Every index listed by a live collection, with its finished builds.
    fn indexes(&mut self) {
        let mut builds: BTreeMap<i64, v2_1::index::IndexMeta> = BTreeMap::new();
        for (_, value) in Self::live_records(self.before, "indexes/") {
            let build: v2_1::index::IndexMeta = decoded(value);
            builds.insert(build.index_build_id, build);
        }
        for (_, value) in Self::live_records(self.before, "root-coord/collection/") {
            let old: v2_1::etcd::CollectionInfo = decoded(value);
            for listed in &old.field_indexes {
                let key = format!("field-index/{}/{}", old.id, listed.index_id);
                let found: v2_2::index::FieldIndex = self.at(&key);
                let field = found.index_info.map_or(0, |info| info.field_id);
                let is_right = field == listed.filed_id && !found.deleted;
                self.expect(is_right, || format!("{key} on its field"));
                self.builds_of((old.id, listed.index_id), &builds);
            }
        }
    }

    fn builds_of(
        &mut self,
        (collection, index): (i64, i64),
        builds: &BTreeMap<i64, v2_1::index::IndexMeta>,
    ) {
        let prefix = format!("root-coord/segment-index/{collection}/{index}/");
        let records: Vec<v2_1::etcd::SegmentIndexInfo> = Self::live_records(self.before, &prefix)
            .map(|(_, value)| decoded(value))
            .collect();
        for record in records.iter().filter(|record| record.build_id != 0) {
            let key = format!(
                "segment-index/{collection}/{}/{}/{}",
                record.partition_id, record.segment_id, record.build_id
            );
            let found: v2_2::index::SegmentIndex = self.at(&key);
            let names = builds.get(&record.build_id).map(|build| {
                let paths = build.index_file_paths.iter();
                let name = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
                paths.map(name).collect::<Vec<_>>()
            });
            let is_right = found.index_id == index
                && found.segment_id == record.segment_id
                && Some(&found.index_file_keys) == names.as_ref()
                && !found.deleted;
            self.expect(is_right, || format!("{key} with its files"));
        }
    }

    fn aliases(&mut self) {
        for (name, value) in Self::live_records(self.before, "root-coord/collection-alias/") {
            let old: v2_1::etcd::CollectionInfo = decoded(value);
            let key = match self.form {
                CollectionForm::Database => format!("root-coord/database/aliases/1/{name}"),
                CollectionForm::Split | CollectionForm::Embedded => {
                    format!("root-coord/aliases/{name}")
                }
            };
            let found: v2_2::etcd::AliasInfo = self.at(&key);
            let is_right = found.collection_id == old.id && found.alias_name == name;
            self.expect(is_right, || format!("{key} of its collection"));
        }
    }

    /// Every segment still exists, and so does its collection.
    fn segments(&mut self) {
        for (rest, _) in Self::live_records(self.before, "datacoord-meta/s/") {
            let key = format!("datacoord-meta/s/{rest}");
            let collection = rest.split('/').next().unwrap_or_default();
            let key_of_it = self.collection_key(collection.parse().unwrap());
            let (after, collection_record) = (self.after, key_of_it.clone());
            self.expect(after.contains_key(&key), || key);
            self.expect(after.contains_key(&collection_record), || {
                format!("{collection_record} of a segment")
            });
        }
    }

    fn old_families(&mut self) {
        for (key, value) in self.before {
            let is_kept = KEPT.iter().any(|prefix| key.starts_with(prefix));
            let same = self.after.get(key) == Some(value);
            self.expect(!is_kept || same, || format!("{key} as it was"));
        }
        for key in self.after.keys() {
            let stays = REMOVED.iter().any(|prefix| key.starts_with(prefix));
            self.expect(!stays, || format!("the end of {key}"));
        }
    }

    /// The record of a collection in any form.
    fn collection_record(&self, id: i64) -> Option<v2_2::etcd::CollectionInfo> {
        let keys = [
            format!("root-coord/database/collection-info/1/{id}"),
            format!("root-coord/collection/{id}"),
        ];
        let mut live_records = keys.iter().filter_map(|key| self.after.get(key));
        live_records
            .find(|value| ***value != *TOMBSTONE)
            .map(decoded)
    }

    fn found_collections(&mut self) {
        for (_, value) in Self::live_records(self.before, "root-coord/collection/") {
            let old: v2_1::etcd::CollectionInfo = decoded(value);
            let (id, schema) = (old.id, old.schema.unwrap_or_default());
            let name = schema.name;
            let Some(new) = self.collection_record(id) else {
                self.wrong.push(format!("collection {name} ({id})"));
                continue;
            };
            let new_schema = new.schema.unwrap_or_default();
            self.expect(new_schema.name == name, || format!("the name of {name}"));
            let mut fields: Vec<String> = new_schema.fields.into_iter().map(|it| it.name).collect();
            let prefix = format!("root-coord/fields/{id}/");
            for (_, value) in Self::live_records(self.after, &prefix) {
                fields.push(decoded::<v2_2::schema::FieldSchema>(value).name);
            }
            for field in schema.fields {
                let is_there = fields.contains(&field.name);
                self.expect(is_there, || format!("field {} of {name}", field.name));
            }
            let mut partitions = new.partition_names;
            let prefix = format!("root-coord/partitions/{id}/");
            for (_, value) in Self::live_records(self.after, &prefix) {
                partitions.push(decoded::<v2_2::etcd::PartitionInfo>(value).partition_name);
            }
            for partition in old.partition_names {
                let is_there = partitions.contains(&partition);
                self.expect(is_there, || format!("partition {partition} of {name}"));
            }
        }
    }

    fn found_aliases(&mut self) {
        for (name, value) in Self::live_records(self.before, "root-coord/collection-alias/") {
            let old: v2_1::etcd::CollectionInfo = decoded(value);
            let keys = [
                format!("root-coord/database/aliases/1/{name}"),
                format!("root-coord/aliases/{name}"),
            ];
            let live_records = keys.iter().filter_map(|key| self.after.get(key));
            let is_right = live_records
                .filter(|value| ***value != *TOMBSTONE)
                .any(|value| decoded::<v2_2::etcd::AliasInfo>(value).collection_id == old.id);
            self.expect(is_right, || format!("alias {name}"));
        }
    }

    /// Every index file of a flushed segment is found, with its definition.
    fn found_indexes(&mut self) {
        for (_, value) in Self::live_records(self.before, "root-coord/segment-index/") {
            let built: v2_1::etcd::SegmentIndexInfo = decoded(value);
            let collection = format!("root-coord/collection/{}", built.collection_id);
            let is_living = |key: &str| {
                let value = self.before.get(key);
                value.is_some_and(|value| **value != *TOMBSTONE)
            };
            let segment = format!(
                "{}/{}/{}",
                built.collection_id, built.partition_id, built.segment_id
            );
            let record = self.before.get(&format!("datacoord-meta/s/{segment}"));
            let is_flushed = record
                .is_some_and(|value| decoded::<v2_1::data::SegmentInfo>(value).state == FLUSHED);
            if built.build_id == 0 || !is_living(&collection) || !is_flushed {
                continue;
            }
            let definition = format!("field-index/{}/{}", built.collection_id, built.index_id);
            let is_defined = self.after.contains_key(&definition);
            self.expect(is_defined, || definition);
            let prefix = format!("segment-index/{segment}/");
            let is_built = Self::live_records(self.after, &prefix).next().is_some();
            self.expect(is_built, || format!("the index files of segment {segment}"));
        }
    }

    /// Every 2.1 segment exists, and every segment belongs to a collection that 2.2 finds or that
    /// 2.1 had dropped.
    fn found_segments(&mut self) {
        for (rest, _) in Self::live_records(self.before, "datacoord-meta/s/") {
            let key = format!("datacoord-meta/s/{rest}");
            self.expect(self.after.contains_key(&key), || key);
        }
        for (rest, value) in Self::live_records(self.after, "datacoord-meta/s/") {
            let segment: v2_1::data::SegmentInfo = decoded(value);
            let id = segment.collection_id;
            let was = self.before.get(&format!("root-coord/collection/{id}"));
            let was_dropped = was.is_some_and(|value| **value == *TOMBSTONE);
            let is_held =
                segment.state == DROPPED || was_dropped || self.collection_record(id).is_some();
            self.expect(is_held, || format!("collection {id} of segment {rest}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::metadata::{Metadata, segment};

    fn keys(entries: BTreeMap<String, Vec<u8>>) -> Keys {
        let entries = entries.into_iter();
        entries.map(|(key, value)| (key, value.into())).collect()
    }

    #[test]
    fn the_oracle_finds_what_is_missing() {
        let mut small = Metadata::small();
        let flushed = v2_1::data::SegmentInfo {
            state: FLUSHED,
            ..segment(50, 5000)
        };
        small.put("datacoord-meta/s/1/10/50", &flushed);
        for form in crate::rules::FORMS {
            let after = keys(small.after(&small.migrate(form)));
            let before = keys(small.entries.clone());
            found(&before, &after).unwrap();
            let needed = [
                "root-coord/database/collection-info/1/1",
                "root-coord/collection/1",
                "root-coord/fields/1/101",
                "root-coord/partitions/1/10",
                "root-coord/aliases/books",
                "root-coord/database/aliases/1/books",
                "field-index/1/7",
                "segment-index/1/10/50/90",
                "datacoord-meta/s/1/10/50",
            ];
            let mut checked = 0;
            for key in needed {
                let mut lost = after.clone();
                if lost.remove(key).is_some() {
                    checked += 1;
                    assert!(found(&before, &lost).is_err(), "{form}: {key}");
                }
            }
            assert!(checked >= 5, "{form}: {checked}");
        }
    }
}
