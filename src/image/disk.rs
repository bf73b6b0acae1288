//! Disks: a GUID partition table, an EFI system partition with a unified kernel image, and any file systems beside it.
//!
//! [`write()`] puts partitions one after the other, each beginning at a multiple of 1 MiB, and the table last, as the
//! length of a partition is known when its file system is written. What is not written is a hole. The disk's blocks
//! have 512 bytes.
//!
//! [`uki`] makes the EFI program, [`fat`] the file system that it stands in, and [`qcow2`] a file of another format
//! from a disk that is finished.

pub mod fat;
pub mod gpt;
mod guid;
mod pe;
pub mod qcow2;
pub mod uki;

pub use guid::{Guid, NoGuid};

use super::ImageError;
use super::target::Target;
use crate::arch::Arch;
use crate::tree::{Content, Metadata, Node, Origin, Tree, TreePath, ValidTree};

const FORMAT: &str = "a disk";
const PARTITION: &str = "a partition";
/// What partitions begin at a multiple of, and what the disk's own size is one of: more than the largest block of any
/// device, and what all partitioning programs do.
const ALIGNMENT: u64 = 1 << 20;

/// A disk as a whole.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The disk's identifier.
    pub disk_guid: Guid,
    /// The disk's size in bytes, a multiple of 512. `None` is as small as the partitions let it be, in whole MiB.
    pub size: Option<u64>,
}

/// A partition and what is in it.
pub struct Partition<'a> {
    /// What it is for: one of [`gpt::kinds`].
    pub kind: Guid,
    /// Its identifier, by which the kernel finds it (`root=PARTUUID=…`).
    pub guid: Guid,
    /// Its name: at most 36 UTF-16 units.
    pub name: String,
    /// A sum of [`gpt::attributes`].
    pub attributes: u64,
    /// Its size in bytes, rounded up to whole MiB. `None` is as large as what is in it.
    pub size: Option<u64>,
    /// What is in it.
    pub contents: Contents<'a>,
}

/// Writes a file system to the beginning of what it is given, and gives its length in bytes.
pub type Writer<'a> = Box<dyn FnOnce(Target<'_>) -> Result<u64, ImageError> + 'a>;

/// What is in a partition.
pub enum Contents<'a> {
    /// A FAT file system. The sectors before it are counted by [`write()`].
    Fat {
        /// Its files.
        tree: &'a ValidTree,
        /// Its settings; with a size of `None` it fills the partition, if that has one.
        settings: fat::Settings,
    },
    /// Any file system.
    Written(Writer<'a>),
    /// Nothing: zeros. Such a partition needs a [`Partition::size`].
    Empty,
}

/// Where everything came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The disk's length in bytes.
    pub length: u64,
    /// The place of each partition, in bytes: its beginning and its length.
    pub partitions: Vec<(u64, u64)>,
}

impl<'a> Partition<'a> {
    /// An EFI system partition.
    pub fn esp(guid: Guid, tree: &'a ValidTree, settings: fat::Settings) -> Self {
        Self {
            kind: gpt::kinds::ESP,
            guid,
            name: "ESP".to_owned(),
            attributes: 0,
            size: None,
            contents: Contents::Fat { tree, settings },
        }
    }

