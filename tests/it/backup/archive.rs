//! Archived backups: any packing and nesting has the same content.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use meta_backup::{Backup, BackupError, FormatError, OutputFormat, Tolerance, WriteOptions};
use milvus_meta::entry::Entry;
use zip::write::SimpleFileOptions;

use super::{FEW, chain, header, write};

const SNAPSHOT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/testdata/backups/etcd-3.5.1.snapshot.db"
);

type Archive = fn(&[(&str, &[u8])]) -> Vec<u8>;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer
        .add_directory("folder/", SimpleFileOptions::default())
        .unwrap();
    for (name, bytes) in files {
        writer
            .start_file(*name, SimpleFileOptions::default())
            .unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn all(backup: &Backup) -> Vec<Entry> {
    backup.entries().unwrap().map(Result::unwrap).collect()
}

/// One backup packed in every supported way.
fn packings(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let one: &[(&str, &[u8])] = &[("backups/b", bytes)];
    vec![
        ("gzip", gzip(bytes)),
        ("zstd", zstd(bytes)),
        ("tar", tar(one)),
        ("tar.gz", gzip(&tar(one))),
        ("tar.zst", zstd(&tar(one))),
        ("zip", zip(one)),
        ("gzip in zip", zip(&[("b.gz", gzip(bytes).as_slice())])),
    ]
}

#[test]
fn a_packed_backup_has_the_same_content() {
    let folder = tempfile::tempdir().unwrap();
    let native = folder.path().join("native");
    write(&native, header(), WriteOptions::default(), FEW);
    let official = folder.path().join("official");
    let options = WriteOptions {
        format: OutputFormat::Official,
        ..WriteOptions::default()
    };
    write(&official, header(), options, FEW);
    for plain in [native.as_path(), &official, Path::new(SNAPSHOT)] {
        let expected = Backup::open(plain).unwrap();
        let entries = all(&expected);
        for (packing, bytes) in packings(&fs::read(plain).unwrap()) {
            let path = folder.path().join("packed");
            fs::write(&path, &bytes).unwrap();
            let backup =
                Backup::open(&path).unwrap_or_else(|error| panic!("{packing}: {}", chain(&error)));
            assert_eq!(backup.format(), expected.format(), "{packing}");
            assert_eq!(backup.summary().digest, expected.summary().digest);
            assert_eq!(backup.summary().bytes, bytes.len() as u64);
            assert_eq!(backup.summary().path, path);
            assert!(backup.summary().notes.is_empty());
            for _ in 0..2 {
                assert_eq!(all(&backup), entries, "{packing}");
            }
        }
    }
}

#[test]
fn a_truncated_archive_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let native = folder.path().join("native");
    write(&native, header(), WriteOptions::default(), FEW);
    let path = folder.path().join("packed");
    for (packing, bytes) in packings(&fs::read(&native).unwrap()) {
        for end in (1..bytes.len()).step_by(37) {
            fs::write(&path, &bytes[..end]).unwrap();
            if let Ok(backup) = Backup::open(&path) {
                // The padding of a tar archive contains no data.
                assert!(packing.starts_with("tar"), "{packing}, {end}");
                assert_eq!(backup.summary().entries, FEW.len() as u64);
            }
        }
    }
}

#[test]
fn an_archive_must_contain_exactly_one_backup() {
    let folder = tempfile::tempdir().unwrap();
    let native = folder.path().join("native");
    write(&native, header(), WriteOptions::default(), FEW);
    let backup = fs::read(&native).unwrap();
    let database = fs::read(SNAPSHOT).unwrap();
    let database = &database[..database.len() - 32];
    let path = folder.path().join("packed");
    let open = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let tolerance = Tolerance {
            skip_hash_check: true,
            ..Tolerance::default()
        };
        Backup::open_with(&path, None, tolerance)
    };
    for archive in [tar as Archive, zip] {
        let found = open(&archive(&[
            ("README", b"notes".as_slice()),
            ("b.mmb", backup.as_slice()),
        ]))
        .unwrap();
        assert_eq!(found.summary().entries, FEW.len() as u64);
        assert!(found.summary().notes[0].contains("1 other file was not"));
        // A data folder of etcd.
        let data = [
            ("default.etcd/member/wal/0.wal", b"log".as_slice()),
            ("default.etcd/member/snap/1.snap", b"snap".as_slice()),
            ("default.etcd/member/snap/db", database),
        ];
        let found = open(&archive(&data)).unwrap();
        assert_eq!(found.header().revision, 177);
        assert!(found.summary().notes.concat().contains("write-ahead log"));
        let several = [
            vec![("a.mmb", backup.as_slice()), ("b.mmb", backup.as_slice())],
            vec![("a.txt", b"a".as_slice()), ("b.txt", b"b".as_slice())],
            Vec::new(),
        ];
        for several in several {
            let error = open(&archive(&several)).unwrap_err();
            let is_named = matches!(
                error,
                BackupError::Invalid {
                    source: FormatError::NoSingleFile { .. } | FormatError::Unknown { .. },
                    ..
                }
            );
            assert!(is_named, "{}", chain(&error));
        }
    }
}

#[test]
fn nested_archives_and_bombs_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("packed");
    let mut bytes = b"\x28\xb5\x2f\xfd".to_vec();
    for _ in 0..6 {
        bytes = zstd(&bytes);
    }
    fs::write(&path, &bytes).unwrap();
    let error = Backup::open(&path).unwrap_err();
    assert!(
        matches!(
            error,
            BackupError::Invalid {
                source: FormatError::TooDeep { .. },
                ..
            }
        ),
        "{}",
        chain(&error)
    );
    // 128 MiB of zeros in some kilobytes.
    let zeros = vec![0; 128 << 20];
    fs::write(&path, zstd(&zeros)).unwrap();
    let error = Backup::open(&path).unwrap_err();
    assert!(
        matches!(
            error,
            BackupError::Invalid {
                source: FormatError::TooDense { .. },
                ..
            }
        ),
        "{}",
        chain(&error)
    );
}
