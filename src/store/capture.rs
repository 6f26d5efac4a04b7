//! A paged read of a range at one revision.
//!
//! Every page is read at the revision of the first, so that the pages together are what stood there at
//! one moment. Pages are bounded by bytes: etcd only knows how to bound them by count, so the count
//! follows the sizes seen. The next page is fetched while the caller works on the last one.
//!
//! etcd counts all keys that are left in the range of a page, so many pages over a long range cost
//! more than linear time. The range is therefore read in sections whose ends are estimated from how
//! far the last page reached. Sections lie end to end and cover the range, however good the estimate
//! is.

use tokio::task::JoinHandle;

use super::{RangeRequest, Store, StoreError, StoreErrorKind};
use crate::entry::Entry;
use crate::keys::KeyRange;

mod section;

use section::Sections;

/// How much is read at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimits {
    /// The size in bytes of keys and values that a page should have.
    pub bytes: usize,
    /// How many entries the first page has at most, when nothing is known of their size.
    pub first_count: i64,
    /// How many entries any page has at most.
    pub max_count: i64,
    /// Leave the values out.
    pub keys_only: bool,
}

impl Default for PageLimits {
    fn default() -> Self {
        Self {
            bytes: 4 << 20,
            first_count: 1_000,
            max_count: 20_000,
            keys_only: false,
        }
    }
}

/// A paged read of a range at one revision.
#[derive(Debug)]
pub struct Capture<S> {
    revision: i64,
    next: Next<S>,
}

#[derive(Debug)]
enum Next<S> {
    Ready(Vec<Entry>, Box<Reader<S>>),
    Fetching(Fetch<S>),
    End,
}

/// A page on its way; given up when this is dropped.
#[derive(Debug)]
struct Fetch<S>(JoinHandle<Fetched<S>>);

type Fetched<S> = Result<(Vec<Entry>, Box<Reader<S>>), StoreError>;

/// What is left to read, and how.
#[derive(Debug)]
struct Reader<S> {
    store: S,
    revision: Option<i64>,
    limits: PageLimits,
    count: i64,
    sections: Sections,
}

impl<S: Store> Capture<S> {
    /// Begins to read `range`, at `revision` or else at the newest one, which is the same for all pages.
    ///
    /// # Errors
    /// When the first page cannot be read.
    pub async fn new(
        store: S,
        range: KeyRange,
        revision: Option<i64>,
        limits: PageLimits,
    ) -> Result<Self, StoreError> {
        let mut reader = Box::new(Reader {
            store,
            revision,
            limits,
            count: limits.first_count.clamp(1, limits.max_count.max(1)),
            sections: Sections::new(range),
        });
        let page = reader.page().await?;
        Ok(Self {
            revision: reader.revision.unwrap_or_default(),
            next: Next::Ready(page, reader),
        })
    }

    /// The revision that all pages are read at.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The next entries in ascending key order, never an empty page; `None` at the end. After an error
    /// there is nothing more.
    ///
    /// # Errors
    /// When the page cannot be read; [`StoreErrorKind::Compacted`] when the revision is no longer kept,
    /// so that the capture has to begin again.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Entry>>, StoreError> {
        let (page, reader) = match std::mem::replace(&mut self.next, Next::End) {
            Next::Ready(page, reader) => (page, reader),
            Next::Fetching(mut fetching) => {
                let fetched = (&mut fetching.0).await;
                fetched.map_err(|error| {
                    let message = format!("reading a page ended early: {error}");
                    StoreError::not_applied(StoreErrorKind::Other, message)
                })??
            }
            Next::End => return Ok(None),
        };
        if page.is_empty() {
            return Ok(None);
        }
        self.next = Next::Fetching(Fetch(tokio::spawn(async move {
            let mut reader = reader;
            let page = reader.page().await?;
            Ok((page, reader))
        })));
        Ok(Some(page))
    }
}

impl<S> Drop for Fetch<S> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<S: Store> Reader<S> {
    /// Reads the next entries; none at the end.
    async fn page(&mut self) -> Result<Vec<Entry>, StoreError> {
        while let Some(section) = self.sections.next(self.count) {
            let request = RangeRequest {
                revision: self.revision,
                keys_only: self.limits.keys_only,
                ..RangeRequest::new(section).limit(self.count)
            };
            let response = match self.store.range(request).await {
                Ok(response) => response,
                // More than a reply can hold: values larger than any seen before.
                Err(error) if error.kind == StoreErrorKind::TooLarge && self.count > 1 => {
                    self.count = (self.count / 4).max(1);
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.revision.get_or_insert(response.revision);
            self.sections
                .advance(&response.entries, self.count, response.more, response.count);
            if !response.entries.is_empty() {
                self.adapt(&response.entries);
                return Ok(response.entries);
            }
        }
        Ok(Vec::new())
    }

    /// Chooses the count of the next page by the sizes of this one, growing slowly and shrinking at once.
    fn adapt(&mut self, entries: &[Entry]) {
        let sizes = entries.iter();
        let bytes: usize = sizes.map(|entry| entry.key.len() + entry.value.len()).sum();
        let fitting = self.limits.bytes.saturating_mul(entries.len()) / bytes.max(1);
        let fitting = i64::try_from(fitting).unwrap_or(i64::MAX);
        let largest = self
            .limits
            .max_count
            .min(self.count.saturating_mul(4))
            .max(1);
        self.count = fitting.clamp(1, largest);
    }
}

#[cfg(test)]
mod tests;
