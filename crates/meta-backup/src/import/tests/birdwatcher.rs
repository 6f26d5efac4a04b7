//! Both versions of birdwatcher's format.

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

/// A file with all kinds of parts, with an empty frame wherever one is valid.
fn full() -> Vec<u8> {
    let text = || frame(b"text");
    let none = || frame(b"");
    [
        header(2, "", "", 0, b""),
        part(2, "", &[text(), none(), text(), text(), text(), none()]),
        part(4, "", &[text(), none(), text(), text()]),
        etcd_and_later(),
    ]
    .concat()
}

fn etcd_and_later() -> Vec<u8> {
    [
        etcd_part(EXTRA),
        part(5, "", &[frame(b"text"), frame(b"")]),
        part(3, "", &[frame(b"text")]),
        part(6, "", &[]),
    ]
    .concat()
}

#[test]
fn version_1_keys_are_absolute_and_sessions_are_omitted() {
    for version in [0, 1] {
        let bytes = gzip(
            &[
                header(version, "by-dev", "meta", 2, b""),
                pair("by-dev/meta/session/id", b"12"),
                pair("by-dev/meta/session/querynode-6", b"{}"),
            ]
            .concat(),
        );
        let import = load(&bytes, None).unwrap();
        assert_eq!(import.format, Format::Birdwatcher1);
        assert_eq!(keys(&import), ["by-dev/meta/session/id"]);
        assert_eq!(import.skipped_leased, 1);
    }
}

#[test]
fn version_2_is_read_past_groups_with_empty_frames() {
    let import = load(&gzip(&full()), None).unwrap();
    assert_eq!(import.format, Format::Birdwatcher2);
    assert_eq!(
        keys(&import),
        ["by-dev/meta/indexes/1", "by-dev/meta/session/id"]
    );
    assert_eq!(import.revision, 177);
    assert_eq!(import.skipped_leased, 1);
    assert_eq!(import.entries.root.as_ref(), "by-dev/meta");
}

const PARTIAL: Tolerance = Tolerance {
    skip_hash_check: false,
    allow_partial: true,
};

/// A file truncated at any byte is rejected. `allow_partial` accepts a complete or truncated part
/// of etcd, and the notes say which.
#[test]
fn truncated_files_are_refused_or_read_as_partial() {
    let complete = full();
    let begin = complete.len() - etcd_and_later().len();
    let etcd_end = begin + etcd_part(EXTRA).len();
    let expected = entries(&load(&gzip(&complete), None).unwrap());
    for end in 20..complete.len() {
        let bytes = gzip(&complete[..end]);
        let is_complete = load(&bytes, None);
        let part = load_with(&bytes, None, PARTIAL);
        if let Ok(import) = is_complete {
            // A truncation between two parts cannot be detected.
            assert!(end >= etcd_end && entries(&import) == expected, "{end}");
            continue;
        }
        match part {
            Ok(import) if end >= etcd_end => {
                assert_eq!(entries(&import), expected, "{end}");
                assert_eq!(import.coverage, Coverage::All);
                let note = import.notes.concat();
                assert!(
                    note.contains("complete (3 entries, as announced)"),
                    "{note}"
                );
            }
            Ok(import) => {
                assert!(end > begin);
                assert_eq!(import.coverage, Coverage::Entries);
                let note = import.notes.concat();
                let found = [1, 2].map(|found| format!("{found} of 3 entries "));
                let all = note.contains("the number of missing entries is unknown");
                assert!(
                    all || found.iter().any(|text| note.contains(text)),
                    "{note}"
                );
            }
            Err(error) => {
                assert!(end < etcd_end, "{end}: {error}");
                let is_cut = matches!(error, FormatError::Truncated { .. })
                    || error
                        .to_string()
                        .contains("contains no part with etcd's data")
                    || matches!(error, FormatError::NothingBelowRoot { .. });
                assert!(is_cut, "{end}: {error}");
            }
        }
    }
}

/// A truncated gzip stream has no checksum. `allow_partial` accepts the entries before the end,
/// with a note that they could not be verified.
#[test]
fn a_truncated_stream_requires_allow_partial() {
    let complete = gzip(&full());
    let expected = entries(&load(&complete, None).unwrap());
    for end in 10..complete.len() {
        let error = load(&complete[..end], None).unwrap_err();
        assert!(
            matches!(
                error,
                FormatError::Truncated { .. } | FormatError::Partial { .. }
            ),
            "{end}: {error}"
        );
        if let Ok(found) = load_with(&complete[..end], None, PARTIAL) {
            assert!(entries(&found).iter().all(|entry| expected.contains(entry)));
            let note = found.notes.concat();
            assert!(note.contains("ends before its checksum"), "{end}: {note}");
        }
    }
}

