//! The side that watches a command in progress.

use std::pin::Pin;

use super::job_kind::JobKind;
use milvus_meta::finding::Finding;

/// An answer that is waited for.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who watches an upgrade, and may end it.
pub trait ProgressObserver: Sync {
    /// A stage begins, or something is worth knowing.
    fn message(&self, line: &str);
    fn log(&self, kind: JobKind, line: &str);
    /// What does not block, worst first.
    fn findings(&self, findings: &[Finding]);
    /// Whether the steps may be done.
    fn confirm<'a>(&'a self, steps: &'a str) -> Answer<'a, bool>;
    /// Ends when the command shall end.
    fn stopped(&self) -> Answer<'_, ()>;
}
