//! A pod of the tool image, run as a process: its mounts become folders, its paths are rewritten.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::api::Api;
use super::control_plane::ControlPlane;

/// Runs the program, forwards TERM to it, and kills it when its own input ends.
const KEEPER: &str = r#"
exec 3<&0
pid_file=$1
shift
"$@" </dev/null 3<&- &
program=$!
echo "$program" >"$pid_file.new"
mv "$pid_file.new" "$pid_file"
trap 'kill -TERM "$program"' TERM
(read -r _ <&3; kill -KILL "$program") >/dev/null 2>&1 &
reader=$!
while :; do
    wait "$program"
    code=$?
    kill -0 "$program" 2>/dev/null || break
done
kill "$reader" 2>/dev/null
exit "$code"
"#;

/// The path of the program in the image.
const PROGRAM_IN_IMAGE: &str = "/milvus/bin/meta-migration";
/// The default termination log of the image.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Pairs of paths or addresses: inside the container, and on this machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Vec<(String, String)>);

/// A running container of the tool image.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// The process id of the program, a child of the keeper.
    pub(crate) pid: u32,
    places: Places,
    log: PathBuf,
    termination_log: PathBuf,
    /// When TERM was sent.
    pub(crate) asked_to_end: Option<Instant>,
}

/// The environment for running a pod.
pub(crate) struct Host<'a> {
    pub(crate) api: &'a Api,
    pub(crate) plane: &'a ControlPlane,
    pub(crate) namespace: &'a str,
    /// The parent of the folders of pods and PVCs.
    pub(crate) folder: &'a Path,
    /// Replacements for addresses that do not resolve on this machine.
    pub(crate) names: &'a BTreeMap<String, String>,
}

/// The container, ready to run.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) arguments: Vec<String>,
    environment: Vec<(String, String)>,
    places: Places,
    log: PathBuf,
    termination_log: PathBuf,
}

impl Places {
    fn new(mut places: Vec<(String, String)>) -> Self {
        // The longest first: one may contain another.
        places.sort_by_key(|(inside, _)| std::cmp::Reverse(inside.len()));
        Self(places)
    }

    /// Replaces names of the container with those of this machine.
    fn outside(&self, text: &str) -> String {
        replaced(text, &self.0)
    }

    /// Replaces names of this machine with those of the container.
    pub(crate) fn inside(&self, text: &str) -> String {
        let paths = self.0.iter().filter(|(inside, _)| inside.starts_with('/'));
        let mut back: Vec<_> = paths
            .map(|(inside, outside)| (outside.clone(), inside.clone()))
            .collect();
        back.sort_by_key(|(outside, _)| std::cmp::Reverse(outside.len()));
        replaced(text, &back)
    }
}

