//! The journal: the record in etcd of a migration's progress, used to resume or roll back.
//!
//! There is one JSON value per meta root, at `<rootPath>/migration/journal/<metaSubPath>`, outside
//! the meta root. Every write of a run compares the revision of its last change.

use serde::{Deserialize, Serialize};

use meta_report::BackupRef;
use meta_report::shell::quoted;
use milvus_meta::keys::MetaRoot;
use milvus_meta::transform::Task;

/// The newest journal format that this program reads and writes.
pub const FORMAT: u32 = 2;

/// The format of a migration's journal, which older versions of this program can read. A repair, or
/// a restore of some families, uses a newer format: older versions would treat it as a migration, or
/// restore everything.
pub(crate) const MIGRATION_FORMAT: u32 = 1;

/// The progress of a migration or of a restore.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// New keys are being written; the old layout is intact.
    #[default]
    Staging,
    /// All new keys are written; the old layout is intact.
    Staged,
    /// The commit transaction was applied: 2.2 can start. Collection records are being rewritten.
    Committed,
    /// Old families that 2.2 does not read are being deleted.
    Tidying,
    /// The migration is finished and verified.
    Done,
    /// A backup is being restored.
    Restoring,
}

impl Phase {
    /// Returns the name in the journal.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Staging => "staging",
            Self::Staged => "staged",
            Self::Committed => "committed",
            Self::Tidying => "tidying",
            Self::Done => "done",
            Self::Restoring => "restoring",
        }
    }

    /// Returns whether the commit was applied and no restore has begun since.
    #[must_use]
    pub fn is_committed(self) -> bool {
        matches!(self, Self::Committed | Self::Tidying | Self::Done)
    }

    /// Returns whether the old layout is still intact, so that a rollback needs no backup.
    #[must_use]
    pub fn is_before_commit(self) -> bool {
        match self {
            Self::Staging | Self::Staged => true,
            Self::Committed | Self::Tidying | Self::Done | Self::Restoring => false,
        }
    }
}

/// How many keys a plan puts, rewrites and deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// New keys.
    pub put: u64,
    /// Keys whose value changes.
    pub rewrite: u64,
    /// Deleted keys.
    pub delete: u64,
    /// Segment records among the rewritten keys.
    #[serde(default)]
    pub segments: u64,
}

/// The record of a migration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Journal {
    /// The format version; see [`FORMAT`].
    pub format: u32,
    /// The meta root whose migration it records.
    pub meta_root: String,
    /// The id of the run that started the migration.
    pub run: String,
    /// What is recorded: `migration` or `repair`.
    #[serde(default = "migration")]
    pub kind: String,
    /// The phase reached.
    pub phase: Phase,
    /// The version of this program that last wrote the journal.
    pub tool_version: String,
    /// The source version that the operator specified.
    pub source_version: Option<String>,
    /// The target version that the operator specified.
    pub target_version: Option<String>,
    /// The form in which collections are written.
    pub collection_form: String,
    /// Where segment logs are stored: `auto` or `inline`.
    pub segment_form: String,
    /// How broken records are handled: `fail` or `skip`.
    pub on_broken_record: String,
    /// The digest of the plan that is being carried out.
    pub plan_digest: String,
    /// The etcd cluster of the revisions, formatted as by etcdctl; empty if unknown.
    #[serde(default)]
    pub cluster_id: String,
    /// The revision at which the source was last read.
    pub capture_revision: i64,
    /// The revision at which the run that started staging read its source: staged keys are newer.
    #[serde(default)]
    pub staged_since: i64,
    /// The number of changes in the plan.
    pub counts: Counts,
    /// The backup made before the first write.
    pub backup: Option<BackupRef>,
    /// The revision of the commit, recorded from phase `tidying` on; 0 before.
    #[serde(default)]
    pub committed_revision: i64,
    /// In phase `restoring`: whether keys that are not in the backup are kept.
    #[serde(default)]
    pub keep_extra: bool,
    /// In phase `restoring`: the families that are restored; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<String>,
    /// Number of keys below the meta root after the plan, without sessions and leased keys; 0 if
    /// unknown.
    #[serde(default)]
    pub keys_expected: u64,
    /// Number of keys without a lease below the meta root when the migration was done; 0 before.
    pub keys_when_done: u64,
    /// When the migration started, RFC 3339.
    pub started_at: String,
    /// When the journal was last written, RFC 3339.
    pub updated_at: String,
}

