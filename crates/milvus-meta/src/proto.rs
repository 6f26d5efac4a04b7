//! The messages that Milvus stores, generated from the frozen schemas in `proto/`: one complete set
//! for each version, and the framing of the backup files of other tools. No logic.

#![allow(
    missing_docs,
    clippy::all,
    clippy::wildcard_enum_match_arm,
    rustdoc::invalid_html_tags,
    rustdoc::bare_urls,
    rustdoc::broken_intra_doc_links,
    reason = "generated code"
)]

include!(concat!(env!("OUT_DIR"), "/proto.rs"));

/// The encoded `FileDescriptorSet` of all schemas: what `inspect` needs to decode any known record.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
