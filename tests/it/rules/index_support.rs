//! T16, T17, T20: indexes of 2.1 that a target cannot use.

use milvus_meta::finding::{Finding, Severity};
use milvus_meta::layout::Layout;
use milvus_meta::proto::v2_2::index::{FieldIndex, SegmentIndex};
use milvus_meta::transform::CollectionForm::{Database, Split};
use milvus_meta::transform::{Migration, OnBrokenRecord};
use prost::Message as _;

use crate::support::metadata::{
    Metadata, build, codes, definition, field, migrate_to, pair, reference, segment_index,
};

const SEGMENT: &str = "root-coord/segment-index/1/8/10/50";

/// The small instance with index 8 `by_age` on field 102 `age` of this type, with the indexed
/// segment 50 (build 91) and the small segment 51.
fn with_index(data_type: i32, params: &[(&str, &str)]) -> Metadata {
    let mut before = Metadata::small();
    before.change_collection(|record| {
        let schema = record.schema.as_mut().unwrap();
        schema.fields.push(field(102, "age", data_type));
        record.field_indexes.push(reference(102, 8));
    });
    let mut record = definition(8);
    record.index_name = "by_age".into();
    record.index_params = params.iter().map(|(key, value)| pair(key, value)).collect();
    before.put("root-coord/index/1/8", &record);
    for (segment, build_id) in [(50, 91), (51, 0)] {
        let mut row = segment_index(segment, build_id);
        (row.index_id, row.field_id) = (8, 102);
        before.put(&format!("root-coord/segment-index/1/8/10/{segment}"), &row);
    }
    before.put("indexes/91", &build(91, 10, 50));
    before
}

fn migrate(before: &Metadata, target: &str) -> Migration {
    let form = if target < "2.2.9" { Split } else { Database };
    migrate_to(&before.list(), form, OnBrokenRecord::Fail, target)
}

/// The index ids of the written segment indexes.
fn written(before: &Metadata, migration: &Migration) -> Vec<i64> {
    let after = before.after(migration);
    let rows = after
        .iter()
        .filter(|(key, _)| key.starts_with("segment-index/"));
    let mut ids: Vec<_> = rows
        .map(|(_, value)| SegmentIndex::decode(value.as_slice()).unwrap().index_id)
        .collect();
    ids.sort_unstable();
    ids
}

fn found<'m>(migration: &'m Migration, code: &str) -> Vec<&'m Finding> {
    let findings = migration.findings.iter();
    findings.filter(|finding| finding.code == code).collect()
}

#[test]
fn t17_narrow_sort_indexes_keep_only_their_definition() {
    for target in ["2.2.4", "2.2.9", "2.2.16", "2.3.5", "2.4.24"] {
        for (data_type, name, left_out) in [
            (1, "BOOL", true),
            (2, "INT8", true),
            (3, "INT16", true),
            (4, "INT32", true),
            (10, "FLOAT", true),
            (5, "INT64", false),
            (11, "DOUBLE", false),
            (21, "VARCHAR", false),
        ] {
            let before = with_index(data_type, &[("index_type", "STL_SORT")]);
            let migration = migrate(&before, target);
            assert!(!migration.has_errors());
            let expected = if left_out { &[7, 7][..] } else { &[7, 7, 8, 8] };
            assert_eq!(written(&before, &migration), expected, "{name} {target}");
            let after = before.after(&migration);
            let kept = FieldIndex::decode(after["field-index/1/8"].as_slice()).unwrap();
            assert!(!kept.deleted);
            assert!(!after.keys().any(|key| key.starts_with("indexes/")));
            let warnings = found(&migration, "segment-index-unusable");
            assert_eq!(warnings.len(), usize::from(left_out), "{name} {target}");
            if let [warning] = warnings[..] {
                assert_eq!(warning.severity, Severity::Warning);
                assert_eq!(warning.key, format!("by-dev/meta/{SEGMENT}"));
                let named = "index \"by_age\" (8) on field \"age\" (102) of collection \"collection_1\" (1)";
                assert!(warning.message.starts_with(named), "{}", warning.message);
                assert!(warning.message.contains("2 segment indexes"));
                // As on real servers: 2.2.4, 2.2.9 and 2.2.16 build nothing by themselves, 2.3.5
                // does.
                let asks = warning.message.contains("call create_index");
                assert_eq!(asks, target < "2.3", "{target}: {}", warning.message);
            }
            assert!(after.contains_key("querycoord-collection-loadinfo/1"));
        }
    }
}

#[test]
fn t17_the_plan_counts_what_is_written() {
    let before = with_index(2, &[("index_type", "STL_SORT")]);
    let plan = migrate(&before, "2.2.16").plan(Layout::V2_1, 1);
    let family = |name: &str| {
        let mut families = plan.families.iter();
        families.find(|family| family.name == name).unwrap().clone()
    };
    assert_eq!(family("segment-index").put, 2);
    assert_eq!(family("root-coord/segment-index").delete, 4);
    assert_eq!(family("indexes").delete, 2);
}

