//! The fields used of the messages of etcd's `KV` service.
//!
//! Field numbers are those of `etcdserverpb/rpc.proto` and `mvccpb/kv.proto`, identical in etcd 3.3
//! and later. Keys and values share the memory of the message.

use bytes::Bytes;
use prost::{Message, Oneof};

/// `RangeRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RangeMessage {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) range_end: Bytes,
    #[prost(int64, tag = "3")]
    pub(super) limit: i64,
    #[prost(int64, tag = "4")]
    pub(super) revision: i64,
    #[prost(bool, tag = "8")]
    pub(super) keys_only: bool,
    #[prost(bool, tag = "9")]
    pub(super) count_only: bool,
}

/// `RangeResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RangeReply {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<Header>,
    #[prost(message, repeated, tag = "2")]
    pub(super) pairs: Vec<Pair>,
    #[prost(bool, tag = "3")]
    pub(super) more: bool,
    #[prost(int64, tag = "4")]
    pub(super) count: i64,
}

/// `ResponseHeader`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Header {
    #[prost(uint64, tag = "1")]
    pub(super) cluster_id: u64,
    #[prost(int64, tag = "3")]
    pub(super) revision: i64,
}

/// `KeyValue`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Pair {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(int64, tag = "2")]
    pub(super) create_revision: i64,
    #[prost(int64, tag = "3")]
    pub(super) mod_revision: i64,
    #[prost(bytes = "bytes", tag = "5")]
    pub(super) value: Bytes,
    #[prost(int64, tag = "6")]
    pub(super) lease: i64,
}

/// `TxnRequest`, without operations for the failure case.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TxnMessage {
    #[prost(message, repeated, tag = "1")]
    pub(super) compares: Vec<CompareMessage>,
    #[prost(message, repeated, tag = "2")]
    pub(super) ops: Vec<OpMessage>,
}

/// `Compare`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CompareMessage {
    /// [`EQUAL`] or [`LESS`].
    #[prost(int32, tag = "1")]
    pub(super) result: i32,
    /// [`CREATE`] or [`MOD`].
    #[prost(int32, tag = "2")]
    pub(super) target: i32,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) key: Bytes,
    #[prost(oneof = "Revision", tags = "5, 6")]
    pub(super) revision: Option<Revision>,
    #[prost(bytes = "bytes", tag = "64")]
    pub(super) range_end: Bytes,
}

/// `Compare.CompareResult.EQUAL`.
pub(super) const EQUAL: i32 = 0;
/// `Compare.CompareResult.LESS`.
pub(super) const LESS: i32 = 2;
/// `Compare.CompareTarget.CREATE`.
pub(super) const CREATE: i32 = 1;
/// `Compare.CompareTarget.MOD`.
pub(super) const MOD: i32 = 2;

/// The revision to compare with.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Revision {
    #[prost(int64, tag = "5")]
    Create(i64),
    #[prost(int64, tag = "6")]
    Mod(i64),
}

/// `RequestOp`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OpMessage {
    #[prost(oneof = "OpRequest", tags = "2, 3")]
    pub(super) request: Option<OpRequest>,
}

/// The kinds of operation.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum OpRequest {
    #[prost(message, tag = "2")]
    Put(PutMessage),
    #[prost(message, tag = "3")]
    Delete(DeleteMessage),
}

/// `PutRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PutMessage {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
    #[prost(int64, tag = "3")]
    pub(super) lease: i64,
}

/// `DeleteRangeRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DeleteMessage {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) range_end: Bytes,
}

/// `TxnResponse`; only the counts of deleted keys are used.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TxnReply {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<Header>,
    #[prost(bool, tag = "2")]
    pub(super) succeeded: bool,
    #[prost(message, repeated, tag = "3")]
    pub(super) responses: Vec<OpReply>,
}

/// `ResponseOp`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OpReply {
    #[prost(message, optional, tag = "3")]
    pub(super) deleted: Option<Deleted>,
}

/// `DeleteRangeResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Deleted {
    #[prost(int64, tag = "2")]
    pub(super) keys: i64,
}
