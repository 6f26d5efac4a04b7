//! Records the commit that is built, where it is known: `META_MIGRATION_COMMIT`, else what git says. A build
//! without git works.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=META_MIGRATION_COMMIT");
    let commit = std::env::var("META_MIGRATION_COMMIT").ok().or_else(|| {
        let head = git(&["rev-parse", "--git-path", "HEAD"])?;
        println!("cargo:rerun-if-changed={head}");
        // In a release build the commit is exact; builds while working are not repeated for each commit.
        let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
        let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
        if is_release && Path::new(&log).is_file() {
            println!("cargo:rerun-if-changed={log}");
        }
        git(&["rev-parse", "--short=12", "HEAD"])
    });
    let commit = commit.filter(|commit| !commit.is_empty());
    let commit = commit.unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=META_MIGRATION_COMMIT={commit}");
}

/// What git says, if it is there and this is a checkout of this project: a package built inside another
/// repository has none.
fn git(arguments: &[&str]) -> Option<String> {
    let folder = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    let is_checkout = Path::new(&folder).join(".git").exists();
    let mut git = Command::new("git");
    let output = git.args(arguments).current_dir(&folder).output();
    let output = output
        .ok()
        .filter(|output| is_checkout && output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
