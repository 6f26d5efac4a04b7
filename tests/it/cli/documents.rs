//! Runs the commands of the documents as a reader would, on a real etcd.
//!
//! A block below `<!-- run -->` is run. Each command must exit with code 0, or with the code of
//! `<!-- run: exit 3 -->`, and the lines below the command must appear in its output in this order;
//! an ellipsis matches any text. The documents use etcd at `etcd:2379` and the root path `by-dev`;
//! the test replaces both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use etcd_client::{Certificate, Client, ConnectOptions, Permission, TlsOptions};
use meta_store::etcd::{EtcdStore, Options, Password, Tls};
use milvus_meta::keys::MetaRoot;

use super::compose::Compose;
use super::instance::Instance;
use crate::support::certificates::Certificates;
use crate::support::etcd::{Etcd, ServerTls, Settings};

/// The etcd endpoint used in the documents.
pub(super) const ENDPOINT: &str = "etcd:2379";
const ROOT_PATH: &str = "by-dev";

/// A command of a document with its expected output.
struct Step {
    place: String,
    command: String,
    code: i32,
    expected: Vec<String>,
}

/// The commands below a heading, or of the complete document.
fn steps(document: &str, heading: Option<&str>) -> Vec<Step> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let mut steps: Vec<Step> = Vec::new();
    let mut code = None;
    let mut is_inside = false;
    let mut is_wanted = heading.is_none();
    for (number, line) in fs::read_to_string(path).unwrap().lines().enumerate() {
        if let Some(title) = line.strip_prefix("## ") {
            is_wanted = heading.is_none_or(|heading| heading == title);
        } else if let Some(rest) = line.strip_prefix("<!-- run") {
            let rest = rest.trim_end_matches(" -->");
            code = Some(
                rest.strip_prefix(": exit ")
                    .map_or(0, |code| code.parse().unwrap()),
            );
        } else if line.starts_with("```") {
            is_inside = !is_inside;
            if !is_inside {
                code = None;
            }
        } else if let (true, true, Some(code)) = (is_inside, is_wanted, code) {
            let place = || format!("{document}:{}", number + 1);
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step {
                    place: place(),
                    command: command.to_owned(),
                    code,
                    expected: Vec::new(),
                }),
                (None, Some(step)) if step.command.ends_with('\\') => {
                    step.command.pop();
                    step.command.push_str(line.trim());
                }
                (None, Some(step)) => step.expected.push(line.to_owned()),
                (None, None) => panic!("{}: output without a command", place()),
            }
        }
    }
    assert!(!steps.is_empty(), "{document}: no commands to run");
    steps
}

/// Types the commands of a document in an empty folder.
pub(super) struct Reader<'i> {
    pub(super) instance: &'i Instance,
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
    compose: Compose,
}

