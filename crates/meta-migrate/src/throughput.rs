//! What makes the transfer of many keys fast: reads in pages, prefetched; encoding, the transform and the backup
//! on their own threads; batched writes under an adaptive concurrency limit; read-back while writes are in flight.
//!
//! The use cases work with entries, batches and streams; nothing outside depends on how many requests are in flight.

pub(crate) mod backup_job;
mod concurrency;
pub(crate) mod pages;
pub(crate) mod prefetch;
pub(crate) mod read_back;
pub(crate) mod staged;
pub(crate) mod stream;
pub(crate) mod transform_job;
pub(crate) mod writer;
