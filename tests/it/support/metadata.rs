//! Builds 2.1 metadata: a small complete instance, whose records the tests change.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected has to fail"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;

use milvus_meta::entry::Entry;
use milvus_meta::finding::Severity;
use milvus_meta::keys::{MetaRoot, TOMBSTONE};
use milvus_meta::proto::v2_1::{common, data, etcd, index, milvus, query, schema};
use milvus_meta::transform::{
    CollectionForm, Migration, OnBrokenRecord, Options, SegmentForm, Source, Task,
};
use prost::Message;

/// The collection of [`Metadata::small`]; its partition is 10, its fields 100 (key), 101 (vector), 0, 1.
pub(crate) const COLLECTION: i64 = 1;
/// Its creation time, in 2022, as a hybrid timestamp.
pub(crate) const CREATED: u64 = 1_660_000_000_000 << 18;

pub(crate) fn root() -> MetaRoot {
    MetaRoot::new("by-dev", "meta", "kv").unwrap()
}

/// 2.1 metadata by keys relative to the meta root.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metadata {
    pub(crate) entries: BTreeMap<String, Vec<u8>>,
}

impl Metadata {
    /// One collection with an alias, an index on its vector field (7, default name), an indexed
    /// segment (50, build 90), a small segment without index (51, 12 rows), loaded on one replica
    /// (30).
    pub(crate) fn small() -> Self {
        let mut it = Self::default();
        let record = collection(COLLECTION);
        it.put("root-coord/collection/1", &record);
        it.put(
            &format!("snapshots/root-coord/collection/1_ts{CREATED}"),
            &{
                let mut first = record.clone();
                first.field_indexes.clear();
                first
            },
        );
        it.put("root-coord/collection-alias/books", &alias("books", 1));
        let at = CREATED + 5;
        it.put(
            &format!("snapshots/root-coord/collection-alias/books_ts{at}"),
            &alias("books", 1),
        );
        it.put("root-coord/index/1/7", &definition(7));
        it.put("indexes/90", &build(90, 10, 50));
        it.put("root-coord/segment-index/1/7/10/50", &segment_index(50, 90));
        it.put("root-coord/segment-index/1/7/10/51", &segment_index(51, 0));
        it.put("datacoord-meta/s/1/10/51", &segment(51, 12));
        it.put("queryCoord-collectionMeta/1", &load_state());
        it.put("queryCoord-ReplicaMeta/30", &replica(30, 1));
        it.raw("root-coord/dd-operation", b"{}");
        it.raw("root-coord/credential/users/root", b"{}");
        it.raw("session/id", b"12");
        it
    }

    pub(crate) fn put(&mut self, key: &str, value: &impl Message) {
        self.raw(key, &value.encode_to_vec());
    }

    pub(crate) fn raw(&mut self, key: &str, value: &[u8]) {
        self.entries.insert(key.to_owned(), value.to_vec());
    }

    pub(crate) fn drop(&mut self, key: &str) {
        self.raw(key, TOMBSTONE);
    }

    pub(crate) fn remove(&mut self, key: &str) {
        assert!(self.entries.remove(key).is_some(), "{key} is missing");
    }

    /// Removes every key that starts with one of `prefixes`.
    pub(crate) fn remove_below(&mut self, prefixes: &[&str]) {
        let below = |key: &str| prefixes.iter().any(|prefix| key.starts_with(prefix));
        self.entries.retain(|key, _| !below(key));
    }

    /// [`Self::small`] without the keys that the official tool deletes before it converts anything.
    pub(crate) fn after_an_interrupted_official_run() -> Self {
        let mut it = Self::small();
        it.remove_below(&[
            "root-coord/collection",
            "snapshots/root-coord/collection",
            "root-coord/segment-index",
            "root-coord/index",
            "indexes",
            "root-coord/dd-",
            "snapshots/root-coord/dd-",
        ]);
        it
    }

    /// Changes the plain collection record and its only snapshot.
    pub(crate) fn change_collection(&mut self, change: impl Fn(&mut etcd::CollectionInfo)) {
        for (key, value) in &mut self.entries {
            if key.contains("root-coord/collection/") && value != TOMBSTONE {
                let mut record = etcd::CollectionInfo::decode(value.as_slice()).unwrap();
                change(&mut record);
                *value = record.encode_to_vec();
            }
        }
    }

