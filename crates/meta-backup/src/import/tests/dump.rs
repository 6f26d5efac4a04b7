use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::super::Coverage;
use super::*;

const PARTIAL: Tolerance = Tolerance {
    skip_hash_check: false,
    allow_partial: true,
};

fn entry(key: &str, value: &str, lease: u8) -> Vec<u8> {
    let fields = [
        field(1, key.as_bytes()),
        field(5, value.as_bytes()),
        small(6, lease),
    ];
    field(2, &fields.concat())
}

/// A response with two entries, one of which has a lease.
fn protobuf(revision: u8) -> Vec<u8> {
    [
        field(1, &small(3, revision)),
        entry("a/meta/session/id", "7", 0),
        entry("a/meta/session/x", "{}", 9),
        small(4, 2),
    ]
    .concat()
}

fn line(key: &str, value: &str) -> String {
    let (key, value) = (STANDARD.encode(key), STANDARD.encode(value));
    format!(r#"{{"key":"{key}","mod_revision":4,"value":"{value}","lease":0}}"#)
}

fn json(revision: i64, key: &str) -> String {
    let entry = line(key, "7");
    format!(
        r#"{{"header":{{"member_id":18446744073709551615,"revision":{revision}}},"kvs":[{entry}],"count":1}}"#
    )
}

fn raw(complete: bool) -> String {
    let lines = ["a/meta/session/id", "a/meta/indexes/1", "a/meta/indexes/2"];
    let lines: String = lines.map(|key| line(key, "7") + "\n").concat();
    let end = format!(
        r#"{{"end":{{"entries":3,"revision":9,"meta_root":"a/meta","complete":{complete}}}}}"#
    );
    lines + &end + "\n"
}

#[test]
fn a_protobuf_response_cut_anywhere_is_refused() {
    let file = protobuf(8);
    let import = load(&file, None).unwrap();
    assert_eq!(keys(&import), ["a/meta/session/id"]);
    assert_eq!((import.revision, import.skipped_leased), (8, 1));
    for end in 1..file.len() {
        assert!(load(&file[..end], None).is_err(), "{end}");
        if let Ok(import) = load_with(&file[..end], None, PARTIAL) {
            assert_eq!(import.coverage, Coverage::Entries, "{end}");
            assert_eq!(import.count, 1);
        }
    }
}

#[test]
fn responses_must_have_one_revision() {
    let root = "a/meta/session/id";
    let same = json(8, root) + "\n" + &json(8, "a/meta/indexes/1");
    assert_eq!(load(same.as_bytes(), None).unwrap().count, 2);
    let other = json(8, root) + &json(9, "a/meta/indexes/1");
    let error = load(other.as_bytes(), None).unwrap_err();
    assert!(error.to_string().contains("revisions 8 and 9"), "{error}");
    let twice = [protobuf(8), protobuf(8)].concat();
    let error = load(&twice, None).unwrap_err();
    assert!(error.to_string().contains("several responses"), "{error}");
}

#[test]
fn a_response_with_a_limit_requires_allow_partial() {
    let file = json(8, "a/meta/session/id").replace("\"count\":1", "\"more\":true,\"count\":5");
    let error = load(file.as_bytes(), None).unwrap_err();
    assert!(matches!(error, FormatError::Partial { .. }), "{error}");
    let import = load_with(file.as_bytes(), None, PARTIAL).unwrap();
    assert!(
        import.notes[0].contains("4 are missing"),
        "{:?}",
        import.notes
    );
}

#[test]
fn raw_lines_cut_anywhere_are_refused() {
    let file = raw(true);
    let import = load(file.as_bytes(), None).unwrap();
    assert_eq!((import.count, import.revision), (3, 9));
    assert_eq!(import.format, Format::Inspect);
    for end in 1..file.len() - 1 {
        assert!(load(&file.as_bytes()[..end], None).is_err(), "{end}");
        if let Ok(import) = load_with(&file.as_bytes()[..end], None, PARTIAL) {
            assert_eq!(import.coverage, Coverage::Entries, "{end}");
        }
    }
    let missing: Vec<_> = file.split_inclusive('\n').skip(1).collect();
    let error = load(missing.concat().as_bytes(), None).unwrap_err();
    assert!(error.to_string().contains("1 is missing"), "{error}");
    let error = load((raw(true) + &line("a/meta/x", "")).as_bytes(), None).unwrap_err();
    assert!(
        error.to_string().contains("follows the last line"),
        "{error}"
    );
}

#[test]
fn selected_raw_lines_require_allow_partial() {
    let file = raw(false);
    let error = load(file.as_bytes(), None).unwrap_err();
    assert!(matches!(error, FormatError::Partial { .. }), "{error}");
    let import = load_with(file.as_bytes(), None, PARTIAL).unwrap();
    assert_eq!(import.coverage, Coverage::Entries);
}

#[test]
fn other_json_is_refused_with_what_was_expected() {
    for text in [
        r#"{"a":1}"#,
        r#"{"key":1}"#,
        r#"{"kvs":[{}]}"#,
        r#"{"key":"!"}"#,
    ] {
        let error = load(text.as_bytes(), None).unwrap_err();
        assert!(error.to_string().contains("etcdctl get"), "{text}: {error}");
    }
}

#[test]
fn printed_keys_are_refused_with_the_option_to_use() {
    for text in [
        "by-dev/meta/session/id\n7\n",
        "by-dev/meta/indexes/1\n\u{8}\u{1}\u{12}\n",
        r"\x62\x79\x2d\x64\x65\x76",
    ] {
        let text = format!("{}\n", text.trim_end());
        let error = load(text.as_bytes(), None).unwrap_err();
        assert!(error.to_string().contains("-w json"), "{text}: {error}");
    }
    for text in [
        "notes on the upgrade\n",
        "key",
        "12345\n",
        "apiVersion:\n",
        "#!/bin/sh\n",
    ] {
        let error = load(text.as_bytes(), None).unwrap_err();
        assert!(error.to_string().contains("it is text"), "{text}: {error}");
    }
}
