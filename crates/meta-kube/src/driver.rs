//! Drives the stages: records each one, performs its action, and looks up the next one in the table.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use tokio::time::Instant;

use super::cause::Cause;
use super::client::{Client, ClientError};
use super::job_kind::JobKind;
use super::job_runner::JobFailure;
use super::lease::HeldLease;
use super::options::Intent;
use super::preflight::check_storage_roots;
use super::progress::ProgressObserver;
use super::stage::{Action, Outcome, Stage, Unreached, next};
use super::state::{UpgradeState, Workload};
use super::{LABEL_INSTANCE, LABEL_OPERATION, config_name};
use crate::object::ResourceExt;
use milvus_meta::transform::PlanReport;

mod backup;
mod jobs;
mod metadata;
mod saved_state;
mod workloads;

pub(crate) use saved_state::saved_state;

/// How many times Milvus is stopped again after another tool started it.
const STOPS_MAX: u32 = 5;
/// Pause before the next request to an API server that does not answer.
const OUTAGE_PAUSE: Duration = Duration::from_secs(3);

enum StageError {
    /// The stage failed; the table decides what follows.
    Failed(String),
    /// No decision is possible now: a process that writes may still be running.
    Undecided(String),
    /// Another tool started these Deployments: Milvus must be stopped again.
    Restarted(String),
    /// The process cannot continue.
    Broken(Cause),
}

fn fail<T>(why: impl Into<String>) -> Result<T, StageError> {
    Err(StageError::Failed(why.into()))
}

impl From<ClientError> for StageError {
    fn from(error: ClientError) -> Self {
        if error.is_transient() {
            Self::Broken(error.into())
        } else {
            Self::Failed(error.to_string())
        }
    }
}

/// A Job that takes too long, or ended before its program did, may have written.
impl From<JobFailure> for StageError {
    fn from(failure: JobFailure) -> Self {
        match failure {
            JobFailure::Client(error) => error.into(),
            JobFailure::StillRunning(why) | JobFailure::Ended { why, .. } => Self::Undecided(why),
        }
    }
}

impl From<Cause> for StageError {
    fn from(error: Cause) -> Self {
        Self::Broken(error)
    }
}

/// One operation in progress.
pub(crate) struct Driver<'a> {
    pub client: &'a Client,
    pub observer: &'a dyn ProgressObserver,
    pub lease: &'a HeldLease,
    /// The upgrade state, saved with the first stage.
    pub state: UpgradeState,
    pub resource_version: Option<String>,
    /// The timeout of each wait.
    pub limit: Duration,
    pub stops: u32,
}

