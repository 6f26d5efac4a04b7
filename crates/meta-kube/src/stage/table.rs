//! The table of stages. To add a stage, add a row; the tests of this module and the crash model check it.

use super::Stage;
use super::end::{self, End};
use crate::job_kind::JobKind;
use crate::options::Policy;
use milvus_meta::layout::Layout;

#[derive(Debug, Clone, Copy)]
pub(super) enum Next {
    To(Stage),
    /// Roll back if `--rollback-on-failure` is given; else the user must decide.
    RollBack,
    /// Check the metadata, unless Milvus is to stay stopped.
    Diagnose,
    /// The user must decide.
    Halt,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Rollback {
    At(Stage),
    /// At the check of the metadata, or at the stop if it may have been migrated.
    CheckUnlessMigrated,
    /// There is nothing to roll back.
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Runs a read-only Job that tests image, volume and etcd, and reports the layout. Milvus runs.
    Probe,
    /// Runs a read-only Job that plans the migration. Milvus runs.
    Plan,
    /// Runs a read-only Job that checks whether a rollback is possible. The new release runs.
    CheckRollback,
    /// Scales Milvus to 0.
    Stop,
    /// Waits until no pod is left.
    Drain,
    Backup,
    /// Saves what the new release wrote, if it is discarded.
    SaveNew,
    Migrate,
    Restore,
    /// Compares the 2.2 layout with the expected result.
    Verify,
    /// Runs a read-only Job that reports the layout, after everything that writes has ended.
    CheckLayout,
    /// Sets the release's image and the saved replica counts.
    Start,
    /// Waits until the release is healthy.
    WaitReady,
    /// The operation has ended.
    Nothing,
}

/// A change of the upgrade state by a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    MarkVerified,
    ClearFailure,
    /// The saved copy does not contain what the new release writes from now on.
    ForgetSavedCopy,
    /// No rollback is requested any more.
    CancelRollback,
    /// What the new release wrote may be discarded; it is saved first.
    AcceptLoss,
}

type ByLayout = fn(Layout, Option<Layout>, Policy) -> Option<Stage>;

#[derive(Debug)]
pub struct Row {
    pub stage: Stage,
    pub(crate) action: Action,
    /// The stage as a present participle.
    pub label: &'static str,
    /// What the stage means for Milvus and its metadata, for a user who was just paged.
    pub meaning: &'static str,
    /// The same if the metadata may have been migrated before.
    pub meaning_migrated: &'static str,
    /// The Job that performs the action, or a part of it.
    pub job: Option<JobKind>,
    pub(super) next: Next,
    /// The next stage by the layout that this stage found.
    pub(crate) by_layout: Option<ByLayout>,
    /// The expected layout; `None` for the layout before the upgrade.
    pub(crate) expects: Option<Layout>,
    pub(super) failed: Next,
    /// Where an interrupted or halted upgrade is resumed. A release is started only after the
    /// metadata was checked again, because it may have changed since.
    pub(crate) resume: Stage,
    /// Where it is resumed if a Deployment that must be stopped was recreated.
    pub(crate) stop_again: Stage,
    pub(super) rollback: Rollback,
    /// Where an unfinished rollback turns forward; `None` after the metadata was restored.
    pub(crate) forward: Option<Stage>,
    /// Changes of the upgrade state on entry.
    pub on_enter: &'static [Effect],
    pub on_success: &'static [Effect],
    pub on_rollback: &'static [Effect],
    pub end: Option<&'static End>,
    /// Whether a failure of this stage is reported after the one that led to it.
    pub keeps_failure: bool,
    /// Whether Milvus and its metadata are as before the operation.
    pub untouched: bool,
    /// Whether the stage's Jobs mount the backup volume.
    pub needs_volume: bool,
    /// Whether the stage's Job tests the new image and the volume.
    pub is_probe: bool,
    /// Whether replica counts are still read from the Deployments.
    pub reads_counts: bool,
    /// Whether `--on-broken-record` can still change.
    pub plan_can_change: bool,
    /// Whether another image may fix a failure of this stage.
    pub accepts_image: bool,
    /// The stage to enter first once `--accept-loss` is given.
    pub save_stage: Option<Stage>,
    /// Whether `--accept-loss` may fix a failure of this stage.
    pub accepts_loss: bool,
    /// Whether Milvus must be stopped during the stage.
    pub requires_stop: bool,
    /// Whether Milvus still runs; the stage itself reports missing Deployments.
    pub milvus_runs: bool,
}

