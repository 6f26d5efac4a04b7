//! The state of a new upgrade, or of one that restarts before it stopped Milvus.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{check_findings, refused};
use crate::cause::Refusal;
use crate::options::{PodOptions, PodUser, UpgradeOptions};
use crate::pod_resources::accepted_resources;
use crate::preflight::{Facts, target};
use crate::stage::Stage;
use crate::state::{EtcdTarget, PodShape, STATE_VERSION, SavedResource, UpgradeState};
use crate::{BACKUP_FOLDER, TOOL_IMAGE, claim_name, discovery, milvus_resource};
use milvus_meta::finding::Finding;
use milvus_meta::release::Release;

pub(super) fn new_upgrade(
    options: &UpgradeOptions,
    facts: &Facts,
) -> Result<(UpgradeState, Vec<Finding>), Refusal> {
    let findings = check_findings(facts, options)?;
    let (Some(source), Some(release)) = (&options.source, &options.target) else {
        return refused("a new upgrade needs --source-version and --target-version");
    };
    if !source.is_2_1() || !release.has_2_2_layout() {
        return refused(format!(
            "from {source} to {release} no metadata migration is needed: see preflight"
        ));
    }
    Ok((draft(options, facts), findings))
}

/// The state of an upgrade that was not started and may not be startable: enough for a read-only Job.
pub(in crate::upgrade) fn draft(options: &UpgradeOptions, facts: &Facts) -> UpgradeState {
    let version = |release: Option<&Release>, default: &str| {
        release.map_or_else(|| default.to_owned(), ToString::to_string)
    };
    UpgradeState {
        version: STATE_VERSION,
        operation: options.operation.clone(),
        started_at: options.now.clone(),
        instance: options.instance.clone(),
        stage: Stage::PROBE,
        source_version: version(options.source.as_ref(), "2.1.4"),
        target_version: version(options.target.as_ref(), "2.2.16"),
        image: options.new_image().unwrap_or_default(),
        tool_image: options
            .tool_image
            .clone()
            .unwrap_or_else(|| TOOL_IMAGE.to_owned()),
        etcd: EtcdTarget {
            credentials: options.credentials.clone(),
            ..target(facts, options)
        },
        storage_root: facts.storage_root(),
        claim: options.claim_name(),
        claim_size: options.claim_size.clone(),
        storage_class: options.storage_class.clone(),
        backup_file: format!("{BACKUP_FOLDER}/{}.mmb", options.operation),
        selector: options.selector(),
        workloads: facts.workloads.found.clone(),
        resource: saved_resource(facts),
        shape: with_pod_options(shape_of(facts, &options.pods), &options.pods),
        policy: options.policy,
        timeout_s: options.limit.as_secs(),
        skip_broken: options.skip_broken.unwrap_or(false),
        accepted: accepted(&[], options),
        rollback_requested: false,
        saved: None,
        layout_before: None,
        findings: Vec::new(),
        has_backup: false,
        verified: milvus_resource::was_restarted(&facts.deployments, facts.resource.as_ref()),
        history: Vec::new(),
        attempts: BTreeMap::new(),
        failure: None,
    }
}

/// Checks and counts again if the upgrade was interrupted before it stopped Milvus: a finding may
/// block now that did not block before.
pub(super) fn check_again(
    options: &UpgradeOptions,
    state: UpgradeState,
    facts: &Facts,
) -> Result<(UpgradeState, Vec<Finding>), Refusal> {
    if !state.stage.row().untouched {
        return Ok((state, Vec::new()));
    }
    let saved = UpgradeOptions {
        instance: state.instance.clone(),
        source: state.source_version.parse().ok(),
        target: state.target_version.parse().ok(),
        image: Some(state.image.clone()),
        root_path: Some(state.etcd.root_path.clone()),
        meta_sub_path: Some(state.etcd.meta_sub_path.clone()),
        endpoints: Some(state.etcd.endpoints.clone()),
        storage_class: state.storage_class.clone(),
        claim: Some(state.claim.clone()).filter(|claim| *claim != claim_name(&state.instance)),
        accepted: state.accepted.clone(),
        pods: PodOptions {
            requests: state.shape.requests.clone().into_iter().collect(),
            limits: state.shape.limits.clone().into_iter().collect(),
            user: state.shape.user,
            ..PodOptions::default()
        },
        repeated: options.repeated.clone(),
        ..UpgradeOptions::default()
    };
    let findings = check_findings(facts, &saved)?;
    let state = UpgradeState {
        workloads: facts.workloads.found.clone(),
        resource: saved_resource(facts),
        storage_root: facts.storage_root(),
        ..state
    };
    Ok((state, findings))
}

/// The custom resource as it was before the stop.
fn saved_resource(facts: &Facts) -> Option<SavedResource> {
    let live = facts.resource.as_ref()?;
    Some(milvus_resource::saved_on(live).unwrap_or_else(|| milvus_resource::save(live)))
}

/// The settings that Jobs take over from the first Milvus Deployment.
fn shape_of(facts: &Facts, given: &PodOptions) -> PodShape {
    let first = facts.workloads.found.first();
    let deployment = first.and_then(|workload| facts.deployment(&workload.name));
    let mut shape = deployment.map(discovery::shape).unwrap_or_default();
    let names_user = |security: &Value| security["runAsUser"].as_i64() > Some(0);
    let named = shape.security.as_ref().is_some_and(names_user);
    shape.user = (facts.assigns_users() && !named).then_some(PodUser::Namespace);
    (shape.requests, shape.limits) = accepted_resources(&facts.limit_ranges, &facts.quotas, given);
    shape
}

/// Adds the given pod options to the settings of the Milvus pods, or replaces them.
pub(super) fn with_pod_options(mut shape: PodShape, given: &PodOptions) -> PodShape {
    shape.pull_secrets.extend(given.pull_secret.clone());
    shape.pull_secrets.dedup();
    if !given.node_selector.is_empty() {
        shape.node_selector = given.node_selector.iter().cloned().collect();
    }
    if !given.tolerations.is_empty() {
        shape.tolerations.clone_from(&given.tolerations);
    }
    shape.user = given.user.or(shape.user);
    shape.requests.extend(given.requests.clone());
    shape.limits.extend(given.limits.clone());
    shape
}

pub(super) fn accepted(before: &[String], options: &UpgradeOptions) -> Vec<String> {
    let mut all = [before, &options.accepted].concat();
    all.sort();
    all.dedup();
    all
}
