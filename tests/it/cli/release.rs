//! The files of a release: `scripts/package` packs a finished program, `scripts/release` builds it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::documents::Reader;
use super::instance::Instance;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn write_program(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A script represents the program, which is large. The SBOM is not part of the files.
#[tokio::test]
async fn release_files_install_as_documented() {
    let it = Instance::empty().await;
    let mut reader = Reader::new(&it);
    let program = reader.path("program");
    let real = env!("CARGO_BIN_EXE_meta-migration");
    write_program(&program, &format!("exec {real} \"$@\""));
    reader.run_extra(&format!(
        "{} ./program x86_64-unknown-linux-musl .",
        repository("scripts/package").display()
    ));
    reader
        .follow("docs/releases.md", Some("From a release"))
        .await;

    let archive = concat!("meta-migration-", env!("CARGO_PKG_VERSION"));
    let folder = reader.path(&format!("{archive}-x86_64-unknown-linux-musl"));
    for name in [
        "LICENSE",
        "completions/meta-migration.zsh",
        "man/meta-migration-migrate.1",
        "deploy/compose/meta-migration.yml",
    ] {
        let file = fs::metadata(folder.join(name)).unwrap();
        assert!(file.len() > 100, "{name}");
    }
    reader.run_extra(&format!(
        "tar -xf {archive}-image-x86_64-unknown-linux-musl.tar.gz"
    ));
    let context = fs::read_to_string(reader.path("Dockerfile")).unwrap();
    let dockerfile = fs::read_to_string(repository("Dockerfile")).unwrap();
    let (start, rest) = context.split_once("# The files of both images").unwrap();
    assert_eq!(start, "FROM scratch AS build\nCOPY out /out\n\n");
    assert!(dockerfile.ends_with(rest));
    for name in ["out/meta-migration", "out/ca-certificates.crt", "out/empty"] {
        assert!(reader.path(name).exists(), "{name}");
    }
}

/// Nothing is compiled before both requirements are checked.
#[test]
fn release_for_another_processor_requires_its_compiler() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["dirname", "tr", "uname"] {
        let line = format!("command -v {name}");
        let found = Command::new("sh").args(["-c", &line]).output().unwrap();
        let found = String::from_utf8(found.stdout).unwrap();
        symlink(found.trim(), folder.path().join(name)).unwrap();
    }
    write_program(
        &folder.path().join("rustc"),
        &format!("echo {}", folder.path().display()),
    );
    let release = |target: &str| {
        let output = Command::new(repository("scripts/release"))
            .env_clear()
            .env("PATH", folder.path())
            .env("TARGET", target)
            .env("CARGO", "false")
            .env("SOURCE_DATE_EPOCH", "0")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let target = "aarch64-unknown-linux-musl";
    let stderr = release(target);
    assert!(stderr.contains("rustup target add aarch64-unknown-linux-musl"));
    assert!(stderr.contains("aarch64-linux-musl-gcc is not on the PATH"));
    assert!(stderr.contains("CC_aarch64_unknown_linux_musl"));

    // With both, the build starts with that compiler as linker.
    fs::create_dir_all(folder.path().join("lib/rustlib").join(target)).unwrap();
    write_program(&folder.path().join("aarch64-linux-musl-gcc"), "");
    assert_eq!(release(target), "");
}
