//! Decisions from options, saved state and facts.

use k8s_openapi::api::batch::v1::Job;
use serde_json::json;

use super::*;
use crate::options::{PodUser, Policy};
use crate::preflight::{Storage, cluster_finding};
use crate::stage::{Stage, TABLE};
use crate::state::tests::example;
use crate::upgrade::dry_run::{manifests, outline};
use crate::upgrade::helm_notice::helm_notice;
use crate::{LABEL_OPERATION, LABEL_STEP, annotations, milvus_resource};
use milvus_meta::finding::Severity;

fn request() -> UpgradeOptions {
    UpgradeOptions {
        instance: "prod".to_owned(),
        source: Some("2.1.4".parse().unwrap()),
        target: Some("2.2.16".parse().unwrap()),
        operation: "00000001".to_owned(),
        ..UpgradeOptions::default()
    }
}

fn facts() -> Facts {
    let mut facts = Facts {
        instance: "prod".to_owned(),
        storage: Storage {
            claim: "meta-migration-backup-prod".to_owned(),
            exists: true,
            ..Storage::default()
        },
        ..Facts::default()
    };
    facts.workloads.found = example().workloads;
    let uids = example().workloads.into_iter();
    facts.saved = uids.map(|one| (one.name, Some(one.uid))).collect();
    facts.configured.endpoints = Some(vec!["prod-etcd:2379".to_owned()]);
    facts
}

fn decided(
    intent: Intent,
    saved: Option<&UpgradeState>,
    facts: &Facts,
    options: &UpgradeOptions,
) -> Result<UpgradeState, Refusal> {
    let options = UpgradeOptions {
        intent,
        ..options.clone()
    };
    decide(&options, saved, facts).map(|decision| decision.state.unwrap())
}

fn resumed_with(
    saved: Option<&UpgradeState>,
    options: &UpgradeOptions,
) -> Result<UpgradeState, Refusal> {
    decided(Intent::Upgrade, saved, &facts(), options)
}

fn new_upgrade_state(facts: &Facts, options: &UpgradeOptions) -> Result<UpgradeState, Refusal> {
    decided(Intent::Upgrade, None, facts, options)
}

fn resume_with(saved: &UpgradeState, options: &UpgradeOptions) -> Result<UpgradeState, Refusal> {
    decided(Intent::Resume, Some(saved), &facts(), options)
}

fn resume(saved: &UpgradeState, options: &UpgradeOptions) -> UpgradeState {
    resume_with(saved, options).unwrap()
}

fn forward_from(
    saved: Option<&UpgradeState>,
    options: &UpgradeOptions,
) -> Result<UpgradeState, Refusal> {
    decided(Intent::Forward, saved, &facts(), options)
}

fn rollback_from(
    saved: Option<&UpgradeState>,
    facts: &Facts,
    options: &UpgradeOptions,
) -> Result<UpgradeState, Refusal> {
    decided(Intent::RollBack, saved, facts, options)
}

#[test]
fn w4_an_unfinished_upgrade_keeps_its_counts() {
    let existing = example();
    let state = resumed_with(Some(&existing), &request()).unwrap();
    assert_eq!(state.operation, existing.operation);
    assert_eq!(state.workloads[0].replicas, 3);
    assert_eq!(state.stage, Stage::MIGRATE);
    let other = UpgradeOptions {
        target: Some("2.2.9".parse().unwrap()),
        ..request()
    };
    let refusal = resumed_with(Some(&existing), &other)
        .unwrap_err()
        .to_string();
    assert!(
        refusal.contains("--target-version 2.2.9, but the saved upgrade state has 2.2.16"),
        "{refusal}"
    );
}

#[test]
fn w5_w9_a_finished_upgrade_does_not_affect_the_next() {
    let mut finished = example();
    finished.stage = Stage::ROLLED_BACK;
    let mut facts = facts();
    facts.workloads.found[0].replicas = 5;
    let state = decided(Intent::Upgrade, Some(&finished), &facts, &request()).unwrap();
    assert_eq!(state.workloads[0].replicas, 5, "counted now");
    assert_eq!(state.operation, "00000001");
    assert_ne!(state.backup_file, finished.backup_file);
    assert!(!state.has_backup);
    assert!(state.attempts.is_empty());
}

