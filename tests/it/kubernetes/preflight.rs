//! `preflight`: its findings and the upgrade path that it recommends.

use serde_json::{Value, json};

use super::{Scenario, role};
use crate::support::kubernetes::behaviour::TOOL_IMAGE;
use crate::support::kubernetes::helm::Helm;

/// The report of a run that exits with `code`.
pub(super) async fn report(scenario: &Scenario, code: i32, more: &[&str]) -> Value {
    let mut words = vec![
        "preflight",
        "-i",
        &scenario.helm.release,
        "-n",
        &scenario.bed.namespace,
        "-m",
        TOOL_IMAGE,
        "--format",
        "json",
    ];
    words.extend_from_slice(more);
    let ended = scenario.bed.run(&words).await;
    ended.expect(code);
    serde_json::from_str(&ended.stdout).unwrap()
}

/// The messages of a finding, prefixed with its severity.
pub(super) fn findings_with(report: &Value, code: &str) -> Vec<String> {
    let all = report["findings"].as_array().unwrap().iter();
    let named = all.filter(|finding_with| finding_with["code"] == code);
    named
        .map(|finding_with| {
            let text = |key: &str| finding_with[key].as_str().unwrap();
            format!("{}: {}", text("severity"), text("message"))
        })
        .collect()
}

/// The only message of a finding.
pub(super) fn finding_with(report: &Value, code: &str) -> String {
    let found = findings_with(report, code);
    assert_eq!(found.len(), 1, "{code} in {report:#}");
    found[0].clone()
}

pub(super) fn with_secrets() -> Value {
    let mut role = role();
    let secrets = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]});
    role["rules"].as_array_mut().unwrap().push(secrets);
    role
}

