//! Aliases: T2, T9, D41, D43.

use milvus_meta::finding::Severity;
use milvus_meta::keys::TOMBSTONE;
use milvus_meta::proto::v2_2::etcd::AliasInfo;
use milvus_meta::transform::CollectionForm::{Database, Embedded, Split};
use prost::Message as _;

use super::FORMS;
use crate::support::metadata::{CREATED, Metadata, alias, collection, has};

const OLD: &str = "root-coord/collection-alias/books";

fn record(name: &str, created: u64, database: i64) -> Vec<u8> {
    AliasInfo {
        alias_name: name.into(),
        collection_id: 1,
        created_time: created,
        state: 0,
        db_id: database,
    }
    .encode_to_vec()
}

fn old_snapshot(name: &str, offset: u64) -> String {
    format!(
        "snapshots/root-coord/collection-alias/{name}_ts{}",
        CREATED + offset
    )
}

fn new_snapshot(name: &str, offset: u64) -> String {
    format!("snapshots/root-coord/aliases/{name}_ts{}", CREATED + offset)
}

#[test]
fn d43_the_newest_snapshot_gives_the_creation_time() {
    let before = Metadata::small();
    let after = before.after(&before.migrate(Split));
    assert_eq!(
        after["root-coord/aliases/books"],
        record("books", CREATED + 5, 0)
    );
    assert_eq!(
        after[&new_snapshot("books", 5)],
        record("books", CREATED + 5, 0)
    );
    let after = before.after(&before.migrate(Database));
    assert_eq!(
        after["root-coord/database/aliases/1/books"],
        record("books", CREATED + 5, 1)
    );
    let after = before.after(&before.migrate(Embedded));
    assert_eq!(after["root-coord/aliases/books"], record("books", 0, 0));
    assert_eq!(
        after[&new_snapshot("books", 5)],
        record("books", CREATED + 5, 0)
    );
}

#[test]
fn old_aliases_are_deleted_in_every_form() {
    let before = Metadata::small();
    for form in FORMS {
        let after = before.after(&before.migrate(form));
        assert!(!after.keys().any(|key| key.contains("collection-alias")));
    }
}

#[test]
fn d41_an_alias_may_contain_the_separator_of_snapshots() {
    for name in ["my_tsne", "a_ts1", "_ts5"] {
        let mut before = Metadata::small();
        before.put(
            &format!("root-coord/collection-alias/{name}"),
            &alias(name, 1),
        );
        before.put(&old_snapshot(name, 8), &alias(name, 1));
        for form in FORMS {
            let migration = before.migrate(form);
            assert!(!migration.has_errors(), "{name}");
        }
        let after = before.after(&before.migrate(Split));
        assert_eq!(
            after[&format!("root-coord/aliases/{name}")],
            record(name, CREATED + 8, 0)
        );
        assert_eq!(after[&new_snapshot(name, 8)], record(name, CREATED + 8, 0));
    }
}

#[test]
fn t2_an_alias_without_snapshot_gets_one() {
    let mut before = Metadata::small();
    before.remove(&old_snapshot("books", 5));
    let migration = before.migrate(Split);
    let after = before.after(&migration);
    assert_eq!(
        after["root-coord/aliases/books"],
        record("books", CREATED, 0)
    );
    assert_eq!(
        after[&new_snapshot("books", 0)],
        record("books", CREATED, 0)
    );
    assert!(has(&migration, Severity::Notice, "snapshot-missing", OLD));
}

#[test]
fn t2_the_plain_alias_key_is_authoritative() {
    let mut before = Metadata::small();
    before.drop(&old_snapshot("books", 9));
    let migration = before.migrate(Split);
    let after = before.after(&migration);
    assert_eq!(after[&new_snapshot("books", 9)], TOMBSTONE);
    assert_eq!(
        after[&new_snapshot("books", 10)],
        after["root-coord/aliases/books"]
    );
    assert!(has(
        &migration,
        Severity::Warning,
        "snapshot-contradicts",
        OLD
    ));

    let mut before = Metadata::small();
    before.remove(OLD);
    let after = before.after(&before.migrate(Split));
    assert_eq!(after[&new_snapshot("books", 6)], TOMBSTONE);
    assert!(!after.contains_key("root-coord/aliases/books"));
}

