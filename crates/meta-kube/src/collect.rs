//! Collects the facts that are checked before an upgrade; changes nothing.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, PersistentVolumeClaim, Pod, Secret, Service,
};
use k8s_openapi::api::storage::v1::StorageClass;

use super::client::{Client, ClientError, if_allowed};
use super::condition::{claim_defect, containers};
use super::discovery::configuration::{self, Configured};
use super::discovery::helm::{self, HelmRelease};
use super::discovery::{self, LABEL_APP_INSTANCE};
use super::lease::{DURATION_S, holder_of};
use super::leftovers::{last_operation, versions};
use super::preflight::{Facts, PodFact, Right, Storage, rights, secret_right};
use super::state::{TlsSecret, Workload};
use super::{LABEL_INSTANCE, config_name};

/// Files that Milvus reads, the later winning.
const FILES: [&str; 3] = ["default.yaml", "milvus.yaml", "user.yaml"];

/// By which OpenShift says that it assigns the users of pods, and from which range.
const USER_RANGE: &str = "openshift.io/sa.scc.uid-range";

/// The selector that finds an instance, unless another one is given.
pub(crate) fn selector(instance: &str, given: Option<&str>) -> String {
    given.map_or_else(|| format!("{LABEL_APP_INSTANCE}={instance}"), str::to_owned)
}

/// What to look at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scope<'a> {
    /// The instance.
    pub instance: &'a str,
    /// A selector other than the instance's label.
    pub selector: Option<&'a str>,
    /// The claim for backups; empty where none is needed.
    pub claim: &'a str,
    /// A Secret whose keys have to be seen.
    pub secret: Option<&'a str>,
}

/// What may not be seen is noted, and taken for empty: the missing rights are reported all at once.
#[derive(Default)]
struct Unseen(Vec<String>);

impl Unseen {
    fn or_default<T: Default>(
        &mut self,
        what: &str,
        found: Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        match found {
            Err(error) if error.is_forbidden() => {
                if !self.0.iter().any(|one| one == what) {
                    self.0.push(what.to_owned());
                }
                Ok(T::default())
            }
            // A kind that the server does not know.
            Err(error) if error.is_missing() => Ok(T::default()),
            found => found,
        }
    }
}

/// Collects the facts. What may not be seen is among them.
pub(crate) async fn facts(client: &Client, scope: Scope<'_>) -> Result<Facts, ClientError> {
    let instance = scope.instance;
    let mut unseen = Unseen::default();
    let selector = selector(instance, scope.selector);
    let deployments: Vec<Deployment> =
        unseen.or_default("Deployments", client.list(&selector).await)?;
    let workloads = discovery::workloads(&deployments);
    let resource = client.milvus(instance).await?;
    let is_operators = deployments.iter().any(discovery::is_operators);
    let missing_rights =
        missing_rights(client, resource.is_some() || is_operators, scope.secret).await?;
    let (helm, helm_problem) = helm_release(client, instance, &deployments, &mut unseen).await?;
    let (configured, configured_problem) = match &resource {
        Some(resource) => {
            let spec = resource.get("spec").cloned().unwrap_or_default();
            let said = configuration::from_resource(instance, client.namespace(), &spec);
            (said, None)
        }
        None => {
            let found = &workloads.found;
            configured(client, instance, &deployments, found, &mut unseen).await?
        }
    };
    let pods = pods(client, &deployments, &workloads.found, &mut unseen).await?;
    let upgrades = match &resource {
        Some(_) => unseen.or_default("MilvusUpgrades", client.milvus_upgrades().await)?,
        None => Vec::new(),
    };
    let autoscalers: Vec<HorizontalPodAutoscaler> =
        unseen.or_default("HorizontalPodAutoscalers", client.list("").await)?;
    let scaled_objects =
        unseen.or_default("KEDA's ScaledObjects", client.scaled_objects().await)?;
    let storage = storage(client, scope.claim, &mut unseen).await?;
    let known =
        resource.is_some() || !workloads.found.is_empty() || !workloads.ambiguous.is_empty();
    let instances = instances(client, known, &mut unseen).await?;
    let annotations = client.namespace_annotations().await.unwrap_or_default();
    let tls = tls_secret(client, scope.secret, &mut unseen).await?;
    let jobs: Vec<Job> = if_allowed(client.list(&format!("{LABEL_INSTANCE}={instance}")).await)?;
    Ok(Facts {
        last_versions: last_versions(client, &jobs).await?,
        jobs,
        quotas: if_allowed(client.list("").await)?,
        limit_ranges: if_allowed(client.list("").await)?,
        tls,
        user_range: annotations.get(USER_RANGE).cloned(),
        instances,
        instance: instance.to_owned(),
        namespace: client.namespace().to_owned(),
        pods,
        upgrades,
        autoscalers,
        scaled_objects,
        workloads,
        deployments,
        resource,
        is_operators,
        helm,
        helm_problem,
        configured,
        configured_problem,
        missing_rights,
        storage,
        unseen: unseen.0,
        ..Facts::default()
    })
}

