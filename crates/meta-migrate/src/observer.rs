//! Observers of a run: progress, and the confirmation before the first write.

use meta_report::RestoreReport;
use milvus_meta::transform::PlanReport;

/// Receives the events of a run. The default of every method does nothing.
pub trait Observer: Send + Sync {
    /// A phase starts, with this total number of keys to process if known.
    fn phase_started(&self, _name: &str, _total: Option<u64>) {}

    /// More keys of the current phase were processed.
    fn advanced(&self, _keys: u64) {}

    /// The current phase ended.
    fn phase_finished(&self) {}

    /// A message for the user.
    fn note(&self, _message: &str) {}

    /// Asks for confirmation before the first write of a migration. `false` ends the run with
    /// nothing changed. May block.
    fn confirm_migration(&self, _plan: &PlanReport) -> bool {
        true
    }

    /// Asks for confirmation before the first write of a rollback or restore, with the counts of
    /// its changes. `false` ends the run with nothing changed. May block.
    fn confirm_restore(&self, _diff: &RestoreReport) -> bool {
        true
    }
}

/// Ignores all events and confirms everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
