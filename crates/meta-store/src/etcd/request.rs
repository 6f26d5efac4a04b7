//! Converts requests and replies to and from etcd's messages.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use super::message::{
    CREATE, CompareMessage, DeleteMessage, EQUAL, LESS, MOD, OpMessage, OpRequest, Pair,
    PutMessage, RangeMessage, RangeReply, Revision, TxnMessage, TxnReply,
};
use crate::{Compare, Op, RangeRequest, RangeResponse, Txn};
use milvus_meta::entry::Entry;
use milvus_meta::keys::KeyRange;

/// Start and end of a range. In etcd a key is not empty, and an empty end means a single key.
pub(super) fn bounds(range: &KeyRange) -> (Vec<u8>, Vec<u8>) {
    if range.is_empty() {
        // `[key, key)` is empty. A key of one zero byte must not be used: as an end it means no
        // limit.
        let key = match range.start.as_slice() {
            [] | [0] => vec![1],
            start => start.to_vec(),
        };
        return (key.clone(), key);
    }
    let start = if range.start.is_empty() {
        vec![0]
    } else {
        range.start.clone()
    };
    (start, range.end.clone())
}

fn shared_bounds(range: &KeyRange) -> (Bytes, Bytes) {
    let (start, end) = bounds(range);
    (start.into(), end.into())
}

/// Encodes a read.
pub(super) fn range(request: &RangeRequest) -> Bytes {
    let (key, range_end) = shared_bounds(&request.range);
    let message = RangeMessage {
        key,
        range_end,
        limit: request.limit,
        revision: request.revision.unwrap_or(0),
        keys_only: request.keys_only,
        count_only: request.count_only,
    };
    message.encode_to_vec().into()
}

pub(super) fn range_response(reply: RangeReply) -> RangeResponse {
    let header = reply.header.unwrap_or_default();
    RangeResponse {
        cluster: header.cluster_id,
        revision: header.revision,
        entries: reply.pairs.into_iter().map(entry).collect(),
        more: reply.more,
        count: reply.count,
    }
}

fn entry(pair: Pair) -> Entry {
    let Pair {
        key,
        create_revision,
        mod_revision,
        value,
        lease,
    } = pair;
    Entry {
        key,
        value,
        create_revision,
        mod_revision,
        lease,
    }
}

/// Encodes a transaction.
pub(super) fn txn(txn: Txn) -> Bytes {
    let message = TxnMessage {
        compares: txn.compares.into_iter().map(compare).collect(),
        ops: txn.ops.into_iter().map(op).collect(),
    };
    message.encode_to_vec().into()
}

/// Returns the number of keys that a transaction deleted.
pub(super) fn deleted(reply: &TxnReply) -> u64 {
    let parts = reply.responses.iter();
    parts
        .filter_map(|part| u64::try_from(part.deleted.as_ref()?.keys).ok())
        .sum()
}

fn compare(compare: Compare) -> CompareMessage {
    let created = |revision| (CREATE, Some(Revision::Create(revision)));
    let changed = |revision| (MOD, Some(Revision::Mod(revision)));
    let single = |key: Vec<u8>| (key.into(), Bytes::new());
    let ((key, range_end), (target, revision), result) = match compare {
        Compare::Absent(range) => (shared_bounds(&range), created(0), EQUAL),
        Compare::CreateRevision(key, revision) => (single(key), created(revision), EQUAL),
        Compare::ModRevision(key, revision) => (single(key), changed(revision), EQUAL),
        Compare::ChangedBefore(range, revision) => (shared_bounds(&range), changed(revision), LESS),
    };
    CompareMessage {
        result,
        target,
        key,
        revision,
        range_end,
    }
}

fn op(op: Op) -> OpMessage {
    let request = match op {
        Op::Put { key, value, lease } => OpRequest::Put(PutMessage { key, value, lease }),
        Op::Delete(range) => {
            let (key, range_end) = shared_bounds(&range);
            OpRequest::Delete(DeleteMessage { key, range_end })
        }
    };
    OpMessage {
        request: Some(request),
    }
}

/// Rounds up to the seconds of an etcd lease.
pub(super) fn lease_seconds(ttl: Duration) -> i64 {
    let mut seconds = ttl.as_secs();
    if ttl.subsec_nanos() > 0 {
        seconds += 1;
    }
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
