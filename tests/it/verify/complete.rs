//! Completeness, as tables: keys added to or removed from complete metadata, and the findings.

use std::collections::BTreeMap;

use milvus_meta::entry::Entry;
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::keys::TOMBSTONE;
use milvus_meta::proto::v2_1::{data, query};
use milvus_meta::proto::v2_2::etcd;
use milvus_meta::transform::CollectionForm::{self, Database, Embedded, Split};
use milvus_meta::verify::{Checker, Context};
use prost::Message as _;

use super::{errors, migrated};
use crate::golden;
use crate::support::metadata::{CREATED, definition, load_state, root, segment};

fn within(image: &BTreeMap<String, Vec<u8>>, context: &Context) -> Vec<Finding> {
    let mut checker = Checker::within(root(), context.clone());
    for (key, value) in image {
        checker.push(&Entry::new(root().join(key.as_bytes()), value.clone()));
    }
    checker.finish()
}

fn recorded(form: CollectionForm, target: &str) -> Context {
    Context {
        target: Some(target.parse().unwrap()),
        accepts_embedded: false,
        recorded: Some(form),
        is_cleaned_up: true,
    }
}

fn codes(findings: &[Finding], severity: Severity) -> Vec<&str> {
    let found = findings
        .iter()
        .filter(|finding| finding.severity == severity);
    found.map(|finding| finding.code.as_str()).collect()
}

fn unexpected(collection: i64, partition: i64, state: i32) -> Vec<u8> {
    data::SegmentInfo {
        id: 99,
        collection_id: collection,
        partition_id: partition,
        num_of_rows: 3,
        state,
        ..Default::default()
    }
    .encode_to_vec()
}

#[test]
fn a_segment_needs_its_collection_and_partition() {
    const FLUSHED: i32 = 4;
    const DROPPED: i32 = 6;
    for form in [Split, Database] {
        for (collection, partition, state, code) in [
            (9, 90, FLUSHED, Some("collections-missing")),
            (9, 90, 0, Some("collections-missing")),
            (9, 90, DROPPED, None),
            (1, 11, FLUSHED, Some("partitions-missing")),
            (1, 10, FLUSHED, None),
            // Deletions in all partitions, from 2.4 on.
            (1, -1, FLUSHED, None),
        ] {
            let mut image = migrated(form);
            let key = format!("datacoord-meta/s/{collection}/{partition}/99");
            image.insert(key.clone(), unexpected(collection, partition, state));
            let found = within(&image, &recorded(form, "2.2.16"));
            let wanted: Vec<_> = code.into_iter().collect();
            assert_eq!(
                codes(&found, Severity::Error),
                wanted,
                "{key} in state {state}"
            );
        }
    }
}

#[test]
fn segments_of_a_dropped_collection_are_valid() {
    let dropping = etcd::CollectionInfo {
        id: 9,
        schema: Some(Default::default()),
        state: 2,
        db_id: 1,
        ..Default::default()
    }
    .encode_to_vec();
    let record = "root-coord/database/collection-info/1/9".to_owned();
    let snapshot = format!("snapshots/{record}_ts{CREATED}");
    let channel = "datacoord-meta/channel-removal/by-dev-rootcoord-dml_0_9v0".to_owned();
    let tombstone = TOMBSTONE.to_vec();
    for traces in [
        vec![
            (record.clone(), tombstone.clone()),
            (snapshot.clone(), tombstone.clone()),
        ],
        vec![(snapshot.clone(), tombstone.clone())],
        vec![
            (record.clone(), dropping.clone()),
            (snapshot.clone(), dropping),
        ],
        vec![(channel, b"removed".to_vec())],
    ] {
        let mut image = migrated(Database);
        image.insert("datacoord-meta/s/9/90/99".into(), unexpected(9, 90, 4));
        image.extend(traces.clone());
        let found = within(&image, &recorded(Database, "2.2.16"));
        assert_eq!(errors(&found), [], "{traces:?}");
    }
}

#[test]
fn segments_of_a_dropped_partition_are_valid() {
    let mut image = migrated(Database);
    image.insert("datacoord-meta/s/1/11/99".into(), unexpected(1, 11, 4));
    image.insert("root-coord/partitions/1/11".into(), TOMBSTONE.to_vec());
    let snapshot = format!("snapshots/root-coord/partitions/1/11_ts{CREATED}");
    image.insert(snapshot, TOMBSTONE.to_vec());
    let found = within(&image, &recorded(Database, "2.2.16"));
    assert_eq!(errors(&found), []);
}