impl Host<'_> {
    /// The folder of a PVC.
    pub(crate) fn claim_folder(&self, claim: &str) -> PathBuf {
        self.folder.join("claims").join(claim)
    }

    /// Prepares the mounts of a pod's only container, and its command line for this machine.
    ///
    /// # Errors
    ///
    /// The kubelet's message for a missing ConfigMap or Secret.
    pub(crate) async fn prepare(&self, pod: &Value) -> Result<Prepared, String> {
        let container = &pod["spec"]["containers"][0];
        let folder = self.folder.join("pods").join(text(&pod["metadata"]["uid"]));
        fs::create_dir_all(&folder).unwrap();
        let termination_log = folder.join("termination-log");
        fs::write(&termination_log, "").unwrap();
        let termination_path = container["terminationMessagePath"].as_str();
        let mut places = vec![(
            termination_path.unwrap_or(TERMINATION_LOG).to_owned(),
            termination_log.display().to_string(),
        )];
        places.extend(self.names.clone());
        let mut contents = Vec::new();
        for mount in items(&container["volumeMounts"]) {
            let volume = items(&pod["spec"]["volumes"]).iter();
            let volume = volume
                .clone()
                .find(|volume| volume["name"] == mount["name"])
                .ok_or_else(|| format!("no volume for {mount}"))?;
            let (place, files) = self.mount(volume, mount, &folder).await?;
            places.push((text(&mount["mountPath"]), place.display().to_string()));
            contents.extend(files);
        }
        places.push((
            PROGRAM_IN_IMAGE.to_owned(),
            env!("CARGO_BIN_EXE_meta-migration").to_owned(),
        ));
        let places = Places::new(places);
        // A volume may be mounted twice.
        for file in contents.iter().collect::<BTreeSet<_>>() {
            let content = fs::read_to_string(file).unwrap();
            fs::write(file, places.outside(&content)).unwrap();
        }
        let mut arguments: Vec<String> = [&container["command"], &container["args"]]
            .iter()
            .flat_map(|list| items(list))
            .map(|word| places.outside(&text(word)))
            .collect();
        if items(&container["command"]).is_empty() {
            arguments.insert(0, env!("CARGO_BIN_EXE_meta-migration").to_owned());
        }
        let environment = self.environment(pod, container).await?.into_iter();
        let environment = environment.map(|(name, value)| (name, places.outside(&value)));
        let mut environment: Vec<_> = environment.collect();
        environment.extend(self.account(pod, &folder).await);
        Ok(Prepared {
            arguments,
            environment,
            places,
            log: folder.join("log"),
            termination_log,
        })
    }

    /// The folder or file of a mount, and its files whose paths must be rewritten.
    async fn mount(
        &self,
        volume: &Value,
        mount: &Value,
        pod_folder: &Path,
    ) -> Result<(PathBuf, Vec<PathBuf>), String> {
        let claim = volume["persistentVolumeClaim"]["claimName"].as_str();
        let folder = claim.map_or_else(
            || pod_folder.join(text(&volume["name"])),
            |claim| self.claim_folder(claim),
        );
        fs::create_dir_all(&folder).unwrap();
        let mut rewritten = Vec::new();
        let sources = [("configMap", "name"), ("secret", "secretName")];
        for (kind, field) in sources {
            let Some(name) = volume[kind][field].as_str() else {
                continue;
            };
            let data = self.data(kind, name).await?;
            for (key, content) in data {
                let chosen = items(&volume[kind]["items"]);
                let item = chosen.iter().find(|item| item["key"] == *key);
                if !chosen.is_empty() && item.is_none() {
                    continue;
                }
                let path = folder.join(item.map_or(key.clone(), |item| text(&item["path"])));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, content).unwrap();
                if kind == "configMap" {
                    rewritten.push(path);
                }
            }
        }
        let shown = match mount["subPath"].as_str() {
            Some(sub_path) => folder.join(sub_path),
            None => folder,
        };
        Ok((shown, rewritten))
    }

    /// The content of a `ConfigMap` or Secret.
    async fn data(&self, kind: &str, name: &str) -> Result<BTreeMap<String, Vec<u8>>, String> {
        let plural = if kind == "configMap" {
            "configmaps"
        } else {
            "secrets"
        };
        let path = format!("/api/v1/namespaces/{}/{plural}/{name}", self.namespace);
        let found = self.api.get(&path).await;
        let found = found.ok_or_else(|| format!("{plural} \"{name}\" not found"))?;
        let data = found["data"].as_object().cloned().unwrap_or_default();
        let decoded = data.into_iter().map(|(key, value)| {
            let content = if kind == "configMap" {
                text(&value).into_bytes()
            } else {
                STANDARD.decode(text(&value)).unwrap()
            };
            (key, content)
        });
        Ok(decoded.collect())
    }

    async fn environment(
        &self,
        pod: &Value,
        container: &Value,
    ) -> Result<Vec<(String, String)>, String> {
        let mut environment = Vec::new();
        for variable in items(&container["env"]) {
            let from = &variable["valueFrom"];
            let field = from["fieldRef"]["fieldPath"].as_str();
            let value = if let Some(path) = field {
                text(
                    &pod.pointer(&format!("/{}", path.replace('.', "/")))
                        .cloned()
                        .unwrap_or_default(),
                )
            } else if let Some(key) = from["secretKeyRef"]["key"].as_str() {
                self.reference("secret", &from["secretKeyRef"], key).await?
            } else if let Some(key) = from["configMapKeyRef"]["key"].as_str() {
                self.reference("configMap", &from["configMapKeyRef"], key)
                    .await?
            } else {
                text(&variable["value"])
            };
            environment.push((text(&variable["name"]), value));
        }
        Ok(environment)
    }

    /// A kubeconfig in place of the token of the pod's account, because tests cannot write to the
    /// path where the program looks for the token.
    async fn account(&self, pod: &Value, folder: &Path) -> Option<(String, String)> {
        let spec = &pod["spec"];
        let account = spec["serviceAccountName"].as_str()?;
        if spec["automountServiceAccountToken"] == false {
            return None;
        }
        let path = format!(
            "/api/v1/namespaces/{}/serviceaccounts/{account}/token",
            self.namespace
        );
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {},
        });
        let made = self.api.try_create(&path, &request).await.ok()?;
        let token = text(&made["status"]["token"]);
        let file = folder.join("kubeconfig");
        let config = self.plane.kubeconfig_with(account, &token, self.namespace);
        fs::write(&file, config).unwrap();
        Some(("KUBECONFIG".to_owned(), file.display().to_string()))
    }

    async fn reference(&self, kind: &str, from: &Value, key: &str) -> Result<String, String> {
        let name = text(&from["name"]);
        let data = match self.data(kind, &name).await {
            Err(_) if from["optional"] == true => return Ok(String::new()),
            data => data?,
        };
        match data.get(key) {
            Some(content) => Ok(String::from_utf8_lossy(content).into_owned()),
            None if from["optional"] == true => Ok(String::new()),
            None => Err(format!("couldn't find key {key} in {name}")),
        }
    }
}

