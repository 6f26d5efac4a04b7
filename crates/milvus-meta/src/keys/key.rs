//! Parses and renders the keys of every family that the migration reads or writes.

use crate::model::{
    BuildId, CollectionId, DatabaseId, FieldId, IndexId, PartitionId, ReplicaId, SegmentId,
};

use super::number::{parse_id, push_ids};
use super::{LogKind, MetaRoot, SNAPSHOT_PREFIX, Timestamp, push_timestamp, split_timestamp};

/// An object that the root coordinator stores with its history: a plain key, and the same key below
/// `snapshots/` with a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object<'k> {
    /// `root-coord/collection/<collection>`
    Collection(CollectionId),
    /// `root-coord/collection-alias/<alias>` (2.1)
    LegacyAlias(&'k [u8]),
    /// `root-coord/dd-msg-send` (2.1)
    DdMessageSend,
    /// `root-coord/dd-operation` (2.1)
    DdOperation,
    /// `root-coord/aliases/<alias>` (2.2)
    Alias(&'k [u8]),
    /// `root-coord/partitions/<collection>/<partition>` (2.2)
    Partition(CollectionId, PartitionId),
    /// `root-coord/fields/<collection>/<field>` (2.2)
    Field(CollectionId, FieldId),
    /// `root-coord/database/db-info/<database>` (2.2.9)
    Database(DatabaseId),
    /// `root-coord/database/collection-info/<database>/<collection>` (2.2.9)
    DatabaseCollection(DatabaseId, CollectionId),
    /// `root-coord/database/aliases/<database>/<alias>` (2.2.9)
    DatabaseAlias(DatabaseId, &'k [u8]),
}

/// A key relative to the meta root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key<'k> {
    /// The current value of an object with history.
    Plain(Object<'k>),
    /// A historical value: `snapshots/<plain key>_ts<timestamp>`.
    Snapshot(Object<'k>, Timestamp),
    /// `root-coord/index/<collection>/<index>` (2.1)
    LegacyIndex(CollectionId, IndexId),
    /// `root-coord/segment-index/<collection>/<index>/<partition>/<segment>` (2.1)
    LegacySegmentIndex(CollectionId, IndexId, PartitionId, SegmentId),
    /// `indexes/<build>` (2.1)
    IndexBuild(BuildId),
    /// `queryCoord-collectionMeta/<collection>` (2.1)
    QueryCollection(CollectionId),
    /// `queryCoord-ReplicaMeta/<replica>` (2.1)
    QueryReplica(ReplicaId),
    /// `field-index/<collection>/<index>` (2.2)
    FieldIndex(CollectionId, IndexId),
    /// `segment-index/<collection>/<partition>/<segment>/<build>` (2.2)
    SegmentIndex(CollectionId, PartitionId, SegmentId, BuildId),
    /// `querycoord-collection-loadinfo/<collection>` (2.2)
    CollectionLoadInfo(CollectionId),
    /// `querycoord-partition-loadinfo/<collection>/<partition>` (2.2)
    PartitionLoadInfo(CollectionId, PartitionId),
    /// `querycoord-replica/<collection>/<replica>` (2.2)
    Replica(CollectionId, ReplicaId),
    /// `datacoord-meta/s/<collection>/<partition>/<segment>`
    Segment(CollectionId, PartitionId, SegmentId),
    /// `datacoord-meta/{binlog,deltalog,statslog}/<collection>/<partition>/<segment>/<field>` (2.2)
    SegmentLog(LogKind, CollectionId, PartitionId, SegmentId, FieldId),
    /// `session/id`, the server id counter.
    SessionId,
    /// `session/<name>`: a live component or a migration.
    Session(&'k [u8]),
    /// Any other key.
    Unknown(&'k [u8]),
}

impl<'k> Key<'k> {
    /// Parses a key relative to the meta root. Never fails: see [`Key::Unknown`].
    #[must_use]
    pub fn parse(relative: &'k [u8]) -> Self {
        parse_known(relative).unwrap_or(Self::Unknown(relative))
    }

    /// Returns the collection of the record, if the key contains it.
    #[must_use]
    pub fn collection(&self) -> Option<CollectionId> {
        match *self {
            Self::Plain(object) | Self::Snapshot(object, _) => object.collection(),
            Self::LegacyIndex(id, ..)
            | Self::LegacySegmentIndex(id, ..)
            | Self::QueryCollection(id)
            | Self::FieldIndex(id, ..)
            | Self::SegmentIndex(id, ..)
            | Self::CollectionLoadInfo(id)
            | Self::PartitionLoadInfo(id, _)
            | Self::Replica(id, _)
            | Self::Segment(id, ..)
            | Self::SegmentLog(_, id, ..) => Some(id),
            Self::Unknown(relative) => relative
                .strip_prefix(b"datacoord-meta/channel-cp/")
                .and_then(channel_collection),
            Self::IndexBuild(_) | Self::QueryReplica(_) | Self::SessionId | Self::Session(_) => {
                None
            }
        }
    }

    /// Returns the key of an object: the plain key, or its snapshot at a time.
    #[must_use]
    pub fn of(object: Object<'k>, timestamp: Option<Timestamp>) -> Self {
        match timestamp {
            None => Self::Plain(object),
            Some(timestamp) => Self::Snapshot(object, timestamp),
        }
    }

    /// Returns the object of a plain key or a snapshot, with the time of the snapshot.
    #[must_use]
    pub fn object(&self) -> Option<(Object<'k>, Option<Timestamp>)> {
        if let Self::Plain(object) = *self {
            Some((object, None))
        } else if let Self::Snapshot(object, timestamp) = *self {
            Some((object, Some(timestamp)))
        } else {
            None
        }
    }

    /// Returns the bytes of the key, relative to the meta root.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        self.render_into(&mut out);
        out
    }

    /// Appends the result of [`Self::render`].
    pub(crate) fn render_into(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Plain(object) => object.render_into(out),
            Self::Snapshot(object, timestamp) => {
                out.extend_from_slice(SNAPSHOT_PREFIX.as_bytes());
                object.render_into(out);
                push_timestamp(out, timestamp);
            }
            Self::LegacyIndex(c, i) => push_ids(out, "root-coord/index", &[c.0, i.0]),
            Self::LegacySegmentIndex(c, i, p, s) => {
                push_ids(out, "root-coord/segment-index", &[c.0, i.0, p.0, s.0]);
            }
            Self::IndexBuild(b) => push_ids(out, "indexes", &[b.0]),
            Self::QueryCollection(c) => push_ids(out, "queryCoord-collectionMeta", &[c.0]),
            Self::QueryReplica(r) => push_ids(out, "queryCoord-ReplicaMeta", &[r.0]),
            Self::FieldIndex(c, i) => push_ids(out, "field-index", &[c.0, i.0]),
            Self::SegmentIndex(c, p, s, b) => {
                push_ids(out, "segment-index", &[c.0, p.0, s.0, b.0]);
            }
            Self::CollectionLoadInfo(c) => {
                push_ids(out, "querycoord-collection-loadinfo", &[c.0]);
            }
            Self::PartitionLoadInfo(c, p) => {
                push_ids(out, "querycoord-partition-loadinfo", &[c.0, p.0]);
            }
            Self::Replica(c, r) => push_ids(out, "querycoord-replica", &[c.0, r.0]),
            Self::Segment(c, p, s) => push_ids(out, "datacoord-meta/s", &[c.0, p.0, s.0]),
            Self::SegmentLog(kind, c, p, s, f) => {
                push_ids(out, kind.family().name(), &[c.0, p.0, s.0, f.0]);
            }
            Self::SessionId => out.extend_from_slice(b"session/id"),
            Self::Session(name) => push_name(out, "session", name),
            Self::Unknown(relative) => out.extend_from_slice(relative),
        }
    }
}

impl<'k> Object<'k> {
    /// Returns the collection of a collection record, partition or field.
    #[must_use]
    pub fn collection(&self) -> Option<CollectionId> {
        match *self {
            Self::Collection(id)
            | Self::Partition(id, _)
            | Self::Field(id, _)
            | Self::DatabaseCollection(_, id) => Some(id),
            Self::LegacyAlias(_)
            | Self::DdMessageSend
            | Self::DdOperation
            | Self::Alias(_)
            | Self::Database(_)
            | Self::DatabaseAlias(..) => None,
        }
    }

    /// Returns the database of a collection record, 0 outside databases, and the collection.
    #[must_use]
    pub fn collection_record(&self) -> Option<(DatabaseId, CollectionId)> {
        if let Self::Collection(id) = *self {
            Some((DatabaseId(0), id))
        } else if let Self::DatabaseCollection(database, id) = *self {
            Some((database, id))
        } else {
            None
        }
    }

    /// Returns the database of a 2.2 alias, 0 outside databases, and its name.
    #[must_use]
    pub fn alias(&self) -> Option<(DatabaseId, &'k [u8])> {
        if let Self::Alias(name) = *self {
            Some((DatabaseId(0), name))
        } else if let Self::DatabaseAlias(database, name) = *self {
            Some((database, name))
        } else {
            None
        }
    }

    fn render_into(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Collection(c) => push_ids(out, "root-coord/collection", &[c.0]),
            Self::LegacyAlias(name) => push_name(out, "root-coord/collection-alias", name),
            Self::DdMessageSend => out.extend_from_slice(b"root-coord/dd-msg-send"),
            Self::DdOperation => out.extend_from_slice(b"root-coord/dd-operation"),
            Self::Alias(name) => push_name(out, "root-coord/aliases", name),
            Self::Partition(c, p) => push_ids(out, "root-coord/partitions", &[c.0, p.0]),
            Self::Field(c, f) => push_ids(out, "root-coord/fields", &[c.0, f.0]),
            Self::Database(d) => push_ids(out, "root-coord/database/db-info", &[d.0]),
            Self::DatabaseCollection(d, c) => {
                push_ids(out, "root-coord/database/collection-info", &[d.0, c.0]);
            }
            Self::DatabaseAlias(d, name) => {
                push_ids(out, "root-coord/database/aliases", &[d.0]);
                out.push(b'/');
                out.extend_from_slice(name);
            }
        }
    }
}

fn parse_known(relative: &[u8]) -> Option<Key<'_>> {
    if let Some(historical) = relative.strip_prefix(SNAPSHOT_PREFIX.as_bytes()) {
        let (original, timestamp) = split_timestamp(historical)?;
        return Some(Key::Snapshot(parse_object(original)?, timestamp));
    }
    if relative == b"session/id" {
        return Some(Key::SessionId);
    }
    if let Some(name) = relative.strip_prefix(b"session/") {
        return Some(Key::Session(name));
    }
    parse_record(relative).or_else(|| parse_object(relative).map(Key::Plain))
}

fn parse_record(relative: &[u8]) -> Option<Key<'_>> {
    let ids = |prefix: &str| relative.strip_prefix(prefix.as_bytes());
    if let Some(rest) = ids("indexes/") {
        return parse_ids(rest).map(|[b]| Key::IndexBuild(BuildId(b)));
    }
    if let Some(rest) = ids("root-coord/segment-index/") {
        return parse_ids(rest).map(|[c, i, p, s]| {
            Key::LegacySegmentIndex(CollectionId(c), IndexId(i), PartitionId(p), SegmentId(s))
        });
    }
    if let Some(rest) = ids("root-coord/index/") {
        return parse_ids(rest).map(|[c, i]| Key::LegacyIndex(CollectionId(c), IndexId(i)));
    }
    if let Some(rest) = ids("segment-index/") {
        return parse_ids(rest).map(|[c, p, s, b]| {
            Key::SegmentIndex(CollectionId(c), PartitionId(p), SegmentId(s), BuildId(b))
        });
    }
    if let Some(rest) = ids("field-index/") {
        return parse_ids(rest).map(|[c, i]| Key::FieldIndex(CollectionId(c), IndexId(i)));
    }
    if let Some(rest) = ids("datacoord-meta/s/") {
        return parse_ids(rest)
            .map(|[c, p, s]| Key::Segment(CollectionId(c), PartitionId(p), SegmentId(s)));
    }
    for kind in LogKind::ALL {
        let rest = ids(kind.family().name()).and_then(|rest| rest.strip_prefix(b"/"));
        if let Some(rest) = rest {
            let [c, p, s, f] = parse_ids(rest)?;
            let (collection, partition) = (CollectionId(c), PartitionId(p));
            let (segment, field) = (SegmentId(s), FieldId(f));
            return Some(Key::SegmentLog(kind, collection, partition, segment, field));
        }
    }
    if let Some(rest) = ids("queryCoord-collectionMeta/") {
        return parse_ids(rest).map(|[c]| Key::QueryCollection(CollectionId(c)));
    }
    if let Some(rest) = ids("queryCoord-ReplicaMeta/") {
        return parse_ids(rest).map(|[r]| Key::QueryReplica(ReplicaId(r)));
    }
    if let Some(rest) = ids("querycoord-collection-loadinfo/") {
        return parse_ids(rest).map(|[c]| Key::CollectionLoadInfo(CollectionId(c)));
    }
    if let Some(rest) = ids("querycoord-partition-loadinfo/") {
        return parse_ids(rest)
            .map(|[c, p]| Key::PartitionLoadInfo(CollectionId(c), PartitionId(p)));
    }
    let rest = ids("querycoord-replica/")?;
    parse_ids(rest).map(|[c, r]| Key::Replica(CollectionId(c), ReplicaId(r)))
}

