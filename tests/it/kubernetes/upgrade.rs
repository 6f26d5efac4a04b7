//! Upgrades that succeed, and rollbacks.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{NEW_IMAGE, Scenario};
use crate::support::kubernetes::behaviour::Event;
use crate::support::kubernetes::helm::{Helm, OLD_IMAGE};
use crate::support::kubernetes::{documents, plural};

#[tokio::test]
async fn a_cluster_upgrades_coordinators_first() {
    let mut helm = Helm::cluster("my-release").with_replicas("querynode", 3);
    helm.attu = true;
    helm.labels = BTreeMap::from([("team".to_owned(), "search".to_owned())]);
    helm.companions_of = Some("proxy".to_owned());
    let scenario = Scenario::new(helm).await;
    let ended = scenario.upgrade(&[]).await;
    ended.expect(0).says("helm upgrade");
    scenario.assert_runs(NEW_IMAGE).await;

    let attu = &scenario.bed.deployments().await["my-release-milvus-attu"];
    assert_eq!(
        attu,
        &("zilliz/attu:v2.1.1".to_owned(), 1),
        "w17: Attu is unchanged"
    );
    let proxy = scenario
        .bed
        .get("deployments", "my-release-milvus-proxy")
        .await
        .unwrap();
    let pod = &proxy["spec"]["template"]["spec"];
    assert_eq!(
        pod["initContainers"][0]["image"],
        "milvusdb/heaptrack:v0.1.0"
    );
    assert_eq!(
        pod["containers"].as_array().unwrap().len(),
        2,
        "w11: no container was added"
    );
    assert_eq!(pod["containers"][0]["image"], "mesh/agent:1");

    let saved_state = scenario.saved_state().await.unwrap();
    let order: Vec<&Value> = saved_state["workloads"]
        .as_array()
        .unwrap()
        .iter()
        .collect();
    let is_coordinator = |one: &&Value| one["component"].as_str().unwrap().ends_with("coord");
    assert!(order.iter().take(4).all(is_coordinator), "{order:?}");
}

#[tokio::test]
async fn a_renamed_standalone_upgrades_once() {
    let mut helm = Helm::standalone("prod");
    helm.name_override = Some("vectors".to_owned());
    let scenario = Scenario::new(helm).await;
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
    let after = scenario.bed.metadata.dump().await;
    scenario.upgrade(&[]).await.expect(0);
    assert!(
        scenario.bed.metadata.dump().await == after,
        "the second run changed metadata"
    );
    scenario.assert_runs(NEW_IMAGE).await;
}

/// The steps of the Jobs that ran, in order.
fn steps(scenario: &Scenario) -> Vec<String> {
    let events = scenario.bed.shared.events().into_iter();
    let pods = events.filter_map(|event| match event {
        Event::ToolStarted { pod, .. } => Some(pod),
        Event::MilvusStarted { .. } | Event::MilvusStopped { .. } | Event::ToolEnded { .. } => None,
    });
    let step = |pod: String| pod.split('-').nth(2).unwrap().to_owned();
    pods.map(step).collect()
}

