//! Output of `etcdctl get --prefix`, as JSON (`-w json`) or protobuf (`-w protobuf`): one range response,
//! with the revision it was read at, leases, and the number of keys in the range.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde::Deserialize;

use super::super::FormatError;
use super::super::messages::StoredKeyValue;
use super::partial::Partial;
use super::root::{detect, is_below};
use super::{Format, Import, Pair};

/// The most that is read: such output is one message, which etcd itself limits.
const LIMIT: u64 = 2 << 30;

/// `etcdserverpb.RangeResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Response {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<StoredKeyValue>,
    #[prost(bool, tag = "3")]
    more: bool,
    #[prost(int64, tag = "4")]
    count: i64,
}

/// `etcdserverpb.ResponseHeader`.
#[derive(Clone, PartialEq, Message)]
struct ResponseHeader {
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[derive(Deserialize)]
struct Json {
    header: JsonHeader,
    #[serde(default)]
    kvs: Vec<JsonEntry>,
    #[serde(default)]
    more: bool,
    #[serde(default)]
    count: i64,
}

#[derive(Deserialize)]
struct JsonHeader {
    revision: i64,
}

#[derive(Deserialize)]
struct JsonEntry {
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    lease: i64,
}

/// Whether a file begins as a JSON object does. A frame's length may begin with the same byte, but no quote
/// follows.
pub(super) fn is_json(start: &[u8]) -> bool {
    let mut visible = start.iter().filter(|byte| !byte.is_ascii_whitespace());
    visible.next() == Some(&b'{') && visible.next() == Some(&b'"')
}

/// Whether a file begins as a range response does: field 1, a header of some bytes, of which the first is
/// a number's field. A frame's length has zeros there.
pub(super) fn is_protobuf(start: &[u8]) -> bool {
    matches!(start, [0x0a, 1..=0x40, 0x08 | 0x10 | 0x18 | 0x20, ..])
}

/// Reads the JSON form.
pub(super) fn read_json(
    reader: impl Read,
    hint: Option<&str>,
    partial: Partial,
) -> Result<Import, FormatError> {
    let json: Json = serde_json::from_reader(reader.take(LIMIT)).map_err(json_error)?;
    let bytes = |text: &str| {
        STANDARD
            .decode(text)
            .map_err(|error| FormatError::Malformed {
                part: "the output of etcdctl",
                offset: 0,
                reason: format!("{text:?} is not base64: {error}"),
            })
    };
    let mut kvs = Vec::with_capacity(json.kvs.len());
    for JsonEntry { key, value, lease } in json.kvs {
        kvs.push(StoredKeyValue {
            key: bytes(&key)?,
            value: bytes(&value)?,
            lease,
            ..StoredKeyValue::default()
        });
    }
    let response = Response {
        header: Some(ResponseHeader {
            revision: json.header.revision,
        }),
        kvs,
        more: json.more,
        count: json.count,
    };
    entries(response, (hint, partial))
}

fn json_error(error: serde_json::Error) -> FormatError {
    let offset = error.column() as u64;
    match error.classify() {
        serde_json::error::Category::Io => FormatError::Read {
            offset,
            source: error.into(),
        },
        serde_json::error::Category::Eof => FormatError::Truncated {
            part: "the output of etcdctl",
            offset,
        },
        serde_json::error::Category::Syntax | serde_json::error::Category::Data => {
            FormatError::Unknown {
                reason: format!("it is JSON, but not the output of etcdctl get -w json: {error}"),
            }
        }
    }
}

/// Reads the protobuf form.
pub(super) fn read_protobuf(
    reader: impl Read,
    hint: Option<&str>,
    partial: Partial,
) -> Result<Import, FormatError> {
    let mut bytes = Vec::new();
    reader
        .take(LIMIT)
        .read_to_end(&mut bytes)
        .map_err(|source| FormatError::Read { offset: 0, source })?;
    let response = Response::decode(bytes.as_slice()).map_err(|error| FormatError::Unknown {
        reason: format!("it begins like the output of etcdctl get -w protobuf, but: {error}"),
    })?;
    entries(response, (hint, partial))
}

fn entries(
    response: Response,
    (hint, partial): (Option<&str>, Partial),
) -> Result<Import, FormatError> {
    let malformed = |reason: &str| FormatError::Malformed {
        part: "the output of etcdctl",
        offset: 0,
        reason: reason.to_owned(),
    };
    let Response {
        header,
        kvs,
        more,
        count,
    } = response;
    let revision = header.map_or(0, |header| header.revision);
    if revision <= 0 {
        return Err(malformed("it names no revision"));
    }
    if !kvs.is_empty() && kvs.iter().all(|entry| entry.value.is_empty()) {
        return Err(malformed(
            "no entry has a value: was it made with --keys-only?",
        ));
    }
    let found = kvs.len() as u64;
    // etcd counts the range, whatever --limit returns of it.
    let announced = u64::try_from(count).unwrap_or_default();
    let announced = announced.max(found + u64::from(more));
    let loss = partial.entries(found, Some(announced), None)?;
    let root = match hint {
        Some(root) => root.to_owned(),
        None => detect(kvs.iter().map(|entry| entry.key.as_slice()))?,
    };
    let (mut leased, mut outside) = (0, 0);
    let mut pairs: Vec<Pair> = Vec::new();
    for entry in kvs {
        if !is_below(&root, &entry.key) {
            outside += 1;
        } else if entry.lease != 0 {
            leased += 1;
        } else {
            pairs.push((entry.key, entry.value));
        }
    }
    if pairs.is_empty() {
        return Err(FormatError::NothingBelowRoot { root });
    }
    let mut import = Import::new(Format::Etcdctl, root, pairs)?;
    import.revision = revision;
    import.skipped_leased = leased;
    import.skipped_outside = outside;
    Ok(loss.into_iter().fold(import, Import::with))
}
