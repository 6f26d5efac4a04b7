//! The files in `deploy/` work.

use serde_json::{Value, json};

use super::{NEW_IMAGE, Scenario};
use crate::support::kubernetes::behaviour::TOOL_IMAGE;
use crate::support::kubernetes::helm::{Helm, OLD_IMAGE};
use crate::support::kubernetes::{Bed, Ended, deployed, documents, plural};

/// The image in the files.
const IMAGE: &str = concat!("meta-migration:", env!("CARGO_PKG_VERSION"));

/// A file of `deploy/` with the image and the root path of this test.
fn text_of(name: &str, bed: &Bed) -> String {
    let text = std::fs::read_to_string(deployed(name)).unwrap();
    assert!(text.contains("meta-migration"), "{name}");
    text.replace(IMAGE, TOOL_IMAGE)
        .replace("rootPath: by-dev", &format!("rootPath: {}", bed.root))
}

/// Lists the members of `wanted` missing from `found`: an older server silently drops unknown
/// fields.
fn collect_missing(wanted: &Value, found: &Value, path: &str, missing: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (key, value) in wanted {
                let path = format!("{path}.{key}");
                collect_missing(
                    value,
                    found.get(key).unwrap_or(&Value::Null),
                    &path,
                    missing,
                );
            }
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            for (index, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                collect_missing(wanted, found, &format!("{path}[{index}]"), missing);
            }
        }
        (wanted, found) if wanted == found => {}
        (wanted, found) => missing.push(format!("{path}: {wanted} became {found}")),
    }
}

/// Fails unless the server accepts an object with all its fields.
async fn accept(bed: &Bed, object: &Value, place: &str) {
    let collection = format!("{}?dryRun=All", bed.path(plural(object)));
    let made = bed.admin.create(&collection, object).await;
    let mut missing = Vec::new();
    collect_missing(object, &made, place, &mut missing);
    assert!(missing.is_empty(), "{missing:#?}");
}

#[tokio::test]
async fn every_manifest_in_deploy_is_accepted() {
    let bed = Bed::new("my-release").await;
    let folder = deployed(".");
    let mut kinds = Vec::new();
    for item in std::fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        for object in documents(&std::fs::read_to_string(&path).unwrap()) {
            if object["kind"] == "Kustomization" {
                continue;
            }
            accept(&bed, &object, &name).await;
            kinds.push(object["kind"].as_str().unwrap().to_owned());
        }
    }
    for kind in ["Role", "RoleBinding", "ServiceAccount", "Job", "ConfigMap"] {
        assert!(kinds.iter().any(|one| one == kind), "{kind} is missing");
    }
}

/// The overlay in the comment of the base, without its patch, which kubectl 1.20 does not support. That
/// version also distinguishes `bases` from `resources`.
#[tokio::test]
async fn the_kustomize_overlay_sets_namespace_and_image() {
    let bed = Bed::new("my-release").await;
    let base = std::fs::read_to_string(deployed("kustomization.yaml")).unwrap();
    let lines = base.lines().filter_map(|line| line.strip_prefix("#   "));
    let lines: Vec<&str> = lines.take_while(|line| *line != "patches:").collect();
    let overlay = lines.join("\n");
    assert!(overlay.contains("resources: [deploy]"), "{overlay}");
    let overlay = overlay.replace("resources:", "bases:").replace(
        "namespace: milvus",
        &format!("namespace: {}", bed.namespace),
    );
    let folder = deployed(".");
    let render = format!(
        "mkdir overlay && cp -r {} overlay/deploy && cat > overlay/kustomization.yaml <<'END' && \
         kubectl kustomize overlay\n{overlay}\nEND",
        folder.display()
    );
    let rendered = bed.run_shell(&render).await;
    rendered.expect(0);
    let objects = documents(&rendered.stdout);
    for object in &objects {
        accept(&bed, object, "overlay").await;
    }
    let find = |kind: &str| objects.iter().find(|one| one["kind"] == kind).unwrap();
    let subject = &find("RoleBinding")["subjects"][0];
    assert_eq!(subject["namespace"], json!(bed.namespace));
    let container = &find("Job")["spec"]["template"]["spec"]["containers"][0];
    let image = format!("registry.example.com/{IMAGE}");
    assert_eq!(container["image"], json!(image));
    assert_eq!(objects.len(), 4);
}

#[tokio::test]
async fn the_manual_jobs_migrate_and_roll_back() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    let scale = |count: u32| json!({"spec": {"replicas": count}});
    let milvus = "my-release-milvus-standalone";
    bed.merge("deployments", milvus, &scale(0)).await;
    bed.wait_until_settled().await;
    bed.apply(&text_of("by-hand.yaml", bed)).await;
    assert!(bed.wait_for_job("meta-migration-by-hand-migrate").await);
    assert_eq!(bed.metadata.layout().await.name(), "2.2");

    bed.apply(&text_of("by-hand-rollback.yaml", bed)).await;
    assert!(bed.wait_for_job("meta-migration-by-hand-rollback").await);
    scenario.assert_untouched().await;
    bed.merge("deployments", milvus, &scale(1)).await;
    scenario.assert_runs(OLD_IMAGE).await;
}