#[tokio::test]
async fn preflight_reports_the_instance_and_leaves_no_objects() {
    let mut helm = Helm::cluster("my-release").with_replicas("querynode", 2);
    helm.attu = true;
    let scenario = Scenario::with_role(helm, with_secrets()).await;
    let report = report(&scenario, 0, &["-t", "2.2.16"]).await;
    assert_eq!(report["ok"], true);
    assert_eq!(report["managed_by"], "helm");
    let helm = &report["helm"];
    assert_eq!(helm["name"], "my-release");
    assert_eq!(helm["revision"], 1);
    assert_eq!(helm["status"], "deployed");
    assert_eq!(helm["chart"], "milvus-3.2.18");
    assert_eq!(helm["app_version"], "2.1.4");
    assert_eq!(report["running"], "2.1.4");
    assert_eq!(report["path"], "metadata-migration");
    assert_eq!(report["left_alone"], json!(["my-release-milvus-attu"]));
    let workloads = report["workloads"].as_array().unwrap();
    assert_eq!(workloads.len(), 8);
    let querynode = workloads.iter().find(|one| one["component"] == "querynode");
    let querynode = querynode.unwrap();
    assert_eq!(querynode["image"], "milvusdb/milvus:v2.1.4");
    assert_eq!(
        (&querynode["replicas"], &querynode["ready"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(report["etcd"]["endpoints"], json!(["my-release-etcd:2379"]));
    assert_eq!(report["etcd"]["root_path"], scenario.bed.root);
    assert_eq!(report["metadata"]["layout"], "2.1");
    let sessions = report["metadata"]["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 9, "{sessions:#?}");
    let next = format!(
        "meta-migration upgrade -i my-release -n {} -s 2.1.4 -t 2.2.16",
        scenario.bed.namespace
    );
    let shown = report["next"].as_str().unwrap();
    assert!(shown.starts_with(&next), "{shown}");
    assert!(scenario.bed.list("jobs").await.is_empty());
    let ours = |map: &Value| {
        map["metadata"]["name"]
            .as_str()
            .unwrap()
            .starts_with("meta-migration")
    };
    assert!(!scenario.bed.list("configmaps").await.iter().any(ours));
    scenario.assert_untouched().await;
}

/// Errors that `plan` finds are found before Milvus is stopped, and the Job for it is deleted.
#[tokio::test]
async fn preflight_finds_errors_in_the_metadata() {
    let mut scenario = Scenario::new(Helm::standalone("my-release")).await;
    let broken = "root-coord/collection/55";
    scenario.bed.metadata.put(broken, b"\xff\xff").await;
    scenario.before = scenario.bed.metadata.dump().await;
    let document = report(&scenario, 3, &["-t", "2.2.16"]).await;
    assert_eq!(document["ok"], false);
    let mut findings = document["findings"].as_array().unwrap().iter();
    let found = findings.find(|one| one["key"].as_str().unwrap().ends_with(broken));
    assert_eq!(found.unwrap()["severity"], "error", "{document:#}");
    assert!(scenario.bed.list("jobs").await.is_empty());
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn preflight_without_secrets_reads_the_chart_labels() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let report = report(&scenario, 0, &["--no-job"]).await;
    assert_eq!(report["helm"]["chart"], "milvus-3.2.18");
    assert_eq!(report["helm"]["app_version"], "2.1.4");
    assert_eq!(report["helm"]["status"], "");
    assert!(report["metadata"].is_null());
}

#[tokio::test]
async fn preflight_refuses_another_root_path_than_configured() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let document = report(
        &scenario,
        3,
        &["-t", "2.2.16", "-r", "by-dev-of-others", "--no-job"],
    )
    .await;
    let message = finding_with(&document, "root-path");
    assert!(message.starts_with("error"), "{message}");
    assert!(message.contains(&scenario.bed.root), "{message}");
    assert!(
        document["next"]
            .as_str()
            .unwrap()
            .contains("fix the errors"),
        "{document:#}"
    );
    // Without metadata, ignoring the finding does not help: the Job reports it again.
    let accepting = [
        "-t",
        "2.2.16",
        "-r",
        "by-dev-of-others",
        "--accept",
        "root-path",
    ];
    let document = report(&scenario, 3, &accepting).await;
    let message = finding_with(&document, "nothing-in-etcd");
    assert!(message.contains("by-dev-of-others/meta"), "{message}");
}

#[tokio::test]
async fn w15_preflight_reports_an_address_not_configured() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let given = ["-t", "2.2.16", "-e", "other-etcd:2379", "--no-job"];
    let document = report(&scenario, 0, &given).await;
    let message = finding_with(&document, "etcd-address");
    assert!(message.starts_with("warning"), "{message}");
    assert!(message.contains("other-etcd:2379"), "{message}");
    assert!(message.contains("my-release-etcd:2379"), "{message}");
}

#[tokio::test]
async fn w15_preflight_finds_the_client_service() {
    // The release name contains the word by which the official script excludes Services.
    let mut helm = Helm::standalone("headless");
    helm.configured = false;
    let scenario = Scenario::new(helm).await;
    let document = report(&scenario, 0, &["-r", &scenario.bed.root]).await;
    assert_eq!(document["etcd"]["endpoints"], json!(["headless-etcd:2379"]));
    assert_eq!(document["metadata"]["layout"], "2.1");
}

#[tokio::test]
async fn preflight_refuses_metadata_in_mysql() {
    let mut helm = Helm::standalone("my-release");
    helm.metastore = "mysql".to_owned();
    let scenario = Scenario::new(helm).await;
    let document = report(&scenario, 3, &["-t", "2.2.16", "--no-job"]).await;
    assert!(finding_with(&document, "metastore").contains("mysql"));
}

#[tokio::test]
async fn w24_preflight_reports_rollout_autoscaler_and_gitops() {
    let scenario = Scenario::with_role(Helm::cluster("my-release"), with_secrets()).await;
    let bed = &scenario.bed;
    let proxy = "my-release-milvus-proxy";
    let tracked = json!({"metadata": {"annotations": {
        "argocd.argoproj.io/tracking-id": "milvus:apps/Deployment:x/my-release-milvus-rootcoord",
    }}});
    bed.merge("deployments", "my-release-milvus-rootcoord", &tracked)
        .await;
    bed.wait_until_settled().await;
    bed.keep_unready("milvusdb/milvus:v2.1.4-fix");
    let change = json!({"spec": {"template": {"spec": {"containers": [{
        "name": "proxy", "image": "milvusdb/milvus:v2.1.4-fix", "args": ["milvus", "run", "proxy"],
    }]}}}});
    bed.merge("deployments", proxy, &change).await;
    let autoscaler = json!({
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "querynodes"},
        "spec": {
            "minReplicas": 1, "maxReplicas": 3,
            "scaleTargetRef": {
                "apiVersion": "apps/v1", "kind": "Deployment", "name": "my-release-milvus-querynode",
            },
        },
    });
    bed.create("horizontalpodautoscalers", &autoscaler).await;
    let document = report(&scenario, 3, &["-t", "2.2.16", "--no-job"]).await;
    assert!(finding_with(&document, "not-at-rest").contains(proxy));
    assert!(finding_with(&document, "gitops").contains("my-release-milvus-rootcoord"));
    let all = document["findings"].to_string();
    assert!(all.contains("querynodes"), "{all}");
}

#[tokio::test]
async fn w24_preflight_refuses_a_pending_helm_operation() {
    let mut helm = Helm::standalone("my-release");
    helm.status = "pending-upgrade".to_owned();
    let scenario = Scenario::with_role(helm, with_secrets()).await;
    let document = report(&scenario, 3, &["-t", "2.2.16", "--no-job"]).await;
    assert!(finding_with(&document, "helm-pending").contains("pending-upgrade"));
}

#[tokio::test]
async fn w20_preflight_reports_an_image_unknown_to_helm() {
    let mut helm = Helm::standalone("my-release");
    helm.image = "milvusdb/milvus:v2.1.2".to_owned();
    let scenario = Scenario::with_role(helm, with_secrets()).await;
    let document = report(&scenario, 0, &["-t", "2.2.16", "--no-job"]).await;
    let message = finding_with(&document, "helm-drift");
    assert!(
        message.contains("2.1.2") && message.contains("2.1.4"),
        "{message}"
    );
    assert_eq!(document["running"], "2.1.2");
}

#[tokio::test]
async fn preflight_recommends_rolling_updates_from_2_2_3_on() {
    let rolling = "meta-migration rolling-update -i my-release";
    for (release, chart, queue, path, next) in [
        (
            "2.2.0",
            "3.3.0",
            "pulsar",
            "image-change",
            "helm upgrade my-release",
        ),
        ("2.2.3", "4.0.7", "pulsar", "rolling-update", rolling),
        // A queue within the process cannot be shared with a second process.
        (
            "2.2.3",
            "4.0.7",
            "rocksmq",
            "image-change",
            "helm upgrade my-release",
        ),
    ] {
        let mut helm = Helm::standalone("my-release").of_2_2(release, chart);
        helm.message_queue = queue;
        let scenario = Scenario::without_metadata(helm).await;
        let document = report(&scenario, 0, &["-t", "2.2.16", "--no-job"]).await;
        assert_eq!(document["path"], path, "{release} {queue}");
        let shown = document["next"].as_str().unwrap();
        assert!(shown.starts_with(next), "{release} {queue}: {shown}");
    }
}

#[tokio::test]
async fn preflight_lists_instances_for_an_unknown_name() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    let instead = "instances in this namespace: my-release";
    for (code, words) in [
        (3, vec!["preflight", "-i", "my-relaese"]),
        (
            3,
            vec!["upgrade", "-i", "my-relaese", "-s", "2.1.4", "-t", "2.2.16"],
        ),
        (3, vec!["upgrade", "-i", "my-relaese", "-o", "resume"]),
        (3, vec!["upgrade", "-i", "my-relaese", "-o", "rollback"]),
        (0, vec!["upgrade", "-i", "my-relaese", "-o", "status"]),
        (
            3,
            vec!["rolling-update", "-i", "my-relaese", "-t", "2.2.16"],
        ),
    ] {
        bed.run(&words).await.expect(code).says(instead);
    }
    assert!(bed.list("jobs").await.is_empty());
}

#[tokio::test]
async fn preflight_reports_a_running_orchestrator() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let now = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "meta-migration-my-release"},
        "spec": {"holderIdentity": "laptop-1", "renewTime": "2999-01-01T00:00:00.000000Z"},
    });
    scenario.bed.create("leases", &now).await;
    let document = report(&scenario, 3, &["-t", "2.2.16", "--no-job"]).await;
    assert_eq!(document["blocks_now"], json!(["at-work"]));
    assert!(finding_with(&document, "at-work").contains("laptop-1"));
}
