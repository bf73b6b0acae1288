//! squashfs 4.0, the compressed file system that the kernel reads from a block device.
//!
//! Sources: the kernel's `Documentation/filesystems/squashfs.rst` and `fs/squashfs/`, and the
//! [squashfs binary format](https://dr-emann.github.io/squashfs/squashfs.html). An image is, in this order: superblock,
//! options of the compressor, data, and the tables of inodes, directories, fragments, inodes by number, ids and
//! extended attributes. The kernel wants this order, and that nothing stands between the tables.
//!
//! Data is read and compressed on the way into the image; what is kept of it is four bytes a block. Of a file that
//! stands there already nothing is stored again.

mod blocks;
mod codec;
mod data;
mod directory;
mod duplicates;
mod format;
mod inodes;
mod layout;
mod limits;
mod metadata;
mod pipeline;
mod xattrs;

use self::codec::Codec;
use self::format::{METADATA_STORED, NO_TABLE, SUPERBLOCK, Superblock, flag};
use self::inodes::{Inodes, NO_DATA};
use self::layout::Layout;
use self::metadata::indexed;
use super::ImageError;
use super::compress::DecompressorFeatures;
use super::target::Target;
use crate::recipe::Compression;
use crate::tree::{TreePath, ValidTree};

/// The format in messages.
const NAME: &str = "squashfs";
/// What images end at a multiple of: the largest unit in which the kernel reads devices for squashfs.
const PADDING: u64 = 4096;

/// How an image is made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of data and metadata. Without a level: 9 of gzip and xz, 19 of zstd. An image that is not compressed says that it
    /// is zlib's, for there is no number for none; the kernel needs `CONFIG_SQUASHFS_ZLIB` for it.
    pub compression: Compression,
    /// With xz and a filter each block of data that looks like code is compressed with and without it, and stored as
    /// what is smaller.
    pub features: DecompressorFeatures,
    /// Whether LZ4 looks for the best matches ("HC"), which takes many times as long to compress and no longer to
    /// decompress.
    pub lz4_high: bool,
    /// Bytes that are compressed together: a power of two from 4 KiB to 1 MiB. Larger ones make smaller images, and
    /// more to decompress for a single byte.
    pub block_size: u32,
    /// Which ends of files share blocks.
    pub fragments: Fragments,
    /// Whether there is a table of inodes by their numbers, which NFS servers need.
    pub export: bool,
    /// Files whose data comes first, in this order: those that are read at boot. Symbolic and hard links are followed;
    /// what leads to no file is passed over.
    pub order: Vec<TreePath>,
    /// When the image was made, seconds since 1970.
    pub mtime: u32,
    /// How many threads compress. The image does not depend on it.
    pub threads: usize,
    /// Whether the image is filled with zeros up to a multiple of 4 KiB, which loop devices need.
    pub pad: bool,
}

/// Which ends of files share blocks with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fragments {
    /// None.
    None,
    /// Files that are smaller than a block, as mksquashfs does it if it is not told otherwise: to read the end of a
    /// larger file nothing of others has to be decompressed.
    #[default]
    SmallFiles,
    /// All that don't fill a block. With blocks of 128 KiB images of libraries and programs become 0.1 % smaller, with
    /// those of 1 MiB 0.2 % larger; it is worth most where many files are little larger than a block.
    Tails,
}

/// zstd, blocks of 128 KiB, small files in fragments, with the table of inodes, padded.
impl Default for Settings {
    fn default() -> Self {
        Self {
            compression: Compression::Zstd { level: None },
            features: DecompressorFeatures::default(),
            lz4_high: true,
            block_size: 128 << 10,
            fragments: Fragments::default(),
            export: true,
            order: Vec::new(),
            mtime: 0,
            threads: 1,
            pad: true,
        }
    }
}

