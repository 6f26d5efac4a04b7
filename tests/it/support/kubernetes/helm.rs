//! The objects that the Helm chart 3.2.18 renders for a Milvus 2.1.4.

use std::collections::BTreeMap;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::Bed;

/// The image before the upgrade.
pub(crate) const OLD_IMAGE: &str = "milvusdb/milvus:v2.1.4";

/// The components of a cluster, in no particular order.
pub(crate) const CLUSTER: [&str; 8] = [
    "datacoord",
    "datanode",
    "indexcoord",
    "indexnode",
    "proxy",
    "querycoord",
    "querynode",
    "rootcoord",
];

/// A release with the defaults of the chart, except for the mode.
#[derive(Debug, Clone)]
pub(crate) struct Helm {
    pub(crate) release: String,
    /// Replaces the chart's name in names and labels.
    pub(crate) name_override: Option<String>,
    pub(crate) cluster: bool,
    pub(crate) image: String,
    /// Replica counts other than 1.
    pub(crate) replicas: BTreeMap<String, u32>,
    /// Added to Deployments and pods.
    pub(crate) labels: BTreeMap<String, String>,
    /// Container names that differ from the component.
    pub(crate) container_names: BTreeMap<String, String>,
    pub(crate) attu: bool,
    /// An init container and a sidecar in the pods of this component.
    pub(crate) companions_of: Option<String>,
    pub(crate) metastore: String,
    /// The version of the chart, and its app version.
    pub(crate) chart: (&'static str, &'static str),
    pub(crate) message_queue: &'static str,
    /// Whether a second coordinator may run on standby.
    pub(crate) active_standby: bool,
    pub(crate) status: String,
    pub(crate) recorded: bool,
    /// Whether the `ConfigMap` of the chart contains the address of etcd.
    pub(crate) configured: bool,
    /// `minio.rootPath` of `milvus.yaml`, and of a `user.yaml` that overrides it.
    pub(crate) storage_root: &'static str,
    pub(crate) user_storage_root: Option<&'static str>,
}

impl Helm {
    pub(crate) fn cluster(release: &str) -> Self {
        Self {
            release: release.to_owned(),
            name_override: None,
            cluster: true,
            image: OLD_IMAGE.to_owned(),
            replicas: BTreeMap::new(),
            labels: BTreeMap::new(),
            container_names: BTreeMap::new(),
            attu: false,
            companions_of: None,
            metastore: "etcd".to_owned(),
            chart: ("3.2.18", "2.1.4"),
            message_queue: "pulsar",
            active_standby: false,
            status: "deployed".to_owned(),
            recorded: true,
            configured: true,
            storage_root: "files",
            user_storage_root: None,
        }
    }

    pub(crate) fn standalone(release: &str) -> Self {
        Self {
            cluster: false,
            message_queue: "rocksmq",
            ..Self::cluster(release)
        }
    }

    /// A release of Milvus 2.2.
    pub(crate) fn of_2_2(mut self, release: &'static str, chart: &'static str) -> Self {
        self.image = format!("milvusdb/milvus:v{release}");
        self.chart = (chart, release);
        self
    }

    pub(crate) fn with_replicas(mut self, component: &str, count: u32) -> Self {
        self.replicas.insert(component.to_owned(), count);
        self
    }

