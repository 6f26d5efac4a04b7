//! `inspect`: selection, decoding and masking.

use serde_json::Value;

use super::tool::{Ended, Tool};

fn inspect(arguments: &[&str]) -> Ended {
    let demo = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/testdata/demo/milvus-2.1.4.bak"
    );
    Tool::new().run(&[&["inspect", "--from", demo], arguments].concat())
}

fn lines(arguments: &[&str]) -> Vec<Value> {
    let ended = inspect(arguments);
    ended.expect(0);
    let lines = ended.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn password_hashes_are_masked() {
    let users = "root-coord/credential/users/";
    for line in lines(&["--prefix", users]) {
        assert_eq!(line["value"]["encrypted_password"], "***", "{line}");
    }
    for line in lines(&["--prefix", users, "--show-secrets"]) {
        let hash = line["value"]["encrypted_password"].as_str().unwrap();
        assert!(hash.starts_with("$2a$"), "{line}");
    }
}

#[test]
fn a_collection_is_selected_by_name_alias_and_id() {
    let by_id = lines(&["--collection", "436365250312536144"]);
    let families: Vec<&str> = by_id
        .iter()
        .map(|it| it["family"].as_str().unwrap())
        .collect();
    for family in [
        "channelwatch",
        "datacoord-meta/binlog",
        "datacoord-meta/s",
        "indexes",
        "root-coord/collection",
        "root-coord/collection-alias",
        "root-coord/index",
        "snapshots/root-coord/collection",
    ] {
        assert!(families.contains(&family), "{family}: {families:?}");
    }
    for name in ["recsys_face_8731", "alias_Book911"] {
        assert_eq!(lines(&["--collection", name]), by_id, "{name}");
    }
}

#[test]
fn a_segment_is_selected_by_its_id() {
    let segments = lines(&["--family", "datacoord-meta/s"]);
    let id = segments[0]["value"]["ID"].as_str().unwrap();
    let found = lines(&["--segment", id]);
    assert!(found.len() > 1 && found.contains(&segments[0]), "{found:?}");
}

#[test]
fn timestamps_are_shown_as_times_too() {
    let found = lines(&["--key", "root-coord/collection/436365154312257589"]);
    let record = &found[0]["value"];
    assert_eq!(record["create_time"], "436365154312257539");
    assert_eq!(record["create_time_utc"], "2022-10-01T05:09:20.969Z");
}

#[test]
fn a_named_object_that_is_missing_is_an_error() {
    for (arguments, named) in [
        (
            &["--key", "root-coord/collection/9"][..],
            "key \"root-coord/collection/9\"",
        ),
        (&["--segment", "9"], "entry of segment 9"),
        (&["--collection", "9"], "entry of collection \"9\""),
    ] {
        for more in [&[][..], &["--summary"]] {
            let ended = inspect(&[arguments, more].concat());
            ended
                .expect(1)
                .says(&format!("there is no {named} below by-dev/meta"));
        }
    }
    inspect(&["--collection", "news_product_445"])
        .expect(1)
        .says("did you mean \"news_product_4458\"");
    inspect(&["--prefix", "no-such/"]).expect(0);
}
