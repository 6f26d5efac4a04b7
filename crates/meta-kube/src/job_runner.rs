//! Runs a Job to its end, shows its log, and reports why it failed.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use crate::client::{Client, ClientError};
use crate::condition::{JobState, has_started, job_state, phase, terminated};
use crate::job_kind::JobKind;
use crate::manifest;
use crate::object::ResourceExt;
use crate::progress::ProgressObserver;
use crate::state::UpgradeState;
use crate::{CONTAINER, POLL_INTERVAL, job_name};

mod failure;
mod output;
mod start;

pub(crate) use failure::JobFailure;
use failure::failed;
pub(crate) use output::report;

/// How long a problem must last before it is reported.
const REPORT_AFTER: Duration = Duration::from_secs(5);
/// The likely state of a pod that has a node and no problem, but does not run yet.
const SLOW: &str = "its images are being pulled, or its volumes mounted";
/// Factor of the timeout for a Job that writes, once it runs.
const WRITING_FACTOR: u32 = 8;

pub(crate) struct Runner<'a> {
    pub client: &'a Client,
    /// Receives the log lines.
    pub observer: &'a dyn ProgressObserver,
    /// Timeout for a pod to start, and for a read-only step to end.
    pub limit: Duration,
}

/// Progress of a Job so far.
struct Watch {
    begun: Instant,
    started: Option<Instant>,
    /// Since when a problem has kept the Job from starting.
    problem: Option<Instant>,
    reported: String,
    shown: BTreeMap<String, usize>,
    logs: BTreeMap<String, String>,
}

