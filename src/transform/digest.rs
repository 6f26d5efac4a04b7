//! A digest that is computed beside whoever makes what goes into it: of a million segment indexes
//! making and hashing take about as long.

use std::panic::resume_unwind;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use sha2::{Digest as _, Sha256};

/// How much is hashed at once.
const PIECE_BYTES: usize = 256 << 10;
const PIECES_AHEAD: usize = 4;

/// Takes parts, in order.
pub(super) struct Input {
    piece: Vec<u8>,
    pieces: SyncSender<Vec<u8>>,
}

impl Input {
    /// Adds one part: its length in eight bytes, little-endian, then the part.
    pub(super) fn add(&mut self, part: &[u8]) {
        self.piece
            .extend_from_slice(&(part.len() as u64).to_le_bytes());
        self.piece.extend_from_slice(part);
        if self.piece.len() >= PIECE_BYTES {
            let next = Vec::with_capacity(self.piece.capacity());
            self.send(next);
        }
    }

    fn send(&mut self, next: Vec<u8>) {
        // The other side only ends before us by a panic, which `sha256` passes on.
        drop(self.pieces.send(std::mem::replace(&mut self.piece, next)));
    }
}

/// SHA-256, in hexadecimal, of the parts that `make` adds, and what it returns.
pub(super) fn sha256<T>(make: impl FnOnce(&mut Input) -> T) -> (String, T) {
    let (pieces, taken) = sync_channel::<Vec<u8>>(PIECES_AHEAD);
    thread::scope(|scope| {
        let hashing = scope.spawn(move || {
            let mut hash = Sha256::new();
            taken.iter().for_each(|piece| hash.update(&piece));
            hash.finalize()
        });
        let mut input = Input {
            piece: Vec::new(),
            pieces,
        };
        let made = make(&mut input);
        input.send(Vec::new());
        drop(input);
        let digest = hashing.join().unwrap_or_else(|panic| resume_unwind(panic));
        let text = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        (text, made)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_parts_behind_their_lengths() {
        let long = vec![7; 3 * PIECE_BYTES + 1];
        let parts: [&[u8]; 4] = [b"one", b"", &long, b"last"];
        let mut whole = Vec::new();
        for part in parts {
            whole.extend_from_slice(&(part.len() as u64).to_le_bytes());
            whole.extend_from_slice(part);
        }
        let expected = Sha256::digest(&whole);
        let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
        let (digest, made) = sha256(|input| {
            parts.iter().for_each(|part| input.add(part));
            parts.len()
        });
        assert_eq!((digest, made), (expected, 4));
    }
}
