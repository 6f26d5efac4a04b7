//! What a command line means, given the saved upgrade state and the facts of the cluster: pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::amounts::fitting;
use crate::condition::{gone_without, paused_hint};
use crate::discovery::{self, image_version};
use crate::immutable_fields::{Difference, IMAGE};
use crate::options::{Intent, UpgradeOptions};
use crate::preflight::{Facts, judge, target};
use crate::record::{
    EtcdTarget, PodShape, PodUser, RECORD_VERSION, Record, SavedResource, Workload,
};
use crate::stage::{End, Stage, resumed, stopped_again, turned_back, turned_forward};
use crate::{BACKUP_FOLDER, TOOL_IMAGE, note, operator, survey};
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::layout::Layout;
use milvus_meta::version::Release;

/// What is done now.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The upgrade state to work with; `None` where nothing is to be done.
    pub state: Option<Record>,
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
    #[must_use]
    pub fn passes(&self) -> bool {
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
///
/// # Errors
/// Why nothing is done.
pub fn decide(
    options: &UpgradeOptions,
    saved: Option<&Record>,
    facts: &Facts,
) -> Result<Decision, Refusal> {
    let unfinished = saved.filter(|saved| !saved.stage.is_final());
    let mut note = None;
    let (state, rechecks) = match (options.intent, unfinished) {
        (Intent::Upgrade, None) if is_done(options, saved, facts) => return Ok(nothing_to_do()),
        (Intent::Upgrade, None) => (new_upgrade(options, facts)?, false),
        (Intent::Upgrade, Some(saved)) => {
            has_same_aim(options, saved)?;
            if saved.stage.is_way_back() {
                note = Some("a rollback is unfinished: it is finished first, then upgrade again");
            }
            (applied(options, saved), true)
        }
        (Intent::Resume, Some(saved)) => {
            fits(options, saved, saved.stage.is_way_back())?;
            (with_image(options, applied(options, saved)), true)
        }
        (Intent::Resume, None) => {
            let instance = &options.instance;
            let elsewhere = instead(facts);
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

fn nothing_to_do() -> Decision {
    Decision {
        state: None,
        findings: Vec::new(),
        note: None,
        creates_claim: false,
        recreated: Vec::new(),
    }
}

/// Which instances there are, where nothing of this one was found.
fn instead(facts: &Facts) -> String {
    if facts.workloads.found.is_empty() && facts.resource.is_none() {
        format!("; {}", facts.instead())
    } else {
        String::new()
    }
}

/// Whether the finished upgrade is asked for once more, and every Deployment still runs its image.
fn is_done(options: &UpgradeOptions, saved: Option<&Record>, facts: &Facts) -> bool {
    let upgraded = |saved: &&Record| saved.stage.row().end == Some(End::Upgraded);
    let Some(saved) = saved.filter(upgraded) else {
        return false;
    };
    let differences = saved.differences(options);
    let same = !differences.iter().any(Difference::is_of_the_upgrade);
    let found = &facts.workloads.found;
    let serves = found.iter().any(|one| one.replicas > 0);
    let mut full = found.iter().filter(|one| one.replicas > 0 || !serves);
    same && !found.is_empty() && full.all(|one| one.image == saved.image)
}

fn harmless(facts: &Facts, options: &UpgradeOptions) -> Vec<Finding> {
    let mut findings = judge(facts, options);
    findings.retain(|finding| finding.severity != Severity::Error);
    findings
}

fn blocked(facts: &Facts, options: &UpgradeOptions) -> Result<(), Refusal> {
    let mut findings = judge(facts, options);
    findings.retain(|finding| finding.severity == Severity::Error);
    if findings.is_empty() {
        return Ok(());
    }
    Err(Refusal::Blocked(findings))
}

fn new_upgrade(options: &UpgradeOptions, facts: &Facts) -> Result<Record, Refusal> {
    blocked(facts, options)?;
    let (Some(source), Some(release)) = (&options.source, &options.target) else {
        return refused("a new upgrade needs --source-version and --target-version");
    };
    if !source.is_2_1() || !release.has_2_2_layout() {
        return refused(format!(
            "from {source} to {release} no metadata migration is needed: see preflight"
        ));
    }
    Ok(draft(options, facts))
}

/// The state of an upgrade that is not begun, whether or not it can be: enough for a Job that only reads.
pub(super) fn draft(options: &UpgradeOptions, facts: &Facts) -> Record {
    let version = |release: Option<&Release>, default: &str| {
        release.map_or_else(|| default.to_owned(), ToString::to_string)
    };
    Record {
        version: RECORD_VERSION,
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
        claim: options.claim_name(),
        claim_size: options.claim_size.clone(),
        storage_class: options.storage_class.clone(),
        backup_file: format!("{BACKUP_FOLDER}/{}.mmb", options.operation),
        selector: survey::selector(&options.instance, options.selector.as_deref()),
        workloads: facts.workloads.found.clone(),
        resource: saved_resource(facts),
        shape: dressed(shape_of(facts), options),
        policy: options.policy,
        skip_broken: options.skip_broken.unwrap_or(false),
        accepted: accepted(&[], options),
        asked_back: false,
        saved: None,
        layout_before: None,
        has_backup: false,
        verified: operator::was_started_anew(&facts.deployments, facts.resource.as_ref()),
        attempts: BTreeMap::new(),
        failure: None,
    }
}

/// What the custom resource said before anything was stopped.
fn saved_resource(facts: &Facts) -> Option<SavedResource> {
    let live = facts.resource.as_ref()?;
    Some(operator::saved_on(live).unwrap_or_else(|| operator::save(live)))
}

/// What Jobs take over, from the first Deployment of Milvus.
fn shape_of(facts: &Facts) -> PodShape {
    let first = facts.workloads.found.first();
    let deployment = first.and_then(|workload| {
        let mut all = facts.deployments.iter();
        all.find(|one| one.metadata.name.as_ref() == Some(&workload.name))
    });
    let mut shape = deployment.map(discovery::shape).unwrap_or_default();
    let names_user = |security: &Value| security["runAsUser"].as_i64() > Some(0);
    let named = shape.security.as_ref().is_some_and(names_user);
    shape.user = (facts.assigns_users() && !named).then_some(PodUser::Namespace);
    (shape.requests, shape.limits) = fitting(&facts.limit_ranges, &facts.quotas);
    shape
}

/// What is given comes on top of what Milvus has, or in its place.
fn dressed(mut shape: PodShape, options: &UpgradeOptions) -> PodShape {
    let given = &options.shape;
    shape.pull_secrets.extend(given.pull_secrets.clone());
    shape.pull_secrets.dedup();
    if !given.node_selector.is_empty() {
        shape.node_selector.clone_from(&given.node_selector);
    }
    if !given.tolerations.is_empty() {
        shape.tolerations.clone_from(&given.tolerations);
    }
    shape.user = given.user.or(shape.user);
    shape.requests.extend(given.requests.clone());
    shape.limits.extend(given.limits.clone());
    shape
}

fn accepted(before: &[String], options: &UpgradeOptions) -> Vec<String> {
    let mut all = [before, &options.accepted].concat();
    all.sort();
    all.dedup();
    all
}

/// Refuses another upgrade than the unfinished one.
fn has_same_aim(options: &UpgradeOptions, saved: &Record) -> Result<(), Refusal> {
    let differences = saved.differences(options);
    if differences.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = differences.iter().map(ToString::to_string).collect();
    refused(format!(
        "an unfinished upgrade of {} has another aim: {}; resume it with the same options, or -o rollback",
        saved.instance,
        told.join("; ")
    ))
}

/// Refuses options that do not fit the saved state: what is fixed once it is saved, another release's image,
/// and what means nothing in this direction.
fn fits(options: &UpgradeOptions, saved: &Record, back: bool) -> Result<(), Refusal> {
    let differences = saved.differences(options);
    let fixed = differences.iter().filter(|one| one.option != IMAGE);
    let mut reasons: Vec<String> = fixed.map(|one| format!("{one}: {}", one.why)).collect();
    if let Some(image) = &options.image {
        reasons.extend(unfit_image(image, saved, back));
    }
    if back && options.policy.stay_down && !saved.policy.stay_down {
        reasons.push(
            "--stay-down, which the record does not hold: a rollback starts the old release"
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

/// Why an image cannot be started: forward it has to be of the target release, back of the old release line.
fn unfit_image(image: &str, saved: &Record, back: bool) -> Option<String> {
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
                "--image {image} is not {}, which the metadata is migrated for",
                saved.target_version
            )
        });
    }
    if is_of_old_line(image, saved) {
        return None;
    }
    let mut images: Vec<&str> = saved
        .workloads
        .iter()
        .map(|one| one.image.as_str())
        .collect();
    images.sort_unstable();
    images.dedup();
    Some(format!(
        "--image {image}, where the record holds {}: a rollback starts an image of release line {}",
        images.join(", "),
        line(&saved.source_version)
    ))
}

/// Whether an image's tag says that it is of the release line that ran before.
fn is_of_old_line(image: &str, saved: &Record) -> bool {
    let source: Option<Release> = saved.source_version.parse().ok();
    let line = |release: Release| (release.triple().0, release.triple().1);
    let of = image_version(image).map(line);
    of.is_some() && of == source.map(line)
}

fn line(version: &str) -> &str {
    version.rsplit_once('.').map_or(version, |(line, _)| line)
}

/// The saved state with what is given: what fits both directions.
fn applied(options: &UpgradeOptions, saved: &Record) -> Record {
    let mut policy = saved.policy;
    policy.rollback_on_failure |= options.policy.rollback_on_failure;
    policy.accept_loss |= options.policy.accept_loss;
    policy.stay_down |= options.policy.stay_down;
    let open = saved.stage.row().plan_open;
    let etcd = EtcdTarget {
        credentials: options
            .credentials
            .clone()
            .or(saved.etcd.credentials.clone()),
        ..saved.etcd.clone()
    };
    let mut state = Record {
        stage: resumed(saved.stage),
        policy,
        skip_broken: options
            .skip_broken
            .filter(|_| open)
            .unwrap_or(saved.skip_broken),
        etcd,
        accepted: accepted(&saved.accepted, options),
        shape: dressed(saved.shape.clone(), options),
        claim: options.claim.clone().unwrap_or_else(|| saved.claim.clone()),
        // A Job that was created keeps its image; the next attempt takes this one.
        tool_image: options
            .tool_image
            .clone()
            .unwrap_or_else(|| saved.tool_image.clone()),
        // A new attempt has its own failure; a rollback keeps the one that led there.
        failure: saved.failure.clone().filter(|_| saved.stage.is_way_back()),
        ..saved.clone()
    };
    save_first(&mut state);
    state
}

/// What is discarded is saved first, also where that is accepted only after a refusal.
fn save_first(state: &mut Record) {
    let is_unsaved = state.policy.accept_loss && state.saved.is_none();
    if let Some(first) = state.stage.row().saves_first.filter(|_| is_unsaved) {
        state.stage = first;
    }
}

/// The state with another image of the release that it leads to.
fn with_image(options: &UpgradeOptions, mut state: Record) -> Record {
    let Some(image) = options.image.as_ref().filter(|_| !state.stage.is_final()) else {
        return state;
    };
    let ran = state.workloads.iter().any(|one| one.image == *image);
    if !state.stage.is_way_back() {
        state.image.clone_from(image);
    } else if !ran && is_of_old_line(image, &state) {
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

/// From an unfinished rollback to the new release: a new operation with its own Jobs.
fn forward(options: &UpgradeOptions, unfinished: Option<&Record>) -> Result<Record, Refusal> {
    let Some(saved) = unfinished.filter(|saved| saved.stage.is_way_back()) else {
        return refused(format!(
            "no rollback of {} is unfinished: resume an upgrade with -o resume",
            options.instance
        ));
    };
    let Some(stage) = turned_forward(saved.stage) else {
        return refused(format!(
            "the metadata was put back already ({}): finish the rollback with -o resume, then upgrade again",
            saved.stage.name()
        ));
    };
    fits(options, saved, false)?;
    let state = Record {
        stage,
        operation: options.operation.clone(),
        started_at: options.now.clone(),
        attempts: BTreeMap::new(),
        failure: None,
        asked_back: false,
        ..applied(options, saved)
    };
    let mut state = with_image(options, state);
    // What was accepted beforehand is what is written until the release is healthy, not what it wrote since.
    state.policy.accept_loss = false;
    state.policy.rollback_on_failure = options.policy.rollback_on_failure;
    Ok(state)
}

/// The rollback of an unfinished or a finished upgrade.
fn rollback(
    options: &UpgradeOptions,
    saved: Option<&Record>,
    facts: &Facts,
) -> Result<Record, Refusal> {
    let Some(saved) = saved else {
        return rollback_without_state(options, facts);
    };
    let begin = turned_back(saved.stage, saved.layout_before, saved.may_be_migrated());
    let Some(stage) = begin else {
        return refused(format!(
            "the upgrade of {} is over: {}",
            saved.instance,
            saved.stage.name()
        ));
    };
    fits(options, saved, true)?;
    let mut state = Record {
        stage,
        failure: None,
        asked_back: true,
        ..applied(options, saved)
    };
    save_first(&mut state);
    if saved.stage.row().end == Some(End::Upgraded) {
        // A new operation: what runs now is counted now, what ran before is remembered.
        state.operation.clone_from(&options.operation);
        state.started_at.clone_from(&options.now);
        state.attempts = BTreeMap::new();
        state.saved = None;
        // What was accepted then says nothing of what was written since.
        state.policy.accept_loss = options.policy.accept_loss;
        recount(&mut state, facts);
    }
    Ok(with_image(options, state))
}

/// The rollback of a finished upgrade whose saved state was deleted: with the backup that its Jobs name.
fn rollback_without_state(options: &UpgradeOptions, facts: &Facts) -> Result<Record, Refusal> {
    let backup = facts.backup.as_ref().filter(|_| facts.storage.exists);
    let Some(backup) = backup.filter(|_| !is_noted(facts) && facts.resource.is_none()) else {
        return refused(nothing_saved(options, facts));
    };
    let (instance, claim) = (&options.instance, &facts.storage.claim);
    let (Some(source), Some(_)) = (&options.source, &options.target) else {
        return refused(format!(
            "no upgrade of {instance} is saved, but volume claim {claim} has its backup {backup}: to roll back with it, \
             run meta-migration upgrade{} -s OLD-VERSION -t NEW-VERSION -o rollback",
            options.words.place
        ));
    };
    let mut state = draft(options, facts);
    let running = state.workloads.first().map(|one| one.image.clone());
    state.image = running.unwrap_or_default();
    let repository = state
        .image
        .rsplit_once(':')
        .map_or(state.image.as_str(), |(name, _)| name);
    let old = options
        .image
        .clone()
        .unwrap_or_else(|| format!("{repository}:v{source}"));
    if !is_of_old_line(&old, &state) {
        return Err(Refusal::Usage(format!(
            "--image {old}: a rollback starts an image of release line {}",
            line(&state.source_version)
        )));
    }
    for workload in &mut state.workloads {
        workload.image.clone_from(&old);
    }
    Ok(Record {
        stage: Stage::CHECK_ROLLBACK,
        backup_file: backup.clone(),
        has_backup: true,
        verified: true,
        layout_before: Some(Layout::V2_1),
        asked_back: true,
        ..state
    })
}

/// Whether an upgrade stopped something and its annotations are still there.
fn is_noted(facts: &Facts) -> bool {
    let resource = facts.resource.as_ref();
    facts.deployments.iter().any(note::is_on) || resource.and_then(operator::saved_on).is_some()
}

/// Takes the counts of now.
fn recount(state: &mut Record, facts: &Facts) {
    let found = &facts.workloads.found;
    let counted = found.iter().any(|one| one.replicas != 0);
    for workload in &mut state.workloads {
        let Some(live) = found.iter().find(|one| one.name == workload.name) else {
            continue;
        };
        // One that was recreated says nothing of how many there were.
        if counted && live.uid == workload.uid {
            workload.replicas = live.replicas;
        }
        workload.uid.clone_from(&live.uid);
    }
    if let (Some(saved), Some(live)) = (&mut state.resource, &facts.resource) {
        *saved = counts_of(live, saved);
    }
}

/// The counts of now with the images of before, unless everything is stopped.
fn counts_of(live: &Value, before: &SavedResource) -> SavedResource {
    let mut now = operator::save(live);
    if operator::is_stopped(&now) {
        return before.clone();
    }
    now.image.clone_from(&before.image);
    for (name, component) in &mut now.components {
        let old = before.components.get(name);
        component.image = old.and_then(|old| old.image.clone());
    }
    now
}

/// Why there is nothing to roll back; what an upgrade stopped still has its annotations.
fn nothing_saved(options: &UpgradeOptions, facts: &Facts) -> String {
    let instance = &options.instance;
    if is_noted(facts) {
        return format!(
            "the saved state of the upgrade of {instance} is gone, but what it stopped has its counts as annotations: \
             take it up with the first command again (--source-version, --target-version); from there -o rollback \
             is possible"
        );
    }
    format!(
        "no upgrade of {instance} is saved in this namespace: nothing to roll back{}. To put a backup file back, run \
         the command restore in a Job",
        instead(facts)
    )
}

/// Fills in which certificates the given Secret contains.
fn with_certificates(
    options: &UpgradeOptions,
    mut state: Record,
    facts: &Facts,
) -> Result<Record, Refusal> {
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

/// An upgrade that was interrupted before it touched Milvus is checked and counted again: what blocked
/// nothing may do so now.
fn rechecked(
    options: &UpgradeOptions,
    state: Record,
    facts: &Facts,
) -> Result<(Record, Vec<Finding>), Refusal> {
    let saved = UpgradeOptions {
        instance: state.instance.clone(),
        source: state.source_version.parse().ok(),
        target: state.target_version.parse().ok(),
        image: Some(state.image.clone()),
        root_path: Some(state.etcd.root_path.clone()),
        meta_sub_path: Some(state.etcd.meta_sub_path.clone()),
        endpoints: Some(state.etcd.endpoints.clone()),
        storage_class: state.storage_class.clone(),
        claim: Some(state.claim.clone()).filter(|claim| *claim != default_claim(&state)),
        accepted: state.accepted.clone(),
        shape: state.shape.clone(),
        words: options.words.clone(),
        ..UpgradeOptions::default()
    };
    blocked(facts, &saved)?;
    let state = Record {
        workloads: facts.workloads.found.clone(),
        resource: saved_resource(facts),
        ..state
    };
    Ok((state, harmless(facts, &saved)))
}

fn default_claim(state: &Record) -> String {
    crate::claim_name(&state.instance)
}

/// Whether the claim for backups has to be created. One that contained a backup is never created again: an
/// empty volume is no backup.
fn creates_claim(options: &UpgradeOptions, state: &Record, facts: &Facts) -> Result<bool, Refusal> {
    if facts.storage.exists || state.stage.is_final() {
        return Ok(false);
    }
    if options.claim.is_some() {
        return refused(format!("the volume claim {} is missing", state.claim));
    }
    if !state.has_backup {
        return Ok(true);
    }
    // To look into etcd and to start no backup is needed.
    if !state.stage.row().needs_volume {
        return Ok(false);
    }
    refused(format!(
        "the volume claim {} with the backup {} is gone: nothing was begun. Create a claim of that name, or give \
         one with --backup-pvc, then run the same command; put a copy of the file into it. Without a copy the \
         metadata as it is decides what is possible",
        state.claim, state.backup_file
    ))
}

/// The Deployments that were recreated since the state was saved: they are ours with their saved counts, and
/// stopped like the others. What is missing is reported before anything is done.
fn recreated(state: &mut Record, facts: &Facts) -> Result<Vec<Workload>, Refusal> {
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
    if !gone.is_empty() && !row.runs {
        return Err(Refusal::Halted(gone_without(&gone)));
    }
    if row.runs {
        return Ok(Vec::new());
    }
    if !recreated.is_empty() {
        state.stage = stopped_again(state.stage);
    }
    Ok(recreated)
}

/// A paused Deployment would start its old image: that is found before the first one is changed.
fn not_paused(state: &Record, facts: &Facts) -> Result<(), Refusal> {
    if state.stage.is_final() || state.resource.is_some() {
        return Ok(());
    }
    let is_ours = |name: &str| state.workloads.iter().any(|one| one.name == name);
    let paused = facts.deployments.iter().filter_map(|one| {
        let name = one.metadata.name.as_deref()?;
        let paused = one.spec.as_ref()?.paused == Some(true);
        (paused && is_ours(name)).then_some(name)
    });
    let names: Vec<&str> = paused.collect();
    if names.is_empty() {
        return Ok(());
    }
    let hint = paused_hint(&facts.namespace, &names);
    let row = state.stage.row();
    if row.untouched || row.runs {
        return refused(hint);
    }
    Err(Refusal::Halted(hint))
}

#[cfg(test)]
mod tests;