    /// The root file system for a machine of `arch`, which is mounted read-only by programs that find partitions by
    /// their types.
    pub fn root(
        arch: Arch,
        guid: Guid,
        write: impl FnOnce(Target<'_>) -> Result<u64, ImageError> + 'a,
    ) -> Self {
        Self {
            kind: gpt::kinds::root(arch),
            guid,
            name: "root".to_owned(),
            attributes: gpt::attributes::READ_ONLY,
            size: None,
            contents: Contents::Written(Box::new(write)),
        }
    }

    /// A partition for data that stays, called `name`.
    pub fn data(
        guid: Guid,
        name: impl Into<String>,
        write: impl FnOnce(Target<'_>) -> Result<u64, ImageError> + 'a,
    ) -> Self {
        Self {
            kind: gpt::kinds::LINUX_DATA,
            guid,
            name: name.into(),
            attributes: 0,
            size: None,
            contents: Contents::Written(Box::new(write)),
        }
    }
}

/// Where firmware looks for a program to start when nothing else is set (UEFI Specification 2.10, table 3.1).
pub fn default_boot_path(arch: Arch) -> TreePath {
    let name = match arch {
        Arch::X86_64 => "EFI/BOOT/BOOTX64.EFI",
        Arch::Aarch64 => "EFI/BOOT/BOOTAA64.EFI",
        Arch::Riscv64 => "EFI/BOOT/BOOTRISCV64.EFI",
    };
    name.parse().expect("names without `..` are a path")
}

/// The files of an EFI system partition that starts `program`, a unified kernel image for one. All get the time
/// `mtime`, in seconds since 1970.
pub fn esp_tree(arch: Arch, program: Content, mtime: i64) -> Tree {
    let mut tree = Tree::new();
    let metadata = Metadata { mtime, ..Metadata::FILE };
    tree.insert(
        TreePath::root(),
        Node::directory(Metadata { mtime, ..Metadata::DIRECTORY }, Origin::skeleton()),
    );
    tree.insert_with_parents(default_boot_path(arch), Node::file(program, metadata, Origin::skeleton()));
    tree
}

/// Writes a disk with these partitions, in this order.
///
/// # Errors
/// Before anything is written: [`ImageError::Settings`] for partitions that the table can't hold, and what
/// [`fat::write`] refuses. Then what the writers of the partitions give; [`ImageError::TooSmall`] for a partition or the
/// disk; [`ImageError::Write`].
pub fn write(
    mut partitions: Vec<Partition<'_>>,
    settings: &Settings,
    target: Target<'_>,
) -> Result<Layout, ImageError> {
    check(&mut partitions, settings)?;
    let mut layout = Layout { length: 0, partitions: Vec::with_capacity(partitions.len()) };
    let mut entries = Vec::with_capacity(partitions.len());
    let mut start = ALIGNMENT;
    for Partition { kind, guid, name, attributes, size, contents } in partitions {
        let inside = target.from(start);
        let written = match contents {
            Contents::Fat { tree, mut settings } => {
                settings.hidden_sectors = u32::try_from(start / gpt::BLOCK).unwrap_or_default();
                fat::write(tree, &settings, inside)?
            }
            Contents::Written(write) => write(inside)?,
            Contents::Empty => 0,
        };
        if let Some(size) = size.filter(|&size| size < written) {
            return Err(ImageError::TooSmall { format: PARTITION, needed: written, size });
        }
        // One that has nothing in it has a block all the same.
        let length = aligned(size.unwrap_or(written).max(1))?;
        entries.push(gpt::Entry {
            kind,
            guid,
            first: start / gpt::BLOCK,
            last: end(start, length)? / gpt::BLOCK - 1,
            attributes,
            name,
        });
        layout.partitions.push((start, length));
        start = end(start, length)?;
    }
    let needed = aligned(end(start, gpt::BLOCKS_BEHIND * gpt::BLOCK)?)?;
    layout.length = match settings.size {
        None => needed,
        Some(size) if size < start + gpt::BLOCKS_BEHIND * gpt::BLOCK => {
            return Err(ImageError::TooSmall { format: FORMAT, needed, size });
        }
        Some(size) => size,
    };
    let table = gpt::Table::new(settings.disk_guid, layout.length / gpt::BLOCK, entries).map_err(wrong)?;
    target.set_len(layout.length).map_err(ImageError::Write)?;
    target.write_at(0, &table.start()).map_err(ImageError::Write)?;
    let behind = layout.length - gpt::BLOCKS_BEHIND * gpt::BLOCK;
    target.write_at(behind, &table.end()).map_err(ImageError::Write)?;
    Ok(layout)
}

/// Everything that can be known before something is written. Sizes of partitions are rounded up, and a FAT file system gets
/// that of its own.
fn check(partitions: &mut [Partition<'_>], settings: &Settings) -> Result<(), ImageError> {
    // As if each had one MiB: names, GUIDs and their number are then checked as they will be.
    let mut entries = Vec::with_capacity(partitions.len());
    let mut start = ALIGNMENT;
    for partition in &mut *partitions {
        partition.size = partition.size.map(aligned).transpose()?;
        let mut least = partition.size.unwrap_or_default();
        match &mut partition.contents {
            Contents::Fat { tree, settings } => {
                settings.size = settings.size.or(partition.size);
                let needed = fat::length(tree, settings)?;
                if let Some(size) = partition.size.filter(|&size| size < needed) {
                    return Err(ImageError::TooSmall { format: PARTITION, needed, size });
                }
                least = least.max(needed);
            }
            Contents::Empty if partition.size.is_none() => {
                return Err(wrong(format!("the empty partition {:?} has no size", partition.name)));
            }
            Contents::Written(_) | Contents::Empty => {}
        }
        let length = aligned(least.max(1))?;
        entries.push(gpt::Entry {
            kind: partition.kind,
            guid: partition.guid,
            first: start / gpt::BLOCK,
            last: end(start, length)? / gpt::BLOCK - 1,
            attributes: partition.attributes,
            name: partition.name.clone(),
        });
        start = end(start, length)?;
    }
    let needed = end(start, gpt::BLOCKS_BEHIND * gpt::BLOCK)?;
    let length = settings.size.unwrap_or(needed);
    if length < needed {
        return Err(ImageError::TooSmall { format: FORMAT, needed: aligned(needed)?, size: length });
    }
    if !length.is_multiple_of(gpt::BLOCK) || i64::try_from(length).is_err() {
        return Err(wrong(format!(
            "its size, {length} bytes, is not a multiple of {} below 2⁶³",
            gpt::BLOCK
        )));
    }
    gpt::Table::new(settings.disk_guid, length / gpt::BLOCK, entries).map_err(wrong)?;
    Ok(())
}

fn wrong(reason: String) -> ImageError {
    ImageError::Settings { format: FORMAT, reason }
}

fn end(start: u64, length: u64) -> Result<u64, ImageError> {
    start
        .checked_add(length)
        .filter(|&end| i64::try_from(end).is_ok())
        .ok_or_else(|| wrong("its partitions have more than 2⁶³ bytes together".to_owned()))
}

fn aligned(length: u64) -> Result<u64, ImageError> {
    length
        .checked_next_multiple_of(ALIGNMENT)
        .filter(|&length| i64::try_from(length).is_ok())
        .ok_or_else(|| wrong(format!("a partition can't have {length} bytes")))
}

#[cfg(test)]
mod tests;
