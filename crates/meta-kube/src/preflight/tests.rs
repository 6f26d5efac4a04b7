//! Checks on facts, and the report of preflight.

use serde_json::json;

use super::*;
use crate::options::{PodUser, RepeatedOptions};
use crate::state::Workload;
use meta_report::{EtcdReport, SessionReport, StatusReport};
use milvus_meta::finding::Severity;
use milvus_meta::layout::Layout;

fn release(text: &str) -> Option<Release> {
    Some(text.parse().unwrap())
}

fn workload(component: &str, image: &str) -> Workload {
    Workload {
        name: format!("prod-milvus-{component}"),
        uid: component.to_owned(),
        component: component.to_owned(),
        container: component.to_owned(),
        image: image.to_owned(),
        replicas: 1,
    }
}

fn facts() -> Facts {
    let mut facts = Facts {
        instance: "prod".to_owned(),
        namespace: "data".to_owned(),
        ..Facts::default()
    };
    facts.workloads.found = vec![
        workload("rootcoord", "milvusdb/milvus:v2.1.4"),
        workload("proxy", "milvusdb/milvus:v2.1.4"),
    ];
    facts.configured.endpoints = Some(vec!["prod-etcd:2379".to_owned()]);
    facts.configured.root_path = Some("by-dev".to_owned());
    facts
}

fn options() -> UpgradeOptions {
    UpgradeOptions {
        source: release("2.1.4"),
        target: release("2.2.16"),
        image: Some("milvusdb/milvus:v2.2.16".to_owned()),
        repeated: RepeatedOptions {
            place: " -i prod -n data".to_owned(),
            aim: String::new(),
        },
        ..UpgradeOptions::default()
    }
}

fn codes(facts: &Facts, options: &UpgradeOptions) -> Vec<String> {
    let findings = check(facts, options).into_iter();
    findings.map(|finding| finding.code).collect()
}

#[test]
fn an_ordinary_instance_has_no_findings() {
    assert_eq!(codes(&facts(), &options()), Vec::<String>::new());
}

#[test]
fn w21_versions_must_match_the_images() {
    let wrong_source = UpgradeOptions {
        source: release("2.1.2"),
        ..options()
    };
    assert_eq!(codes(&facts(), &wrong_source), ["source-version"; 2]);
    let wrong_target = UpgradeOptions {
        target: release("2.2.9"),
        ..options()
    };
    assert_eq!(codes(&facts(), &wrong_target), ["target-version"]);
}

#[test]
fn the_root_path_must_match_the_configured_one() {
    let other = UpgradeOptions {
        root_path: Some("other".to_owned()),
        ..options()
    };
    assert_eq!(codes(&facts(), &other), ["root-path"]);
    assert_eq!(target(&facts(), &options()).root_path, "by-dev");
    let mut configured = facts();
    configured.configured.root_path = Some("mine".to_owned());
    assert_eq!(target(&configured, &options()).root_path, "mine");
    assert_eq!(codes(&configured, &options()), Vec::<String>::new());
}

#[test]
fn metadata_that_is_not_in_etcd_is_refused() {
    let mut facts = facts();
    facts.configured.metastore = Some("mysql".to_owned());
    assert_eq!(codes(&facts, &options()), ["metastore"]);
}

#[test]
fn w15_an_address_is_required_and_never_guessed() {
    let mut nowhere = facts();
    nowhere.configured.endpoints = None;
    assert_eq!(codes(&nowhere, &options()), ["etcd-address"]);
    let given = UpgradeOptions {
        endpoints: Some(vec!["e:2379".to_owned()]),
        ..options()
    };
    assert_eq!(codes(&nowhere, &given), Vec::<String>::new());
}

#[test]
fn w4_counts_that_are_all_zero_are_not_saved() {
    let mut stopped = facts();
    for workload in &mut stopped.workloads.found {
        workload.replicas = 0;
    }
    assert_eq!(codes(&stopped, &options()), ["all-stopped"]);
    stopped.workloads.found[0].replicas = 1;
    assert_eq!(codes(&stopped, &options()), Vec::<String>::new());
}

