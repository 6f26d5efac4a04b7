//! Structural rules that Cargo cannot enforce: pure modules, one place for each client, no module
//! cycles, no test crates in the product. The manifests declare which crate may use which. Test
//! code is exempt.

use std::fs;
use std::path::{Path, PathBuf};

mod cycles;

/// Files and folders of pure logic: no effects, no clock, no logging. Paths are below `crates/`.
const PURE: &[&str] = &[
    "meta-backup/src/mounts.rs",
    "meta-kube/src/pod_resources.rs",
    "meta-kube/src/condition.rs",
    "meta-kube/src/discovery.rs",
    "meta-kube/src/discovery/configuration.rs",
    "meta-kube/src/immutable_fields.rs",
    "meta-kube/src/job_kind.rs",
    "meta-kube/src/manifest",
    "meta-kube/src/annotations.rs",
    "meta-kube/src/milvus_resource.rs",
    "meta-kube/src/object.rs",
    "meta-kube/src/options",
    "meta-kube/src/options.rs",
    "meta-kube/src/preflight",
    "meta-kube/src/quantity.rs",
    "meta-kube/src/state.rs",
    "meta-kube/src/stage",
    "meta-kube/src/stage.rs",
    "meta-kube/src/start_checks.rs",
    "meta-kube/src/leftovers.rs",
    "meta-kube/src/upgrade/decide",
    "meta-kube/src/upgrade/decide.rs",
    "meta-kube/src/upgrade/dry_run.rs",
    "meta-kube/src/upgrade/helm_notice.rs",
    "meta-kube/src/upgrade/timeline.rs",
    "meta-migrate/src/journal.rs",
    "meta-migrate/src/protocol.rs",
    "meta-report/src",
    "meta-yaml/src",
    "milvus-meta/src",
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

/// Crates for tests and benchmarks.
const TEST_CRATES: [&str; 2] = ["meta-fuzz", "meta-testing"];

/// The code of one file, without comments and tests.
struct SourceFile {
    /// Relative to the top folder.
    path: String,
    code: Vec<(usize, String)>,
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The source folders of all packages: the program's, and one for each crate.
fn source_folders() -> Vec<PathBuf> {
    let mut folders = vec![top().join("src")];
    for item in fs::read_dir(top().join("crates")).unwrap() {
        folders.push(item.unwrap().path().join("src"));
    }
    folders.sort();
    folders
}

/// The source files of the product.
fn source_files() -> Vec<SourceFile> {
    let mut files = Vec::new();
    for folder in source_folders() {
        if TEST_CRATES
            .iter()
            .any(|name| folder.ends_with(Path::new(name).join("src")))
        {
            continue;
        }
        for path in rust_files(&folder) {
            let relative = path.strip_prefix(top()).unwrap();
            files.push(SourceFile {
                code: code_lines(&fs::read_to_string(&path).unwrap()),
                path: relative.to_str().unwrap().to_owned(),
            });
        }
    }
    files
}

/// All files below a folder except tests.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for item in fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        if path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        }
        if path.is_dir() {
            paths.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
    paths.sort();
    paths
}

/// The lines that are neither comments nor tests; tests are at the end of a file.
fn code_lines(text: &str) -> Vec<(usize, String)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line.to_owned()))
        .collect()
}

