//! Metadata that is not all that Milvus wrote: what an interrupted run of the official tool leaves (D1), and
//! collections in the form that later releases empty.

use meta_migration::finding::Severity;
use meta_migration::transform::CollectionForm::{self, Database, Embedded, Split};
use meta_migration::transform::{Migration, OnBrokenRecord};

use super::FORMS;
use super::collections::{PLAIN, snapshot};
use crate::support::metadata::{Metadata, has, migrate_to, segment};

/// The families of indexes and aliases, and the last operation on collections.
const INDEXES_AND_ALIASES: [&str; 6] = [
    "root-coord/index/",
    "root-coord/segment-index/",
    "indexes/",
    "root-coord/collection-alias/",
    "snapshots/root-coord/collection-alias/",
    "root-coord/dd-operation",
];

#[test]
fn d1_segments_with_rows_and_no_trace_of_a_collection_are_an_error() {
    let before = Metadata::after_an_interrupted_official_run();
    for form in FORMS {
        for migration in [before.migrate(form), before.skip(form)] {
            assert!(has(&migration, Severity::Error, "collections-missing", ""));
        }
        let migration = before.migrate(form);
        let finding = migration
            .findings()
            .iter()
            .find(|finding| finding.code == "collections-missing");
        let message = &finding.unwrap().message;
        assert!(message.starts_with("1 segments with rows belong to 1 coll"));
    }
}

#[test]
fn collections_that_2_1_dropped_leave_a_tombstone_and_are_not_missing() {
    for key in [PLAIN.to_owned(), snapshot(9)] {
        let mut before = Metadata::after_an_interrupted_official_run();
        before.drop(&key);
        for form in FORMS {
            let migration = before.migrate(form);
            assert!(!mentions(&migration, "collections-missing"), "{key}");
        }
    }
}

#[test]
fn segments_without_rows_miss_no_collection() {
    let mut before = Metadata::after_an_interrupted_official_run();
    before.put("datacoord-meta/s/1/10/51", &segment(51, 0));
    for form in FORMS {
        assert!(!mentions(&before.migrate(form), "collections-missing"));
    }
}

#[test]
fn d1_collections_without_anything_that_the_official_tool_deletes_are_warned_of() {
    let mut before = Metadata::small();
    before.remove_below(&INDEXES_AND_ALIASES);
    before.change_collection(|record| record.field_indexes.clear());
    for form in FORMS {
        let migration = before.migrate(form);
        assert!(has(&migration, Severity::Warning, "indexes-missing", ""));
        assert!(!migration.has_errors());
    }
}

#[test]
fn a_single_key_of_those_tells_that_nobody_deleted_them() {
    for key in ["root-coord/dd-operation", "root-coord/collection-alias/old"] {
        let mut before = Metadata::small();
        before.remove_below(&INDEXES_AND_ALIASES);
        before.change_collection(|record| record.field_indexes.clear());
        before.drop(key);
        assert!(
            !mentions(&before.migrate(Split), "indexes-missing"),
            "{key}"
        );
    }
    let mut before = Metadata::small();
    before.remove_below(&INDEXES_AND_ALIASES);
    before.put("datacoord-meta/s/1/10/51", &segment(51, 0));
    assert!(!mentions(&before.migrate(Split), "indexes-missing"));
}

#[test]
fn embedded_collections_are_an_error_where_the_target_empties_them() {
    let before = Metadata::small();
    let embedded = Metadata {
        entries: before.after(&before.migrate(Embedded)),
    };
    for form in [Split, Database] {
        let migration = to(&embedded, form, "2.4.24");
        assert!(has(&migration, Severity::Error, "embedded-form", ""));
        assert!(!mentions(&to(&embedded, form, "2.2.16"), "embedded-form"));
    }
    // Whoever asks for the form has read what it means.
    assert!(!to(&embedded, Embedded, "2.4.24").has_errors());
}

#[test]
fn collections_in_the_other_forms_are_not_emptied() {
    let before = Metadata::small();
    for form in [Split, Database] {
        let migrated = Metadata {
            entries: before.after(&before.migrate(form)),
        };
        assert!(!to(&migrated, form, "2.4.24").has_errors(), "{form}");
    }
}

fn to(metadata: &Metadata, form: CollectionForm, target: &str) -> Migration {
    migrate_to(&metadata.list(), form, OnBrokenRecord::Fail, target)
}

fn mentions(migration: &Migration, code: &str) -> bool {
    let mut findings = migration.findings().iter();
    findings.any(|finding| finding.code == code)
}
