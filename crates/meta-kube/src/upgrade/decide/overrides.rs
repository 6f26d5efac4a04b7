//! Applies the options of a command that resumes an operation to the saved state, or refuses them.

use super::draft::{accepted, with_pod_options};
use super::refused;
use crate::cause::Refusal;
use crate::discovery::image_version;
use crate::immutable_fields::IMAGE;
use crate::options::UpgradeOptions;
use crate::state::{EtcdTarget, UpgradeState};
use milvus_meta::release::Release;

/// Refuses options for another upgrade than the unfinished one.
pub(super) fn check_same_upgrade(
    options: &UpgradeOptions,
    saved: &UpgradeState,
) -> Result<(), Refusal> {
    let changed_options = saved.changed_options(options);
    if changed_options.is_empty() {
        return Ok(());
    }
    let reported: Vec<&str> = changed_options
        .iter()
        .map(|one| one.text.as_str())
        .collect();
    refused(format!(
        "an unfinished upgrade of {} has another target: {}; resume it with the same options, or -o rollback",
        saved.instance,
        reported.join("; ")
    ))
}

/// Refuses options that cannot be applied to the saved state: fixed ones, an image of another
/// release, and those without effect in this direction.
pub(super) fn check_options(
    options: &UpgradeOptions,
    saved: &UpgradeState,
    back: bool,
) -> Result<(), Refusal> {
    let changed_options = saved.changed_options(options);
    let fixed = changed_options.iter().filter(|one| one.option != IMAGE);
    let mut reasons: Vec<String> = fixed
        .map(|one| format!("{}: {}", one.text, one.why))
        .collect();
    if let Some(image) = &options.image {
        reasons.extend(incompatible_image(image, options, saved, back));
    }
    if back && options.policy.stay_down && !saved.policy.stay_down {
        reasons.push(
            "--stay-down is not in the saved upgrade state: a rollback starts the old release"
                .to_owned(),
        );
    }
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Refusal::Usage(format!(
        "the options do not fit the saved operation {} of {}: {}",
        saved.operation,
        saved.instance,
        reasons.join("; ")
    )))
}

/// Why an image cannot be started: an upgrade requires the target release, a rollback the old
/// release line.
fn incompatible_image(
    image: &str,
    options: &UpgradeOptions,
    saved: &UpgradeState,
    back: bool,
) -> Option<String> {
    let ran = saved.workloads.iter().any(|one| one.image == image);
    if image == saved.image || back && ran {
        return None;
    }
    let version = image_version(image);
    if !back {
        let target: Option<Release> = saved.target_version.parse().ok();
        let other = version.is_some_and(|one| Some(one.triple()) != target.map(|one| one.triple()));
        return other.then(|| {
            format!(
                "--image {image} is not {}, the target of the migration",
                saved.target_version
            )
        });
    }
    if is_of_old_line(image, options, saved) {
        return None;
    }
    if version.is_none() && is_digest(image) {
        let source = &saved.source_version;
        return Some(format!(
            "--image {image} names no release: use -s {source} to say that it is of release line {}",
            line(source)
        ));
    }
    let mut images: Vec<&str> = saved
        .workloads
        .iter()
        .map(|one| one.image.as_str())
        .collect();
    images.sort_unstable();
    images.dedup();
    Some(format!(
        "--image {image}, but the saved upgrade state has {}: a rollback starts an image of release line {}",
        images.join(", "),
        line(&saved.source_version)
    ))
}

/// Whether an image is of the old release line: by its tag, or, if it is named by its digest alone,
/// by the source version given with it.
pub(super) fn is_of_old_line(image: &str, options: &UpgradeOptions, saved: &UpgradeState) -> bool {
    let source: Option<Release> = saved.source_version.parse().ok();
    let line = |release: Release| (release.triple().0, release.triple().1);
    match image_version(image).map(line) {
        Some(of) => Some(of) == source.map(line),
        None => is_digest(image) && options.source.is_some(),
    }
}

fn is_digest(image: &str) -> bool {
    image.contains("@sha256:")
}

pub(super) fn line(version: &str) -> &str {
    version.rsplit_once('.').map_or(version, |(line, _)| line)
}

/// Applies the options that are valid in both directions to the saved state.
pub(super) fn with_options(options: &UpgradeOptions, saved: &UpgradeState) -> UpgradeState {
    let mut policy = saved.policy;
    policy.rollback_on_failure |= options.policy.rollback_on_failure;
    policy.accept_loss |= options.policy.accept_loss;
    policy.stay_down |= options.policy.stay_down;
    let open = saved.stage.row().plan_can_change;
    let etcd = EtcdTarget {
        credentials: options
            .credentials
            .clone()
            .or(saved.etcd.credentials.clone()),
        ..saved.etcd.clone()
    };
    let mut state = UpgradeState {
        stage: saved.stage.row().resume,
        policy,
        timeout_s: options.limit.as_secs(),
        skip_broken: options
            .skip_broken
            .filter(|_| open)
            .unwrap_or(saved.skip_broken),
        etcd,
        accepted: accepted(&saved.accepted, options),
        shape: with_pod_options(saved.shape.clone(), &options.pods),
        claim: options.claim.clone().unwrap_or_else(|| saved.claim.clone()),
        // A created Job keeps its image; the next attempt uses this one.
        tool_image: options
            .tool_image
            .clone()
            .unwrap_or_else(|| saved.tool_image.clone()),
        // A new attempt starts without a failure; a rollback keeps the one that led to it.
        failure: saved.failure.clone().filter(|_| saved.stage.is_rollback()),
        ..saved.clone()
    };
    save_first(&mut state);
    state
}

/// What is discarded is saved first, also if the loss is accepted only after a refusal.
pub(super) fn save_first(state: &mut UpgradeState) {
    let is_unsaved = state.policy.accept_loss && state.saved.is_none();
    if let Some(first) = state.stage.row().save_stage.filter(|_| is_unsaved) {
        state.stage = first;
    }
}

/// Sets another image of the release that the operation starts.
pub(super) fn with_image(options: &UpgradeOptions, mut state: UpgradeState) -> UpgradeState {
    let Some(image) = options.image.as_ref().filter(|_| !state.stage.is_final()) else {
        return state;
    };
    let ran = state.workloads.iter().any(|one| one.image == *image);
    if !state.stage.is_rollback() {
        state.image.clone_from(image);
    } else if !ran && is_of_old_line(image, options, &state) {
        for workload in &mut state.workloads {
            workload.image.clone_from(image);
        }
        if let Some(resource) = &mut state.resource {
            resource.image = Some(image.clone());
            for component in resource.components.values_mut() {
                component.image = component.image.as_ref().map(|_| image.clone());
            }
        }
    }
    state
}
