//! What a command line gives of what cannot change once an operation is recorded.

use std::fmt;

use super::Record;

/// What is given; `None` where the command line says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `--source-version`.
    pub source_version: Option<String>,
    /// `--target-version`.
    pub target_version: Option<String>,
    /// `--image`.
    pub image: Option<String>,
    /// `--root-path`.
    pub root_path: Option<String>,
    /// `--meta-sub-path`.
    pub meta_sub_path: Option<String>,
    /// `--etcd-endpoints`.
    pub endpoints: Option<Vec<String>>,
    /// `--selector`.
    pub selector: Option<String>,
    /// `--backup-size`.
    pub claim_size: Option<String>,
    /// `--storage-class`.
    pub storage_class: Option<String>,
    /// `--on-broken-record`.
    pub on_broken_record: Option<String>,
}

/// An option that says something else than the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The option.
    pub option: &'static str,
    /// What is given.
    pub given: String,
    /// What is recorded.
    pub recorded: String,
    /// Why it cannot change any more.
    pub why: &'static str,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}, where the record holds {}",
            self.option, self.given, self.recorded
        )
    }
}

const RELEASES: &str = "the metadata is migrated between two releases";
const METADATA: &str = "an operation stays with the metadata that it began with";
const DEPLOYMENTS: &str = "an operation stays with the Deployments that it counted";
const MIGRATED: &str = "it only matters until the metadata is migrated";
const VOLUME: &str = "an operation stays with the volume that it began with";

impl Record {
    /// What is given and differs from what is recorded.
    #[must_use]
    pub fn differences(&self, wanted: &Wanted) -> Vec<Difference> {
        let endpoints = wanted.endpoints.as_ref().map(|list| list.join(","));
        let class = self.storage_class.as_deref();
        let etcd = &self.etcd;
        let all = [
            (
                "--source-version",
                &wanted.source_version,
                self.source_version.as_str(),
                RELEASES,
            ),
            (
                "--target-version",
                &wanted.target_version,
                &self.target_version,
                RELEASES,
            ),
            ("--image", &wanted.image, &self.image, RELEASES),
            ("--root-path", &wanted.root_path, &etcd.root_path, METADATA),
            (
                "--meta-sub-path",
                &wanted.meta_sub_path,
                &etcd.meta_sub_path,
                METADATA,
            ),
            (
                "--etcd-endpoints",
                &endpoints,
                &etcd.endpoints.join(","),
                METADATA,
            ),
            ("--selector", &wanted.selector, &self.selector, DEPLOYMENTS),
            ("--backup-size", &wanted.claim_size, self.size(), VOLUME),
            (
                "--storage-class",
                &wanted.storage_class,
                class.unwrap_or("the cluster's default"),
                VOLUME,
            ),
            (
                "--on-broken-record",
                &wanted.on_broken_record,
                if self.skip_broken { "skip" } else { "fail" },
                MIGRATED,
            ),
        ];
        let differs = |(option, given, recorded, why): (_, &Option<String>, &str, _)| {
            let given = given.as_deref().filter(|given| *given != recorded)?;
            Some(Difference {
                option,
                given: given.to_owned(),
                recorded: recorded.to_owned(),
                why,
            })
        };
        all.into_iter().filter_map(differs).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn what_differs_is_told_by_its_option_and_what_is_the_same_is_not() {
        let record = example();
        let given = |text: &str| Some(text.to_owned());
        let same = Wanted {
            source_version: given("2.1.4"),
            target_version: given("2.2.16"),
            image: given("milvusdb/milvus:v2.2.16"),
            root_path: given("by-dev"),
            meta_sub_path: given("meta"),
            endpoints: Some(vec!["prod-etcd:2379".to_owned()]),
            selector: given("app.kubernetes.io/instance=prod"),
            claim_size: given("10Gi"),
            storage_class: None,
            on_broken_record: given("fail"),
        };
        assert_eq!(record.differences(&same), []);
        let other = Wanted {
            target_version: given("2.2.9"),
            storage_class: given("fast"),
            ..same
        };
        let told: Vec<String> = record
            .differences(&other)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "--target-version 2.2.9, where the record holds 2.2.16",
                "--storage-class fast, where the record holds the cluster's default",
            ]
        );
    }
}
