//! Runs one Job to its end, shows its log, and tells why it failed.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::client::{Client, ClientError};
use crate::condition::{
    JobState, claim_problem, ended, has_started, is_worth_another_attempt, job_state, meaning,
    problem,
};
use crate::job_kind::JobKind;
use crate::manifest;
use crate::manifest::job::{NEW_IMAGE_CODE, NEW_IMAGE_CONTAINER};
use crate::progress::ProgressObserver;
use crate::state::UpgradeState;
use crate::{CONTAINER, POLL_INTERVAL, job_name};
use milvus_meta::finding::Severity;
use milvus_meta::transform::PlanReport;

/// How long an image or a container may look as if it could not start; some trouble passes by itself.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a node, a volume or a pod may be lacking: all of them can be on their way.
const SCHEDULING_TIMEOUT: Duration = Duration::from_secs(180);
/// How long something is lacking before it is reported.
const REPORT_AFTER: Duration = Duration::from_secs(5);
/// What a pod does that has a node and no trouble, and does not run yet.
const SLOW: &str = "its images are being pulled, or its volumes mounted";
/// A Job that writes may take so many times the limit, once it runs.
const WRITING_FACTOR: u32 = 8;

/// Why a Job gave nothing.
pub enum JobFailure {
    /// It is over.
    Ended {
        /// Why, in a sentence.
        why: String,
        /// Whether the same may succeed in another attempt.
        again: bool,
        /// Whether the program could not reach etcd.
        unreachable: bool,
    },
    /// It takes too long, and must not be cut short.
    StillRunning(String),
    /// The server.
    Client(ClientError),
}

impl From<ClientError> for JobFailure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// Runs Jobs.
pub struct Runner<'a> {
    /// Where.
    pub client: &'a Client,
    /// Who sees the log.
    pub observer: &'a dyn ProgressObserver,
    /// The longest that is waited for a pod to start, and for a step that only reads to end.
    pub limit: Duration,
}

/// What was seen of a Job so far.
struct Watch {
    begun: Instant,
    started: Option<Instant>,
    problem: Option<(String, Instant)>,
    told: String,
    shown: BTreeMap<String, usize>,
    logs: BTreeMap<String, String>,
}

