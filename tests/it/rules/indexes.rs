//! Index definitions and segment indexes: T3 to T7, T10, T11, D34 to D36, D39, D44 to D46.

use milvus_meta::finding::Severity;
use milvus_meta::proto::v2_1::index::IndexMeta;
use milvus_meta::proto::v2_2::index::{FieldIndex, IndexInfo, SegmentIndex};
use milvus_meta::transform::CollectionForm::{Database, Split};
use milvus_meta::transform::OnBrokenRecord;
use prost::Message as _;

use super::FORMS;
use crate::support::metadata::{
    CREATED, Metadata, build, codes, definition, field, has, migrate_to, pair, reference, segment,
    segment_index,
};

const INDEX: &str = "root-coord/index/1/7";

fn pairs(list: &[(&str, &str)]) -> Vec<milvus_meta::proto::v2_2::common::KeyValuePair> {
    let pairs = list.iter();
    pairs
        .map(
            |(key, value)| milvus_meta::proto::v2_2::common::KeyValuePair {
                key: (*key).into(),
                value: (*value).into(),
            },
        )
        .collect()
}

fn segments(before: &Metadata) -> Vec<(String, SegmentIndex)> {
    let after = before.after(&before.migrate(Split));
    let found = after
        .iter()
        .filter(|(key, _)| key.starts_with("segment-index/"));
    found
        .map(|(key, value)| (key.clone(), SegmentIndex::decode(value.as_slice()).unwrap()))
        .collect()
}

#[test]
fn d44_t7_an_index_definition_is_flattened_and_sorted() {
    let before = Metadata::small();
    let expected = FieldIndex {
        index_info: Some(IndexInfo {
            collection_id: 1,
            field_id: 101,
            index_name: "_default_idx_101".into(),
            index_id: 7,
            type_params: pairs(&[("dim", "8")]),
            index_params: pairs(&[
                ("index_type", "IVF_FLAT"),
                ("metric_type", "L2"),
                ("nlist", "1024"),
            ]),
            user_index_params: pairs(&[
                ("index_type", "IVF_FLAT"),
                ("params", "{\"nlist\":1024}"),
                ("metric_type", "L2"),
            ]),
            ..Default::default()
        }),
        deleted: false,
        create_time: CREATED + 9,
    };
    for form in FORMS {
        let after = before.after(&before.migrate(form));
        assert_eq!(after["field-index/1/7"], expected.encode_to_vec());
    }
}

#[test]
fn t19_2_3_drops_default_scalar_index_types() {
    // Data type, index type, target, and the number of pairs given by the user.
    for (data_type, index_type, target, expected) in [
        (5, "STL_SORT", "2.2.16", 1),
        (5, "STL_SORT", "2.3.5", 0),
        (21, "Trie", "2.3.5", 0),
        (5, "OTHER", "2.3.5", 1),
        (101, "STL_SORT", "2.3.5", 1),
    ] {
        let mut before = Metadata::small();
        before.change_collection(|record| {
            let schema = record.schema.as_mut().unwrap();
            schema.fields.push(field(102, "scalar", data_type));
            record.field_indexes.push(reference(102, 8));
        });
        let mut record = definition(8);
        record.index_params = vec![pair("index_type", index_type)];
        before.put("root-coord/index/1/8", &record);
        let migration = migrate_to(&before.list(), Database, OnBrokenRecord::Fail, target);
        let after = before.after(&migration);
        let read = FieldIndex::decode(after["field-index/1/8"].as_slice()).unwrap();
        let info = read.index_info.unwrap();
        assert_eq!(
            info.user_index_params.len(),
            expected,
            "{index_type} {target}"
        );
        assert_eq!(info.index_params, pairs(&[("index_type", index_type)]));
    }
}

#[test]
fn an_indexed_segment_is_joined_with_its_build() {
    let expected = SegmentIndex {
        collection_id: 1,
        partition_id: 10,
        segment_id: 50,
        num_rows: 5000,
        index_id: 7,
        build_id: 90,
        node_id: 4,
        index_version: 1,
        state: 3,
        fail_reason: String::new(),
        index_file_keys: vec!["IVF".into()],
        deleted: false,
        create_time: CREATED + 11,
        serialize_size: 77,
        write_handoff: true,
    };
    let found = segments(&Metadata::small());
    assert_eq!(found[0], ("segment-index/1/10/50/90".into(), expected));
}

