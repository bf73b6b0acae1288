//! Inodes of 256 bytes.
//!
//! Source: the kernel's [index nodes](https://docs.kernel.org/filesystems/ext4/inodes.html). Times have 34 bits
//! of seconds since 1901-12-13: the lower 32 of them signed where they always stood, two more in the inode's
//! second half.

use super::BLOCK;
use super::checksum::{crc32c, inode_seed};
use crate::tree::NodeKind;

/// Bytes of an inode.
pub(super) const INODE: usize = 256;
/// Inodes in a block.
pub(super) const INODES_PER_BLOCK: u64 = BLOCK / INODE as u64;
/// Bytes of the old inode, whose size all others build upon.
const OLD_INODE: usize = 128;
/// How many bytes of the second half have a meaning (`i_extra_isize`); attributes take the rest.
pub(super) const EXTRA: u16 = 32;
/// Where attributes begin.
const ATTRIBUTES: usize = OLD_INODE + EXTRA as usize;
/// Bytes for attributes.
pub(super) const ATTRIBUTE_SPACE: usize = INODE - ATTRIBUTES;

pub(super) const S_IFIFO: u16 = 0o010_000;
pub(super) const S_IFCHR: u16 = 0o020_000;
pub(super) const S_IFDIR: u16 = 0o040_000;
pub(super) const S_IFBLK: u16 = 0o060_000;
pub(super) const S_IFREG: u16 = 0o100_000;
pub(super) const S_IFLNK: u16 = 0o120_000;

/// `EXT4_INDEX_FL`: a directory with hashed names.
pub(super) const INDEX_FLAG: u32 = 0x1000;
/// `EXT4_EXTENTS_FL`: `i_block` is the root of a tree of extents.
pub(super) const EXTENTS_FLAG: u32 = 0x8_0000;
/// `EXT4_EA_INODE_FL`: the inode holds the value of an attribute.
pub(super) const VALUE_FLAG: u32 = 0x20_0000;

/// `i_block`: a root of extents, a short link's target, a device's number.
pub(super) type BlockField = [u8; 60];

/// The earliest time that there is, in 1901.
const EARLIEST: i64 = -(1 << 31);
/// What the latest time of 2446 lies before.
const END: i64 = EARLIEST + (1 << 34);
/// Times from here to before [`AMBIGUOUS_END`] look like some before 1970 that old kernels wrote, and are taken
/// for those by `e2fsck` (until 2242).
const AMBIGUOUS: i64 = (3 << 32) - (1 << 31);
const AMBIGUOUS_END: i64 = 3 << 32;

/// What an inode holds.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    /// Type and permissions.
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    /// All four times.
    pub(super) time: i64,
    pub(super) links: u16,
    /// Blocks of the file system that belong to the inode, those of its extents and attributes included.
    pub(super) blocks: u64,
    pub(super) flags: u32,
    pub(super) block: BlockField,
    /// The block of attributes; 0 for none.
    pub(super) attribute_block: u64,
    /// What stands behind the inode's own fields.
    pub(super) attributes: [u8; ATTRIBUTE_SPACE],
    /// The hash of an attribute's value that the inode holds; such inodes have no times and one reference.
    pub(super) value_hash: Option<u32>,
}

impl Inode {
    /// The inode with the number `number`, with its checksum.
    pub(super) fn to_bytes(&self, seed: u32, number: u32) -> [u8; INODE] {
        let mut bytes = [0; INODE];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        let low = |value: u32| [value.to_le_bytes()[0], value.to_le_bytes()[1]];
        let high = |value: u32| [value.to_le_bytes()[2], value.to_le_bytes()[3]];
        // Counted in sectors, 48 bits wide: enough for the largest file.
        let sectors = (self.blocks * (BLOCK / 512)).to_le_bytes();
        let size = self.size.to_le_bytes();
        let attribute_block = self.attribute_block.to_le_bytes();
        put(0x00, &self.mode.to_le_bytes());
        put(0x02, &low(self.uid));
        put(0x04, &size[..4]);
        put(0x18, &low(self.gid));
        put(0x1a, &self.links.to_le_bytes());
        put(0x1c, &sectors[..4]);
        put(0x20, &self.flags.to_le_bytes());
        put(0x28, &self.block);
        put(0x68, &attribute_block[..4]);
        put(0x6c, &size[4..]);
        put(0x74, &sectors[4..6]);
        put(0x76, &attribute_block[4..6]);
        put(0x78, &high(self.uid));
        put(0x7a, &high(self.gid));
        put(0x80, &EXTRA.to_le_bytes());
        if let Some(hash) = self.value_hash {
            // Access time and version of such an inode are its value's hash and the number of its references.
            put(0x08, &hash.to_le_bytes());
            put(0x24, &1_u32.to_le_bytes());
        } else {
            let (seconds, extra) = time(self.time);
            for (at, at_extra) in [(0x08, 0x8c), (0x0c, 0x84), (0x10, 0x88), (0x90, 0x94)] {
                put(at, &seconds);
                put(at_extra, &extra);
            }
        }
        put(ATTRIBUTES, &self.attributes);
        // Both fields of the checksum are zero as yet.
        let checksum = crc32c(inode_seed(seed, number), &bytes);
        bytes[0x7c..0x7e].copy_from_slice(&low(checksum));
        bytes[0x82..0x84].copy_from_slice(&high(checksum));
        bytes
    }
}

