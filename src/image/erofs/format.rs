//! The records of an EROFS image: values in, bytes out.
//!
//! Source: the kernel's `fs/erofs/erofs_fs.h` and [the format's own pages](https://erofs.docs.kernel.org). All
//! numbers are little-endian; fields are named as there.

/// The size of a block: the one that every kernel reads on every machine.
pub(super) const BLOCK: u64 = 4096;
/// [`BLOCK`], for what is in memory.
pub(super) const BLOCK_BYTES: usize = BLOCK as usize;
/// Inodes begin at multiples of this; an inode's number (`nid`) is its place in this unit.
pub(super) const SLOT: u64 = 32;
/// Where the superblock stands.
pub(super) const SUPER_OFFSET: u64 = 1024;
/// The superblock's size without extensions.
pub(super) const SUPER_SIZE: u64 = 128;
/// The largest cluster that is compressed at once.
pub(super) const MOST_CLUSTER: u32 = 1 << 20;
/// A block's address that stands for a hole.
pub(super) const HOLE: u32 = u32::MAX;
/// How many bytes of a volume's name there are.
pub(super) const LABEL: usize = 16;

const MAGIC: u32 = 0xe0f5_e1e2;
/// The checksum in the superblock holds.
const COMPAT_SB_CHKSUM: u32 = 1;
/// Each inode's time is its modification time.
const COMPAT_MTIME: u32 = 2;

/// Compressed data stands at the end of its blocks, and zeros before it (Linux 5.3).
pub(super) const INCOMPAT_ZERO_PADDING: u32 = 0x1;
/// Compressors' settings follow the superblock, and clusters may have several blocks (Linux 5.13).
pub(super) const INCOMPAT_COMPR_CFGS: u32 = 0x2;
/// Files may be stored in chunks (Linux 5.15).
pub(super) const INCOMPAT_CHUNKED_FILE: u32 = 0x4;
/// The last cluster of a file may stand beside its inode (Linux 5.17).
pub(super) const INCOMPAT_ZTAILPACKING: u32 = 0x10;

/// `S_IFMT` and its values, from `inode(7)`.
pub(super) mod mode {
    pub(in crate::image::erofs) const FIFO: u16 = 0o010_000;
    pub(in crate::image::erofs) const CHAR: u16 = 0o020_000;
    pub(in crate::image::erofs) const DIRECTORY: u16 = 0o040_000;
    pub(in crate::image::erofs) const BLOCK: u16 = 0o060_000;
    pub(in crate::image::erofs) const FILE: u16 = 0o100_000;
    pub(in crate::image::erofs) const SYMLINK: u16 = 0o120_000;
}

/// A compressor, by its number in the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Lz4 = 0,
    Zstd = 3,
}

/// What the superblock says.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    pub root_nid: u16,
    /// How many inodes there are.
    pub inos: u64,
    /// The time of inodes without one of their own, in seconds since 1970.
    pub epoch: i64,
    /// The image's size in blocks.
    pub blocks: u32,
    pub xattr_blkaddr: u32,
    pub uuid: [u8; 16],
    pub volume_name: [u8; LABEL],
    pub feature_incompat: u32,
    /// The compressor that is used, and the settings that follow.
    pub compressor: Option<Compressor>,
}

/// What a reader must know of the compressor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compressor {
    pub algorithm: Algorithm,
    /// The blocks of the largest cluster.
    pub cluster_blocks: u16,
    /// The power of two of zstd's window.
    pub window_log: u8,
}

impl Compressor {
    /// Whether its settings must follow the superblock: plain LZ4 in single blocks is what all readers know.
    pub(super) fn has_settings(self) -> bool {
        self.algorithm != Algorithm::Lz4 || self.cluster_blocks > 1
    }

    /// A length of 16 bits, then the settings.
    pub(super) fn settings(self) -> Vec<u8> {
        if !self.has_settings() {
            return Vec::new();
        }
        /// The smallest window of zstd, from which windows are counted.
        const ZSTD_WINDOWLOG_ABSOLUTEMIN: u8 = 10;
        match self.algorithm {
            Algorithm::Lz4 => {
                // max_distance, max_pclusterblks, ten reserved bytes.
                let mut bytes = vec![0; 16];
                bytes[..2].copy_from_slice(&14_u16.to_le_bytes());
                bytes[2..4].copy_from_slice(&LZ4_DISTANCE.to_le_bytes());
                bytes[4..6].copy_from_slice(&self.cluster_blocks.to_le_bytes());
                bytes
            }
            // The format (0), the window, four reserved bytes.
            Algorithm::Zstd => vec![6, 0, 0, self.window_log - ZSTD_WINDOWLOG_ABSOLUTEMIN, 0, 0, 0, 0],
        }
    }
}

/// How far back LZ4 looks.
const LZ4_DISTANCE: u16 = u16::MAX;

