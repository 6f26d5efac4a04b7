//! Writes puts and deletes in guarded transactions, several in flight.
//!
//! Only idempotent operations are written here, so a transaction whose reply was lost is sent
//! again; it counts neither as applied nor as rejected until etcd's answer shows which. The guards
//! make this safe: etcd itself rejects a transaction that arrives after the lock was lost or the
//! journal advanced.

use std::collections::VecDeque;
use std::ops::AddAssign;

use tokio::sync::mpsc::{Receiver, Sender};
use tokio::task::{JoinError, JoinSet};

use meta_store::{Op, RangeRequest, Store, StoreError, StoreErrorKind, Txn, TxnResponse};

use crate::context::Etcd;
use crate::error::{EngineErrorKind, while_doing};
use crate::guards::Guards;
use crate::limits::Limits;
use crate::retry;
use crate::write::{self, Held, Write};

/// Statistics of a series of writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct WriteStats {
    /// Operations applied.
    pub(crate) ops: u64,
    /// Transactions that wrote something. Each has advanced etcd's revision by one, or by more if
    /// its reply was lost and it was sent again.
    pub(crate) txns: u64,
    /// Keys that they deleted, except by transactions whose reply was lost.
    pub(crate) deleted: u64,
}

impl AddAssign for WriteStats {
    fn add_assign(&mut self, other: Self) {
        self.ops += other.ops;
        self.txns += other.txns;
        self.deleted += other.deleted;
    }
}

/// etcd's default for `--max-txn-ops`.
const TXN_OPS_USUAL: usize = 128;

/// Comparisons used by the guards; etcd counts them against the same limit as operations.
const GUARDS: usize = 5;

/// The writes of one transaction, and the position of the first among all writes.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) from: u64,
    pub(crate) writes: Vec<Write>,
}

type Sent = (Batch, Result<TxnResponse, StoreError>);

/// Writes everything from a channel, in no particular order.
pub(crate) struct Writer<'a, S: Store> {
    etcd: Etcd<'a, S>,
    guards: Guards<'a, S>,
    limits: Limits,
    /// The revision at which the ranges of conditional writes were read.
    read_at: i64,
    waiting: VecDeque<Write>,
    again: VecDeque<Batch>,
    /// Number of operations put into batches.
    taken: u64,
    /// Receives every batch after it was applied.
    applied: Option<Sender<Batch>>,
    in_flight: JoinSet<Sent>,
    stats: WriteStats,
}

impl<'a, S: Store> Writer<'a, S> {
    pub(crate) fn new(etcd: Etcd<'a, S>, guards: Guards<'a, S>, limits: Limits) -> Self {
        Self {
            etcd,
            guards,
            limits,
            read_at: 0,
            waiting: VecDeque::new(),
            again: VecDeque::new(),
            taken: 0,
            applied: None,
            in_flight: JoinSet::new(),
            stats: WriteStats::default(),
        }
    }

    /// Sends every applied batch to `applied`, in any order. A full channel slows the writer down;
    /// a closed one is ignored.
    pub(crate) fn notifying(mut self, applied: Sender<Batch>) -> Self {
        self.applied = Some(applied);
        self
    }

    /// Sets the revision at which the keys that must be unchanged were read.
    pub(crate) fn read_at(mut self, revision: i64) -> Self {
        self.read_at = revision;
        self
    }

    /// Writes a small number of operations.
    pub(crate) async fn write_all(self, writes: Vec<Write>) -> Result<WriteStats, EngineErrorKind> {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        // The channel has capacity for the only chunk, so this neither waits nor fails.
        drop(sender.try_send(Ok(writes)));
        drop(sender);
        self.run(receiver).await
    }

    /// Writes everything from the channel until it closes. After a failure, waits for the
    /// transactions in flight, so that none of them is applied after the return.
    pub(crate) async fn run(
        mut self,
        mut chunks: Receiver<Result<Vec<Write>, EngineErrorKind>>,
    ) -> Result<WriteStats, EngineErrorKind> {
        let mut outcome = self.pump(&mut chunks).await;
        while let Some(sent) = self.in_flight.join_next().await {
            let completed = self.completed(sent).await;
            outcome = outcome.and(completed);
        }
        outcome.map(|()| self.stats)
    }

    async fn pump(
        &mut self,
        chunks: &mut Receiver<Result<Vec<Write>, EngineErrorKind>>,
    ) -> Result<(), EngineErrorKind> {
        loop {
            if let Some(signal) = self.etcd.stop.requested() {
                return Err(EngineErrorKind::Interrupted(signal));
            }
            while self.in_flight.len() < self.limits.in_flight.max(1) {
                let Some(batch) = self.next_batch(chunks).await? else {
                    break;
                };
                self.send(batch);
            }
            match self.in_flight.join_next().await {
                Some(sent) => self.completed(sent).await?,
                None => return Ok(()),
            }
        }
    }

