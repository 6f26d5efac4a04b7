//! Which operation is meant, by what is recorded.

use super::*;
use crate::kubernetes::record::PodUser;
use crate::kubernetes::record::tests::example;

fn request() -> Request {
    Request {
        instance: "prod".to_owned(),
        asked: Asked {
            source: Some("2.1.4".parse().unwrap()),
            target: Some("2.2.16".parse().unwrap()),
            ..Asked::default()
        },
        operation: "00000001".to_owned(),
        ..Request::default()
    }
}

fn facts() -> Facts {
    let mut facts = Facts {
        instance: "prod".to_owned(),
        ..Facts::default()
    };
    facts.workloads.found = example().workloads;
    facts.configured.endpoints = Some(vec!["prod-etcd:2379".to_owned()]);
    facts
}

#[test]
fn w4_an_unfinished_upgrade_goes_on_with_its_own_counts() {
    let existing = example();
    let record = going_on(Some(&existing), &request()).unwrap().unwrap();
    assert_eq!(record.operation, existing.operation);
    assert_eq!(record.workloads[0].replicas, 3);
    assert_eq!(record.stage, Stage::MIGRATE);
    let other = Request {
        asked: Asked {
            target: Some("2.2.9".parse().unwrap()),
            ..Asked::default()
        },
        ..request()
    };
    let refusal = going_on(Some(&existing), &other).unwrap_err().to_string();
    assert!(
        refusal.contains("--target-version 2.2.9, where the record holds 2.2.16"),
        "{refusal}"
    );
}

#[test]
fn w5_w9_a_finished_upgrade_leaves_nothing_to_the_next_one() {
    let mut finished = example();
    finished.stage = Stage::ROLLED_BACK;
    assert_eq!(going_on(Some(&finished), &request()).unwrap(), None);
    let mut facts = facts();
    facts.workloads.found[0].replicas = 5;
    let record = fresh(&facts, &request()).unwrap();
    assert_eq!(record.workloads[0].replicas, 5, "counted now");
    assert_eq!(record.operation, "00000001");
    assert_ne!(record.backup_file, finished.backup_file);
    assert!(!record.has_backup);
    assert!(record.attempts.is_empty());
}

#[test]
fn w7_a_rollback_knows_its_backup_and_its_images() {
    let mut finished = example();
    finished.stage = Stage::UPGRADED;
    let mut facts = facts();
    facts.workloads.found[0].replicas = 4;
    facts.workloads.found[0].image = "milvusdb/milvus:v2.2.16".to_owned();
    let back = going_back(Some(&finished), &facts, &request()).unwrap();
    assert_eq!(back.stage, Stage::CHECK_ROLLBACK, "looks before it stops");
    assert_eq!(
        back.operation, "00000001",
        "an operation of its own, with Jobs of its own (w8)"
    );
    assert_eq!(back.backup_file, finished.backup_file);
    assert_eq!(back.workloads[0].image, "milvusdb/milvus:v2.1.4");
    assert_eq!(back.workloads[0].replicas, 4, "as many as serve now");
    facts.workloads.found[0].replicas = 0;
    let back = going_back(Some(&finished), &facts, &request()).unwrap();
    assert_eq!(back.workloads[0].replicas, 3, "never overwritten by zeros");
    facts.workloads.found[0].replicas = 1;
    facts.workloads.found[0].uid = "another".to_owned();
    let back = going_back(Some(&finished), &facts, &request()).unwrap();
    let remade = &back.workloads[0];
    assert_eq!((remade.replicas, remade.uid.as_str()), (3, "another"));
}

#[test]
fn what_is_given_up_after_a_refusal_is_saved_first() {
    let mut record = example();
    record.stage = Stage::RESTORE;
    let mut insists = request();
    insists.policy.accept_loss = true;
    let back = |record: &Record, request: &Request| {
        let back = going_back(Some(record), &facts(), request).unwrap();
        (resume(record, request).stage, back.stage)
    };
    assert_eq!(back(&record, &request()), (Stage::RESTORE, Stage::RESTORE));
    assert_eq!(back(&record, &insists), (Stage::SAVE_NEW, Stage::SAVE_NEW));
    record.saved = Some("/milvus/data/after.mmb".to_owned());
    assert_eq!(back(&record, &insists), (Stage::RESTORE, Stage::RESTORE));
}

#[test]
fn what_was_given_up_once_is_not_given_up_for_good() {
    let mut record = example();
    record.policy.accept_loss = true;
    let mut insists = request();
    insists.policy.accept_loss = true;
    let accepts = |record: &Record, request: &Request| {
        let back = going_back(Some(record), &facts(), request).unwrap();
        back.policy.accept_loss
    };
    assert!(accepts(&record, &request()), "the same operation goes on");
    record.stage = Stage::UPGRADED;
    assert!(!accepts(&record, &request()), "another one");
    assert!(accepts(&record, &insists));
}

