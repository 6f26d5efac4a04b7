//! Collects the facts for the checks before an upgrade; changes nothing.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, PersistentVolumeClaim, Pod, Secret, Service,
};
use k8s_openapi::api::storage::v1::StorageClass;

use super::client::{Client, ClientError, Object, if_allowed};
use super::condition::{claim_defect, container};
use super::discovery;
use super::discovery::configuration;
use super::discovery::helm::{self, HelmRelease};
use super::leftovers::{last_operation, versions};
use super::options::UpgradeOptions;
use super::preflight::{Facts, PodFact, Right, Storage, rights, secret_right};
use super::state::TlsSecret;
use super::{LABEL_APP_INSTANCE, LABEL_INSTANCE, config_name};
use crate::object::{Milvus, ResourceExt};

/// Configuration files of Milvus, in order of increasing precedence.
const FILES: [&str; 3] = ["default.yaml", "milvus.yaml", "user.yaml"];

/// Annotations that mark the default storage class.
const DEFAULT_CLASS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

/// The annotation with the range of user ids that OpenShift assigns to the namespace's pods.
const USER_RANGE: &str = "openshift.io/sa.scc.uid-range";

/// Reads an instance. Objects that may not be read are recorded and count as missing, so that all
/// missing rights are reported at once.
struct Collector<'a> {
    client: &'a Client,
    facts: Facts,
}

/// Collects the facts, including which objects may not be read.
pub(crate) async fn facts(client: &Client, options: &UpgradeOptions) -> Result<Facts, ClientError> {
    let facts = Facts {
        instance: options.instance.clone(),
        namespace: client.namespace().to_owned(),
        ..Facts::default()
    };
    let mut collector = Collector { client, facts };
    let secret = options.tls_secret.as_deref();
    collector.deployments(&options.selector()).await?;
    let operator_managed =
        collector.facts.resource.is_some() || collector.facts.is_operator_managed;
    collector.facts.missing_rights = missing_rights(client, operator_managed, secret).await?;
    collector.helm().await?;
    collector.configuration().await?;
    collector.pods().await?;
    collector.controllers().await?;
    collector.storage(options.claim_name()).await?;
    collector.namespace().await?;
    collector.tls_secret(secret).await?;
    collector.earlier_upgrades().await?;
    Ok(collector.facts)
}

