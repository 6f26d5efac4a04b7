//! The table of stages. Adding a stage is adding a row; the tests of this module and the crash model check it.

use super::Stage;
use super::end::{self, End};
use crate::job_kind::JobKind;
use crate::options::Policy;
use milvus_meta::layout::Layout;

#[derive(Debug, Clone, Copy)]
pub(super) enum Then {
    Go(Stage),
    /// A rollback where `--rollback-on-failure` is given, else nothing: the user has to decide.
    RollBack,
    /// A look at the metadata, unless Milvus shall stay stopped.
    Diagnose,
    /// Nothing: the user has to decide.
    Halt,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum TurnBack {
    To(Stage),
    /// With a look at the metadata, or from the stop on where it may have been migrated.
    CheckUnlessMigrated,
    /// Nowhere: there is nothing to roll back.
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// A Job that only reads proves image, volume and etcd, and reports the layout. Milvus runs.
    Probe,
    /// A Job plans the migration and changes nothing. Milvus runs.
    Plan,
    /// A Job that only reads checks that a rollback is possible. The new release runs.
    CheckRollback,
    /// Milvus is scaled to 0.
    Stop,
    /// No pod may be left.
    Drain,
    Backup,
    /// What the new release wrote is saved, where it is discarded.
    SaveNew,
    Migrate,
    Restore,
    /// The 2.2 layout is compared with the expected result.
    Verify,
    /// A Job that only reads reports the layout, once nothing writes any more.
    CheckLayout,
    /// The release gets its image and the saved counts.
    Start,
    /// The release has to become healthy.
    WaitReady,
    /// Nothing: the operation has ended.
    Nothing,
}

/// What a stage changes in the upgrade state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Verified,
    FailureOver,
    /// What the new release writes from now on is not saved.
    NothingSaved,
    /// Nobody asks for a rollback any more.
    NoRollback,
    /// What the new release wrote meanwhile may be discarded; it is saved first.
    LossAccepted,
}

type ByLayout = fn(Layout, Option<Layout>, Policy) -> Option<Stage>;

#[derive(Debug)]
pub struct Row {
    pub stage: Stage,
    pub(crate) work: Work,
    /// The stage in words, as a thing being done.
    pub label: &'static str,
    /// What it means for Milvus and its metadata, for a user who was just woken up.
    pub meaning: &'static str,
    /// The same where the metadata may have been migrated by an earlier pass.
    pub meaning_migrated: &'static str,
    /// The Job that does its work, or a part of it.
    pub job: Option<JobKind>,
    pub(super) next: Then,
    /// What follows when its look found this layout.
    pub(crate) by_layout: Option<ByLayout>,
    /// The layout that its look finds if everything goes well; `None` where that is the one before the upgrade.
    pub(crate) expects: Option<Layout>,
    pub(super) failed: Then,
    /// Where an upgrade that was killed, or that halted, is resumed. Time has passed: no release is started on what
    /// was found before.
    pub(crate) resume: Stage,
    /// Where it is resumed when a Deployment that has to be stopped was recreated.
    pub(crate) stop_again: Stage,
    pub(super) turn_back: TurnBack,
    /// Where an unfinished rollback turns forward; `None` where the metadata was restored already.
    pub(crate) turn_forward: Option<Stage>,
    /// What entering it changes in the upgrade state.
    pub on_enter: &'static [Effect],
    pub on_success: &'static [Effect],
    pub on_rollback: &'static [Effect],
    pub end: Option<&'static End>,
    /// Whether its failure is reported beside the one that led to it.
    pub keeps_failure: bool,
    /// Whether Milvus and its metadata are as before the operation.
    pub untouched: bool,
    /// Whether its Jobs mount the volume with the backups.
    pub needs_volume: bool,
    /// Whether its Job proves the new image and the volume.
    pub proves: bool,
    /// Whether the counts are still taken from the Deployments.
    pub counts: bool,
    /// Whether it is still open what is done with broken records.
    pub plan_open: bool,
    /// Whether another image may be what it needs.
    pub takes_image: bool,
    /// The stage that comes first once a loss is accepted that was not before.
    pub saves_first: Option<Stage>,
    /// Whether `--accept-loss` may be what it needs.
    pub may_discard: bool,
    /// Whether Milvus has to be stopped until its end.
    pub stopped: bool,
    /// Whether Milvus still runs: what is missing is reported by its own look.
    pub runs: bool,
}

