//! Takes an input apart from its front. Never fails: an input that ends early gives zeros and nothing,
//! so that every input means something.

/// The rest of an input.
pub struct Bytes<'i> {
    rest: &'i [u8],
}

impl<'i> Bytes<'i> {
    /// Starts at the front of `input`.
    pub fn new(input: &'i [u8]) -> Self {
        Self { rest: input }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    /// Eight bytes as a number, little-endian.
    pub fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let taken = self.take(8);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bytes)
    }

    /// A length of two bytes, little-endian, and so many bytes.
    pub fn chunk(&mut self) -> &'i [u8] {
        let length = usize::from(self.byte()) | usize::from(self.byte()) << 8;
        self.take(length)
    }

    /// A length of one byte, and so many bytes.
    pub fn short_chunk(&mut self) -> &'i [u8] {
        let length = usize::from(self.byte());
        self.take(length)
    }

    /// All bytes that are left.
    pub fn rest(&mut self) -> &'i [u8] {
        self.take(self.rest.len())
    }

    fn take(&mut self, length: usize) -> &'i [u8] {
        let (head, tail) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = tail;
        head
    }
}

/// Writes what [`Bytes::chunk`] reads.
pub fn push_chunk(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("seeds are small");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Writes what [`Bytes::short_chunk`] reads.
pub fn push_short_chunk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(u8::try_from(bytes.len()).expect("keys of seeds are short"));
    out.extend_from_slice(bytes);
}