impl<'i> Reader<'i> {
    pub(super) fn new(instance: &'i Instance) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        for name in ["deploy", "testdata"] {
            std::os::unix::fs::symlink(repository.join(name), folder.path().join(name)).unwrap();
        }
        let programs = folder.path().join("bin");
        fs::create_dir(&programs).unwrap();
        let program = programs.join("meta-migration");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_meta-migration"), program).unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let variables = [
            ("PATH", path.as_str()),
            ("META_MIGRATION_ENDPOINTS", instance.endpoint()),
            ("META_MIGRATION_ROOT_PATH", instance.root.root_path()),
            // There is no terminal for prompts, and the tests themselves may run in a container.
            ("META_MIGRATION_YES", "true"),
            ("META_MIGRATION_ALLOW_EPHEMERAL_BACKUP", "true"),
        ];
        Self {
            instance,
            folder,
            variables: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            compose: Compose::default(),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Types all commands below a heading, or of the complete document.
    pub(super) async fn follow(&mut self, document: &str, heading: Option<&str>) {
        for step in steps(document, heading) {
            let (mut code, mut output) = (0, String::new());
            for command in step.command.split(" && ") {
                let ended = self.run(&self.real(command)).await;
                code = ended.0;
                output += &self.documented(&ended.1);
                if code != 0 {
                    break;
                }
            }
            let place = format!("{}: {}", step.place, step.command);
            assert_eq!(code, step.code, "{place}\n{output}");
            if let Some(missing) = missing(&step.expected, &output) {
                panic!("{place}\nnot in the output: {missing}\n\n{output}");
            }
        }
    }

    /// Types one command.
    async fn run(&mut self, command: &str) -> (i32, String) {
        if let Some(assignment) = command.strip_prefix("export ") {
            let (name, value) = assignment.split_once('=').unwrap();
            self.set(name, value);
            (0, String::new())
        } else if command.starts_with("docker ") {
            let mut compose = std::mem::take(&mut self.compose);
            let ended = compose.docker(self, command).await;
            self.compose = compose;
            ended
        } else {
            self.shell(command, self.folder.path(), &[])
        }
    }

    /// Starts Milvus before the first command.
    pub(super) async fn start(&mut self) {
        let mut compose = std::mem::take(&mut self.compose);
        compose.up(self).await;
        self.compose = compose;
    }

    /// Stops Milvus after the last command.
    pub(super) async fn stop(&mut self, services: &[&str]) {
        self.compose.stop(self.instance, services).await;
    }

    /// Runs a command line; returns its exit code and both streams as a terminal shows them.
    pub(super) fn shell(
        &self,
        line: &str,
        folder: &Path,
        more: &[(String, String)],
    ) -> (i32, String) {
        let output = Command::new("sh")
            .args(["-c", &format!("{{ {line}\n}} 2>&1")])
            .env_clear()
            .envs(self.variables.iter().cloned())
            .envs(more.iter().cloned())
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
        )
    }

    /// Replaces the documented address and root path with those of this test.
    pub(super) fn real(&self, text: &str) -> String {
        text.replace(ENDPOINT, self.address())
            .replace(ROOT_PATH, self.instance.root.root_path())
    }

    /// The reverse of `real`.
    fn documented(&self, text: &str) -> String {
        let folder = format!("{}/", self.folder.path().canonicalize().unwrap().display());
        text.replace(&folder, "")
            .replace(self.instance.endpoint(), ENDPOINT)
            .replace(self.address(), ENDPOINT)
            .replace(self.instance.root.root_path(), ROOT_PATH)
    }

    fn address(&self) -> &str {
        let endpoint = self.instance.endpoint();
        endpoint.split("://").nth(1).unwrap_or(endpoint)
    }
}

/// The first expected line that is missing from the output; the order counts.
fn missing<'e>(expected: &'e [String], output: &str) -> Option<&'e str> {
    let mut lines = output.lines();
    let mut expected = expected
        .iter()
        .filter(|line| !matches!(line.trim(), "" | "…"));
    expected
        .find(|wanted| !lines.any(|line| matches(wanted, line)))
        .map(String::as_str)
}

