//! The writer: puts and deletes in guarded transactions, several in flight.
//!
//! Only operations that may be applied twice come here, so a transaction whose reply was lost is sent
//! again. The fence makes that safe: a transaction that arrives late, after the lock has gone, is
//! refused by etcd itself.

use std::collections::VecDeque;
use std::ops::AddAssign;
use std::time::Instant;

use tokio::sync::mpsc::{Receiver, Sender};
use tokio::task::{JoinError, JoinSet};

use crate::store::{Op, Store, StoreError, StoreErrorKind, Txn, TxnResponse};

use super::error::{Failure, while_doing};
use super::fence::Fence;
use super::limits::Limits;
use super::observer::Observer;
use super::pace::Pace;
use super::patience;
use super::stop::Stop;

/// What a stretch of writing did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    /// Operations applied.
    pub(super) ops: u64,
    /// Transactions that wrote: each has moved the store's revision by one, or by more where a reply was
    /// lost and it was sent again.
    pub(super) txns: u64,
    /// Keys that they deleted. What one deleted whose reply was lost is not among them.
    pub(super) deleted: u64,
    /// How many transactions were in flight in the end, where their number was adapted.
    pub(super) in_flight: Option<usize>,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.ops += other.ops;
        self.txns += other.txns;
        self.deleted += other.deleted;
        self.in_flight = other.in_flight.or(self.in_flight);
    }
}

/// What a server takes unless it was told otherwise.
const TXN_OPS_USUAL: usize = 128;

/// Operations of one transaction, with the place of the first among all that came.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) from: u64,
    pub(super) ops: Vec<Op>,
}

type Sent = (Batch, Result<TxnResponse, StoreError>);

/// Writes everything that comes out of `chunks`, in no particular order.
pub(super) struct Writer<'a, S: Store> {
    store: &'a S,
    fence: &'a Fence<S>,
    limits: Limits,
    stop: &'a Stop,
    observer: &'a dyn Observer,
    waiting: VecDeque<Op>,
    again: VecDeque<Batch>,
    /// How many operations were taken into batches.
    taken: u64,
    /// Gets every batch that was applied.
    applied: Option<Sender<Batch>>,
    flying: JoinSet<Sent>,
    pace: Pace,
    tally: Tally,
}

impl<'a, S: Store> Writer<'a, S> {
    pub(super) fn new(
        store: &'a S,
        fence: &'a Fence<S>,
        limits: Limits,
        stop: &'a Stop,
        observer: &'a dyn Observer,
    ) -> Self {
        Self {
            store,
            fence,
            limits,
            stop,
            observer,
            waiting: VecDeque::new(),
            again: VecDeque::new(),
            taken: 0,
            applied: None,
            flying: JoinSet::new(),
            pace: Pace::new(
                (limits.in_flight_first, limits.in_flight_max),
                Instant::now(),
            ),
            tally: Tally::default(),
        }
    }

    /// Hands every batch on when it was applied, in whatever order that happens. A full channel slows the
    /// writing down; a closed one does not matter.
    pub(super) fn telling(mut self, applied: Sender<Batch>) -> Self {
        self.applied = Some(applied);
        self
    }

    /// Writes a handful of operations.
    pub(super) async fn write_all(self, ops: Vec<Op>) -> Result<Tally, Failure> {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        // The channel has room for the one chunk, so this neither waits nor fails.
        drop(sender.try_send(Ok(ops)));
        drop(sender);
        self.run(receiver).await
    }

    /// Writes what the channel brings until it closes. On any failure the transactions in flight are
    /// waited for, so that nothing of ours is applied after the return.
    pub(super) async fn run(
        mut self,
        mut chunks: Receiver<Result<Vec<Op>, Failure>>,
    ) -> Result<Tally, Failure> {
        let mut outcome = self.pump(&mut chunks).await;
        while let Some(sent) = self.flying.join_next().await {
            let landed = self.landed(sent).await;
            outcome = outcome.and(landed);
        }
        self.tally.in_flight = Some(self.pace.in_flight());
        outcome.map(|()| self.tally)
    }

    async fn pump(
        &mut self,
        chunks: &mut Receiver<Result<Vec<Op>, Failure>>,
    ) -> Result<(), Failure> {
        loop {
            if let Some(signal) = self.stop.requested() {
                return Err(Failure::Interrupted(signal));
            }
            while self.flying.len() < self.pace.in_flight() {
                let Some(batch) = self.next_batch(chunks).await? else {
                    break;
                };
                self.send(batch);
            }
            match self.flying.join_next().await {
                Some(sent) => self.landed(sent).await?,
                None => return Ok(()),
            }
        }
    }

