//! The one integration-test binary.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod conformance;
mod connect;
mod failover;
mod support;
