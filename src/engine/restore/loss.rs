//! What putting a backup back after the switch would throw away: everything that was written and is not
//! ours. From the switch on 2.2 may have been started, also when the migration was never finished.

use crate::entry::{Entry, printable};
use crate::journal::{Journal, Phase};
use crate::keys::{Family, KeyRange, MetaRoot};
use crate::store::Store;
use crate::transform::new_family_ranges;

use super::super::census;
use super::super::error::Failure;
use super::super::fingerprint::{Filter, KeyPages};
use super::super::ledger::Ledger;
use super::super::source::{Surroundings, newest_revision};

const EXAMPLES_MAX: usize = 5;

/// Fails when somebody else wrote below the meta root since a migration that is past its switch.
pub(super) async fn check<S: Store>(
    store: &S,
    around: Surroundings<'_>,
    ledger: &Ledger,
) -> Result<(), Failure> {
    let (root, limits) = (around.root, around.limits);
    let Some(journal) = ledger.journal() else {
        return Ok(());
    };
    let expected_keys = match journal.phase {
        // Before the switch 2.1 stands as it was; a restore that was begun had its check then.
        Phase::Staging | Phase::Staged | Phase::Restoring => return Ok(()),
        Phase::Committed | Phase::Tidying => None,
        Phase::Done => Some(journal.keys_when_done),
    };
    let ours = Ours::new(root, journal, ledger.mod_revision());
    let filter = Filter::all(root);
    let mut pages = KeyPages::new(root.range());
    let (mut written, mut examples) = (0_u64, Vec::new());
    while let Some(page) = pages.next(store, limits.patience).await? {
        let foreign = |entry: &&Entry| {
            filter.keeps(entry) && entry.key != root.session_id_key() && !ours.wrote(entry)
        };
        for entry in page.iter().filter(foreign) {
            written += 1;
            if examples.len() < EXAMPLES_MAX {
                examples.push(printable(&entry.key));
            }
        }
    }
    let mut what = Vec::new();
    if written > 0 {
        let examples = examples.join(", ");
        what.push(format!(
            "{written} keys were written since, such as {examples}"
        ));
    }
    if let Some(then) = expected_keys {
        let revision = newest_revision(store, root, limits).await?;
        let now = census::keys(store, root, revision, limits).await?;
        if now != then {
            what.push(format!("{now} keys are there where there were {then}"));
        }
    }
    if what.is_empty() {
        return Ok(());
    }
    Err(Failure::WouldLose {
        what: what.join("; "),
    })
}

/// Tells the migration's own writes from everybody else's, by the newest revision at which it may have
/// written each family.
struct Ours {
    staged: Vec<KeyRange>,
    rewritten: [KeyRange; 2],
    captured: i64,
    committed: i64,
    rewritten_until: i64,
}

impl Ours {
    fn new(root: &MetaRoot, journal: &Journal, journal_revision: i64) -> Self {
        // While records are being rewritten, any of them may be newer than the journal.
        let (committed, rewritten_until) = match journal.phase {
            Phase::Committed => (journal_revision, i64::MAX),
            Phase::Tidying | Phase::Done | Phase::Staging | Phase::Staged | Phase::Restoring => {
                // Journals of older versions do not know their switch.
                let committed = match journal.committed_revision {
                    0 => journal_revision,
                    known => known,
                };
                (committed, journal_revision)
            }
        };
        Self {
            staged: new_family_ranges(root),
            rewritten: [Family::Collection, Family::CollectionSnapshot]
                .map(|family| root.range_below(&family.prefix())),
            captured: journal.capture_revision,
            committed,
            rewritten_until,
        }
    }

    fn wrote(&self, entry: &Entry) -> bool {
        let is_in = |ranges: &[KeyRange]| ranges.iter().any(|range| range.contains(&entry.key));
        let until = if is_in(&self.rewritten) {
            self.rewritten_until
        } else if is_in(&self.staged) {
            self.committed
        } else {
            self.captured
        };
        entry.mod_revision <= until
    }
}