#[rustfmt::skip]
const fn row(stage: Stage, action: Action, label: &'static str, meaning: &'static str) -> Row {
    Row {
        stage, action, label, meaning,
        meaning_migrated: meaning,
        job: None,
        next: Next::Halt,
        by_layout: None,
        expects: None,
        failed: Next::Halt,
        resume: stage,
        stop_again: stage,
        rollback: Rollback::Never,
        forward: None,
        on_enter: &[],
        on_success: &[],
        on_rollback: &[],
        end: None,
        keeps_failure: stage.is_rollback(),
        untouched: false,
        needs_volume: true,
        is_probe: false,
        reads_counts: false,
        plan_can_change: false,
        accepts_image: false,
        save_stage: None,
        accepts_loss: false,
        requires_stop: false,
        milvus_runs: false,
    }
}

const UNTOUCHED: &str = "Milvus and its metadata are unchanged";
const STOPPING: &str = "Milvus is stopped or being stopped; its metadata is unchanged";
const STOPPED: &str = "Milvus is stopped or being stopped; its metadata is intact, either 2.1 or 2.2, and nothing is lost";
const STARTING: &str = "the metadata is 2.2 and verified; the new release is being started";
const STOPPING_BACK: &str =
    "Milvus is stopped or being stopped for the rollback; its metadata is not restored yet";
const RESTORING: &str = "Milvus is stopped; its metadata is being restored. Do not start any Milvus component until that is finished";
const STARTING_OLD: &str = "the metadata is 2.1; the old release is being started";
const HEALTHY: &str = "the new release became healthy on verified 2.2 metadata";

/// The row of a stage that is not in the table. The tests ensure that there is none.
pub(super) const UNKNOWN: Row = row(Stage::ABORTED, Action::Nothing, "unknown", "unknown");

