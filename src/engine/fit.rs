//! Fit: whether the server takes the largest requests of a run, found out before its first write.
//!
//! etcd looks at the size of a request and at the number of its operations before it looks at the
//! comparisons. So the very transaction that will be sent is sent with one comparison more, which
//! never holds: the server's own limits answer, whatever they are configured to, and nothing is
//! written.

use std::time::Duration;

use crate::keys::KeyRange;
use crate::store::{Compare, Op, Store, StoreErrorKind, Txn};

use super::error::{Failure, while_doing};
use super::guards::Guards;
use super::patience;

/// Asks whether the server would take one entry in a transaction of its own.
pub(super) async fn entry<S: Store>(
    store: &S,
    guards: &Guards<'_, S>,
    patience: Duration,
    (key, value): (&[u8], &[u8]),
) -> Result<(), Failure> {
    let bytes = key.len() + value.len();
    let ops = vec![Op::put(key.to_vec(), value.to_vec())];
    // A put over what was read compares that it is unchanged.
    let compares = vec![Compare::ChangedBefore(KeyRange::single(key), 1)];
    match refusal(store, guards, patience, (compares, ops)).await? {
        Some(StoreErrorKind::TooLarge) => Err(Failure::EntryTooLarge {
            key: key.to_vec(),
            bytes,
        }),
        _ => Ok(()),
    }
}

/// Asks whether the server would take the commit in one transaction.
pub(super) async fn switch<S: Store>(
    store: &S,
    guards: &Guards<'_, S>,
    patience: Duration,
    (compares, ops): (Vec<Compare>, Vec<Op>),
) -> Result<(), Failure> {
    let needed = ops.len().max(compares.len() + guards.compares().len());
    match refusal(store, guards, patience, (compares, ops)).await? {
        Some(_) => Err(Failure::SwitchTooLarge { operations: needed }),
        None => Ok(()),
    }
}

/// Sends a transaction that cannot succeed and says why the server refuses to look at it.
async fn refusal<S: Store>(
    store: &S,
    guards: &Guards<'_, S>,
    patience: Duration,
    (mut compares, ops): (Vec<Compare>, Vec<Op>),
) -> Result<Option<StoreErrorKind>, Failure> {
    compares.extend(guards.never());
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
