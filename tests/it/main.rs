//! The one integration-test binary.

mod golden;
mod properties;
mod rules;
mod support;
mod verify;
