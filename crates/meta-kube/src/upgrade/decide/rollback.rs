//! Rollbacks, and abandoning an unfinished rollback.

use std::collections::BTreeMap;

use super::draft::draft;
use super::overrides::{check_options, is_of_old_line, line, save_first, with_image, with_options};
use super::refused;
use crate::cause::Refusal;
use crate::discovery::image_parts;
use crate::leftovers::{last_backup, rollback_command};
use crate::object::Milvus;
use crate::options::UpgradeOptions;
use crate::preflight::Facts;
use crate::stage::{Stage, rollback_start};
use crate::state::{SavedResource, UpgradeState};
use crate::{annotations, milvus_resource};
use milvus_meta::layout::Layout;

/// Abandons an unfinished rollback and continues the upgrade, as a new operation with new Jobs.
pub(super) fn forward(
    options: &UpgradeOptions,
    unfinished: Option<&UpgradeState>,
) -> Result<UpgradeState, Refusal> {
    let Some(saved) = unfinished.filter(|saved| saved.stage.is_rollback()) else {
        return refused(format!(
            "no rollback of {} is unfinished: resume an upgrade with -o resume",
            options.instance
        ));
    };
    let Some(stage) = saved.stage.row().forward else {
        return refused(format!(
            "the metadata is already restored ({}): finish the rollback with -o resume, then upgrade again",
            saved.stage.name()
        ));
    };
    check_options(options, saved, false)?;
    let state = UpgradeState {
        stage,
        operation: options.operation.clone(),
        started_at: options.now.clone(),
        history: Vec::new(),
        attempts: BTreeMap::new(),
        failure: None,
        rollback_requested: false,
        ..with_options(options, saved)
    };
    let mut state = with_image(options, state);
    // `--accept-loss` covered what the new release wrote before, not what it will write.
    state.policy.accept_loss = false;
    state.policy.rollback_on_failure = options.policy.rollback_on_failure;
    Ok(state)
}

/// Rolls back an unfinished or a finished upgrade.
pub(super) fn rollback(
    options: &UpgradeOptions,
    saved: Option<&UpgradeState>,
    facts: &Facts,
) -> Result<UpgradeState, Refusal> {
    let Some(saved) = saved else {
        return rollback_without_state(options, facts);
    };
    let begin = rollback_start(saved.stage, saved.layout_before, saved.may_be_migrated());
    let Some(stage) = begin else {
        return refused(format!(
            "the upgrade of {} has ended: {}",
            saved.instance,
            saved.stage.name()
        ));
    };
    check_options(options, saved, true)?;
    let mut state = UpgradeState {
        stage,
        failure: None,
        rollback_requested: true,
        ..with_options(options, saved)
    };
    save_first(&mut state);
    if saved.stage == Stage::UPGRADED {
        // A new operation: current counts are read again, the old images are kept.
        state.operation.clone_from(&options.operation);
        state.started_at.clone_from(&options.now);
        state.history.clear();
        state.attempts = BTreeMap::new();
        state.saved = None;
        // An earlier `--accept-loss` does not cover what was written since.
        state.policy.accept_loss = options.policy.accept_loss;
        recount(&mut state, facts);
    }
    Ok(with_image(options, state))
}

/// Rolls back a finished upgrade whose saved state was deleted, with the backup that its Jobs name.
fn rollback_without_state(
    options: &UpgradeOptions,
    facts: &Facts,
) -> Result<UpgradeState, Refusal> {
    let backup = last_backup(&facts.jobs).filter(|_| facts.storage.exists);
    let Some(backup) = backup.filter(|_| !has_annotations(facts) && facts.resource.is_none())
    else {
        return refused(nothing_saved(options, facts));
    };
    let (instance, claim) = (&options.instance, &facts.storage.claim);
    let (Some(source), Some(_)) = (&options.source, &options.target) else {
        return refused(format!(
            "no upgrade of {instance} is saved, but volume claim {claim} has its backup {backup}: to roll back with it, \
             run {}",
            rollback_command(facts, options)
        ));
    };
    let mut state = draft(options, facts);
    let running = state.workloads.first().map(|one| one.image.clone());
    state.image = running.unwrap_or_default();
    let repository = image_parts(&state.image).0;
    let usual = || format!("{repository}:v{source}");
    let old = options.image.clone().unwrap_or_else(usual);
    if !is_of_old_line(&old, options, &state) {
        return Err(Refusal::Usage(format!(
            "--image {old}: a rollback starts an image of release line {}",
            line(&state.source_version)
        )));
    }
    for workload in &mut state.workloads {
        workload.image.clone_from(&old);
    }
    Ok(UpgradeState {
        stage: Stage::CHECK_ROLLBACK,
        backup_file: backup,
        has_backup: true,
        verified: true,
        layout_before: Some(Layout::V2_1),
        rollback_requested: true,
        ..state
    })
}

/// Whether an upgrade stopped a workload and its annotations still exist.
fn has_annotations(facts: &Facts) -> bool {
    let resource = facts.resource.as_ref();
    facts.deployments.iter().any(annotations::is_annotated)
        || resource.and_then(milvus_resource::saved_on).is_some()
}

/// Reads the current counts.
fn recount(state: &mut UpgradeState, facts: &Facts) {
    let found = &facts.workloads.found;
    let counted = found.iter().any(|one| one.replicas != 0);
    for workload in &mut state.workloads {
        let Some(live) = found.iter().find(|one| one.name == workload.name) else {
            continue;
        };
        // The count of a recreated Deployment is not the previous one.
        if counted && live.uid == workload.uid {
            workload.replicas = live.replicas;
        }
        workload.uid.clone_from(&live.uid);
    }
    if let (Some(saved), Some(live)) = (&mut state.resource, &facts.resource) {
        *saved = counts_of(live, saved);
    }
}

/// The current counts with the old images, unless everything is stopped.
fn counts_of(live: &Milvus, before: &SavedResource) -> SavedResource {
    let mut now = milvus_resource::save(live);
    if milvus_resource::is_stopped(&now) {
        return before.clone();
    }
    now.image.clone_from(&before.image);
    for (name, component) in &mut now.components {
        let old = before.components.get(name);
        component.image = old.and_then(|old| old.image.clone());
    }
    now
}

/// Why there is nothing to roll back. Annotations of a stopped workload allow a resume.
fn nothing_saved(options: &UpgradeOptions, facts: &Facts) -> String {
    let instance = &options.instance;
    if has_annotations(facts) {
        return format!(
            "the saved state of the upgrade of {instance} is gone, but what it stopped has its counts as annotations: \
             run the first command again (--source-version, --target-version) to resume; then -o rollback is possible"
        );
    }
    format!(
        "no upgrade of {instance} is saved in this namespace: nothing to roll back{}. To restore a backup file, run the command restore in a Job",
        facts.other_instances()
    )
}
