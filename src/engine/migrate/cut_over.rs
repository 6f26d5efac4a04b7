//! The switch and what follows it. From the commit transaction on, 2.2 can start.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::entry::{Entry, printable};
use crate::journal::Phase;
use crate::keys::{Family, KeyRange};
use crate::store::{Compare, Op, Store, StoreErrorKind};
use crate::transform::{
    FormError, Migration, PolicyError, Put, Remaining, leftover_ranges, remaining_after_commit,
};

use super::super::deletion::bounded_deletes;
use super::super::error::{Failure, Written};
use super::super::feed::feed;
use super::super::pages::Pages;
use super::super::restore::finish_interrupted;
use super::super::source::newest_revision;
use super::super::writer::Writer;
use super::Run;

impl<S: Store> Run<'_, S> {
    /// An undoing was interrupted: it is finished first, from the backup that the journal names.
    pub(super) async fn finish_restore(&mut self) -> Result<(), Failure> {
        self.written = Written::Restoring;
        let around = self.around();
        finish_interrupted(self.store, around, (&self.fence, &mut self.ledger)).await?;
        // What was put back is no backup of what is migrated next.
        self.backup = None;
        self.written = Written::Restored;
        Ok(())
    }

    /// The one transaction: guards, what 2.2 must not see goes, the journal says `committed`. Snapshots
    /// added to an old family go along where they fit.
    pub(super) async fn commit(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        let prepared = self.prepared()?;
        let revision = prepared.revision;
        let removals = removal_ops(&prepared.migration);
        let history: Vec<Op> = prepared.migration.history().iter().map(to_op).collect();
        let limits = &self.options.limits;
        let bytes: usize = removals.iter().chain(&history).map(Op::bytes).sum();
        let room_for_journal = removals.len() + history.len() < limits.txn_ops_max;
        let together = room_for_journal && bytes < limits.txn_bytes_max;
        let attempts = [(together, true), (false, true), (false, false)];
        for (index, (with_history, with_source)) in attempts.into_iter().enumerate() {
            let mut ops = removals.clone();
            if with_history {
                ops.extend(history.iter().cloned());
            }
            // Every source key that the switch depends on has to be as it was read. A server that
            // takes very few comparisons gets the guards alone; the staging check saw the rest.
            let compares = if with_source {
                self.source_compares(revision)
            } else {
                Vec::new()
            };
            let next = self.journal_in(Phase::Committed)?;
            let by = (&self.fence, limits);
            match self
                .ledger
                .advance(self.store, by, next, (compares, ops))
                .await
            {
                Err(Failure::Store { source, .. })
                    if index + 1 < attempts.len() && is_too_much(source.kind) => {}
                outcome => {
                    if self.ledger.in_doubt() {
                        self.written = Written::InDoubt;
                    }
                    self.own += outcome?;
                    self.history_written = with_history || history.is_empty();
                    break;
                }
            }
        }
        self.written = Written::CutOver;
        self.seconds.write += started.elapsed().as_secs_f64();
        Ok(())
    }

    /// The small families that decide what the switch removes and rewrites: none of their keys was
    /// written since the capture.
    fn source_compares(&self, revision: i64) -> Vec<Compare> {
        let root = &self.options.root;
        // `collection-alias/` sorts just before `collection/`: one range spans both.
        let both = |alias: Family, collection: Family| {
            let start = root.range_below(&alias.prefix()).start;
            KeyRange::new(start, root.range_below(&collection.prefix()).end)
        };
        [
            both(Family::LegacyAlias, Family::Collection),
            both(Family::LegacyAliasSnapshot, Family::CollectionSnapshot),
            root.range_below(&Family::QueryReplica.prefix()),
            root.range_below(&Family::QueryCollection.prefix()),
        ]
        .map(|range| Compare::ChangedBefore(range, revision + 1))
        .into()
    }

    /// Puts the snapshots added to an old family, unless the commit carried them.
    pub(super) async fn write_history(&mut self) -> Result<(), Failure> {
        if self.history_written {
            return Ok(());
        }
        let ops = match &self.prepared {
            Some(prepared) => prepared.migration.history().iter().map(to_op).collect(),
            None => self.remaining().await?.history.iter().map(to_op).collect(),
        };
        self.write_few(ops).await
    }

    /// Rewrites records in place. A collection record is read embedded or split, as a whole, so every
    /// state on the way is legal for 2.2.
    pub(super) async fn rewrite(&mut self) -> Result<(), Failure> {
        let ops = match &self.prepared {
            Some(prepared) => prepared.migration.rewrites().iter().map(to_op).collect(),
            None => {
                let remaining = self.remaining().await?;
                let removals = remaining.removals.iter().cloned().map(Op::Delete);
                remaining
                    .rewrites
                    .iter()
                    .map(to_op)
                    .chain(removals)
                    .collect()
            }
        };
        self.write_few(ops).await?;
        let started = Instant::now();
        let outcome = self.rewrite_segments().await;
        self.seconds.write += started.elapsed().as_secs_f64();
        outcome
    }

    async fn write_few(&mut self, ops: Vec<Op>) -> Result<(), Failure> {
        if ops.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let observer = &*self.environment.observer;
        observer.phase_started("rewrite", u64::try_from(ops.len()).ok());
        let tally = self.writer().write_all(ops).await;
        observer.phase_finished();
        self.seconds.write += started.elapsed().as_secs_f64();
        self.own += tally?;
        Ok(())
    }

    /// What an interrupted run left to be rewritten: seen from the records as they stand.
    async fn remaining(&self) -> Result<Remaining, Failure> {
        let root = &self.options.root;
        let journal = self
            .ledger
            .journal()
            .ok_or_else(|| Failure::Worker("there is no journal".into()))?;
        let unusable = |text: String| Failure::Usage(format!("the journal cannot be used: {text}"));
        let form = journal
            .collection_form
            .parse()
            .map_err(|error: FormError| unusable(error.to_string()))?;
        let on_broken = journal
            .on_broken_record
            .parse()
            .map_err(|error: PolicyError| unusable(error.to_string()))?;
        let revision = newest_revision(self.store, root, &self.options.limits).await?;
        let mut entries: Vec<Entry> = Vec::new();
        for family in [Family::Collection, Family::CollectionSnapshot] {
            let range = root.range_below(&family.prefix());
            let mut pages = Pages::begin(self.store, self.around(), range, revision).await?;
            while let Some(page) = pages.next().await? {
                entries.extend(page);
            }
        }
        let remaining = remaining_after_commit(root, form, on_broken, &entries);
        if remaining != Remaining::default() {
            self.ledger.check_revisions()?;
        }
        refuse_newer(&remaining, &entries, journal.capture_revision)?;
        Ok(remaining)
    }

    /// Deletes the families that nobody reads any more, in bounded ranges.
    pub(super) async fn tidy(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        let limits = self.options.limits;
        // Nobody but 2.1 or a person writes there. What was written after the capture is in no plan
        // and in no backup, so it is not ours to delete.
        let captured = self
            .ledger
            .journal()
            .map_or(0, |journal| journal.capture_revision);
        let deletes = match &self.prepared {
            Some(prepared) if self.nobody_else_wrote(prepared).await? => {
                prepared.deletes.iter().cloned().map(Op::Delete).collect()
            }
            Some(_) | None => {
                let ranges = leftover_ranges(&self.options.root);
                let believed = self.ledger.check_revisions();
                let known = if believed.is_ok() { captured } else { i64::MAX };
                let deletes = bounded_deletes(self.store, (&ranges, known), &limits).await?;
                if !deletes.is_empty() {
                    believed?;
                }
                deletes
            }
        };
        let observer = &*self.environment.observer;
        // What goes in the switch itself has gone.
        let planned = self.prepared.as_ref().map(|prepared| prepared.plan.delete);
        let total = planned.and_then(|planned| planned.checked_sub(self.own.deleted));
        observer.phase_started("tidy", total);
        let limits = limits.for_deletes(self.own);
        let stop = &self.environment.stop;
        let writer = Writer::new(self.store, &self.fence, limits, stop, observer);
        let chunks = feed(move |sink| deletes.into_iter().try_for_each(|op| sink.push(Ok(op))));
        let tally = writer.run(chunks).await;
        observer.phase_finished();
        self.seconds.write += started.elapsed().as_secs_f64();
        self.own += tally?;
        Ok(())
    }
}

