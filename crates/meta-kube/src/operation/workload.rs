//! Stops and starts Milvus, and waits until it really stopped or really runs.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use tokio::time::Instant;

use super::super::condition::gone_without;
use super::super::startable::{paused, unfit_image};
use super::{LOOK_EVERY, Operation, OperationError, Trouble};
use crate::condition::{containers, healthy, trouble};
use crate::discovery::{LABEL_APP_INSTANCE, pod_selector};
use crate::record::Workload;
use crate::{manifest, note, operator};

/// Tries of a change that others keep coming in between.
const TRIES: u32 = 8;

impl Operation<'_> {
    /// The Deployment of the record, and no other one of its name.
    pub(super) async fn deployment(&self, workload: &Workload) -> Result<Deployment, Trouble> {
        let found: Option<Deployment> = self.cluster.get(&workload.name).await?;
        let Some(found) = found else {
            return Err(Trouble::Failed(gone_without(&[&workload.name])));
        };
        let uid = found.metadata.uid.clone().unwrap_or_default();
        // An operator may make its Deployments again.
        if uid != workload.uid && self.record.resource.is_none() {
            return Err(Trouble::Failed(made_anew(workload)));
        }
        Ok(found)
    }

    async fn resource(&self) -> Result<Value, Trouble> {
        let found = self.cluster.milvus(&self.record.instance).await?;
        found.ok_or_else(|| Trouble::Failed("the custom resource cannot be read".to_owned()))
    }

    /// Changes the custom resource as it was just read, again if somebody came in between.
    async fn change_resource(&self, patch: impl Fn(Option<&str>) -> Value) -> Result<(), Trouble> {
        for _ in 0..TRIES {
            let live = self.resource().await?;
            let version = live
                .pointer("/metadata/resourceVersion")
                .and_then(Value::as_str);
            let changed = self
                .cluster
                .patch_milvus(&self.record.instance, &patch(version))
                .await;
            match changed {
                Ok(_) => return Ok(()),
                Err(error) if error.is_conflict() => tokio::time::sleep(LOOK_EVERY).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(fought_over())
    }

    pub(super) async fn change_workload(
        &self,
        workload: &Workload,
        patch: impl Fn(&Deployment) -> Result<Option<Value>, Trouble>,
    ) -> Result<(), Trouble> {
        for _ in 0..TRIES {
            let live = self.deployment(workload).await?;
            let Some(patch) = patch(&live)? else {
                return Ok(());
            };
            match self
                .cluster
                .patch::<Deployment>(&workload.name, &patch)
                .await
            {
                Ok(_) => return Ok(()),
                Err(error) if error.is_conflict() => tokio::time::sleep(LOOK_EVERY).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(Trouble::Failed(format!(
            "another client keeps changing Deployment {}",
            workload.name
        )))
    }

    /// Scales what was recreated meanwhile to 0, with its saved count.
    pub(crate) async fn stop_recreated(
        &self,
        recreated: &[Workload],
    ) -> Result<(), OperationError> {
        for workload in recreated {
            self.audience.tell(&format!(
                "Deployment {} was recreated: stopping it; its saved count is {}",
                workload.name, workload.replicas
            ));
            self.check_lease().await?;
            let patch = |live: &Deployment| {
                let version = live.metadata.resource_version.as_deref();
                Ok(Some(manifest::stop_patch(workload, version)))
            };
            match self.change_workload(workload, patch).await {
                Ok(()) => {}
                Err(Trouble::Broken(error)) => return Err(error),
                Err(Trouble::Failed(why) | Trouble::Undecided(why)) => {
                    return Err(OperationError::Record(why));
                }
            }
        }
        Ok(())
    }

    /// Fails where a Deployment is missing, before the others are stopped.
    pub(super) async fn see_all(&self) -> Result<(), Trouble> {
        if self.record.resource.is_none() {
            for workload in &self.record.workloads {
                self.deployment(workload).await?;
            }
        }
        Ok(())
    }

    /// Scales everything of Milvus to 0.
    pub(super) async fn stop(&mut self) -> Result<(), Trouble> {
        if self.record.resource.is_some() {
            return self.stop_resource().await;
        }
        self.count_again().await?;
        for workload in &self.record.workloads {
            self.check_lease().await?;
            let patch = |live: &Deployment| {
                let count = live
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.replicas)
                    .unwrap_or(1);
                let version = live.metadata.resource_version.as_deref();
                Ok((count != 0).then(|| manifest::stop_patch(workload, version)))
            };
            self.change_workload(workload, patch).await?;
        }
        Ok(())
    }

    /// Takes down what an autoscaler, or somebody, changed between the first look and the stop. A 0 is
    /// not taken: it may be our own of an earlier try; neither is the count of what we stopped once.
    async fn count_again(&mut self) -> Result<(), Trouble> {
        if !self.record.stage.row().counts {
            return Ok(());
        }
        let mut changed = Vec::new();
        for (place, workload) in self.record.workloads.iter().enumerate() {
            let live = self.deployment(workload).await?;
            if note::is_on(&live) {
                continue;
            }
            let count = live.spec.and_then(|spec| spec.replicas).unwrap_or(1);
            if count != 0 && count != workload.replicas {
                changed.push((place, count));
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        for (place, count) in changed {
            if let Some(workload) = self.record.workloads.get_mut(place) {
                workload.replicas = count;
            }
        }
        Ok(self.save().await?)
    }

    /// Stops what an operator manages as it was just read and counted, again if somebody came in between.
    async fn stop_resource(&mut self) -> Result<(), Trouble> {
        for _ in 0..TRIES {
            let live = self.resource().await?;
            let Some(saved) = self.record.resource.clone() else {
                return Ok(());
            };
            let mut counted = saved.clone();
            if self.record.stage.row().counts {
                counted = operator::recounted(&saved, &live);
            }
            if counted != saved {
                self.record.resource = Some(counted.clone());
                self.save().await?;
            }
            self.check_lease().await?;
            let version = live.pointer("/metadata/resourceVersion");
            let patch = operator::stop_patch(&counted, version.and_then(Value::as_str));
            let instance = &self.record.instance;
            match self.cluster.patch_milvus(instance, &patch).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_conflict() => tokio::time::sleep(LOOK_EVERY).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(fought_over())
    }

    async fn pods(&self, workload: &Workload) -> Result<Vec<Pod>, Trouble> {
        let found: Option<Deployment> = self.cluster.get(&workload.name).await?;
        let selector = found.as_ref().and_then(pod_selector);
        let Some(selector) = selector else {
            return Ok(Vec::new());
        };
        Ok(self.cluster.list(&selector).await?)
    }

    /// Waits until no pod of Milvus is left: a Deployment's own numbers say 0 while containers still run.
    pub(super) async fn wait_for_no_pods(&self) -> Result<(), Trouble> {
        let begun = Instant::now();
        let mut told = String::new();
        loop {
            let mut left = Vec::new();
            for workload in &self.record.workloads {
                left.extend(self.pods(workload).await?.iter().map(name));
            }
            if self.record.resource.is_some() {
                let instance = &self.record.instance;
                let selector =
                    format!("{LABEL_APP_INSTANCE}={instance},app.kubernetes.io/name=milvus");
                let pods: Vec<Pod> = self.cluster.list(&selector).await?;
                left.extend(pods.iter().map(name));
                left.sort();
                left.dedup();
            }
            let mut lack = (!left.is_empty()).then(|| format!("pods {}", left.join(", ")));
            if lack.is_none() && self.record.resource.is_some() {
                let live = self.resource().await?;
                lack = operator::stopped(&live, operator::generation(&live)).err();
            }
            let Some(lack) = lack else { return Ok(()) };
            self.check_lease().await?;
            if begun.elapsed() >= self.limit {
                return Err(Trouble::Failed(format!(
                    "Milvus did not stop within {} s: {lack}",
                    self.limit.as_secs()
                )));
            }
            if told != lack {
                self.audience.tell(&format!("waiting for: {lack}"));
                told = lack;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether anything of Milvus is scaled up now.
    pub(super) async fn is_up(&self) -> Result<bool, Trouble> {
        Ok(!self.started().await?.is_empty())
    }

    /// The Deployments of Milvus that are scaled up now.
    pub(super) async fn started(&self) -> Result<Vec<&str>, Trouble> {
        let mut started = Vec::new();
        for workload in &self.record.workloads {
            let live: Option<Deployment> = self.cluster.get(&workload.name).await?;
            let spec = live.and_then(|live| live.spec);
            if spec.is_some_and(|spec| spec.replicas != Some(0)) {
                started.push(workload.name.as_str());
            }
        }
        Ok(started)
    }

    /// Takes away what was noted when Milvus was stopped.
    pub(super) async fn forget_notes(&self) -> Result<(), Trouble> {
        self.check_lease().await?;
        if self.record.resource.is_some() {
            let instance = &self.record.instance;
            self.cluster
                .patch_milvus(instance, &note::forget_patch())
                .await?;
            return Ok(());
        }
        for workload in &self.record.workloads {
            if note::is_on(&self.deployment(workload).await?) {
                let patch = note::forget_patch();
                self.cluster
                    .patch::<Deployment>(&workload.name, &patch)
                    .await?;
            }
        }
        Ok(())
    }

    fn image<'w>(&'w self, workload: &'w Workload, new: bool) -> &'w str {
        if new {
            &self.record.image
        } else {
            &workload.image
        }
    }

    /// Fails where Milvus cannot be started, before the first patch: what is paused, or an image of a release that
    /// cannot read the metadata as it is now.
    async fn see_startable(&self, new: bool) -> Result<(), Trouble> {
        if let Some(why) = unfit_image(&self.record, new) {
            return Err(Trouble::Failed(why));
        }
        let mut live = Vec::new();
        for workload in &self.record.workloads {
            live.push(match self.record.resource {
                // The Milvus Operator creates a missing one.
                Some(_) => self.cluster.get(&workload.name).await?,
                None => Some(self.deployment(workload).await?),
            });
        }
        let resource = match self.record.resource {
            Some(_) => Some(self.resource().await?),
            None => None,
        };
        let namespace = self.cluster.namespace();
        paused(namespace, live.iter().flatten(), resource.as_ref())
            .map_or(Ok(()), |hint| Err(Trouble::Failed(hint)))
    }

    /// Starts everything with one patch each, coordinators first.
    pub(super) async fn start(&self, new: bool) -> Result<(), Trouble> {
        self.see_startable(new).await?;
        if let Some(saved) = &self.record.resource {
            let image = new.then_some(self.record.image.as_str());
            let patch = |version: Option<&str>| operator::start_patch(saved, image, version);
            return self.change_resource(patch).await;
        }
        for workload in &self.record.workloads {
            self.check_lease().await?;
            let image = self.image(workload, new);
            let patch = |live: &Deployment| {
                if !containers(live)
                    .iter()
                    .any(|one| one.name == workload.container)
                {
                    return Err(Trouble::Failed(format!(
                        "Deployment {} no longer has container {}",
                        workload.name, workload.container
                    )));
                }
                let version = live.metadata.resource_version.as_deref();
                Ok(Some(manifest::start_patch(workload, image, version)))
            };
            self.change_workload(workload, patch).await?;
        }
        Ok(())
    }

    /// Waits until everything that was started is healthy.
    pub(super) async fn settle(&self, new: bool) -> Result<(), Trouble> {
        let begun = Instant::now();
        let mut told = String::new();
        loop {
            let lacks = self.lacks(new).await?;
            let Some(first) = lacks.first() else {
                return Ok(());
            };
            self.check_lease().await?;
            if begun.elapsed() >= self.limit {
                return Err(Trouble::Failed(format!(
                    "not healthy within {} s: {}",
                    self.limit.as_secs(),
                    lacks.join("; ")
                )));
            }
            if told != *first {
                self.audience.tell(&format!("waiting for: {first}"));
                told.clone_from(first);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn lacks(&self, new: bool) -> Result<Vec<String>, Trouble> {
        if self.record.resource.is_some() {
            let live = self.resource().await?;
            let lack = operator::healthy(&live, operator::generation(&live)).err();
            return Ok(lack
                .map(|lack| format!("Milvus {}: {lack}", self.record.instance))
                .into_iter()
                .collect());
        }
        let mut lacks = Vec::new();
        for workload in &self.record.workloads {
            let image = self.image(workload, new);
            let live = self.deployment(workload).await?;
            let generation = live.metadata.generation.unwrap_or(0);
            let state = healthy(
                &live,
                &workload.container,
                image,
                workload.replicas,
                generation,
            );
            let pods = self.pods(workload).await?;
            if let Err(lack) = state {
                let reason = pods.iter().find_map(trouble);
                let reason = reason
                    .map(|reason| format!(" ({reason})"))
                    .unwrap_or_default();
                lacks.push(format!("Deployment {}: {lack}{reason}", workload.name));
            } else if let Some(old) = pods
                .iter()
                .find(|pod| !runs(pod, &workload.container, image))
            {
                lacks.push(format!("pod {} has another image", name(old)));
            }
        }
        Ok(lacks)
    }
}

/// Said where one was recreated meanwhile.
fn made_anew(workload: &Workload) -> String {
    format!(
        "Deployment {} was recreated: run the same command again, which uses its saved count",
        workload.name
    )
}

fn fought_over() -> Trouble {
    Trouble::Failed("another client keeps changing the custom resource".to_owned())
}

fn name(pod: &Pod) -> String {
    pod.metadata.name.clone().unwrap_or_default()
}

fn runs(pod: &Pod, container: &str, image: &str) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut named = containers.filter(|one| one.name == container);
    named.any(|one| one.image.as_deref() == Some(image))
}
