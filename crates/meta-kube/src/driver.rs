//! Drives the stages: records each before it begins, does its work, asks the table what follows.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::cause::Cause;
use super::client::{Client, ClientError};
use super::job_kind::JobKind;
use super::job_runner::JobFailure;
use super::lease::Held;
use super::manifest;
use super::options::Intent;
use super::preflight::{check_metadata, check_storage_roots, is_restoring};
use super::progress::ProgressObserver;
use super::stage::{Outcome, Stage, Unreached, Work, next};
use super::state::{Entered, UpgradeState, Workload};
use super::{LABEL_INSTANCE, LABEL_OPERATION, STATE_KEY, config_name, state_name};
use crate::object::ResourceExt;
use meta_report::BackupReport;
use milvus_meta::finding::Finding;
use milvus_meta::layout::Layout;
use milvus_meta::transform::PlanReport;

mod backup;
mod jobs;
mod metadata;
mod workloads;

/// How often Milvus is stopped again when another tool starts it.
const STOPS_MAX: u32 = 5;
/// How long a server that does not answer is left alone.
const OUTAGE_PAUSE: Duration = Duration::from_secs(3);

enum StageError {
    /// The stage failed; the table decides.
    Failed(String),
    /// Nothing may be decided now: something that writes may still run.
    Undecided(String),
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
    pub held: &'a Held,
    /// The upgrade state, which is saved with the first stage.
    pub state: UpgradeState,
    pub resource_version: Option<String>,
    /// The timeout of each wait.
    pub limit: Duration,
    pub stops: u32,
}

/// Reads the saved state of an instance, with its resource version.
pub(crate) async fn saved_state(
    client: &Client,
    instance: &str,
) -> Result<Option<(UpgradeState, Option<String>)>, Cause> {
    let Some(map) = client.get::<ConfigMap>(&state_name(instance)).await? else {
        return Ok(None);
    };
    let text = map.data.as_ref().and_then(|data| data.get(STATE_KEY));
    let parsed = match text {
        Some(text) => UpgradeState::parse(text),
        None => Err(format!("it has no key {STATE_KEY}")),
    };
    let state = parsed.map_err(|why| Cause::UpgradeState {
        map: map.name_any(),
        namespace: client.namespace().to_owned(),
        why,
    })?;
    Ok(Some((state, map.resource_version())))
}

