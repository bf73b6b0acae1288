//! The contents of a package's files: DATA blocks, each named by the ADB block with its size and hash.

use std::io::{self, Read};

use ring::digest::{Context, SHA256, SHA512};

use super::package::{AdbPackage, Entry, EntryKind, FileHash};
use super::{BlockKind, Blocks};
use crate::apk::{ApkError, Quoted};

/// The numbers of a directory and of a file in it, in front of the content.
const HEADER: u64 = 8;

impl AdbPackage {
    /// Reads the DATA blocks to the end of the file: those of [`AdbPackage::contents`], in that order, and no others.
    /// `take` gets each file and a reader of its content, of which it must read everything. `data` is the length of
    /// the first block, as [`super::AdbHead::read`] gave it.
    ///
    /// Whoever calls must have found out that the ADB block is the one that it should be.
    ///
    /// # Errors
    /// [`ApkError::FileChanged`] for a content that has not its hash, otherwise when blocks are missing or others
    /// than expected, and what `take` says.
    pub fn read_contents<'a, R: Read>(
        &'a self,
        blocks: &mut Blocks<R>,
        data: Option<u64>,
        take: &mut dyn FnMut(&'a Entry, &mut dyn Read) -> io::Result<()>,
    ) -> Result<(), ApkError> {
        let mut next = data;
        for entry in self.contents() {
            let EntryKind::File { size, hash, place } = &entry.kind else { continue };
            let offset = blocks.offset();
            let wrong =
                |found: String| ApkError::Structure { offset, expected: "the DATA block of a file", found };
            let name = Quoted::new(entry.path.as_bytes());
            let length = next.ok_or_else(|| wrong(format!("the end, before {name}")))?;
            if length.checked_sub(HEADER) != Some(*size) {
                return Err(wrong(format!("a block of {length} bytes for {name}, which has {size}")));
            }
            let mut header = [0; HEADER as usize];
            blocks.read_exact(&mut header).map_err(|source| blocks.damaged(source))?;
            if header != numbers(*place) {
                return Err(wrong(format!("another file's instead of that of {name}")));
            }
            let mut hashing = Hashing { context: context(hash), reader: &mut *blocks };
            let taken = take(entry, &mut hashing).and_then(|()| io::copy(&mut hashing, &mut io::sink()));
            let found = hashing.context.finish();
            taken.map_err(|source| blocks.damaged(source))?;
            if found.as_ref() != hash.as_bytes() {
                return Err(ApkError::FileChanged {
                    path: name,
                    expected: hex::encode(hash.as_bytes()),
                    found: hex::encode(found),
                });
            }
            next = next_data(blocks)?;
        }
        match next {
            None => Ok(()),
            Some(length) => Err(ApkError::Structure {
                offset: blocks.offset(),
                expected: "the end",
                found: format!("a DATA block of {length} bytes that no file has"),
            }),
        }
    }
}

fn next_data<R: Read>(blocks: &mut Blocks<R>) -> Result<Option<u64>, ApkError> {
    let offset = blocks.offset();
    match blocks.next_block()? {
        None => Ok(None),
        Some((BlockKind::Data, length)) => Ok(Some(length)),
        Some((kind, _)) => Err(ApkError::Structure {
            offset,
            expected: "a DATA block or the end",
            found: kind.name().to_owned(),
        }),
    }
}

fn numbers((directory, file): (u32, u32)) -> [u8; HEADER as usize] {
    let mut header = [0; HEADER as usize];
    header[..4].copy_from_slice(&directory.to_le_bytes());
    header[4..].copy_from_slice(&file.to_le_bytes());
    header
}

fn context(hash: &FileHash) -> Context {
    Context::new(match hash {
        FileHash::Sha256(_) => &SHA256,
        FileHash::Sha512(_) => &SHA512,
    })
}

/// Hashes what is read.
struct Hashing<'a, R> {
    context: Context,
    reader: &'a mut Blocks<R>,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.context.update(&buffer[..count]);
        Ok(count)
    }
}
