//! The first sentence for the user after a failed run: what was changed and what etcd contains now.

use super::hint::RunKind;
use super::{EngineError, EngineErrorKind, WriteState};
use crate::journal::Phase;

/// Reported after a failure before the first write.
pub const NOTHING_CHANGED: &str = "nothing was changed in etcd";

impl EngineError {
    /// Returns whether another run may have written since, so that this run's state is outdated.
    pub(super) fn is_taken_over(&self) -> bool {
        matches!(
            *self.failure,
            EngineErrorKind::LockLost { .. } | EngineErrorKind::JournalChanged { .. }
        )
    }

    /// Returns what was changed and which Milvus version can start.
    #[must_use]
    pub fn changed(&self, kind: RunKind) -> &'static str {
        let is_repair = kind == RunKind::Repair && !self.is_taken_over();
        let by_repair = is_repair.then(|| self.changed_by_repair()).flatten();
        by_repair.unwrap_or_else(|| self.changed_by_migration())
    }

    fn changed_by_repair(&self) -> Option<&'static str> {
        Some(match (self.written, self.phase) {
            (WriteState::Staged, _) => {
                "the repair's new keys are partly staged; no key that was there is changed"
            }
            (WriteState::InDoubt, _) => {
                "the repair's new keys are staged and the commit was sent, but etcd did not answer: the commit took effect \
                    entirely or not at all"
            }
            (WriteState::Committed, _) => {
                "the repair is committed and not finished: do not start Milvus until it is"
            }
            (WriteState::Nothing, Some(Phase::Staging | Phase::Staged)) => {
                "this run changed nothing; an earlier run staged the repair's new keys"
            }
            (WriteState::Nothing, Some(Phase::Committed | Phase::Tidying)) => {
                "this run changed nothing; an earlier run committed the repair: do not start Milvus until it is finished"
            }
            (WriteState::Nothing | WriteState::Restoring | WriteState::Restored, _) => return None,
        })
    }

    /// Returns what a migration or a restore changed.
    fn changed_by_migration(&self) -> &'static str {
        if self.written != WriteState::Nothing && self.is_taken_over() {
            return "this run wrote to etcd, then lost its lock or its journal: another run may have changed etcd \
                since. Run status";
        }
        let is_other_plan = matches!(
            *self.failure,
            EngineErrorKind::StagedFromOther { .. } | EngineErrorKind::PlanChanged { .. }
        );
        if self.written == WriteState::Nothing && is_other_plan {
            return "this run changed nothing; an earlier run staged 2.2 keys. It is unknown whether the 2.1 metadata \
                is intact: Milvus 2.1 or another program changed it since";
        }
        match (self.written, self.phase) {
            (WriteState::Staged, _) => {
                "2.2 keys partly staged; 2.1 untouched: Milvus 2.1 can start, 2.2 must not"
            }
            (WriteState::InDoubt, _) => {
                "the 2.2 keys are staged and the commit was sent, but etcd did not answer: the commit took effect \
                    entirely or not at all"
            }
            (WriteState::Committed, _) => {
                "the migration is committed: Milvus 2.2 can start, 2.1 must not; cleanup or verification is not finished"
            }
            (WriteState::Restoring, _) => {
                "the backup is partly restored: do not start any Milvus component until the restore is finished"
            }
            (WriteState::Restored, _) => {
                "the unfinished restore of an earlier run was finished: etcd matches its backup, and nothing else was \
                    changed"
            }
            (WriteState::Nothing, Some(Phase::Staging | Phase::Staged)) => {
                "this run changed nothing; an earlier run staged 2.2 keys, 2.1 is untouched: Milvus 2.1 can start, \
                    2.2 must not"
            }
            (WriteState::Nothing, Some(Phase::Committed | Phase::Tidying)) => {
                "this run changed nothing; an earlier run committed the migration: Milvus 2.2 can start, 2.1 must not"
            }
            (WriteState::Nothing, Some(Phase::Restoring)) => {
                "this run changed nothing; an earlier run partly restored a backup: do not start any Milvus component"
            }
            (WriteState::Nothing, Some(Phase::Done) | None) => NOTHING_CHANGED,
        }
    }
}