#[test]
fn an_alias_moved_without_a_snapshot_is_reported() {
    for form in FORMS {
        let mut before = Metadata::small();
        let mut other = collection(2);
        other.field_indexes.clear();
        before.put("root-coord/collection/2", &other);
        before.put(OLD, &alias("books", 2));
        let migration = before.migrate(form);
        assert!(
            has(&migration, Severity::Warning, "snapshot-differs", OLD),
            "{form}"
        );
        assert!(!migration.has_errors());
        let after = before.after(&migration);
        let aliases = after.iter().filter(|(key, _)| key.contains("aliases/"));
        // The plain key sorts before its snapshot.
        let stands_for: Vec<_> = aliases
            .map(|(_, value)| AliasInfo::decode(value.as_slice()).unwrap().collection_id)
            .collect();
        assert_eq!(stands_for, [2, 1], "{form}");
    }
    let same = Metadata::small().migrate(Split);
    assert!(!has(&same, Severity::Warning, "snapshot-differs", OLD));
}

#[test]
fn t2_a_tombstone_without_snapshot_is_never_written() {
    let mut before = Metadata::small();
    before.drop("root-coord/collection-alias/gone");
    for form in [Split, Database] {
        let after = before.after(&before.migrate(form));
        assert!(!after.keys().any(|key| key.contains("gone")));
    }
    let migration = before.migrate(Embedded);
    assert_eq!(
        before.after(&migration)["root-coord/aliases/gone"],
        TOMBSTONE
    );
    let key = "root-coord/collection-alias/gone";
    assert!(has(
        &migration,
        Severity::Warning,
        "history-not-repaired",
        key
    ));
}

#[test]
fn dropped_aliases_stay_dropped() {
    let mut before = Metadata::small();
    before.drop(OLD);
    before.drop(&old_snapshot("books", 9));
    let after = before.after(&before.migrate(Split));
    assert_eq!(after["root-coord/aliases/books"], TOMBSTONE);
    assert_eq!(after[&new_snapshot("books", 9)], TOMBSTONE);
    assert_eq!(
        after[&new_snapshot("books", 5)],
        record("books", CREATED + 5, 0)
    );
}

#[test]
fn t9_all_alias_snapshots_are_deleted() {
    let mut before = Metadata::small();
    let without_timestamp = "snapshots/root-coord/collection-alias/books";
    before.raw(without_timestamp, b"x");
    let migration = before.migrate(Split);
    assert!(!before.after(&migration).contains_key(without_timestamp));
    assert!(has(
        &migration,
        Severity::Notice,
        "snapshot-without-timestamp",
        without_timestamp
    ));
}

#[test]
fn an_alias_without_collection_is_skipped() {
    let mut before = Metadata::small();
    before.put("root-coord/collection-alias/lost", &alias("lost", 99));
    let migration = before.migrate(Split);
    let key = "root-coord/collection-alias/lost";
    assert!(has(
        &migration,
        Severity::Warning,
        "alias-without-collection",
        key
    ));
    assert!(
        !before
            .after(&migration)
            .contains_key("root-coord/aliases/lost")
    );
}

#[test]
fn t6_an_unreadable_alias_is_an_error_or_skipped() {
    for (value, code) in [
        (&b"\x08"[..], "undecodable-value"),
        (b"\x08\x01", "alias-without-name"),
    ] {
        let mut before = Metadata::small();
        before.raw(OLD, value);
        assert!(has(&before.migrate(Split), Severity::Error, code, OLD));
        let migration = before.skip(Split);
        assert!(has(&migration, Severity::Warning, code, OLD));
        assert!(
            !before
                .after(&migration)
                .keys()
                .any(|key| key.contains("books"))
        );
    }
}

#[test]
fn unknown_fields_of_an_alias_are_reported() {
    let mut before = Metadata::small();
    let mut value = alias("books", 1).encode_to_vec();
    value.extend_from_slice(b"\xb8\x06\x01");
    before.raw(OLD, &value);
    assert!(has(
        &before.migrate(Split),
        Severity::Warning,
        "unknown-field",
        OLD
    ));
}
