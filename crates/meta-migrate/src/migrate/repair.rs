//! The parts of a run that differ for a repair: after the commit, the rest of the plan is computed
//! again from the current metadata.

use crate::journal::Phase;
use crate::protocol::Forward;
use meta_store::Store;

use super::Run;
use crate::error::{EngineErrorKind, WriteState};
use crate::fingerprint::Filter;
use crate::source::read_source;

impl<S: Store> Run<'_, S> {
    /// Chooses the first step. The journal of a finished run is ignored: the keys show what needs
    /// repair.
    pub(super) fn begin_repair(&mut self, phase: Option<Phase>) -> Forward {
        match phase {
            Some(Phase::Done) => {
                self.backup = None;
                Forward::from_journal(None)
            }
            Some(Phase::Committed | Phase::Tidying) => {
                self.written = WriteState::Committed;
                Forward::from_journal(Some(Phase::Committed))
            }
            other => Forward::from_journal(other),
        }
    }

    /// Plans the rest of a repair that was interrupted after its commit. Every intermediate state
    /// is 2.2 metadata, so the plan is computed from the current keys.
    pub(super) async fn prepare_rest(&mut self) -> Result<(), EngineErrorKind> {
        let root = self.etcd.root;
        let options = &self.options.transform;
        let filter = Filter::all(root);
        let reading = read_source(self.etcd, &filter, options, None).await?;
        let plan = self.planned(&filter, &reading, options).await?;
        self.begin_plan(reading, plan, true);
        Ok(())
    }
}