#[rustfmt::skip]
const fn row(stage: Stage, work: Work, label: &'static str, meaning: &'static str) -> Row {
    Row {
        stage, work, label, meaning,
        meaning_migrated: meaning,
        job: None,
        next: Then::Halt,
        by_layout: None,
        expects: None,
        failed: Then::Halt,
        resume: stage,
        stop_again: stage,
        turn_back: TurnBack::No,
        turn_forward: None,
        on_enter: &[],
        on_success: &[],
        on_rollback: &[],
        end: None,
        keeps_failure: stage.is_rollback(),
        untouched: false,
        needs_volume: true,
        proves: false,
        counts: false,
        plan_open: false,
        takes_image: false,
        saves_first: None,
        may_discard: false,
        stopped: false,
        runs: false,
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

/// What a stage that is not in the table is: one that halts. The tests see to it that there is none.
pub(super) const UNKNOWN: Row = row(Stage::ABORTED, Work::Nothing, "unknown", "unknown");

/// All stages, the way forward first.
#[rustfmt::skip]
pub(crate) const TABLE: [Row; 22] = [
    Row { by_layout: Some(after_probe), job: Some(JobKind::Status), failed: Then::Go(Stage::ABORTED),
        turn_back: TurnBack::To(Stage::ABORTED), untouched: true, proves: true, plan_open: true,
        ..row(Stage::PROBE, Work::Probe, "probing image, volume and etcd", UNTOUCHED) },
    Row { job: Some(JobKind::Plan), next: Then::Go(Stage::STOP), failed: Then::Go(Stage::ABORTED),
        resume: Stage::PROBE, turn_back: TurnBack::To(Stage::ABORTED), untouched: true, plan_open: true,
        ..row(Stage::PLAN, Work::Plan, "planning the migration", UNTOUCHED) },
    Row { meaning_migrated: STOPPED, next: Then::Go(Stage::DRAIN), failed: Then::Diagnose,
        turn_back: TurnBack::CheckUnlessMigrated, counts: true, plan_open: true,
        ..row(Stage::STOP, Work::Stop, "stopping Milvus", STOPPING) },
    Row { meaning_migrated: STOPPED, next: Then::Go(Stage::BACKUP), failed: Then::Diagnose, stop_again: Stage::STOP,
        turn_back: TurnBack::CheckUnlessMigrated, plan_open: true, stopped: true,
        ..row(Stage::DRAIN, Work::Drain, "waiting for pods to end", STOPPING) },
    Row { meaning_migrated: STOPPED, job: Some(JobKind::Backup), next: Then::Go(Stage::MIGRATE),
        failed: Then::Diagnose, stop_again: Stage::STOP, turn_back: TurnBack::CheckUnlessMigrated, plan_open: true,
        stopped: true,
        ..row(Stage::BACKUP, Work::Backup, "backing up the metadata", STOPPING) },
    Row { job: Some(JobKind::Migrate), next: Then::Go(Stage::VERIFY), failed: Then::Go(Stage::DIAGNOSE),
        stop_again: Stage::STOP, turn_back: TurnBack::To(Stage::STOP_BACK), plan_open: true, stopped: true,
        ..row(Stage::MIGRATE, Work::Migrate, "migrating the metadata", STOPPED) },
    Row { job: Some(JobKind::Verify), next: Then::Go(Stage::START_NEW), failed: Then::RollBack,
        stop_again: Stage::STOP, turn_back: TurnBack::To(Stage::STOP_BACK), on_success: &[Effect::Verified],
        stopped: true,
        ..row(Stage::VERIFY, Work::Verify, "verifying the 2.2 metadata",
            "Milvus is stopped; its metadata was migrated and is being verified") },
    Row { by_layout: Some(after_check_new), job: Some(JobKind::Status), expects: Some(Layout::V2_2),
        stop_again: Stage::STOP, turn_back: TurnBack::To(Stage::STOP_BACK), needs_volume: false, takes_image: true,
        ..row(Stage::CHECK_NEW, Work::CheckLayout, "checking that the metadata is still 2.2", STARTING) },
    Row { next: Then::Go(Stage::WAIT_NEW), failed: Then::RollBack, resume: Stage::CHECK_NEW, stop_again: Stage::STOP,
        turn_back: TurnBack::To(Stage::STOP_BACK), on_enter: &[Effect::NothingSaved],
        on_rollback: &[Effect::LossAccepted], takes_image: true,
        ..row(Stage::START_NEW, Work::Start, "starting the new release", STARTING) },
    Row { next: Then::Go(Stage::UPGRADED), failed: Then::RollBack, resume: Stage::CHECK_NEW, stop_again: Stage::STOP,
        turn_back: TurnBack::To(Stage::STOP_BACK), on_success: &[Effect::FailureOver],
        on_rollback: &[Effect::LossAccepted], takes_image: true,
        ..row(Stage::WAIT_NEW, Work::WaitReady, "waiting for the new release to become healthy", STARTING) },
    Row { turn_back: TurnBack::To(Stage::CHECK_ROLLBACK), on_enter: &[Effect::NoRollback], end: Some(&end::UPGRADED),
        ..row(Stage::UPGRADED, Work::Nothing, "upgraded", HEALTHY) },
    Row { by_layout: Some(after_diagnosis), job: Some(JobKind::Status), expects: Some(Layout::V2_1),
        keeps_failure: true, resume: Stage::STOP, stop_again: Stage::STOP, turn_back: TurnBack::To(Stage::STOP_BACK),
        needs_volume: false, plan_open: true,
        ..row(Stage::DIAGNOSE, Work::CheckLayout, "checking the metadata", STOPPED) },
    Row { job: Some(JobKind::Preview), next: Then::Go(Stage::STOP_BACK), failed: Then::Go(Stage::UPGRADED),
        turn_back: TurnBack::To(Stage::CHECK_ROLLBACK), turn_forward: Some(Stage::CHECK_NEW), runs: true,
        ..row(Stage::CHECK_ROLLBACK, Work::CheckRollback, "checking that a rollback is possible", HEALTHY) },
    Row { next: Then::Go(Stage::DRAIN_BACK), turn_back: TurnBack::To(Stage::STOP_BACK),
        turn_forward: Some(Stage::STOP),
        ..row(Stage::STOP_BACK, Work::Stop, "rollback: stopping Milvus", STOPPING_BACK) },
    Row { next: Then::Go(Stage::SAVE_NEW), stop_again: Stage::STOP_BACK, turn_back: TurnBack::To(Stage::DRAIN_BACK),
        turn_forward: Some(Stage::STOP), stopped: true,
        ..row(Stage::DRAIN_BACK, Work::Drain, "rollback: waiting for pods to end", STOPPING_BACK) },
    Row { job: Some(JobKind::Save), next: Then::Go(Stage::RESTORE), stop_again: Stage::STOP_BACK,
        turn_back: TurnBack::To(Stage::SAVE_NEW), turn_forward: Some(Stage::STOP), may_discard: true, stopped: true,
        ..row(Stage::SAVE_NEW, Work::SaveNew, "rollback: saving what the new release wrote", STOPPING_BACK) },
    Row { job: Some(JobKind::Rollback), next: Then::Go(Stage::CHECK_OLD), stop_again: Stage::STOP_BACK,
        turn_back: TurnBack::To(Stage::RESTORE), turn_forward: Some(Stage::STOP), saves_first: Some(Stage::SAVE_NEW),
        may_discard: true, stopped: true,
        ..row(Stage::RESTORE, Work::Restore, "rolling the metadata back", RESTORING) },
    Row { by_layout: Some(after_check_old), job: Some(JobKind::Status), expects: Some(Layout::V2_1),
        turn_back: TurnBack::To(Stage::CHECK_OLD), needs_volume: false,
        ..row(Stage::CHECK_OLD, Work::CheckLayout, "checking that the metadata is 2.1 again", RESTORING) },
    Row { next: Then::Go(Stage::WAIT_OLD), resume: Stage::CHECK_OLD, turn_back: TurnBack::To(Stage::CHECK_OLD),
        ..row(Stage::START_OLD, Work::Start, "starting the old release", STARTING_OLD) },
    Row { job: Some(JobKind::Status), next: Then::Go(Stage::ROLLED_BACK), resume: Stage::CHECK_OLD,
        turn_back: TurnBack::To(Stage::CHECK_OLD), needs_volume: false,
        ..row(Stage::WAIT_OLD, Work::WaitReady, "waiting for the old release to become healthy", STARTING_OLD) },
    Row { end: Some(&end::ROLLED_BACK),
        ..row(Stage::ROLLED_BACK, Work::Nothing, "rolled back",
            "the old release became healthy again, on 2.1 metadata") },
    Row { end: Some(&end::ABORTED), untouched: true,
        ..row(Stage::ABORTED, Work::Nothing, "ended before anything was changed", UNTOUCHED) },
];

/// Whether the old release may be started on this layout: 2.1, or what it ran on before.
pub(crate) fn is_for_old(layout: Layout, before: Option<Layout>) -> bool {
    match layout {
        Layout::V2_1 | Layout::Empty => true,
        // The old release ran beside what an earlier migration had staged, or beside records of 2.2.
        Layout::Staged | Layout::Mixed => before == Some(layout),
        Layout::V2_2 => false,
    }
}

fn after_probe(layout: Layout, _: Option<Layout>, _: Policy) -> Option<Stage> {
    Some(match layout {
        // The plan finds what contradicts, and what is missing in 2.2 metadata.
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
