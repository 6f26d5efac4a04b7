//! The way forward and the way back, as a table: which stage follows which, whatever happens.
//!
//! A stage is recorded before its work begins, and every stage's work may be done again from its
//! beginning. So a process killed in any stage is continued by entering that stage once more.

use serde::{Deserialize, Serialize};

use crate::report::Layout;

/// What is being done, or was when the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// A Job that only reads proves image, volume and etcd, and tells the layout. Milvus runs.
    Probe,
    /// A Job plans the migration and changes nothing. Milvus runs.
    Plan,
    /// Milvus is being scaled to 0.
    Stop,
    /// No pod and no leased session may be left.
    Drain,
    /// The backup is written.
    Backup,
    /// The metadata is migrated.
    Migrate,
    /// The 2.2 layout is compared with what the backup gives.
    Verify,
    /// Taken up again after the verification: a Job that only reads has to find 2.2 metadata still.
    Recheck,
    /// 2.2 gets its image and the recorded counts.
    Start,
    /// 2.2 has to become healthy.
    Settle,
    /// The end of the way forward.
    Upgraded,
    /// Something failed after the stop began: a Job that only reads tells what the metadata is now.
    Assess,
    /// On the way back: a Job that only reads proves the backup, while the new release still runs.
    LookBack,
    /// On the way back: whatever runs is being scaled to 0.
    StopNew,
    /// On the way back: no pod and no leased session may be left.
    DrainNew,
    /// What the new release wrote is saved, where it may be undone.
    SaveNew,
    /// The metadata is put back.
    RollBack,
    /// A Job that only reads has to find 2.1 metadata.
    Check,
    /// 2.1 gets its image and the recorded counts.
    StartOld,
    /// 2.1 has to become healthy.
    SettleOld,
    /// The end of the way back.
    RolledBack,
    /// Ended before Milvus was touched.
    Abandoned,
}

/// How a stage's work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Done,
    /// As it should, and this is what the metadata is.
    Metadata(Layout),
    /// Not as it should.
    Failed,
}

/// What the operator wants to happen after failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Policy {
    /// After the switch, go back by itself when 2.2 does not become healthy.
    pub rollback_on_failure: bool,
    /// Before the switch, leave Milvus stopped instead of starting 2.1 again.
    pub stay_down: bool,
    /// A rollback may undo what changed since the migration finished.
    #[serde(default)]
    pub accept_loss: bool,
}

/// What comes after a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Enter this stage.
    Go(Stage),
    /// Stay here: a person has to decide.
    Halt,
}

impl Stage {
    /// All stages, the way forward first.
    pub const ALL: [Self; 22] = [
        Self::Probe,
        Self::Plan,
        Self::Stop,
        Self::Drain,
        Self::Backup,
        Self::Migrate,
        Self::Verify,
        Self::Recheck,
        Self::Start,
        Self::Settle,
        Self::Upgraded,
        Self::Assess,
        Self::LookBack,
        Self::StopNew,
        Self::DrainNew,
        Self::SaveNew,
        Self::RollBack,
        Self::Check,
        Self::StartOld,
        Self::SettleOld,
        Self::RolledBack,
        Self::Abandoned,
    ];

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Upgraded | Self::RolledBack | Self::Abandoned)
    }

    /// Whether this stage leads back to 2.1.
    #[must_use]
    pub fn is_way_back(self) -> bool {
        match self {
            Self::LookBack
            | Self::StopNew
            | Self::DrainNew
            | Self::SaveNew
            | Self::RollBack
            | Self::Check
            | Self::StartOld
            | Self::SettleOld
            | Self::RolledBack => true,
            Self::Probe
            | Self::Plan
            | Self::Stop
            | Self::Drain
            | Self::Backup
            | Self::Migrate
            | Self::Verify
            | Self::Recheck
            | Self::Start
            | Self::Settle
            | Self::Upgraded
            | Self::Assess
            | Self::Abandoned => false,
        }
    }

    /// Whether Milvus and its metadata are as they were before the upgrade began.
    #[must_use]
    pub fn is_before_the_stop(self) -> bool {
        matches!(self, Self::Probe | Self::Plan | Self::Abandoned)
    }

    /// Whether this stage's Job only looks into etcd: the volume may be gone.
    #[must_use]
    pub fn needs_no_volume(self) -> bool {
        matches!(
            self,
            Self::Recheck | Self::Assess | Self::Check | Self::SettleOld
        )
    }

    /// The stage in words, as a thing being done.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Probe => "probing image, volume and etcd",
            Self::Plan => "planning the migration",
            Self::Stop => "stopping Milvus",
            Self::Drain => "waiting for pods and sessions to end",
            Self::Backup => "backing up the metadata",
            Self::Migrate => "migrating the metadata",
            Self::Verify => "verifying the 2.2 metadata",
            Self::Recheck => "checking that the metadata is 2.2 still",
            Self::Start => "starting the new release",
            Self::Settle => "waiting for the new release to become healthy",
            Self::Upgraded => "upgraded",
            Self::Assess => "looking at what the metadata is now",
            Self::LookBack => "looking whether the way back is open",
            Self::StopNew => "stopping Milvus, on the way back",
            Self::DrainNew => "waiting for pods and sessions to end, on the way back",
            Self::SaveNew => "saving what the new release wrote",
            Self::RollBack => "rolling the metadata back",
            Self::Check => "checking that the metadata is 2.1 again",
            Self::StartOld => "starting the old release",
            Self::SettleOld => "waiting for the old release to become healthy",
            Self::RolledBack => "rolled back",
            Self::Abandoned => "ended before anything was changed",
        }
    }
}

