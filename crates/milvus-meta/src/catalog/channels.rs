//! Virtual channels: their collection, the data node that watches them, and their checkpoint.

use std::collections::BTreeMap;

use super::{Catalog, Channel, Time};
use crate::keys::{Timestamp, channel_collection};
use crate::model::CollectionId;
use crate::proto::v2_2::data::{ChannelWatchInfo, ChannelWatchState};
use crate::proto::v2_2::etcd::CollectionInfo;
use crate::proto::v2_2::internal::MsgPosition;

#[derive(Debug, Default)]
pub(super) struct Channels(BTreeMap<String, Channel>);

impl Channels {
    pub(super) fn push_collection(&mut self, id: CollectionId, info: &CollectionInfo) {
        for (index, name) in info.virtual_channel_names.iter().enumerate() {
            let physical = info.physical_channel_names.get(index).cloned();
            let channel = self.of(name);
            channel.physical = physical.unwrap_or_default();
            channel.collection_id = Some(id);
        }
    }

    /// Adds a watched channel, given as `<node>/<channel>`.
    pub(super) fn push_watch(&mut self, rest: &str, info: &ChannelWatchInfo) {
        let (node, name) = rest.split_once('/').unwrap_or(("", rest));
        let channel = self.of(name);
        channel.data_node = Some(node.to_owned());
        channel.state = Some(match info.state() {
            ChannelWatchState::Uncomplete => "uncomplete",
            ChannelWatchState::Complete => "complete",
            ChannelWatchState::ToWatch => "to watch",
            ChannelWatchState::WatchSuccess => "watched",
            ChannelWatchState::WatchFailure => "watch failed",
            ChannelWatchState::ToRelease => "to release",
            ChannelWatchState::ReleaseSuccess => "released",
            ChannelWatchState::ReleaseFailure => "release failed",
        });
    }

    pub(super) fn push_checkpoint(&mut self, name: &str, position: &MsgPosition) {
        self.of(name).checkpoint = Time::of(Timestamp(position.timestamp));
    }

    pub(super) fn push_removal(&mut self, name: &str, value: &[u8]) {
        self.of(name).removed = value == b"removed";
    }

    fn of(&mut self, name: &str) -> &mut Channel {
        self.0.entry(name.to_owned()).or_insert_with(|| Channel {
            name: name.to_owned(),
            collection_id: channel_collection(name.as_bytes()),
            ..Channel::default()
        })
    }

    pub(super) fn finish(self, catalog: &mut Catalog) {
        for mut channel in self.0.into_values() {
            let id = channel.collection_id;
            channel.collection = id.and_then(|id| catalog.collection_name(id));
            catalog.channels.push(channel);
        }
    }
}
