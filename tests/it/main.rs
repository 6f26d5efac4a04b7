//! The one integration-test binary.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends; the lint's own exception does not reach helper functions"
)]

mod architecture;
mod backup;
mod cli;
mod conformance;
mod connect;
mod engine;
mod failover;
mod golden;
mod kubernetes;
mod proof;
mod properties;
mod rules;
mod simulation;
mod support;
mod verify;
