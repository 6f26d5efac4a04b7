//! Round trips, and all kinds of damage.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write as _};

use proptest::prelude::*;
use zstd::bulk::Compressor;

use super::inflate::Inflater;
use super::*;
use crate::Header;

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

fn header() -> Header {
    Header {
        tool_version: String::from("0.1.0"),
        created_at: String::from("2026-11-22T18:30:00Z"),
        cluster_id: String::from("1f"),
        revision: 9,
        meta_root: String::from("r"),
        source_version: Some(String::from("2.1.4")),
        skipped_leased: 4,
    }
}

fn sample() -> Entries {
    [("r/a", "1"), ("r/b", ""), ("r/c", "three"), ("r/d", "4")]
        .map(|(key, value)| (key.into(), value.into()))
        .to_vec()
}

/// Encodes a file with `per_block` entries in each block, in the given order.
fn file_of(entries: &Entries, per_block: usize, level: i32) -> Vec<u8> {
    let mut compressor = Compressor::new(level).unwrap();
    let mut encoder = Encoder::new(Vec::new(), &header()).unwrap();
    for chunk in entries.chunks(per_block) {
        let mut block = DataBlock::default();
        for (key, value) in chunk {
            assert!(block.push(key, value));
        }
        encoder.count(&block);
        encoder
            .write(&block.compress(&mut compressor).unwrap())
            .unwrap();
    }
    encoder.finish(header().skipped_leased).unwrap().0
}

fn read(file: &[u8]) -> Result<(Header, Entries), FormatError> {
    let mut decoder = Decoder::new(file)?;
    let mut entries = Vec::new();
    while let Some((key, value)) = decoder.next()? {
        entries.push((key.to_vec(), value.to_vec()));
    }
    assert_eq!(decoder.totals().unwrap().bytes, file.len() as u64);
    Ok((decoder.header().clone(), entries))
}

proptest! {
    #[test]
    fn entries_survive_a_round_trip(
        entries in prop::collection::btree_map(
            prop::collection::vec(any::<u8>(), 0..40),
            prop::collection::vec(any::<u8>(), 0..200),
            0..60,
        ),
        per_block in 1_usize..20,
        level in 1..6,
    ) {
        let entries: Entries = entries
            .into_iter()
            .map(|(key, value)| ([b"r/", key.as_slice()].concat(), value))
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .collect();
        let (found, read) = read(&file_of(&entries, per_block, level)).unwrap();
        prop_assert_eq!(read, entries);
        prop_assert_eq!(found, header());
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut file = prologue(VERSION).to_vec();
        file.extend_from_slice(&bytes);
        prop_assert!(read(&file).is_err());
    }
}

#[test]
fn a_file_cut_anywhere_is_reported_as_truncated() {
    let file = file_of(&sample(), 2, 3);
    for end in 0..file.len() {
        let error = read(&file[..end]).unwrap_err();
        assert!(
            matches!(error, FormatError::Truncated { .. }),
            "{end}: {error}"
        );
    }
}

