//! The last DDL operation that 2.1 recorded, and whether it was sent.
//!
//! Milvus 2.1 reads both when it starts and resends an unsent operation. 2.2 reads neither.

use serde::Deserialize;

use super::findings::Findings;
use crate::keys::{Key, Object, is_tombstone};

#[derive(Debug, Default)]
pub(super) struct LastOperation {
    unsent: bool,
    /// The type of the operation, for a message.
    operation: Option<String>,
}

/// The record without its body, which is not needed.
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
