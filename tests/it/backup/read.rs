//! Reading: frozen files, damaged files, files that change while they are read.

use std::fs;

use meta_backup::{Backup, BackupError, Coverage, Format, FormatError, check_bytes};

use super::{FEW, chain, content, header, write};
use meta_backup::{Tolerance, WriteOptions};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/backups");

#[test]
fn the_frozen_version_1_file_is_read_as_written() {
    let backup = Backup::open(format!("{FOLDER}/native-v1.mmb")).unwrap();
    let summary = backup.summary();
    assert_eq!(summary.format, Format::Native);
    assert_eq!(summary.meta_root, "/by-dev/meta");
    assert_eq!((summary.revision, summary.entries), (42, 4));
    assert_eq!(summary.skipped_leased, 3);
    assert_eq!(summary.header.created_at, "2026-11-22T18:30:00Z");
    assert_eq!(summary.header.cluster_id, "cdf818194e3a8c32");
    assert_eq!(summary.header.source_version.as_deref(), Some("2.1.4"));
    assert_eq!(summary.bytes, 543);
    // Printed by the script next to the file, which uses its own SHA-256.
    assert_eq!(summary.digest, DIGEST);
    let keys: Vec<_> = content_keys(&backup);
    assert_eq!(
        keys,
        [
            "/by-dev/meta/indexes/7",
            "/by-dev/meta/root-coord/collection/5",
            "/by-dev/meta/session/id",
            "/by-dev/meta/snapshots/root-coord/collection/5_ts400",
        ]
    );
    assert_eq!(backup.coverage(), &Coverage::All);
}

const DIGEST: &str = "7fd730e89a2647a12fc64807dc2e13b9d26573c24e096a6163dbda495206ccd5";

fn content_keys(backup: &Backup) -> Vec<String> {
    backup
        .entries()
        .unwrap()
        .map(|entry| String::from_utf8(entry.unwrap().key.into()).unwrap())
        .collect()
}

#[test]
fn a_truncated_or_altered_frozen_file_is_rejected() {
    let complete = fs::read(format!("{FOLDER}/native-v1.mmb")).unwrap();
    for end in 0..complete.len() {
        assert!(check_bytes(&complete[..end], None).is_err(), "{end}");
    }
    for bit in 0..complete.len() * 8 {
        let mut altered = complete.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(check_bytes(&altered, None).is_err(), "bit {bit}");
    }
}

#[test]
fn a_real_etcd_snapshot_opens_like_any_backup() {
    let backup = Backup::open(format!("{FOLDER}/etcd-3.5.1.snapshot.db")).unwrap();
    assert_eq!(backup.format(), Format::EtcdSnapshot);
    assert_eq!(backup.header().revision, 177);
    let text = content_keys(&backup);
    assert!(text.is_sorted());
    assert!(text.contains(&String::from("by-dev/meta/fixture/returned")));
    assert!(!text.contains(&String::from("by-dev/meta/fixture/deleted")));
    assert_eq!(backup.summary().skipped_leased, 2);
}

#[test]
fn every_rejection_names_the_file_and_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.mmb");
    let valid = {
        let good = folder.path().join("good.mmb");
        write(&good, header(), WriteOptions::default(), FEW);
        fs::read(good).unwrap()
    };
    for (bytes, reason) in [
        (valid[..valid.len() / 2].to_vec(), "cut short"),
        (valid[..5].to_vec(), "cut short"),
        ([&valid[..], b"x"].concat(), "data follows the end"),
        (Vec::new(), "empty"),
        (
            b"rootPath: by-dev\n".to_vec(),
            "not a backup of any known format",
        ),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = Backup::open(&path).unwrap_err();
        let chain = chain(&error);
        assert!(
            chain.contains("bad.mmb") && chain.contains(reason),
            "{chain}"
        );
    }
}

#[test]
fn a_missing_file_and_a_folder_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("missing"), folder.path().to_owned()] {
        let error = Backup::open(&path).unwrap_err();
        assert!(matches!(error, BackupError::File { .. }));
        assert!(chain(&error).contains(path.to_str().unwrap()));
    }
}

