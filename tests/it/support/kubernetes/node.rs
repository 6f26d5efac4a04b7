//! Simulates the scheduler, volume provisioner and kubelet of one namespace.
//!
//! Milvus pods are simulated, unless the test has real servers: they hold sessions in etcd and are
//! ready or not. Pods of the tool image run the program.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::api::{Api, code};
use super::behaviour::{Event, Shared, TOOL_IMAGE};
use super::control_plane::ControlPlane;
use super::kubelet::{Log, Logs};
use super::process::{Host, Process, items, text};
use super::sessions::{Metadata, Session};
use super::status::{running, status};
use crate::support::milvus::Milvus;

/// The polling interval of the node.
const INTERVAL: Duration = Duration::from_millis(100);
/// The time of a process between TERM and KILL.
const GRACE: Duration = Duration::from_secs(20);

/// The node of one namespace.
pub(crate) struct Node {
    pub(crate) api: Api,
    plane: &'static ControlPlane,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) names: BTreeMap<String, String>,
    pub(crate) metadata: Metadata,
    pub(crate) shared: Arc<Shared>,
    pub(crate) logs: Logs,
    pods: BTreeMap<String, Pod>,
    next_server_id: u64,
}

/// The state of a pod on the node.
struct Pod {
    first_seen: Instant,
    stopping_since: Option<Instant>,
    session: Option<(String, Session)>,
    server: Option<(String, Milvus)>,
    process: Option<(Process, Arc<AtomicBool>)>,
    /// The status that was written last.
    last_status: Value,
    finished: bool,
}

/// The program of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Program {
    Milvus { component: String, image: String },
    Tool,
    Other,
}

impl Node {
    pub(crate) fn new(parts: NodeParts) -> Self {
        let NodeParts {
            api,
            plane,
            namespace,
            folder,
            names,
            metadata,
            shared,
            logs,
        } = parts;
        Self {
            name: format!("node-{namespace}"),
            api,
            plane,
            namespace,
            folder,
            names,
            metadata,
            shared,
            logs,
            pods: BTreeMap::new(),
            next_server_id: 1,
        }
    }

