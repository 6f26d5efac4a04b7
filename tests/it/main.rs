//! The one integration-test binary.

mod conformance;
mod connect;
mod support;