impl Superblock {
    /// The superblock and the compressor's settings; the checksum is still missing.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; SUPER_SIZE as usize];
        let settings = self.compressor.filter(|compressor| compressor.has_settings());
        let mut feature_incompat = self.feature_incompat;
        let mut available_compr_algs = 0;
        if let Some(compressor) = self.compressor {
            feature_incompat |= INCOMPAT_ZERO_PADDING;
            // Without settings the field is LZ4's largest distance.
            available_compr_algs = LZ4_DISTANCE;
            if settings.is_some() {
                feature_incompat |= INCOMPAT_COMPR_CFGS;
                available_compr_algs = 1 << compressor.algorithm as u16;
            }
        }
        let mut put =
            |offset: usize, field: &[u8]| bytes[offset..offset + field.len()].copy_from_slice(field);
        put(0, &MAGIC.to_le_bytes());
        put(8, &(COMPAT_SB_CHKSUM | COMPAT_MTIME).to_le_bytes());
        put(12, &[BLOCK.trailing_zeros() as u8]);
        put(14, &self.root_nid.to_le_bytes());
        put(16, &self.inos.to_le_bytes());
        put(24, &self.epoch.to_le_bytes());
        put(36, &self.blocks.to_le_bytes());
        // meta_blkaddr at 40 is 0: inodes are counted from the image's beginning on.
        put(44, &self.xattr_blkaddr.to_le_bytes());
        put(48, &self.uuid);
        put(64, &self.volume_name);
        put(80, &feature_incompat.to_le_bytes());
        put(84, &available_compr_algs.to_le_bytes());
        if let Some(compressor) = settings {
            bytes.extend_from_slice(&compressor.settings());
        }
        bytes
    }

    /// Puts the checksum of the first block into it: CRC-32C of everything from the superblock to the block's end,
    /// not inverted at the end.
    pub(super) fn seal(block: &mut [u8; BLOCK_BYTES]) {
        let start = SUPER_OFFSET as usize;
        block[start + 4..start + 8].fill(0);
        let checksum = crc32c(&block[start..]);
        block[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// CRC-32C with all bits set at first, and not inverted at the end.
fn crc32c(bytes: &[u8]) -> u32 {
    /// Castagnoli's polynomial, bits reversed.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| {
                if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 }
            },
        )
    })
}

/// Where a file's data stands (`i_format`, bits 1 to 3), with the field that says where (`i_u`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In blocks, one after the other, from this one on.
    FlatPlain { startblk: u32 },
    /// Likewise, but for what no block is full of: that follows the inode.
    FlatInline { startblk: u32 },
    /// Compressed, with so many blocks; the compact index follows the inode.
    CompressedCompact { blocks: u32 },
    /// In chunks of `1 << blkbits` blocks, whose addresses follow the inode.
    ChunkBased { blkbits: u16 },
    /// Nowhere: a device has its numbers instead, everything else that isn't a file 0.
    Device { rdev: u32 },
}

/// An inode, without what follows it.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub layout: Layout,
    /// The size of the extended attributes after it, as [`icount`] has it.
    pub xattr_icount: u16,
    pub mode: u16,
    pub nlink: u32,
    pub size: u64,
    /// A number of 32 bits for programs that know no larger ones.
    pub ino: u32,
    pub uid: u32,
    pub gid: u32,
    /// Its time, if it is not the superblock's.
    pub mtime: Option<i64>,
}

impl Inode {
    /// The size of the form without times and with small numbers only.
    pub(super) const COMPACT: u64 = 32;
    /// The size of the full form.
    pub(super) const EXTENDED: u64 = 64;

    /// Which form an inode takes: its size in bytes.
    pub(super) fn form(size: u64, uid: u32, gid: u32, nlink: u32, mtime: Option<i64>) -> u64 {
        let small = u32::try_from(size).is_ok() && uid.max(gid).max(nlink) <= u32::from(u16::MAX);
        if small && mtime.is_none() { Self::COMPACT } else { Self::EXTENDED }
    }

    /// 32 or 64 bytes, as [`Inode::form`] says. `epoch` is the superblock's time.
    pub(super) fn encode(&self, epoch: i64) -> Vec<u8> {
        let form = Self::form(self.size, self.uid, self.gid, self.nlink, self.mtime);
        let extended = form == Self::EXTENDED;
        let (layout, i_u) = match self.layout {
            Layout::FlatPlain { startblk } => (0, startblk),
            Layout::FlatInline { startblk } => (2, startblk),
            Layout::CompressedCompact { blocks } => (3, blocks),
            Layout::ChunkBased { blkbits } => (4, u32::from(blkbits)),
            Layout::Device { rdev } => (0, rdev),
        };
        let i_format = layout << 1 | u16::from(extended);
        let mut bytes = Vec::with_capacity(form as usize);
        bytes.extend_from_slice(&i_format.to_le_bytes());
        bytes.extend_from_slice(&self.xattr_icount.to_le_bytes());
        bytes.extend_from_slice(&self.mode.to_le_bytes());
        if extended {
            bytes.extend_from_slice(&[0; 2]);
            bytes.extend_from_slice(&self.size.to_le_bytes());
            bytes.extend_from_slice(&i_u.to_le_bytes());
            bytes.extend_from_slice(&self.ino.to_le_bytes());
            bytes.extend_from_slice(&self.uid.to_le_bytes());
            bytes.extend_from_slice(&self.gid.to_le_bytes());
            bytes.extend_from_slice(&self.mtime.unwrap_or(epoch).to_le_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&self.nlink.to_le_bytes());
            bytes.extend_from_slice(&[0; 16]);
        } else {
            // `form` has seen that each of them fits.
            bytes.extend_from_slice(&(self.nlink as u16).to_le_bytes());
            bytes.extend_from_slice(&(self.size as u32).to_le_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&i_u.to_le_bytes());
            bytes.extend_from_slice(&self.ino.to_le_bytes());
            bytes.extend_from_slice(&(self.uid as u16).to_le_bytes());
            bytes.extend_from_slice(&(self.gid as u16).to_le_bytes());
            bytes.extend_from_slice(&[0; 4]);
        }
        bytes
    }
}

