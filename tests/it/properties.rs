//! Properties that hold for any 2.1 metadata.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected has to fail"
)]

use std::collections::BTreeMap;

use bytes::Bytes;
use milvus_meta::entry::Entry;
use milvus_meta::finding::Severity;
use milvus_meta::layout::Layout;
use milvus_meta::transform::CollectionForm::{self, Database, Embedded, Split};
use milvus_meta::transform::{
    OnBrokenRecord, Put, Remaining, SegmentRewrite, remaining_after_commit, remaining_segment,
};
use milvus_meta::verify::Checker;
use proptest::prelude::*;

use crate::support::metadata::{
    CREATED, Metadata, alias, build, collection, definition, load_state, logs, migrate, migrate_to,
    replica, root, segment_index, segment_with_logs,
};

/// One change to the small instance.
#[derive(Debug, Clone)]
enum Change {
    Collection(i64, Option<u64>),
    DropCollection(i64, bool, Option<u64>),
    Alias(String, i64, Option<u64>),
    DropAlias(String, Option<u64>),
    Segment(i64, i64, i64, bool),
    Logs(i64, i64, bool),
    LogKey(i64, i64),
    Build(i64),
    Index(i64, i64, bool),
    Load(i64, i32, i64),
    Replica(i64, i64),
    Garbage(String),
    Remove(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let id = 1..4_i64;
    let time = prop::option::of(0..6_u64);
    let name = prop::sample::select(vec!["books", "a", "ab", "my_tsne", "x_ts1"]);
    let name = name.prop_map(str::to_owned);
    prop_oneof![
        (id.clone(), time.clone()).prop_map(|(id, at)| Change::Collection(id, at)),
        (id.clone(), any::<bool>(), time.clone())
            .prop_map(|(id, plain, at)| Change::DropCollection(id, plain, at)),
        (name.clone(), id.clone(), time.clone())
            .prop_map(|(name, id, at)| Change::Alias(name, id, at)),
        (name, time).prop_map(|(name, at)| Change::DropAlias(name, at)),
        (id.clone(), 50..60_i64, 88..93_i64, any::<bool>())
            .prop_map(|(id, segment, build, built)| Change::Segment(id, segment, build, built)),
        (50..55_i64, 0..3_i64, any::<bool>())
            .prop_map(|(segment, rows, odd)| Change::Logs(segment, rows, odd)),
        (50..60_i64, 100..103_i64).prop_map(|(segment, field)| Change::LogKey(segment, field)),
        (85..95_i64).prop_map(Change::Build),
        (id.clone(), 6..9_i64, any::<bool>())
            .prop_map(|(id, index, gone)| { Change::Index(id, index, gone) }),
        (id.clone(), 0..3_i32, 98..101_i64)
            .prop_map(|(id, kind, percent)| { Change::Load(id, kind, percent) }),
        (30..33_i64, id).prop_map(|(replica, id)| Change::Replica(replica, id)),
        prop::sample::select(vec![
            "root-coord/collection/1",
            "root-coord/collection/4",
            "root-coord/collection/abc",
            "snapshots/root-coord/collection/1_ts9",
            "snapshots/root-coord/collection/nothing",
            "indexes/90",
            "root-coord/index/1/7",
            "root-coord/segment-index/1/7/10/50",
            "root-coord/collection-alias/books",
            "queryCoord-collectionMeta/1",
            "datacoord-meta/s/1/10/51",
        ])
        .prop_map(|key| Change::Garbage(key.to_owned())),
        (0..40_usize).prop_map(Change::Remove),
    ]
}

fn changed(changes: &[Change]) -> Metadata {
    let mut it = Metadata::small();
    let at = |key: String, time: Option<u64>| match time {
        None => key,
        Some(offset) => format!("snapshots/{key}_ts{}", CREATED + offset),
    };
    for change in changes {
        match change {
            Change::Collection(id, time) => {
                it.put(
                    &at(format!("root-coord/collection/{id}"), *time),
                    &collection(*id),
                );
            }
            Change::DropCollection(id, plain, time) => {
                if *plain {
                    it.drop(&format!("root-coord/collection/{id}"));
                }
                it.drop(&at(format!("root-coord/collection/{id}"), *time));
            }
            Change::Alias(name, id, time) => {
                let key = format!("root-coord/collection-alias/{name}");
                it.put(&at(key, *time), &alias(name, *id));
            }
            Change::DropAlias(name, time) => {
                it.drop(&at(format!("root-coord/collection-alias/{name}"), *time));
            }
            Change::Segment(id, segment, build, built) => {
                let mut record = segment_index(*segment, if *built { *build } else { 0 });
                record.collection_id = *id;
                it.put(
                    &format!("root-coord/segment-index/{id}/7/10/{segment}"),
                    &record,
                );
            }
            Change::Logs(segment, rows, odd) => put_logs(&mut it, *segment, *rows, *odd),
            Change::LogKey(segment, field) => it.raw(
                &format!("datacoord-meta/binlog/1/10/{segment}/{field}"),
                b"there",
            ),
            Change::Build(id) => it.put(&format!("indexes/{id}"), &build(*id, 10, 50)),
            Change::Index(id, index, gone) => {
                let mut record = definition(*index);
                record.deleted = *gone;
                it.put(&format!("root-coord/index/{id}/{index}"), &record);
            }
            Change::Load(id, kind, percent) => {
                let mut state = load_state();
                (state.collection_id, state.load_type) = (*id, *kind);
                state.in_memory_percentage = *percent;
                it.put(&format!("queryCoord-collectionMeta/{id}"), &state);
            }
            Change::Replica(id, collection) => {
                it.put(
                    &format!("queryCoord-ReplicaMeta/{id}"),
                    &replica(*id, *collection),
                );
            }
            Change::Garbage(key) => it.raw(key, b"\x08"),
            Change::Remove(position) => {
                let key = it.entries.keys().nth(*position).cloned();
                if let Some(key) = key {
                    it.remove(&key);
                }
            }
        }
    }
    it
}

fn put_logs(it: &mut Metadata, segment: i64, rows: i64, is_odd: bool) {
    let mut record = segment_with_logs(segment, rows);
    if is_odd {
        record.statslogs = vec![logs("stats_log", 49, (100, 9), &[rows])];
    }
    it.put(&format!("datacoord-meta/s/1/10/{segment}"), &record);
}

fn form() -> impl Strategy<Value = CollectionForm> {
    prop::sample::select(vec![Split, Database, Embedded])
}

/// The target image, assembled from the parts of a migration.
fn by_hand(
    before: &Metadata,
    migration: &milvus_meta::transform::Migration,
) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut image: BTreeMap<Vec<u8>, Vec<u8>> = before
        .list()
        .into_iter()
        .map(|entry| (entry.key.into(), entry.value.into()))
        .collect();
    for put in &migration.rewrites {
        assert!(image.contains_key(&put.key), "a rewrite of a missing key");
        image.insert(put.key.clone(), put.value.clone());
    }
    for entry in before.list() {
        if let SegmentRewrite::Put(record) = migration.rewritten_segment(&entry) {
            image.insert(entry.key.into(), record);
        }
    }
    for range in migration.removals.iter().chain(&migration.leftovers) {
        image.retain(|key, _| !range.contains(key));
    }
    for put in migration.staged().chain(migration.history.iter().cloned()) {
        assert!(
            !image.contains_key(&put.key),
            "a new key that already exists"
        );
        image.insert(put.key, put.value);
    }
    image
}

