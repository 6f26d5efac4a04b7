//! The id of a run.

use std::time::SystemTime;

use crate::clock::now;

/// Identifies a run in the journal, in the history and in logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunId {
    /// The unique id.
    pub id: String,
    /// When the run started, RFC 3339.
    pub started_at: String,
}

impl RunId {
    /// Returns the id of a run that starts now.
    #[must_use]
    pub fn of_now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanos = since.unwrap_or_default().as_nanos();
        Self {
            id: format!("{nanos:x}-{:x}", std::process::id()),
            started_at: now(),
        }
    }
}
