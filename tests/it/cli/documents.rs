//! Runs the commands of the documents as a reader would, on a real etcd.
//!
//! `support::documents` describes the markers of the blocks. The documents use etcd at `etcd:2379`
//! and the root path `by-dev`; the tests replace both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, TlsOptions};
use meta_store::etcd::{EtcdStore, Options, Password, Tls};
use milvus_meta::keys::MetaRoot;
use milvus_meta::layout::Layout;
use milvus_meta::transform::CollectionForm;

use super::compose::Compose;
use super::imports::etcdctl;
use super::instance::Instance;
use super::repair;
use crate::engine::mixed::after_2_2;
use crate::support::certificates::Certificates;
use crate::support::documents::{Block, blocks, section};
use crate::support::etcd::{Etcd, ServerTls, Settings};

/// The etcd endpoint used in the documents.
pub(super) const ENDPOINT: &str = "etcd:2379";
const ROOT_PATH: &str = "by-dev";

/// Runs the commands of a document in an empty folder.
pub(super) struct Reader<'i> {
    pub(super) instance: &'i Instance,
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
    /// Texts of the documents, and their replacements in this test.
    replacements: Vec<(String, String)>,
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
        for (name, program) in [
            (
                "meta-migration",
                PathBuf::from(env!("CARGO_BIN_EXE_meta-migration")),
            ),
            ("etcdctl", etcdctl()),
        ] {
            std::os::unix::fs::symlink(program, programs.join(name)).unwrap();
        }
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let variables = [
            ("PATH", path.as_str()),
            ("META_MIGRATION_ENDPOINTS", instance.endpoint()),
            ("META_MIGRATION_ROOT_PATH", instance.root.root_path()),
            // There is no terminal for prompts, and the tests themselves may run in a container.
            ("META_MIGRATION_YES", "true"),
            ("META_MIGRATION_ALLOW_EPHEMERAL_BACKUP", "true"),
        ];
        let endpoint = instance.endpoint();
        let address = endpoint.split("://").nth(1).unwrap_or(endpoint);
        let replacements = [(ENDPOINT, address), (ROOT_PATH, instance.root.root_path())];
        let owned = |(a, b): (&str, &str)| (a.to_owned(), b.to_owned());
        Self {
            instance,
            folder,
            variables: variables.map(owned).into(),
            replacements: replacements.map(owned).into(),
            compose: Compose::default(),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Replaces a documented text in commands, and the reverse in their output.
    fn replace(&mut self, documented: &str, real: &str) {
        let pair = (documented.to_owned(), real.to_owned());
        self.replacements.push(pair);
    }

    /// Runs all commands below a heading, or of the complete document.
    pub(super) async fn follow(&mut self, document: &str, heading: Option<&str>) {
        let blocks = match heading {
            Some(heading) => section(document, heading),
            None => blocks(document),
        };
        for block in blocks {
            self.follow_block(&block).await;
        }
    }

    async fn follow_block(&mut self, block: &Block) {
        for step in block.steps() {
            let (mut code, mut output) = (0, String::new());
            for command in step.command.split(" && ") {
                let ended = self.run(&self.real(command)).await;
                code = ended.0;
                output += &self.documented(&ended.1);
                if code != 0 {
                    break;
                }
            }
            step.expect(code, &output);
        }
    }

    /// Runs a command that is not in the document; returns its output.
    pub(super) fn run_extra(&self, command: &str) -> String {
        let (code, output) = self.shell(command, self.folder.path(), &[]);
        assert_eq!(code, 0, "{command}\n{output}");
        output
    }

    /// Runs one command.
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

    /// Replaces the documented names with those of this test.
    pub(super) fn real(&self, text: &str) -> String {
        let replacements = self.replacements.iter();
        replacements.fold(text.to_owned(), |text, (documented, real)| {
            text.replace(documented, real)
        })
    }

    /// The reverse of `real`.
    fn documented(&self, text: &str) -> String {
        let folder = format!("{}/", self.folder.path().canonicalize().unwrap().display());
        let text = text
            .replace(&folder, "")
            .replace(self.instance.endpoint(), ENDPOINT);
        let replacements = self.replacements.iter();
        replacements.fold(text, |text, (documented, real)| {
            text.replace(real, documented)
        })
    }
}

