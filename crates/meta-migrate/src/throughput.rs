//! Fast transfer of many keys: prefetched pages; encoding, transform and backup on separate
//! threads; batched writes, several in flight; concurrent read-back.
//!
//! The use cases work with entries, batches and streams, and do not depend on the number of
//! requests in flight.

pub(crate) mod backup_job;
pub(crate) mod pages;
pub(crate) mod prefetch;
pub(crate) mod read_back;
pub(crate) mod staged;
pub(crate) mod stream;
pub(crate) mod transform_job;
pub(crate) mod writer;
