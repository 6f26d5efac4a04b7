//! A folder of backups.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use meta_backup::repository::Repository;
use meta_backup::{BackupError, Header, OutputFormat, WriteOptions};

use super::{FEW, header, names, write};

fn at(day: u32, root: &str) -> Header {
    Header {
        created_at: format!("2026-11-{day:02}T12:00:00Z"),
        meta_root: root.to_owned(),
        revision: i64::from(day),
        ..header()
    }
}

fn add(folder: &Path, name: &str, header: Header) {
    write(folder.join(name), header, WriteOptions::default(), FEW);
}

fn file_names<'s>(summaries: impl IntoIterator<Item = &'s meta_backup::Summary>) -> Vec<String> {
    summaries
        .into_iter()
        .map(|summary| {
            summary
                .path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect()
}

fn keep(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

#[test]
fn a_listing_shows_every_file_and_its_validity() {
    let folder = tempfile::tempdir().unwrap();
    add(folder.path(), "b.mmb", at(2, "r/m"));
    let valid = fs::read(folder.path().join("b.mmb")).unwrap();
    fs::write(folder.path().join("a.mmb"), &valid[..valid.len() - 1]).unwrap();
    fs::write(folder.path().join(".b.mmb.partial-1"), "x").unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    let listings = Repository::open(folder.path()).unwrap().list().unwrap();
    let found: Vec<_> = listings
        .iter()
        .map(|listing| {
            let name = listing.path.file_name().unwrap().to_str().unwrap();
            (name, listing.is_valid(), listing.bytes)
        })
        .collect();
    let size = valid.len() as u64;
    assert_eq!(found, [("a.mmb", false, size - 1), ("b.mmb", true, size)]);
    assert_eq!(listings[1].check.as_ref().unwrap().meta_root, "r/m");
}

#[test]
fn a_missing_folder_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        Repository::open(folder.path().join("missing")),
        Err(BackupError::File { action: "list", .. })
    ));
}

#[test]
fn prune_keeps_the_newest_backups_of_each_root() {
    let folder = tempfile::tempdir().unwrap();
    for (name, day, root) in [
        ("z-oldest", 1, "r/m"),
        ("y", 2, "r/m"),
        ("x-newest", 3, "r/m"),
        ("other-old", 1, "s/m"),
        ("other-new", 9, "s/m"),
        ("only", 1, "t/m"),
    ] {
        add(folder.path(), name, at(day, root));
    }
    let repository = Repository::open(folder.path()).unwrap();
    let plan = repository.plan_prune(keep(2)).unwrap();
    assert_eq!(file_names(&plan.remove), ["z-oldest"]);
    assert_eq!(names(folder.path()).len(), 6);
    let plan = repository.plan_prune(keep(1)).unwrap();
    assert_eq!(file_names(&plan.remove), ["other-old", "z-oldest", "y"]);
    assert_eq!(file_names(&plan.keep), ["x-newest", "other-new", "only"]);
    let removed = plan.carry_out().unwrap();
    assert_eq!(removed.len(), 3);
    assert_eq!(names(folder.path()), ["only", "other-new", "x-newest"]);
}

#[test]
fn prune_ignores_damaged_and_imported_files() {
    let folder = tempfile::tempdir().unwrap();
    add(folder.path(), "sound", at(1, "r/m"));
    add(folder.path(), "damaged", at(5, "r/m"));
    let damaged = folder.path().join("damaged");
    let bytes = fs::read(&damaged).unwrap();
    fs::write(&damaged, &bytes[..bytes.len() - 1]).unwrap();
    let official = WriteOptions {
        format: OutputFormat::Official,
        ..WriteOptions::default()
    };
    write(folder.path().join("imported"), at(4, "r/m"), official, FEW);
    add(
        folder.path(),
        "timeless",
        Header {
            created_at: String::from("yesterday"),
            ..at(6, "r/m")
        },
    );
    let plan = Repository::open(folder.path())
        .unwrap()
        .plan_prune(keep(1))
        .unwrap();
    assert!(plan.remove.is_empty());
    assert_eq!(file_names(&plan.keep), ["sound"]);
    let untouched: Vec<_> = plan
        .untouched
        .iter()
        .map(|file| {
            (
                file.path.file_name().unwrap().to_str().unwrap(),
                &file.reason,
            )
        })
        .collect();
    for (file, reason) in [
        ("damaged", "cut short"),
        ("imported", "import format official"),
        ("timeless", "creation time"),
    ] {
        assert!(
            untouched
                .iter()
                .any(|(name, chain)| *name == file && chain.contains(reason)),
            "{untouched:?}"
        );
    }
}

