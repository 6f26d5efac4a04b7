//! T13: channel checkpoints. 2.1 stores positions only in segment records; until the data nodes of
//! 2.2 have written checkpoints, its query coordinator uses empty positions. The staged checkpoints
//! are those that 2.2 computes for a channel without one.

use std::collections::{BTreeMap, BTreeSet};

use super::NewKeys;
use super::collection::LiveCollections;
use crate::codec::v2_1::{self, Collection, MsgPosition};
use crate::codec::v2_2;
use crate::keys::{Family, is_tombstone};

/// The earliest position of each virtual channel, and the channels that have a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    earliest: BTreeMap<Vec<u8>, MsgPosition>,
    /// Keys relative to the meta root.
    existing: BTreeSet<Vec<u8>>,
}

impl Checkpoints {
    /// Adds the key of an existing checkpoint, which is kept.
    pub(super) fn push_existing(&mut self, key: &[u8]) {
        self.existing.insert(key.to_vec());
    }

    /// Adds a segment record. An unreadable one is reported elsewhere.
    pub(super) fn push_segment(&mut self, value: &[u8]) {
        if is_tombstone(value) {
            return;
        }
        let Ok(Some((channel, position))) = v2_1::segment_position(value) else {
            return;
        };
        match self.earliest.get_mut(channel) {
            Some(earliest) if *earliest <= position => {}
            Some(earliest) => *earliest = position,
            None => {
                self.earliest.insert(channel.to_vec(), position);
            }
        }
    }

    /// Stages a checkpoint for each virtual channel of a live collection that has none.
    pub(super) fn stage(self, live: &LiveCollections, staged: &mut NewKeys) {
        for record in live.values() {
            let physical = record.physical_channels.iter().map(Some);
            let physical = physical.chain(std::iter::repeat(None));
            for (channel, physical) in record.virtual_channels.iter().zip(physical) {
                let key = [&Family::ChannelCheckpoint.prefix(), channel.as_str()].concat();
                if self.existing.contains(key.as_bytes()) {
                    continue;
                }
                let of_segments = self.earliest.get(channel.as_bytes()).cloned();
                let position = of_segments.or_else(|| start(record, channel, physical));
                if let Some(position) = position {
                    let value = v2_2::message_position(channel, &position);
                    staged.insert(key.into_bytes(), value);
                }
            }
        }
    }
}

/// Returns the start position of the collection in the physical channel, before its first message.
fn start(record: &Collection, channel: &str, physical: Option<&String>) -> Option<MsgPosition> {
    // Milvus names a virtual channel after the physical one, with the suffix
    // `_<collection>v<shard>`.
    let physical = physical
        .map(String::as_str)
        .or_else(|| channel.rsplit_once('_').map(|(physical, _)| physical))?;
    let mut starts = record.start_positions.iter();
    let (_, message) = starts.find(|(name, _)| name == physical.as_bytes())?;
    (!message.is_empty()).then(|| MsgPosition {
        timestamp: record.create_time.0,
        message: message.clone(),
        group: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Timestamp;
    use crate::model::CollectionId;
    use crate::proto::v2_1::{data, internal};
    use prost::Message as _;

    const DROPPED: i32 = 6;

    fn position(timestamp: u64, message: &str) -> internal::MsgPosition {
        internal::MsgPosition {
            channel_name: "dml_0".into(),
            msg_id: message.into(),
            msg_group: "group".into(),
            timestamp,
        }
    }

    fn segment(dml: Option<(u64, &str)>, start: Option<(u64, &str)>) -> data::SegmentInfo {
        data::SegmentInfo {
            id: 3,
            collection_id: 1,
            partition_id: 2,
            insert_channel: "dml_0_1v0".into(),
            dml_position: dml.map(|(timestamp, message)| position(timestamp, message)),
            start_position: start.map(|(timestamp, message)| position(timestamp, message)),
            ..Default::default()
        }
    }

    /// Returns the staged checkpoints for these segments: channel, message and timestamp. The
    /// collection has the channels `dml_0_1v0` and `dml_1_1v1`, of which the second has a start
    /// position.
    fn staged(segments: &[data::SegmentInfo], existing: &[&str]) -> Vec<(String, String, u64)> {
        let mut checkpoints = Checkpoints::default();
        for key in existing {
            checkpoints.push_existing(key.as_bytes());
        }
        for segment in segments {
            checkpoints.push_segment(&segment.encode_to_vec());
        }
        let record = Collection {
            id: CollectionId(1),
            create_time: Timestamp(50),
            virtual_channels: vec!["dml_0_1v0".into(), "dml_1_1v1".into()],
            physical_channels: vec!["dml_0".into(), "dml_1".into()],
            start_positions: vec![(b"dml_1".to_vec(), b"start".to_vec())],
            ..Collection::default()
        };
        let mut keys = NewKeys::new();
        checkpoints.stage(&[(CollectionId(1), record)].into(), &mut keys);
        let read = keys.into_iter().map(|(key, value)| {
            let key = String::from_utf8(key).unwrap();
            let channel = key.strip_prefix("datacoord-meta/channel-cp/").unwrap();
            let value = internal::MsgPosition::decode(value.as_slice()).unwrap();
            assert_eq!(value.channel_name, channel);
            let message = String::from_utf8(value.msg_id).unwrap();
            (channel.to_owned(), message, value.timestamp)
        });
        read.collect()
    }

    fn first(segments: &[data::SegmentInfo]) -> Option<(String, u64)> {
        let staged = staged(segments, &[]);
        let mut first = staged.into_iter().filter(|(name, ..)| name == "dml_0_1v0");
        first.next().map(|(_, message, at)| (message, at))
    }

    fn at(message: &str, timestamp: u64) -> Option<(String, u64)> {
        Some((message.to_owned(), timestamp))
    }

    #[test]
    fn t13_earliest_segment_position_is_used() {
        let early = segment(Some((7, "early")), Some((3, "its start")));
        let late = segment(Some((9, "late")), None);
        let growing = segment(None, Some((8, "growing")));
        for segments in [
            [&early, &late, &growing].map(Clone::clone),
            [&growing, &late, &early].map(Clone::clone),
        ] {
            assert_eq!(first(&segments), at("early", 7));
        }
        assert_eq!(first(&[late.clone(), growing]), at("growing", 8));
        let mut dropped = early;
        dropped.state = DROPPED;
        assert_eq!(first(&[late, dropped]), at("late", 9));
    }

    #[test]
    fn t13_empty_message_id_is_no_position() {
        let empty = segment(Some((2, "")), Some((1, "start")));
        assert_eq!(first(&[empty]), at("start", 1));
        assert_eq!(first(&[segment(Some((2, "")), None)]), None);
    }

    #[test]
    fn t13_without_segments_the_start_position_is_used() {
        let found = staged(&[], &[]);
        assert_eq!(found, [("dml_1_1v1".into(), "start".into(), 50)]);
        let mut elsewhere = segment(Some((7, "other")), None);
        elsewhere.insert_channel = "dml_0_2v0".into();
        assert_eq!(staged(&[elsewhere], &[]).len(), 1);
    }

    #[test]
    fn t13_existing_checkpoints_are_kept() {
        let key = "datacoord-meta/channel-cp/dml_1_1v1";
        assert_eq!(staged(&[], &[key]), []);
        let segments = [segment(Some((7, "early")), None)];
        assert_eq!(staged(&segments, &[key]).len(), 1);
    }
}
