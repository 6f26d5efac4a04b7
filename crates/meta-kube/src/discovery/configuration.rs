//! Reads where Milvus keeps its metadata and files: from `milvus.yaml`, the environment, or the
//! custom resource.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::object::{Milvus, ResourceExt};
use crate::state::StorageRoot;

/// The configured values; `None` if not set.
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
    /// Reads a `milvus.yaml` or `user.yaml`, which overrides what was read before.
    pub(crate) fn read_yaml(&mut self, text: &str) -> Result<(), String> {
        let settings = meta_yaml::parse(text)
            .map_err(|error| format!("line {}: {}", error.line, error.message))?;
        for setting in settings {
            let values = match setting.value {
                meta_yaml::Value::Text(text) => vec![text],
                meta_yaml::Value::List(items) => items,
                // Milvus reads it as an empty text.
                meta_yaml::Value::Null => Vec::new(),
                meta_yaml::Value::Nested => continue,
            };
            self.set(&setting.path, &values);
        }
        Ok(())
    }

    /// Reads an environment variable of a Milvus container, which overrides its files.
    ///
    /// Milvus 2.1 reads `ETCD_ENDPOINTS`, and every variable whose name contains `milvus`, with the
    /// key after the first dot. Milvus 2.2 reads any variable whose name is a key, ignoring case, a
    /// leading `milvus.` and the characters `. / _`.
    pub(crate) fn read_variable(&mut self, name: &str, value: &str) {
        let lower = name.to_ascii_lowercase();
        let key = match lower.split_once('.') {
            Some((before, key)) if before.contains("milvus") => key,
            _ => lower.as_str(),
        };
        self.set(key, &[value.to_owned()]);
    }

    /// Where the files are: as configured, else the default of Milvus.
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

    fn set(&mut self, key: &str, values: &[String]) {
        let first = values.first().cloned().unwrap_or_default();
        let may_be_empty = |place: &mut Option<String>| *place = Some(first.clone());
        let text = |place: &mut Option<String>| {
            if !first.is_empty() {
                *place = Some(first.clone());
            }
        };
        match meta_yaml::normalize(key).as_str() {
            "etcdendpoints" => {
                let all = values.iter().flat_map(|text| text.split(','));
                let all = all.map(str::trim).filter(|one| !one.is_empty());
                let all: Vec<String> = all.map(str::to_owned).collect();
                if !all.is_empty() {
                    self.endpoints = Some(all);
                }
            }
            "etcdrootpath" => text(&mut self.root_path),
            "etcdmetasubpath" => text(&mut self.meta_sub_path),
            "etcdkvsubpath" => text(&mut self.kv_sub_path),
            "metastoretype" => text(&mut self.metastore),
            "messagequeue" | "mqtype" => text(&mut self.message_queue),
            "commonstoragetype" => text(&mut self.storage_type),
            "miniorootpath" => may_be_empty(&mut self.object_root),
            "localstoragepath" => may_be_empty(&mut self.local_root),
            "rootcoordenableactivestandby" if !first.is_empty() => {
                self.active_standby = Some(first.eq_ignore_ascii_case("true"));
            }
            _ => {}
        }
    }
}

/// Whether a variable of this name is read.
pub(crate) fn is_setting(name: &str) -> bool {
    let mut configured = Configured::default();
    configured.read_variable(name, "x");
    configured != Configured::default()
}

/// Reads the custom resource of an operator-managed instance.
///
/// The Milvus Operator gives each etcd member a separate endpoint, and uses the resource's name as
/// the default root path.
pub(crate) fn from_resource(resource: &Milvus, namespace: &str) -> Configured {
    let (name, spec) = (resource.name_any(), &resource.content["spec"]);
    let mut configured = Configured {
        root_path: Some(name.clone()),
        ..Configured::default()
    };
    // It has the keys of milvus.yaml, and JSON is YAML. Other values than objects are ignored.
    let _ = configured.read_yaml(&spec["config"].to_string());
    let dependencies = &spec["dependencies"];
    let given = dependencies["etcd"]["endpoints"].as_array();
    let given = given.into_iter().flatten().filter_map(Value::as_str);
    let given: Vec<String> = given.map(str::to_owned).collect();
    let members = dependencies["etcd"]["inCluster"]["values"]["replicaCount"].as_u64();
    let members = members.unwrap_or(if is_cluster(spec) { 3 } else { 1 });
    configured.endpoints = Some(if given.is_empty() {
        (0..members.min(99))
            .map(|n| format!("{name}-etcd-{n}.{name}-etcd-headless.{namespace}:2379"))
            .collect()
    } else {
        given
    });
    if let Some(queue) = dependencies["msgStreamType"].as_str() {
        configured.message_queue = Some(queue.to_owned());
    }
    configured
}