/// The names of the packages in a section of a manifest.
fn dependencies<'m>(manifest: &'m str, section: &str) -> Vec<&'m str> {
    let lines = manifest.lines().skip_while(|line| line.trim() != section);
    lines
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn pure_modules_have_no_effects() {
    let mut wrong = Vec::new();
    let files = source_files();
    for pure in PURE {
        assert!(
            files.iter().any(|file| is_below(&file.path, pure)),
            "{pure} is missing"
        );
    }
    for file in files {
        if !PURE.iter().any(|pure| is_below(&file.path, pure)) {
            continue;
        }
        for (number, line) in &file.code {
            for effect in EFFECTS.iter().filter(|effect| line.contains(**effect)) {
                wrong.push(format!("{}:{number}: {effect} in a pure module", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_below(path: &str, pure: &str) -> bool {
    let rest = path
        .strip_prefix("crates/")
        .and_then(|rest| rest.strip_prefix(pure));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[test]
fn only_one_file_tree_knows_the_etcd_client() {
    assert_only_below("etcd_client", &["crates/meta-store/src/etcd"]);
}

#[test]
fn only_one_file_knows_the_kubernetes_client() {
    // The second one re-exports the metadata of objects and sends no requests.
    let places = [
        "crates/meta-kube/src/client",
        "crates/meta-kube/src/object.rs",
    ];
    assert_only_below("kube::", &places);
}

/// Fails if a file whose path does not begin with one of `places` contains `word`.
fn assert_only_below(word: &str, places: &[&str]) {
    let word = |line: &str| {
        let starts = line.match_indices(word).map(|(at, _)| at);
        let before = |at: usize| line[..at].chars().next_back();
        starts
            .into_iter()
            .any(|at| !before(at).is_some_and(|c| c.is_alphanumeric() || c == '_'))
    };
    for file in source_files() {
        for (number, line) in &file.code {
            assert!(
                !word(line) || places.iter().any(|place| file.path.starts_with(place)),
                "{}:{number}: only {places:?} may name it: {line}",
                file.path
            );
        }
    }
}

/// Options that are not only the command line's are declared once, where they are used: those
/// passed to the Jobs, and those that the YAML file also has.
/// those that the YAML file has as well.
const OPTIONS: [&str; 2] = ["crates/meta-kube/src/options.rs", "src/config/options.rs"];

#[test]
fn only_the_command_line_knows_terminals_and_arguments() {
    for file in source_files() {
        for (number, line) in &file.code {
            let knows = ["stdout()", "stderr()", "stdin()", "clap::", "std::env::"]
                .iter()
                .find(|word| line.contains(**word));
            let is_option = OPTIONS.contains(&&*file.path) && knows == Some(&"clap::");
            assert!(
                knows.is_none() || is_option || file.path.starts_with("src/cli"),
                "{}:{number}: {knows:?} outside the command line",
                file.path
            );
        }
    }
}

#[test]
fn no_crate_has_module_cycles() {
    let mut wrong = Vec::new();
    for folder in source_folders() {
        let modules = rust_files(&folder).into_iter().map(|path| {
            let code = code_lines(&fs::read_to_string(&path).unwrap());
            let lines: Vec<String> = code.into_iter().map(|(_, line)| line).collect();
            let relative = path.strip_prefix(&folder).unwrap().with_extension("");
            let names = relative
                .iter()
                .map(|name| name.to_str().unwrap().to_owned());
            let names = names.filter(|name| !["lib", "main"].contains(&name.as_str()));
            (names.collect(), lines.join("\n"))
        });
        for cycle in cycles::find(&modules.collect()) {
            wrong.push(format!("{}: {cycle}", folder.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_product_depends_on_no_test_crate() {
    for folder in source_folders() {
        let package = folder.parent().unwrap();
        if TEST_CRATES.iter().any(|name| package.ends_with(name)) {
            continue;
        }
        let manifest = fs::read_to_string(package.join("Cargo.toml")).unwrap();
        let dependencies = dependencies(&manifest, "[dependencies]");
        assert!(!dependencies.is_empty(), "{}", package.display());
        for name in TEST_CRATES {
            assert!(
                !dependencies.contains(&name),
                "{}: {name}",
                package.display()
            );
        }
    }
}

#[test]
fn modules_are_in_the_files_their_names_imply() {
    for folder in ["benches", "crates", "src", "tests"] {
        for path in rust_files(&top().join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            let attribute = text.lines().any(|line| line.starts_with("#[path"));
            assert!(!attribute, "{}", path.display());
        }
    }
}

#[test]
fn dependencies_are_read_from_a_manifest() {
    let manifest =
        "[dependencies]\na.workspace = true\nb = \"1\"\n\n[dev-dependencies]\nc = \"1\"\n";
    assert_eq!(dependencies(manifest, "[dependencies]"), ["a", "b"]);
    assert_eq!(
        code_lines("a\n// b\n    /// c\nd\n#[cfg(test)]\nmod tests;\n"),
        [(1, "a".to_owned()), (4, "d".to_owned())]
    );
}
