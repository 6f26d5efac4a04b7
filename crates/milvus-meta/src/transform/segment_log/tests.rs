use prost::Message as _;

use super::*;
use crate::finding::Severity;
use crate::model::PartitionId;
use crate::proto::v2_1::common::SegmentState;
use crate::proto::v2_1::data;
use crate::proto::v2_2::data as new;
use crate::transform::OnBrokenRecord;

const IDS: SegmentIds = (CollectionId(1), PartitionId(10), SegmentId(50));

fn log(path: &str, entries_num: i64) -> data::Binlog {
    data::Binlog {
        entries_num,
        timestamp_from: 3,
        timestamp_to: 4,
        log_path: path.to_owned(),
        log_size: 5,
    }
}

fn logs(field_id: i64, binlogs: Vec<data::Binlog>) -> data::FieldBinlog {
    data::FieldBinlog { field_id, binlogs }
}

/// A segment of 12 rows with these insert logs of field 100.
fn segment(insert: Vec<data::Binlog>) -> data::SegmentInfo {
    data::SegmentInfo {
        id: 50,
        collection_id: 1,
        partition_id: 10,
        num_of_rows: 12,
        state: 4,
        binlogs: vec![logs(100, insert)],
        ..Default::default()
    }
}

fn insert(root: &str, id: i64) -> String {
    format!("{root}insert_log/1/10/50/100/{id}")
}

fn moves(record: &data::SegmentInfo) -> Option<Vec<(LogKind, i64, new::FieldBinlog)>> {
    let value = record.encode_to_vec();
    let Split::Moves(moved) = split(IDS, &value) else {
        return None;
    };
    let mut bare = record.clone();
    bare.binlogs.clear();
    bare.statslogs.clear();
    bare.deltalogs.clear();
    assert_eq!(moved.record, bare.encode_to_vec());
    let read = moved.logs.iter().map(|logs| {
        let value = new::FieldBinlog::decode(logs.value.as_slice()).unwrap();
        (logs.kind, logs.field.0, value)
    });
    Some(read.collect())
}

/// Returns the numbers of rows of the field's logs, and how they are known.
fn filled(rows: i64, entries: &[i64]) -> (Vec<i64>, RowCounts) {
    let list = (1..).zip(entries);
    let list = list.map(|(id, entries)| log(&insert("files/", id), *entries));
    let mut record = segment(list.collect());
    record.num_of_rows = rows;
    let value = record.encode_to_vec();
    let Split::Moves(moved) = split(IDS, &value) else {
        unreachable!("the paths are regular");
    };
    let read = new::FieldBinlog::decode(moved.logs[0].value.as_slice()).unwrap();
    let counts = read.binlogs.iter().map(|log| log.entries_num).collect();
    (counts, moved.row_counts)
}

#[test]
fn t14_every_kind_of_log_gets_a_key() {
    let mut record = segment(vec![log(&insert("files/", 7), 12)]);
    record
        .binlogs
        .push(logs(1, vec![log("files/insert_log/1/10/50/1/8", 12)]));
    record.statslogs = vec![logs(100, vec![log("files/stats_log/1/10/50/100/9", 12)])];
    record.deltalogs = vec![logs(0, vec![log("files/delta_log/1/10/50/6", 2)])];
    record.compaction_from = vec![40, 41];
    let of = |kind, field_id, log_id, entries_num| {
        let binlog = new::Binlog {
            entries_num,
            timestamp_from: 3,
            timestamp_to: 4,
            log_path: String::new(),
            log_size: 5,
            log_id,
        };
        let binlogs = vec![binlog];
        (kind, field_id, new::FieldBinlog { field_id, binlogs })
    };
    assert_eq!(
        moves(&record).unwrap(),
        [
            of(LogKind::Insert, 1, 8, 12),
            of(LogKind::Insert, 100, 7, 12),
            of(LogKind::Delete, 0, 6, 2),
            of(LogKind::Statistics, 100, 9, 12),
        ]
    );
}