impl Runner<'_> {
    /// Makes the Job, unless it is there, and waits for its end; gives what its pod told.
    ///
    /// # Errors
    /// Why it gave nothing.
    pub async fn run(
        &self,
        state: &UpgradeState,
        step: JobKind,
        attempt: u32,
    ) -> Result<String, JobFailure> {
        let name = job_name(step.name(), &state.operation, attempt);
        if self.client.get::<Job>(&name).await?.is_none() {
            let made = self
                .client
                .create(&manifest::job::job(state, step, attempt))
                .await;
            match made {
                Ok(_) => {}
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut watch = Watch {
            begun: Instant::now(),
            started: None,
            problem: None,
            told: String::new(),
            shown: BTreeMap::new(),
            logs: BTreeMap::new(),
        };
        loop {
            let job: Option<Job> = self.client.get(&name).await?;
            let Some(job) = job else {
                return Err(JobFailure::Ended {
                    why: format!("the Job {name} was deleted"),
                    again: true,
                    unreachable: false,
                });
            };
            let pods: Vec<Pod> = self.client.list(&format!("job-name={name}")).await?;
            let state = job_state(&job);
            self.show_logs(step, &pods, &mut watch).await;
            match state {
                JobState::Complete => return Ok(told(&pods, &watch)),
                JobState::Failed(reason) => return Err(failed(&name, &reason, &pods, &watch)),
                JobState::Running => {}
            }
            self.check(state, step, &name, &pods, &mut watch).await?;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Brings a Job that an earlier process left to its end: one whose pod did not start is taken away,
    /// as it would start behind the back of what is decided next; one that runs is waited for.
    ///
    /// # Errors
    /// [`JobFailure::StillRunning`] when it does not come to its end.
    pub async fn finish(&self, name: &str) -> Result<(), JobFailure> {
        let begun = Instant::now();
        let limit = self.limit * WRITING_FACTOR;
        let mut told = false;
        loop {
            let job: Option<Job> = self.client.get(name).await?;
            let pods: Vec<Pod> = self.client.list(&format!("job-name={name}")).await?;
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
            if !told {
                self.observer.message(&format!("waiting for {name} to end"));
                told = true;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn show_logs(&self, step: JobKind, pods: &[Pod], watch: &mut Watch) {
        for pod in pods.iter().filter(|pod| has_started(pod, CONTAINER)) {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let log = self.client.log(&name).await;
            let shown = watch.shown.entry(name.clone()).or_default();
            let whole = log.rfind('\n').map_or(0, |end| end + 1);
            if let Some(fresh) = log.get(*shown..whole) {
                // The report is for us, not for eyes.
                for line in fresh.lines().filter(|line| !line.starts_with("{\"")) {
                    self.observer.log(step, line);
                }
                *shown = whole;
            }
            if log.len() >= watch.logs.get(&name).map_or(0, String::len) {
                watch.logs.insert(name, log);
            }
        }
    }

    /// Gives up on what will not start, and tells of what takes too long.
    async fn check(
        &self,
        state: &UpgradeState,
        step: JobKind,
        name: &str,
        pods: &[Pod],
        watch: &mut Watch,
    ) -> Result<(), JobFailure> {
        if pods.iter().any(|pod| has_started(pod, CONTAINER)) {
            let started = *watch.started.get_or_insert_with(Instant::now);
            let factor = if step.writes() { WRITING_FACTOR } else { 1 };
            let limit = self.limit * factor;
            if started.elapsed() < limit {
                return Ok(());
            }
            let logs = watch.logs.values().rev();
            let last = logs
                .flat_map(|log| log.trim_end().lines().next_back())
                .next()
                .map(|line| format!(": {line}"))
                .unwrap_or_default();
            let why = format!(
                "the Job {name} still runs after {} s{last}",
                limit.as_secs()
            );
            if step.writes() {
                return Err(JobFailure::StillRunning(format!(
                    "{why}; it is not ended, as it writes. -o resume waits for it"
                )));
            }
            return Err(self.remove_job(name, why).await);
        }
        let (told, patience) = self.start_problem(state, name, pods).await?;
        let since = match (&watch.problem, &told) {
            (Some((_, since)), Some(_)) => *since,
            _ => Instant::now(),
        };
        watch.problem = told.clone().map(|told| (told, since));
        // Each Job is without a pod for a moment.
        if since.elapsed() >= REPORT_AFTER
            && let Some(told) = &told
            && watch.told != *told
        {
            self.observer
                .message(&format!("waiting for {name} to start: {told}"));
            watch.told.clone_from(told);
        }
        if let Some(told) = &told
            && since.elapsed() >= patience.min(self.limit)
        {
            let why = format!("the Job {name} does not start: {told}");
            return Err(self.remove_job(name, why).await);
        }
        if told.is_none() && watch.told.is_empty() && watch.begun.elapsed() >= REPORT_AFTER * 2 {
            SLOW.clone_into(&mut watch.told);
            self.observer
                .message(&format!("waiting for {name} to start: {SLOW}"));
        }
        if watch.begun.elapsed() >= self.limit {
            let reason = told.unwrap_or_else(|| "no reason is known".to_owned());
            let why = format!(
                "the Job {name} did not start within {} s: {reason}",
                self.limit.as_secs()
            );
            return Err(self.remove_job(name, why).await);
        }
        Ok(())
    }

    /// What keeps a Job from starting, with what the cluster says of it, and how long that may last.
    async fn start_problem(
        &self,
        state: &UpgradeState,
        name: &str,
        pods: &[Pod],
    ) -> Result<(Option<String>, Duration), ClientError> {
        let seen = pods.iter().find_map(problem);
        let unplaced = pods.iter().any(is_unplaced);
        let patience = if seen.is_some() && !unplaced {
            START_TIMEOUT
        } else {
            SCHEDULING_TIMEOUT
        };
        let mut reasons: Vec<String> = seen.into_iter().collect();
        match pods.first().and_then(|pod| pod.metadata.name.as_deref()) {
            None => {
                let said = self.client.warning("Job", name).await;
                if let Some(said) = said.as_deref().filter(|said| is_refused(said)) {
                    // Each try is for a pod of another name, and refused like this one.
                    let told = format!("the API server refuses its pod ({said})");
                    return Ok((Some(told), Duration::ZERO));
                }
                let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
                reasons.push(format!("no pod was made for it{said}"));
            }
            // A pod that cannot be placed, or whose volumes cannot be mounted, says so in events only.
            Some(pod) if reasons.is_empty() => {
                reasons.extend(self.client.warning("Pod", pod).await);
            }
            Some(_) => {}
        }
        if let Some(claim) = self.claim_problem(state, pods).await? {
            let said = self
                .client
                .warning("PersistentVolumeClaim", &state.claim)
                .await;
            let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
            reasons.push(format!("{claim}{said}"));
        }
        let told = (!reasons.is_empty()).then(|| reasons.join("; "));
        Ok((told, patience))
    }

    async fn claim_problem(
        &self,
        state: &UpgradeState,
        pods: &[Pod],
    ) -> Result<Option<String>, ClientError> {
        // A pod on a node has its volume; before, a claim may rightly wait for the pod.
        if state.claim.is_empty() || pods.is_empty() || !pods.iter().all(is_unplaced) {
            return Ok(None);
        }
        let claim: Option<PersistentVolumeClaim> = self.client.get(&state.claim).await?;
        Ok(match claim {
            Some(claim) => claim_problem(&claim),
            None => Some(format!("the volume claim {} does not exist", state.claim)),
        })
    }

    /// Takes a Job away before it starts after all, behind the back of what is decided next.
    async fn remove_job(&self, name: &str, why: String) -> JobFailure {
        let begun = Instant::now();
        if let Err(error) = self.client.delete::<Job>(name).await {
            return JobFailure::StillRunning(format!("{why}; and it cannot be deleted: {error}"));
        }
        loop {
            let pods: Result<Vec<Pod>, _> = self.client.list(&format!("job-name={name}")).await;
            match pods {
                Ok(pods) if pods.is_empty() => {
                    return JobFailure::Ended {
                        why,
                        again: false,
                        unreachable: false,
                    };
                }
                Ok(_) | Err(_) if begun.elapsed() >= self.limit => {
                    return JobFailure::StillRunning(format!(
                        "{why}; and its pod does not go away"
                    ));
                }
                Ok(_) | Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }
}

/// Whether a warning about a Job says that admission refuses its pods: a quota, a limit range, a policy.
fn is_refused(said: &str) -> bool {
    let refused = [" is forbidden: ", " denied the request"];
    said.starts_with("FailedCreate: ") && refused.iter().any(|words| said.contains(words))
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|one| one.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn is_unplaced(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    spec.is_none_or(|spec| spec.node_name.is_none())
}

/// Everything that the pods said: termination messages last, as they are whole.
fn told(pods: &[Pod], watch: &Watch) -> String {
    let mut text = String::new();
    for log in watch.logs.values() {
        text.push_str(log);
        text.push('\n');
    }
    for pod in pods {
        if let Some(ended) = ended(pod, CONTAINER) {
            text.push_str(&ended.message);
            text.push('\n');
        }
    }
    text
}

fn failed(name: &str, reason: &str, pods: &[Pod], watch: &Watch) -> JobFailure {
    // A pod that was deleted is gone; what is left of an evicted one has no exit code.
    let last = pods.iter().rev().find_map(|pod| ended(pod, CONTAINER));
    let why = match &last {
        Some(ended) => {
            let text = told(pods, watch);
            let message = final_error(&text).or_else(|| errors_found(&text));
            let hint = connection_hint(&text).unwrap_or_default();
            format!(
                "the Job {name} ended with exit code {} ({}{}{}){}{hint}",
                ended.code,
                meaning(ended.code),
                if ended.reason.is_empty() { "" } else { ", " },
                ended.reason,
                message
                    .map(|words| format!(": {words}"))
                    .unwrap_or_default()
            )
        }
        None => {
            let seen = pods
                .iter()
                .find_map(|pod| init_failure(pod).or_else(|| problem(pod)));
            let seen = seen.unwrap_or_else(|| "its pod is gone".to_owned());
            format!("the Job {name} failed ({reason}): {seen}")
        }
    };
    JobFailure::Ended {
        why,
        unreachable: last.is_some() && could_not_reach_etcd(&told(pods, watch)),
        again: is_worth_another_attempt(last.as_ref())
            && !pods.iter().any(|pod| init_failure(pod).is_some()),
    }
}

/// The image of the new release does not even run a shell.
fn init_failure(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    let proof = statuses
        .iter()
        .find(|status| status.name == NEW_IMAGE_CONTAINER)?;
    let ended = proof.state.as_ref()?.terminated.as_ref()?;
    (ended.exit_code != 0).then(|| {
        format!(
            "image {} does not run a shell here (exit code {}, {}: {}); skip this check with --accept {NEW_IMAGE_CODE}",
            proof.image,
            ended.exit_code,
            ended.reason.as_deref().unwrap_or("no reason"),
            ended.message.as_deref().unwrap_or("no message"),
        )
    })
}

/// The program's own words about its failure: its error line, from the log or the message.
fn final_error(text: &str) -> Option<String> {
    let line = text.lines().rev().find(|line| {
        let plain = line.trim_start();
        plain.starts_with("error:") || plain.contains("\"level\":\"ERROR\"")
    })?;
    let parsed: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let message = parsed.and_then(|value| Some(value["message"].as_str()?.to_owned()));
    Some(message.unwrap_or_else(|| line.trim_start().trim_start_matches("error: ").to_owned()))
}

/// Which option is missing where etcd wants a user, or speaks TLS.
fn connection_hint(text: &str) -> Option<&'static str> {
    let lower = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&[
        "user name is empty",
        "authentication failed",
        "invalid auth token",
    ]) {
        Some("; --etcd-secret names a Secret with user and password")
    } else if says(&[
        "certificate",
        "tls",
        "corrupt message",
        "http/0.9",
        "client sent an http request",
    ]) {
        Some("; --etcd-tls-secret names a Secret with etcd's certificates")
    } else {
        None
    }
}

/// Whether the program said that it could not reach etcd, in the failure that it leaves.
fn could_not_reach_etcd(text: &str) -> bool {
    let failures = text.lines().rev().filter(|line| line.starts_with('{'));
    let mut parsed =
        failures.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let last = parsed.find(|value| value["level"] == "ERROR");
    last.is_some_and(|failure| failure["unreachable"] == true)
}

/// What a plan found to stand in the way: its words are its findings.
fn errors_found(text: &str) -> Option<String> {
    let plan: PlanReport = report(text)?;
    let errors: Vec<_> = plan
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .collect();
    let first = errors.first()?;
    let others = match errors.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more; the log of its pod has all of them"),
    };
    Some(format!("{} ({}){others}", first.message, first.key))
}

/// The last report of a kind in what a pod told: one line of JSON.
#[must_use]
pub fn report<T: DeserializeOwned>(text: &str) -> Option<T> {
    let lines = text.lines().rev().filter(|line| line.starts_with('{'));
    lines
        .into_iter()
        .find_map(|line| serde_json::from_str(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_report::StatusReport;
    use milvus_meta::layout::Layout;

    #[test]
    fn the_report_is_found_in_the_log() {
        let json = r#"{"layout":"2.1","families":[],"sessions":[],"lock":null,"journal":null,"etcd":{"version":"3.5.0","members":1,"db_size":1,"db_size_in_use":1,"quota":1,"alarms":[]}}"#;
        let text = format!("INFO connected\n{json}\nINFO finished\n");
        let status: StatusReport = report(&text).unwrap();
        assert_eq!(status.layout, Layout::V2_1);
        assert!(report::<StatusReport>("INFO nothing\n{\"a\":1}\n").is_none());
    }

    /// Messages of a real job controller.
    #[test]
    fn admission_refusals_differ_from_temporary_failures() {
        for refusal in [
            "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=4, limited: pods=4",
            "pods \"x\" is forbidden: failed quota: q: must specify limits.memory",
            "pods \"x\" is forbidden: maximum memory usage per Container is 64Mi, but request is 256Mi",
            "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true",
            "admission webhook \"validate.kyverno.svc-fail\" denied the request: labels are required",
        ] {
            assert!(
                is_refused(&format!("FailedCreate: Error creating: {refusal}")),
                "{refusal}"
            );
        }
        for passing in [
            "FailedCreate: Error creating: Internal error occurred: failed calling webhook \"x\": connection refused",
            "FailedCreate: Error creating: Post \"https://127.0.0.1\": i/o timeout",
            "BackoffLimitExceeded: Job has reached the specified backoff limit",
        ] {
            assert!(!is_refused(passing), "{passing}");
        }
    }

    #[test]
    fn a_secured_etcd_is_answered_with_its_option() {
        let told = |text: &str| connection_hint(text).unwrap_or_default();
        assert!(told("etcdserver: user name is empty").contains("--etcd-secret"));
        assert!(told("invalid peer certificate: UnknownIssuer").contains("--etcd-tls-secret"));
        assert_eq!(told("connection refused"), "");
    }

    #[test]
    fn only_connection_failures_count_as_unreachable() {
        let left = |unreachable: bool| {
            let failure =
                serde_json::json!({"level": "ERROR", "message": "m", "unreachable": unreachable});
            format!("error: m\n{failure}\n")
        };
        assert!(could_not_reach_etcd(&left(true)));
        assert!(!could_not_reach_etcd(&left(false)));
        assert!(!could_not_reach_etcd("error: cannot connect to etcd\n"));
    }

    #[test]
    fn the_error_of_the_program_is_reported() {
        assert_eq!(
            final_error("INFO a\nerror: Milvus is running\n  next: stop it\n").as_deref(),
            Some("Milvus is running")
        );
        assert_eq!(
            final_error("{\"level\":\"ERROR\",\"message\":\"no\"}\n").as_deref(),
            Some("no")
        );
        assert_eq!(final_error("INFO a\n"), None);
    }
}
