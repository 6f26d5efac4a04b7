//! The real program in a root of image layers, as in a container: a chroot on an overlay over the
//! root of this machine.

use std::path::Path;
use std::process::{Command, Stdio};

use super::instance::Instance;
use super::tool::{Ended, Tool};

/// Mounts an overlay on the machine's root, binds `$VOLUME` to `/volume`, changes the root and runs
/// the program in `/scratch`, a folder that exists only in the overlay.
const IN_CONTAINER: &str = r#"
mount -t tmpfs layers "$BASE"
mkdir "$BASE/upper" "$BASE/work" "$BASE/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$BASE/upper,workdir=$BASE/work" "$BASE/root"
cd "$BASE/root"
mkdir -p volume scratch ram proc dev
mount --bind "$VOLUME" volume
mount --rbind /proc proc
mount --rbind /dev dev
mount -t tmpfs ram ram
mkdir -p ".$(dirname "$PROGRAM")"
mount --bind "$(dirname "$PROGRAM")" ".$(dirname "$PROGRAM")"
exec chroot . sh -c 'cd /scratch && exec "$@"' sh "$PROGRAM" "$@"
"#;

/// Runs the program in the container; files in `/volume` persist.
fn run(tool: &Tool, volume: &Path, arguments: &[&str]) -> Ended {
    let base = tempfile::tempdir().unwrap();
    let inner = tool.command(arguments);
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-ec",
            IN_CONTAINER,
            "sh",
        ])
        .args(arguments)
        .env_clear()
        .envs(
            inner
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env_remove("META_MIGRATION_ALLOW_EPHEMERAL_BACKUP")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("BASE", base.path())
        .env("VOLUME", volume)
        .env("PROGRAM", env!("CARGO_BIN_EXE_meta-migration"))
        .stdin(Stdio::null());
    Ended::of(&mut command)
}

/// Fails unless the tests run as root, which mounting requires.
fn require_mounts() {
    let status = Command::new("unshare").args(["--mount", "true"]).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "this test mounts an overlay, which needs root: run sudo -E env PATH=\"$PATH\" cargo test --test it \
         ephemeral"
    );
}

const REFUSED: &str = "that folder is part of the container and is deleted with it";

#[tokio::test]
async fn a_backup_in_a_container_layer_is_rejected() {
    require_mounts();
    let it = Instance::small().await;
    let tool = it.tool();
    let volume = tempfile::tempdir().unwrap();
    let before = it.dump().await;
    let migrate = ["migrate", "--target-version", "2.2.16"];
    for (arguments, mount) in [
        (
            &["backup", "--backup-file", "/scratch/b.mmb"][..],
            ":/scratch ...",
        ),
        (&["backup", "--backup-file", "b.mmb"], ":/scratch ..."),
        (&["backup"], ":/scratch ..."),
        (&["backup", "--backup-file", "/b.mmb"], ":/backups ..."),
        (
            &[&migrate[..], &["--backup-file", "b.mmb"]].concat(),
            ":/scratch ...",
        ),
        (&migrate, ":/scratch ..."),
    ] {
        run(&tool, volume.path(), arguments)
            .expect(3)
            .says(REFUSED)
            .says(&format!("docker run -v \"$PWD/backups\"{mount}"))
            .says("volumeMounts:")
            .says("--allow-ephemeral-backup")
            .says("nothing was changed in etcd");
    }
    run(
        &tool,
        volume.path(),
        &["backup", "--backup-file", "/ram/b.mmb"],
    )
    .expect(3)
    .says("in the container's memory");
    assert_eq!(it.dump().await, before);
    let kept = ["backup", "--backup-file", "/volume/b.mmb"];
    let ended = run(&tool, volume.path(), &kept);
    assert!(
        !ended.expect(0).stderr.contains("docker cp"),
        "{}",
        ended.stderr
    );
    assert!(volume.path().join("b.mmb").is_file());
    let allowed = [
        "backup",
        "--backup-file",
        "b.mmb",
        "--allow-ephemeral-backup",
    ];
    run(&tool, volume.path(), &allowed)
        .expect(0)
        .says("copy it out before the container is removed");
}

/// The official recipe for Docker Compose: only the YAML file is mounted.
#[tokio::test]
async fn the_drop_in_rejects_a_container_layer() {
    require_mounts();
    let it = Instance::small().await;
    let tool = it.tool();
    let volume = tempfile::tempdir().unwrap();
    let yaml = |extra: &str| {
        let text = format!(
            "{}cmd: {{type: run, runWithBackup: true}}\nconfig:\n  sourceVersion: 2.1.4\n  \
             targetVersion: 2.2.16\n  backupFilePath: /tmp/migration.bak\n{extra}",
            it.yaml()
        );
        std::fs::write(volume.path().join("migration.yaml"), text).unwrap();
    };
    let before = it.dump().await;
    yaml("");
    let arguments = ["-config=/volume/migration.yaml"];
    run(&tool, volume.path(), &arguments)
        .expect(3)
        .says(REFUSED)
        .says("config.allowEphemeralBackup: true");
    assert_eq!(it.dump().await, before);
    yaml("  allowEphemeralBackup: true\n");
    run(&tool, volume.path(), &arguments)
        .expect(0)
        .says("copy it out before the container is removed");
    // A migrated instance needs no backup.
    yaml("");
    run(&tool, volume.path(), &arguments).expect(0);
}