    pub(crate) fn list(&self) -> Vec<Entry> {
        let absolute = |(key, value): (&String, &Vec<u8>)| {
            Entry::new(root().join(key.as_bytes()), value.clone())
        };
        let mut entries: Vec<_> = self.entries.iter().map(absolute).collect();
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        entries
    }

    pub(crate) fn migrate(&self, form: CollectionForm) -> Migration {
        migrate(&self.list(), form, OnBrokenRecord::Fail)
    }

    pub(crate) fn skip(&self, form: CollectionForm) -> Migration {
        migrate(&self.list(), form, OnBrokenRecord::Skip)
    }

    /// The keys in etcd after the migration, by relative key.
    pub(crate) fn after(&self, migration: &Migration) -> BTreeMap<String, Vec<u8>> {
        migration
            .apply(self.list().into_iter().map(Ok::<_, Infallible>))
            .map(|entry| {
                let Ok(entry) = entry;
                let relative = root().strip(&entry.key).unwrap().to_vec();
                (String::from_utf8(relative).unwrap(), entry.value.into())
            })
            .collect()
    }
}

pub(crate) fn target_of(form: CollectionForm) -> &'static str {
    match form {
        CollectionForm::Split | CollectionForm::Embedded => "2.2.3",
        CollectionForm::Database => "2.2.16",
    }
}

pub(crate) fn migrate(
    entries: &[Entry],
    form: CollectionForm,
    policy: OnBrokenRecord,
) -> Migration {
    migrate_to(entries, form, policy, target_of(form))
}

pub(crate) fn migrate_to(
    entries: &[Entry],
    form: CollectionForm,
    on_broken_record: OnBrokenRecord,
    target: &str,
) -> Migration {
    let options = Options {
        form,
        task: Task::Migration,
        segment_form: SegmentForm::Auto,
        on_broken_record,
        schemas: None,
        target: target.parse().unwrap(),
    };
    let mut source = Source::new(root(), options);
    for entry in entries {
        source.push(entry);
    }
    source.finish()
}

/// Findings as `(severity, code, key relative to the meta root)`.
pub(crate) fn codes(migration: &Migration) -> Vec<(Severity, String, String)> {
    let shortened = migration.findings.iter().map(|finding| {
        let key = finding.key.strip_prefix("by-dev/meta/");
        let key = key.unwrap_or(&finding.key).to_owned();
        (finding.severity, finding.code.clone(), key)
    });
    shortened.collect()
}

/// Whether there is a finding with this severity, code and relative key.
pub(crate) fn has(migration: &Migration, severity: Severity, code: &str, key: &str) -> bool {
    codes(migration).contains(&(severity, code.to_owned(), key.to_owned()))
}

pub(crate) fn pair(key: &str, value: &str) -> common::KeyValuePair {
    common::KeyValuePair {
        key: key.into(),
        value: value.into(),
    }
}

pub(crate) fn field(id: i64, name: &str, data_type: i32) -> schema::FieldSchema {
    schema::FieldSchema {
        field_id: id,
        name: name.into(),
        is_primary_key: id == 100,
        data_type,
        type_params: if data_type == 101 {
            vec![pair("dim", "8")]
        } else {
            Vec::new()
        },
        ..Default::default()
    }
}

/// A collection with partition `<id>0`, two user fields, two system fields, and index 7 on field 101.
pub(crate) fn collection(id: i64) -> etcd::CollectionInfo {
    etcd::CollectionInfo {
        id,
        schema: Some(schema::CollectionSchema {
            name: format!("collection_{id}"),
            description: String::new(),
            auto_id: false,
            fields: vec![
                field(100, "id", 5),
                field(101, "vector", 101),
                field(0, "RowID", 5),
                field(1, "Timestamp", 5),
            ],
        }),
        create_time: CREATED,
        partition_i_ds: vec![id * 10],
        partition_names: vec!["_default".into()],
        field_indexes: vec![reference(101, 7)],
        virtual_channel_names: vec!["v0".into()],
        physical_channel_names: vec!["p0".into()],
        partition_created_timestamps: vec![CREATED],
        shards_num: 1,
        start_positions: Vec::new(),
        consistency_level: 2,
    }
}

pub(crate) fn reference(field: i64, index: i64) -> etcd::FieldIndexInfo {
    etcd::FieldIndexInfo {
        filed_id: field,
        index_id: index,
    }
}

