//! What has to hold for every input: one module for each fuzz target, each with `run(input)`, which
//! panics where something does not hold.
//!
//! The fuzz targets call these with what libFuzzer makes up; the ordinary tests call them with the
//! corpus in `fuzz/corpus` (`tests/it/corpus.rs` includes this file). Checksums would keep a fuzzer out
//! for ever, so where a format has them the input describes a file and the harness makes it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    unreachable_pub,
    reason = "a harness panics where something does not hold, and is a crate in one place and a module in another"
)]

pub mod backups;
pub mod bytes;
pub mod imports;
pub mod keys;
pub mod records;
pub mod texts;
pub mod wire;
