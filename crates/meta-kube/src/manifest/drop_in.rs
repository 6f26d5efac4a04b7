//! The drop-in YAML that the Jobs read.

use std::collections::BTreeMap;

use crate::TLS_FOLDER;
use crate::record::Record;

/// How long the first Job after the stop waits for Milvus' sessions to end: their leases outlive the pods.
pub(crate) const SESSION_WAIT: &str = "5m";

/// The files of the `ConfigMap`.
#[must_use]
pub(crate) fn files(record: &Record) -> BTreeMap<String, String> {
    [
        ("backup", "backup"),
        ("migrate", "run"),
        ("rollback", "rollback"),
    ]
    .into_iter()
    .map(|(file, command)| (format!("{file}.yaml"), text(record, command)))
    .collect()
}

/// One file. Values are quoted as JSON, which is YAML: no value can become something else.
fn text(record: &Record, command: &str) -> String {
    let etcd = &record.etcd;
    let mut lines = vec![
        "cmd:".to_owned(),
        format!("  type: {command}"),
        "config:".to_owned(),
        format!("  sourceVersion: {}", quoted(&record.source_version)),
        format!("  targetVersion: {}", quoted(&record.target_version)),
        format!("  backupFilePath: {}", quoted(&record.backup_file)),
        format!("  acceptLoss: {}", record.policy.accept_loss),
    ];
    if command != "run" {
        lines.push(format!("  waitSessions: {SESSION_WAIT}"));
    }
    if record.skip_broken {
        lines.push("  onBrokenRecord: skip".to_owned());
    }
    lines.extend([
        "metastore:".to_owned(),
        "  type: etcd".to_owned(),
        "etcd:".to_owned(),
        "  endpoints:".to_owned(),
    ]);
    lines.extend(
        etcd.endpoints
            .iter()
            .map(|endpoint| format!("    - {}", quoted(endpoint))),
    );
    lines.extend([
        format!("  rootPath: {}", quoted(&etcd.root_path)),
        format!("  metaSubPath: {}", quoted(&etcd.meta_sub_path)),
        format!("  kvSubPath: {}", quoted(&etcd.kv_sub_path)),
    ]);
    if etcd.credentials.is_some() {
        // User and password come from the environment, filled in from the Secret.
        lines.extend(["  auth:".to_owned(), "    enabled: true".to_owned()]);
    }
    if let Some(tls) = &etcd.tls {
        lines.extend(["  ssl:".to_owned(), "    enabled: true".to_owned()]);
        for (name, key) in [
            ("tlsCACert", &tls.ca),
            ("tlsCert", &tls.cert),
            ("tlsKey", &tls.key),
        ] {
            if let Some(key) = key {
                lines.push(format!(
                    "    {name}: {}",
                    quoted(&format!("{TLS_FOLDER}/{key}"))
                ));
            }
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::TlsSecret;
    use crate::record::tests::example;

    #[test]
    fn the_official_keys_with_values_that_stay_text() {
        let mut record = example();
        record.etcd.endpoints.push("10.0.0.2:2379".to_owned());
        record.etcd.root_path = "0123".to_owned();
        let files = files(&record);
        assert_eq!(
            files.keys().collect::<Vec<_>>(),
            ["backup.yaml", "migrate.yaml", "rollback.yaml"]
        );
        assert_eq!(
            files["migrate.yaml"],
            "\
cmd:
  type: run
config:
  sourceVersion: \"2.1.4\"
  targetVersion: \"2.2.16\"
  backupFilePath: \"/milvus/data/3f9a2c1d.mmb\"
  acceptLoss: false
metastore:
  type: etcd
etcd:
  endpoints:
    - \"prod-etcd:2379\"
    - \"10.0.0.2:2379\"
  rootPath: \"0123\"
  metaSubPath: \"meta\"
  kvSubPath: \"kv\"
"
        );
    }

    #[test]
    fn broken_records_are_left_out_where_that_is_recorded() {
        let mut record = example();
        record.skip_broken = true;
        let text = &files(&record)["migrate.yaml"];
        assert!(
            text.contains("  onBrokenRecord: skip\nmetastore:"),
            "{text}"
        );
    }

    #[test]
    fn w16_certificates_and_users_are_named_and_never_contained() {
        let mut record = example();
        record.etcd.credentials = Some("etcd-user".to_owned());
        record.etcd.tls = Some(TlsSecret {
            name: "etcd-tls".to_owned(),
            ca: Some("ca.crt".to_owned()),
            cert: None,
            key: None,
        });
        let text = &files(&record)["rollback.yaml"];
        assert!(text.contains("  auth:\n    enabled: true\n"), "{text}");
        assert!(
            text.ends_with("  ssl:\n    enabled: true\n    tlsCACert: \"/milvus/tls/ca.crt\"\n"),
            "{text}"
        );
    }
}