impl Runner<'_> {
    /// Creates the Job unless it exists, waits for its end, and returns the output of its pods.
    pub(crate) async fn run(
        &self,
        state: &UpgradeState,
        step: JobKind,
        attempt: u32,
    ) -> Result<String, JobFailure> {
        let name = job_name(step.name(), &state.operation, attempt);
        if self.client.get::<Job>(&name).await?.is_none() {
            let job = manifest::job::job(state, step, attempt);
            self.client.create_unless_exists::<Job>(job).await?;
        }
        let mut watch = Watch {
            begun: Instant::now(),
            started: None,
            problem: None,
            reported: String::new(),
            shown: BTreeMap::new(),
            logs: BTreeMap::new(),
        };
        loop {
            let Some(job) = self.client.get::<Job>(&name).await? else {
                let why = format!("the Job {name} was deleted");
                return Err(JobFailure::deleted(why, true));
            };
            let pods = self.pods(&name).await?;
            self.show_logs(step, &pods, &mut watch).await;
            match job_state(&job) {
                JobState::Complete => return Ok(output_of(&pods, &watch)),
                JobState::Failed(reason) => {
                    let text = output_of(&pods, &watch);
                    return Err(failed(&name, &reason, &pods, &text));
                }
                JobState::Running => {}
            }
            self.check(state, step, &name, &pods, &mut watch).await?;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Ends a Job of an earlier process: waits for it if it runs, or deletes it if its pod did not
    /// start, because it could otherwise start during a later stage.
    pub(crate) async fn finish(&self, name: &str) -> Result<(), JobFailure> {
        let begun = Instant::now();
        let limit = self.limit * WRITING_FACTOR;
        let mut reported = false;
        loop {
            let job: Option<Job> = self.client.get(name).await?;
            let pods = self.pods(name).await?;
            let runs = job.is_some_and(|job| job_state(&job) == JobState::Running);
            if !runs && pods.iter().all(is_over) {
                return Ok(());
            }
            if runs && !pods.iter().any(|pod| has_started(pod, CONTAINER)) {
                let why = format!("the Job {name} did not start: deleting it");
                self.observer.message(&why);
                return match self.remove_job(name, why).await {
                    JobFailure::Ended { .. } => Ok(()),
                    still @ (JobFailure::StillRunning(_) | JobFailure::Client(_)) => Err(still),
                };
            }
            if begun.elapsed() >= limit {
                return Err(JobFailure::StillRunning(format!(
                    "the Job {name} still runs after {} s and must end first. -o resume waits for it",
                    limit.as_secs()
                )));
            }
            if !reported {
                self.observer.message(&format!("waiting for {name} to end"));
                reported = true;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn pods(&self, name: &str) -> Result<Vec<Pod>, ClientError> {
        self.client.list(&format!("job-name={name}")).await
    }

    async fn show_logs(&self, step: JobKind, pods: &[Pod], watch: &mut Watch) {
        for pod in pods.iter().filter(|pod| has_started(pod, CONTAINER)) {
            let name = pod.name_any();
            let log = self.client.log(&name).await;
            let shown = watch.shown.entry(name.clone()).or_default();
            let complete = log.rfind('\n').map_or(0, |end| end + 1);
            if let Some(fresh) = log.get(*shown..complete) {
                for line in fresh.lines().filter(|line| output::is_for_users(line)) {
                    self.observer.log(step, line);
                }
                *shown = complete;
            }
            if log.len() >= watch.logs.get(&name).map_or(0, String::len) {
                watch.logs.insert(name, log);
            }
        }
    }

    /// Ends a Job that does not start, and reports one that takes too long.
    async fn check(
        &self,
        state: &UpgradeState,
        step: JobKind,
        name: &str,
        pods: &[Pod],
        watch: &mut Watch,
    ) -> Result<(), JobFailure> {
        if pods.iter().any(|pod| has_started(pod, CONTAINER)) {
            return self.check_running(step, name, watch).await;
        }
        let (reported, timeout) = self.start_problem(state, name, pods).await?;
        let since = watch.problem.unwrap_or_else(Instant::now);
        watch.problem = reported.as_ref().map(|_| since);
        // Every Job is without a pod for a moment.
        let (message, after) = match reported.as_deref() {
            Some(problem) => (problem, since + REPORT_AFTER),
            None => (SLOW, watch.begun + REPORT_AFTER * 2),
        };
        let is_new = watch.reported != message && (reported.is_some() || watch.reported.is_empty());
        if is_new && Instant::now() >= after {
            self.observer
                .message(&format!("waiting for {name} to start: {message}"));
            message.clone_into(&mut watch.reported);
        }
        if let Some(reported) = &reported
            && since.elapsed() >= timeout.min(self.limit)
        {
            let why = format!("the Job {name} does not start: {reported}");
            return Err(self.remove_job(name, why).await);
        }
        if watch.begun.elapsed() >= self.limit {
            let reason = reported.unwrap_or_else(|| "no reason is known".to_owned());
            let why = format!(
                "the Job {name} did not start within {} s: {reason}",
                self.limit.as_secs()
            );
            return Err(self.remove_job(name, why).await);
        }
        Ok(())
    }

    /// Ends a Job that takes too long, unless it writes.
    async fn check_running(
        &self,
        step: JobKind,
        name: &str,
        watch: &mut Watch,
    ) -> Result<(), JobFailure> {
        let started = *watch.started.get_or_insert_with(Instant::now);
        let factor = if step.writes() { WRITING_FACTOR } else { 1 };
        let limit = self.limit * factor;
        if started.elapsed() < limit {
            return Ok(());
        }
        let mut logs = watch.logs.values().rev();
        let last = logs.find_map(|log| log.trim_end().lines().next_back());
        let last = last.map(|line| format!(": {line}")).unwrap_or_default();
        let why = format!(
            "the Job {name} still runs after {} s{last}",
            limit.as_secs()
        );
        if step.writes() {
            return Err(JobFailure::StillRunning(format!(
                "{why}; it is not ended, as it writes. -o resume waits for it"
            )));
        }
        Err(self.remove_job(name, why).await)
    }

    /// Deletes a Job, so that it cannot start during a later stage.
    async fn remove_job(&self, name: &str, why: String) -> JobFailure {
        let begun = Instant::now();
        if let Err(error) = self.client.delete::<Job>(name).await {
            return JobFailure::StillRunning(format!("{why}; and it cannot be deleted: {error}"));
        }
        loop {
            match self.pods(name).await {
                Ok(pods) if pods.is_empty() => return JobFailure::deleted(why, false),
                Ok(_) | Err(_) if begun.elapsed() >= self.limit => {
                    return JobFailure::StillRunning(format!("{why}; and its pod is not deleted"));
                }
                Ok(_) | Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }
}

fn is_over(pod: &Pod) -> bool {
    matches!(phase(pod), Some("Succeeded" | "Failed"))
}

/// The output of the pods. Termination messages are last, because they are complete.
fn output_of(pods: &[Pod], watch: &Watch) -> String {
    let messages = pods
        .iter()
        .filter_map(|pod| terminated(pod, CONTAINER)?.message.clone());
    let logs = watch.logs.values().cloned();
    logs.chain(messages).map(|text| text + "\n").collect()
}
