//! Read-back verification of a named backup, the last step of writing it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::disk::Disk;
use super::error::OPEN;
use super::import::{digest_in_order, render_header};
use super::native::Decoder;
use super::{BackupError, FormatError, Header, OutputFormat};

const BUFFER_BYTES: usize = 256 << 10;

/// Reads the file, from the device if possible, and compares the header, the number of entries and
/// the digest with what was written.
pub(super) fn check(
    disk: &dyn Disk,
    path: &Path,
    format: OutputFormat,
    header: &Header,
    entries: u64,
    digest: &[u8; 32],
) -> Result<(), BackupError> {
    let file = File::open(path).map_err(|error| BackupError::file(OPEN, path, error))?;
    // If the file system does not support this, the cached data is compared, which is better than
    // nothing.
    if let Err(error) = disk.drop_cache(&file) {
        tracing::debug!(%error, "the backup is read back from the page cache");
    }
    let reader = BufReader::with_capacity(BUFFER_BYTES, file);
    let outcome = match format {
        OutputFormat::Native => matches_native(reader, header, entries, digest),
        OutputFormat::Official => matches_official(reader, header, entries, digest),
    };
    let source = match outcome {
        Ok(true) => return Ok(()),
        Ok(false) => None,
        Err(error @ FormatError::Read { .. }) => return Err(BackupError::invalid(path, error)),
        Err(error) => Some(error),
    };
    Err(BackupError::ReadBack {
        path: path.to_owned(),
        source,
    })
}

fn matches_native(
    reader: impl Read,
    header: &Header,
    entries: u64,
    digest: &[u8; 32],
) -> Result<bool, FormatError> {
    let mut decoder = Decoder::new(reader)?;
    while decoder.next()?.is_some() {}
    let same_content = decoder
        .totals()
        .is_some_and(|totals| totals.entries == entries && totals.digest == *digest);
    Ok(same_content && decoder.header() == header)
}

fn matches_official(
    mut reader: impl Read,
    header: &Header,
    entries: u64,
    digest: &[u8; 32],
) -> Result<bool, FormatError> {
    let expected = render_header(&header.meta_root, entries);
    let mut start = Vec::new();
    let read = (&mut reader)
        .take(expected.len() as u64)
        .read_to_end(&mut start);
    read.map_err(|source| FormatError::Read { offset: 0, source })?;
    if start != expected {
        return Ok(false);
    }
    let found = digest_in_order(start.as_slice().chain(reader))?;
    Ok(found == (entries, *digest))
}
