//! Instances of the Milvus Operator: every change is made in the custom resource.

use serde_json::{Value, json};

use super::{DUMP, NEW_IMAGE, role};
use crate::support::kubernetes::behaviour::{Event, TOOL_IMAGE};
use crate::support::kubernetes::helm::OLD_IMAGE;
use crate::support::kubernetes::operator::{BLIND, Operator};
use crate::support::kubernetes::{Bed, Ended, ended};

/// An instance managed by the Milvus Operator, with metadata.
struct ManagedInstance {
    bed: Bed,
    name: String,
    /// The initial `spec` of the resource.
    spec: Value,
    before: Vec<(String, Vec<u8>)>,
}

impl ManagedInstance {
    async fn new(operator: Operator) -> Self {
        let bed = Bed::new(&operator.name).await;
        Self::on(bed, operator).await
    }

    async fn on(bed: Bed, operator: Operator) -> Self {
        bed.metadata.load(DUMP).await;
        bed.grant(role()).await;
        operator.install(&bed).await;
        bed.wait("the operator to make Deployments", async || {
            let made = bed.list("deployments").await.len();
            (made >= if operator.cluster { 8 } else { 1 }).then_some(())
        })
        .await;
        bed.wait_until_settled().await;
        let it = Self {
            spec: bed.get("milvuses", &operator.name).await.unwrap()["spec"].take(),
            name: operator.name,
            before: bed.metadata.dump().await,
            bed,
        };
        it.wait_until_seen().await;
        it
    }

    /// Waits until the controller has observed the current generation of the resource.
    async fn wait_until_seen(&self) {
        self.bed
            .wait("the operator to see the resource", async || {
                let resource = self.resource().await;
                let healthy = resource["status"]["status"] == "Healthy";
                let seen =
                    resource["status"]["observedGeneration"] == resource["metadata"]["generation"];
                (healthy && seen).then_some(())
            })
            .await;
    }

    async fn resource(&self) -> Value {
        self.bed.get("milvuses", &self.name).await.unwrap()
    }

    /// Runs an upgrade; the root path is read from the resource.
    async fn upgrade(&self, more: &[&str]) -> Ended {
        let mut words = vec![
            "upgrade",
            "-i",
            &self.name,
            "-n",
            &self.bed.namespace,
            "-s",
            "2.1.4",
            "-t",
            "2.2.16",
            "-m",
            TOOL_IMAGE,
        ];
        words.extend_from_slice(more);
        self.bed.run(&words).await
    }

    /// Fails unless every pod of Milvus runs this image.
    async fn assert_runs(&self, image: &str) {
        self.bed.wait_until_settled().await;
        for (name, found) in self.bed.deployments().await {
            let empty = found == ("dummy".to_owned(), 0);
            assert!(empty || found.0 == image, "{name}: {found:?}");
        }
        self.bed.assert_no_breach();
    }

    async fn assert_untouched(&self) {
        assert!(
            self.bed.metadata.dump().await == self.before,
            "the metadata has changed"
        );
    }

    async fn change(&self, change: &Value) {
        self.bed.merge("milvuses", &self.name, change).await;
    }
}

#[tokio::test]
async fn without_state_an_operator_instance_keeps_its_counts() {
    let mut operator = Operator::cluster("mine");
    operator.spec = json!({"components": {"queryNode": {"replicas": 2}}});
    let it = ManagedInstance::new(operator).await;
    let held = "-verify-".to_owned();
    it.bed.shared.behaviour().held_tools.insert(held);
    let aim = ["-s", "2.1.4", "-t", "2.2.16", "-m", TOOL_IMAGE];
    let place = ["upgrade", "-i", "mine", "-n", &it.bed.namespace];
    let mut child = it.bed.start("upgrader", &[&place[..], &aim[..]].concat());
    it.bed
        .wait("the verification", async || {
            let pods = it.bed.list("pods").await;
            let mut names = pods.iter().map(|pod| pod["metadata"]["name"].to_string());
            names.any(|name| name.contains("-verify-")).then_some(())
        })
        .await;
    child.kill().await.unwrap();
    it.bed.shared.behaviour().held_tools.clear();
    it.bed.delete("leases", "meta-migration-mine").await;
    it.bed
        .delete("configmaps", "meta-migration-state-mine")
        .await;
    it.upgrade(&[]).await.expect(0);
    it.assert_runs(NEW_IMAGE).await;
    let resource = it.resource().await;
    let components = &resource["spec"]["components"];
    assert_eq!(components["queryNode"], json!({"replicas": 2}));
    let note = &resource["metadata"]["annotations"]["meta-migration/before"];
    assert!(note.is_null(), "{note}");
    it.upgrade(&["-o", "rollback"]).await.expect(0);
    it.assert_runs(OLD_IMAGE).await;
    it.assert_untouched().await;
}

