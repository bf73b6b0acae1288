//! Records of squashfs 4.0 as they stand on disk; all numbers are little-endian.
//!
//! Source: `fs/squashfs/squashfs_fs.h` of the kernel, whose names the fields have, and the
//! [squashfs binary format](https://dr-emann.github.io/squashfs/squashfs.html).

/// "hsqs".
const MAGIC: u32 = 0x7371_7368;
/// The bytes of a superblock, which is the beginning of the image.
pub(super) const SUPERBLOCK: usize = 96;
/// What metadata is cut into before it is compressed (`SQUASHFS_METADATA_SIZE`).
pub(super) const METADATA: usize = 8192;
/// Stands before a block of metadata in the length of what is not compressed.
pub(super) const METADATA_STORED: u16 = 1 << 15;
/// Stands in the size of a data or fragment block that is not compressed.
pub(super) const BLOCK_STORED: u32 = 1 << 24;
/// The most entries that follow one header of a directory (`SQUASHFS_DIR_COUNT`).
pub(super) const MOST_OF_A_RUN: usize = 256;
/// The size of an empty directory: the kernel counts three bytes for `.` and `..`, which are not stored.
pub(super) const EMPTY_DIRECTORY: u64 = 3;
/// Where something is not there: a fragment or a set of attributes.
const NONE_32: u32 = u32::MAX;
/// The same for the position of a table.
pub(super) const NO_TABLE: u64 = u64::MAX;

/// Flags of the superblock. The kernel looks at the options of the compressor alone; the others tell tools how the
/// image was made.
pub(super) mod flag {
    pub(in super::super) const INODES_STORED: u16 = 1 << 0;
    pub(in super::super) const DATA_STORED: u16 = 1 << 1;
    pub(in super::super) const FRAGMENTS_STORED: u16 = 1 << 3;
    pub(in super::super) const NO_FRAGMENTS: u16 = 1 << 4;
    pub(in super::super) const ALWAYS_FRAGMENTS: u16 = 1 << 5;
    pub(in super::super) const DUPLICATES_REMOVED: u16 = 1 << 6;
    pub(in super::super) const EXPORTABLE: u16 = 1 << 7;
    pub(in super::super) const XATTRS_STORED: u16 = 1 << 8;
    pub(in super::super) const NO_XATTRS: u16 = 1 << 9;
    pub(in super::super) const COMPRESSOR_OPTIONS: u16 = 1 << 10;
    pub(in super::super) const IDS_STORED: u16 = 1 << 11;
}

/// Where something stands in a table of metadata: the position of its block from the table's beginning on, and how
/// far into the block's decompressed bytes it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reference(u64);

impl Reference {
    pub(super) fn new(block: u32, offset: u16) -> Self {
        Self(u64::from(block) << 16 | u64::from(offset))
    }

    pub(super) fn block(self) -> u32 {
        (self.0 >> 16) as u32
    }

    pub(super) fn offset(self) -> u16 {
        self.0 as u16
    }

    pub(super) fn to_u64(self) -> u64 {
        self.0
    }
}

/// `struct squashfs_super_block`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Superblock {
    pub(super) inodes: u32,
    pub(super) mkfs_time: u32,
    pub(super) block_size: u32,
    pub(super) fragments: u32,
    pub(super) compression: u16,
    pub(super) flags: u16,
    pub(super) no_ids: u16,
    pub(super) root_inode: Reference,
    pub(super) bytes_used: u64,
    pub(super) id_table_start: u64,
    pub(super) xattr_id_table_start: u64,
    pub(super) inode_table_start: u64,
    pub(super) directory_table_start: u64,
    pub(super) fragment_table_start: u64,
    pub(super) lookup_table_start: u64,
}

