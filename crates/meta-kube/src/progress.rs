//! The interface between a running command and its user.

use std::pin::Pin;

use super::job_kind::JobKind;
use milvus_meta::finding::Finding;

/// A future answer of the user interface.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Observes an upgrade, and may end it.
pub trait ProgressObserver: Sync {
    /// Reports the start of a stage, or a notice.
    fn message(&self, line: &str);
    fn log(&self, kind: JobKind, line: &str);
    /// Reports findings that do not block, the worst first.
    fn findings(&self, findings: &[Finding]);
    /// Asks whether to perform the steps.
    fn confirm<'a>(&'a self, steps: &'a str) -> Answer<'a, bool>;
    /// Resolves when the command must stop.
    fn stopped(&self) -> Answer<'_, ()>;
}
