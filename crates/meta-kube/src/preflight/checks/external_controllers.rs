//! Who else looks after the instance: an operator, Helm, a GitOps controller, autoscalers.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::Value;

use super::{Facts, Findings};
use crate::discovery::helm::HelmRelease;
use crate::milvus_resource;
use crate::object::ResourceExt;
use crate::state::Workload;

pub(super) fn check_owners(facts: &Facts, findings: &mut Findings<'_>) {
    if let Some(resource) = &facts.resource {
        for reason in milvus_resource::refusals(resource, &facts.upgrades) {
            findings.error("operator", reason);
        }
    } else if facts.is_operators {
        findings.error(
            "operator",
            "the Milvus Operator manages the instance, but its custom resource cannot be read"
                .to_owned(),
        );
    }
    let of_resource = facts.resource.as_ref().and_then(|resource| {
        let maps = ["/metadata/labels", "/metadata/annotations"];
        let mut maps = maps.iter().filter_map(|pointer| resource.pointer(pointer));
        let owner = maps.find_map(|map| owner(|key| map.get(key).is_some()))?;
        Some((format!("Milvus {}", facts.instance), owner))
    });
    let of_deployments = facts.deployments.iter().filter_map(|deployment| {
        let name = deployment.name_any();
        Some((format!("Deployment {name}"), gitops(deployment)?))
    });
    for (what, owner) in of_deployments.chain(of_resource) {
        let message = format!(
            "{owner} manages {what} and would revert scaling and image: pause it, then use --accept gitops"
        );
        findings.error("gitops", message);
    }
}

pub(super) fn check_helm(facts: &Facts, findings: &mut Findings<'_>) {
    if let Some(helm) = &facts.helm {
        for workload in &facts.workloads.found {
            check_drift(helm, workload, findings);
        }
        if helm.is_pending() {
            let message = format!(
                "a Helm operation is pending: {} is {}",
                helm.name, helm.status
            );
            findings.error("helm-pending", message);
        } else if helm.status == "failed" {
            let message = format!("Helm's last upgrade of {} failed", helm.name);
            findings.warning("helm-failed", message);
        }
    }
    if let Some(problem) = &facts.helm_problem {
        let message = format!("Helm's release record cannot be read: {problem}");
        findings.warning("helm-record", message);
    }
    let rendered = |deployment: &Deployment| {
        let manager = deployment.labels().get("app.kubernetes.io/managed-by");
        let says_helm = manager.is_some_and(|by| by == "Helm");
        let annotations = deployment.annotations();
        let installed = annotations.contains_key("meta.helm.sh/release-name");
        says_helm && !installed && gitops(deployment).is_none()
    };
    let without_record = facts.helm.as_ref().is_some_and(|helm| helm.revision == 0);
    if without_record && facts.deployments.iter().any(rendered) {
        findings.warning(
            "helm-rendered",
            "a chart was rendered here without Helm installing it: if a GitOps controller applies it, pause it"
                .to_owned(),
        );
    }
}

/// What was changed behind Helm's back: its next upgrade sets it back.
fn check_drift(helm: &HelmRelease, workload: &Workload, findings: &mut Findings<'_>) {
    if let Some(image) = &helm.image
        && *image != workload.image
    {
        let message = format!(
            "Deployment {} runs {}, Helm's values say {image}: its next upgrade would set that",
            workload.name, workload.image
        );
        findings.warning("helm-drift", message);
    }
    if let Some(count) = helm.replicas.get(&workload.component)
        && *count != i64::from(workload.replicas)
    {
        let message = format!(
            "Deployment {} has {} replicas, Helm's values say {count}: its next upgrade would set that",
            workload.name, workload.replicas
        );
        findings.warning("helm-drift", message);
    }
}

/// Who sets a Deployment back to what a repository says.
fn gitops(deployment: &Deployment) -> Option<&'static str> {
    let (labels, annotations) = (deployment.labels(), deployment.annotations());
    owner(|key| labels.contains_key(key) || annotations.contains_key(key))
}

fn owner(has: impl Fn(&str) -> bool) -> Option<&'static str> {
    let marks = [
        ("argocd.argoproj.io/instance", "Argo CD"),
        ("argocd.argoproj.io/tracking-id", "Argo CD"),
        ("kustomize.toolkit.fluxcd.io/name", "Flux"),
        ("helm.toolkit.fluxcd.io/name", "Flux"),
    ];
    marks
        .into_iter()
        .find(|(key, _)| has(key))
        .map(|(_, owner)| owner)
}

/// What KEDA reads as true.
fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

pub(super) fn check_scalers(facts: &Facts, findings: &mut Findings<'_>) {
    let is_ours = |kind: &str, name: &str| {
        let named = facts.workloads.found.iter().any(|one| one.name == name);
        named && matches!(kind, "Deployment" | "")
    };
    for scaler in &facts.autoscalers {
        let Some(spec) = &scaler.spec else { continue };
        let target = &spec.scale_target_ref;
        if is_ours(&target.kind, &target.name) {
            let message = format!(
                "HorizontalPodAutoscaler {} scales {}: it is inactive while Milvus is stopped and may change the count afterwards",
                scaler.name_any(),
                target.name
            );
            findings.warning("autoscaler", message);
        }
    }
    for scaler in &facts.scaled_objects {
        let text = |pointer: &str| {
            let found = scaler.pointer(pointer).and_then(Value::as_str);
            found.unwrap_or_default()
        };
        let annotations = scaler.pointer("/metadata/annotations");
        let says = |key: &str| annotations?.get(key)?.as_str();
        // With paused-replicas KEDA scales to that count first.
        let paused = says("autoscaling.keda.sh/paused").is_some_and(is_true)
            && says("autoscaling.keda.sh/paused-replicas").is_none();
        let name = text("/spec/scaleTargetRef/name");
        if is_ours(text("/spec/scaleTargetRef/kind"), name) && !paused {
            let message = format!(
                "KEDA's ScaledObject {} would start {name} again from 0: pause it \
                 (annotation autoscaling.keda.sh/paused: \"true\", without paused-replicas)",
                text("/metadata/name")
            );
            findings.error("keda", message);
        }
    }
}