/// What follows `stage`, whose work ended with `outcome`; `before` is the layout that the probe found.
#[must_use]
pub fn next(stage: Stage, outcome: Outcome, before: Option<Layout>, policy: Policy) -> Next {
    match outcome {
        Outcome::Done => after_success(stage),
        Outcome::Metadata(layout) => after_look(stage, layout, before, policy),
        Outcome::Failed => after_failure(stage, before, policy),
    }
}

fn after_success(stage: Stage) -> Next {
    Next::Go(match stage {
        // These ask what the metadata is; without an answer nothing may go on.
        Stage::Probe | Stage::Recheck | Stage::Assess | Stage::Check => return Next::Halt,
        Stage::Plan => Stage::Stop,
        Stage::Stop => Stage::Drain,
        Stage::Drain => Stage::Backup,
        Stage::Backup => Stage::Migrate,
        Stage::Migrate => Stage::Verify,
        Stage::Verify => Stage::Start,
        Stage::Start => Stage::Settle,
        Stage::Settle => Stage::Upgraded,
        Stage::LookBack => Stage::StopNew,
        Stage::StopNew => Stage::DrainNew,
        Stage::DrainNew => Stage::SaveNew,
        Stage::SaveNew => Stage::RollBack,
        Stage::RollBack => Stage::Check,
        Stage::StartOld => Stage::SettleOld,
        Stage::SettleOld => Stage::RolledBack,
        Stage::Upgraded | Stage::RolledBack | Stage::Abandoned => return Next::Halt,
    })
}

/// The metadata decides, never an object that an earlier run left.
fn after_look(stage: Stage, layout: Layout, before: Option<Layout>, policy: Policy) -> Next {
    let old_may_start = match layout {
        Layout::V2_1 | Layout::Empty => true,
        // The old release ran beside what an earlier migration had staged.
        Layout::Staged => before == Some(Layout::Staged),
        Layout::V2_2 | Layout::Mixed => false,
    };
    match (stage, layout) {
        (Stage::Probe, Layout::V2_1 | Layout::Staged) => Next::Go(Stage::Plan),
        // Nothing to plan: the migration will find it done, or nothing to do.
        (Stage::Probe, Layout::V2_2 | Layout::Empty) => Next::Go(Stage::Stop),
        (Stage::Probe, Layout::Mixed) => Next::Go(Stage::Abandoned),
        (Stage::Recheck, Layout::V2_2 | Layout::Empty) => Next::Go(Stage::Start),
        (Stage::Assess, _) if old_may_start && policy.stay_down => Next::Halt,
        (Stage::Assess, _) if old_may_start => Next::Go(Stage::StartOld),
        // 2.1 is whole; what is staged beside it goes.
        (Stage::Assess, Layout::Staged) if !policy.stay_down => Next::Go(Stage::RollBack),
        (Stage::Assess, Layout::V2_2 | Layout::Mixed) if policy.rollback_on_failure => {
            // After a second stop that failed, the new release may still run.
            Next::Go(Stage::StopNew)
        }
        (Stage::Check, _) if old_may_start => Next::Go(Stage::StartOld),
        (_, _) => Next::Halt,
    }
}

