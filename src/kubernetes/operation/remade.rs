//! Deployments that are gone, or were made anew, since the record was written.

use k8s_openapi::api::apps::v1::Deployment;

use super::{Operation, OperationError, Trouble};
use crate::kubernetes::manifest;
use crate::kubernetes::record::Workload;
use crate::kubernetes::stage::stopped_again;

impl Operation<'_> {
    /// Takes the Deployments of the record in hand: what is gone is told before anything is done; what a
    /// person made anew is ours with its recorded count, and stopped like the others.
    pub(super) async fn take_up(&mut self) -> Result<(), Trouble> {
        let stage = self.record.stage;
        // An operator may make its Deployments anew.
        if stage.is_final() || stage.row().untouched || self.record.resource.is_some() {
            return Ok(());
        }
        let mut remade = Vec::new();
        let mut gone = Vec::new();
        for (place, workload) in self.record.workloads.iter().enumerate() {
            let live: Option<Deployment> = self.cluster.get(&workload.name).await?;
            match live.map(|live| live.metadata.uid.unwrap_or_default()) {
                None => gone.push(workload.name.as_str()),
                Some(uid) if uid != workload.uid => remade.push((place, uid)),
                Some(_) => {}
            }
        }
        // Before anything is stopped, the look back tells.
        let looks = stage.row().runs;
        if !gone.is_empty() && !looks {
            return Err(OperationError::Refused(gone_without(&gone)).into());
        }
        for (place, uid) in remade {
            self.adopt(place, uid, !looks).await?;
        }
        Ok(())
    }

    async fn adopt(&mut self, place: usize, uid: String, stops: bool) -> Result<(), Trouble> {
        let Some(workload) = self.record.workloads.get_mut(place) else {
            return Ok(());
        };
        workload.uid = uid;
        let workload = workload.clone();
        self.audience.tell(&format!(
            "Deployment {} was made anew: it is taken up with its recorded count of {}",
            workload.name, workload.replicas
        ));
        if !stops {
            return Ok(());
        }
        self.record.stage = stopped_again(self.record.stage);
        self.check_lease().await?;
        let patch = |live: &Deployment| {
            let version = live.metadata.resource_version.as_deref();
            Ok(Some(manifest::stop_patch(&workload, version)))
        };
        self.change_workload(&workload, patch).await
    }

    /// Fails where a Deployment is gone, before the others are stopped.
    pub(super) async fn see_all(&self) -> Result<(), Trouble> {
        if self.record.resource.is_none() {
            for workload in &self.record.workloads {
                self.deployment(workload).await?;
            }
        }
        Ok(())
    }
}

/// What is said where Deployments are gone.
pub(super) fn gone_without(names: &[&str]) -> String {
    format!(
        "Deployment {} is not there any more: make it again as it was, and nothing else (kubectl apply; not helm \
         upgrade, which starts the others too), then the same command: its count is recorded",
        names.join(", ")
    )
}

/// What is said where one was made anew under way.
pub(super) fn made_anew(workload: &Workload) -> String {
    format!(
        "Deployment {} was made anew by somebody under way: the same command again takes it up, with its recorded \
         count",
        workload.name
    )
}