#[test]
fn prune_stops_when_a_file_changed_after_the_plan() {
    let folder = tempfile::tempdir().unwrap();
    add(folder.path(), "old", at(1, "r/m"));
    add(folder.path(), "new", at(2, "r/m"));
    let repository = Repository::open(folder.path()).unwrap();
    let plan = repository.plan_prune(keep(1)).unwrap();
    assert_eq!(file_names(&plan.remove), ["old"]);
    // The backup to keep was damaged in the meantime: only the old one is left.
    fs::write(folder.path().join("new"), "damaged").unwrap();
    assert!(plan.carry_out().is_err());
    assert!(folder.path().join("old").exists());
    fs::remove_file(folder.path().join("new")).unwrap();
    assert!(plan.carry_out().is_err());
    assert!(folder.path().join("old").exists());
}

/// Sets the modification time of a file.
fn age(path: &Path, hours: u64) {
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3600);
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(then)
        .unwrap();
}

#[test]
fn temp_files_unchanged_for_a_day_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    add(folder.path(), "a.mmb", at(1, "r/m"));
    let hidden = [
        (".a.mmb.partial-1", 25),
        (".a.mmb.entries-7-2", 48),
        (".a.mmb.partial-2", 23),
        (".notes", 999),
        (".a.mmb.partial-x", 999),
    ];
    for (name, hours) in hidden {
        fs::write(folder.path().join(name), "half").unwrap();
        age(&folder.path().join(name), hours);
    }
    let repository = Repository::open(folder.path()).unwrap();
    assert_eq!(repository.temp_files().unwrap().len(), 3);
    let plan = repository.plan_prune(keep(1)).unwrap();
    assert_eq!(plan.untouched.len(), 1);
    assert!(plan.untouched[0].path.ends_with(".a.mmb.partial-2"));
    assert!(plan.untouched[0].reason.contains("unfinished"));
    assert_eq!(plan.carry_out().unwrap().len(), 2);
    assert_eq!(
        names(folder.path()),
        [".a.mmb.partial-2", ".a.mmb.partial-x", ".notes", "a.mmb"]
    );
}

#[test]
fn a_temp_file_written_after_the_plan_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".a.mmb.partial-1");
    fs::write(&path, "half").unwrap();
    age(&path, 30);
    let plan = Repository::open(folder.path())
        .unwrap()
        .plan_prune(keep(1))
        .unwrap();
    assert_eq!(plan.abandoned.len(), 1);
    fs::write(&path, "more").unwrap();
    assert!(matches!(plan.carry_out(), Err(BackupError::Changed { .. })));
    assert!(path.exists());
}

#[test]
fn backups_are_pruned_per_cluster_and_layout() {
    let folder = tempfile::tempdir().unwrap();
    let (two_one, two_two) = ([("indexes/1", "x")], [("field-index/1/2", "x")]);
    let elsewhere = Header {
        cluster_id: "2".into(),
        ..at(3, "r/m")
    };
    for (name, header, content) in [
        ("older", at(1, "r/m"), two_one),
        ("way-back", at(2, "r/m"), two_one),
        ("after", at(4, "r/m"), two_two),
        ("elsewhere", elsewhere, two_one),
    ] {
        write(
            folder.path().join(name),
            header,
            WriteOptions::default(),
            &content,
        );
    }
    let repository = Repository::open(folder.path()).unwrap();
    let plan = repository.plan_prune(keep(1)).unwrap();
    assert_eq!(file_names(&plan.remove), ["older"]);
}
