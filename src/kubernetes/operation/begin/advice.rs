//! What Helm has to be told afterwards, or its next upgrade sets the other image again.

use crate::kubernetes::discovery::helm::HelmRelease;
use crate::kubernetes::preflight::{Facts, helm_upgrade};
use crate::kubernetes::record::Record;
use crate::kubernetes::stage::Stage;
use crate::version::Release;

/// What Helm has to be told after an upgrade, or after a way back; `None` where there is nothing to tell.
#[must_use]
pub fn advice(facts: &Facts, record: &Record) -> Option<String> {
    let helm = facts.helm.as_ref().filter(|_| record.resource.is_none())?;
    if record.stage == Stage::UPGRADED {
        after_an_upgrade(facts, record)
    } else if record.stage == Stage::ROLLED_BACK {
        after_a_way_back(facts, helm, record)
    } else {
        None
    }
}

fn after_an_upgrade(facts: &Facts, record: &Record) -> Option<String> {
    let target: Release = record.target_version.parse().ok()?;
    let custom = if target.triple() > (2, 2, 0) {
        "\n  Since chart 4.0.0 custom settings belong under extraConfigFiles.user.yaml."
    } else {
        ""
    };
    Some(format!(
        "it does not know about this: any helm upgrade with the old chart or values would start {} on 2.2 \
         metadata. Tell it now:\n  {}\n  Take the chart whose app version is {target}, or the nearest below (helm \
         search repo milvus/milvus --versions).\n  Do not use --reuse-values: it brings the old chart's defaults \
         along.{custom}",
        record.source_version,
        helm_upgrade(facts, &target, &record.image)
    ))
}

/// Helm need not be told where its values say the old image still.
fn after_a_way_back(facts: &Facts, helm: &HelmRelease, record: &Record) -> Option<String> {
    let source: Release = record.source_version.parse().ok()?;
    let old = &record.workloads.first()?.image;
    let said = match &helm.image {
        Some(image) if image == old => return None,
        Some(image) => format!("its values say {image}"),
        None => format!("if it was told of {} meanwhile", record.target_version),
    };
    let (name, namespace) = (&facts.instance, &facts.namespace);
    Some(format!(
        "{said}, the next helm upgrade would start that on 2.1 metadata. Tell it now, with one of these:\n  helm \
         rollback {name} REVISION -n {namespace}   # the revision before; helm history {name} -n {namespace} shows it\n  \
         {}\n  Either sets the counts, too, to what its values say.",
        helm_upgrade(facts, &source, old)
    ))
}
