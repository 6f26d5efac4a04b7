//! Both versions of birdwatcher.

use super::*;

const EXTRA: &str = r#"{"cnt":"3","rev":"177","instance":"by-dev","metaPath":"meta"}"#;

fn etcd_part(extra: &str) -> Vec<u8> {
    part(
        1,
        extra,
        &[
            pair("by-dev/meta/session/rootcoord", b"{}"),
            pair("by-dev/meta/session/id", b"12"),
            pair("by-dev/meta/indexes/1", b""),
        ],
    )
}

/// Everything it can hold, with empty frames wherever a group may have one.
fn full() -> Vec<u8> {
    let text = || frame(b"text");
    let none = || frame(b"");
    [
        header(2, "", "", 0, b""),
        part(2, "", &[text(), none(), text(), text(), text(), none()]),
        part(4, "", &[text(), none(), text(), text()]),
        etcd_part(EXTRA),
        part(5, "", &[text(), none()]),
        part(3, "", &[text()]),
        part(6, "", &[]),
    ]
    .concat()
}

#[test]
fn version_1_has_whole_keys_and_sessions_are_left_out() {
    for version in [0, 1] {
        let bytes = gzip(
            &[
                header(version, "by-dev", "meta", 2, b""),
                pair("by-dev/meta/session/id", b"12"),
                pair("by-dev/meta/session/querynode-6", b"{}"),
            ]
            .concat(),
        );
        let foreign = load(&bytes, None).unwrap();
        assert_eq!(foreign.format, Format::Birdwatcher1);
        assert_eq!(keys(&foreign), ["by-dev/meta/session/id"]);
        assert_eq!(foreign.skipped_leased, 1);
    }
}

#[test]
fn version_2_is_read_past_groups_with_empty_frames() {
    let foreign = load(&gzip(&full()), None).unwrap();
    assert_eq!(foreign.format, Format::Birdwatcher2);
    assert_eq!(
        keys(&foreign),
        ["by-dev/meta/indexes/1", "by-dev/meta/session/id"]
    );
    assert_eq!(foreign.revision, 177);
    assert_eq!(foreign.skipped_leased, 1);
    assert_eq!(foreign.meta_root, "by-dev/meta");
}

#[test]
fn a_cut_anywhere_is_told_as_a_cut() {
    let whole = gzip(&full());
    for end in 10..whole.len() {
        let error = load(&whole[..end], None).unwrap_err();
        assert!(
            matches!(error, FormatError::Truncated { .. }),
            "{end}: {error}"
        );
    }
}

#[test]
fn a_stream_cut_before_it_was_packed_is_told_as_a_cut_inside_a_part() {
    let head = header(2, "", "", 0, b"");
    let whole = [head.clone(), etcd_part(EXTRA)].concat();
    for end in head.len() + 1..whole.len() {
        let error = load(&gzip(&whole[..end]), None).unwrap_err();
        assert!(
            matches!(error, FormatError::Truncated { .. }),
            "{end}: {error}"
        );
    }
    assert!(matches!(
        load(&gzip(&head), None),
        Err(FormatError::Malformed { .. })
    ));
}

#[test]
fn an_altered_bit_in_the_compressed_stream_never_alters_an_entry() {
    let whole = gzip(&full());
    let entries = load(&whole, None).unwrap().entries;
    // Flags, time and system in the first ten bytes mean nothing for the content.
    for bit in 10 * 8..whole.len() * 8 {
        let mut altered = whole.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        // A few bits only choose another way to pack the same bytes.
        if let Ok(found) = load(&altered, None) {
            assert_eq!(found.entries, entries, "bit {bit}");
        }
    }
}

#[test]
fn bytes_after_the_stream_are_refused() {
    let whole = gzip(&full());
    let error = load(&[whole.as_slice(), b"x"].concat(), None).unwrap_err();
    assert!(matches!(
        error,
        FormatError::TrailingBytes { offset } if offset == whole.len() as u64
    ));
}

#[test]
fn a_count_that_is_not_met_is_refused() {
    let extra = EXTRA.replace('3', "4");
    let bytes = gzip(&[header(2, "", "", 0, b""), etcd_part(&extra)].concat());
    assert!(matches!(
        load(&bytes, None),
        Err(FormatError::EntryCount {
            announced: 4,
            found: 3
        })
    ));
}

#[test]
fn without_a_told_root_the_keys_or_the_user_tell_it() {
    let bytes = gzip(&[header(2, "", "", 0, b""), etcd_part("")].concat());
    assert_eq!(load(&bytes, None).unwrap().meta_root, "by-dev/meta");
    assert!(matches!(
        load(&bytes, Some("other")),
        Err(FormatError::NothingBelowRoot { .. })
    ));
}

#[test]
fn newer_versions_and_unknown_parts_are_named() {
    let newer = gzip(&header(3, "", "", 0, b""));
    assert!(matches!(
        load(&newer, None),
        Err(FormatError::NewerFormat {
            found: 3,
            supported: 2
        })
    ));
    let part = gzip(&[header(2, "", "", 0, b""), part(9, "", &[])].concat());
    let error = load(&part, None).unwrap_err();
    assert!(error.to_string().contains("part type 9"), "{error}");
}

#[test]
fn keys_of_the_query_coordinator_alone_are_a_part() {
    let of = |keys: &[&str]| {
        let pairs = keys.iter().map(|key| pair(key, b"x"));
        let header = header(1, "by-dev", "meta", u8::try_from(keys.len()).unwrap(), b"");
        let bytes = std::iter::once(header).chain(pairs).collect::<Vec<_>>();
        load(&gzip(&bytes.concat()), None).unwrap().coverage
    };
    let part = [
        "by-dev/meta/queryCoord-collectionMeta/1",
        "by-dev/meta/queryCoord-ReplicaMeta/2",
    ];
    assert!(matches!(of(&part), Coverage::Families(_)));
    assert_eq!(of(&[part[0], "by-dev/meta/indexes/1"]), Coverage::Whole);
    assert_eq!(of(&[]), Coverage::Whole);
}