impl Superblock {
    pub(super) fn to_bytes(self) -> [u8; SUPERBLOCK] {
        let mut bytes = Vec::with_capacity(SUPERBLOCK);
        for number in [MAGIC, self.inodes, self.mkfs_time, self.block_size, self.fragments] {
            bytes.extend(number.to_le_bytes());
        }
        let block_log = self.block_size.trailing_zeros() as u16;
        for number in [self.compression, block_log, self.flags, self.no_ids, 4, 0] {
            bytes.extend(number.to_le_bytes());
        }
        for number in [
            self.root_inode.to_u64(),
            self.bytes_used,
            self.id_table_start,
            self.xattr_id_table_start,
            self.inode_table_start,
            self.directory_table_start,
            self.fragment_table_start,
            self.lookup_table_start,
        ] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.try_into().expect("five numbers of 4 bytes, six of 2 and eight of 8")
    }
}

/// The types of inodes; the extended one of each is [`EXTENDED`] more. Directories name the basic ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum InodeType {
    Directory = 1,
    File = 2,
    Symlink = 3,
    BlockDevice = 4,
    CharDevice = 5,
    Fifo = 6,
}

/// From a basic type to its extended one.
const EXTENDED: u16 = 7;

/// An inode of any type.
#[derive(Debug)]
pub(super) struct Inode<'a> {
    /// Permission bits alone: the type says the rest.
    pub(super) mode: u16,
    /// Index in the table of ids.
    pub(super) uid: u16,
    /// The same.
    pub(super) guid: u16,
    pub(super) mtime: u32,
    /// From 1 on.
    pub(super) number: u32,
    pub(super) links: u32,
    /// Index in the table of sets of attributes.
    pub(super) xattr: Option<u32>,
    pub(super) body: Body<'a>,
}

/// What is the type's own.
#[derive(Debug)]
pub(super) enum Body<'a> {
    Directory {
        listing: Reference,
        /// With [`EMPTY_DIRECTORY`].
        size: u32,
        parent: u32,
        index: &'a [DirectoryIndex<'a>],
    },
    /// The sizes of its blocks follow the inode.
    File {
        start: u64,
        size: u64,
        /// How many of its bytes are in blocks of zeros.
        sparse: u64,
        fragment: Option<FragmentPlace>,
    },
    Symlink(&'a [u8]),
    BlockDevice(u32),
    CharDevice(u32),
    Fifo,
}

/// Where the last bytes of a file stand in a block of fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FragmentPlace {
    /// Index in the table of fragments.
    pub(super) fragment: u32,
    /// From the decompressed block's beginning on.
    pub(super) offset: u32,
}

/// `struct squashfs_dir_index`: a header of the listing that is the first one to begin in a block of metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DirectoryIndex<'a> {
    /// Bytes from the listing's beginning to the header.
    pub(super) index: u32,
    /// The block, from the beginning of the table of directories on.
    pub(super) start_block: u32,
    /// Of the first entry below the header.
    pub(super) name: &'a [u8],
}

impl Body<'_> {
    pub(super) fn inode_type(&self) -> InodeType {
        match self {
            Self::Directory { .. } => InodeType::Directory,
            Self::File { .. } => InodeType::File,
            Self::Symlink(_) => InodeType::Symlink,
            Self::BlockDevice(_) => InodeType::BlockDevice,
            Self::CharDevice(_) => InodeType::CharDevice,
            Self::Fifo => InodeType::Fifo,
        }
    }
}

