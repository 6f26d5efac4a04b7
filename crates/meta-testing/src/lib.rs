//! Test doubles and helpers for tests and benchmarks: an in-memory store with scripted faults, real
//! etcd servers, generated metadata. Not shipped.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test helper panics if the test cannot continue"
)]

pub mod etcd;
pub mod generator;
pub mod memory;
