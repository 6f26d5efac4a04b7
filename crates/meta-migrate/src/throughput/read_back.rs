//! Read-back verification of staged keys while more are being written.
//!
//! Keys are written in ascending order, each of them once. Everything up to the first gap is
//! therefore final, unless another program writes, which etcd's revision shows afterwards. That
//! part is read and compared in contiguous pieces that cover all ranges that are written to.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, channel};

use meta_store::{Op, RangeRequest, Store};
use milvus_meta::entry::Entry;
use milvus_meta::keys::{KeyRange, successor};

use crate::error::{EngineErrorKind, while_doing};
use crate::fingerprint::Filter;
use crate::limits::Limits;
use crate::retry::read;
use crate::throughput::prefetch::Prefetch;
use crate::throughput::writer::{Batch, WriteStats, Writer};
use crate::write::Write;

/// Size of a piece: about a page.
const PIECE_BYTES: usize = 2 << 20;
const PIECE_KEYS: usize = 10_000;

/// Keys that a reply may contain in addition to those written by this run.
const OTHERS_AT_ONCE: usize = 1_000;

/// Applied batches that may wait for their read-back; when the channel is full, the writer waits.
const BATCHES_WAITING: usize = 128;

const READING_BACK: &str = "reading back";

/// Which other keys may exist in the ranges.
#[derive(Debug, Clone)]
pub(crate) enum Others {
    /// Leased keys, and those that the filter classifies as source.
    Source(Box<Filter>),
    /// Any key.
    Any,
}

/// Reads back what a writer puts into a set of ranges.
pub(crate) struct ReadBack<'a, S: Store> {
    store: &'a S,
    limits: &'a Limits,
    others: Others,
    /// The parts of the ranges that are not compared yet; ascending and disjoint.
    ranges: VecDeque<KeyRange>,
    /// Batches that were applied before an earlier one.
    early: BTreeMap<u64, Vec<Write>>,
    /// Number of operations applied without a gap.
    applied: u64,
    /// The entries among them that are not compared yet.
    piece: VecDeque<(Bytes, Bytes)>,
    piece_bytes: usize,
}

impl<'a, S: Store> ReadBack<'a, S> {
    /// Starts a read-back of `ranges`, which are ascending and disjoint.
    pub(crate) fn new(
        store: &'a S,
        limits: &'a Limits,
        ranges: Vec<KeyRange>,
        others: Others,
    ) -> Self {
        Self {
            store,
            limits,
            others,
            ranges: ranges.into(),
            early: BTreeMap::new(),
            applied: 0,
            piece: VecDeque::new(),
            piece_bytes: 0,
        }
    }

    /// Writes everything from the channel and reads it back. Returns whether the ranges contain
    /// exactly what was written and nothing else that is not allowed; `false` if the read-back
    /// fails.
    ///
    /// # Errors
    /// Fails at once if a write fails.
    pub(crate) async fn along(
        self,
        writer: Writer<'_, S>,
        writes: Receiver<Result<Vec<Write>, EngineErrorKind>>,
    ) -> Result<(WriteStats, bool), EngineErrorKind> {
        let (applied, batches) = channel(BATCHES_WAITING);
        let read_back = async { Ok(self.follow(batches).await.unwrap_or(false)) };
        tokio::try_join!(writer.notifying(applied).run(writes), read_back)
    }

    /// Compares until the writer has finished; returns `false` at the first difference.
    async fn follow(mut self, mut batches: Receiver<Batch>) -> Result<bool, EngineErrorKind> {
        while let Some(Batch { from, writes }) = batches.recv().await {
            self.early.insert(from, writes);
            while let Some(writes) = self.early.remove(&self.applied) {
                self.applied += u64::try_from(writes.len()).unwrap_or(u64::MAX);
                self.take(writes);
            }
            if (self.piece_bytes >= PIECE_BYTES || self.piece.len() >= PIECE_KEYS)
                && !self.compare_piece().await?
            {
                return Ok(false);
            }
        }
        if !self.early.is_empty() || !self.compare_piece().await? {
            return Ok(false);
        }
        // The rest of the ranges must contain no further written keys.
        let rest = self.ranges.drain(..).collect();
        self.compare(rest).await
    }

