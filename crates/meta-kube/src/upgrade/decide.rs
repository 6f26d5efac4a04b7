//! What a command line means, given the saved upgrade state and the facts of the cluster: pure.

use crate::cause::Refusal;
use crate::immutable_fields::Difference;
use crate::options::{Intent, UpgradeOptions};
use crate::preflight::{Facts, check};
use crate::stage::Stage;
use crate::state::{UpgradeState, Workload};
use milvus_meta::finding::Finding;

mod draft;
mod objects;
mod overrides;
mod rollback;

pub(in crate::upgrade) use draft::draft;
use draft::{new_upgrade, rechecked};
use objects::{creates_claim, not_paused, recreated, with_certificates};
use overrides::{applied, fits, has_same_aim, with_image};
use rollback::{forward, rollback};

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

fn refused<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Refused(why.into()))
}

pub(crate) fn decide(
    options: &UpgradeOptions,
    saved: Option<&UpgradeState>,
    facts: &Facts,
) -> Result<Decision, Refusal> {
    let unfinished = saved.filter(|saved| !saved.stage.is_final());
    let mut note = None;
    let (state, findings) = match (options.intent, unfinished) {
        (Intent::Status, _) => return Ok(Decision::default()),
        (Intent::Upgrade, None) if is_done(options, saved, facts) => return Ok(Decision::default()),
        (Intent::Upgrade, None) => new_upgrade(options, facts)?,
        (Intent::Upgrade, Some(saved)) => {
            has_same_aim(options, saved)?;
            if saved.stage.is_rollback() {
                note = Some("a rollback is unfinished: finishing it first; then run upgrade again");
            }
            rechecked(options, applied(options, saved), facts)?
        }
        (Intent::Resume, Some(saved)) => {
            fits(options, saved, saved.stage.is_rollback())?;
            rechecked(options, with_image(options, applied(options, saved)), facts)?
        }
        (Intent::Resume, None) => {
            let instance = &options.instance;
            let elsewhere = facts.other_instances();
            return refused(format!(
                "no unfinished upgrade of {instance} is saved{elsewhere}"
            ));
        }
        (Intent::Forward, unfinished) => (forward(options, unfinished)?, Vec::new()),
        (Intent::RollBack, _) => (rollback(options, saved, facts)?, Vec::new()),
    };
    let mut state = with_certificates(options, state, facts)?;
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

/// The findings that do not block; refuses what the others block.
fn checked(facts: &Facts, options: &UpgradeOptions) -> Result<Vec<Finding>, Refusal> {
    let all = check(facts, options).into_iter();
    let (errors, others): (Vec<_>, Vec<_>) = all.partition(Finding::is_error);
    if errors.is_empty() {
        Ok(others)
    } else {
        Err(Refusal::Blocked(errors))
    }
}

#[cfg(test)]
mod tests;
