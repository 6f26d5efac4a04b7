//! Reading many keys: a capture that is patient, watched, and ends when it is asked to.

use meta_store::Store;
use meta_store::capture::{Capture, PageLimits};
use milvus_meta::entry::Entry;
use milvus_meta::keys::{Family, KeyRange, MetaRoot};

use super::context::Surroundings;
use super::error::{Failure, while_doing};
use super::patience::Patient;

/// The families that grow with the number of segments, in the order of their keys.
const LARGE: [Family; 5] = [
    Family::Binlog,
    Family::Segment,
    Family::IndexBuild,
    Family::LegacySegmentIndex,
    Family::SegmentIndex,
];

/// Where keys of another kind begin, of which there may be many.
pub(super) fn cuts(root: &MetaRoot) -> Vec<Vec<u8>> {
    LARGE
        .map(|family| root.range_below(&family.prefix()).start)
        .into()
}

/// Entries of a range at one revision, page by page.
pub(super) struct Pages<'a, S: Store> {
    capture: Capture<Patient<S>>,
    around: Surroundings<'a>,
}

impl<'a, S: Store> Pages<'a, S> {
    pub(super) async fn begin(
        store: &S,
        around: Surroundings<'a>,
        range: KeyRange,
        revision: i64,
    ) -> Result<Self, Failure> {
        let patient = Patient::new(store.clone(), around.limits.patience);
        let cuts = cuts(around.root);
        let limits = PageLimits::default();
        let capture = Capture::in_parts(patient, (range, &cuts), Some(revision), limits)
            .await
            .map_err(while_doing("reading the metadata"))?;
        Ok(Self { capture, around })
    }

    /// How many keys are in the range at that revision, by etcd's own count.
    pub(super) fn keys(&self) -> u64 {
        self.capture.keys()
    }

    /// The next entries, ascending; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Entry>>, Failure> {
        if let Some(signal) = self.around.stop.requested() {
            return Err(Failure::Interrupted(signal));
        }
        let page = self
            .capture
            .next_page()
            .await
            .map_err(while_doing("reading the metadata"))?;
        if let Some(page) = &page {
            self.around
                .observer
                .advanced(u64::try_from(page.len()).unwrap_or(u64::MAX));
        }
        Ok(page)
    }
}