    fn take(&mut self, writes: Vec<Write>) {
        for write in writes {
            if let Op::Put { key, value, .. } = write.op {
                self.piece_bytes += key.len() + value.len();
                self.piece.push_back((key, value));
            }
        }
    }

    /// Compares everything up to the last key of the piece.
    async fn compare_piece(&mut self) -> Result<bool, EngineErrorKind> {
        let Some((last, _)) = self.piece.back() else {
            return Ok(true);
        };
        let end = successor(last);
        let mut parts = Vec::new();
        while let Some(range) = self.ranges.front_mut()
            && range.start < end
        {
            let until_end = !range.is_open() && range.end <= end;
            let part = if until_end {
                range.clone()
            } else {
                KeyRange::new(range.start.clone(), end.clone())
            };
            range.start.clone_from(&end);
            if until_end {
                self.ranges.pop_front();
            }
            parts.push(part);
        }
        if !self.compare(parts).await? {
            return Ok(false);
        }
        // Entries that are left belong to none of the ranges.
        let is_compared = self.piece.is_empty();
        self.piece.clear();
        self.piece_bytes = 0;
        Ok(is_compared)
    }

    /// Returns whether the ranges contain the written entries and nothing else that is not allowed.
    async fn compare(&mut self, ranges: Vec<KeyRange>) -> Result<bool, EngineErrorKind> {
        let limit = i64::try_from(self.piece.len() + OTHERS_AT_ONCE).unwrap_or(i64::MAX);
        let requests = ranges.clone().into_iter();
        let requests = requests.map(|range| RangeRequest::new(range).limit(limit));
        let mut replies = Prefetch::new(self.store, self.limits.retry_timeout, requests);
        for range in ranges {
            let mut reply = replies.next(READING_BACK).await?.unwrap_or_default();
            let mut rest = range.clone();
            loop {
                let last = reply.entries.last().map(|entry| successor(&entry.key));
                for entry in reply.entries {
                    if !self.accepts(&entry) {
                        return Ok(false);
                    }
                }
                let Some(next) = last.filter(|_| reply.more) else {
                    break;
                };
                rest.start = next;
                let request = RangeRequest::new(rest.clone()).limit(limit);
                reply = read(self.store, self.limits.retry_timeout, request)
                    .await
                    .map_err(while_doing(READING_BACK))?;
            }
            let missing = self.piece.front();
            if missing.is_some_and(|(key, _)| range.contains(key)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns whether an entry is the next written one, or an allowed other one.
    fn accepts(&mut self, entry: &Entry) -> bool {
        match self.piece.front() {
            Some((key, value)) if *key == entry.key => {
                let is_as_put = *value == entry.value && entry.lease == 0;
                self.piece.pop_front();
                is_as_put
            }
            _ => match &self.others {
                Others::Any => true,
                Others::Source(filter) => entry.lease != 0 || filter.keeps(entry),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_testing::memory::MemoryStore;

    const RANGES: [&str; 4] = ["a/", "b/", "d/", "e/"];
    const KEYS: [&str; 6] = ["b/1", "b/2", "b/3", "d/1", "d/2", "d/3"];

    fn store(keys: &[&str]) -> MemoryStore {
        let entries: Vec<Entry> = keys
            .iter()
            .map(|&key| Entry::new(key.to_owned(), "v"))
            .collect();
        MemoryStore::with_entries(&entries)
    }

    fn batch(from: usize, keys: &[&str]) -> Batch {
        Batch {
            from: from as u64,
            writes: keys
                .iter()
                .map(|&key| Op::put(key.to_owned(), "v").into())
                .collect(),
        }
    }

    async fn follow(store: &MemoryStore, batches: Vec<Batch>) -> bool {
        let source = Filter::all_staged(RANGES.map(KeyRange::prefix).into());
        follow_with(Others::Source(Box::new(source)), store, batches).await
    }

    async fn follow_with(others: Others, store: &MemoryStore, batches: Vec<Batch>) -> bool {
        let limits = Limits::default();
        let ranges = RANGES.map(KeyRange::prefix);
        let (sender, receiver) = channel(batches.len() + 1);
        for batch in batches {
            sender.send(batch).await.unwrap();
        }
        drop(sender);
        let read_back = ReadBack::new(store, &limits, ranges.into(), others);
        read_back.follow(receiver).await.unwrap()
    }

    #[tokio::test]
    async fn read_back_accepts_batches_in_any_order() {
        let store = store(&[&KEYS[..], &["c/of-another-family", "f/too"]].concat());
        let batches = [(2, 5), (5, 6), (0, 2)];
        let batches = batches.map(|(from, to)| batch(from, &KEYS[from..to]));
        assert!(follow(&store, batches.into()).await);
        let nothing = MemoryStore::new();
        assert!(follow(&nothing, Vec::new()).await);
    }

    #[tokio::test]
    async fn read_back_reports_a_missing_batch() {
        let store = store(&KEYS);
        assert!(!follow(&store, vec![batch(0, &KEYS[..2]), batch(4, &KEYS[4..])]).await);
        assert!(!follow(&store, vec![batch(0, &KEYS[..4])]).await);
    }

    #[tokio::test]
    async fn read_back_reports_missing_and_changed_keys() {
        for key in KEYS {
            let store = store(&KEYS);
            store.change(|world| world.put(key.as_bytes(), b"other"));
            assert!(!follow(&store, vec![batch(0, &KEYS)]).await);
            assert!(!follow_with(Others::Any, &store, vec![batch(0, &KEYS)]).await);
            store.change(|world| world.delete(&KeyRange::single(key)));
            assert!(!follow(&store, vec![batch(0, &KEYS)]).await);
            assert!(!follow_with(Others::Any, &store, vec![batch(0, &KEYS)]).await);
        }
    }

    #[tokio::test]
    async fn read_back_reports_unexpected_keys() {
        for unexpected in ["a/1", "b/0", "b/21", "b/4", "d/0", "d/9", "e/1"] {
            let store = store(&[&KEYS[..], &[unexpected]].concat());
            assert!(!follow(&store, vec![batch(0, &KEYS)]).await, "{unexpected}");
            assert!(follow_with(Others::Any, &store, vec![batch(0, &KEYS)]).await);
        }
    }

    #[tokio::test]
    async fn read_back_reports_a_put_outside_its_ranges() {
        let keys = ["b/1", "c/1", "d/1"];
        assert!(!follow(&store(&keys), vec![batch(0, &keys)]).await);
    }

    #[tokio::test]
    async fn read_back_finds_puts_among_many_other_keys() {
        let others: Vec<String> = (0..5_000)
            .map(|number| format!("b/1/{number:04}"))
            .collect();
        let keys: Vec<&str> = others.iter().map(String::as_str).chain(KEYS).collect();
        let store = store(&keys);
        assert!(follow_with(Others::Any, &store, vec![batch(0, &KEYS)]).await);
        store.change(|world| world.put(b"b/3", b"other"));
        assert!(!follow_with(Others::Any, &store, vec![batch(0, &KEYS)]).await);
    }

    #[tokio::test]
    async fn read_back_compares_many_keys_in_pieces() {
        let keys: Vec<String> = (0..25_000).map(|number| format!("b/{number:06}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let store = store(&keys);
        let chunks = keys.chunks(100).enumerate();
        let batches = chunks.map(|(index, keys)| batch(index * 100, keys));
        assert!(follow(&store, batches.collect()).await);
        store.change(|world| world.put(b"b/013000", b"other"));
        assert!(!follow(&store, vec![batch(0, &keys)]).await);
    }
}