#[test]
fn w7_a_rollback_knows_its_backup_and_its_images() {
    let mut finished = example();
    finished.stage = Stage::UPGRADED;
    let mut facts = facts();
    facts.workloads.found[0].replicas = 4;
    facts.workloads.found[0].image = "milvusdb/milvus:v2.2.16".to_owned();
    let back = rollback_from(Some(&finished), &facts, &request()).unwrap();
    assert_eq!(back.stage, Stage::CHECK_ROLLBACK, "checks before it stops");
    assert_eq!(
        back.operation, "00000001",
        "a new operation with new Jobs (w8)"
    );
    assert_eq!(back.backup_file, finished.backup_file);
    assert_eq!(back.workloads[0].image, "milvusdb/milvus:v2.1.4");
    assert_eq!(back.workloads[0].replicas, 4, "the current count");
    facts.workloads.found[0].replicas = 0;
    let back = rollback_from(Some(&finished), &facts, &request()).unwrap();
    assert_eq!(back.workloads[0].replicas, 3, "not overwritten by zero");
    facts.workloads.found[0].replicas = 1;
    facts.workloads.found[0].uid = "another".to_owned();
    let name = facts.workloads.found[0].name.clone();
    facts.saved.insert(name, Some("another".to_owned()));
    let back = rollback_from(Some(&finished), &facts, &request()).unwrap();
    let recreated = &back.workloads[0];
    assert_eq!((recreated.replicas, recreated.uid.as_str()), (3, "another"));
}

#[test]
fn accepted_loss_is_saved_before_it_is_discarded() {
    let mut state = example();
    state.stage = Stage::RESTORE;
    let mut accepting = request();
    accepting.policy.accept_loss = true;
    let back = |state: &UpgradeState, request: &UpgradeOptions| {
        let back = rollback_from(Some(state), &facts(), request).unwrap();
        (resume(state, request).stage, back.stage)
    };
    assert_eq!(back(&state, &request()), (Stage::RESTORE, Stage::RESTORE));
    assert_eq!(back(&state, &accepting), (Stage::SAVE_NEW, Stage::SAVE_NEW));
    state.saved = Some("/milvus/data/after.mmb".to_owned());
    assert_eq!(back(&state, &accepting), (Stage::RESTORE, Stage::RESTORE));
}

#[test]
fn accepted_loss_is_not_kept_for_later_rollbacks() {
    let mut state = example();
    state.policy.accept_loss = true;
    let mut accepting = request();
    accepting.policy.accept_loss = true;
    let accepts = |state: &UpgradeState, request: &UpgradeOptions| {
        let back = rollback_from(Some(state), &facts(), request).unwrap();
        back.policy.accept_loss
    };
    assert!(accepts(&state, &request()), "the same operation resumes");
    state.stage = Stage::UPGRADED;
    assert!(!accepts(&state, &request()), "another one");
    assert!(accepts(&state, &accepting));
}

#[test]
fn rollback_without_an_upgrade_is_refused() {
    assert!(rollback_from(None, &facts(), &request()).is_err());
    let mut annotated = facts();
    let mut stopped = k8s_openapi::api::apps::v1::Deployment::default();
    stopped.metadata.annotations =
        Some([(annotations::REPLICAS.to_owned(), "3".to_owned())].into());
    annotated.deployments = vec![stopped];
    let refusal = rollback_from(None, &annotated, &request()).unwrap_err();
    assert!(
        refusal.to_string().contains("run the first command again"),
        "{refusal}"
    );
    let mut over = example();
    over.stage = Stage::ROLLED_BACK;
    let refusal = rollback_from(Some(&over), &facts(), &request()).unwrap_err();
    assert!(refusal.to_string().contains("rolled back"), "{refusal}");
    let mut waiting = example();
    waiting.stage = Stage::PLAN;
    let back = rollback_from(Some(&waiting), &facts(), &request()).unwrap();
    assert_eq!(back.stage, Stage::ABORTED, "Milvus was not touched");
}

