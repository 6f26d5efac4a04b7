//! Observers of a run: progress, and the confirmation before the first write.

use meta_report::RestoreReport;
use milvus_meta::transform::PlanReport;

/// Receives the events of a run. The default of every method does nothing.
pub trait Observer: Send + Sync {
    /// A phase starts, with `total` keys to process if known.
    fn phase_started(&self, name: &str, total: Option<u64>) {
        let _ = (name, total);
    }

    /// `keys` more keys of the current phase were processed.
    fn advanced(&self, keys: u64) {
        let _ = keys;
    }

    /// The current phase ended.
    fn phase_finished(&self) {}

    /// A message for the user.
    fn note(&self, message: &str) {
        let _ = message;
    }

    /// Asks for confirmation before the first write of a migration. `false` ends the run with
    /// nothing changed. May block.
    fn confirm_migration(&self, plan: &PlanReport) -> bool {
        let _ = plan;
        true
    }

    /// Asks for confirmation before the first write of a rollback or restore, with the counts of
    /// its changes. `false` ends the run with nothing changed. May block.
    fn confirm_restore(&self, diff: &RestoreReport) -> bool {
        let _ = diff;
        true
    }
}

/// Ignores all events and confirms everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