#[test]
fn the_metadata_decides_what_may_be_started() {
    let mut stopped = facts();
    for workload in &mut stopped.workloads.found {
        workload.replicas = 0;
    }
    let mut reported = |layout: Option<Layout>| {
        stopped.metadata = layout.map(status);
        check(&stopped, &options()).remove(0).message
    };
    assert!(reported(None).contains("run preflight or meta-migration status"));
    assert!(reported(Some(Layout::V2_1)).contains("scale them up with an image of 2.1"));
    assert!(reported(Some(Layout::V2_2)).contains("2.1 must not be started on it"));
    assert!(reported(Some(Layout::Mixed)).contains("do not start any Milvus component"));
    assert!(reported(Some(Layout::Empty)).contains("etcd contains no Milvus metadata"));
}

#[test]
fn a_stopped_instance_is_read_from_its_annotations() {
    let mut stopped = facts();
    let deployment = |name: &str| {
        let notes = crate::annotations::on_deployment(&workload("proxy", "i"));
        serde_json::from_value(json!({
            "metadata": {"name": name, "annotations": notes},
            "spec": {"replicas": 0, "selector": {}, "template": {}},
        }))
        .unwrap()
    };
    stopped.deployments = vec![deployment("prod-milvus-proxy-of-before")];
    assert_eq!(codes(&stopped, &options()), ["noted"]);
}

#[test]
fn w19_every_missing_right_is_reported_before_the_stop() {
    let mut without_rights = facts();
    without_rights.missing_rights = rights(false)
        .into_iter()
        .filter(|right| right.resource == "jobs" && right.verb == "create")
        .collect();
    let findings = check(&without_rights, &options());
    assert_eq!(findings.len(), 1);
    assert_eq!(
        findings[0].message,
        "the right to create jobs (batch) is missing. An administrator grants the rights: kubectl apply -n data -f \
         deploy/rbac.yaml, and a RoleBinding of its Role to this user"
    );
}

#[test]
fn w19_without_any_right_the_namespace_is_doubted() {
    let mut without_rights = facts();
    without_rights.missing_rights = rights(false);
    let findings = check(&without_rights, &options());
    assert_eq!(findings.len(), 1, "{findings:?}");
    let message = &findings[0].message;
    assert!(
        message.starts_with("no rights in namespace data; check that it exists"),
        "{message}"
    );
}

#[test]
fn w24_helm_gitops_and_scalers_are_checked() {
    let mut facts = facts();
    facts.helm = Some(crate::discovery::helm::HelmRelease {
        name: "prod".to_owned(),
        revision: 4,
        status: "pending-upgrade".to_owned(),
        chart: "milvus-3.2.18".to_owned(),
        app_version: "2.1.4".to_owned(),
        ..Default::default()
    });
    facts.deployments = vec![
        serde_json::from_value(json!({
            "metadata": {"name": "prod-milvus-proxy", "labels": {"argocd.argoproj.io/instance": "x"}},
            "spec": {"replicas": 0, "selector": {}, "template": {}},
        }))
        .unwrap(),
    ];
    facts.autoscalers = vec![
        serde_json::from_value(json!({
            "metadata": {"name": "hpa"},
            "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "prod-milvus-proxy"}},
        }))
        .unwrap(),
    ];
    facts.scaled_objects = vec![
        serde_json::from_value(json!({
            "metadata": {"name": "keda"},
            "spec": {"scaleTargetRef": {"name": "prod-milvus-proxy"}},
        }))
        .unwrap(),
    ];
    assert_eq!(
        codes(&facts, &options()),
        ["gitops", "helm-pending", "keda", "autoscaler"]
    );
    let accepted = UpgradeOptions {
        accepted: vec!["gitops".to_owned()],
        ..options()
    };
    let gitops = check(&facts, &accepted)
        .into_iter()
        .find(|finding| finding.code == "gitops");
    assert_eq!(gitops.unwrap().severity, Severity::Warning);
}

#[test]
fn w18_an_operator_instance_without_resource_is_refused() {
    let mut facts = facts();
    facts.is_operator_managed = true;
    assert_eq!(codes(&facts, &options()), ["operator"]);
}

fn status(layout: Layout) -> StatusReport {
    StatusReport {
        layout,
        families: Vec::new(),
        sessions: Vec::new(),
        lock: None,
        journal: None,
        journal_error: None,
        etcd: EtcdReport::default(),
        findings: Vec::new(),
    }
}