    /// The next batch within the limits; `None` when nothing is left to send.
    async fn next_batch(
        &mut self,
        chunks: &mut Receiver<Result<Vec<Op>, Failure>>,
    ) -> Result<Option<Batch>, Failure> {
        if let Some(batch) = self.again.pop_front() {
            return Ok(Some(batch));
        }
        let mut ops = Vec::with_capacity(self.limits.txn_ops_max.min(TXN_OPS_USUAL));
        let mut bytes = 0;
        while ops.len() < self.limits.txn_ops_max {
            let Some(op) = self.waiting.pop_front() else {
                match chunks.recv().await {
                    Some(chunk) => self.waiting = chunk?.into(),
                    None => break,
                }
                continue;
            };
            if !ops.is_empty() && bytes + op.bytes() > self.limits.txn_bytes_max {
                self.waiting.push_front(op);
                break;
            }
            bytes += op.bytes();
            ops.push(op);
        }
        let from = self.taken;
        self.taken += count(&ops);
        Ok((!ops.is_empty()).then_some(Batch { from, ops }))
    }

    fn send(&mut self, batch: Batch) {
        let store = self.store.clone();
        let compares = self.fence.compares();
        let patience = self.limits.patience;
        self.flying.spawn(async move {
            let Batch { from, ops } = batch;
            let txn = Txn { compares, ops };
            let outcome = patience::write(&store, patience, &txn).await;
            (Batch { from, ops: txn.ops }, outcome)
        });
    }

    async fn landed(&mut self, sent: Result<Sent, JoinError>) -> Result<(), Failure> {
        let (batch, outcome) = sent.map_err(|error| Failure::Worker(error.to_string()))?;
        match outcome {
            Ok(response) if response.succeeded => {
                self.tally += Tally {
                    ops: count(&batch.ops),
                    txns: u64::from(response.wrote),
                    deleted: response.deleted,
                    in_flight: None,
                };
                self.pace.landed(Instant::now());
                self.observer.advanced(puts(&batch.ops) + response.deleted);
                if let Some(applied) = &self.applied {
                    drop(applied.send(batch).await);
                }
                Ok(())
            }
            Ok(_) => Err(self.guard_failed().await),
            Err(error) => self.adapt(batch, error),
        }
    }

    async fn guard_failed(&self) -> Failure {
        match self.fence.diagnose(self.limits.patience).await {
            Ok(Some(failure)) => failure,
            // A component came and went: its key is gone again, our write was refused all the same.
            Ok(None) => Failure::Intruder(Vec::new()),
            Err(error) => while_doing("finding out why a write was refused")(error),
        }
    }

    /// Splits a batch that the server finds too large and goes on with smaller ones.
    fn adapt(&mut self, batch: Batch, error: StoreError) -> Result<(), Failure> {
        let Batch { from, mut ops } = batch;
        match error.kind {
            StoreErrorKind::TooManyOps if ops.len() > 1 => {
                self.limits.txn_ops_max = self.limits.txn_ops_max.min(ops.len() / 2);
            }
            StoreErrorKind::TooLarge if ops.len() > 1 => {
                let bytes = ops.iter().map(Op::bytes).sum::<usize>();
                self.limits.txn_bytes_max = self.limits.txn_bytes_max.min(bytes / 2);
            }
            StoreErrorKind::TooLarge => {
                let bytes = ops.iter().map(Op::bytes).sum();
                let key = ops.pop().map(op_key).unwrap_or_default();
                return Err(Failure::EntryTooLarge { key, bytes });
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
        let rest = ops.split_off(ops.len() / 2);
        let rest = Batch {
            from: from + count(&ops),
            ops: rest,
        };
        self.again.extend([Batch { from, ops }, rest]);
        Ok(())
    }
}

fn count(ops: &[Op]) -> u64 {
    u64::try_from(ops.len()).unwrap_or(u64::MAX)
}

fn puts(ops: &[Op]) -> u64 {
    ops.iter()
        .map(|op| u64::from(matches!(op, Op::Put { .. })))
        .sum()
}

fn op_key(op: Op) -> Vec<u8> {
    match op {
        Op::Put { key, .. } => key.into(),
        Op::Delete(range) => range.start,
    }
}
