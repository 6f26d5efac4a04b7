//! The key map: every key family of the 2.1 and 2.2 layouts, relative to the meta root.
//!
//! [`Family::of`] determines the family of a key from its exact prefix; [`Key::parse`] reads its
//! ids and names. Both accept every key: unknown ones are [`Family::Other`] and [`Key::Unknown`],
//! which are values and not errors, because a migration must keep keys that it does not know. Ids
//! are signed 64-bit decimal ASCII without padding; a key with another spelling is unknown, so that
//! rendering a parsed key always returns the same bytes.
//!
//! The two layouts have similar names: `root-coord/segment-index/` (2.1: collection, index,
//! partition, segment) and `segment-index/` (2.2: collection, partition, segment, build);
//! `queryCoord-…` (2.1) and `querycoord-…` (2.2). Keys are case-sensitive.

mod family;
mod key;
mod log_path;
mod number;
mod range;
mod root;
mod time;
mod timestamp;

pub(crate) use family::ValueForm;
pub use family::{Evidence, Family};
pub(crate) use key::watched_collection;
pub use key::{Key, Object, channel_collection};
pub use log_path::{LogKind, LogPath};
pub use range::{KeyRange, successor};
pub use root::{MetaRoot, RootError, clean_join, path_option, path_part, root_options};
pub use time::Time;
pub use timestamp::{
    SNAPSHOT_PREFIX, TOMBSTONE, Timestamp, is_tombstone, push_timestamp, split_timestamp,
};
