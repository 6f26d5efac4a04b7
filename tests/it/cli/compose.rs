//! The steps of `deploy/compose`, executed with processes and a real etcd. A running Milvus is
//! represented by its sessions in etcd; it starts only on metadata that its release reads.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use meta_store::Store as _;
use serde_json::Value;

use super::documents::Reader;
use super::instance::Instance;

/// The roles that components register in etcd.
const ROLES: [&str; 8] = [
    "rootcoord",
    "proxy",
    "querycoord",
    "querynode",
    "indexcoord",
    "indexnode",
    "datacoord",
    "datanode",
];

/// A session lives longer than any command of the page waits, as if Milvus renewed it.
const LIFETIME: Duration = Duration::from_secs(600);

/// The containers and volumes of Milvus.
#[derive(Default)]
pub(super) struct Compose {
    /// The running services, with the leases of their sessions.
    running: BTreeMap<String, Vec<i64>>,
}

/// The Compose file of the Milvus project, reduced to the relevant parts.
fn milvus_file(services: &[&str]) -> String {
    let etcd = "services:\n  etcd:\n    image: quay.io/coreos/etcd:v3.5.0\n";
    let services = services
        .iter()
        .map(|name| format!("  {name}:\n    image: milvusdb/milvus:v2.1.4\n"));
    services.fold(etcd.to_owned(), |file, service| file + &service)
}

impl Compose {
    /// Executes a `docker` command; returns its exit code and its output.
    pub(super) async fn docker(&mut self, reader: &Reader<'_>, command: &str) -> (i32, String) {
        let (command, output) = command.split_once(" > ").unwrap_or((command, ""));
        let words = command.split_whitespace().filter(|word| *word != "-T");
        let words: Vec<&str> = words.collect();
        match words[1..] {
            ["volume", "create", name] => fs::create_dir(reader.path(name)).unwrap(),
            ["compose", "stop", ref services @ ..] => self.stop(reader.instance, services).await,
            ["compose", "up", "-d"] => self.up(reader).await,
            [
                "compose",
                "run",
                "--rm",
                "meta-migration",
                ref arguments @ ..,
            ] => {
                return run(reader, &arguments.join(" "), output);
            }
            ["run", "--rm", "-v", volume, image, ref arguments @ ..] => {
                return run_image(reader, volume, image, &arguments.join(" "), output);
            }
            _ => panic!("unknown command: {command}"),
        }
        (0, String::new())
    }

    pub(super) async fn stop(&mut self, instance: &Instance, services: &[&str]) {
        for service in services {
            let leases = self.running.remove(*service);
            for lease in leases.unwrap_or_else(|| panic!("{service} does not run")) {
                instance.store.lease_revoke(lease).await.unwrap();
            }
        }
        assert!(
            self.running.is_empty(),
            "still running: {:?}",
            self.running.keys()
        );
    }

    /// Starts the services of Milvus, which read the existing metadata.
    pub(super) async fn up(&mut self, reader: &Reader<'_>) {
        let status = reader
            .shell("meta-migration status --format json", Path::new("."), &[])
            .1;
        let status: Value = serde_json::from_str(&status).unwrap();
        for (service, image) in images(reader) {
            let layout = if image.ends_with(":v2.1.4") {
                "2.1"
            } else {
                "2.2"
            };
            assert_eq!(status["layout"], layout, "{service} has the image {image}");
            let roles = ROLES
                .iter()
                .filter(|role| service == "standalone" || service == **role);
            let mut leases = Vec::new();
            for role in roles {
                leases.push(reader.instance.register(role, LIFETIME).await);
            }
            self.running.insert(service, leases);
        }
    }
}

/// The services of Milvus and their images.
fn images(reader: &Reader<'_>) -> Vec<(String, String)> {
    let file: Value = yaml(&reader.path("docker-compose.yml"));
    let services = file["services"].as_object().unwrap().iter();
    let images = services
        .map(|(name, service)| (name.clone(), service["image"].as_str().unwrap().to_owned()));
    images
        .filter(|(_, image)| image.starts_with("milvusdb/milvus:"))
        .collect()
}

