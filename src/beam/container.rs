//! The container of a compiled module: an IFF form of chunks.
//! Specification: `lib/stdlib/src/beam_lib.erl` and `erts/emulator/beam/beam_file.c` of Erlang/OTP.
//!
//! A file is an IFF form: `FOR1`, a length, `BEAM`, then chunks of a name, a length and data that is padded to
//! four bytes. All numbers are big-endian. The whole may be compressed with gzip.

use std::borrow::Cow;
use std::io::Read;
use std::ops::Range;

use super::BeamError;

/// The most that a compressed module may unpack to: the largest modules of OTP have about 2 MB.
const MOST_BYTES: usize = 64 << 20;

/// The name of a chunk.
pub type ChunkName = [u8; 4];

/// A `.beam` file, taken apart.
#[derive(Debug, Clone)]
pub struct Container<'a> {
    bytes: Cow<'a, [u8]>,
    chunks: Vec<(ChunkName, Range<usize>)>,
}

impl<'a> Container<'a> {
    /// Takes a `.beam` file apart; one that is compressed is unpacked.
    ///
    /// # Errors
    /// What is no BEAM file, truncated, or larger than 64 MiB when it is unpacked.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BeamError> {
        let bytes = unpack(bytes)?;
        let mut cursor = Cursor { bytes: &bytes, offset: 0 };
        cursor.magic(b"FOR1", "the magic FOR1 of a BEAM file")?;
        let length = cursor.u32()? as usize;
        if length > bytes.len() - 8 {
            return cursor.fail("the whole form", format!("{} of {length} bytes", bytes.len() - 8));
        }
        cursor.bytes = &bytes[..8 + length];
        cursor.magic(b"BEAM", "the form BEAM")?;
        let mut chunks = Vec::new();
        while !cursor.is_at_end() {
            let name = cursor.array()?;
            let length = cursor.u32()? as usize;
            let start = cursor.offset;
            cursor.take(length)?;
            chunks.push((name, start..start + length));
            // The padding of the last chunk may be missing.
            cursor.offset = (start + length.next_multiple_of(4)).min(cursor.bytes.len());
        }
        Ok(Self { bytes, chunks })
    }

    /// The chunks in their order: name and data.
    pub fn chunks(&self) -> impl Iterator<Item = (&ChunkName, &[u8])> {
        self.chunks.iter().map(|(name, range)| (name, &self.bytes[range.clone()]))
    }

    /// The data of the first chunk of that name.
    pub fn chunk(&self, wanted: &ChunkName) -> Option<&[u8]> {
        self.chunks().find(|(name, _)| *name == wanted).map(|(_, data)| data)
    }

    /// The same, to be read; offsets in errors are from the start of the (unpacked) file.
    pub(super) fn cursor(&self, wanted: &ChunkName) -> Option<Cursor<'_>> {
        let (_, range) = self.chunks.iter().find(|(name, _)| name == wanted)?;
        Some(Cursor { bytes: &self.bytes[..range.end], offset: range.start })
    }
}

/// A `.beam` file of these chunks, in their order, not compressed.
pub fn write(chunks: &[(ChunkName, Cow<'_, [u8]>)]) -> Vec<u8> {
    let size = |data: &[u8]| data.len().next_multiple_of(4);
    let length = 4 + chunks.iter().map(|(_, data)| 8 + size(data)).sum::<usize>();
    let mut file = Vec::with_capacity(8 + length);
    file.extend_from_slice(b"FOR1");
    file.extend_from_slice(&chunk_length(length));
    file.extend_from_slice(b"BEAM");
    for (name, data) in chunks {
        file.extend_from_slice(name);
        file.extend_from_slice(&chunk_length(data.len()));
        file.extend_from_slice(data);
        file.resize(file.len().next_multiple_of(4), 0);
    }
    file
}

fn chunk_length(length: usize) -> [u8; 4] {
    u32::try_from(length)
        .expect("a module has less than 4 GiB: what is read has at most 64 MiB")
        .to_be_bytes()
}

fn unpack(bytes: &[u8]) -> Result<Cow<'_, [u8]>, BeamError> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut unpacked = Vec::new();
    let reader = flate2::read::MultiGzDecoder::new(bytes);
    match reader.take(MOST_BYTES as u64 + 1).read_to_end(&mut unpacked) {
        Ok(length) if length > MOST_BYTES => {
            Err(BeamError::TooLarge { what: "the unpacked module", limit: MOST_BYTES })
        }
        Ok(_) => Ok(Cow::Owned(unpacked)),
        Err(error) => {
            Err(BeamError::Binary { offset: 0, expected: "a gzip stream", found: error.to_string() })
        }
    }
}

/// Reads bytes from outside.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) offset: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn fail<T>(&self, expected: &'static str, found: String) -> Result<T, BeamError> {
        Err(BeamError::Binary { offset: self.offset, expected, found })
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], BeamError> {
        match self.bytes[self.offset..].get(..length) {
            Some(taken) => {
                self.offset += length;
                Ok(taken)
            }
            None => {
                let left = self.bytes.len() - self.offset;
                self.fail("more bytes", format!("the end after {left} of {length}"))
            }
        }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.offset >= self.bytes.len()
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.offset
    }

    pub(super) fn u8(&mut self) -> Result<u8, BeamError> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], BeamError> {
        let taken = self.take(N)?;
        Ok(std::array::from_fn(|index| taken[index]))
    }

    fn magic(&mut self, magic: &[u8; 4], expected: &'static str) -> Result<(), BeamError> {
        let there = &self.bytes[self.offset..self.bytes.len().min(self.offset + 4)];
        if there != magic {
            return self.fail(expected, format!("`{}`", there.escape_ascii()));
        }
        self.take(4).map(drop)
    }

    pub(super) fn u32(&mut self) -> Result<u32, BeamError> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}