/// Who works on the instance now, by its Lease; `None` too without the right to see it.
pub(crate) async fn active_orchestrator(
    client: &Client,
    instance: &str,
) -> Result<Option<String>, ClientError> {
    let holder = if_allowed(holder_of(client, instance).await)?;
    let is_alive = |seconds: &Option<i64>| seconds.is_none_or(|one| one <= i64::from(DURATION_S));
    Ok(holder
        .filter(|(_, seconds)| is_alive(seconds))
        .map(|(holder, _)| holder))
}

/// Which instances there are, where `instance` is none of them; empty where it is one, and where that is unknown.
pub(crate) async fn other_instances(client: &Client, instance: &str) -> String {
    let all = client.list::<Deployment>("").await.unwrap_or_default();
    let instances = discovery::instances(&all);
    if instances.is_empty() || instances.iter().any(|one| one == instance) {
        return String::new();
    }
    format!("; instances in this namespace: {}", instances.join(", "))
}

/// The versions of the upgrade that made the newest backup.
async fn last_versions(
    client: &Client,
    jobs: &[Job],
) -> Result<Option<(String, String)>, ClientError> {
    let Some(operation) = last_operation(jobs) else {
        return Ok(None);
    };
    let config: Option<ConfigMap> = if_allowed(client.get(&config_name(&operation)).await)?;
    Ok(config.as_ref().and_then(versions))
}

/// The Milvus instances of the namespace, where this one is not known.
async fn instances(
    client: &Client,
    known: bool,
    unseen: &mut Unseen,
) -> Result<Vec<String>, ClientError> {
    if known {
        return Ok(Vec::new());
    }
    let all: Vec<Deployment> = unseen.or_default("Deployments", client.list("").await)?;
    Ok(discovery::instances(&all))
}

/// The rights that an upgrade needs and we do not have.
pub(crate) async fn missing_rights(
    client: &Client,
    operator_managed: bool,
    secret: Option<&str>,
) -> Result<Vec<Right>, ClientError> {
    let mut missing = Vec::new();
    let needed = rights(operator_managed).into_iter();
    for right in needed.chain(secret.map(secret_right)) {
        if !client.can_i(&right).await? {
            missing.push(right);
        }
    }
    Ok(missing)
}

async fn storage(
    client: &Client,
    claim: &str,
    unseen: &mut Unseen,
) -> Result<Storage, ClientError> {
    if claim.is_empty() {
        return Ok(Storage::default());
    }
    let found: Option<PersistentVolumeClaim> =
        unseen.or_default("PersistentVolumeClaims", client.get(claim).await)?;
    let classes = client.storage_classes().await?;
    if classes.is_none() {
        unseen.0.push("storage classes".to_owned());
    }
    let is_default = |class: &&StorageClass| {
        let annotations = class.metadata.annotations.as_ref();
        let says = |key: &str| {
            annotations.is_some_and(|map| map.get(key).is_some_and(|text| text == "true"))
        };
        says("storageclass.kubernetes.io/is-default-class")
            || says("storageclass.beta.kubernetes.io/is-default-class")
    };
    let name = |class: &StorageClass| class.metadata.name.clone().unwrap_or_default();
    Ok(Storage {
        claim: claim.to_owned(),
        exists: found.is_some(),
        problem: found.as_ref().and_then(claim_defect),
        default_class: classes.iter().flatten().find(is_default).map(name),
        classes: classes.map(|all| {
            let mut names: Vec<String> = all.iter().map(name).collect();
            names.sort();
            names
        }),
    })
}

