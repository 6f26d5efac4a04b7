//! The image, without a container engine: the files of the Dockerfile in a folder that is the root
//! of a process.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::etcd::{own_root, shared};

/// An executed stage of the Dockerfile: files below a folder, and the image settings.
struct Image {
    root: tempfile::TempDir,
    variables: Vec<(String, String)>,
    user: String,
    command: Vec<String>,
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn dockerfile() -> String {
    let text = fs::read_to_string(repository("Dockerfile")).unwrap();
    text.replace("\\\n", "")
}

/// The instructions of a stage, preceded by those of its base stages.
fn instructions(stage: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut is_inside = false;
    for line in dockerfile().lines().filter(|line| !line.starts_with('#')) {
        let Some((name, rest)) = line.trim().split_once(' ') else {
            continue;
        };
        if name == "FROM" {
            let (base, this) = rest.split_once(" AS ").unwrap();
            is_inside = this == stage;
            if is_inside && base != "scratch" {
                found = instructions(base);
            }
        } else if is_inside {
            found.push((name.to_owned(), rest.to_owned()));
        }
    }
    found
}

impl Image {
    fn of(stage: &str) -> Self {
        let mut image = Self {
            root: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
            user: "0:0".to_owned(),
            command: Vec::new(),
        };
        // As in an engine, every user may enter the root.
        fs::set_permissions(image.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for (name, rest) in instructions(stage) {
            match name.as_str() {
                "COPY" => image.copy(&rest),
                "ENV" => image.variables = variables(&rest),
                "USER" => image.user = rest,
                "CMD" => image.command = serde_json::from_str(&rest).unwrap(),
                "LABEL" | "WORKDIR" => {}
                other => panic!("unknown: {other}"),
            }
        }
        image
    }

    fn copy(&mut self, words: &str) {
        let words: Vec<&str> = words.split(' ').collect();
        let [options @ .., source, target] = &words[..] else {
            panic!("{words:?}");
        };
        let target = self.root.path().join(target.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        match *source {
            "/out/meta-migration" => {
                self.install(Path::new(env!("CARGO_BIN_EXE_meta-migration")), &target);
            }
            // A shell of this machine replaces busybox.
            "/bin/busybox" => self.install(Path::new("/bin/sh"), &target),
            "/out/ca-certificates.crt" => fs::write(&target, "").unwrap(),
            "/out/empty" => fs::create_dir(&target).unwrap(),
            other => panic!("unknown: {other}"),
        }
        if options.contains(&"--chown=1000:1000") && is_root() {
            chown(target, Some(1000), Some(1000)).unwrap();
        }
    }

    /// Copies a program with its shared libraries. A release build has none.
    fn install(&self, program: &Path, target: &Path) {
        fs::copy(program, target).unwrap();
        let listed = Command::new("ldd").arg(program).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let libraries = listed
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        for library in libraries.map(PathBuf::from) {
            let copy = self.root.path().join(library.strip_prefix("/").unwrap());
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(library, copy).unwrap();
        }
    }

    fn path(&self) -> String {
        let mut variables = self.variables.iter();
        let (_, path) = variables.find(|(name, _)| name == "PATH").unwrap();
        path.clone()
    }

    /// Starts a program of the image as the image's user.
    fn run(&self, command: &[&str]) -> Output {
        let mut chroot = if is_root() {
            Command::new("chroot")
        } else {
            let mut unshare = Command::new("unshare");
            unshare.args(["--map-root-user", "chroot"]);
            unshare
        };
        if is_root() {
            chroot.arg(format!("--userspec={}", self.user));
        }
        chroot
            .arg(self.root.path())
            .args(command)
            .env_clear()
            .envs(self.variables.clone())
            // `chroot` itself is found on the test's PATH.
            .env("PATH", self.path() + ":" + &std::env::var("PATH").unwrap())
            .output()
            .unwrap()
    }
}

/// The variables of an `ENV` instruction.
fn variables(words: &str) -> Vec<(String, String)> {
    let pairs = words.split(' ').map(|word| word.split_once('=').unwrap());
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|file| std::os::unix::fs::MetadataExt::uid(&file) == 0)
}

#[track_caller]
fn expect(output: &Output, code: i32, text: &str) {
    let shown = [&output.stdout[..], &output.stderr].concat();
    let shown = String::from_utf8_lossy(&shown);
    assert_eq!(output.status.code(), Some(code), "{shown}");
    assert!(shown.contains(text), "{shown}");
}

/// The drop-in call of other programs.
fn drop_in(image: &Image) -> &'static str {
    let yaml = format!(
        "cmd.type: backup\nconfig: {{sourceVersion: 2.1.4, backupFilePath: /milvus/data/b.bak, \
         allowEphemeralBackup: true, allowEmpty: true}}\netcd: {{endpoints: [{}], rootPath: {}}}\n",
        shared().endpoint(),
        own_root(),
    );
    fs::write(image.root.path().join("milvus/data/backup.yaml"), yaml).unwrap();
    "-config=/milvus/data/backup.yaml"
}

#[test]
fn default_image_runs_commands_without_a_shell() {
    let image = Image::of("default");
    assert_eq!(image.user, "1000:1000");
    assert!(!image.root.path().join("bin").exists());
    let command: Vec<&str> = image.command.iter().map(String::as_str).collect();
    expect(&image.run(&command), 0, "Usage: meta-migration");
    let status = [
        "meta-migration",
        "status",
        "--endpoints",
        shared().endpoint(),
        "--allow-empty",
    ];
    expect(&image.run(&status), 0, "Layout: empty");
    let config = drop_in(&image);
    expect(
        &image.run(&["/milvus/bin/meta-migration", config]),
        0,
        "b.bak",
    );
}

#[test]
fn drop_in_image_runs_what_the_official_script_starts() {
    let image = Image::of("drop-in");
    assert_eq!(image.user, "0:0");
    let config = drop_in(&image);
    let script = format!("/milvus/bin/meta-migration {config}");
    expect(&image.run(&["/bin/sh", "-c", &script]), 0, "b.bak");
}

/// The image has no /tmp, and a packed etcd snapshot is unpacked to a temporary file.
#[test]
fn default_image_reads_a_packed_etcd_snapshot() {
    let image = Image::of("default");
    let snapshot = repository("testdata/backups/etcd-3.5.1.snapshot.db");
    let packed = Command::new("gzip").arg("-c").arg(snapshot).output();
    let packed = packed.unwrap().stdout;
    fs::write(image.root.path().join("backups/etcd.db.gz"), packed).unwrap();
    let check = [
        "meta-migration",
        "backup",
        "check",
        "--root-path=by-dev",
        "/backups/etcd.db.gz",
    ];
    expect(&image.run(&check), 0, "of by-dev/meta, layout 2.1");
}

/// Cargo writes the program of each processor to the same path.
#[test]
fn builds_for_several_processors_share_no_target_folder() {
    let file = dockerfile();
    let mounts = file.split("--mount=type=cache,").skip(1);
    let mounts: Vec<&str> = mounts.filter_map(|rest| rest.split(' ').next()).collect();
    let target = mounts.iter().find(|one| one.contains("=/source/target"));
    assert!(
        target
            .unwrap()
            .contains("id=meta-migration-$TARGETPLATFORM")
    );
    assert!(mounts.iter().all(|one| one.contains("sharing=locked")));
}

/// The version in texts that a release must update together.
#[test]
fn image_tags_have_the_version_of_the_program() {
    let tag = concat!("meta-migration:", env!("CARGO_PKG_VERSION"));
    for name in [
        "Dockerfile",
        "docker-bake.hcl",
        "deploy/compose/meta-migration.yml",
        "docs/compose.md",
        "docs/kubernetes.md",
        "docs/usage.md",
    ] {
        let text = fs::read_to_string(repository(name)).unwrap();
        assert!(text.contains(tag), "{name}");
    }
    let label = concat!("image.version=\"", env!("CARGO_PKG_VERSION"), "\"");
    assert!(dockerfile().contains(label));
}