impl Prepared {
    /// Starts it.
    pub(crate) fn start(self) -> Process {
        let pid_file = self.log.with_file_name("pid");
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let child = Command::new("sh")
            .args(["-c", KEEPER, "container"])
            .arg(&pid_file)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.environment)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let pid = loop {
            if let Ok(pid) = fs::read_to_string(&pid_file) {
                break pid.trim().parse().unwrap();
            }
            std::thread::yield_now();
        };
        Process {
            child,
            pid,
            places: self.places,
            log: self.log,
            termination_log: self.termination_log,
            asked_to_end: None,
        }
    }

    /// Whether the program can change metadata, by its command or that of its configuration file.
    pub(crate) fn writes(&self) -> bool {
        let words = self
            .arguments
            .iter()
            .flat_map(|argument| argument.split([' ', '=']));
        let reads = ["status", "plan", "verify", "backup", "--dry-run"];
        if words.clone().any(|word| reads.contains(&word)) {
            return false;
        }
        let says = |file: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            text.contains("type: run") || text.contains("type: rollback")
        };
        words.clone().any(|word| {
            ["migrate", "rollback", "restore"].contains(&word)
                || word.ends_with(".yaml") && says(word)
        })
    }

    /// The file of its output.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The names in its output to replace.
    pub(crate) fn places(&self) -> &Places {
        &self.places
    }
}

impl Process {
    /// The exit code, if it has ended.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let status = self.child.try_wait().unwrap()?;
        Some(status.code().unwrap_or(137))
    }

    /// Sends TERM, as a kubelet does.
    pub(crate) fn ask_to_end(&mut self) {
        if self.asked_to_end.is_none() {
            self.asked_to_end = Some(Instant::now());
            let _ = Command::new("kill")
                .args(["-TERM", &self.child.id().to_string()])
                .status();
        }
    }

    /// Kills the process.
    pub(crate) fn kill(&mut self) {
        drop(self.child.stdin.take());
    }

    /// The message in the pod's status: the termination log, or the end of the log.
    pub(crate) fn last_words(&self, container: &Value, code: i32) -> String {
        let own = fs::read_to_string(&self.termination_log).unwrap_or_default();
        let own = self.places.inside(&own);
        let falls_back = container["terminationMessagePolicy"] == "FallbackToLogsOnError";
        if !own.is_empty() || !falls_back || code == 0 {
            return own;
        }
        let log = fs::read(&self.log).unwrap_or_default();
        let end = &log[log.len().saturating_sub(2048)..];
        self.places.inside(&String::from_utf8_lossy(end))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

/// The elements of a list, or none.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The string, or the value as JSON text.
pub(crate) fn text(value: &Value) -> String {
    if value.is_null() {
        return String::new();
    }
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Replaces names, each once and only in full: `/tmp` does not match in `/a/tmp` or `/tmpfs`.
fn replaced(text: &str, names: &[(String, String)]) -> String {
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some(next) = rest.chars().next() {
        let found = names.iter().find_map(|(from, to)| {
            let behind = rest.strip_prefix(from.as_str())?;
            let begins =
                !before.is_some_and(|before| belongs(before) || before == '/' && next == '/');
            let ends = !behind.starts_with(belongs);
            (begins && ends).then_some((from, to, behind))
        });
        if let Some((from, to, behind)) = found {
            done.push_str(to);
            before = from.chars().next_back();
            rest = behind;
        } else {
            done.push(next);
            before = Some(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    done
}

/// Whether a character belongs to a name.
fn belongs(character: char) -> bool {
    character.is_ascii_alphanumeric() || "._-".contains(character)
}

#[test]
fn paths_are_replaced_once_and_only_in_full() {
    let pairs = |pairs: &[(&str, &str)]| {
        let owned = pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        Places::new(owned.collect())
    };
    let places = pairs(&[
        ("/tmp", "/tmp/x/pods/scratch"),
        ("/milvus/data", "/tmp/x/claims/c"),
        ("etcd:2379", "127.0.0.1:9"),
    ]);
    let inside = "-config=/milvus/data/tmp/a.yaml /tmp /tmpfs /milvus/database http://etcd:2379,my-etcd:2379";
    let outside = places.outside(inside);
    assert_eq!(
        outside,
        "-config=/tmp/x/claims/c/tmp/a.yaml /tmp/x/pods/scratch /tmpfs /milvus/database \
         http://127.0.0.1:9,my-etcd:2379"
    );
    assert_eq!(places.inside("see /tmp/x/claims/c/b"), "see /milvus/data/b");
}