#[test]
fn a_single_altered_bit_is_reported_as_altered() {
    let file = file_of(&sample(), 2, 3);
    for bit in 0..file.len() * 8 {
        let mut altered = file.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let error = read(&altered).unwrap_err();
        assert!(
            matches!(error, FormatError::Altered { .. }),
            "bit {bit}: {error}"
        );
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    let mut file = file_of(&sample(), 2, 3);
    let end = file.len() as u64;
    file.push(0);
    assert!(matches!(
        read(&file),
        Err(FormatError::TrailingBytes { offset }) if offset == end
    ));
}

#[test]
fn a_newer_format_version_is_reported() {
    let mut file = prologue(2).to_vec();
    file.extend_from_slice(b"whatever");
    assert!(matches!(
        read(&file),
        Err(FormatError::NewerFormat {
            found: 2,
            supported: 1
        })
    ));
}

#[test]
fn unsorted_and_duplicate_keys_are_refused() {
    for (first, second) in [("r/b", "r/a"), ("r/a", "r/a")] {
        let entries = vec![(first.into(), vec![1]), (second.into(), vec![2])];
        for per_block in [1, 2] {
            let error = read(&file_of(&entries, per_block, 3)).unwrap_err();
            assert!(matches!(&error, FormatError::KeyOrder(key) if key == second));
        }
    }
}

#[test]
fn a_key_outside_the_meta_root_is_refused() {
    for key in ["r2/a", "r", "s/a"] {
        let error = read(&file_of(&vec![(key.into(), vec![])], 1, 3)).unwrap_err();
        assert!(matches!(error, FormatError::OutsideRoot { .. }), "{error}");
    }
}

/// The parts of a file: prologue with header, each data block, tail with end mark.
fn parts(file: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut at = PROLOGUE_BYTES;
    let mut start = 0;
    loop {
        let end = at + HEAD_BYTES + number(file, at + 4) as usize;
        if &file[at..at + 4] == b"TAIL" {
            parts.push(&file[start..]);
            return parts;
        }
        parts.push(&file[start..end]);
        start = end;
        at = end;
    }
}

#[test]
fn missing_swapped_and_replaced_blocks_are_refused() {
    let file = file_of(&sample(), 1, 3);
    let parts = parts(&file);
    let [head, a, b, c, d, tail] = parts[..] else {
        panic!("four entries make four blocks");
    };
    let missing = [head, a, b, d, tail].concat();
    assert!(matches!(
        read(&missing),
        Err(FormatError::EntryCount {
            announced: 4,
            found: 3
        })
    ));
    let swapped = [head, b, a, c, d, tail].concat();
    assert!(matches!(read(&swapped), Err(FormatError::KeyOrder { .. })));
    let mut other = sample();
    other[3].1 = b"5".to_vec();
    let other = file_of(&other, 1, 3);
    let replaced = [head, a, b, c, super::tests::parts(&other)[4], tail].concat();
    assert!(matches!(
        read(&replaced),
        Err(FormatError::Altered {
            part: "the content",
            ..
        })
    ));
}

/// A file with one data block of these fields and valid checksums.
fn with_block(stored: &[u8], claimed_bytes: u32, raw: u32, entries: u32) -> Vec<u8> {
    let file = file_of(&Vec::new(), 1, 3);
    let parts = parts(&file);
    let head = BlockHead {
        kind: BlockKind::Data,
        stored: claimed_bytes,
        raw,
        entries,
        payload_crc: crc32fast::hash(stored),
    };
    // The header ends where the tail of this empty file starts.
    let tail = HEAD_BYTES + TAIL_BYTES + 8;
    let header = &parts[0][..file.len() - tail];
    [header, &head.render(), stored, &file[file.len() - tail..]].concat()
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}

#[test]
fn a_length_beyond_the_limit_is_refused_unread() {
    for (stored, raw) in [(u32::MAX, 8), (8, u32::MAX)] {
        let error = read(&with_block(b"x", stored, raw, 1)).unwrap_err();
        assert!(
            matches!(error, FormatError::ImplausibleLength { .. }),
            "{error}"
        );
    }
}

#[test]
fn allocations_follow_the_data_not_claimed_lengths() {
    let mut input = crate::bounded_reader::BoundedReader::new(&b"short"[..]);
    let mut buffer = Vec::new();
    assert!(input.replace(&mut buffer, 200 << 20, "a test").is_err());
    assert!(buffer.capacity() < 1 << 20, "{}", buffer.capacity());
}

#[test]
fn a_block_larger_than_its_head_claims_is_refused() {
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 3).unwrap();
    let mut out = Vec::new();
    let file = with_block(&bomb, length(&bomb), 100, 1);
    assert!(matches!(read(&file), Err(FormatError::Malformed { .. })));
    assert!(
        Inflater::new()
            .unwrap()
            .inflate(&bomb, 100, &mut out)
            .is_err()
    );
    assert!(out.capacity() < 1 << 20, "{}", out.capacity());
}

#[test]
fn a_window_larger_than_the_writer_uses_is_refused() {
    for (window_log, is_accepted) in [(WINDOW_LOG, true), (WINDOW_LOG + 1, false)] {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.write_all(&[7; 4096]).unwrap();
        let stored = encoder.finish().unwrap();
        let outcome = Inflater::new()
            .unwrap()
            .inflate(&stored, 4096, &mut Vec::new());
        assert_eq!(outcome.is_ok(), is_accepted, "{window_log}: {outcome:?}");
    }
}

#[test]
fn entries_must_fill_their_block() {
    let entry = [&1_u32.to_le_bytes()[..], &1_u32.to_le_bytes(), b"kv"].concat();
    let out_of_bounds = [&1_u32.to_le_bytes()[..], &u32::MAX.to_le_bytes(), b"kv"].concat();
    for (raw, entries) in [
        (entry.clone(), 0),
        (entry.clone(), 2),
        ([entry.as_slice(), b"more"].concat(), 1),
        (entry[..6].to_vec(), 1),
        (out_of_bounds, 1),
    ] {
        let stored = zstd::bulk::compress(&raw, 1).unwrap();
        let file = with_block(&stored, length(&stored), length(&raw), entries);
        assert!(read(&file).is_err(), "{raw:?}");
    }
}

/// Counts the bytes that are read.
struct CountingReader<'f> {
    file: Cursor<&'f [u8]>,
    read_bytes: &'f std::cell::Cell<usize>,
}

impl Read for CountingReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read_bytes.set(self.read_bytes.get() + count);
        Ok(count)
    }
}

#[test]
fn d12_reading_holds_one_block_at_a_time() {
    let file = file_of(&sample(), 1, 3);
    let [head, first, ..] = parts(&file)[..] else {
        panic!("there are several blocks");
    };
    let read_bytes = std::cell::Cell::new(0);
    let mut decoder = Decoder::new(CountingReader {
        file: Cursor::new(&file),
        read_bytes: &read_bytes,
    })
    .unwrap();
    assert_eq!(read_bytes.get(), head.len());
    decoder.next().unwrap();
    assert_eq!(read_bytes.get(), head.len() + first.len());
}

#[test]
fn the_highest_level_fits_the_readers_window() {
    let value: Vec<u8> = (0_u32..5 << 19)
        .flat_map(|number| (number / 3).to_le_bytes())
        .collect();
    let entries = vec![(b"r/large".to_vec(), value)];
    let (_, read) = read(&file_of(&entries, 1, crate::GREATEST_LEVEL)).unwrap();
    assert!(read == entries);
}

#[test]
fn an_entry_beyond_the_limit_is_refused() {
    let value = vec![0; usize::try_from(ENTRY_LIMIT).unwrap()];
    let mut block = DataBlock::default();
    assert!(!block.push(b"k", &value));
    assert!(block.is_empty());
}
