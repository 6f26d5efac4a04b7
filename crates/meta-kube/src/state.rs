//! The upgrade state, saved in the cluster before each step. A restarted command knows nothing else.
//!
//! A state belongs to one operation. Its replica counts are read while Milvus still runs, for the
//! last time just before the stop, so they never contain the zeros of our own stop.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::job_kind::JobKind;
use super::options::{PodUser, Policy};
use super::stage::{Effect, Stage};
use super::{BACKUP_FOLDER, CLAIM_SIZE};
use milvus_meta::finding::Finding;
use milvus_meta::layout::Layout;
use milvus_meta::plural::{agree, counted};

pub(crate) const STATE_VERSION: u32 = 1;
/// Size of the saved findings: a ConfigMap holds 1 MiB, and JSON escapes some characters.
const FINDINGS_BYTES_MAX: usize = 256 << 10;
/// Attempts at one step before the user must run the command again.
pub const ATTEMPTS_MAX: u32 = 3;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    pub name: String,
    /// Identifies the Deployment: another one of the same name must not be changed.
    pub uid: String,
    /// The component: `rootcoord`, `standalone`, …
    pub component: String,
    /// The container that runs Milvus.
    pub container: String,
    /// The image before the upgrade.
    pub image: String,
    /// The replica count before the upgrade.
    pub replicas: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EtcdTarget {
    /// Addresses, `host:port`.
    pub endpoints: Vec<String>,
    pub root_path: String,
    pub meta_sub_path: String,
    pub kv_sub_path: String,
    /// Secret with `user` and `password`.
    pub credentials: Option<String>,
    pub tls: Option<TlsSecret>,
}

/// Where Milvus is configured to keep the files of segments and indexes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageRoot {
    /// Whether the files are in a local folder instead of object storage.
    pub is_local: bool,
    pub path: String,
    /// Whether the path is configured; else it is the default of Milvus.
    pub is_set: bool,
}

impl StorageRoot {
    /// The configuration key of the path.
    pub(crate) fn key(&self) -> &'static str {
        if self.is_local {
            "localStorage.path"
        } else {
            "minio.rootPath"
        }
    }
}

/// A Secret with certificates, and the keys that it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsSecret {
    pub name: String,
    /// Key of the CA certificate.
    pub ca: Option<String>,
    /// Key of the client certificate.
    pub cert: Option<String>,
    /// Key of the client's private key.
    pub key: Option<String>,
}

/// The settings that the Jobs' pods take over from a Milvus pod.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PodShape {
    pub pull_secrets: Vec<String>,
    pub node_selector: BTreeMap<String, String>,
    pub tolerations: Vec<Value>,
    pub node_affinity: Option<Value>,
    /// The pod's security context, if Milvus has one.
    pub security: Option<Value>,
    /// Resource requests of each container that differ from the default.
    pub requests: BTreeMap<String, String>,
    pub limits: BTreeMap<String, String>,
    /// The user, if it differs from the security context.
    pub user: Option<PodUser>,
    /// The service account, used for its pull secrets; its token is never mounted.
    pub service_account: Option<String>,
}

/// The custom resource of an operator-managed instance as it was before the upgrade.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedResource {
    /// UID of the resource.
    pub uid: String,
    /// `spec.components.image`, if present.
    pub image: Option<String>,
    /// The fields of each component that the upgrade changes, if present.
    pub components: BTreeMap<String, SavedComponent>,
}

