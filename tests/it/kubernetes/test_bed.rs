//! The properties of the test bed that the scenarios rely on.

use std::fs::{File, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::kubernetes::helm::Helm;
use crate::support::kubernetes::{Bed, tool_job};

#[tokio::test]
async fn a_deployment_gets_ready_and_its_session_ends_with_it() {
    let bed = Bed::new("my-release").await;
    let helm = Helm::standalone("my-release");
    helm.install(&bed).await;
    bed.wait_until_settled().await;
    assert_eq!(bed.metadata.session_keys().await.len(), 8);
    let name = helm.deployment("standalone");
    bed.merge("deployments", &name, &json!({"spec": {"replicas": 0}}))
        .await;
    bed.wait_until_settled().await;
    assert!(bed.metadata.session_keys().await.is_empty());
    bed.assert_no_breach();
}

#[tokio::test]
async fn a_job_runs_the_program_and_its_log_is_readable() {
    let bed = Bed::new("my-release").await;
    bed.metadata.load("base/in.jsonl").await;
    let arguments = [
        "status",
        "--endpoints",
        "my-release-etcd:2379",
        "--root-path",
        &bed.root,
    ];
    bed.create("jobs", &tool_job("works", &arguments)).await;
    bed.create("jobs", &tool_job("fails", &["no-such-command"]))
        .await;
    let done = |name| {
        let bed = &bed;
        async move {
            let conditions = bed.get("jobs", name).await.unwrap()["status"]["conditions"].take();
            conditions[0]["type"].as_str().map(str::to_owned)
        }
    };
    let works = bed
        .wait("the Job that works", async || done("works").await)
        .await;
    assert_eq!(works, "Complete");
    let fails = bed
        .wait("the Job that fails", async || done("fails").await)
        .await;
    assert_eq!(fails, "Failed");
    for pod in bed.list("pods").await {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let log = bed.log(name, "?follow=true&container=tool").await;
        let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
        if name.starts_with("works") {
            assert!(log.contains("2.1"), "{log}");
            assert_eq!(ended["exitCode"], 0);
        } else {
            assert!(log.contains("no-such-command"), "{log}");
            assert_eq!(ended["exitCode"], 2);
            let last_line = bed.log(name, "?tailLines=1").await;
            assert_eq!(last_line.lines().count(), 1);
        }
    }
}

/// Writes a program that prints the version of an etcd.
fn stub(path: &Path) {
    std::fs::write(path, "#!/bin/sh\necho 'etcd Version: 3.5.1'\n").unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_build_script_waits_for_another_builder() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kubernetes");
    let text = std::fs::read_to_string(&script).unwrap();
    let mut lines = text.lines();
    let version = lines
        .find_map(|line| line.strip_prefix("VERSION="))
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join("programs");
    std::fs::create_dir(&programs).unwrap();
    for name in ["apt-get", "dpkg-deb", "dpkg-source", "etcd"] {
        stub(&programs.join(name));
    }
    let lock = File::create(folder.path().join("kubernetes.lock")).unwrap();
    lock.lock().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut child = Command::new("sh")
        .arg(&script)
        .env_remove("KUBEBUILDER_ASSETS")
        .env("META_MIGRATION_CACHE", folder.path())
        .env("ETCD_BIN", programs.join("etcd"))
        .env("PATH", path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = said.next().unwrap().unwrap();
    assert!(first.contains("waiting for another process"), "{first}");
    let assets = folder.path().join(format!("kubernetes-{version}"));
    std::fs::create_dir(&assets).unwrap();
    for name in [
        "kube-apiserver",
        "kube-controller-manager",
        "kubectl",
        "etcd",
    ] {
        stub(&assets.join(name));
    }
    lock.unlock().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.trim_end(), assets.to_str().unwrap());
}
