//! Generates realistic 2.1 metadata of any size from a seed.
//!
//! Each record is computed from its position and the seed; nothing is stored. A million segment
//! indexes are generated in ascending key order, the same every time. Records have the form, sizes
//! and proportions of `testdata/examples/medium`: about 1.4 segment indexes per segment, logs in
//! segment records, data and file paths in index builds, and a few segments too small for an index.

use milvus_meta::entry::Entry;
use milvus_meta::proto::v2_1::{common, data, etcd, index, internal, milvus, query, schema};
use prost::Message;

/// First id of a collection. Ids of its partitions and indexes are close to it.
const COLLECTIONS_FROM: i64 = 436_365_149_619_355_664;
/// Distance between collection ids.
const COLLECTION_STRIDE: i64 = 65_536_000_021;
/// First id of a segment, greater than those of all collections.
const SEGMENTS_FROM: i64 = 536_365_637_798_330_000;
/// Distance between segment ids, which leaves space for ids of binlogs and builds.
const SEGMENT_STRIDE: i64 = 29;

const VECTOR_FIELD: i64 = 101;
const SCALAR_FIELD: i64 = 100;
/// The fields of insert logs: row id, timestamp, key, vector.
const BINLOG_FIELDS: [i64; 4] = [0, 1, SCALAR_FIELD, VECTOR_FIELD];
/// One of this number of segments is too small for an index.
const UNINDEXED_ONE_IN: u64 = 40;

/// Size and seed of the metadata.
#[derive(Debug, Clone, Copy)]
pub struct Generator {
    /// The exact number of records below `root-coord/segment-index/`.
    pub segment_indexes: u64,
    /// The same seed generates the same bytes.
    pub seed: u64,
}

/// A collection.
#[derive(Debug, Clone, Copy)]
struct Collection {
    id: i64,
    number: u64,
    /// The number of its first segment, counted over all collections.
    first_segment: u64,
    segments: u64,
    segment_indexes: u64,
    partitions: u64,
    seed: u64,
}

/// A segment of a collection.
#[derive(Debug, Clone, Copy)]
struct Segment {
    id: i64,
    partition: i64,
    rows: i64,
    indexes: u64,
    is_indexed: bool,
}

impl Generator {
    /// Generates all entries below `root` in ascending key order.
    pub fn entries(self, root: &str) -> impl Iterator<Item = Entry> {
        let prefix = format!("{root}/");
        let pairs = self
            .data_coordinator()
            .chain(self.index_builds())
            .chain(self.query_coordinator())
            .chain(self.root_coordinator())
            .chain(self.snapshots());
        pairs.map(move |(key, value)| Entry::new(format!("{prefix}{key}"), value))
    }

