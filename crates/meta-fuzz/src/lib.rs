//! Properties that must hold for every input: one module per fuzz target, with a function
//! `run(input)` that panics if a property is violated.
//!
//! The fuzz targets call these functions with inputs from libFuzzer, and `tests/it/corpus.rs` with
//! the corpus in `fuzz/corpus`. A fuzzer cannot generate valid checksums, so for formats with
//! checksums the input describes a file that the harness constructs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a harness panics if a property is violated"
)]

pub mod backups;
pub mod bytes;
pub mod imports;
pub mod keys;
pub mod records;
pub mod texts;
pub mod wire;