/// A record that is not yet as 2.2 wants it and was written after the capture is 2.1's, or a person's: its
/// partitions and fields were never staged, and no backup holds it.
fn refuse_newer(remaining: &Remaining, entries: &[Entry], captured: i64) -> Result<(), Failure> {
    let rewrites: BTreeSet<&[u8]> = remaining.rewrites.iter().map(|put| &*put.key).collect();
    let changes = |entry: &&Entry| {
        rewrites.contains(&*entry.key)
            || remaining
                .removals
                .iter()
                .any(|range| range.contains(&entry.key))
    };
    let mut newer = entries.iter().filter(|entry| entry.mod_revision > captured);
    match newer.find(changes) {
        None => Ok(()),
        Some(entry) => Err(Failure::SourceChanged {
            revision: captured,
            what: format!(
                "{} was written at revision {}, in the form of 2.1, and would be rewritten",
                printable(&entry.key),
                entry.mod_revision
            ),
        }),
    }
}

/// What goes in the switch itself.
pub(super) fn removal_ops(migration: &Migration) -> Vec<Op> {
    let ranges = migration.removals().iter();
    ranges.cloned().map(Op::Delete).collect()
}

fn to_op(put: &Put) -> Op {
    Op::put(put.key.clone(), put.value.clone())
}

fn is_too_much(kind: StoreErrorKind) -> bool {
    matches!(kind, StoreErrorKind::TooManyOps | StoreErrorKind::TooLarge)
}