/// A device's numbers as Linux packs them (`new_encode_dev`): 12 bits of the major and 20 of the minor number.
/// `None` where they don't fit.
pub(super) fn rdev(major: u32, minor: u32) -> Option<u32> {
    (major < 1 << 12 && minor < 1 << 20).then_some(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode() -> Inode {
        Inode {
            layout: Layout::FlatInline { startblk: 0x0102_0304 },
            xattr_icount: 0x0506,
            mode: mode::FILE | 0o644,
            nlink: 1,
            size: 0x0708,
            ino: 9,
            uid: 10,
            gid: 11,
            mtime: None,
        }
    }

    #[test]
    fn the_checksum_is_crc_32c() {
        // The check value of CRC-32C, from which its final inversion is taken away.
        assert_eq!(crc32c(b"123456789"), !0xe306_9283);
    }

    #[test]
    fn small_inodes_are_compact() {
        let bytes = inode().encode(0);
        assert_eq!(
            hex::encode(bytes),
            "04000605a481010008070000000000000403020109000000".to_owned() + "0a000b0000000000"
        );
    }

    #[test]
    fn what_is_large_or_has_its_own_time_is_extended() {
        let bytes = Inode { mtime: Some(-2), size: 1 << 40, nlink: 70_000, ..inode() }.encode(7);
        let expected = concat!(
            "05000605a4810000",
            "0000000000010000",
            "0403020109000000",
            "0a0000000b000000",
            "feffffffffffffff",
            "0000000070110100",
            "00000000000000000000000000000000",
        );
        assert_eq!(hex::encode(bytes), expected);
        for large in [
            Inode { uid: 65_536, ..inode() },
            Inode { gid: 65_536, ..inode() },
            Inode { nlink: 65_536, ..inode() },
            Inode { size: 1 << 32, ..inode() },
        ] {
            let bytes = large.encode(0x0a0b);
            assert_eq!((bytes.len(), &bytes[32..40]), (64, &[0x0b, 0x0a, 0, 0, 0, 0, 0, 0][..]));
        }
    }

    #[test]
    fn devices_are_packed_as_linux_does() {
        assert_eq!(rdev(1, 3), Some(0x103));
        assert_eq!(rdev(0xfff, 0xf_ffff), Some(u32::MAX));
        assert_eq!(rdev(259, 0x12345), Some(0x1231_0345));
        assert_eq!(rdev(0x1000, 0), None);
        assert_eq!(rdev(0, 0x10_0000), None);
    }

    #[test]
    fn settings_follow_the_superblock_where_readers_need_them() {
        let superblock = Superblock {
            root_nid: 36,
            inos: 1,
            epoch: 5,
            blocks: 1,
            xattr_blkaddr: 0,
            uuid: [7; 16],
            volume_name: *b"volume\0\0\0\0\0\0\0\0\0\0",
            feature_incompat: 0,
            compressor: None,
        };
        let with = |algorithm, cluster_blocks| {
            let compressor = Some(Compressor { algorithm, cluster_blocks, window_log: 19 });
            Superblock { compressor, ..superblock.clone() }.encode()
        };
        let plain = superblock.encode();
        assert_eq!((plain.len(), &plain[80..86]), (128, &[0; 6][..]));
        let single = with(Algorithm::Lz4, 1);
        assert_eq!((single.len(), &single[80..86]), (128, &[1, 0, 0, 0, 255, 255][..]));
        let large = with(Algorithm::Lz4, 16);
        assert_eq!(&large[80..86], &[3, 0, 0, 0, 1, 0]);
        assert_eq!(large[128..], [14, 0, 255, 255, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let zstd = with(Algorithm::Zstd, 1);
        assert_eq!(&zstd[80..86], &[3, 0, 0, 0, 8, 0]);
        assert_eq!(zstd[128..], [6, 0, 0, 9, 0, 0, 0, 0]);
    }
}
