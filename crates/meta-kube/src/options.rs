//! What the user asks for.

use std::time::Duration;

use super::claim_name;
pub use super::stage::Intent;
use super::stage::Policy;
use super::state::PodShape;
use milvus_meta::release::Release;

/// Everything that a command line says about an upgrade. What is `None` or empty was not given.
#[derive(Debug, Clone, Default)]
pub struct UpgradeOptions {
    /// What to do.
    pub intent: Intent,
    /// The instance.
    pub instance: String,
    /// A selector other than the instance's label.
    pub selector: Option<String>,
    /// The release that wrote the metadata.
    pub source: Option<Release>,
    /// The release to upgrade to.
    pub target: Option<Release>,
    /// The image of the new release.
    pub image: Option<String>,
    /// The image of the Jobs.
    pub tool_image: Option<String>,
    /// The root path.
    pub root_path: Option<String>,
    /// The meta sub-path.
    pub meta_sub_path: Option<String>,
    /// Addresses of etcd.
    pub endpoints: Option<Vec<String>>,
    /// Secret with etcd's user and password.
    pub credentials: Option<String>,
    /// Secret with etcd's certificates.
    pub tls_secret: Option<String>,
    /// An existing claim for backups.
    pub claim: Option<String>,
    /// The size of a claim that is created.
    pub claim_size: Option<String>,
    /// Its storage class.
    pub storage_class: Option<String>,
    /// What the Jobs' pods are given besides, or instead of, what Milvus has.
    pub shape: PodShape,
    /// Findings that do not block, by their codes.
    pub accepted: Vec<String>,
    /// What happens after failures.
    pub policy: Policy,
    /// Whether broken records are skipped.
    pub skip_broken: Option<bool>,
    /// Remove Jobs and configuration after success.
    pub clean_up: bool,
    /// The timeout of each wait.
    pub limit: Duration,
    /// Who works: host, process and a number.
    pub identity: String,
    /// A new operation's id: eight hexadecimal digits.
    pub operation: String,
    /// Now, RFC 3339.
    pub now: String,
    /// The words of the command line, for the next one.
    pub repeated: RepeatedOptions,
}

/// What the next command has to repeat, as words of a shell, each with a blank before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepeatedOptions {
    /// Which cluster and instance: `-i`, `-n` and what else was given.
    pub place: String,
    /// Everything else but the versions and the new image.
    pub aim: String,
}

impl UpgradeOptions {
    /// The image of the new release: the one that is given, else the usual one.
    #[must_use]
    pub(crate) fn new_image(&self) -> Option<String> {
        let usual = || Some(format!("milvusdb/milvus:v{}", self.target.as_ref()?));
        self.image.clone().or_else(usual)
    }

    /// A command of preflight with everything that was given.
    #[must_use]
    pub fn preflight_again(&self) -> String {
        let given = |option: &str, value: Option<String>| {
            value
                .map(|value| format!(" {option} {value}"))
                .unwrap_or_default()
        };
        format!(
            "meta-migration preflight{}{}{}{}{}",
            self.repeated.place,
            given("-s", self.source.as_ref().map(ToString::to_string)),
            given("-t", self.target.as_ref().map(ToString::to_string)),
            given("-w", self.image.clone()),
            self.repeated.aim
        )
    }

    /// The claim for backups: the one given, or the one that is created.
    #[must_use]
    pub fn claim_name(&self) -> String {
        let given = self.claim.clone();
        given.unwrap_or_else(|| claim_name(&self.instance))
    }
}