#[test]
fn t14_field_listed_twice_keeps_all_logs() {
    let mut record = segment(vec![log(&insert("files/", 7), 5)]);
    record.binlogs.push(logs(1, Vec::new()));
    let again = vec![log(&insert("files/", 7), 5), log(&insert("files/", 9), 7)];
    record.binlogs.push(logs(100, again));
    let moved = moves(&record).unwrap();
    assert_eq!(moved.len(), 2, "{moved:?}");
    let ids: Vec<i64> = moved[1].2.binlogs.iter().map(|log| log.log_id).collect();
    assert_eq!(ids, [7, 7, 9]);
    assert_eq!(
        moved[0].2,
        new::FieldBinlog {
            field_id: 1,
            binlogs: Vec::new()
        }
    );
}

#[test]
fn t14_irregular_path_keeps_logs_in_the_record() {
    for path in [
        "",
        "7",
        "files/insert_log/1/10/50/100/x",
        "files/insert_log/1/10/50/101/7",
        "files/insert_log/1/10/51/100/7",
        "files/insert_log/1/11/50/100/7",
        "files/insert_log/2/10/50/100/7",
        "files/insert_log/1/10/50/7",
        "files/stats_log/1/10/50/100/7",
    ] {
        let value = segment(vec![log(path, 12)]).encode_to_vec();
        let wanted = Split::Stays(Obstacle::Path(path.to_owned()), RowCounts::Known);
        assert_eq!(split(IDS, &value), wanted);
    }
    // A single irregular path or another root is sufficient.
    for (good, bad) in [("files/", "other/"), ("", "files/"), ("/a/", "a/")] {
        let two = vec![log(&insert(good, 7), 5), log(&insert(bad, 8), 7)];
        let value = segment(two).encode_to_vec();
        let wanted = Split::Stays(Obstacle::Path(insert(bad, 8)), RowCounts::Known);
        assert_eq!(split(IDS, &value), wanted);
    }
    let mut record = segment(vec![log(&insert("files/", 7), 12)]);
    record.deltalogs = vec![logs(0, vec![log("files/delta_log/1/10/50/0/6", 2)])];
    assert_eq!(moves(&record), None);
}

#[test]
fn t14_mismatched_segment_keeps_logs_in_the_record() {
    let value = segment(vec![log(&insert("files/", 7), 12)]).encode_to_vec();
    for ids in [
        (CollectionId(2), IDS.1, IDS.2),
        (IDS.0, PartitionId(2), IDS.2),
        (IDS.0, IDS.1, SegmentId(2)),
    ] {
        let wanted = Split::Stays(Obstacle::OtherIds, RowCounts::Known);
        assert_eq!(split(ids, &value), wanted);
    }
    let with_id = b"\x5a\x04\x12\x02\x38\x05";
    assert!(matches!(
        split(IDS, with_id),
        Split::Stays(Obstacle::Unreadable(_), _)
    ));
    assert_eq!(split(IDS, b"\x08"), Split::NoLogs);
    assert_eq!(split(IDS, b""), Split::NoLogs);
}

#[test]
fn t18_missing_row_counts_are_derived() {
    use RowCounts::{Derived, Known, Unknown};
    for (rows, entries, wanted, counts) in [
        (12, &[12][..], &[12][..], Known),
        (12, &[0], &[12], Derived),
        (12, &[5, 0], &[5, 7], Derived),
        (12, &[0, 5, 3], &[4, 5, 3], Derived),
        (12, &[5, 7], &[5, 7], Known),
        // Unchanged, although the sum differs.
        (12, &[5, 5], &[5, 5], Known),
        (12, &[0, 0], &[0, 0], Unknown),
        (12, &[0, 5, 0], &[0, 5, 0], Unknown),
        (12, &[12, 0], &[12, 0], Unknown),
        (12, &[13, 0], &[13, 0], Unknown),
        (0, &[0], &[0], Unknown),
        (-1, &[0], &[0], Unknown),
        (
            12,
            &[i64::MAX, i64::MAX, 0],
            &[i64::MAX, i64::MAX, 0],
            Unknown,
        ),
        (12, &[], &[], Known),
    ] {
        assert_eq!(
            filled(rows, entries),
            (wanted.to_vec(), counts),
            "{entries:?}"
        );
    }
}

