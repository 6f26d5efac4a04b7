//! The journal in etcd: read once, then changed only by transactions that compare its last
//! revision.

use std::fmt::Display;
use std::str::FromStr;

use tokio::time::{Instant, sleep};

use crate::journal::{Journal, Phase};
use meta_report::BackupRef;
use meta_store::{Applied, Compare, Op, RangeRequest, Store, StoreError, Txn, TxnResponse};
use milvus_meta::entry::printable;
use milvus_meta::keys::{KeyRange, MetaRoot};
use milvus_meta::transform::{Options, Task};

use crate::context::{Etcd, cluster_id};
use crate::error::{EngineErrorKind, WriteState, while_doing};
use crate::fence::Fence;
use crate::fingerprint::Filter;
use crate::guards::Guards;
use crate::throughput::writer::WriteStats;

/// The journal and the revision at which it was last written (0: there is none).
#[derive(Debug, Clone)]
pub(super) struct JournalStore {
    key: Vec<u8>,
    /// The etcd cluster in which the journal was found.
    cluster_id: String,
    mod_revision: i64,
    journal: Option<Journal>,
    in_doubt: bool,
}

/// The result of an applied transaction.
struct Sent {
    /// The journal's new revision.
    revision: i64,
    /// Number of deleted keys; 0 if the reply was lost.
    deleted: u64,
}

impl JournalStore {
    pub(super) async fn load<S: Store>(etcd: Etcd<'_, S>) -> Result<Self, EngineErrorKind> {
        let (root, key) = (etcd.root, etcd.root.journal_key());
        let action = format!("reading the journal {}", printable(&key));
        let response = etcd.read(RangeRequest::key(key.clone()), action).await?;
        let cluster_id = cluster_id(response.cluster);
        let mut found = Self {
            key,
            cluster_id,
            mod_revision: 0,
            journal: None,
            in_doubt: false,
        };
        if let Some(entry) = response.entries.first() {
            let journal = Journal::of(root.meta_root(), &entry.value);
            found.journal = Some(journal.map_err(|source| EngineErrorKind::Journal {
                key: printable(&found.key),
                source,
            })?);
            found.mod_revision = entry.mod_revision;
        }
        Ok(found)
    }

    /// Returns whether there is a journal, readable or not.
    pub(super) async fn exists<S: Store>(etcd: Etcd<'_, S>) -> Result<bool, EngineErrorKind> {
        let request = RangeRequest::key(etcd.root.journal_key()).count_only();
        let response = etcd.read(request, "reading the journal").await?;
        Ok(response.count > 0)
    }

    pub(super) fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    /// Returns the recorded backup.
    pub(super) fn backup(&self) -> Option<&BackupRef> {
        self.journal.as_ref()?.backup.as_ref()
    }

    /// Returns the revision at which the recorded run last read its source; 0 without a journal.
    pub(super) fn capture_revision(&self) -> i64 {
        let journal = self.journal.as_ref();
        journal.map_or(0, |journal| journal.capture_revision)
    }

    /// Returns the journal of an interrupted restore.
    pub(super) fn restoring(&self) -> Option<&Journal> {
        let journal = self.journal.as_ref();
        journal.filter(|journal| journal.phase == Phase::Restoring)
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        self.journal.as_ref().map(|journal| journal.phase)
    }

    /// Returns whether an unfinished run has not yet committed.
    pub(super) fn is_before_commit(&self) -> bool {
        self.phase().is_some_and(Phase::is_before_commit)
    }

    /// Returns the revision at which the journal was last written.
    pub(super) fn mod_revision(&self) -> i64 {
        self.mod_revision
    }

    /// Returns the revision of the commit; 0 before it.
    pub(super) fn committed_revision(&self) -> i64 {
        self.journal
            .as_ref()
            .map_or(0, |journal| match journal.phase {
                Phase::Committed => self.mod_revision,
                Phase::Staging
                | Phase::Staged
                | Phase::Tidying
                | Phase::Done
                | Phase::Restoring => journal.committed_revision,
            })
    }