/// Why a time can't stand in an inode.
pub(super) fn time_defect(time: i64) -> Option<String> {
    if !(EARLIEST..END).contains(&time) {
        Some(format!("its time, {time} s since 1970, is outside 1901–2446"))
    } else if (AMBIGUOUS..AMBIGUOUS_END).contains(&time) {
        Some(format!("its time, {time} s since 1970, is within 2310–2378, which is taken for 1901–1970"))
    } else {
        None
    }
}

/// The lower bits of a time, and the field with the upper two of them; no nanoseconds.
fn time(time: i64) -> ([u8; 4], [u8; 4]) {
    let [a, b, c, d, ..] = time.to_le_bytes();
    let low = [a, b, c, d];
    // What must be added to the lower bits when they are taken as signed.
    let epoch = (time - i64::from(i32::from_le_bytes(low))) >> 32;
    (low, [epoch.to_le_bytes()[0] & 3, 0, 0, 0])
}

/// The type bits of a node's mode. A hardlink is a regular file.
pub(super) fn file_type(kind: &NodeKind) -> u16 {
    match kind {
        NodeKind::Directory => S_IFDIR,
        NodeKind::File(_) | NodeKind::Hardlink(_) => S_IFREG,
        NodeKind::Symlink(_) => S_IFLNK,
        NodeKind::CharDevice { .. } => S_IFCHR,
        NodeKind::BlockDevice { .. } => S_IFBLK,
        NodeKind::Fifo => S_IFIFO,
    }
}

/// Why a device's number can't stand in an inode: it has 12 bits for the driver and 20 for the device.
pub(super) fn device_defect(major: u32, minor: u32) -> Option<String> {
    (major >= 1 << 12 || minor >= 1 << 20)
        .then(|| format!("its device number {major}:{minor} is larger than 4095:1048575"))
}

/// A device's number: in the first word where both of its parts have eight bits, as of old, in the second one
/// otherwise.
pub(super) fn device(major: u32, minor: u32) -> BlockField {
    let mut block = [0; 60];
    if major < 256 && minor < 256 {
        block[..4].copy_from_slice(&(major << 8 | minor).to_le_bytes());
    } else {
        let number = minor & 0xff | major << 8 | (minor & !0xff) << 12;
        block[4..8].copy_from_slice(&number.to_le_bytes());
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the kernel's documentation ("inode timestamps").
    #[test]
    fn times_are_as_documented() {
        for (seconds, low, epoch) in [
            (-0x8000_0000_i64, 0x8000_0000_u32, 0_u8),
            (-1, 0xffff_ffff, 0),
            (0, 0, 0),
            (0x7fff_ffff, 0x7fff_ffff, 0),
            (0x8000_0000, 0x8000_0000, 1),
            (0xffff_ffff, 0xffff_ffff, 1),
            (0x1_0000_0000, 0, 1),
            (0x1_8000_0000, 0x8000_0000, 2),
            (0x3_7fff_ffff, 0x7fff_ffff, 3),
        ] {
            assert_eq!(time(seconds), (low.to_le_bytes(), [epoch, 0, 0, 0]), "{seconds:#x}");
            assert_eq!(time_defect(seconds), None);
        }
        for outside in [i64::MIN, -0x8000_0001, 0x2_8000_0000, 0x2_ffff_ffff, 0x3_8000_0000, i64::MAX] {
            assert!(time_defect(outside).is_some(), "{outside:#x}");
        }
    }

    #[test]
    fn devices_have_two_forms() {
        assert_eq!(device(8, 1)[..8], [1, 8, 0, 0, 0, 0, 0, 0]);
        assert_eq!(device(259, 5)[..8], [0, 0, 0, 0, 5, 3, 1, 0]);
        assert_eq!(device(4095, 0xf_ffff)[..8], [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        assert!(device_defect(4095, 0xf_ffff).is_none());
        assert!(device_defect(4096, 0).is_some() && device_defect(0, 1 << 20).is_some());
    }
}