#[test]
fn t18_one_field_with_unknown_rows_is_reported() {
    let mut record = segment(vec![log(&insert("files/", 7), 0)]);
    let two = [
        "files/insert_log/1/10/50/1/8",
        "files/insert_log/1/10/50/1/9",
    ];
    record
        .binlogs
        .push(logs(1, two.map(|path| log(path, 0)).into()));
    record.statslogs = vec![logs(100, vec![log("files/stats_log/1/10/50/100/9", 0)])];
    let moved = moves(&record).unwrap();
    let counts = |position: usize| -> Vec<i64> {
        let logs = &moved[position].2.binlogs;
        logs.iter().map(|log| log.entries_num).collect()
    };
    assert_eq!(
        (counts(0), counts(1), counts(2)),
        (vec![0, 0], vec![12], vec![0])
    );
    for (state, expected) in [
        (SegmentState::Flushed, RowCounts::Unknown),
        (SegmentState::Flushing, RowCounts::Unknown),
        (SegmentState::Dropped, RowCounts::Known),
    ] {
        record.state = state.into();
        let value = record.encode_to_vec();
        let Split::Moves(moved) = split(IDS, &value) else {
            unreachable!("the paths are regular");
        };
        assert_eq!(moved.row_counts, expected, "{state:?}");
    }
}

fn root() -> MetaRoot {
    MetaRoot::new("by-dev", "meta", "kv").unwrap()
}

/// A segment with one log below a storage root.
fn placed((c, p, s): (i64, i64, i64), root: &str) -> (SegmentIds, Vec<u8>) {
    let path = format!("{root}/insert_log/{c}/{p}/{s}/100/7");
    let record = data::SegmentInfo {
        id: s,
        collection_id: c,
        partition_id: p,
        ..segment(vec![log(&path, 12)])
    };
    let ids = (CollectionId(c), PartitionId(p), SegmentId(s));
    (ids, record.encode_to_vec())
}

/// Code, key and message of a finding.
type Warning = (String, String, String);

/// Converts a table; returns its keys, roots and warnings.
fn convert(table: LogTable) -> (Vec<String>, Vec<String>, Vec<Warning>) {
    let mut findings = Findings::new(root(), OnBrokenRecord::Fail);
    let named = |id: CollectionId| format!("collection \"books\" ({id})");
    let logs = table.convert(named, &mut findings);
    let root = root();
    let puts = logs.puts(&root);
    let keys = puts.map(|put| String::from_utf8(put.key[12..].to_vec()).unwrap());
    let keys: Vec<String> = keys.collect();
    assert!(keys.is_sorted());
    let counted: u64 = logs.counts().values().sum();
    assert_eq!(counted, keys.len() as u64);
    let findings = findings.finish().into_iter();
    let warnings = findings
        .filter(|finding| finding.severity == Severity::Warning)
        .map(|finding| (finding.code, finding.key, finding.message));
    let warnings = warnings.collect();
    (keys, logs.roots, warnings)
}

fn table(segments: &[(SegmentIds, Vec<u8>)]) -> LogTable {
    let mut table = LogTable::new(SegmentForm::Auto);
    segments
        .iter()
        .for_each(|(ids, value)| table.push(*ids, value));
    table
}

#[test]
fn t14_keys_are_sorted_for_any_segment_order() {
    let mut segments: Vec<_> = [(1, 10, 9), (1, 10, 50), (1, 9, 51), (2, 10, 8), (10, 10, 7)]
        .map(|ids| placed(ids, "files"))
        .into();
    let forward = convert(table(&segments));
    segments.reverse();
    assert_eq!(convert(table(&segments)), forward);
    assert_eq!(forward.0.len(), 5);
    assert_eq!(forward.1, ["files"]);
    assert_eq!(forward.2, []);
}

#[test]
fn t14_segments_with_a_rare_root_stay_inline() {
    let segments = [
        placed((1, 10, 50), "z"),
        placed((1, 10, 51), "z"),
        placed((1, 10, 52), "a"),
    ];
    let (keys, roots, warnings) = convert(table(&segments));
    assert_eq!(keys.len(), 2);
    assert_eq!(roots, ["z", "a"]);
    let inline: Vec<_> = warnings
        .iter()
        .filter(|it| it.0 == "segment-inline")
        .collect();
    assert_eq!(inline.len(), 1, "{warnings:?}");
    assert_eq!(inline[0].1, "by-dev/meta/datacoord-meta/s/1/10/52");
    for part in ["segment 52 of collection \"books\" (1)", "\"a\"", "\"z\""] {
        assert!(inline[0].2.contains(part), "{}", inline[0].2);
    }
    assert!(warnings.iter().any(|it| it.0 == "relative-storage-root"));
    // The first of two equally frequent roots, in any order of segments.
    let (_, roots, _) = convert(table(&segments[1..]));
    assert_eq!(roots, ["a", "z"]);
}

