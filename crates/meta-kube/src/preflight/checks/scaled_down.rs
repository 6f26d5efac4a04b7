//! Checks an instance that is already stopped: whether its counts are saved, and what may be started.

use k8s_openapi::api::apps::v1::Deployment;

use super::{Facts, Findings};
use crate::object::ResourceExt;
use crate::state::Workload;
use crate::{annotations, milvus_resource};
use milvus_meta::layout::Layout;

pub(super) fn check_stopped(facts: &Facts, findings: &mut Findings<'_>) {
    let annotated = annotated(facts);
    if !annotated.is_empty() {
        let message = format!(
            "an upgrade stopped {}: replica counts and images are read from the annotations that it left",
            annotated.join(", ")
        );
        findings.notice("noted", message);
    } else if is_stopped(facts) {
        let message = format!(
            "all Milvus Deployments are scaled to 0, and their replica counts are not saved: {}",
            advice(facts.metadata.as_ref().map(|status| status.layout))
        );
        findings.error("all-stopped", message);
    }
}

fn annotated(facts: &Facts) -> Vec<String> {
    if let Some(resource) = &facts.resource {
        let saved = milvus_resource::saved_on(resource);
        return saved
            .map(|_| format!("Milvus {}", facts.instance))
            .into_iter()
            .collect();
    }
    let annotated = |one: &&Deployment| annotations::of_deployment(one).is_some();
    let annotated = facts.deployments.iter().filter(annotated);
    annotated
        .map(|one| format!("Deployment {}", one.name_any()))
        .collect()
}

fn is_stopped(facts: &Facts) -> bool {
    if let Some(resource) = &facts.resource {
        return milvus_resource::is_stopped(&milvus_resource::save(resource));
    }
    let found = &facts.workloads.found;
    !found.is_empty() && found.iter().all(|one| one.replicas == 0)
}

/// What to do if an upgrade without saved state stopped a Deployment and started it again.
pub(super) fn started(facts: &Facts, workload: &Workload) -> &'static str {
    let live = facts.deployment(&workload.name);
    if live.is_some_and(annotations::is_annotated) {
        "; an upgrade whose saved state was deleted started it: scale it to 0, then run the same command, which reads \
         the replica count and the image from its annotations"
    } else {
        ""
    }
}

/// What to do, depending on the metadata alone.
fn advice(layout: Option<Layout>) -> &'static str {
    match layout {
        Some(Layout::V2_1) => {
            "the metadata has the 2.1 layout: scale them up with an image of 2.1, so that the upgrade can save the counts"
        }
        Some(Layout::V2_2) => {
            "the metadata has the 2.2 layout, and 2.1 must not be started on it: set an image of 2.2, then scale \
             them up"
        }
        Some(Layout::Staged | Layout::Mixed) => {
            "a migration of the metadata is unfinished: do not start any Milvus component. Resume it with \
             meta-migration migrate, or roll it back with meta-migration rollback"
        }
        Some(Layout::Empty) => "etcd contains no Milvus metadata",
        None => {
            "before you start one, run preflight or meta-migration status to see which release can read the metadata"
        }
    }
}