#[test]
fn the_content_of_etcd_is_checked() {
    let etcd = target(&facts(), &options());
    let codes = |status: &StatusReport| -> Vec<String> {
        let findings = check_metadata(status, &etcd, &[], false).into_iter();
        findings.map(|finding| finding.code).collect()
    };
    assert_eq!(codes(&status(Layout::V2_1)), Vec::<String>::new());
    assert_eq!(codes(&status(Layout::Empty)), ["nothing-in-etcd"]);
    assert_eq!(
        codes(&status(Layout::Mixed)),
        Vec::<String>::new(),
        "the plan decides"
    );
    let mut restoring = status(Layout::Mixed);
    restoring.journal = Some(json!({"phase": "restoring"}));
    assert_eq!(codes(&restoring), ["unfinished-restore"]);
    let mut fresh = status(Layout::Empty);
    fresh.sessions = vec![SessionReport {
        role: "rootcoord".to_owned(),
        key: "by-dev/meta/session/rootcoord".to_owned(),
        address: String::new(),
        lease: 7,
        ttl: 60,
    }];
    assert_eq!(
        codes(&fresh),
        Vec::<String>::new(),
        "Milvus runs there: the path is right"
    );
    let mut alarmed = status(Layout::V2_1);
    alarmed.etcd.alarms = vec!["NOSPACE".to_owned()];
    assert_eq!(codes(&alarmed), ["etcd-alarm"]);
}

#[test]
fn path_and_next_command_match_the_release() {
    let next = |from: &str, to: &str| {
        let mut facts = facts();
        facts.configured.active_standby = Some(true);
        for workload in &mut facts.workloads.found {
            workload.image = format!("milvusdb/milvus:v{from}");
        }
        let options = UpgradeOptions {
            source: None,
            target: release(to),
            image: None,
            ..options()
        };
        let etcd = target(&facts, &options);
        let report = report(&facts, &options, etcd);
        (report.path, report.next)
    };
    let (path, command) = next("2.1.4", "2.2.16");
    assert_eq!(path, UpgradePath::MetadataMigration);
    assert_eq!(
        command,
        "meta-migration upgrade -i prod -n data -s 2.1.4 -t 2.2.16"
    );
    assert_eq!(next("2.2.2", "2.2.16").0, UpgradePath::ImageChange);
    let (path, command) = next("2.2.3", "2.2.16");
    assert_eq!(path, UpgradePath::RollingUpdate);
    assert!(
        command.starts_with("meta-migration rolling-update -i prod -n data -s 2.2.3 -t 2.2.16")
    );
    assert_eq!(next("2.2.16", "2.2.16").0, UpgradePath::Nothing);
    assert_eq!(
        next("2.1.0", "2.1.4").0,
        UpgradePath::ImageChange,
        "the layout stays"
    );
    assert_eq!(next("2.2.16", "2.2.3").0, UpgradePath::Downgrade);
    assert_eq!(next("2.0.2", "2.2.16").0, UpgradePath::TooOld);
}

#[test]
fn next_commands_repeat_the_given_options() {
    let options = UpgradeOptions {
        image: Some("registry:5000/milvus:v2.2.16".to_owned()),
        repeated: RepeatedOptions {
            place: " -i prod -n data --context big".to_owned(),
            aim: " -r mine -m tool:1 --accept gitops".to_owned(),
        },
        ..options()
    };
    let found = report(&facts(), &options, target(&facts(), &options));
    assert_eq!(
        found.next,
        "meta-migration upgrade -i prod -n data --context big -s 2.1.4 -t 2.2.16 \
         -w registry:5000/milvus:v2.2.16 -r mine -m tool:1 --accept gitops"
    );
    let mut blocked = facts();
    blocked.configured.metastore = Some("mysql".to_owned());
    let found = report(&blocked, &options, target(&blocked, &options));
    assert!(
        found
            .next
            .contains("meta-migration preflight -i prod -n data --context big"),
        "{}",
        found.next
    );
}

#[test]
fn an_image_change_names_the_command_of_its_manager() {
    let command = |facts: &Facts| {
        let options = UpgradeOptions {
            source: None,
            ..options()
        };
        report(facts, &options, target(facts, &options)).next
    };
    let mut within = facts();
    for workload in &mut within.workloads.found {
        workload.image = "milvusdb/milvus:v2.2.1".to_owned();
    }
    assert!(
        command(&within).starts_with("kubectl -n data set image deployment/prod-milvus-rootcoord"),
        "{}",
        command(&within)
    );
    within.helm = Some(crate::discovery::helm::HelmRelease {
        name: "prod".to_owned(),
        ..Default::default()
    });
    assert!(
        command(&within).starts_with("helm upgrade prod milvus/milvus -n data --version 4.0.34")
    );
    within.helm = None;
    let resource = json!({"metadata": {"name": "prod"}, "spec": {"mode": "standalone"}});
    within.resource = Some(serde_json::from_value(resource).unwrap());
    assert!(command(&within).starts_with("kubectl -n data patch milvus prod"));
}