#[test]
fn d34_t3_small_segments_get_unique_build_ids() {
    let mut before = Metadata::small();
    // A second index on the same small segment, and another small segment.
    before.change_collection(|record| {
        record.field_indexes = vec![reference(101, 7), reference(100, 8)];
    });
    before.put("root-coord/index/1/8", &definition(8));
    let mut second = segment_index(51, 0);
    second.index_id = 8;
    before.put("root-coord/segment-index/1/8/10/51", &second);
    before.put("root-coord/segment-index/1/7/10/9", &segment_index(9, 0));
    let found = segments(&before);
    let small: Vec<_> = found
        .iter()
        .filter(|(_, record)| record.build_id != 90)
        .map(|(key, it)| (key.as_str(), it.index_id, it.build_id, it.num_rows))
        .collect();
    // In the order of (collection, partition, segment, index): 9/7, 51/7, 51/8.
    assert_eq!(
        small,
        [
            ("segment-index/1/10/51/87", 8, 87, 12),
            ("segment-index/1/10/51/88", 7, 88, 12),
            ("segment-index/1/10/9/89", 7, 89, 0),
        ]
    );
    let (_, record) = &found[0];
    assert_eq!(record.build_id, 90);
    let placeholder = &found[1].1;
    assert_eq!((placeholder.index_version, placeholder.state), (1, 3));
    assert!(placeholder.write_handoff && placeholder.index_file_keys.is_empty());
}

#[test]
fn d35_t3_build_ids_of_all_records_are_reserved() {
    let mut before = Metadata::small();
    // Build 40 has no record and belongs to an unreferenced index: skipped, but reserved.
    let mut orphan = segment_index(70, 40);
    orphan.index_id = 99;
    before.put("root-coord/segment-index/1/99/10/70", &orphan);
    let mut small = segment_index(69, 0);
    small.index_id = 99;
    before.put("root-coord/segment-index/1/99/10/69", &small);
    let found = segments(&before);
    let builds: Vec<_> = found.iter().map(|(_, record)| record.build_id).collect();
    assert_eq!(builds, [90, 39]);
}

#[test]
fn d36_t4_a_missing_build_is_an_error_or_left_out() {
    let mut before = Metadata::small();
    before.remove("indexes/90");
    let migration = before.migrate(Split);
    assert!(has(
        &migration,
        Severity::Error,
        "index-build-missing",
        "indexes/90"
    ));
    let migration = before.skip(Split);
    assert!(has(
        &migration,
        Severity::Warning,
        "index-build-missing",
        "indexes/90"
    ));
    let after = before.after(&migration);
    assert!(
        !after
            .keys()
            .any(|key| key.starts_with("segment-index/1/10/50/"))
    );
    assert!(after.contains_key("field-index/1/7"));
    let message = &migration.findings[0].message;
    assert!(
        message.contains("by-dev/meta/root-coord/segment-index/1/7/10/50"),
        "{message}"
    );
}

#[test]
fn t4_a_missing_build_reports_the_segment_state() {
    let findings_when = |segment_is_there: bool| {
        let mut before = Metadata::small();
        before.remove("indexes/90");
        if segment_is_there {
            before.put("datacoord-meta/s/1/10/50", &segment(50, 12));
        }
        before.skip(Split).findings[0].message.clone()
    };
    assert!(findings_when(true).contains("searched without index"));
    assert!(findings_when(false).contains("no such segment any more"));
}

#[test]
fn t4_an_enabled_index_with_build_0_lacks_its_build() {
    let mut before = Metadata::small();
    let mut record = segment_index(51, 0);
    record.enable_index = true;
    let key = "root-coord/segment-index/1/7/10/51";
    before.put(key, &record);
    assert!(has(
        &before.migrate(Split),
        Severity::Error,
        "index-build-missing",
        key
    ));
    assert_eq!(
        before
            .skip(Split)
            .staged()
            .filter(|put| { String::from_utf8_lossy(&put.key).contains("/segment-index/") })
            .count(),
        1
    );
}

#[test]
fn t4_a_missing_build_of_a_deleted_index_is_a_notice() {
    let mut before = Metadata::small();
    let mut record = definition(7);
    record.deleted = true;
    before.put(INDEX, &record);
    before.remove("indexes/90");
    let migration = before.migrate(Split);
    assert!(!migration.has_errors());
    let key = "root-coord/segment-index/1/7/10/50";
    assert!(has(
        &migration,
        Severity::Notice,
        "segment-index-left-out",
        key
    ));
    let after = before.after(&migration);
    let read = FieldIndex::decode(after["field-index/1/7"].as_slice()).unwrap();
    assert!(read.deleted);
}

