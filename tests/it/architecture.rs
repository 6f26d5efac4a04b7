//! Which room may know which, read off the source: the arrows of ARCHITECTURE.md, held by a test.
//!
//! A room is a top-level module with everything below it. Test code does not count.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room with the rooms that it may name. What is not listed here does not compile past this test.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("lib", &[]),
    ("entry", &["keys"]),
    ("finding", &["entry"]),
    ("keys", &["model"]),
    ("model", &[]),
    ("version", &[]),
    ("report", &["finding"]),
    ("proto", &[]),
    ("codec", &["keys", "model", "proto"]),
    ("layout", &["codec", "entry", "keys", "report"]),
    (
        "transform",
        &[
            "codec", "entry", "finding", "keys", "layout", "model", "report", "version",
        ],
    ),
    (
        "verify",
        &[
            "codec",
            "entry",
            "finding",
            "keys",
            "layout",
            "model",
            "proto",
            "report",
            "transform",
            "version",
        ],
    ),
    ("journal", &["keys", "report"]),
    ("protocol", &["journal"]),
    ("store", &["entry", "keys"]),
    ("backup", &["entry", "keys", "layout", "model", "report"]),
    (
        "engine",
        &[
            "backup",
            "entry",
            "finding",
            "journal",
            "keys",
            "layout",
            "protocol",
            "report",
            "store",
            "transform",
            "verify",
            "version",
        ],
    ),
    ("config", &["keys", "store", "transform", "version"]),
    ("kubernetes", &["config", "finding", "report", "version"]),
    (
        "cli",
        &[
            "backup",
            "codec",
            "config",
            "engine",
            "entry",
            "finding",
            "journal",
            "keys",
            "kubernetes",
            "layout",
            "report",
            "store",
            "transform",
            "verify",
            "version",
        ],
    ),
];

/// Rooms that decide and never do: no effects, no clock, no log.
const PURE: &[&str] = &[
    "codec",
    "entry",
    "finding",
    "journal",
    "keys",
    "layout",
    "model",
    "protocol",
    "report",
    "transform",
    "verify",
    "version",
];

/// Files that decide and never do, within a room that does.
const PURE_FILES: &[&str] = &[
    "backup/mounts.rs",
    "kubernetes/amounts.rs",
    "kubernetes/condition.rs",
    "kubernetes/discovery.rs",
    "kubernetes/discovery/etcd.rs",
    "kubernetes/manifest",
    "kubernetes/note.rs",
    "kubernetes/operator.rs",
    "kubernetes/preflight",
    "kubernetes/record.rs",
    "kubernetes/job_kind.rs",
    "kubernetes/immutable_fields.rs",
    "kubernetes/options.rs",
    "kubernetes/stage.rs",
    "kubernetes/stage",
    "kubernetes/upgrade/decide.rs",
    "kubernetes/upgrade/dry_run.rs",
    "kubernetes/upgrade/helm_notice.rs",
];

const EFFECTS: &[&str] = &[
    "async fn",
    "async move",
    ".await",
    "tokio",
    "tracing",
    "std::fs",
    "std::io",
    "std::env",
    "std::net",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant",
    "println!",
];

struct SourceFile {
    path: String,
    room: String,
    code: Vec<(usize, String)>,
}

fn source_files() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let relative = path
                .strip_prefix(&root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let room = relative.split(['/', '.']).next().unwrap().to_owned();
            SourceFile {
                code: code_lines(&fs::read_to_string(&path).unwrap()),
                path: relative,
                room,
            }
        })
        .collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for item in fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if is_test {
            continue;
        }
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// The lines that are neither comments nor tests; tests stand at the end of a file.
fn code_lines(text: &str) -> Vec<(usize, String)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line.to_owned()))
        .collect()
}

/// The names of the rooms that a line names: what follows `crate::`.
fn rooms_named(line: &str) -> Vec<String> {
    line.split("crate::")
        .skip(1)
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect::<String>()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn dependencies_point_in_one_direction() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_KNOW.iter().copied().collect();
    let mut wrong = Vec::new();
    for file in source_files() {
        let Some(allowed) = allowed.get(file.room.as_str()) else {
            wrong.push(format!(
                "src/{}: the room {:?} is not in the map",
                file.path, file.room
            ));
            continue;
        };
        for (number, line) in &file.code {
            // One `use` a room, or this test could not read it.
            if line.contains("crate::{") || line.contains("crate::*") {
                wrong.push(format!(
                    "src/{}:{number}: name the rooms one by one",
                    file.path
                ));
            }
            for name in rooms_named(&line.replace("meta_migration::", "crate::")) {
                if name != file.room && !allowed.contains(&name.as_str()) {
                    wrong.push(format!(
                        "src/{}:{number}: {} must not know {name}",
                        file.path, file.room
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_rooms_have_no_effects() {
    let mut wrong = Vec::new();
    for file in source_files() {
        let is_pure_file = PURE_FILES.iter().any(|pure| file.path.starts_with(pure));
        if !PURE.contains(&file.room.as_str()) && !is_pure_file {
            continue;
        }
        for (number, line) in &file.code {
            for effect in EFFECTS.iter().filter(|effect| line.contains(**effect)) {
                wrong.push(format!(
                    "src/{}:{number}: {effect} in a pure room",
                    file.path
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_one_file_tree_knows_the_etcd_client() {
    for file in source_files() {
        let knows = file
            .code
            .iter()
            .any(|(_, line)| line.contains("etcd_client"));
        assert!(
            !knows || file.path.starts_with("store/etcd"),
            "src/{} names the etcd client",
            file.path
        );
    }
}

#[test]
fn only_one_file_knows_the_kubernetes_client() {
    for file in source_files() {
        let knows = file.code.iter().any(|(_, line)| line.contains("kube::"));
        assert!(
            !knows || file.path == "kubernetes/cluster.rs",
            "src/{} names the Kubernetes client",
            file.path
        );
    }
}

#[test]
fn only_the_command_line_knows_terminals_and_arguments() {
    for file in source_files() {
        for (number, line) in &file.code {
            let knows = ["stdout()", "stderr()", "stdin()", "clap::", "std::env::"]
                .iter()
                .find(|word| line.contains(**word));
            assert!(
                knows.is_none() || file.room == "cli",
                "src/{}:{number}: {knows:?} outside the command line",
                file.path
            );
        }
    }
}

#[test]
fn what_counts_as_naming_a_room() {
    assert_eq!(rooms_named("use crate::keys::{Key, Family};"), ["keys"]);
    assert_eq!(
        rooms_named("fn f(a: crate::entry::Entry) -> crate::store::StoreError {"),
        ["entry", "store"]
    );
    assert_eq!(rooms_named("pub(crate) fn f()"), Vec::<String>::new());
    assert_eq!(
        code_lines("a\n// b\n    /// c\nd\n#[cfg(test)]\nmod tests;\n"),
        [(1, "a".to_owned()), (4, "d".to_owned())]
    );
}