#[test]
fn going_back_needs_an_upgrade_to_go_back_from() {
    assert!(going_back(None, &facts(), &request()).is_err());
    let mut noted = facts();
    let mut stopped = k8s_openapi::api::apps::v1::Deployment::default();
    stopped.metadata.annotations = Some([(note::REPLICAS.to_owned(), "3".to_owned())].into());
    noted.deployments = vec![stopped];
    let refusal = going_back(None, &noted, &request()).unwrap_err();
    assert!(refusal.to_string().contains("take it up"), "{refusal}");
    let mut over = example();
    over.stage = Stage::ROLLED_BACK;
    let refusal = going_back(Some(&over), &facts(), &request()).unwrap_err();
    assert!(refusal.to_string().contains("rolled back"), "{refusal}");
    let mut waiting = example();
    waiting.stage = Stage::PLAN;
    let back = going_back(Some(&waiting), &facts(), &request()).unwrap();
    assert_eq!(back.stage, Stage::ABORTED, "Milvus was not touched");
}

#[test]
fn w19_everything_in_the_way_is_told_at_once() {
    let mut broken = facts();
    broken.workloads.found[0].image = "milvusdb/milvus:v2.1.0".to_owned();
    broken.configured.metastore = Some("mysql".to_owned());
    let refusal = fresh(&broken, &request()).unwrap_err().to_string();
    assert!(refusal.contains("[source-version]"), "{refusal}");
    assert!(refusal.contains("[metastore]"), "{refusal}");
    let within = Request {
        asked: Asked {
            source: Some("2.2.3".parse().unwrap()),
            accepted: vec!["source-version".to_owned()],
            ..request().asked
        },
        ..request()
    };
    let refusal = fresh(&facts(), &within).unwrap_err().to_string();
    assert!(
        refusal.contains("no metadata migration is needed"),
        "{refusal}"
    );
}

#[test]
fn what_did_not_touch_milvus_yet_is_judged_again_and_counted_again() {
    let mut waiting = example();
    waiting.stage = Stage::PLAN;
    let record = resume_with(&waiting, &request()).unwrap();
    assert_eq!(record.stage, Stage::PROBE, "what is proved is proved again");
    // Nothing but what is recorded is asked for.
    let asked = asked_again(&record, &Request::default());
    let mut now = facts();
    now.workloads.found[0].replicas = 5;
    let judged = judged_again(record.clone(), &now, &asked).unwrap();
    assert_eq!(judged.workloads[0].replicas, 5);
    assert_eq!(judged.operation, record.operation);
    now.workloads.found[0].image = "milvusdb/milvus:v2.1.2".to_owned();
    let refusal = judged_again(record.clone(), &now, &asked).unwrap_err();
    assert!(
        refusal.to_string().contains("[source-version]"),
        "{refusal}"
    );
    let accepting = Record {
        accepted: vec!["source-version".to_owned()],
        ..record
    };
    let asked = asked_again(&accepting, &Request::default());
    assert!(judged_again(accepting, &now, &asked).is_ok());
}

#[test]
fn w20_helm_has_to_be_told_and_how_is_said() {
    let mut facts = facts();
    facts.namespace = "data".to_owned();
    facts.helm = Some(crate::kubernetes::discovery::helm::HelmRelease {
        name: "prod".to_owned(),
        revision: 1,
        status: "deployed".to_owned(),
        chart: "milvus-3.2.18".to_owned(),
        app_version: "2.1.4".to_owned(),
        ..Default::default()
    });
    let mut record = example();
    assert_eq!(advice(&facts, &record), None, "it is not over");
    record.stage = Stage::UPGRADED;
    let text = advice(&facts, &record).unwrap();
    assert!(
        text.contains("helm upgrade prod milvus/milvus -n data"),
        "{text}"
    );
    assert!(text.contains("--version 4.0.34"), "{text}");
    assert!(text.contains("image.all.tag=v2.2.16"), "{text}");
    record.stage = Stage::ROLLED_BACK;
    let text = advice(&facts, &record).unwrap();
    assert!(text.starts_with("if it was told of 2.2.16"), "{text}");
    assert!(
        text.contains("helm rollback prod REVISION -n data"),
        "{text}"
    );
    assert!(text.contains("--version 3.2.18"), "{text}");
    assert!(text.contains("image.all.tag=v2.1.4"), "{text}");
    let mut says = |image: &str| {
        facts.helm.as_mut().unwrap().image = Some(image.to_owned());
        advice(&facts, &record)
    };
    let text = says("milvusdb/milvus:v2.2.16").unwrap();
    assert!(text.starts_with("its values say milvusdb/milvus:v2.2.16"));
    assert_eq!(says("milvusdb/milvus:v2.1.4"), None, "it says so still");
    facts.helm = None;
    assert_eq!(advice(&facts, &record), None);
}

