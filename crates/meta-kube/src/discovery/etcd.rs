//! Where Milvus is configured to keep its metadata: `milvus.yaml`, environment, custom resource.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the configuration says; `None` where it says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Configured {
    /// Addresses, `host:port`.
    pub endpoints: Option<Vec<String>>,
    /// `etcd.rootPath`.
    pub root_path: Option<String>,
    /// `etcd.metaSubPath`.
    pub meta_sub_path: Option<String>,
    /// `etcd.kvSubPath`.
    pub kv_sub_path: Option<String>,
    /// `metastore.type`.
    pub metastore: Option<String>,
    /// `messageQueue`.
    pub message_queue: Option<String>,
    /// `rootCoord.enableActiveStandby`.
    pub active_standby: Option<bool>,
}

impl Configured {
    /// Lets what `stronger` says win.
    #[must_use]
    pub(crate) fn overridden_by(self, stronger: Self) -> Self {
        Self {
            endpoints: stronger.endpoints.or(self.endpoints),
            root_path: stronger.root_path.or(self.root_path),
            meta_sub_path: stronger.meta_sub_path.or(self.meta_sub_path),
            kv_sub_path: stronger.kv_sub_path.or(self.kv_sub_path),
            metastore: stronger.metastore.or(self.metastore),
            message_queue: stronger.message_queue.or(self.message_queue),
            active_standby: stronger.active_standby.or(self.active_standby),
        }
    }

    fn set(&mut self, key: &str, values: Vec<String>) {
        let normal = meta_yaml::normalize(key);
        let first = values.first().cloned().filter(|text| !text.is_empty());
        match normal.as_str() {
            "etcdendpoints" => {
                let all = values.iter().flat_map(|text| text.split(','));
                let all: Vec<String> = all
                    .map(|one| one.trim().to_owned())
                    .filter(|one| !one.is_empty())
                    .collect();
                if !all.is_empty() {
                    self.endpoints = Some(all);
                }
            }
            "etcdrootpath" => self.root_path = first,
            "etcdmetasubpath" => self.meta_sub_path = first,
            "etcdkvsubpath" => self.kv_sub_path = first,
            "metastoretype" => self.metastore = first,
            "messagequeue" | "mqtype" => self.message_queue = first,
            "rootcoordenableactivestandby" => {
                self.active_standby = first.map(|text| text.eq_ignore_ascii_case("true"));
            }
            _ => {}
        }
    }
}

/// Reads the text of a `milvus.yaml` or `user.yaml`.
///
/// # Errors
/// What is wrong with it, and where.
pub(crate) fn from_yaml(text: &str) -> Result<Configured, String> {
    let settings = meta_yaml::parse(text)
        .map_err(|error| format!("line {}: {}", error.line, error.message))?;
    let mut configured = Configured::default();
    for setting in settings {
        let values = match setting.value {
            meta_yaml::Value::Text(text) => vec![text],
            meta_yaml::Value::List(items) => items,
            meta_yaml::Value::Null | meta_yaml::Value::Nested => continue,
        };
        configured.set(&setting.path, values);
    }
    Ok(configured)
}

/// Reads the environment of a Milvus container, which wins over its files.
///
/// Milvus 2.1 takes `ETCD_ENDPOINTS`, and every variable whose name contains `milvus`, with the key
/// behind the first dot; 2.2 takes any variable that is a key once case, a leading `milvus.` and the
/// characters `. / _` are dropped.
#[must_use]
pub(crate) fn from_environment<'v>(
    variables: impl Iterator<Item = (&'v str, &'v str)>,
) -> Configured {
    let mut configured = Configured::default();
    for (name, value) in variables {
        let lower = name.to_ascii_lowercase();
        let key = match lower.split_once('.') {
            Some((before, key)) if before.contains("milvus") => key,
            _ => lower.as_str(),
        };
        configured.set(key, vec![value.to_owned()]);
    }
    configured
}

/// Whether a variable of this name says something that is read here.
#[must_use]
pub(crate) fn is_setting(name: &str) -> bool {
    from_environment([(name, "x")].into_iter()) != Configured::default()
}