    fn data_coordinator(self) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.collections().flat_map(|collection| {
            collection
                .by_partition()
                .map(move |segment| collection.segment_record(segment))
        })
    }

    fn index_builds(self) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.collections().flat_map(|collection| {
            collection.by_id().flat_map(move |segment| {
                let indexes = if segment.is_indexed {
                    segment.indexes
                } else {
                    0
                };
                (0..indexes).map(move |which| collection.build(segment, which))
            })
        })
    }

    fn query_coordinator(self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let loaded = move || self.collections().filter(Collection::is_loaded);
        let replicas = loaded().map(|collection| collection.replica());
        let states = loaded().map(|collection| collection.load_state());
        replicas.chain(states)
    }

    fn root_coordinator(self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let aliases = self.aliased().map(|collection| {
            let name = collection.alias();
            let key = format!("root-coord/collection-alias/{name}");
            (key, collection.alias_record())
        });
        let collections = self.collections().map(|collection| {
            let key = format!("root-coord/collection/{}", collection.id);
            (key, collection.record(true))
        });
        let operation = [
            ("root-coord/dd-msg-send".to_owned(), b"true".to_vec()),
            ("root-coord/dd-operation".to_owned(), b"{}".to_vec()),
        ];
        let indexes = self.collections().flat_map(|collection| {
            (0..collection.indexes()).map(move |which| collection.definition(which))
        });
        let segment_indexes = self.collections().flat_map(|collection| {
            (0..collection.indexes()).flat_map(move |which| {
                collection
                    .by_partition()
                    .filter(move |segment| which < segment.indexes)
                    .map(move |segment| collection.segment_index(segment, which))
            })
        });
        let session = [("session/id".to_owned(), b"42".to_vec())];
        aliases
            .chain(collections)
            .chain(operation)
            .chain(indexes)
            .chain(segment_indexes)
            .chain(session)
    }

    fn snapshots(self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let aliases = self.aliased().map(|collection| {
            let (name, at) = (collection.alias(), collection.created() + 40);
            let key = format!("snapshots/root-coord/collection-alias/{name}_ts{at}");
            (key, collection.alias_record())
        });
        let collections = self.collections().flat_map(|collection| {
            [(0, false), (7, true)].map(|(later, with_indexes)| {
                let at = collection.created() + later;
                let key = format!("snapshots/root-coord/collection/{}_ts{at}", collection.id);
                (key, collection.record(with_indexes))
            })
        });
        aliases.chain(collections)
    }

    fn aliased(self) -> impl Iterator<Item = Collection> {
        self.collections()
            .filter(|collection| collection.number.is_multiple_of(3))
    }

    /// The number of collections is half the square root of the number of segment indexes.
    fn collections(self) -> impl Iterator<Item = Collection> {
        let count = (self.segment_indexes.isqrt() / 2).max(1);
        let mut first_segment = 0;
        (0..count).map(move |number| {
            let of = |number: u64| number * self.segment_indexes / count;
            let seed = mix(self.seed ^ mix(number));
            let mut collection = Collection {
                id: COLLECTIONS_FROM + signed(number) * COLLECTION_STRIDE,
                number,
                first_segment,
                segments: 0,
                segment_indexes: of(number + 1) - of(number),
                partitions: 1 + seed % 4,
                seed,
            };
            collection.segments = collection.segment_indexes.div_ceil(collection.indexes());
            first_segment += collection.segments;
            collection
        })
    }
}

impl Collection {
    /// Four of seven collections have a scalar index in addition to the vector index.
    fn indexes(&self) -> u64 {
        1 + u64::from(self.number % 7 < 4)
    }

    fn is_loaded(&self) -> bool {
        self.number % 5 != 4
    }

    fn created(&self) -> u64 {
        self.id.unsigned_abs() - 15
    }

    fn alias(&self) -> String {
        format!("alias_{:05}", self.number)
    }

    fn channel(&self) -> (String, String) {
        let physical = format!("by-dev-rootcoord-dml_{}", self.number % 256);
        let virtual_one = format!("{physical}_{}v0", self.id);
        (physical, virtual_one)
    }

    fn partition_id(&self, partition: u64) -> i64 {
        self.id + 3 + signed(partition)
    }

    fn index_id(&self, which: u64) -> i64 {
        self.id + 10 + signed(which)
    }

    /// The segments in order of their ids.
    fn by_id(self) -> impl Iterator<Item = Segment> {
        (0..self.segments).map(move |position| self.segment(position))
    }

    /// The segments in order of their partitions, then ids.
    fn by_partition(self) -> impl Iterator<Item = Segment> {
        (0..self.partitions).flat_map(move |partition| {
            let positions = (partition..self.segments).step_by(usize_of(self.partitions));
            positions.map(move |position| self.segment(position))
        })
    }

    fn segment(&self, position: u64) -> Segment {
        let number = self.first_segment + position;
        let chance = mix(self.seed ^ number);
        let is_indexed = !chance.is_multiple_of(UNINDEXED_ONE_IN);
        // The last segment has the remaining indexes.
        let rest = self.segment_indexes - position * self.indexes();
        Segment {
            id: SEGMENTS_FROM + signed(number) * SEGMENT_STRIDE + signed(chance % 3),
            partition: self.partition_id(position % self.partitions),
            rows: if is_indexed {
                signed(1024 + chance % 2_000_000)
            } else {
                signed(1 + chance % 1023)
            },
            indexes: self.indexes().min(rest),
            is_indexed,
        }
    }

    /// The logs of a field: one file, as in a flushed segment.
    fn logs(&self, folder: &str, segment: Segment, field: i64) -> data::FieldBinlog {
        let place = format!("{}/{}/{}/{field}", self.id, segment.partition, segment.id);
        data::FieldBinlog {
            field_id: field,
            binlogs: vec![data::Binlog {
                entries_num: segment.rows,
                timestamp_from: self.created() + 100,
                timestamp_to: self.created() + 900,
                log_path: format!("files/{folder}/{place}/{}", segment.id + 3 + field % 10),
                log_size: segment.rows * 8,
            }],
        }
    }