#[test]
fn w20_changes_unknown_to_helm_are_reported() {
    let mut facts = facts();
    facts.helm = Some(crate::discovery::helm::HelmRelease {
        name: "prod".to_owned(),
        revision: 1,
        status: "deployed".to_owned(),
        image: Some("milvusdb/milvus:v2.1.1".to_owned()),
        replicas: [("proxy".to_owned(), 4)].into(),
        ..Default::default()
    });
    let reported: Vec<String> = check(&facts, &options())
        .into_iter()
        .map(|finding| finding.message)
        .collect();
    assert_eq!(reported.len(), 3, "two images and a count: {reported:?}");
    assert!(
        reported[2].contains("1 replicas, Helm's values say 4"),
        "{reported:?}"
    );
}

#[test]
fn w23_storage_is_checked_as_far_as_it_is_visible() {
    let mut facts = facts();
    facts.storage.claim = "backup".to_owned();
    assert_eq!(codes(&facts, &options()), Vec::<String>::new(), "not seen");
    facts.storage.classes = Some(vec!["fast".to_owned()]);
    assert_eq!(codes(&facts, &options()), ["storage-class"]);
    let class = |name: &str| UpgradeOptions {
        storage_class: Some(name.to_owned()),
        ..options()
    };
    assert_eq!(codes(&facts, &class("fast")), Vec::<String>::new());
    assert_eq!(codes(&facts, &class("slow")), ["storage-class"]);
    facts.storage.default_class = Some("fast".to_owned());
    assert_eq!(codes(&facts, &options()), Vec::<String>::new());
    let given = UpgradeOptions {
        claim: Some("c".to_owned()),
        ..options()
    };
    assert_eq!(codes(&facts, &given), ["backup-volume"]);
    facts.storage.exists = true;
    assert_eq!(codes(&facts, &given), Vec::<String>::new());
}

#[test]
fn milvus_that_runs_is_registered_below_the_root_path() {
    let etcd = target(&facts(), &options());
    let reported = check_metadata(&status(Layout::V2_1), &etcd, &[], true);
    assert_eq!(reported[0].code, "no-sessions");
}

#[test]
fn a_paused_deployment_is_reported_with_its_remedy() {
    let mut facts = facts();
    facts.deployments = vec![
        serde_json::from_value(json!({
            "metadata": {"name": "prod-milvus-proxy"},
            "spec": {"replicas": 1, "paused": true, "selector": {}, "template": {}},
        }))
        .unwrap(),
    ];
    let reported = check(&facts, &options());
    assert_eq!(reported[0].code, "paused");
    assert!(
        reported[0]
            .message
            .contains("rollout resume deployment prod-milvus-proxy")
    );
}

#[test]
fn images_that_disagree_have_no_version() {
    let mut mixed = facts();
    mixed.workloads.found[1].image = "milvusdb/milvus:v2.2.0".to_owned();
    assert_eq!(running(&mixed), None);
    assert_eq!(running(&facts()), release("2.1.4"));
}

#[test]
fn a_missing_instance_is_the_only_error() {
    let mut nowhere = Facts {
        instance: "prdo".to_owned(),
        namespace: "data".to_owned(),
        instances: vec!["dev".to_owned(), "prod".to_owned()],
        ..Facts::default()
    };
    let found = check(&nowhere, &options());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].code, "no-instance");
    assert!(
        found[0]
            .message
            .ends_with("instances in this namespace: dev, prod"),
        "{found:?}"
    );
    nowhere.instances.clear();
    let message = check(&nowhere, &options()).remove(0).message;
    assert!(
        message.contains("namespace data contains no Milvus instance"),
        "{message}"
    );
}

