//! Writing: guarantees about names, modes, leftover files and memory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;
use meta_backup::{
    Backup, BackupError, Format, FormatError, Header, OutputFormat, WriteOptions, Writer,
};
use proptest::prelude::*;

use super::{FEW, chain, content, header, names, write};

fn official() -> WriteOptions {
    WriteOptions {
        format: OutputFormat::Official,
        ..WriteOptions::default()
    }
}

#[test]
fn a_backup_reads_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mmb");
    let mut writer = Writer::create(&path, header(), WriteOptions::default()).unwrap();
    writer.push(b"by-dev/meta/indexes/1", b"one").unwrap();
    writer.set_skipped_leased(3);
    let written = writer.finish().unwrap();
    let backup = Backup::open(&path).unwrap();
    assert_eq!(backup.summary(), &written);
    assert_eq!(written.format, Format::Native);
    assert_eq!((written.entries, written.skipped_leased), (1, 3));
    assert_eq!(written.bytes, fs::metadata(&path).unwrap().len());
    let expected = Header {
        skipped_leased: 3,
        ..header()
    };
    assert_eq!(backup.header(), &expected);
    assert_eq!(
        content(&backup),
        [(String::from("by-dev/meta/indexes/1"), String::from("one"))]
    );
    assert_eq!(names(folder.path()), ["a.mmb"]);
}

#[test]
fn d15_both_formats_keep_a_leading_slash_of_the_root() {
    let folder = tempfile::tempdir().unwrap();
    let slash = Header {
        meta_root: String::from("/by-dev/meta"),
        ..header()
    };
    for options in [WriteOptions::default(), official()] {
        for entries in [FEW, &[]] {
            let format = options.format.format().name();
            let path = folder.path().join(format!("{format}-{}", entries.len()));
            write(&path, slash.clone(), options, entries);
            let backup = Backup::open(&path).unwrap();
            assert_eq!(backup.summary().meta_root, "/by-dev/meta");
            assert_eq!(content(&backup).len(), entries.len());
        }
    }
}

#[test]
fn files_are_created_for_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let modes = || -> Vec<u32> {
        names(folder.path())
            .iter()
            .map(|name| fs::metadata(folder.path().join(name)).unwrap())
            .map(|data| data.permissions().mode() & 0o777)
            .collect()
    };
    for options in [WriteOptions::default(), official()] {
        let path = folder.path().join(options.format.format().name());
        let writer = Writer::create(&path, header(), options).unwrap();
        assert!(modes().iter().all(|mode| *mode == 0o600), "{:?}", modes());
        writer.finish().unwrap();
        assert!(modes().iter().all(|mode| *mode == 0o600), "{:?}", modes());
    }
}

#[test]
fn an_unfinished_backup_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mmb");
    for options in [WriteOptions::default(), official()] {
        let mut writer = Writer::create(&path, header(), options).unwrap();
        writer.push(b"by-dev/meta/indexes/1", b"one").unwrap();
        assert!(!path.exists());
        assert!(
            names(folder.path())
                .iter()
                .all(|name| name.starts_with('.'))
        );
        drop(writer);
        assert!(names(folder.path()).is_empty());
    }
}

#[test]
fn a_backup_of_equal_content_is_reused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mmb");
    for options in [WriteOptions::default(), official()] {
        let path = path.with_extension(options.format.format().name());
        let first = write(&path, header(), options, FEW);
        let before = fs::read(&path).unwrap();
        let later = Header {
            revision: 77,
            created_at: String::from("2026-11-23T08:00:00Z"),
            ..header()
        };
        let second = write(&path, later, options, FEW);
        assert!(!first.reused && second.reused);
        assert_eq!((second.path, second.digest), (first.path, first.digest));
        assert_eq!(fs::read(&path).unwrap(), before);
    }
    assert_eq!(names(folder.path()), ["a.native", "a.official"]);
}

#[test]
fn d8_other_content_never_replaces_a_backup() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mmb");
    write(&path, header(), WriteOptions::default(), FEW);
    let before = fs::read(&path).unwrap();
    // As after a failed migration that emptied etcd.
    let emptied = write(&path, header(), WriteOptions::default(), &[]);
    let other = write(&path, header(), WriteOptions::default(), &FEW[..1]);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(emptied.path, folder.path().join("a-20261122T183000Z.mmb"));
    assert_eq!(other.path, folder.path().join("a-20261122T183000Z-1.mmb"));
    // The second file is reused as well.
    let again = write(&path, header(), WriteOptions::default(), &[]);
    assert!(again.reused);
    assert_eq!(again.path, emptied.path);
}

#[test]
fn d8_damaged_and_other_files_are_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mmb");
    for taken in [&b"notes"[..], b"", &[0x89, b'M', b'M', b'B']] {
        fs::write(&path, taken).unwrap();
        let written = write(&path, header(), WriteOptions::default(), FEW);
        assert_ne!(written.path, path);
        assert_eq!(fs::read(&path).unwrap(), taken);
    }
    let dangling = folder.path().join("link.mmb");
    std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
    let written = write(&dangling, header(), WriteOptions::default(), FEW);
    assert_ne!(written.path, dangling);
    assert!(!folder.path().join("nowhere").exists());
}

