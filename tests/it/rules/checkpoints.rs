//! T13: channel checkpoints.

use std::collections::BTreeMap;

use milvus_meta::layout::Layout;
use milvus_meta::proto::v2_1::{common, data, internal};
use milvus_meta::proto::v2_2;
use milvus_meta::transform::CollectionForm::Split;
use prost::Message as _;

use super::FORMS;
use crate::support::metadata::{CREATED, Metadata, collection, segment};

const PREFIX: &str = "datacoord-meta/channel-cp/";

fn position(timestamp: u64) -> internal::MsgPosition {
    internal::MsgPosition {
        channel_name: "dml_0".into(),
        msg_id: timestamp.to_be_bytes().to_vec(),
        msg_group: "group".into(),
        timestamp,
    }
}

/// A collection with two channels, one of them with segments, and a dropped collection.
fn with_channels() -> Metadata {
    let mut before = Metadata::small();
    before.change_collection(|record| {
        record.virtual_channel_names = vec!["dml_0_1v0".into(), "dml_1_1v1".into()];
        record.physical_channel_names = vec!["dml_0".into(), "dml_1".into()];
        record.start_positions = ["dml_0", "dml_1"]
            .map(|name| common::KeyDataPair {
                key: name.into(),
                data: format!("start of {name}").into_bytes(),
            })
            .into();
    });
    for (id, dml, start, state) in [
        (60, Some(30), Some(5), 4),
        (61, Some(20), None, 4),
        (62, None, Some(25), 2),
        (63, Some(10), None, 6),
    ] {
        let record = data::SegmentInfo {
            insert_channel: "dml_0_1v0".into(),
            dml_position: dml.map(position),
            start_position: start.map(position),
            state,
            ..segment(id, 100)
        };
        before.put(&format!("datacoord-meta/s/1/10/{id}"), &record);
    }
    before.drop("root-coord/collection/2");
    let mut dropped = collection(2);
    dropped.virtual_channel_names = vec!["dml_2_2v0".into()];
    before.put(
        &format!("snapshots/root-coord/collection/2_ts{CREATED}"),
        &dropped,
    );
    before
}

fn checkpoints(before: &Metadata) -> BTreeMap<String, v2_2::internal::MsgPosition> {
    let after = before.after(&before.migrate(Split));
    let found = after
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value)));
    found
        .map(|(channel, value)| {
            let value = v2_2::internal::MsgPosition::decode(value.as_slice()).unwrap();
            (channel.to_owned(), value)
        })
        .collect()
}

#[test]
fn t13_each_live_channel_gets_a_checkpoint() {
    let expected = [
        // Segment 61: 63 is dropped, and for 60 the dml position counts.
        v2_2::internal::MsgPosition {
            channel_name: "dml_0_1v0".into(),
            msg_id: 20_u64.to_be_bytes().to_vec(),
            msg_group: "group".into(),
            timestamp: 20,
        },
        v2_2::internal::MsgPosition {
            channel_name: "dml_1_1v1".into(),
            msg_id: b"start of dml_1".to_vec(),
            msg_group: String::new(),
            timestamp: CREATED,
        },
    ];
    let expected: BTreeMap<_, _> = expected
        .map(|position| (position.channel_name.clone(), position))
        .into();
    assert_eq!(checkpoints(&with_channels()), expected);
    for form in FORMS {
        let before = with_channels();
        let plan = before.migrate(form).plan(Layout::V2_1, 1);
        let mut families = plan.families.iter();
        let family = families.find(|family| family.name == "datacoord-meta/channel-cp");
        assert_eq!(
            family.map(|family| (family.put, family.delete)),
            Some((2, 0))
        );
    }
}

#[test]
fn t13_an_existing_checkpoint_is_kept() {
    let mut before = with_channels();
    let key = format!("{PREFIX}dml_0_1v0");
    before.raw(&key, b"as it is");
    before.raw(&format!("{PREFIX}dml_9_9v0"), b"another");
    let migration = before.migrate(Split);
    let after = before.after(&migration);
    assert_eq!(after[&key], b"as it is");
    assert_eq!(after[&format!("{PREFIX}dml_9_9v0")], b"another");
    let staged: Vec<_> = migration.staged().map(|put| put.key).collect();
    let is_staged = |name: &str| {
        let full_key = format!("by-dev/meta/{PREFIX}{name}").into_bytes();
        staged.contains(&full_key)
    };
    assert!(is_staged("dml_1_1v1") && !is_staged("dml_0_1v0"));
}

#[test]
fn t13_a_channel_without_any_position_gets_none() {
    assert!(checkpoints(&Metadata::small()).is_empty());
}
