//! What the kernel demands of an image when it mounts it, for places where nothing can be mounted: the checks of
//! `fs/squashfs/super.c`, `id.c`, `export.c`, `fragment.c` and `xattr_id.c` of Linux 6.12, line by line. unsquashfs does
//! without many of them.

/// The bytes of a block of metadata that is not compressed, and its header.
const METADATA: u64 = 8192 + 2;
const NO_TABLE: u64 = u64::MAX;

/// What the superblock says.
#[derive(Debug)]
pub(super) struct Superblock {
    pub(super) inodes: u32,
    pub(super) mkfs_time: u32,
    pub(super) block_size: u32,
    pub(super) fragments: u32,
    pub(super) compression: u16,
    pub(super) flags: u16,
    pub(super) ids: u16,
    pub(super) bytes_used: u64,
}

/// Panics where the kernel refuses.
pub(super) fn mount(image: &[u8]) -> Superblock {
    let u16_at = |place: usize| u16::from_le_bytes(image[place..][..2].try_into().expect("two bytes"));
    let u32_at = |place: usize| u32::from_le_bytes(image[place..][..4].try_into().expect("four bytes"));
    let u64_at =
        |place: u64| u64::from_le_bytes(image[place as usize..][..8].try_into().expect("eight bytes"));
    assert_eq!(&image[..4], b"hsqs");
    let superblock = Superblock {
        inodes: u32_at(4),
        mkfs_time: u32_at(8),
        block_size: u32_at(12),
        fragments: u32_at(16),
        compression: u16_at(20),
        flags: u16_at(24),
        ids: u16_at(26),
        bytes_used: u64_at(40),
    };
    assert_eq!((u16_at(28), u16_at(30)), (4, 0), "the version");
    assert!(superblock.bytes_used <= image.len() as u64);
    assert_eq!(1 << u16_at(22), superblock.block_size);
    assert!((4096..=1 << 20).contains(&superblock.block_size));
    let root = u64_at(32);
    assert!(root & 0xffff <= 8192);
    let [id_table, xattr_table, inode_table, directory_table, fragment_table, lookup_table] =
        [48, 56, 64, 72, 80, 88].map(u64_at);

    // A table of positions of blocks, of `size` bytes in all, that must end where the next thing begins.
    let table = |name: &str, start: u64, size: u64, next: u64| {
        let blocks = size.div_ceil(8192);
        assert_eq!(start + blocks * 8, next, "{name} ends where the next table begins");
        let mut positions: Vec<u64> = (0..blocks).map(|block| u64_at(start + block * 8)).collect();
        let first = positions[0];
        positions.push(start);
        for pair in positions.windows(2) {
            assert!(pair[0] < pair[1] && pair[1] - pair[0] <= METADATA, "{name}: {positions:?}");
        }
        first
    };
    let mut next = superblock.bytes_used;
    if xattr_table != NO_TABLE {
        let (start, ids) = (u64_at(xattr_table), u64::from(u32_at(xattr_table as usize + 8)));
        assert!(ids > 0 && start < xattr_table);
        let first = table("xattrs", xattr_table + 16, ids * 16, next);
        // The head with its 16 bytes stands between the blocks and their positions.
        assert!(start < first);
        next = start;
    }
    assert!(superblock.ids > 0);
    next = table("ids", id_table, u64::from(superblock.ids) * 4, next);
    if lookup_table != NO_TABLE {
        assert!(superblock.inodes > 0);
        next = table("exports", lookup_table, u64::from(superblock.inodes) * 8, next);
    }
    if superblock.fragments > 0 {
        next = table("fragments", fragment_table, u64::from(superblock.fragments) * 16, next);
    } else {
        assert_eq!(fragment_table, NO_TABLE);
    }
    assert!(directory_table <= next);
    assert!(inode_table < directory_table);
    superblock
}
