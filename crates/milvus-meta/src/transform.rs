//! Transforms 2.1 metadata to the 2.2 layout, without effects.
//!
//! [`Source`] takes entries one by one and stores what is needed of each in compact form;
//! [`Source::finish`] makes all decisions and returns a [`Migration`], which is data: the keys to
//! write, the keys to delete and when, and every [`Finding`](crate::finding::Finding). The same
//! input gives the same bytes, in any order of the entries.
//!
//! # How to add a record kind
//! 1. Add its schema to `proto/` (a new folder for another version; frozen files do not change).
//! 2. Add its key to [`Key`](crate::keys::Key) and [`Family`](crate::keys::Family), with the layout
//!    that it indicates.
//! 3. Read it in `codec::v2_1`, which reports unknown fields, and write it in `codec::v2_2`.
//! 4. Convert it in a file here with the name of the kind. A record that cannot be converted is a
//!    finding with the complete key, never a silent loss. Call it from `source`, and add the
//!    deleted keys to `ranges`.
//! 5. Check the result in `verify`, with a golden case and a test for each rule.

mod alias;
mod apply;
mod arena;
mod checkpoint;
mod children;
mod collection;
mod database;
mod findings;
mod incomplete;
mod index;
mod index_build;
mod index_params;
mod index_support;
mod kept;
mod load_state;
mod migration;
mod missing;
mod names;
mod nested;
mod objects;
mod options;
mod pending_ddl;
mod placeholder;
mod plan;
mod precedence;
mod ranges;
mod remaining_rewrites;
mod repair;
mod row_counts;
mod schema_source;
mod segment_index;
mod segment_log;
mod snapshots;
mod source;

use std::collections::BTreeMap;

pub use apply::Overlay;
pub(crate) use findings::Findings;
pub use migration::Migration;
pub use missing::{ALL_PARTITIONS, MissingCollections, MissingPartitions};
pub use objects::{ObjectKind, ObjectPlan};
pub use options::{
    CollectionForm, FormChoice, FormError, OnBrokenRecord, Options, SegmentForm, Task, UnknownName,
};
pub use plan::{FamilyPlan, PlanReport};
pub use ranges::{leftover_ranges, new_family_ranges, shared_family_ranges, staged_family_ranges};
pub use remaining_rewrites::{Remaining, remaining_after_commit, remaining_segment};
pub(crate) use row_counts::{Living, count_living};
pub use schema_source::SchemaSource;
pub use segment_log::SegmentRewrite;
pub use source::Source;

/// A key to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The complete key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// New keys, relative to the meta root, and their values.
type NewKeys = BTreeMap<Vec<u8>, Vec<u8>>;
