//! The last operation on collections that 2.1 wrote down, and whether it also sent it.
//!
//! Milvus 2.1 looks at both when it starts, and sends again what was not sent. 2.2 looks at neither.

use serde::Deserialize;

use super::findings::Findings;
use crate::keys::{Key, Object, is_tombstone};

#[derive(Debug, Default)]
pub(super) struct LastOperation {
    unsent: bool,
    /// What it was, for a message.
    operation: Option<String>,
}

/// The record, without its body: what the operation was about is nothing to us.
#[derive(Deserialize)]
struct Record {
    #[serde(rename = "type")]
    kind: String,
}

impl LastOperation {
    pub(super) fn push_sent(&mut self, value: &[u8]) {
        self.unsent = value == b"false";
    }

    pub(super) fn push_operation(&mut self, value: &[u8]) {
        if is_tombstone(value) {
            return;
        }
        let record = serde_json::from_slice::<Record>(value);
        self.operation = Some(match record {
            Ok(Record { kind }) => kind.escape_debug().to_string(),
            Err(_) => "its type cannot be read".to_owned(),
        });
    }

    pub(super) fn check(&self, findings: &mut Findings) {
        let Some(operation) = self.operation.as_ref().filter(|_| self.unsent) else {
            return;
        };
        findings.notice(
            "pending-operation",
            &Key::Plain(Object::DdOperation).render(),
            format!(
                "the last operation on collections ({operation}) was recorded, but not marked as \
                 sent: Milvus 2.1 would send it again at its next start, Milvus 2.2 does not"
            ),
        );
    }
}
