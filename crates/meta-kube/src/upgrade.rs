//! The upgrade: observe, decide, act, report.
//!
//! [`upgrade`] is the entry point; [`dry_run()`], [`status()`] and [`preflight()`] change nothing.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use tokio::time::Instant;

use super::POLL_INTERVAL;
use super::cause::{Cause, Refusal};
use super::client::Client;
use super::collect;
use super::driver::{Driver, saved_state};
use super::lease::HeldLease;
use super::manifest;
use super::options::{Intent, UpgradeOptions};
use super::preflight::{Facts, missing_rights};
use super::progress::ProgressObserver;
use super::stage::Unreached;
use super::state::UpgradeState;

pub mod decide;
pub mod dry_run;
pub mod helm_notice;
mod preflight;
pub mod status;
pub mod timeline;

pub use preflight::preflight;
pub use status::{Status, status};

use decide::{Decision, decide};

/// Maximum time to wait for starting or ending pods before an upgrade.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The result of an upgrade, and the status after it.
#[derive(Debug)]
pub struct UpgradeReport {
    /// Whether the goal was reached; if not, why.
    pub result: Result<(), Unreached>,
    pub status: Status,
}

/// Why the command ended, and the upgrade state as it was last saved.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct UpgradeError {
    pub cause: Cause,
    /// The state, if an upgrade is saved and may have been changed.
    pub state: Option<Box<UpgradeState>>,
}

impl<E: Into<Cause>> From<E> for UpgradeError {
    fn from(cause: E) -> Self {
        Self {
            cause: cause.into(),
            state: None,
        }
    }
}

struct Observed {
    saved: Option<UpgradeState>,
    version: Option<String>,
    facts: Facts,
}

/// Upgrades an instance, rolls it back, or resumes either.
///
/// # Errors
/// Why the command ended early; the saved state has the progress.
pub async fn upgrade(
    client: &Client,
    options: &UpgradeOptions,
    observer: &dyn ProgressObserver,
) -> Result<UpgradeReport, UpgradeError> {
    let lease = match HeldLease::acquire(client, &options.instance, &options.identity).await {
        Ok(lease) => lease,
        Err(error) => return Err(without_lease(client, error).await.into()),
    };
    let ended = tokio::select! {
        ended = run(client, options, observer, &lease) => ended,
        () = observer.stopped() => Err(stopped(client, options).await),
    };
    lease.release().await;
    ended
}

async fn run(
    client: &Client,
    options: &UpgradeOptions,
    observer: &dyn ProgressObserver,
    lease: &HeldLease,
) -> Result<UpgradeReport, UpgradeError> {
    let (observed, decision) = match decide_when_settled(client, options, observer).await {
        Err(cause @ Cause::Refusal(Refusal::Halted(_))) => {
            let state = stopped(client, options).await.state;
            return Err(UpgradeError { cause, state });
        }
        decided => decided?,
    };
    observer.findings(&decision.findings);
    if let Some(note) = decision.note {
        observer.message(note);
    }
    let Some(state) = decision.state.clone() else {
        observer.message("nothing to do: the upgrade is finished");
        let status = status::collect(client, options, observed.saved, true).await?;
        return Ok(UpgradeReport {
            result: Ok(()),
            status,
        });
    };
    let steps = dry_run::outline(&state, client.namespace());
    if !state.stage.is_final() && !observer.confirm(&steps).await {
        return Err(Cause::Unconfirmed.into());
    }
    if decision.creates_claim {
        let claim = manifest::claim(&state);
        client
            .create_unless_exists::<PersistentVolumeClaim>(claim)
            .await?;
    }
    let mut driver = Driver {
        client,
        observer,
        lease,
        state,
        resource_version: observed.version,
        limit: options.limit,
        stops: 0,
    };
    let result = match driver.drive(options.intent, &decision.recreated).await {
        Ok(result) => result,
        Err(cause) => {
            let state = Some(Box::new(driver.state));
            return Err(UpgradeError { cause, state });
        }
    };
    if options.clean_up && result.is_ok() {
        driver.clean_up().await?;
    }
    let status = status::collect(client, options, Some(driver.state), true).await?;
    Ok(UpgradeReport { result, status })
}

/// Observes and decides; repeats both while only starting or ending pods block the upgrade, which a
/// command that was killed a moment ago may have left.
async fn decide_when_settled(
    client: &Client,
    options: &UpgradeOptions,
    observer: &dyn ProgressObserver,
) -> Result<(Observed, Decision), Cause> {
    let begun = Instant::now();
    let limit = SETTLE_TIMEOUT.min(options.limit);
    let mut reported = false;
    loop {
        let observed = observe(client, options).await?;
        let refusal = match decide(options, observed.saved.as_ref(), &observed.facts) {
            Ok(decision) => return Ok((observed, decision)),
            Err(refusal) => refusal,
        };
        if !refusal.is_transient() || begun.elapsed() >= limit {
            return Err(refusal.into());
        }
        if !reported {
            observer.message(&format!("waiting: {refusal}"));
            reported = true;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Observes everything that the decision depends on, once.
async fn observe(client: &Client, options: &UpgradeOptions) -> Result<Observed, Cause> {
    let (saved, version) = saved_state(client, &options.instance).await?.unzip();
    let continues =
        |saved: &&UpgradeState| !saved.stage.is_final() || options.intent == Intent::RollBack;
    let continued = saved.as_ref().filter(continues);
    let mut effective = options.clone();
    if let Some(saved) = continued {
        effective.selector = Some(saved.selector.clone());
        effective.claim.get_or_insert_with(|| saved.claim.clone());
    }
    let mut facts = collect::facts(client, &effective).await?;
    for workload in continued.iter().flat_map(|saved| &saved.workloads) {
        let live: Option<Deployment> = client.get(&workload.name).await?;
        let uid = live.map(|live| live.metadata.uid.unwrap_or_default());
        facts.saved.insert(workload.name.clone(), uid);
    }
    Ok(Observed {
        saved,
        version: version.flatten(),
        facts,
    })
}

/// Describes what a command would do: the next steps, with every manifest. Changes nothing.
pub async fn dry_run(client: &Client, options: &UpgradeOptions) -> Result<String, UpgradeError> {
    let observed = observe(client, options).await?;
    let decision = decide(options, observed.saved.as_ref(), &observed.facts)?;
    Ok(match &decision.state {
        Some(state) => dry_run::manifests(state, client.namespace(), decision.creates_claim),
        None => "# nothing to do: the upgrade is finished\n".to_owned(),
    })
}

/// Why the Lease could not be acquired. If rights are missing, reports all of them.
async fn without_lease(client: &Client, error: Cause) -> Cause {
    if let Cause::Client(refused) = &error
        && refused.is_forbidden()
        && let Ok(missing) = collect::missing_rights(client, false, None).await
        && let Some(finding) = missing_rights(&missing, client.namespace())
    {
        return Refusal::Blocked(vec![finding]).into();
    }
    error
}

/// The error of a stopped command, with the state as it was last saved.
async fn stopped(client: &Client, options: &UpgradeOptions) -> UpgradeError {
    let found = saved_state(client, &options.instance).await.ok().flatten();
    UpgradeError {
        cause: Cause::Stopped,
        state: found.map(|(state, _)| Box::new(state)),
    }
}
