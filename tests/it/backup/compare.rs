//! The difference between two backups.

use meta_backup::repository::diff;
use meta_backup::{Backup, OutputFormat, WriteOptions};
use meta_report::Change;

use super::{FEW, header, write};

#[test]
fn differences_are_in_key_order() {
    let folder = tempfile::tempdir().unwrap();
    let before = folder.path().join("before");
    let after = folder.path().join("after");
    write(&before, header(), WriteOptions::default(), FEW);
    let official = WriteOptions {
        format: OutputFormat::Official,
        ..WriteOptions::default()
    };
    let changed = [
        ("a", "new"),
        ("indexes/1", "two"),
        ("session/id", "12"),
        ("z", ""),
    ];
    write(&after, header(), official, &changed);
    let before = Backup::open(before).unwrap();
    let after = Backup::open(after).unwrap();
    let mut chain = Vec::new();
    diff(&before, &after, |change, entry| {
        let mark = match change {
            None => "=",
            Some(Change::Added) => "+",
            Some(Change::Removed) => "-",
            Some(Change::Changed) => "!",
        };
        let (key, value) = (entry.key.into(), entry.value.into());
        let [key, value] = [key, value].map(|text| String::from_utf8(text).unwrap());
        chain.push(format!("{mark}{key} {value}"));
    })
    .unwrap();
    assert_eq!(
        chain,
        [
            "+by-dev/meta/a new",
            "!by-dev/meta/indexes/1 two",
            "-by-dev/meta/indexes/2 ",
            "=by-dev/meta/session/id 12",
            "+by-dev/meta/z "
        ]
    );
}

#[test]
fn a_backup_does_not_differ_from_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    write(&path, header(), WriteOptions::default(), FEW);
    let backup = Backup::open(path).unwrap();
    let mut equal = 0;
    diff(&backup, &backup, |change, entry| {
        assert_eq!(change, None, "{entry:?}");
        equal += 1;
    })
    .unwrap();
    assert_eq!(equal, 3);
}