/// Whether a line matches the documented one: runs of spaces are equal, an ellipsis matches any
/// text.
fn matches(documented: &str, line: &str) -> bool {
    let spaced = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (documented, line) = (spaced(documented), spaced(line));
    let mut parts = documented.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut is_open = false;
    for part in parts {
        is_open = part.is_empty();
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    is_open || rest.is_empty()
}

/// Metadata whose collections were deleted after a migration; the backup is in the folder.
#[tokio::test]
async fn restore_runbook_restores_damaged_metadata() {
    let it = Instance::sample().await;
    let before = it.metadata().await;
    let mut reader = Reader::new(&it);
    let migrate = "meta-migration migrate --source-version 2.1.4 --target-version 2.2.16 --backup-file before-2.2.mmb";
    let (code, output) = reader.shell(migrate, &reader.path("."), &[]);
    assert_eq!(code, 0, "{output}");
    it.delete_prefix("root-coord/").await;
    reader.follow("docs/restore.md", None).await;
    assert_eq!(it.metadata().await, before);
}

#[tokio::test]
async fn etcd_page_upgrades_with_tls_and_users() {
    let files = Certificates::new(&["127.0.0.1"]);
    let etcd = Etcd::start(Settings {
        tls: Some(ServerTls {
            cert: files.path("server.pem"),
            key: files.path("server.key"),
            client_ca: None,
        }),
        ..Settings::default()
    });
    let tls = Tls {
        ca_cert: Some(files.path("ca.pem")),
        ..Tls::default()
    };
    let options = Options {
        tls: Some(tls),
        ..Options::for_endpoint(etcd.endpoint())
    };
    let mut it = Instance::through(EtcdStore::connect(&options).await.unwrap(), &etcd);
    it.load_sample().await;
    let before = it.metadata().await;
    let ca = Certificate::from_pem(fs::read(files.path("ca.pem")).unwrap());
    let client = ConnectOptions::new().with_tls(TlsOptions::new().ca_certificate(ca));
    let client = Client::connect([etcd.endpoint()], Some(client))
        .await
        .unwrap();
    limit_to_root_path(client, &it).await;
    let mut reader = Reader::new(&it);
    fs::copy(files.path("ca.pem"), reader.path("ca.pem")).unwrap();
    fs::write(reader.path("password"), SECRET).unwrap();
    reader.follow("docs/etcd.md", None).await;
    it.store = EtcdStore::connect(&Options {
        user: Some("milvus".to_owned()),
        password: Some(Password::new(SECRET)),
        ..options
    })
    .await
    .unwrap();
    assert_eq!(it.metadata().await, before);
}

const SECRET: &str = "correct-horse-battery";

/// Adds the user root, and the user milvus with rights below the root path only.
async fn limit_to_root_path(client: Client, instance: &Instance) {
    let mut auth = client.auth_client();
    auth.user_add("root", "root-secret", None).await.unwrap();
    auth.user_grant_role("root", "root").await.unwrap();
    auth.role_add("milvus").await.unwrap();
    let root_path = format!("{}/", instance.root.root_path());
    let permission = Permission::read_write(root_path).with_prefix();
    auth.role_grant_permission("milvus", permission)
        .await
        .unwrap();
    auth.user_add("milvus", SECRET, None).await.unwrap();
    auth.user_grant_role("milvus", "milvus").await.unwrap();
    auth.auth_enable().await.unwrap();
}

#[test]
fn links_between_documents_resolve() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
    ];
    let mut pages: Vec<PathBuf> = names.iter().map(|name| root.join(name)).collect();
    pages.extend(
        fs::read_dir(root.join("docs"))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    let mut dead = Vec::new();
    for page in pages
        .iter()
        .filter(|page| page.extension().is_some_and(|one| one == "md"))
    {
        let text = fs::read_to_string(page).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                page.clone()
            } else {
                page.with_file_name("").join(path)
            };
            let is_there = target.exists()
                && (anchor.is_empty() || anchors(&target).contains(&anchor.to_owned()));
            if !link.contains("://") && !is_there {
                dead.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

/// The link anchors of all headings.
fn anchors(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let titles = text.lines().filter_map(|line| {
        line.trim_start_matches('#')
            .strip_prefix(' ')
            .filter(|_| line.starts_with('#'))
    });
    let anchors = titles.map(|title| {
        let kept = title.to_lowercase().replace(' ', "-");
        kept.chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
            .collect()
    });
    anchors.collect()
}

#[tokio::test]
async fn the_readme_tour_matches_the_output() {
    let etcd = Etcd::start(Settings::default());
    let mut it = Instance::on(&etcd).await;
    // The backup file has this root path.
    it.root = MetaRoot::new(ROOT_PATH, "meta", "kv").unwrap();
    Reader::new(&it).follow("README.md", None).await;
}

#[test]
fn documented_lines_match_output_with_ellipses() {
    let expected = [
        "Layout: 2.1".to_owned(),
        "  backup … (160 entries, …".to_owned(),
        "done".to_owned(),
    ];
    let output = "x\nLayout:  2.1\n backup b.mmb (160 entries, digest 1)\nnot done\ndone\n";
    assert_eq!(missing(&expected, output), None);
    assert_eq!(
        missing(&expected, "backup b (160 entries, x\nLayout: 2.1\n"),
        Some("  backup … (160 entries, …")
    );
    assert!(!matches("a … c", "a b c d"));
    assert!(matches("a … c", "a b c"));
}
