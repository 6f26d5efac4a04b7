//! Findings for releases that run on metadata which they cannot read.

use std::collections::BTreeMap;

use super::cluster_finding;
use crate::discovery::image_version;
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::layout::Layout;

pub(crate) const CODE: &str = "release-metadata";

/// Returns a finding for each release that cannot read the metadata. `running` are names and images
/// of Deployments; `fix` is the remedy.
pub(crate) fn release_findings<'d>(
    running: impl Iterator<Item = (&'d str, &'d str)>,
    metadata: Layout,
    severity: Severity,
    fix: &str,
) -> Vec<Finding> {
    let mut wrong: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (deployment, image) in running {
        let release = image_version(image);
        let is_new = metadata == Layout::V2_2;
        if let Some(release) = release.filter(|one| one.has_2_2_layout() != is_new) {
            let names = wrong.entry(release.to_string()).or_default();
            names.push(deployment);
        }
    }
    let finding = |(release, names): (String, Vec<&str>)| {
        let message = format!(
            "{release} runs on {} metadata, which it cannot read ({}): {fix}",
            metadata.name(),
            names.join(", ")
        );
        cluster_finding(severity, CODE, message)
    };
    wrong.into_iter().map(finding).collect()
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deployments_are_grouped_by_release() {
        let running = [
            ("a", "milvusdb/milvus:v2.1.4"),
            ("b", "milvusdb/milvus:v2.2.16"),
            ("c", "milvusdb/milvus:v2.1.4"),
            ("d", "milvusdb/milvus:v2.1.0"),
            ("e", "milvusdb/milvus:mine"),
        ];
        let messages = |metadata| -> Vec<String> {
            let all = release_findings(running.into_iter(), metadata, Severity::Error, "stop it");
            all.into_iter().map(|finding| finding.message).collect()
        };
        assert_eq!(
            messages(Layout::V2_2),
            [
                "2.1.0 runs on 2.2 metadata, which it cannot read (d): stop it",
                "2.1.4 runs on 2.2 metadata, which it cannot read (a, c): stop it",
            ]
        );
        assert_eq!(
            messages(Layout::V2_1),
            ["2.2.16 runs on 2.1 metadata, which it cannot read (b): stop it"]
        );
    }
}
