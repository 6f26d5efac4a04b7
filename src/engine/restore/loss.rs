//! What a rollback of a finished migration would throw away: everything 2.2 wrote since.

use crate::entry::printable;
use crate::store::Store;

use super::super::census;
use super::super::error::Failure;
use super::super::fingerprint::{Filter, KeyPages};
use super::super::ledger::Ledger;
use super::super::source::{Surroundings, newest_revision};

const EXAMPLES_MAX: usize = 5;

/// Fails when the metadata changed after the journal said `done`.
pub(super) async fn check<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    ledger: &Ledger,
) -> Result<(), Failure> {
    let (root, limits) = (around.root, around.limits);
    let done = ledger.mod_revision();
    let filter = Filter::all(root);
    let mut pages = KeyPages::new(root.range());
    let (mut written, mut examples) = (0_u64, Vec::new());
    while let Some(page) = pages.next(store, limits.patience).await? {
        let newer = |entry: &&crate::entry::Entry| {
            filter.keeps(entry) && entry.mod_revision > done && entry.key != root.session_id_key()
        };
        for entry in page.iter().filter(newer) {
            written += 1;
            if examples.len() < EXAMPLES_MAX {
                examples.push(printable(&entry.key));
            }
        }
    }
    let revision = newest_revision(store, root, limits).await?;
    let now = census::keys(store, root, revision, limits).await?;
    let then = ledger.journal().map_or(0, |journal| journal.keys_when_done);
    if written == 0 && now == then {
        return Ok(());
    }
    Err(Failure::WouldLose {
        what: format!(
            "{written} keys were written since (such as {}), and {now} keys are there where there were {then}",
            if examples.is_empty() {
                "none".to_owned()
            } else {
                examples.join(", ")
            }
        ),
    })
}
