//! The termination message of a pod, from which the upgrade reads the result when logs are not available.
//!
//! Kubernetes keeps the first 4096 bytes. A longer document is not written, because half a document is useless.

use meta_kube::TERMINATION_VARIABLE;

const MESSAGE_BYTES_MAX: usize = 4096;

/// Writes the message if the environment names a file. A message that does not fit is only in the log.
pub(in crate::cli) fn write(message: &str) {
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
