//! The file header and the blocks of an ADB file.
//!
//! A block begins with a 32-bit word: its type in the two highest bits, and its size with the word. Type 3 is the long
//! form: the type in the other 30 bits, four reserved bytes, and the size with these 16 bytes as a 64-bit number;
//! it is only for what the short one can't say. Each block is padded with zeros to 8 bytes.

use std::fmt;
use std::io::{self, Read, Write};

use crate::apk::{ApkError, Quoted};

/// The alignment of blocks.
const ALIGNMENT: u64 = 8;
/// The largest size that the short form of a block's header has, header included.
const MOST_SHORT: u64 = 0x3fff_ffff;
const SHORT_HEADER: u64 = 4;
const LONG_HEADER: u64 = 16;
/// The type of the long form.
const EXTENDED: u32 = 3;

/// What the ADB block of a file describes: four letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema(pub u32);

impl Schema {
    /// `pckg`: a package.
    pub const PACKAGE: Self = Self(u32::from_le_bytes(*b"pckg"));
    /// `indx`: an index.
    pub const INDEX: Self = Self(u32::from_le_bytes(*b"indx"));
    /// `idb`: the packages that are installed.
    pub const INSTALLED: Self = Self(u32::from_le_bytes(*b"idb\0"));

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PACKAGE => "a package (schema pckg)",
            Self::INDEX => "an index (schema indx)",
            Self::INSTALLED => "an installed database (schema idb)",
            _ => "another schema",
        }
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Quoted::new(self.0.to_le_bytes()).fmt(f)
    }
}

/// The types of block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// The values that the schema describes.
    Adb,
    /// A signature over the ADB block.
    Signature,
    /// A file's content.
    Data,
}

impl BlockKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Adb => "an ADB block",
            Self::Signature => "a signature block",
            Self::Data => "a DATA block",
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::Adb => 0,
            Self::Signature => 1,
            Self::Data => 2,
        }
    }
}

/// Reads the blocks of a file one after the other. As a reader it gives the content of the current block.
pub struct Blocks<R> {
    reader: R,
    schema: Schema,
    offset: u64,
    /// Of the current block: bytes of its content that were not read, and of its padding.
    left: u64,
    padding: u64,
}

impl<R: Read> Blocks<R> {
    /// Reads the header: `ADB.` and the schema.
    ///
    /// # Errors
    /// When it is not there.
    pub fn open(mut reader: R) -> Result<Self, ApkError> {
        let mut header = [0; 8];
        reader.read_exact(&mut header).map_err(|source| ApkError::Damaged {
            member: "ADB",
            offset: 0,
            source,
        })?;
        let [b'A', b'D', b'B', b'.', schema @ ..] = header else {
            let found = format!("the bytes {:02x?}", &header[..4]);
            return Err(ApkError::Structure { offset: 0, expected: "ADB.", found });
        };
        let schema = Schema(u32::from_le_bytes(schema));
        Ok(Self { reader, schema, offset: 8, left: 0, padding: 0 })
    }

    /// What the file's ADB block describes.
    pub fn schema(&self) -> Schema {
        self.schema
    }

    /// How many decompressed bytes were read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the header of the next block: its type and the length of its content. None at the end. What was not
    /// read of the block before is passed over.
    ///
    /// # Errors
    /// When the file is cut, a header is none that is written, or padding is not zero.
    pub fn next_block(&mut self) -> Result<Option<(BlockKind, u64)>, ApkError> {
        io::copy(self, &mut io::sink()).map_err(|source| self.damaged(source))?;
        let mut padding = [0; ALIGNMENT as usize];
        let padding = &mut padding[..usize::try_from(self.padding).unwrap_or(0)];
        self.fill(padding)?;
        if padding.iter().any(|&byte| byte != 0) {
            return Err(self.wrong("zeros after a block", "something else"));
        }
        self.padding = 0;

        let mut word = [0; 4];
        // The end is only here a good one.
        let first = loop {
            match self.reader.read(&mut word) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|source| self.damaged(source))?,
            }
        };
        if first == 0 {
            return Ok(None);
        }
        self.offset += first as u64;
        self.fill(&mut word[first..])?;
        let word = u32::from_le_bytes(word);
        let (kind, size, header) = if word >> 30 == EXTENDED {
            let mut rest = [0; 12];
            self.fill(&mut rest)?;
            let (reserved, size) = rest.split_at(4);
            let size = size.iter().rev().fold(0_u64, |size, &byte| size << 8 | u64::from(byte));
            if reserved != [0; 4] {
                return Err(self.wrong("zeros in a block's header", "something else"));
            }
            let short = size.saturating_sub(LONG_HEADER).saturating_add(SHORT_HEADER) <= MOST_SHORT;
            if short {
                return Err(self.wrong("the short form of a block's header", "the long one"));
            }
            (word & 0x3fff_ffff, size, LONG_HEADER)
        } else {
            (word >> 30, u64::from(word & 0x3fff_ffff), SHORT_HEADER)
        };
        let kind = match kind {
            0 => BlockKind::Adb,
            1 => BlockKind::Signature,
            2 => BlockKind::Data,
            _ => return Err(self.wrong("a known type of block", "another")),
        };
        let end = size.checked_next_multiple_of(ALIGNMENT);
        let (Some(length), Some(end)) = (size.checked_sub(header), end) else {
            return Err(self.wrong("the size of a block", "a number that can be none"));
        };
        (self.left, self.padding) = (length, end - size);
        Ok(Some((kind, length)))
    }

    /// The whole content of the current block, which `next_block` said has `length` bytes.
    ///
    /// # Errors
    /// When it has more than `limit` bytes, or the file is cut.
    pub fn read_all(&mut self, length: u64, limit: u64, what: &'static str) -> Result<Vec<u8>, ApkError> {
        if length > limit {
            return Err(ApkError::TooLarge { member: what, offset: self.offset, limit });
        }
        let mut bytes = Vec::new();
        // Not allocated beforehand: a file may say what it doesn't have.
        self.take(length).read_to_end(&mut bytes).map_err(|source| self.damaged(source))?;
        Ok(bytes)
    }

    /// What the blocks were read from.
    pub fn into_inner(self) -> R {
        self.reader
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ApkError> {
        self.reader.read_exact(bytes).map_err(|source| self.damaged(source))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Makes a reader's error into this room's.
    pub fn damaged(&self, source: io::Error) -> ApkError {
        ApkError::Damaged { member: "ADB", offset: self.offset, source }
    }

    fn wrong(&self, expected: &'static str, found: &str) -> ApkError {
        ApkError::Structure { offset: self.offset, expected, found: found.to_owned() }
    }
}

/// The content of the current block.
impl<R: Read> Read for Blocks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.reader.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends within a block"));
        }
        self.left -= count as u64;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Writes a block's header for content of this length; gives how many bytes of padding must follow that.
