//! Files constructed byte by byte from the documented formats.

mod birdwatcher;
mod dump;
mod etcd_snapshot;
mod milvus_tool;
mod milvus_tool_v1;

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::super::{FormatError, Summary, check_bytes};
use super::*;
use milvus_meta::keys::Family;

const ABSOLUTE: &[u8] = br#"{"entry_include_root_path":true}"#;

/// A protobuf bytes field; omitted if empty, as in proto3. The length must be less than 128.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    if bytes.is_empty() {
        return Vec::new();
    }
    assert!(bytes.len() < 128);
    [
        &[number << 3 | 2, u8::try_from(bytes.len()).unwrap()],
        bytes,
    ]
    .concat()
}

/// A protobuf varint field less than 128; omitted if zero.
fn small(number: u8, value: u8) -> Vec<u8> {
    assert!(value < 128);
    if value == 0 {
        Vec::new()
    } else {
        vec![number << 3, value]
    }
}

fn frame(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u64).to_le_bytes(), message].concat()
}

fn header(version: u8, instance: &str, meta_path: &str, entries: u8, extra: &[u8]) -> Vec<u8> {
    frame(
        &[
            small(1, version),
            field(2, instance.as_bytes()),
            field(3, meta_path.as_bytes()),
            small(4, entries),
            field(6, extra),
        ]
        .concat(),
    )
}

fn pair(key: &str, value: &[u8]) -> Vec<u8> {
    frame(&[field(1, key.as_bytes()), field(2, value)].concat())
}

fn part(part_type: u8, extra: &str, frames: &[Vec<u8>]) -> Vec<u8> {
    // part_len is -1, which takes ten bytes.
    let minus_one = [&[2 << 3][..], &[0xff; 9], &[0x01]].concat();
    let head = [small(1, part_type), minus_one, field(3, extra.as_bytes())].concat();
    [frame(&head), frames.concat(), frame(b"")].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn load(bytes: &[u8], hint: Option<&str>) -> Result<Import, FormatError> {
    load_with(bytes, hint, Tolerance::default())
}

fn load_with(
    bytes: &[u8],
    hint: Option<&str>,
    tolerance: Tolerance,
) -> Result<Import, FormatError> {
    read(
        Guess::of(bytes)?,
        std::io::Cursor::new(bytes),
        hint,
        tolerance,
    )
}

fn entries(import: &Import) -> Vec<Entry> {
    import.entries.iter().map(Result::unwrap).collect()
}

fn keys(import: &Import) -> Vec<String> {
    let text = |entry: Entry| String::from_utf8(entry.key.to_vec()).unwrap();
    entries(import).into_iter().map(text).collect()
}

fn summary(bytes: &[u8]) -> Result<Summary, FormatError> {
    check_bytes(bytes, None)
}
