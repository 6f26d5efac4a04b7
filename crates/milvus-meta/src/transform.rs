//! What becomes of 2.1 metadata: pure decisions, no effects.
//!
//! [`Source`] takes the entries of a capture one by one and keeps what is needed of each, small;
//! [`Source::finish`] decides everything and gives a [`Migration`], which is data: what is written, what
//! is deleted and when, and every [`Finding`](crate::finding::Finding) at once. The same input gives the
//! same bytes, whatever order the entries came in.
//!
//! # Recipe: another record kind
//! 1. Its schema goes into `proto/` (a new folder for another version; frozen files do not change).
//! 2. Its key goes into [`Key`](crate::keys::Key) and [`Family`](crate::keys::Family), with what it says about the layout.
//! 3. Reading goes into `codec::v2_1`, with unknown fields noted; writing into `codec::v2_2`.
//! 4. A file here, named for the kind, converts it: what it cannot convert is a finding with the whole
//!    key, never a silent loss. `source` feeds it, `ranges` says which old keys go.
//! 5. `verify` checks the result; a golden case and a test for each rule prove it.

mod alias;
mod apply;
mod arena;
mod checkpoint;
mod collection;
mod database;
mod field;
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
mod objects;
mod options;
mod partition;
mod pending_ddl;
mod plan;
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
pub use migration::Migration;
pub use missing::{ALL_PARTITIONS, MissingCollections, MissingPartitions};
pub use objects::{ObjectKind, ObjectPlan};
pub use options::{
    CollectionForm, FormChoice, FormError, OnBrokenRecord, Options, PolicyError, SegmentForm,
    SegmentFormError, Task,
};
pub use plan::{FamilyPlan, PlanReport};
pub use ranges::{leftover_ranges, new_family_ranges, shared_family_ranges, staged_family_ranges};
pub use remaining_rewrites::{Remaining, remaining_after_commit, remaining_segment};
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

/// New keys, relative to the meta root, with their values.
type NewKeys = BTreeMap<Vec<u8>, Vec<u8>>;