/// Damage after etcd's part: garbage, unknown parts, lengths without data.
#[test]
fn damage_after_a_complete_etcd_part_can_be_allowed() {
    let start = [header(2, "", "", 0, b""), etcd_part(EXTRA)].concat();
    let expected = entries(&load(&gzip(&start), None).unwrap());
    for tail in [
        part(9, "", &[frame(b"x")]),
        u64::MAX.to_le_bytes().to_vec(),
        frame(&[0xff; 20]),
        [frame(&small(1, 2)), 9000_u64.to_le_bytes().to_vec()].concat(),
        b"garbage".to_vec(),
    ] {
        let bytes = gzip(&[start.clone(), tail].concat());
        let error = load(&bytes, None).unwrap_err();
        assert!(matches!(error, FormatError::Partial { .. }), "{error:?}");
        let found = load_with(&bytes, None, PARTIAL).unwrap();
        assert_eq!((entries(&found), found.notes.len()), (expected.clone(), 1));
        assert_eq!(found.coverage, Coverage::All);
    }
}

#[test]
fn damage_before_or_in_the_etcd_part_is_refused() {
    for bytes in [
        gzip(
            &[
                header(2, "", "", 0, b""),
                part(9, "", &[]),
                etcd_part(EXTRA),
            ]
            .concat(),
        ),
        gzip(
            &[
                header(2, "", "", 0, b""),
                frame(&small(1, 1)),
                frame(b"\xff"),
            ]
            .concat(),
        ),
    ] {
        load_with(&bytes, None, PARTIAL).unwrap_err();
    }
    let complete = gzip(&full());
    let expected = entries(&load(&complete, None).unwrap());
    for bit in 10 * 8..complete.len() * 8 {
        let mut altered = complete.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        if let Ok(found) = load_with(&altered, None, PARTIAL) {
            let is_verified = found.notes.is_empty();
            assert!(!is_verified || entries(&found) == expected, "bit {bit}");
        }
    }
}

#[test]
fn altered_gzip_bits_never_alter_an_entry() {
    let complete = gzip(&full());
    let expected = entries(&load(&complete, None).unwrap());
    // Flags, time and system in the first ten bytes do not affect the content.
    for bit in 10 * 8..complete.len() * 8 {
        let mut altered = complete.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        // Some bits only select another encoding of the same bytes.
        if let Ok(found) = load(&altered, None) {
            assert_eq!(entries(&found), expected, "bit {bit}");
        }
    }
}

#[test]
fn data_after_the_gzip_stream_is_refused() {
    let complete = gzip(&full());
    let error = load(&[complete.as_slice(), b"x"].concat(), None).unwrap_err();
    assert!(matches!(
        error,
        FormatError::TrailingBytes { offset } if offset == complete.len() as u64
    ));
}

#[test]
fn a_wrong_entry_count_is_refused_with_the_difference() {
    for (count, note) in [("4", "1 is missing"), ("2", "--ignoreRevision")] {
        let extra = EXTRA.replacen('3', count, 1);
        let bytes = gzip(&[header(2, "", "", 0, b""), etcd_part(&extra)].concat());
        let error = load(&bytes, None).unwrap_err();
        let FormatError::Partial(missing) = error else {
            panic!("{error:?}");
        };
        assert!(missing.contains(note), "{missing}");
        let found = load_with(&bytes, None, PARTIAL).unwrap();
        assert_eq!(found.notes, [missing]);
        assert_eq!(found.coverage, Coverage::Entries);
        assert_eq!(found.count, 2);
    }
}

#[test]
fn a_root_missing_from_the_header_comes_from_the_keys() {
    let bytes = gzip(&[header(2, "", "", 0, b""), etcd_part("")].concat());
    assert_eq!(
        load(&bytes, None).unwrap().entries.root.as_ref(),
        "by-dev/meta"
    );
    assert!(matches!(
        load(&bytes, Some("other")),
        Err(FormatError::NothingBelowRoot { .. })
    ));
}

#[test]
fn newer_versions_and_unknown_parts_are_refused() {
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
fn keys_of_query_coord_alone_cover_its_families_only() {
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
    assert_eq!(of(&[part[0], "by-dev/meta/indexes/1"]), Coverage::All);
    assert_eq!(of(&[]), Coverage::All);
}