/// Writes the whole tree; gives the image's length in bytes. The same tree and settings always give the same bytes.
///
/// # Errors
/// Before anything is written: [`ImageError::CannotHold`] for times before 1970 and after 2106, files of 2^31 blocks
/// and more, targets of links that are longer than 4,095 bytes, numbers of devices that Linux doesn't have, attributes
/// that it couldn't read, more than 65,535 owners and groups, and tables of 4 GiB; [`ImageError::Settings`] and
/// [`ImageError::Compressor`] for settings that there are not. Then errors of reading contents and of the target.
pub fn write(tree: &ValidTree, settings: &Settings, target: Target<'_>) -> Result<u64, ImageError> {
    limits::check_settings(settings)?;
    let codec = Codec::new(settings)?;
    limits::check(tree, settings)?;

    let mut end = SUPERBLOCK as u64;
    let options = codec.options();
    if let Some(options) = &options {
        let mut block = (options.len() as u16 | METADATA_STORED).to_le_bytes().to_vec();
        block.extend(options);
        target.write_at(end, &block).map_err(ImageError::Write)?;
        end += block.len() as u64;
    }

    let layout = Layout::new(tree);
    let (stored, data) = write_data(tree, &layout, settings, codec, target, end)?;
    let inode_table_start = stored.end;
    let Inodes { references, length, directories, ids, xattrs } =
        inodes::write(&layout, &stored, &data, codec, target, inode_table_start)?;
    let directory_table_start = inode_table_start + length;
    target.write_at(directory_table_start, &directories).map_err(ImageError::Write)?;
    end = directory_table_start + directories.len() as u64;

    let fragment_table_start = if stored.fragments.is_empty() {
        NO_TABLE
    } else {
        let records = stored.fragments.iter().map(|entry| entry.to_bytes());
        indexed(codec, target, &mut end, Vec::new(), records)?
    };
    let lookup_table_start = if settings.export {
        let records = references.iter().map(|reference| reference.to_u64().to_le_bytes());
        indexed(codec, target, &mut end, Vec::new(), records)?
    } else {
        NO_TABLE
    };
    let id_table_start = indexed(codec, target, &mut end, Vec::new(), ids.iter().map(|id| id.to_le_bytes()))?;
    let xattr_id_table_start = xattrs.finish(codec, target, &mut end)?;

    let mut flags = flag::DUPLICATES_REMOVED;
    for (is_set, flag) in [
        (codec.stores(), flag::INODES_STORED | flag::DATA_STORED | flag::FRAGMENTS_STORED),
        (codec.stores(), flag::XATTRS_STORED | flag::IDS_STORED),
        (settings.fragments == Fragments::None, flag::NO_FRAGMENTS),
        (settings.fragments == Fragments::Tails, flag::ALWAYS_FRAGMENTS),
        (settings.export, flag::EXPORTABLE),
        (xattr_id_table_start == NO_TABLE, flag::NO_XATTRS),
        (options.is_some(), flag::COMPRESSOR_OPTIONS),
    ] {
        if is_set {
            flags |= flag;
        }
    }
    let superblock = Superblock {
        inodes: layout.inodes(),
        mkfs_time: settings.mtime,
        block_size: settings.block_size,
        fragments: stored.fragments.len() as u32,
        compression: codec.id(),
        flags,
        no_ids: ids.len() as u16,
        root_inode: references.last().copied().unwrap_or_default(),
        bytes_used: end,
        id_table_start,
        xattr_id_table_start,
        inode_table_start,
        directory_table_start,
        fragment_table_start,
        lookup_table_start,
    };
    target.write_at(0, &superblock.to_bytes()).map_err(ImageError::Write)?;
    let length = if settings.pad { end.next_multiple_of(PADDING) } else { end };
    target.set_len(length).map_err(ImageError::Write)?;
    Ok(length)
}

/// Writes all files' contents from `start` on; gives what was stored, and which of it is a node's, by its place.
fn write_data(
    tree: &ValidTree,
    layout: &Layout<'_>,
    settings: &Settings,
    codec: Codec,
    target: Target<'_>,
    start: u64,
) -> Result<(data::Stored, Vec<u32>), ImageError> {
    let files = layout.files(tree, &settings.order);
    let lengths = files.iter().map(|(_, _, content)| content.len()).collect();
    let mut writer = data::Writer::new(target, start, settings, codec, lengths)?;
    let mut data = vec![NO_DATA; layout.len()];
    for (place, path, content) in files {
        data[place] = writer.file(path, content)?;
    }
    Ok((writer.finish()?, data))
}

/// What the format can't express and leaves out: extended attributes that are not `user.`, `trusted.` or `security.`,
/// access control lists among them.
pub fn losses(tree: &ValidTree) -> Vec<String> {
    limits::losses(tree)
}