#[test]
fn the_target_must_read_the_form() {
    for (form, target, code) in [
        (Embedded, "2.2.16", None),
        (Embedded, "2.3.17", None),
        (Embedded, "2.3.18", Some("embedded-form")),
        (Embedded, "2.3.21", Some("embedded-form")),
        (Embedded, "2.4.5", Some("embedded-form")),
        (Embedded, "2.5.0", Some("embedded-form")),
        (Split, "2.2.0", None),
        (Split, "2.4.24", None),
        (Database, "2.2.9", None),
        (Database, "2.6.0", None),
        (Database, "2.2.8", Some("database-form")),
    ] {
        let found = within(&migrated(form), &recorded(form, target));
        let wanted: Vec<_> = code.into_iter().collect();
        assert_eq!(
            codes(&found, Severity::Error),
            wanted,
            "{form} for {target}"
        );
    }
    for (form, target, lost) in [
        (Split, "2.2.8", None),
        (
            Split,
            "2.2.9",
            Some("altered aliases of such collections are lost. "),
        ),
        (
            Split,
            "2.4.24",
            Some("renames and property changes are undone"),
        ),
        (Database, "2.4.24", None),
    ] {
        let found = within(&migrated(form), &recorded(form, target));
        let wanted: Vec<_> = lost.iter().map(|_| "split-form").collect();
        assert_eq!(codes(&found, Severity::Warning), wanted, "{form} {target}");
        let message = found.first().map_or("", |one| one.message.as_str());
        assert!(message.contains(lost.unwrap_or_default()), "{message}");
    }
    let accepted = Context {
        accepts_embedded: true,
        ..recorded(Embedded, "2.4.24")
    };
    let found = within(&migrated(Embedded), &accepted);
    assert_eq!(codes(&found, Severity::Warning), ["embedded-form"]);
}

#[test]
fn a_2_1_index_without_a_2_2_definition_is_found() {
    let mut image = migrated(Split);
    image.insert("root-coord/index/1/7".into(), definition(7).encode_to_vec());
    assert_eq!(errors(&within(&image, &recorded(Split, "2.2.3"))), []);
    image.insert("root-coord/index/1/8".into(), definition(8).encode_to_vec());
    let found = within(&image, &recorded(Split, "2.2.3"));
    assert_eq!(codes(&found, Severity::Error), ["index-not-migrated"]);
    assert!(
        found[0]
            .message
            .contains("(8) of collection \"collection_1\" (1)"),
        "{found:?}"
    );
    let mut deleted = definition(8);
    deleted.deleted = true;
    image.insert("root-coord/index/1/8".into(), deleted.encode_to_vec());
    assert_eq!(errors(&within(&image, &recorded(Split, "2.2.3"))), []);
}

#[test]
fn a_segment_index_of_a_dropped_segment_is_a_warning() {
    let mut image = migrated(Database);
    image.remove("datacoord-meta/s/1/10/50").unwrap();
    let found = within(&image, &recorded(Database, "2.2.16"));
    assert_eq!(codes(&found, Severity::Error), Vec::<&str>::new());
    assert_eq!(codes(&found, Severity::Warning), ["stale-segment-index"]);
}

#[test]
fn an_alias_needs_its_collection() {
    let mut image = migrated(Split);
    let alias = etcd::AliasInfo {
        alias_name: "lost".into(),
        collection_id: 9,
        ..Default::default()
    }
    .encode_to_vec();
    image.insert("root-coord/aliases/lost".into(), alias.clone());
    image.insert(
        format!("snapshots/root-coord/aliases/lost_ts{CREATED}"),
        alias,
    );
    let found = within(&image, &recorded(Split, "2.2.3"));
    assert_eq!(codes(&found, Severity::Error), ["alias-without-collection"]);
}

/// Embedded metadata without a journal, as the official tool leaves it, with flushed segments.
fn official() -> BTreeMap<String, Vec<u8>> {
    let mut image = migrated(Embedded);
    image.retain(|key, _| !key.starts_with("querycoord-replica/"));
    image.insert(
        "queryCoord-collectionMeta/1".into(),
        load_state().encode_to_vec(),
    );
    for id in [50, 51] {
        let mut flushed = segment(id, 12);
        flushed.state = 4;
        image.insert(
            format!("datacoord-meta/s/1/10/{id}"),
            flushed.encode_to_vec(),
        );
    }
    let replica = crate::support::metadata::replica(30, 1).encode_to_vec();
    image.insert("queryCoord-ReplicaMeta/30".into(), replica);
    image
}

