//! The termination message: what a pod leaves behind where logs cannot be had.
//!
//! Kubernetes keeps the first 4096 bytes of a file; half a JSON document is of no use, so what is
//! longer is not written.

use meta_kube::TERMINATION_VARIABLE;

const MESSAGE_BYTES_MAX: usize = 4096;

/// Writes a message where the surroundings ask for one. A report that does not fit stays in the log.
pub(in crate::cli) fn leave(message: &str) {
    let Some(path) = std::env::var_os(TERMINATION_VARIABLE) else {
        return;
    };
    if message.len() > MESSAGE_BYTES_MAX {
        return;
    }
    if let Err(error) = std::fs::write(path, message) {
        tracing::debug!(%error, "the termination message was not written");
    }
}