/// Follows the steps in the header of a file: deletes the previous Job, then applies everything.
async fn follow(bed: &Bed, file: &str, job: &str) -> bool {
    let text = text_of(file, bed);
    let step = format!("kubectl delete job {job} --ignore-not-found --cascade=foreground");
    assert!(text.contains(&step), "{file} does not say: {step}");
    bed.delete("jobs", job).await;
    bed.wait("the Job to go", async || {
        bed.get("jobs", job).await.is_none().then_some(())
    })
    .await;
    for object in documents(&text) {
        let name = object["metadata"]["name"].as_str().unwrap();
        if bed.get(plural(&object), name).await.is_none() {
            bed.create(plural(&object), &object).await;
        }
    }
    bed.wait_for_job(job).await
}

#[tokio::test]
async fn the_manual_jobs_work_a_second_time() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    let milvus = "my-release-milvus-standalone";
    bed.merge("deployments", milvus, &json!({"spec": {"replicas": 0}}))
        .await;
    bed.wait_until_settled().await;
    for _ in 0..2 {
        assert!(follow(bed, "by-hand.yaml", "meta-migration-by-hand-migrate").await);
        assert_eq!(bed.metadata.layout().await.name(), "2.2");
        let rollback = "meta-migration-by-hand-rollback";
        assert!(follow(bed, "by-hand-rollback.yaml", rollback).await);
        scenario.assert_untouched().await;
    }
    bed.assert_no_breach();
}

/// Runs `migrate.sh` with the flags of the official script.
async fn migrate_sh(scenario: &Scenario, more: &[&str]) -> Ended {
    let mut words = vec![
        "-i",
        "my-release",
        "-n",
        &scenario.bed.namespace,
        "-s",
        "2.1.4",
        "-t",
        "2.2.16",
        "-r",
        &scenario.bed.root,
        "-w",
        NEW_IMAGE,
        "-m",
        TOOL_IMAGE,
    ];
    words.extend_from_slice(more);
    scenario.bed.run_script("migrate.sh", &words).await
}

/// The remaining Jobs and ConfigMaps of the tool.
async fn left_over(scenario: &Scenario) -> Vec<String> {
    let mut names = Vec::new();
    for plural in ["jobs", "configmaps"] {
        for object in scenario.bed.list(plural).await {
            let name = object["metadata"]["name"].as_str().unwrap();
            if name.starts_with("meta-migration-") {
                names.push(name.to_owned());
            }
        }
    }
    names
}

#[tokio::test]
async fn w14_w23_migrate_sh_cleanup_keeps_the_backup() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    let address = "my-release-etcd:2379";
    let more = ["-o", "migrate", "-e", address, "-c", "fast", "-d", "false"];
    migrate_sh(&scenario, &more).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
    let left = left_over(&scenario).await;
    for kept in ["-backup-", "-config-", "-state-"] {
        assert!(
            left.iter().any(|name| name.contains(kept)),
            "-d false keeps {kept}: {left:?}"
        );
    }

    migrate_sh(&scenario, &["-o", "rollback", "-d", "true"])
        .await
        .expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;

    // In the official script a trailing -d was an error.
    migrate_sh(&scenario, &["-d"]).await.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
    let left = left_over(&scenario).await;
    let saved_state = "meta-migration-state-my-release";
    assert!(left.iter().any(|name| name == saved_state), "{left:?}");
    let claim = "meta-migration-backup-my-release";
    let claim = bed.get("persistentvolumeclaims", claim).await.unwrap();
    // This needed no right to list storage classes.
    assert_eq!(claim["spec"]["storageClassName"], "fast");
    migrate_sh(&scenario, &["-o", "rollback"]).await.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn w10_a_wrong_flag_or_operation_changes_nothing() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    for wrong in [["-o", "sideways"], ["-z", "1"], ["-d", "perhaps"]] {
        migrate_sh(&scenario, &wrong).await.expect(2);
    }
    assert!(left_over(&scenario).await.is_empty());
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn the_orchestrator_job_runs_with_its_service_account() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    bed.apply(&text_of("rbac.yaml", bed)).await;
    bed.apply(&text_of("orchestrator-job.yaml", bed)).await;
    let succeeded = bed.wait_for_job("meta-migration-upgrade").await;
    let mut log = String::new();
    for pod in bed.list("pods").await {
        if pod["metadata"]["labels"]["job-name"] == "meta-migration-upgrade" {
            log = bed.log(pod["metadata"]["name"].as_str().unwrap(), "").await;
        }
    }
    assert!(succeeded, "{log}");
    assert!(log.contains("upgraded"), "{log}");
    scenario.assert_runs(NEW_IMAGE).await;
}
