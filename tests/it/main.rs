//! The only integration test binary.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends; the lint's own exception does not reach helper functions"
)]

mod architecture;
mod backup;
mod capture;
mod cli;
mod codes;
mod compact;
mod conformance;
mod connect;
mod corpus;
mod crash;
mod documents;
mod engine;
mod failover;
mod findings_page;
mod generator;
mod golden;
mod image;
mod kubernetes;
mod language;
mod malicious_files;
mod milvus;
mod properties;
mod real_metadata;
mod rules;
mod safety_page;
mod simulation;
mod support;
mod verify;
