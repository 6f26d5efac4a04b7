//! Reading back what was put while more is still being put.
//!
//! Keys are put in ascending order and each of them once. So everything up to the last key before which
//! no put is missing stands as it will stand in the end, unless another program writes, which etcd's
//! revision shows afterwards. That part is read and compared; the pieces that are read are contiguous
//! and cover the ranges that are written to.

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

/// What is read at once: about a page.
const PIECE_BYTES: usize = 2 << 20;
const PIECE_KEYS: usize = 10_000;

/// Keys that this run did not put that a reply may hold beside all that were.
const OTHERS_AT_ONCE: usize = 1_000;

/// Batches that were applied and wait to be read back: with more the writing waits.
const BATCHES_WAITING: usize = 128;

const READING_BACK: &str = "reading back";

/// Which keys may stand in the ranges beside those that are put.
#[derive(Debug, Clone)]
pub(crate) enum Others {
    /// Leased keys, and those that the filter counts as source.
    Source(Box<Filter>),
    /// Any.
    Any,
}

/// Follows a writer that puts what is to be in some ranges.
pub(crate) struct ReadBack<'a, S: Store> {
    store: &'a S,
    limits: &'a Limits,
    others: Others,
    /// What is not yet compared of the ranges, ascending and apart from each other.
    ranges: VecDeque<KeyRange>,
    /// Batches behind one that is not yet applied.
    early: BTreeMap<u64, Vec<Write>>,
    /// How many operations are applied without a gap.
    applied: u64,
    /// Those of them that are not yet compared.
    piece: VecDeque<(Bytes, Bytes)>,
    piece_bytes: usize,
}

impl<'a, S: Store> ReadBack<'a, S> {
    /// Follows over `ranges`, ascending and apart from each other.
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

    /// Writes what the channel brings and reads it back; whether all of it is there as it was put, and
    /// nothing that may not be. Where reading fails that is not known, and not so.
    ///
    /// # Errors
    /// When the writing fails, at once.
    pub(crate) async fn along(
        self,
        writer: Writer<'_, S>,
        writes: Receiver<Result<Vec<Write>, EngineErrorKind>>,
    ) -> Result<(WriteStats, bool), EngineErrorKind> {
        let (applied, batches) = channel(BATCHES_WAITING);
        let read_back = async { Ok(self.follow(batches).await.unwrap_or(false)) };
        tokio::try_join!(writer.notifying(applied).run(writes), read_back)
    }

    /// Compares until the writer has ended; `false` when anything is not as it was put.
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
        Ok(self.early.is_empty() && self.compare_piece().await? && self.compare_rest().await?)
    }

    fn take(&mut self, writes: Vec<Write>) {
        for write in writes {
            if let Op::Put { key, value, .. } = write.op {
                self.piece_bytes += key.len() + value.len();
                self.piece.push_back((key, value));
            }
        }
    }

    /// Compares everything up to the last key that is known to be there.
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
        // What is left of it is in none of the ranges.
        let is_compared = self.piece.is_empty();
        self.piece.clear();
        self.piece_bytes = 0;
        Ok(is_compared)
    }

    /// Nothing more is to be in the ranges.
    async fn compare_rest(&mut self) -> Result<bool, EngineErrorKind> {
        let ranges = self.ranges.drain(..).collect();
        self.compare(ranges).await
    }

    /// Whether ranges hold what was put there, and nothing else that may not be there.
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
                    if !self.meet(&entry) {
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

    /// Whether a key that is there is the next that was put, or may be there anyway.
    fn meet(&mut self, entry: &Entry) -> bool {
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
        follow_beside(Others::Source(Box::new(source)), store, batches).await
    }

    async fn follow_beside(others: Others, store: &MemoryStore, batches: Vec<Batch>) -> bool {
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
    async fn what_was_put_is_found_in_whatever_order_it_was_applied() {
        let store = store(&[&KEYS[..], &["c/of-another-family", "f/too"]].concat());
        let batches = [(2, 5), (5, 6), (0, 2)];
        let batches = batches.map(|(from, to)| batch(from, &KEYS[from..to]));
        assert!(follow(&store, batches.into()).await);
        let nothing = MemoryStore::new();
        assert!(follow(&nothing, Vec::new()).await);
    }

    #[tokio::test]
    async fn a_batch_that_never_came_is_reported_missing() {
        let store = store(&KEYS);
        assert!(!follow(&store, vec![batch(0, &KEYS[..2]), batch(4, &KEYS[4..])]).await);
        assert!(!follow(&store, vec![batch(0, &KEYS[..4])]).await);
    }

    #[tokio::test]
    async fn a_key_that_is_not_there_or_is_another_is_noticed() {
        for key in KEYS {
            let store = store(&KEYS);
            store.change(|world| world.put(key.as_bytes(), b"other"));
            assert!(!follow(&store, vec![batch(0, &KEYS)]).await);
            assert!(!follow_beside(Others::Any, &store, vec![batch(0, &KEYS)]).await);
            store.change(|world| world.delete(&KeyRange::single(key)));
            assert!(!follow(&store, vec![batch(0, &KEYS)]).await);
            assert!(!follow_beside(Others::Any, &store, vec![batch(0, &KEYS)]).await);
        }
    }

    #[tokio::test]
    async fn a_key_that_nobody_put_is_noticed() {
        for stranger in ["a/1", "b/0", "b/21", "b/4", "d/0", "d/9", "e/1"] {
            let store = store(&[&KEYS[..], &[stranger]].concat());
            assert!(!follow(&store, vec![batch(0, &KEYS)]).await, "{stranger}");
            assert!(follow_beside(Others::Any, &store, vec![batch(0, &KEYS)]).await);
        }
    }

    #[tokio::test]
    async fn a_put_beside_the_ranges_is_noticed() {
        let keys = ["b/1", "c/1", "d/1"];
        assert!(!follow(&store(&keys), vec![batch(0, &keys)]).await);
    }

    #[tokio::test]
    async fn among_many_others_what_was_put_is_found() {
        let others: Vec<String> = (0..5_000)
            .map(|number| format!("b/1/{number:04}"))
            .collect();
        let keys: Vec<&str> = others.iter().map(String::as_str).chain(KEYS).collect();
        let store = store(&keys);
        assert!(follow_beside(Others::Any, &store, vec![batch(0, &KEYS)]).await);
        store.change(|world| world.put(b"b/3", b"other"));
        assert!(!follow_beside(Others::Any, &store, vec![batch(0, &KEYS)]).await);
    }

    #[tokio::test]
    async fn much_is_compared_in_pieces() {
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
