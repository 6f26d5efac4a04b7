//! Key families: the kind of record below each prefix, and what its presence indicates.

use super::{KeyRange, MetaRoot};

/// What a family's keys indicate about the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Only 2.1 writes it, and 2.2 must not find it.
    V2_1,
    /// 2.1 writes it, but it may remain on 2.2 clusters: indicates 2.1 only if nothing indicates
    /// 2.2.
    V2_1Leftover,
    /// Only 2.2, or a migration, writes it.
    V2_2,
    /// A running 2.2 writes it in either layout: evidence that 2.2 ran, but of neither layout.
    Trace,
    /// Both layouts have it.
    Both,
}

/// The storage format of a family's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueForm {
    /// A protobuf message, by its name in the schemas of this crate.
    Message(&'static str),
    /// Text if it is printable, otherwise a protobuf message.
    TextOrMessage(&'static str),
    /// Text or JSON.
    Text,
    /// An unknown format.
    Unknown,
}

macro_rules! families {
    ($($(#[$doc:meta])* $variant:ident $prefix:literal $evidence:ident $form:ident $(($message:literal))?;)*) => {
        /// A key family: the keys below an exact prefix relative to the meta root.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Family {
            $($(#[$doc])* $variant,)*
            /// A key of an unknown family; never changed.
            Other,
        }

        impl Family {
            /// Every known family, in key order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the prefix relative to the meta root, without the trailing slash. It is the
            /// family's name in reports.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $prefix,)*
                    Self::Other => "other",
                }
            }

            /// Returns what a key of this family indicates about the layout.
            #[must_use]
            pub fn evidence(self) -> Evidence {
                match self {
                    $(Self::$variant => Evidence::$evidence,)*
                    Self::Other => Evidence::Both,
                }
            }

            /// Returns the storage format of the values.
            pub(crate) fn form(self) -> ValueForm {
                match self {
                    $(Self::$variant => ValueForm::$form $(($message))?,)*
                    Self::Other => ValueForm::Unknown,
                }
            }
        }
    };
}

families! {
    /// Watched channels of data nodes.
    ChannelWatch "channelwatch" Both Message("v2_2.data.ChannelWatchInfo");
    /// Insert logs of segments (2.2).
    Binlog "datacoord-meta/binlog" Both Message("v2_2.data.FieldBinlog");
    /// Channel checkpoints (2.2).
    ChannelCheckpoint "datacoord-meta/channel-cp" Trace Message("v2_2.internal.MsgPosition");
    /// Removed channels.
    ChannelRemoval "datacoord-meta/channel-removal" Both Text;
    /// Delete logs of segments (2.2).
    Deltalog "datacoord-meta/deltalog" Both Message("v2_2.data.FieldBinlog");
    /// Segments.
    Segment "datacoord-meta/s" Both Message("v2_2.data.SegmentInfo");
    /// Statistics logs of segments (2.2).
    Statslog "datacoord-meta/statslog" Both Message("v2_2.data.FieldBinlog");
    /// Index definitions of 2.2.
    FieldIndex "field-index" V2_2 Message("v2_2.index.FieldIndex");
    /// Segments known to the 2.2 index coordinator.
    FlushedSegment "flushed-segment" Trace TextOrMessage("v2_2.data.SegmentInfo");
    /// Index builds of 2.1, one key per build.
    IndexBuild "indexes" V2_1 Message("v2_1.index.IndexMeta");
    /// Replicas of 2.1. The official migration does not delete these keys.
    QueryReplica "queryCoord-ReplicaMeta" V2_1Leftover Message("v2_2.milvus.ReplicaInfo");
    /// Resource groups (2.2.3 and later).
    ResourceGroup "queryCoord-ResourceGroup" Trace Message("v2_2.query.ResourceGroup");
    /// Tasks of several kinds that 2.1's query coordinator had started. 2.2 does not read them.
    QueryActiveTask "queryCoord-activeTask" Both Unknown;
    /// Load state of 2.1. The official migration does not delete these keys.
    QueryCollection "queryCoord-collectionMeta" V2_1Leftover Message("v2_1.query.CollectionInfo");
    /// Delta channels of 2.1 query nodes.
    QueryDeltaChannel "queryCoord-deltaChannel" Both Message("v2_1.data.VchannelInfo");
    /// Channels of 2.1 query nodes.
    QueryDmChannel "queryCoord-dmChannelWatchInfo" Both Message("v2_1.query.DmChannelWatchInfo");
    /// Query node sessions without a lease (2.1).
    QueryNodeInfo "queryCoord-queryNodeInfo" Both Text;
    /// Changes of sealed segments that 2.1's query coordinator announced. 2.2 does not read them.
    QuerySegmentChange "queryCoord-sealedSegmentChangeInfo" Both Unknown;
    /// Segments of 2.1 query nodes.
    QuerySegment "queryCoord-segmentMeta" Both Message("v2_2.query.SegmentInfo");
    /// States of the tasks of 2.1's query coordinator. 2.2 does not read them.
    QueryTaskState "queryCoord-taskInfo" Both Text;
    /// Tasks that 2.1's query coordinator had accepted. 2.2 does not read them.
    QueryTriggerTask "queryCoord-triggerTask" Both Unknown;
    /// Channels that 2.1 query nodes have yet to unsubscribe from.
    QueryUnsubscribe "queryCoord-unsubscribeChannelInfo" Both Message("v2_1.query.UnsubscribeChannelInfo");
    /// Loaded collections of 2.2.
    CollectionLoadInfo "querycoord-collection-loadinfo" V2_2 Message("v2_3.query.CollectionLoadInfo");
    /// Segments handed off to the query coordinator.
    Handoff "querycoord-handoff" Both Message("v2_2.query.SegmentInfo");
    /// Loaded partitions of 2.2.
    PartitionLoadInfo "querycoord-partition-loadinfo" V2_2 Message("v2_2.query.PartitionLoadInfo");
    /// Replicas of 2.2.
    Replica "querycoord-replica" V2_2 Message("v2_2.query.Replica");
    /// Aliases of 2.2 outside any database.
    Alias "root-coord/aliases" V2_2 Message("v2_2.etcd.AliasInfo");
    /// Aliases of 2.1.
    LegacyAlias "root-coord/collection-alias" V2_1Leftover Message("v2_1.etcd.CollectionInfo");
    /// Collections; the same key in 2.1 and, outside any database, in 2.2.
    Collection "root-coord/collection" V2_1Leftover Message("v2_2.etcd.CollectionInfo");
    /// Users, roles and grants. No evidence of either layout.
    Credential "root-coord/credential" Both Text;
    /// Aliases inside a database (2.2.9 and later).
    DatabaseAlias "root-coord/database/aliases" V2_2 Message("v2_2.etcd.AliasInfo");
    /// Collections inside a database (2.2.9 and later).
    DatabaseCollection "root-coord/database/collection-info" V2_2 Message("v2_2.etcd.CollectionInfo");
    /// Databases (2.2.9 and later).
    Database "root-coord/database/db-info" Trace Message("v2_2.etcd.DatabaseInfo");
    /// Whether the last DDL message of 2.1 was sent.
    DdMessageSend "root-coord/dd-msg-send" V2_1Leftover Text;
    /// The last DDL operation of 2.1.
    DdOperation "root-coord/dd-operation" V2_1Leftover Text;
    /// Fields of split collections (2.2).
    Field "root-coord/fields" V2_2 Message("v2_2.schema.FieldSchema");
    /// Index definitions of 2.1.
    LegacyIndex "root-coord/index" V2_1 Message("v2_1.etcd.IndexInfo");
    /// Partitions of split collections (2.2).
    Partition "root-coord/partitions" V2_2 Message("v2_2.etcd.PartitionInfo");
    /// Segment indexes of 2.1.
    LegacySegmentIndex "root-coord/segment-index" V2_1 Message("v2_1.etcd.SegmentIndexInfo");
    /// Segment indexes of 2.2.
    SegmentIndex "segment-index" V2_2 Message("v2_2.index.SegmentIndex");
    /// Locks on segments.
    SegmentReference "segmentRefer" Both Message("v2_2.data.SegmentReferenceLock");
    /// Sessions of live components, the server id counter and the lock of a migration.
    Session "session" Both Text;
    /// History of [`Self::Alias`].
    AliasSnapshot "snapshots/root-coord/aliases" V2_2 Message("v2_2.etcd.AliasInfo");
    /// History of [`Self::LegacyAlias`].
    LegacyAliasSnapshot "snapshots/root-coord/collection-alias" V2_1Leftover Message("v2_1.etcd.CollectionInfo");
    /// History of [`Self::Collection`].
    CollectionSnapshot "snapshots/root-coord/collection" V2_1Leftover Message("v2_2.etcd.CollectionInfo");
    /// History of [`Self::DatabaseAlias`].
    DatabaseAliasSnapshot "snapshots/root-coord/database/aliases" V2_2 Message("v2_2.etcd.AliasInfo");
    /// History of [`Self::DatabaseCollection`].
    DatabaseCollectionSnapshot "snapshots/root-coord/database/collection-info" V2_2 Message("v2_2.etcd.CollectionInfo");
    /// History of [`Self::Database`].
    DatabaseSnapshot "snapshots/root-coord/database/db-info" Trace Message("v2_2.etcd.DatabaseInfo");
    /// History of [`Self::DdMessageSend`].
    DdMessageSendSnapshot "snapshots/root-coord/dd-msg-send" V2_1Leftover Text;
    /// History of [`Self::DdOperation`].
    DdOperationSnapshot "snapshots/root-coord/dd-operation" V2_1Leftover Text;
    /// History of [`Self::Field`].
    FieldSnapshot "snapshots/root-coord/fields" V2_2 Message("v2_2.schema.FieldSchema");
    /// History of [`Self::LegacyIndex`], left over from 2.0. 2.2 does not read it.
    LegacyIndexSnapshot "snapshots/root-coord/index" Both Message("v2_1.etcd.IndexInfo");
    /// History of [`Self::Partition`].
    PartitionSnapshot "snapshots/root-coord/partitions" V2_2 Message("v2_2.etcd.PartitionInfo");
    /// History of [`Self::LegacySegmentIndex`], left over from 2.0. 2.2 does not read it.
    LegacySegmentIndexSnapshot "snapshots/root-coord/segment-index" Both Message("v2_1.etcd.SegmentIndexInfo");
}

impl Family {
    /// Returns the family of a key relative to the meta root.
    #[must_use]
    pub fn of(relative: &[u8]) -> Self {
        match relative {
            b"root-coord/dd-msg-send" => return Self::DdMessageSend,
            b"root-coord/dd-operation" => return Self::DdOperation,
            _ => {}
        }
        for family in [Self::DdMessageSendSnapshot, Self::DdOperationSnapshot] {
            if relative
                .strip_prefix(family.name().as_bytes())
                .and_then(|rest| rest.strip_prefix(b"_ts"))
                .is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
            {
                return family;
            }
        }
        Self::ALL
            .iter()
            .copied()
            .find(|family| family.rest(relative).is_some())
            .unwrap_or(Self::Other)
    }

    /// Like [`Self::of`], but tries `guess` first: consecutive keys are mostly of the same family.
    #[must_use]
    pub fn of_near(relative: &[u8], guess: Self) -> Self {
        if guess.rest(relative).is_some() {
            guess
        } else {
            Self::of(relative)
        }
    }

    /// Returns the exact prefix of the family relative to the meta root, with its trailing slash.
    /// The DDL families have no keys below a slash, only single keys and `…_ts<digit>…`.
    #[must_use]
    pub fn prefix(self) -> String {
        format!("{}/", self.name())
    }

    /// Returns the exact ranges of absolute keys of the family below `root`; none for
    /// [`Self::Other`].
    #[must_use]
    pub fn ranges(self, root: &MetaRoot) -> Vec<KeyRange> {
        let key_with = |suffix: &str| root.join(format!("{}{suffix}", self.name()).as_bytes());
        if matches!(self, Self::DdMessageSend | Self::DdOperation) {
            vec![KeyRange::single(key_with(""))]
        } else if matches!(
            self,
            Self::DdMessageSendSnapshot | Self::DdOperationSnapshot
        ) {
            // A colon is the byte after the digit 9.
            vec![KeyRange::new(key_with("_ts0"), key_with("_ts:"))]
        } else if self == Self::Other {
            Vec::new()
        } else {
            vec![root.range_below(&self.prefix())]
        }
    }

    /// Returns the part of a relative key after the family's prefix; `None` if the key is not below
    /// it.
    #[must_use]
    pub fn rest(self, relative: &[u8]) -> Option<&[u8]> {
        if matches!(
            self,
            Self::Other
                | Self::DdMessageSend
                | Self::DdOperation
                | Self::DdMessageSendSnapshot
                | Self::DdOperationSnapshot
        ) {
            return None;
        }
        relative
            .strip_prefix(self.name().as_bytes())?
            .strip_prefix(b"/")
    }

    /// Returns the family with this name, as shown in reports.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .chain([Self::Other])
            .find(|family| family.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn family_prefixes_are_exact() {
        for (key, family) in [
            ("root-coord/collection/5", Family::Collection),
            ("root-coord/collection-alias/a", Family::LegacyAlias),
            ("datacoord-meta/s/1/2/3", Family::Segment),
            ("datacoord-meta/statslog/1/2/3/4", Family::Statslog),
            ("segment-index/1/2/3/4", Family::SegmentIndex),
            (
                "root-coord/segment-index/1/2/3/4",
                Family::LegacySegmentIndex,
            ),
            ("root-coord/dd-operation", Family::DdOperation),
            ("root-coord/dd-operation-x", Family::Other),
            (
                "snapshots/root-coord/dd-msg-send_ts4",
                Family::DdMessageSendSnapshot,
            ),
            ("snapshots/root-coord/dd-msg-send_tsx", Family::Other),
            // Not a timestamp, but within the range that is deleted.
            (
                "snapshots/root-coord/dd-msg-send_ts4x",
                Family::DdMessageSendSnapshot,
            ),
            (
                "snapshots/root-coord/collection-alias/a_ts4",
                Family::LegacyAliasSnapshot,
            ),
            ("session/id", Family::Session),
            (
                "queryCoord-sealedSegmentChangeInfo/1",
                Family::QuerySegmentChange,
            ),
            ("queryCoord-segmentMeta/1/2/3", Family::QuerySegment),
            ("queryCoord-taskInfo/1", Family::QueryTaskState),
            ("queryCoord-triggerTask/1", Family::QueryTriggerTask),
            ("queryCoord-activeTask/1", Family::QueryActiveTask),
            ("querycoord-collectionMeta/1", Family::Other),
            ("indexes", Family::Other),
        ] {
            assert_eq!(Family::of(key.as_bytes()), family, "{key}");
        }
    }

    #[test]
    fn families_are_listed_in_key_order() {
        let root = MetaRoot::new("by-dev", "meta", "kv").unwrap();
        let starts: Vec<_> = Family::ALL
            .iter()
            .map(|family| family.ranges(&root)[0].start.clone())
            .collect();
        assert!(starts.is_sorted());
    }

    #[test]
    fn family_names_are_unique() {
        for family in Family::ALL {
            assert_eq!(Family::by_name(family.name()), Some(*family));
        }
    }
}
