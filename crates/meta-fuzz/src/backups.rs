//! Backup files of every format.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use meta_backup::{
    Backup, Coverage, Format, Header, OutputFormat, Tolerance, WriteOptions, Writer,
    check_bytes_with,
};
use sha2::{Digest as _, Sha256};

use super::bytes::Bytes;
use super::wire::{bytes_field, number_field};

/// Memory in addition to the multiple of the file size: buffers and initial allocations.
const FIXED_BYTES: u64 = 4 << 20;
/// Maximum memory per byte of the file; entries of the smallest frames need the most.
const BYTES_PER_BYTE: u64 = 64;
/// Maximum memory for one block of the native format, compressed and decompressed.
const BLOCK_BYTES: u64 = 120 << 20;

const MAGIC: &[u8] = b"\x89MMB\r\n\x1a\n";

/// A valid header of the native format.
pub const USUAL_HEADER: &[u8] = br#"{"tool_version":"1","created_at":"","cluster_id":"","revision":1,"meta_root":"a","source_version":null}"#;

/// The first byte selects how the rest becomes a file: unchanged, or with valid lengths and
/// checksums, which a fuzzer does not find.
pub fn run(input: &[u8]) {
    check(&file(input));
}

/// The file that an input describes.
pub fn file(input: &[u8]) -> Vec<u8> {
    let mut input = Bytes::new(input);
    match input.byte() % 8 {
        0 => input.rest().to_vec(),
        1 => native(&mut input),
        2 => snapshot(input.rest()),
        3 => frames(&mut input),
        4 => gzip(&frames(&mut input)),
        5 => response(&mut input),
        6 => lines(&mut input),
        _ => json(&mut input),
    }
}

