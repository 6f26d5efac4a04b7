//! What a repair does otherwise than a migration: it makes its plan again for what is left to do after the commit.

use std::sync::Arc;

use crate::journal::Phase;
use crate::protocol::Forward;
use meta_report::{MigrateOutcome, MigrateReport};
use meta_store::Store;

use super::{Prepared, Run, nothing_to_do};
use crate::error::{EngineErrorKind, WriteState};
use crate::fingerprint::Filter;
use crate::source::read_source;
use crate::throughput::writer::WriteStats;

impl<S: Store> Run<'_, S> {
    /// Chooses where to begin. What a finished run recorded does not matter: the keys show what is wrong now.
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

    /// Plans what an interrupted run left to do after its commit. Every state on the way is 2.2 metadata, so it is
    /// planned from what is there.
    pub(super) async fn prepare_rest(&mut self) -> Result<(), EngineErrorKind> {
        let root = &self.options.root;
        let options = self.options.transform_options();
        let filter = Filter::all(root);
        let reading = read_source(self.store, self.ctx(), &filter, &options, None).await?;
        let plan = self.planned(&filter, &reading, &options).await?;
        self.prepared = Some(Prepared {
            migration: Arc::new(reading.migration),
            plan,
            revision: reading.read_revision.revision,
            cluster_id: reading.read_revision.cluster_id(),
            fingerprint: reading.fingerprint,
            source_keys: reading.source_keys,
            leased_keys: reading.leased_keys,
            deletes: reading.deletes,
            is_rest: true,
        });
        self.own = WriteStats::default();
        Ok(())
    }

    pub(super) fn nothing_to_repair(&self) -> MigrateReport {
        MigrateReport {
            outcome: MigrateOutcome::NothingToRepair,
            ..nothing_to_do(self.started)
        }
    }
}
