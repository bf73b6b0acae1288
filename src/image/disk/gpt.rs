//! The GUID partition table (GPT), with the protective MBR before it and its copy at the end of the disk.
//!
//! Source: UEFI Specification 2.10, chapter 5. Everything is little-endian, in blocks of 512 bytes. The first block
//! has the protective MBR, the second the header, the 32 after it the entries; the last 33 of the disk have the
//! entries and the header once more. Types and attributes of Linux's partitions are those of the UAPI group's
//! [Discoverable Partitions Specification](https://uapi-group.org/specifications/specs/discoverable_partitions_specification/).
//!
//! Pure: values in, bytes out.

use std::collections::BTreeSet;

use flate2::Crc;

use super::Guid;
use crate::arch::Arch;

/// The bytes of a logical block. Disks of 4,096-byte blocks need another table; images are for virtual ones, whose
/// blocks have 512.
pub const BLOCK: u64 = 512;
/// How many entries a table has: with 128 bytes each the 16 KiB that the specification reserves at least.
pub const ENTRIES: usize = 128;
/// The longest name in UTF-16 units; the field needs no end mark.
pub const MOST_NAME_UNITS: usize = 36;
/// The blocks before the first that a partition may have: MBR, header and entries.
pub const BLOCKS_BEFORE: u64 = 2 + ENTRY_BLOCKS;
/// The blocks behind the last that a partition may have: entries and header.
pub const BLOCKS_BEHIND: u64 = 1 + ENTRY_BLOCKS;

const ENTRY_BYTES: usize = 128;
const ENTRY_BLOCKS: u64 = (ENTRIES * ENTRY_BYTES) as u64 / BLOCK;
const HEADER_BYTES: usize = 92;
const SIGNATURE: &[u8; 8] = b"EFI PART";
/// Revision 1.0.
const REVISION: u32 = 0x0001_0000;

/// The types of partitions that images have.
pub mod kinds {
    use super::{Arch, Guid};

    /// The EFI system partition: a FAT file system in which firmware looks for boot loaders.
    pub const ESP: Guid =
        Guid::from_bytes(*b"\xc1\x2a\x73\x28\xf8\x1f\x11\xd2\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b");
    /// Linux data of any kind.
    pub const LINUX_DATA: Guid =
        Guid::from_bytes(*b"\x0f\xc6\x3d\xaf\x84\x83\x47\x72\x8e\x79\x3d\x69\xd8\x47\x7d\xe4");
    /// `/var`. The specification mounts it by itself only where its GUID is made from the machine's id.
    pub const VAR: Guid =
        Guid::from_bytes(*b"\x4d\x21\xb0\x16\xb5\x34\x45\xc2\xa9\xfb\x5c\x16\xe0\x91\xfd\x2d");

    /// The root file system of an architecture.
    pub const fn root(arch: Arch) -> Guid {
        Guid::from_bytes(match arch {
            Arch::X86_64 => *b"\x4f\x68\xbc\xe3\xe8\xcd\x4d\xb1\x96\xe7\xfb\xca\xf9\x84\xb7\x09",
            Arch::Aarch64 => *b"\xb9\x21\xb0\x45\x1d\xf0\x41\xc3\xaf\x44\x4c\x6f\x28\x0d\x3f\xae",
            Arch::Riscv64 => *b"\x72\xec\x70\xa6\xcf\x74\x40\xe6\xbd\x49\x4b\xda\x08\xe8\xf2\x24",
        })
    }
}

/// Attributes of entries, as bits of one number.
pub mod attributes {
    /// The platform needs the partition: tools should not delete it.
    pub const REQUIRED: u64 = 1;
    /// Discoverable partitions: the file system is mounted read-only.
    pub const READ_ONLY: u64 = 1 << 60;
    /// Discoverable partitions: it is not mounted unless it is named.
    pub const NO_AUTO: u64 = 1 << 63;
}

/// A partition's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is for: one of [`kinds`], or any other.
    pub kind: Guid,
    /// Its own identifier (Linux's `PARTUUID`).
    pub guid: Guid,
    /// Its first block.
    pub first: u64,
    /// Its last block, which belongs to it.
    pub last: u64,
    /// A sum of [`attributes`].
    pub attributes: u64,
    /// Its name (Linux's `PARTLABEL`).
    pub name: String,
}

/// A table that is as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    disk: Guid,
    blocks: u64,
    entries: Vec<Entry>,
}