impl Driver<'_> {
    /// Stops what was recreated, then drives until the end, or until the user has to decide; says whether `intent`
    /// was reached.
    pub(crate) async fn drive(
        &mut self,
        intent: Intent,
        recreated: &[Workload],
    ) -> Result<Result<(), Unreached>, Cause> {
        match self.stop_recreated(recreated).await {
            Ok(()) => {}
            Err(StageError::Broken(error)) => return Err(error),
            Err(StageError::Failed(why) | StageError::Undecided(why)) => {
                return Ok(Err(Unreached::Halted(why)));
            }
        }
        self.note_stage();
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
            let outcome = match self.outcome(stage).await {
                Ok(outcome) => outcome,
                Err(StageError::Failed(why)) => {
                    self.failed(stage, &why);
                    Outcome::Failed
                }
                Err(StageError::Undecided(why)) => {
                    self.state.failure = Some(format!("{}: {why}", stage.name()));
                    self.save().await?;
                    return Ok(Err(Unreached::Halted(why)));
                }
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

    /// Does the work of a stage, again while the API server does not answer: every stage may be started again, as a
    /// restarted command does.
    async fn outcome(&mut self, stage: Stage) -> Result<Outcome, StageError> {
        let mut outage: Option<Instant> = None;
        loop {
            let worked = match self.work(stage).await {
                Ok(outcome) => self.still_stopped(stage, outcome).await,
                problem @ Err(_) => problem,
            };
            let Err(StageError::Broken(error)) = worked else {
                return worked;
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

    /// The outcome of a stage that needs Milvus stopped, unless another tool started it meanwhile: then what was
    /// done does not count, and the metadata is verified once more.
    async fn still_stopped(
        &mut self,
        stage: Stage,
        outcome: Outcome,
    ) -> Result<Outcome, StageError> {
        if !stage.row().stopped {
            return Ok(outcome);
        }
        if let Some(added) = self.added().await? {
            return Err(StageError::Undecided(added));
        }
        let started = self.started().await?.join(", ");
        if started.is_empty() {
            return Ok(outcome);
        }
        self.restarted(&started)
    }

    /// Another tool started Milvus: it is stopped again, but not forever.
    fn restarted(&mut self, started: &str) -> Result<Outcome, StageError> {
        self.stops += 1;
        if self.stops > STOPS_MAX {
            return Err(StageError::Undecided(format!(
                "another tool keeps starting Milvus ({started}): stop that tool, then run -o resume"
            )));
        }
        self.observer.message(&format!(
            "another tool started Milvus ({started}): stopping it and repeating the steps since the stop"
        ));
        Ok(Outcome::Restarted)
    }

    fn note_stage(&mut self) {
        let now = Timestamp::from_second(Timestamp::now().as_second());
        self.state.history.push(Entered {
            stage: self.state.stage,
            at: now.unwrap_or_default().to_string(),
        });
    }

    fn failed(&mut self, stage: Stage, why: &str) {
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
        self.note_stage();
        let done = matches!(outcome, Outcome::Done);
        // Entered again, the stage is done again, with a Job of another name.
        if done && let Some(kind) = row.job.filter(|kind| kind.writes()) {
            *self.state.attempts.entry(kind).or_default() += 1;
        }
        self.save().await?;
        if done {
            self.delete_saved(stage).await;
        }
        Ok(())
    }

    /// Saves the state; another program's change of it in between ends this process.
    async fn save(&mut self) -> Result<(), Cause> {
        self.check_lease().await?;
        let begun = Instant::now();
        let mut tried = 0;
        let written = loop {
            let map = manifest::state_map(&self.state, self.resource_version.clone());
            let written = if self.resource_version.is_some() {
                self.client.replace(&map).await
            } else {
                self.client.create(&map).await
            };
            match written {
                Ok(written) => break written,
                Err(error) if error.is_conflict() => {
                    // An earlier try may have reached the server although its answer did not reach us.
                    let now = saved_state(self.client, &self.state.instance).await?;
                    match now {
                        Some((state, version)) if tried > 0 && state == self.state => {
                            self.resource_version = version;
                            return Ok(());
                        }
                        Some(_) | None => return Err(Cause::LeaseLost),
                    }
                }
                Err(error) if error.is_missing() && self.resource_version.is_some() => {
                    self.check_lease().await?;
                    self.observer
                        .message("the upgrade state was deleted: writing it again");
                    self.resource_version = None;
                }
                Err(error) if error.is_transient() && begun.elapsed() < self.limit => {
                    tried += 1;
                    tokio::time::sleep(OUTAGE_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        self.resource_version = written.metadata.resource_version;
        Ok(())
    }

    /// Nothing may be changed while another program may have the Lease.
    async fn check_lease(&self) -> Result<(), Cause> {
        if self.held.is_sure(self.limit).await {
            Ok(())
        } else {
            Err(Cause::LeaseLost)
        }
    }

    /// Does the work of a stage: the one place that knows how each work is done.
    async fn work(&mut self, stage: Stage) -> Result<Outcome, StageError> {
        let new = !stage.is_rollback();
        match stage.row().work {
            Work::Probe => return self.probe().await.map(Outcome::Metadata),
            Work::CheckLayout => return self.check_layout().await.map(Outcome::Metadata),
            Work::Plan => self.plan().await?,
            Work::CheckRollback => self.check_rollback().await?,
            Work::Stop => self.stop().await?,
            // The Job that follows waits for the sessions in etcd.
            Work::Drain => self.wait_for_no_pods().await?,
            Work::Backup => self.back_up().await?,
            Work::SaveNew => self.save_new().await?,
            Work::Migrate => self.migrate().await?,
            Work::Restore => self.restore().await?,
            Work::Verify => self.verify().await?,
            Work::Start => self.start(new).await?,
            Work::WaitReady => return self.wait_ready(new).await,
            Work::Nothing => {}
        }
        Ok(Outcome::Done)
    }

    /// Proves image, volume and etcd with a Job that only reads, while Milvus still runs.
    async fn probe(&mut self) -> Result<Layout, StageError> {
        let status = self.status().await?;
        let runs = !self.started().await?.is_empty();
        let mut findings = check_metadata(&status, &self.state.etcd, &self.state.accepted, runs);
        findings.retain(Finding::is_error);
        if !findings.is_empty() {
            let errors: Vec<String> = findings.into_iter().map(|one| one.message).collect();
            return fail(errors.join("; "));
        }
        self.state.layout_before = Some(status.layout);
        Ok(self.reported(status.layout))
    }

    /// The layout once no Job can change it any more.
    async fn check_layout(&mut self) -> Result<Layout, StageError> {
        self.end_writers().await?;
        let status = self.unlocked_status().await?;
        if is_restoring(&status) {
            return fail("a restore of the metadata is unfinished: no release is started on it");
        }
        Ok(self.reported(status.layout))
    }

    fn reported(&self, layout: Layout) -> Layout {
        self.observer
            .message(&format!("the metadata is {}", layout.name()));
        layout
    }

    /// Plans the migration, and compares where the files are with where the new release will look for them. The
    /// findings are shown while Milvus still runs.
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
        match findings.iter().find(|one| one.is_error()) {
            Some(error) => fail(format!("{} [{}]", error.message, error.code)),
            None => Ok(()),
        }
    }

    /// Checks the backup, and that a rollback loses nothing that was not accepted, while Milvus still runs.
    async fn check_rollback(&mut self) -> Result<(), StageError> {
        if !self.state.has_backup {
            return fail(
                "this upgrade has no backup, because there was no 2.1 metadata: nothing to roll back to",
            );
        }
        self.require_deployments().await?;
        if let Some(added) = self.added().await? {
            return fail(added);
        }
        self.run(JobKind::Preview).await.map(|_| ())
    }

    /// What is given up is saved anyway.
    async fn save_new(&mut self) -> Result<(), StageError> {
        let is_saved = self.state.saved.is_some();
        if is_saved || !self.state.policy.accept_loss {
            return Ok(());
        }
        let report: Option<BackupReport> = self.report(JobKind::Save).await?;
        let file = report.map_or_else(|| self.state.saved_file(), |report| report.path);
        self.observer
            .message(&format!("what the new release wrote is saved in {file}"));
        self.state.saved = Some(file);
        Ok(())
    }

    /// Removes Jobs and configuration, those of earlier operations too; the volume and the saved state stay for
    /// a rollback.
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