/// Checks that a file is either rejected, or complete, sorted and below its root.
fn check(file: &[u8]) {
    for (hint, tolerance) in [
        (None, Tolerance::default()),
        (Some("a/meta"), Tolerance::default()),
        (None, Tolerance::ALL),
        (Some("a/meta"), Tolerance::ALL),
    ] {
        let mut outcome = None;
        let measured = allocation_counter::measure(|| {
            outcome = Some(check_bytes_with(file, hint, tolerance));
        });
        let blocks = if file.starts_with(b"\x89MMB") {
            BLOCK_BYTES
        } else {
            0
        };
        let unpacked = if file.starts_with(b"\x1f\x8b") {
            100
        } else {
            1
        };
        assert!(
            measured.bytes_max
                <= FIXED_BYTES + blocks + BYTES_PER_BYTE * unpacked * file.len() as u64,
            "{} bytes for a file of {}",
            measured.bytes_max,
            file.len()
        );
        let Some(Ok(summary)) = outcome else {
            continue;
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup");
        std::fs::write(&path, file).unwrap();
        let backup = Backup::open_with(&path, hint, tolerance).expect("the bytes are valid");
        assert_eq!(backup.summary().digest, summary.digest);
        let prefix = format!("{}/", summary.meta_root).into_bytes();
        let entries: Vec<_> = backup.entries().unwrap().map(Result::unwrap).collect();
        assert_eq!(entries.len() as u64, summary.entries);
        assert!(entries.iter().all(|entry| entry.key.starts_with(&prefix)));
        assert!(entries.is_sorted_by(|a, b| a.key < b.key));
        if tolerance == Tolerance::default() {
            assert_eq!(
                *backup.coverage() == Coverage::All,
                backup.format() != Format::OfficialRelative
            );
        }
        for format in [OutputFormat::Native, OutputFormat::Official] {
            check_round_trip(&backup, &folder.path().join(format.format().name()), format);
        }
    }
}

/// Checks that the entries can be written and that the new file has the same content.
fn check_round_trip(backup: &Backup, path: &std::path::Path, format: OutputFormat) {
    let summary = backup.summary();
    let header = Header {
        meta_root: summary.meta_root.clone(),
        ..Header::default()
    };
    let options = WriteOptions {
        level: 1,
        threads: 1,
        format,
    };
    let mut writer = Writer::create(path, header, options).unwrap();
    for entry in backup.entries().unwrap().map(Result::unwrap) {
        writer.push(&entry.key, &entry.value).unwrap();
    }
    let written = writer.finish().unwrap();
    assert_eq!(written.digest, summary.digest);
    let reopened = Backup::open(path).unwrap();
    assert_eq!(reopened.summary().digest, summary.digest);
    assert_eq!(reopened.summary().meta_root, summary.meta_root);
}

/// Frames with valid lengths; each chunk is a message.
fn frames(input: &mut Bytes<'_>) -> Vec<u8> {
    let mut file = Vec::new();
    while !input.is_empty() {
        let message = input.chunk();
        file.extend_from_slice(&(message.len() as u64).to_le_bytes());
        file.extend_from_slice(message);
    }
    file
}

/// The output of `etcdctl get -w protobuf` with valid lengths. The input has revision and count,
/// then entries with lease, key and value.
fn response(input: &mut Bytes<'_>) -> Vec<u8> {
    let (mut file, mut header) = (Vec::new(), Vec::new());
    number_field(&mut header, 3, u64::from(input.byte()));
    bytes_field(&mut file, 1, &header);
    let count = u64::from(input.byte());
    while !input.is_empty() {
        let mut entry = Vec::new();
        number_field(&mut entry, 6, u64::from(input.byte()));
        bytes_field(&mut entry, 1, input.short_chunk());
        bytes_field(&mut entry, 5, input.chunk());
        bytes_field(&mut file, 2, &entry);
    }
    number_field(&mut file, 4, count);
    file
}

/// An entry of both JSON formats.
fn json_entry(input: &mut Bytes<'_>) -> String {
    let lease = input.byte();
    let (key, value) = (
        STANDARD.encode(input.short_chunk()),
        STANDARD.encode(input.chunk()),
    );
    format!(r#"{{"key":"{key}","value":"{value}","lease":{lease}}}"#)
}

/// The output of `inspect --raw`. The input has the number of entries and whether they are
/// complete, then the entries.
fn lines(input: &mut Bytes<'_>) -> Vec<u8> {
    let (entries, complete) = (input.byte(), input.byte() < 128);
    let mut file = String::new();
    while !input.is_empty() {
        file += &json_entry(input);
        file.push('\n');
    }
    file += &format!(
        r#"{{"end":{{"entries":{entries},"revision":1,"meta_root":"a/meta","complete":{complete}}}}}"#
    );
    file.into_bytes()
}

/// The output of `etcdctl get -w json`. The input has revision and count, then entries.
fn json(input: &mut Bytes<'_>) -> Vec<u8> {
    let (revision, count) = (input.byte(), input.byte());
    let mut entries = Vec::new();
    while !input.is_empty() {
        entries.push(json_entry(input));
    }
    let entries = entries.join(",");
    format!(r#"{{"header":{{"revision":{revision}}},"kvs":[{entries}],"count":{count}}}"#)
        .into_bytes()
}

/// Compresses the bytes with gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The prologue of the native format.
pub fn prologue() -> Vec<u8> {
    let mut file = [MAGIC, &1_u32.to_le_bytes()].concat();
    let crc = crc32fast::hash(&file);
    file.extend_from_slice(&crc.to_le_bytes());
    file
}

/// A file in the native format with valid checksums. The input has a chunk with the header (empty:
/// a valid one), then blocks, whose content and counts may be invalid.
fn native(input: &mut Bytes<'_>) -> Vec<u8> {
    let mut file = prologue();
    let header = match input.chunk() {
        b"" => USUAL_HEADER,
        header => header,
    };
    block(&mut file, *b"HEAD", header, header.len(), 0);
    let (mut entries, mut blocks, mut bytes) = (0_u64, 0_u64, 0_u64);
    let mut hash = Sha256::new();
    while !input.is_empty() {
        let kind = input.byte();
        let mut content = Vec::new();
        let mut count = 0_u32;
        for _ in 0..kind & 7 {
            let (key, value) = (input.short_chunk(), input.chunk());
            content.extend_from_slice(&u32::try_from(key.len()).unwrap().to_le_bytes());
            content.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
            content.extend_from_slice(key);
            content.extend_from_slice(value);
            count += 1;
        }
        let (mut stored, mut raw) = (zstd::bulk::compress(&content, 1).unwrap(), content.len());
        match kind >> 3 & 7 {
            1 => stored = input.chunk().to_vec(),
            2 => raw = usize::from(input.byte()) << 12,
            3 => count = u32::from(input.byte()) << 16,
            4 => {
                content = input.chunk().to_vec();
                (stored, raw) = (zstd::bulk::compress(&content, 1).unwrap(), content.len());
            }
            _ => {}
        }
        let mark = if kind >> 6 == 3 { *b"HEAD" } else { *b"DATA" };
        block(&mut file, mark, &stored, raw, count);
        entries += u64::from(count);
        blocks += 1;
        bytes += content.len() as u64;
        hash.update(&content);
    }
    let mut tail: Vec<u8> = [entries, blocks, bytes, 0].map(u64::to_le_bytes).concat();
    tail.extend_from_slice(&hash.finalize());
    block(&mut file, *b"TAIL", &tail, tail.len(), 0);
    file.extend_from_slice(MAGIC);
    file
}

/// Appends a block with valid checksums.
pub fn block(file: &mut Vec<u8>, mark: [u8; 4], payload: &[u8], raw: usize, entries: u32) {
    let mut head = mark.to_vec();
    for number in [payload.len(), raw] {
        head.extend_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
    }
    head.extend_from_slice(&entries.to_le_bytes());
    head.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    let crc = crc32fast::hash(&head);
    head.extend_from_slice(&crc.to_le_bytes());
    file.extend_from_slice(&head);
    file.extend_from_slice(payload);
}

/// A database file of 512-byte pages with valid checksums of its meta pages and a valid hash.
pub fn snapshot(database: &[u8]) -> Vec<u8> {
    const PAGE: usize = 512;
    let mut file = database.to_vec();
    file.resize(file.len().div_ceil(PAGE).max(2) * PAGE, 0);
    for meta in [0, PAGE] {
        let fields = &file[meta + 16..meta + 72];
        let checksum = fields.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        file[meta + 72..meta + 80].copy_from_slice(&checksum.to_le_bytes());
    }
    let hash = Sha256::digest(&file);
    file.extend_from_slice(&hash);
    file
}
