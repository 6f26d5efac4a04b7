//! The transform on a separate thread, while the source is still being read.

use std::sync::Arc;

use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinHandle;

use milvus_meta::entry::Entry;
use milvus_meta::keys::MetaRoot;
use milvus_meta::layout::Layout;
use milvus_meta::transform::{Migration, Options, Source};

use crate::error::EngineErrorKind;

pub(crate) struct Transformed {
    pub(crate) layout: Layout,
    pub(crate) evidence: Vec<String>,
    pub(crate) migration: Migration,
}

pub(crate) struct TransformJob {
    sender: Sender<Arc<Vec<Entry>>>,
    thread: JoinHandle<Transformed>,
}

impl TransformJob {
    pub(crate) fn start(root: MetaRoot, options: Options) -> Self {
        let (sender, mut receiver) = channel::<Arc<Vec<Entry>>>(2);
        let thread = tokio::task::spawn_blocking(move || {
            let mut source = Source::new(root, options);
            while let Some(entries) = receiver.blocking_recv() {
                entries.iter().for_each(|entry| source.push(entry));
            }
            Transformed {
                layout: source.layout(),
                evidence: source.evidence(),
                migration: source.finish(),
            }
        });
        Self { sender, thread }
    }

    /// Passes entries to the thread.
    pub(crate) async fn push(&self, entries: Arc<Vec<Entry>>) {
        // The thread ends early only by a panic, which `finish` reports.
        drop(self.sender.send(entries).await);
    }

    /// Waits for the transform of everything that was pushed.
    pub(crate) async fn finish(self) -> Result<Transformed, EngineErrorKind> {
        drop(self.sender);
        self.thread
            .await
            .map_err(|error| EngineErrorKind::Worker(error.to_string()))
    }
}
