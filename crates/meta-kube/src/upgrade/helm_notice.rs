//! The notice that Helm's values have another image, which the next helm upgrade would set.

use crate::discovery::helm::HelmRelease;
use crate::preflight::{Facts, helm_upgrade};
use crate::state::UpgradeState;
use milvus_meta::layout::Layout;
use milvus_meta::release::Release;

/// Returns the notice after an upgrade or a rollback; `None` if Helm's values match.
pub(crate) fn helm_notice(facts: &Facts, state: &UpgradeState) -> Option<String> {
    let helm = facts.helm.as_ref().filter(|_| state.resource.is_none())?;
    let reads = state.stage.row().end?.reads?;
    if reads != Layout::V2_2 {
        return after_a_rollback(facts, helm, state);
    }
    if helm.image.as_ref() == Some(&state.image) {
        return None;
    }
    after_an_upgrade(facts, state)
}

fn after_an_upgrade(facts: &Facts, state: &UpgradeState) -> Option<String> {
    let target: Release = state.target_version.parse().ok()?;
    let custom = if target.triple() > (2, 2, 0) {
        "\n  Since chart 4.0.0 custom settings belong under extraConfigFiles.user.yaml."
    } else {
        ""
    };
    let chart = "This is the newest known chart for that release, or for the nearest one below.";
    Some(format!(
        "Helm does not know the new image: any helm upgrade with the old chart or values would start {} on 2.2 \
         metadata. Run now:\n  {}\n  {chart}\n  Do not use --reuse-values: it keeps the old chart's defaults.{custom}",
        state.source_version,
        helm_upgrade(facts, &target, &state.image)
    ))
}

/// No notice is needed if Helm's values still name the old image.
fn after_a_rollback(facts: &Facts, helm: &HelmRelease, state: &UpgradeState) -> Option<String> {
    let source: Release = state.source_version.parse().ok()?;
    let old = &state.workloads.first()?.image;
    let said = match &helm.image {
        Some(image) if image == old => return None,
        Some(image) => format!("Helm's values name the image {image}: "),
        None => format!(
            "if Helm has upgraded the release to {} meanwhile, ",
            state.target_version
        ),
    };
    let (name, namespace) = (&facts.instance, &facts.namespace);
    let mut before = helm.images.iter().rev().filter(|(_, image)| *image == old);
    let rollback = match before.next() {
        Some((revision, _)) => format!("helm rollback {name} {revision} -n {namespace}"),
        None => format!(
            "helm rollback {name} REVISION -n {namespace}   # the revision before; helm history {name} -n \
             {namespace} shows it"
        ),
    };
    Some(format!(
        "{said}the next helm upgrade would start that release on 2.1 metadata. Run one of these now:\n  {rollback}\n  \
         {}\n  Both set the replica counts to those of Helm's values.",
        helm_upgrade(facts, &source, old)
    ))
}
