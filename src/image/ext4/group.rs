//! Block groups: where superblocks are copied to, group descriptors, bitmaps.
//!
//! Source: the kernel's [group descriptors](https://docs.kernel.org/filesystems/ext4/group_descr.html) and
//! [bitmaps](https://docs.kernel.org/filesystems/ext4/bitmaps.html).

use super::checksum::crc32c;
use super::{BLOCK, BLOCKS_PER_GROUP};

/// Bytes of a descriptor of a file system that has 64-bit block numbers.
pub(super) const DESCRIPTOR: usize = 64;
/// Descriptors in a block.
pub(super) const DESCRIPTORS_PER_BLOCK: u64 = BLOCK / DESCRIPTOR as u64;

/// `EXT4_BG_INODE_UNINIT`: no inode of the group is used, and its bitmap was never written.
pub(super) const INODE_UNINIT: u16 = 0x1;
/// `EXT4_BG_BLOCK_UNINIT`: no block of the group is used, and its bitmap was never written.
pub(super) const BLOCK_UNINIT: u16 = 0x2;
/// `EXT4_BG_INODE_ZEROED`: what is not used of the inode table is zeros.
pub(super) const ITABLE_ZEROED: u16 = 0x4;

/// A bitmap of one block.
pub(super) type Bitmap = [u8; BLOCK as usize];

/// Whether a group begins with a copy of the superblock and of the descriptors (`sparse_super`): the groups 0 and
/// 1, and the powers of 3, 5 and 7.
pub(super) fn has_backup(group: u64) -> bool {
    let is_power = |base: u64| {
        let mut power = base;
        while power < group {
            power *= base;
        }
        power == group
    };
    group <= 1 || [3, 5, 7].into_iter().any(is_power)
}

/// The groups with copies, without the first one, among the first `groups`.
pub(super) fn backups(groups: u64) -> Vec<u64> {
    let powers = |base: u64| {
        std::iter::successors(Some(base), move |power| power.checked_mul(base))
            .take_while(move |&power| power < groups)
    };
    let mut all: Vec<u64> = [3, 5, 7].into_iter().flat_map(powers).collect();
    if groups > 1 {
        all.push(1);
    }
    all.sort_unstable();
    all
}

/// `struct ext4_group_desc`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
    pub(super) free_blocks: u32,
    pub(super) free_inodes: u32,
    pub(super) used_directories: u32,
    pub(super) flags: u16,
    /// Inodes at the end of the table that were never used.
    pub(super) unused_inodes: u32,
    pub(super) block_bitmap_checksum: u32,
    pub(super) inode_bitmap_checksum: u32,
}

impl Descriptor {
    /// The descriptor of group `group`, with its checksum.
    pub(super) fn to_bytes(self, seed: u32, group: u32) -> [u8; DESCRIPTOR] {
        let mut bytes = [0; DESCRIPTOR];
        let mut low_high = |low: usize, high: usize, value: u32| {
            let value = value.to_le_bytes();
            bytes[low..low + 2].copy_from_slice(&value[..2]);
            bytes[high..high + 2].copy_from_slice(&value[2..]);
        };
        low_high(0x0c, 0x2c, self.free_blocks);
        low_high(0x0e, 0x2e, self.free_inodes);
        low_high(0x10, 0x30, self.used_directories);
        low_high(0x1c, 0x32, self.unused_inodes);
        low_high(0x18, 0x38, self.block_bitmap_checksum);
        low_high(0x1a, 0x3a, self.inode_bitmap_checksum);
        for (low, high, value) in
            [(0x00, 0x20, self.block_bitmap), (0x04, 0x24, self.inode_bitmap), (0x08, 0x28, self.inode_table)]
        {
            let value = value.to_le_bytes();
            bytes[low..low + 4].copy_from_slice(&value[..4]);
            bytes[high..high + 4].copy_from_slice(&value[4..]);
        }
        bytes[0x12..0x14].copy_from_slice(&self.flags.to_le_bytes());
        // The field of the checksum, 0x1e, is zero as yet.
        let checksum = crc32c(crc32c(seed, &group.to_le_bytes()), &bytes);
        bytes[0x1e..0x20].copy_from_slice(&checksum.to_le_bytes()[..2]);
        bytes
    }
}

/// Sets the bits from `start` to before `end`; those beyond the bitmap's end are left out.
pub(super) fn set_bits(bitmap: &mut Bitmap, start: u64, end: u64) {
    let end = end.min(BLOCKS_PER_GROUP);
    let mut bit = start;
    while bit < end {
        // A bitmap has 2^15 bits.
        let byte = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        if bit.is_multiple_of(8) && end - bit >= 8 {
            bitmap[byte] = 0xff;
            bit += 8;
        } else {
            bitmap[byte] |= 1 << (bit % 8);
            bit += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_stand_where_sparse_super_wants_them() {
        let all: Vec<u64> = (0..1000).filter(|&group| has_backup(group)).collect();
        assert_eq!(all, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 243, 343, 625, 729]);
        assert_eq!(backups(1000), all[1..]);
        assert!(backups(1).is_empty());
        assert_eq!(backups(2), [1]);
        assert_eq!(backups(49), [1, 3, 5, 7, 9, 25, 27]);
        // The most that a file system of 16 TiB has.
        assert_eq!(backups(1 << 17).len(), 24);
    }

    #[test]
    fn bits_are_set_and_no_others() {
        for (start, end) in [(0, 0), (0, 1), (3, 17), (8, 16), (32_760, 40_000), (0, 32_768)] {
            let mut bitmap = [0; BLOCK as usize];
            set_bits(&mut bitmap, start, end);
            for bit in 0..BLOCKS_PER_GROUP {
                let is_set = bitmap[(bit / 8) as usize] >> (bit % 8) & 1 == 1;
                assert_eq!(is_set, (start..end).contains(&bit), "{bit} of {start}..{end}");
            }
        }
    }

    #[test]
    fn large_numbers_are_split() {
        let descriptor = Descriptor {
            block_bitmap: 0x0001_0203_0405_0607,
            free_blocks: 0x0001_8000,
            unused_inodes: 0x0002_0003,
            ..Descriptor::default()
        };
        let bytes = descriptor.to_bytes(0, 7);
        assert_eq!(bytes[..4], [7, 6, 5, 4]);
        assert_eq!(bytes[0x20..0x24], [3, 2, 1, 0]);
        assert_eq!((bytes[0x0d], bytes[0x2c]), (0x80, 1));
        assert_eq!((bytes[0x1c], bytes[0x32]), (3, 2));
    }
}
