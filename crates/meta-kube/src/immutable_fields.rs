//! The options that cannot change once an upgrade is saved.

use super::state::UpgradeState;
use crate::options::UpgradeOptions;
use milvus_meta::release::Release;

/// An option that differs from the saved upgrade state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChangedOption {
    pub option: &'static str,
    /// The given and the saved value.
    pub text: String,
    /// Why it cannot change any more.
    pub why: &'static str,
}

impl ChangedOption {
    /// Whether the options describe another upgrade.
    pub(crate) fn means_another_upgrade(&self) -> bool {
        [RELEASES, METADATA].contains(&self.why)
    }
}

/// The option that may change as long as no release is healthy.
pub(crate) const IMAGE: &str = "--image";
const RELEASES: &str = "the metadata is migrated between two releases";
const METADATA: &str = "an operation stays with the metadata that it began with";
const DEPLOYMENTS: &str = "an operation stays with the Deployments that it counted";
const MIGRATED: &str = "it only matters until the metadata is migrated";
const VOLUME: &str = "an operation stays with the volume that it began with";

impl UpgradeState {
    /// Returns the options that differ from the saved state. `--on-broken-record` is not included
    /// while it can still change.
    pub(crate) fn changed_options(&self, options: &UpgradeOptions) -> Vec<ChangedOption> {
        let text = |release: &Option<Release>| release.as_ref().map(ToString::to_string);
        let word = |skip: bool| if skip { "skip" } else { "fail" }.to_owned();
        let skip = options
            .skip_broken
            .filter(|_| !self.stage.row().plan_can_change);
        let endpoints = options.endpoints.as_ref().map(|list| list.join(","));
        let class = self
            .storage_class
            .as_deref()
            .unwrap_or("the cluster's default");
        let etcd = &self.etcd;
        #[rustfmt::skip]
        let all: [(_, Option<String>, &str, _); 10] = [
            ("--source-version", text(&options.source), &self.source_version, RELEASES),
            ("--target-version", text(&options.target), &self.target_version, RELEASES),
            (IMAGE, options.image.clone(), &self.image, RELEASES),
            ("--root-path", options.root_path.clone(), &etcd.root_path, METADATA),
            ("--meta-sub-path", options.meta_sub_path.clone(), &etcd.meta_sub_path, METADATA),
            ("--etcd-endpoints", endpoints, &etcd.endpoints.join(","), METADATA),
            ("--selector", options.selector.clone(), &self.selector, DEPLOYMENTS),
            ("--backup-size", options.claim_size.clone(), self.size(), VOLUME),
            ("--storage-class", options.storage_class.clone(), class, VOLUME),
            ("--on-broken-record", skip.map(word), &word(self.skip_broken), MIGRATED),
        ];
        let differs = |(option, given, saved, why): (_, Option<String>, &str, _)| {
            let given = given.filter(|given| given != saved)?;
            Some(ChangedOption {
                option,
                text: format!("{option} {given}, but the saved upgrade state has {saved}"),
                why,
            })
        };
        all.into_iter().filter_map(differs).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::example;

    #[test]
    fn differences_are_reported_by_option() {
        let state = example();
        let given = |text: &str| Some(text.to_owned());
        let same = UpgradeOptions {
            source: Some("2.1.4".parse().unwrap()),
            target: Some("2.2.16".parse().unwrap()),
            image: given("milvusdb/milvus:v2.2.16"),
            root_path: given("by-dev"),
            meta_sub_path: given("meta"),
            endpoints: Some(vec!["prod-etcd:2379".to_owned()]),
            selector: given("app.kubernetes.io/instance=prod"),
            claim_size: given("10Gi"),
            skip_broken: Some(false),
            ..UpgradeOptions::default()
        };
        assert_eq!(state.changed_options(&same), []);
        let other = UpgradeOptions {
            target: Some("2.2.9".parse().unwrap()),
            storage_class: given("fast"),
            ..same
        };
        let reported: Vec<String> = state
            .changed_options(&other)
            .iter()
            .map(|one| one.text.clone())
            .collect();
        assert_eq!(
            reported,
            [
                "--target-version 2.2.9, but the saved upgrade state has 2.2.16",
                "--storage-class fast, but the saved upgrade state has the cluster's default",
            ]
        );
    }
}