#[test]
fn w19_all_blocking_findings_are_reported_at_once() {
    let mut broken = facts();
    broken.workloads.found[0].image = "milvusdb/milvus:v2.1.0".to_owned();
    broken.configured.metastore = Some("mysql".to_owned());
    let refusal = new_upgrade_state(&broken, &request())
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("[source-version]"), "{refusal}");
    assert!(refusal.contains("[metastore]"), "{refusal}");
    let within = UpgradeOptions {
        source: Some("2.2.3".parse().unwrap()),
        accepted: vec!["source-version".to_owned()],
        ..request()
    };
    let refusal = new_upgrade_state(&facts(), &within)
        .unwrap_err()
        .to_string();
    assert!(
        refusal.contains("no metadata migration is needed"),
        "{refusal}"
    );
}

#[test]
fn an_unstarted_upgrade_is_checked_and_counted_again() {
    let waiting = UpgradeState {
        stage: Stage::PLAN,
        ..example()
    };
    let mut now = facts();
    let again = |saved: &UpgradeState, facts: &Facts| {
        // Only the saved options are given.
        let options = UpgradeOptions {
            instance: "prod".to_owned(),
            ..UpgradeOptions::default()
        };
        decided(Intent::Resume, Some(saved), facts, &options)
    };
    now.workloads.found[0].replicas = 5;
    let state = again(&waiting, &now).unwrap();
    assert_eq!(state.stage, Stage::PROBE, "the probe runs again");
    assert_eq!(state.workloads[0].replicas, 5);
    assert_eq!(state.operation, waiting.operation);
    now.workloads.found[0].image = "milvusdb/milvus:v2.1.2".to_owned();
    let refusal = again(&waiting, &now).unwrap_err().to_string();
    assert!(refusal.contains("[source-version]"), "{refusal}");
    let accepting = UpgradeState {
        accepted: vec!["source-version".to_owned()],
        ..waiting
    };
    assert!(again(&accepting, &now).is_ok());
}

#[test]
fn w20_the_helm_notice_has_the_command() {
    let mut facts = facts();
    facts.namespace = "data".to_owned();
    facts.helm = Some(crate::discovery::helm::HelmRelease {
        name: "prod".to_owned(),
        revision: 1,
        status: "deployed".to_owned(),
        chart: "milvus-3.2.18".to_owned(),
        app_version: "2.1.4".to_owned(),
        ..Default::default()
    });
    let mut state = example();
    assert_eq!(helm_notice(&facts, &state), None, "it is not over");
    state.stage = Stage::UPGRADED;
    let text = helm_notice(&facts, &state).unwrap();
    assert!(
        text.contains("helm upgrade prod milvus/milvus -n data"),
        "{text}"
    );
    assert!(text.contains("--version 4.0.34"), "{text}");
    assert!(text.contains("image.all.tag=v2.2.16"), "{text}");
    state.stage = Stage::ROLLED_BACK;
    let text = helm_notice(&facts, &state).unwrap();
    assert!(
        text.starts_with("if Helm has upgraded the release to 2.2.16"),
        "{text}"
    );
    assert!(
        text.contains("helm rollback prod REVISION -n data"),
        "{text}"
    );
    assert!(text.contains("--version 3.2.18"), "{text}");
    assert!(text.contains("image.all.tag=v2.1.4"), "{text}");
    let mut says = |image: &str| {
        facts.helm.as_mut().unwrap().image = Some(image.to_owned());
        helm_notice(&facts, &state)
    };
    let text = says("milvusdb/milvus:v2.2.16").unwrap();
    assert!(text.starts_with("Helm's values name the image milvusdb/milvus:v2.2.16"));
    assert_eq!(
        says("milvusdb/milvus:v2.1.4"),
        None,
        "the values still name it"
    );
    let helm = facts.helm.as_mut().unwrap();
    helm.image = Some("milvusdb/milvus:v2.2.16".to_owned());
    helm.images = [(3, "v2.1.4"), (4, "v2.1.4"), (5, "v2.2.16")]
        .map(|(revision, tag)| (revision, format!("milvusdb/milvus:{tag}")))
        .into();
    let text = helm_notice(&facts, &state).unwrap();
    assert!(text.contains("helm rollback prod 4 -n data"), "{text}");
    state.stage = Stage::UPGRADED;
    assert_eq!(helm_notice(&facts, &state), None, "it knows the new image");
    facts.helm = None;
    assert_eq!(helm_notice(&facts, &state), None);
}

