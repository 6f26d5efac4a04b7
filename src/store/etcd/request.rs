//! Our requests and replies in the words of the etcd client.

use std::time::Duration;

use etcd_client::{
    Compare as EtcdCompare, CompareOp, DeleteOptions, GetOptions, GetResponse, PutOptions,
    Txn as EtcdTxn, TxnOp, TxnOpResponse, TxnResponse,
};

use crate::entry::Entry;
use crate::keys::KeyRange;
use crate::store::{Compare, Op, RangeRequest, RangeResponse, Txn};

/// Start and end of a range. etcd knows no empty key, and takes an empty end for a single key.
pub(super) fn bounds(range: &KeyRange) -> (Vec<u8>, Vec<u8>) {
    if range.is_empty() {
        // Nothing lies between a key and itself. A zero byte would be no end, but no end at all.
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

pub(super) fn get(request: &RangeRequest) -> (Vec<u8>, GetOptions) {
    let (start, end) = bounds(&request.range);
    let mut options = GetOptions::new()
        .with_range(end)
        .with_limit(request.limit)
        .with_revision(request.revision.unwrap_or(0))
        .with_min_mod_revision(request.min_mod_revision);
    if request.keys_only {
        options = options.with_keys_only();
    }
    if request.count_only {
        options = options.with_count_only();
    }
    (start, options)
}

pub(super) fn range_response(mut response: GetResponse) -> RangeResponse {
    let entries = response.take_kvs().into_iter().map(|pair| {
        let (create_revision, mod_revision) = (pair.create_revision(), pair.mod_revision());
        let lease = pair.lease();
        let (key, value) = pair.into_key_value();
        Entry {
            key,
            value,
            create_revision,
            mod_revision,
            lease,
        }
    });
    RangeResponse {
        entries: entries.collect(),
        revision: response.header().map_or(0, |header| header.revision()),
        more: response.more(),
        count: response.count(),
    }
}

pub(super) fn txn(txn: Txn) -> EtcdTxn {
    let compares: Vec<_> = txn.compares.into_iter().map(compare).collect();
    let ops: Vec<_> = txn.ops.into_iter().map(op).collect();
    EtcdTxn::new().when(compares).and_then(ops)
}

/// Whether a transaction of deletions deleted any key.
pub(super) fn deleted_any(response: &TxnResponse) -> bool {
    response
        .op_responses()
        .iter()
        .any(|response| match response {
            TxnOpResponse::Delete(deleted) => deleted.deleted() > 0,
            TxnOpResponse::Put(_) | TxnOpResponse::Get(_) | TxnOpResponse::Txn(_) => false,
        })
}

fn compare(compare: Compare) -> EtcdCompare {
    match compare {
        Compare::Absent(range) => {
            let (start, end) = bounds(&range);
            EtcdCompare::create_revision(start, CompareOp::Equal, 0).with_range(end)
        }
        Compare::CreateRevision(key, revision) => {
            EtcdCompare::create_revision(key, CompareOp::Equal, revision)
        }
        Compare::ModRevision(key, revision) => {
            EtcdCompare::mod_revision(key, CompareOp::Equal, revision)
        }
        Compare::ChangedBefore(range, revision) => {
            let (start, end) = bounds(&range);
            EtcdCompare::mod_revision(start, CompareOp::Less, revision).with_range(end)
        }
    }
}

fn op(op: Op) -> TxnOp {
    match op {
        Op::Put { key, value, lease } => {
            let options = PutOptions::new().with_lease(lease);
            TxnOp::put(key, value, (lease != 0).then_some(options))
        }
        Op::Delete(range) => {
            let (start, end) = bounds(&range);
            TxnOp::delete(start, Some(DeleteOptions::new().with_range(end)))
        }
    }
}

/// etcd counts leases in whole seconds.
pub(super) fn whole_seconds(ttl: Duration) -> i64 {
    let mut seconds = ttl.as_secs();
    if ttl.subsec_nanos() > 0 {
        seconds += 1;
    }
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
