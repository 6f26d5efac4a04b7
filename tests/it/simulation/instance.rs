//! The metadata of the simulation: small, with one object of each kind that the protocol handles
//! differently.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;

use bytes::Bytes;
use meta_backup::{OutputFormat, WriteOptions};
use meta_migrate::{BackupTarget, Limits, MigrateOptions, RestoreOptions, VerifyOptions};
use milvus_meta::entry::Entry;
use milvus_meta::proto::v2_1::common::KeyDataPair;
use milvus_meta::proto::v2_1::etcd;
use milvus_meta::proto::v2_2::etcd as v2_2;
use milvus_meta::transform::{
    CollectionForm, Migration, OnBrokenRecord, Options, SegmentForm, Source, Task,
};
use prost::Message as _;
use std::time::Duration;

use crate::support::metadata::{
    self, CREATED, Metadata, alias, build, collection, definition, logs, segment_index,
    segment_with_logs, target_of,
};
use crate::support::options;

/// Full keys with their values.
pub(crate) type Image = BTreeMap<Bytes, Bytes>;

/// Three collections: [`Metadata::small`] with more segments, one with two partitions and without a
/// snapshot, and a dropped one; and an alias whose name ends like the key of a snapshot.
pub(crate) fn varied_metadata() -> Metadata {
    let mut it = Metadata::small();
    let mut second = collection(2);
    second.field_indexes.clear();
    second.partition_i_ds.push(21);
    second.partition_names.push("second".into());
    second.partition_created_timestamps.push(CREATED + 3);
    it.put("root-coord/collection/2", &second);
    it.drop("root-coord/collection/3");
    it.put(
        &format!("snapshots/root-coord/collection/3_ts{CREATED}"),
        &etcd::CollectionInfo {
            field_indexes: Vec::new(),
            ..collection(3)
        },
    );
    it.drop(&format!(
        "snapshots/root-coord/collection/3_ts{}",
        CREATED + 100
    ));
    it.put(
        "root-coord/collection-alias/logs_ts12",
        &alias("logs_ts12", 2),
    );
    it.put(
        &format!(
            "snapshots/root-coord/collection-alias/logs_ts12_ts{}",
            CREATED + 7
        ),
        &alias("logs_ts12", 2),
    );
    for (id, build_id) in [(52, 91), (53, 92), (54, 93)] {
        it.put(&format!("indexes/{build_id}"), &build(build_id, 10, id));
        it.put(
            &format!("root-coord/segment-index/1/7/10/{id}"),
            &segment_index(id, build_id),
        );
        it.put(
            &format!("datacoord-meta/s/1/10/{id}"),
            &segment_with_logs(id, 5000),
        );
    }
    // Its logs stay in the record because the path is another segment's. And a log key left by 2.2.
    let mut unexpected = segment_with_logs(55, 12);
    unexpected.statslogs = vec![logs("stats_log", 52, (100, 9), &[12])];
    it.put("datacoord-meta/s/1/10/55", &unexpected);
    it.raw("datacoord-meta/statslog/1/10/49/100", b"");
    it.raw("root-coord/dd-msg-send", b"true");
    it.raw(
        &format!("snapshots/root-coord/dd-operation_ts{}", CREATED + 8),
        b"{}",
    );
    it.raw("channelwatch/4/c", b"watched");
    // An existing checkpoint, and a channel that gets one.
    it.raw("datacoord-meta/channel-cp/v0", b"kept");
    it.change_collection(|record| {
        record.virtual_channel_names.push("v1".into());
        record.physical_channel_names.push("p1".into());
        record.start_positions.push(KeyDataPair {
            key: "p1".into(),
            data: b"start".to_vec(),
        });
    });
    it
}

/// Keys next to the meta root, which a migration must not touch.
fn neighbours() -> Vec<Entry> {
    [
        "by-dev/kv/gid/timestamp",
        "by-dev/meta2/root-coord/collection/1",
        "by-dev/meta2/field-index/1/1",
        "other/meta/session/rootcoord-1",
    ]
    .map(|key| Entry::new(key, b"neighbour".as_slice()))
    .into()
}

/// The keys below the meta root by their names relative to it.
pub(crate) fn relative(image: &Image) -> BTreeMap<String, Bytes> {
    let root = metadata::root();
    let below = image.iter().filter_map(|(key, value)| {
        let key = root.strip(key)?.to_vec();
        Some((String::from_utf8(key).unwrap(), value.clone()))
    });
    below.collect()
}

/// Adds the keys of a Milvus 2.2 that was started on unmigrated metadata and created a collection
/// with an index.
fn leave_traces(metadata: &mut Metadata) {
    let mut made = Metadata::default();
    made.put("root-coord/collection/9", &collection(9));
    made.put("root-coord/index/9/7", &definition(7));
    metadata
        .entries
        .extend(made.after(&made.migrate(CollectionForm::Database)));
    const DATABASE: &[u8] = b"\x12\x07default\x18\x01\x20\x01\x28\x07";
    metadata.raw("datacoord-meta/channel-cp/v9", b"\x0a\x02v9");
    metadata.raw("queryCoord-ResourceGroup/__default", b"");
    metadata.raw("flushed-segment/1/10/52", b"52");
    metadata.raw("root-coord/database/db-info/1", DATABASE);
    let snapshot = format!("snapshots/root-coord/database/db-info/1_ts{}", CREATED + 99);
    metadata.raw(&snapshot, DATABASE);
}

/// All entries of an etcd with `metadata`, in ascending order.
pub(crate) fn with_neighbours(metadata: &Metadata) -> Vec<Entry> {
    let mut entries = metadata.list();
    entries.extend(neighbours());
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    entries
}