/// All stages, those of the upgrade first.
#[rustfmt::skip]
pub(crate) const TABLE: [Row; 22] = [
    Row { by_layout: Some(after_probe), job: Some(JobKind::Status), failed: Next::To(Stage::ABORTED),
        rollback: Rollback::At(Stage::ABORTED), untouched: true, is_probe: true, plan_can_change: true,
        ..row(Stage::PROBE, Action::Probe, "probing image, volume and etcd", UNTOUCHED) },
    Row { job: Some(JobKind::Plan), next: Next::To(Stage::STOP), failed: Next::To(Stage::ABORTED),
        resume: Stage::PROBE, rollback: Rollback::At(Stage::ABORTED), untouched: true, plan_can_change: true,
        ..row(Stage::PLAN, Action::Plan, "planning the migration", UNTOUCHED) },
    Row { meaning_migrated: STOPPED, next: Next::To(Stage::DRAIN), failed: Next::Diagnose,
        rollback: Rollback::CheckUnlessMigrated, reads_counts: true, plan_can_change: true,
        ..row(Stage::STOP, Action::Stop, "stopping Milvus", STOPPING) },
    Row { meaning_migrated: STOPPED, next: Next::To(Stage::BACKUP), failed: Next::Diagnose, stop_again: Stage::STOP,
        rollback: Rollback::CheckUnlessMigrated, plan_can_change: true, requires_stop: true,
        ..row(Stage::DRAIN, Action::Drain, "waiting for pods to end", STOPPING) },
    Row { meaning_migrated: STOPPED, job: Some(JobKind::Backup), next: Next::To(Stage::MIGRATE),
        failed: Next::Diagnose, stop_again: Stage::STOP, rollback: Rollback::CheckUnlessMigrated, plan_can_change: true,
        requires_stop: true,
        ..row(Stage::BACKUP, Action::Backup, "backing up the metadata", STOPPING) },
    Row { job: Some(JobKind::Migrate), next: Next::To(Stage::VERIFY), failed: Next::To(Stage::DIAGNOSE),
        stop_again: Stage::STOP, rollback: Rollback::At(Stage::STOP_BACK), plan_can_change: true, requires_stop: true,
        ..row(Stage::MIGRATE, Action::Migrate, "migrating the metadata", STOPPED) },
    Row { job: Some(JobKind::Verify), next: Next::To(Stage::START_NEW), failed: Next::RollBack,
        stop_again: Stage::STOP, rollback: Rollback::At(Stage::STOP_BACK), on_success: &[Effect::MarkVerified],
        requires_stop: true,
        ..row(Stage::VERIFY, Action::Verify, "verifying the 2.2 metadata",
            "Milvus is stopped; its metadata was migrated and is being verified") },
    Row { by_layout: Some(after_check_new), job: Some(JobKind::Status), expects: Some(Layout::V2_2),
        stop_again: Stage::STOP, rollback: Rollback::At(Stage::STOP_BACK), needs_volume: false, accepts_image: true,
        ..row(Stage::CHECK_NEW, Action::CheckLayout, "checking that the metadata is still 2.2", STARTING) },
    Row { next: Next::To(Stage::WAIT_NEW), failed: Next::RollBack, resume: Stage::CHECK_NEW, stop_again: Stage::STOP,
        rollback: Rollback::At(Stage::STOP_BACK), on_enter: &[Effect::ForgetSavedCopy],
        on_rollback: &[Effect::AcceptLoss], accepts_image: true,
        ..row(Stage::START_NEW, Action::Start, "starting the new release", STARTING) },
    Row { next: Next::To(Stage::UPGRADED), failed: Next::RollBack, resume: Stage::CHECK_NEW, stop_again: Stage::STOP,
        rollback: Rollback::At(Stage::STOP_BACK), on_success: &[Effect::ClearFailure],
        on_rollback: &[Effect::AcceptLoss], accepts_image: true,
        ..row(Stage::WAIT_NEW, Action::WaitReady, "waiting for the new release to become healthy", STARTING) },
    Row { rollback: Rollback::At(Stage::CHECK_ROLLBACK), on_enter: &[Effect::CancelRollback], end: Some(&end::UPGRADED),
        ..row(Stage::UPGRADED, Action::Nothing, "upgraded", HEALTHY) },
    Row { by_layout: Some(after_diagnosis), job: Some(JobKind::Status), expects: Some(Layout::V2_1),
        keeps_failure: true, resume: Stage::STOP, stop_again: Stage::STOP, rollback: Rollback::At(Stage::STOP_BACK),
        needs_volume: false, plan_can_change: true,
        ..row(Stage::DIAGNOSE, Action::CheckLayout, "checking the metadata", STOPPED) },
    Row { job: Some(JobKind::Preview), next: Next::To(Stage::STOP_BACK), failed: Next::To(Stage::UPGRADED),
        rollback: Rollback::At(Stage::CHECK_ROLLBACK), forward: Some(Stage::CHECK_NEW), milvus_runs: true,
        ..row(Stage::CHECK_ROLLBACK, Action::CheckRollback, "checking that a rollback is possible", HEALTHY) },
    Row { next: Next::To(Stage::DRAIN_BACK), rollback: Rollback::At(Stage::STOP_BACK),
        forward: Some(Stage::STOP),
        ..row(Stage::STOP_BACK, Action::Stop, "rollback: stopping Milvus", STOPPING_BACK) },
    Row { next: Next::To(Stage::SAVE_NEW), stop_again: Stage::STOP_BACK, rollback: Rollback::At(Stage::DRAIN_BACK),
        forward: Some(Stage::STOP), requires_stop: true,
        ..row(Stage::DRAIN_BACK, Action::Drain, "rollback: waiting for pods to end", STOPPING_BACK) },
    Row { job: Some(JobKind::Save), next: Next::To(Stage::RESTORE), stop_again: Stage::STOP_BACK,
        rollback: Rollback::At(Stage::SAVE_NEW), forward: Some(Stage::STOP), accepts_loss: true, requires_stop: true,
        ..row(Stage::SAVE_NEW, Action::SaveNew, "rollback: saving what the new release wrote", STOPPING_BACK) },
    Row { job: Some(JobKind::Rollback), next: Next::To(Stage::CHECK_OLD), stop_again: Stage::STOP_BACK,
        rollback: Rollback::At(Stage::RESTORE), forward: Some(Stage::STOP), save_stage: Some(Stage::SAVE_NEW),
        accepts_loss: true, requires_stop: true,
        ..row(Stage::RESTORE, Action::Restore, "rolling the metadata back", RESTORING) },
    Row { by_layout: Some(after_check_old), job: Some(JobKind::Status), expects: Some(Layout::V2_1),
        rollback: Rollback::At(Stage::CHECK_OLD), needs_volume: false,
        ..row(Stage::CHECK_OLD, Action::CheckLayout, "checking that the metadata is 2.1 again", RESTORING) },
    Row { next: Next::To(Stage::WAIT_OLD), resume: Stage::CHECK_OLD, rollback: Rollback::At(Stage::CHECK_OLD),
        ..row(Stage::START_OLD, Action::Start, "starting the old release", STARTING_OLD) },
    Row { job: Some(JobKind::Status), next: Next::To(Stage::ROLLED_BACK), resume: Stage::CHECK_OLD,
        rollback: Rollback::At(Stage::CHECK_OLD), needs_volume: false,
        ..row(Stage::WAIT_OLD, Action::WaitReady, "waiting for the old release to become healthy", STARTING_OLD) },
    Row { end: Some(&end::ROLLED_BACK),
        ..row(Stage::ROLLED_BACK, Action::Nothing, "rolled back",
            "the old release became healthy again, on 2.1 metadata") },
    Row { end: Some(&end::ABORTED), untouched: true,
        ..row(Stage::ABORTED, Action::Nothing, "ended before anything was changed", UNTOUCHED) },
];

