//! Where Milvus is configured to keep its metadata and files: `milvus.yaml`, environment, custom resource.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::state::StorageRoot;

/// What the configuration says; `None` where it says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Configured {
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
    /// `common.storageType`.
    pub storage_type: Option<String>,
    /// `minio.rootPath`; may be empty.
    pub object_root: Option<String>,
    /// `localStorage.path`; may be empty.
    pub local_root: Option<String>,
}

impl Configured {
    /// Lets what `stronger` says win.
    pub(crate) fn overridden_by(self, stronger: Self) -> Self {
        Self {
            endpoints: stronger.endpoints.or(self.endpoints),
            root_path: stronger.root_path.or(self.root_path),
            meta_sub_path: stronger.meta_sub_path.or(self.meta_sub_path),
            kv_sub_path: stronger.kv_sub_path.or(self.kv_sub_path),
            metastore: stronger.metastore.or(self.metastore),
            message_queue: stronger.message_queue.or(self.message_queue),
            active_standby: stronger.active_standby.or(self.active_standby),
            storage_type: stronger.storage_type.or(self.storage_type),
            object_root: stronger.object_root.or(self.object_root),
            local_root: stronger.local_root.or(self.local_root),
        }
    }

    /// Where the files are: as configured, else where Milvus keeps them by default.
    pub(crate) fn storage_root(&self) -> StorageRoot {
        let kind = self.storage_type.as_deref();
        let is_local = kind.is_some_and(|kind| kind.eq_ignore_ascii_case("local"));
        let (set, default) = if is_local {
            (&self.local_root, "/var/lib/milvus/data")
        } else {
            (&self.object_root, "files")
        };
        StorageRoot {
            is_local,
            path: set.clone().unwrap_or_else(|| default.to_owned()),
            is_set: set.is_some(),
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
            "commonstoragetype" => self.storage_type = first,
            "miniorootpath" => self.object_root = Some(first.unwrap_or_default()),
            "localstoragepath" => self.local_root = Some(first.unwrap_or_default()),
            "rootcoordenableactivestandby" => {
                self.active_standby = first.map(|text| text.eq_ignore_ascii_case("true"));
            }
            _ => {}
        }
    }
}

/// Reads the text of a `milvus.yaml` or `user.yaml`.
pub(crate) fn from_yaml(text: &str) -> Result<Configured, String> {
    let settings = meta_yaml::parse(text)
        .map_err(|error| format!("line {}: {}", error.line, error.message))?;
    let mut configured = Configured::default();
    for setting in settings {
        let values = match setting.value {
            meta_yaml::Value::Text(text) => vec![text],
            meta_yaml::Value::List(items) => items,
            // Milvus takes it for an empty text.
            meta_yaml::Value::Null => Vec::new(),
            meta_yaml::Value::Nested => continue,
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
pub(crate) fn is_setting(name: &str) -> bool {
    from_environment([(name, "x")].into_iter()) != Configured::default()
}

/// Reads the custom resource of an operator-managed instance.
///
/// The Milvus Operator gives every member a separate endpoint, and takes the resource's name as root path
/// where nothing else is said.
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
        storage_type: text("/config/common/storageType"),
        object_root: text("/config/minio/rootPath"),
        local_root: text("/config/localStorage/path"),
    }
}

/// Whether a custom resource describes a cluster.
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
    fn the_storage_root_is_the_configured_one_or_the_default() {
        let root = |text: &str| from_yaml(text).unwrap().storage_root();
        let storage = |is_local, path: &str, is_set| StorageRoot {
            is_local,
            path: path.to_owned(),
            is_set,
        };
        assert_eq!(
            root("etcd:\n  rootPath: a\n"),
            storage(false, "files", false)
        );
        assert_eq!(
            root("minio:\n  rootPath: file/\n"),
            storage(false, "file/", true)
        );
        for empty in ["minio:\n  rootPath: \"\"\n", "minio:\n  rootPath:\n"] {
            assert_eq!(root(empty), storage(false, "", true), "{empty}");
        }
        let local = "common:\n  storageType: local\nminio:\n  rootPath: file\n";
        assert_eq!(root(local), storage(true, "/var/lib/milvus/data", false));
        let given = format!("{local}localStorage:\n  path: /data\n");
        assert_eq!(root(&given), storage(true, "/data", true));
    }

    #[test]
    fn user_yaml_and_the_environment_override_the_storage_root() {
        let file = from_yaml("minio:\n  rootPath: file\n").unwrap();
        let user = from_yaml("minio:\n  rootPath: mine\n").unwrap();
        let silent = from_yaml("etcd:\n  rootPath: a\n").unwrap();
        let joined = file.overridden_by(user).overridden_by(silent);
        assert_eq!(joined.storage_root().path, "mine");
        for name in ["MINIO_ROOTPATH", "milvus.minio.rootPath"] {
            let environment = from_environment([(name, "other")].into_iter());
            let joined = joined.clone().overridden_by(environment);
            assert_eq!(joined.storage_root().path, "other", "{name}");
        }
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
        assert_eq!(
            configured.endpoints.as_deref(),
            Some(&["e:2379".to_owned()][..])
        );
        assert_eq!(configured.root_path.as_deref(), Some("r"));
        assert_eq!(configured.storage_root().path, "files");
        let spec = json!({"config": {"minio": {"rootPath": "milvus/mine"}}});
        let configured = from_resource("mine", "data", &spec);
        assert_eq!(configured.storage_root().path, "milvus/mine");
    }
}
