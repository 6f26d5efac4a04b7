//! The ends of an upgrade, and what each means for the command that reached it.

use serde::{Deserialize, Serialize};

use crate::options::Intent;
use milvus_meta::layout::Layout;

/// The progress of an upgrade in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    None,
    AtWork,
    /// Unfinished, and no orchestrator is running.
    Interrupted,
    /// Unfinished; the user must decide.
    Halted,
    /// The new release runs, or was started last.
    Upgraded,
    RolledBack,
    /// The upgrade ended before it stopped Milvus.
    Abandoned,
}

/// Why a command did not reach its goal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreached {
    /// The old release runs, or Milvus was not stopped.
    Failed(String),
    /// The new release runs: no rollback was started.
    Refused(String),
    /// The user must decide.
    Halted(String),
}

/// Decides whether a command reached its goal; `rollback` is whether the saved state requests a rollback.
type Reached = fn(intent: Intent, rollback: bool, failure: Option<String>) -> Result<(), Unreached>;

#[derive(Debug)]
pub struct End {
    pub state: State,
    /// The layout that the running release reads; `None` if Milvus was not stopped.
    pub reads: Option<Layout>,
    /// Whether that was the goal.
    pub reached: Reached,
}

pub(super) const UPGRADED: End = End {
    state: State::Upgraded,
    reads: Some(Layout::V2_2),
    reached: |_, _, failure| match failure {
        None => Ok(()),
        Some(why) => Err(Unreached::Refused(format!("not rolled back: {why}"))),
    },
};

pub(super) const ROLLED_BACK: End = End {
    state: State::RolledBack,
    reads: Some(Layout::V2_1),
    reached: |intent, rollback, failure| {
        match (rollback, intent) {
        (true, Intent::RollBack | Intent::Resume | Intent::Forward | Intent::Status) => Ok(()),
        (true, Intent::Upgrade) => Err(Unreached::Failed(
            "no upgrade was started: the unfinished rollback is finished, and the old release runs; run upgrade again"
                .to_owned(),
        )),
        (false, _) => Err(Unreached::Failed(format!(
            "the upgrade failed and the old release runs again: {}",
            failure.as_deref().unwrap_or("no reason is saved")
        ))),
    }
    },
};

pub(super) const ABORTED: End = End {
    state: State::Abandoned,
    reads: None,
    reached: |intent, _, failure| match intent {
        Intent::RollBack | Intent::Status => Ok(()),
        Intent::Upgrade | Intent::Resume | Intent::Forward => Err(Unreached::Failed(format!(
            "the upgrade ended before anything was changed: {}",
            failure.as_deref().unwrap_or("nothing was changed")
        ))),
    },
};
