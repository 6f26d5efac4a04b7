//! Decompresses blocks: each is one zstd frame.

use std::io;

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::{BLOCK_BYTES, WINDOW_LOG};

/// The first allocation for a block, which holds most blocks; the rest follows as more comes out.
const FIRST_ALLOCATION: usize = BLOCK_BYTES + (64 << 10);

/// A decompressor that serves block after block.
pub(super) struct Inflater(Decoder<'static>);

impl Inflater {
    pub(super) fn new() -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
        Ok(Self(decoder))
    }

    /// Decompresses exactly one frame that fills `stored` and gives `raw_bytes` bytes, in place of what
    /// `out` held. Memory grows with what comes out, not with what is claimed, and never beyond that claim.
    ///
    /// # Errors
    /// What is wrong with the frame, in words.
    pub(super) fn inflate(
        &mut self,
        stored: &[u8],
        raw_bytes: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let told = |error: io::Error| format!("it does not decompress: {error}");
        let Ok(raw_bytes) = usize::try_from(raw_bytes) else {
            return Err(String::from("it is larger than memory"));
        };
        out.clear();
        self.0.reinit().map_err(told)?;
        let mut input = InBuffer::around(stored);
        loop {
            let (filled, taken) = (out.len(), input.pos());
            // One byte more than is claimed, so that more is noticed.
            let room = raw_bytes + 1;
            out.resize(room.min(FIRST_ALLOCATION.max(2 * filled)), 0);
            let mut output = OutBuffer::around_pos(out.as_mut_slice(), filled);
            let left = self.0.run(&mut input, &mut output).map_err(told)?;
            let filled_now = output.pos();
            out.truncate(filled_now);
            if left == 0 {
                break;
            }
            if filled_now < room && (filled_now, input.pos()) == (filled, taken) {
                return Err(String::from("its compressed content is cut short"));
            }
            if filled_now == room {
                break;
            }
        }
        if out.len() != raw_bytes {
            return Err(String::from(
                "it decompresses to another length than it says",
            ));
        }
        if input.pos() != stored.len() {
            return Err(String::from("bytes follow its compressed content"));
        }
        Ok(())
    }
}