impl Table {
    /// A table for a disk of `blocks` blocks.
    ///
    /// # Errors
    /// In words: when there are too many partitions, one lies over another, over the table or beyond the disk, or two
    /// have the same GUID, or what [`check`] finds.
    pub fn new(disk: Guid, blocks: u64, entries: Vec<Entry>) -> Result<Self, String> {
        if entries.len() > ENTRIES {
            return Err(format!("{} partitions, and a table has room for {ENTRIES}", entries.len()));
        }
        let Some(end) = blocks.checked_sub(BLOCKS_BEHIND).filter(|&end| end >= BLOCKS_BEFORE) else {
            return Err(format!("a disk of {blocks} blocks has no room for a partition table"));
        };
        let mut guids = BTreeSet::from([disk]);
        let mut ranges: Vec<(u64, u64)> = Vec::with_capacity(entries.len());
        for entry in &entries {
            check(entry.kind, entry.guid, &entry.name)?;
            if !guids.insert(entry.guid) {
                return Err(format!("the GUID {} is used twice", entry.guid));
            }
            if entry.first < BLOCKS_BEFORE || entry.last < entry.first || entry.last >= end {
                return Err(format!(
                    "the partition {:?} has the blocks {} to {}, and partitions have those from {BLOCKS_BEFORE} to {}",
                    entry.name,
                    entry.first,
                    entry.last,
                    end - 1
                ));
            }
            ranges.push((entry.first, entry.last));
        }
        ranges.sort_unstable();
        if let Some(pair) = ranges.windows(2).find(|pair| pair[1].0 <= pair[0].1) {
            return Err(format!("two partitions have the block {}", pair[1].0));
        }
        Ok(Self { disk, blocks, entries })
    }

    /// The first [`BLOCKS_BEFORE`] blocks of the disk.
    pub fn start(&self) -> Vec<u8> {
        let entries = self.entry_array();
        let mut bytes = self.protective_mbr();
        bytes.extend(self.header(1, self.blocks - 1, 2, &entries));
        bytes.extend(entries);
        bytes
    }

    /// The last [`BLOCKS_BEHIND`] blocks of the disk.
    pub fn end(&self) -> Vec<u8> {
        let mut bytes = self.entry_array();
        let header = self.header(self.blocks - 1, 1, self.blocks - BLOCKS_BEHIND, &bytes);
        bytes.extend(header);
        bytes
    }

    /// An MBR with one partition over the whole disk, for programs that know no GPT (section 5.2.3).
    fn protective_mbr(&self) -> Vec<u8> {
        const RECORD: usize = 446;
        /// `GPT Protective`.
        const OS_TYPE: u8 = 0xee;
        let mut block = vec![0; BLOCK as usize];
        // The cylinder, head and sector of the second block.
        block[RECORD + 1..RECORD + 4].copy_from_slice(&[0, 2, 0]);
        block[RECORD + 4] = OS_TYPE;
        // Those of the last block can't be said: an image has no geometry.
        block[RECORD + 5..RECORD + 8].copy_from_slice(&[0xff; 3]);
        block[RECORD + 8..RECORD + 12].copy_from_slice(&1_u32.to_le_bytes());
        let size = u32::try_from(self.blocks - 1).unwrap_or(u32::MAX);
        block[RECORD + 12..RECORD + 16].copy_from_slice(&size.to_le_bytes());
        block[510..].copy_from_slice(&[0x55, 0xaa]);
        block
    }

    /// A header that stands in block `own`, with the other one in `other` and its entries from `array` on (table 5.5).
    fn header(&self, own: u64, other: u64, array: u64, entries: &[u8]) -> Vec<u8> {
        let mut header = Vec::with_capacity(BLOCK as usize);
        header.extend(SIGNATURE);
        header.extend(REVISION.to_le_bytes());
        header.extend((HEADER_BYTES as u32).to_le_bytes());
        header.extend([0; 4]); // HeaderCRC32, below.
        header.extend([0; 4]);
        header.extend(own.to_le_bytes());
        header.extend(other.to_le_bytes());
        header.extend(BLOCKS_BEFORE.to_le_bytes());
        header.extend((self.blocks - BLOCKS_BEHIND - 1).to_le_bytes());
        header.extend(self.disk.on_disk());
        header.extend(array.to_le_bytes());
        header.extend((ENTRIES as u32).to_le_bytes());
        header.extend((ENTRY_BYTES as u32).to_le_bytes());
        header.extend(crc32(entries).to_le_bytes());
        let sum = crc32(&header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        header.resize(BLOCK as usize, 0);
        header
    }

    fn entry_array(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ENTRIES * ENTRY_BYTES);
        for entry in &self.entries {
            let start = bytes.len();
            bytes.extend(entry.kind.on_disk());
            bytes.extend(entry.guid.on_disk());
            bytes.extend(entry.first.to_le_bytes());
            bytes.extend(entry.last.to_le_bytes());
            bytes.extend(entry.attributes.to_le_bytes());
            bytes.extend(entry.name.encode_utf16().flat_map(u16::to_le_bytes));
            bytes.resize(start + ENTRY_BYTES, 0);
        }
        bytes.resize(ENTRIES * ENTRY_BYTES, 0);
        bytes
    }
}

