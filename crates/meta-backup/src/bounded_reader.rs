//! A reader that knows its offset and trusts no length: buffers grow with what is really read.

use std::io::{self, Read};

use super::FormatError;

/// The most that a file may unpack to, as a multiple of its size.
pub(super) const RATIO_LIMIT: u64 = 100;

/// Marks the I/O error of a stream that unpacks to too much.
#[derive(Debug, thiserror::Error)]
#[error("it unpacks to more than {RATIO_LIMIT} times its size")]
pub(super) struct TooDense;

/// The first allocation for a claimed length; the rest follows as bytes arrive.
const FIRST_ALLOCATION: u64 = 64 << 10;

/// Counts what it reads and names what is cut short.
pub(super) struct BoundedReader<R> {
    inner: R,
    offset: u64,
}

impl<R: Read> BoundedReader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, offset: 0 }
    }

    /// How many bytes were read so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn into_inner(self) -> R {
        self.inner
    }

    /// Fills as much of the buffer as there is; less than all only at the end.
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

    /// Fills the whole buffer.
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

    /// Reads exactly `length` bytes into `into`, in place of what it held.
    pub(super) fn replace(
        &mut self,
        into: &mut Vec<u8>,
        length: u64,
        part: &'static str,
    ) -> Result<(), FormatError> {
        into.clear();
        // The minimum fits usize on every platform: it is at most the first allocation.
        into.reserve(usize::try_from(length.min(FIRST_ALLOCATION)).unwrap_or_default());
        let result = (&mut self.inner).take(length).read_to_end(into);
        self.offset += into.len() as u64;
        match result {
            Ok(_) if into.len() as u64 == length => Ok(()),
            Ok(_) => Err(self.truncated(part)),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Reads past `length` bytes without keeping them.
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

    /// Reads to the end without keeping anything.
    pub(super) fn drain(&mut self) -> Result<(), FormatError> {
        match io::copy(&mut self.inner, &mut io::sink()) {
            Ok(count) => {
                self.offset += count;
                Ok(())
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Refuses anything that still follows.
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

    /// Decompressors report damage as I/O errors of these kinds.
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
