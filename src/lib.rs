//! Migrates the metadata of a Milvus 2.1 cluster in etcd to the 2.2 layout without losing any of it.
//!
//! A migration reads everything at one revision, plans in pure code, writes a checked backup, stages the 2.2 keys next to
//! the 2.1 keys, commits with one transaction, and cleans up. Every step is recorded and can be repeated.

pub mod cli;
pub mod config;