    /// Returns the next batch within the limits; `None` if nothing is left to send.
    async fn next_batch(
        &mut self,
        chunks: &mut Receiver<Result<Vec<Write>, EngineErrorKind>>,
    ) -> Result<Option<Batch>, EngineErrorKind> {
        if let Some(batch) = self.again.pop_front() {
            return Ok(Some(batch));
        }
        let mut writes = Vec::with_capacity(self.limits.txn_ops_max.min(TXN_OPS_USUAL));
        let mut bytes = 0;
        let (mut ranges, mut end) = (0, None);
        // At least one write accompanies the guards, even if the server then rejects the
        // transaction.
        let ranges_max = self.limits.txn_ops_max.saturating_sub(GUARDS).max(1);
        while writes.len() < self.limits.txn_ops_max {
            let Some(write) = self.waiting.pop_front() else {
                match chunks.recv().await {
                    Some(chunk) => self.waiting = chunk?.into(),
                    None => break,
                }
                continue;
            };
            let range = write.unchanged.as_ref();
            let joins = range.is_none_or(|range| end.as_ref() == Some(&range.start));
            let is_full = bytes + write.op.bytes() > self.limits.txn_bytes_max
                || (!joins && ranges == ranges_max);
            if !writes.is_empty() && is_full {
                self.waiting.push_front(write);
                break;
            }
            if let Some(range) = range {
                ranges += usize::from(!joins);
                end = Some(range.end.clone());
            }
            bytes += write.op.bytes();
            writes.push(write);
        }
        let from = self.taken;
        self.taken += count(&writes);
        Ok((!writes.is_empty()).then_some(Batch { from, writes }))
    }

    fn send(&mut self, batch: Batch) {
        let store = self.etcd.store.clone();
        let mut compares = self.guards.compares();
        compares.extend(write::compares(
            write::unchanged(&batch.writes),
            self.read_at,
        ));
        let retry_timeout = self.limits.retry_timeout;
        self.in_flight.spawn(async move {
            let ops = batch.writes.iter().map(|write| write.op.clone()).collect();
            let outcome = retry::write(&store, retry_timeout, &Txn { compares, ops }).await;
            (batch, outcome)
        });
    }

    async fn completed(&mut self, sent: Result<Sent, JoinError>) -> Result<(), EngineErrorKind> {
        let (batch, outcome) = sent.map_err(|error| EngineErrorKind::Worker(error.to_string()))?;
        match outcome {
            Ok(response) if response.succeeded => {
                self.applied(batch, response).await;
                Ok(())
            }
            Ok(response) => {
                self.rejected(&batch).await?;
                let response = TxnResponse {
                    wrote: true,
                    ..response
                };
                self.applied(batch, response).await;
                Ok(())
            }
            Err(error) => self.adapt(batch, error),
        }
    }

    async fn applied(&mut self, batch: Batch, response: TxnResponse) {
        self.stats += WriteStats {
            ops: count(&batch.writes),
            txns: u64::from(response.wrote),
            deleted: response.deleted,
        };
        self.etcd
            .observer
            .advanced(puts(&batch.writes) + response.deleted);
        if let Some(applied) = &self.applied {
            drop(applied.send(batch).await);
        }
    }

    /// Determines why a transaction was rejected. It is not a failure if an earlier attempt, whose
    /// reply was lost, was applied: the next attempt is then rejected because of its own changes.
    async fn rejected(&self, batch: &Batch) -> Result<(), EngineErrorKind> {
        let doing = || while_doing("finding out why a write was rejected");
        let retry_timeout = self.limits.retry_timeout;
        if let Some(failure) = self.guards.diagnose().await.map_err(doing())? {
            return Err(failure);
        }
        let mut found = Vec::new();
        for range in write::unchanged(&batch.writes) {
            let request = RangeRequest::new(range);
            let reply = retry::read(self.etcd.store, retry_timeout, request).await;
            found.extend(reply.map_err(doing())?.entries);
        }
        match write::judge(&batch.writes, &found, self.read_at) {
            Held::AsWritten => Ok(()),
            Held::Changed(what) => Err(EngineErrorKind::SourceChanged {
                revision: self.read_at,
                what,
            }),
            // A component registered and ended: its key no longer exists, but the write was
            // rejected.
            Held::Unchanged => Err(EngineErrorKind::ComponentStarted(Vec::new())),
        }
    }

    /// Splits a batch that is too large for the server and continues with smaller ones.
    fn adapt(&mut self, batch: Batch, error: StoreError) -> Result<(), EngineErrorKind> {
        let Batch { from, mut writes } = batch;
        match error.kind {
            StoreErrorKind::TooManyOps if writes.len() > 1 => {
                self.limits.txn_ops_max = self.limits.txn_ops_max.min(writes.len() / 2);
            }
            StoreErrorKind::TooLarge if writes.len() > 1 => {
                let bytes = writes.iter().map(|write| write.op.bytes()).sum::<usize>();
                self.limits.txn_bytes_max = self.limits.txn_bytes_max.min(bytes / 2);
            }
            StoreErrorKind::TooLarge => {
                let bytes = writes.iter().map(|write| write.op.bytes()).sum();
                let key = writes.pop().map(key_of).unwrap_or_default();
                return Err(EngineErrorKind::EntryTooLarge { key, bytes });
            }
            StoreErrorKind::TooManyOps
            | StoreErrorKind::NoSpace
            | StoreErrorKind::Unreachable
            | StoreErrorKind::Timeout
            | StoreErrorKind::Compacted
            | StoreErrorKind::LeaseNotFound
            | StoreErrorKind::Denied
            | StoreErrorKind::Other => return Err(while_doing("writing metadata to etcd")(error)),
        }
        let rest = writes.split_off(writes.len() / 2);
        let rest = Batch {
            from: from + count(&writes),
            writes: rest,
        };
        self.again.extend([Batch { from, writes }, rest]);
        Ok(())
    }
}

fn count(writes: &[Write]) -> u64 {
    u64::try_from(writes.len()).unwrap_or(u64::MAX)
}

fn puts(writes: &[Write]) -> u64 {
    writes
        .iter()
        .map(|write| u64::from(matches!(write.op, Op::Put { .. })))
        .sum()
}

fn key_of(write: Write) -> Vec<u8> {
    match write.op {
        Op::Put { key, .. } => key.into(),
        Op::Delete(range) => range.start,
    }
}