/// Whether the old release may be started on this layout: 2.1, or the layout that it ran on before.
pub(crate) fn is_for_old(layout: Layout, before: Option<Layout>) -> bool {
    match layout {
        Layout::V2_1 | Layout::Empty => true,
        // The old release already ran with the staged keys of an earlier migration, or with records of 2.2.
        Layout::Staged | Layout::Mixed => before == Some(layout),
        Layout::V2_2 => false,
    }
}

fn after_probe(layout: Layout, _: Option<Layout>, _: Policy) -> Option<Stage> {
    Some(match layout {
        // The plan finds contradictions, and records that are missing in 2.2 metadata.
        Layout::V2_1 | Layout::Staged | Layout::Mixed | Layout::V2_2 => Stage::PLAN,
        Layout::Empty => Stage::STOP,
    })
}

fn after_check_new(layout: Layout, _: Option<Layout>, _: Policy) -> Option<Stage> {
    matches!(layout, Layout::V2_2 | Layout::Empty).then_some(Stage::START_NEW)
}

fn after_check_old(layout: Layout, before: Option<Layout>, _: Policy) -> Option<Stage> {
    is_for_old(layout, before).then_some(Stage::START_OLD)
}

fn after_diagnosis(layout: Layout, before: Option<Layout>, policy: Policy) -> Option<Stage> {
    match layout {
        _ if is_for_old(layout, before) && policy.stay_down => None,
        _ if is_for_old(layout, before) => Some(Stage::START_OLD),
        // 2.1 is intact; the staged keys next to it are removed.
        Layout::Staged if !policy.stay_down => Some(Stage::RESTORE),
        // After a second stop that failed, the new release may still run.
        Layout::V2_2 | Layout::Mixed if policy.rollback_on_failure => Some(Stage::STOP_BACK),
        Layout::V2_1 | Layout::Empty | Layout::Staged | Layout::V2_2 | Layout::Mixed => None,
    }
}