fn verify(entries: impl IntoIterator<Item = Entry>) -> Vec<milvus_meta::finding::Finding> {
    let mut checker = Checker::new(root());
    for entry in entries {
        checker.push(&entry);
    }
    checker.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_order_of_entries_does_not_matter(
        changes in prop::collection::vec(change(), 0..12),
        form in form(),
        keys in prop::collection::vec(any::<u32>(), 64),
    ) {
        let entries = changed(&changes).list();
        let mut shuffled: Vec<_> = entries.iter().cloned().zip(keys.iter().cycle()).collect();
        shuffled.sort_by_key(|(_, key)| **key);
        let shuffled: Vec<_> = shuffled.into_iter().map(|(entry, _)| entry).collect();
        let first = migrate(&entries, form, OnBrokenRecord::Skip);
        let second = migrate(&shuffled, form, OnBrokenRecord::Skip);
        prop_assert_eq!(&first.findings, &second.findings);
        prop_assert_eq!(&first.digest, &second.digest);
        prop_assert_eq!(first.plan(Layout::V2_1, 1), second.plan(Layout::V2_1, 1));
    }

    #[test]
    fn apply_equals_its_parts(
        changes in prop::collection::vec(change(), 0..12),
        form in form(),
    ) {
        let before = changed(&changes);
        let migration = before.skip(form);
        let expected = by_hand(&before, &migration);
        let found: BTreeMap<_, _> = before
            .after(&migration)
            .into_iter()
            .map(|(key, value)| (root().join(key.as_bytes()), value))
            .collect();
        prop_assert_eq!(&found, &expected);
        let plan = migration.plan(Layout::V2_1, 1);
        let difference = plan.put.cast_signed() - plan.delete.cast_signed();
        prop_assert_eq!(before.entries.len().cast_signed() as i64 + difference, found.len() as i64);
    }

    #[test]
    fn the_split_and_database_forms_pass_verification(
        changes in prop::collection::vec(change(), 0..12),
        (form, target) in prop::sample::select(vec![
            (Split, "2.2.3"),
            (Database, "2.2.16"),
            (Database, "2.4.24"),
        ]),
    ) {
        let before = changed(&changes);
        prop_assume!(!before.entries.contains_key("root-coord/collection/abc"));
        let migration = migrate_to(&before.list(), form, OnBrokenRecord::Skip, target);
        // A plan with an error is rejected, so there is nothing to verify.
        prop_assume!(!migration.findings.iter().any(|finding| finding.severity == Severity::Error));
        let after = before.after(&migration);
        let entries = after.iter().map(|(key, value)| {
            Entry::new(root().join(key.as_bytes()), value.clone())
        });
        let errors: Vec<_> = verify(entries)
            .into_iter()
            .filter(|finding| finding.severity == Severity::Error)
            .collect();
        prop_assert_eq!(errors, vec![]);
    }

    #[test]
    fn t14_a_resumed_run_rewrites_the_planned_segments(
        changes in prop::collection::vec(change(), 0..20),
    ) {
        let before = changed(&changes);
        let migration = before.skip(Database);
        let there = before.list().into_iter().map(|entry| (entry.key, entry.value));
        let staged = migration.staged().map(|put| (put.key.into(), put.value.into()));
        let keys: BTreeMap<Bytes, Bytes> = there.chain(staged).collect();
        for entry in before.list() {
            let wanted = match migration.rewritten_segment(&entry) {
                SegmentRewrite::Put(value) => Some(Put { key: entry.key.to_vec(), value }),
                SegmentRewrite::Stays | SegmentRewrite::Done | SegmentRewrite::Changed => None,
            };
            prop_assert_eq!(remaining_segment(&root(), &entry, &keys), wanted);
        }
    }

    #[test]
    fn a_second_resume_has_nothing_to_do(
        changes in prop::collection::vec(change(), 0..12),
        form in prop::sample::select(vec![Split, Embedded]),
        done in prop::collection::vec(any::<bool>(), 32),
    ) {
        let before = changed(&changes);
        let migration = before.skip(form);
        let mut image: BTreeMap<Vec<u8>, Vec<u8>> =
            before.list().into_iter().map(|entry| (entry.key.into(), entry.value.into())).collect();
        for range in &migration.removals {
            image.retain(|key, _| !range.contains(key));
        }
        for put in &migration.history {
            image.insert(put.key.clone(), put.value.clone());
        }
        // Some records were rewritten before the run was interrupted.
        for (put, done) in migration.rewrites.iter().zip(done.iter().cycle()) {
            if *done {
                image.insert(put.key.clone(), put.value.clone());
            }
        }
        let list = |image: &BTreeMap<Vec<u8>, Vec<u8>>| -> Vec<Entry> {
            image.iter().map(|(key, value)| Entry::new(key.clone(), value.clone())).collect()
        };
        let rest = remaining_after_commit(&root(), form, OnBrokenRecord::Skip, &list(&image));
        prop_assert_eq!(&rest.removals, &vec![]);
        prop_assert_eq!(&rest.history, &vec![]);
        for put in rest.rewrites {
            image.insert(put.key, put.value);
        }
        for put in &migration.rewrites {
            prop_assert_eq!(&image[&put.key], &put.value);
        }
        let rest = remaining_after_commit(&root(), form, OnBrokenRecord::Skip, &list(&image));
        prop_assert_eq!(rest, Remaining::default());
    }

    #[test]
    fn every_segment_index_is_written_or_reported(
        segments in prop::collection::vec((50..80_i64, 85..100_i64, any::<bool>(), 6..9_i64), 0..20),
        builds in prop::collection::vec(85..100_i64, 0..10),
    ) {
        let mut before = Metadata::small();
        for id in builds {
            before.put(&format!("indexes/{id}"), &build(id, 10, 50));
        }
        for (segment, build, built, index) in segments {
            let mut record = segment_index(segment, if built { build } else { 0 });
            record.index_id = index;
            before.put(&format!("root-coord/segment-index/1/{index}/10/{segment}"), &record);
        }
        let migration = before.skip(Split);
        let old = before.entries.keys().filter(|key| key.contains("segment-index/")).count();
        let written = migration.plan(Layout::V2_1, 1).families.iter()
            .find(|family| family.name == "segment-index").map_or(0, |family| family.put);
        let mut reported = 0;
        for finding in &migration.findings {
            reported += match finding.code.as_str() {
                "shared-build" => 1,
                // Reported once for each segment index that refers to it.
                "index-build-missing" => 1,
                "segment-index-left-out" => finding.message.split(' ').next().unwrap().parse().unwrap(),
                _ => 0,
            };
        }
        prop_assert_eq!(old as u64, written + reported);
    }
}

#[test]
fn a_segment_without_its_collection_is_rejected() {
    // After both changes a segment refers to a collection without any other trace.
    let before = changed(&[Change::Remove(13), Change::Remove(5)]);
    let migration = migrate_to(&before.list(), Split, OnBrokenRecord::Skip, "2.2.3");
    let errors: Vec<_> = (migration.findings.iter())
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| finding.code.as_str())
        .collect();
    assert_eq!(errors, ["collections-missing"]);
}

#[test]
fn d52_the_output_of_the_transform_is_unchanged() {
    for form in [Split, Database] {
        let before = Metadata::small();
        let after = Metadata {
            entries: before.after(&before.migrate(form)),
        };
        let mut detector = milvus_meta::layout::LayoutDetector::new(root());
        for entry in after.list() {
            detector.push(&entry);
        }
        assert_eq!(detector.layout(), Layout::V2_2, "{:?}", detector.evidence());
        let again = after.migrate(form);
        assert_eq!(
            after.after(&again).get("field-index/1/7"),
            after.entries.get("field-index/1/7")
        );
        assert!(again.rewrites.is_empty() && again.history.is_empty());
    }
}
