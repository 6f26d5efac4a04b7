//! Decompresses a gzip stream up to a plausible ratio.
//!
//! gzip compresses a thousand zeros to one byte, so a small file could exhaust memory. Metadata,
//! with its ids and timestamps, is compressed about ten to one.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use super::super::bounded_reader::{RATIO_LIMIT, TooDense};
use super::counting_reader::CountingReader;

/// The ratio is not checked below this size.
const FREE_BYTES: u64 = 64 << 20;

pub(super) struct GzipContent<R> {
    decoder: GzDecoder<CountingReader<R>>,
    unpacked: u64,
}

impl<R: BufRead> GzipContent<R> {
    pub(super) fn new(packed: R) -> Self {
        Self {
            decoder: GzDecoder::new(CountingReader::new(packed)),
            unpacked: 0,
        }
    }

    /// The data after the stream.
    pub(super) fn into_inner(self) -> R {
        self.decoder.into_inner().into_inner()
    }
}

impl<R: BufRead> Read for GzipContent<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer)?;
        self.unpacked += count as u64;
        let packed = self.decoder.get_ref().position();
        if self.unpacked > FREE_BYTES && self.unpacked / RATIO_LIMIT > packed {
            return Err(io::Error::other(TooDense));
        }
        Ok(count)
    }
}
