//! The objects of an instance in the users' terms: collections with their fields, partitions and
//! indexes, segments, aliases, load states, channels and sessions.
//!
//! [`Reader`] reads the entries of either layout, in any order; [`Catalog`] is the result.
//! Collections look the same in all three forms. Nothing is checked: an object without collection
//! is listed as well, and a value that cannot be decoded is listed in [`Catalog::unreadable`].
//!
//! Ids are serialized as text, because JSON readers lose precision of large numbers; times are
//! serialized as RFC 3339.

mod channels;
mod collections;
mod indexes;
mod loads;
mod objects;
mod owner;
mod reader;
mod segments;
mod sessions;

pub use crate::keys::Time;
pub use objects::{
    Alias, Catalog, Channel, Collection, Database, Field, Form, Index, IndexStates, Load, Origin,
    Pairs, Partition, Replica, Segment, SegmentSizes, Session, Unreadable,
};
pub use owner::Owner;
pub use reader::Reader;
