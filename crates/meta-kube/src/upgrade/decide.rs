//! Decides what a command does, given the saved upgrade state and the facts of the cluster: pure
//! functions.

use crate::cause::Refusal;
use crate::immutable_fields::ChangedOption;
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
use draft::{check_again, new_upgrade};
use objects::{check_not_paused, creates_claim, recreated, with_certificates};
use overrides::{check_options, check_same_upgrade, with_image, with_options};
use rollback::{forward, rollback};

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Decision {
    /// The upgrade state to work with; `None` if nothing is to be done.
    pub state: Option<UpgradeState>,
    /// The findings, none of them blocking.
    pub findings: Vec<Finding>,
    /// A note if the command does something else than its options suggest.
    pub note: Option<&'static str>,
    /// Whether the backup claim must be created.
    pub creates_claim: bool,
    /// Recreated Deployments, to be stopped before anything else.
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
            check_same_upgrade(options, saved)?;
            if saved.stage.is_rollback() {
                note = Some("a rollback is unfinished: finishing it first; then run upgrade again");
            }
            check_again(options, with_options(options, saved), facts)?
        }
        (Intent::Resume, Some(saved)) => {
            check_options(options, saved, saved.stage.is_rollback())?;
            check_again(
                options,
                with_image(options, with_options(options, saved)),
                facts,
            )?
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
    check_not_paused(&state, facts)?;
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

/// Whether the finished upgrade is requested again, and every Deployment still runs its image.
fn is_done(options: &UpgradeOptions, saved: Option<&UpgradeState>, facts: &Facts) -> bool {
    let upgraded = |saved: &&UpgradeState| saved.stage == Stage::UPGRADED;
    let Some(saved) = saved.filter(upgraded) else {
        return false;
    };
    let changed_options = saved.changed_options(options);
    let same = !changed_options
        .iter()
        .any(ChangedOption::means_another_upgrade);
    let is_found = !facts.workloads.found.is_empty();
    same && is_found && facts.serving().all(|one| one.image == saved.image)
}

/// Returns the findings if none of them blocks; else refuses the command.
fn check_findings(facts: &Facts, options: &UpgradeOptions) -> Result<Vec<Finding>, Refusal> {
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