fn parse_object(relative: &[u8]) -> Option<Object<'_>> {
    let below = relative.strip_prefix(b"root-coord/")?;
    if let Some(rest) = below.strip_prefix(b"collection/") {
        return parse_ids(rest).map(|[c]| Object::Collection(CollectionId(c)));
    }
    if let Some(rest) = below.strip_prefix(b"collection-alias/") {
        return Some(Object::LegacyAlias(rest));
    }
    if let Some(rest) = below.strip_prefix(b"aliases/") {
        return Some(Object::Alias(rest));
    }
    if let Some(rest) = below.strip_prefix(b"partitions/") {
        return parse_ids(rest).map(|[c, p]| Object::Partition(CollectionId(c), PartitionId(p)));
    }
    if let Some(rest) = below.strip_prefix(b"fields/") {
        return parse_ids(rest).map(|[c, f]| Object::Field(CollectionId(c), FieldId(f)));
    }
    if let Some(rest) = below.strip_prefix(b"database/db-info/") {
        return parse_ids(rest).map(|[d]| Object::Database(DatabaseId(d)));
    }
    if let Some(rest) = below.strip_prefix(b"database/collection-info/") {
        return parse_ids(rest)
            .map(|[d, c]| Object::DatabaseCollection(DatabaseId(d), CollectionId(c)));
    }
    if let Some(rest) = below.strip_prefix(b"database/aliases/") {
        let slash = rest.iter().position(|byte| *byte == b'/')?;
        let [database] = parse_ids(&rest[..slash])?;
        return Some(Object::DatabaseAlias(
            DatabaseId(database),
            &rest[slash + 1..],
        ));
    }
    match below {
        b"dd-msg-send" => Some(Object::DdMessageSend),
        b"dd-operation" => Some(Object::DdOperation),
        _ => None,
    }
}

