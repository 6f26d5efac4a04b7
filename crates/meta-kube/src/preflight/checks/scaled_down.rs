//! Where Milvus is stopped already: what is known of its counts, and what may be started.

use k8s_openapi::api::apps::v1::Deployment;

use super::{Facts, Findings};
use crate::object::ResourceExt;
use crate::state::Workload;
use crate::{annotations, milvus_resource};
use milvus_meta::layout::Layout;

pub(super) fn check_stopped(facts: &Facts, layout: Option<Layout>, findings: &mut Findings<'_>) {
    let annotated = annotated(facts);
    if !annotated.is_empty() {
        let message = format!(
            "an upgrade stopped {}: counts and images come from its annotations",
            annotated.join(", ")
        );
        findings.notice("noted", message);
    } else if is_stopped(facts) {
        let message = format!(
            "every Deployment has 0 replicas, and the previous counts are unknown: {}",
            advice(layout)
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

/// What to do where an upgrade without saved state stopped a Deployment and started it again.
pub(super) fn started(facts: &Facts, workload: &Workload) -> &'static str {
    let live = facts.deployment(&workload.name);
    if live.is_some_and(annotations::is_annotated) {
        "; an upgrade whose saved state is gone started it: scale it to 0, then the same command takes count and \
         image from its annotations"
    } else {
        ""
    }
}

/// What may be started is reported by the metadata alone.
fn advice(layout: Option<Layout>) -> &'static str {
    match layout {
        Some(Layout::V2_1) => {
            "the metadata is 2.1: with the image of 2.1, scale them up, so that the counts can be recorded"
        }
        Some(Layout::V2_2) => {
            "the metadata is 2.2, and 2.1 must not be started on it: set the image of 2.2 first, then scale \
             them up"
        }
        Some(Layout::Staged | Layout::Mixed) => {
            "a migration of the metadata is unfinished, and nothing may be started on it: finish it, or undo it \
             (meta-migration migrate, meta-migration rollback)"
        }
        Some(Layout::Empty) => "and etcd holds no metadata",
        None => {
            "start none before it is known which release the metadata allows (run preflight or meta-migration status)"
        }
    }
}
