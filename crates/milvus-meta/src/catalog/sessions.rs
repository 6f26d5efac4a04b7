//! Sessions of components.

use serde::Deserialize;

use super::Session;
use crate::entry::{Entry, printable};

/// The fields of a session's JSON value that are shown.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Value {
    #[serde(rename = "ServerID")]
    server_id: Option<i64>,
    address: String,
    version: String,
}

/// Reads a session, given its name below `session/`.
pub(super) fn read(name: &[u8], entry: &Entry) -> Session {
    let value: Value = serde_json::from_slice(&entry.value).unwrap_or_default();
    let name = printable(name);
    let role = match name.rsplit_once('-') {
        Some((role, id)) if id.bytes().all(|byte| byte.is_ascii_digit()) => role.to_owned(),
        _ => name,
    };
    Session {
        role,
        server_id: value.server_id.map(|id| id.to_string()),
        address: value.address,
        version: value.version,
        key: printable(&entry.key),
        lease: match entry.lease {
            0 => String::new(),
            lease => format!("{lease:x}"),
        },
    }
}
