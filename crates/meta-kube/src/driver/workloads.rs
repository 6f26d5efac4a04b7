//! Stops and starts Milvus, and waits until it really stopped or really runs.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use tokio::time::Instant;

use super::super::condition::missing_deployments;
use super::super::start_checks::{incompatible_image, paused};
use super::{Driver, DriverError, StageError};
use crate::client::ClientError;
use crate::condition::{containers, replicas, unhealthy};
use crate::discovery::LABEL_APP_INSTANCE;
use crate::state::Workload;
use crate::{POLL_INTERVAL, annotations, manifest, milvus_resource};

/// Tries of a change that others keep coming in between.
const TRIES: u32 = 8;

impl Driver<'_> {
    /// The Deployment of the saved state, and no other one of its name.
    pub(super) async fn deployment(&self, workload: &Workload) -> Result<Deployment, StageError> {
        let found: Option<Deployment> = self.client.get(&workload.name).await?;
        let Some(found) = found else {
            return Err(StageError::Failed(missing_deployments(&[&workload.name])));
        };
        let uid = found.metadata.uid.clone().unwrap_or_default();
        // An operator may make its Deployments again.
        if uid != workload.uid && self.state.resource.is_none() {
            return Err(StageError::Failed(recreated_message(workload)));
        }
        Ok(found)
    }

    async fn resource(&self) -> Result<Value, StageError> {
        let found = self.client.milvus(&self.state.instance).await?;
        found.ok_or_else(|| StageError::Failed("the custom resource cannot be read".to_owned()))
    }

    /// Changes the custom resource as it was just read.
    async fn change_resource(
        &self,
        patch: impl Fn(Option<&str>) -> Value,
    ) -> Result<(), StageError> {
        unless_contended("the custom resource", async || {
            let live = self.resource().await?;
            let version = live.pointer("/metadata/resourceVersion");
            let patch = patch(version.and_then(Value::as_str));
            let instance = &self.state.instance;
            Ok(self.client.patch_milvus(instance, &patch).await.map(|_| ()))
        })
        .await
    }

    pub(super) async fn change_workload(
        &self,
        workload: &Workload,
        patch: impl Fn(&Deployment) -> Result<Option<Value>, StageError>,
    ) -> Result<(), StageError> {
        let name = &workload.name;
        unless_contended(&format!("Deployment {name}"), async || {
            let live = self.deployment(workload).await?;
            let Some(patch) = patch(&live)? else {
                return Ok(Ok(()));
            };
            let changed = self.client.patch::<Deployment>(name, &patch).await;
            Ok(changed.map(|_| ()))
        })
        .await
    }

    /// Scales what was recreated meanwhile to 0, with its saved count.
    pub(super) async fn stop_recreated(&self, recreated: &[Workload]) -> Result<(), DriverError> {
        for workload in recreated {
            self.observer.message(&format!(
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
                Err(StageError::Broken(error)) => return Err(error),
                Err(StageError::Failed(why) | StageError::Undecided(why)) => {
                    return Err(DriverError::UpgradeState(why));
                }
            }
        }
        Ok(())
    }

    /// Fails where a Deployment is missing, before the others are stopped.
    pub(super) async fn require_deployments(&self) -> Result<(), StageError> {
        if self.state.resource.is_none() {
            for workload in &self.state.workloads {
                self.deployment(workload).await?;
            }
        }
        Ok(())
    }

    /// Scales everything of Milvus to 0.
    pub(super) async fn stop(&mut self) -> Result<(), StageError> {
        self.end_writers().await?;
        if self.state.resource.is_some() {
            return self.stop_resource().await;
        }
        self.update_counts().await?;
        for workload in &self.state.workloads {
            self.check_lease().await?;
            let patch = |live: &Deployment| {
                let version = live.metadata.resource_version.as_deref();
                Ok((replicas(live) != 0).then(|| manifest::stop_patch(workload, version)))
            };
            self.change_workload(workload, patch).await?;
        }
        Ok(())
    }

    /// Saves what an autoscaler or a user changed between the first count and the stop. A 0 is
    /// not taken: it may be our own of an earlier try; neither is the count of what we stopped once.
    async fn update_counts(&mut self) -> Result<(), StageError> {
        if !self.state.stage.row().counts {
            return Ok(());
        }
        let mut changed = Vec::new();
        for (place, workload) in self.state.workloads.iter().enumerate() {
            let live = self.deployment(workload).await?;
            if annotations::is_annotated(&live) {
                continue;
            }
            let count = replicas(&live);
            if count != 0 && count != workload.replicas {
                changed.push((place, count));
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        for (place, count) in changed {
            if let Some(workload) = self.state.workloads.get_mut(place) {
                workload.replicas = count;
            }
        }
        Ok(self.save().await?)
    }

    /// Stops what an operator manages as it was just read and counted.
    async fn stop_resource(&mut self) -> Result<(), StageError> {
        unless_contended("the custom resource", async || {
            let live = self.resource().await?;
            let Some(saved) = self.state.resource.clone() else {
                return Ok(Ok(()));
            };
            let mut counted = saved.clone();
            if self.state.stage.row().counts {
                counted = milvus_resource::with_current_counts(&saved, &live);
            }
            if counted != saved {
                self.state.resource = Some(counted.clone());
                self.save().await?;
            }
            self.check_lease().await?;
            let version = live.pointer("/metadata/resourceVersion");
            let patch = milvus_resource::stop_patch(&counted, version.and_then(Value::as_str));
            let instance = &self.state.instance;
            Ok(self.client.patch_milvus(instance, &patch).await.map(|_| ()))
        })
        .await
    }

    async fn pods(&self, workload: &Workload) -> Result<Vec<Pod>, StageError> {
        let found: Option<Deployment> = self.client.get(&workload.name).await?;
        Ok(self.client.pods_of(found.as_ref()).await?)
    }

    /// Waits until no pod of Milvus is left: a Deployment's own numbers say 0 while containers still run.
    pub(super) async fn wait_for_no_pods(&self) -> Result<(), StageError> {
        self.wait_until("Milvus did not stop", async || {
            let mut left = Vec::new();
            for workload in &self.state.workloads {
                left.extend(self.pods(workload).await?.iter().map(name));
            }
            if self.state.resource.is_some() {
                let instance = &self.state.instance;
                let selector =
                    format!("{LABEL_APP_INSTANCE}={instance},app.kubernetes.io/name=milvus");
                let pods: Vec<Pod> = self.client.list(&selector).await?;
                left.extend(pods.iter().map(name));
                left.sort();
                left.dedup();
            }
            if !left.is_empty() {
                return Ok(vec![format!("pods {}", left.join(", "))]);
            }
            if self.state.resource.is_none() {
                return Ok(Vec::new());
            }
            let live = self.resource().await?;
            let lack = milvus_resource::stopped(&live, milvus_resource::generation(&live)).err();
            Ok(lack.into_iter().collect())
        })
        .await
    }

    /// Waits until nothing is lacking any more, while the Lease is ours.
    async fn wait_until(
        &self,
        late: &str,
        lacks: impl AsyncFn() -> Result<Vec<String>, StageError>,
    ) -> Result<(), StageError> {
        let begun = Instant::now();
        let mut reported = String::new();
        loop {
            let lacks = lacks().await?;
            let Some(first) = lacks.first() else {
                return Ok(());
            };
            self.check_lease().await?;
            if begun.elapsed() >= self.limit {
                return Err(StageError::Failed(format!(
                    "{late} within {} s: {}",
                    self.limit.as_secs(),
                    lacks.join("; ")
                )));
            }
            if reported != *first {
                self.observer.message(&format!("waiting for: {first}"));
                reported.clone_from(first);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Whether anything of Milvus is scaled up now.
    pub(super) async fn is_up(&self) -> Result<bool, StageError> {
        Ok(!self.started().await?.is_empty())
    }

    /// The Deployments of Milvus that are scaled up now.
    pub(super) async fn started(&self) -> Result<Vec<&str>, StageError> {
        let mut started = Vec::new();
        for workload in &self.state.workloads {
            let live: Option<Deployment> = self.client.get(&workload.name).await?;
            if live.is_some_and(|live| replicas(&live) != 0) {
                started.push(workload.name.as_str());
            }
        }
        Ok(started)
    }

    /// Takes away what was noted when Milvus was stopped.
    async fn remove_annotations(&self) -> Result<(), StageError> {
        self.check_lease().await?;
        if self.state.resource.is_some() {
            let instance = &self.state.instance;
            self.client
                .patch_milvus(instance, &annotations::removal_patch())
                .await?;
            return Ok(());
        }
        for workload in &self.state.workloads {
            if annotations::is_annotated(&self.deployment(workload).await?) {
                let patch = annotations::removal_patch();
                self.client
                    .patch::<Deployment>(&workload.name, &patch)
                    .await?;
            }
        }
        Ok(())
    }

    fn image<'w>(&'w self, workload: &'w Workload, new: bool) -> &'w str {
        if new {
            &self.state.image
        } else {
            &workload.image
        }
    }

    /// Fails where Milvus cannot be started, before the first patch: what is paused, or an image of a release that
    /// cannot read the metadata as it is now.
    async fn require_startable(&self, new: bool) -> Result<(), StageError> {
        if let Some(why) = incompatible_image(&self.state, new) {
            return Err(StageError::Failed(why));
        }
        let mut live = Vec::new();
        for workload in &self.state.workloads {
            live.push(match self.state.resource {
                // The Milvus Operator creates a missing one.
                Some(_) => self.client.get(&workload.name).await?,
                None => Some(self.deployment(workload).await?),
            });
        }
        let resource = match self.state.resource {
            Some(_) => Some(self.resource().await?),
            None => None,
        };
        let namespace = self.client.namespace();
        paused(namespace, live.iter().flatten(), resource.as_ref())
            .map_or(Ok(()), |hint| Err(StageError::Failed(hint)))
    }

    /// Starts everything with one patch each, coordinators first.
    pub(super) async fn start(&self, new: bool) -> Result<(), StageError> {
        self.require_startable(new).await?;
        if let Some(saved) = &self.state.resource {
            let image = new.then_some(self.state.image.as_str());
            let patch = |version: Option<&str>| milvus_resource::start_patch(saved, image, version);
            return self.change_resource(patch).await;
        }
        for workload in &self.state.workloads {
            self.check_lease().await?;
            let image = self.image(workload, new);
            let patch = |live: &Deployment| {
                if !containers(live)
                    .iter()
                    .any(|one| one.name == workload.container)
                {
                    return Err(StageError::Failed(format!(
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

    /// Waits until everything that was started is healthy: the release runs, and its annotations are no longer needed.
    pub(super) async fn wait_ready(&mut self, new: bool) -> Result<(), StageError> {
        self.wait_until("not healthy", async || self.lacks(new).await)
            .await?;
        if !new {
            self.require_old_metadata().await?;
        }
        self.remove_annotations().await
    }

    async fn lacks(&self, new: bool) -> Result<Vec<String>, StageError> {
        if self.state.resource.is_some() {
            let live = self.resource().await?;
            let lack = milvus_resource::healthy(&live, milvus_resource::generation(&live)).err();
            return Ok(lack
                .map(|lack| format!("Milvus {}: {lack}", self.state.instance))
                .into_iter()
                .collect());
        }
        let mut lacks = Vec::new();
        for workload in &self.state.workloads {
            let image = self.image(workload, new);
            let live = self.deployment(workload).await?;
            let generation = live.metadata.generation.unwrap_or(0);
            let pods = self.client.pods_of(Some(&live)).await?;
            if let Some(lack) = unhealthy(&live, &pods, workload, image, generation) {
                lacks.push(format!("Deployment {}: {lack}", workload.name));
            }
        }
        Ok(lacks)
    }
}

/// Said where one was recreated meanwhile.
fn recreated_message(workload: &Workload) -> String {
    format!(
        "Deployment {} was recreated: run the same command again, which uses its saved count",
        workload.name
    )
}

/// Repeats the change of an object as it was just read, while other clients change it in between.
async fn unless_contended(
    what: &str,
    mut change: impl AsyncFnMut() -> Result<Result<(), ClientError>, StageError>,
) -> Result<(), StageError> {
    for _ in 0..TRIES {
        match change().await? {
            Ok(()) => return Ok(()),
            Err(error) if error.is_conflict() => tokio::time::sleep(POLL_INTERVAL).await,
            Err(error) => return Err(error.into()),
        }
    }
    Err(StageError::Failed(format!(
        "another client keeps changing {what}"
    )))
}

fn name(pod: &Pod) -> String {
    pod.metadata.name.clone().unwrap_or_default()
}
