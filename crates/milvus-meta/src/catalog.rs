//! What an instance holds, as users speak of it: collections with their fields, partitions and indexes, segments,
//! aliases, load states, channels and sessions.
//!
//! [`Reader`] takes the entries of either layout, in any order; [`Catalog`] is the result. Collections read the same
//! in all three forms. Nothing is judged here: an object whose collection is gone is listed as well, and a value that
//! cannot be decoded is named in [`Catalog::unreadable`].
//!
//! Ids serialize as text, because they exceed the numbers that JSON readers keep exact; times serialize as RFC 3339.

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
