//! Why a Job does not start.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::Runner;
use super::failure::is_refused;
use crate::client::ClientError;
use crate::condition::{claim_problem, problem};
use crate::state::UpgradeState;

/// How long an image or container problem may last; some are temporary.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a node, a volume or a pod may be missing; all may still be provisioned.
const SCHEDULING_TIMEOUT: Duration = Duration::from_secs(180);

impl Runner<'_> {
    /// Returns why a Job does not start, with the cluster's message, and how long that may last.
    pub(super) async fn start_problem(
        &self,
        state: &UpgradeState,
        name: &str,
        pods: &[Pod],
    ) -> Result<(Option<String>, Duration), ClientError> {
        let seen = pods.iter().find_map(problem);
        let unplaced = pods.iter().any(is_unplaced);
        let timeout = if seen.is_some() && !unplaced {
            START_TIMEOUT
        } else {
            SCHEDULING_TIMEOUT
        };
        let mut reasons: Vec<String> = seen.into_iter().collect();
        match pods.first().and_then(|pod| pod.metadata.name.as_deref()) {
            None => {
                let said = self.client.warning("Job", name).await;
                if let Some(said) = said.as_deref().filter(|said| is_refused(said)) {
                    // Every retry creates a pod with another name, which is rejected too.
                    let reported = format!("the API server refuses its pod ({said})");
                    return Ok((Some(reported), Duration::ZERO));
                }
                let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
                reasons.push(format!("no pod was created for it{said}"));
            }
            // Scheduling and mount failures are only reported in events.
            Some(pod) if reasons.is_empty() => {
                reasons.extend(self.client.warning("Pod", pod).await);
            }
            Some(_) => {}
        }
        if let Some(claim) = self.claim_problem(state, pods).await? {
            let said = self
                .client
                .warning("PersistentVolumeClaim", &state.claim)
                .await;
            let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
            reasons.push(format!("{claim}{said}"));
        }
        let reported = (!reasons.is_empty()).then(|| reasons.join("; "));
        Ok((reported, timeout))
    }

    async fn claim_problem(
        &self,
        state: &UpgradeState,
        pods: &[Pod],
    ) -> Result<Option<String>, ClientError> {
        // A pod on a node has its volume; before that, the claim may be waiting for the pod.
        if state.claim.is_empty() || pods.is_empty() || !pods.iter().all(is_unplaced) {
            return Ok(None);
        }
        let claim: Option<PersistentVolumeClaim> = self.client.get(&state.claim).await?;
        Ok(match claim {
            Some(claim) => claim_problem(&claim),
            None => Some(format!("the volume claim {} does not exist", state.claim)),
        })
    }
}

fn is_unplaced(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    spec.is_none_or(|spec| spec.node_name.is_none())
}