pub(crate) fn alias(name: &str, collection: i64) -> etcd::CollectionInfo {
    etcd::CollectionInfo {
        id: collection,
        schema: Some(schema::CollectionSchema {
            name: name.into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(crate) fn definition(id: i64) -> etcd::IndexInfo {
    etcd::IndexInfo {
        index_name: "_default_idx".into(),
        index_id: id,
        index_params: vec![
            pair("index_type", "IVF_FLAT"),
            pair("params", "{\"nlist\": 1024}"),
            pair("metric_type", "L2"),
        ],
        deleted: false,
        create_time: CREATED + 9,
    }
}

pub(crate) fn build(id: i64, partition: i64, segment: i64) -> index::IndexMeta {
    index::IndexMeta {
        index_build_id: id,
        state: 3,
        req: Some(index::BuildIndexRequest {
            index_build_id: id,
            num_rows: 5000,
            segment_id: segment,
            ..Default::default()
        }),
        index_file_paths: vec![format!(
            "files/index_files/{id}/1/{partition}/{segment}/IVF"
        )],
        node_id: 4,
        index_version: 1,
        serialize_size: 77,
        ..Default::default()
    }
}

/// A segment of the only partition, on index 7; without a build it is a small segment.
pub(crate) fn segment_index(segment: i64, build: i64) -> etcd::SegmentIndexInfo {
    etcd::SegmentIndexInfo {
        collection_id: COLLECTION,
        partition_id: 10,
        segment_id: segment,
        field_id: 101,
        index_id: 7,
        build_id: build,
        enable_index: build != 0,
        create_time: CREATED + 11,
    }
}

pub(crate) fn segment(id: i64, rows: i64) -> data::SegmentInfo {
    data::SegmentInfo {
        id,
        collection_id: COLLECTION,
        partition_id: 10,
        num_of_rows: rows,
        ..Default::default()
    }
}

/// The logs of a segment's field, with ids from `first` on and the given row counts; `folder` is
/// that of their kind.
pub(crate) fn logs(
    folder: &str,
    segment: i64,
    (field, first): (i64, i64),
    rows: &[i64],
) -> data::FieldBinlog {
    let place = match folder {
        "delta_log" => format!("{folder}/{COLLECTION}/10/{segment}"),
        _ => format!("{folder}/{COLLECTION}/10/{segment}/{field}"),
    };
    let log = |(id, rows): (i64, &i64)| data::Binlog {
        entries_num: *rows,
        timestamp_from: CREATED + 10,
        timestamp_to: CREATED + 20,
        log_path: format!("files/{place}/{id}"),
        log_size: 64,
    };
    data::FieldBinlog {
        field_id: field,
        binlogs: (first..).zip(rows).map(log).collect(),
    }
}

/// The state of a segment whose rows are all in files.
pub(crate) const FLUSHED: i32 = 4;

/// A flushed segment with its logs, as 2.1.0 writes it: a key and a vector field, no deletes.
pub(crate) fn segment_with_logs(id: i64, rows: i64) -> data::SegmentInfo {
    data::SegmentInfo {
        state: FLUSHED,
        binlogs: vec![
            logs("insert_log", id, (100, id * 100), &[rows]),
            logs("insert_log", id, (101, id * 100 + 1), &[rows]),
        ],
        statslogs: vec![logs("stats_log", id, (100, id * 100 + 2), &[rows])],
        deltalogs: vec![data::FieldBinlog::default()],
        ..segment(id, rows)
    }
}

pub(crate) fn load_state() -> query::CollectionInfo {
    query::CollectionInfo {
        collection_id: COLLECTION,
        partition_i_ds: vec![10],
        partition_states: vec![partition_state(10, 100)],
        load_type: 2,
        in_memory_percentage: 100,
        replica_ids: vec![30],
        replica_number: 1,
        ..Default::default()
    }
}

pub(crate) fn partition_state(partition: i64, percent: i64) -> query::PartitionStates {
    query::PartitionStates {
        partition_id: partition,
        state: if percent == 100 { 4 } else { 3 },
        in_memory_percentage: percent,
    }
}

pub(crate) fn replica(id: i64, collection: i64) -> milvus::ReplicaInfo {
    milvus::ReplicaInfo {
        replica_id: id,
        collection_id: collection,
        node_ids: vec![4],
        ..Default::default()
    }
}
