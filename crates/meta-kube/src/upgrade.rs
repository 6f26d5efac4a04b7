//! The upgrade, in four beats: observe, decide, act, report.
//!
//! [`upgrade`] is the one door; [`dry_run()`], [`status()`] and [`preflight()`] are those that change nothing.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use tokio::time::Instant;

use super::POLL_INTERVAL;
use super::cause::{Cause, Refusal};
use super::client::Client;
use super::collect;
use super::driver::{Driver, saved_state};
use super::lease::Held;
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

/// How long pods on their way are waited for before an upgrade.
const AT_REST_TIMEOUT: Duration = Duration::from_secs(30);

/// How an upgrade ended, and what there is now.
#[derive(Debug)]
pub struct UpgradeReport {
    /// Whether what was asked for was reached; if not, why.
    pub result: Result<(), Unreached>,
    pub status: Status,
}

/// Why the command ended, and the upgrade state as it was saved last.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct UpgradeError {
    pub cause: Cause,
    /// The state, where an upgrade is saved and may have been changed.
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
/// Why the command ended before its end; the saved state says how far it came.
pub async fn upgrade(
    client: &Client,
    options: &UpgradeOptions,
    observer: &dyn ProgressObserver,
) -> Result<UpgradeReport, UpgradeError> {
    let held = match Held::acquire(client, &options.instance, &options.identity).await {
        Ok(held) => held,
        Err(error) => return Err(without_lease(client, error).await.into()),
    };
    let ended = tokio::select! {
        ended = work(client, options, observer, &held) => ended,
        () = observer.stopped() => Err(stopped(client, options).await),
    };
    held.release().await;
    ended
}

async fn work(
    client: &Client,
    options: &UpgradeOptions,
    observer: &dyn ProgressObserver,
    held: &Held,
) -> Result<UpgradeReport, UpgradeError> {
    let (observed, decision) = match decide_at_rest(client, options, observer).await {
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
        held,
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

/// Observes and decides, again while nothing but pods on their way keeps the upgrade from starting: a command
/// that was killed a moment ago may have left some.
async fn decide_at_rest(
    client: &Client,
    options: &UpgradeOptions,
    observer: &dyn ProgressObserver,
) -> Result<(Observed, Decision), Cause> {
    let begun = Instant::now();
    let limit = AT_REST_TIMEOUT.min(options.limit);
    let mut reported = false;
    loop {
        let observed = observe(client, options).await?;
        let refusal = match decide(options, observed.saved.as_ref(), &observed.facts) {
            Ok(decision) => return Ok((observed, decision)),
            Err(refusal) => refusal,
        };
        if !refusal.passes() || begun.elapsed() >= limit {
            return Err(refusal.into());
        }
        if !reported {
            observer.message(&format!("waiting: {refusal}"));
            reported = true;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Observes everything that decides, once.
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

/// What a command would do: the steps that follow, with every manifest; nothing is touched.
pub async fn dry_run(client: &Client, options: &UpgradeOptions) -> Result<String, UpgradeError> {
    let observed = observe(client, options).await?;
    let decision = decide(options, observed.saved.as_ref(), &observed.facts)?;
    Ok(match &decision.state {
        Some(state) => dry_run::manifests(state, client.namespace(), decision.creates_claim),
        None => "# nothing to do: the upgrade is finished\n".to_owned(),
    })
}

/// Why the Lease could not be acquired; without the rights, all that are missing.
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

/// The state as it was saved last says how far it came.
async fn stopped(client: &Client, options: &UpgradeOptions) -> UpgradeError {
    let found = saved_state(client, &options.instance).await.ok().flatten();
    UpgradeError {
        cause: Cause::Stopped,
        state: found.map(|(state, _)| Box::new(state)),
    }
}