/// Parses exactly `N` ids, separated by slashes, in canonical spelling.
fn parse_ids<const N: usize>(text: &[u8]) -> Option<[i64; N]> {
    let mut ids = [0; N];
    let mut parts = text.split(|byte| *byte == b'/');
    for id in &mut ids {
        *id = parse_id(parts.next()?)?;
    }
    parts.next().is_none().then_some(ids)
}

fn push_name(out: &mut Vec<u8>, prefix: &str, name: &[u8]) {
    out.extend_from_slice(prefix.as_bytes());
    out.push(b'/');
    out.extend_from_slice(name);
}

/// Returns the collection of a virtual channel: `<physical channel>_<collection>v<shard>`.
#[must_use]
pub fn channel_collection(channel: &[u8]) -> Option<CollectionId> {
    let channel = std::str::from_utf8(channel).ok()?;
    let (_, name) = channel.rsplit_once('_')?;
    let (collection, shard) = name.split_once('v')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(shard) {
        return None;
    }
    parse_id(collection.as_bytes()).map(CollectionId)
}

impl MetaRoot {
    /// Returns the complete key, below the meta root.
    #[must_use]
    pub fn key(&self, key: &Key<'_>) -> Vec<u8> {
        let mut complete = Vec::with_capacity(self.meta_root().len() + 96);
        complete.extend_from_slice(self.meta_root().as_bytes());
        complete.push(b'/');
        key.render_into(&mut complete);
        complete
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn virtual_channel_contains_its_collection() {
        let of = |channel: &str| channel_collection(channel.as_bytes()).map(|id| id.0);
        assert_eq!(
            of("by-dev-rootcoord-dml_0_436777253933154305v0"),
            Some(436_777_253_933_154_305)
        );
        assert_eq!(of("a_b_5v12"), Some(5));
        for other in [
            "c",
            "dml_0",
            "dml_0_5",
            "dml_0_v0",
            "dml_0_5v",
            "dml_0_5vx",
            "dml_0_05v0",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn id_is_parsed_only_in_canonical_spelling() {
        for id in [0, 7, 10, -1, i64::MAX, i64::MIN] {
            assert_eq!(parse_id(id.to_string().as_bytes()), Some(id));
        }
        for text in [
            "",
            "-",
            "-0",
            "00",
            "07",
            "-07",
            "+7",
            " 7",
            "7 ",
            "7a",
            "/",
            ":",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
        ] {
            assert_eq!(parse_id(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn documented_keys_are_parsed() {
        assert_eq!(
            Key::parse(b"root-coord/segment-index/1/2/3/4"),
            Key::LegacySegmentIndex(CollectionId(1), IndexId(2), PartitionId(3), SegmentId(4))
        );
        assert_eq!(
            Key::parse(b"segment-index/1/2/3/4"),
            Key::SegmentIndex(CollectionId(1), PartitionId(2), SegmentId(3), BuildId(4))
        );
        assert_eq!(
            Key::parse(b"snapshots/root-coord/collection-alias/my_ts1_ts22"),
            Key::Snapshot(Object::LegacyAlias(b"my_ts1"), Timestamp(22))
        );
        // Milvus 2.3.18, 2.4.5 and later write at the largest timestamp.
        assert_eq!(
            Key::parse(b"snapshots/root-coord/collection/5_ts18446744073709551615"),
            Key::Snapshot(Object::Collection(CollectionId(5)), Timestamp::LAST)
        );
        assert_eq!(
            Key::parse(b"session/querynode-6"),
            Key::Session(b"querynode-6")
        );
        assert_eq!(Key::parse(b"session/id"), Key::SessionId);
    }

    #[test]
    fn non_canonical_key_is_unknown() {
        for key in [
            "indexes/01",
            "indexes/",
            "indexes/1/2",
            "indexes/-0",
            "indexes/9223372036854775808",
            "root-coord/collection/abc",
            "snapshots/root-coord/collection/5",
            "snapshots/root-coord/collection/5_ts18446744073709551616",
            "querycoord-collectionMeta/1",
        ] {
            assert_eq!(
                Key::parse(key.as_bytes()),
                Key::Unknown(key.as_bytes()),
                "{key}"
            );
        }
    }

    fn key_like() -> impl Strategy<Value = Vec<u8>> {
        let prefix = prop::sample::select(
            super::super::Family::ALL
                .iter()
                .map(|family| family.name())
                .collect::<Vec<_>>(),
        );
        let id = prop_oneof![
            any::<i64>().prop_map(|id| id.to_string()),
            "[a-z0-9_/-]{0,12}",
            Just(String::from("a_ts1")),
        ];
        let suffix = prop_oneof![
            Just(String::new()),
            any::<u64>().prop_map(|ts| format!("_ts{ts}")),
            Just(String::from("_ts01")),
        ];
        (prefix, prop::collection::vec(id, 0..5), suffix).prop_map(|(prefix, ids, suffix)| {
            let mut key = prefix.to_owned();
            for id in ids {
                key.push('/');
                key.push_str(&id);
            }
            key.push_str(&suffix);
            key.into_bytes()
        })
    }

    proptest! {
        #[test]
        fn parsed_key_renders_to_the_same_bytes(key in key_like()) {
            prop_assert_eq!(Key::parse(&key).render(), key);
        }

        #[test]
        fn any_bytes_parse_and_render(key in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(Key::parse(&key).render(), key);
        }
    }
}
