//! Which block of an image is whose, and writing there.
//!
//! Blocks are given out one after the other. Inodes with what stands beside them share blocks: some that have room
//! left are kept open, and each inode comes into the fullest of them that still holds it, so that little is lost
//! between them and they come to stand near their data.

use std::io;

use super::format::{BLOCK, BLOCK_BYTES, SLOT};
use crate::image::target::Target;

/// How many blocks are kept open.
const OPEN: usize = 64;
/// How much data is collected before it is written.
const COLLECTED: usize = 1 << 20;

/// An image that is being filled.
#[derive(Debug)]
pub(super) struct Space<'a> {
    target: Target<'a>,
    /// The first block that is nobody's.
    next: u32,
    /// The first block of the image, which stays open to the end.
    first: Shared,
    open: Vec<Shared>,
    collected: Vec<u8>,
    /// Where `collected` belongs.
    position: u64,
}

/// A block that inodes share.
#[derive(Debug)]
struct Shared {
    block: u32,
    used: u64,
    bytes: Box<[u8; BLOCK_BYTES]>,
}

impl Shared {
    fn new(block: u32, used: u64) -> Self {
        Self { block, used, bytes: Box::new([0; BLOCK_BYTES]) }
    }

    /// What is left after so many bytes come into it.
    fn left(&self, size: u64) -> Option<u64> {
        BLOCK.checked_sub(self.used.next_multiple_of(SLOT) + size)
    }

    fn take(&mut self, size: u64) -> u64 {
        let start = self.used.next_multiple_of(SLOT);
        self.used = start + size;
        u64::from(self.block) * BLOCK + start
    }
}

impl<'a> Space<'a> {
    /// An image in which the first `used` bytes are taken, fewer than a block.
    pub(super) fn new(target: Target<'a>, used: u64) -> Self {
        Self {
            target,
            next: 1,
            first: Shared::new(0, used),
            open: Vec::new(),
            collected: Vec::new(),
            position: 0,
        }
    }

    /// The first block that is nobody's yet: the image's size so far.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// Takes `count` blocks, one after the other. `None` when the image would have more blocks than can be numbered.
    pub(super) fn blocks(&mut self, count: u64) -> Option<u32> {
        let block = self.next;
        // The last number stands for a hole.
        self.next =
            u32::try_from(u64::from(block).checked_add(count)?).ok().filter(|&next| next < u32::MAX)?;
        Some(block)
    }

    /// A place for the root's inode and what stands beside it, `head` bytes, at the beginning of the image, so that its
    /// number is small; and whether `tail` bytes could be added that may not lie in two blocks.
    pub(super) fn place_first(&mut self, head: u64, tail: u64) -> Option<(u64, bool)> {
        if self.first.left(head + tail).is_some() {
            return Some((self.first.take(head + tail), true));
        }
        if self.first.left(head).is_some() {
            return Some((self.first.take(head), false));
        }
        let start = self.first.used.next_multiple_of(SLOT);
        self.first.used = BLOCK;
        self.blocks((start + head).div_ceil(BLOCK) - 1)?;
        Some((start, false))
    }

    /// A place for an inode and what stands beside it: `head` bytes, and `tail` bytes that may not lie in two blocks.
    pub(super) fn place(&mut self, head: u64, tail: u64) -> Option<u64> {
        let size = head + tail;
        if size <= BLOCK {
            let fullest = std::iter::once(&mut self.first)
                .chain(&mut self.open)
                .filter_map(|shared| Some((shared.left(size)?, shared)))
                .min_by_key(|(left, shared)| (*left, shared.block));
            if let Some((_, shared)) = fullest {
                return Some(shared.take(size));
            }
            let block = self.blocks(1)?;
            let mut shared = Shared::new(block, 0);
            let place = shared.take(size);
            self.open.push(shared);
            return Some(place);
        }
        // So far into the first block that the tail is in one.
        let last = head % BLOCK;
        let skipped = if tail > 0 && last + tail > BLOCK { (BLOCK - last).next_multiple_of(SLOT) } else { 0 };
        let end = skipped + size;
        let block = self.blocks(end.div_ceil(BLOCK))?;
        if !end.is_multiple_of(BLOCK) {
            self.open.push(Shared::new(block + (end / BLOCK) as u32, end % BLOCK));
        }
        Some(u64::from(block) * BLOCK + skipped)
    }

    /// Writes what stands in blocks that inodes share.
    pub(super) fn put(&mut self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut position, mut bytes) = (position, bytes);
        while !bytes.is_empty() {
            let within = (position % BLOCK) as usize;
            let (part, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - within));
            let block = position / BLOCK;
            match std::iter::once(&mut self.first)
                .chain(&mut self.open)
                .find(|shared| u64::from(shared.block) == block)
            {
                Some(shared) => shared.bytes[within..within + part.len()].copy_from_slice(part),
                None => self.target.write_at(position, part)?,
            }
            position += part.len() as u64;
            bytes = rest;
        }
        while self.open.len() > OPEN {
            let fullest = self.open.iter().enumerate().max_by_key(|(_, shared)| (shared.used, shared.block));
            let Some((number, _)) = fullest else { break };
            let shared = self.open.swap_remove(number);
            self.close(&shared)?;
        }
        Ok(())
    }

    /// Writes data from `block` on; what the last block lacks stays zeros.
    pub(super) fn write(&mut self, block: u32, bytes: &[u8]) -> io::Result<()> {
        let position = u64::from(block) * BLOCK;
        if position != self.position + self.collected.len() as u64
            || self.collected.len() + bytes.len() > COLLECTED
        {
            self.flush()?;
            self.position = position;
        }
        if bytes.len() > COLLECTED {
            self.target.write_at(position, bytes)?;
            self.position = position + bytes.len() as u64;
            return Ok(());
        }
        self.collected.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.collected.is_empty() {
            self.target.write_at(self.position, &self.collected)?;
            self.position += self.collected.len() as u64;
            self.collected.clear();
        }
        Ok(())
    }

    fn close(&self, shared: &Shared) -> io::Result<()> {
        self.target.write_at(u64::from(shared.block) * BLOCK, &*shared.bytes)
    }

    /// Writes what is held, the first block last, which `seal` completes; gives the image's size.
    pub(super) fn finish(mut self, seal: impl FnOnce(&mut [u8; BLOCK_BYTES])) -> io::Result<u64> {
        self.flush()?;
        for shared in std::mem::take(&mut self.open) {
            self.close(&shared)?;
        }
        let size = u64::from(self.next) * BLOCK;
        self.target.set_len(size)?;
        seal(&mut self.first.bytes);
        self.close(&self.first)?;
        Ok(size)
    }
}