#[test]
fn a_rehearsal_shows_every_step_and_object() {
    let record = fresh(&facts(), &request()).unwrap();
    let text = rehearsal(&record, &request());
    for expected in [
        "kind: PersistentVolumeClaim",
        "kind: ConfigMap",
        "name: meta-migration-backup-00000001-1",
        "name: meta-migration-migrate-00000001-1",
        "name: meta-migration-verify-00000001-1",
        "# step 8: starting the new release",
        "container querynode to milvusdb/milvus:v2.2.16, 3 replicas",
        "prod-milvus-querynode: 3 replicas to 0",
    ] {
        assert!(text.contains(expected), "{expected} is missing in:\n{text}");
    }
}

#[test]
fn a_rehearsal_shows_the_way_back_too() {
    let mut finished = example();
    finished.stage = Stage::UPGRADED;
    let insisting = Request {
        policy: Policy {
            accept_loss: true,
            ..Policy::default()
        },
        ..request()
    };
    let back = going_back(Some(&finished), &facts(), &insisting).unwrap();
    let text = rehearsal(&back, &insisting);
    for expected in [
        "# rollback of prod to 2.1.4 from 2.2.16",
        "name: meta-migration-preview-00000001-1",
        "name: meta-migration-save-00000001-1",
        "name: meta-migration-rollback-00000001-1",
        "container querynode to milvusdb/milvus:v2.1.4, 3 replicas",
    ] {
        assert!(text.contains(expected), "{expected} is missing in:\n{text}");
    }
    assert!(!text.contains("PersistentVolumeClaim\n"), "{text}");
}

#[test]
fn a_wrong_image_can_be_put_right_when_it_is_resumed() {
    let mut halted = example();
    halted.stage = Stage::WAIT_NEW;
    let with = |image: &str| {
        let mut given = request();
        given.asked.image = Some(image.to_owned());
        resume_with(&halted, &given)
    };
    let resumed = with("registry:5000/milvus:v2.2.16").unwrap();
    assert_eq!(resumed.image, "registry:5000/milvus:v2.2.16");
    assert_eq!(
        resumed.stage,
        Stage::CHECK_NEW,
        "leads to the start: the image has to be set"
    );
    assert_eq!(with(&halted.image).unwrap().stage, Stage::CHECK_NEW);
    let refusal = with("milvusdb/milvus:v2.1.4").unwrap_err().to_string();
    assert!(refusal.contains("is not 2.2.16"), "{refusal}");
}

#[test]
fn what_is_given_for_a_recorded_operation_is_applied_or_refused_and_never_dropped() {
    let mut given = request();
    given.credentials = Some("etcd-user".to_owned());
    given.policy.stay_down = true;
    let resumed = resume_with(&example(), &given).unwrap();
    assert_eq!(resumed.etcd.credentials, given.credentials);
    assert!(resumed.policy.stay_down);
    assert_eq!(resumed.image, example().image, "none is given");

    let refusal = going_back(Some(&example()), &facts(), &given).unwrap_err();
    assert!(refusal.to_string().contains("--stay-down"), "{refusal}");
    let down = resumed;
    assert!(
        going_back(Some(&down), &facts(), &given).is_ok(),
        "as recorded"
    );

    let mut elsewhere = request();
    elsewhere.asked.endpoints = Some(vec!["nowhere:2379".to_owned()]);
    elsewhere.storage_class = Some("fast".to_owned());
    for refusal in [
        resume_with(&example(), &elsewhere).unwrap_err(),
        going_back(Some(&example()), &facts(), &elsewhere).unwrap_err(),
    ] {
        assert!(matches!(refusal, OperationError::Usage(_)));
        let text = refusal.to_string();
        assert!(text.contains("record holds prod-etcd:2379"), "{text}");
        assert!(text.contains("--storage-class fast"), "{text}");
    }
}

#[test]
fn what_becomes_of_broken_records_is_open_until_the_metadata_is_migrated() {
    let mut given = request();
    given.skip_broken = Some(true);
    assert!(fresh(&facts(), &given).unwrap().skip_broken);
    let at = |stage| Record { stage, ..example() };
    let resumed = resume_with(&at(Stage::BACKUP), &given).unwrap();
    assert!(resumed.skip_broken);
    assert!(resume_with(&resumed, &request()).unwrap().skip_broken);
    for stage in [Stage::VERIFY, Stage::RESTORE] {
        let refusal = resume_with(&at(stage), &given).unwrap_err().to_string();
        assert!(
            refusal.contains("--on-broken-record skip, where the record holds fail"),
            "{refusal}"
        );
    }
}

