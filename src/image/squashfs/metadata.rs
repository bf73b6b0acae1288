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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::image::squashfs::Settings;
    use crate::recipe::Compression;

    fn codec(compression: Compression) -> Codec {
        Codec::new(&Settings { compression, ..Settings::default() }).expect("known")
    }

    #[test]
    fn positions_are_those_of_blocks_that_are_cut_at_8_kib() {
        let mut table = Table::in_memory(codec(Compression::None)).expect("set up");
        for (write, block, offset) in [(0, 0, 0), (8191, 0, 8191), (1, 8194, 0), (8192 * 2 + 5, 8194 * 3, 5)]
        {
            table.write(&vec![7; write]).expect("written");
            assert_eq!(table.position(), Reference::new(block, offset));
        }
        let (length, bytes) = table.finish().expect("written");
        assert_eq!(length, 3 * 8194 + 7);
        assert_eq!(bytes.len() as u64, length);
        assert_eq!(bytes[..2], (8192_u16 | 1 << 15).to_le_bytes());
        assert_eq!(bytes[3 * 8194..], [5, 0x80, 7, 7, 7, 7, 7]);
    }

    #[test]
    fn a_block_that_becomes_smaller_says_how_long_it_is() {
        let mut table = Table::in_memory(codec(Compression::Zstd { level: Some(1) })).expect("set up");
        table.write(&[1; 8192]).expect("written");
        let first = table.position().block() as usize;
        table.write(b"\x01\x02\x03").expect("written");
        let (_, bytes) = table.finish().expect("written");
        assert_eq!(usize::from(u16::from_le_bytes([bytes[0], bytes[1]])), first - 2);
        assert_eq!(zstd::decode_all(&bytes[2..first]).expect("a frame"), [1; 8192]);
        assert_eq!(bytes[first..], [3, 0x80, 1, 2, 3]);
    }

    #[test]
    fn an_indexed_table_has_the_positions_of_its_blocks() {
        let file = tempfile::tempfile().expect("a file");
        let mut end = 100;
        let records = (0..1025_u64).map(u64::to_le_bytes);
        let place =
            indexed(codec(Compression::None), Target::new(&file), &mut end, b"head".to_vec(), records)
                .expect("written");
        assert_eq!(place, 100 + 8194 + 2 + 8);
        assert_eq!(end, place + 4 + 2 * 8);
        let mut index = [0; 20];
        file.read_exact_at(&mut index, place).expect("read");
        assert_eq!(&index[..4], b"head");
        assert_eq!(index[4..12], 100_u64.to_le_bytes());
        assert_eq!(index[12..], (100 + 8194_u64).to_le_bytes());
        let mut last = [0; 8];
        file.read_exact_at(&mut last, 100 + 8194 + 2).expect("read");
        assert_eq!(u64::from_le_bytes(last), 1024);
    }
}
