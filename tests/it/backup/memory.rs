//! Files of other tools are sorted in bounded memory, for each format.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use meta_backup::{Backup, Format, Tolerance};
use meta_fuzz::wire::{bytes_field, number_field};

const MIB: u64 = 1 << 20;

/// More keys than a reader buffers, with values of [`VALUE_BYTES`].
const KEYS: u32 = 1500;
const VALUE_BYTES: usize = 64 << 10;

type WriteFile = fn(&mut BufWriter<File>);

/// Descending, so that a reader must sort.
fn key(index: u32) -> String {
    format!("by-dev/meta/root-coord/collection/{:08}", KEYS - index)
}

fn value(index: u32) -> Vec<u8> {
    let mut value = vec![7; VALUE_BYTES];
    value[..4].copy_from_slice(&index.to_be_bytes());
    value
}

fn frame(out: &mut impl Write, message: &[u8]) {
    out.write_all(&(message.len() as u64).to_le_bytes())
        .unwrap();
    out.write_all(message).unwrap();
}

fn official(out: &mut impl Write) {
    let mut header = Vec::new();
    bytes_field(&mut header, 2, b"by-dev");
    bytes_field(&mut header, 3, b"meta");
    number_field(&mut header, 4, u64::from(KEYS));
    bytes_field(&mut header, 6, br#"{"entry_include_root_path":true}"#);
    frame(out, &header);
    for index in 0..KEYS {
        let mut pair = Vec::new();
        bytes_field(&mut pair, 1, key(index).as_bytes());
        bytes_field(&mut pair, 2, &value(index));
        frame(out, &pair);
    }
}

fn birdwatcher(out: &mut impl Write) {
    let mut gzip = GzEncoder::new(out, Compression::none());
    let mut header = Vec::new();
    number_field(&mut header, 1, 2);
    frame(&mut gzip, &header);
    let mut part = Vec::new();
    number_field(&mut part, 1, 1);
    bytes_field(&mut part, 3, format!("{{\"cnt\":\"{KEYS}\"}}").as_bytes());
    frame(&mut gzip, &part);
    for index in 0..KEYS {
        let mut pair = Vec::new();
        bytes_field(&mut pair, 1, key(index).as_bytes());
        bytes_field(&mut pair, 2, &value(index));
        frame(&mut gzip, &pair);
    }
    frame(&mut gzip, b"");
    gzip.finish().unwrap();
}

fn protobuf(out: &mut impl Write) {
    let mut message = Vec::new();
    bytes_field(&mut message, 1, &[3 << 3, 7]);
    for index in 0..KEYS {
        let mut entry = Vec::new();
        bytes_field(&mut entry, 1, key(index).as_bytes());
        bytes_field(&mut entry, 5, &value(index));
        bytes_field(&mut message, 2, &entry);
        out.write_all(&message).unwrap();
        message.clear();
    }
    number_field(&mut message, 4, u64::from(KEYS));
    out.write_all(&message).unwrap();
}

fn json(out: &mut impl Write) {
    out.write_all(br#"{"header":{"revision":7},"kvs":["#)
        .unwrap();
    for index in 0..KEYS {
        let comma = if index > 0 { "," } else { "" };
        write!(out, "{comma}{}", line(index)).unwrap();
    }
    write!(out, r#"],"count":{KEYS}}}"#).unwrap();
}

fn raw(out: &mut impl Write) {
    for index in 0..KEYS {
        writeln!(out, "{}", line(index)).unwrap();
    }
    writeln!(
        out,
        r#"{{"end":{{"entries":{KEYS},"revision":7,"meta_root":"by-dev/meta","complete":true}}}}"#
    )
    .unwrap();
}

fn line(index: u32) -> String {
    let (key, value) = (STANDARD.encode(key(index)), STANDARD.encode(value(index)));
    format!(r#"{{"key":"{key}","value":"{value}"}}"#)
}

const PAGE: usize = 4096;

/// A page with its header, and the number of its overflow pages.
fn page(number: u64, flags: u16, count: usize, body: &[u8]) -> Vec<u8> {
    let pages = (16 + body.len()).div_ceil(PAGE);
    let mut page = number.to_le_bytes().to_vec();
    page.extend_from_slice(&flags.to_le_bytes());
    page.extend_from_slice(&u16::try_from(count).unwrap().to_le_bytes());
    page.extend_from_slice(&u32::try_from(pages - 1).unwrap().to_le_bytes());
    page.extend_from_slice(body);
    page.resize(pages * PAGE, 0);
    page
}

fn leaf(number: u64, flags: u32, elements: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let (mut heads, mut data) = (Vec::new(), Vec::new());
    for (index, (key, value)) in elements.iter().enumerate() {
        let position = (elements.len() - index) * 16 + data.len();
        for field in [flags as usize, position, key.len(), value.len()] {
            heads.extend_from_slice(&u32::try_from(field).unwrap().to_le_bytes());
        }
        data.extend_from_slice(key);
        data.extend_from_slice(value);
    }
    page(number, 2, elements.len(), &[heads, data].concat())
}

/// An etcd database in which every key has two revisions, the first with another value.
fn database(out: &mut impl Write) {
    const PER_LEAF: u32 = 4;
    let mut children = Vec::new();
    let mut next = 4_u64;
    let mut pages = Vec::new();
    for first in (0..2 * KEYS).step_by(PER_LEAF as usize) {
        let elements: Vec<_> = (first..first + PER_LEAF)
            .map(|index| {
                let mut revision = u64::from(index + 2).to_be_bytes().to_vec();
                revision.push(b'_');
                revision.extend_from_slice(&[0; 8]);
                let mut change = Vec::new();
                bytes_field(&mut change, 1, key(index % KEYS).as_bytes());
                let value = match index < KEYS {
                    true => vec![7; VALUE_BYTES],
                    false => value(index - KEYS),
                };
                bytes_field(&mut change, 5, &value);
                (revision, change)
            })
            .collect();
        let leaf = leaf(next, 0, &elements);
        children.push((elements[0].0.clone(), next));
        next += (leaf.len() / PAGE) as u64;
        pages.push(leaf);
    }
    let (mut heads, mut keys) = (Vec::new(), Vec::new());
    for (index, (key, child)) in children.iter().enumerate() {
        let position = (children.len() - index) * 16 + keys.len();
        for field in [position, key.len()] {
            heads.extend_from_slice(&u32::try_from(field).unwrap().to_le_bytes());
        }
        heads.extend_from_slice(&child.to_le_bytes());
        keys.extend_from_slice(key);
    }
    let branch = page(next, 1, children.len(), &[heads, keys].concat());
    let end = next + (branch.len() / PAGE) as u64;
    for number in [0_u64, 1] {
        let mut meta = 0xED0C_DAED_u32.to_le_bytes().to_vec();
        for field in [2_u32, 4096, 0] {
            meta.extend_from_slice(&field.to_le_bytes());
        }
        for field in [3, 0, 2, end, number] {
            meta.extend_from_slice(&field.to_le_bytes());
        }
        let checksum = meta.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        meta.extend_from_slice(&checksum.to_le_bytes());
        out.write_all(&page(number, 4, 0, &meta)).unwrap();
    }
    out.write_all(&page(2, 0x10, 0, &[])).unwrap();
    let bucket = [next.to_le_bytes(), [0; 8]].concat();
    out.write_all(&leaf(3, 1, &[(b"key".to_vec(), bucket)]))
        .unwrap();
    for page in pages {
        out.write_all(&page).unwrap();
    }
    out.write_all(&branch).unwrap();
}

/// Opens and reads a file; returns the peak number of allocated bytes.
fn read(path: &Path, format: Format) -> u64 {
    let measured = allocation_counter::measure(|| {
        let tolerance = Tolerance {
            skip_hash_check: true,
            ..Tolerance::default()
        };
        let backup = Backup::open_with(path, None, tolerance)
            .unwrap_or_else(|error| panic!("{format:?}: {}", super::chain(&error)));
        assert_eq!(backup.format(), format);
        assert_eq!(backup.summary().entries, u64::from(KEYS));
        let mut index = KEYS;
        for entry in backup.entries().unwrap() {
            let entry = entry.unwrap();
            index -= 1;
            assert!(entry.key == key(index) && entry.value == value(index));
        }
        assert_eq!(index, 0);
    });
    measured.bytes_max
}

#[test]
fn imports_are_sorted_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let formats: [(Format, WriteFile); 6] = [
        (Format::Official, official),
        (Format::Birdwatcher2, birdwatcher),
        (Format::Etcdctl, protobuf),
        (Format::Etcdctl, json),
        (Format::Inspect, raw),
        (Format::EtcdSnapshot, database),
    ];
    for (format, write) in formats {
        let mut out = BufWriter::new(File::create(&path).unwrap());
        write(&mut out);
        out.flush().unwrap();
        let most = read(&path, format);
        assert!(std::fs::metadata(&path).unwrap().len() > 90 * MIB);
        assert!(most < 48 * MIB, "{format:?}: {most} bytes allocated");
    }
}
