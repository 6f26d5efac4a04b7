//! The use cases. Each reads the metadata, decides in pure code and writes under guard.
//!
//! Nothing here prints, parses arguments or depends on the etcd client. A use case takes a
//! [`meta_store::Store`], its options and an [`Environment`], and returns a report of
//! [`meta_report`] or an [`EngineError`] that says what was written before the failure.

use std::sync::Arc;

use context::{Etcd, RunContext};
use meta_store::Store;
use milvus_meta::keys::MetaRoot;

mod background;
mod backup;
mod blocking;
mod clock;
mod commit;
mod compaction;
mod completeness;
mod context;
mod diff;
mod entries;
mod error;
mod fence;
mod fingerprint;
mod guards;
mod history;
mod instances;
pub mod journal;
mod journal_store;
mod key_count;
mod layout;
mod limits;
mod migrate;
mod observer;
mod offline;
mod plan;
mod plan_report;
mod protocol;
mod quota;
mod range_delete;
mod request_limits;
mod restore;
mod retry;
mod run_id;
mod sessions;
mod shutdown;
mod source;
mod status;
mod throughput;
mod verify;
mod write;

pub use backup::{BackupOptions, backup};
pub use blocking::{LIVE_SESSION, LOCK_HELD, UNFINISHED_RESTORE, blocking};
pub use clock::now;
pub use compaction::{Compacted, MemberSizes, compact};
pub use entries::entries;
pub use error::{CommitSize, EngineError, EngineErrorKind, ErrorClass, Instances, WriteState};
pub use error::{Hint, NOTHING_CHANGED, NextCommand, RunKind};
pub use fence::Waits;
pub use history::history;
pub use instances::require_metadata;
pub use limits::Limits;
pub use migrate::{MigrateOptions, migrate};
pub use observer::{Observer, Silent};
pub use offline::BackupSource;
pub use plan::{Planned, plan};
pub use restore::{RestoreCommand, RestoreOptions, diff, recorded_backup, restore};
pub use run_id::RunId;
pub use shutdown::{CancelSource, CancelToken, Signal};
pub use status::{status, status_with_journal_error};
pub use throughput::backup_job::{BackupTarget, OpenStream};
pub use verify::{VerifyOptions, verify};

/// What a run needs from its caller: cancellation, an observer, and its identity.
#[derive(Clone)]
pub struct Environment {
    /// Cancels the run.
    pub stop: CancelToken,
    /// Receives progress and notices.
    pub observer: Arc<dyn Observer>,
    /// The host or pod name that is shown to other runs while this one holds the lock.
    pub holder: String,
    /// Identifies the run in the journal, in the history and in logs.
    pub run: RunId,
}

impl Environment {
    /// Returns an environment without observer and without cancellation.
    #[must_use]
    pub fn silent() -> Self {
        Self {
            stop: CancelToken::never(),
            observer: Arc::new(Silent),
            holder: "test".to_owned(),
            run: RunId::of_now(),
        }
    }

    fn etcd<'a, S: Store>(
        &'a self,
        store: &'a S,
        root: &'a MetaRoot,
        limits: &'a Limits,
    ) -> Etcd<'a, S> {
        Etcd {
            store,
            ctx: RunContext {
                root,
                limits,
                stop: &self.stop,
                observer: &self.observer,
                holder: &self.holder,
                run: &self.run,
            },
        }
    }
}
