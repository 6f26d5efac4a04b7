//! The framing in files of the official tool and birdwatcher: a length of eight bytes (unsigned,
//! little-endian), then that number of bytes.

use std::io::Read;

use prost::Message;

use super::super::FormatError;
use super::super::bounded_reader::BoundedReader;
use super::super::digest::ENTRY_LIMIT;
use super::super::messages::BackupHeader;

/// Maximum length of a frame: an entry with its protobuf framing.
const FRAME_LIMIT: u64 = ENTRY_LIMIT + 64;

/// Maximum length of the header; real headers have less than 100 bytes.
const HEADER_LIMIT: u64 = 64 << 10;

pub(super) struct Frames<R> {
    input: BoundedReader<R>,
    frame: Vec<u8>,
}

impl<R: Read> Frames<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            input: BoundedReader::new(reader),
            frame: Vec::new(),
        }
    }

    /// Reads and discards the rest.
    pub(super) fn drain(&mut self) -> Result<(), FormatError> {
        self.input.drain()
    }

    pub(super) fn into_inner(self) -> R {
        self.input.into_inner()
    }

    /// The length of the next frame; `None` at the end of the file.
    fn length(&mut self, part: &'static str, limit: u64) -> Result<Option<u64>, FormatError> {
        let mut bytes = [0; 8];
        let offset = self.input.offset();
        match self.input.fill(&mut bytes)? {
            0 => return Ok(None),
            8 => {}
            _ => return Err(self.input.truncated(part)),
        }
        let length = u64::from_le_bytes(bytes);
        if length > limit {
            return Err(FormatError::ImplausibleLength {
                part,
                length,
                limit,
                offset,
            });
        }
        Ok(Some(length))
    }

    /// The next frame; `None` at the end of the file.
    pub(super) fn next(&mut self, part: &'static str) -> Result<Option<&[u8]>, FormatError> {
        match self.length(part, FRAME_LIMIT)? {
            None => Ok(None),
            Some(length) => {
                self.input.replace(&mut self.frame, length, part)?;
                Ok(Some(&self.frame))
            }
        }
    }

    /// Skips the next frame, which must exist, and returns its length.
    pub(super) fn skip(&mut self, part: &'static str) -> Result<u64, FormatError> {
        let length = self
            .length(part, u64::MAX)?
            .ok_or_else(|| self.input.truncated(part))?;
        self.input.skip(length, part)?;
        Ok(length)
    }

    /// Decodes the next frame; `None` at the end of the file.
    pub(super) fn message<M: Message + Default>(
        &mut self,
        part: &'static str,
    ) -> Result<Option<M>, FormatError> {
        if self.next(part)?.is_none() {
            return Ok(None);
        }
        self.decode(part).map(Some)
    }

    pub(super) fn decode<M: Message + Default>(
        &self,
        part: &'static str,
    ) -> Result<M, FormatError> {
        M::decode(self.frame.as_slice())
            .map_err(|error| self.input.malformed(part, error.to_string()))
    }

    /// Decodes the first frame. An invalid header means that the file is not a backup.
    pub(super) fn header(&mut self) -> Result<BackupHeader, FormatError> {
        const PART: &str = "the header";
        let length = match self.length(PART, HEADER_LIMIT) {
            Err(FormatError::ImplausibleLength { .. }) => {
                let reason = String::from("it does not begin with a header");
                return Err(FormatError::Unknown(reason));
            }
            other => other?.ok_or(FormatError::Empty)?,
        };
        self.input.replace(&mut self.frame, length, PART)?;
        BackupHeader::decode(self.frame.as_slice())
            .map_err(|error| FormatError::Unknown(error.to_string()))
    }

    pub(super) fn truncated(&self, part: &'static str) -> FormatError {
        self.input.truncated(part)
    }

    pub(super) fn malformed(&self, part: &'static str, reason: impl Into<String>) -> FormatError {
        self.input.malformed(part, reason)
    }
}