#[test]
fn a_dry_run_shows_every_step_and_object() {
    let state = new_upgrade_state(&facts(), &request()).unwrap();
    let text = manifests(&state, "data", true);
    for expected in [
        "kind: PersistentVolumeClaim",
        "kind: ConfigMap",
        "name: meta-migration-backup-00000001-1",
        "name: meta-migration-migrate-00000001-1",
        "name: meta-migration-verify-00000001-1",
        "# step 8: starting the new release",
        "image of container querynode to milvusdb/milvus:v2.2.16, replicas to 3",
        "prod-milvus-querynode: replicas from 3 to 0",
    ] {
        assert!(text.contains(expected), "{expected} is missing in:\n{text}");
    }
}

#[test]
fn a_dry_run_shows_a_rollback() {
    let mut finished = example();
    finished.stage = Stage::UPGRADED;
    let accepting = UpgradeOptions {
        policy: Policy {
            accept_loss: true,
            ..Policy::default()
        },
        ..request()
    };
    let back = rollback_from(Some(&finished), &facts(), &accepting).unwrap();
    let text = manifests(&back, "data", false);
    for expected in [
        "# Roll back prod in namespace data from 2.2.16 to 2.1.4\n",
        "name: meta-migration-preview-00000001-1",
        "name: meta-migration-save-00000001-1",
        "name: meta-migration-rollback-00000001-1",
        "image of container querynode to milvusdb/milvus:v2.1.4, replicas to 3",
    ] {
        assert!(text.contains(expected), "{expected} is missing in:\n{text}");
    }
    assert!(!text.contains("PersistentVolumeClaim\n"), "{text}");
}

#[test]
fn a_wrong_image_can_be_fixed_by_resume() {
    let mut halted = example();
    halted.stage = Stage::WAIT_NEW;
    let with = |image: &str| {
        let mut given = request();
        given.image = Some(image.to_owned());
        resume_with(&halted, &given)
    };
    let resumed = with("registry:5000/milvus:v2.2.16").unwrap();
    assert_eq!(resumed.image, "registry:5000/milvus:v2.2.16");
    assert_eq!(resumed.stage, Stage::CHECK_NEW, "the start sets the image");
    assert_eq!(with(&halted.image).unwrap().stage, Stage::CHECK_NEW);
    let refusal = with("milvusdb/milvus:v2.1.4").unwrap_err().to_string();
    assert!(refusal.contains("is not 2.2.16"), "{refusal}");
}

#[test]
fn later_options_are_applied_or_refused() {
    let mut given = request();
    given.credentials = Some("etcd-user".to_owned());
    given.policy.stay_down = true;
    let resumed = resume_with(&example(), &given).unwrap();
    assert_eq!(resumed.etcd.credentials, given.credentials);
    assert!(resumed.policy.stay_down);
    assert_eq!(resumed.image, example().image, "none is given");

    let refusal = rollback_from(Some(&example()), &facts(), &given).unwrap_err();
    assert!(refusal.to_string().contains("--stay-down"), "{refusal}");
    let down = resumed;
    assert!(
        rollback_from(Some(&down), &facts(), &given).is_ok(),
        "as saved"
    );

    let mut elsewhere = request();
    elsewhere.endpoints = Some(vec!["nowhere:2379".to_owned()]);
    elsewhere.storage_class = Some("fast".to_owned());
    for refusal in [
        resume_with(&example(), &elsewhere).unwrap_err(),
        rollback_from(Some(&example()), &facts(), &elsewhere).unwrap_err(),
    ] {
        assert!(matches!(refusal, Refusal::Usage(_)));
        let text = refusal.to_string();
        assert!(
            text.contains("saved upgrade state has prod-etcd:2379"),
            "{text}"
        );
        assert!(text.contains("--storage-class fast"), "{text}");
    }
}

