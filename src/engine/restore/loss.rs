//! What a rollback of a finished migration would throw away: everything 2.2 wrote since.

use crate::entry::{Entry, printable};
use crate::keys::{KeyRange, MetaRoot};

use super::super::error::Failure;
use super::super::fingerprint::Filter;
use super::super::ledger::Ledger;

const EXAMPLES_MAX: usize = 5;

/// Looks at all metadata, while it is read for the difference, for what is newer than the journal.
pub(super) struct Loss {
    filter: Filter,
    sessions: KeyRange,
    session_id: Vec<u8>,
    journal: Vec<u8>,
    done_revision: i64,
    keys_when_done: u64,
    keys_now: u64,
    written: u64,
    examples: Vec<String>,
}

impl Loss {
    /// The journal says `done`, at its last revision.
    pub(super) fn new(root: &MetaRoot, ledger: &Ledger) -> Self {
        Self {
            filter: Filter::all(root),
            sessions: root.range_below("session/"),
            session_id: root.session_id_key(),
            journal: root.journal_key(),
            done_revision: ledger.mod_revision(),
            keys_when_done: ledger.journal().map_or(0, |journal| journal.keys_when_done),
            keys_now: 0,
            written: 0,
            examples: Vec::new(),
        }
    }

    /// An entry that is there.
    pub(super) fn see(&mut self, entry: &Entry) {
        let counts = !self.sessions.contains(&entry.key) && entry.key != self.journal;
        self.keys_now += u64::from(counts);
        if entry.mod_revision > self.done_revision
            && self.filter.keeps(entry)
            && entry.key != self.session_id
        {
            self.written += 1;
            if self.examples.len() < EXAMPLES_MAX {
                self.examples.push(printable(&entry.key));
            }
        }
    }

    /// Fails when the metadata changed after the journal said `done`.
    pub(super) fn judge(self) -> Result<(), Failure> {
        if self.written == 0 && self.keys_now == self.keys_when_done {
            return Ok(());
        }
        let examples = if self.examples.is_empty() {
            "none".to_owned()
        } else {
            self.examples.join(", ")
        };
        Err(Failure::WouldLose {
            what: format!(
                "{} keys were written since (such as {examples}), and {} keys are there where there \
                 were {}",
                self.written, self.keys_now, self.keys_when_done
            ),
        })
    }
}