pub(crate) fn is_cluster(spec: &Value) -> bool {
    spec.get("mode").and_then(Value::as_str) == Some("cluster")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn from_yaml(text: &str) -> Configured {
        let mut configured = Configured::default();
        configured.read_yaml(text).unwrap();
        configured
    }

    #[test]
    fn the_configuration_of_the_chart_is_read() {
        let configured = from_yaml(
            "etcd:\n  endpoints:\n    - prod-etcd:2379\n  rootPath: by-dev\n  metaSubPath: meta\n  \
             kvSubPath: kv\nmetastore:\n  type: etcd\nmessageQueue: pulsar\nrootCoord:\n  enableActiveStandby: true\n",
        );
        assert_eq!(configured.endpoints.unwrap(), ["prod-etcd:2379"]);
        assert_eq!(configured.root_path.as_deref(), Some("by-dev"));
        assert_eq!(configured.metastore.as_deref(), Some("etcd"));
        assert_eq!(configured.message_queue.as_deref(), Some("pulsar"));
        assert_eq!(configured.active_standby, Some(true));
        let broken = Configured::default().read_yaml("a: [");
        assert!(broken.unwrap_err().contains("line"));
    }

    #[test]
    fn the_storage_root_is_the_configured_one_or_the_default() {
        let root = |text: &str| from_yaml(text).storage_root();
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
        let mut files = from_yaml("minio:\n  rootPath: file\n");
        files.read_yaml("minio:\n  rootPath: mine\n").unwrap();
        files.read_yaml("etcd:\n  rootPath: a\n").unwrap();
        assert_eq!(files.storage_root().path, "mine");
        for name in ["MINIO_ROOTPATH", "milvus.minio.rootPath"] {
            let mut joined = files.clone();
            joined.read_variable(name, "other");
            assert_eq!(joined.storage_root().path, "other", "{name}");
        }
    }

    #[test]
    fn the_environment_overrides_files_in_both_forms() {
        let file = from_yaml("etcd:\n  rootPath: by-dev\n  endpoints: [a:1]\n");
        for (name, value) in [
            ("milvus.etcd.rootPath", "other"),
            ("ETCD_ROOTPATH", "other"),
            ("MY_MILVUS.etcd.rootPath", "other"),
        ] {
            let mut joined = file.clone();
            joined.read_variable(name, value);
            assert_eq!(joined.root_path.as_deref(), Some("other"), "{name}");
            assert_eq!(joined.endpoints, Some(vec!["a:1".to_owned()]));
        }
        let mut joined = file.clone();
        joined.read_variable("ETCD_ENDPOINTS", "x:1,y:2");
        assert_eq!(joined.endpoints.unwrap(), ["x:1", "y:2"]);
    }

    #[test]
    fn w15_w18_the_milvus_operator_has_its_own_defaults() {
        let configured = |spec: &Value| {
            let resource = json!({"metadata": {"name": "mine"}, "spec": spec});
            from_resource(&serde_json::from_value(resource).unwrap(), "data")
        };
        let cluster = configured(&json!({"mode": "cluster"}));
        assert_eq!(cluster.root_path.as_deref(), Some("mine"));
        let endpoints = cluster.endpoints.unwrap();
        assert_eq!(endpoints.len(), 3);
        assert_eq!(endpoints[0], "mine-etcd-0.mine-etcd-headless.data:2379");
        let spec = json!({
            "config": {"etcd": {"rootPath": "r"}},
            "dependencies": {"etcd": {"external": true, "endpoints": ["e:2379"]}},
        });
        let given = configured(&spec);
        assert_eq!(given.endpoints.as_deref(), Some(&["e:2379".to_owned()][..]));
        assert_eq!(given.root_path.as_deref(), Some("r"));
        assert_eq!(given.storage_root().path, "files");
        let spec = json!({"config": {"minio": {"rootPath": "milvus/mine"}}});
        let given = configured(&spec);
        assert_eq!(given.storage_root().path, "milvus/mine");
    }
}
