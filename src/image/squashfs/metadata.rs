//! Tables of metadata: a stream of records that is cut into blocks of 8 KiB, each compressed alone behind two bytes
//! that say how long it is.

use super::codec::{BlockCompressor, Codec};
use super::format::{METADATA, METADATA_STORED, Reference, put_64};
use crate::image::ImageError;
use crate::image::target::Target;

/// Writes one table.
pub(super) struct Table<'a> {
    compressor: BlockCompressor,
    output: Output<'a>,
    /// What of a block is there already, less than [`METADATA`].
    block: Vec<u8>,
    packed: Vec<u8>,
    /// Bytes of the blocks that are complete.
    length: u64,
}

enum Output<'a> {
    Memory(Vec<u8>),
    Target { target: Target<'a>, start: u64 },
}

impl<'a> Table<'a> {
    /// A table that is held in memory, compressed.
    pub(super) fn in_memory(codec: Codec) -> Result<Self, ImageError> {
        Self::new(codec, Output::Memory(Vec::new()))
    }

    /// A table that begins at `start`.
    pub(super) fn at(codec: Codec, target: Target<'a>, start: u64) -> Result<Self, ImageError> {
        Self::new(codec, Output::Target { target, start })
    }

    fn new(codec: Codec, output: Output<'a>) -> Result<Self, ImageError> {
        Ok(Self {
            compressor: codec.metadata()?,
            output,
            block: Vec::with_capacity(METADATA),
            packed: vec![0; codec.room(METADATA)],
            length: 0,
        })
    }

    /// Where the next record will stand.
    pub(super) fn position(&self) -> Reference {
        let block = u32::try_from(self.length).expect("limits::check leaves no table that reaches 4 GiB");
        Reference::new(block, self.block.len() as u16)
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), ImageError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(METADATA - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == METADATA {
                self.end_block()?;
            }
        }
        Ok(())
    }

    fn end_block(&mut self) -> Result<(), ImageError> {
        let (header, bytes) = match self.compressor.compress(&self.block, &mut self.packed)? {
            Some(length) => (length as u16, &self.packed[..length]),
            None => (self.block.len() as u16 | METADATA_STORED, &self.block[..]),
        };
        let header = header.to_le_bytes();
        match &mut self.output {
            Output::Memory(all) => {
                all.extend(header);
                all.extend(bytes);
            }
            Output::Target { target, start } => {
                let position = *start + self.length;
                target.write_at(position, &header).map_err(ImageError::Write)?;
                target.write_at(position + header.len() as u64, bytes).map_err(ImageError::Write)?;
            }
        }
        self.length += (header.len() + bytes.len()) as u64;
        self.block.clear();
        Ok(())
    }

    /// Writes what is left; gives the table's length and, where it is in memory, the table.
    pub(super) fn finish(mut self) -> Result<(u64, Vec<u8>), ImageError> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        Ok((
            self.length,
            match self.output {
                Output::Memory(all) => all,
                Output::Target { .. } => Vec::new(),
            },
        ))
    }
}

/// Writes a table in which records of equal size are found by their index: its blocks from `*end` on, then `head` and
/// the positions of the blocks. Gives where `head` stands and moves `*end` behind it all.
///
/// The size of a record must divide the size of a block.
pub(super) fn indexed<const SIZE: usize>(
    codec: Codec,
    target: Target<'_>,
    end: &mut u64,
    head: Vec<u8>,
    records: impl Iterator<Item = [u8; SIZE]>,
) -> Result<u64, ImageError> {
    let mut index = head;
    let start = *end;
    let mut table = Table::at(codec, target, start)?;
    for record in records {
        if table.block.is_empty() {
            put_64(&mut index, [start + table.length]);
        }
        table.write(&record)?;
    }
    let place = start + table.finish()?.0;
    target.write_at(place, &index).map_err(ImageError::Write)?;
    *end = place + index.len() as u64;
    Ok(place)
}
