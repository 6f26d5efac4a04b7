//! Facts, and what they are judged to be.

use serde_json::json;

use super::*;
use crate::kubernetes::record::Workload;
use crate::report::{EtcdReport, SessionReport};

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

fn asked() -> Asked {
    Asked {
        source: release("2.1.4"),
        target: release("2.2.16"),
        image: Some("milvusdb/milvus:v2.2.16".to_owned()),
        ..Asked::default()
    }
}

fn codes(facts: &Facts, asked: &Asked) -> Vec<String> {
    let concerns = judge(facts, asked).into_iter();
    concerns.map(|concern| concern.code).collect()
}

#[test]
fn nothing_stands_in_the_way_of_an_ordinary_instance() {
    assert_eq!(codes(&facts(), &asked()), Vec::<String>::new());
}

#[test]
fn w21_versions_have_to_be_those_of_the_images() {
    let wrong_source = Asked {
        source: release("2.1.2"),
        ..asked()
    };
    assert_eq!(codes(&facts(), &wrong_source), ["source-version"; 2]);
    let wrong_target = Asked {
        target: release("2.2.9"),
        ..asked()
    };
    assert_eq!(codes(&facts(), &wrong_target), ["target-version"]);
}

#[test]
fn the_root_path_has_to_be_the_configured_one() {
    let other = Asked {
        root_path: Some("other".to_owned()),
        ..asked()
    };
    assert_eq!(codes(&facts(), &other), ["root-path"]);
    assert_eq!(target(&facts(), &asked()).root_path, "by-dev");
    let mut configured = facts();
    configured.configured.root_path = Some("mine".to_owned());
    assert_eq!(target(&configured, &asked()).root_path, "mine");
    assert_eq!(codes(&configured, &asked()), Vec::<String>::new());
}

#[test]
fn metadata_that_is_not_in_etcd_is_refused() {
    let mut facts = facts();
    facts.configured.metastore = Some("mysql".to_owned());
    assert_eq!(codes(&facts, &asked()), ["metastore"]);
}

#[test]
fn w15_an_address_is_needed_and_never_guessed() {
    let mut nowhere = facts();
    nowhere.configured.endpoints = None;
    assert_eq!(codes(&nowhere, &asked()), ["etcd-address"]);
    let given = Asked {
        endpoints: Some(vec!["e:2379".to_owned()]),
        ..asked()
    };
    assert_eq!(codes(&nowhere, &given), Vec::<String>::new());
}

#[test]
fn w4_counts_that_are_all_zero_are_not_recorded() {
    let mut stopped = facts();
    for workload in &mut stopped.workloads.found {
        workload.replicas = 0;
    }
    assert_eq!(codes(&stopped, &asked()), ["all-stopped"]);
    stopped.workloads.found[0].replicas = 1;
    assert_eq!(codes(&stopped, &asked()), Vec::<String>::new());
}

#[test]
fn w19_every_missing_right_is_named_before_the_stop() {
    let mut poor = facts();
    poor.missing_rights = rights(false)
        .into_iter()
        .filter(|right| right.resource == "jobs" && right.verb == "create")
        .collect();
    let concerns = judge(&poor, &asked());
    assert_eq!(concerns.len(), 1);
    assert_eq!(
        concerns[0].message,
        "the right to create jobs (batch) is missing"
    );
}

#[test]
fn w24_helm_gitops_and_scalers_are_looked_at() {
    let mut facts = facts();
    facts.helm = Some(crate::kubernetes::discovery::helm::HelmRelease {
        name: "prod".to_owned(),
        revision: 4,
        status: "pending-upgrade".to_owned(),
        chart: "milvus-3.2.18".to_owned(),
        app_version: "2.1.4".to_owned(),
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
    facts.scaled_objects = vec![json!({
        "metadata": {"name": "keda"},
        "spec": {"scaleTargetRef": {"name": "prod-milvus-proxy"}},
    })];
    assert_eq!(
        codes(&facts, &asked()),
        ["gitops", "helm-pending", "keda", "autoscaler"]
    );
    let accepted = Asked {
        accepted: vec!["gitops".to_owned()],
        ..asked()
    };
    let gitops = judge(&facts, &accepted)
        .into_iter()
        .find(|concern| concern.code == "gitops");
    assert_eq!(gitops.unwrap().severity, Severity::Warning);
}

#[test]
fn w18_an_operators_instance_without_its_resource_is_refused() {
    let mut facts = facts();
    facts.is_operators = true;
    assert_eq!(codes(&facts, &asked()), ["operator"]);
}

fn status(layout: Layout) -> StatusReport {
    StatusReport {
        layout,
        families: Vec::new(),
        sessions: Vec::new(),
        lock: None,
        journal: None,
        etcd: EtcdReport::default(),
    }
}

#[test]
fn what_is_really_in_etcd_counts() {
    let etcd = target(&facts(), &asked());
    let codes = |status: &StatusReport| -> Vec<String> {
        let concerns = judge_metadata(status, &etcd, &asked()).into_iter();
        concerns.map(|concern| concern.code).collect()
    };
    assert_eq!(codes(&status(Layout::V2_1)), Vec::<String>::new());
    assert_eq!(codes(&status(Layout::Empty)), ["nothing-in-etcd"]);
    assert_eq!(codes(&status(Layout::Mixed)), ["mixed-metadata"]);
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
fn the_way_and_the_next_command_fit_what_runs() {
    let next = |from: &str, to: &str| {
        let mut facts = facts();
        for workload in &mut facts.workloads.found {
            workload.image = format!("milvusdb/milvus:v{from}");
        }
        let asked = Asked {
            source: None,
            target: release(to),
            ..Asked::default()
        };
        let etcd = target(&facts, &asked);
        let report = report(&facts, &asked, etcd, None);
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
    assert!(command.starts_with("meta-migration rolling-update -i prod -n data -t 2.2.16"));
    assert_eq!(next("2.2.16", "2.2.16").0, UpgradePath::Nothing);
}

#[test]
fn images_that_disagree_tell_no_version() {
    let mut mixed = facts();
    mixed.workloads.found[1].image = "milvusdb/milvus:v2.2.0".to_owned();
    assert_eq!(running(&mixed), None);
    assert_eq!(running(&facts()), release("2.1.4"));
}