#[test]
fn broken_records_are_decided_until_the_migration() {
    let mut given = request();
    given.skip_broken = Some(true);
    assert!(new_upgrade_state(&facts(), &given).unwrap().skip_broken);
    let at = |stage| UpgradeState { stage, ..example() };
    let resumed = resume_with(&at(Stage::BACKUP), &given).unwrap();
    assert!(resumed.skip_broken);
    assert!(resume_with(&resumed, &request()).unwrap().skip_broken);
    for stage in [Stage::VERIFY, Stage::RESTORE] {
        let refusal = resume_with(&at(stage), &given).unwrap_err().to_string();
        assert!(
            refusal.contains("--on-broken-record skip, but the saved upgrade state has fail"),
            "{refusal}"
        );
    }
}

#[test]
fn a_rollback_image_is_saved_in_the_state() {
    let with = |image: &str| {
        let mut given = request();
        given.image = Some(image.to_owned());
        rollback_from(Some(&example()), &facts(), &given)
    };
    assert!(
        with("milvusdb/milvus:v2.1.4").is_ok(),
        "the image that a rollback starts"
    );
    assert!(with("milvusdb/milvus:v2.2.16").is_ok(), "as in the upgrade");
    let refusal = with("milvusdb/milvus:v2.0.2").unwrap_err().to_string();
    assert!(
        refusal.contains("saved upgrade state has milvusdb/milvus:v2.1.4"),
        "{refusal}"
    );
}

#[test]
fn pod_options_extend_what_milvus_has() {
    let mut given = request();
    given.pods.pull_secret = Some("registry".to_owned());
    given.tool_image = Some("tool:2".to_owned());
    given.pods.node_selector = vec![("disk".to_owned(), "ssd".to_owned())];
    given.pods.user = Some(PodUser::Id(77));
    let state = new_upgrade_state(&facts(), &given).unwrap();
    assert_eq!(state.shape.pull_secrets, ["registry"]);
    assert_eq!(state.shape.node_selector["disk"], "ssd");
    assert_eq!(state.shape.user, Some(PodUser::Id(77)));
    assert_eq!(state.tool_image, "tool:2");
    let mut milvus = example();
    milvus.shape.security = Some(serde_json::json!({"runAsUser": 5, "fsGroup": 6}));
    let resumed = resume(&milvus, &given);
    assert_eq!(resumed.shape.user, Some(PodUser::Id(77)));
    assert_eq!(resumed.shape.security, milvus.shape.security);
    assert_eq!(resumed.tool_image, "tool:2", "the next attempt takes it");
    assert_eq!(resume(&milvus, &request()).tool_image, milvus.tool_image);
}

#[test]
fn a_rollback_turns_forward_until_the_restore() {
    let at = |stage| UpgradeState {
        stage,
        rollback_requested: true,
        saved: Some("/milvus/data/3f9a2c1d-2.2.16.mmb".to_owned()),
        policy: Policy {
            rollback_on_failure: true,
            ..Policy::default()
        },
        ..example()
    };
    let forward = forward_from(Some(&at(Stage::RESTORE)), &request()).unwrap();
    assert_eq!(forward.stage, Stage::STOP);
    assert_eq!(forward.operation, "00000001", "with new Jobs");
    assert_eq!(forward.backup_file, example().backup_file);
    assert!(!forward.rollback_requested);
    assert_eq!(
        forward.saved,
        at(Stage::RESTORE).saved,
        "it may be restored already"
    );
    assert!(!forward.policy.rollback_on_failure);
    let reported = |stage| forward_from(Some(&at(stage)), &request()).unwrap_err();
    let late = reported(Stage::START_OLD).to_string();
    assert!(late.contains("then upgrade again"), "{late}");
    let none = reported(Stage::MIGRATE).to_string();
    assert!(none.contains("no rollback of prod is unfinished"), "{none}");
}

