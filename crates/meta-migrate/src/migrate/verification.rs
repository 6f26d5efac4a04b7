//! Verification after all writes; then the journal records `done`.

use std::sync::Arc;

use crate::journal::{Journal, Phase};
use meta_report::VerifyReport;
use meta_store::{RangeRequest, Store};
use milvus_meta::entry::Entry;
use milvus_meta::finding::Finding;
use milvus_meta::keys::Family;
use milvus_meta::layout::Layout;
use milvus_meta::plural::{agree, counted};
use milvus_meta::transform::{Task, leftover_ranges};

use super::Run;
use crate::completeness::context_of;
use crate::diff::{Actual, Collector, Diff, compare};
use crate::error::EngineErrorKind;
use crate::restore::unchanged_since_done;
use crate::throughput::prefetch::Prefetch;
use crate::throughput::stream::feed;
use crate::verify::{Expectation, verify_against};
use crate::{history, key_count, layout};

impl<S: Store> Run<'_, S> {
    /// Verifies the result. A run that computed the plan compares key by key with it. A run that
    /// resumed after the commit compares with the backup if available, otherwise it checks the
    /// layout for consistency.
    pub(super) async fn verify(&mut self) -> Result<(), EngineErrorKind> {
        let observer = self.etcd.observer;
        observer.phase_started("verify", None);
        // A repair is compared with all of its backup.
        let report = if self.prepared.is_some() && self.options.transform.task == Task::Migration {
            self.compare_with_plan().await
        } else {
            self.compare_with_record().await
        };
        observer.phase_finished();
        let report = report?;
        if !report.ok {
            return Err(EngineErrorKind::Verification(Box::new(report)));
        }
        self.verified = true;
        Ok(())
    }

    /// Compares the result with the backup and with the recorded number of keys. If 2.2 was started
    /// after the commit, which is allowed, neither accounts for what it wrote and deleted.
    async fn compare_with_record(&mut self) -> Result<VerifyReport, EngineErrorKind> {
        let unchanged = unchanged_since_done(self.etcd, &self.journal_store).await?;
        let mut backup = self.backup.as_ref();
        if backup.is_some() && !unchanged {
            self.etcd.observer.note(
                "keys may have been written since the commit, so the result is checked for consistency and not \
                    compared with the backup",
            );
            backup = None;
        }
        let transform = &self.options.transform;
        let expectation = Expectation {
            backup: backup.map(|backup| backup.path.clone().into()),
            // The journal does not record the schemas that were passed to a repair.
            options: transform.schemas.is_some().then(|| transform.clone()),
            context: context_of(transform, self.journal_store.journal()),
            backup_is_optional: true,
        };
        let mut report = verify_against(self.etcd, expectation).await?;
        if !self.left_alone.is_empty()
            && layout::detect(self.etcd, &self.left_alone).await? == Layout::V2_2
        {
            report
                .findings
                .retain(|finding| finding.code != "not-migrated");
            report.ok = !report.findings.iter().any(Finding::is_error);
        }
        if let Some(finding) = self.keys_gone().await? {
            if unchanged {
                report.findings.push(finding);
                report.findings.sort();
                report.ok = false;
            } else {
                self.etcd.observer.note(&finding.message);
            }
        }
        Ok(report)
    }

    /// Returns a finding if there are fewer keys than the plan leaves.
    async fn keys_gone(&mut self) -> Result<Option<Finding>, EngineErrorKind> {
        let root = self.etcd.root;
        let expected = self
            .journal_store
            .journal()
            .map_or(0, |it| it.keys_expected);
        let revision = self.etcd.newest_revision().await?;
        let found = key_count::keys(self.etcd, revision).await?;
        self.counted = Some((revision, found));
        Ok((found < expected).then(|| {
            let message = format!(
                "etcd holds {}, the migration leaves {expected}: {} {} missing",
                counted(found, "key"),
                counted(expected - found, "key"),
                agree(expected - found, "is", "are")
            );
            Finding::error("key-count", root.meta_root().as_bytes(), message)
        }))
    }

    async fn compare_with_plan(&mut self) -> Result<VerifyReport, EngineErrorKind> {
        let prepared = self.prepared()?;
        // The read-back before the commit is still valid if no other program has written since:
        // this run has written only to other ranges.
        let mut revision = self.etcd.newest_revision().await?;
        let only_we_wrote = self.only_we_wrote(prepared, revision);
        let mut collector = if self.is_read_back && only_we_wrote {
            Collector::default()
        } else {
            let collector = self.collect_staged(&prepared.migration).await?;
            revision = self.etcd.newest_revision().await?;
            collector
        };
        self.compare_collections(revision, &mut collector).await?;
        self.compare_segments(revision, &mut collector).await?;
        let left_alone = self.expect_gone(&mut collector).await?;
        let keys = self
            .expect_count(revision, only_we_wrote, left_alone, &mut collector)
            .await?;
        self.counted = Some((revision, keys));
        Ok(collector.report())
    }

    /// Checks that every rewritten or added record of the old collection families has its new
    /// value. Other keys in these families (tombstones) are not compared.
    async fn compare_collections(
        &self,
        revision: i64,
        collector: &mut Collector,
    ) -> Result<(), EngineErrorKind> {
        let prepared = self.prepared()?;
        let root = self.etcd.root;
        let migration = Arc::clone(&prepared.migration);
        let expected = feed(move |sink| {
            let mut puts: Vec<_> = migration
                .rewrites
                .iter()
                .chain(&migration.history)
                .collect();
            puts.sort_by(|left, right| left.key.cmp(&right.key));
            puts.into_iter()
                .try_for_each(|put| sink.push(Entry::new(put.key.clone(), put.value.clone())))
        });
        let ranges = [Family::Collection, Family::CollectionSnapshot]
            .map(|family| root.range_below(&family.prefix()));
        let actual = Actual {
            ranges: ranges.into(),
            revision,
            ignore: &mut |_| false,
        };
        compare(self.etcd, expected, actual, |diff| {
            if !matches!(diff, Diff::Extra(_)) {
                collector.add(&diff);
            }
            Ok(())
        })
        .await
    }

    /// Checks that every deleted range is empty. Returns the number of keys that other programs
    /// wrote after the capture into families that 2.2 does not read; they are not changed.
    async fn expect_gone(&self, collector: &mut Collector) -> Result<u64, EngineErrorKind> {
        const SHOWN: i64 = 1000;
        let prepared = self.prepared()?;
        let removals = prepared.migration.removals.clone();
        let unread = removals.len();
        let committed = self.journal_store.committed_revision();
        let mut newer = Vec::new();
        let gone = removals.into_iter().chain(leftover_ranges(self.etcd.root));
        let requests = gone.map(|range| RangeRequest::new(range).keys_only().limit(SHOWN));
        let mut replies = Prefetch::new(self.etcd.store, self.etcd.limits.retry_timeout, requests);
        let mut index = 0;
        while let Some(reply) = replies.next("reading back").await? {
            for entry in reply.entries {
                if index >= unread && entry.mod_revision > committed {
                    newer.push(entry.key);
                } else {
                    collector.add(&Diff::Extra(entry));
                }
            }
            index += 1;
        }
        self.report_left_alone(&newer);
        Ok(u64::try_from(newer.len()).unwrap_or(u64::MAX))
    }

    /// Compares the number of keys with the plan, which detects the loss of untouched keys. The
    /// keys are not counted if no other program wrote and this run's transactions deleted as many
    /// keys as planned.
    async fn expect_count(
        &self,
        revision: i64,
        only_we_wrote: bool,
        left_alone: u64,
        collector: &mut Collector,
    ) -> Result<u64, EngineErrorKind> {
        let prepared = self.prepared()?;
        let root = self.etcd.root;
        let expected = prepared.keys_expected().map(|keys| keys + left_alone);
        if let Some(expected) = expected
            && only_we_wrote
            && self.is_read_back
            && self.own.deleted == prepared.plan.delete
        {
            return Ok(expected);
        }
        let found = key_count::keys(self.etcd, revision).await?;
        if Some(found) != expected {
            let message = format!(
                "etcd holds {}, but {} were read, {} put and {} deleted",
                counted(found, "key"),
                prepared.source_keys,
                prepared.plan.put,
                prepared.plan.delete
            );
            collector.push(Finding::error(
                "key-count",
                root.meta_root().as_bytes(),
                message,
            ));
        }
        Ok(found)
    }

    pub(super) async fn record_done(&mut self) -> Result<(), EngineErrorKind> {
        let revision = self.etcd.newest_revision().await?;
        let keys_when_done = match self.counted {
            Some((then, keys)) if then == revision => keys,
            Some(_) | None => key_count::keys(self.etcd, revision).await?,
        };
        let next = Journal {
            keys_when_done,
            ..self.journal_in(Phase::Done)?
        };
        let run = history::finished(&next, self.etcd.ctx);
        let ops = history::adding(self.etcd, run).await;
        self.advance_with(next, ops).await
    }
}
