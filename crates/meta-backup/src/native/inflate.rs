//! Decompresses blocks, each of which is one zstd frame.

use std::io;

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::{BLOCK_BYTES, WINDOW_LOG};

/// Initial allocation, sufficient for most blocks; it grows with the decompressed data.
const FIRST_ALLOCATION: usize = BLOCK_BYTES + (64 << 10);

/// A reusable decompressor.
pub(super) struct Inflater(Decoder<'static>);

impl Inflater {
    pub(super) fn new() -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
        Ok(Self(decoder))
    }

    /// Replaces the content of `out` with the decompressed frame in `stored`. The frame must fill
    /// `stored` and yield `raw_bytes` bytes. Memory grows with the decompressed data, not with the
    /// claimed size, and never exceeds it.
    ///
    /// # Errors
    /// The problem with the frame, for an error message.
    pub(super) fn inflate(
        &mut self,
        stored: &[u8],
        raw_bytes: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let failed = |error: io::Error| format!("it does not decompress: {error}");
        let Ok(raw_bytes) = usize::try_from(raw_bytes) else {
            return Err(String::from("it is larger than memory"));
        };
        out.clear();
        self.0.reinit().map_err(failed)?;
        let mut input = InBuffer::around(stored);
        loop {
            let (filled, taken) = (out.len(), input.pos());
            // One byte more than claimed, to detect excess data.
            let limit = raw_bytes + 1;
            out.resize(limit.min(FIRST_ALLOCATION.max(2 * filled)), 0);
            let mut output = OutBuffer::around_pos(out.as_mut_slice(), filled);
            let left = self.0.run(&mut input, &mut output).map_err(failed)?;
            let written = output.pos();
            out.truncate(written);
            if left == 0 {
                break;
            }
            if written < limit && (written, input.pos()) == (filled, taken) {
                return Err(String::from("its compressed content is cut short"));
            }
            if written == limit {
                break;
            }
        }
        if out.len() != raw_bytes {
            return Err(String::from(
                "its decompressed length differs from its head",
            ));
        }
        if input.pos() != stored.len() {
            return Err(String::from("bytes follow its compressed content"));
        }
        Ok(())
    }
}
