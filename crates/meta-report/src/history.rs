//! The recorded runs of a meta root.

use serde::{Deserialize, Serialize};

use super::BackupRef;

/// The result of a recorded run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunResult {
    /// 2.1 metadata was migrated.
    #[default]
    Migrated,
    /// 2.2 metadata was repaired.
    Repaired,
    /// A migration or repair was rolled back.
    RolledBack,
    /// A backup was restored.
    Restored,
}

/// A finished run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRecord {
    /// The result.
    pub result: RunResult,
    /// The id of the run that started it, as in the journal and in logs.
    pub run: String,
    /// The start time, RFC 3339.
    pub started_at: String,
    /// The end time, RFC 3339.
    pub finished_at: String,
    /// The version of this program.
    pub tool_version: String,
    /// The host or pod name; empty if unknown.
    pub host: String,
    /// The release that wrote the metadata, if specified.
    pub source_version: Option<String>,
    /// The release that reads the metadata after the run.
    pub target_version: Option<String>,
    /// The backup that was written or restored.
    pub backup: Option<BackupRef>,
    /// The restored families; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<String>,
    /// Number of keys put.
    pub put: u64,
    /// Number of keys whose value was replaced.
    pub rewrite: u64,
    /// Number of keys deleted.
    pub delete: u64,
}

/// An unfinished run in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfinishedRun {
    /// The command that resumes it.
    pub command: String,
    /// The phase that was reached.
    pub phase: String,
    /// The start time, RFC 3339.
    pub started_at: String,
    /// The time of the last journal update, RFC 3339.
    pub updated_at: String,
    /// The backup of the run.
    pub backup: Option<BackupRef>,
}

/// The runs of a meta root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryReport {
    /// The unfinished run, if any.
    pub unfinished: Option<UnfinishedRun>,
    /// Finished runs, newest first.
    pub runs: Vec<RunRecord>,
}
