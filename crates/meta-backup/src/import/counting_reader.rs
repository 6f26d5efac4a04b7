//! A reader that knows its position.

use std::io::{self, BufRead, Read};

/// Counts the bytes consumed from a reader.
pub(super) struct CountingReader<R> {
    inner: R,
    position: u64,
}

impl<R: BufRead> CountingReader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, position: 0 }
    }

    /// The number of bytes consumed.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The rest of the data.
    pub(super) fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: BufRead> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for CountingReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.position += count as u64;
        self.inner.consume(count);
    }
}