#[test]
fn another_claim_may_be_given_later() {
    let mut given = request();
    given.claim = Some("spare".to_owned());
    assert_eq!(resume(&example(), &given).claim, "spare");
    assert_eq!(resume(&example(), &request()).claim, example().claim);
}

#[test]
fn a_finished_upgrade_is_done_while_its_image_runs() {
    let mut finished = UpgradeState {
        stage: Stage::UPGRADED,
        ..example()
    };
    let mut facts = facts();
    let is_done =
        |saved: &UpgradeState, facts: &Facts| super::is_done(&request(), Some(saved), facts);
    assert!(!is_done(&finished, &facts), "2.1 runs");
    facts.workloads.found[0].image.clone_from(&finished.image);
    assert!(is_done(&finished, &facts));
    let decision = decide(&request(), Some(&finished), &facts).unwrap();
    assert_eq!(decision, Decision::default());
    finished.stage = Stage::ROLLED_BACK;
    assert!(!is_done(&finished, &facts));
}

#[test]
fn every_intent_in_every_stage_decides_or_refuses() {
    let intents = [
        Intent::Upgrade,
        Intent::RollBack,
        Intent::Resume,
        Intent::Forward,
    ];
    for row in &TABLE {
        let saved = UpgradeState {
            stage: row.stage,
            ..example()
        };
        for intent in intents {
            let decision = decided(intent, Some(&saved), &facts(), &request());
            let unfinished = row.end.is_none();
            let possible = match intent {
                Intent::Upgrade | Intent::Status => true,
                Intent::Resume => unfinished,
                Intent::Forward => {
                    row.stage == Stage::CHECK_ROLLBACK
                        || row.stage.is_rollback() && row.accepts_loss
                        || [Stage::STOP_BACK, Stage::DRAIN_BACK].contains(&row.stage)
                }
                Intent::RollBack => ![Stage::ROLLED_BACK, Stage::ABORTED].contains(&row.stage),
            };
            assert_eq!(
                decision.is_ok(),
                possible,
                "{intent:?} in {}: {decision:?}",
                row.stage.id
            );
            if let Ok(state) = decision {
                let begun = [
                    Stage::START_NEW,
                    Stage::WAIT_NEW,
                    Stage::START_OLD,
                    Stage::WAIT_OLD,
                ];
                assert!(
                    !begun.contains(&state.stage),
                    "{intent:?} in {}",
                    row.stage.id
                );
            }
        }
    }
}

#[test]
fn a_recreated_deployment_keeps_its_saved_count() {
    let recreated = |stage: Stage, uid: Option<&str>| {
        let mut facts = facts();
        let saved = UpgradeState { stage, ..example() };
        let uid = uid.map(str::to_owned);
        facts.saved.insert(saved.workloads[0].name.clone(), uid);
        let options = UpgradeOptions {
            intent: Intent::Resume,
            ..request()
        };
        decide(&options, Some(&saved), &facts)
    };
    let decision = recreated(Stage::MIGRATE, Some("other")).unwrap();
    assert_eq!(decision.recreated.len(), 1);
    assert_eq!(decision.recreated[0].replicas, 3);
    let state = decision.state.unwrap();
    assert_eq!(state.stage, Stage::STOP);
    assert_eq!(state.workloads[0].uid, "other");
    assert_eq!(recreated(Stage::MIGRATE, Some("u")).unwrap().recreated, []);
    let refusal = recreated(Stage::MIGRATE, None).unwrap_err().to_string();
    assert!(
        refusal.contains("prod-milvus-querynode is missing"),
        "{refusal}"
    );
    // While Milvus runs, the check before the rollback reports it, and nothing is stopped.
    assert_eq!(
        recreated(Stage::CHECK_ROLLBACK, Some("other"))
            .unwrap()
            .recreated,
        []
    );
    assert!(recreated(Stage::CHECK_ROLLBACK, None).is_ok());
}