#[test]
fn a_file_in_a_folder_is_named_by_root_and_revision() {
    let folder = tempfile::tempdir().unwrap();
    let native = write(folder.path(), header(), WriteOptions::default(), FEW);
    let official = write(folder.path(), header(), official(), FEW);
    assert_eq!(native.path, folder.path().join("by-dev-meta-r42.mmb"));
    assert_eq!(official.path, folder.path().join("by-dev-meta-r42.bak"));
    assert_eq!(native.digest, official.digest);
}

#[test]
fn a_missing_folder_is_reported_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("a.mmb");
    let error = Writer::create(&path, header(), WriteOptions::default())
        .err()
        .unwrap();
    let chain = chain(&error);
    assert!(chain.contains("missing"), "{chain}");
    assert!(matches!(
        error,
        BackupError::File {
            action: "create",
            ..
        }
    ));
}

#[test]
fn invalid_compression_levels_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    for level in [0, 20, -1] {
        let options = WriteOptions {
            level,
            ..WriteOptions::default()
        };
        let error = Writer::create(folder.path().join("a"), header(), options)
            .err()
            .unwrap();
        assert!(matches!(error, BackupError::Level(chain) if chain == level));
    }
    assert!(names(folder.path()).is_empty());
}

#[test]
fn unsorted_keys_and_other_roots_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    for options in [WriteOptions::default(), official()] {
        let mut writer = Writer::create(folder.path().join("a"), header(), options).unwrap();
        writer.push(b"by-dev/meta/b", b"").unwrap();
        for key in [&b"by-dev/meta/b"[..], b"by-dev/meta/a"] {
            assert!(matches!(
                writer.push(key, b""),
                Err(BackupError::Entry {
                    source: FormatError::KeyOrder { .. },
                    ..
                })
            ));
        }
        assert!(matches!(
            writer.push(b"by-dev/meta2/c", b""),
            Err(BackupError::Entry {
                source: FormatError::OutsideRoot { .. },
                ..
            })
        ));
    }
}

/// Deterministic bytes that do not compress.
fn random_bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}

#[test]
fn d12_a_backup_is_written_as_a_stream() {
    const COUNT: u64 = 64;
    const VALUE: usize = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mmb");
    let mut writer = Writer::create(&path, header(), WriteOptions::default()).unwrap();
    let value = random_bytes(VALUE);
    for number in 0..COUNT {
        let key = format!("by-dev/meta/indexes/{number:03}");
        writer.push(key.as_bytes(), &value).unwrap();
    }
    // At most two blocks for each of two threads are in flight.
    let name = names(folder.path()).remove(0);
    let written = fs::metadata(folder.path().join(name)).unwrap().len();
    assert!(written >= (COUNT - 5) * VALUE as u64, "{written}");
    assert_eq!(writer.finish().unwrap().entries, COUNT);
}

#[test]
fn bytes_depend_on_content_and_level_but_not_on_threads() {
    let folder = tempfile::tempdir().unwrap();
    let value = random_bytes(300_000);
    let file = |threads: usize, name: &str| {
        let options = WriteOptions {
            threads,
            ..WriteOptions::default()
        };
        let path = folder.path().join(name);
        let mut writer = Writer::create(&path, header(), options).unwrap();
        for number in 0..20 {
            let key = format!("by-dev/meta/indexes/{number:03}");
            writer.push(key.as_bytes(), &value).unwrap();
        }
        writer.finish().unwrap();
        fs::read(path).unwrap()
    };
    assert!(file(0, "a") == file(3, "b"));
}

fn round_trip(entries: &[(Bytes, Bytes)], folder: &Path) -> Vec<String> {
    [
        ("a", WriteOptions::default()),
        (
            "b",
            WriteOptions {
                level: 1,
                threads: 1,
                ..WriteOptions::default()
            },
        ),
        ("c", official()),
    ]
    .map(|(name, options)| {
        let path = folder.join(name);
        let mut writer = Writer::create(&path, header(), options).unwrap();
        for (key, value) in entries {
            writer.push(key, value).unwrap();
        }
        writer.finish().unwrap();
        let backup = Backup::open(&path).unwrap();
        let read: Vec<_> = backup
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.key, entry.value))
            .collect();
        assert_eq!(read, entries);
        backup.summary().digest.clone()
    })
    .to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn equal_content_has_equal_digests_in_all_formats(
        entries in prop::collection::btree_map("[ -~é]{1,20}", prop::collection::vec(any::<u8>(), 0..50), 0..30),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let entries: Vec<_> = entries
            .into_iter()
            .map(|(key, value)| (format!("by-dev/meta/{key}").into(), value.into()))
            .collect();
        let digests = round_trip(&entries, folder.path());
        prop_assert!(digests.iter().all(|digest| *digest == digests[0]));
    }
}