impl Collector<'_> {
    fn or_default<T: Default>(
        &mut self,
        what: &str,
        found: Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        match found {
            Err(error) if error.is_forbidden() => {
                if !self.facts.unseen.iter().any(|one| one == what) {
                    self.facts.unseen.push(what.to_owned());
                }
                Ok(T::default())
            }
            found => found,
        }
    }

    async fn get<K: Object>(&mut self, what: &str, name: &str) -> Result<Option<K>, ClientError> {
        let found = self.client.get(name).await;
        self.or_default(what, found)
    }

    async fn list<K: Object>(&mut self, what: &str, labels: &str) -> Result<Vec<K>, ClientError> {
        let found = self.client.list(labels).await;
        self.or_default(what, found)
    }

    async fn deployments(&mut self, selector: &str) -> Result<(), ClientError> {
        let found: Vec<Deployment> = self.list("Deployments", selector).await?;
        self.facts.workloads = discovery::workloads(&found);
        self.facts.is_operator_managed = found.iter().any(discovery::is_operator_managed);
        self.facts.deployments = found;
        let resource = self.client.get::<Milvus>(&self.facts.instance).await;
        self.facts.resource = if_allowed(resource)?;
        Ok(())
    }

    /// Reads Helm's release record, or the chart's labels if the record may not be read. Helm
    /// stores it in Secrets, unless it is configured to use `ConfigMaps`.
    async fn helm(&mut self) -> Result<(), ClientError> {
        let selector = format!("owner=helm,name={}", self.facts.instance);
        let secrets: Vec<Secret> = self.list("Helm's record (Secrets)", &selector).await?;
        let mut found = helm::newest(&secrets);
        if matches!(found, Ok(None)) {
            let maps: Vec<ConfigMap> = if_allowed(self.client.list(&selector).await)?;
            found = helm::newest_of_maps(&maps);
        }
        self.facts.helm_problem = found.as_ref().err().cloned();
        let labelled = || from_labels(&self.facts.instance, &self.facts.deployments);
        self.facts.helm = found.ok().flatten().or_else(labelled);
        Ok(())
    }

    /// Reads the configuration of Milvus: the custom resource, or the mounted files and the environment.
    async fn configuration(&mut self) -> Result<(), ClientError> {
        let facts = &self.facts;
        if let Some(resource) = &facts.resource {
            self.facts.configured = configuration::from_resource(resource, &facts.namespace);
            return Ok(());
        }
        if let Some(workload) = facts.workloads.found.first().cloned()
            && let Some(deployment) = facts.deployment(&workload.name).cloned()
        {
            self.files(&deployment).await?;
            if let Some(container) = container(&deployment, &workload.container) {
                self.environment(container).await?;
            }
        }
        if self.facts.configured.endpoints.is_none() {
            let found = etcd_service(self.client, &self.facts.instance).await;
            let found = self.or_default("Services", found)?;
            self.facts.configured.endpoints = found.map(|one| vec![one]);
        }
        Ok(())
    }

    async fn config_map(&mut self, name: &str) -> Result<BTreeMap<String, String>, ClientError> {
        let found: Option<ConfigMap> = self.get("ConfigMaps", name).await?;
        Ok(found.and_then(|map| map.data).unwrap_or_default())
    }

    async fn files(&mut self, deployment: &Deployment) -> Result<(), ClientError> {
        for map in mounted_maps(deployment) {
            let data = self.config_map(map).await?;
            for file in FILES {
                if let Some(text) = data.get(file)
                    && let Err(why) = self.facts.configured.read_yaml(text)
                {
                    let problem = format!("{file} cannot be read: {why}");
                    self.facts.configured_problem = Some(problem);
                }
            }
        }
        Ok(())
    }

    /// Reads the environment of a container, except for values from Secrets.
    async fn environment(&mut self, container: &Container) -> Result<(), ClientError> {
        let mut hidden = Vec::new();
        for source in container.env_from.iter().flatten() {
            let prefix = source.prefix.as_deref().unwrap_or_default();
            if let Some(from) = &source.config_map_ref {
                for (name, value) in self.config_map(&from.name).await? {
                    let name = format!("{prefix}{name}");
                    self.facts.configured.read_variable(&name, &value);
                }
            }
            hidden.extend(source.secret_ref.iter().map(|from| from.name.clone()));
        }
        for variable in container.env.iter().flatten() {
            let name = &variable.name;
            if let Some(value) = &variable.value {
                self.facts.configured.read_variable(name, value);
            }
            let Some(from) = &variable.value_from else {
                continue;
            };
            if let Some(from) = &from.config_map_key_ref
                && let Some(value) = self.config_map(&from.name).await?.get(&from.key)
            {
                self.facts.configured.read_variable(name, value);
            }
            if let Some(secret) = &from.secret_key_ref
                && configuration::is_setting(name)
            {
                hidden.push(secret.name.clone());
            }
        }
        if self.facts.configured_problem.is_none() && !hidden.is_empty() {
            self.facts.configured_problem = Some(format!(
                "environment variables from Secrets are not read, but may configure the metadata: {}",
                hidden.join(", ")
            ));
        }
        Ok(())
    }

    async fn pods(&mut self) -> Result<(), ClientError> {
        for workload in self.facts.workloads.found.clone() {
            let found = self
                .client
                .pods_of(self.facts.deployment(&workload.name))
                .await;
            let pods = self.or_default("Pods", found)?;
            let facts = pods.iter().map(|pod| pod_fact(pod, &workload.container));
            self.facts.pods.insert(workload.name, facts.collect());
        }
        Ok(())
    }

    /// Reads other controllers of the instance.
    async fn controllers(&mut self) -> Result<(), ClientError> {
        if self.facts.resource.is_some() {
            self.facts.upgrades = self.list("MilvusUpgrades", "").await?;
        }
        self.facts.autoscalers = self.list("HorizontalPodAutoscalers", "").await?;
        self.facts.scaled_objects = self.list("KEDA's ScaledObjects", "").await?;
        Ok(())
    }

    async fn storage(&mut self, claim: String) -> Result<(), ClientError> {
        let found: Option<PersistentVolumeClaim> =
            self.get("PersistentVolumeClaims", &claim).await?;
        let classes = self.client.storage_classes().await?;
        if classes.is_none() {
            self.facts.unseen.push("storage classes".to_owned());
        }
        let is_default = |class: &&StorageClass| {
            let annotations = class.annotations();
            let says = |key| annotations.get(key).is_some_and(|text| text == "true");
            DEFAULT_CLASS.into_iter().any(says)
        };
        self.facts.storage = Storage {
            claim,
            exists: found.is_some(),
            problem: found.as_ref().and_then(claim_defect),
            default_class: classes
                .iter()
                .flatten()
                .find(is_default)
                .map(ResourceExt::name_any),
            classes: classes.map(|all| {
                let mut names: Vec<String> = all.iter().map(ResourceExt::name_any).collect();
                names.sort();
                names
            }),
        };
        Ok(())
    }

    async fn namespace(&mut self) -> Result<(), ClientError> {
        let facts = &self.facts;
        let workloads = &facts.workloads;
        if facts.resource.is_none() && workloads.found.is_empty() && workloads.ambiguous.is_empty()
        {
            let all: Vec<Deployment> = self.list("Deployments", "").await?;
            self.facts.instances = discovery::instances(&all);
        }
        let annotations = self.client.namespace_annotations().await;
        self.facts.user_range = annotations.and_then(|all| all.get(USER_RANGE).cloned());
        self.facts.quotas = if_allowed(self.client.list("").await)?;
        self.facts.limit_ranges = if_allowed(self.client.list("").await)?;
        Ok(())
    }

    /// Reads which certificates a Secret contains, not their content.
    async fn tls_secret(&mut self, name: Option<&str>) -> Result<(), ClientError> {
        let Some(name) = name else { return Ok(()) };
        let Some(secret) = self.get::<Secret>("Secrets", name).await? else {
            return Ok(());
        };
        let has = |names: [&str; 2]| {
            let data = secret.data.as_ref()?;
            let found = names.into_iter().find(|name| data.contains_key(*name));
            found.map(str::to_owned)
        };
        self.facts.tls = Some(TlsSecret {
            name: name.to_owned(),
            ca: has(["ca.crt", "ca.pem"]),
            cert: has(["tls.crt", "cert.pem"]),
            key: has(["tls.key", "key.pem"]),
        });
        Ok(())
    }

    /// Reads the Jobs of this and earlier upgrades, and the versions of the upgrade with the newest
    /// backup.
    async fn earlier_upgrades(&mut self) -> Result<(), ClientError> {
        let selector = format!("{LABEL_INSTANCE}={}", self.facts.instance);
        self.facts.jobs = if_allowed(self.client.list(&selector).await)?;
        if let Some(operation) = last_operation(&self.facts.jobs) {
            let config = self.client.get(&config_name(&operation)).await;
            let config: Option<ConfigMap> = if_allowed(config)?;
            self.facts.last_versions = config.as_ref().and_then(versions);
        }
        Ok(())
    }
}

