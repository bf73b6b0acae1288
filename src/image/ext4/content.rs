//! What of a file's content is not zero.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use super::BLOCK;
use super::extent::{extents_of, tree_blocks};
use crate::tree::{Content, ContentReader};

/// Contents are read in pieces of this size.
pub(super) const PIECE: usize = 128 << 10;
/// Shorter files are read without asking for holes.
const WORTH_ASKING: u64 = 128 << 10;
/// The host's holes can't be smaller.
const BLOCK_BYTES: usize = BLOCK as usize;

/// Reads a content in whole blocks.
pub(super) struct Pieces {
    reader: ContentReader,
    position: u64,
    length: u64,
    /// Whether the host may know a hole here.
    ask: bool,
}

impl Pieces {
    /// The content from its beginning.
    pub(super) fn new(content: &Content) -> io::Result<Self> {
        let length = content.len();
        Ok(Self { reader: content.reader()?, position: 0, length, ask: length >= WORTH_ASKING })
    }

    /// How many bytes of whole blocks the next piece has at most; some even at the end.
    pub(super) fn room(&self) -> usize {
        let left = usize::try_from(self.length - self.position).unwrap_or(PIECE);
        left.clamp(1, PIECE).next_multiple_of(BLOCK_BYTES)
    }

    /// Reads a piece to the beginning of `buffer`, which has [`Pieces::room`]: the first block's number and how
    /// many bytes of whole blocks there are; zeros fill the last one. What lies between pieces is zeros. None
    /// at the end, which is where a content that became longer is found out.
    pub(super) fn next(&mut self, buffer: &mut [u8]) -> io::Result<Option<(u64, usize)>> {
        if std::mem::take(&mut self.ask) {
            let data = self.reader.next_data(self.position)?;
            let data = if data < self.length { data - data % BLOCK } else { self.length };
            if data > self.position {
                self.position = self.reader.seek(SeekFrom::Start(data))?;
            }
        }
        if self.position == self.length {
            return match read(&mut self.reader, &mut [0])? {
                0 => Ok(None),
                _ => Err(ErrorKind::InvalidData.into()),
            };
        }
        let left = usize::try_from(self.length - self.position).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let mut done = 0;
        while done < wanted {
            match read(&mut self.reader, &mut buffer[done..wanted])? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => done += count,
            }
        }
        let padded = wanted.next_multiple_of(BLOCK_BYTES);
        buffer[wanted..padded].fill(0);
        let first = self.position / BLOCK;
        self.position += wanted as u64;
        self.ask = self.position < self.length && is_zero(&buffer[padded - BLOCK_BYTES..padded]);
        Ok(Some((first, padded)))
    }
}

fn read(reader: &mut ContentReader, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The next blocks of `piece` from byte `from` on that are not zero: where they begin and end.
pub(super) fn next_data(piece: &[u8], from: usize) -> Option<(usize, usize)> {
    let blocks = piece[from..].chunks(BLOCK_BYTES);
    let zeros = blocks.clone().take_while(|block| is_zero(block)).count();
    let data = blocks.skip(zeros).take_while(|block| !is_zero(block)).count();
    let start = from + zeros * BLOCK_BYTES;
    (data > 0).then_some((start, start + data * BLOCK_BYTES))
}

fn is_zero(block: &[u8]) -> bool {
    let (words, rest) = block.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|&byte| byte == 0)
}

/// What a file needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Need {
    /// Blocks with something in them, and those of the tree of its extents.
    pub(super) blocks: u64,
    /// Further blocks of the tree, if as many copies of the superblock cut the file as can be.
    pub(super) cuts: u64,
}

impl Need {
    fn new(data: u64, extents: u64) -> Self {
        let blocks = data + tree_blocks(extents);
        // There are at least two groups, of 2^15 blocks, from a copy to the next one.
        let cuts = (data >> 16) + 1;
        Self { blocks, cuts: tree_blocks(extents + cuts) - tree_blocks(extents) }
    }

    /// What so many blocks without a hole need.
    pub(super) fn of_blocks(blocks: u64) -> Self {
        Self::new(blocks, extents_of(blocks))
    }

