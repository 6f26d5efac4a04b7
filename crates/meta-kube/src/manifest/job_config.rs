//! The drop-in YAML that the Jobs read.

use std::collections::BTreeMap;

use serde_json::json;

use super::without_nulls;
use crate::TLS_FOLDER;
use crate::state::UpgradeState;

/// Maximum time that the first Job after the stop waits for Milvus' sessions to end: their leases
/// outlive the pods.
const SESSION_WAIT_S: u64 = 300;

/// How long a Job waits for sessions. It ends before the timeout of the step, to report the
/// remaining sessions.
pub(crate) fn session_wait(state: &UpgradeState) -> String {
    let within = state.timeout_s * 3 / 4;
    format!("{}s", within.min(SESSION_WAIT_S))
}

pub(crate) fn files(state: &UpgradeState) -> BTreeMap<String, String> {
    let file = |name: &str, command: &str| (format!("{name}.yaml"), text(state, command));
    BTreeMap::from([
        file("backup", "backup"),
        file("migrate", "run"),
        file("rollback", "rollback"),
    ])
}

/// One file, in the format of the official tool.
fn text(state: &UpgradeState, command: &str) -> String {
    let etcd = &state.etcd;
    let path = |key: &Option<String>| key.as_ref().map(|key| format!("{TLS_FOLDER}/{key}"));
    let ssl = etcd.tls.as_ref().map(|tls| {
        json!({
            "enabled": true,
            "tlsCACert": path(&tls.ca),
            "tlsCert": path(&tls.cert),
            "tlsKey": path(&tls.key),
        })
    });
    // User and password come from the environment, which is filled from the Secret.
    let auth = etcd.credentials.as_ref().map(|_| json!({"enabled": true}));
    let file = without_nulls(json!({
        "cmd": {"type": command},
        "config": {
            "sourceVersion": state.source_version,
            "targetVersion": state.target_version,
            "backupFilePath": state.backup_file,
            "acceptLoss": state.policy.accept_loss,
            "waitSessions": (command != "run").then(|| session_wait(state)),
            "onBrokenRecord": state.skip_broken.then_some("skip"),
        },
        "metastore": {"type": "etcd"},
        "etcd": {
            "endpoints": etcd.endpoints,
            "rootPath": etcd.root_path,
            "metaSubPath": etcd.meta_sub_path,
            "kvSubPath": etcd.kv_sub_path,
            "auth": auth,
            "ssl": ssl,
        },
    }));
    // A tree of texts and booleans always serializes.
    serde_saphyr::to_string(&file).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::state::TlsSecret;
    use crate::state::tests::example;

    #[test]
    fn a_job_waits_for_sessions_within_the_timeout() {
        let mut state = example();
        for (timeout, expected) in [(900, "300s"), (120, "90s")] {
            state.timeout_s = timeout;
            let line = format!("waitSessions: {expected}\n");
            assert!(files(&state)["backup.yaml"].contains(&line), "{timeout}");
        }
    }

    #[test]
    fn the_job_config_has_the_official_keys() {
        let mut state = example();
        state.etcd.endpoints.push("10.0.0.2:2379".to_owned());
        state.etcd.root_path = "0123".to_owned();
        let files = files(&state);
        assert_eq!(
            files.keys().collect::<Vec<_>>(),
            ["backup.yaml", "migrate.yaml", "rollback.yaml"]
        );
        let settings = meta_yaml::parse(&files["migrate.yaml"]).unwrap();
        let text = |text: &str| meta_yaml::Value::Text(text.to_owned());
        let endpoints = ["prod-etcd:2379", "10.0.0.2:2379"].map(str::to_owned);
        let expected = [
            ("cmd.type", text("run")),
            ("config.acceptLoss", text("false")),
            ("config.backupFilePath", text("/milvus/data/3f9a2c1d.mmb")),
            ("config.sourceVersion", text("2.1.4")),
            ("config.targetVersion", text("2.2.16")),
            ("etcd.endpoints", meta_yaml::Value::List(endpoints.into())),
            ("etcd.kvSubPath", text("kv")),
            ("etcd.metaSubPath", text("meta")),
            ("etcd.rootPath", text("0123")),
            ("metastore.type", text("etcd")),
        ];
        let read: Vec<_> = settings
            .into_iter()
            .map(|one| (one.path, one.value))
            .collect();
        assert_eq!(read, expected.map(|(path, value)| (path.to_owned(), value)));
    }

    /// The file is block-style YAML, and no value changes its type.
    #[test]
    fn values_are_read_as_they_are_written() {
        for value in [
            "0123",
            "1e3",
            "0x1f",
            "yes",
            "null",
            "~",
            "true",
            "2026-01-01",
            "a: b",
            "#no",
            "- x",
            " a ",
            "it's",
            "a\"b",
            "{}",
            "*x",
            "!x",
            "%",
            "@",
            "|",
            "é",
            "a\tb",
        ] {
            let mut state = example();
            state.etcd.root_path = value.to_owned();
            let file = files(&state).remove("migrate.yaml").unwrap();
            let settings = meta_yaml::parse(&file).unwrap();
            let mut found = settings.iter().filter(|one| one.path == "etcd.rootPath");
            let expected = meta_yaml::Value::Text(value.to_owned());
            assert_eq!(found.next().unwrap().value, expected, "{file}");
            assert!(!file.contains("{\n"), "{file}");
        }
    }

    #[test]
    fn the_state_decides_whether_broken_records_are_skipped() {
        let mut state = example();
        state.skip_broken = true;
        let text = &files(&state)["migrate.yaml"];
        assert!(text.contains("onBrokenRecord: skip\n"), "{text}");
    }

    #[test]
    fn w16_certificates_and_users_are_only_referenced() {
        let mut state = example();
        state.etcd.credentials = Some("etcd-user".to_owned());
        state.etcd.tls = Some(TlsSecret {
            name: "etcd-tls".to_owned(),
            ca: Some("ca.crt".to_owned()),
            cert: None,
            key: None,
        });
        let file: Value = serde_saphyr::from_str(&files(&state)["rollback.yaml"]).unwrap();
        assert_eq!(file["etcd"]["auth"], json!({"enabled": true}));
        let ssl = json!({"enabled": true, "tlsCACert": "/milvus/tls/ca.crt"});
        assert_eq!(file["etcd"]["ssl"], ssl);
    }
}
