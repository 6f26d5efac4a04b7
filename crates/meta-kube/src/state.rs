//! The state that is saved in the cluster before each step, and all that a restarted command knows.
//!
//! A state belongs to one operation and ends with it. The counts in it are taken while Milvus
//! still runs, for the last time just before the stop; never as the zeros of our own stop.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::job_kind::JobKind;
use super::options::{PodUser, Policy};
use super::stage::{Effect, Stage};
use super::{BACKUP_FOLDER, CLAIM_SIZE};
use milvus_meta::layout::Layout;

pub(crate) const STATE_VERSION: u32 = 1;
/// Attempts at one step, without the user asking for more.
pub const ATTEMPTS_MAX: u32 = 3;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    pub name: String,
    /// Its identity: another Deployment of the same name is not ours to touch.
    pub uid: String,
    /// The component: `rootcoord`, `standalone`, …
    pub component: String,
    /// The container that runs Milvus.
    pub container: String,
    /// The image before the upgrade.
    pub image: String,
    /// The desired count before the upgrade.
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
    /// Whether the files are in a folder, and not in object storage.
    pub is_local: bool,
    pub path: String,
    /// Whether it is configured, or the default of Milvus.
    pub is_set: bool,
}

impl StorageRoot {
    /// The key of its setting.
    pub(crate) fn key(&self) -> &'static str {
        if self.is_local {
            "localStorage.path"
        } else {
            "minio.rootPath"
        }
    }
}

/// A Secret with certificates, and which of them it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsSecret {
    pub name: String,
    /// Key of the certificates to trust.
    pub ca: Option<String>,
    /// Key of the client's certificate.
    pub cert: Option<String>,
    /// Key of the certificate's private key.
    pub key: Option<String>,
}

/// What the Jobs' pods take over from a Milvus pod.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PodShape {
    pub pull_secrets: Vec<String>,
    pub node_selector: BTreeMap<String, String>,
    pub tolerations: Vec<Value>,
    pub node_affinity: Option<Value>,
    /// The pod's security context, where Milvus has one.
    pub security: Option<Value>,
    /// What each container requests, where it is not the default.
    pub requests: BTreeMap<String, String>,
    pub limits: BTreeMap<String, String>,
    /// The user, where it is not the one of the security context.
    pub user: Option<PodUser>,
    /// The service account, for its pull secrets; its token is never mounted.
    pub service_account: Option<String>,
}

/// What the custom resource of an operator-managed instance said before the upgrade.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedResource {
    /// Identity of the resource.
    pub uid: String,
    /// `spec.components.image`, if it was there.
    pub image: Option<String>,
    /// What each component said that the upgrade changes; only what was there.
    pub components: BTreeMap<String, SavedComponent>,
}

/// One component of the custom resource: which of its members are present.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SavedComponent {
    pub replicas: Option<i64>,
    pub image: Option<String>,
    pub groups: Option<Value>,
    /// Whether the resource did not name it at all.
    #[serde(default)]
    pub absent: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entered {
    pub stage: Stage,
    /// When, RFC 3339.
    pub at: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpgradeState {
    pub version: u32,
    /// Eight hexadecimal digits.
    pub operation: String,
    /// When it began, RFC 3339.
    pub started_at: String,
    pub instance: String,
    pub stage: Stage,
    /// The release that wrote the metadata.
    pub source_version: String,
    pub target_version: String,
    pub image: String,
    pub tool_image: String,
    pub etcd: EtcdTarget,
    /// Where Milvus is configured to keep its files, where that is known.
    #[serde(default)]
    pub storage_root: Option<StorageRoot>,
    /// The claim for backups.
    pub claim: String,
    /// The size of a claim that is made, if it was given.
    #[serde(default)]
    pub claim_size: Option<String>,
    /// Its storage class, if it was given.
    #[serde(default)]
    pub storage_class: Option<String>,
    /// The backup file, seen from a Job.
    pub backup_file: String,
    /// The label selector that finds Milvus' Deployments.
    pub selector: String,
    /// The Deployments, as they were.
    pub workloads: Vec<Workload>,
    /// The custom resource, where an operator manages the instance.
    pub resource: Option<SavedResource>,
    pub shape: PodShape,
    pub policy: Policy,
    /// The timeout of each wait, in seconds; `None` in states of earlier versions.
    #[serde(default)]
    pub timeout_s: Option<u64>,
    /// Whether records that cannot be migrated are left out.
    #[serde(default)]
    pub skip_broken: bool,
    #[serde(default)]
    pub accepted: Vec<String>,
    #[serde(default)]
    pub rollback_requested: bool,
    /// Where what the new release wrote was saved before it was undone.
    #[serde(default)]
    pub saved: Option<String>,
    /// What the probe found.
    pub layout_before: Option<Layout>,
    /// Whether the migration found a 2.1 layout and the backup file holds it.
    pub has_backup: bool,
    /// Whether the 2.2 layout was compared with what the backup gives, before the new release ran on it.
    #[serde(default)]
    pub verified: bool,
    /// The stages of this operation so far, in the order in which they were entered.
    #[serde(default)]
    pub history: Vec<Entered>,
    /// The attempt in hand, by step.
    pub attempts: BTreeMap<JobKind, u32>,
    /// Why it halted or went back, in one sentence.
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
        // A map with text keys and no foreign types cannot fail to become JSON.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The file for what the new release wrote, seen from a Job.
    pub(crate) fn saved_file(&self) -> String {
        format!(
            "{BACKUP_FOLDER}/{}-{}.mmb",
            self.operation, self.target_version
        )
    }

    /// The image of a Deployment with the new release, or with the one before.
    pub(crate) fn image_of<'s>(&'s self, workload: &'s Workload, new: bool) -> &'s str {
        if new { &self.image } else { &workload.image }
    }

    /// Where the backup is, if there is one.
    pub fn backup_place(&self) -> Option<String> {
        let (file, claim) = (&self.backup_file, &self.claim);
        self.has_backup
            .then(|| format!("{file} in volume claim {claim}"))
    }

    /// The size of a claim that is made.
    pub(crate) fn size(&self) -> &str {
        self.claim_size.as_deref().unwrap_or(CLAIM_SIZE)
    }

    /// Whether the metadata may have been migrated: then what comes before the migration is done again.
    pub(crate) fn may_be_migrated(&self) -> bool {
        self.has_backup || self.verified || self.attempt(JobKind::Migrate) > 0
    }

    pub(crate) fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Verified => self.verified = true,
            Effect::FailureOver => self.failure = None,
            Effect::NothingSaved => self.saved = None,
            Effect::LossAccepted => self.policy.accept_loss = true,
            Effect::NoRollback => {
                self.policy.accept_loss = false;
                self.rollback_requested = false;
            }
        }
    }

    /// The attempt in hand at a step; 0 before the first.
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
            timeout_s: None,
            skip_broken: false,
            accepted: Vec::new(),
            rollback_requested: false,
            saved: None,
            layout_before: Some(Layout::V2_1),
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
