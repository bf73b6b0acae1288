//! Listings of directories: headers, each with up to 256 entries whose inodes stand in one block of metadata.
//!
//! Source: the kernel's `fs/squashfs/namei.c`. Names are in byte order. A header is also begun with the first entry
//! that begins in another block of metadata than its header, so that the index of a large directory has a place in
//! every block to start reading from.

use super::format::{
    DirectoryIndex, EMPTY_DIRECTORY, InodeType, METADATA, MOST_OF_A_RUN, Reference, directory_entry,
    directory_header,
};
use super::metadata::Table;
use crate::image::ImageError;

/// What a directory says of something that it holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode_type: InodeType,
    /// The inode's number.
    pub(super) number: u32,
    /// Where it stands.
    pub(super) inode: Reference,
}

/// The bytes of a header, and of an entry without its name.
pub(super) const HEADER: u64 = 12;
pub(super) const ENTRY: u64 = 8;
/// `i_count` has 16 bits. What is beyond the last entry of an index is found from there on.
const MOST_OF_AN_INDEX: usize = u16::MAX as usize;

/// Where a listing stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Listing<'a> {
    pub(super) start: Reference,
    /// With [`EMPTY_DIRECTORY`].
    pub(super) size: u32,
    /// Only for what is larger than a block of metadata.
    pub(super) index: Vec<DirectoryIndex<'a>>,
}

/// Writes a listing of entries that are in the order of their names.
pub(super) fn write<'a>(
    table: &mut Table<'_>,
    entries: impl Iterator<Item = Entry<'a>>,
) -> Result<Listing<'a>, ImageError> {
    let start = table.position();
    let mut writer = Writer { start, table, size: 0, run: Vec::new(), run_size: HEADER, index: Vec::new() };
    for entry in entries {
        if !writer.fits(&entry) {
            writer.end_run()?;
        }
        writer.run_size += ENTRY + entry.name.len() as u64;
        writer.run.push(entry);
    }
    writer.end_run()?;
    let Writer { size, mut index, .. } = writer;
    if size <= METADATA as u64 {
        index.clear();
    }
    let size =
        u32::try_from(size + EMPTY_DIRECTORY).expect("limits::check leaves no table that reaches 4 GiB");
    Ok(Listing { start, size, index })
}

struct Writer<'a, 'b, 'c> {
    table: &'b mut Table<'c>,
    start: Reference,
    size: u64,
    run: Vec<Entry<'a>>,
    run_size: u64,
    index: Vec<DirectoryIndex<'a>>,
}

impl<'a> Writer<'a, '_, '_> {
    /// In which block of metadata, from the one on that the listing begins in, the listing's byte `place` is.
    fn block_of(&self, place: u64) -> u64 {
        (u64::from(self.start.offset()) + place) / METADATA as u64
    }

    fn fits(&self, entry: &Entry<'_>) -> bool {
        let Some(first) = self.run.first() else { return true };
        self.run.len() < MOST_OF_A_RUN
            && first.inode.block() == entry.inode.block()
            && distance(first, entry).is_some()
            && self.block_of(self.size) == self.block_of(self.size + self.run_size)
    }

    fn end_run(&mut self) -> Result<(), ImageError> {
        let Some(first) = self.run.first() else { return Ok(()) };
        let before = self.index.last().map_or(0, |entry| u64::from(entry.index));
        if self.block_of(self.size) > self.block_of(before) && self.index.len() < MOST_OF_AN_INDEX {
            self.index.push(DirectoryIndex {
                index: u32::try_from(self.size).expect("limits::check leaves no table that reaches 4 GiB"),
                start_block: self.table.position().block(),
                name: first.name,
            });
        }
        let mut bytes = Vec::new();
        directory_header(&mut bytes, self.run.len(), first.inode.block(), first.number);
        for entry in &self.run {
            let number = distance(first, entry).expect("only what fits is in a run");
            directory_entry(&mut bytes, entry.inode.offset(), number, entry.inode_type, entry.name);
        }
        self.table.write(&bytes)?;
        self.size += self.run_size;
        self.run.clear();
        self.run_size = HEADER;
        Ok(())
    }
}

fn distance(first: &Entry<'_>, entry: &Entry<'_>) -> Option<i16> {
    i16::try_from(i64::from(entry.number) - i64::from(first.number)).ok()
}
