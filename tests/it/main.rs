//! The one integration-test binary.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends; the lint's own exception does not reach helper functions"
)]

mod backup;
mod engine;

mod golden;

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod conformance;
mod connect;
mod failover;
mod support;
mod architecture;
mod cli;
