//! What the use cases report: plain data, the JSON of the command line's contract.
//!
//! `cli` renders these as text or JSON; nothing here prints.

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

/// A backup that was written or found again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupReport {
    /// The path of the file.
    pub path: String,
    /// `native` or `official`.
    pub format: String,
    /// Entries in it.
    pub entries: u64,
    /// The file's size in bytes.
    pub bytes: u64,
    /// The etcd revision it shows.
    pub revision: i64,
    /// SHA-256 of the content, in hexadecimal.
    pub digest: String,
    /// Keys on a lease (sessions) that were left out.
    pub skipped_leased: u64,
}

/// The backup as `migrate` mentions it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRef {
    /// The path of the file.
    pub path: String,
    /// Entries in it.
    pub entries: u64,
    /// SHA-256 of the content, in hexadecimal.
    pub digest: String,
}

/// How a migration ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MigrateOutcome {
    /// This run finished the migration.
    Migrated,
    /// The 2.2 layout was there already.
    AlreadyMigrated,
    /// This run finished the repair.
    Repaired,
    /// Nothing is wrong with the 2.2 metadata.
    NothingToRepair,
    /// There is nothing to migrate, or the target keeps the 2.1 layout.
    NothingToDo,
}

/// Wall-clock seconds by phase.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Seconds {
    /// Reading the metadata.
    pub read: f64,
    /// Deciding what becomes of it.
    pub transform: f64,
    /// Writing and checking the backup, as far as it did not overlap with reading.
    pub backup: f64,
    /// Writing to etcd.
    pub write: f64,
    /// Reading back and comparing.
    pub verify: f64,
    /// All of it.
    pub total: f64,
}

/// What `migrate` did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MigrateReport {
    /// How it ended.
    pub outcome: MigrateOutcome,
    /// Whether an interrupted run was carried on.
    pub resumed: bool,
    /// The plan that was carried out; `None` when nothing had to be planned.
    pub plan: Option<PlanReport>,
    /// The backup made before the first write; `None` without one.
    pub backup: Option<BackupRef>,
    /// Whether the result was read back and found right.
    pub verified: bool,
    /// Where the time went.
    pub seconds: Seconds,
}

/// A live session, or what is left of one until its lease ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    /// The component's role, for example `rootcoord`.
    pub role: String,
    /// The complete key.
    pub key: String,
    /// The address it registered; empty where unknown.
    pub address: String,
    /// The lease; 0 for none. A string in JSON: it exceeds what a JSON number holds for most programs.
    #[serde(with = "id")]
    pub lease: i64,
    /// Seconds until the lease ends unless it is renewed; -1 where unknown.
    pub ttl: i64,
}

impl SessionReport {
    /// Whether it has no lease: then it never expires.
    #[must_use]
    pub fn stays(&self) -> bool {
        self.lease == 0
    }

    /// When it goes, in words.
    #[must_use]
    pub fn ending(&self) -> String {
        match self.ttl {
            _ if self.stays() => "no lease: it never expires".to_owned(),
            seconds if seconds >= 0 => format!("lease ends in {seconds} s unless renewed"),
            _ => "its lease has ended".to_owned(),
        }
    }
}

/// What a family holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FamilyStatus {
    /// The family's name: its prefix relative to the meta root.
    pub name: String,
    /// Keys in it.
    pub keys: u64,
    /// Bytes of its keys and values.
    pub bytes: u64,
}

/// What etcd says of itself; sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EtcdReport {
    /// Version of the server; the lowest when members differ.
    pub version: String,
    /// Members that answered.
    pub members: usize,
    /// Size of the largest database file.
    pub db_size: u64,
    /// The most that any member has in use.
    pub db_size_in_use: u64,
    /// Space quota where the server tells it, else etcd's default of 2 GiB.
    pub quota: u64,
    /// Raised alarms.
    pub alarms: Vec<String>,
}

/// What is in etcd.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The layout the keys show.
    pub layout: Layout,
    /// The families that hold keys.
    pub families: Vec<FamilyStatus>,
    /// Registered components.
    pub sessions: Vec<SessionReport>,
    /// Who holds the migration lock.
    pub lock: Option<SessionReport>,
    /// The journal of a migration, as it is in etcd.
    pub journal: Option<serde_json::Value>,
    /// Why the journal cannot be read, where that is so: then nothing will be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal_error: Option<String>,
    /// The cluster.
    pub etcd: EtcdReport,
    /// What is wrong with 2.2 metadata, worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// What `verify` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Keys that should be there and are not.
    pub missing: u64,
    /// Keys with another value than they should have.
    pub different: u64,
    /// Keys that should not be there.
    pub extra: u64,
    /// What is wrong, key by key (the first thousand), worst first.
    pub findings: Vec<Finding>,
}

/// How a rollback or restore ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestoreOutcome {
    /// Keys were put or deleted, and now everything is as the backup holds it.
    Restored,
    /// A dry run found keys to put or delete; nothing was written.
    WouldRestore,
    /// It was so already.
    #[default]
    Unchanged,
}

/// Values in a backup that name the root path at which it was made: a restore to another root does not change them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldRoot {
    /// The root path.
    pub root: String,
    /// How many values.
    pub values: u64,
    /// The first of their keys, as they are restored.
    pub keys: Vec<String>,
}

/// What `rollback` or `restore` did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RestoreReport {
    /// How it ended.
    pub outcome: RestoreOutcome,
    /// Keys put.
    pub put: u64,
    /// Keys deleted.
    pub delete: u64,
    /// Keys left alone although the backup does not hold them.
    pub kept: u64,
    /// Whether the result was read back and found right.
    pub verified: bool,
    /// The backup that is restored; none where only staged keys are deleted.
    #[serde(default)]
    pub backup: Option<BackupRef>,
    /// The families that are restored, where it is not all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<String>,
    /// A dry run's diff: what would be added, changed and removed in etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<DiffReport>,
    /// For a restore to another root: what names the old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_root: Option<OldRoot>,
    /// Whether just what was staged goes: nothing is compared with a backup then, but counted.
    #[serde(skip)]
    pub discards: bool,
    /// Whether a repair is rolled back, and not a migration.
    #[serde(skip)]
    pub undoes_repair: bool,
}
