//! A reader that tracks its offset. Buffers grow with the data read, not with claimed lengths.

use std::io::{self, Read};

use super::FormatError;

/// Maximum ratio of the unpacked size of a file to its size.
pub(super) const RATIO_LIMIT: u64 = 100;

/// The cause of the I/O error for a stream that exceeds the ratio.
#[derive(Debug, thiserror::Error)]
#[error("it unpacks to more than {RATIO_LIMIT} times its size")]
pub(super) struct TooDense;

/// Initial allocation for a claimed length; it grows as data arrives.
const FIRST_ALLOCATION: u64 = 64 << 10;

/// Tracks the offset for error messages.
pub(super) struct BoundedReader<R> {
    inner: R,
    offset: u64,
}

impl<R: Read> BoundedReader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, offset: 0 }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn into_inner(self) -> R {
        self.inner
    }

    /// Fills the buffer as far as possible; reads fewer bytes only at the end of the file.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, FormatError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.inner.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => {
                    filled += count;
                    self.offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(filled)
    }

    /// Fills the buffer completely. `part` names the structure in the error.
    pub(super) fn exact(
        &mut self,
        buffer: &mut [u8],
        part: &'static str,
    ) -> Result<(), FormatError> {
        if self.fill(buffer)? < buffer.len() {
            return Err(self.truncated(part));
        }
        Ok(())
    }

    /// Replaces the content of `into` with exactly `length` bytes.
    pub(super) fn replace(
        &mut self,
        into: &mut Vec<u8>,
        length: u64,
        part: &'static str,
    ) -> Result<(), FormatError> {
        into.clear();
        // The value fits in `usize` on every platform, because it is at most the first allocation.
        into.reserve(usize::try_from(length.min(FIRST_ALLOCATION)).unwrap_or_default());
        let result = (&mut self.inner).take(length).read_to_end(into);
        self.offset += into.len() as u64;
        match result {
            Ok(_) if into.len() as u64 == length => Ok(()),
            Ok(_) => Err(self.truncated(part)),
            Err(error) => Err(self.failed(error)),
        }
    }

    pub(super) fn skip(&mut self, length: u64, part: &'static str) -> Result<(), FormatError> {
        match io::copy(&mut (&mut self.inner).take(length), &mut io::sink()) {
            Ok(count) => {
                self.offset += count;
                if count == length {
                    Ok(())
                } else {
                    Err(self.truncated(part))
                }
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Reads and discards the rest.
    pub(super) fn drain(&mut self) -> Result<(), FormatError> {
        match io::copy(&mut self.inner, &mut io::sink()) {
            Ok(count) => {
                self.offset += count;
                Ok(())
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Rejects further data.
    pub(super) fn expect_end(&mut self) -> Result<(), FormatError> {
        let offset = self.offset;
        if self.fill(&mut [0])? == 0 {
            Ok(())
        } else {
            Err(FormatError::TrailingBytes { offset })
        }
    }

    pub(super) fn truncated(&self, part: &'static str) -> FormatError {
        FormatError::Truncated {
            part,
            offset: self.offset,
        }
    }

    pub(super) fn malformed(&self, part: &'static str, reason: impl Into<String>) -> FormatError {
        FormatError::Malformed {
            part,
            offset: self.offset,
            reason: reason.into(),
        }
    }

    /// Converts an I/O error. Decompressors report damage as I/O errors of certain kinds.
    pub(super) fn failed(&self, source: io::Error) -> FormatError {
        let kind = source.kind();
        if kind == io::ErrorKind::UnexpectedEof {
            return self.truncated("the compressed stream");
        }
        let offset = self.offset;
        if source.get_ref().is_some_and(|cause| cause.is::<TooDense>()) {
            return FormatError::TooDense {
                ratio: RATIO_LIMIT,
                offset,
            };
        }
        if matches!(
            kind,
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
        ) {
            let part = "the compressed stream";
            return FormatError::Altered { part, offset };
        }
        FormatError::Read { offset, source }
    }
}
