//! EROFS, the kernel's compressed read-only file system.
//!
//! Source: the kernel's [description](https://docs.kernel.org/filesystems/erofs.html), `fs/erofs/erofs_fs.h`, and [the
//! pages on the format](https://erofs.docs.kernel.org). Blocks have 4,096 bytes. The first one holds the superblock
//! and the root's inode; then come the other directories, links and devices, then each file's data with its inode
//! near it. Files are compressed into clusters of whole blocks, what is left at a file's end stands beside
//! its inode; files that gain nothing by it stay as they are, files with large areas of zeros are stored in chunks,
//! and equal data is stored once.
//!
//! What a reader needs: Linux 5.4 for LZ4 in clusters of one block without [`Settings::pack_tails`], 5.13 for larger
//! clusters, 5.15 where large files have large holes, 5.17 with packed tails, 6.10 for zstd.

mod cluster;
mod directory;
mod files;
mod format;
mod index;
mod ordered;
mod plan;
mod space;
mod survey;
mod writer;
mod xattr;

use super::ImageError;
use super::target::Target;
use crate::recipe::Compression;
use crate::tree::{NodeKind, ValidTree};
use cluster::Level;
use format::{Algorithm, BLOCK, Compressor, LABEL, MOST_CLUSTER};
use plan::Plan;

/// The format's name in messages.
const FORMAT: &str = "erofs";

/// How an image is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// [`Compression::None`], [`Compression::Lz4`] or [`Compression::Zstd`]; the format's readers have no others that
    /// can be relied on.
    pub compression: Compression,
    /// The most bytes that a compressed cluster takes: a multiple of 4,096, at most 1 MiB. Larger ones make the image
    /// smaller, and reading one byte of a file more work.
    pub cluster_size: u32,
    /// Whether the end of a compressed file may stand beside its inode. It saves half a block a file.
    pub pack_tails: bool,
    /// Whether LZ4 takes the first match it sees instead of looking for the best way: faster to write, larger.
    pub quick: bool,
    /// The file system's UUID.
    pub uuid: [u8; 16],
    /// The volume's name, at most 16 bytes.
    pub label: String,
    /// The image's own time, in seconds since 1970. Inodes with this time take half the room. `None`: the time that most
    /// nodes have.
    pub build_time: Option<i64>,
    /// How many threads compress, at least one; the image does not depend on it.
    pub threads: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            compression: Compression::Lz4,
            cluster_size: 65_536,
            pack_tails: true,
            quick: false,
            uuid: [0; 16],
            label: String::new(),
            build_time: None,
            threads: 1,
        }
    }
}

/// zstd's level where none is set.
const ZSTD_LEVEL: u32 = 12;
/// The largest window of zstd that readers allow, as a power of two.
const ZSTD_MOST_WINDOW_LOG: u32 = 20;

impl Settings {
    /// The compressor with what readers must know of it, and how much it tries.
    fn compressor(&self) -> Result<Option<(Compressor, Level)>, ImageError> {
        let (algorithm, level) = match self.compression {
            Compression::None => return Ok(None),
            Compression::Lz4 => (Algorithm::Lz4, Level::Lz4 { quick: self.quick }),
            Compression::Zstd { level } => {
                let level = level.unwrap_or(ZSTD_LEVEL);
                match i32::try_from(level) {
                    Ok(level @ 1..=22) => (Algorithm::Zstd, Level::Zstd(level)),
                    _ => return refuse(format!("zstd has no level {level}; 1 to 22 are there")),
                }
            }
            other => {
                return refuse(format!("it isn't written with {other:?}; lz4, zstd and none are there"));
            }
        };
        let size = self.cluster_size;
        if size == 0 || !u64::from(size).is_multiple_of(BLOCK) || size > MOST_CLUSTER {
            return refuse(format!(
                "a cluster can't have {size} bytes: 4,096 to 1,048,576 in steps of 4,096"
            ));
        }
        let cluster_blocks = (u64::from(size) / BLOCK) as u16;
        // Eight times what a cluster takes is about what it holds at most.
        let window_log = (size.ilog2() + 3).min(ZSTD_MOST_WINDOW_LOG) as u8;
        Ok(Some((Compressor { algorithm, cluster_blocks, window_log }, level)))
    }

    fn volume_name(&self) -> Result<[u8; LABEL], ImageError> {
        let label = self.label.as_bytes();
        let mut name = [0; LABEL];
        if label.len() > LABEL || label.contains(&0) {
            return refuse(format!("the label {:?} is no volume name of at most {LABEL} bytes", self.label));
        }
        name[..label.len()].copy_from_slice(label);
        Ok(name)
    }
}

fn refuse<T>(reason: String) -> Result<T, ImageError> {
    Err(ImageError::Settings { format: FORMAT, reason })
}

/// Writes the tree as an image, and gives its size in bytes, a multiple of 4,096. The same tree and settings always give
/// the same bytes. Memory grows with the number of nodes, and by a two-thousandth of the largest file.
///
/// # Errors
/// [`ImageError::Settings`] and [`ImageError::CannotHold`] before anything is written (but for an image that turns
/// out larger than 16 TiB); errors of reading contents and of writing to `target`.
pub fn write(tree: &ValidTree, settings: &Settings, target: Target<'_>) -> Result<u64, ImageError> {
    let compressor = settings.compressor()?;
    let volume_name = settings.volume_name()?;
    let plan = Plan::new(tree, settings)?;
    writer::write(&plan, settings, compressor, volume_name, target)
}

/// What the image can't express and leaves out: extended attributes of other kinds than `user`, `trusted`, `security`
/// and POSIX ACLs.
pub fn losses(tree: &ValidTree) -> Vec<String> {
    tree.iter()
        .filter(|(_, node)| !matches!(node.kind, NodeKind::Hardlink(_)))
        .flat_map(|(path, node)| {
            node.xattrs.keys().filter(|name| xattr::split(name).is_none()).map(move |name| {
                format!("erofs has no place for {}: it is lost from {path}", name.escape_ascii())
            })
        })
        .collect()
}