/// Lists the instances of the namespace if `instance` is not one of them; else, or if that is
/// unknown, empty.
pub(crate) async fn other_instances(client: &Client, instance: &str) -> String {
    let found = client.list::<Deployment>("").await;
    match found.map(|all| discovery::instances(&all)) {
        Ok(instances) if !instances.iter().any(|one| one == instance) => {
            discovery::other_instances(client.namespace(), &instances)
        }
        Ok(_) | Err(_) => String::new(),
    }
}

/// Returns the rights that an upgrade needs and the user does not have.
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

fn pod_fact(pod: &Pod, container: &str) -> PodFact {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|one| one.type_ == "Ready");
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut images = containers
        .filter(|one| one.name == container)
        .map(|one| &one.image);
    PodFact {
        name: pod.name_any(),
        image: images.next().cloned().flatten().unwrap_or_default(),
        ready: ready.any(|one| one.status == "True"),
        scc: pod.annotations().get("openshift.io/scc").cloned(),
    }
}

fn from_labels(instance: &str, deployments: &[Deployment]) -> Option<HelmRelease> {
    deployments.iter().find_map(|deployment| {
        let labels = deployment.labels();
        let version = labels.get("app.kubernetes.io/version");
        Some(HelmRelease {
            name: instance.to_owned(),
            chart: labels.get("helm.sh/chart")?.clone(),
            app_version: version.cloned().unwrap_or_default(),
            ..HelmRelease::default()
        })
    })
}

fn mounted_maps(deployment: &Deployment) -> impl Iterator<Item = &str> {
    let pod = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let volumes = pod.into_iter().flat_map(|pod| pod.volumes.iter().flatten());
    volumes.filter_map(|volume| Some(volume.config_map.as_ref()?.name.as_str()))
}

/// The client Service of the etcd that the chart installed; the headless Service has no address.
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