#[test]
fn t14_shared_segment_id_keeps_both_inline() {
    let segments = [
        placed((1, 10, 50), "f"),
        placed((2, 20, 50), "f"),
        placed((2, 20, 51), "f"),
    ];
    let (keys, _, warnings) = convert(table(&segments));
    assert_eq!(keys, ["datacoord-meta/binlog/2/20/51/100"]);
    assert_eq!(
        warnings
            .iter()
            .filter(|it| it.0 == "segment-inline")
            .count(),
        2
    );
}

#[test]
fn t14_existing_log_keys_must_match_the_plan() {
    let (ids, value) = placed((1, 10, 50), "/f");
    let planned = moved(ids, &value).unwrap().logs[0].value.clone();
    let with = |kind, field, value: &[u8]| {
        let mut table = table(&[
            (ids, placed((1, 10, 50), "/f").1),
            placed((1, 10, 51), "/f"),
        ]);
        table.push_key(kind, ids, FieldId(field), value);
        convert(table)
    };
    // The existing key is not written again and is no obstacle.
    let (keys, _, warnings) = with(LogKind::Insert, 100, &planned);
    assert_eq!(keys, ["datacoord-meta/binlog/1/10/51/100"]);
    assert_eq!(warnings, []);
    for (kind, field, value) in [
        (LogKind::Insert, 100, &b"other"[..]),
        (LogKind::Insert, 101, &planned),
        (LogKind::Statistics, 100, &planned),
    ] {
        let (keys, _, warnings) = with(kind, field, value);
        assert_eq!(keys, ["datacoord-meta/binlog/1/10/51/100"]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].2.contains("datacoord-meta/"),
            "{}",
            warnings[0].2
        );
    }
}

#[test]
fn t14_segments_of_a_collection_share_a_finding() {
    let segments: Vec<_> = (100..150)
        .map(|id| {
            let (ids, _) = placed((1, 10, id), "f");
            let record = data::SegmentInfo {
                id,
                ..segment(vec![log("odd", 12)])
            };
            (ids, record.encode_to_vec())
        })
        .collect();
    let (keys, _, warnings) = convert(table(&segments));
    assert!(keys.is_empty());
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].2.contains("segments 100, 101, ")
            && warnings[0].2.contains("119 and 30 more of")
    );
}

#[test]
fn inline_form_moves_no_logs_and_warns() {
    let mut table = LogTable::new(SegmentForm::Inline);
    let (ids, value) = placed((1, 10, 50), "/f");
    table.push(ids, &value);
    let uncounted = segment(vec![log(&insert("/f/", 7), 0)]);
    table.push((IDS.0, IDS.1, SegmentId(50)), &uncounted.encode_to_vec());
    let (keys, roots, warnings) = convert(table);
    assert!(keys.is_empty());
    assert_eq!(roots, ["/f"]);
    let codes: Vec<&str> = warnings.iter().map(|it| &*it.0).collect();
    assert_eq!(codes, ["inline-segment-form", "segment-row-count"]);
}

#[test]
fn segment_is_rewritten_once_and_only_if_unchanged() {
    let (ids, value) = placed((1, 10, 50), "f");
    let mut findings = Findings::new(root(), OnBrokenRecord::Fail);
    let logs = table(&[(ids, value.clone())]).convert(|id| id.to_string(), &mut findings);
    let key = b"datacoord-meta/s/1/10/50";
    let SegmentRewrite::Put(record) = logs.rewrite(key, &value) else {
        unreachable!("the record has its logs");
    };
    assert_eq!(logs.rewrite(key, &record), SegmentRewrite::Done);
    let mut other = value.clone();
    other.extend_from_slice(b"\x28\x05");
    assert_eq!(logs.rewrite(key, &other), SegmentRewrite::Changed);
    assert_eq!(logs.rewrite(key, b"\x08"), SegmentRewrite::Changed);
    assert_eq!(
        logs.rewrite(b"datacoord-meta/s/1/10/51", &value),
        SegmentRewrite::Stays
    );
    assert_eq!(
        logs.rewrite(b"root-coord/collection/1", &value),
        SegmentRewrite::Stays
    );
}
