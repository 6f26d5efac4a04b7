//! The older format of the official tool.

use super::*;

/// Ids of collection, partition, segment, field and index, all less than 128.
fn segment_index(collection: u8, partition: u8, segment: u8, index: u8) -> Vec<u8> {
    [
        small(1, collection),
        small(2, partition),
        small(3, segment),
        small(4, 100),
        small(5, index),
        small(6, 77),
    ]
    .concat()
}

#[test]
fn keys_are_joined_with_the_root_in_the_header() {
    for extra in [&b""[..], br#"{"entry_include_root_path":false}"#, b"{}"] {
        let bytes = [
            header(0, "by-dev", "meta", 1, extra),
            pair("root-coord/collection/5", b"c"),
        ]
        .concat();
        let import = load(&bytes, None).unwrap();
        assert_eq!(import.format, Format::OfficialRelative);
        assert_eq!(keys(&import), ["by-dev/meta/root-coord/collection/5"]);
    }
}

#[test]
fn a_file_of_relative_keys_covers_its_families_only() {
    let import = load(&header(0, "by-dev", "meta", 0, b""), None).unwrap();
    let Coverage::Families(families) = import.coverage else {
        panic!("the coverage must be limited to families");
    };
    assert!(families.contains(&Family::LegacySegmentIndex));
    assert!(families.contains(&Family::DdOperationSnapshot));
    for absent in [
        Family::QueryCollection,
        Family::Session,
        Family::Segment,
        Family::ChannelWatch,
        Family::Credential,
    ] {
        assert!(!families.contains(&absent), "{absent:?}");
    }
    assert!(families.is_sorted());
}

#[test]
fn d16_the_absolute_keys_of_ddl_records_are_not_doubled() {
    let bytes = [
        header(0, "by-dev", "meta", 3, b""),
        pair("by-dev/meta/root-coord/dd-operation", b"{}"),
        pair("by-dev/meta/snapshots/root-coord/dd-msg-send_ts4", b"true"),
        pair("root-coord/index/5/6", b"i"),
    ]
    .concat();
    assert_eq!(
        keys(&load(&bytes, None).unwrap()),
        [
            "by-dev/meta/root-coord/dd-operation",
            "by-dev/meta/root-coord/index/5/6",
            "by-dev/meta/snapshots/root-coord/dd-msg-send_ts4",
        ]
    );
}

#[test]
fn d15_an_absolute_key_or_the_user_restores_the_slash() {
    let head = header(0, "by-dev", "meta", 0, b"");
    let index = pair("root-coord/index/5/6", b"i");
    let operation = pair("/by-dev/meta/root-coord/dd-operation", b"{}");
    let file = [head.clone(), operation, index.clone()].concat();
    let expected = "/by-dev/meta/root-coord/index/5/6";
    assert!(keys(&load(&file, None).unwrap()).contains(&expected.to_owned()));
    let silent = [head, index].concat();
    let hinted = load(&silent, Some("/by-dev/meta")).unwrap();
    assert_eq!(keys(&hinted), [expected]);
    // A root other than that in the file does not replace it.
    let other = load(&silent, Some("/else/meta")).unwrap();
    assert_eq!(other.entries.root.as_ref(), "by-dev/meta");
}

#[test]
fn segment_index_keys_of_two_parts_get_all_four_ids() {
    let bytes = [
        header(0, "by-dev", "meta", 2, b""),
        pair("root-coord/segment-index/3/4", &segment_index(1, 2, 3, 4)),
        pair("root-coord/segment-index/9/8/7/6", b"left as it is"),
    ]
    .concat();
    assert_eq!(
        keys(&load(&bytes, None).unwrap()),
        [
            "by-dev/meta/root-coord/segment-index/1/4/2/3",
            "by-dev/meta/root-coord/segment-index/9/8/7/6",
        ]
    );
}

#[test]
fn a_segment_index_key_must_match_its_value() {
    for value in [segment_index(1, 2, 5, 4), vec![0xff]] {
        let bytes = [
            header(0, "by-dev", "meta", 1, b""),
            pair("root-coord/segment-index/3/4", &value),
        ]
        .concat();
        assert!(matches!(
            load(&bytes, None),
            Err(FormatError::Unrepairable { .. })
        ));
    }
}
