//! Findings: what the user has to know about the metadata before it is migrated.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::entry::printable;

/// How bad a finding is. The order is the order in which findings are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The metadata cannot be migrated as it is.
    Error,
    /// The migration continues, but something is lost or behaves differently afterwards.
    Warning,
    /// Worth knowing.
    Notice,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A stable code in kebab-case, for scripts.
    pub code: String,
    /// The complete key concerned, printable; empty when the finding concerns no single key.
    pub key: String,
    /// What it is and what it means for the user.
    pub message: String,
}

impl Finding {
    /// Whether it is an error of one record, which can be left out.
    #[must_use]
    pub fn is_broken_record(&self) -> bool {
        self.is_error() && self.message.contains("--on-broken-record skip")
    }

    /// An error: the metadata cannot be migrated as it is.
    #[must_use]
    pub fn error(code: &'static str, key: &[u8], message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, key, message)
    }

    /// A warning: something is lost or behaves differently afterwards.
    #[must_use]
    pub fn warning(code: &'static str, key: &[u8], message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, key, message)
    }

    /// A notice: worth knowing.
    #[must_use]
    pub fn notice(code: &'static str, key: &[u8], message: impl Into<String>) -> Self {
        Self::new(Severity::Notice, code, key, message)
    }

    /// Whether it keeps the metadata from being migrated.
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

impl Ord for Finding {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = |finding: &Self| {
            (
                finding.severity,
                finding.code.clone(),
                finding.key.clone(),
                finding.message.clone(),
            )
        };
        order(self).cmp(&order(other))
    }
}

impl PartialOrd for Finding {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
