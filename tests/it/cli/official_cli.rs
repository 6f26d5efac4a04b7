//! The command line of the official tool, with the files that its callers write.

use std::process::Command;
use std::time::Duration;

use super::instance::Instance;
use super::tool::{Ended, Tool};

/// The file that `migrate.sh` writes: no `runWithBackup`, one address, fixed sub-paths.
fn script_yaml(it: &Instance, tool: &Tool, command: &str) -> String {
    let backup = tool.path().join("migration.bak");
    let yaml = format!(
        "cmd:\n  type: {command}\nconfig:\n  sourceVersion: 2.1.4\n  targetVersion: 2.2.0\n  \
         backupFilePath: {}\n{}",
        backup.display(),
        it.yaml()
    );
    let path = tool.file(&format!("{command}.yaml"), &yaml);
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn migrate_sh_backs_up_runs_and_rolls_back() {
    let it = Instance::sample().await;
    let before = it.metadata().await;
    let tool = it.tool();
    let shell = |yaml: String| {
        let line = format!("{} -config={yaml}", env!("CARGO_BIN_EXE_meta-migration"));
        let mut command = Command::new("/bin/sh");
        command
            .env_clear()
            .current_dir(tool.path())
            .args(["-c", &line]);
        Ended::of(&mut command)
    };
    shell(script_yaml(&it, &tool, "backup"))
        .expect(0)
        .shows("migration.bak");
    shell(script_yaml(&it, &tool, "run"))
        .expect(0)
        .shows("Migrated")
        .shows("migration.bak (160 entries")
        .shows("split form")
        .shows("start Milvus 2.2.0");
    shell(script_yaml(&it, &tool, "run"))
        .expect(0)
        .shows("Already migrated");
    assert_ne!(it.metadata().await, before);
    shell(script_yaml(&it, &tool, "rollback"))
        .expect(0)
        .shows("start Milvus 2.1.4");
    assert_eq!(it.metadata().await, before);
    // The official tool fails here; a repeated rollback should have the same result.
    shell(script_yaml(&it, &tool, "rollback"))
        .expect(0)
        .shows("No changes");
}

#[tokio::test]
async fn the_milvus_operator_call_is_accepted() {
    let it = Instance::small().await;
    let tool = it.tool();
    let backup = tool.path().join("migration.bak");
    let yaml = format!(
        "cmd:\n  # Option: run/backup/rollback\n  type: run\nconfig:\n  sourceVersion: 2.1.4\n  \
         targetVersion: 2.2.9\n  backupFilePath: {}\nmetastore:\n  type: etcd\netcd:\n  endpoints:\n    \
         - 127.0.0.1:1\n  endpoints:\n    - {}\n  rootPath: {}\n  metaSubPath: meta\n  kvSubPath: kv\n",
        backup.display(),
        it.endpoint(),
        it.root.root_path()
    );
    let path = tool.file("upgrade.yaml", &yaml);
    let mut command = Command::new(env!("CARGO_BIN_EXE_meta-migration"));
    command
        .env_clear()
        .current_dir(tool.path())
        .arg("-config")
        .arg(path);
    Ended::of(&mut command).expect(0).shows("database form");
    assert!(backup.is_file());
}

#[tokio::test]
async fn d6_a_run_has_a_backup_unless_it_is_declined() {
    for (word, path, made) in [
        ("", "", true),
        ("runWithBackup: true", "b.bak", true),
        ("runWithBackup: false", "b.bak", true),
        ("runWithBackup: false", "", false),
    ] {
        let it = Instance::small().await;
        let tool = it.tool();
        let path = if path.is_empty() {
            String::new()
        } else {
            format!("  backupFilePath: {path}\n")
        };
        let yaml = format!(
            "cmd:\n  type: run\n  {word}\nconfig:\n  sourceVersion: 2.1.4\n  targetVersion: 2.2.0\n{path}{}",
            it.yaml()
        );
        let file = tool.file("m.yaml", &yaml);
        let ended = tool.run(&["-config", file.to_str().unwrap(), "--format", "json"]);
        ended.expect(0);
        assert_eq!(
            ended.document()["backup"].is_object(),
            made,
            "{word} {path}"
        );
    }
}

#[tokio::test]
async fn d7_exit_codes_report_what_was_changed() {
    let it = Instance::small().await;
    let tool = it.tool();
    let yaml = script_yaml(&it, &tool, "run");
    it.put("root-coord/collection/55", b"\xff\xff").await;
    let before = it.dump().await;
    tool.run(&["-config", &yaml])
        .expect(4)
        .says("nothing was changed in etcd");
    assert_eq!(it.dump().await, before);
    tool.run(&["-config", "/no/such.yaml"]).expect(2);
    tool.run(&["-confog", &yaml]).expect(2);
}

#[tokio::test]
async fn d3_swapped_or_wrong_versions_never_reach_etcd() {
    let it = Instance::small().await;
    let before = it.dump().await;
    let tool = it.tool();
    for (source, target) in [("2.2.0", "2.1.4"), ("2.2.0", "2.2.3")] {
        for command in ["rollback", "run"] {
            let yaml = format!(
                "cmd.type: {command}\nconfig:\n  sourceVersion: {source}\n  targetVersion: {target}\n  \
                 backupFilePath: b\n{}",
                it.yaml()
            );
            let file = tool.file("m.yaml", &yaml);
            tool.run(&["-config", file.to_str().unwrap()])
                .expect(2)
                .says("source")
                .says("nothing was changed");
        }
    }
    // Independent of the versions, nothing is done without a backup.
    let yaml = script_yaml(&it, &tool, "rollback");
    tool.run(&["-config", &yaml])
        .expect(1)
        .says("migration.bak")
        .says("nothing was changed in etcd");
    assert_eq!(it.dump().await, before);
}

#[tokio::test]
async fn d8_a_run_after_a_failed_one_keeps_the_backup() {
    let it = Instance::small().await;
    let tool = it.tool();
    tool.run(&["-config", &script_yaml(&it, &tool, "backup")])
        .expect(0);
    let good = std::fs::read(tool.path().join("migration.bak")).unwrap();
    it.put("datacoord-meta/new", b"written in between").await;
    let saved = it.metadata().await;
    tool.run(&["-config", &script_yaml(&it, &tool, "run")])
        .expect(0);
    assert_eq!(
        std::fs::read(tool.path().join("migration.bak")).unwrap(),
        good
    );
    // The rollback uses the backup of the run, not the older file named in the YAML.
    tool.run(&["-config", &script_yaml(&it, &tool, "rollback")])
        .expect(0);
    assert_eq!(it.metadata().await, saved);
}

#[tokio::test]
async fn sessions_of_stopped_components_are_awaited() {
    let it = Instance::small().await;
    it.register("datanode-3", Duration::from_secs(2)).await;
    let tool = it.tool();
    let yaml = script_yaml(&it, &tool, "run");
    tool.run(&["-config", &yaml])
        .expect(0)
        .says("waiting up to 90 s")
        .says("datanode-3");
}

#[tokio::test]
async fn rollback_keeps_2_2_writes_unless_accepted() {
    let it = Instance::small().await;
    let before = it.metadata().await;
    let tool = it.tool();
    tool.run(&["-config", &script_yaml(&it, &tool, "run")])
        .expect(0);
    it.put("root-coord/fields/77/1", b"written by 2.2").await;
    let yaml = script_yaml(&it, &tool, "rollback");
    tool.run(&["-config", &yaml])
        .expect(3)
        .says("--accept-loss");
    let text = std::fs::read_to_string(&yaml).unwrap();
    let accepting = tool.file("accept.yaml", &format!("{text}config.acceptLoss: true\n"));
    tool.run(&["-config", accepting.to_str().unwrap()])
        .expect(0);
    assert_eq!(it.metadata().await, before);
}

#[test]
fn a_target_below_2_2_0_needs_no_etcd() {
    let tool = Tool::new();
    let file = tool.file(
        "m.yaml",
        "cmd.type: run\nconfig: {sourceVersion: 2.1.0, targetVersion: 2.1.4}\netcd.endpoints: 127.0.0.1:1\n",
    );
    tool.run(&["-config", file.to_str().unwrap()])
        .expect(0)
        .shows("Nothing to do");
}

#[test]
fn d25_an_embedded_etcd_is_refused_with_a_message() {
    let tool = Tool::new();
    let file = tool.file("m.yaml", "cmd.type: run\netcd.use.embed: true\n");
    tool.run(&["-config", file.to_str().unwrap()])
        .expect(2)
        .says("etcd.use.embed");
}

#[tokio::test]
async fn a_repeated_rollback_keeps_later_2_1_writes() {
    let it = Instance::small().await;
    let tool = it.tool();
    let rollback = script_yaml(&it, &tool, "rollback");
    tool.run(&["-config", &script_yaml(&it, &tool, "run")])
        .expect(0);
    tool.run(&["-config", &rollback]).expect(0);
    it.put("datacoord-meta/s/1/2/3", b"a new segment").await;
    let before = it.dump().await;
    tool.run(&["-config", &rollback])
        .expect(3)
        .says("no migration is recorded here")
        .says("--accept-loss");
    assert_eq!(it.dump().await, before);
}

#[tokio::test]
async fn write_options_apply_from_flags_and_environment() {
    for from_flag in [true, false] {
        let it = Instance::small().await;
        let mut tool = it.tool();
        let yaml = script_yaml(&it, &tool, "run");
        let mut arguments = vec!["-config", &yaml];
        if from_flag {
            arguments.extend(["--collection-form", "embedded"]);
        } else {
            tool = tool.env("META_MIGRATION_COLLECTION_FORM", "embedded");
        }
        tool.run(&arguments).expect(0).shows("embedded form");
    }
}

#[tokio::test]
async fn a_backup_flag_overrides_the_recorded_backup() {
    let it = Instance::small().await;
    let before = it.metadata().await;
    let tool = it.tool();
    tool.run(&["-config", &script_yaml(&it, &tool, "run")])
        .expect(0);
    let (recorded, copy) = (tool.path().join("migration.bak"), tool.path().join("copy"));
    std::fs::rename(&recorded, &copy).unwrap();
    std::fs::write(&recorded, "damaged").unwrap();
    let rollback = script_yaml(&it, &tool, "rollback");
    tool.run(&["-config", &rollback]).expect(1);
    tool.run(&[
        "-config",
        &rollback,
        "--backup-file",
        copy.to_str().unwrap(),
    ])
    .expect(0);
    assert_eq!(it.metadata().await, before);
}

#[tokio::test]
async fn extra_arguments_are_ignored_with_a_warning() {
    let it = Instance::small().await;
    let tool = it.tool();
    let yaml = script_yaml(&it, &tool, "backup");
    tool.run(&["-config", &yaml, "foo"])
        .expect(0)
        .says("ignored: foo");
}
