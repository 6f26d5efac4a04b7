//! Writing a backup on a separate thread while the scan continues.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use meta_backup::{
    BackupError, Header, Summary, WriteOptions, Writer, check_persistent, is_stream,
};
use milvus_meta::entry::Entry;
use milvus_meta::keys::MetaRoot;

use crate::clock::now;
use crate::context::ReadRevision;
use crate::error::EngineErrorKind;

/// Where and how a backup is written.
#[derive(Debug, Clone)]
pub struct BackupTarget {
    /// The file, or a directory in which a file name is generated.
    pub path: PathBuf,
    /// Level, threads, format.
    pub options: WriteOptions,
    /// The source version that the operator specified.
    pub source_version: Option<String>,
    /// Write even if the file is lost together with the container that the program runs in.
    pub allow_ephemeral: bool,
    /// Opens the path if it is `-` (standard output) or a named pipe. `None` if the backup must be
    /// read again later, which requires a file.
    pub stream: Option<OpenStream>,
}

/// Opens a stream; for a named pipe, waits for its reader.
pub type OpenStream = fn(&Path) -> io::Result<Box<dyn Write + Send>>;

impl BackupTarget {
    pub(crate) fn writer(&self, header: Header) -> Result<Writer, BackupError> {
        if let Some(open) = self.stream.filter(|_| is_stream(&self.path)) {
            let opened = open(&self.path);
            let out = opened.map_err(|source| BackupError::File {
                action: "open",
                path: self.path.clone(),
                source,
            })?;
            return Writer::stream(out, &self.path, header, self.options);
        }
        if !self.allow_ephemeral {
            check_persistent(&self.path)?;
        }
        Writer::create(&self.path, header, self.options)
    }
}

enum Message {
    Entries(Arc<Vec<Entry>>),
    Seal { skipped_leased: u64 },
    Publish,
}

/// A backup being written. If it is dropped before [`BackupJob::finish`], no file remains.
pub(crate) struct BackupJob {
    sender: Sender<Message>,
    thread: JoinHandle<Result<Option<Summary>, BackupError>>,
}

impl BackupJob {
    pub(crate) fn start(
        target: &BackupTarget,
        root: &MetaRoot,
        read_revision: ReadRevision,
    ) -> Self {
        let header = Header {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            created_at: now(),
            cluster_id: read_revision.cluster_id(),
            revision: read_revision.revision,
            meta_root: root.meta_root().to_owned(),
            source_version: target.source_version.clone(),
            skipped_leased: 0,
        };
        let target = target.clone();
        let (sender, mut receiver) = channel(2);
        let thread =
            tokio::task::spawn_blocking(move || write(target.writer(header)?, &mut receiver));
        Self { sender, thread }
    }

    /// Passes entries to the thread, in ascending key order. Returns `false` if the thread has
    /// ended, whose error [`Self::finish`] returns.
    pub(crate) async fn push(&self, entries: Arc<Vec<Entry>>) -> bool {
        self.sender.send(Message::Entries(entries)).await.is_ok()
    }

    /// Returns whether the thread has already failed: otherwise it waits for [`Self::finish`].
    pub(crate) fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Completes and syncs the file in the background; [`Self::finish`] gives it its name.
    pub(crate) async fn seal(&self, skipped_leased: u64) {
        // If the thread has ended, `finish` returns its error.
        drop(self.sender.send(Message::Seal { skipped_leased }).await);
    }

    /// Aborts the backup; the incomplete file is removed when this returns.
    pub(crate) async fn abandon(self) {
        drop(self.sender);
        // The caller already has an error to report.
        drop(self.thread.await);
    }

    /// Gives the sealed file its name and reads it back.
    pub(crate) async fn finish(self) -> Result<Summary, EngineErrorKind> {
        drop(self.sender.send(Message::Publish).await);
        drop(self.sender);
        match self.thread.await {
            Ok(Ok(Some(summary))) => Ok(summary),
            Ok(Ok(None)) => Err(EngineErrorKind::Worker("the backup was aborted".to_owned())),
            Ok(Err(error)) => Err(EngineErrorKind::Backup(error)),
            Err(error) => Err(EngineErrorKind::Worker(error.to_string())),
        }
    }
}

/// Writes all received entries; returns `None` if the channel closes without [`Message::Publish`].
fn write(
    mut writer: Writer,
    messages: &mut Receiver<Message>,
) -> Result<Option<Summary>, BackupError> {
    let skipped_leased = loop {
        match messages.blocking_recv() {
            Some(Message::Entries(entries)) => {
                for entry in entries.iter() {
                    writer.push(&entry.key, &entry.value)?;
                }
            }
            Some(Message::Seal { skipped_leased }) => break skipped_leased,
            Some(Message::Publish) | None => return Ok(None),
        }
    };
    writer.set_skipped_leased(skipped_leased);
    let sealed = writer.seal()?;
    match messages.blocking_recv() {
        Some(Message::Publish) => sealed.publish().map(Some),
        Some(Message::Entries(_) | Message::Seal { .. }) | None => Ok(None),
    }
}
