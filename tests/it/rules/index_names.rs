//! Index names, including those of 2.1 with a changed `common.defaultIndexName`.

use milvus_meta::finding::Severity;
use milvus_meta::proto::v2_2::index::FieldIndex;
use milvus_meta::transform::CollectionForm::Split;
use prost::Message as _;

use crate::support::metadata::{Metadata, definition, field, has, reference};

const INDEX: &str = "root-coord/index/1/7";

#[test]
fn a_custom_index_name_is_kept() {
    let mut before = Metadata::small();
    let mut record = definition(7);
    record.index_name = "_default_idx_5".into();
    before.put(INDEX, &record);
    let after = before.after(&before.migrate(Split));
    let read = FieldIndex::decode(after["field-index/1/7"].as_slice()).unwrap();
    assert_eq!(read.index_info.unwrap().index_name, "_default_idx_5");
}

#[test]
fn a_renamed_default_index_is_reported() {
    let notice = |name: &str, deleted: bool| {
        let mut before = Metadata::small();
        let mut record = definition(7);
        record.index_name = name.into();
        record.deleted = deleted;
        before.put(INDEX, &record);
        let migration = before.migrate(Split);
        let findings = migration.findings.iter().cloned();
        let mut renamed = findings.filter(|finding| finding.code == "index-renamed");
        renamed.next()
    };
    let found = notice("_default_idx", false).unwrap();
    assert_eq!(found.severity, Severity::Notice);
    assert_eq!(found.key, format!("by-dev/meta/{INDEX}"));
    let start = "index \"_default_idx\" (7) on field \"vector\" (101) of collection \"collection_1\" (1) is \
                 named \"_default_idx_101\"";
    assert!(found.message.starts_with(start), "{}", found.message);
    assert_eq!(notice("_default_idx", true), None);
    assert_eq!(notice("own_name", false), None);
}

#[test]
fn two_indexes_of_one_name_are_kept_and_reported() {
    const SECOND: &str = "root-coord/index/1/8";
    let messages = |first: &str, second: &str, deleted: bool| {
        let mut before = Metadata::small();
        before.change_collection(|record| {
            let schema = record.schema.as_mut().unwrap();
            schema.fields.push(field(102, "other", 101));
            record.field_indexes = vec![reference(101, 7), reference(102, 8)];
        });
        for (key, id, name, deleted) in [(INDEX, 7, first, false), (SECOND, 8, second, deleted)] {
            let mut record = definition(id);
            record.index_name = name.into();
            record.deleted = deleted;
            before.put(key, &record);
        }
        let migration = before.migrate(Split);
        assert!(!migration.has_errors());
        let after = before.after(&migration);
        let read = FieldIndex::decode(after["field-index/1/8"].as_slice()).unwrap();
        let name = read.index_info.unwrap().index_name;
        assert!(name == second || second == "_default_idx");
        let mut findings = migration.findings.iter();
        let finding = findings.find(|finding| finding.code == "same-index-name");
        finding.map(|finding| {
            assert!(has(
                &migration,
                Severity::Warning,
                "same-index-name",
                SECOND
            ));
            finding.message.clone()
        })
    };
    let message = messages("_auto", "_auto", false).unwrap();
    for part in [
        "field \"vector\" (101)",
        "field \"other\" (102)",
        "collection \"collection_1\" (1)",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(message.contains("\"_auto\""));
    assert!(messages("_default_idx_102", "_default_idx", false).is_some());
    assert!(messages("_default_idx", "_default_idx", false).is_none());
    assert!(messages("_auto", "_auto", true).is_none());
}
