//! Reports of the use cases: plain data, which is also the JSON output of the command line.
//!
//! `cli` renders them as text or JSON; nothing in this crate prints.

mod id;

use serde::{Deserialize, Serialize};

mod diff;
mod history;
pub mod shell;

pub use diff::{
    Change, ChangeCounts, CollectionDiff, DiffBuilder, DiffReport, FamilyDiff, KeyChange,
};
pub use history::{HistoryReport, RunRecord, RunResult, UnfinishedRun};

use milvus_meta::finding::Finding;
use milvus_meta::layout::Layout;
use milvus_meta::transform::PlanReport;

/// A backup that was written, or an existing one with the same content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupReport {
    /// The path of the file.
    pub path: String,
    /// `native` or `official`.
    pub format: String,
    /// Number of entries.
    pub entries: u64,
    /// The file's size in bytes.
    pub bytes: u64,
    /// The etcd revision.
    pub revision: i64,
    /// SHA-256 of the content, in hexadecimal.
    pub digest: String,
    /// Number of leased keys (sessions) that were omitted.
    pub skipped_leased: u64,
}

/// The backup in the report of `migrate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRef {
    /// The path of the file.
    pub path: String,
    /// Number of entries.
    pub entries: u64,
    /// SHA-256 of the content, in hexadecimal.
    pub digest: String,
}

/// The outcome of a successful migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MigrateOutcome {
    /// This run finished the migration.
    Migrated,
    /// The metadata already had the 2.2 layout.
    AlreadyMigrated,
    /// This run finished the repair.
    Repaired,
    /// The 2.2 metadata has no problems.
    NothingToRepair,
    /// There is nothing to migrate, or the target keeps the 2.1 layout.
    NothingToDo,
}

/// Duration of each phase in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Seconds {
    /// Reading the metadata.
    pub read: f64,
    /// Transforming it.
    pub transform: f64,
    /// Writing and verifying the backup, without the time that overlaps with reading.
    pub backup: f64,
    /// Writing to etcd.
    pub write: f64,
    /// Read-back verification.
    pub verify: f64,
    /// The total time.
    pub total: f64,
}

/// The report of `migrate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MigrateReport {
    /// The outcome.
    pub outcome: MigrateOutcome,
    /// Whether an interrupted run was resumed.
    pub resumed: bool,
    /// The plan that was applied; `None` if no plan was needed.
    pub plan: Option<PlanReport>,
    /// The backup written before the first change; `None` without one.
    pub backup: Option<BackupRef>,
    /// Whether the result was verified.
    pub verified: bool,
    /// Duration of each phase.
    pub seconds: Seconds,
}

impl MigrateReport {
    /// Returns the report of a run that changed nothing.
    #[must_use]
    pub fn unchanged(outcome: MigrateOutcome) -> Self {
        Self {
            outcome,
            resumed: false,
            plan: None,
            backup: None,
            verified: false,
            seconds: Seconds::default(),
        }
    }
}

/// A session of a running component, or of a stopped one whose lease has not expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    /// The component's role, for example `rootcoord`.
    pub role: String,
    /// The complete key.
    pub key: String,
    /// The address in the session; empty if unknown.
    pub address: String,
    /// The lease; 0 for none. A string in JSON, because it exceeds the exact range of JSON numbers
    /// in most programs.
    #[serde(with = "id")]
    pub lease: i64,
    /// Seconds until the lease expires unless it is renewed; -1 if unknown.
    pub ttl: i64,
}

impl SessionReport {
    /// Whether the session has no lease and therefore never expires.
    #[must_use]
    pub fn never_expires(&self) -> bool {
        self.lease == 0
    }

    /// A phrase with the time of expiry.
    #[must_use]
    pub fn ending(&self) -> String {
        match self.ttl {
            _ if self.never_expires() => "no lease: it never expires".to_owned(),
            seconds if seconds >= 0 => format!("lease ends in {seconds} s unless renewed"),
            _ => "its lease has ended".to_owned(),
        }
    }
}

/// The size of a family.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FamilyStatus {
    /// The family's name: its prefix relative to the meta root.
    pub name: String,
    /// Number of keys.
    pub keys: u64,
    /// Size of keys and values in bytes.
    pub bytes: u64,
}

/// The status of etcd; sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EtcdReport {
    /// The lowest server version of all members.
    pub version: String,
    /// Number of members that responded.
    pub members: usize,
    /// Size of the largest database file.
    pub db_size: u64,
    /// The largest size in use of any member.
    pub db_size_in_use: u64,
    /// The space quota; etcd's default of 2 GiB if the server does not report it.
    pub quota: u64,
    /// Raised alarms.
    pub alarms: Vec<String>,
}

/// The report of `status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The layout of the metadata.
    pub layout: Layout,
    /// The families with keys.
    pub families: Vec<FamilyStatus>,
    /// The registered components.
    pub sessions: Vec<SessionReport>,
    /// The holder of the migration lock.
    pub lock: Option<SessionReport>,
    /// The journal of a migration, as stored in etcd.
    pub journal: Option<serde_json::Value>,
    /// Why the journal is unreadable, if it is. Commands that write are then refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal_error: Option<String>,
    /// The cluster.
    pub etcd: EtcdReport,
    /// Problems in 2.2 metadata, by severity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// The report of `verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Whether there are no problems.
    pub ok: bool,
    /// Number of missing keys.
    pub missing: u64,
    /// Number of keys with an unexpected value.
    pub different: u64,
    /// Number of unexpected keys.
    pub extra: u64,
    /// The problems, by key (the first thousand), ordered by severity.
    pub findings: Vec<Finding>,
}

/// The outcome of a successful rollback or restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestoreOutcome {
    /// Keys were put or deleted, and etcd now matches the backup.
    Restored,
    /// A dry run found keys to put or delete; nothing was written.
    WouldRestore,
    /// etcd already matched the backup.
    #[default]
    Unchanged,
}

/// Values in a backup that contain its root path, which a restore to another root does not change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldRoot {
    /// The root path.
    pub root: String,
    /// Number of values.
    pub values: u64,
    /// Their first keys, below the new root.
    pub keys: Vec<String>,
}

/// The report of `rollback` or `restore`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RestoreReport {
    /// The outcome.
    pub outcome: RestoreOutcome,
    /// Number of keys put.
    pub put: u64,
    /// Number of keys deleted.
    pub delete: u64,
    /// Number of keys kept although the backup does not contain them.
    pub kept: u64,
    /// Whether the result was verified.
    pub verified: bool,
    /// The restored backup; `None` if only staged keys are deleted.
    #[serde(default)]
    pub backup: Option<BackupRef>,
    /// The restored families; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<String>,
    /// The diff of a dry run: the keys that would be added, changed and removed in etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<DiffReport>,
    /// For a restore to another root: the values with the old root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_root: Option<OldRoot>,
    /// Whether only staged keys are deleted. They are counted, not compared with a backup.
    #[serde(skip)]
    pub discards: bool,
    /// Whether a repair is rolled back, not a migration.
    #[serde(skip)]
    pub undoes_repair: bool,
}