async fn pods(
    client: &Client,
    deployments: &[Deployment],
    workloads: &[Workload],
    unseen: &mut Unseen,
) -> Result<BTreeMap<String, Vec<PodFact>>, ClientError> {
    let mut all = BTreeMap::new();
    for deployment in deployments {
        let name = deployment.metadata.name.clone().unwrap_or_default();
        let Some(workload) = workloads.iter().find(|one| one.name == name) else {
            continue;
        };
        let found = unseen.or_default("Pods", client.pods_of(Some(deployment)).await)?;
        let facts = found.iter().map(|pod| pod_fact(pod, &workload.container));
        all.insert(name, facts.collect());
    }
    Ok(all)
}

fn pod_fact(pod: &Pod, container: &str) -> PodFact {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|one| one.type_ == "Ready");
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut named = containers.filter(|one| one.name == container);
    PodFact {
        name: pod.metadata.name.clone().unwrap_or_default(),
        image: named
            .next()
            .and_then(|one| one.image.clone())
            .unwrap_or_default(),
        ready: ready.any(|one| one.status == "True"),
        scc: pod
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get("openshift.io/scc").cloned()),
    }
}

/// Helm's own record, or the chart's labels where that may not be read. Helm keeps it in
/// Secrets, unless it is configured to use `ConfigMaps`.
async fn helm_release(
    client: &Client,
    instance: &str,
    deployments: &[Deployment],
    unseen: &mut Unseen,
) -> Result<(Option<HelmRelease>, Option<String>), ClientError> {
    let selector = format!("owner=helm,name={instance}");
    let secrets: Vec<Secret> =
        unseen.or_default("Helm's record (Secrets)", client.list(&selector).await)?;
    let mut found = helm::newest(&secrets);
    if matches!(found, Ok(None)) {
        let maps: Vec<ConfigMap> = if_allowed(client.list(&selector).await)?;
        found = helm::newest_of_maps(&maps);
    }
    Ok(match found {
        Ok(Some(release)) => (Some(release), None),
        Ok(None) => (from_labels(instance, deployments), None),
        Err(problem) => (from_labels(instance, deployments), Some(problem)),
    })
}

fn from_labels(instance: &str, deployments: &[Deployment]) -> Option<HelmRelease> {
    deployments.iter().find_map(|deployment| {
        let labels = deployment.metadata.labels.as_ref()?;
        let version = labels.get("app.kubernetes.io/version");
        Some(HelmRelease {
            name: instance.to_owned(),
            revision: 0,
            status: String::new(),
            chart: labels.get("helm.sh/chart")?.clone(),
            app_version: version.cloned().unwrap_or_default(),
            ..HelmRelease::default()
        })
    })
}

/// What the files that Milvus mounts and its environment say.
async fn configured(
    client: &Client,
    instance: &str,
    deployments: &[Deployment],
    workloads: &[Workload],
    unseen: &mut Unseen,
) -> Result<(Configured, Option<String>), ClientError> {
    let mut joined = Configured::default();
    let mut problem = None;
    let first = workloads.first().and_then(|workload| {
        let named = |one: &&Deployment| one.metadata.name.as_ref() == Some(&workload.name);
        deployments
            .iter()
            .find(named)
            .map(|found| (workload, found))
    });
    if let Some((workload, deployment)) = first {
        for map in mounted_maps(deployment) {
            let found = client.get::<ConfigMap>(&map).await;
            let Some(map) = unseen.or_default("ConfigMaps", found)? else {
                continue;
            };
            for file in FILES {
                let Some(text) = map.data.as_ref().and_then(|data| data.get(file)) else {
                    continue;
                };
                match configuration::from_yaml(text) {
                    Ok(said) => joined = joined.overridden_by(said),
                    Err(reported) => problem = Some(format!("{file} cannot be read: {reported}")),
                }
            }
        }
        let container = containers(deployment)
            .iter()
            .find(|one| one.name == workload.container);
        if let Some(container) = container {
            let (variables, hidden) = environment(client, container, unseen).await?;
            let values = variables
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()));
            joined = joined.overridden_by(configuration::from_environment(values));
            if problem.is_none() && !hidden.is_empty() {
                problem = Some(format!(
                    "environment variables from Secrets are not read, but may configure the metadata: {}",
                    hidden.join(", ")
                ));
            }
        }
    }
    if joined.endpoints.is_none() {
        let found = etcd_service(client, instance).await;
        joined.endpoints = unseen.or_default("Services", found)?.map(|one| vec![one]);
    }
    Ok((joined, problem))
}

