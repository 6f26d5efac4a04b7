//! The corpus of the fuzz targets as ordinary tests: inputs that failed once or covered much code.

use std::fs;
use std::path::Path;

use meta_fuzz as harness;

/// Runs every input of a target; returns the number of inputs.
fn run(target: &str, check: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|item| item.unwrap().path())
        .collect();
    paths.sort();
    for path in &paths {
        let input = fs::read(path).unwrap();
        let outcome = std::panic::catch_unwind(|| check(&input));
        assert!(outcome.is_ok(), "{} fails", path.display());
    }
    paths.len()
}

#[test]
fn backup_files_of_the_corpus() {
    assert!(run("backups", harness::backups::run) >= 5);
}

#[test]
fn imports_of_the_corpus() {
    assert!(run("imports", harness::imports::run) >= 5);
}

#[test]
fn keys_of_the_corpus() {
    assert!(run("keys", harness::keys::run) >= 5);
}

#[test]
fn records_of_the_corpus() {
    assert!(run("records", harness::records::run) >= 5);
}

#[test]
fn texts_of_the_corpus() {
    assert!(run("texts", harness::texts::run) >= 5);
}

/// The check would pass a corpus that every reader rejects at its first byte.
#[test]
fn the_seeds_are_backups_of_every_format() {
    use meta_backup::{Format, check_bytes};
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/backups");
    for (name, format) in [
        ("native", Format::Native),
        ("native-blocks", Format::Native),
        ("snapshot", Format::EtcdSnapshot),
        ("official", Format::Official),
        ("relative", Format::OfficialRelative),
        ("birdwatcher-1", Format::Birdwatcher1),
        ("birdwatcher-2", Format::Birdwatcher2),
        ("etcdctl-protobuf", Format::Etcdctl),
        ("etcdctl-json", Format::Etcdctl),
        ("inspect", Format::Inspect),
    ] {
        let input = fs::read(folder.join(format!("seed-{name}"))).unwrap();
        let summary = check_bytes(&harness::backups::file(&input), None).unwrap();
        assert_eq!(summary.format, format, "{name}");
        assert!(summary.entries > 0, "{name}");
    }
}
