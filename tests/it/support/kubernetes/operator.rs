//! The Milvus Operator: the custom resources, an instance, and a simulated controller.

use std::time::Duration;

use serde_json::{Value, json};

use super::Bed;
use super::api::{Api, code};
use super::helm::{CLUSTER, OLD_IMAGE};
use super::process::{items, text};

/// The components' keys in the custom resource.
const KEYS: [(&str, &str); 9] = [
    ("datacoord", "dataCoord"),
    ("datanode", "dataNode"),
    ("indexcoord", "indexCoord"),
    ("indexnode", "indexNode"),
    ("proxy", "proxy"),
    ("querycoord", "queryCoord"),
    ("querynode", "queryNode"),
    ("rootcoord", "rootCoord"),
    ("standalone", "standalone"),
];

/// Defines the two kinds, once per control plane.
pub(crate) async fn define_resources(api: &Api) {
    for (kind, plural, short) in [
        ("Milvus", "milvuses", "mi"),
        ("MilvusUpgrade", "milvusupgrades", "miu"),
    ] {
        let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.milvus.io")},
            "spec": {
                "group": "milvus.io", "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "shortNames": [short]},
                "versions": [{
                    "name": "v1beta1", "served": true, "storage": true,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {
                        "type": "object", "properties": {"spec": free, "status": free},
                    }},
                }],
            },
        });
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        match api.try_create(path, &definition).await {
            Ok(_) => {}
            Err(error) if code(&error) == 409 => {}
            Err(error) => panic!("POST {path}: {error}"),
        }
    }
}

/// An instance of the Milvus Operator.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    pub(crate) name: String,
    pub(crate) cluster: bool,
    /// Merged into the `spec` of the resource.
    pub(crate) spec: Value,
    /// Whether query nodes have two Deployments, one of which is empty at a time.
    pub(crate) two_slots: bool,
}

/// The controller ignores resources with this annotation.
pub(crate) const BLIND: &str = "stand-in/blind";

impl Operator {
    pub(crate) fn cluster(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            cluster: true,
            spec: Value::Null,
            two_slots: false,
        }
    }

    pub(crate) fn standalone(name: &str) -> Self {
        Self {
            cluster: false,
            ..Self::cluster(name)
        }
    }

    /// Creates the resource and runs its controller until the runtime ends.
    pub(crate) async fn install(&self, bed: &Bed) {
        let mode = if self.cluster {
            "cluster"
        } else {
            "standalone"
        };
        let mut spec = json!({
            "mode": mode,
            "components": {"image": OLD_IMAGE},
            "dependencies": {"etcd": {
                "external": false,
                "endpoints": [format!("{}-etcd-0.{}-etcd-headless.{}:2379", self.name, self.name, bed.namespace)],
            }},
            "config": {"etcd": {"rootPath": bed.root}},
        });
        merge(&mut spec, &self.spec);
        let resource = json!({
            "apiVersion": "milvus.io/v1beta1", "kind": "Milvus",
            "metadata": {"name": self.name}, "spec": spec,
        });
        bed.create("milvuses", &resource).await;
        let controller = Controller {
            api: bed.admin.clone(),
            namespace: bed.namespace.clone(),
            name: self.name.clone(),
            two_slots: self.two_slots,
        };
        tokio::spawn(controller.run());
    }
}

/// Creates Deployments for the resource, and updates its status.
struct Controller {
    api: Api,
    namespace: String,
    name: String,
    two_slots: bool,
}

impl Controller {
    async fn run(self) {
        let mut interval = tokio::time::interval(Duration::from_millis(200));
        loop {
            interval.tick().await;
            let path = self.path("/apis/milvus.io/v1beta1", "milvuses", &self.name);
            if let Some(resource) = self.api.get(&path).await
                && resource["metadata"]["annotations"][BLIND].is_null()
            {
                self.reconcile(&resource).await;
            }
        }
    }

    fn path(&self, group: &str, plural: &str, name: &str) -> String {
        format!("{group}/namespaces/{}/{plural}/{name}", self.namespace)
    }