#[test]
fn an_image_given_for_the_way_back_is_one_that_the_record_holds() {
    let with = |image: &str| {
        let mut given = request();
        given.asked.image = Some(image.to_owned());
        going_back(Some(&example()), &facts(), &given)
    };
    assert!(with("milvusdb/milvus:v2.1.4").is_ok(), "what is started");
    assert!(with("milvusdb/milvus:v2.2.16").is_ok(), "as in the upgrade");
    let refusal = with("milvusdb/milvus:v2.1.2").unwrap_err().to_string();
    assert!(
        refusal.contains("record holds milvusdb/milvus:v2.1.4"),
        "{refusal}"
    );
}

#[test]
fn what_is_given_for_the_pods_comes_on_top_of_what_milvus_has() {
    let mut given = request();
    given.pull_secret = Some("registry".to_owned());
    given.tool_image = Some("tool:2".to_owned());
    given.shape.node_selector = [("disk".to_owned(), "ssd".to_owned())].into();
    given.shape.user = Some(PodUser::Id(77));
    let record = fresh(&facts(), &given).unwrap();
    assert_eq!(record.shape.pull_secrets, ["registry"]);
    assert_eq!(record.shape.node_selector["disk"], "ssd");
    assert_eq!(record.shape.user, Some(PodUser::Id(77)));
    assert_eq!(record.tool_image, "tool:2");
    let mut milvus = example();
    milvus.shape.security = Some(serde_json::json!({"runAsUser": 5, "fsGroup": 6}));
    let resumed = resume(&milvus, &given);
    assert_eq!(resumed.shape.user, Some(PodUser::Id(77)));
    assert_eq!(resumed.shape.security, milvus.shape.security);
    assert_eq!(resumed.tool_image, "tool:2", "the next attempt takes it");
    assert_eq!(resume(&milvus, &request()).tool_image, milvus.tool_image);
}

#[test]
fn a_rollback_turns_forward_until_the_metadata_was_put_back() {
    let at = |stage| Record {
        stage,
        asked_back: true,
        saved: Some("/milvus/data/3f9a2c1d-2.2.16.mmb".to_owned()),
        policy: Policy {
            rollback_on_failure: true,
            ..Policy::default()
        },
        ..example()
    };
    let forward = going_forward(Some(&at(Stage::RESTORE)), &request()).unwrap();
    assert_eq!(forward.stage, Stage::STOP);
    assert_eq!(forward.operation, "00000001", "with Jobs of its own");
    assert_eq!(forward.backup_file, example().backup_file);
    assert!(!forward.asked_back);
    assert_eq!(
        forward.saved,
        at(Stage::RESTORE).saved,
        "it may be undone already"
    );
    assert!(!forward.policy.rollback_on_failure);
    let told = |stage| going_forward(Some(&at(stage)), &request()).unwrap_err();
    let late = told(Stage::START_OLD).to_string();
    assert!(late.contains("then upgrade again"), "{late}");
    let none = told(Stage::MIGRATE).to_string();
    assert!(none.contains("no rollback of prod is unfinished"), "{none}");
}

#[test]
fn another_claim_may_be_given_on_the_way() {
    let mut given = request();
    given.claim = Some("spare".to_owned());
    assert_eq!(resume(&example(), &given).claim, "spare");
    assert_eq!(resume(&example(), &request()).claim, example().claim);
}

#[test]
fn a_finished_upgrade_is_done_while_it_runs() {
    let mut finished = example();
    finished.stage = Stage::UPGRADED;
    let mut facts = facts();
    assert_eq!(
        already_done(Some(&finished), &facts, &request()),
        None,
        "2.1 runs"
    );
    facts.workloads.found[0].image.clone_from(&finished.image);
    assert!(already_done(Some(&finished), &facts, &request()).is_some());
    finished.stage = Stage::ROLLED_BACK;
    assert_eq!(already_done(Some(&finished), &facts, &request()), None);
}

#[test]
fn where_openshift_assigns_users_the_jobs_name_none() {
    let mut assigned = facts();
    assigned.user_range = Some("1000650000/10000".to_owned());
    let user = |facts: &Facts, given: Option<PodUser>| {
        let mut request = request();
        request.shape.user = given;
        fresh(facts, &request).unwrap().shape.user
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
fn the_outline_names_the_steps_in_their_order() {
    let record = Record {
        stage: Stage::PROBE,
        ..example()
    };
    let text = outline(&record, "data");
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
    let back = Record {
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
