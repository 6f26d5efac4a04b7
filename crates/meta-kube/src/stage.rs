//! The stages of an upgrade and of a rollback: what follows what, whatever happens.
//!
//! A stage is saved before its work begins, and the work of every stage can be repeated. So a process
//! killed in any stage is resumed by entering that stage again. Everything that distinguishes one stage
//! from another is a column of the [`table`].

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use milvus_meta::layout::Layout;

mod table;

pub(crate) use table::TABLE;
pub use table::{Effect, End, Row};
use table::{Then, TurnBack};

/// Which release an operation leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// To the new release.
    Forward,
    /// Back to the old release.
    Back,
}

/// What is done in a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// A Job that only reads proves image, volume and etcd, and reports the layout. Milvus runs.
    Probe,
    /// A Job plans the migration and changes nothing. Milvus runs.
    Plan,
    /// A Job that only reads checks that a rollback is possible. The new release runs.
    CheckRollback,
    /// Milvus is scaled to 0.
    Stop,
    /// No pod and no leased session may be left.
    Drain,
    /// The metadata of the release that was stopped is saved.
    Backup,
    /// The metadata is migrated, or put back.
    Convert,
    /// The 2.2 layout is compared with the expected result.
    Verify,
    /// A Job that only reads has to find the metadata of the release that is started next.
    CheckLayout,
    /// The release gets its image and the saved counts.
    Start,
    /// The release has to become healthy.
    WaitReady,
    /// Something failed after the stop began: a Job that only reads finds out what the metadata is.
    Diagnose,
    /// The end.
    Done,
    /// The end before Milvus was touched.
    Aborted,
}

/// One stage of an upgrade or a rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stage {
    /// Where the operation leads.
    pub direction: Direction,
    /// What is done.
    pub action: Action,
}

const fn forward(action: Action) -> Stage {
    Stage {
        direction: Direction::Forward,
        action,
    }
}

const fn back(action: Action) -> Stage {
    Stage {
        direction: Direction::Back,
        action,
    }
}

/// The stages, each described by its [`Row`].
#[allow(missing_docs, reason = "the table has the description of each")]
impl Stage {
    pub(crate) const PROBE: Self = forward(Action::Probe);
    pub const PLAN: Self = forward(Action::Plan);
    pub const STOP: Self = forward(Action::Stop);
    pub(crate) const DRAIN: Self = forward(Action::Drain);
    pub(crate) const BACKUP: Self = forward(Action::Backup);
    pub const MIGRATE: Self = forward(Action::Convert);
    pub(crate) const VERIFY: Self = forward(Action::Verify);
    pub(crate) const CHECK_NEW: Self = forward(Action::CheckLayout);
    pub(crate) const START_NEW: Self = forward(Action::Start);
    pub(crate) const WAIT_NEW: Self = forward(Action::WaitReady);
    pub(crate) const UPGRADED: Self = forward(Action::Done);
    pub(crate) const DIAGNOSE: Self = forward(Action::Diagnose);
    pub(crate) const ABORTED: Self = forward(Action::Aborted);
    pub(crate) const CHECK_ROLLBACK: Self = back(Action::CheckRollback);
    pub(crate) const STOP_BACK: Self = back(Action::Stop);
    pub(crate) const DRAIN_BACK: Self = back(Action::Drain);
    pub(crate) const SAVE_NEW: Self = back(Action::Backup);
    pub const RESTORE: Self = back(Action::Convert);
    pub(crate) const CHECK_OLD: Self = back(Action::CheckLayout);
    pub(crate) const START_OLD: Self = back(Action::Start);
    pub(crate) const WAIT_OLD: Self = back(Action::WaitReady);
    pub(crate) const ROLLED_BACK: Self = back(Action::Done);
}

/// How a stage's work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Successfully.
    Done,
    /// Successfully, and this is what the metadata is.
    Metadata(Layout),
    /// With a failure.
    Failed,
    /// Successfully, but another tool started Milvus meanwhile.
    Restarted,
}