#[test]
fn openshift_user_ranges_are_checked() {
    let mut assigned = facts();
    let pod = |scc: Option<&str>| PodFact {
        name: "p".to_owned(),
        image: "milvusdb/milvus:v2.1.4".to_owned(),
        ready: true,
        scc: scc.map(str::to_owned),
    };
    let user_findings = |facts: &Facts, user: Option<PodUser>| {
        let mut options = options();
        options.pods.user = user;
        let found = check(facts, &options).into_iter();
        found
            .map(|one| (one.severity, one.code))
            .collect::<Vec<_>>()
    };
    let code = || "assigned-user".to_owned();
    assert_eq!(user_findings(&assigned, None), []);
    assigned.pods = [("a".to_owned(), vec![pod(Some("restricted-v2"))])].into();
    assert_eq!(user_findings(&assigned, None), [(Severity::Notice, code())]);
    assigned.user_range = Some("1000650000/10000".to_owned());
    assert_eq!(user_findings(&assigned, None), [(Severity::Notice, code())]);
    for (id, outside) in [
        (1000, true),
        (1_000_650_000, false),
        (1_000_659_999, false),
        (1_000_660_000, true),
    ] {
        let expected = if outside {
            vec![(Severity::Warning, code())]
        } else {
            Vec::new()
        };
        assert_eq!(
            user_findings(&assigned, Some(PodUser::Id(id))),
            expected,
            "{id}"
        );
    }
    // Pods that were admitted with their own user.
    assigned.pods = [("a".to_owned(), vec![pod(Some("anyuid"))])].into();
    assert_eq!(user_findings(&assigned, None), []);
}

#[test]
fn temporary_blockers_are_listed_separately() {
    let mut busy = facts();
    busy.active_orchestrator = Some("laptop-1".to_owned());
    let reported = report(&busy, &options(), EtcdTarget::default());
    assert_eq!(reported.blocks_now, ["at-work"]);
    assert!(!reported.ok);
    let mut wrong = facts();
    wrong.configured.metastore = Some("mysql".to_owned());
    let reported = report(&wrong, &options(), EtcdTarget::default());
    assert!(reported.blocks_now.is_empty() && !reported.ok);
}

#[test]
fn an_unfinished_restore_blocks_an_upgrade() {
    let mut status = status(Layout::V2_1);
    status.journal = Some(json!({"phase": "restoring"}));
    let found = check_metadata(&status, &EtcdTarget::default(), &[], false);
    assert_eq!(found[0].code, "unfinished-restore");
    assert_eq!(found[0].severity, Severity::Error);
}

#[test]
fn a_release_on_metadata_that_it_cannot_read_is_an_error() {
    let found = |image: &str, layout: Layout| {
        let mut facts = facts();
        for workload in &mut facts.workloads.found {
            image.clone_into(&mut workload.image);
        }
        let options = UpgradeOptions {
            target: release("2.2.16"),
            ..UpgradeOptions::default()
        };
        facts.metadata = Some(status(layout));
        let reported = report(&facts, &options, EtcdTarget::default());
        let found = reported.findings.into_iter();
        let mut found = found.filter(|one| one.code == "release-metadata");
        found.next().map(|one| one.severity)
    };
    let (old, new) = ("milvusdb/milvus:v2.1.4", "milvusdb/milvus:v2.2.16");
    assert_eq!(found(new, Layout::V2_1), Some(Severity::Error));
    assert_eq!(found(old, Layout::V2_2), Some(Severity::Error));
    assert_eq!(found(old, Layout::V2_1), None);
    assert_eq!(found(new, Layout::V2_2), None);
}

#[test]
fn a_keda_scaler_is_paused_only_at_zero() {
    let paused = |annotations: serde_json::Value| {
        let mut facts = facts();
        let scaler = json!({
            "metadata": {"name": "s", "annotations": annotations},
            "spec": {"scaleTargetRef": {"name": "prod-milvus-proxy"}},
        });
        facts.scaled_objects = vec![serde_json::from_value(scaler).unwrap()];
        !codes(&facts, &options()).contains(&"keda".to_owned())
    };
    let paused_key = "autoscaling.keda.sh/paused";
    let count_key = "autoscaling.keda.sh/paused-replicas";
    assert!(paused(json!({paused_key: "true"})));
    assert!(!paused(json!({paused_key: "false"})));
    assert!(!paused(json!({count_key: "3"})));
    assert!(!paused(json!({paused_key: "true", count_key: "0"})));
    assert!(!paused(json!({})));
}
