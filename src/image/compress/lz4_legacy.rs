//! LZ4's legacy frame, the only one that the kernel reads; the `lz4_flex` crate compresses its blocks but
//! writes only the newer frame.
//!
//! Source: [LZ4 frame format](https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md), "Legacy frame": a
//! magic number, then blocks of 8 MiB of input (the last may be shorter), each after its compressed size. All
//! numbers are little-endian 32-bit. Nothing marks the end.

use std::io::{self, Write};

const MAGIC: u32 = 0x184c_2102;
const BLOCK: usize = 8 << 20;

/// Compresses what is written to it; [`Encoder::finish`] must be called.
pub(super) struct Encoder<W: Write> {
    output: W,
    block: Vec<u8>,
    compressed: Vec<u8>,
    started: bool,
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(output: W) -> Self {
        Self { output, block: Vec::with_capacity(BLOCK), compressed: Vec::new(), started: false }
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.start()?;
        self.end_block()?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn start(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.started, true) {
            self.output.write_all(&MAGIC.to_le_bytes())?;
        }
        Ok(())
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        self.compressed.resize(lz4_flex::block::get_maximum_output_size(self.block.len()), 0);
        let size =
            lz4_flex::block::compress_into(&self.block, &mut self.compressed).map_err(io::Error::other)?;
        let prefix = u32::try_from(size).expect("a block of 8 MiB never compresses to 4 GiB");
        self.output.write_all(&prefix.to_le_bytes())?;
        self.output.write_all(&self.compressed[..size])?;
        self.block.clear();
        Ok(())
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.start()?;
        if self.block.len() == BLOCK {
            self.end_block()?;
        }
        let count = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// A block ends only when it is full: flushing earlier would cost ratio.
    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn blocks_end_where_they_must() {
        for size in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5] {
            let text: Vec<u8> = (0..size).map(|number| (number / 7 % 251) as u8).collect();
            let mut encoder = Encoder::new(Vec::new());
            encoder.write_all(&text).expect("compress");
            let packed = encoder.finish().expect("compress");
            assert_eq!(packed[..4], MAGIC.to_le_bytes());
            let mut back = Vec::new();
            lz4_flex::frame::FrameDecoder::new(&packed[..]).read_to_end(&mut back).expect("read");
            assert!(back == text, "{size}");
        }
    }
}
