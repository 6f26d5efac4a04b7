//! Reads 2.1 records, writes 2.2 records, and patches or describes stored records.
//!
//! The caller checks for tombstones (three bytes that are not protobuf) first:
//! [`keys::is_tombstone`](crate::keys::is_tombstone). A value that does not change is never decoded
//! and encoded again: its raw bytes are kept.

pub mod patch;
pub mod v2_1;
pub mod v2_2;
pub mod v2_3;
pub mod wire;

mod json;
mod lenient;
mod secrets;
mod times;

pub use json::describe;
pub use lenient::decode;
pub use secrets::mask_secrets;
