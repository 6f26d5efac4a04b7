//! The difference between two backups.

use meta_backup::repository::{DiffCounts, Difference, diff};
use meta_backup::{Backup, OutputFormat, WriteOptions};

use super::{FEW, header, write};

#[test]
fn differences_are_in_key_order_with_counts() {
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
    let counts = diff(&before, &after, |difference| {
        let (mark, entry) = match difference {
            Difference::Equal(_) => return,
            Difference::Added(entry) => ("+", entry),
            Difference::Removed(entry) => ("-", entry),
            Difference::Changed { before, after } => {
                assert_eq!(before.value, "one");
                ("!", after)
            }
        };
        chain.push(format!(
            "{mark}{}",
            String::from_utf8(entry.key.into()).unwrap()
        ));
    })
    .unwrap();
    let expected = DiffCounts {
        added: 2,
        removed: 1,
        changed: 1,
        equal: 1,
    };
    assert_eq!(counts, expected);
    assert_eq!(
        chain,
        [
            "+by-dev/meta/a",
            "!by-dev/meta/indexes/1",
            "-by-dev/meta/indexes/2",
            "+by-dev/meta/z"
        ]
    );
}

#[test]
fn a_backup_does_not_differ_from_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    write(&path, header(), WriteOptions::default(), FEW);
    let backup = Backup::open(path).unwrap();
    let counts = diff(&backup, &backup, |difference| {
        assert!(matches!(difference, Difference::Equal(_)), "{difference:?}");
    })
    .unwrap();
    assert_eq!(counts.equal, 3);
}
