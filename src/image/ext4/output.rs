//! Writes to the image, put together to large ones.

use std::ops::Range;

use super::BLOCK;
use crate::image::ImageError;
use crate::image::target::Target;

/// What is held at most.
const BUFFER: usize = 2 << 20;

/// Collects blocks that stand one after the other.
pub(super) struct Output<'a> {
    target: Target<'a>,
    /// Blocks that are not written yet, and room behind them.
    buffer: Vec<u8>,
    held: usize,
    /// The first block that is held.
    first: u64,
}

impl<'a> Output<'a> {
    pub(super) fn new(target: Target<'a>) -> Self {
        Self { target, buffer: vec![0; BUFFER], held: 0, first: 0 }
    }

    /// Room for `count` bytes, at most [`super::content::PIECE`], to be filled and kept: its place in the buffer.
    pub(super) fn room(&mut self, count: usize) -> Result<Range<usize>, ImageError> {
        if self.buffer.len() - self.held < count {
            self.flush()?;
        }
        Ok(self.held..self.held + count)
    }

    /// What was filled.
    pub(super) fn bytes(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.buffer[range]
    }

    /// Puts whole blocks of the room to `block`. Of what lies in the room, parts are kept from its beginning to its
    /// end; what is not kept is lost with the next room.
    pub(super) fn keep(&mut self, range: Range<usize>, block: u64) -> Result<(), ImageError> {
        if self.held > 0 && block != self.first + self.held as u64 / BLOCK {
            self.write_held()?;
        }
        if self.held == 0 {
            self.first = block;
        }
        let count = range.len();
        if range.start != self.held {
            self.buffer.copy_within(range, self.held);
        }
        self.held += count;
        Ok(())
    }

    /// Writes bytes that begin with a block; zeros fill the last one.
    pub(super) fn put(&mut self, block: u64, bytes: &[u8]) -> Result<(), ImageError> {
        for (number, piece) in (0..).zip(bytes.chunks(super::content::PIECE)) {
            let room = self.room(piece.len().next_multiple_of(BLOCK as usize))?;
            let place = &mut self.buffer[room.clone()];
            place[..piece.len()].copy_from_slice(piece);
            place[piece.len()..].fill(0);
            self.keep(room, block + number * (super::content::PIECE as u64 / BLOCK))?;
        }
        Ok(())
    }

    /// Writes a block at once: what is in the room stays.
    pub(super) fn put_now(&self, block: u64, bytes: &[u8]) -> Result<(), ImageError> {
        self.target.write_at(block * BLOCK, bytes).map_err(ImageError::Write)
    }

    /// Writes all that is held.
    pub(super) fn flush(&mut self) -> Result<(), ImageError> {
        if self.held > 0 {
            self.write_held()?;
        }
        Ok(())
    }

    fn write_held(&mut self) -> Result<(), ImageError> {
        let held = std::mem::take(&mut self.held);
        self.target.write_at(self.first * BLOCK, &self.buffer[..held]).map_err(ImageError::Write)
    }
}
