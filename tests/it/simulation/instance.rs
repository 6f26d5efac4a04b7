//! The metadata that the simulation migrates: small, but with one of everything that the protocol
//! treats in a way of its own.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;

use bytes::Bytes;
use meta_backup::{OutputFormat, WriteOptions};
use meta_migrate::{
    BackupTarget, Limits, MigrateOptions, RestoreCommand, RestoreOptions, VerifyOptions, Waits,
};
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

/// Whole keys with their values.
pub(crate) type Image = BTreeMap<Bytes, Bytes>;

/// Three collections: [`Metadata::small`] with more segments, one whose snapshot is missing and that has
/// two partitions, one that was dropped; and an alias whose name ends like a snapshot's key.
pub(crate) fn telling() -> Metadata {
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
    // Its logs stay in the record: the path is another segment's. And a key that 2.2 has left.
    let mut odd = segment_with_logs(55, 12);
    odd.statslogs = vec![logs("stats_log", 52, (100, 9), &[12])];
    it.put("datacoord-meta/s/1/10/55", &odd);
    it.raw("datacoord-meta/statslog/1/10/49/100", b"");
    it.raw("root-coord/dd-msg-send", b"true");
    it.raw(
        &format!("snapshots/root-coord/dd-operation_ts{}", CREATED + 8),
        b"{}",
    );
    it.raw("channelwatch/4/c", b"watched");
    // A checkpoint that is there, and a channel that gets one.
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

/// What stands beside the meta root and is none of a migration's business.
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

/// Adds what a Milvus 2.2 leaves that was started on metadata that was not migrated, and in which a collection with an
/// index was created.
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

/// All entries of an etcd that holds `metadata`, in ascending order.
pub(crate) fn beside_neighbours(metadata: &Metadata) -> Vec<Entry> {
    let mut entries = metadata.list();
    entries.extend(neighbours());
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    entries
}

/// [`telling`] with a collection that will be lost.
fn with_eighth() -> Metadata {
    let mut metadata = telling();
    let mut eighth = collection(8);
    eighth.field_indexes.clear();
    metadata.put("root-coord/collection/8", &eighth);
    let snapshot = format!("snapshots/root-coord/collection/8_ts{CREATED}");
    metadata.put(&snapshot, &eighth);
    metadata
}

/// What the official tool makes of it, and one collection that has lost its fields and partitions since: altered in
/// place by 2.2.8, or moved by 2.3.18.
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
    let mut lost = v2_2::CollectionInfo {
        partition_i_ds: Vec::new(),
        partition_names: Vec::new(),
        partition_created_timestamps: Vec::new(),
        ..v2_2::CollectionInfo::decode(official.entries["root-coord/collection/8"].as_slice())
            .unwrap()
    };
    lost.schema.as_mut().unwrap().fields.clear();
    let place = "root-coord/collection/8";
    if form == CollectionForm::Split {
        official.put(place, &lost);
        official.put(&format!("snapshots/{place}_ts{}", CREATED + 900), &lost);
        return official;
    }
    lost.db_id = 1;
    let inside = "root-coord/database/collection-info/1/8";
    official.drop(place);
    official.drop(&format!("snapshots/{place}_ts{}", u64::MAX));
    official.put(inside, &lost);
    official.put(&format!("snapshots/{inside}_ts{}", u64::MAX), &lost);
    official
}

/// The repair of metadata for the release that a form is for.
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

/// One form of collections, and where its backups lie.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) form: CollectionForm,
    pub(crate) folder: PathBuf,
    /// Whether Milvus 2.2 was started on the metadata before it was migrated.
    pub(crate) after_2_2: bool,
    /// Whether 2.1 metadata is migrated, or what the official tool made of it repaired.
    pub(crate) task: Task,
}

impl Case {
    /// What etcd holds before anything happens, in ascending order.
    pub(crate) fn before(&self) -> Vec<Entry> {
        if self.task == Task::Repair {
            return beside_neighbours(&official_and_lost(self.form));
        }
        let mut metadata = telling();
        if self.after_2_2 {
            leave_traces(&mut metadata);
        }
        beside_neighbours(&metadata)
    }

    /// What 2.1 had: an oracle finds it before and after a repair.
    pub(crate) fn had(&self, before: &Image) -> Image {
        match self.task {
            Task::Migration => before.clone(),
            Task::Repair => {
                let entries = beside_neighbours(&with_eighth()).into_iter();
                entries.map(|entry| (entry.key, entry.value)).collect()
            }
        }
    }

    /// What the migration or repair of `entries` gives: the transform itself, without any engine.
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
        MigrateOptions {
            root: metadata::root(),
            source_version: Some("2.1.4".parse().unwrap()),
            target_version: target_of(self.form).parse().unwrap(),
            form: self.form,
            task: self.task,
            segment_form: SegmentForm::Auto,
            on_broken_record: OnBrokenRecord::Fail,
            schemas: None,
            approved_plan: None,
            backup: Some(BackupTarget {
                path: self.folder.join("backup.mmb"),
                options: WriteOptions {
                    level: 1,
                    threads: 1,
                    format: OutputFormat::Native,
                },
                source_version: None,
                allow_ephemeral: true,
                stream: None,
            }),
            waits: Waits::default(),
            limits: limits(),
        }
    }

    pub(crate) fn rollback_options(&self) -> RestoreOptions {
        RestoreOptions {
            root: metadata::root(),
            command: RestoreCommand::Rollback,
            expects_2_1: false,
            backup: None,
            moved_from: None,
            families: Vec::new(),
            keep_extra: false,
            accept_loss: false,
            dry_run: false,
            waits: Waits::default(),
            limits: limits(),
        }
    }

    pub(crate) fn verify_options(&self) -> VerifyOptions {
        VerifyOptions {
            root: metadata::root(),
            backup: None,
            options: None,
            target: None,
            limits: limits(),
        }
    }
}

/// Small limits, so that little metadata takes many transactions.
fn limits() -> Limits {
    Limits {
        txn_ops_max: 4,
        in_flight_max: 2,
        delete_keys_max: 3,
        retry_timeout: Duration::from_secs(2),
        ..Limits::default()
    }
}
