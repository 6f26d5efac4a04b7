//! The journal: what a migration has written down in etcd about itself, so that any later run knows
//! where it stands and both ways on are open.
//!
//! It is one JSON value at `<rootPath>/migration/journal`, outside the meta root. It is advanced only
//! by transactions that compare its last revision.

use serde::{Deserialize, Serialize};

use crate::report::BackupRef;

/// The newest journal format this program writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// How far a migration, or its undoing, has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// New keys are being put beside the old layout, which is whole.
    Staging,
    /// All new keys were put; the old layout is whole.
    Staged,
    /// The commit transaction was applied: 2.2 can start. Collection records are being rewritten.
    Committed,
    /// Old families that nobody reads any more are being deleted.
    Tidying,
    /// The migration is finished and verified.
    Done,
    /// A backup is being put back.
    Restoring,
}

impl Phase {
    /// The name that stands in the journal.
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

    /// Whether the old layout still stands whole: a rollback then needs no backup.
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
    /// Keys that stay with another value.
    pub rewrite: u64,
    /// Keys that go.
    pub delete: u64,
}

/// The record of a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The format version; see [`FORMAT`].
    pub format: u32,
    /// Identifies the run that began the migration.
    pub run: String,
    /// How far it has come.
    pub phase: Phase,
    /// The version of this program that wrote the journal last.
    pub tool_version: String,
    /// The source version the operator named.
    pub source_version: Option<String>,
    /// The target version the operator named.
    pub target_version: Option<String>,
    /// The form in which collections are written.
    pub collection_form: String,
    /// What is done with broken records: `fail` or `skip`.
    pub on_broken_record: String,
    /// The digest of the plan that is being carried out.
    pub plan_digest: String,
    /// The revision at which the source was captured last.
    pub capture_revision: i64,
    /// What the plan does.
    pub counts: Counts,
    /// The backup made before the first write.
    pub backup: Option<BackupRef>,
    /// The revision of the switch, known from the phase `tidying` on; 0 before.
    #[serde(default)]
    pub committed_revision: i64,
    /// Keys without a lease below the meta root when the migration was done; 0 before.
    pub keys_when_done: u64,
    /// When the migration began, RFC 3339.
    pub started_at: String,
    /// When the journal was last written, RFC 3339.
    pub updated_at: String,
}

/// A journal that this program cannot act on.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The value is not a journal.
    #[error("the journal is not readable")]
    Unreadable(#[source] serde_json::Error),
    /// A newer program wrote it.
    #[error(
        "the journal has format {found}, this program reads up to {FORMAT}: use a newer version"
    )]
    Newer {
        /// The format found.
        found: u64,
    },
}

impl Journal {
    /// Reads a journal value.
    ///
    /// # Errors
    /// [`JournalError`] when the value is no journal, or one of a newer program.
    pub fn decode(value: &[u8]) -> Result<Self, JournalError> {
        let json: serde_json::Value =
            serde_json::from_slice(value).map_err(JournalError::Unreadable)?;
        match json.get("format").and_then(serde_json::Value::as_u64) {
            Some(found) if found > u64::from(FORMAT) => Err(JournalError::Newer { found }),
            _ => serde_json::from_value(json).map_err(JournalError::Unreadable),
        }
    }

    /// The value to store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> Journal {
        Journal {
            format: FORMAT,
            run: "r".into(),
            phase: Phase::Staged,
            tool_version: "0".into(),
            source_version: Some("2.1.4".into()),
            target_version: None,
            collection_form: "split".into(),
            on_broken_record: "fail".into(),
            plan_digest: "d".into(),
            capture_revision: 7,
            counts: Counts {
                put: 1,
                rewrite: 2,
                delete: 3,
            },
            backup: None,
            committed_revision: 0,
            keys_when_done: 0,
            started_at: String::new(),
            updated_at: String::new(),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(Journal::decode(&journal().encode()).unwrap(), journal());
    }

    #[test]
    fn a_newer_format_and_a_foreign_value_are_told_apart() {
        let newer = br#"{"format": 2, "surprise": true}"#;
        assert!(matches!(
            Journal::decode(newer),
            Err(JournalError::Newer { found: 2 })
        ));
        assert!(matches!(
            Journal::decode(b"true"),
            Err(JournalError::Unreadable(_))
        ));
    }
}
