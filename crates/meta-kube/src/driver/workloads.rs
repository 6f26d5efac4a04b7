//! Stops and starts Milvus, and waits until all pods ended or are healthy.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::{Driver, StageError, fail};
use crate::client::ClientError;
use crate::condition::{Unmet, container, image_of, missing_deployments, replicas, unhealthy};
use crate::discovery::{self, image_version};
use crate::object::{Milvus, Patch, ResourceExt};
use crate::start_checks::{incompatible_image, paused};
use crate::state::Workload;
use crate::wait::{retry_on_conflict, wait_until};
use crate::{LABEL_APP_INSTANCE, annotations, manifest, milvus_resource};

impl Driver<'_> {
    /// Returns the Deployment of the saved state; another one of the same name is an error.
    pub(super) async fn deployment(&self, workload: &Workload) -> Result<Deployment, StageError> {
        let found: Option<Deployment> = self.client.get(&workload.name).await?;
        let Some(found) = found else {
            return fail(missing_deployments(&[&workload.name]));
        };
        // The Milvus Operator may recreate its Deployments.
        if found.uid().as_ref() != Some(&workload.uid) && self.state.resource.is_none() {
            return fail(format!(
                "Deployment {} was recreated: run the same command again, which uses its saved count",
                workload.name
            ));
        }
        Ok(found)
    }

    async fn resource(&self) -> Result<Milvus, StageError> {
        let found = self.client.get(&self.state.instance).await?;
        found.ok_or_else(|| StageError::Failed("the custom resource cannot be read".to_owned()))
    }

    /// Patches the custom resource if it was not changed since `read`.
    async fn patch_resource(&self, read: &Milvus, patch: Value) -> Result<(), ClientError> {
        let patch = manifest::if_unchanged(patch, read);
        let (name, patch) = (&self.state.instance, Patch::Merge(&patch));
        self.client.patch::<Milvus>(name, patch).await.map(|_| ())
    }

    async fn change_resource(&self, patch: &Value) -> Result<(), StageError> {
        retry_conflicts("the custom resource", async || {
            let live = self.resource().await?;
            Ok(self.patch_resource(&live, patch.clone()).await)
        })
        .await
    }

    /// Patches a Deployment, and retries on a conflict.
    async fn change_workload(
        &self,
        workload: &Workload,
        patch: impl Fn(&Deployment) -> Result<Option<Value>, StageError>,
    ) -> Result<(), StageError> {
        let name = &workload.name;
        retry_conflicts(&format!("Deployment {name}"), async || {
            let live = self.deployment(workload).await?;
            let Some(patch) = patch(&live)? else {
                return Ok(Ok(()));
            };
            let patch = manifest::if_unchanged(patch, &live);
            let patch = Patch::Strategic(&patch);
            let changed = self.client.patch::<Deployment>(name, patch).await;
            Ok(changed.map(|_| ()))
        })
        .await
    }

    /// Scales recreated Deployments to 0, with their saved replica counts.
    pub(super) async fn stop_recreated(&self, recreated: &[Workload]) -> Result<(), StageError> {
        for workload in recreated {
            self.observer.message(&format!(
                "Deployment {} was recreated: stopping it; its saved count is {}",
                workload.name, workload.replicas
            ));
            self.check_lease().await?;
            self.change_workload(workload, |_| Ok(Some(manifest::stop_patch(workload))))
                .await?;
        }
        Ok(())
    }

    /// Fails if a Deployment is missing, before the others are stopped.
    pub(super) async fn require_deployments(&self) -> Result<(), StageError> {
        if self.state.resource.is_none() {
            for workload in &self.state.workloads {
                self.deployment(workload).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn stop(&mut self) -> Result<(), StageError> {
        self.end_writers().await?;
        if self.state.resource.is_some() {
            return self.stop_resource().await;
        }
        self.update_counts().await?;
        for workload in &self.state.workloads {
            self.check_lease().await?;
            let patch = |live: &Deployment| {
                Ok((replicas(live) != 0).then(|| manifest::stop_patch(workload)))
            };
            self.change_workload(workload, patch).await?;
        }
        Ok(())
    }

    /// Saves replica counts that an autoscaler or a user changed between the first count and the
    /// stop. A count of 0 is ignored, because it may come from our own earlier attempt, and so is
    /// the count of a Deployment that we stopped once.
    async fn update_counts(&mut self) -> Result<(), StageError> {
        if !self.state.stage.row().reads_counts {
            return Ok(());
        }
        let mut workloads = self.state.workloads.clone();
        for workload in &mut workloads {
            let live = self.deployment(workload).await?;
            let count = replicas(&live);
            if count != 0 && !annotations::is_annotated(&live) {
                workload.replicas = count;
            }
        }
        if workloads != self.state.workloads {
            self.state.workloads = workloads;
            self.save().await?;
        }
        Ok(())
    }

    /// Stops an operator-managed instance, with the counts of the custom resource as it was just read.
    async fn stop_resource(&mut self) -> Result<(), StageError> {
        retry_conflicts("the custom resource", async || {
            let live = self.resource().await?;
            let Some(saved) = self.state.resource.clone() else {
                return Ok(Ok(()));
            };
            let mut counted = saved.clone();
            if self.state.stage.row().reads_counts {
                counted = milvus_resource::with_current_counts(&saved, &live);
            }
            if counted != saved {
                self.state.resource = Some(counted.clone());
                self.save().await?;
            }
            self.check_lease().await?;
            let patch = milvus_resource::stop_patch(&counted);
            Ok(self.patch_resource(&live, patch).await)
        })
        .await
    }

    /// Waits until no Milvus pod is left. The Deployment's status is not enough: it can say 0 while
    /// containers still run.
    pub(super) async fn wait_for_no_pods(&self) -> Result<(), StageError> {
        self.wait_until("Milvus did not stop", async || {
            let mut left = Vec::new();
            for workload in &self.state.workloads {
                let live: Option<Deployment> = self.client.get(&workload.name).await?;
                let pods = self.client.pods_of(live.as_ref()).await?;
                left.extend(pods.iter().map(ResourceExt::name_any));
            }
            if self.state.resource.is_some() {
                let instance = &self.state.instance;
                let selector =
                    format!("{LABEL_APP_INSTANCE}={instance},app.kubernetes.io/name=milvus");
                let pods: Vec<Pod> = self.client.list(&selector).await?;
                left.extend(pods.iter().map(ResourceExt::name_any));
                left.sort();
                left.dedup();
            }
            if !left.is_empty() {
                return Ok(vec![pod_summary(&left)]);
            }
            if self.state.resource.is_none() {
                return Ok(Vec::new());
            }
            let live = self.resource().await?;
            Ok(milvus_resource::stopped(&live).err().into_iter().collect())
        })
        .await
    }

    /// Waits until no condition is unmet, while we hold the Lease.
    async fn wait_until(
        &self,
        late: &str,
        unmet: impl AsyncFn() -> Result<Vec<Unmet>, StageError>,
    ) -> Result<(), StageError> {
        let unmet = async || {
            self.check_lease().await?;
            unmet().await
        };
        let unmet = wait_until(self.observer, self.limit, unmet).await?;
        if unmet.is_empty() {
            return Ok(());
        }
        let (seconds, unmet) = (self.limit.as_secs(), unmet.join("; "));
        fail(format!("{late} within {seconds} s: {unmet}"))
    }

    /// Reports running Milvus Deployments that are not in the saved state: they are neither stopped
    /// nor started.
    pub(super) async fn added_deployments(&self) -> Result<Option<String>, StageError> {
        // The Milvus Operator creates and removes Deployments.
        if self.state.resource.is_some() {
            return Ok(None);
        }
        let mut found: Vec<Deployment> = self.client.list(&self.state.selector).await?;
        let saved = |name: String| self.state.workloads.iter().any(|one| one.name == name);
        found.retain(|one| replicas(one) != 0 && !saved(one.name_any()));
        let added = discovery::workloads(&found).found.into_iter();
        let names: Vec<String> = added.map(|one| one.name).collect();
        let namespace = self.client.namespace();
        Ok((!names.is_empty()).then(|| {
            format!(
                "Deployment {} runs Milvus and was not there when the upgrade began: run kubectl -n {namespace} scale \
                 deployment {} --replicas=0, then continue",
                names.join(", "),
                names.join(" ")
            )
        }))
    }

    /// The saved Deployments that are scaled up.
    pub(super) async fn running_deployments(&self) -> Result<Vec<&str>, StageError> {
        let mut started = Vec::new();
        for workload in &self.state.workloads {
            let live: Option<Deployment> = self.client.get(&workload.name).await?;
            if live.is_some_and(|live| replicas(&live) != 0) {
                started.push(workload.name.as_str());
            }
        }
        Ok(started)
    }

    /// Deletes the annotations that the stop added.
    async fn remove_annotations(&self) -> Result<(), StageError> {
        self.check_lease().await?;
        let patch = annotations::removal_patch();
        if self.state.resource.is_some() {
            return self.change_resource(&patch).await;
        }
        for workload in &self.state.workloads {
            let removal =
                |live: &Deployment| Ok(annotations::is_annotated(live).then(|| patch.clone()));
            self.change_workload(workload, removal).await?;
        }
        Ok(())
    }

    /// Fails, before the first patch, if Milvus cannot be started: something is paused, or an image
    /// is of a release that cannot read the metadata.
    async fn require_startable(&self, new: bool) -> Result<(), StageError> {
        if let Some(why) = incompatible_image(&self.state, new) {
            return fail(why);
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
        paused(namespace, live.iter().flatten(), resource.as_ref()).map_or(Ok(()), fail)
    }

    /// Starts everything with one patch each, coordinators first.
    pub(super) async fn start(&self, new: bool) -> Result<(), StageError> {
        self.require_startable(new).await?;
        if let Some(saved) = &self.state.resource {
            let image = new.then_some(self.state.image.as_str());
            let patch = milvus_resource::start_patch(saved, image);
            return self.change_resource(&patch).await;
        }
        for workload in &self.state.workloads {
            self.check_lease().await?;
            let image = self.state.image_of(workload, new);
            let patch = |live: &Deployment| {
                if container(live, &workload.container).is_none() {
                    return fail(format!(
                        "Deployment {} no longer has container {}",
                        workload.name, workload.container
                    ));
                }
                Ok(Some(manifest::start_patch(workload, image)))
            };
            self.change_workload(workload, patch).await?;
        }
        Ok(())
    }

    /// Waits until everything that was started is healthy, then deletes the annotations, which are
    /// no longer needed.
    pub(super) async fn wait_ready(&mut self, new: bool) -> Result<(), StageError> {
        self.wait_until("not healthy", async || self.unmet(new).await)
            .await?;
        if !new {
            self.require_old_metadata().await?;
        }
        self.remove_annotations().await
    }

    /// Returns what is not healthy yet. Fails if another tool started an image of 2.1, which cannot
    /// read the new metadata.
    async fn unmet(&self, new: bool) -> Result<Vec<Unmet>, StageError> {
        if self.state.resource.is_some() {
            let live = self.resource().await?;
            let reason = milvus_resource::healthy(&live).err();
            let named = reason.map(|reason| format!("Milvus {}: {reason}", self.state.instance));
            return Ok(named.into_iter().collect());
        }
        let mut unmet = Vec::new();
        for workload in &self.state.workloads {
            let image = self.state.image_of(workload, new);
            let live = self.deployment(workload).await?;
            let found = image_of(&live, &workload.container).unwrap_or_default();
            let is_old = image_version(found).is_some_and(|one| !one.has_2_2_layout());
            if new && is_old && found != image && replicas(&live) != 0 {
                let started = format!("{} with {found}", workload.name);
                return Err(StageError::Restarted(started));
            }
            let generation = live.metadata.generation.unwrap_or(0);
            let pods = self.client.pods_of(Some(&live)).await?;
            if let Some(reason) = unhealthy(&live, &pods, workload, image, generation) {
                unmet.push(format!("Deployment {}: {reason}", workload.name));
            }
        }
        Ok(unmet)
    }
}

/// Changes an object as it was just read, and retries on a conflict.
async fn retry_conflicts(
    what: &str,
    change: impl AsyncFnMut() -> Result<Result<(), ClientError>, StageError>,
) -> Result<(), StageError> {
    match retry_on_conflict(change).await? {
        Err(error) if error.is_conflict() => fail(format!("another client keeps changing {what}")),
        changed => Ok(changed?),
    }
}

/// The number of pods, and the first name.
fn pod_summary(pods: &[String]) -> String {
    match pods {
        [pod] => format!("pod {pod}"),
        [first, ..] => format!("{} pods ({first}, …)", pods.len()),
        [] => String::new(),
    }
}
