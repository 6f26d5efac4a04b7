//! The new keys of a migration as a stream.

use std::sync::Arc;

use tokio::sync::mpsc::Receiver;

use milvus_meta::entry::Entry;
use milvus_meta::transform::{Migration, Put};

use crate::error::EngineErrorKind;
use crate::throughput::stream::feed;

/// Returns the new keys as they will be in etcd.
pub(crate) fn staged_entries(
    migration: Arc<Migration>,
) -> Receiver<Result<Vec<Entry>, EngineErrorKind>> {
    staged(migration, |put| Entry::new(put.key, put.value))
}

/// Returns the new keys in ascending order, encoded on a blocking thread while requests are in flight.
pub(crate) fn staged<T: Send + 'static>(
    migration: Arc<Migration>,
    mut make: impl FnMut(Put) -> T + Send + 'static,
) -> Receiver<Result<Vec<T>, EngineErrorKind>> {
    feed(move |sink| {
        for put in migration.staged() {
            sink.push(make(put))?;
        }
        Ok(())
    })
}
