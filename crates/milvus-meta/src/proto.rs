//! The messages that Milvus stores, generated from the frozen schemas in `proto/`: one complete set
//! per version, and the framing of the backup files of other tools.

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

/// The encoded `FileDescriptorSet` of all schemas, with which any known record can be decoded.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