    /// The components that have a Deployment.
    pub(crate) fn components(&self) -> Vec<&'static str> {
        if self.cluster {
            CLUSTER.to_vec()
        } else {
            vec!["standalone"]
        }
    }

    /// The name of a component's Deployment.
    pub(crate) fn deployment(&self, component: &str) -> String {
        format!("{}-{component}", self.full_name())
    }

    /// How many replicas a component has.
    pub(crate) fn count(&self, component: &str) -> u32 {
        self.replicas.get(component).copied().unwrap_or(1)
    }

    /// Creates all objects in the namespace.
    pub(crate) async fn install(&self, bed: &Bed) {
        let mut config = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": self.helm_metadata(&self.full_name(), json!({"app.kubernetes.io/managed-by": "Helm"})),
            "data": {"milvus.yaml": self.milvus_yaml(bed)},
        });
        if let Some(root) = self.user_storage_root {
            config["data"]["user.yaml"] = json!(format!("minio:\n  rootPath: {root}\n"));
        }
        bed.create("configmaps", &config).await;
        for service in self.services() {
            bed.create("services", &service).await;
        }
        for component in self.components() {
            bed.create("deployments", &self.milvus(component)).await;
        }
        if self.attu {
            bed.create(
                "deployments",
                &self.deployment_of("attu", "attu", "zilliz/attu:v2.1.1", json!([])),
            )
            .await;
        }
        if self.recorded {
            bed.create("secrets", &self.record()).await;
        }
    }

    fn chart_name(&self) -> &str {
        self.name_override.as_deref().unwrap_or("milvus")
    }

    fn full_name(&self) -> String {
        if self.release.contains(self.chart_name()) {
            self.release.clone()
        } else {
            format!("{}-{}", self.release, self.chart_name())
        }
    }

    fn milvus_yaml(&self, bed: &Bed) -> String {
        let mut text = format!(
            "metastore:\n  type: {}\netcd:\n  endpoints:\n  - {}-etcd:2379\n  rootPath: {}\n  \
             metaSubPath: meta\n  kvSubPath: kv\nmessageQueue: {}\ndataNode:\n  flush:\n    \
             insertBufSize: 16777216\nminio:\n  rootPath: {}\n",
            self.metastore, self.release, bed.root, self.message_queue, self.storage_root
        );
        if !self.configured {
            text = format!("messageQueue: {}\n", self.message_queue);
        }
        if self.active_standby {
            for coordinator in ["rootCoord", "queryCoord", "dataCoord", "indexCoord"] {
                text += &format!("{coordinator}:\n  enableActiveStandby: true\n");
            }
        }
        text
    }

    fn helm_metadata(&self, name: &str, labels: Value) -> Value {
        json!({
            "name": name,
            "labels": labels,
            "annotations": {
                "meta.helm.sh/release-name": self.release,
                "meta.helm.sh/release-namespace": "",
            },
        })
    }

    fn selector(&self, component: &str) -> Value {
        json!({
            "app.kubernetes.io/name": self.chart_name(),
            "app.kubernetes.io/instance": self.release,
            "component": component,
        })
    }

    fn labels(&self, component: &str) -> Value {
        let mut labels = self.selector(component);
        labels["helm.sh/chart"] = json!(format!("milvus-{}", self.chart.0));
        labels["app.kubernetes.io/version"] = json!(self.chart.1);
        labels["app.kubernetes.io/managed-by"] = json!("Helm");
        add(labels, &self.labels)
    }

    fn milvus(&self, component: &str) -> Value {
        let container = self
            .container_names
            .get(component)
            .map_or(component, String::as_str);
        let arguments = json!(["milvus", "run", component]);
        let mut made = self.deployment_of(component, container, &self.image, arguments);
        if self.companions_of.as_deref() == Some(component) {
            let pod = &mut made["spec"]["template"]["spec"];
            pod["initContainers"] =
                json!([{"name": "heaptrack", "image": "milvusdb/heaptrack:v0.1.0"}]);
            let sidecar = json!({"name": "proxy-agent", "image": "mesh/agent:1"});
            pod["containers"].as_array_mut().unwrap().insert(0, sidecar);
        }
        made
    }

    fn deployment_of(
        &self,
        component: &str,
        container: &str,
        image: &str,
        arguments: Value,
    ) -> Value {
        let strategy = if component.ends_with("coord") || component == "standalone" {
            json!({"type": "Recreate"})
        } else {
            Value::Null
        };
        let metadata = self.helm_metadata(&self.deployment(component), self.labels(component));
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
            "spec": {
                "replicas": self.count(component),
                "strategy": strategy,
                "selector": {"matchLabels": self.selector(component)},
                "template": {
                    "metadata": {"labels": add(self.selector(component), &self.labels)},
                    "spec": {
                        "containers": [{
                            "name": container, "image": image, "imagePullPolicy": "IfNotPresent",
                            "args": arguments,
                            "env": [{"name": "GODEBUG", "value": "madvdontneed=1"}],
                            "volumeMounts": [{
                                "name": "milvus-config", "mountPath": "/milvus/configs/milvus.yaml",
                                "subPath": "milvus.yaml",
                            }],
                        }],
                        "volumes": [
                            {"name": "milvus-config", "configMap": {"name": self.full_name()}},
                        ],
                    },
                },
            },
        })
    }

    fn services(&self) -> Vec<Value> {
        let etcd = |suffix: &str, cluster_ip: Value| {
            let labels = json!({
                "app.kubernetes.io/name": "etcd", "app.kubernetes.io/instance": self.release,
                "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "etcd-6.3.3",
            });
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": self.helm_metadata(&format!("{}-{suffix}", self.release), labels),
                "spec": {
                    "clusterIP": cluster_ip,
                    "selector": {
                        "app.kubernetes.io/name": "etcd", "app.kubernetes.io/instance": self.release,
                    },
                    "ports": [{"name": "client", "port": 2379}, {"name": "peer", "port": 2380}],
                },
            })
        };
        let serving = if self.cluster { "proxy" } else { "standalone" };
        vec![
            etcd("etcd", Value::Null),
            etcd("etcd-headless", json!("None")),
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": self.helm_metadata(&self.full_name(), self.labels(serving)),
                "spec": {
                    "selector": self.selector(serving),
                    "ports": [{"name": "milvus", "port": 19530}, {"name": "metrics", "port": 9091}],
                },
            }),
        ]
    }

    /// The release as Helm stores it.
    fn record(&self) -> Value {
        let release = json!({
            "name": self.release,
            "version": 1,
            "info": {
                "status": self.status,
                "first_deployed": "2022-11-20T10:00:00Z", "last_deployed": "2022-11-20T10:00:00Z",
            },
            "chart": {
                "metadata": {"name": "milvus", "version": self.chart.0, "appVersion": self.chart.1},
                "values": {"image": {"all": {
                    "repository": "milvusdb/milvus", "tag": format!("v{}", self.chart.1),
                }}},
            },
            "config": {"cluster": {"enabled": self.cluster}},
            "manifest": "",
        });
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(release.to_string().as_bytes()).unwrap();
        let packed = STANDARD.encode(packed.finish().unwrap());
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
            "metadata": {
                "name": format!("sh.helm.release.v1.{}.v1", self.release),
                "labels": {
                    "owner": "helm", "name": self.release, "status": self.status, "version": "1",
                    "modifiedAt": "1668938400",
                },
            },
            "data": {"release": STANDARD.encode(packed)},
        })
    }
}

fn add(mut labels: Value, more: &BTreeMap<String, String>) -> Value {
    for (name, value) in more {
        labels[name] = json!(value);
    }
    labels
}