    fn position(&self, later: u64) -> internal::MsgPosition {
        internal::MsgPosition {
            channel_name: self.channel().0,
            msg_id: self.seed.to_be_bytes().to_vec(),
            msg_group: format!("by-dev-dataNode-{}-{}", self.number % 9, self.id),
            timestamp: self.created() + later,
        }
    }

    /// The record as 2.1.0 writes it: with logs, and with an empty list of delete logs.
    fn segment_record(&self, segment: Segment) -> (String, Vec<u8>) {
        let key = format!(
            "datacoord-meta/s/{}/{}/{}",
            self.id, segment.partition, segment.id
        );
        let record = data::SegmentInfo {
            id: segment.id,
            collection_id: self.id,
            partition_id: segment.partition,
            insert_channel: self.channel().1,
            num_of_rows: segment.rows,
            state: 3,
            max_row_num: 541_200,
            last_expire_time: self.created() + 1_000,
            start_position: Some(self.position(50)),
            dml_position: Some(self.position(900)),
            binlogs: BINLOG_FIELDS
                .map(|field| self.logs("insert_log", segment, field))
                .into(),
            statslogs: vec![self.logs("stats_log", segment, SCALAR_FIELD)],
            deltalogs: vec![data::FieldBinlog::default()],
            ..Default::default()
        };
        (key, record.encode_to_vec())
    }

    fn build_id(segment: Segment, which: u64) -> i64 {
        segment.id + 20 + signed(which)
    }

    fn build(&self, segment: Segment, which: u64) -> (String, Vec<u8>) {
        let id = Self::build_id(segment, which);
        let field = [VECTOR_FIELD, SCALAR_FIELD][usize_of(which)];
        let logs = format!(
            "files/insert_log/{}/{}/{}/{field}",
            self.id, segment.partition, segment.id
        );
        let files = format!(
            "files/index_files/{id}/1/{}/{}",
            segment.partition, segment.id
        );
        let (names, definition) = if which == 0 {
            (&["HNSW_0", "SLICE_META"][..], self.vector_index())
        } else {
            (&["STL_SORT"][..], scalar_index())
        };
        let record = index::IndexMeta {
            index_build_id: id,
            state: 3,
            req: Some(index::BuildIndexRequest {
                index_build_id: id,
                index_name: definition.index_name,
                index_id: self.index_id(which),
                data_paths: (0..2)
                    .map(|number| format!("{logs}/{}", segment.id + 5 + number))
                    .collect(),
                type_params: self.fields()[usize_of(1 - which)].type_params.clone(),
                index_params: definition.index_params,
                num_rows: segment.rows,
                field_schema: Some(self.fields().swap_remove(usize_of(1 - which))),
                segment_id: segment.id,
            }),
            index_file_paths: names.iter().map(|name| format!("{files}/{name}")).collect(),
            node_id: 9,
            index_version: 1,
            serialize_size: segment.rows.unsigned_abs() * 530,
            ..Default::default()
        };
        (format!("indexes/{id}"), record.encode_to_vec())
    }

    fn segment_index(&self, segment: Segment, which: u64) -> (String, Vec<u8>) {
        let (partition, index) = (segment.partition, self.index_id(which));
        let key = format!(
            "root-coord/segment-index/{}/{index}/{partition}/{}",
            self.id, segment.id
        );
        let build = Self::build_id(segment, which);
        let record = etcd::SegmentIndexInfo {
            collection_id: self.id,
            partition_id: partition,
            segment_id: segment.id,
            field_id: [VECTOR_FIELD, SCALAR_FIELD][usize_of(which)],
            index_id: index,
            build_id: if segment.is_indexed { build } else { 0 },
            enable_index: segment.is_indexed,
            create_time: segment.id.unsigned_abs() + 11,
        };
        (key, record.encode_to_vec())
    }

    fn replica_id(&self) -> i64 {
        SEGMENTS_FROM - 1_000_000 + signed(self.number) * 3
    }

    fn replica(&self) -> (String, Vec<u8>) {
        let record = milvus::ReplicaInfo {
            replica_id: self.replica_id(),
            collection_id: self.id,
            ..Default::default()
        };
        let key = format!("queryCoord-ReplicaMeta/{}", self.replica_id());
        (key, record.encode_to_vec())
    }