/// What the user wants to happen after failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Policy {
    /// After the commit, roll back without asking when 2.2 does not become healthy.
    pub rollback_on_failure: bool,
    /// Before the commit, leave Milvus stopped instead of starting 2.1 again.
    pub stay_down: bool,
    /// A rollback may discard what changed since the migration finished.
    #[serde(default)]
    pub accept_loss: bool,
}

/// What comes after a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Enter this stage.
    Go(Stage),
    /// Stay here: the user has to decide.
    Halt,
}

impl Stage {
    /// Its row of the table.
    #[must_use]
    pub fn row(self) -> &'static Row {
        let found = TABLE.iter().find(|row| row.stage == self);
        found.unwrap_or(&table::UNKNOWN)
    }

    /// The stage in words, as a thing being done.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().label
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_final(self) -> bool {
        self.row().end.is_some()
    }

    /// Whether this stage leads back to 2.1.
    #[must_use]
    pub(crate) fn is_rollback(self) -> bool {
        self.direction == Direction::Back
    }
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.row().id)
    }
}

impl<'de> Deserialize<'de> for Stage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        let found = TABLE.iter().find(|row| row.id == id);
        let row = found.ok_or_else(|| D::Error::custom(format!("unknown stage {id:?}")))?;
        Ok(row.stage)
    }
}

/// What follows `stage`, whose work ended with `outcome`; `before` is the layout that the probe found.
#[must_use]
pub fn next(stage: Stage, outcome: Outcome, before: Option<Layout>, policy: Policy) -> Next {
    let row = stage.row();
    let then = match outcome {
        Outcome::Done => row.next,
        Outcome::Failed => row.failed,
        Outcome::Restarted => Then::Go(row.stop_again),
        Outcome::Metadata(layout) => {
            let decides = row.by_layout;
            return decides.map_or(Next::Halt, |decide| decide(layout, before, policy));
        }
    };
    match then {
        Then::Go(following) => Next::Go(following),
        Then::RollBack if policy.rollback_on_failure => Next::Go(Stage::STOP_BACK),
        // This upgrade has written nothing yet, but another tool may have.
        Then::Diagnose if is_old(before) && !policy.stay_down => Next::Go(Stage::DIAGNOSE),
        Then::RollBack | Then::Diagnose | Then::Halt => Next::Halt,
    }
}

/// Whether the probe found metadata that the old release ran on.
fn is_old(before: Option<Layout>) -> bool {
    matches!(before, Some(Layout::V2_1 | Layout::Staged | Layout::Empty))
}

/// Where an upgrade that was killed, or that halted, is resumed. Time has passed: no release is started
/// on what was found before.
#[must_use]
pub fn resumed(stage: Stage) -> Stage {
    stage.row().resume
}

/// Where it is resumed when a Deployment that has to be stopped was recreated.
#[must_use]
pub(crate) fn stop_again_at(stage: Stage) -> Stage {
    stage.row().stop_again
}

/// Where a rollback begins; `None` where there is nothing to roll back. `migrated` says whether the metadata
/// may have been migrated, so that what comes before the migration is done again.
#[must_use]
pub(crate) fn turned_back(stage: Stage, before: Option<Layout>, migrated: bool) -> Option<Stage> {
    match stage.row().turn_back {
        TurnBack::To(begin) => Some(begin),
        TurnBack::CheckUnlessMigrated if is_old(before) && !migrated => Some(Stage::CHECK_OLD),
        TurnBack::CheckUnlessMigrated => Some(Stage::STOP_BACK),
        TurnBack::No => None,
    }
}

/// Where an unfinished rollback turns forward; `None` where the metadata was restored already, and where
/// no rollback is unfinished.
#[must_use]
pub(crate) fn turned_forward(stage: Stage) -> Option<Stage> {
    stage.row().turn_forward
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod crash_model;
