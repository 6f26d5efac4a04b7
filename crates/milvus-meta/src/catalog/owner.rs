//! Determines the collection and the segment of an entry.

use crate::codec;
use crate::keys::{Family, Key, LogKind, LogPath, Object, channel_collection};
use crate::model::{CollectionId, SegmentId};
use crate::proto::v2_1::index::IndexMeta;
use crate::proto::v2_2::{etcd, milvus};

/// The collection and segment of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    /// The collection; `None` if there is none or it is unknown.
    pub collection: Option<CollectionId>,
    /// The segment; `None` if there is none.
    pub segment: Option<SegmentId>,
}

impl Owner {
    /// Returns the owner of an entry, given its key relative to the meta root. The value is read if
    /// the key does not contain the owner.
    #[must_use]
    pub fn of(relative: &[u8], value: &[u8]) -> Self {
        let key = Key::parse(relative);
        match key {
            Key::Plain(object) | Key::Snapshot(object, _) => {
                Self::collection(of_object(object, value))
            }
            Key::LegacyIndex(..)
            | Key::FieldIndex(..)
            | Key::QueryCollection(_)
            | Key::CollectionLoadInfo(_)
            | Key::PartitionLoadInfo(..)
            | Key::Replica(..)
            | Key::SessionId
            | Key::Session(_) => Self::collection(key.collection()),
            Key::LegacySegmentIndex(.., segment)
            | Key::SegmentIndex(_, _, segment, _)
            | Key::Segment(.., segment)
            | Key::SegmentLog(_, _, _, segment, _) => Self {
                collection: key.collection(),
                segment: Some(segment),
            },
            Key::IndexBuild(_) => of_build(value),
            Key::QueryReplica(_) => {
                let replica =
                    codec::decode::<milvus::ReplicaInfo>("v2_2.milvus.ReplicaInfo", value);
                Self::collection(replica.ok().map(|it| CollectionId(it.collection_id)))
            }
            Key::Unknown(key) => of_path(key),
        }
    }

    fn collection(collection: Option<CollectionId>) -> Self {
        Self {
            collection,
            segment: None,
        }
    }
}

fn of_object(object: Object<'_>, value: &[u8]) -> Option<CollectionId> {
    if let Object::LegacyAlias(_) = object {
        let info = codec::decode::<etcd::CollectionInfo>("v2_2.etcd.CollectionInfo", value);
        return info.ok().map(|info| CollectionId(info.id));
    }
    if object.alias().is_some() {
        let info = codec::decode::<etcd::AliasInfo>("v2_2.etcd.AliasInfo", value);
        return info.ok().map(|info| CollectionId(info.collection_id));
    }
    object.collection()
}

/// Returns the owner of a 2.1 build: the segment is in the record, the collection in the paths of
/// its input.
fn of_build(value: &[u8]) -> Owner {
    let meta = codec::decode::<IndexMeta>("v2_1.index.IndexMeta", value).ok();
    let Some(request) = meta.and_then(|meta| meta.req) else {
        return Owner::default();
    };
    let paths = request.data_paths.iter();
    let path = paths
        .filter_map(|path| LogPath::parse(LogKind::Insert, path.as_bytes()))
        .next();
    let segment = Some(SegmentId(request.segment_id)).filter(|id| id.0 != 0);
    Owner {
        collection: path.as_ref().map(|path| path.collection),
        segment: segment.or_else(|| path.map(|path| path.segment)),
    }
}

/// Returns the owner of a key that [`Key`] does not parse: the ids are parts of the path or of a
/// channel name.
fn of_path(relative: &[u8]) -> Owner {
    let family = Family::of(relative);
    let Some(rest) = family.rest(relative) else {
        return Owner::default();
    };
    let parts: Vec<&[u8]> = rest.split(|byte| *byte == b'/').collect();
    let id = |index: usize| -> Option<i64> {
        let text = std::str::from_utf8(parts.get(index).copied()?).ok()?;
        text.parse().ok()
    };
    if matches!(
        family,
        Family::QuerySegment | Family::Handoff | Family::FlushedSegment
    ) {
        Owner {
            collection: id(0).map(CollectionId),
            segment: id(2).map(SegmentId),
        }
    } else if matches!(family, Family::QueryDeltaChannel | Family::QueryDmChannel) {
        Owner::collection(id(0).map(CollectionId))
    } else if matches!(
        family,
        Family::ChannelWatch | Family::ChannelCheckpoint | Family::ChannelRemoval
    ) {
        Owner::collection(parts.last().and_then(|name| channel_collection(name)))
    } else {
        Owner::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(key: &str, value: &[u8]) -> (Option<i64>, Option<i64>) {
        let owner = Owner::of(key.as_bytes(), value);
        (
            owner.collection.map(|it| it.0),
            owner.segment.map(|it| it.0),
        )
    }

    #[test]
    fn owner_is_read_from_key_or_value() {
        let alias = [0x08, 0x05, 0x12, 0x03, 0x0a, 0x01, 0x61];
        for (key, value, expected) in [
            ("root-coord/collection/5", &b""[..], (Some(5), None)),
            (
                "snapshots/root-coord/fields/5/100_ts7",
                b"",
                (Some(5), None),
            ),
            ("root-coord/collection-alias/a", &alias, (Some(5), None)),
            ("segment-index/5/6/7/8", b"", (Some(5), Some(7))),
            ("datacoord-meta/statslog/5/6/7/100", b"", (Some(5), Some(7))),
            ("queryCoord-segmentMeta/5/6/7", b"", (Some(5), Some(7))),
            (
                "queryCoord-deltaChannel/5/by-dev-dml_0_5v0",
                b"",
                (Some(5), None),
            ),
            (
                "channelwatch/3/by-dev-rootcoord-dml_0_5v0",
                b"",
                (Some(5), None),
            ),
            (
                "datacoord-meta/channel-cp/by-dev-rootcoord-dml_0_5v0",
                b"",
                (Some(5), None),
            ),
            ("root-coord/credential/users/root", b"{}", (None, None)),
            ("session/rootcoord", b"{}", (None, None)),
        ] {
            assert_eq!(owner(key, value), expected, "{key}");
        }
    }
}