#[tokio::test]
async fn w18_an_operator_cluster_upgrades_and_rolls_back() {
    let mut operator = Operator::cluster("mine");
    // One replica count is set, the others are not; one component has a separate image.
    operator.spec = json!({"components": {
        "queryNode": {"replicas": 2},
        "proxy": {"image": "milvusdb/milvus:v2.1.4", "serviceType": "LoadBalancer"},
        "indexNode": {"replicas": 0},
    }});
    let it = ManagedInstance::new(operator).await;
    it.upgrade(&[]).await.expect(0);
    it.assert_runs(NEW_IMAGE).await;
    let components = &it.resource().await["spec"]["components"];
    assert_eq!(components["image"], NEW_IMAGE);
    assert_eq!(components["queryNode"], json!({"replicas": 2}));
    assert_eq!(
        components["proxy"],
        json!({"image": NEW_IMAGE, "serviceType": "LoadBalancer"})
    );
    assert_eq!(components["indexNode"], json!({"replicas": 0}));
    assert!(components["rootCoord"]["replicas"].is_null());

    it.upgrade(&["-o", "rollback"]).await.expect(0);
    it.assert_runs(OLD_IMAGE).await;
    it.assert_untouched().await;
    let now = it.resource().await["spec"].take();
    let emptied = |spec: &Value| {
        let mut spec = spec.clone();
        let components = spec["components"].as_object_mut().unwrap();
        components.retain(|_, component| *component != json!({}));
        spec
    };
    assert_eq!(
        emptied(&now),
        it.spec,
        "counts are restored, present or absent"
    );
}

#[tokio::test]
async fn an_operator_standalone_uses_its_name_as_root_path() {
    let bed = Bed::named_like_its_root().await;
    let mut operator = Operator::standalone(&bed.root);
    operator.spec = json!({"config": {"etcd": {"rootPath": null}}});
    let it = ManagedInstance::on(bed, operator).await;
    assert!(it.spec["config"]["etcd"]["rootPath"].is_null());
    it.upgrade(&[]).await.expect(0);
    it.assert_runs(NEW_IMAGE).await;
    it.upgrade(&["-o", "rollback"]).await.expect(0);
    it.assert_runs(OLD_IMAGE).await;
    it.assert_untouched().await;
}

#[tokio::test]
async fn an_operator_component_keeps_its_empty_slot() {
    let mut operator = Operator::cluster("mine");
    operator.two_slots = true;
    let it = ManagedInstance::new(operator).await;
    it.upgrade(&[]).await.expect(0);
    it.assert_runs(NEW_IMAGE).await;
    let empty = &it.bed.deployments().await["mine-milvus-querynode-1"];
    assert_eq!(empty, &("dummy".to_owned(), 0));
}