/// One component of the custom resource, with the fields that are present.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SavedComponent {
    pub replicas: Option<i64>,
    pub image: Option<String>,
    pub groups: Option<Value>,
    /// Whether the resource does not contain the component.
    pub absent: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entered {
    pub stage: Stage,
    /// Time, RFC 3339.
    pub at: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpgradeState {
    pub version: u32,
    /// Eight hexadecimal digits.
    pub operation: String,
    /// Start time, RFC 3339.
    pub started_at: String,
    pub instance: String,
    pub stage: Stage,
    /// The release that wrote the metadata.
    pub source_version: String,
    pub target_version: String,
    pub image: String,
    pub tool_image: String,
    pub etcd: EtcdTarget,
    /// Where Milvus is configured to keep its files, if known.
    pub storage_root: Option<StorageRoot>,
    /// The backup claim.
    pub claim: String,
    /// The size of a created claim, if given.
    pub claim_size: Option<String>,
    /// The storage class of a created claim, if given.
    pub storage_class: Option<String>,
    /// Path of the backup file in a Job.
    pub backup_file: String,
    /// The label selector of Milvus' Deployments.
    pub selector: String,
    /// The Deployments as they were before the upgrade.
    pub workloads: Vec<Workload>,
    /// The custom resource, if the Milvus Operator manages the instance.
    pub resource: Option<SavedResource>,
    pub shape: PodShape,
    pub policy: Policy,
    /// The timeout of each wait, in seconds.
    pub timeout_s: u64,
    /// Whether records that cannot be migrated are skipped.
    pub skip_broken: bool,
    pub accepted: Vec<String>,
    pub rollback_requested: bool,
    /// The file with what the new release wrote before the rollback discarded it.
    pub saved: Option<String>,
    /// The layout that the probe found.
    pub layout_before: Option<Layout>,
    /// The findings of the plan, worst first, as far as they fit.
    pub findings: Vec<Finding>,
    /// Whether the migration found a 2.1 layout and the backup file contains it.
    pub has_backup: bool,
    /// Whether the 2.2 layout was compared with the expected result before the new release ran on it.
    pub verified: bool,
    /// The stages of this operation, in the order in which they were entered.
    pub history: Vec<Entered>,
    /// The current attempt, by step.
    pub attempts: BTreeMap<JobKind, u32>,
    /// Why it halted or rolled back, in one sentence.
    pub failure: Option<String>,
}

impl UpgradeState {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let state: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match state.version {
            STATE_VERSION => Ok(state),
            other => Err(format!(
                "it has version {other}, this program supports version {STATE_VERSION}"
            )),
        }
    }

    /// The state as text, readable with kubectl.
    pub(crate) fn render(&self) -> String {
        // A map with text keys always serializes.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The file for what the new release wrote, as a path in a Job.
    pub(crate) fn saved_file(&self) -> String {
        format!(
            "{BACKUP_FOLDER}/{}-{}.mmb",
            self.operation, self.target_version
        )
    }

    /// The image of a Deployment with the new release, or with the old one.
    pub(crate) fn image_of<'s>(&'s self, workload: &'s Workload, new: bool) -> &'s str {
        if new { &self.image } else { &workload.image }
    }

    /// The backup's file and claim, if there is a backup.
    pub fn backup_place(&self) -> Option<String> {
        let (file, claim) = (&self.backup_file, &self.claim);
        self.has_backup
            .then(|| format!("{file} in volume claim {claim}"))
    }

    /// The size of a created claim.
    pub(crate) fn size(&self) -> &str {
        self.claim_size.as_deref().unwrap_or(CLAIM_SIZE)
    }

    /// Whether the metadata may have been migrated, so that the stages before the migration are repeated.
    pub(crate) fn may_be_migrated(&self) -> bool {
        self.has_backup || self.verified || self.attempt(JobKind::Migrate) > 0
    }

    /// Keeps the findings of the plan that fit, with a notice about the others.
    pub(crate) fn keep_findings(&mut self, found: &[Finding]) {
        let mut bytes = 0;
        let fits = |one: &&Finding| {
            bytes += one.code.len() + one.key.len() + one.message.len();
            bytes <= FINDINGS_BYTES_MAX
        };
        self.findings = found.iter().take_while(fits).cloned().collect();
        let others = found.len() - self.findings.len();
        if others > 0 {
            let others = others as u64;
            let message = format!(
                "{} of the plan {} not saved: meta-migration plan lists all",
                counted(others, "further finding"),
                agree(others, "is", "are")
            );
            self.findings
                .push(Finding::notice("more-findings", b"", message));
        }
    }

    /// Returns the findings of the plan, or none once it is rolled back.
    pub(crate) fn planned_findings(&self) -> &[Finding] {
        match self.stage.is_rollback() {
            true => &[],
            false => &self.findings,
        }
    }

    pub(crate) fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::MarkVerified => self.verified = true,
            Effect::ClearFailure => self.failure = None,
            Effect::ForgetSavedCopy => self.saved = None,
            Effect::AcceptLoss => self.policy.accept_loss = true,
            Effect::CancelRollback => {
                self.policy.accept_loss = false;
                self.rollback_requested = false;
            }
        }
    }

    /// The current attempt at a step; 0 before the first.
    pub(crate) fn attempt(&self, step: JobKind) -> u32 {
        self.attempts.get(&step).copied().unwrap_or(0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A state in the middle of an upgrade.
    pub(crate) fn example() -> UpgradeState {
        UpgradeState {
            version: STATE_VERSION,
            operation: "3f9a2c1d".to_owned(),
            started_at: "2026-01-01T00:00:00Z".to_owned(),
            instance: "prod".to_owned(),
            stage: Stage::MIGRATE,
            source_version: "2.1.4".to_owned(),
            target_version: "2.2.16".to_owned(),
            image: "milvusdb/milvus:v2.2.16".to_owned(),
            tool_image: "meta-migration:0.1.0".to_owned(),
            etcd: EtcdTarget {
                endpoints: vec!["prod-etcd:2379".to_owned()],
                root_path: "by-dev".to_owned(),
                meta_sub_path: "meta".to_owned(),
                kv_sub_path: "kv".to_owned(),
                credentials: None,
                tls: None,
            },
            storage_root: None,
            claim: "meta-migration-backup-prod".to_owned(),
            claim_size: None,
            storage_class: None,
            backup_file: "/milvus/data/3f9a2c1d.mmb".to_owned(),
            selector: "app.kubernetes.io/instance=prod".to_owned(),
            workloads: vec![Workload {
                name: "prod-milvus-querynode".to_owned(),
                uid: "u".to_owned(),
                component: "querynode".to_owned(),
                container: "querynode".to_owned(),
                image: "milvusdb/milvus:v2.1.4".to_owned(),
                replicas: 3,
            }],
            resource: None,
            shape: PodShape::default(),
            policy: Policy::default(),
            timeout_s: 900,
            skip_broken: false,
            accepted: Vec::new(),
            rollback_requested: false,
            saved: None,
            layout_before: Some(Layout::V2_1),
            findings: Vec::new(),
            has_backup: true,
            verified: false,
            history: Vec::new(),
            attempts: BTreeMap::from([(JobKind::Migrate, 2)]),
            failure: None,
        }
    }

    #[test]
    fn w4_the_counts_survive_the_process() {
        let state = example();
        assert_eq!(UpgradeState::parse(&state.render()), Ok(state));
    }

    #[test]
    fn findings_of_the_plan_are_saved_as_far_as_they_fit() {
        let found = vec![Finding::notice("index-renamed", b"key", "\"x\"".repeat(500)); 1000];
        let mut state = example();
        state.keep_findings(&found[..2]);
        assert_eq!(state.findings, found[..2]);
        state.keep_findings(&found);
        let text = state.render();
        assert!(text.len() < 800_000, "{}", text.len());
        let saved = UpgradeState::parse(&text).unwrap().findings;
        let last = saved.last().unwrap();
        let others = format!("{} further findings", found.len() + 1 - saved.len());
        assert_eq!(last.code, "more-findings");
        assert!(last.message.starts_with(&others), "{last:?}");
    }

    #[test]
    fn a_state_of_another_version_is_refused() {
        let newer = UpgradeState {
            version: 9,
            ..example()
        };
        let problem = UpgradeState::parse(&newer.render()).unwrap_err();
        assert!(problem.contains("version 9"), "{problem}");
        let problem = UpgradeState::parse("{}").unwrap_err();
        assert!(problem.contains("missing field"), "{problem}");
    }
}
