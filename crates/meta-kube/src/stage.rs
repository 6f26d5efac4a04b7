//! The stages of an upgrade and of a rollback, and what follows each of them.
//!
//! A stage is saved before its action begins, and every action can be repeated, so a process that
//! died in any stage resumes by entering that stage again. Everything that distinguishes one stage
//! from another is a column of the [`table`].

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::options::Policy;
use milvus_meta::layout::Layout;

mod end;
mod table;

pub use end::{End, State, Unreached};
pub(crate) use table::{Action, TABLE, is_for_old};
pub use table::{Effect, Row};
use table::{Next, Rollback};

/// One stage of an upgrade or a rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// The stage's name in the saved upgrade state.
    pub id: &'static str,
    /// Whether the stage belongs to a rollback.
    back: bool,
}

const fn forward(id: &'static str) -> Stage {
    Stage { id, back: false }
}

const fn back(id: &'static str) -> Stage {
    Stage { id, back: true }
}

/// The stages, each described by its [`Row`].
impl Stage {
    pub(crate) const PROBE: Self = forward("probe");
    pub const PLAN: Self = forward("plan");
    pub const STOP: Self = forward("stop");
    pub(crate) const DRAIN: Self = forward("drain");
    pub(crate) const BACKUP: Self = forward("backup");
    pub const MIGRATE: Self = forward("migrate");
    pub(crate) const VERIFY: Self = forward("verify");
    pub(crate) const CHECK_NEW: Self = forward("recheck");
    pub(crate) const START_NEW: Self = forward("start");
    pub(crate) const WAIT_NEW: Self = forward("settle");
    pub(crate) const UPGRADED: Self = forward("upgraded");
    pub(crate) const DIAGNOSE: Self = forward("assess");
    pub(crate) const ABORTED: Self = forward("abandoned");
    pub(crate) const CHECK_ROLLBACK: Self = back("look-back");
    pub(crate) const STOP_BACK: Self = back("stop-new");
    pub(crate) const DRAIN_BACK: Self = back("drain-new");
    pub(crate) const SAVE_NEW: Self = back("save-new");
    pub const RESTORE: Self = back("roll-back");
    pub(crate) const CHECK_OLD: Self = back("check");
    pub(crate) const START_OLD: Self = back("start-old");
    pub(crate) const WAIT_OLD: Self = back("settle-old");
    pub(crate) const ROLLED_BACK: Self = back("rolled-back");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Success; the metadata has this layout.
    Metadata(Layout),
    Failed,
    /// Success, but another tool started Milvus in the meantime.
    Restarted,
}

impl Stage {
    pub fn row(self) -> &'static Row {
        let found = TABLE.iter().find(|row| row.stage == self);
        found.unwrap_or(&table::UNKNOWN)
    }

    /// The stage as a present participle: "stopping Milvus".
    pub fn name(self) -> &'static str {
        self.row().label
    }

    pub fn is_final(self) -> bool {
        self.row().end.is_some()
    }

    /// Whether this stage belongs to a rollback.
    pub(crate) const fn is_rollback(self) -> bool {
        self.back
    }
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id)
    }
}

impl<'de> Deserialize<'de> for Stage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        let found = TABLE.iter().find(|row| row.stage.id == id);
        let row = found.ok_or_else(|| D::Error::custom(format!("unknown stage {id:?}")))?;
        Ok(row.stage)
    }
}

/// Returns the stage after `stage` ended with `outcome`, or `None` if the user must decide.
/// `before` is the layout that the probe found.
pub(crate) fn next(
    stage: Stage,
    outcome: Outcome,
    before: Option<Layout>,
    policy: Policy,
) -> Option<Stage> {
    let row = stage.row();
    let then = match outcome {
        Outcome::Done => row.next,
        Outcome::Failed => row.failed,
        Outcome::Restarted => Next::To(row.stop_again),
        Outcome::Metadata(layout) => return row.by_layout?(layout, before, policy),
    };
    match then {
        Next::To(following) => Some(following),
        Next::RollBack => policy.rollback_on_failure.then_some(Stage::STOP_BACK),
        // This upgrade has written nothing yet, but another tool may have.
        Next::Diagnose => (is_old(before) && !policy.stay_down).then_some(Stage::DIAGNOSE),
        Next::Halt => None,
    }
}

/// Whether the probe found metadata that the old release ran on.
fn is_old(before: Option<Layout>) -> bool {
    before.is_some_and(|layout| is_for_old(layout, before))
}

/// Returns the first stage of a rollback, or `None` if there is nothing to roll back. `migrated`
/// says whether the metadata may have been migrated, so that the stages before the migration are repeated.
pub(crate) fn rollback_start(
    stage: Stage,
    before: Option<Layout>,
    migrated: bool,
) -> Option<Stage> {
    match stage.row().rollback {
        Rollback::At(begin) => Some(begin),
        Rollback::CheckUnlessMigrated if is_old(before) && !migrated => Some(Stage::CHECK_OLD),
        Rollback::CheckUnlessMigrated => Some(Stage::STOP_BACK),
        Rollback::Never => None,
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod crash_model;