/// The steps of the existing Jobs.
async fn jobs(scenario: &Scenario) -> Vec<String> {
    let jobs = scenario.bed.list("jobs").await.into_iter();
    let step = |job: Value| job["metadata"]["labels"]["meta-migration/step"].clone();
    jobs.map(|job| step(job).as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn w07_w08_a_rollback_restores_every_byte() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    scenario.upgrade(&[]).await.expect(0);
    let forward = steps(&scenario);
    assert_eq!(
        forward,
        ["status", "plan", "backup", "status", "migrate", "verify"]
    );
    assert_eq!(jobs(&scenario).await, ["backup"], "the others are deleted");
    scenario.upgrade(&["-o", "rollback"]).await.expect(0);
    let back = &steps(&scenario)[forward.len()..];
    assert_eq!(back, ["preview", "rollback", "status", "status"]);
    assert_eq!(jobs(&scenario).await, ["backup"]);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
    scenario.upgrade(&["-o", "rollback"]).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn w06_a_deployment_without_replicas_keeps_none() {
    let helm = Helm::cluster("my-release").with_replicas("indexnode", 0);
    let scenario = Scenario::new(helm).await;
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn w24_an_autoscaler_is_reported_and_does_not_block() {
    let scenario = Scenario::new(Helm::cluster("my-release")).await;
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
    scenario
        .bed
        .create("horizontalpodautoscalers", &autoscaler)
        .await;
    scenario.upgrade(&[]).await.expect(0).says("querynodes");
    scenario.assert_runs(NEW_IMAGE).await;
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let events = scenario.bed.shared.events().len();
    let ended = scenario.upgrade(&["--dry-run"]).await;
    ended.expect(0);
    // The manifests can be applied manually.
    let manifests = documents(&ended.stdout);
    let is_job = |object: &&Value| object["kind"] == "Job";
    assert!(
        manifests.iter().filter(is_job).count() >= 5,
        "{}",
        ended.stdout
    );
    for object in &manifests {
        let path = scenario.bed.path(plural(object));
        let path = format!("{path}?dryRun=All");
        scenario.bed.admin.create(&path, object).await;
    }
    assert_eq!(scenario.bed.shared.events().len(), events);
    assert!(scenario.bed.list("jobs").await.is_empty());
    assert!(scenario.saved_state().await.is_none());
    scenario.assert_runs(OLD_IMAGE).await;
}

#[tokio::test]
async fn a_rollback_prints_the_helm_advice() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    scenario.upgrade(&[]).await.expect(0);
    for operation in ["rollback", "status"] {
        let ended = scenario.upgrade(&["-o", operation]).await;
        ended.expect(0).says("helm rollback my-release");
        ended.says("--version 3.2.18");
        ended.says("image.all.tag=v2.1.4");
    }
    scenario.assert_runs(OLD_IMAGE).await;
}

#[tokio::test]
async fn without_a_terminal_an_upgrade_requires_yes() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let ended = scenario.bed.run_unconfirmed(&scenario.command(&[])).await;
    ended.expect(2).says("--yes").says("3. stopping Milvus");
    assert!(scenario.saved_state().await.is_none());
    assert!(scenario.bed.list("jobs").await.is_empty());
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
    let place = ["upgrade", "-i", "my-release", "-o", "status"];
    scenario.bed.run_unconfirmed(&place).await.expect(0);
}

#[tokio::test]
async fn on_openshift_jobs_set_no_user() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    let annotation = json!({"metadata": {"annotations": {
        "openshift.io/sa.scc.uid-range": "1000650000/10000",
    }}});
    let path = format!("/api/v1/namespaces/{}", bed.namespace);
    bed.admin.merge(&path, &annotation).await;
    // The namespace is that of the kubeconfig context.
    let preflight = ["preflight", "-i", "my-release", "--no-job"];
    bed.run(&preflight).await.expect(0).says("1000650000/10000");
    let one = |more: &'static [&'static str]| {
        let scenario = &scenario;
        async move {
            let ended = scenario.upgrade(more).await;
            ended.expect(0);
            let jobs = documents(&ended.stdout)
                .into_iter()
                .filter(|one| one["kind"] == "Job");
            let security =
                jobs.map(|job| job["spec"]["template"]["spec"]["securityContext"].clone());
            security.collect::<Vec<_>>()
        }
    };
    for security in one(&["--dry-run"]).await {
        for id in ["runAsUser", "runAsGroup", "fsGroup"] {
            assert!(security[id].is_null(), "{security}");
        }
        assert_eq!(security["runAsNonRoot"], true);
    }
    for security in one(&["--dry-run", "--run-as-user", "1000650001"]).await {
        assert_eq!(security["runAsUser"], 1_000_650_001);
    }
}

#[tokio::test]
async fn a_watch_shows_each_stage_until_the_end() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let (bed, namespace) = (&scenario.bed, scenario.bed.namespace.as_str());
    let words = ["upgrade", "-i", "my-release", "-n", namespace];
    let status = |more| [&words[..], &["-o", "status"], more].concat();
    let watching = async {
        bed.wait("a saved stage", async || scenario.stage().await)
            .await;
        bed.run(&status(&["--watch"])).await
    };
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("upgrade.html");
    let report = ["--yes", "--report", page.to_str().unwrap()];
    let (upgraded, watched) = tokio::join!(scenario.upgrade(&report), watching);
    upgraded.expect(0);
    watched.expect(0);
    for stage in ["stopping Milvus", "migrating the metadata", "upgraded"] {
        let lines = watched.stderr.lines();
        let occurrences = lines.filter(|line| line.ends_with(stage)).count();
        assert_eq!(occurrences, 1, "{stage}: {}", watched.stderr);
    }
    for text in [&watched.stdout, &upgraded.stdout] {
        assert!(text.contains("Downtime: "), "{text}");
        assert!(text.contains("STARTED"), "{text}");
    }
    let page = std::fs::read_to_string(&page).unwrap();
    for text in [
        "Upgraded",
        "<h2>Timeline</h2>",
        "class=\"down\"",
        "migrating the metadata",
        "To roll back</p>\n<pre>meta-migration upgrade -i my-release",
        "<h2>Important</h2>\n<pre>Helm does not know the new image",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let document = bed.run(&status(&["--format", "json"])).await;
    let document: Value = serde_json::from_str(&document.stdout).unwrap();
    assert_eq!(document["timeline"]["is_down"], false);
    let stages = document["timeline"]["stages"].as_array().unwrap();
    let count = |name: &str| stages.iter().filter(|one| one["stage"] == name).count();
    assert_eq!(count("migrating the metadata"), 1, "{stages:#?}");
    let refused = scenario.upgrade(&["--watch"]).await;
    refused.expect(2).says("-o status");
}