impl Journal {
    /// Creates a journal without a plan.
    pub(crate) fn empty(root: &MetaRoot, task: Task, phase: Phase) -> Self {
        Self {
            format: match task {
                Task::Migration => MIGRATION_FORMAT,
                Task::Repair => FORMAT,
            },
            meta_root: root.meta_root().to_owned(),
            kind: task.name().to_owned(),
            phase,
            ..Self::default()
        }
    }
}

/// A journal that this program cannot act on.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The value is not a journal.
    #[error("the journal is not readable{}", by(.written_by.as_ref()))]
    Unreadable {
        /// The version of the program that wrote it, where that is known.
        written_by: Option<String>,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A newer program wrote it.
    #[error(
        "the journal has format {found}{}, this program reads up to {FORMAT}: use a newer version",
        by(.written_by.as_ref())
    )]
    Newer {
        /// The format found.
        found: u64,
        /// The version of the program that wrote it, where that is known.
        written_by: Option<String>,
    },
    /// It records the migration of another meta root.
    #[error("the journal records the migration of {found}, not of {wanted}: it was copied here")]
    OtherRoot {
        /// The meta root in the journal.
        found: String,
        /// The meta root of this run.
        wanted: String,
    },
}

impl JournalError {
    /// Returns instructions for the user, given the journal's key.
    pub(crate) fn remedy(&self, key: &str) -> String {
        match self {
            Self::Newer { .. } => {
                "use the newer version that wrote it, to resume as well as to roll back".to_owned()
            }
            Self::OtherRoot { .. } => format!(
                "if etcd was copied from that cluster and no migration was unfinished, delete the copy: etcdctl del \
                 {}; otherwise finish the migration or roll it back in the original cluster, and copy again",
                quoted(key)
            ),
            Self::Unreadable { .. } => format!(
                "save the value (etcdctl get {key}) and find out what wrote it; restore works on a complete backup, \
                 and only after the journal is deleted (etcdctl del {key})",
                key = quoted(key)
            ),
        }
    }
}

fn migration() -> String {
    Task::Migration.name().to_owned()
}

fn by(version: Option<&String>) -> String {
    version.map_or_else(String::new, |version| {
        format!(" (written by version {version})")
    })
}

impl Journal {
    /// Reads a journal value.
    pub fn decode(value: &[u8]) -> Result<Self, JournalError> {
        let unreadable = |written_by| move |source| JournalError::Unreadable { written_by, source };
        let json: serde_json::Value = serde_json::from_slice(value).map_err(unreadable(None))?;
        let written_by = json.get("tool_version").and_then(serde_json::Value::as_str);
        let written_by = written_by.map(str::to_owned);
        match json.get("format").and_then(serde_json::Value::as_u64) {
            Some(found) if found > u64::from(FORMAT) => {
                Err(JournalError::Newer { found, written_by })
            }
            _ => serde_json::from_value(json).map_err(unreadable(written_by)),
        }
    }

    /// Reads the journal of a meta root.
    pub fn of(meta_root: &str, value: &[u8]) -> Result<Self, JournalError> {
        let journal = Self::decode(value)?;
        if journal.meta_root == meta_root {
            return Ok(journal);
        }
        Err(JournalError::OtherRoot {
            found: journal.meta_root,
            wanted: meta_root.to_owned(),
        })
    }

