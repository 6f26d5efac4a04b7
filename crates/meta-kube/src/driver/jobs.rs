//! Runs steps as Jobs: decides which attempt counts, and prepares what an attempt needs.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{Driver, StageError, fail};
use crate::client::ClientError;
use crate::condition::{JobState, job_state};
use crate::job_kind::JobKind;
use crate::job_runner::{JobFailure, Runner, report};
use crate::manifest;
use crate::object::ResourceExt;
use crate::stage::Stage;
use crate::state::ATTEMPTS_MAX;
use crate::{LABEL_INSTANCE, LABEL_STEP, config_name, job_name};

/// Pause before a Job tries etcd again.
const UNREACHED_PAUSE: Duration = Duration::from_secs(5);

impl Driver<'_> {
    /// Runs a step as a Job and returns the last report of type `T` in its output.
    pub(super) async fn report<T: DeserializeOwned>(
        &mut self,
        step: JobKind,
    ) -> Result<Option<T>, StageError> {
        Ok(report(&self.run(step).await?))
    }

    /// Runs a step as a Job and returns its output.
    ///
    /// Read-only steps run again each time. For steps that write, a running Job of an earlier
    /// process is awaited, and one that succeeded counts.
    pub(super) async fn run(&mut self, step: JobKind) -> Result<String, StageError> {
        self.prepare().await?;
        let mut attempt = self.state.attempt(step);
        if attempt == 0 || self.needs_new_attempt(step, attempt).await? {
            if attempt > 0 {
                self.delete_job(step, attempt).await?;
            }
            attempt = self.next_attempt(step).await?;
        }
        let mut tries = 1;
        let mut unreached: Option<Instant> = None;
        loop {
            self.check_lease().await?;
            match self.runner().run(&self.state, step, attempt).await {
                Ok(text) => {
                    if !step.leaves_result() {
                        self.delete_job(step, attempt).await?;
                    }
                    return Ok(text);
                }
                Err(problem @ (JobFailure::Client(_) | JobFailure::StillRunning(_))) => {
                    return Err(problem.into());
                }
                Err(JobFailure::Ended {
                    why,
                    again,
                    unreachable,
                    ..
                }) => {
                    let since = unreached.get_or_insert_with(Instant::now);
                    let row = self.state.stage.row();
                    // Milvus is stopped for this upgrade and etcd was reachable before: wait for it
                    // as for the API server.
                    let waits = unreachable
                        && !row.untouched
                        && !row.milvus_runs
                        && since.elapsed() < self.limit;
                    if waits {
                        tokio::time::sleep(UNREACHED_PAUSE).await;
                    } else if !again || tries >= ATTEMPTS_MAX {
                        return fail(why);
                    } else {
                        tries += 1;
                    }
                    self.observer.message(&format!("{why}: trying again"));
                    self.delete_job(step, attempt).await?;
                    attempt = self.next_attempt(step).await?;
                }
            }
        }
    }

    /// Deletes the Job whose result was saved with the next stage. The backup's Job stays: it names
    /// the backup if the upgrade state is lost.
    pub(super) async fn delete_finished_job(&self, stage: Stage) {
        if let Some(kind) = stage.row().job.filter(|kind| kind.writes()) {
            let attempt = self.state.attempt(kind).saturating_sub(1);
            // A remaining Job does no harm: the next one has another name.
            if let Err(error) = self.delete_job(kind, attempt).await {
                tracing::warn!(%error, "a finished Job is left");
            }
        }
    }

    /// Deletes a Job that is no longer needed: each one counts against a quota.
    async fn delete_job(&self, step: JobKind, attempt: u32) -> Result<(), ClientError> {
        let name = job_name(step.name(), &self.state.operation, attempt);
        self.client.delete::<Job>(&name).await
    }

    fn runner(&self) -> Runner<'_> {
        Runner {
            client: self.client,
            observer: self.observer,
            limit: self.limit,
        }
    }

    /// Ends all Jobs of this instance that could still change the metadata, whichever operation
    /// created them, so that the layout found afterwards cannot change.
    pub(super) async fn end_writers(&self) -> Result<(), StageError> {
        let selector = format!(
            "{LABEL_INSTANCE}={},{LABEL_STEP} in ({},{})",
            self.state.instance,
            JobKind::Migrate.name(),
            JobKind::Rollback.name()
        );
        let jobs: Vec<Job> = self.client.list(&selector).await?;
        for job in jobs {
            self.check_lease().await?;
            self.runner().finish(&job.name_any()).await?;
        }
        Ok(())
    }

    pub(super) async fn next_attempt(&mut self, step: JobKind) -> Result<u32, StageError> {
        let attempt = self.state.attempt(step) + 1;
        self.state.attempts.insert(step, attempt);
        self.save().await?;
        Ok(attempt)
    }

    /// Whether a recorded attempt cannot be used again.
    async fn needs_new_attempt(&self, step: JobKind, attempt: u32) -> Result<bool, StageError> {
        if !step.leaves_result() {
            return Ok(true);
        }
        let name = job_name(step.name(), &self.state.operation, attempt);
        let found: Option<Job> = self.client.get(&name).await?;
        Ok(found.is_some_and(|job| matches!(job_state(&job), JobState::Failed(_))))
    }

    /// Creates what the Jobs need, if missing.
    async fn prepare(&self) -> Result<(), StageError> {
        let config = manifest::config_map(&self.state);
        let name = config_name(&self.state.operation);
        let found: Option<ConfigMap> = self.client.get(&name).await?;
        match found {
            Some(found) if found.data == config.data => {}
            Some(_) => drop(self.client.replace(&config).await?),
            None => drop(self.client.create(&config).await?),
        }
        let name = &self.state.claim;
        if self.state.stage.row().needs_volume {
            let found: Option<PersistentVolumeClaim> = self.client.get(name).await?;
            if found.is_none() {
                return fail(format!("the volume claim {name} does not exist"));
            }
        }
        Ok(())
    }
}