pub(super) fn write_header(output: &mut impl Write, kind: BlockKind, length: u64) -> io::Result<usize> {
    let size = if length <= MOST_SHORT - SHORT_HEADER {
        let size = length + SHORT_HEADER;
        // At most 30 bits.
        output.write_all(&(kind.number() << 30 | size as u32).to_le_bytes())?;
        size
    } else {
        let size = length.checked_add(LONG_HEADER).ok_or(io::ErrorKind::FileTooLarge)?;
        output.write_all(&(EXTENDED << 30 | kind.number()).to_le_bytes())?;
        output.write_all(&[0; 4])?;
        output.write_all(&size.to_le_bytes())?;
        size
    };
    // Less than eight.
    Ok((ALIGNMENT - 1 - (size + ALIGNMENT - 1) % ALIGNMENT) as usize)
}

/// Writes a block that is in memory.
pub(super) fn write_block(output: &mut impl Write, kind: BlockKind, content: &[u8]) -> io::Result<()> {
    let padding = write_header(output, kind, content.len() as u64)?;
    output.write_all(content)?;
    output.write_all(&[0; ALIGNMENT as usize][..padding])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(blocks: &[(BlockKind, &[u8])]) -> Vec<u8> {
        let mut bytes = b"ADB.pckg".to_vec();
        for (kind, content) in blocks {
            write_block(&mut bytes, *kind, content).expect("to memory");
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<(BlockKind, Vec<u8>)>, ApkError> {
        let mut blocks = Blocks::open(bytes)?;
        let mut all = Vec::new();
        while let Some((kind, length)) = blocks.next_block()? {
            all.push((kind, blocks.read_all(length, 1 << 20, "ADB")?));
        }
        Ok(all)
    }

    #[test]
    fn blocks_of_all_lengths_come_back() {
        for length in 0..20 {
            let content = vec![7; length];
            let bytes = file(&[(BlockKind::Adb, &content), (BlockKind::Data, b"x")]);
            assert_eq!(bytes.len() % 8, 0);
            let back = read(&bytes).expect("good");
            assert_eq!(back, [(BlockKind::Adb, content), (BlockKind::Data, b"x".to_vec())]);
            for end in (0..bytes.len()).filter(|end| ![8, bytes.len() - 8].contains(end)) {
                assert!(read(&bytes[..end]).is_err(), "{length}, cut at {end}");
            }
        }
    }

    #[test]
    fn headers_that_nobody_writes_are_refused() {
        let long = |size: u64, reserved: u32| {
            [&b"ADB.pckg"[..], &0xc000_0002_u32.to_le_bytes(), &reserved.to_le_bytes(), &size.to_le_bytes()]
                .concat()
        };
        for (bytes, expected) in [
            (long(16, 0), "the short form"),
            (long(1 << 29, 0), "the short form"),
            (long(1 << 32, 1), "zeros in"),
            (long(u64::MAX, 0), "the size"),
            (long(5, 0), "the short form"),
            ([&b"ADB.pckg"[..], &3_u32.to_le_bytes()].concat(), "the size"),
            ([&b"ADB.pckg"[..], &0xc000_0003_u32.to_le_bytes(), &[0; 8], &[1; 4]].concat(), "a known type"),
            (file(&[(BlockKind::Adb, b"x")]).into_iter().map(|byte| byte.max(1)).collect(), "ADB."),
        ] {
            let error = read(&bytes).expect_err(expected).to_string();
            assert!(error.contains(expected) || expected == "ADB.", "{error}");
        }
        // A long block is read, and its size is not believed.
        let mut blocks = Blocks::open(&long(1 << 40, 0)[..]).expect("good").next_block();
        assert_eq!(blocks.as_mut().ok(), Some(&mut Some((BlockKind::Data, (1 << 40) - 16))));
        let mut padded = file(&[(BlockKind::Adb, b"x")]);
        *padded.last_mut().expect("there") = 1;
        assert!(read(&padded).expect_err("padding").to_string().contains("zeros after"));
        let mut header = Vec::new();
        let padding = write_header(&mut header, BlockKind::Data, 1 << 30).expect("to memory");
        assert_eq!((header.len(), padding), (16, 0));
    }
}
