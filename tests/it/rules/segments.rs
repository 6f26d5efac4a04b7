//! T14 and T18: segment logs, moved from the records to separate keys.

use milvus_meta::finding::Severity;
use milvus_meta::proto::v2_2::data;
use prost::Message as _;

use super::FORMS;
use crate::support::metadata::{
    Metadata, codes, has, logs, migrate_to, segment_with_logs, target_of,
};
use milvus_meta::transform::{CollectionForm, OnBrokenRecord};

const RECORD: &str = "datacoord-meta/s/1/10/51";

fn with_segment(record: &milvus_meta::proto::v2_1::data::SegmentInfo) -> Metadata {
    let mut before = Metadata::small();
    before.put(RECORD, record);
    before
}

#[test]
fn t14_logs_move_to_keys_in_every_form() {
    let mut record = segment_with_logs(51, 12);
    record.deltalogs = vec![logs("delta_log", 51, (0, 77), &[2])];
    let before = with_segment(&record);
    for form in FORMS {
        for target in [target_of(form), "2.4.24"] {
            let migration = migrate_to(&before.list(), form, OnBrokenRecord::Fail, target);
            assert!(!migration.has_errors(), "{:?}", codes(&migration));
            assert_eq!(migration.storage_roots(), ["files"]);
            let after = before.after(&migration);
            let bare = data::SegmentInfo::decode(after[RECORD].as_slice()).unwrap();
            assert!(
                bare.binlogs.is_empty() && bare.statslogs.is_empty() && bare.deltalogs.is_empty()
            );
            assert_eq!((bare.id, bare.num_of_rows, bare.state), (51, 12, 4));
            for (family, field, id, entries) in [
                ("binlog", 100, 5100, 12),
                ("binlog", 101, 5101, 12),
                ("statslog", 100, 5102, 12),
                ("deltalog", 0, 77, 2),
            ] {
                let key = format!("datacoord-meta/{family}/1/10/51/{field}");
                let read = data::FieldBinlog::decode(after[&key].as_slice()).unwrap();
                assert_eq!(read.field_id, field, "{key}");
                let [log] = &read.binlogs[..] else {
                    panic!("{key}: {read:?}");
                };
                assert_eq!(
                    (log.log_id, log.entries_num, log.log_size),
                    (id, entries, 64)
                );
                assert_eq!(log.log_path, "");
                assert!(log.timestamp_from > 0 && log.timestamp_to > log.timestamp_from);
            }
            assert_eq!(after.keys().filter(|key| key.contains("log/")).count(), 4);
        }
    }
}

#[test]
fn t14_an_empty_delete_list_gets_a_key() {
    let before = with_segment(&segment_with_logs(51, 12));
    let after = before.after(&before.migrate(CollectionForm::Split));
    assert_eq!(after["datacoord-meta/deltalog/1/10/51/0"], b"");
}

#[test]
fn t14_a_segment_without_logs_is_unchanged() {
    let before = Metadata::small();
    let migration = before.migrate(CollectionForm::Database);
    let after = before.after(&migration);
    assert_eq!(after[RECORD], before.entries[RECORD]);
    assert_eq!(migration.segment_rewrites(), 0);
    assert_eq!(migration.storage_roots(), [] as [&str; 0]);
}

#[test]
fn t14_an_unexpected_log_path_keeps_the_record() {
    let mut record = segment_with_logs(51, 12);
    record.statslogs = vec![logs("stats_log", 50, (100, 9), &[12])];
    let before = with_segment(&record);
    for form in FORMS {
        let migration = before.migrate(form);
        let after = before.after(&migration);
        assert_eq!(after[RECORD], before.entries[RECORD]);
        assert!(!after.keys().any(|key| key.contains("log/")));
        assert!(has(&migration, Severity::Warning, "segment-inline", RECORD));
        let findings = migration.findings.iter();
        let inline = findings.filter(|finding| finding.code == "segment-inline");
        let messages: Vec<_> = inline.map(|finding| &finding.message).collect();
        assert!(
            messages[0].contains("segment 51 of collection \"collection_1\" (1)"),
            "{messages:?}"
        );
        assert!(
            messages[0].contains("files/stats_log/1/10/50/100/9"),
            "{messages:?}"
        );
    }
}

#[test]
fn t14_other_and_unknown_log_keys_are_kept() {
    let mut before = with_segment(&segment_with_logs(51, 12));
    for key in ["binlog/1/10/49/100", "statslog/1/10/51x", "deltalog/x"] {
        before.raw(&format!("datacoord-meta/{key}"), b"as it was");
    }
    let migration = before.migrate(CollectionForm::Database);
    let after = before.after(&migration);
    assert_eq!(migration.segment_rewrites(), 1);
    for (key, value) in before
        .entries
        .iter()
        .filter(|(key, _)| key.contains("log/"))
    {
        assert_eq!(&after[key], value, "{key}");
    }
}

#[test]
fn t18_row_counts_that_cannot_be_derived_are_named() {
    let mut record = segment_with_logs(51, 12);
    record.binlogs = vec![logs("insert_log", 51, (100, 5), &[0, 0])];
    let migration = with_segment(&record).migrate(CollectionForm::Database);
    assert!(has(
        &migration,
        Severity::Warning,
        "segment-row-count",
        RECORD
    ));
    record.binlogs = vec![logs("insert_log", 51, (100, 5), &[0])];
    let before = with_segment(&record);
    let migration = before.migrate(CollectionForm::Database);
    assert!(!has(
        &migration,
        Severity::Warning,
        "segment-row-count",
        RECORD
    ));
    let after = before.after(&migration);
    let value = after["datacoord-meta/binlog/1/10/51/100"].as_slice();
    assert_eq!(
        data::FieldBinlog::decode(value).unwrap().binlogs[0].entries_num,
        12
    );
}
