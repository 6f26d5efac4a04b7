//! The drop-in YAML that the Jobs read.

use std::collections::BTreeMap;

use crate::TLS_FOLDER;
use crate::state::UpgradeState;

/// How long the first Job after the stop waits at most for Milvus' sessions to end: their leases outlive the pods.
const SESSION_WAIT_S: u64 = 300;

/// How long a Job waits for sessions: it ends before the timeout of the step, to report which sessions are left.
pub(crate) fn session_wait(state: &UpgradeState) -> String {
    let within = state.timeout_s.map(|timeout| timeout * 3 / 4);
    let seconds = within.map_or(SESSION_WAIT_S, |within| within.min(SESSION_WAIT_S));
    format!("{seconds}s")
}

/// The files of the `ConfigMap`.
pub(crate) fn files(state: &UpgradeState) -> BTreeMap<String, String> {
    [
        ("backup", "backup"),
        ("migrate", "run"),
        ("rollback", "rollback"),
    ]
    .into_iter()
    .map(|(file, command)| (format!("{file}.yaml"), text(state, command)))
    .collect()
}

/// One file. Values are quoted as JSON, which is YAML: no value can become something else.
fn text(state: &UpgradeState, command: &str) -> String {
    let etcd = &state.etcd;
    let mut lines = vec![
        "cmd:".to_owned(),
        format!("  type: {command}"),
        "config:".to_owned(),
        format!("  sourceVersion: {}", quoted(&state.source_version)),
        format!("  targetVersion: {}", quoted(&state.target_version)),
        format!("  backupFilePath: {}", quoted(&state.backup_file)),
        format!("  acceptLoss: {}", state.policy.accept_loss),
    ];
    if command != "run" {
        lines.push(format!("  waitSessions: {}", session_wait(state)));
    }
    if state.skip_broken {
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
    use crate::state::TlsSecret;
    use crate::state::tests::example;

    #[test]
    fn a_job_waits_for_sessions_within_the_timeout() {
        let mut state = example();
        for (timeout, expected) in [(None, "300s"), (Some(900), "300s"), (Some(120), "90s")] {
            state.timeout_s = timeout;
            let line = format!("  waitSessions: {expected}\n");
            assert!(files(&state)["backup.yaml"].contains(&line), "{timeout:?}");
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
    fn the_state_decides_whether_broken_records_are_skipped() {
        let mut state = example();
        state.skip_broken = true;
        let text = &files(&state)["migrate.yaml"];
        assert!(
            text.contains("  onBrokenRecord: skip\nmetastore:"),
            "{text}"
        );
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
        let text = &files(&state)["rollback.yaml"];
        assert!(text.contains("  auth:\n    enabled: true\n"), "{text}");
        assert!(
            text.ends_with("  ssl:\n    enabled: true\n    tlsCACert: \"/milvus/tls/ca.crt\"\n"),
            "{text}"
        );
    }
}
