//! Reads a native backup back while it is written: each block is decompressed from the file and compared,
//! byte by byte, with the entries that went in.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use super::native::{DataBlock, Decoder};
use super::{BackupError, Header};

const BUFFER_BYTES: usize = 256 << 10;

/// Blocks that are written and wait to be read back.
const BLOCKS_WAITING: usize = 2;

type Reader = Decoder<BufReader<File>>;

/// The thread that reads.
pub(super) struct ReadBack {
    path: PathBuf,
    blocks: SyncSender<DataBlock>,
    compared: Receiver<DataBlock>,
    thread: Option<JoinHandle<Result<Reader, BackupError>>>,
}

impl ReadBack {
    /// Starts to read a file of which the header is written.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(path: &Path) -> Result<Self, BackupError> {
        let path = path.to_owned();
        let (blocks, written) = sync_channel(BLOCKS_WAITING);
        let (done, compared) = channel();
        let file = path.clone();
        let thread = thread::Builder::new()
            .name(String::from("backup-read-back"))
            .spawn(move || follow(&file, &written, &done))
            .map_err(|error| BackupError::file("read back", &path, error))?;
        Ok(Self {
            path,
            blocks,
            compared,
            thread: Some(thread),
        })
    }

    /// Hands over the next block, which is in the file by now.
    ///
    /// # Errors
    /// What an earlier block was found to be.
    pub(super) fn compare(&mut self, block: DataBlock) -> Result<(), BackupError> {
        if self.blocks.send(block).is_ok() {
            return Ok(());
        }
        // The thread ends early only with an error.
        ended(self.thread.take()).and(Err(BackupError::Worker))
    }

    /// A block that was compared and can be used again, emptied.
    pub(super) fn spare(&self) -> DataBlock {
        let mut block = self.compared.try_recv().unwrap_or_default();
        block.clear();
        block
    }

    /// Reads the end of the file, now that it is written, and compares it with header and digest.
    ///
    /// # Errors
    /// When the file cannot be read, or anything in it is not what was written.
    pub(super) fn finish(self, header: &Header, digest: [u8; 32]) -> Result<(), BackupError> {
        let Self {
            path,
            blocks,
            compared: _,
            thread,
        } = self;
        drop(blocks);
        let mut reader = ended(thread)?;
        match reader.is_end(digest) {
            Ok(true) if reader.header() == header => Ok(()),
            Ok(_) => Err(BackupError::ReadBack { path }),
            Err(error) => Err(BackupError::invalid(&path, error)),
        }
    }
}

fn ended(thread: Option<JoinHandle<Result<Reader, BackupError>>>) -> Result<Reader, BackupError> {
    let outcome = thread.and_then(|thread| thread.join().ok());
    outcome.unwrap_or(Err(BackupError::Worker))
}

fn follow(
    path: &Path,
    written: &Receiver<DataBlock>,
    done: &Sender<DataBlock>,
) -> Result<Reader, BackupError> {
    let invalid = |error| BackupError::invalid(path, error);
    let file = File::open(path).map_err(|error| BackupError::file("read back", path, error))?;
    let buffered = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut reader = Decoder::new(buffered).map_err(invalid)?;
    for block in written {
        if !reader.is_next(&block).map_err(invalid)? {
            return Err(BackupError::ReadBack {
                path: path.to_owned(),
            });
        }
        // The writer may have no more use for it.
        drop(done.send(block));
    }
    Ok(reader)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use zstd::bulk::Compressor;

    use super::super::native::Encoder;
    use super::*;

    fn block(value: &str) -> DataBlock {
        let mut block = DataBlock::default();
        assert!(block.push(b"r/key", value.as_bytes()));
        block
    }

    /// A whole file of one block, with its digest.
    fn file_of(block: &DataBlock) -> (Vec<u8>, [u8; 32]) {
        let mut encoder = Encoder::new(Vec::new(), &header()).unwrap();
        encoder.count(block);
        let compressed = block.compress(&mut Compressor::new(1).unwrap());
        encoder.write(&compressed.unwrap()).unwrap();
        let (file, _, digest) = encoder.finish(0).unwrap();
        (file, digest)
    }

    fn header() -> Header {
        Header {
            meta_root: String::from("r"),
            ..Header::default()
        }
    }

    /// Reads back a file that should hold `value`.
    fn read_back(file: &[u8], value: &str, digest: [u8; 32]) -> Result<(), BackupError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, file).unwrap();
        let mut read_back = ReadBack::start(&path)?;
        read_back.compare(block(value))?;
        read_back.finish(&header(), digest)
    }

    #[test]
    fn what_was_written_is_found() {
        let (file, digest) = file_of(&block("value"));
        read_back(&file, "value", digest).unwrap();
    }

    #[test]
    fn another_content_is_no_backup() {
        let (file, digest) = file_of(&block("value"));
        let error = read_back(&file, "other", digest).unwrap_err();
        assert!(matches!(error, BackupError::ReadBack { .. }), "{error:?}");
        let error = read_back(&file, "value", [0; 32]).unwrap_err();
        assert!(matches!(error, BackupError::Invalid { .. }), "{error:?}");
    }

    #[test]
    fn no_damage_goes_unnoticed() {
        let (file, digest) = file_of(&block("value"));
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            read_back(&damaged, "value", digest).unwrap_err();
            read_back(&file[..at], "value", digest).unwrap_err();
        }
    }
}