/// [`varied_metadata`] with a collection that will lose its schema.
fn with_eighth() -> Metadata {
    let mut metadata = varied_metadata();
    let mut eighth = collection(8);
    eighth.field_indexes.clear();
    metadata.put("root-coord/collection/8", &eighth);
    let snapshot = format!("snapshots/root-coord/collection/8_ts{CREATED}");
    metadata.put(&snapshot, &eighth);
    metadata
}

/// The output of the official tool for it, with one collection that has since lost its fields and
/// partitions: altered in place by 2.2.8, or moved by 2.3.18.
fn official_and_lost(form: CollectionForm) -> Metadata {
    let source = with_eighth();
    let mut official = Metadata {
        entries: source.after(&source.migrate(CollectionForm::Embedded)),
    };
    for (key, value) in source.entries {
        let stays = ["queryCoord-", "root-coord/dd-msg-send"];
        if stays.iter().any(|prefix| key.starts_with(prefix)) {
            official.entries.insert(key, value);
        }
    }
    let mut altered = v2_2::CollectionInfo {
        partition_i_ds: Vec::new(),
        partition_names: Vec::new(),
        partition_created_timestamps: Vec::new(),
        ..v2_2::CollectionInfo::decode(official.entries["root-coord/collection/8"].as_slice())
            .unwrap()
    };
    altered.schema.as_mut().unwrap().fields.clear();
    let place = "root-coord/collection/8";
    if form == CollectionForm::Split {
        official.put(place, &altered);
        official.put(&format!("snapshots/{place}_ts{}", CREATED + 900), &altered);
        return official;
    }
    altered.db_id = 1;
    let inside = "root-coord/database/collection-info/1/8";
    official.drop(place);
    official.drop(&format!("snapshots/{place}_ts{}", u64::MAX));
    official.put(inside, &altered);
    official.put(&format!("snapshots/{inside}_ts{}", u64::MAX), &altered);
    official
}

/// The repair of metadata for the release of a form.
fn repair(entries: &[Entry], form: CollectionForm) -> Migration {
    let options = Options {
        task: Task::Repair,
        form,
        segment_form: SegmentForm::Inline,
        on_broken_record: OnBrokenRecord::Fail,
        schemas: None,
        target: target_of(form).parse().unwrap(),
    };
    let mut source = Source::new(metadata::root(), options);
    entries.iter().for_each(|entry| source.push(entry));
    source.finish()
}

/// A collection form, and the folder of its backups.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) form: CollectionForm,
    pub(crate) folder: PathBuf,
    /// Whether Milvus 2.2 was started on the metadata before it was migrated.
    pub(crate) after_2_2: bool,
    /// Whether 2.1 metadata is migrated, or the output of the official tool repaired.
    pub(crate) task: Task,
}

impl Case {
    /// The initial entries of etcd in ascending order.
    pub(crate) fn before(&self) -> Vec<Entry> {
        if self.task == Task::Repair {
            return with_neighbours(&official_and_lost(self.form));
        }
        let mut metadata = varied_metadata();
        if self.after_2_2 {
            leave_traces(&mut metadata);
        }
        with_neighbours(&metadata)
    }

    /// The keys of 2.1, which an oracle finds before and after a repair.
    pub(crate) fn original(&self, before: &Image) -> Image {
        match self.task {
            Task::Migration => before.clone(),
            Task::Repair => {
                let entries = with_neighbours(&with_eighth()).into_iter();
                entries.map(|entry| (entry.key, entry.value)).collect()
            }
        }
    }

    /// The expected result for `entries`: the transform alone, without the engine.
    pub(crate) fn expected(&self, entries: &Image) -> Image {
        let root = metadata::root();
        let (inside, outside): (Vec<_>, Vec<_>) = entries
            .iter()
            .map(|(key, value)| Entry::new(key.clone(), value.clone()))
            .partition(|entry| root.strip(&entry.key).is_some());
        let migration = match self.task {
            Task::Migration => metadata::migrate(&inside, self.form, OnBrokenRecord::Fail),
            Task::Repair => repair(&inside, self.form),
        };
        migration
            .apply(inside.into_iter().map(Ok::<_, Infallible>))
            .map(|entry| {
                let Ok(entry) = entry;
                entry
            })
            .chain(outside)
            .map(|entry| (entry.key, entry.value))
            .collect()
    }

    pub(crate) fn migrate_options(&self) -> MigrateOptions {
        let path = self.folder.join("backup.mmb");
        MigrateOptions {
            source_version: Some("2.1.4".parse().unwrap()),
            transform: Options {
                task: self.task,
                ..options::transform(self.form)
            },
            backup: Some(BackupTarget {
                options: WriteOptions {
                    level: 1,
                    threads: 1,
                    format: OutputFormat::Native,
                },
                ..options::backup_target(path.clone())
            }),
            limits: limits(),
            ..options::migrate(metadata::root(), self.form, path)
        }
    }

    pub(crate) fn rollback_options(&self) -> RestoreOptions {
        RestoreOptions {
            limits: limits(),
            ..options::rollback(metadata::root())
        }
    }

    pub(crate) fn verify_options(&self) -> VerifyOptions {
        VerifyOptions {
            limits: limits(),
            ..options::verify(metadata::root())
        }
    }
}

/// Small limits, so that little metadata takes many transactions.
fn limits() -> Limits {
    Limits {
        txn_ops_max: 4,
        in_flight: 2,
        delete_keys_max: 3,
        retry_timeout: Duration::from_secs(2),
        ..Limits::default()
    }
}
