//! The journal: how large, and the block that it begins with.
//!
//! Source: the kernel's [journal](https://docs.kernel.org/filesystems/ext4/journal.html) (jbd2). Its numbers are
//! big-endian. Features, its checksums among them, are set by the kernel when it mounts the file system.

use super::{BLOCK, Journal};

const MAGIC: u32 = 0xc03b_3998;
/// A superblock of version 2.
const SUPERBLOCK_V2: u32 = 4;
/// Bytes of the journal's superblock.
const SUPERBLOCK: usize = 1024;
/// `JBD2_MIN_JOURNAL_BLOCKS`.
pub(super) const LEAST: u64 = 1024;
/// As many as `mke2fs` allows.
pub(super) const MOST: u64 = 10_240_000;

/// How many blocks the journal of a file system of `total` blocks has; 0 where it has none.
pub(super) fn blocks(journal: Journal, total: u64) -> u64 {
    /// Sizes up to which a journal has so many blocks, as `mke2fs` has them.
    const SIZES: [(u64, u64); 8] = [
        (2048, 0),
        (32_768, 1024),
        (256 << 10, 4096),
        (512 << 10, 8192),
        (4096 << 10, 16_384),
        (8192 << 10, 32_768),
        (16_384 << 10, 65_536),
        (32_768 << 10, 131_072),
    ];
    match journal {
        Journal::None => 0,
        Journal::Default => {
            SIZES.into_iter().find(|(below, _)| total < *below).map_or(262_144, |(_, blocks)| blocks)
        }
        Journal::Bytes(bytes) => bytes.div_ceil(BLOCK),
    }
}

/// The first block of an empty journal; the others are zeros.
pub(super) fn superblock(blocks: u64, uuid: &[u8; 16]) -> [u8; SUPERBLOCK] {
    let mut bytes = [0; SUPERBLOCK];
    let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    put(0x00, MAGIC);
    put(0x04, SUPERBLOCK_V2);
    // s_blocksize, s_maxlen, s_first (the log begins behind this block), s_sequence; s_start 0: nothing to replay.
    put(0x0c, u32::try_from(BLOCK).unwrap_or_default());
    put(0x10, u32::try_from(blocks).unwrap_or(u32::MAX));
    put(0x14, 1);
    put(0x18, 1);
    // s_nr_users
    put(0x40, 1);
    bytes[0x30..0x40].copy_from_slice(uuid);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_tool() {
        for (total, expected) in [
            (2047, 0),
            (2048, 1024),
            (32_768, 4096),
            (262_144, 8192),
            (524_288, 16_384),
            (4_194_304, 32_768),
            (33_554_431, 131_072),
            (u64::MAX, 262_144),
        ] {
            assert_eq!(blocks(Journal::Default, total), expected, "{total}");
        }
        assert_eq!(blocks(Journal::Bytes((4 << 20) + 1), 0), 1025);
        assert_eq!(blocks(Journal::None, 1 << 30), 0);
    }
}
