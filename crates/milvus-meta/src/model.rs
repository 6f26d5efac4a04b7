//! Identifiers of the objects in the metadata: signed 64-bit numbers with a separate type for each
//! kind, so that they cannot be confused.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub i64);

        impl Serialize for $name {
            /// Serializes as text, because JSON readers lose precision of large numbers.
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    )*};
}

ids! {
    /// A collection.
    CollectionId;
    /// A partition of a collection.
    PartitionId;
    /// A field of a collection's schema.
    FieldId;
    /// An index on one field of a collection.
    IndexId;
    /// A segment of a partition.
    SegmentId;
    /// A build of an index on a segment.
    BuildId;
    /// A replica of a loaded collection.
    ReplicaId;
    /// A database (2.2.9 and later): 1 is `default`, 0 is "no database".
    DatabaseId;
}

/// The ids in the key of a segment.
pub(crate) type SegmentIds = (CollectionId, PartitionId, SegmentId);
