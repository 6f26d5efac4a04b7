//! Reads structured data from the front of an input.
//!
//! Reading never fails: at the end of the input it returns zeros and empty slices, so that every
//! input is valid.

/// The unread part of an input.
pub struct Bytes<'i> {
    rest: &'i [u8],
}

impl<'i> Bytes<'i> {
    /// Reads from the start of `input`.
    pub fn new(input: &'i [u8]) -> Self {
        Self { rest: input }
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads a byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    /// Reads a little-endian number of eight bytes.
    pub fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let taken = self.take(8);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bytes)
    }

    /// Reads a little-endian length of two bytes, then that number of bytes.
    pub fn chunk(&mut self) -> &'i [u8] {
        let length = usize::from(self.byte()) | usize::from(self.byte()) << 8;
        self.take(length)
    }

    /// Reads a length of one byte, then that number of bytes.
    pub fn short_chunk(&mut self) -> &'i [u8] {
        let length = usize::from(self.byte());
        self.take(length)
    }

    /// Reads all remaining bytes.
    pub fn rest(&mut self) -> &'i [u8] {
        self.take(self.rest.len())
    }

    fn take(&mut self, length: usize) -> &'i [u8] {
        let (head, tail) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = tail;
        head
    }
}

/// Appends the encoding that [`Bytes::chunk`] reads.
pub fn push_chunk(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("seeds are small");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Appends the encoding that [`Bytes::short_chunk`] reads.
pub fn push_short_chunk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(u8::try_from(bytes.len()).expect("keys of seeds are short"));
    out.extend_from_slice(bytes);
}
