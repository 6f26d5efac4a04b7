//! Stores many small byte strings in few allocations.
//!
//! A separate allocation for each of a million index builds would have a large overhead.

const CHUNK_BYTES: usize = 1 << 20;

/// The position of a byte string in its [`Arena`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    chunk: u32,
    start: u32,
}

impl Slot {
    /// The first byte string pushed.
    pub(super) const FIRST: Self = Self { chunk: 0, start: 0 };
}

/// Stores byte strings in chunks that are never moved.
#[derive(Debug, Default)]
pub(super) struct Arena {
    chunks: Vec<Vec<u8>>,
}

impl Arena {
    /// Stores a copy of `bytes`.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Slot {
        let header = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        let needed = header.len() + bytes.len();
        let fits = self
            .chunks
            .last()
            .is_some_and(|chunk| chunk.capacity() - chunk.len() >= needed);
        if !fits {
            self.chunks
                .push(Vec::with_capacity(needed.max(CHUNK_BYTES)));
        }
        let number = self.chunks.len() - 1;
        let chunk = &mut self.chunks[number];
        let start = chunk.len();
        chunk.extend_from_slice(&header);
        chunk.extend_from_slice(bytes);
        Slot {
            chunk: u32::try_from(number).unwrap_or(u32::MAX),
            start: u32::try_from(start).unwrap_or(u32::MAX),
        }
    }

    /// Returns the bytes at `slot`; empty for a slot of another arena.
    pub(super) fn get(&self, slot: Slot) -> &[u8] {
        let read = || {
            let chunk = self.chunks.get(slot.chunk as usize)?;
            let (header, rest) = chunk.get(slot.start as usize..)?.split_first_chunk()?;
            rest.get(..u32::from_le_bytes(*header) as usize)
        };
        read().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arena_returns_strings_across_chunks() {
        let mut arena = Arena::default();
        let long = vec![7; CHUNK_BYTES + 5];
        let strings: [&[u8]; 4] = [b"one", b"", &long, b"last"];
        let slots: Vec<_> = strings.iter().map(|bytes| arena.push(bytes)).collect();
        for (bytes, slot) in strings.iter().zip(slots) {
            assert_eq!(arena.get(slot), *bytes);
        }
    }
}