#[test]
fn a_file_changed_after_the_check_is_detected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mmb");
    write(&path, header(), WriteOptions::default(), FEW);
    let backup = Backup::open(&path).unwrap();
    let other = folder.path().join("b.mmb");
    write(&other, header(), WriteOptions::default(), &FEW[..1]);
    fs::rename(&other, &path).unwrap();
    let results: Vec<_> = backup.entries().unwrap().collect();
    assert!(matches!(
        results.last(),
        Some(Err(BackupError::Changed { .. }))
    ));
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes.pop();
    fs::write(&path, bytes).unwrap();
    let last = backup.entries().unwrap().last();
    assert!(matches!(
        last,
        Some(Err(BackupError::Invalid {
            source: FormatError::Truncated { .. },
            ..
        }))
    ));
}

#[test]
fn a_file_changed_between_two_reads_is_detected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mmb");
    write(&path, header(), WriteOptions::default(), FEW);
    let other = folder.path().join("b.mmb");
    // The same size and number of entries, and a tail with the digest of its own content.
    let changed = [FEW[0], FEW[1], ("session/id", "13")];
    write(&other, header(), WriteOptions::default(), &changed);
    for replaced_before in 0..2 {
        let backup = Backup::announced(&path, None, Tolerance::default()).unwrap();
        for _ in 0..replaced_before {
            assert!(backup.entries().unwrap().all(|entry| entry.is_ok()));
        }
        let own = fs::read(&path).unwrap();
        fs::copy(&other, &path).unwrap();
        let last = backup.entries().unwrap().last();
        assert!(matches!(last, Some(Err(BackupError::Changed { .. }))));
        fs::write(&path, own).unwrap();
    }
}

/// The offset of each block of a native file, from the lengths in the block headers.
fn blocks(file: &[u8]) -> Vec<usize> {
    let mut at = 16;
    let mut found = Vec::new();
    while at + 24 < file.len() {
        found.push(at);
        let stored = u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap());
        at += 24 + stored as usize;
    }
    found
}

/// A second read does not hash the content: only the block checksums detect a data block of another
/// file with as many entries and bytes under the tail of the first.
#[test]
fn a_second_read_detects_a_replaced_block() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mmb");
    write(&path, header(), WriteOptions::default(), FEW);
    let other = folder.path().join("b.mmb");
    let changed = [FEW[0], FEW[1], ("session/id", "13")];
    write(&other, header(), WriteOptions::default(), &changed);
    let own = fs::read(&path).unwrap();
    let other = fs::read(&other).unwrap();
    let (&[_, data, tail], &[_, other_data, other_tail]) = (&blocks(&own)[..], &blocks(&other)[..])
    else {
        panic!("a file has three blocks");
    };
    let backup = Backup::open(&path).unwrap();
    assert!(backup.entries().unwrap().all(|entry| entry.is_ok()));
    let forged = [&own[..data], &other[other_data..other_tail], &own[tail..]].concat();
    fs::write(&path, forged).unwrap();
    let last = backup.entries().unwrap().last();
    assert!(
        matches!(last, Some(Err(BackupError::Changed { .. }))),
        "{last:?}"
    );
}

#[test]
fn declared_totals_are_checked_while_reading() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mmb");
    write(&path, header(), WriteOptions::default(), FEW);
    let announced = Backup::announced(&path, None, Tolerance::default()).unwrap();
    assert_eq!(announced.summary(), Backup::open(&path).unwrap().summary());
    assert_eq!(content(&announced), content(&Backup::open(&path).unwrap()));
    let complete = fs::read(&path).unwrap();
    for bit in 0..complete.len() * 8 {
        let mut altered = complete.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &altered).unwrap();
        let is_right = Backup::announced(&path, None, Tolerance::default())
            .and_then(|backup| backup.entries()?.collect::<Result<Vec<_>, _>>());
        assert!(is_right.is_err(), "bit {bit}");
    }
}

#[test]
fn entries_can_be_sent_and_outlive_the_backup() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mmb");
    write(&path, header(), WriteOptions::default(), FEW);
    let backup = Backup::open(&path).unwrap();
    let expected = content(&backup).len();
    let entries = backup.entries().unwrap();
    drop(backup);
    let count = std::thread::spawn(move || entries.count()).join().unwrap();
    assert_eq!(count, expected);
}