#[tokio::test]
async fn operator_counts_changed_before_the_stop_are_restored() {
    let mut operator = Operator::cluster("mine");
    operator.spec = json!({"components": {
        "queryNode": {"replicas": 2}, "indexNode": {"replicas": 0},
    }});
    let it = ManagedInstance::new(operator).await;
    let shared = &it.bed.shared;
    shared.behaviour().held_tools.insert("-plan-".to_owned());
    let namespace = &it.bed.namespace;
    let words = ["upgrade", "-i", "mine", "-n", namespace, "-s", "2.1.4"];
    let words = [&words[..], &["-t", "2.2.16", "-m", TOOL_IMAGE]].concat();
    let child = it.bed.start("upgrader", &words);
    it.bed
        .wait("the plan's pod", async || {
            let pods = it.bed.list("pods").await;
            let mut names = pods
                .iter()
                .filter_map(|pod| pod["metadata"]["name"].as_str());
            names.any(|name| name.contains("-plan-")).then_some(())
        })
        .await;
    it.change(&json!({"spec": {"components": {
        "queryNode": {"replicas": 3}, "proxy": {"replicas": 2},
    }}}))
    .await;
    it.bed.wait_until_settled().await;
    shared.behaviour().held_tools.clear();
    ended(child.wait_with_output().await.unwrap()).expect(0);
    it.assert_runs(NEW_IMAGE).await;
    let components = &it.resource().await["spec"]["components"];
    assert_eq!(components["queryNode"]["replicas"], 3);
    assert_eq!(components["proxy"]["replicas"], 2);
    assert_eq!(components["indexNode"]["replicas"], 0);
    assert!(components["rootCoord"]["replicas"].is_null());
}

/// Fails unless the upgrade is rejected with `reason` and changes nothing.
async fn assert_refused(it: &ManagedInstance, reason: &str) {
    let spec = it.resource().await["spec"].take();
    let ended = it.upgrade(&[]).await;
    assert_ne!(ended.code, 0, "{reason}");
    ended.says(reason);
    assert_eq!(it.resource().await["spec"], spec, "{reason}");
    assert!(it.bed.list("jobs").await.is_empty(), "{reason}");
    let stopped = |event: &Event| matches!(event, Event::MilvusStopped { .. });
    assert!(!it.bed.shared.events().iter().any(stopped), "{reason}");
    it.assert_untouched().await;
}

#[tokio::test]
async fn changes_the_operator_would_revert_are_refused() {
    let it = ManagedInstance::new(Operator::standalone("mine")).await;

    let count = |count: Value| json!({"spec": {"components": {"standalone": {"replicas": count}}}});
    it.change(&count(json!(-1))).await;
    assert_refused(&it, "replicas -1").await;
    it.change(&count(Value::Null)).await;

    let manual = |on: Value| json!({"spec": {"components": {"enableManualMode": on}}});
    it.change(&manual(json!(true))).await;
    assert_refused(&it, "enableManualMode").await;
    it.change(&manual(Value::Null)).await;

    let annotated = |name: &str, value: Value| json!({"metadata": {"annotations": {name: value}}});
    let pause = "milvus.io/pause-reconcile";
    it.change(&annotated(pause, json!("true"))).await;
    assert_refused(&it, "pause").await;
    it.change(&annotated(pause, Value::Null)).await;

    it.wait_until_seen().await;
    it.change(&annotated(BLIND, json!("true"))).await;
    it.change(&json!({"spec": {"config": {"log": {"level": "debug"}}}}))
        .await;
    assert_refused(&it, "has not processed the last change").await;
    it.change(&annotated(BLIND, Value::Null)).await;
    it.wait_until_seen().await;

    let other = json!({
        "apiVersion": "milvus.io/v1beta1", "kind": "MilvusUpgrade", "metadata": {"name": "theirs"},
        "spec": {
            "milvus": {"name": "mine", "namespace": it.bed.namespace},
            "sourceVersion": "v2.1.4", "targetVersion": "v2.2.0",
        },
    });
    it.bed.create("milvusupgrades", &other).await;
    assert_refused(&it, "MilvusUpgrade theirs").await;
    it.bed.delete("milvusupgrades", "theirs").await;

    it.change(&json!({"metadata": {"finalizers": ["stand-in/stays"]}}))
        .await;
    it.bed.delete("milvuses", "mine").await;
    assert_refused(&it, "being deleted").await;
    it.change(&json!({"metadata": {"finalizers": null}})).await;
}
