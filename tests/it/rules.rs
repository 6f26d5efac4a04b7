//! One test for each conversion rule, and for each defect of the official tool that it avoids.
//! Expected values are written by hand.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected has to fail"
)]

mod aliases;
mod broken_collections;
mod checkpoints;
mod collections;
mod complete_migration;
mod incomplete;
mod index_names;
mod index_support;
mod indexes;
mod loads;
pub(crate) mod lost_schemas;
mod mixed;
pub(crate) mod repair;
mod repair_aliases;
mod repair_resumed;
mod segments;

use milvus_meta::transform::CollectionForm;

pub(crate) const FORMS: [CollectionForm; 3] = [
    CollectionForm::Split,
    CollectionForm::Database,
    CollectionForm::Embedded,
];