impl Driver<'_> {
    /// Stops recreated Deployments, then runs stages until the end or until the user must decide.
    /// Returns whether `intent` was reached.
    pub(crate) async fn drive(
        &mut self,
        intent: Intent,
        recreated: &[Workload],
    ) -> Result<Result<(), Unreached>, Cause> {
        match self.stop_recreated(recreated).await {
            Ok(()) => {}
            Err(StageError::Broken(error)) => return Err(error),
            Err(
                StageError::Failed(why) | StageError::Undecided(why) | StageError::Restarted(why),
            ) => return Ok(Err(Unreached::Halted(why))),
        }
        self.record_stage();
        self.save().await?;
        loop {
            let stage = self.state.stage;
            self.observer.message(stage.name());
            if let Some(end) = stage.row().end {
                let failure = self.state.failure.clone();
                return Ok((end.reached)(
                    intent,
                    self.state.rollback_requested,
                    failure,
                ));
            }
            let outcome = match self.run_stage(stage).await {
                Ok(outcome) => outcome,
                Err(StageError::Failed(why)) => {
                    self.record_failure(stage, &why);
                    Outcome::Failed
                }
                Err(StageError::Restarted(started)) if self.stops < STOPS_MAX => {
                    self.stops += 1;
                    self.observer.message(&format!(
                        "another tool started Milvus ({started}): stopping it and repeating the steps since the stop"
                    ));
                    Outcome::Restarted
                }
                Err(StageError::Restarted(started)) => {
                    let why = format!(
                        "another tool keeps starting Milvus ({started}): stop that tool, then run -o resume"
                    );
                    return self.halt(why).await;
                }
                Err(StageError::Undecided(why)) => return self.halt(why).await,
                Err(StageError::Broken(error)) => return Err(error),
            };
            let before = self.state.layout_before;
            let Some(following) = next(stage, outcome, before, self.state.policy) else {
                self.save().await?;
                let mismatch = || {
                    let stage = stage.name();
                    format!("{stage}: the metadata does not match the saved upgrade state")
                };
                let why = self.state.failure.clone().unwrap_or_else(mismatch);
                return Ok(Err(Unreached::Halted(why)));
            };
            self.enter(stage, outcome, following).await?;
        }
    }

    /// Ends at the current stage, because the user must act first.
    async fn halt(&mut self, why: String) -> Result<Result<(), Unreached>, Cause> {
        self.state.failure = Some(format!("{}: {why}", self.state.stage.name()));
        self.save().await?;
        Ok(Err(Unreached::Halted(why)))
    }

    /// Runs a stage, and runs it again while the API server does not answer: every stage can be
    /// repeated, as after a restart.
    async fn run_stage(&mut self, stage: Stage) -> Result<Outcome, StageError> {
        let mut outage: Option<Instant> = None;
        loop {
            let ended = self.perform_stopped(stage).await;
            let Err(StageError::Broken(error)) = ended else {
                return ended;
            };
            let since = *outage.get_or_insert_with(Instant::now);
            let is_outage = matches!(&error, Cause::Client(failed) if failed.is_transient());
            if !is_outage || since.elapsed() >= self.limit {
                return Err(error.into());
            }
            let reported = format!("the API server does not answer, trying again: {error}");
            self.observer.message(&reported);
            tokio::time::sleep(OUTAGE_PAUSE).await;
        }
    }

    /// Performs the action of a stage, and confirms that Milvus is still stopped if the stage
    /// requires it. Otherwise the result does not count.
    async fn perform_stopped(&mut self, stage: Stage) -> Result<Outcome, StageError> {
        let outcome = self.perform(stage).await?;
        if stage.row().requires_stop {
            if let Some(added) = self.added_deployments().await? {
                return Err(StageError::Undecided(added));
            }
            let started = self.running_deployments().await?;
            if !started.is_empty() {
                return Err(StageError::Restarted(started.join(", ")));
            }
        }
        Ok(outcome)
    }

    fn record_failure(&mut self, stage: Stage, why: &str) {
        self.observer.message(&format!("failed: {why}"));
        let first = self.state.failure.take();
        self.state.failure = Some(match first {
            Some(first) if stage.row().keeps_failure => {
                format!("{first}; then, {}: {why}", stage.name())
            }
            Some(_) | None => format!("{}: {why}", stage.name()),
        });
    }

    async fn enter(
        &mut self,
        stage: Stage,
        outcome: Outcome,
        following: Stage,
    ) -> Result<(), Cause> {
        let row = stage.row();
        let effects = match outcome {
            Outcome::Done | Outcome::Metadata(_) => row.on_success,
            Outcome::Failed if following.is_rollback() => row.on_rollback,
            Outcome::Failed | Outcome::Restarted => &[],
        };
        for effect in effects.iter().chain(following.row().on_enter) {
            self.state.apply(*effect);
        }
        self.state.stage = following;
        self.record_stage();
        let done = matches!(outcome, Outcome::Done);
        // When the stage is entered again, it runs again, in a Job with another name.
        if done && let Some(kind) = row.job.filter(|kind| kind.writes()) {
            *self.state.attempts.entry(kind).or_default() += 1;
        }
        self.save().await?;
        if done {
            self.delete_finished_job(stage).await;
        }
        Ok(())
    }

    /// Performs the action of a stage.
    async fn perform(&mut self, stage: Stage) -> Result<Outcome, StageError> {
        let new = !stage.is_rollback();
        match stage.row().action {
            Action::Probe => return self.probe().await.map(Outcome::Metadata),
            Action::CheckLayout => return self.check_layout().await.map(Outcome::Metadata),
            Action::Plan => self.plan().await?,
            Action::CheckRollback => self.check_rollback().await?,
            Action::Stop => self.stop().await?,
            // The Job that follows waits for the sessions in etcd.
            Action::Drain => self.wait_for_no_pods().await?,
            Action::Backup => self.back_up().await?,
            Action::SaveNew => self.save_new().await?,
            Action::Migrate => self.migrate().await?,
            Action::Restore => self.restore().await?,
            Action::Verify => self.verify().await?,
            Action::Start => self.start(new).await?,
            Action::WaitReady => self.wait_ready(new).await?,
            Action::Nothing => {}
        }
        Ok(Outcome::Done)
    }

    /// Plans the migration, and compares the storage roots in the metadata with the configured one.
    /// Reports the findings while Milvus still runs.
    async fn plan(&mut self) -> Result<(), StageError> {
        let plan: Option<PlanReport> = self.report(JobKind::Plan).await?;
        let (mut findings, roots) = plan
            .map(|plan| (plan.findings, plan.storage_roots))
            .unwrap_or_default();
        let configured = self.state.storage_root.as_ref();
        findings.extend(
            configured.and_then(|configured| {
                check_storage_roots(configured, &roots, &self.state.accepted)
            }),
        );
        findings.sort();
        self.observer.findings(&findings);
        self.state.keep_findings(&findings);
        match findings.iter().find(|one| one.is_error()) {
            Some(error) => fail(format!("{} [{}]", error.message, error.code)),
            None => Ok(()),
        }
    }

    /// Checks, while Milvus still runs, the backup and that a rollback loses only what was accepted.
    async fn check_rollback(&mut self) -> Result<(), StageError> {
        if !self.state.has_backup {
            return fail(
                "this upgrade has no backup, because there was no 2.1 metadata: nothing to roll back to",
            );
        }
        self.require_deployments().await?;
        if let Some(added) = self.added_deployments().await? {
            return fail(added);
        }
        self.run(JobKind::Preview).await.map(|_| ())
    }

    /// Deletes the Jobs and configuration of this and earlier operations. The volume and the saved
    /// state stay for a rollback.
    pub(crate) async fn clean_up(&self) -> Result<(), Cause> {
        let selector = format!("{LABEL_INSTANCE}={}", self.state.instance);
        let jobs: Vec<Job> = self.client.list(&selector).await?;
        let mut operations = BTreeSet::from([self.state.operation.clone()]);
        for job in jobs {
            operations.extend(job.labels().get(LABEL_OPERATION).cloned());
            self.client.delete::<Job>(&job.name_any()).await?;
        }
        for operation in operations {
            let config = config_name(&operation);
            self.client.delete::<ConfigMap>(&config).await?;
        }
        self.observer.message(&format!(
            "Jobs and configuration are deleted; the backup is kept in volume claim {}",
            self.state.claim
        ));
        Ok(())
    }
}
