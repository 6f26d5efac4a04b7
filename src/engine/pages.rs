//! Reading many keys: a capture that is patient, watched, and ends when it is asked to.

use crate::entry::Entry;
use crate::keys::KeyRange;
use crate::store::Store;
use crate::store::capture::{Capture, PageLimits};

use super::error::{Failure, while_doing};
use super::patience::Patient;
use super::source::Surroundings;

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
        let capture = Capture::new(patient, range, Some(revision), PageLimits::default())
            .await
            .map_err(while_doing("reading the metadata"))?;
        Ok(Self { capture, around })
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
