//! A real Kubernetes API with simulated nodes (see `node`). Each test has a separate namespace and
//! Milvus root path.

pub(crate) mod api;
pub(crate) mod behaviour;
mod control_plane;
pub(crate) mod helm;
mod kubelet;
mod node;
pub(crate) mod operator;
mod process;
pub(crate) mod sessions;
mod status;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use etcd_client::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::support::etcd;
use api::Api;
use behaviour::{Shared, TOOL_IMAGE, breaches};
use control_plane::{ADMIN, ControlPlane, UPGRADER};
use node::{Node, NodeParts};
use sessions::Metadata;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_meta-migration");
/// How long a test waits for anything.
const LIMIT: Duration = Duration::from_secs(60);

/// A namespace with a node, and a Milvus metadata root.
pub(crate) struct Bed {
    plane: &'static ControlPlane,
    pub(crate) admin: Api,
    pub(crate) namespace: String,
    /// The root path of Milvus' metadata.
    pub(crate) root: String,
    pub(crate) metadata: Metadata,
    pub(crate) shared: Arc<Shared>,
    folder: TempDir,
}

/// The result of a run of the program.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Bed {
    /// A test bed for a release or resource named `instance`.
    pub(crate) async fn new(instance: &str) -> Self {
        Self::with_etcd(instance, etcd::shared().address()).await
    }

    /// A test bed whose pods reach the shared etcd at `address`.
    pub(crate) async fn with_etcd(instance: &str, address: &str) -> Self {
        Self::made(Some(instance), address, None).await
    }

    /// A test bed with a separate etcd, to which `client` is connected.
    pub(crate) async fn with_own_etcd(instance: &str, address: &str, client: Client) -> Self {
        Self::made(Some(instance), address, Some(client)).await
    }

    /// A test bed whose resource has the name of its root path.
    pub(crate) async fn named_like_its_root() -> Self {
        Self::made(None, etcd::shared().address(), None).await
    }

    async fn made(instance: Option<&str>, address: &str, client: Option<Client>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let plane = control_plane::shared().await;
        plane.assert_alive();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Distinct from the root path, so that both can be replaced in output.
        let namespace = format!("ns-{}-{number}", std::process::id());
        let admin = plane.api(ADMIN);
        let object =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        admin.create("/api/v1/namespaces", &object).await;
        let root = etcd::own_root();
        let metadata = match client {
            Some(client) => Metadata::with(client, &root),
            None => Metadata::connect(etcd::shared().address(), &root).await,
        };
        let bed = Self {
            plane,
            admin,
            namespace,
            root,
            metadata,
            shared: Arc::default(),
            folder: tempfile::tempdir().unwrap(),
        };
        bed.start_node(instance.unwrap_or(&bed.root), address).await;
        bed
    }

    async fn start_node(&self, instance: &str, address: &str) {
        let logs = kubelet::Logs::default();
        let port = kubelet::serve(self.plane, logs.clone()).await;
        let node = Node::new(NodeParts {
            api: self.admin.clone(),
            plane: self.plane,
            namespace: self.namespace.clone(),
            folder: self.folder.path().to_owned(),
            names: self.names(instance, address),
            metadata: self.metadata.clone(),
            shared: self.shared.clone(),
            logs,
        });
        node.register(port).await;
        tokio::spawn(node.run());
    }

    /// The addresses at which pods reach the etcd of the instance.
    fn names(&self, instance: &str, address: &str) -> BTreeMap<String, String> {
        let namespace = &self.namespace;
        let hosts = [
            format!("{instance}-etcd"),
            format!("{instance}-etcd-0.{instance}-etcd-headless"),
            format!("{instance}-etcd-1.{instance}-etcd-headless"),
            format!("{instance}-etcd-2.{instance}-etcd-headless"),
        ];
        let ends = [
            String::new(),
            format!(".{namespace}"),
            format!(".{namespace}.svc"),
            format!(".{namespace}.svc.cluster.local"),
        ];
        let all = hosts
            .iter()
            .flat_map(|host| ends.iter().map(move |end| format!("{host}{end}:2379")));
        all.map(|name| (name, address.to_owned())).collect()
    }

    /// The folder of the volumes, each in a folder with the name of its PVC.
    pub(crate) fn claims(&self) -> PathBuf {
        self.folder.path().join("claims")
    }

    /// The path of a collection in this namespace.
    pub(crate) fn path(&self, plural: &str) -> String {
        let group = match plural {
            "deployments" | "replicasets" => "/apis/apps/v1",
            "jobs" => "/apis/batch/v1",
            "clusterroles" | "clusterrolebindings" => {
                return format!("/apis/rbac.authorization.k8s.io/v1/{plural}");
            }
            "leases" => "/apis/coordination.k8s.io/v1",
            "horizontalpodautoscalers" => "/apis/autoscaling/v1",
            "roles" | "rolebindings" => "/apis/rbac.authorization.k8s.io/v1",
            "milvuses" | "milvusupgrades" => "/apis/milvus.io/v1beta1",
            _ => "/api/v1",
        };
        format!("{group}/namespaces/{}/{plural}", self.namespace)
    }

    pub(crate) async fn create(&self, plural: &str, object: &Value) -> Value {
        self.admin.create(&self.path(plural), object).await
    }

    pub(crate) async fn get(&self, plural: &str, name: &str) -> Option<Value> {
        self.admin
            .get(&format!("{}/{name}", self.path(plural)))
            .await
    }

    pub(crate) async fn list(&self, plural: &str) -> Vec<Value> {
        self.admin.list(&self.path(plural)).await
    }

    pub(crate) async fn merge(&self, plural: &str, name: &str, change: &Value) -> Value {
        self.admin
            .merge(&format!("{}/{name}", self.path(plural)), change)
            .await
    }

    pub(crate) async fn delete(&self, plural: &str, name: &str) {
        self.admin
            .delete(&format!("{}/{name}", self.path(plural)))
            .await;
    }

    /// Deletes everything in the volume of a PVC.
    pub(crate) fn empty_volume(&self, claim: &str) {
        std::fs::remove_dir_all(self.volume(claim)).unwrap();
    }

    /// The local folder of a PVC's volume.
    pub(crate) fn volume(&self, claim: &str) -> PathBuf {
        self.folder.path().join("claims").join(claim)
    }

    /// The log of a pod, as `kubectl logs` shows it.
    pub(crate) async fn log(&self, pod: &str, query: &str) -> String {
        let path = format!("{}/{pod}/log{query}", self.path("pods"));
        self.admin.try_text(&path).await.unwrap()
    }

    /// Binds a Role to the upgrading user in this namespace.
    pub(crate) async fn grant(&self, mut role: Value) {
        role["metadata"] = json!({"name": "upgrader"});
        self.create("roles", &role).await;
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "upgrader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "upgrader"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": UPGRADER}],
        });
        self.create("rolebindings", &binding).await;
    }

    /// Whether the upgrading user has a right in this namespace.
    pub(crate) async fn may(&self, group: &str, resource: &str, verb: &str) -> bool {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "namespace": self.namespace, "group": group, "resource": resource,
                "subresource": subresource, "verb": verb,
            }},
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let answer = self.plane.api(UPGRADER).create(path, &review).await;
        answer["status"]["allowed"] == true
    }

    /// The image cannot be pulled.
    pub(crate) fn fail_pulls_of(&self, image: &str) {
        let mut behaviour = self.shared.behaviour();
        behaviour.missing_images.insert(image.to_owned());
    }

    /// Pods with the image run but never become ready.
    pub(crate) fn keep_unready(&self, image: &str) {
        let mut behaviour = self.shared.behaviour();
        behaviour.unready_images.insert(image.to_owned());
    }

    /// Pods of the component hang in Terminating.
    pub(crate) fn keep_terminating(&self, component: &str) {
        let mut behaviour = self.shared.behaviour();
        behaviour.hanging_components.insert(component.to_owned());
    }

    /// Starts the program as the upgrading user, or as the admin.
    pub(crate) fn start(&self, user: &str, arguments: &[&str]) -> Child {
        self.spawn(user, Command::new(PROGRAM).args(arguments))
    }

    /// Runs a script of `deploy/`, which finds the program in its environment.
    pub(crate) async fn run_script(&self, name: &str, arguments: &[&str]) -> Ended {
        let script = deployed(name);
        let mut command = Command::new("sh");
        let child = self.spawn(UPGRADER, command.arg(script).args(arguments));
        ended(child.wait_with_output().await.unwrap())
    }

    /// Runs the program as the upgrading user, without the confirmation that other runs pass.
    pub(crate) async fn run_unconfirmed(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new("env");
        let words = ["-u", "META_MIGRATION_YES", PROGRAM];
        let child = self.spawn(UPGRADER, command.args(words).args(arguments));
        ended(child.wait_with_output().await.unwrap())
    }

    /// Runs a shell command as the admin, with kubectl and the program on the PATH.
    pub(crate) async fn run_shell(&self, command: &str) -> Ended {
        let programs = self.programs();
        std::fs::create_dir_all(&programs).unwrap();
        for (name, program) in [
            ("kubectl", control_plane::assets().join("kubectl")),
            ("meta-migration", PathBuf::from(PROGRAM)),
        ] {
            // An earlier command may have created it.
            let _ = std::os::unix::fs::symlink(program, programs.join(name));
        }
        let path = format!("PATH={}:/usr/bin:/bin", programs.display());
        let mut shell = Command::new("env");
        let child = self.spawn(ADMIN, shell.args([&path, "sh", "-c", command]));
        ended(child.wait_with_output().await.unwrap())
    }

    /// The folder of the programs that `run_shell` finds.
    pub(crate) fn programs(&self) -> PathBuf {
        self.folder.path().join("programs")
    }

    fn spawn(&self, user: &str, command: &mut Command) -> Child {
        let file = self.folder.path().join(format!("{user}.json"));
        std::fs::write(&file, self.plane.kubeconfig(user, &self.namespace)).unwrap();
        command
            .env_clear()
            .env("KUBECONFIG", file)
            .env("META_MIGRATION", PROGRAM)
            .env("META_MIGRATION_YES", "true")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Creates all objects of a multi-document YAML text.
    pub(crate) async fn apply(&self, text: &str) {
        for object in documents(text) {
            self.create(plural(&object), &object).await;
        }
    }

    /// Waits until a Job has ended; returns whether it succeeded.
    pub(crate) async fn wait_for_job(&self, name: &str) -> bool {
        self.wait(name, async || {
            let job = self.get("jobs", name).await?;
            let conditions = process::items(&job["status"]["conditions"]);
            let ended = |kind: &str| conditions.iter().any(|one| one["type"] == kind);
            (ended("Complete") || ended("Failed")).then(|| ended("Complete"))
        })
        .await
    }

    /// Waits until a pod has ended; returns its exit code.
    pub(crate) async fn wait_for_pod(&self, name: &str) -> i64 {
        self.wait(name, async || {
            let pod = self.get("pods", name).await?;
            let state = &pod["status"]["containerStatuses"][0]["state"];
            state["terminated"]["exitCode"].as_i64()
        })
        .await
    }

    /// Runs the program as the upgrading user.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        let child = self.start(UPGRADER, arguments);
        ended(child.wait_with_output().await.unwrap())
    }

    /// Waits until `look` returns a value; `expected` describes it in the error.
    pub(crate) async fn wait<T>(
        &self,
        expected: &str,
        mut look: impl AsyncFnMut() -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            if Instant::now() > deadline {
                panic!("waited in vain for {expected}\n{}", self.overview().await);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until all Deployments have their replicas, and no other pod exists.
    pub(crate) async fn wait_until_settled(&self) {
        self.wait("all Deployments to settle", async || {
            let deployments = self.list("deployments").await;
            let settled = deployments.iter().all(|deployment| {
                let number = |field: &str| deployment["status"][field].as_i64().unwrap_or(0);
                let wanted = deployment["spec"]["replicas"].as_i64().unwrap();
                deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
                    && [
                        number("replicas"),
                        number("readyReplicas"),
                        number("updatedReplicas"),
                    ] == [wanted; 3]
            });
            let wanted: i64 = deployments
                .iter()
                .map(|deployment| deployment["spec"]["replicas"].as_i64().unwrap())
                .sum();
            let pods = self.list("pods").await;
            let owned = pods
                .iter()
                .filter(|pod| pod["metadata"]["labels"]["job-name"].is_null());
            let owned = i64::try_from(owned.count()).unwrap();
            (settled && owned == wanted && !deployments.is_empty()).then_some(())
        })
        .await;
    }

    /// The image and count of each Deployment.
    pub(crate) async fn deployments(&self) -> BTreeMap<String, (String, i64)> {
        let all = self
            .list("deployments")
            .await
            .into_iter()
            .map(|deployment| {
                let containers = &deployment["spec"]["template"]["spec"]["containers"];
                let milvus = process::items(containers).iter().next_back().unwrap();
                let image = process::text(&milvus["image"]);
                let count = deployment["spec"]["replicas"].as_i64().unwrap();
                (
                    process::text(&deployment["metadata"]["name"]),
                    (image, count),
                )
            });
        all.collect()
    }

    /// Fails if the node observed a breach.
    pub(crate) fn assert_no_breach(&self) {
        let events = self.shared.events();
        let breaches = breaches(&events);
        assert!(breaches.is_empty(), "{breaches:#?}\nin {events:#?}");
    }

    /// The state of the namespace, for error messages.
    async fn overview(&self) -> String {
        let mut text = String::new();
        for plural in ["deployments", "jobs", "pods", "persistentvolumeclaims"] {
            for object in self.list(plural).await {
                text += &format!(
                    "{plural} {}: {}\n",
                    object["metadata"]["name"], object["status"]
                );
            }
        }
        text + &format!("{:#?}", self.shared.events())
    }
}

impl Ended {
    /// Fails with both streams unless the exit code matches.
    pub(crate) fn expect(&self, code: i32) -> &Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    pub(crate) fn says(&self, text: &str) -> &Self {
        let said = self.stderr.contains(text) || self.stdout.contains(text);
        assert!(said, "{text:?} not in:\n{}\n{}", self.stdout, self.stderr);
        self
    }
}

/// A file of `deploy/`.
pub(crate) fn deployed(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    folder.join(name)
}

/// The documents of a YAML text.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// The plural of an object's kind, as in API paths.
pub(crate) fn plural(object: &Value) -> &'static str {
    let kind = process::text(&object["kind"]);
    match kind.as_str() {
        "ClusterRole" => "clusterroles",
        "ClusterRoleBinding" => "clusterrolebindings",
        "ConfigMap" => "configmaps",
        "Job" => "jobs",
        "PersistentVolumeClaim" => "persistentvolumeclaims",
        "Pod" => "pods",
        "Role" => "roles",
        "RoleBinding" => "rolebindings",
        "ServiceAccount" => "serviceaccounts",
        other => panic!("{other} is new here"),
    }
}

/// The result of a child process.
pub(crate) fn ended(output: Output) -> Ended {
    Ended {
        code: output.status.code().unwrap_or(137),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A pod that runs the program once.
pub(crate) fn tool_job(name: &str, arguments: &[&str]) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "tool", "image": TOOL_IMAGE, "args": arguments}],
        }}},
    })
}