    /// What a file of `length` bytes needs at most.
    pub(super) fn at_most(length: u64) -> Self {
        let blocks = length.div_ceil(BLOCK);
        let mut need = Self::of_blocks(blocks);
        // A block of zeros makes two extents of one, and saves a block. A tree that has become larger by several
        // blocks at once by that is one of many extents.
        if extents_of(blocks) > 300 {
            need.blocks += 5;
        }
        need
    }

    /// What a content needs, which is read for that; none as soon as it turns out to have more than `most` blocks
    /// with something in them.
    pub(super) fn of(content: &Content, most: u64, buffer: &mut [u8]) -> io::Result<Option<Self>> {
        let mut pieces = Pieces::new(content)?;
        let mut data = 0;
        let mut extents = 0;
        // The last extent: how many blocks it has, and the block behind it.
        let mut last = (0, u64::MAX);
        while let Some((first, length)) = pieces.next(buffer)? {
            let mut from = 0;
            while let Some((start, end)) = next_data(&buffer[..length], from) {
                let count = (end - start) as u64 / BLOCK;
                let block = first + start as u64 / BLOCK;
                if block != last.1 {
                    extents += extents_of(last.0);
                    last.0 = 0;
                }
                last = (last.0 + count, block + count);
                data += count;
                from = end;
            }
            if data > most {
                return Ok(None);
            }
        }
        Ok(Some(Self::new(data, extents + extents_of(last.0))))
    }
}

/// Sums stay as large as can be.
impl std::ops::Add for Need {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { blocks: self.blocks.saturating_add(other.blocks), cuts: self.cuts.saturating_add(other.cuts) }
    }
}

impl std::ops::AddAssign for Need {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_told_from_zeros() {
        let mut piece = vec![0; 6 * BLOCK_BYTES];
        assert_eq!(next_data(&piece, 0), None);
        piece[2 * BLOCK_BYTES - 1] = 1;
        piece[2 * BLOCK_BYTES] = 1;
        piece[5 * BLOCK_BYTES + 17] = 1;
        assert_eq!(next_data(&piece, 0), Some((BLOCK_BYTES, 3 * BLOCK_BYTES)));
        assert_eq!(next_data(&piece, 3 * BLOCK_BYTES), Some((5 * BLOCK_BYTES, 6 * BLOCK_BYTES)));
        assert_eq!(next_data(&piece, 6 * BLOCK_BYTES), None);
    }

    #[test]
    fn holes_are_not_needed_whoever_knows_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x");
        let mut bytes = vec![0; 3 * PIECE + 100];
        bytes[10] = 1;
        bytes[PIECE - 1] = 1;
        bytes[PIECE] = 1;
        bytes[3 * PIECE + 99] = 1;
        let file = std::fs::File::create(&path).expect("a file");
        file.set_len(bytes.len() as u64).expect("sized");
        for place in [10, PIECE as u64 - 1, PIECE as u64, 3 * PIECE as u64 + 99] {
            std::os::unix::fs::FileExt::write_all_at(&file, &[1], place).expect("written");
        }
        let mut buffer = vec![0; PIECE];
        for content in [Content::from_path(&path, bytes.len() as u64), Content::from_bytes(bytes)] {
            let need = |most, buffer: &mut [u8]| Need::of(&content, most, buffer).expect("read");
            assert_eq!(need(4, &mut buffer), Some(Need { blocks: 4, cuts: 0 }));
            assert_eq!(need(3, &mut buffer), None);
            assert!(Need::at_most(content.len()).blocks >= 4);
        }
        file.set_len(3 * PIECE as u64).expect("sized");
        for wrong in [2 * PIECE as u64, 4 * PIECE as u64] {
            assert!(Need::of(&Content::from_path(&path, wrong), 9, &mut buffer).is_err(), "{wrong}");
        }
    }

    #[test]
    fn trees_of_extents_are_counted() {
        // Every other block.
        let mut bytes = vec![0; 10 * BLOCK_BYTES];
        for block in 0..5 {
            bytes[2 * block * BLOCK_BYTES] = 1;
        }
        let need = Need::of(&Content::from_bytes(bytes), 9, &mut vec![0; PIECE]).expect("read");
        assert_eq!(need, Some(Need { blocks: 6, cuts: 0 }));
        assert_eq!(Need::at_most(1 << 40).blocks, (1 << 28) + 26 + 5);
    }
}
