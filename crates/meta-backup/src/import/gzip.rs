//! Decompresses a gzip stream up to a plausible ratio.
//!
//! gzip compresses a thousand zeros to one byte, so a small file could exhaust memory. Metadata,
//! with its ids and timestamps, is compressed about ten to one.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use super::super::bounded_reader::{RATIO_LIMIT, TooDense};

/// The ratio is not checked below this size.
const FREE_BYTES: u64 = 64 << 20;

pub(super) struct GzipContent<R> {
    decoder: GzDecoder<CountingReader<R>>,
    unpacked: u64,
}

impl<R: BufRead> GzipContent<R> {
    pub(super) fn new(packed: R) -> Self {
        Self {
            decoder: GzDecoder::new(CountingReader {
                inner: packed,
                consumed: 0,
            }),
            unpacked: 0,
        }
    }

    /// The data after the stream.
    pub(super) fn into_inner(self) -> R {
        self.decoder.into_inner().inner
    }
}

impl<R: BufRead> Read for GzipContent<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer)?;
        self.unpacked += count as u64;
        let packed = self.decoder.get_ref().consumed;
        if self.unpacked > FREE_BYTES && self.unpacked / RATIO_LIMIT > packed {
            return Err(io::Error::other(TooDense));
        }
        Ok(count)
    }
}

/// Counts the bytes consumed from a reader.
struct CountingReader<R> {
    inner: R,
    consumed: u64,
}

impl<R: BufRead> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.consumed += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for CountingReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.consumed += count as u64;
        self.inner.consume(count);
    }
}
