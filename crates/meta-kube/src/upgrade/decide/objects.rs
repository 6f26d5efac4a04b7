//! Checks the objects that a decision depends on: the Secret, the claim and the Deployments.

use super::refused;
use crate::cause::Refusal;
use crate::condition::missing_deployments;
use crate::options::UpgradeOptions;
use crate::preflight::Facts;
use crate::start_checks::paused;
use crate::state::{UpgradeState, Workload};

/// Stores which certificates the given Secret contains.
pub(super) fn with_certificates(
    options: &UpgradeOptions,
    mut state: UpgradeState,
    facts: &Facts,
) -> Result<UpgradeState, Refusal> {
    if let Some(name) = &options.tls_secret {
        if facts.tls.is_none() {
            return refused(format!(
                "the Secret {name} with etcd's certificates is missing, or may not be read"
            ));
        }
        state.etcd.tls.clone_from(&facts.tls);
    }
    Ok(state)
}

/// Whether the backup claim must be created. A missing claim that contained a backup is never
/// created again, because an empty volume is no backup.
pub(super) fn creates_claim(
    options: &UpgradeOptions,
    state: &UpgradeState,
    facts: &Facts,
) -> Result<bool, Refusal> {
    if facts.storage.exists || state.stage.is_final() {
        return Ok(false);
    }
    if options.claim.is_some() {
        return refused(format!("the volume claim {} is missing", state.claim));
    }
    if !state.has_backup {
        return Ok(true);
    }
    // Inspecting etcd and starting Milvus need no backup.
    if !state.stage.row().needs_volume {
        return Ok(false);
    }
    refused(format!(
        "the volume claim {} with the backup {} is missing; nothing was started. Create a claim with that name, or name one with --backup-pvc, copy the file into it, and run the same command. Without a copy, the current metadata decides what is possible",
        state.claim, state.backup_file
    ))
}

/// Returns the Deployments that were recreated since the state was saved, with their saved counts.
/// They are stopped like the others. Missing Deployments are reported before anything is changed.
pub(super) fn recreated(state: &mut UpgradeState, facts: &Facts) -> Result<Vec<Workload>, Refusal> {
    let row = state.stage.row();
    // The Milvus Operator may recreate its Deployments.
    if row.end.is_some() || row.untouched || state.resource.is_some() {
        return Ok(Vec::new());
    }
    let mut gone = Vec::new();
    let mut recreated = Vec::new();
    for workload in &mut state.workloads {
        match facts.saved.get(&workload.name) {
            None | Some(None) => gone.push(workload.name.as_str()),
            Some(Some(uid)) if *uid == workload.uid => {}
            Some(Some(uid)) => {
                workload.uid.clone_from(uid);
                recreated.push(workload.clone());
            }
        }
    }
    // While Milvus runs, the check before the rollback reports it.
    if !gone.is_empty() && !row.milvus_runs {
        return Err(Refusal::Halted(missing_deployments(&gone)));
    }
    if row.milvus_runs {
        return Ok(Vec::new());
    }
    if !recreated.is_empty() {
        state.stage = state.stage.row().stop_again;
    }
    Ok(recreated)
}

/// Refuses paused objects, before the first patch.
pub(super) fn check_not_paused(state: &UpgradeState, facts: &Facts) -> Result<(), Refusal> {
    let row = state.stage.row();
    if row.end.is_some() {
        return Ok(());
    }
    let workloads = state.workloads.iter();
    let ours = workloads.filter_map(|one| facts.deployment(&one.name));
    let resource = facts.resource.as_ref().filter(|_| state.resource.is_some());
    match paused(&facts.namespace, ours, resource) {
        None => Ok(()),
        Some(hint) if row.untouched || row.milvus_runs => refused(hint),
        Some(hint) => Err(Refusal::Halted(hint)),
    }
}
