//! The orchestrated upgrade on Kubernetes: one command upgrades from 2.1 to 2.2, or rolls back.
//!
//! # Guarantees
//! - Everything that can fail without affecting Milvus comes first: permissions, instance, containers,
//!   image, volume, etcd, and the complete plan.
//! - Every step is recorded in the cluster before it starts. After a crash at any point, the same
//!   command resumes.
//! - Milvus 2.2 is started only on metadata verified to be 2.2, and 2.1 only on metadata verified
//!   to be 2.1.
//! - Every wait has a timeout and reports what it waits for.
//!
//! # Objects in the namespace
//! | object | name |
//! | --- | --- |
//! | Lease, held while a command works on the instance | `meta-migration-<instance>` |
//! | `ConfigMap` with the upgrade state | `meta-migration-state-<instance>`, key `state.json` |
//! | `ConfigMap` with the drop-in YAML | `meta-migration-config-<operation>`, keys `backup.yaml`, `migrate.yaml`, `rollback.yaml` |
//! | `PersistentVolumeClaim` with the backups | `meta-migration-backup-<instance>`, or the one given |
//! | Jobs, one for each step and attempt; of the finished ones only the backup's and failed ones remain | `meta-migration-<step>-<operation>-<attempt>` |
//!
//! `<operation>` is eight hexadecimal digits, generated when an upgrade begins. All objects carry
//! [`LABEL_MANAGED_BY`] and [`LABEL_INSTANCE`], Jobs and their pods also [`LABEL_OPERATION`],
//! [`LABEL_STEP`] and [`LABEL_ATTEMPT`]. None carries `app.kubernetes.io/name` or
//! `app.kubernetes.io/instance`, which the Services of etcd and Milvus use as selectors.
//!
//! Stopped workloads carry their replica counts and images as annotations ([`annotations`]) until a
//! release runs again.
//!
//! A Job's pod has one container, [`CONTAINER`]. It runs [`PROGRAM`], reads
//! `/milvus/configs/<step>.yaml`, keeps backups at `/milvus/data/<operation>.mmb`, writes its JSON
//! report to standard output and, if it fits, to the file named by [`TERMINATION_VARIABLE`].

#![allow(
    missing_docs,
    reason = "only this workspace uses the crate: self-explanatory names have no comment"
)]

mod annotations;
pub mod cause;
pub mod client;
mod collect;
mod condition;
mod discovery;
pub mod driver;
mod immutable_fields;
pub mod job_kind;
mod job_runner;
pub mod lease;
mod leftovers;
mod manifest;
mod milvus_resource;
mod object;
pub mod options;
mod pod_resources;
pub mod preflight;
pub mod progress;
pub mod quantity;
pub mod rolling_update;
pub mod stage;
mod start_checks;
pub mod state;
pub mod upgrade;
mod wait;

/// How often a condition is checked.
pub(crate) const POLL_INTERVAL: std::time::Duration = std::time::Duration::from_millis(500);

/// The label that holds the instance name in charts and in the Milvus Operator.
pub(crate) const LABEL_APP_INSTANCE: &str = "app.kubernetes.io/instance";
/// The label that marks our objects; always [`TOOL`].
pub(crate) const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The label with the instance that one of our objects belongs to.
pub(crate) const LABEL_INSTANCE: &str = "meta-migration/instance";
/// The label with the upgrade that a Job belongs to.
pub(crate) const LABEL_OPERATION: &str = "meta-migration/operation";
/// The label with the step that a Job runs: `status`, `plan`, `backup`, `migrate`, `verify`,
/// `preview`, `save`, `rollback`, `list`, `verify-alone`.
pub(crate) const LABEL_STEP: &str = "meta-migration/step";
/// The label with a Job's attempt at the step, counted from 1.
pub(crate) const LABEL_ATTEMPT: &str = "meta-migration/attempt";
/// Our name: value of [`LABEL_MANAGED_BY`], field manager, and prefix of every object's name.
pub(crate) const TOOL: &str = "meta-migration";
/// Our image of this version.
pub const TOOL_IMAGE: &str = concat!("meta-migration:", env!("CARGO_PKG_VERSION"));
pub(crate) const CONTAINER: &str = "meta-migration";
/// Path of the program in the image.
pub const PROGRAM: &str = "/milvus/bin/meta-migration";
/// Mount path of the `ConfigMap`.
pub(crate) const CONFIG_FOLDER: &str = "/milvus/configs";
/// Mount path of the backup volume.
pub(crate) const BACKUP_FOLDER: &str = "/milvus/data";
/// Default size of a created backup claim.
pub(crate) const CLAIM_SIZE: &str = "10Gi";
/// Mount path of the Secret with etcd's certificates.
pub(crate) const TLS_FOLDER: &str = "/milvus/tls";
/// The environment variable that names the file for the termination message.
pub const TERMINATION_VARIABLE: &str = "META_MIGRATION_TERMINATION_LOG";
/// The key of the upgrade state in its `ConfigMap`.
pub const STATE_KEY: &str = "state.json";

/// Name of the Lease that prevents a second orchestrator.
pub fn lease_name(instance: &str) -> String {
    format!("{TOOL}-{instance}")
}

/// Name of the `ConfigMap` that holds the upgrade state.
pub fn state_name(instance: &str) -> String {
    format!("{TOOL}-state-{instance}")
}

/// Name of the `ConfigMap` with the drop-in YAML.
pub(crate) fn config_name(operation: &str) -> String {
    format!("{TOOL}-config-{operation}")
}

/// Default name of the backup claim.
pub(crate) fn claim_name(instance: &str) -> String {
    format!("{TOOL}-backup-{instance}")
}

/// Name of the Job for a step. At most 63 characters, because it is also used as a label value.
pub(crate) fn job_name(step: &str, operation: &str, attempt: u32) -> String {
    format!("{TOOL}-{step}-{operation}-{attempt}")
}
