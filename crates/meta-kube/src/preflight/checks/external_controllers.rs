//! Other controllers of the instance: the Milvus Operator, Helm, a GitOps controller, autoscalers.

use k8s_openapi::api::apps::v1::Deployment;

use super::{Facts, Findings};
use crate::discovery::helm::HelmRelease;
use crate::milvus_resource;
use crate::object::{ResourceExt, text};
use crate::state::Workload;

pub(super) fn check_owners(facts: &Facts, findings: &mut Findings<'_>) {
    if let Some(resource) = &facts.resource {
        for reason in milvus_resource::refusals(resource, &facts.upgrades) {
            findings.error("operator", reason);
        }
    } else if facts.is_operator_managed {
        findings.error(
            "operator",
            "the Milvus Operator manages the instance, but its custom resource cannot be read"
                .to_owned(),
        );
    }
    let of_resource = facts
        .resource
        .as_ref()
        .and_then(|resource| Some((format!("Milvus {}", facts.instance), gitops(resource)?)));
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

/// Reports changes that Helm does not know: its next upgrade reverts them.
fn check_drift(helm: &HelmRelease, workload: &Workload, findings: &mut Findings<'_>) {
    let (image, count) = (&workload.image, i64::from(workload.replicas));
    let says = helm.image.iter().filter(|says| *says != image);
    let images = says.map(|says| format!("runs {image}, Helm's values say {says}"));
    let says = helm.replicas.get(&workload.component);
    let says = says.into_iter().filter(|says| **says != count);
    let counts = says.map(|says| format!("has {count} replicas, Helm's values say {says}"));
    for drift in images.chain(counts) {
        let name = &workload.name;
        let message = format!("Deployment {name} {drift}: its next upgrade would set that");
        findings.warning("helm-drift", message);
    }
}

/// The GitOps controller that reverts changes of an object.
fn gitops(object: &impl ResourceExt) -> Option<&'static str> {
    let (labels, annotations) = (object.labels(), object.annotations());
    let marks = [
        ("argocd.argoproj.io/instance", "Argo CD"),
        ("argocd.argoproj.io/tracking-id", "Argo CD"),
        ("kustomize.toolkit.fluxcd.io/name", "Flux"),
        ("helm.toolkit.fluxcd.io/name", "Flux"),
    ];
    let mut present = marks
        .into_iter()
        .filter(|(key, _)| labels.contains_key(*key) || annotations.contains_key(*key));
    present.next().map(|(_, owner)| owner)
}

/// What KEDA parses as true.
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
        let says = |key: &str| scaler.annotations().get(key);
        // With paused-replicas KEDA scales to that count first.
        let paused = says("autoscaling.keda.sh/paused").is_some_and(|text| is_true(text))
            && says("autoscaling.keda.sh/paused-replicas").is_none();
        let target = |part: &str| text(&scaler.content, &format!("/spec/scaleTargetRef/{part}"));
        let name = target("name");
        if is_ours(target("kind"), name) && !paused {
            let message = format!(
                "KEDA's ScaledObject {} would start {name} again from 0: pause it \
                 (annotation autoscaling.keda.sh/paused: \"true\", without paused-replicas)",
                scaler.name_any()
            );
            findings.error("keda", message);
        }
    }
}
