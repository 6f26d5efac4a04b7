//! A snapshot saved by a real etcdctl.

use base64::Engine as _;
use sha2::Digest as _;

use super::*;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/backups");

fn real() -> Vec<u8> {
    std::fs::read(format!("{FOLDER}/etcd-3.5.1.snapshot.db")).unwrap()
}

#[derive(serde::Deserialize)]
struct Line {
    k: String,
    v: String,
    #[serde(default)]
    lease: bool,
}

/// The reply of etcd: the entries without a lease, and the number of those with one.
fn etcd_reply() -> (Vec<Entry>, u64) {
    let text = std::fs::read_to_string(format!("{FOLDER}/etcd-3.5.1.snapshot.jsonl")).unwrap();
    let mut entries = Vec::new();
    let mut leased = 0;
    for line in text.lines() {
        let Line { k, v, lease } = serde_json::from_str(line).unwrap();
        if lease {
            leased += 1;
        } else {
            let value = base64::engine::general_purpose::STANDARD.decode(v).unwrap();
            entries.push(Entry::new(k, value));
        }
    }
    (entries, leased)
}

#[test]
fn a_real_snapshot_matches_the_reply_of_etcd() {
    let (expected, leased) = etcd_reply();
    for hint in [None, Some("by-dev/meta")] {
        let import = load(&real(), hint).unwrap();
        assert_eq!(import.format, Format::EtcdSnapshot);
        assert_eq!(import.entries.root.as_ref(), "by-dev/meta");
        assert_eq!(import.revision, 177);
        assert_eq!(entries(&import), expected);
        assert_eq!((import.skipped_leased, leased), (2, 2));
        assert!(import.skipped_outside >= 2);
    }
}

#[test]
fn a_named_root_is_used_and_must_have_keys() {
    let neighbour = load(&real(), Some("by-dev/meta2")).unwrap();
    assert_eq!(
        entries(&neighbour),
        [Entry::new("by-dev/meta2/neighbour", "not ours")]
    );
    assert!(matches!(
        load(&real(), Some("nobody")),
        Err(FormatError::NothingBelowRoot { .. })
    ));
}

const SKIP: Tolerance = Tolerance {
    skip_hash_check: true,
    allow_partial: false,
};

const HASH: usize = 32;

#[test]
fn altered_and_cut_snapshots_are_refused() {
    let complete = real();
    for at in (0..complete.len()).step_by(9973) {
        let mut altered = complete.clone();
        altered[at] ^= 1;
        assert!(
            matches!(load(&altered, None), Err(FormatError::Altered { .. })),
            "{at}"
        );
    }
    for end in [
        complete.len() - 1,
        complete.len() - 33,
        complete.len() - 4096 - 32,
        8192,
    ] {
        for tolerance in [Tolerance::default(), SKIP] {
            let error = load_with(&complete[..end], None, tolerance);
            let is_complete = tolerance == SKIP && end == complete.len() - 1;
            assert!(
                is_complete || matches!(error, Err(FormatError::Truncated { .. })),
                "{end}"
            );
        }
    }
}

/// Like `member/snap/db`: without a hash, and larger than its last page.
#[test]
fn a_database_without_hash_requires_skip_hash_check() {
    let complete = real();
    let expected = load(&complete, None).unwrap();
    let database = &complete[..complete.len() - HASH];
    for grown in [0, 1 << 20] {
        let file = [database, &vec![0; grown]].concat();
        let error = load(&file, None).unwrap_err();
        assert!(matches!(error, FormatError::NoHash), "{error:?}");
        let found = load_with(&file, None, SKIP).unwrap();
        assert_eq!(entries(&found), entries(&expected));
        assert_eq!(found.revision, expected.revision);
        assert!(
            found
                .notes
                .concat()
                .contains("hash of the etcd database was not checked")
        );
    }
}

/// Each meta page may be damaged; without the first, the start of the file has no magic.
#[test]
fn one_intact_meta_page_is_enough() {
    let complete = real();
    let expected = entries(&load(&complete, None).unwrap());
    for page in [0, 4096] {
        let mut file = complete[..complete.len() - HASH].to_vec();
        file[page..page + 80].fill(0);
        let hash: [u8; HASH] = sha2::Sha256::digest(&file).into();
        for (file, tolerance) in [
            ([&file[..], &hash].concat(), Tolerance::default()),
            (file.clone(), SKIP),
        ] {
            let found = load_with(&file, None, tolerance).unwrap();
            assert_eq!(entries(&found), expected, "{page}");
            assert!(found.notes.concat().contains("one of the two meta pages"));
        }
    }
    let mut file = complete;
    file[..80].fill(0);
    file[4096..4176].fill(0);
    load_with(&file, None, SKIP).unwrap_err();
}
