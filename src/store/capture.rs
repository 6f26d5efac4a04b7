//! A paged read of a range at one revision.
//!
//! Every page is read at the revision of the first, so that the pages together are what stood there at
//! one moment. Pages are bounded by bytes: etcd only knows how to bound them by count, so the count
//! follows the sizes seen. The next pages are fetched while the caller works on the last one, so that
//! the server looks for one page while another is decoded.
//!
//! etcd counts all keys that are left in the range of a page, so many pages over a long range cost
//! more than linear time. The range is therefore read in sections whose ends are estimated from how
//! far the last page reached. Sections lie end to end and cover the range, however good the estimate
//! is.

use std::collections::VecDeque;

use tokio::task::JoinHandle;

use super::{RangeRequest, RangeResponse, Store, StoreError, StoreErrorKind};
use crate::entry::Entry;
use crate::keys::KeyRange;

mod section;

use section::{Section, Sections};

/// Pages that are fetched at once: one that the server looks for, one on its way, one being decoded.
const PAGES_AHEAD: usize = 3;

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
    store: S,
    revision: i64,
    limits: PageLimits,
    count: i64,
    sections: Sections,
    /// Sections on their way, in the order of the range.
    flying: VecDeque<Fetch>,
    /// The first page, which tells the revision.
    first: Option<Page>,
}

/// A page on its way; given up when this is dropped.
#[derive(Debug)]
struct Fetch(JoinHandle<Result<Page, StoreError>>);

/// What was found in a section, with the limit that was asked for in the end.
#[derive(Debug)]
struct Page {
    response: RangeResponse,
    limit: i64,
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
        Self::in_parts(store, (range, &[]), revision, limits).await
    }

    /// The same for a range that holds keys of different kinds: each part, up to the next of the
    /// ascending `cuts`, is measured for itself.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub async fn in_parts(
        store: S,
        (range, cuts): (KeyRange, &[Vec<u8>]),
        revision: Option<i64>,
        limits: PageLimits,
    ) -> Result<Self, StoreError> {
        let count = limits.first_count.clamp(1, limits.max_count.max(1));
        let mut sections = Sections::new(range, cuts, count);
        let first = match sections.next(count) {
            Some(section) => Some(fetch(store.clone(), revision, limits, section).await?),
            None => None,
        };
        let answered = first.as_ref().map(|page| page.response.revision);
        Ok(Self {
            store,
            revision: revision.or(answered).unwrap_or_default(),
            limits,
            count,
            sections,
            flying: VecDeque::new(),
            first,
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
        loop {
            let page = match self.first.take() {
                Some(page) => page,
                None => {
                    self.fetch_ahead();
                    let Some(mut fetching) = self.flying.pop_front() else {
                        return Ok(None);
                    };
                    match (&mut fetching.0).await {
                        Ok(Ok(page)) => page,
                        Ok(Err(error)) => return Err(self.ended(error)),
                        Err(error) => {
                            let message = format!("reading a page ended early: {error}");
                            let kind = StoreErrorKind::Other;
                            return Err(self.ended(StoreError::not_applied(kind, message)));
                        }
                    }
                }
            };
            let RangeResponse {
                entries,
                more,
                count,
                ..
            } = page.response;
            self.sections.landed(&entries, more, count);
            if entries.is_empty() {
                continue;
            }
            self.adapt(&entries, page.limit);
            self.fetch_ahead();
            return Ok(Some(entries));
        }
    }

    fn ended(&mut self, error: StoreError) -> StoreError {
        self.flying.clear();
        self.sections = Sections::nothing();
        error
    }

    fn fetch_ahead(&mut self) {
        while self.flying.len() < PAGES_AHEAD
            && let Some(section) = self.sections.next(self.count)
        {
            let position = section.position;
            let fetching = fetch(
                self.store.clone(),
                Some(self.revision),
                self.limits,
                section,
            );
            let fetching = Fetch(tokio::spawn(fetching));
            self.flying.insert(position, fetching);
        }
    }

    /// Chooses the count of the next page by the sizes of this one, growing slowly and shrinking at once.
    fn adapt(&mut self, entries: &[Entry], limit: i64) {
        let sizes = entries.iter();
        let bytes: usize = sizes.map(|entry| entry.key.len() + entry.value.len()).sum();
        let fitting = self.limits.bytes.saturating_mul(entries.len()) / bytes.max(1);
        let fitting = i64::try_from(fitting).unwrap_or(i64::MAX);
        let largest = self.limits.max_count.min(limit.saturating_mul(4)).max(1);
        self.count = fitting.clamp(1, largest);
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads the first page of a section.
async fn fetch<S: Store>(
    store: S,
    revision: Option<i64>,
    limits: PageLimits,
    section: Section,
) -> Result<Page, StoreError> {
    let mut limit = section.limit;
    loop {
        let request = RangeRequest {
            revision,
            keys_only: limits.keys_only,
            ..RangeRequest::new(section.range.clone()).limit(limit)
        };
        match store.range(request).await {
            Ok(response) => return Ok(Page { response, limit }),
            // More than a reply can hold: values larger than any seen before.
            Err(error) if error.kind == StoreErrorKind::TooLarge && limit > 1 => {
                limit = (limit / 4).max(1);
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