/// The environment of a container as far as no Secret holds it, and the Secrets' names.
async fn environment(
    client: &Client,
    container: &Container,
    unseen: &mut Unseen,
) -> Result<(Vec<(String, String)>, Vec<String>), ClientError> {
    let (mut variables, mut hidden) = (Vec::new(), Vec::new());
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.clone().unwrap_or_default();
        if let Some(from) = &source.config_map_ref {
            let found = client.get::<ConfigMap>(&from.name).await;
            let map = unseen.or_default("ConfigMaps", found)?;
            let data = map.and_then(|map| map.data).unwrap_or_default();
            let all = data.into_iter();
            variables.extend(all.map(|(name, value)| (format!("{prefix}{name}"), value)));
        }
        hidden.extend(source.secret_ref.iter().map(|from| from.name.clone()));
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = &variable.value {
            variables.push((variable.name.clone(), value.clone()));
        }
        let from = variable.value_from.as_ref();
        if let Some(from) = from.and_then(|from| from.config_map_key_ref.as_ref()) {
            let found = client.get::<ConfigMap>(&from.name).await;
            let map = unseen.or_default("ConfigMaps", found)?;
            let value = map.and_then(|map| map.data?.get(&from.key).cloned());
            variables.extend(value.map(|value| (variable.name.clone(), value)));
        }
        let secret = from.and_then(|from| from.secret_key_ref.as_ref());
        if let Some(secret) = secret.filter(|_| configuration::is_setting(&variable.name)) {
            hidden.push(secret.name.clone());
        }
    }
    Ok((variables, hidden))
}

fn mounted_maps(deployment: &Deployment) -> Vec<String> {
    let pod = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let volumes = pod.into_iter().flat_map(|pod| pod.volumes.iter().flatten());
    volumes
        .filter_map(|volume| volume.config_map.as_ref().map(|map| map.name.clone()))
        .collect()
}

/// The client Service of the etcd that came with the chart; the headless one has no address.
async fn etcd_service(client: &Client, instance: &str) -> Result<Option<String>, ClientError> {
    let selector = format!("{LABEL_APP_INSTANCE}={instance},app.kubernetes.io/name=etcd");
    let services: Vec<Service> = client.list(&selector).await?;
    Ok(services.iter().find_map(|service| {
        let spec = service.spec.as_ref()?;
        if spec.cluster_ip.as_deref() == Some("None") {
            return None;
        }
        let ports = spec.ports.as_ref()?;
        let named = ports
            .iter()
            .find(|port| port.name.as_deref() == Some("client"));
        let port = named.or_else(|| ports.iter().find(|port| port.port == 2379))?;
        Some(format!("{}:{}", service.metadata.name.as_ref()?, port.port))
    }))
}

/// Looks which certificates a Secret holds; their content goes nowhere.
async fn tls_secret(
    client: &Client,
    name: Option<&str>,
    unseen: &mut Unseen,
) -> Result<Option<TlsSecret>, ClientError> {
    let Some(name) = name else { return Ok(None) };
    let found: Option<Secret> = unseen.or_default("Secrets", client.get(name).await)?;
    let Some(secret) = found else {
        return Ok(None);
    };
    let has = |names: [&str; 2]| {
        let data = secret.data.as_ref()?;
        let found = names.into_iter().find(|name| data.contains_key(*name));
        found.map(str::to_owned)
    };
    Ok(Some(TlsSecret {
        name: name.to_owned(),
        ca: has(["ca.crt", "ca.pem"]),
        cert: has(["tls.crt", "cert.pem"]),
        key: has(["tls.key", "key.pem"]),
    }))
}