/// Reads the custom resource of an operator-managed instance.
///
/// The operator gives every member an endpoint of its own, and takes the resource's name as root path
/// where nothing else is said.
#[must_use]
pub(crate) fn from_resource(name: &str, namespace: &str, spec: &Value) -> Configured {
    let text = |pointer: &str| {
        let found = spec.pointer(pointer).and_then(Value::as_str);
        found.map(str::to_owned)
    };
    let given: Option<Vec<String>> = spec
        .pointer("/dependencies/etcd/endpoints")
        .and_then(Value::as_array)
        .map(|list| {
            list.iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        });
    let members = spec
        .pointer("/dependencies/etcd/inCluster/values/replicaCount")
        .and_then(Value::as_u64)
        .unwrap_or(if is_cluster(spec) { 3 } else { 1 });
    let made = || {
        (0..members.min(99))
            .map(|n| format!("{name}-etcd-{n}.{name}-etcd-headless.{namespace}:2379"))
            .collect()
    };
    Configured {
        endpoints: Some(given.filter(|list| !list.is_empty()).unwrap_or_else(made)),
        root_path: text("/config/etcd/rootPath").or_else(|| Some(name.to_owned())),
        meta_sub_path: text("/config/etcd/metaSubPath"),
        kv_sub_path: text("/config/etcd/kvSubPath"),
        metastore: text("/config/metastore/type"),
        message_queue: text("/dependencies/msgStreamType"),
        active_standby: None,
    }
}

/// Whether a custom resource describes a cluster.
#[must_use]
pub(crate) fn is_cluster(spec: &Value) -> bool {
    spec.get("mode").and_then(Value::as_str) == Some("cluster")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_charts_file_is_read() {
        let configured = from_yaml(
            "etcd:\n  endpoints:\n    - prod-etcd:2379\n  rootPath: by-dev\n  metaSubPath: meta\n  \
             kvSubPath: kv\nmetastore:\n  type: etcd\nmessageQueue: pulsar\nrootCoord:\n  enableActiveStandby: true\n",
        )
        .unwrap();
        assert_eq!(configured.endpoints.unwrap(), ["prod-etcd:2379"]);
        assert_eq!(configured.root_path.as_deref(), Some("by-dev"));
        assert_eq!(configured.metastore.as_deref(), Some("etcd"));
        assert_eq!(configured.message_queue.as_deref(), Some("pulsar"));
        assert_eq!(configured.active_standby, Some(true));
        assert!(from_yaml("a: [").unwrap_err().contains("line"));
    }

    #[test]
    fn the_environment_overrides_files_in_both_forms() {
        let file = from_yaml("etcd:\n  rootPath: by-dev\n  endpoints: [a:1]\n").unwrap();
        for (name, value) in [
            ("milvus.etcd.rootPath", "other"),
            ("ETCD_ROOTPATH", "other"),
            ("MY_MILVUS.etcd.rootPath", "other"),
        ] {
            let environment = from_environment([(name, value)].into_iter());
            let joined = file.clone().overridden_by(environment);
            assert_eq!(joined.root_path.as_deref(), Some("other"), "{name}");
            assert_eq!(joined.endpoints, Some(vec!["a:1".to_owned()]));
        }
        let environment = from_environment([("ETCD_ENDPOINTS", "x:1,y:2")].into_iter());
        assert_eq!(environment.endpoints.unwrap(), ["x:1", "y:2"]);
    }

    #[test]
    fn w15_w18_the_milvus_operator_has_its_own_defaults() {
        let configured = from_resource("mine", "data", &json!({"mode": "cluster"}));
        assert_eq!(configured.root_path.as_deref(), Some("mine"));
        let endpoints = configured.endpoints.unwrap();
        assert_eq!(endpoints.len(), 3);
        assert_eq!(endpoints[0], "mine-etcd-0.mine-etcd-headless.data:2379");
        let spec = json!({
            "config": {"etcd": {"rootPath": "r"}},
            "dependencies": {"etcd": {"external": true, "endpoints": ["e:2379"]}},
        });
        let configured = from_resource("mine", "data", &spec);
        assert_eq!(configured.endpoints.unwrap(), ["e:2379"]);
        assert_eq!(configured.root_path.as_deref(), Some("r"));
    }
}
