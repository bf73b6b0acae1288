//! A file's content as blocks, with those that are zeros counted and not read where the host knows holes.

use std::io::{self, Read, Seek, SeekFrom};

use crate::image::ImageError;
use crate::tree::{Content, ContentReader, TreePath};

/// What comes next in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    /// One block, in the buffer; something in it is not zero. Only the last one may be shorter than the others.
    Data,
    /// So many blocks of zeros, the shorter last one among them.
    Zeros(u64),
    /// No more.
    End,
}

/// Reads a content block by block.
pub(super) struct Blocks<'a> {
    path: &'a TreePath,
    reader: ContentReader,
    block_size: u64,
    position: u64,
    length: u64,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(path: &'a TreePath, content: &Content, block_size: u32) -> Result<Self, ImageError> {
        let reader = content.reader().map_err(|source| ImageError::Content { path: path.clone(), source })?;
        Ok(Self { path, reader, block_size: block_size.into(), position: 0, length: content.len() })
    }

    /// What comes next, with its bytes as all of `buffer` where it is data.
    pub(super) fn next(&mut self, buffer: &mut Vec<u8>) -> Result<Run, ImageError> {
        self.read(buffer).map_err(|source| ImageError::Content { path: self.path.clone(), source })
    }

    fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<Run> {
        let wanted = self.block_size.min(self.length - self.position);
        if wanted == 0 {
            // A file that has grown is only found out by reading on.
            return match self.reader.read(&mut [0])? {
                0 => Ok(Run::End),
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than it was")),
            };
        }
        // Bounded by the size of a block.
        buffer.resize(wanted as usize, 0);
        self.reader.read_exact(buffer)?;
        self.position += wanted;
        if !is_zero(buffer) {
            return Ok(Run::Data);
        }
        let hole = self.reader.next_data(self.position)?.saturating_sub(self.position);
        let left = self.length - self.position;
        let (bytes, blocks) = if hole >= left {
            (left, left.div_ceil(self.block_size))
        } else {
            (hole / self.block_size * self.block_size, hole / self.block_size)
        };
        if blocks > 0 {
            self.position += bytes;
            self.reader.seek(SeekFrom::Start(self.position))?;
        }
        Ok(Run::Zeros(1 + blocks))
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    // In pieces, so that each is one comparison of many bytes.
    let mut pieces = bytes.chunks_exact(64);
    pieces.all(|piece| piece.iter().fold(0, |all, byte| all | byte) == 0)
        && pieces.remainder().iter().all(|&byte| byte == 0)
}

/// Whether two contents of the same length are the same.
pub(super) fn are_equal(mut one: Blocks<'_>, mut other: Blocks<'_>) -> Result<bool, ImageError> {
    let (mut one_bytes, mut other_bytes) = (Vec::new(), Vec::new());
    let (mut one_zeros, mut other_zeros) = (0, 0);
    loop {
        // The host may know a hole of one that it doesn't know of the other.
        let both = one_zeros.min(other_zeros);
        one_zeros -= both;
        other_zeros -= both;
        let one_run = if one_zeros > 0 { Run::Zeros(0) } else { one.next(&mut one_bytes)? };
        let other_run = if other_zeros > 0 { Run::Zeros(0) } else { other.next(&mut other_bytes)? };
        match (one_run, other_run) {
            (Run::End, Run::End) => return Ok(true),
            (Run::Data, Run::Data) if one_bytes == other_bytes => {}
            (Run::Zeros(one), Run::Zeros(other)) => {
                one_zeros += one;
                other_zeros += other;
            }
            _ => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn path() -> TreePath {
        "x".parse().expect("good")
    }

    fn runs(content: &Content, block_size: u32) -> Vec<(Run, usize)> {
        let path = path();
        let mut blocks = Blocks::new(&path, content, block_size).expect("readable");
        let (mut buffer, mut runs) = (Vec::new(), Vec::new());
        loop {
            match blocks.next(&mut buffer).expect("readable") {
                Run::End => return runs,
                Run::Data => runs.push((Run::Data, buffer.len())),
                zeros => runs.push((zeros, 0)),
            }
        }
    }

    #[test]
    fn zeros_are_what_is_zero_and_not_what_is_a_hole() {
        let bytes = [vec![0; 4096], vec![1; 4096], vec![0; 4095], vec![1; 2], vec![0; 5000]].concat();
        let expected =
            [(Run::Zeros(1), 0), (Run::Data, 4096), (Run::Data, 4096), (Run::Data, 4096), (Run::Zeros(1), 0)];
        assert_eq!(runs(&Content::from_bytes(bytes), 4096), expected);
        assert_eq!(runs(&Content::from_bytes(*b""), 4096), []);
        assert_eq!(runs(&Content::from_bytes(vec![0; 4097]), 4096), [(Run::Zeros(1), 0), (Run::Zeros(1), 0)]);
    }

    #[test]
    fn holes_are_passed_over_and_are_the_same_as_zeros() {
        let directory = tempfile::tempdir().expect("a directory");
        let host = directory.path().join("x");
        let file = std::fs::File::create(&host).expect("a file");
        file.set_len((1 << 20) + 77).expect("sized");
        file.write_all_at(b"data", (512 << 10) + 4090).expect("written");
        let holes = Content::from_path(&host, (1 << 20) + 77);
        let sum: u64 = runs(&holes, 4096)
            .iter()
            .map(|(run, _)| match run {
                Run::Zeros(count) => *count,
                _ => 1,
            })
            .sum();
        assert_eq!(sum, 257);
        let mut bytes = holes.read(2 << 20).expect("readable");
        let path = path();
        let same = |bytes: &[u8]| {
            let other = Content::from_bytes(bytes);
            let [one, other] =
                [&holes, &other].map(|content| Blocks::new(&path, content, 4096).expect("readable"));
            are_equal(one, other).expect("readable")
        };
        assert!(same(&bytes));
        for place in [0, (512 << 10) + 4091, 1 << 20] {
            bytes[place] ^= 1;
            assert!(!same(&bytes), "{place}");
            bytes[place] ^= 1;
        }
    }
}