    async fn reconcile(&self, resource: &Value) {
        let cluster = resource["spec"]["mode"] == "cluster";
        let mut wanted = 0;
        let mut ready = 0;
        let mut updated = true;
        for (component, key) in KEYS {
            if cluster != CLUSTER.contains(&component) {
                continue;
            }
            let components = &resource["spec"]["components"];
            let count = components[key]["replicas"].as_i64().unwrap_or(1);
            let image = components[key]["image"].as_str();
            let image = image.map_or_else(|| text(&components["image"]), str::to_owned);
            let slots = self.two_slots && component == "querynode";
            let name = format!("{}-milvus-{component}", self.name);
            let name = if slots { format!("{name}-0") } else { name };
            if slots {
                let other = format!("{}-milvus-{component}-1", self.name);
                let desired = (component, 0, "dummy");
                self.apply(resource, &other, desired).await;
            }
            let deployment = self
                .apply(resource, &name, (component, count, &image))
                .await;
            let status = &deployment["status"];
            wanted += count;
            ready += status["readyReplicas"].as_i64().unwrap_or(0).min(count);
            updated &= status["observedGeneration"] == deployment["metadata"]["generation"]
                && status["updatedReplicas"].as_i64().unwrap_or(0) == count;
        }
        let pods = self.pods().await;
        let (health, reason) = match (wanted, ready == wanted, pods) {
            (0, _, 0) => ("Stopped", "MilvusStopped"),
            (0, ..) => ("Stopped", "MilvusStopping"),
            (_, true, _) => ("Healthy", "ReasonMilvusHealthy"),
            _ => ("Unhealthy", "ReasonMilvusComponentNotHealthy"),
        };
        let now = "2026-01-01T00:00:00Z";
        let condition = |kind: &str, holds: bool, reason: &str| {
            let holds = if holds { "True" } else { "False" };
            json!({"type": kind, "status": holds, "reason": reason, "message": "", "lastTransitionTime": now})
        };
        let status = json!({
            "status": health,
            "observedGeneration": resource["metadata"]["generation"],
            "currentImage": resource["spec"]["components"]["image"],
            "conditions": [
                condition("EtcdReady", true, "EtcdReady"),
                condition("MilvusReady", health == "Healthy", reason),
                condition("MilvusUpdated", updated, if updated { "MilvusComponentsUpdated" } else { "MilvusComponentsUpdating" }),
            ],
        });
        if resource["status"] != status {
            let path = self.path("/apis/milvus.io/v1beta1", "milvuses", &self.name) + "/status";
            // A conflict: the next round reads the new object.
            let _ = self.api.try_merge(&path, &json!({"status": status})).await;
        }
    }

    /// Creates or updates a Deployment; returns the current one. A count below 0 belongs to an
    /// autoscaler.
    async fn apply(
        &self,
        resource: &Value,
        name: &str,
        (component, count, image): (&str, i64, &str),
    ) -> Value {
        let path = self.path("/apis/apps/v1", "deployments", name);
        let Some(present) = self.api.get(&path).await else {
            let made = self.deployment(resource, name, (component, count, image));
            let path = format!("/apis/apps/v1/namespaces/{}/deployments", self.namespace);
            return self.api.try_create(&path, &made).await.unwrap_or_default();
        };
        if count < 0 {
            return present;
        }
        let spec = &present["spec"];
        let containers = items(&spec["template"]["spec"]["containers"]);
        if spec["replicas"] == count && containers[0]["image"] == image {
            return present;
        }
        let mut containers = containers.to_vec();
        containers[0]["image"] = json!(image);
        let change = json!({"spec": {
            "replicas": count, "template": {"spec": {"containers": containers}},
        }});
        self.api.try_merge(&path, &change).await.unwrap_or(present)
    }

    fn deployment(
        &self,
        resource: &Value,
        name: &str,
        (component, count, image): (&str, i64, &str),
    ) -> Value {
        let mut selected = labels_of(&self.name, component);
        selected["milvus.io/deployment"] = json!(name);
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": name, "labels": labels_of(&self.name, component),
                "ownerReferences": [{
                    "apiVersion": "milvus.io/v1beta1", "kind": "Milvus", "name": self.name,
                    "uid": resource["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "spec": {
                "replicas": count,
                "selector": {"matchLabels": selected},
                "template": {
                    "metadata": {"labels": selected},
                    "spec": {
                        "initContainers": [{"name": "config", "image": "milvusdb/milvus-operator:v0.7.0"}],
                        "containers": [{
                            "name": component, "image": image,
                            "args": ["/milvus/tools/run.sh", "milvus", "run", component],
                        }],
                    },
                },
            },
        })
    }

    async fn pods(&self) -> usize {
        let selector = "labelSelector=app.kubernetes.io%2Finstance%3D";
        let path = format!(
            "/api/v1/namespaces/{}/pods?{selector}{}",
            self.namespace, self.name
        );
        self.api.list(&path).await.len()
    }
}

fn labels_of(instance: &str, component: &str) -> Value {
    json!({
        "app.kubernetes.io/instance": instance, "app.kubernetes.io/name": "milvus",
        "app.kubernetes.io/component": component, "app.kubernetes.io/managed-by": "milvus-operator",
    })
}

/// Merges `over` into `base`.
fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            // As in a merge patch, null removes a member.
            base.retain(|key, _| over.get(key) != Some(&Value::Null));
            for (key, value) in over.iter().filter(|(_, value)| !value.is_null()) {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (base, over) => *base = over.clone(),
    }
}