fn after_failure(stage: Stage, before: Option<Layout>, policy: Policy) -> Next {
    match stage {
        Stage::Probe | Stage::Plan => Next::Go(Stage::Abandoned),
        Stage::Stop | Stage::Drain | Stage::Backup => match before {
            // This upgrade has written nothing yet, but somebody else may have.
            Some(Layout::V2_1 | Layout::Staged | Layout::Empty) if !policy.stay_down => {
                Next::Go(Stage::Assess)
            }
            Some(Layout::V2_1 | Layout::Staged | Layout::Empty | Layout::V2_2 | Layout::Mixed)
            | None => Next::Halt,
        },
        Stage::Migrate => Next::Go(Stage::Assess),
        Stage::Verify | Stage::Start | Stage::Settle => {
            if policy.rollback_on_failure {
                Next::Go(Stage::StopNew)
            } else {
                Next::Halt
            }
        }
        // Nothing was stopped yet: the new release runs as before.
        Stage::LookBack => Next::Go(Stage::Upgraded),
        Stage::Upgraded
        | Stage::Recheck
        | Stage::Assess
        | Stage::StopNew
        | Stage::DrainNew
        | Stage::SaveNew
        | Stage::RollBack
        | Stage::Check
        | Stage::StartOld
        | Stage::SettleOld
        | Stage::RolledBack
        | Stage::Abandoned => Next::Halt,
    }
}

/// Where an upgrade that was killed, or that halted, goes on. Time has passed: no release is started on
/// what was found before.
#[must_use]
pub fn resumed(stage: Stage) -> Stage {
    match stage {
        // What failed is tried again, from the stop on; it finds its own way.
        Stage::Assess => Stage::Stop,
        // What was proved before the stop is proved again.
        Stage::Plan => Stage::Probe,
        Stage::Start | Stage::Settle => Stage::Recheck,
        Stage::StartOld | Stage::SettleOld => Stage::Check,
        Stage::Probe
        | Stage::Stop
        | Stage::Drain
        | Stage::Backup
        | Stage::Migrate
        | Stage::Verify
        | Stage::Recheck
        | Stage::Upgraded
        | Stage::LookBack
        | Stage::StopNew
        | Stage::DrainNew
        | Stage::SaveNew
        | Stage::RollBack
        | Stage::Check
        | Stage::RolledBack
        | Stage::Abandoned => stage,
    }
}

/// Where it goes on when something that has to stand still was made anew: from the stop on.
#[must_use]
pub fn stopped_again(stage: Stage) -> Stage {
    match stage {
        Stage::Stop
        | Stage::Drain
        | Stage::Backup
        | Stage::Migrate
        | Stage::Verify
        | Stage::Recheck
        | Stage::Start
        | Stage::Settle
        | Stage::Assess => Stage::Stop,
        Stage::StopNew | Stage::DrainNew | Stage::SaveNew | Stage::RollBack => Stage::StopNew,
        // The metadata was put back: nothing is done to it any more.
        Stage::Check | Stage::StartOld | Stage::SettleOld => stage,
        Stage::Probe
        | Stage::Plan
        | Stage::LookBack
        | Stage::Upgraded
        | Stage::RolledBack
        | Stage::Abandoned => stage,
    }
}

/// Where the way back begins; `None` where there is nothing to go back from. `migrated` says whether the
/// metadata may have been migrated, so that what comes before the migration is done again.
#[must_use]
pub fn turned_back(stage: Stage, before: Option<Layout>, migrated: bool) -> Option<Stage> {
    match stage {
        Stage::Probe | Stage::Plan => Some(Stage::Abandoned),
        Stage::Stop | Stage::Drain | Stage::Backup => match before {
            Some(Layout::V2_1 | Layout::Staged | Layout::Empty) if !migrated => Some(Stage::Check),
            Some(_) | None => Some(Stage::StopNew),
        },
        Stage::Upgraded => Some(Stage::LookBack),
        Stage::Migrate
        | Stage::Verify
        | Stage::Recheck
        | Stage::Start
        | Stage::Settle
        | Stage::Assess => Some(Stage::StopNew),
        Stage::LookBack
        | Stage::StopNew
        | Stage::DrainNew
        | Stage::SaveNew
        | Stage::RollBack
        | Stage::Check
        | Stage::StartOld
        | Stage::SettleOld => Some(resumed(stage)),
        Stage::RolledBack | Stage::Abandoned => None,
    }
}

/// Where an unfinished rollback turns forward; `None` where the metadata was put back already, and where
/// no rollback is under way.
#[must_use]
pub fn turned_forward(stage: Stage) -> Option<Stage> {
    match stage {
        // Nothing was stopped: the new release runs.
        Stage::LookBack => Some(Stage::Recheck),
        // From the stop on it finds its own way, whatever a rollback left half done.
        Stage::StopNew | Stage::DrainNew | Stage::SaveNew | Stage::RollBack => Some(Stage::Stop),
        Stage::Check
        | Stage::StartOld
        | Stage::SettleOld
        | Stage::RolledBack
        | Stage::Probe
        | Stage::Plan
        | Stage::Stop
        | Stage::Drain
        | Stage::Backup
        | Stage::Migrate
        | Stage::Verify
        | Stage::Recheck
        | Stage::Start
        | Stage::Settle
        | Stage::Upgraded
        | Stage::Assess
        | Stage::Abandoned => None,
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod crashes;