impl Inode<'_> {
    /// Whether the basic type has no room for what is to be said.
    fn is_extended(&self) -> bool {
        self.xattr.is_some()
            || match &self.body {
                Body::Directory { size, index, .. } => u16::try_from(*size).is_err() || !index.is_empty(),
                Body::File { start, size, sparse, .. } => {
                    u32::try_from(*start).is_err()
                        || u32::try_from(*size).is_err()
                        || *sparse > 0
                        || self.links > 1
                }
                _ => false,
            }
    }

    /// Appends the inode, without the sizes of a file's blocks.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let extended = self.is_extended();
        let xattr = self.xattr.unwrap_or(NONE_32);
        let inode_type = self.body.inode_type() as u16 + if extended { EXTENDED } else { 0 };
        put_16(bytes, [inode_type, self.mode, self.uid, self.guid]);
        put_32(bytes, [self.mtime, self.number]);
        match &self.body {
            Body::Directory { listing, size, parent, index } if extended => {
                put_32(bytes, [self.links, *size, listing.block(), *parent]);
                put_16(bytes, [index.len() as u16, listing.offset()]);
                put_32(bytes, [xattr]);
                for entry in *index {
                    put_32(bytes, [entry.index, entry.start_block, entry.name.len() as u32 - 1]);
                    bytes.extend(entry.name);
                }
                return;
            }
            Body::Directory { listing, size, parent, .. } => {
                put_32(bytes, [listing.block(), self.links]);
                put_16(bytes, [*size as u16, listing.offset()]);
                put_32(bytes, [*parent]);
            }
            Body::File { start, size, sparse, fragment } => {
                let (fragment, offset) =
                    fragment.map_or((NONE_32, 0), |place| (place.fragment, place.offset));
                if extended {
                    put_64(bytes, [*start, *size, *sparse]);
                    put_32(bytes, [self.links, fragment, offset, xattr]);
                } else {
                    put_32(bytes, [*start as u32, fragment, offset, *size as u32]);
                }
                return;
            }
            Body::Symlink(target) => {
                put_32(bytes, [self.links, target.len() as u32]);
                bytes.extend(*target);
            }
            Body::BlockDevice(rdev) | Body::CharDevice(rdev) => put_32(bytes, [self.links, *rdev]),
            Body::Fifo => put_32(bytes, [self.links]),
        }
        if extended && !matches!(self.body, Body::Directory { .. }) {
            put_32(bytes, [xattr]);
        }
    }
}

/// A device's number as the kernel's `new_encode_dev` has it, if it has: 12 bits for the driver and 20 for its
/// device.
pub(super) fn device(major: u32, minor: u32) -> Option<u32> {
    (major < 1 << 12 && minor < 1 << 20).then_some(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}

/// `struct squashfs_dir_header`, for `count` entries (at least one).
pub(super) fn directory_header(bytes: &mut Vec<u8>, count: usize, start_block: u32, inode_number: u32) {
    put_32(bytes, [count as u32 - 1, start_block, inode_number]);
}

/// `struct squashfs_dir_entry`; `inode_number` counts from the header's on.
pub(super) fn directory_entry(
    bytes: &mut Vec<u8>,
    inode_offset: u16,
    inode_number: i16,
    inode_type: InodeType,
    name: &[u8],
) {
    put_16(bytes, [inode_offset, inode_number.cast_unsigned(), inode_type as u16, name.len() as u16 - 1]);
    bytes.extend(name);
}

/// `struct squashfs_fragment_entry`: where a block of fragments stands, and its size.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FragmentEntry {
    pub(super) start_block: u64,
    /// With [`BLOCK_STORED`].
    pub(super) size: u32,
}

impl FragmentEntry {
    pub(super) fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.start_block) | u128::from(self.size) << 64).to_le_bytes()
    }
}

/// `struct squashfs_xattr_id`: a set of attributes.
#[derive(Debug, Clone, Copy)]
pub(super) struct XattrId {
    pub(super) xattr: Reference,
    pub(super) count: u32,
    /// Bytes of all full names, each with a NUL, and values.
    pub(super) size: u32,
}

impl XattrId {
    pub(super) fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.xattr.to_u64()) | u128::from(self.count) << 64 | u128::from(self.size) << 96)
            .to_le_bytes()
    }
}

/// The prefix of an attribute's name as its type, and the rest of the name; nothing for names that the format has
/// no place for.
pub(super) fn xattr_type(name: &[u8]) -> Option<(u16, &[u8])> {
    [&b"user."[..], b"trusted.", b"security."]
        .into_iter()
        .zip(0..)
        .find_map(|(prefix, number)| Some((number, name.strip_prefix(prefix)?)))
        .filter(|(_, rest)| !rest.is_empty())
}

/// Set in an attribute's type where the value is not there, but a [`Reference`] to it.
pub(super) const XATTR_OUT_OF_LINE: u16 = 1 << 8;

