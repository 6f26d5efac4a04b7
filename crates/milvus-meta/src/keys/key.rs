//! Parses and renders the keys of every family that the migration reads or writes.

use crate::model::{
    BuildId, CollectionId, DatabaseId, FieldId, IndexId, PartitionId, ReplicaId, SegmentId,
};

use super::number::{parse_id, push_ids};
use super::{
    Family, LogKind, MetaRoot, SNAPSHOT_PREFIX, Timestamp, push_timestamp, split_timestamp,
};

/// Defines an enum of keys: first those that consist of a prefix and ids, then the others.
macro_rules! keys {
    (
        $(#[$doc:meta])*
        enum $name:ident {
            $($variant:ident $prefix:literal $(($($field:ident: $id:ident),+))?, $release:literal;)*
        }
        others, appended to $out:ident {
            $($(#[$other_doc:meta])* $other:ident ($($part:ident: $type:ty),+) => $append:expr;)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name<'k> {
            $(
                #[doc = concat!("`", $prefix, $($("/<", stringify!($field), ">",)+)? "`", $release)]
                $variant $(($($id),+))?,
            )*
            $($(#[$other_doc])* $other($($type),+),)*
        }

        impl $name<'_> {
            /// Parses a key that consists of a prefix and ids.
            fn of_ids(relative: &[u8]) -> Option<Self> {
                $(if let Some(rest) = relative.strip_prefix($prefix.as_bytes())
                    && let Some([$($($field),+)?]) = parse_ids(rest)
                {
                    return Some(Self::$variant $(($($id($field)),+))?);
                })*
                None
            }

            /// Appends the bytes of the key, relative to the meta root.
            fn append(&self, $out: &mut Vec<u8>) {
                match *self {
                    $(Self::$variant $(($($field),+))? => push_ids($out, $prefix, &[$($($field.0),+)?]),)*
                    $(Self::$other($($part),+) => $append,)*
                }
            }
        }
    };
}

keys! {
    /// An object that the root coordinator stores with its history: a plain key, and the same key below
    /// `snapshots/` with a timestamp.
    enum Object {
        Collection "root-coord/collection" (collection: CollectionId), "";
        Partition "root-coord/partitions" (collection: CollectionId, partition: PartitionId), " (2.2)";
        Field "root-coord/fields" (collection: CollectionId, field: FieldId), " (2.2)";
        Database "root-coord/database/db-info" (database: DatabaseId), " (2.2.9)";
        DatabaseCollection "root-coord/database/collection-info"
            (database: DatabaseId, collection: CollectionId), " (2.2.9)";
        DdMessageSend "root-coord/dd-msg-send", " (2.1)";
        DdOperation "root-coord/dd-operation", " (2.1)";
    }
    others, appended to out {
        /// `root-coord/collection-alias/<alias>` (2.1)
        LegacyAlias(name: &'k [u8]) => push_name(out, Family::LegacyAlias.name(), name);
        /// `root-coord/aliases/<alias>` (2.2)
        Alias(name: &'k [u8]) => push_name(out, Family::Alias.name(), name);
        /// `root-coord/database/aliases/<database>/<alias>` (2.2.9)
        DatabaseAlias(database: DatabaseId, name: &'k [u8]) => {
            push_ids(out, Family::DatabaseAlias.name(), &[database.0]);
            push_name(out, "", name);
        };
    }
}

keys! {
    /// A key relative to the meta root.
    enum Key {
        IndexBuild "indexes" (build: BuildId), " (2.1)";
        LegacySegmentIndex "root-coord/segment-index"
            (collection: CollectionId, index: IndexId, partition: PartitionId, segment: SegmentId), " (2.1)";
        LegacyIndex "root-coord/index" (collection: CollectionId, index: IndexId), " (2.1)";
        SegmentIndex "segment-index"
            (collection: CollectionId, partition: PartitionId, segment: SegmentId, build: BuildId), " (2.2)";
        FieldIndex "field-index" (collection: CollectionId, index: IndexId), " (2.2)";
        Segment "datacoord-meta/s" (collection: CollectionId, partition: PartitionId, segment: SegmentId), "";
        QueryCollection "queryCoord-collectionMeta" (collection: CollectionId), " (2.1)";
        QueryReplica "queryCoord-ReplicaMeta" (replica: ReplicaId), " (2.1)";
        CollectionLoadInfo "querycoord-collection-loadinfo" (collection: CollectionId), " (2.2)";
        PartitionLoadInfo "querycoord-partition-loadinfo"
            (collection: CollectionId, partition: PartitionId), " (2.2)";
        Replica "querycoord-replica" (collection: CollectionId, replica: ReplicaId), " (2.2)";
        SessionId "session/id", ", the server id counter.";
    }
    others, appended to out {
        /// The current value of an object with history.
        Plain(object: Object<'k>) => object.append(out);
        /// A historical value: `snapshots/<plain key>_ts<timestamp>`.
        Snapshot(object: Object<'k>, timestamp: Timestamp) => {
            out.extend_from_slice(SNAPSHOT_PREFIX.as_bytes());
            object.append(out);
            push_timestamp(out, timestamp);
        };
        /// `datacoord-meta/{binlog,deltalog,statslog}/<collection>/<partition>/<segment>/<field>` (2.2)
        SegmentLog(kind: LogKind, collection: CollectionId, partition: PartitionId, segment: SegmentId, field: FieldId)
            => push_ids(out, kind.family().name(), &[collection.0, partition.0, segment.0, field.0]);
        /// `session/<name>`: a live component or a migration.
        Session(name: &'k [u8]) => push_name(out, "session", name);
        /// Any other key.
        Unknown(relative: &'k [u8]) => out.extend_from_slice(relative);
    }
}

impl<'k> Key<'k> {
    /// Parses a key relative to the meta root. Never fails: see [`Key::Unknown`].
    #[must_use]
    pub fn parse(relative: &'k [u8]) -> Self {
        Self::known(relative).unwrap_or(Self::Unknown(relative))
    }

    fn known(relative: &'k [u8]) -> Option<Self> {
        if let Some(historical) = relative.strip_prefix(SNAPSHOT_PREFIX.as_bytes()) {
            let (original, timestamp) = split_timestamp(historical)?;
            return Some(Self::Snapshot(Object::parse(original)?, timestamp));
        }
        let others = || {
            for kind in LogKind::ALL {
                if let Some(rest) = relative.strip_prefix(kind.family().name().as_bytes()) {
                    let [c, p, s, f] = parse_ids(rest)?;
                    let (collection, partition) = (CollectionId(c), PartitionId(p));
                    let (segment, field) = (SegmentId(s), FieldId(f));
                    return Some(Self::SegmentLog(
                        kind, collection, partition, segment, field,
                    ));
                }
            }
            relative.strip_prefix(b"session/").map(Self::Session)
        };
        Self::of_ids(relative)
            .or_else(others)
            .or_else(|| Object::parse(relative).map(Self::Plain))
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
        self.append(&mut out);
        out
    }
}

impl<'k> Object<'k> {
    fn parse(relative: &'k [u8]) -> Option<Self> {
        let with_name = || {
            if let Some(name) = Family::LegacyAlias.rest(relative) {
                return Some(Self::LegacyAlias(name));
            }
            if let Some(name) = Family::Alias.rest(relative) {
                return Some(Self::Alias(name));
            }
            let rest = Family::DatabaseAlias.rest(relative)?;
            let slash = rest.iter().position(|byte| *byte == b'/')?;
            let database = DatabaseId(parse_id(&rest[..slash])?);
            Some(Self::DatabaseAlias(database, &rest[slash + 1..]))
        };
        Self::of_ids(relative).or_else(with_name)
    }

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
}

/// Parses exactly `N` ids in canonical spelling, each after a slash.
fn parse_ids<const N: usize>(text: &[u8]) -> Option<[i64; N]> {
    let mut ids = [0; N];
    let mut parts = text.split(|byte| *byte == b'/');
    let is_complete = parts.next().is_some_and(<[u8]>::is_empty);
    for id in &mut ids {
        *id = parse_id(parts.next()?)?;
    }
    (is_complete && parts.next().is_none()).then_some(ids)
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

/// Returns the collection of a watched channel, given the part of its key after the family's prefix:
/// `<node>/<channel>`.
pub(crate) fn watched_collection(rest: &[u8]) -> Option<CollectionId> {
    let slash = rest.iter().position(|byte| *byte == b'/');
    channel_collection(slash.map_or(rest, |slash| &rest[slash + 1..]))
}

impl MetaRoot {
    /// Returns the complete key, below the meta root.
    #[must_use]
    pub fn key(&self, key: &Key<'_>) -> Vec<u8> {
        let mut complete = Vec::with_capacity(self.meta_root().len() + 96);
        complete.extend_from_slice(self.meta_root().as_bytes());
        complete.push(b'/');
        key.append(&mut complete);
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
