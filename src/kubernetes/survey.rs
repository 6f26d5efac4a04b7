//! Collects the facts that are judged before an upgrade; changes nothing.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};

use super::cluster::{Cluster, ClusterError};
use super::condition::containers;
use super::discovery::etcd::{self, Configured};
use super::discovery::helm::{self, HelmRelease};
use super::discovery::{self, LABEL_APP_INSTANCE};
use super::preflight::{Facts, rights};
use super::record::{TlsSecret, Workload};

/// Files that Milvus reads, the later winning.
const FILES: [&str; 3] = ["default.yaml", "milvus.yaml", "user.yaml"];

/// The selector that finds an instance, unless another one is given.
#[must_use]
pub fn selector(instance: &str, given: Option<&str>) -> String {
    given.map_or_else(|| format!("{LABEL_APP_INSTANCE}={instance}"), str::to_owned)
}

/// Collects the facts.
///
/// # Errors
/// When what every upgrade needs cannot be read.
pub async fn facts(
    cluster: &Cluster,
    instance: &str,
    given: Option<&str>,
) -> Result<Facts, ClusterError> {
    let selector = selector(instance, given);
    let deployments: Vec<Deployment> = cluster.list(&selector).await?;
    let workloads = discovery::workloads(&deployments);
    let resource = cluster.milvus(instance).await?;
    let is_operators = deployments.iter().any(discovery::is_operators);
    let mut missing_rights = Vec::new();
    for right in rights(resource.is_some()) {
        if !cluster.may(&right).await? {
            missing_rights.push(right);
        }
    }
    let (helm, helm_problem) = helm_release(cluster, instance, &deployments).await?;
    let (configured, configured_problem) = match &resource {
        Some(resource) => {
            let spec = resource.get("spec").cloned().unwrap_or_default();
            (
                etcd::from_resource(instance, cluster.namespace(), &spec),
                None,
            )
        }
        None => configured(cluster, instance, &deployments, &workloads.found).await?,
    };
    Ok(Facts {
        instance: instance.to_owned(),
        namespace: cluster.namespace().to_owned(),
        pods: pods(cluster, &deployments, &workloads.found).await?,
        upgrades: if resource.is_some() {
            cluster.milvus_upgrades().await?
        } else {
            Vec::new()
        },
        autoscalers: optional(cluster.list::<HorizontalPodAutoscaler>("").await)?,
        scaled_objects: cluster.scaled_objects().await?,
        workloads,
        deployments,
        resource,
        is_operators,
        helm,
        helm_problem,
        configured,
        configured_problem,
        missing_rights,
    })
}

/// What is only worth a warning may be forbidden.
fn optional<T>(found: Result<Vec<T>, ClusterError>) -> Result<Vec<T>, ClusterError> {
    match found {
        Err(error) if error.is_forbidden() || error.is_missing() => Ok(Vec::new()),
        found => found,
    }
}

async fn pods(
    cluster: &Cluster,
    deployments: &[Deployment],
    workloads: &[Workload],
) -> Result<BTreeMap<String, (usize, usize)>, ClusterError> {
    let mut counts = BTreeMap::new();
    for deployment in deployments {
        let name = deployment.metadata.name.clone().unwrap_or_default();
        let Some(selector) = discovery::pod_selector(deployment) else {
            continue;
        };
        if !workloads.iter().any(|one| one.name == name) {
            continue;
        }
        let pods: Vec<Pod> = cluster.list(&selector).await?;
        let is_ready = |pod: &&Pod| {
            let conditions = pod
                .status
                .iter()
                .flat_map(|status| status.conditions.iter().flatten());
            let mut ready = conditions.filter(|one| one.type_ == "Ready");
            ready.any(|one| one.status == "True")
        };
        counts.insert(name, (pods.iter().filter(is_ready).count(), pods.len()));
    }
    Ok(counts)
}

/// Helm's own record, or what the chart's labels tell where Secrets may not be read.
async fn helm_release(
    cluster: &Cluster,
    instance: &str,
    deployments: &[Deployment],
) -> Result<(Option<HelmRelease>, Option<String>), ClusterError> {
    let found: Result<Vec<Secret>, _> = cluster.list(&format!("owner=helm,name={instance}")).await;
    match found {
        Ok(secrets) => match helm::newest(&secrets) {
            Ok(Some(release)) => return Ok((Some(release), None)),
            Ok(None) => {}
            Err(problem) => return Ok((from_labels(instance, deployments), Some(problem))),
        },
        Err(error) if error.is_forbidden() => {}
        Err(error) => return Err(error),
    }
    Ok((from_labels(instance, deployments), None))
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
        })
    })
}

/// What the files that Milvus mounts and its environment say.
async fn configured(
    cluster: &Cluster,
    instance: &str,
    deployments: &[Deployment],
    workloads: &[Workload],
) -> Result<(Configured, Option<String>), ClusterError> {
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
            let Some(map) = cluster.get::<ConfigMap>(&map).await? else {
                continue;
            };
            for file in FILES {
                let Some(text) = map.data.as_ref().and_then(|data| data.get(file)) else {
                    continue;
                };
                match etcd::from_yaml(text) {
                    Ok(said) => joined = joined.overridden_by(said),
                    Err(told) => problem = Some(format!("{file} cannot be read: {told}")),
                }
            }
        }
        let container = containers(deployment)
            .iter()
            .find(|one| one.name == workload.container);
        let variables = container.iter().flat_map(|one| one.env.iter().flatten());
        let values = variables.filter_map(|one| Some((one.name.as_str(), one.value.as_deref()?)));
        joined = joined.overridden_by(etcd::from_environment(values));
    }
    if joined.endpoints.is_none() {
        joined.endpoints = etcd_service(cluster, instance).await?.map(|one| vec![one]);
    }
    Ok((joined, problem))
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
async fn etcd_service(cluster: &Cluster, instance: &str) -> Result<Option<String>, ClusterError> {
    let selector = format!("{LABEL_APP_INSTANCE}={instance},app.kubernetes.io/name=etcd");
    let services: Vec<Service> = cluster.list(&selector).await?;
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
///
/// # Errors
/// Of the request.
pub async fn tls_secret(cluster: &Cluster, name: &str) -> Result<Option<TlsSecret>, ClusterError> {
    let Some(secret) = cluster.get::<Secret>(name).await? else {
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
