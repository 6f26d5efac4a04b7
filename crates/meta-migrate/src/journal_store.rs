//! The journal in etcd: read once, then changed only by transactions that compare its last
//! revision.

use std::fmt::Display;
use std::str::FromStr;

use tokio::time::{Instant, sleep};

use crate::journal::{Journal, Phase};
use meta_store::{Applied, Compare, Op, RangeRequest, Store, StoreError, Txn};
use milvus_meta::entry::printable;
use milvus_meta::keys::MetaRoot;
use milvus_meta::transform::{Options, Task};

use crate::context::cluster_id;
use crate::error::{EngineErrorKind, while_doing};
use crate::fence::Fence;
use crate::fingerprint::Filter;
use crate::guards::Guards;
use crate::limits::Limits;
use crate::retry::read;
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
    pub(super) async fn load<S: Store>(
        store: &S,
        root: &MetaRoot,
        limits: &Limits,
    ) -> Result<Self, EngineErrorKind> {
        let key = root.journal_key();
        let response = read(store, limits.retry_timeout, RangeRequest::key(key.clone()))
            .await
            .map_err(while_doing(format!(
                "reading the journal {}",
                printable(&key)
            )))?;
        let cluster_id = cluster_id(response.cluster);
        let Some(entry) = response.entries.first() else {
            return Ok(Self {
                key,
                cluster_id,
                mod_revision: 0,
                journal: None,
                in_doubt: false,
            });
        };
        let journal = Journal::of(root.meta_root(), &entry.value).map_err(|source| {
            EngineErrorKind::Journal {
                key: printable(&key),
                source,
            }
        })?;
        Ok(Self {
            key,
            cluster_id,
            mod_revision: entry.mod_revision,
            journal: Some(journal),
            in_doubt: false,
        })
    }

    /// Returns whether there is a journal, readable or not.
    pub(super) async fn exists<S: Store>(
        store: &S,
        root: &MetaRoot,
        limits: &Limits,
    ) -> Result<bool, EngineErrorKind> {
        let request = RangeRequest::key(root.journal_key()).count_only();
        let response = read(store, limits.retry_timeout, request)
            .await
            .map_err(while_doing("reading the journal"))?;
        Ok(response.count > 0)
    }

    pub(super) fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        self.journal.as_ref().map(|journal| journal.phase)
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

    /// Writes the next state of the journal together with `ops` and returns the statistics.
    /// Requires the fence, `compares` and the journal's own revision to hold.
    pub(super) async fn advance<S: Store>(
        &mut self,
        store: &S,
        fence: &Fence<S>,
        limits: &Limits,
        next: Journal,
        mut compares: Vec<Compare>,
        mut ops: Vec<Op>,
    ) -> Result<WriteStats, EngineErrorKind> {
        let value = next.encode();
        compares.extend(self.guards(fence).compares());
        ops.push(Op::put(self.key.clone(), value.clone()));
        let txn = Txn { compares, ops };
        let sent = self.send(store, fence, limits, &txn, Some(&value)).await?;
        self.mod_revision = sent.revision;
        self.journal = Some(next);
        Ok(WriteStats {
            ops: u64::try_from(txn.ops.len()).unwrap_or(u64::MAX),
            txns: 1,
            deleted: sent.deleted,
            in_flight: None,
        })
    }

    /// Deletes the journal together with `ops`.
    pub(super) async fn clear<S: Store>(
        &mut self,
        store: &S,
        fence: &Fence<S>,
        limits: &Limits,
        mut ops: Vec<Op>,
    ) -> Result<(), EngineErrorKind> {
        let compares = self.guards(fence).compares();
        let range = milvus_meta::keys::KeyRange::single(self.key.clone());
        ops.push(Op::Delete(range));
        let txn = Txn { compares, ops };
        self.send(store, fence, limits, &txn, None).await?;
        self.mod_revision = 0;
        self.journal = None;
        Ok(())
    }

    /// Sends a transaction until its outcome is known. If a reply is lost, the journal shows
    /// whether the transaction was applied.
    async fn send<S: Store>(
        &mut self,
        store: &S,
        fence: &Fence<S>,
        limits: &Limits,
        txn: &Txn,
        wanted: Option<&[u8]>,
    ) -> Result<Sent, EngineErrorKind> {
        let deadline = Instant::now() + limits.retry_timeout;
        let mut pause = limits.retry_timeout / 200;
        let mut unknown = false;
        let error = loop {
            match store.txn(txn.clone()).await {
                Ok(response) if response.succeeded => {
                    return Ok(Sent {
                        revision: response.revision,
                        deleted: response.deleted,
                    });
                }
                Ok(_) => break None,
                Err(error) => {
                    unknown |= error.applied == Applied::Unknown;
                    if !error.is_transient() || Instant::now() + pause >= deadline {
                        break Some(error);
                    }
                    sleep(pause).await;
                    pause *= 2;
                }
            }
        };
        if let Some(error) = error.clone().filter(|_| !unknown) {
            return Err(self.refused(error));
        }
        // Without a reply, the transaction may even be applied after the journal is read.
        let late = error.as_ref().is_none_or(StoreError::is_transient);
        self.in_doubt = unknown && late;
        let found = read(
            store,
            limits.retry_timeout,
            RangeRequest::key(self.key.clone()),
        )
        .await
        .map_err(|error| StoreError {
            applied: if unknown {
                Applied::Unknown
            } else {
                error.applied
            },
            ..error
        })
        .map_err(while_doing("reading the journal back"))?;
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
        Err(self.diagnose(fence, limits).await?)
    }

    fn refused(&self, error: StoreError) -> EngineErrorKind {
        while_doing(format!("writing the journal {}", printable(&self.key)))(error)
    }

    /// Returns why a comparison did not hold.
    async fn diagnose<S: Store>(
        &self,
        fence: &Fence<S>,
        limits: &Limits,
    ) -> Result<EngineErrorKind, EngineErrorKind> {
        let guards = self.guards(fence);
        let lost = guards
            .diagnose(limits.retry_timeout)
            .await
            .map_err(while_doing(
                "finding out why the journal could not be written",
            ))?;
        Ok(lost.unwrap_or_else(|| EngineErrorKind::SourceChanged {
            revision: self
                .journal
                .as_ref()
                .map_or(0, |journal| journal.capture_revision),
            what: "a key that the commit depends on".to_owned(),
        }))
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
    Task::named(&journal.kind).unwrap_or_default()
}