    fn load_state(&self) -> (String, Vec<u8>) {
        let partitions: Vec<i64> = (0..self.partitions)
            .map(|partition| self.partition_id(partition))
            .collect();
        let states = partitions.iter().map(|id| query::PartitionStates {
            partition_id: *id,
            state: 4,
            in_memory_percentage: 100,
        });
        let record = query::CollectionInfo {
            collection_id: self.id,
            partition_states: states.collect(),
            partition_i_ds: partitions,
            load_type: 2,
            schema: Some(self.schema()),
            in_memory_percentage: 100,
            replica_ids: vec![self.replica_id()],
            replica_number: 1,
            ..Default::default()
        };
        let key = format!("queryCoord-collectionMeta/{}", self.id);
        (key, record.encode_to_vec())
    }

    fn alias_record(&self) -> Vec<u8> {
        etcd::CollectionInfo {
            id: self.id,
            schema: Some(schema::CollectionSchema {
                name: self.alias(),
                ..Default::default()
            }),
            ..Default::default()
        }
        .encode_to_vec()
    }

    fn record(&self, with_indexes: bool) -> Vec<u8> {
        let (physical, virtual_one) = self.channel();
        let partitions = 0..self.partitions;
        let indexes = if with_indexes { self.indexes() } else { 0 };
        etcd::CollectionInfo {
            id: self.id,
            schema: Some(self.schema()),
            create_time: self.created(),
            partition_i_ds: partitions.clone().map(|it| self.partition_id(it)).collect(),
            partition_names: partitions
                .clone()
                .map(|it| match it {
                    0 => "_default".to_owned(),
                    _ => format!("part_{it}_user"),
                })
                .collect(),
            field_indexes: (0..indexes)
                .map(|which| etcd::FieldIndexInfo {
                    filed_id: [VECTOR_FIELD, SCALAR_FIELD][usize_of(which)],
                    index_id: self.index_id(which),
                })
                .collect(),
            virtual_channel_names: vec![virtual_one],
            physical_channel_names: vec![physical.clone()],
            partition_created_timestamps: partitions.map(|it| self.created() + it).collect(),
            shards_num: 1,
            start_positions: vec![common::KeyDataPair {
                key: physical,
                data: self.seed.to_be_bytes().to_vec(),
            }],
            consistency_level: 2,
        }
        .encode_to_vec()
    }

    fn schema(&self) -> schema::CollectionSchema {
        schema::CollectionSchema {
            name: format!("collection_{:05}", self.number),
            fields: self.fields(),
            ..Default::default()
        }
    }

    fn fields(&self) -> Vec<schema::FieldSchema> {
        let field = |id, name: &str, data_type| schema::FieldSchema {
            field_id: id,
            name: name.to_owned(),
            data_type,
            ..Default::default()
        };
        vec![
            schema::FieldSchema {
                is_primary_key: true,
                ..field(SCALAR_FIELD, "book_id", 5)
            },
            schema::FieldSchema {
                type_params: vec![pair("dim", "248")],
                ..field(VECTOR_FIELD, "feature", 101)
            },
            field(0, "RowID", 5),
            field(1, "Timestamp", 5),
        ]
    }

    fn vector_index(&self) -> etcd::IndexInfo {
        etcd::IndexInfo {
            index_name: "_default_idx".to_owned(),
            index_params: vec![
                pair("index_type", "HNSW"),
                pair("metric_type", "L2"),
                pair("params", "{\"M\": 11, \"efConstruction\": 131}"),
            ],
            ..Default::default()
        }
    }

    fn definition(&self, which: u64) -> (String, Vec<u8>) {
        let definition = if which == 0 {
            self.vector_index()
        } else {
            scalar_index()
        };
        let record = etcd::IndexInfo {
            index_id: self.index_id(which),
            create_time: self.created() + 9,
            ..definition
        };
        let key = format!("root-coord/index/{}/{}", self.id, self.index_id(which));
        (key, record.encode_to_vec())
    }
}

fn scalar_index() -> etcd::IndexInfo {
    etcd::IndexInfo {
        index_name: "title_sort".to_owned(),
        index_params: vec![pair("index_type", "STL_SORT")],
        ..Default::default()
    }
}

fn pair(key: &str, value: &str) -> common::KeyValuePair {
    common::KeyValuePair {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

/// A deterministic pseudorandom number (SplitMix64).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("counts and offsets are far below the limit")
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).expect("counts are far below the limit")
}
