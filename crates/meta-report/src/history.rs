//! The recorded runs of a meta root.

use serde::{Deserialize, Serialize};

use super::BackupRef;

/// What a recorded run did.
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
    /// What it did.
    pub result: RunResult,
    /// The id of the run that began it, in the journal and in logs.
    pub run: String,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// When it finished, RFC 3339.
    pub finished_at: String,
    /// The version of this program.
    pub tool_version: String,
    /// The host or pod that ran it; empty where it is unknown.
    pub host: String,
    /// The release that wrote the metadata, where it was given.
    pub source_version: Option<String>,
    /// The release that reads the metadata afterwards.
    pub target_version: Option<String>,
    /// The backup that was written, or restored from.
    pub backup: Option<BackupRef>,
    /// The families that were restored, where it was not all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<String>,
    /// Keys put.
    pub put: u64,
    /// Keys that got another value.
    pub rewrite: u64,
    /// Keys deleted.
    pub delete: u64,
}

/// The run that the journal records as unfinished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfinishedRun {
    /// The command that resumes it.
    pub command: String,
    /// How far it has come.
    pub phase: String,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// When its progress was last recorded, RFC 3339.
    pub updated_at: String,
    /// Its backup.
    pub backup: Option<BackupRef>,
}

/// The runs of a meta root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryReport {
    /// The run that is unfinished, if there is one.
    pub unfinished: Option<UnfinishedRun>,
    /// Finished runs, newest first.
    pub runs: Vec<RunRecord>,
}
