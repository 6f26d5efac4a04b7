//! Moves the metadata of a Milvus 2.1 cluster in etcd to the 2.2 layout, so that none is ever lost.
//!
//! *Read everything at one revision, decide everything in pure code, save a checked backup, stage the
//! new layout beside the old one, commit with one transaction, then clean up, every step recorded and
//! repeatable.*

pub mod cli;
pub mod config;
