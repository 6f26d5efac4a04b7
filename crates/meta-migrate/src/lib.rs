//! The use cases, each a short story over the narrow store: read, decide in pure code, write under
//! guard.
//!
//! Nothing here prints, parses arguments or knows etcd's client: a use case gets a [`meta_store::Store`],
//! its options and an [`Environment`], and returns a report of [`meta_report`] or an [`EngineError`]
//! that says what was written before it failed.

use std::sync::Arc;

use context::Surroundings;
use milvus_meta::keys::MetaRoot;

mod ahead;
mod background;
mod backup;
mod backup_job;
mod blocking;
mod census;
mod commit;
mod compaction;
mod completeness;
mod context;
mod deletion;
mod difference;
mod entries;
mod error;
mod feed;
mod fence;
mod fingerprint;
mod fit;
mod guards;
mod history;
mod instances;
pub mod journal;
mod layout;
mod ledger;
mod limits;
mod migrate;
mod observer;
mod offline;
mod pace;
mod packer;
mod pages;
mod patience;
mod plan;
mod plan_report;
mod protocol;
mod restore;
mod room;
mod sessions;
mod source;
mod staged;
mod status;
mod stop;
mod trail;
mod transform_job;
mod verify;
mod write;
mod writer;

pub use backup::{BackupOptions, backup};
pub use backup_job::{BackupTarget, OpenStream};
pub use blocking::{LIVE_SESSION, LOCK_HELD, UNFINISHED_RESTORE, blocking};
pub use compaction::{Compacted, MemberSizes, compact};
pub use entries::entries;
pub use error::Instances;
pub use error::{EngineError, Failure, FailureKind, Written};
pub use fence::Waits;
pub use history::history;
pub use instances::require_metadata;
pub use limits::Limits;
pub use migrate::{MigrateOptions, migrate};
pub use observer::{Observer, Silent};
pub use offline::BackupSource;
pub use plan::{Planned, plan};
pub use restore::{RestoreOptions, Way, diff, recorded_backup, restore};
pub use status::{status, status_all_the_same};
pub use stop::{Signal, Stop, Stopper};
pub use verify::{VerifyOptions, verify};

/// Who watches a run, and who may end it.
#[derive(Clone)]
pub struct Environment {
    /// Asks the run to end.
    pub stop: Stop,
    /// Watches it.
    pub observer: Arc<dyn Observer>,
    /// Who runs it, for others who find the lock held: a host or pod name.
    pub holder: String,
}

impl Environment {
    /// Nobody watches, nobody ends it.
    #[must_use]
    pub fn silent() -> Self {
        Self {
            stop: Stop::never(),
            observer: Arc::new(Silent),
            holder: "test".to_owned(),
        }
    }

    fn around<'a>(&'a self, root: &'a MetaRoot, limits: &'a Limits) -> Surroundings<'a> {
        Surroundings {
            root,
            limits,
            stop: &self.stop,
            observer: &*self.observer,
            holder: &self.holder,
        }
    }
}