#[test]
fn a_claim_with_a_backup_is_never_recreated() {
    let mut gone = facts();
    gone.storage.exists = false;
    let create = |saved: Option<&UpgradeState>, claim: Option<&str>| {
        let options = UpgradeOptions {
            intent: if saved.is_some() {
                Intent::Resume
            } else {
                Intent::Upgrade
            },
            claim: claim.map(str::to_owned),
            ..request()
        };
        decide(&options, saved, &gone).map(|decision| decision.creates_claim)
    };
    let at = |stage| UpgradeState { stage, ..example() };
    assert_eq!(create(None, None), Ok(true));
    assert!(create(None, Some("spare")).is_err());
    let refusal = create(Some(&at(Stage::RESTORE)), None)
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("--backup-pvc"), "{refusal}");
    assert_eq!(
        create(Some(&at(Stage::CHECK_OLD)), None),
        Ok(false),
        "it needs no volume"
    );
    let before = UpgradeState {
        has_backup: false,
        ..at(Stage::BACKUP)
    };
    assert_eq!(create(Some(&before), None), Ok(true));
}

#[test]
fn a_rollback_starts_any_image_of_the_old_line() {
    let mut given = request();
    given.image = Some("milvusdb/milvus:v2.1.1".to_owned());
    let state = rollback_from(Some(&example()), &facts(), &given).unwrap();
    assert_eq!(state.workloads[0].image, "milvusdb/milvus:v2.1.1");
    assert_eq!(state.image, example().image);
    for other in [
        "milvusdb/milvus:v2.0.2",
        "milvusdb/milvus:v2.2.9",
        "own/milvus:stable",
    ] {
        given.image = Some(other.to_owned());
        let refusal = rollback_from(Some(&example()), &facts(), &given).unwrap_err();
        assert!(matches!(refusal, Refusal::Usage(_)), "{other}: {refusal}");
    }
}

#[test]
fn a_rollback_to_a_digest_requires_the_source_version() {
    let digest = "milvusdb/milvus@sha256:0a";
    let mut given = request();
    given.image = Some(digest.to_owned());
    let state = rollback_from(Some(&example()), &facts(), &given).unwrap();
    assert_eq!(state.workloads[0].image, digest);
    given.source = None;
    let refusal = rollback_from(Some(&example()), &facts(), &given).unwrap_err();
    assert!(refusal.to_string().contains("use -s 2.1.4"), "{refusal}");
}

#[test]
fn on_openshift_jobs_set_no_user() {
    let mut assigned = facts();
    assigned.user_range = Some("1000650000/10000".to_owned());
    let user = |facts: &Facts, given: Option<PodUser>| {
        let mut request = request();
        request.pods.user = given;
        new_upgrade_state(facts, &request).unwrap().shape.user
    };
    assert_eq!(user(&facts(), None), None);
    assert_eq!(user(&assigned, None), Some(PodUser::Namespace));
    let given = Some(PodUser::Id(1_000_650_001));
    assert_eq!(user(&assigned, given), given);
    assert_eq!(
        user(&facts(), Some(PodUser::Namespace)),
        Some(PodUser::Namespace)
    );
}

#[test]
fn the_outline_lists_the_steps_in_order() {
    let state = UpgradeState {
        stage: Stage::PROBE,
        ..example()
    };
    let text = outline(&state, "data");
    assert!(
        text.starts_with("Upgrade prod in namespace data from 2.1.4 to 2.2.16:\n"),
        "{text}"
    );
    let steps = [
        Stage::PLAN,
        Stage::STOP,
        Stage::BACKUP,
        Stage::MIGRATE,
        Stage::START_NEW,
        Stage::WAIT_NEW,
    ];
    let places = steps.map(|stage| text.find(stage.name()).unwrap());
    assert!(places.is_sorted(), "{text}");
    let back = UpgradeState {
        stage: Stage::CHECK_ROLLBACK,
        ..example()
    };
    let text = outline(&back, "data");
    assert!(
        text.starts_with("Roll back prod in namespace data from 2.2.16 to 2.1.4:\n"),
        "{text}"
    );
    assert!(text.contains(Stage::START_OLD.name()), "{text}");
}

