//! Format v3 of Alpine's packages and indexes: ADB files, pure.
//!
//! - [`compression`]: the outermost layer, `ADB.`, `ADBd` and `ADBc`.
//! - [`container`]: the schema and the blocks: one ADB block, signatures, and in packages a DATA block for each file.
//! - [`value`]: the values of an ADB block.
//! - [`signature`]: signatures over the ADB block.
//! - [`index`] and [`package`]: the schemas `indx` and `pckg`.
//! - [`write`](mod@write): packages and indexes, as `apk mkpkg` and `apk mkndx` make them.
//!
//! The chain of trust is: a trusted key signs the ADB block of the index, that names the ADB block of the package by
//! its SHA-256, and that each file by its hash. Compression and padding are outside of it: what they can hold
//! without a meaning is refused where that can be told.
//!
//! Sources: `apk-v3(5)` of apk-tools, and what its `apk mkpkg` and `apk mkndx` write. All numbers are little-endian.

pub mod compression;
pub mod container;
mod contents;
mod fields;
pub mod index;
pub mod package;
pub mod signature;
pub mod value;
pub mod write;

pub use compression::{Compression, Decompressed};
pub use container::{BlockKind, Blocks, Schema};
pub use index::AdbIndex;
pub use package::{AdbPackage, Entry, EntryKind, FileHash};
pub use signature::AdbSignature;
pub use value::Adb;

use std::io::{BufRead, Read};

use super::ApkError;

/// How every ADB file begins, compressed or not.
pub const MAGIC: [u8; 3] = *b"ADB";
/// The most bytes that the ADB block of a package may have: it holds no file's content.
pub const MOST_PACKAGE_ADB_BYTES: u64 = 64 << 20;
/// The most bytes that the ADB block of an index may have.
pub const MOST_INDEX_ADB_BYTES: u64 = 256 << 20;
/// The most bytes of signatures in a file.
const MOST_SIGNATURES: usize = 64;

/// A file's ADB block and its signatures: all that stands in front of file contents. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdbHead {
    /// What the ADB block describes.
    pub schema: Schema,
    /// The ADB block.
    pub adb: Vec<u8>,
    /// Its signatures; none if it is unsigned.
    pub signatures: Vec<AdbSignature>,
}

impl AdbHead {
    /// Reads the head of a file of this schema. Says whether a DATA block follows, whose content comes next out of
    /// `blocks`, or the end.
    ///
    /// # Errors
    /// When the blocks are not those of such a file, or larger than `limit`.
    pub fn read<R: Read>(
        blocks: &mut Blocks<R>,
        schema: Schema,
        limit: u64,
    ) -> Result<(Self, Option<u64>), ApkError> {
        let offset = blocks.offset();
        let wrong = |offset, expected, found: String| ApkError::Structure { offset, expected, found };
        if blocks.schema() != schema {
            return Err(wrong(4, schema.name(), format!("the schema {}", blocks.schema())));
        }
        let first = blocks.next_block()?;
        let Some((BlockKind::Adb, length)) = first else {
            let found = first.map_or("the end", |(kind, _)| kind.name());
            return Err(wrong(offset, "an ADB block", found.to_owned()));
        };
        let adb = blocks.read_all(length, limit, "ADB")?;
        let mut signatures = Vec::new();
        loop {
            let offset = blocks.offset();
            let data = match blocks.next_block()? {
                Some((BlockKind::Signature, length)) if signatures.len() < MOST_SIGNATURES => {
                    let bytes = blocks.read_all(length, AdbSignature::MOST_BYTES, "signature")?;
                    signatures.push(AdbSignature::parse(&bytes, offset)?);
                    continue;
                }
                Some((BlockKind::Data, length)) => Some(length),
                None => None,
                Some((kind, _)) => {
                    return Err(wrong(offset, "a DATA block or the end", kind.name().to_owned()));
                }
            };
            return Ok((Self { schema, adb, signatures }, data));
        }
    }
}

/// Opens an ADB file for its blocks; at most `limit` bytes may come out of its compression.
///
/// # Errors
/// When it does not begin as an ADB file does.
pub fn open<R: BufRead>(reader: R, limit: u64) -> Result<Blocks<Decompressed<R>>, ApkError> {
    Blocks::open(Decompressed::open(reader, limit)?)
}
