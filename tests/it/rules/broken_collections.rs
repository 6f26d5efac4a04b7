//! D47, T6: collection records that cannot be converted or used.

use milvus_meta::entry::Entry;
use milvus_meta::finding::Severity;
use milvus_meta::transform::CollectionForm::{Database, Split};
use milvus_meta::transform::{Migration, OnBrokenRecord, Remaining, remaining_after_commit};
use milvus_meta::verify::Checker;

use super::FORMS;
use super::collections::{PLAIN, snapshot, split_record};
use crate::support::metadata::{CREATED, Metadata, collection, has, root};

#[test]
fn d47_t6_records_that_crash_milvus_are_errors() {
    for form in FORMS {
        let mut before = Metadata::small();
        before.change_collection(|record| record.partition_names.push("extra".into()));
        let migration = before.migrate(form);
        assert!(has(
            &migration,
            Severity::Error,
            "unequal-partition-lists",
            PLAIN
        ));
        assert!(has(
            &migration,
            Severity::Error,
            "unequal-partition-lists",
            &snapshot(0)
        ));

        let mut before = Metadata::small();
        before.change_collection(|record| record.schema = None);
        let migration = before.migrate(form);
        assert!(has(
            &migration,
            Severity::Error,
            "collection-without-schema",
            PLAIN
        ));

        let mut before = Metadata::small();
        before.raw(PLAIN, b"\x08");
        let migration = before.migrate(form);
        assert!(has(&migration, Severity::Error, "undecodable-value", PLAIN));
    }
}

#[test]
fn t6_repeated_ids_and_half_records_are_errors() {
    let mut before = Metadata::small();
    before.change_collection(|record| {
        record.partition_i_ds.push(10);
        record.partition_names.push("again".into());
        record.partition_created_timestamps.push(CREATED);
    });
    let migration = before.migrate(Split);
    assert!(has(
        &migration,
        Severity::Error,
        "duplicate-partition",
        PLAIN
    ));

    let mut before = Metadata::small();
    before.change_collection(|record| {
        let schema = record.schema.as_mut().unwrap();
        schema.fields.push(schema.fields[0].clone());
    });
    assert!(has(
        &before.migrate(Split),
        Severity::Error,
        "duplicate-field",
        PLAIN
    ));

    let mut before = Metadata::small();
    before.change_collection(|record| record.schema.as_mut().unwrap().fields.clear());
    assert!(has(
        &before.migrate(Split),
        Severity::Error,
        "collection-without-fields",
        PLAIN
    ));
}

#[test]
fn a_record_under_another_key_is_reported() {
    for form in FORMS {
        let mut before = Metadata::small();
        let record = before.entries[PLAIN].clone();
        before.entries.remove(PLAIN);
        before.raw("root-coord/collection/3", &record);
        let key = "root-coord/collection/3";
        let is_reported = has(&before.migrate(form), Severity::Warning, "id-mismatch", key);
        assert_eq!(is_reported, form != Database, "{form}");
    }
}

#[test]
fn t6_a_dropped_history_with_a_live_id_is_ignored() {
    for form in FORMS {
        let plain = Metadata::small();
        let mut before = plain.clone();
        let record = plain.entries[PLAIN].clone();
        let dead = "snapshots/root-coord/collection/2_ts999999999999999999";
        before.raw(dead, &record);
        let migration = before.migrate(form);
        assert!(has(
            &migration,
            Severity::Notice,
            "duplicate-record",
            "root-coord/collection/2"
        ));
        let expected = plain.after(&plain.migrate(form));
        assert_eq!(before.after(&migration), expected, "{form}");
    }
}

#[test]
fn t6_text_that_is_not_utf_8_is_an_error() {
    let mut before = Metadata::small();
    before.change_collection(|record| {
        record.schema.as_mut().unwrap().fields[0].description = "DESCRIPTION".into();
    });
    let mut raw = before.entries[PLAIN].clone();
    let at = raw.windows(11).position(|text| text == b"DESCRIPTION");
    raw[at.unwrap()] = 0xff;
    before.raw(PLAIN, &raw);
    for form in FORMS {
        let migration = before.migrate(form);
        assert!(has(&migration, Severity::Error, "undecodable-value", PLAIN));
    }
}

#[test]
fn an_unusable_collection_is_carried_and_reported() {
    for form in FORMS {
        let mut before = Metadata::small();
        before.change_collection(|record| {
            let fields = &mut record.schema.as_mut().unwrap().fields;
            fields[0].name = "twice".into();
            fields[1].name = "twice".into();
        });
        let migration = before.migrate(form);
        assert!(!migration.has_errors());
        assert!(has(
            &migration,
            Severity::Warning,
            "duplicate-field-name",
            PLAIN
        ));

        let mut before = Metadata::small();
        before.change_collection(|record| {
            for field in &mut record.schema.as_mut().unwrap().fields {
                field.is_primary_key = true;
            }
        });
        let migration = before.migrate(form);
        assert!(!migration.has_errors());
        assert!(has(
            &migration,
            Severity::Warning,
            "several-primary-keys",
            PLAIN
        ));

        let mut before = Metadata::small();
        before.change_collection(|record| {
            record.partition_i_ds.clear();
            record.partition_names.clear();
            record.partition_created_timestamps.clear();
        });
        let migration = before.migrate(form);
        assert!(!migration.has_errors());
        assert!(has(
            &migration,
            Severity::Warning,
            "collection-without-partitions",
            PLAIN
        ));
    }
}