    pub(super) fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Fails if the journal was copied from another etcd. Its revisions then do not show later
    /// writes.
    pub(super) fn check_revisions(&self) -> Result<(), EngineErrorKind> {
        let journal = self.journal.as_ref();
        let why = journal.and_then(|it| it.brought_from(&self.cluster_id, self.mod_revision));
        why.map_or(Ok(()), |why| Err(EngineErrorKind::OtherEtcd { why }))
    }

    /// Returns the revision after which the migration staged keys. Returns 0 if the journal was
    /// copied from another etcd: every key in a family that staging writes to then counts as
    /// staged.
    pub(super) fn staged_since(&self) -> i64 {
        let journal = self.journal.as_ref();
        let since = journal.map_or(0, |journal| journal.staged_since);
        self.check_revisions().map_or(0, |()| since)
    }

    pub(super) fn task(&self) -> Task {
        let journal = self.journal.as_ref();
        journal.map_or(Task::Migration, task_of)
    }

    /// Returns the filter that separates the source from the keys that the recorded run has staged.
    pub(super) fn source_filter(&self, root: &MetaRoot) -> Filter {
        Filter::without_staged(root, self.staged_since())
    }

    /// Fails if another task is unfinished. An unfinished restore can be finished by either.
    pub(super) fn check_task(&self, wanted: Task) -> Result<(), EngineErrorKind> {
        let recorded = self.task();
        match self.phase() {
            None | Some(Phase::Done | Phase::Restoring) => Ok(()),
            Some(_) if recorded == wanted => Ok(()),
            Some(phase) => Err(EngineErrorKind::OtherTask {
                recorded: recorded.name(),
                command: recorded.command(),
                phase: phase.name(),
            }),
        }
    }

    /// Returns the guards for all writes until the journal is written again.
    pub(super) fn guards<'a, S: Store>(&self, fence: &'a Fence<S>) -> Guards<'a, S> {
        Guards::new(fence, self.key.clone(), self.mod_revision)
    }

    /// Returns whether the outcome of the last transaction is unknown: it was sent, and etcd has
    /// not answered since.
    pub(super) fn in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Replaces the failure of a run by its cause if another run took over.
    pub(super) async fn explained<T, S: Store>(
        &self,
        outcome: Result<T, EngineErrorKind>,
        fence: &Fence<S>,
        written: WriteState,
    ) -> Result<T, EngineErrorKind> {
        match outcome {
            Ok(done) => Ok(done),
            Err(failure) => Err(self.guards(fence).explain(failure, written).await),
        }
    }

    /// Writes the next state of the journal together with `ops` and returns the statistics.
    /// Requires the fence, `compares` and the journal's own revision to hold.
    pub(super) async fn advance<S: Store>(
        &mut self,
        fence: &Fence<S>,
        next: Journal,
        mut compares: Vec<Compare>,
        mut ops: Vec<Op>,
    ) -> Result<WriteStats, EngineErrorKind> {
        let value = next.encode();
        compares.extend(self.guards(fence).compares());
        ops.push(Op::put(self.key.clone(), value.clone()));
        let txn = Txn { compares, ops };
        let sent = self.send(fence, &txn, Some(&value)).await?;
        self.mod_revision = sent.revision;
        self.journal = Some(next);
        Ok(WriteStats {
            ops: u64::try_from(txn.ops.len()).unwrap_or(u64::MAX),
            txns: 1,
            deleted: sent.deleted,
        })
    }

    /// Writes only the next state of the journal.
    pub(super) async fn record<S: Store>(
        &mut self,
        fence: &Fence<S>,
        next: Journal,
    ) -> Result<(), EngineErrorKind> {
        let (compares, ops) = (Vec::new(), Vec::new());
        self.advance(fence, next, compares, ops).await?;
        Ok(())
    }

    /// Deletes the journal together with `ops`.
    pub(super) async fn clear<S: Store>(
        &mut self,
        fence: &Fence<S>,
        mut ops: Vec<Op>,
    ) -> Result<(), EngineErrorKind> {
        let compares = self.guards(fence).compares();
        let range = KeyRange::single(self.key.clone());
        ops.push(Op::Delete(range));
        let txn = Txn { compares, ops };
        self.send(fence, &txn, None).await?;
        self.mod_revision = 0;
        self.journal = None;
        Ok(())
    }

    /// Sends a transaction until its outcome is known. If a reply is lost, the journal shows
    /// whether the transaction was applied.
    async fn send<S: Store>(
        &mut self,
        fence: &Fence<S>,
        txn: &Txn,
        wanted: Option<&[u8]>,
    ) -> Result<Sent, EngineErrorKind> {
        let (error, unknown) = match attempt(fence, txn).await {
            (Ok(response), _) if response.succeeded => {
                return Ok(Sent {
                    revision: response.revision,
                    deleted: response.deleted,
                });
            }
            (outcome, unknown) => (outcome.err(), unknown),
        };
        if let Some(error) = error.clone().filter(|_| !unknown) {
            return Err(self.refused(error));
        }
        // Without a reply, the transaction may even be applied after the journal is read.
        let late = error.as_ref().is_none_or(StoreError::is_transient);
        self.in_doubt = unknown && late;
        let request = RangeRequest::key(self.key.clone());
        let found = fence.read(request).await;
        let found = found.map_err(|mut error| {
            if unknown {
                error.applied = Applied::Unknown;
            }
            while_doing("reading the journal back")(error)
        })?;
        let entry = found.entries.first();
        if entry.map(|entry| &*entry.value) == wanted {
            self.in_doubt = false;
            return Ok(Sent {
                revision: entry.map_or(0, |entry| entry.mod_revision),
                deleted: 0,
            });
        }
        if let Some(error) = error {
            return Err(self.refused(error));
        }
        // etcd rejected one attempt because of a comparison, so it will reject all other attempts,
        // too.
        self.in_doubt = false;
        Err(self.diagnose(fence).await?)
    }

    fn refused(&self, error: StoreError) -> EngineErrorKind {
        while_doing(format!("writing the journal {}", printable(&self.key)))(error)
    }

    /// Returns why a comparison did not hold.
    async fn diagnose<S: Store>(
        &self,
        fence: &Fence<S>,
    ) -> Result<EngineErrorKind, EngineErrorKind> {
        let guards = self.guards(fence);
        let lost = guards.diagnose().await.map_err(while_doing(
            "finding out why the journal could not be written",
        ))?;
        Ok(lost.unwrap_or_else(|| EngineErrorKind::SourceChanged {
            revision: self.capture_revision(),
            what: "a key that the commit depends on".to_owned(),
        }))
    }
}

