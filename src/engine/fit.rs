//! Fit: whether the server takes the largest requests of a run, found out before its first write.
//!
//! etcd looks at the size of a request and at the number of its operations before it looks at the
//! comparisons. So the very transaction that will be sent is sent with one comparison more, which
//! never holds: the server's own limits answer, whatever they are configured to, and nothing is
//! written.

use std::time::Duration;

use crate::store::{Compare, Op, Store, StoreErrorKind, Txn};

use super::error::{Failure, while_doing};
use super::fence::Fence;
use super::patience;

/// Entries up to this size fit every etcd: a quarter of the default limit of 1.5 MiB.
pub(super) const ALWAYS_FITS_BYTES: usize = 384 << 10;

/// Asks whether the server would take one entry in a transaction of its own.
pub(super) async fn entry<S: Store>(
    store: &S,
    fence: &Fence<S>,
    patience: Duration,
    (key, value): (&[u8], &[u8]),
) -> Result<(), Failure> {
    let bytes = key.len() + value.len();
    if bytes <= ALWAYS_FITS_BYTES {
        return Ok(());
    }
    let ops = vec![Op::put(key.to_vec(), value.to_vec())];
    match refusal(store, fence, patience, (Vec::new(), ops)).await? {
        Some(StoreErrorKind::TooLarge) => Err(Failure::EntryTooLarge {
            key: key.to_vec(),
            bytes,
        }),
        _ => Ok(()),
    }
}

/// Asks whether the server would take the switch in one transaction.
pub(super) async fn switch<S: Store>(
    store: &S,
    fence: &Fence<S>,
    patience: Duration,
    (compares, ops): (Vec<Compare>, Vec<Op>),
) -> Result<(), Failure> {
    let needed = ops.len().max(compares.len() + fence.compares().len());
    match refusal(store, fence, patience, (compares, ops)).await? {
        Some(_) => Err(Failure::SwitchTooLarge { operations: needed }),
        None => Ok(()),
    }
}

/// Sends a transaction that cannot succeed and says why the server refuses to look at it.
async fn refusal<S: Store>(
    store: &S,
    fence: &Fence<S>,
    patience: Duration,
    (mut compares, ops): (Vec<Compare>, Vec<Op>),
) -> Result<Option<StoreErrorKind>, Failure> {
    compares.extend(fence.compares());
    // In the place of the journal's own revision, which every journal write compares.
    compares.push(fence.never());
    match patience::write(store, patience, &Txn { compares, ops }).await {
        Ok(_) => Ok(None),
        Err(error)
            if matches!(
                error.kind,
                StoreErrorKind::TooLarge | StoreErrorKind::TooManyOps
            ) =>
        {
            Ok(Some(error.kind))
        }
        Err(error) => Err(while_doing(
            "asking whether etcd takes what will be written",
        )(error)),
    }
}
