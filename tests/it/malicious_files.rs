//! Malicious files: lengths beyond the end of the file, and decompression bombs. Memory use follows
//! the bytes read.

use std::io::Read as _;

use meta_backup::{FormatError, check_bytes};

use meta_fuzz::backups::{USUAL_HEADER, block, gzip, prologue, snapshot};
use meta_fuzz::wire::bytes_field;

const MIB: u64 = 1 << 20;

/// The error of a reader, and its peak memory allocation.
fn refused(file: &[u8]) -> (FormatError, u64) {
    let mut outcome = None;
    let measured = allocation_counter::measure(|| outcome = Some(check_bytes(file, None)));
    (outcome.unwrap().unwrap_err(), measured.bytes_max)
}

fn refused_within(limit: u64, file: &[u8]) -> FormatError {
    let (error, most) = refused(file);
    assert!(most < limit, "{most} bytes allocated: {error}");
    error
}

fn frame(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u64).to_le_bytes(), message].concat()
}

/// The first frame of a file of this version with meta root `a/meta` and absolute keys.
fn header(version: u8) -> Vec<u8> {
    let mut message = vec![8, version];
    bytes_field(&mut message, 2, b"a");
    bytes_field(&mut message, 3, b"meta");
    bytes_field(&mut message, 6, br#"{"entry_include_root_path":true}"#);
    frame(&message)
}

/// A native file up to its first data block.
fn native() -> Vec<u8> {
    let mut file = prologue();
    block(&mut file, *b"HEAD", USUAL_HEADER, USUAL_HEADER.len(), 0);
    file
}

/// Changes the length in a block header and updates the checksum.
fn claim(file: &mut [u8], head: usize, at: usize, length: u32) {
    file[head + at..head + at + 4].copy_from_slice(&length.to_le_bytes());
    let crc = crc32fast::hash(&file[head..head + 20]);
    file[head + 20..head + 24].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn d10_frame_lengths_are_not_trusted() {
    // 30 MiB is below the limit of an entry, but no data follows.
    for length in [30 * MIB, 200 * MIB, 1 << 40, u64::MAX - 8, u64::MAX] {
        let length = length.to_le_bytes();
        for version in [0, 1] {
            let file = [&header(version)[..], &length, b"x"].concat();
            refused_within(2 * MIB, &file);
            refused_within(2 * MIB, &gzip(&file));
        }
        refused_within(2 * MIB, &length);
        // A part of birdwatcher's second version that readers skip.
        let file = [&header(2)[..], &frame(&[8, 2]), &length, b"x"].concat();
        refused_within(2 * MIB, &gzip(&file));
    }
}

#[test]
fn protobuf_lengths_are_not_trusted() {
    // Field 1 claims 200 MiB.
    let message = [0x0a, 0x80, 0x80, 0x80, 0x64, b'k'];
    for file in [[header(0), frame(&message)].concat(), frame(&message)] {
        refused_within(2 * MIB, &file);
        refused_within(2 * MIB, &gzip(&file));
    }
}

#[test]
fn native_lengths_are_not_trusted() {
    let head = native().len();
    let entry = |key: u32, value: u32| [key.to_le_bytes(), value.to_le_bytes()].concat();
    for (at, length) in [
        (4, 30 << 20),
        (8, 30 << 20),
        (4, 250 << 20),
        (8, 250 << 20),
        (12, u32::MAX),
        (4, u32::MAX),
    ] {
        let mut file = native();
        let content = [entry(3, 0), b"a/b".to_vec()].concat();
        let stored = zstd::bulk::compress(&content, 1).unwrap();
        block(&mut file, *b"DATA", &stored, content.len(), 1);
        claim(&mut file, head, at, length);
        refused_within(2 * MIB, &file);
    }
    for content in [
        entry(u32::MAX, 0),
        entry(3, u32::MAX),
        entry(u32::MAX, u32::MAX),
    ] {
        let mut file = native();
        let stored = zstd::bulk::compress(&content, 1).unwrap();
        block(&mut file, *b"DATA", &stored, content.len(), 1);
        refused_within(2 * MIB, &file);
    }
}

/// 1 GB of zeros in 33 KB: rejected for the size in the block header. A block of the largest
/// accepted size is bounded.
#[test]
fn a_dense_native_block_is_bounded() {
    let dense = |length: usize| {
        let mut file = native();
        let stored = zstd::bulk::compress(&vec![0; length], 1).unwrap();
        block(&mut file, *b"DATA", &stored, length, 1);
        file
    };
    let file = dense(256 << 20);
    assert!(file.len() < 64 << 10);
    let error = refused_within(2 * MIB, &file);
    assert!(
        matches!(error, FormatError::ImplausibleLength { .. }),
        "{error}"
    );
    refused_within(120 * MIB, &dense(33 << 20));
}

#[test]
fn a_native_block_is_limited_to_its_claimed_size() {
    let zeros = vec![0; 64 << 20];
    let stored = zstd::bulk::compress(&zeros, 1).unwrap();
    assert!(stored.len() < 1 << 20);
    let mut file = native();
    block(&mut file, *b"DATA", &stored, 1000, 1);
    let error = refused_within(4 * MIB, &file);
    assert!(
        error
            .to_string()
            .contains("its decompressed length differs"),
        "{error}"
    );
}

#[test]
fn etcd_snapshot_lengths_are_not_trusted() {
    let sample = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fuzz/corpus/backups/seed-snapshot"
    );
    let database = std::fs::read(sample).unwrap().split_off(1);
    // Page 3 overflows 2^32 pages; its first element starts or ends far behind it; it has 65,535.
    for at in [
        1536 + 12,
        1536 + 16 + 4,
        1536 + 16 + 8,
        1536 + 16 + 12,
        1536 + 10,
    ] {
        let mut altered = database.clone();
        altered[at..at + 2].copy_from_slice(&[0xff; 2]);
        refused_within(2 * MIB, &snapshot(&altered));
        altered[at..at + 4].copy_from_slice(&[0xff; 4]);
        refused_within(2 * MIB, &snapshot(&altered));
    }
}

#[test]
fn a_gzip_bomb_is_refused() {
    // Entries of 20 MiB of zeros, a thousand times the size of the file in total.
    let mut zeros = Vec::new();
    std::io::repeat(0)
        .take(20 * MIB)
        .read_to_end(&mut zeros)
        .unwrap();
    let mut entries = Vec::new();
    for number in 0..5 {
        let mut message = Vec::new();
        bytes_field(&mut message, 1, format!("a/meta/{number}").as_bytes());
        bytes_field(&mut message, 2, &zeros);
        entries.extend(frame(&message));
    }
    let part_of_etcd = frame(&[8, 1]);
    for start in [header(1), [header(2), part_of_etcd].concat()] {
        let file = gzip(&[start, entries.clone(), frame(b"")].concat());
        assert!(file.len() < 1 << 20);
        let error = refused_within(200 * MIB, &file);
        assert!(matches!(error, FormatError::TooDense { .. }), "{error}");
    }
}

#[test]
fn a_small_file_may_be_dense() {
    let mut message = vec![0x0a, 8];
    message.extend_from_slice(b"a/meta/k");
    bytes_field(&mut message, 2, &vec![0; 1 << 20]);
    let file = gzip(&[header(1), frame(&message)].concat());
    assert!(file.len() < 1 << 14);
    assert_eq!(check_bytes(&file, None).unwrap().entries, 1);
}
