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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::squashfs::Settings;
    use crate::image::squashfs::codec::Codec;
    use crate::recipe::Compression;

    /// A table of directories whose blocks are not compressed.
    struct Directories {
        bytes: Vec<u8>,
    }

    impl Directories {
        /// Writes something of `before` bytes, and then the entries.
        fn new<'a>(before: usize, entries: &[Entry<'a>]) -> (Self, Listing<'a>) {
            let settings = Settings { compression: Compression::None, ..Settings::default() };
            let mut table = Table::in_memory(Codec::new(&settings).expect("there is none")).expect("set up");
            table.write(&vec![0xaa; before]).expect("written");
            let listing = write(&mut table, entries.iter().copied()).expect("written");
            (Self { bytes: table.finish().expect("written").1 }, listing)
        }

        /// Bytes from a place on, over the borders of blocks.
        fn read(&self, block: &mut usize, offset: &mut usize, count: usize) -> Vec<u8> {
            let mut bytes = Vec::new();
            while bytes.len() < count {
                let header = u16::from_le_bytes([self.bytes[*block], self.bytes[*block + 1]]);
                assert!(header & 0x8000 != 0);
                let length = usize::from(header & 0x7fff);
                let now = (count - bytes.len()).min(length - *offset);
                bytes.extend(&self.bytes[*block + 2 + *offset..][..now]);
                *offset += now;
                if *offset == METADATA {
                    *block += 2 + length;
                    *offset = 0;
                }
            }
            bytes
        }

        /// `squashfs_lookup` of the kernel: block, offset and number of the inode of `name`, and how many bytes of the
        /// listing were read for it.
        fn look_up(&self, listing: &Listing<'_>, name: &[u8]) -> (Option<(u32, u16, u32)>, usize) {
            let (mut block, mut offset) =
                (listing.start.block() as usize, usize::from(listing.start.offset()));
            let mut length = 0;
            for entry in &listing.index {
                if entry.name > name {
                    break;
                }
                length = entry.index as usize;
                block = entry.start_block as usize;
            }
            offset = (length + offset) % METADATA;
            let begun = length;
            while length < listing.size as usize - 3 {
                let header = self.read(&mut block, &mut offset, 12);
                let field = |at: usize| u32::from_le_bytes(header[at..][..4].try_into().expect("four"));
                length += 12;
                let count = field(0) + 1;
                assert!(count <= 256);
                for _ in 0..count {
                    let entry = self.read(&mut block, &mut offset, 8);
                    let field = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
                    let found = self.read(&mut block, &mut offset, usize::from(field(6)) + 1);
                    length += 8 + found.len();
                    if found == name {
                        let first = u32::from_le_bytes(header[8..].try_into().expect("four"));
                        let number = first.wrapping_add_signed(i32::from(field(2).cast_signed()));
                        let start = u32::from_le_bytes(header[4..8].try_into().expect("four"));
                        return (Some((start, field(0), number)), length - begun);
                    }
                    if found.as_slice() > name {
                        return (None, length - begun);
                    }
                }
            }
            (None, length - begun)
        }
    }

    fn names(count: usize, longest: usize) -> Vec<Vec<u8>> {
        (0..count)
            .map(|index| format!("{index:06}{}", "n".repeat(index * 31 % longest)).into_bytes())
            .collect()
    }

    fn entry(name: &[u8], number: u32, block: u32) -> Entry<'_> {
        let inode = Reference::new(block, (number % 8192) as u16);
        Entry { name, inode_type: InodeType::File, number, inode }
    }

    #[test]
    fn a_small_listing_is_as_specified() {
        let entries = [entry(b"a", 5, 7), entry(b"bc", 4, 7)];
        let (directories, listing) = Directories::new(0, &entries);
        let expected = "1f80 01000000 07000000 05000000 0500 0000 0200 0000 61 0400 ffff 0200 0100 6263";
        let expected: String = expected.split_whitespace().collect();
        assert_eq!(hex::encode(&directories.bytes), expected);
        assert_eq!((listing.size, listing.index.len()), (31 + 3, 0));
    }

    #[test]
    fn an_empty_one_takes_nothing() {
        let (directories, listing) = Directories::new(0, &[]);
        assert!(directories.bytes.is_empty());
        assert_eq!(listing.size, 3);
    }

    /// The kernel finds every name of a directory, and reads about a block for it.
    #[test]
    fn every_name_is_found_where_the_kernel_looks_for_it() {
        for (count, longest, before) in
            [(1, 1, 8190), (300, 200, 0), (3000, 1, 8191), (3000, 249, 100), (5000, 20, 8192)]
        {
            let names = names(count, longest);
            let entries: Vec<Entry<'_>> = names
                .iter()
                .enumerate()
                // Inodes in blocks of 200, some far away, as hardlinks are.
                .map(|(index, name)| {
                    let number = if index % 701 == 5 { 200_000 } else { index as u32 + 1 };
                    entry(name, number, number / 200 * 8194)
                })
                .collect();
            let (directories, listing) = Directories::new(before, &entries);
            assert_eq!(listing.index.is_empty(), u64::from(listing.size) - 3 <= METADATA as u64);
            for entry in &entries {
                let (found, read) = directories.look_up(&listing, entry.name);
                let expected = (entry.inode.block(), entry.inode.offset(), entry.number);
                assert_eq!(found, Some(expected), "{}", entry.name.escape_ascii());
                assert!(read <= 2 * METADATA, "{read} bytes for {}", entry.name.escape_ascii());
            }
            for name in [&b"!"[..], b"000000n!", b"zzz"] {
                assert_eq!(directories.look_up(&listing, name).0, None);
            }
        }
    }
}
