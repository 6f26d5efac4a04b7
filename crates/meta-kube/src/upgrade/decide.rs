//! What a command line means, given the saved upgrade state and the facts of the cluster: pure.

use crate::immutable_fields::Difference;
use crate::options::{Intent, UpgradeOptions};
use crate::preflight::{Facts, check};
use crate::stage::Stage;
use crate::state::{UpgradeState, Workload};
use milvus_meta::finding::{Finding, Severity};

mod draft;
mod objects;
mod overrides;
mod rollback;

pub(in crate::upgrade) use draft::draft;
use draft::{new_upgrade, rechecked};
use objects::{creates_claim, not_paused, recreated, with_certificates};
use overrides::{applied, fits, has_same_aim, with_image};
use rollback::{forward, rollback};

/// What is done now.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Decision {
    /// The upgrade state to work with; `None` where nothing is to be done.
    pub state: Option<UpgradeState>,
    /// What to know, none of it blocking.
    pub findings: Vec<Finding>,
    /// What is done in another way than the command line suggests.
    pub note: Option<&'static str>,
    /// Whether the claim for backups has to be created.
    pub creates_claim: bool,
    /// Deployments that were recreated meanwhile, to be stopped before anything else.
    pub recreated: Vec<Workload>,
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Findings of severity error.
    #[error("{}", .0.iter().map(|one| format!("{} [{}]", one.message, one.code)).collect::<Vec<_>>().join("; "))]
    Blocked(Vec<Finding>),
    /// What is asked for cannot be done here.
    #[error("{0}")]
    Refused(String),
    /// An option does not fit the saved upgrade state.
    #[error("{0}")]
    Usage(String),
    /// Something has to be fixed before an upgrade that stopped Milvus can be resumed.
    #[error("{0}")]
    Halted(String),
}

impl Refusal {
    /// Whether it may pass by itself: all that blocks are pods on their way.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Blocked(findings) => findings.iter().all(|one| one.code == "not-at-rest"),
            Self::Refused(_) | Self::Usage(_) | Self::Halted(_) => false,
        }
    }
}

fn refused<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Refused(why.into()))
}

/// Decides what the options mean.
pub(crate) fn decide(
    options: &UpgradeOptions,
    saved: Option<&UpgradeState>,
    facts: &Facts,
) -> Result<Decision, Refusal> {
    let unfinished = saved.filter(|saved| !saved.stage.is_final());
    let mut note = None;
    let (state, rechecks) = match (options.intent, unfinished) {
        (Intent::Upgrade, None) if is_done(options, saved, facts) => return Ok(Decision::default()),
        (Intent::Upgrade, None) => (new_upgrade(options, facts)?, false),
        (Intent::Upgrade, Some(saved)) => {
            has_same_aim(options, saved)?;
            if saved.stage.is_rollback() {
                note = Some("a rollback is unfinished: finishing it first; then run upgrade again");
            }
            (applied(options, saved), true)
        }
        (Intent::Resume, Some(saved)) => {
            fits(options, saved, saved.stage.is_rollback())?;
            (with_image(options, applied(options, saved)), true)
        }
        (Intent::Resume, None) => {
            let instance = &options.instance;
            let elsewhere = other_instances(facts);
            return refused(format!(
                "no unfinished upgrade of {instance} is saved{elsewhere}"
            ));
        }
        (Intent::Forward, unfinished) => (forward(options, unfinished)?, false),
        (Intent::RollBack, _) => (rollback(options, saved, facts)?, false),
    };
    let state = with_certificates(options, state, facts)?;
    let rechecks = rechecks && state.stage.row().untouched;
    let (mut state, findings) = if rechecks {
        rechecked(options, state, facts)?
    } else if unfinished.is_none() && options.intent == Intent::Upgrade {
        (state, harmless(facts, options))
    } else {
        (state, Vec::new())
    };
    not_paused(&state, facts)?;
    let creates_claim = creates_claim(options, &state, facts)?;
    let recreated = recreated(&mut state, facts)?;
    Ok(Decision {
        state: Some(state),
        findings,
        note,
        creates_claim,
        recreated,
    })
}

/// Which instances there are, where nothing of this one was found.
fn other_instances(facts: &Facts) -> String {
    if facts.workloads.found.is_empty() && facts.resource.is_none() {
        format!("; {}", facts.other_instances())
    } else {
        String::new()
    }
}

/// Whether the finished upgrade is asked for once more, and every Deployment still runs its image.
fn is_done(options: &UpgradeOptions, saved: Option<&UpgradeState>, facts: &Facts) -> bool {
    let upgraded = |saved: &&UpgradeState| saved.stage == Stage::UPGRADED;
    let Some(saved) = saved.filter(upgraded) else {
        return false;
    };
    let differences = saved.differences(options);
    let same = !differences.iter().any(Difference::is_of_the_upgrade);
    let is_found = !facts.workloads.found.is_empty();
    same && is_found && facts.serving().all(|one| one.image == saved.image)
}

fn harmless(facts: &Facts, options: &UpgradeOptions) -> Vec<Finding> {
    let mut findings = check(facts, options);
    findings.retain(|finding| finding.severity != Severity::Error);
    findings
}

fn blocked(facts: &Facts, options: &UpgradeOptions) -> Result<(), Refusal> {
    let mut findings = check(facts, options);
    findings.retain(|finding| finding.severity == Severity::Error);
    if findings.is_empty() {
        return Ok(());
    }
    Err(Refusal::Blocked(findings))
}

#[cfg(test)]
mod tests;
