//! Findings: problems and notices about the metadata for the user.

use serde::{Deserialize, Serialize};

use crate::entry::printable;

/// The severity of a finding, in the order in which findings are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The metadata cannot be migrated in its current state.
    Error,
    /// The migration continues, but something is lost or behaves differently afterwards.
    Warning,
    /// For information.
    Notice,
}

/// A finding. Findings are ordered by their fields: the most severe comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The severity.
    pub severity: Severity,
    /// A stable code in kebab-case, for scripts.
    pub code: String,
    /// The complete key, printable; empty if the finding is not about a single key.
    pub key: String,
    /// What was found and what it means for the user.
    pub message: String,
}

impl Finding {
    /// Returns whether this is an error of a single record, which can be skipped.
    #[must_use]
    pub fn is_broken_record(&self) -> bool {
        self.is_error() && self.message.contains("--on-broken-record skip")
    }

    /// Creates an error: the metadata cannot be migrated in its current state.
    #[must_use]
    pub fn error(code: &'static str, key: &[u8], message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, key, message)
    }

    /// Creates a warning: something is lost or behaves differently afterwards.
    #[must_use]
    pub fn warning(code: &'static str, key: &[u8], message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, key, message)
    }

    /// Creates a notice, for information.
    #[must_use]
    pub fn notice(code: &'static str, key: &[u8], message: impl Into<String>) -> Self {
        Self::new(Severity::Notice, code, key, message)
    }

    /// Returns whether the finding prevents a migration.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    fn new(severity: Severity, code: &'static str, key: &[u8], message: impl Into<String>) -> Self {
        Self {
            severity,
            code: code.to_owned(),
            key: printable(key),
            message: message.into(),
        }
    }
}