#[test]
fn t17_a_missing_build_of_a_left_out_index_is_no_error() {
    let mut before = with_index(2, &[("index_type", "STL_SORT")]);
    before.remove("indexes/91");
    assert!(!migrate(&before, "2.2.16").has_errors());
}

#[test]
fn t17_a_deleted_index_is_not_reported() {
    let mut before = with_index(2, &[]);
    let mut record = definition(8);
    record.deleted = true;
    before.put("root-coord/index/1/8", &record);
    let migration = migrate(&before, "2.2.16");
    assert!(found(&migration, "segment-index-unusable").is_empty());
}

#[test]
fn t20_binary_indexes_by_metric_and_target() {
    const BINARY_VECTOR: i32 = 100;
    // Index type, metric, and whether segment indexes are written and the collection stays loaded,
    // for 2.2.16 and for 2.3.5. Real servers of both releases misread files of BIN_FLAT.
    for (index_type, metric, in_2_2, in_2_3) in [
        ("BIN_FLAT", "JACCARD", (false, true), (false, true)),
        ("BIN_FLAT", "HAMMING", (false, true), (false, true)),
        ("BIN_FLAT", "TANIMOTO", (false, true), (false, false)),
        ("BIN_IVF_FLAT", "JACCARD", (true, true), (true, true)),
        ("BIN_IVF_FLAT", "TANIMOTO", (true, true), (false, false)),
    ] {
        for (target, (files, loaded)) in [("2.2.16", in_2_2), ("2.3.5", in_2_3)] {
            let case = format!("{index_type} {metric} {target}");
            let params = [("index_type", index_type), ("metric_type", metric)];
            let before = with_index(BINARY_VECTOR, &params);
            let migration = migrate(&before, target);
            let expected = if files { &[7, 7, 8, 8][..] } else { &[7, 7] };
            assert_eq!(written(&before, &migration), expected, "{case}");
            let after = before.after(&migration);
            assert!(after.contains_key("field-index/1/8"), "{case}");
            let is_loaded = after.contains_key("querycoord-collection-loadinfo/1");
            assert_eq!(is_loaded, loaded, "{case}");
            let rebuilt = found(&migration, "segment-index-unusable").len();
            assert_eq!(rebuilt, usize::from(!files), "{case}");
            let retired = found(&migration, "retired-metric").len();
            assert_eq!(retired, usize::from(!loaded), "{case}");
        }
    }
}

#[test]
fn t20_metrics_with_changed_results_are_reported() {
    for (metric, reported) in [("SUBSTRUCTURE", 1), ("SUPERSTRUCTURE", 1), ("JACCARD", 0)] {
        let params = [("index_type", "BIN_FLAT"), ("metric_type", metric)];
        let migration = migrate(&with_index(100, &params), "2.2.16");
        let notices = found(&migration, "metric-answers-differ");
        assert_eq!(notices.len(), reported, "{metric}");
        let mut severities = notices.iter().map(|notice| notice.severity);
        assert!(severities.all(|severity| severity == Severity::Notice));
    }
}

#[test]
fn t16_retired_index_types_are_not_promised_as_loaded() {
    for name in [
        "RHNSW_FLAT",
        "RHNSW_PQ",
        "RHNSW_SQ",
        "ANNOY",
        "NSG",
        "IVF_SQ8H",
        "NGT_PANNG",
        "NGT_ONNG",
    ] {
        for target in ["2.2.16", "2.3.5", "2.4.24"] {
            let mut before = Metadata::small();
            let mut record = definition(7);
            record.index_params = vec![pair("index_type", name), pair("metric_type", "L2")];
            before.put("root-coord/index/1/7", &record);
            let migration = migrate(&before, target);
            let key = "by-dev/meta/root-coord/index/1/7";
            let [warning] = found(&migration, "retired-index-type")[..] else {
                panic!("{name} {target}: {:?}", codes(&migration));
            };
            assert_eq!((warning.severity, &*warning.key), (Severity::Warning, key));
            for part in [
                "collection \"collection_1\" (1)",
                name,
                target,
                "drop the index",
            ] {
                assert!(
                    warning.message.contains(part),
                    "{part}: {}",
                    warning.message
                );
            }
            let after = before.after(&migration);
            assert!(!after.keys().any(|key| key.starts_with("querycoord-")));
            assert!(after.contains_key("field-index/1/7"));
            assert_eq!(written(&before, &migration), [7, 7]);
            let [notice] = found(&migration, "not-loaded")[..] else {
                panic!("{name} {target}: {:?}", codes(&migration));
            };
            let message = &notice.message;
            assert!(message.contains("drop that index and create another"));
            assert_eq!(message.matches("collection_1").count(), 1, "{message}");
        }
    }
}