/// Sends a transaction until etcd answers, rejects it permanently, or the timeout ends. Returns
/// whether a lost reply leaves open if it was applied, too.
async fn attempt<S: Store>(fence: &Fence<S>, txn: &Txn) -> (Result<TxnResponse, StoreError>, bool) {
    let deadline = Instant::now() + fence.retry_timeout();
    let mut pause = fence.retry_timeout() / 200;
    let mut unknown = false;
    loop {
        match fence.store().txn(txn.clone()).await {
            Ok(response) => return (Ok(response), unknown),
            Err(error) => {
                unknown |= error.applied == Applied::Unknown;
                if !error.is_transient() || Instant::now() + pause >= deadline {
                    return (Err(error), unknown);
                }
                sleep(pause).await;
                pause *= 2;
            }
        }
    }
}

/// Returns the options with which the recorded migration was planned.
pub(super) fn journal_options(journal: &Journal) -> Result<Options, EngineErrorKind> {
    fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, EngineErrorKind> {
        text.parse()
            .map_err(|error| EngineErrorKind::Usage(format!("the journal cannot be used: {error}")))
    }
    Ok(Options {
        task: task_of(journal),
        form: parsed(&journal.collection_form)?,
        segment_form: parsed(&journal.segment_form)?,
        on_broken_record: parsed(&journal.on_broken_record)?,
        schemas: None,
        target: parsed(journal.target_version.as_deref().unwrap_or_default())?,
    })
}

/// Returns the task that a journal records. An unknown kind is a migration, as in older versions.
pub(super) fn task_of(journal: &Journal) -> Task {
    journal.kind.parse().unwrap_or_default()
}