pub(super) fn put_16(bytes: &mut Vec<u8>, numbers: impl IntoIterator<Item = u16>) {
    bytes.extend(numbers.into_iter().flat_map(u16::to_le_bytes));
}

pub(super) fn put_32(bytes: &mut Vec<u8>, numbers: impl IntoIterator<Item = u32>) {
    bytes.extend(numbers.into_iter().flat_map(u32::to_le_bytes));
}

pub(super) fn put_64(bytes: &mut Vec<u8>, numbers: impl IntoIterator<Item = u64>) {
    bytes.extend(numbers.into_iter().flat_map(u64::to_le_bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hexadecimal digits of the fields, as `squashfs_fs.h` has them one after the other.
    fn hex(fields: &str) -> Vec<u8> {
        hex::decode(fields.split_whitespace().collect::<String>()).expect("digits")
    }

    fn inode(body: Body<'_>, links: u32, xattr: Option<u32>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let inode = Inode { mode: 0o4755, uid: 1, guid: 2, mtime: 3, number: 4, links, xattr, body };
        inode.write(&mut bytes);
        bytes
    }

    /// Type, and what all inodes have.
    fn head(inode_type: u8) -> String {
        format!("{inode_type:02x}00 ed09 0100 0200 03000000 04000000")
    }

    #[test]
    fn the_superblock_is_as_specified() {
        let bytes = Superblock {
            inodes: 1,
            mkfs_time: 2,
            block_size: 128 << 10,
            fragments: 3,
            compression: 4,
            flags: flag::EXPORTABLE | flag::DUPLICATES_REMOVED | flag::COMPRESSOR_OPTIONS,
            no_ids: 5,
            root_inode: Reference::new(6, 7),
            bytes_used: 8,
            id_table_start: 9,
            xattr_id_table_start: NO_TABLE,
            inode_table_start: 10,
            directory_table_start: 11,
            fragment_table_start: 12,
            lookup_table_start: 13,
        }
        .to_bytes();
        let expected = "68737173 01000000 02000000 00000200 03000000 0400 1100 c004 0500 0400 0000
            0700060000000000 0800000000000000 0900000000000000 ffffffffffffffff
            0a00000000000000 0b00000000000000 0c00000000000000 0d00000000000000";
        assert_eq!(bytes.to_vec(), hex(expected));
    }

    #[test]
    fn a_reference_has_a_block_and_an_offset() {
        let reference = Reference::new(u32::MAX, 8191);
        assert_eq!((reference.block(), reference.offset()), (u32::MAX, 8191));
        assert_eq!(reference.to_u64(), 0xffff_ffff_1fff);
    }

    #[test]
    fn directories_are_as_specified() {
        let listing = Reference::new(0x55, 0x66);
        let directory = |size, index| Body::Directory { listing, size, parent: 0x77, index };
        assert_eq!(
            inode(directory(0xffff, &[]), 9, None),
            hex(&format!("{} 55000000 09000000 ffff 6600 77000000", head(1)))
        );
        let extended = |size: &str, count: &str, xattr: &str| {
            format!("{} 09000000 {size} 55000000 77000000 {count} 6600 {xattr}", head(8))
        };
        assert_eq!(inode(directory(0x1_0000, &[]), 9, None), hex(&extended("00000100", "0000", "ffffffff")));
        assert_eq!(inode(directory(3, &[]), 9, Some(0)), hex(&extended("03000000", "0000", "00000000")));
        let index = [DirectoryIndex { index: 0x88, start_block: 0x99, name: b"abc" }];
        assert_eq!(
            inode(directory(0x3000, &index), 9, None),
            hex(&(extended("00300000", "0100", "ffffffff") + "88000000 99000000 02000000 616263"))
        );
    }

    #[test]
    fn files_are_as_specified() {
        let fragment = Some(FragmentPlace { fragment: 0x11, offset: 0x22 });
        let file = |start, size, sparse, fragment| Body::File { start, size, sparse, fragment };
        let most = u64::from(u32::MAX);
        assert_eq!(
            inode(file(most, most, 0, fragment), 1, None),
            hex(&format!("{} ffffffff 11000000 22000000 ffffffff", head(2)))
        );
        assert_eq!(
            inode(file(0x33, 0x44, 0, None), 1, None),
            hex(&format!("{} 33000000 ffffffff 00000000 44000000", head(2)))
        );
        for (start, size, sparse, links, xattr, expected) in [
            (
                most + 1,
                1,
                0,
                1,
                None,
                "0000000001000000 0100000000000000 0000000000000000 01000000 NO 00000000 ffffffff",
            ),
            (
                1,
                most + 1,
                0,
                1,
                None,
                "0100000000000000 0000000001000000 0000000000000000 01000000 NO 00000000 ffffffff",
            ),
            (
                1,
                9,
                8,
                1,
                None,
                "0100000000000000 0900000000000000 0800000000000000 01000000 NO 00000000 ffffffff",
            ),
            (
                1,
                9,
                0,
                2,
                None,
                "0100000000000000 0900000000000000 0000000000000000 02000000 NO 00000000 ffffffff",
            ),
            (
                1,
                9,
                0,
                1,
                Some(7),
                "0100000000000000 0900000000000000 0000000000000000 01000000 NO 00000000 07000000",
            ),
        ] {
            assert_eq!(
                inode(file(start, size, sparse, None), links, xattr),
                hex(&format!("{} {}", head(9), expected.replace("NO", "ffffffff")))
            );
        }
    }

    #[test]
    fn all_others_are_as_specified() {
        let device = device(0x123, 0x4_5678).expect("it fits");
        for (body, basic, rest) in [
            (Body::Symlink(b"to"), 3, "01000000 02000000 746f"),
            (Body::BlockDevice(device), 4, "01000000 78236145"),
            (Body::CharDevice(device), 5, "01000000 78236145"),
            (Body::Fifo, 6, "01000000"),
        ] {
            assert_eq!(body.inode_type() as u8, basic);
            let without = inode(body, 1, None);
            assert_eq!(without, hex(&format!("{} {rest}", head(basic))));
        }
        assert_eq!(
            inode(Body::Symlink(b"to"), 1, Some(5)),
            hex(&format!("{} 01000000 02000000 746f 05000000", head(10)))
        );
        assert_eq!(
            inode(Body::BlockDevice(device), 1, Some(5)),
            hex(&format!("{} 01000000 78236145 05000000", head(11)))
        );
        assert_eq!(
            inode(Body::CharDevice(device), 1, Some(5)),
            hex(&format!("{} 01000000 78236145 05000000", head(12)))
        );
        assert_eq!(inode(Body::Fifo, 1, Some(5)), hex(&format!("{} 01000000 05000000", head(13))));
    }

    #[test]
    fn numbers_of_devices_are_those_of_linux() {
        for (major, minor, number) in
            [(1, 3, Some(0x103)), (8, 256, Some(0x10_0800)), (4095, 0xf_ffff, Some(u32::MAX))]
        {
            assert_eq!(device(major, minor), number);
        }
        assert_eq!(device(4096, 0), None);
        assert_eq!(device(0, 1 << 20), None);
    }

    #[test]
    fn names_of_attributes_have_three_prefixes() {
        assert_eq!(xattr_type(b"user.a"), Some((0, &b"a"[..])));
        assert_eq!(xattr_type(b"trusted.a.b"), Some((1, &b"a.b"[..])));
        assert_eq!(xattr_type(b"security.capability"), Some((2, &b"capability"[..])));
        for name in [&b"system.posix_acl_access"[..], b"user", b"user.", b"", b"users.a"] {
            assert_eq!(xattr_type(name), None);
        }
    }

    #[test]
    fn records_of_tables_are_as_specified() {
        let entry = FragmentEntry { start_block: 0x0102_0304_0506, size: 7 | BLOCK_STORED };
        assert_eq!(entry.to_bytes().to_vec(), hex("060504030201 0000 07000001 00000000"));
        let id = XattrId { xattr: Reference::new(1, 2), count: 3, size: 4 };
        assert_eq!(id.to_bytes().to_vec(), hex("0200010000000000 03000000 04000000"));
    }
}
