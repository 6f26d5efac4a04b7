//! A snapshot that a real etcdctl saved.

use base64::Engine as _;

use super::*;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/backups");

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

/// What etcd itself answered: entries without a lease, and how many have one.
fn answered() -> (Vec<Entry>, u64) {
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
fn a_real_snapshot_holds_what_etcd_answered() {
    let (entries, leased) = answered();
    for hint in [None, Some("by-dev/meta")] {
        let foreign = load(&real(), hint).unwrap();
        assert_eq!(foreign.format, Format::EtcdSnapshot);
        assert_eq!(foreign.meta_root, "by-dev/meta");
        assert_eq!(foreign.revision, 177);
        assert_eq!(foreign.entries, entries);
        assert_eq!((foreign.skipped_leased, leased), (2, 2));
        assert!(foreign.skipped_outside >= 2);
    }
}

#[test]
fn another_root_can_be_named_and_an_absent_one_is_told() {
    let neighbour = load(&real(), Some("by-dev/meta2")).unwrap();
    assert_eq!(
        neighbour.entries,
        [Entry::new("by-dev/meta2/neighbour", "not ours")]
    );
    assert!(matches!(
        load(&real(), Some("nobody")),
        Err(FormatError::NothingBelowRoot { .. })
    ));
}

#[test]
fn altered_and_cut_snapshots_are_refused() {
    let whole = real();
    for at in (0..whole.len())
        .step_by(9973)
        .filter(|at| !(16..20).contains(at))
    {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        assert!(
            matches!(load(&altered, None), Err(FormatError::Altered { .. })),
            "{at}"
        );
    }
    for end in [whole.len() - 1, whole.len() - 32, 4096, 40] {
        assert!(
            matches!(
                load(&whole[..end], None),
                Err(FormatError::Truncated { .. })
            ),
            "{end}"
        );
    }
}