    /// Returns why the journal's revisions are meaningless in this etcd cluster; `None` if they are
    /// valid. `mod_revision` is the revision of the journal here. A mirror or a restored backup of
    /// etcd contains a journal with revisions of another etcd.
    #[must_use]
    pub(crate) fn brought_from(&self, cluster_id: &str, mod_revision: i64) -> Option<String> {
        let are_known = !self.cluster_id.is_empty() && !cluster_id.is_empty();
        if are_known && self.cluster_id != cluster_id {
            return Some(format!(
                "the journal was written in the etcd cluster {}, and this is {cluster_id}",
                self.cluster_id
            ));
        }
        let newest = self.committed_revision.max(self.capture_revision);
        (newest > mod_revision).then(|| {
            format!(
                "the journal names revision {newest} but was written at {mod_revision}: it was copied from \
                    another etcd"
            )
        })
    }

    /// Returns the value to store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> Journal {
        let root = MetaRoot::new("by-dev", "meta", "kv").unwrap();
        Journal {
            run: "r".into(),
            tool_version: "0".into(),
            source_version: Some("2.1.4".into()),
            collection_form: "split".into(),
            segment_form: "auto".into(),
            on_broken_record: "fail".into(),
            plan_digest: "d".into(),
            cluster_id: "c1".into(),
            capture_revision: 7,
            staged_since: 7,
            counts: Counts {
                put: 1,
                rewrite: 2,
                delete: 3,
                segments: 1,
            },
            ..Journal::empty(&root, Task::Migration, Phase::Staged)
        }
    }

    #[test]
    fn journal_round_trip() {
        assert_eq!(Journal::decode(&journal().encode()).unwrap(), journal());
    }

    #[test]
    fn journal_of_another_meta_root_is_rejected() {
        let value = journal().encode();
        assert_eq!(Journal::of("by-dev/meta", &value).unwrap(), journal());
        let error = Journal::of("by-dev/meta2", &value).unwrap_err().to_string();
        assert!(
            error.contains("of by-dev/meta, not of by-dev/meta2"),
            "{error}"
        );
    }

    #[test]
    fn journal_of_an_older_version_is_read() {
        let mut json = serde_json::to_value(journal()).unwrap();
        json.as_object_mut().unwrap().remove("cluster_id");
        json.as_object_mut().unwrap().remove("keys_expected");
        json.as_object_mut().unwrap().remove("kind");
        let read = Journal::decode(json.to_string().as_bytes()).unwrap();
        assert_eq!((read.cluster_id.as_str(), read.keys_expected), ("", 0));
        assert_eq!(read.kind, "migration");
        assert_eq!(read.brought_from("c2", 8), None);
    }

    #[test]
    fn journal_revisions_are_trusted_only_in_their_etcd() {
        let journal = journal();
        assert_eq!(journal.brought_from("c1", 8), None);
        assert_eq!(journal.brought_from("", 8), None, "unknown");
        let elsewhere = journal.brought_from("c2", 8).unwrap();
        assert!(elsewhere.contains("c1") && elsewhere.contains("c2"));
        let copied = journal.brought_from("c1", 6).unwrap();
        assert!(copied.contains("revision 7"), "{copied}");
        let committed = Journal {
            committed_revision: 9,
            ..journal
        };
        assert!(committed.brought_from("c1", 8).is_some());
    }

    #[test]
    fn journal_errors_distinguish_newer_and_unreadable() {
        let newer = br#"{"format": 3, "surprise": true, "tool_version": "9.9.0"}"#;
        let error = Journal::decode(newer).unwrap_err();
        assert!(matches!(error, JournalError::Newer { found: 3, .. }));
        assert!(error.to_string().contains("version 9.9.0"), "{error}");
        for damaged in [&b"true"[..], b"{\"format\": 1", b"", b"\xff"] {
            let error = Journal::decode(damaged).unwrap_err();
            assert!(matches!(error, JournalError::Unreadable { .. }));
        }
        let cut = br#"{"format": 1, "tool_version": "0.3.0"}"#;
        let error = Journal::decode(cut).unwrap_err();
        assert!(error.to_string().contains("version 0.3.0"), "{error}");
    }
}
