//! The fields used of the protobuf messages in backup files of other tools.
//!
//! Keys are bytes here and strings in the writers' schemas. The wire form is the same, and keys
//! that are not UTF-8 are preserved.

/// The first frame of an official or birdwatcher file.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct BackupHeader {
    #[prost(int32, tag = "1")]
    pub(super) version: i32,
    #[prost(string, tag = "2")]
    pub(super) instance: String,
    #[prost(string, tag = "3")]
    pub(super) meta_path: String,
    #[prost(int64, tag = "4")]
    pub(super) entries: i64,
    #[prost(string, tag = "5")]
    pub(super) component: String,
    #[prost(bytes = "vec", tag = "6")]
    pub(super) extra: Vec<u8>,
}

/// One entry of an official or birdwatcher file.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct KeyDataPair {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) data: Vec<u8>,
}

/// The header of a part in a birdwatcher file of version 2.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PartHeader {
    #[prost(int32, tag = "1")]
    pub(super) part_type: i32,
    #[prost(int64, tag = "2")]
    pub(super) part_len: i64,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) extra: Vec<u8>,
}

/// etcd's record of a change of a key (`mvccpb.KeyValue`).
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StoredKeyValue {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(int64, tag = "2")]
    pub(super) create_revision: i64,
    #[prost(int64, tag = "3")]
    pub(super) mod_revision: i64,
    #[prost(int64, tag = "4")]
    pub(super) version: i64,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) value: Vec<u8>,
    #[prost(int64, tag = "6")]
    pub(super) lease: i64,
}

/// The ids in a 2.1 segment-index record (`etcd.SegmentIndexInfo`), which form its key.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SegmentIndexIds {
    #[prost(int64, tag = "1")]
    pub(super) collection: i64,
    #[prost(int64, tag = "2")]
    pub(super) partition: i64,
    #[prost(int64, tag = "3")]
    pub(super) segment: i64,
    #[prost(int64, tag = "5")]
    pub(super) index: i64,
}