#[test]
fn an_interrupted_official_run_is_recognised() {
    let target = Context {
        target: Some("2.2.16".parse().unwrap()),
        ..Context::default()
    };
    assert_eq!(errors(&within(&official(), &target)), []);
    let errors_without = |keys: &[&str]| {
        let mut image = official();
        for key in keys {
            image.retain(|other, _| !other.starts_with(key));
        }
        image
    };
    // Without the first key, nothing was loaded on 2.1.
    let load_keys = [
        "queryCoord-collectionMeta/1",
        "querycoord-collection-loadinfo/1",
    ];
    let [was_loaded, loaded] = load_keys;
    for (keys, code) in [
        (&[loaded][..], "load-state-missing"),
        (
            &[was_loaded, loaded, "segment-index/1/10/50/90"],
            "segment-indexes-missing",
        ),
        (&[was_loaded, loaded, "segment-index/"], "indexes-missing"),
        (
            &[was_loaded, loaded, "segment-index/", "field-index/"],
            "indexes-missing",
        ),
    ] {
        let mut image = errors_without(keys);
        assert_eq!(codes(&within(&image, &target), Severity::Error), [code]);
        // After 2.2 ran, the object may have been released or dropped there.
        image.insert("datacoord-meta/channel-cp/v0".into(), Vec::new());
        assert_eq!(errors(&within(&image, &target)), [], "{keys:?}");
    }
    // Load state is written last: if there is any, the run had written every index.
    for keys in [&["segment-index/1/10/50/90"][..], &["segment-index/"]] {
        assert_eq!(
            errors(&within(&errors_without(keys), &target)),
            [],
            "{keys:?}"
        );
    }
    // An unfinished load is not carried.
    let mut image = official();
    image.remove("querycoord-collection-loadinfo/1").unwrap();
    let mut half = load_state();
    half.in_memory_percentage = 59;
    image.insert("queryCoord-collectionMeta/1".into(), half.encode_to_vec());
    assert_eq!(errors(&within(&image, &target)), []);
    let unfinished = query::CollectionInfo {
        collection_id: 9,
        ..load_state()
    };
    image.insert(
        "queryCoord-collectionMeta/9".into(),
        unfinished.encode_to_vec(),
    );
    let found = within(&image, &target);
    assert_eq!(codes(&found, Severity::Error), ["collections-missing"]);
}

#[test]
fn a_finished_official_run_is_complete() {
    for case in golden::CASES {
        let target = Context {
            target: Some("2.2.16".parse().unwrap()),
            ..Context::default()
        };
        let mut checker = Checker::within(root(), target);
        for entry in golden::entries(&golden::load(case, "out.jsonl")) {
            checker.push(&entry);
        }
        assert_eq!(errors(&checker.finish()), [], "{case}");
    }
}

#[test]
fn late_2_1_collections_are_named() {
    let mut image = migrated(Database);
    let embedded = migrated(Embedded);
    let mut new = etcd::CollectionInfo::decode(&*embedded["root-coord/collection/1"]).unwrap();
    new.id = 5;
    image.insert("root-coord/collection/5".into(), new.encode_to_vec());
    let snapshot = format!("snapshots/root-coord/collection/5_ts{CREATED}");
    image.insert(snapshot, new.encode_to_vec());
    let found = within(&image, &recorded(Database, "2.2.16"));
    assert_eq!(codes(&found, Severity::Error), ["2.1-ran"]);
    assert!(found[0].message.contains("(5)"), "{found:?}");
}

/// A migration deletes the load states of 2.1, so one of a collection that 2.2 has not loaded is
/// newer.
#[test]
fn late_2_1_load_states_are_named() {
    let mut image = migrated(Database);
    let state = "queryCoord-collectionMeta/1";
    image.insert(state.into(), load_state().encode_to_vec());
    let done = recorded(Database, "2.2.16");
    let found = within(&image, &done);
    assert_eq!(codes(&found, Severity::Error), [""; 0], "loaded in 2.2");
    image.retain(|key, _| !key.starts_with("querycoord-collection-loadinfo/"));
    let found = within(&image, &done);
    assert_eq!(codes(&found, Severity::Error), ["2.1-ran"]);
    assert!(found[0].message.contains("(1)"), "{found:?}");
    let unfinished = Context {
        is_cleaned_up: false,
        ..done
    };
    let found = within(&image, &unfinished);
    assert_eq!(codes(&found, Severity::Error), [""; 0], "not deleted yet");
}
