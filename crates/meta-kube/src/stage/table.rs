//! The table of stages. Adding a stage is adding a row; the tests of this module and the crash model check it.

use super::end::{self, End};
use super::{Next, Stage};
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

type ByLayout = fn(Layout, Option<Layout>, Policy) -> Next;

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

/// What a row says beyond its defaults.
#[rustfmt::skip]
impl Row {
    const fn job(self, kind: JobKind) -> Self { Self { job: Some(kind), ..self } }
    const fn next(self, stage: Stage) -> Self { Self { next: Then::Go(stage), ..self } }
    const fn reads_layout(self, decides: ByLayout) -> Self { Self { by_layout: Some(decides), job: Some(JobKind::Status), ..self } }
    const fn expects(self, layout: Layout) -> Self { Self { expects: Some(layout), ..self } }
    const fn keeps_failure(self) -> Self { Self { keeps_failure: true, ..self } }
    const fn failed(self, then: Then) -> Self { Self { failed: then, ..self } }
    const fn resume(self, stage: Stage) -> Self { Self { resume: stage, ..self } }
    const fn again(self, stage: Stage) -> Self { Self { stop_again: stage, ..self } }
    const fn back(self, begin: TurnBack) -> Self { Self { turn_back: begin, ..self } }
    const fn forward(self, stage: Stage) -> Self { Self { turn_forward: Some(stage), ..self } }
    const fn enter(self, effects: &'static [Effect]) -> Self { Self { on_enter: effects, ..self } }
    const fn success(self, effects: &'static [Effect]) -> Self { Self { on_success: effects, ..self } }
    const fn on_rollback(self, effects: &'static [Effect]) -> Self { Self { on_rollback: effects, ..self } }
    const fn end(self, end: &'static End) -> Self { Self { end: Some(end), ..self } }
    const fn migrated(self, meaning: &'static str) -> Self { Self { meaning_migrated: meaning, ..self } }
    const fn untouched(self) -> Self { Self { untouched: true, ..self } }
    const fn no_volume(self) -> Self { Self { needs_volume: false, ..self } }
    const fn proves(self) -> Self { Self { proves: true, ..self } }
    const fn counts(self) -> Self { Self { counts: true, ..self } }
    const fn plan_open(self) -> Self { Self { plan_open: true, ..self } }
    const fn takes_image(self) -> Self { Self { takes_image: true, ..self } }
    const fn saves_first(self, stage: Stage) -> Self { Self { saves_first: Some(stage), ..self } }
    const fn may_discard(self) -> Self { Self { may_discard: true, ..self } }
    const fn stopped(self) -> Self { Self { stopped: true, ..self } }
    const fn runs(self) -> Self { Self { runs: true, ..self } }
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
    row(Stage::PROBE, Work::Probe, "probing image, volume and etcd", UNTOUCHED)
        .reads_layout(after_probe).failed(Then::Go(Stage::ABORTED)).back(TurnBack::To(Stage::ABORTED))
        .untouched().proves().plan_open(),
    row(Stage::PLAN, Work::Plan, "planning the migration", UNTOUCHED)
        .job(JobKind::Plan).next(Stage::STOP).failed(Then::Go(Stage::ABORTED)).resume(Stage::PROBE)
        .back(TurnBack::To(Stage::ABORTED)).untouched().plan_open(),
    row(Stage::STOP, Work::Stop, "stopping Milvus", STOPPING).migrated(STOPPED)
        .next(Stage::DRAIN).failed(Then::Diagnose).back(TurnBack::CheckUnlessMigrated).counts().plan_open(),
    row(Stage::DRAIN, Work::Drain, "waiting for pods to end", STOPPING).migrated(STOPPED)
        .next(Stage::BACKUP).failed(Then::Diagnose).again(Stage::STOP)
        .back(TurnBack::CheckUnlessMigrated).plan_open().stopped(),
    row(Stage::BACKUP, Work::Backup, "backing up the metadata", STOPPING).migrated(STOPPED)
        .job(JobKind::Backup).next(Stage::MIGRATE).failed(Then::Diagnose).again(Stage::STOP)
        .back(TurnBack::CheckUnlessMigrated).plan_open().stopped(),
    row(Stage::MIGRATE, Work::Migrate, "migrating the metadata", STOPPED)
        .job(JobKind::Migrate).next(Stage::VERIFY).failed(Then::Go(Stage::DIAGNOSE)).again(Stage::STOP)
        .back(TurnBack::To(Stage::STOP_BACK)).plan_open().stopped(),
    row(Stage::VERIFY, Work::Verify, "verifying the 2.2 metadata",
        "Milvus is stopped; its metadata was migrated and is being verified")
        .job(JobKind::Verify).next(Stage::START_NEW).failed(Then::RollBack).again(Stage::STOP)
        .back(TurnBack::To(Stage::STOP_BACK)).success(&[Effect::Verified]).stopped(),
    row(Stage::CHECK_NEW, Work::CheckLayout, "checking that the metadata is still 2.2", STARTING)
        .reads_layout(after_check_new).expects(Layout::V2_2).again(Stage::STOP).back(TurnBack::To(Stage::STOP_BACK)).no_volume().takes_image(),
    row(Stage::START_NEW, Work::Start, "starting the new release", STARTING)
        .next(Stage::WAIT_NEW).failed(Then::RollBack).resume(Stage::CHECK_NEW).again(Stage::STOP)
        .back(TurnBack::To(Stage::STOP_BACK)).enter(&[Effect::NothingSaved]).on_rollback(&[Effect::LossAccepted])
        .takes_image(),
    row(Stage::WAIT_NEW, Work::WaitReady, "waiting for the new release to become healthy", STARTING)
        .next(Stage::UPGRADED).failed(Then::RollBack).resume(Stage::CHECK_NEW).again(Stage::STOP)
        .back(TurnBack::To(Stage::STOP_BACK)).success(&[Effect::FailureOver]).on_rollback(&[Effect::LossAccepted])
        .takes_image(),
    row(Stage::UPGRADED, Work::Nothing, "upgraded", HEALTHY)
        .back(TurnBack::To(Stage::CHECK_ROLLBACK)).enter(&[Effect::NoRollback]).end(&end::UPGRADED),
    row(Stage::DIAGNOSE, Work::CheckLayout, "checking the metadata", STOPPED)
        .reads_layout(after_diagnosis).expects(Layout::V2_1).keeps_failure().resume(Stage::STOP).again(Stage::STOP).back(TurnBack::To(Stage::STOP_BACK))
        .no_volume().plan_open(),
    row(Stage::CHECK_ROLLBACK, Work::CheckRollback, "checking that a rollback is possible", HEALTHY)
        .job(JobKind::Preview).next(Stage::STOP_BACK).failed(Then::Go(Stage::UPGRADED))
        .back(TurnBack::To(Stage::CHECK_ROLLBACK)).forward(Stage::CHECK_NEW).runs(),
    row(Stage::STOP_BACK, Work::Stop, "rollback: stopping Milvus", STOPPING_BACK)
        .next(Stage::DRAIN_BACK).back(TurnBack::To(Stage::STOP_BACK)).forward(Stage::STOP),
    row(Stage::DRAIN_BACK, Work::Drain, "rollback: waiting for pods to end", STOPPING_BACK)
        .next(Stage::SAVE_NEW).again(Stage::STOP_BACK).back(TurnBack::To(Stage::DRAIN_BACK))
        .forward(Stage::STOP).stopped(),
    row(Stage::SAVE_NEW, Work::SaveNew, "rollback: saving what the new release wrote", STOPPING_BACK)
        .job(JobKind::Save).next(Stage::RESTORE).again(Stage::STOP_BACK).back(TurnBack::To(Stage::SAVE_NEW))
        .forward(Stage::STOP).may_discard().stopped(),
    row(Stage::RESTORE, Work::Restore, "rolling the metadata back", RESTORING)
        .job(JobKind::Rollback).next(Stage::CHECK_OLD).again(Stage::STOP_BACK).back(TurnBack::To(Stage::RESTORE))
        .forward(Stage::STOP).saves_first(Stage::SAVE_NEW).may_discard().stopped(),
    row(Stage::CHECK_OLD, Work::CheckLayout, "checking that the metadata is 2.1 again", RESTORING)
        .reads_layout(after_check_old).expects(Layout::V2_1).back(TurnBack::To(Stage::CHECK_OLD)).no_volume(),
    row(Stage::START_OLD, Work::Start, "starting the old release", STARTING_OLD)
        .next(Stage::WAIT_OLD).resume(Stage::CHECK_OLD).back(TurnBack::To(Stage::CHECK_OLD)),
    row(Stage::WAIT_OLD, Work::WaitReady, "waiting for the old release to become healthy", STARTING_OLD)
        .job(JobKind::Status).next(Stage::ROLLED_BACK).resume(Stage::CHECK_OLD).back(TurnBack::To(Stage::CHECK_OLD))
        .no_volume(),
    row(Stage::ROLLED_BACK, Work::Nothing, "rolled back", "the old release became healthy again, on 2.1 metadata")
        .end(&end::ROLLED_BACK),
    row(Stage::ABORTED, Work::Nothing, "ended before anything was changed", UNTOUCHED)
        .end(&end::ABORTED).untouched(),
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

fn after_probe(layout: Layout, _: Option<Layout>, _: Policy) -> Next {
    Next::Go(match layout {
        // The plan finds what contradicts, and what is missing in 2.2 metadata.
        Layout::V2_1 | Layout::Staged | Layout::Mixed | Layout::V2_2 => Stage::PLAN,
        Layout::Empty => Stage::STOP,
    })
}

fn after_check_new(layout: Layout, _: Option<Layout>, _: Policy) -> Next {
    match layout {
        Layout::V2_2 | Layout::Empty => Next::Go(Stage::START_NEW),
        Layout::V2_1 | Layout::Staged | Layout::Mixed => Next::Halt,
    }
}

fn after_check_old(layout: Layout, before: Option<Layout>, _: Policy) -> Next {
    if is_for_old(layout, before) {
        Next::Go(Stage::START_OLD)
    } else {
        Next::Halt
    }
}

fn after_diagnosis(layout: Layout, before: Option<Layout>, policy: Policy) -> Next {
    match layout {
        _ if is_for_old(layout, before) && policy.stay_down => Next::Halt,
        _ if is_for_old(layout, before) => Next::Go(Stage::START_OLD),
        // 2.1 is intact; the staged keys next to it are removed.
        Layout::Staged if !policy.stay_down => Next::Go(Stage::RESTORE),
        // After a second stop that failed, the new release may still run.
        Layout::V2_2 | Layout::Mixed if policy.rollback_on_failure => Next::Go(Stage::STOP_BACK),
        Layout::V2_1 | Layout::Empty | Layout::Staged | Layout::V2_2 | Layout::Mixed => Next::Halt,
    }
}
