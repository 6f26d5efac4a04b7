//! The newer format of the official tool.

use super::*;

/// The example whose bytes are documented.
fn example() -> Vec<u8> {
    [
        &[0x32, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x06][..],
        b"by-dev\x1a\x04meta\x20\x01\x32\x20",
        ABSOLUTE,
        &[0x1c, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x16],
        b"by-dev/meta/session/id\x12\x0212",
    ]
    .concat()
}

#[test]
fn the_example_of_94_bytes_is_read() {
    let bytes = example();
    assert_eq!(bytes.len(), 94);
    let import = load(&bytes, None).unwrap();
    assert_eq!(import.format, Format::Official);
    assert_eq!(import.entries.root.as_ref(), "by-dev/meta");
    assert_eq!(import.coverage, Coverage::All);
    assert_eq!(
        entries(&import),
        [Entry::new("by-dev/meta/session/id", "12")]
    );
}

#[test]
fn the_example_of_94_bytes_is_written_byte_for_byte() {
    let mut bytes = render_header("by-dev/meta", 1);
    bytes.extend(render_pair(b"by-dev/meta/session/id", b"12").unwrap());
    assert_eq!(bytes, example());
}

#[test]
fn unsorted_absolute_keys_are_sorted() {
    let bytes = [
        header(0, "one", "", 2, ABSOLUTE),
        pair("one/session/id", b"12"),
        pair("one/indexes/1", b""),
    ]
    .concat();
    let import = load(&bytes, None).unwrap();
    assert_eq!(keys(&import), ["one/indexes/1", "one/session/id"]);
    assert_eq!(import.entries.root.as_ref(), "one");
}

#[test]
fn a_value_with_the_magic_of_bbolt_is_read() {
    let magic = bbolt::MAGIC.to_le_bytes();
    let repeated = magic.repeat(1024);
    for shift in 0..magic.len() {
        let mut bytes = render_header("by-dev/meta", 1);
        bytes.extend(render_pair(b"by-dev/meta/session/id", &repeated[shift..]).unwrap());
        let import = load(&bytes, None).unwrap();
        assert_eq!(import.format, Format::Official, "{shift}");
    }
}

#[test]
fn a_file_without_entries_is_valid() {
    let found = summary(&header(0, "by-dev", "meta", 0, ABSOLUTE)).unwrap();
    assert_eq!(
        (found.entries, found.meta_root.as_str()),
        (0, "by-dev/meta")
    );
}

#[test]
fn d9_the_count_reveals_a_file_cut_between_entries() {
    let bytes = [
        header(0, "by-dev", "meta", 2, ABSOLUTE),
        pair("by-dev/meta/session/id", b"12"),
    ]
    .concat();
    let error = load(&bytes, None).unwrap_err();
    assert!(matches!(error, FormatError::Partial { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("the file announces 2 entries and 1 is present")
    );
}

#[test]
fn truncated_and_altered_files_never_panic() {
    let bytes = example();
    for end in 9..bytes.len() {
        let error = load(&bytes[..end], None).unwrap_err();
        let is_reported = matches!(error, FormatError::Truncated { .. })
            || (end == 58 && matches!(error, FormatError::Partial { .. }));
        assert!(is_reported, "{end}: {error}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let _ = load(&altered, None);
    }
}

#[test]
fn d10_a_length_near_2_to_the_64_is_an_error() {
    for length in [u64::MAX, u64::MAX - 7, 1 << 63, 1 << 40] {
        let head = header(0, "by-dev", "meta", 0, ABSOLUTE);
        let bytes = [head.as_slice(), &length.to_le_bytes(), b"x"].concat();
        assert!(matches!(
            load(&bytes, None),
            Err(FormatError::ImplausibleLength { length: found, offset, .. })
                if found == length && offset == head.len() as u64
        ));
    }
}

#[test]
fn d14_keys_of_another_instance_are_omitted_and_counted() {
    let bytes = [
        header(0, "by-dev", "meta", 2, ABSOLUTE),
        pair("by-dev/meta2/session/id", b"3"),
        pair("by-dev/meta/session/id", b"12"),
    ]
    .concat();
    let import = load(&bytes, None).unwrap();
    assert_eq!(keys(&import), ["by-dev/meta/session/id"]);
    assert_eq!(import.skipped_outside, 1);
}

#[test]
fn d15_absolute_keys_restore_the_lost_slash() {
    let bytes = [
        header(0, "by-dev", "meta", 1, ABSOLUTE),
        pair("/by-dev/meta/session/id", b"12"),
    ]
    .concat();
    let import = load(&bytes, None).unwrap();
    assert_eq!(import.entries.root.as_ref(), "/by-dev/meta");
    assert_eq!(keys(&import), ["/by-dev/meta/session/id"]);
}

#[test]
fn duplicate_keys_must_have_equal_values() {
    let file = |second: &[u8]| {
        [
            header(0, "r", "m", 2, ABSOLUTE),
            pair("r/m/session/id", b"12"),
            pair("r/m/session/id", second),
        ]
        .concat()
    };
    assert!(matches!(
        load(&file(b"13"), None),
        Err(FormatError::DuplicateKey { .. })
    ));
    assert_eq!(load(&file(b"12"), None).unwrap().count, 1);
}

#[test]
fn an_unknown_file_is_refused_with_the_known_formats() {
    for bytes in [
        &b"etcd:\n  endpoints: localhost\n"[..],
        &[0; 64],
        &[2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
        b"\x00\x00",
    ] {
        let error = load(bytes, None).unwrap_err();
        let is_reported = error.to_string().contains("tried native, etcd snapshot")
            || matches!(error, FormatError::Truncated { .. });
        assert!(is_reported, "{error}");
    }
    assert!(matches!(load(b"", None), Err(FormatError::Empty)));
}
