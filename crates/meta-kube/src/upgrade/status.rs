//! The status of an upgrade: the saved state, the live objects, and the next commands.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use super::helm_notice::helm_notice;
use super::timeline::{Timeline, timeline};
use crate::cause::Cause;
use crate::client::{Client, ClientError};
use crate::collect;
use crate::condition::{JobState, image_of, job_state, problem, replicas};
use crate::driver::saved_state;
pub use crate::lease::Orchestrator;
use crate::lease::orchestrator;
use crate::object::ResourceExt;
use crate::options::UpgradeOptions;
use crate::preflight::release_findings;
pub use crate::stage::State;
use crate::state::{UpgradeState, Workload};
use crate::{LABEL_ATTEMPT, LABEL_OPERATION, LABEL_STEP};
use milvus_meta::finding::{Finding, Severity};

#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub instance: String,
    pub namespace: String,
    pub state: State,
    /// What the state means for Milvus and its metadata, in one sentence.
    pub meaning: String,
    pub orchestrator: Option<Orchestrator>,
    pub deployments: Vec<DeploymentStatus>,
    pub jobs: Vec<JobStatus>,
    /// When each stage began, and how long Milvus was stopped.
    pub timeline: Option<Timeline>,
    pub findings: Vec<Finding>,
    /// The notice about Helm's values.
    pub notice: Option<String>,
    pub next: Vec<String>,
    /// The instances of the namespace, if nothing is saved for this one and it does not exist.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub other_instances: String,
    pub saved: Option<UpgradeState>,
}