/// Metadata whose collections were deleted after a migration; the backup is in the folder.
#[tokio::test]
async fn restore_runbook_restores_damaged_metadata() {
    let it = Instance::sample().await;
    let before = it.metadata().await;
    let mut reader = Reader::new(&it);
    reader.run_extra("meta-migration migrate --source-version 2.1.4 --target-version 2.2.16 --backup-file before-2.2.mmb");
    it.delete_prefix("root-coord/").await;
    for heading in [
        "2. Inspect and save the metadata",
        "3. Find and check a backup",
        "4. Restore",
        "5. Verify",
    ] {
        reader.follow("docs/restore.md", Some(heading)).await;
    }
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
    require_users(client).await;
    let mut reader = Reader::new(&it);
    fs::copy(files.path("ca.pem"), reader.path("ca.pem")).unwrap();
    fs::write(reader.path("password"), SECRET).unwrap();
    for (name, value) in [
        ("ETCDCTL_API", "3"),
        ("ETCDCTL_ENDPOINTS", etcd.endpoint()),
        ("ETCDCTL_CACERT", "ca.pem"),
        ("ETCDCTL_USER", "root:root-secret"),
    ] {
        reader.set(name, value);
    }
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

/// Adds the user root, and rejects requests without a user.
async fn require_users(client: Client) {
    let mut auth = client.auth_client();
    auth.user_add("root", "root-secret", None).await.unwrap();
    auth.user_grant_role("root", "root").await.unwrap();
    auth.auth_enable().await.unwrap();
}

/// An instance without metadata on `etcd`, with the documented root path.
async fn at_documented_root(etcd: &Etcd) -> Instance {
    let mut it = Instance::on(etcd).await;
    it.root = MetaRoot::new(ROOT_PATH, "meta", "kv").unwrap();
    it
}

/// The backup file of the tour has the documented root path.
#[tokio::test]
async fn the_readme_tour_matches_the_output() {
    let etcd = Etcd::start(Settings::default());
    let it = at_documented_root(&etcd).await;
    Reader::new(&it).follow("README.md", Some("Tour")).await;
}

#[tokio::test]
async fn the_first_commands_of_the_readme_migrate() {
    let it = Instance::sample().await;
    let mut reader = Reader::new(&it);
    reader.follow("README.md", Some("meta-migration")).await;
    assert_eq!(it.layout().await, Layout::V2_2);
}

#[tokio::test]
async fn usage_page_inspects_saves_and_approves() {
    let etcd = Etcd::start(Settings::default());
    let it = at_documented_root(&etcd).await;
    it.load_sample().await;
    let mut reader = Reader::new(&it);
    reader.run_extra("meta-migration backup --backup-file before-2.2.mmb");
    reader.replace("articles", "recsys_face_8731");
    reader
        .follow("docs/usage.md", Some("Inspect metadata"))
        .await;

    let folder = reader.path("data-of-etcd");
    fs::create_dir_all(folder.join("member/snap")).unwrap();
    let database = reader.path("testdata/backups/etcd-3.5.1.snapshot.db");
    fs::copy(database, folder.join("member/snap/db")).unwrap();
    reader.replace("/var/lib/etcd", folder.to_str().unwrap());
    reader.follow("docs/usage.md", Some("Backups")).await;

    let plan = reader.run_extra("meta-migration plan --target-version 2.2.16");
    let digest = plan.lines().find_map(|line| line.strip_prefix("Plan: "));
    reader.replace("3f2a90cc1b7e", digest.unwrap().split(';').next().unwrap());
    reader.follow("docs/usage.md", Some("Approval")).await;
    assert_eq!(it.layout().await, Layout::V2_2);
}

#[tokio::test]
async fn mixed_page_merges_both_layouts() {
    let it = Instance::empty().await;
    it.load(&after_2_2(CollectionForm::Database)).await;
    Reader::new(&it).follow("docs/mixed.md", None).await;
    assert_eq!(it.layout().await, Layout::V2_2);
}

#[tokio::test]
async fn repair_page_repairs_official_output() {
    let it = repair::official().await;
    let mut reader = Reader::new(&it);
    reader.run_extra("meta-migration backup --backup-file before-migration.bak");
    reader
        .follow("docs/repair.md", Some("Repair 2.2 metadata"))
        .await;
    reader.run_extra("meta-migration rollback");
    repair::lose_a_schema(&it).await;
    let lost = "Collections that lost their fields or partitions";
    reader.follow("docs/repair.md", Some(lost)).await;
}

#[tokio::test]
async fn official_tool_page_runs_its_yaml() {
    let it = Instance::sample().await;
    let mut reader = Reader::new(&it);
    let versions = "sourceVersion: 2.1.4\n  targetVersion: 2.2.16\n";
    let head = format!("cmd:\n  type: run\nconfig:\n  {versions}  backupFilePath: before.bak\n");
    fs::write(reader.path("migration.yaml"), head + &it.yaml()).unwrap();
    reader.follow("docs/official-tool.md", None).await;
    assert_eq!(it.layout().await, Layout::V2_2);
}

#[tokio::test]
async fn troubleshooting_page_works_while_milvus_runs() {
    let it = Instance::sample().await;
    it.register("proxy-7", Duration::from_secs(60)).await;
    let mut reader = Reader::new(&it);
    reader.follow("docs/troubleshooting.md", None).await;
}