/// Whether an entry can be like this, wherever it lies.
///
/// # Errors
/// In words: a name that is too long or has a NUL in it, and a type or GUID that is all zeros.
pub fn check(kind: Guid, guid: Guid, name: &str) -> Result<(), String> {
    let units = name.encode_utf16().count();
    if units > MOST_NAME_UNITS {
        return Err(format!(
            "the partition name {name:?} has {units} characters, and {MOST_NAME_UNITS} are the most"
        ));
    }
    if name.contains('\0') {
        return Err(format!("the partition name {name:?} has a NUL character in it"));
    }
    if kind == Guid::NIL || guid == Guid::NIL {
        return Err(format!(
            "the partition {name:?} has a type or a GUID of zeros, which stands for no partition"
        ));
    }
    Ok(())
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guid(last: u8) -> Guid {
        let mut bytes = [0x11; 16];
        bytes[15] = last;
        Guid::from_bytes(bytes)
    }

    fn entry(number: u8, first: u64, last: u64) -> Entry {
        Entry {
            kind: kinds::LINUX_DATA,
            guid: guid(number),
            first,
            last,
            attributes: attributes::READ_ONLY,
            name: format!("p{number}"),
        }
    }

    #[test]
    fn sums_are_those_of_the_specification() {
        // The check value of CRC-32 (ISO 3309), which the specification names.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn both_tables_name_each_other() {
        let table = Table::new(guid(0), 4096, vec![entry(1, 2048, 2050)]).expect("a table");
        let (start, end) = (table.start(), table.end());
        assert_eq!((start.len(), end.len()), (34 * 512, 33 * 512));
        assert_eq!(start[1024..], end[..end.len() - 512], "the same entries");
        let number =
            |bytes: &[u8], at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("8 bytes"));
        let (primary, backup) = (&start[512..1024], &end[end.len() - 512..]);
        for (header, own, other, array) in [(primary, 1, 4095, 2), (backup, 4095, 1, 4063)] {
            assert_eq!(&header[..8], b"EFI PART");
            assert_eq!([24, 32, 40, 48, 72].map(|at| number(header, at)), [own, other, 34, 4062, array]);
            let mut without = header[..92].to_vec();
            without[16..20].fill(0);
            assert_eq!(header[16..20], crc32(&without).to_le_bytes());
            assert_eq!(header[88..92], crc32(&start[1024..]).to_le_bytes());
        }
        let entry = &start[1024..1024 + 128];
        assert_eq!(hex::encode(&entry[..16]), "af3dc60f838472478e793d69d8477de4");
        assert_eq!([32, 40, 48].map(|at| number(entry, at)), [2048, 2050, 1 << 60]);
        assert_eq!(&entry[56..62], b"p\x001\0\0\0");
        assert_eq!(start[446..462], *b"\0\0\x02\0\xee\xff\xff\xff\x01\0\0\0\xff\x0f\0\0");
        let large = Table::new(guid(0), 1 << 33, vec![]).expect("a table");
        assert_eq!(large.start()[458..462], [0xff; 4]);
    }

    #[test]
    fn tables_that_can_not_be_are_refused() {
        let long = Entry { name: "𝄞".repeat(18) + "x", ..entry(1, 100, 200) };
        let nul = Entry { name: "a\0".to_owned(), ..entry(1, 100, 200) };
        for (blocks, entries, reason) in [
            (4096, vec![entry(1, 33, 100)], "partitions have those from 34 to 4062"),
            (4096, vec![entry(1, 100, 4063)], "partitions have those from 34 to 4062"),
            (4096, vec![entry(1, 100, 99)], "the blocks 100 to 99"),
            (4096, vec![entry(1, 100, 200), entry(2, 200, 300)], "two partitions have the block 200"),
            (4096, vec![entry(2, 200, 300), entry(1, 34, 4000)], "two partitions have the block 200"),
            (4096, vec![entry(1, 100, 200), entry(1, 300, 300)], "is used twice"),
            (4096, vec![entry(0, 100, 200)], "is used twice"),
            (4096, vec![Entry { kind: Guid::NIL, ..entry(1, 100, 200) }], "stands for no partition"),
            (4096, vec![long], "has 37 characters"),
            (4096, vec![nul], "NUL"),
            (66, vec![], "no room for a partition table"),
            (u64::MAX, vec![entry(1, 100, u64::MAX)], "the blocks 100 to"),
            (4096, (0..129).map(|number| entry(number, 34, 34)).collect(), "129 partitions"),
        ] {
            let error = Table::new(guid(0), blocks, entries).expect_err(reason);
            assert!(error.contains(reason), "{error}");
        }
        let full = Entry { name: "𝄞".repeat(18), ..entry(1, 100, 200) };
        Table::new(guid(0), 4096, vec![full]).expect("a name that just fits");
    }
}
