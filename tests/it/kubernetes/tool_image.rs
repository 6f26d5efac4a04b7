//! The project's image in place of the official one: in the pods of `migrate.sh`, and as the
//! `toolImage` of a `MilvusUpgrade`.

use serde_json::{Value, json};

use super::DUMP;
use crate::support::kubernetes::Bed;
use crate::support::kubernetes::behaviour::TOOL_IMAGE;

/// A configuration file; each caller writes `endpoints` in its own form.
fn file(bed: &Bed, command: &str, endpoints: &str) -> String {
    format!(
        "cmd:\n  # Option: run/backup/rollback\n  type: {command}\n\nconfig:\n  sourceVersion: 2.1.4\n  \
         targetVersion: 2.2.16\n  backupFilePath: /milvus/data/migration.bak\nmetastore:\n  type: etcd\n\
         etcd:\n{endpoints}  rootPath: {}\n  metaSubPath: meta\n  kvSubPath: kv\n",
        bed.root
    )
}

async fn volume(bed: &Bed, name: &str) {
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}},
        },
    });
    bed.create("persistentvolumeclaims", &claim).await;
}

/// Runs a pod until it ends; returns its exit code and its log.
async fn run(bed: &Bed, name: &str, container: Value, volumes: Value) -> (i64, String) {
    let mut container = container;
    container["name"] = json!("meta-migration");
    container["image"] = json!(TOOL_IMAGE);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [container], "volumes": volumes},
    });
    bed.create("pods", &pod).await;
    let code = bed.wait_for_pod(name).await;
    (code, bed.log(name, "").await)
}

#[tokio::test]
async fn the_pods_of_the_official_script_run_our_image() {
    let bed = Bed::new("my-release").await;
    bed.metadata.load(DUMP).await;
    let before = bed.metadata.dump().await;
    let endpoints = "  endpoints:\n    - my-release-etcd:2379\n";
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "milvus-meta-migration-config-my-release"},
        "data": {
            "backup.yaml": file(&bed, "backup", endpoints),
            "migration.yaml": file(&bed, "run", endpoints),
            "rollback.yaml": file(&bed, "rollback", endpoints),
        },
    });
    bed.create("configmaps", &config).await;
    volume(&bed, "milvus-meta-migration-backup-my-release").await;
    let step = async |pod: &str, file: &str| {
        let line = format!("/milvus/bin/meta-migration -config=/milvus/configs/meta/{file}");
        let container = json!({
            "command": ["/bin/sh"], "args": ["-c", line],
            "volumeMounts": [
                {"name": "backup", "mountPath": "/milvus/data"},
                {"name": "config", "mountPath": "/milvus/configs/meta"},
            ],
        });
        let volumes = json!([
            {"name": "backup", "persistentVolumeClaim": {
                "claimName": "milvus-meta-migration-backup-my-release",
            }},
            {"name": "config", "configMap": {"name": "milvus-meta-migration-config-my-release"}},
        ]);
        let (code, log) = run(&bed, pod, container, volumes).await;
        assert_eq!(code, 0, "{log}");
        log
    };
    let log = step("milvus-meta-migration-backup-my-release", "backup.yaml").await;
    assert!(log.contains("/milvus/data/migration.bak"), "{log}");
    assert!(bed.metadata.dump().await == before);
    step("milvus-meta-migration-my-release", "migration.yaml").await;
    assert_eq!(bed.metadata.layout().await.name(), "2.2");
    step("milvus-meta-migration-rollback-my-release", "rollback.yaml").await;
    assert!(
        bed.metadata.dump().await == before,
        "not every byte was restored"
    );
    bed.assert_no_breach();
}

#[tokio::test]
async fn the_pods_of_a_milvus_upgrade_run_our_image() {
    let bed = Bed::new("mine").await;
    bed.metadata.load(DUMP).await;
    let before = bed.metadata.dump().await;
    // The key is repeated for each member.
    let endpoints: String = (0..3)
        .map(|member| {
            let host = format!("mine-etcd-{member}.mine-etcd-headless.{}", bed.namespace);
            format!("  endpoints:\n    - {host}:2379\n")
        })
        .collect();
    volume(&bed, "upgrade").await;
    let step = async |task: &str, command: &str| {
        let name = format!("upgrade-{task}");
        let config = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
            "data": {"migration.yaml": file(&bed, command, &endpoints)},
        });
        bed.create("configmaps", &config).await;
        let container = json!({
            "command": [
                "/milvus/bin/meta-migration", "-config", "/milvus/configs/migration.yaml",
            ],
            "volumeMounts": [
                {"name": "backup", "mountPath": "/milvus/data"},
                {
                    "name": "config", "mountPath": "/milvus/configs/migration.yaml",
                    "subPath": "migration.yaml",
                },
            ],
        });
        let volumes = json!([
            {"name": "backup", "persistentVolumeClaim": {"claimName": "upgrade"}},
            {"name": "config", "configMap": {"name": name}},
        ]);
        let (code, log) = run(&bed, &name, container, volumes).await;
        assert_eq!(code, 0, "{log}");
    };
    step("backup-meta", "backup").await;
    assert!(bed.metadata.dump().await == before);
    step("update-meta", "run").await;
    assert_eq!(bed.metadata.layout().await.name(), "2.2");
    step("rollback-meta", "rollback").await;
    assert!(
        bed.metadata.dump().await == before,
        "not every byte was restored"
    );
    bed.assert_no_breach();
}