#[test]
fn d39_t5_unreferenced_indexes_are_counted() {
    let mut before = Metadata::small();
    before.put("root-coord/index/1/8", &definition(8));
    let mut orphan = segment_index(60, 0);
    orphan.index_id = 8;
    before.put("root-coord/segment-index/1/8/10/60", &orphan);
    let mut dropped = segment_index(61, 0);
    dropped.collection_id = 2;
    before.put("root-coord/segment-index/2/7/10/61", &dropped);
    before.put("indexes/91", &build(91, 10, 62));
    let migration = before.migrate(Split);
    assert!(!migration.has_errors());
    assert!(has(
        &migration,
        Severity::Notice,
        "unreferenced-index",
        "root-coord/index/1/8"
    ));
    let key = "root-coord/segment-index/2/7/10/61";
    assert!(has(
        &migration,
        Severity::Notice,
        "segment-index-left-out",
        key
    ));
    assert!(has(
        &migration,
        Severity::Notice,
        "unreferenced-build",
        "indexes/91"
    ));
    let counted = migration.findings.iter();
    let counted: Vec<_> = counted
        .filter(|finding| finding.code == "unreferenced-index")
        .collect();
    assert!(counted[0].message.contains("1 segment index"));
    let after = before.after(&migration);
    assert!(!after.contains_key("field-index/1/8"));
    assert_eq!(
        after
            .keys()
            .filter(|key| key.starts_with("segment-index/"))
            .count(),
        2
    );
}

#[test]
fn t6_a_missing_definition_names_key_and_reference() {
    let mut before = Metadata::small();
    before.remove(INDEX);
    let migration = before.migrate(Split);
    assert!(has(
        &migration,
        Severity::Error,
        "index-record-missing",
        INDEX
    ));
    assert!(
        migration.findings[0]
            .message
            .contains("collection \"collection_1\" (1)")
    );
    let after = before.after(&before.skip(Split));
    assert!(!after.keys().any(|key| key.starts_with("field-index/")));
    assert!(!after.keys().any(|key| key.starts_with("segment-index/")));
}

#[test]
fn t6_an_index_on_a_missing_field_is_an_error() {
    let mut before = Metadata::small();
    before.change_collection(|record| record.field_indexes = vec![reference(555, 7)]);
    assert!(has(
        &before.migrate(Split),
        Severity::Error,
        "index-field-missing",
        INDEX
    ));
}

#[test]
fn d46_t6_invalid_params_are_an_error() {
    let mut before = Metadata::small();
    let mut record = definition(7);
    record.index_params = vec![pair("params", "{")];
    before.put(INDEX, &record);
    assert!(has(
        &before.migrate(Split),
        Severity::Error,
        "bad-index-params",
        INDEX
    ));
    let migration = before.skip(Split);
    assert!(has(
        &migration,
        Severity::Warning,
        "bad-index-params",
        INDEX
    ));
}

#[test]
fn d45_t7_params_keep_values_and_null_is_reported() {
    let mut before = Metadata::small();
    let mut record = definition(7);
    let json = r#"{"nlist": 2097152, "ratio": 1e-5, "list": [1, 2], "none": null, "on": true}"#;
    record.index_params = vec![pair("params", json)];
    before.put(INDEX, &record);
    let migration = before.migrate(Split);
    let after = before.after(&migration);
    let read = FieldIndex::decode(after["field-index/1/7"].as_slice()).unwrap();
    assert_eq!(
        read.index_info.unwrap().index_params,
        pairs(&[
            ("list", "[1,2]"),
            ("nlist", "2097152"),
            ("on", "true"),
            ("ratio", "1e-05"),
        ])
    );
    assert!(has(&migration, Severity::Notice, "null-index-param", INDEX));
}

#[test]
fn t6_joins_use_the_ids_in_the_values() {
    let mut before = Metadata::small();
    // The same segment index, index and build with greater keys.
    let mut again = segment_index(50, 91);
    again.create_time = 1;
    before.put("root-coord/segment-index/1/7/10/59", &again);
    let mut index = definition(7);
    index.index_name = "named".into();
    before.put("root-coord/index/1/8", &index);
    let mut other = build(90, 10, 50);
    other.serialize_size = 1;
    before.put("indexes/95", &other);
    before.put("indexes/91", &build(91, 10, 50));
    let migration = before.migrate(Split);
    for key in ["root-coord/segment-index/1/7/10/50", INDEX, "indexes/90"] {
        assert!(
            has(&migration, Severity::Notice, "duplicate-record", key),
            "{key}"
        );
    }
    let found = segments(&before);
    let (key, record) = &found[0];
    assert_eq!(
        (key.as_str(), record.create_time),
        ("segment-index/1/10/50/91", 1)
    );
    let after = before.after(&migration);
    let read = FieldIndex::decode(after["field-index/1/7"].as_slice()).unwrap();
    assert_eq!(read.index_info.unwrap().index_name, "named");
}