#[test]
fn t6_skip_hides_an_unreadable_collection_from_2_2() {
    for form in FORMS {
        let mut before = Metadata::small();
        before.raw("root-coord/collection/2", b"\x08");
        before.put("snapshots/root-coord/collection/2_ts9", &collection(2));
        let migration = before.skip(form);
        assert!(!migration.has_errors());
        assert!(has(
            &migration,
            Severity::Warning,
            "undecodable-value",
            "root-coord/collection/2"
        ));
        let after = before.after(&migration);
        assert!(
            !after.keys().any(|key| key.contains("collection/2")),
            "{form}"
        );
        assert!(!after.keys().any(|key| key.contains("/1/2")), "{form}");
        assert!(after.contains_key("field-index/1/7"), "{form}");
    }
}

#[test]
fn t6_skip_drops_only_the_unreadable_snapshot() {
    let mut before = Metadata::small();
    before.raw(&snapshot(4), b"\x08");
    let migration = before.skip(Split);
    let after = before.after(&migration);
    assert!(!after.contains_key(&snapshot(4)));
    assert_eq!(after[PLAIN], split_record(0));
    assert!(has(
        &migration,
        Severity::Warning,
        "undecodable-value",
        &snapshot(4)
    ));
}

#[test]
fn t6_of_two_records_with_one_id_the_greater_key_wins() {
    let mut before = Metadata::small();
    before.put("root-coord/collection/3", &collection(1));
    let migration = before.migrate(Split);
    assert!(has(&migration, Severity::Notice, "duplicate-record", PLAIN));
    let after = before.after(&migration);
    assert!(!after.contains_key(PLAIN));
    assert!(after.contains_key("root-coord/collection/3"));
    assert!(after.contains_key("root-coord/partitions/1/10"));
}

#[test]
fn a_malformed_key_is_an_error_and_kept_by_skip() {
    for form in FORMS {
        let mut before = Metadata::small();
        let malformed = "root-coord/collection/abc";
        before.raw(malformed, b"whatever");
        assert!(has(
            &before.migrate(form),
            Severity::Error,
            "unreadable-key",
            malformed
        ));
        let migration = before.skip(form);
        assert!(has(
            &migration,
            Severity::Warning,
            "unreadable-key",
            malformed
        ));
        assert_eq!(before.after(&migration)[malformed], b"whatever");
    }
}

#[test]
fn skip_keeps_a_snapshot_at_the_last_timestamp() {
    for form in FORMS {
        let mut before = Metadata::small();
        let last = format!("snapshots/root-coord/collection/1_ts{}", u64::MAX);
        let record = before.entries[PLAIN].clone();
        before.raw(&last, &record);
        assert!(has(
            &before.migrate(form),
            Severity::Error,
            "unreadable-key",
            &last
        ));
        let outcome = before.migrate(form);
        let outcome = outcome.findings.iter().find(|it| it.key.ends_with(&last));
        assert!(
            outcome
                .unwrap()
                .message
                .contains("largest possible timestamp"),
            "{outcome:?}"
        );
        let done = Metadata {
            entries: before.after(&before.skip(form)),
        };
        assert_eq!(done.entries[&last], record, "{form}");
        // A resumed run after the commit does not delete it either.
        let rest = remaining_after_commit(&root(), form, OnBrokenRecord::Skip, &done.list());
        assert_eq!(rest, Remaining::default(), "{form}");
    }
}

/// Milvus deletes the files of unknown collections, so a plan reports the amount of data. 2.2 finds
/// a dropped collection: intentionally skipped metadata is not reported as lost afterwards.
#[test]
fn t6_a_skipped_collection_is_left_as_dropped() {
    for form in FORMS {
        for snapshot_is_readable in [true, false] {
            let mut before = Metadata::small();
            before.raw(PLAIN, b"\x08");
            if !snapshot_is_readable {
                before
                    .entries
                    .retain(|key, _| !key.starts_with("snapshots/root-coord/collection/"));
            }
            let migration = before.skip(form);
            assert!(!migration.has_errors());
            assert!(has(
                &migration,
                Severity::Warning,
                "unreadable-collection-has-data",
                PLAIN
            ));
            let found = errors_after(&before, &migration);
            assert_eq!(found, Vec::<String>::new(), "{form} {snapshot_is_readable}");
        }
    }
}

#[test]
fn t10_a_lone_tombstone_is_left_as_dropped() {
    for form in FORMS {
        let mut before = Metadata::small();
        before
            .entries
            .retain(|key, _| !key.starts_with("snapshots/root-coord/collection/"));
        before.drop(PLAIN);
        let migration = before.skip(form);
        let found = errors_after(&before, &migration);
        assert_eq!(found, Vec::<String>::new(), "{form}");
    }
}

/// The error codes of the verification of the result.
fn errors_after(before: &Metadata, migration: &Migration) -> Vec<String> {
    let mut checker = Checker::new(root());
    for (key, value) in before.after(migration) {
        checker.push(&Entry::new(root().join(key.as_bytes()), value));
    }
    let errors = checker
        .finish()
        .into_iter()
        .filter(|it| it.severity == Severity::Error);
    errors.map(|it| it.code.to_string()).collect()
}
