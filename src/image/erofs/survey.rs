//! A first look at large files: whether most of them is zeros, and which of them are the same.

use std::io::{self, Read, Seek, SeekFrom};

use ring::digest;

use super::format::{BLOCK, BLOCK_BYTES};
use crate::tree::{Content, ContentReader};

/// The power of two of the largest chunk, in blocks, that the format can say.
const MOST_CHUNK_BITS: usize = 31;
/// How much is read at once.
const BUFFER: usize = 1 << 20;

/// What is known of a large file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Survey {
    /// In chunks of so many blocks (a power of two) it takes little.
    pub chunks: Option<u16>,
    /// SHA-256, where it was asked for.
    pub digest: Option<[u8; 32]>,
}

/// Reads a file once. `compressed` says whether it would be compressed otherwise; `hash` whether its digest is wanted.
pub(super) fn survey(content: &Content, compressed: bool, hash: bool) -> io::Result<Survey> {
    let mut counts = Counts::default();
    let mut context = digest::Context::new(&digest::SHA256);
    let mut blocks = Blocks::new(content)?;
    loop {
        if !hash {
            blocks.skip()?;
        }
        let start = blocks.position;
        let bytes = blocks.next()?;
        if bytes.is_empty() {
            break;
        }
        for (number, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
            if !is_zero(block) {
                counts.add(start / BLOCK + number as u64);
            }
        }
        if hash {
            context.update(bytes);
        }
    }
    let mut sum = None;
    if hash {
        sum = context.finish().as_ref().try_into().ok();
    }
    Ok(Survey { chunks: counts.choose(content.len(), compressed), digest: sum })
}

/// How many chunks of each size are not all zeros.
#[derive(Debug, Default)]
struct Counts {
    chunks: [u64; MOST_CHUNK_BITS + 1],
    /// The block that was added last, plus one.
    last: u64,
}

impl Counts {
    /// A block that is not zero, later than those before.
    fn add(&mut self, block: u64) {
        for (bits, count) in self.chunks.iter_mut().enumerate() {
            if self.last > 0 && (self.last - 1) >> bits == block >> bits {
                // In larger chunks it is the same one too.
                break;
            }
            *count += 1;
        }
        self.last = block + 1;
    }

    /// The size of chunks that costs least, if a file of `size` bytes costs clearly less so than otherwise.
    fn choose(&self, size: u64, compressed: bool) -> Option<u16> {
        /// The address of a chunk.
        const ADDRESS: u64 = 4;
        let blocks = size.div_ceil(BLOCK);
        let (cost, bits) = (0_u16..)
            .zip(&self.chunks)
            .map(|(bits, &count)| {
                let addresses = (blocks.div_ceil(1 << bits)).saturating_mul(ADDRESS);
                (addresses.saturating_add(count.saturating_mul(BLOCK << bits)), bits)
            })
            .min()?;
        let data = self.chunks[0] * BLOCK;
        let otherwise = if compressed {
            // Data comes to three fifths, as a guess; a cluster of a block holds not much more than a MiB of zeros,
            // and the index takes two bytes a block.
            data / 5 * 3 + size.saturating_sub(data) / 256 + size / 2048
        } else {
            size / 8 * 7
        };
        (cost < otherwise).then_some(bits)
    }
}

/// Whether all bytes are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
    bytes.chunks(BLOCK_BYTES).all(|block| block == &ZEROS[..block.len()])
}

/// Reads a content in large pieces of whole blocks.
pub(super) struct Blocks {
    reader: ContentReader,
    length: u64,
    /// Where the next piece begins.
    pub position: u64,
    buffer: Vec<u8>,
}

impl Blocks {
    pub(super) fn new(content: &Content) -> io::Result<Self> {
        Ok(Self { reader: content.reader()?, length: content.len(), position: 0, buffer: vec![0; BUFFER] })
    }

    /// Passes over blocks that the host knows to be zeros.
    pub(super) fn skip(&mut self) -> io::Result<()> {
        if self.position < self.length {
            let data = self.reader.next_data(self.position)?;
            let data = if data >= self.length { self.length } else { data / BLOCK * BLOCK };
            if data > self.position {
                self.position = self.reader.seek(SeekFrom::Start(data))?;
            }
        }
        Ok(())
    }

    /// The next piece; empty at the end.
    pub(super) fn next(&mut self) -> io::Result<&[u8]> {
        let left = self.length - self.position;
        if left == 0 {
            // The reader says if the file is longer now.
            let more = self.reader.read(&mut self.buffer[..1])?;
            return Ok(&self.buffer[..more]);
        }
        let count = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
        self.reader.read_exact(&mut self.buffer[..count])?;
        self.position += count as u64;
        Ok(&self.buffer[..count])
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// A file of `size` bytes with `x` at each of these places.
    fn sparse(size: u64, places: &[u64]) -> (tempfile::NamedTempFile, Content) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(size).expect("sized");
        for &place in places {
            file.as_file().write_all_at(b"x", place).expect("written");
        }
        let content = Content::from_path(file.path(), size);
        (file, content)
    }

    #[test]
    fn chunks_are_as_large_as_pays() {
        for compressed in [false, true] {
            let chunks = |size, places: &[u64]| {
                let (_file, content) = sparse(size, places);
                survey(&content, compressed, false).expect("read").chunks
            };
            // Nothing but zeros: one address.
            assert_eq!(chunks(5 << 30, &[]), Some(21));
            // Each half of the chunks saves two bytes a block until it is cheaper to have a few addresses more.
            let bits = chunks(5 << 30, &[3 << 30, (5 << 30) - 1]).expect("mostly zeros");
            assert!((2..8).contains(&bits), "{bits}");
        }
        let data: Vec<u64> = (0..1000).map(|block| block * BLOCK).collect();
        let (_file, content) = sparse(1000 * BLOCK, &data);
        for compressed in [false, true] {
            assert_eq!(survey(&content, compressed, false).expect("read").chunks, None);
        }
        let (_file, content) = sparse(2000 * BLOCK, &data);
        assert!(survey(&content, false, false).expect("read").chunks.is_some());
        assert_eq!(survey(&content, true, false).expect("read").chunks, None);
    }

    #[test]
    fn hints_change_nothing() {
        let (_file, content) = sparse(3 << 20, &[5000, 2 << 20]);
        let bytes = content.read(3 << 20).expect("read");
        let written = Content::from_bytes(bytes);
        let with = survey(&content, true, true).expect("read");
        assert_eq!(with, survey(&written, true, true).expect("read"));
        assert_eq!(with.chunks, survey(&content, true, false).expect("read").chunks);
        assert_eq!(with.digest.map(hex::encode), {
            let bytes = written.read(3 << 20).expect("read");
            Some(hex::encode(digest::digest(&digest::SHA256, &bytes)))
        });
    }

    #[test]
    fn a_file_that_changed_is_an_error() {
        let (file, content) = sparse(3 << 20, &[5000]);
        for other in [2 << 20, 4 << 20] {
            file.as_file().set_len(other).expect("sized");
            assert!(survey(&content, true, false).is_err(), "{other}");
            assert!(survey(&content, true, true).is_err(), "{other}");
        }
    }
}
