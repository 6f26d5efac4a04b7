//! The official migration tool's files: a header frame, then one frame per key.
//!
//! There is no checksum and no end mark. The only check is the number of entries in the header,
//! which that tool does not verify.

use std::io::Read;

use prost::Message;
use serde::{Deserialize, Serialize};

use super::super::messages::{BackupHeader, KeyDataPair};
use super::super::{Format, FormatError};
use super::frames::Frames;
use super::partial::{Loss, PartialPolicy, is_cut};
use super::root::repair_lost_slash;
use super::sorted::{Record, Sorted, Sorter, State};
use super::{Import, Selected, too_large};
use crate::digest::{ContentDigest, ENTRY_LIMIT};

/// The JSON in the header's `extra`, which distinguishes the two formats.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Extra {
    #[serde(default)]
    entry_include_root_path: bool,
}

/// Whether the keys of the file are absolute. Without the mark they are relative.
pub(super) fn has_absolute_keys(header: &BackupHeader) -> Result<bool, FormatError> {
    if header.extra.is_empty() {
        return Ok(false);
    }
    serde_json::from_slice::<Extra>(&header.extra)
        .map(|extra| extra.entry_include_root_path)
        .map_err(|error| FormatError::Malformed {
            part: "the header",
            offset: 0,
            reason: format!("its extra is not the expected JSON: {error}"),
        })
}

/// The meta root in the header, without trailing slashes; `None` if it is empty.
pub(super) fn header_root(header: &BackupHeader) -> Option<String> {
    let root = if header.meta_path.is_empty() {
        header.instance.clone()
    } else {
        format!("{}/{}", header.instance, header.meta_path)
    };
    let root = root.trim_end_matches('/');
    (!root.is_empty()).then(|| root.to_owned())
}

/// Reads the entries, and checks their number if the header has it.
pub(super) fn read_entries<R: Read>(
    frames: &mut Frames<R>,
    announced: i64,
    partial: PartialPolicy,
) -> Result<(Sorted, Option<Loss>), FormatError> {
    let Ok(announced) = u64::try_from(announced) else {
        return Err(frames.malformed("the header", "its count of entries is negative"));
    };
    let announced = (announced > 0).then_some(announced);
    let mut sorter = Sorter::default();
    let mut found = 0;
    let cut = loop {
        match frames.message::<KeyDataPair>("an entry") {
            Ok(Some(pair)) => sorter.push(checked(frames, pair)?)?,
            Ok(None) => break None,
            Err(error) if is_cut(&error) => break Some(error),
            Err(error) => return Err(error),
        }
        found += 1;
    };
    let loss = partial.entries(found, announced, cut)?;
    Ok((sorter.finish()?, loss))
}

/// Converts an entry to a record; rejects an empty key.
pub(super) fn checked<R: Read>(
    frames: &Frames<R>,
    pair: KeyDataPair,
) -> Result<Record, FormatError> {
    let KeyDataPair { key, data } = pair;
    if key.is_empty() {
        return Err(frames.malformed("an entry", "its key is empty"));
    }
    Ok(Record::new(key, data, State::Live))
}

/// The newer format, with absolute keys. The official tool reads with a prefix without a slash, so
/// keys of another instance such as `by-dev/meta2` may be included. They are omitted and counted.
pub(super) fn with_absolute_keys(
    header: &BackupHeader,
    entries: Sorted,
) -> Result<Import, FormatError> {
    let root = header_root(header).ok_or(FormatError::NoRoot)?;
    let root = repair_lost_slash(root, &entries)?;
    Import::new(Format::Official, Selected::new(entries, root))
}

/// Encodes the header of a file with absolute keys as the official tool does, except that a leading
/// slash of the meta root, which that tool loses, is kept.
pub(crate) fn render_header(meta_root: &str, entries: u64) -> Vec<u8> {
    let (instance, meta_path) = match meta_root.rsplit_once('/') {
        Some((instance, last)) if !instance.is_empty() => (instance, last),
        _ => (meta_root, ""),
    };
    frame(&BackupHeader {
        version: 0,
        instance: instance.to_owned(),
        meta_path: meta_path.to_owned(),
        entries: i64::try_from(entries).unwrap_or(i64::MAX),
        component: String::new(),
        extra: br#"{"entry_include_root_path":true}"#.to_vec(),
    })
}

/// Encodes an entry.
pub(crate) fn render_pair(key: &[u8], value: &[u8]) -> Result<Vec<u8>, FormatError> {
    if key.len() as u64 + value.len() as u64 > ENTRY_LIMIT {
        return Err(too_large(key, value));
    }
    Ok(frame(&KeyDataPair {
        key: key.to_vec(),
        data: value.to_vec(),
    }))
}

fn frame(message: &impl Message) -> Vec<u8> {
    let mut bytes = (message.encoded_len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes
}

/// Computes number and digest of the entries in a file that this program wrote, in file order and
/// without storing them. The number must match the header.
pub(crate) fn digest_in_order<R: Read>(reader: R) -> Result<(u64, [u8; 32]), FormatError> {
    let mut frames = Frames::new(reader);
    let header = frames.header()?;
    let mut digest = ContentDigest::default();
    let mut found = 0;
    while let Some(pair) = frames.message::<KeyDataPair>("an entry")? {
        if !digest.push(&pair.key, &pair.data) {
            return Err(too_large(&pair.key, &pair.data));
        }
        found += 1;
    }
    match u64::try_from(header.entries) {
        Ok(announced) if announced == found => Ok((found, digest.finish())),
        Ok(announced) => Err(FormatError::EntryCount { announced, found }),
        Err(_) => Err(frames.malformed("the header", "its count of entries is negative")),
    }
}