    /// Registers the node, whose logs are served at `port`.
    pub(crate) async fn register(&self, port: u16) {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name}});
        self.api.create("/api/v1/nodes", &node).await;
        let status = json!({"status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        let path = format!("/api/v1/nodes/{}/status", self.name);
        self.api.merge(&path, &status).await;
    }

    /// Runs the node until the runtime ends.
    pub(crate) async fn run(mut self) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.poll().await;
        }
    }

    async fn poll(&mut self) {
        let path = format!("/api/v1/namespaces/{}/pods", self.namespace);
        let pods = self.api.list(&path).await;
        let uids: Vec<String> = pods.iter().map(uid).collect();
        let removed: Vec<String> = self
            .pods
            .keys()
            .filter(|known| !uids.contains(known))
            .cloned()
            .collect();
        for uid in removed {
            // Removed by force: its process ends without a status.
            if let Some(pod) = self.pods.remove(&uid) {
                self.abandon_pod(pod).await;
            }
        }
        for object in &pods {
            let uid = uid(object);
            let mut pod = self.pods.remove(&uid).unwrap_or_else(Pod::new);
            let stays = self.step(object, &mut pod).await;
            if stays {
                self.pods.insert(uid, pod);
            }
        }
    }

    /// Performs the next action for a pod; `false` when the pod is removed.
    async fn step(&mut self, object: &Value, pod: &mut Pod) -> bool {
        let deleted = !object["metadata"]["deletionTimestamp"].is_null();
        if deleted {
            return self.stop(object, pod).await;
        }
        if object["spec"]["nodeName"].is_null() {
            self.schedule(object).await;
            return true;
        }
        let behaviour = self.shared.behaviour().clone();
        let spec = &object["spec"];
        let containers = items(&spec["initContainers"])
            .iter()
            .chain(items(&spec["containers"]));
        let missing = containers
            .map(|container| text(&container["image"]))
            .find(|image| behaviour.missing_images.contains(image));
        let started = pod.session.is_some() || pod.server.is_some() || pod.process.is_some();
        // An evicted pod, for example, is never started again.
        let over = matches!(
            text(&object["status"]["phase"]).as_str(),
            "Failed" | "Succeeded"
        );
        pod.finished |= over && !started;
        if pod.finished {
            return true;
        }
        if let Some(image) = missing.filter(|_| !started) {
            let reason = json!({"waiting": {
                "reason": "ImagePullBackOff",
                "message": format!("Back-off pulling image \"{image}\""),
            }});
            self.write_status(object, pod, status("Pending", false, object, &reason))
                .await;
            return true;
        }
        match program(object) {
            Program::Milvus { component, image } => {
                if !started {
                    self.start_milvus(&component, &image, pod).await;
                }
                let ready = match &pod.server {
                    Some((_, server)) => server.is_ready(),
                    None => pod.first_seen.elapsed() >= behaviour.start_delay,
                } && !behaviour.unready_images.contains(&image);
                self.write_status(object, pod, status("Running", ready, object, &running()))
                    .await;
            }
            Program::Tool => self.step_tool(object, pod).await,
            Program::Other => {
                self.write_status(object, pod, status("Running", true, object, &running()))
                    .await;
            }
        }
        true
    }

    /// Assigns the node to a pod whose PVCs have volumes.
    async fn schedule(&self, object: &Value) {
        let behaviour = self.shared.behaviour().clone();
        if !behaviour.schedule {
            return;
        }
        for volume in items(&object["spec"]["volumes"]) {
            let claim = volume["persistentVolumeClaim"]["claimName"].as_str();
            let Some(claim) = claim else { continue };
            if !self.claim_is_bound(claim, behaviour.bind_claims).await {
                return;
            }
        }
        let pod = text(&object["metadata"]["name"]);
        let path = format!("/api/v1/namespaces/{}/pods/{pod}/binding", self.namespace);
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self.name},
        });
        tolerate(self.api.try_create(&path, &binding).await);
    }

    /// Whether a PVC has its volume; creates it if `make` is set.
    async fn claim_is_bound(&self, claim: &str, make: bool) -> bool {
        let path = format!(
            "/api/v1/namespaces/{}/persistentvolumeclaims/{claim}",
            self.namespace
        );
        let Some(object) = self.api.get(&path).await else {
            return false;
        };
        if object["status"]["phase"] == "Bound" {
            return true;
        }
        if make && object["spec"]["volumeName"].is_null() {
            let volume = json!({
                "apiVersion": "v1", "kind": "PersistentVolume",
                "metadata": {"name": format!("volume-{}", uid(&object))},
                "spec": {
                    "capacity": {"storage": "100Gi"},
                    "accessModes": object["spec"]["accessModes"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "storageClassName": object["spec"]["storageClassName"],
                    "hostPath": {"path": self.folder.join("claims").join(claim)},
                    "claimRef": {
                        "namespace": self.namespace, "name": claim, "uid": object["metadata"]["uid"],
                    },
                },
            });
            tolerate(
                self.api
                    .try_create("/api/v1/persistentvolumes", &volume)
                    .await,
            );
        }
        false
    }

    async fn start_milvus(&mut self, component: &str, image: &str, pod: &mut Pod) {
        let layout = self.metadata.layout().await;
        self.shared.record(Event::MilvusStarted {
            component: component.to_owned(),
            image: image.to_owned(),
            layout,
        });
        let servers = self.shared.behaviour().servers.clone();
        if let Some(place) = servers {
            let release = image.rsplit_once(":v").unwrap().1;
            let server = Milvus::launch(release, &place);
            self.shared.set_client(server.new_client());
            pod.server = Some((component.to_owned(), server));
        } else {
            let session = self.metadata.register(component, self.next_server_id).await;
            self.next_server_id += 1;
            pod.session = Some((component.to_owned(), session));
        }
        pod.first_seen = Instant::now();
    }

    async fn step_tool(&mut self, object: &Value, pod: &mut Pod) {
        let container = &object["spec"]["containers"][0];
        if pod.process.is_none() && !self.start_tool(object, pod).await {
            return;
        }
        let Some((process, ended)) = &mut pod.process else {
            return;
        };
        let Some(exit) = process.exit_code() else {
            self.write_status(object, pod, status("Running", true, object, &running()))
                .await;
            return;
        };
        let message = process.last_words(container, exit);
        ended.store(true, Ordering::SeqCst);
        pod.finished = true;
        pod.process = None;
        self.shared.record(Event::ToolEnded {
            pod: text(&object["metadata"]["name"]),
            code: exit,
        });
        let (phase, reason) = if exit == 0 {
            ("Succeeded", "Completed")
        } else {
            ("Failed", "Error")
        };
        let state = json!({"terminated": {
            "exitCode": exit, "reason": reason, "message": message,
            "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z",
        }});
        self.write_status(object, pod, status(phase, false, object, &state))
            .await;
    }

    /// Returns `false` if it cannot start yet.
    async fn start_tool(&self, object: &Value, pod: &mut Pod) -> bool {
        let host = Host {
            api: &self.api,
            plane: self.plane,
            namespace: &self.namespace,
            folder: &self.folder,
            names: &self.names,
        };
        let prepared = match host.prepare(object).await {
            Ok(prepared) => prepared,
            Err(message) => {
                let state = json!({"waiting": {"reason": "CreateContainerConfigError", "message": message}});
                self.write_status(object, pod, status("Pending", false, object, &state))
                    .await;
                return false;
            }
        };
        let name = text(&object["metadata"]["name"]);
        let held = self.shared.behaviour().held_tools.clone();
        if held.iter().any(|part| name.contains(part)) {
            return false;
        }
        let container = text(&object["spec"]["containers"][0]["name"]);
        let ended = Arc::new(AtomicBool::new(false));
        let log = Log {
            file: prepared.log().to_owned(),
            places: prepared.places().clone(),
            ended: ended.clone(),
        };
        self.logs
            .lock()
            .unwrap()
            .insert(format!("{}/{name}/{container}", self.namespace), log);
        let (arguments, writes) = (prepared.arguments.clone(), prepared.writes());
        let process = prepared.start();
        self.shared.record(Event::ToolStarted {
            pod: name,
            arguments,
            writes,
            pid: process.pid,
        });
        pod.process = Some((process, ended));
        true
    }

    /// Ends a pod that is being deleted; `false` when it is removed.
    async fn stop(&mut self, object: &Value, pod: &mut Pod) -> bool {
        let asked = pod.stopping_since.is_some();
        let since = *pod.stopping_since.get_or_insert_with(Instant::now);
        let behaviour = self.shared.behaviour().clone();
        if behaviour.cut_off {
            return true;
        }
        if let Some((component, session)) = &pod.session {
            let hangs = behaviour.hanging_components.contains(component);
            if hangs || since.elapsed() < behaviour.stop_delay {
                return true;
            }
            if behaviour.lingering_sessions.contains(component) {
                if let Some(ttl) = behaviour.lingering_ttl {
                    self.metadata.abandon(session, ttl).await;
                }
            } else {
                self.metadata.revoke(session).await;
            }
            self.shared.record(Event::MilvusStopped {
                component: component.clone(),
            });
            pod.session = None;
        }
        if let Some((component, mut server)) = pod.server.take() {
            if !asked {
                server.terminate();
            }
            if server.is_running() && since.elapsed() < GRACE {
                pod.server = Some((component, server));
                return true;
            }
            server.kill();
            self.shared.record(Event::MilvusStopped { component });
        }
        if let Some((process, ended)) = &mut pod.process {
            process.ask_to_end();
            let Some(exit) = process.exit_code() else {
                if process
                    .asked_to_end
                    .is_some_and(|asked| asked.elapsed() > GRACE)
                {
                    process.kill();
                }
                return true;
            };
            ended.store(true, Ordering::SeqCst);
            self.shared.record(Event::ToolEnded {
                pod: text(&object["metadata"]["name"]),
                code: exit,
            });
            pod.process = None;
        }
        let name = text(&object["metadata"]["name"]);
        let path = format!("/api/v1/namespaces/{}/pods/{name}", self.namespace);
        self.api.finish_deletion(&path, &uid(object)).await;
        false
    }

    async fn abandon_pod(&self, pod: Pod) {
        if let Some((component, session)) = pod.session {
            self.metadata.revoke(&session).await;
            self.shared.record(Event::MilvusStopped { component });
        }
        if let Some((_, ended)) = pod.process {
            ended.store(true, Ordering::SeqCst);
        }
    }

    /// Writes a status if it changed.
    async fn write_status(&self, object: &Value, pod: &mut Pod, status: Value) {
        if pod.last_status == status {
            return;
        }
        let name = text(&object["metadata"]["name"]);
        let path = format!("/api/v1/namespaces/{}/pods/{name}/status", self.namespace);
        if tolerate(self.api.try_merge(&path, &json!({"status": status})).await) {
            pod.last_status = status;
        }
    }
}

