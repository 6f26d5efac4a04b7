//! Test doubles and helpers for tests and benchmarks: a store in memory with scripted faults, real etcd
//! servers, generated metadata. Nothing here is shipped.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a helper of a test panics where the test cannot continue"
)]

pub mod etcd;
pub mod generator;
pub mod memory;