#[test]
fn a_paused_deployment_is_found_before_anything_is_changed() {
    let mut paused = facts();
    let deployment = serde_json::json!({
        "metadata": {"name": "prod-milvus-querynode"},
        "spec": {"paused": true, "selector": {}, "template": {}},
    });
    paused.deployments = vec![serde_json::from_value(deployment).unwrap()];
    for (intent, stage) in [
        (Intent::Upgrade, Stage::MIGRATE),
        (Intent::Resume, Stage::STOP),
        (Intent::RollBack, Stage::UPGRADED),
        (Intent::Forward, Stage::RESTORE),
    ] {
        let saved = UpgradeState { stage, ..example() };
        let refusal = decided(intent, Some(&saved), &paused, &request()).unwrap_err();
        assert!(
            refusal.to_string().contains("rollout resume"),
            "{intent:?}: {refusal}"
        );
    }
}

#[test]
fn a_paused_milvus_operator_is_found_before_anything_is_changed() {
    let resource = |paused: &str| {
        serde_json::from_value(json!({
            "metadata": {"name": "prod", "annotations": {"milvus.io/pause-reconcile": paused}},
            "spec": {"mode": "standalone", "components": {"standalone": {"replicas": 1}}},
        }))
        .unwrap()
    };
    let mut facts = facts();
    let state = |stage: Stage| UpgradeState {
        stage,
        resource: Some(milvus_resource::save(&resource("false"))),
        ..example()
    };
    for stage in [Stage::STOP, Stage::START_NEW, Stage::RESTORE] {
        facts.resource = Some(resource("true"));
        let refusal = check_not_paused(&state(stage), &facts).unwrap_err();
        assert!(
            refusal.to_string().contains("annotate milvus prod"),
            "{refusal}"
        );
        facts.resource = Some(resource("false"));
        assert_eq!(check_not_paused(&state(stage), &facts), Ok(()));
    }
    assert_eq!(check_not_paused(&state(Stage::UPGRADED), &facts), Ok(()));
}

#[test]
fn only_pods_in_transition_are_awaited() {
    let blocked = |codes: &[&str]| {
        let finding = |code: &&str| cluster_finding(Severity::Error, code, String::new());
        Refusal::Blocked(codes.iter().map(finding).collect()).is_transient()
    };
    assert!(blocked(&["not-at-rest"]));
    assert!(blocked(&["not-at-rest", "not-at-rest"]));
    assert!(!blocked(&["not-at-rest", "quota"]));
    for other in [Refusal::Refused, Refusal::Usage, Refusal::Halted] {
        assert!(!other(String::new()).is_transient());
    }
}

fn backup_job(operation: &str) -> Job {
    let labels = json!({LABEL_STEP: "backup", LABEL_OPERATION: operation});
    let conditions = json!([{"type": "Complete", "status": "True"}]);
    let job = json!({"metadata": {"labels": labels}, "status": {"conditions": conditions}});
    serde_json::from_value(job).unwrap()
}

#[test]
fn rollback_without_state_uses_the_backup_of_its_jobs() {
    let mut lost = facts();
    lost.workloads.found[0].image = "registry:5000/milvus:v2.2.16".to_owned();
    lost.jobs = vec![backup_job("3f9a2c1d")];
    let state = rollback_from(None, &lost, &request()).unwrap();
    assert_eq!(state.stage, Stage::CHECK_ROLLBACK);
    assert_eq!(state.workloads[0].image, "registry:5000/milvus:v2.1.4");
    assert_eq!(state.image, "registry:5000/milvus:v2.2.16");
    assert_eq!(state.backup_file, "/milvus/data/3f9a2c1d.mmb");
    assert!(state.has_backup && state.rollback_requested);
    let without_versions = UpgradeOptions {
        source: None,
        ..request()
    };
    let refusal = rollback_from(None, &lost, &without_versions)
        .unwrap_err()
        .to_string();
    for part in ["3f9a2c1d.mmb", "meta-migration-backup-prod", "-o rollback"] {
        assert!(refusal.contains(part), "{refusal}");
    }
    lost.storage.exists = false;
    assert!(rollback_from(None, &lost, &request()).is_err());
}
