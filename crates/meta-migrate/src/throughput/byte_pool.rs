//! Byte strings that share memory.
//!
//! What is made on one thread, sent from a second and freed on a third would cost the allocator several
//! threads' attention for each string; so many of them are in one piece.

use bytes::{Bytes, BytesMut};

const PIECE_BYTES: usize = 64 << 10;

/// Copies byte strings into pieces of memory; a piece is freed with the last string in it.
#[derive(Debug, Default)]
pub(crate) struct BytePool {
    room: BytesMut,
}

impl BytePool {
    /// A copy in shared memory.
    pub(crate) fn shared(&mut self, bytes: &[u8]) -> Bytes {
        if self.room.capacity() < bytes.len() {
            self.room = BytesMut::with_capacity(bytes.len().max(PIECE_BYTES));
        }
        self.room.extend_from_slice(bytes);
        self.room.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_stay_what_they_were() {
        let mut pool = BytePool::default();
        let long = vec![7; 2 * PIECE_BYTES];
        let strings: Vec<Vec<u8>> = (0..PIECE_BYTES / 16)
            .map(|number| format!("string {number}").into_bytes())
            .chain([Vec::new(), long, b"last".to_vec()])
            .collect();
        let shared: Vec<Bytes> = strings.iter().map(|bytes| pool.shared(bytes)).collect();
        assert_eq!(shared, strings);
    }
}
