//! The superblock.
//!
//! Source: the kernel's [superblock](https://docs.kernel.org/filesystems/ext4/super.html).

use super::checksum::{START, crc32c};
use super::group::DESCRIPTOR;
use super::inode::{BlockField, EXTRA, INODE};
use super::{BLOCKS_PER_GROUP, FIRST_INODE, GROUPS_PER_FLEX, JOURNAL_INODE};

/// Where the first superblock begins in the image; its copies begin with their groups.
pub(super) const OFFSET: u64 = 1024;
/// Bytes of a superblock.
pub(super) const SUPERBLOCK: usize = 1024;

// s_feature_compat
pub(super) const HAS_JOURNAL: u32 = 0x4;
const EXT_ATTR: u32 = 0x8;
pub(super) const RESIZE_INODE: u32 = 0x10;
const DIR_INDEX: u32 = 0x20;
// s_feature_incompat
const FILETYPE: u32 = 0x2;
const EXTENTS: u32 = 0x40;
const SIXTY_FOUR_BIT: u32 = 0x80;
const FLEX_BG: u32 = 0x200;
pub(super) const EA_INODE: u32 = 0x400;
// s_feature_ro_compat
const SPARSE_SUPER: u32 = 0x1;
const LARGE_FILE: u32 = 0x2;
const HUGE_FILE: u32 = 0x8;
const DIR_NLINK: u32 = 0x20;
const EXTRA_ISIZE: u32 = 0x40;
const METADATA_CSUM: u32 = 0x400;

/// `user_xattr` and `acl` without being asked for.
const DEFAULT_MOUNT_OPTIONS: u32 = 0x4 | 0x8;
/// Names are hashed as signed bytes.
const SIGNED_HASH: u32 = 0x1;

/// What differs from file system to file system.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    pub(super) inodes: u32,
    pub(super) inodes_per_group: u32,
    pub(super) free_inodes: u32,
    pub(super) blocks: u64,
    pub(super) reserved_blocks: u64,
    pub(super) free_blocks: u64,
    /// What no file can ever have: the groups' own blocks, and the journal's.
    pub(super) overhead: u32,
    pub(super) reserved_descriptor_blocks: u16,
    /// Seconds since 1970.
    pub(super) created: u64,
    pub(super) uuid: [u8; 16],
    pub(super) label: [u8; 16],
    pub(super) hash_seed: [u8; 16],
    /// The journal's inode: its blocks and size.
    pub(super) journal: Option<(BlockField, u64)>,
    /// Whether values of attributes stand in inodes.
    pub(super) has_value_inodes: bool,
}

impl Superblock {
    /// The copy in group `group`, with its checksum.
    pub(super) fn to_bytes(&self, group: u64) -> [u8; SUPERBLOCK] {
        let mut bytes = [0; SUPERBLOCK];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        for (low, high, value) in
            [(0x04, 0x150, self.blocks), (0x08, 0x154, self.reserved_blocks), (0x0c, 0x158, self.free_blocks)]
        {
            let value = value.to_le_bytes();
            put(low, &value[..4]);
            put(high, &value[4..]);
        }
        // s_wtime, s_lastcheck, s_mkfs_time: 40 bits each.
        for (low, high) in [(0x30, 0x274), (0x40, 0x277), (0x108, 0x276)] {
            let time = self.created.to_le_bytes();
            put(low, &time[..4]);
            put(high, &time[4..5]);
        }
        let mut compat = EXT_ATTR | DIR_INDEX;
        if self.journal.is_some() {
            compat |= HAS_JOURNAL;
        }
        if self.reserved_descriptor_blocks > 0 {
            compat |= RESIZE_INODE;
        }
        let mut incompat = FILETYPE | EXTENTS | SIXTY_FOUR_BIT | FLEX_BG;
        if self.has_value_inodes {
            incompat |= EA_INODE;
        }
        let blocks_per_group = u32::try_from(BLOCKS_PER_GROUP).unwrap_or_default();
        for (at, value) in [
            (0x00, self.inodes),
            (0x10, self.free_inodes),
            // s_log_block_size, s_log_cluster_size: 2^(10 + 2) bytes
            (0x18, 2),
            (0x1c, 2),
            // s_blocks_per_group, s_clusters_per_group
            (0x20, blocks_per_group),
            (0x24, blocks_per_group),
            (0x28, self.inodes_per_group),
            // s_rev_level: inodes have sizes, features exist
            (0x4c, 1),
            (0x54, FIRST_INODE),
            (0x5c, compat),
            (0x60, incompat),
            (0x64, SPARSE_SUPER | LARGE_FILE | HUGE_FILE | DIR_NLINK | EXTRA_ISIZE | METADATA_CSUM),
            (0x100, DEFAULT_MOUNT_OPTIONS),
            (0x160, SIGNED_HASH),
            (0x248, self.overhead),
        ] {
            put(at, &value.to_le_bytes());
        }
        for (at, value) in [
            // s_max_mnt_count: never checked for the number of its mounts
            (0x36, u16::MAX),
            (0x38, 0xef53),
            // s_state: unmounted cleanly; s_errors: go on
            (0x3a, 1),
            (0x3c, 1),
            (0x58, u16::try_from(INODE).unwrap_or_default()),
            // s_block_group_nr; a copy in a group beyond 2^16 can't say where it is
            (0x5a, u16::try_from(group & 0xffff).unwrap_or_default()),
            (0xce, self.reserved_descriptor_blocks),
            (0xfe, u16::try_from(DESCRIPTOR).unwrap_or_default()),
            // s_min_extra_isize, s_want_extra_isize
            (0x15c, EXTRA),
            (0x15e, EXTRA),
        ] {
            put(at, &value.to_le_bytes());
        }
        // s_def_hash_version: half MD4
        put(0xfc, &[1]);
        let flex = u8::try_from(GROUPS_PER_FLEX.trailing_zeros()).unwrap_or_default();
        // s_log_groups_per_flex; s_checksum_type: CRC-32C
        put(0x174, &[flex, 1]);
        put(0x68, &self.uuid);
        put(0x78, &self.label);
        put(0xec, &self.hash_seed);
        if let Some((block, size)) = &self.journal {
            let size = size.to_le_bytes();
            put(0xe0, &JOURNAL_INODE.to_le_bytes());
            // s_jnl_backup_type: what follows is the journal's i_block and size
            put(0xfd, &[1]);
            put(0x10c, block);
            put(0x148, &size[4..]);
            put(0x14c, &size[..4]);
        }
        let checksum = crc32c(START, &bytes[..0x3fc]);
        bytes[0x3fc..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }
}