#[test]
fn two_segments_never_share_a_build() {
    let mut before = Metadata::small();
    before.put("root-coord/segment-index/1/7/10/52", &segment_index(52, 90));
    let migration = before.migrate(Split);
    let loser = "root-coord/segment-index/1/7/10/50";
    assert!(has(&migration, Severity::Warning, "shared-build", loser));
    let builds: Vec<_> = segments(&before)
        .iter()
        .map(|(_, it)| it.build_id)
        .collect();
    assert_eq!(builds, [89, 90]);
}

#[test]
fn t10_tombstones_from_2_0_are_skipped() {
    let mut before = Metadata::small();
    before.drop("root-coord/index/1/3");
    before.drop("root-coord/segment-index/1/3/10/50");
    before.drop("indexes/3");
    let migration = before.migrate(Split);
    assert_eq!(codes(&migration), codes(&Metadata::small().migrate(Split)));
}

#[test]
fn t11_index_files_unreachable_by_2_2_are_a_warning() {
    let with = |change: fn(&mut IndexMeta)| {
        let mut before = Metadata::small();
        let mut record = build(90, 10, 50);
        change(&mut record);
        before.put("indexes/90", &record);
        has(
            &before.migrate(Split),
            Severity::Warning,
            "index-file-path",
            "indexes/90",
        )
    };
    assert!(!with(|_| {}));
    assert!(!with(|record| record.index_file_paths.clear()));
    assert!(with(
        |record| record.index_file_paths[0] = "files/index_files/90/1/10/99/IVF".into()
    ));
    assert!(with(
        |record| record.index_file_paths[0] = "files/index_files/90/2/10/50/IVF".into()
    ));
    assert!(with(|record| record.index_file_paths.push("IVF".into())));
}

#[test]
fn undecodable_records_are_errors_with_their_keys() {
    for key in [
        INDEX,
        "indexes/90",
        "root-coord/segment-index/1/7/10/50",
        "queryCoord-collectionMeta/1",
        "queryCoord-ReplicaMeta/30",
    ] {
        let mut before = Metadata::small();
        before.raw(key, b"\x08");
        let errors: Vec<_> = codes(&before.migrate(Split))
            .into_iter()
            .filter(|(severity, ..)| *severity == Severity::Error)
            .collect();
        let expected = (
            Severity::Error,
            "undecodable-value".to_owned(),
            key.to_owned(),
        );
        assert_eq!(
            errors,
            [expected],
            "{key}: the one error, and none that follows from it"
        );
        assert!(!before.skip(Split).has_errors());
    }
}

#[test]
fn unknown_fields_dropped_by_2_2_are_reported() {
    let mut before = Metadata::small();
    for key in [INDEX, "indexes/90", "root-coord/segment-index/1/7/10/50"] {
        let mut value = before.entries[key].clone();
        value.extend_from_slice(b"\xb8\x06\x01");
        before.raw(key, &value);
        let migration = before.migrate(Split);
        assert!(
            has(&migration, Severity::Warning, "unknown-field", key),
            "{key}"
        );
    }
}

#[test]
fn all_findings_are_reported_together() {
    let mut before = Metadata::small();
    before.remove("indexes/90");
    before.raw("root-coord/collection/2", b"\x08");
    before.raw("root-coord/collection-alias/a", b"\x08");
    before.raw("queryCoord-collectionMeta/9", b"\x08");
    let migration = before.migrate(Split);
    let errors = migration.findings.iter();
    let errors = errors.filter(|finding| finding.severity == Severity::Error);
    // The load state is undecodable, and that of a missing collection.
    assert_eq!(errors.count(), 5);
    assert!(migration.findings.is_sorted());
}

#[test]
fn segment_rows_are_joined_by_the_ids_in_the_value() {
    let mut before = Metadata::small();
    before.put("datacoord-meta/s/1/10/59", &segment(51, 34));
    let found = segments(&before);
    assert_eq!(found[1].1.num_rows, 34, "the greater key wins");
}