impl Status {
    /// Returns the findings, with those of the plan unless the upgrade is rolled back.
    pub fn all_findings(&self) -> Vec<Finding> {
        let planned = self.saved.iter().flat_map(UpgradeState::planned_findings);
        let mut all: Vec<Finding> = self.findings.iter().chain(planned).cloned().collect();
        all.sort();
        all
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeploymentStatus {
    pub name: String,
    /// The image of its Milvus container; empty if missing.
    pub image: String,
    pub replicas: i32,
    pub ready: i32,
    /// The problem of one of its pods.
    pub problem: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobStatus {
    pub name: String,
    pub step: String,
    pub attempt: u32,
    /// `running`, `complete`, or `failed` with the reason.
    pub state: String,
}

/// Returns the status of an instance's upgrade.
pub async fn status(client: &Client, options: &UpgradeOptions) -> Result<Status, Cause> {
    let saved = saved_state(client, &options.instance).await?;
    let state = saved.map(|(state, _)| state);
    Ok(collect(client, options, state, false).await?)
}

/// Collects the status; `self_at_work` says that this process holds the Lease.
pub(super) async fn collect(
    client: &Client,
    options: &UpgradeOptions,
    saved: Option<UpgradeState>,
    self_at_work: bool,
) -> Result<Status, ClientError> {
    let instance = options.instance.as_str();
    let orchestrator = orchestrator(client, instance).await?;
    let orchestrator = orchestrator.filter(|_| !self_at_work);
    let state = state(saved.as_ref(), orchestrator.is_some());
    let mut status = Status {
        instance: instance.to_owned(),
        namespace: client.namespace().to_owned(),
        state,
        meaning: NOTHING.to_owned(),
        orchestrator,
        deployments: Vec::new(),
        jobs: Vec::new(),
        timeline: None,
        findings: Vec::new(),
        notice: None,
        next: next_commands(saved.as_ref(), state, options),
        other_instances: String::new(),
        saved: None,
    };
    let Some(saved) = saved else {
        status.other_instances = collect::other_instances(client, instance).await;
        return Ok(status);
    };
    for workload in &saved.workloads {
        status.deployments.push(live(client, workload).await?);
    }
    let selector = format!("{LABEL_OPERATION}={}", saved.operation);
    let jobs: Vec<Job> = client.list(&selector).await?;
    status.jobs = jobs.iter().map(line).collect();
    status
        .jobs
        .sort_by(|a, b| (&a.step, a.attempt).cmp(&(&b.step, b.attempt)));
    status.meaning = meaning(&saved);
    status.timeline = Some(timeline(&saved, Timestamp::now()));
    status.findings = wrong_release(&saved, &status.deployments);
    status.notice = notice(client, options, &saved).await;
    status.saved = Some(saved);
    Ok(status)
}

/// Releases that run and cannot read the metadata as a finished operation left it.
fn wrong_release(saved: &UpgradeState, live: &[DeploymentStatus]) -> Vec<Finding> {
    let Some(reads) = saved.stage.row().end.and_then(|end| end.reads) else {
        return Vec::new();
    };
    let running = live.iter().filter(|one| one.replicas > 0);
    let running = running.map(|one| (one.name.as_str(), one.image.as_str()));
    release_findings(
        running,
        reads,
        Severity::Error,
        "stop it and set the image that fits",
    )
}

async fn live(client: &Client, workload: &Workload) -> Result<DeploymentStatus, ClientError> {
    let found: Option<Deployment> = client.get(&workload.name).await?;
    let found = found.as_ref();
    let pods = client.pods_of(found).await?;
    let image = found.and_then(|found| image_of(found, &workload.container));
    let status = found.and_then(|found| found.status.as_ref());
    Ok(DeploymentStatus {
        name: workload.name.clone(),
        image: image.unwrap_or_default().to_owned(),
        replicas: found.map_or(0, replicas),
        ready: status.and_then(|status| status.ready_replicas).unwrap_or(0),
        problem: pods.iter().find_map(problem),
    })
}

fn line(job: &Job) -> JobStatus {
    let label = |key: &str| job.labels().get(key).cloned().unwrap_or_default();
    JobStatus {
        name: job.name_any(),
        step: label(LABEL_STEP),
        attempt: label(LABEL_ATTEMPT).parse().unwrap_or(0),
        state: match job_state(job) {
            JobState::Running => "running".to_owned(),
            JobState::Complete => "complete".to_owned(),
            JobState::Failed(reason) => format!("failed ({reason})"),
        },
    }
}

fn state(saved: Option<&UpgradeState>, active_orchestrator: bool) -> State {
    let Some(saved) = saved else {
        return State::None;
    };
    match saved.stage.row().end {
        Some(end) => end.state,
        None if active_orchestrator => State::AtWork,
        None if saved.failure.is_some() => State::Halted,
        None => State::Interrupted,
    }
}

/// The notice about Helm after the end. Errors are ignored, because it is only a notice.
async fn notice(client: &Client, options: &UpgradeOptions, saved: &UpgradeState) -> Option<String> {
    if !saved.stage.is_final() {
        return None;
    }
    let mut options = options.clone();
    options.selector = Some(saved.selector.clone());
    let facts = collect::facts(client, &options).await.ok()?;
    helm_notice(&facts, saved)
}

const NOTHING: &str = "no upgrade of this instance is saved here";

/// What the state means for Milvus and its metadata, for a user who was just paged.
pub fn meaning(saved: &UpgradeState) -> String {
    let row = saved.stage.row();
    let mut text = if saved.may_be_migrated() {
        row.meaning_migrated.to_owned()
    } else {
        row.meaning.to_owned()
    };
    if saved.has_backup {
        text.push_str("; the backup contains the 2.1 metadata");
    }
    if let Some(saved) = &saved.saved {
        text.push_str(&format!("; what the new release wrote is saved in {saved}"));
    }
    text
}

/// The next commands for an unfinished upgrade that no command is working on.
pub(crate) fn resume_commands(saved: &UpgradeState, options: &UpgradeOptions) -> Vec<String> {
    next_commands(Some(saved), state(Some(saved), false), options)
}

fn next_commands(
    saved: Option<&UpgradeState>,
    state: State,
    options: &UpgradeOptions,
) -> Vec<String> {
    let place = &options.repeated.place;
    let upgrade = |what: &str| format!("meta-migration upgrade{place} -o {what}");
    let preflight = || options.command("preflight");
    let Some(saved) = saved else {
        return vec![preflight()];
    };
    let row = saved.stage.row();
    match state {
        State::None | State::Abandoned | State::RolledBack => vec![preflight()],
        State::AtWork => vec![upgrade("status")],
        State::Upgraded if saved.failure.is_some() => {
            vec![
                upgrade("rollback"),
                upgrade(
                    "rollback --accept-loss   # also undoes later changes, which are saved first",
                ),
            ]
        }
        State::Upgraded => vec![upgrade("rollback")],
        State::Interrupted | State::Halted => {
            let halted = state == State::Halted;
            let mut next = vec![upgrade("resume")];
            if saved.stage.is_rollback() {
                if row.accepts_loss && halted && !saved.policy.accept_loss {
                    next.push(upgrade("resume --accept-loss"));
                }
                if row.forward.is_some() {
                    let forward = "forward   # abandons the rollback and continues the upgrade";
                    next.push(upgrade(forward));
                }
            } else {
                let failure = saved.failure.as_deref().unwrap_or_default();
                if row.accepts_image && halted && !failure.contains("is paused") {
                    next.push(upgrade("resume -w IMAGE   # with another image"));
                }
                next.push(upgrade("rollback"));
            }
            next
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::stage::{Stage, TABLE};
    use crate::state::tests::example;

    fn given(place: &str) -> UpgradeOptions {
        let mut options = UpgradeOptions::default();
        place.clone_into(&mut options.repeated.place);
        options
    }

    fn at(stage: Stage) -> UpgradeState {
        UpgradeState { stage, ..example() }
    }

    #[test]
    fn every_stage_has_a_meaning_and_next_commands() {
        for stage in TABLE.iter().map(|row| row.stage) {
            for failure in [None, Some("why".to_owned())] {
                let saved = UpgradeState {
                    failure,
                    ..at(stage)
                };
                let state = state(Some(&saved), false);
                assert!(!meaning(&saved).is_empty());
                let next_commands = next_commands(Some(&saved), state, &given(" -i prod -n data"));
                assert!(!next_commands.is_empty(), "{stage:?}");
                for way in next_commands {
                    assert!(way.contains(" -i prod -n data"), "{way}");
                }
            }
        }
    }

    #[test]
    fn an_interrupted_upgrade_offers_resume_and_rollback() {
        let saved = at(Stage::MIGRATE);
        assert_eq!(state(Some(&saved), false), State::Interrupted);
        assert_eq!(state(Some(&saved), true), State::AtWork);
        assert_eq!(
            next_commands(Some(&saved), State::Interrupted, &given(" -i p -n d")),
            [
                "meta-migration upgrade -i p -n d -o resume",
                "meta-migration upgrade -i p -n d -o rollback",
            ]
        );
        let back = at(Stage::RESTORE);
        let next_commands = next_commands(Some(&back), State::Halted, &given(" -i p -n d"));
        assert!(
            next_commands[1].ends_with("-o resume --accept-loss"),
            "{next_commands:?}"
        );
    }

    #[test]
    fn findings_of_the_plan_are_shown_until_a_rollback() {
        let found = Finding::warning("not-loaded", b"key", "load it again");
        let shown = |stage| {
            let saved = UpgradeState {
                findings: vec![found.clone()],
                ..at(stage)
            };
            saved.planned_findings().len()
        };
        assert_eq!(shown(Stage::UPGRADED), 1);
        assert_eq!(shown(Stage::MIGRATE), 1);
        assert_eq!(shown(Stage::ROLLED_BACK), 0);
    }

    #[test]
    fn a_release_that_cannot_read_the_metadata_is_an_error() {
        let live = |image: &str, replicas: i32| DeploymentStatus {
            name: "prod-milvus-querynode".to_owned(),
            image: image.to_owned(),
            replicas,
            ready: 0,
            problem: None,
        };
        let count = |stage, image: &str, replicas| {
            wrong_release(&at(stage), &[live(image, replicas)]).len()
        };
        let (old, new) = ("milvusdb/milvus:v2.1.4", "milvusdb/milvus:v2.2.16");
        assert_eq!(count(Stage::UPGRADED, old, 1), 1);
        assert_eq!(count(Stage::UPGRADED, new, 1), 0);
        assert_eq!(count(Stage::UPGRADED, old, 0), 0, "it does not run");
        assert_eq!(count(Stage::ROLLED_BACK, new, 1), 1);
        assert_eq!(count(Stage::ROLLED_BACK, old, 1), 0);
        assert_eq!(count(Stage::VERIFY, old, 1), 0, "that is under way");
    }

    #[test]
    fn a_second_stop_never_claims_unchanged_metadata() {
        let first = UpgradeState {
            has_backup: false,
            attempts: BTreeMap::new(),
            ..at(Stage::STOP)
        };
        assert!(meaning(&first).contains("its metadata is unchanged"));
        for stage in [Stage::STOP, Stage::DRAIN, Stage::BACKUP] {
            let reported = meaning(&at(stage));
            assert!(reported.contains("either 2.1 or 2.2"), "{reported}");
        }
    }
}