/// The parts of a node.
pub(crate) struct NodeParts {
    pub(crate) api: Api,
    pub(crate) plane: &'static ControlPlane,
    pub(crate) namespace: String,
    pub(crate) folder: PathBuf,
    pub(crate) names: BTreeMap<String, String>,
    pub(crate) metadata: Metadata,
    pub(crate) shared: Arc<Shared>,
    pub(crate) logs: Logs,
}

impl Pod {
    fn new() -> Self {
        Self {
            first_seen: Instant::now(),
            stopping_since: None,
            session: None,
            server: None,
            process: None,
            last_status: Value::Null,
            finished: false,
        }
    }
}

/// Ignores a conflict: the next round reads the new object.
fn tolerate(done: Result<Value, kube::Error>) -> bool {
    match done {
        Ok(_) => true,
        Err(error) if matches!(code(&error), 404 | 409) => false,
        Err(error) => panic!("the node was refused: {error}"),
    }
}

fn uid(object: &Value) -> String {
    text(&object["metadata"]["uid"])
}

/// The program of a pod: that of the tool container, or of the one that runs `milvus run`.
fn program(object: &Value) -> Program {
    for container in items(&object["spec"]["containers"]) {
        let image = text(&container["image"]);
        if image == TOOL_IMAGE {
            return Program::Tool;
        }
        let words = items(&container["args"])
            .iter()
            .map(text)
            .collect::<Vec<_>>()
            .join(" ");
        let words: Vec<&str> = words.split_whitespace().collect();
        if let Some(three) = words
            .windows(3)
            .find(|three| three[..2] == ["milvus", "run"])
        {
            let component = three[2].to_owned();
            return Program::Milvus { component, image };
        }
    }
    Program::Other
}