fn yaml(path: &Path) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// `docker compose run`: the program with the environment, the volume and the folder of its service.
fn run(reader: &Reader<'_>, arguments: &str, output: &str) -> (i32, String) {
    let file = yaml(&reader.path("meta-migration.yml"));
    let service = &file["services"]["meta-migration"];
    assert_eq!(
        service["entrypoint"],
        serde_json::json!(["/milvus/bin/meta-migration"])
    );
    let (volume, folder) = service["volumes"][0]
        .as_str()
        .unwrap()
        .split_once(':')
        .unwrap();
    assert_eq!(
        file["volumes"][volume]["external"], true,
        "it outlives the containers"
    );
    assert_eq!(service["working_dir"], folder, "backups go to the volume");
    let volume = reader.path(volume);
    let variables = service["environment"].as_object().unwrap().iter();
    let variables: Vec<_> = variables
        .map(|(name, value)| {
            let value = reader.real(value.as_str().unwrap());
            (
                name.clone(),
                value.replace(folder, volume.to_str().unwrap()),
            )
        })
        .collect();
    let arguments = arguments.replace(folder, volume.to_str().unwrap());
    let line = format!("meta-migration {arguments}{}", redirection(reader, output));
    reader.shell(&line, &volume, &variables)
}

/// `docker run`: a program without the variables of the user, and with a volume in its folder.
fn run_image(
    reader: &Reader<'_>,
    volume: &str,
    image: &str,
    arguments: &str,
    output: &str,
) -> (i32, String) {
    let ours = concat!("meta-migration:", env!("CARGO_PKG_VERSION"));
    assert!(["busybox", ours].contains(&image), "unknown image: {image}");
    let (volume, folder) = volume.split_once(':').unwrap();
    let folder = folder.trim_end_matches(":ro");
    let volume = reader.path(volume);
    fs::create_dir_all(&volume).unwrap();
    let arguments = arguments.replace(folder, volume.to_str().unwrap());
    let unset = "env -u META_MIGRATION_ENDPOINTS -u META_MIGRATION_ROOT_PATH";
    let line = format!("{unset} {arguments}{}", redirection(reader, output));
    reader.shell(&line, &volume, &[])
}

/// The redirection to a file in the folder of the user, if one is named.
fn redirection(reader: &Reader<'_>, output: &str) -> String {
    match output {
        "" => String::new(),
        file => format!(" > {}", reader.path(file).display()),
    }
}

/// Follows one section of the page with Milvus running before and after; the metadata is unchanged.
async fn rehearse(heading: &str, services: &[&str]) {
    let it = Instance::sample().await;
    let before = it.metadata().await;
    let mut reader = Reader::new(&it);
    fs::write(reader.path("docker-compose.yml"), milvus_file(services)).unwrap();
    reader.start().await;
    reader.follow("docs/compose.md", Some("Set up")).await;
    reader.follow("docs/compose.md", Some(heading)).await;
    reader.follow("docs/compose.md", Some("The backup")).await;
    reader.stop(services).await;
    assert_eq!(it.metadata().await, before);
    assert!(reader.path("milvus.mmb").is_file());
    let kept = fs::read_dir(reader.path("meta-migration-backups")).unwrap();
    let kept: Vec<_> = kept.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(kept.len(), 1, "the backup is in the volume");
    let copied = reader.run_extra("tar -tf backups.tar");
    assert!(copied.contains(kept[0].to_str().unwrap()), "{copied}");
}

#[tokio::test]
async fn compose_page_upgrades_standalone_and_rolls_back() {
    rehearse("Standalone", &["standalone"]).await;
}

#[tokio::test]
async fn compose_page_upgrades_a_cluster_and_rolls_back() {
    rehearse("Cluster", &ROLES).await;
}
