//! Observers of a run: progress, and the confirmation before the first write.

use meta_report::RestoreReport;
use milvus_meta::transform::PlanReport;

/// Receives what happens during a run. Every method has a silent default.
pub trait Observer: Send + Sync {
    /// A phase begins; `total` keys will be handled, where that is known.
    fn phase_started(&self, name: &str, total: Option<u64>) {
        let _ = (name, total);
    }

    /// So many more keys of the current phase were handled.
    fn advanced(&self, keys: u64) {
        let _ = keys;
    }

    /// The current phase ended.
    fn phase_finished(&self) {}

    /// A message for the waiting user.
    fn note(&self, message: &str) {
        let _ = message;
    }

    /// Asked before a migration writes for the first time; `false` ends the run with nothing changed.
    /// It may block.
    fn confirm_migration(&self, plan: &PlanReport) -> bool {
        let _ = plan;
        true
    }

    /// Asked before a rollback or restore writes for the first time, with the counts of what it
    /// would do; `false` ends the run with nothing changed. It may block.
    fn confirm_restore(&self, diff: &RestoreReport) -> bool {
        let _ = diff;
        true
    }
}

/// Watches nothing and agrees to everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
