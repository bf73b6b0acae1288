//! FAT16 and FAT32 file systems: what firmware reads boot loaders from.
//!
//! Source: Microsoft, FAT32 File System Specification 1.03, and UEFI Specification 2.10, section 13.3, which asks
//! firmware for both. Directories come first and files behind them, each in one piece, in path order. A volume below
//! 33 MiB is FAT16, a larger one FAT32.
//!
//! FAT has no owners, modes, links, devices or extended attributes, and its times are from 1980 to 2107 in steps of
//! two seconds.

mod entry;
mod geometry;
mod names;

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use entry::{ATTRIBUTE_ARCHIVE, ATTRIBUTE_DIRECTORY, ATTRIBUTE_VOLUME, TIMES, entry};
use geometry::{BACKUP_SECTOR, FIRST_CLUSTER, Geometry, Need, SECTOR, TABLES, Width};
use names::{ENTRY_BYTES, MOST_ENTRIES, Name, ShortName};

use super::super::ImageError;
use super::super::target::Target;
use crate::tree::{Content, Metadata, Node, NodeKind, TreePath, ValidTree};

const FORMAT: &str = "FAT";

/// A file is copied in pieces of this size; those that are all zeros become holes.
const COPY_BYTES: usize = 64 * 1024;
/// The table is written in pieces of this size.
const TABLE_BYTES: usize = 64 * 1024;
/// The size of a volume that is as large as it must be is a multiple of this: what partitions are aligned to.
const SIZE_STEP: u64 = 1 << 20;

/// A file system of its own kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The size in bytes, a multiple of 512. `None` is as small as the files and [`Settings::free`] let it be: a whole
    /// number of MiB, at least 3.
    pub size: Option<u64>,
    /// How many bytes stay free at least, where `size` is `None`.
    pub free: u64,
    /// The volume's serial number.
    pub volume_id: u32,
    /// The volume's name: up to 11 characters that can stand in an 8.3 name, or spaces. Empty for none.
    pub label: String,
    /// How many sectors come before the volume on its disk.
    pub hidden_sectors: u32,
}

impl Default for Settings {
    /// As small as it can be with 1 MiB free, called `ESP`, beginning its disk.
    fn default() -> Self {
        Self { size: None, free: 1 << 20, volume_id: 0, label: "ESP".to_owned(), hidden_sectors: 0 }
    }
}

/// Writes the tree as a file system and gives its length in bytes.
///
/// # Errors
/// Before anything is written: [`ImageError::CannotHold`] for links, devices, files of 4 GiB and more, and names that
/// FAT doesn't have; [`ImageError::TooSmall`]; [`ImageError::Settings`]. Then errors of reading contents and of
/// `target`.
pub fn write(tree: &ValidTree, settings: &Settings, target: Target<'_>) -> Result<u64, ImageError> {
    let volume = Volume::plan(tree, settings)?;
    volume.write_start(settings, target)?;
    volume.write_tables(target)?;
    for directory in &volume.nodes.directories {
        volume.write_directory(directory, target)?;
    }
    for File { path, content, extent, .. } in &volume.nodes.files {
        // One without clusters is read too: it might have grown.
        let first = extent.first.max(FIRST_CLUSTER);
        copy(path, content, volume.geometry.cluster_position(first), target)?;
    }
    let length = volume.geometry.sectors * SECTOR;
    target.set_len(length).map_err(ImageError::Write)?;
    Ok(length)
}

/// How long [`write()`] will make the file system, in bytes, without writing it.
///
/// # Errors
/// What [`write()`] finds before it writes.
pub fn length(tree: &ValidTree, settings: &Settings) -> Result<u64, ImageError> {
    Ok(Volume::plan(tree, settings)?.geometry.sectors * SECTOR)
}

/// What the file system does not keep: a line for owners and modes, if any are not the usual ones, one for times that
/// FAT doesn't have, and one for each hardlink and each extended attribute.
pub fn losses(tree: &ValidTree) -> Vec<String> {
    let mut losses = Vec::new();
    let mut count = |is_lost: fn(&Metadata) -> bool, what: &str| {
        let count = tree.iter().filter(|(_, node)| is_lost(&node.metadata)).count();
        if count > 0 {
            losses.push(format!("FAT has {what} ({count} of them)"));
        }
    };
    count(
        |&Metadata { mode, uid, gid, .. }| uid != 0 || gid != 0 || ![0o644, 0o755].contains(&mode),
        "no owners and modes: what is not root's or has another mode than 0644 and 0755 is as everything else",
    );
    count(
        |metadata| !TIMES.contains(&metadata.mtime),
        "times from 1980 to 2107 only: others become the nearest",
    );
    for (path, node) in tree.iter() {
        if let NodeKind::Hardlink(target) = &node.kind {
            losses.push(format!("FAT has no hardlinks: {path} is a copy of {target}"));
        }
        losses.extend(node.xattrs.keys().map(|name| {
            format!("FAT has no extended attributes: {} of {path} is lost", name.escape_ascii())
        }));
    }
    losses
}

/// Clusters that follow each other; none where `count` is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    first: u32,
    count: u32,
}

/// A directory, and what it names.
#[derive(Debug)]
struct Directory<'a> {
    path: &'a TreePath,
    metadata: Metadata,
    /// The place of the directory that it stands in; the root's is its own.
    parent: usize,
    extent: Extent,
    children: Vec<(&'a [u8], Child)>,
}

/// The place of what a name leads to.
#[derive(Debug, Clone, Copy)]
enum Child {
    Directory(usize),
    File(usize),
}

#[derive(Debug)]
struct File<'a> {
    path: &'a TreePath,
    metadata: Metadata,
    content: &'a Content,
    extent: Extent,
}

/// All that is to be written.
#[derive(Debug)]
struct Volume<'a> {
    geometry: Geometry,
    label: Option<ShortName>,
    nodes: Nodes<'a>,
    used: u32,
}

/// Directories and files, each in path order: the first directory is the root.
#[derive(Debug)]
struct Nodes<'a> {
    directories: Vec<Directory<'a>>,
    files: Vec<File<'a>>,
}

/// The sizes of everything, before there is a geometry.
struct Sizes {
    /// Of each directory in path order, in bytes, the root's first.
    directories: Vec<u64>,
    /// Of each file in path order.
    files: Vec<u64>,
    free: u64,
}

impl Need for Sizes {
    fn clusters(&self, width: Width, cluster_bytes: u64) -> u64 {
        let in_clusters = &self.directories[usize::from(width == Width::Fat16)..];
        in_clusters
            .iter()
            .chain(&self.files)
            .chain([&self.free])
            .fold(0, |sum: u64, size| sum.saturating_add(size.div_ceil(cluster_bytes)))
    }

    fn root_entries(&self) -> u64 {
        self.directories[0].div_ceil(ENTRY_BYTES as u64)
    }
}

impl<'a> Nodes<'a> {
    fn new(tree: &'a ValidTree) -> Result<Self, ImageError> {
        const NOWHERE: Extent = Extent { first: 0, count: 0 };
        let mut places: BTreeMap<&TreePath, usize> = BTreeMap::new();
        let mut nodes = Self { directories: Vec::new(), files: Vec::new() };
        for (path, node) in tree.iter() {
            // A valid tree has a directory before what stands in it.
            let parent = path.parent().and_then(|parent| places.get(&parent)).copied().unwrap_or_default();
            let child = if matches!(node.kind, NodeKind::Directory) {
                let place = nodes.directories.len();
                places.insert(path, place);
                let (metadata, children) = (node.metadata, Vec::new());
                nodes.directories.push(Directory { path, metadata, parent, extent: NOWHERE, children });
                Child::Directory(place)
            } else {
                let (metadata, content) = file(tree, node).ok_or_else(|| {
                    cannot_hold(
                        path,
                        format!("it is {}, and FAT has files and directories only", node.kind.name()),
                    )
                })?;
                if u32::try_from(content.len()).is_err() {
                    let reason =
                        format!("it has {} bytes, and a file must be smaller than 4 GiB", content.len());
                    return Err(cannot_hold(path, reason));
                }
                nodes.files.push(File { path, metadata, content, extent: NOWHERE });
                Child::File(nodes.files.len() - 1)
            };
            if let Some(name) = path.file_name() {
                nodes.directories[parent].children.push((name, child));
            }
        }
        Ok(nodes)
    }

    /// The entries of a directory: the volume's name in the root, `.` and `..` elsewhere, then what it names.
    fn entries(&self, directory: &Directory<'_>, label: Option<&ShortName>) -> Result<Vec<u8>, ImageError> {
        let mtime = directory.metadata.mtime;
        let mut bytes = Vec::new();
        if !directory.path.is_root() {
            let mut own = [b' '; 11];
            own[0] = b'.';
            bytes.extend(entry(&own, ATTRIBUTE_DIRECTORY, mtime, directory.extent.first, 0));
            own[1] = b'.';
            // The root is called 0, wherever it begins.
            let parent = match directory.parent {
                0 => 0,
                parent => self.directories[parent].extent.first,
            };
            bytes.extend(entry(&own, ATTRIBUTE_DIRECTORY, mtime, parent, 0));
        } else if let Some(label) = label {
            bytes.extend(entry(label, ATTRIBUTE_VOLUME, mtime, 0, 0));
        }
        let names: Vec<&[u8]> = directory.children.iter().map(|(name, _)| *name).collect();
        let assigned = names::assign(&names).map_err(|(place, reason)| {
            // The path of a node of the tree is one.
            cannot_hold(&directory.path.join(names[place]).unwrap_or_default(), reason)
        })?;
        for ((_, child), Name { short, long }) in directory.children.iter().zip(assigned) {
            bytes.extend(long);
            bytes.extend(match *child {
                Child::Directory(place) => {
                    let Directory { metadata, extent, .. } = &self.directories[place];
                    entry(&short, ATTRIBUTE_DIRECTORY, metadata.mtime, extent.first, 0)
                }
                Child::File(place) => {
                    let File { metadata, content, extent, .. } = &self.files[place];
                    // Smaller than 4 GiB, as was seen to.
                    entry(&short, ATTRIBUTE_ARCHIVE, metadata.mtime, extent.first, content.len() as u32)
                }
            });
        }
        if bytes.len() > MOST_ENTRIES * ENTRY_BYTES {
            let reason = format!(
                "it needs {} directory entries for its names, and {MOST_ENTRIES} are the most",
                bytes.len() / ENTRY_BYTES
            );
            return Err(cannot_hold(directory.path, reason));
        }
        Ok(bytes)
    }

    /// How many bytes everything has. A directory without entries has one cluster too.
    fn sizes(&self, label: Option<&ShortName>, free: u64) -> Result<Sizes, ImageError> {
        let directories = self
            .directories
            .iter()
            .map(|directory| Ok(self.entries(directory, label)?.len().max(ENTRY_BYTES) as u64));
        Ok(Sizes {
            directories: directories.collect::<Result<_, ImageError>>()?,
            files: self.files.iter().map(|file| file.content.len()).collect(),
            free,
        })
    }
}

impl<'a> Volume<'a> {
    fn plan(tree: &'a ValidTree, settings: &Settings) -> Result<Self, ImageError> {
        let label = label(&settings.label)?;
        let mut nodes = Nodes::new(tree)?;
        let sizes = nodes.sizes(label.as_ref(), settings.size.map_or(settings.free, |_| 0))?;
        let geometry = geometry(&sizes, settings)?;
        let mut used = 0;
        let mut take = |bytes: u64| {
            // Everything together fits, so its parts do.
            let count = bytes.div_ceil(geometry.cluster_bytes()) as u32;
            used += count;
            Extent { first: if count == 0 { 0 } else { FIRST_CLUSTER + used - count }, count }
        };
        for (place, (directory, bytes)) in nodes.directories.iter_mut().zip(&sizes.directories).enumerate() {
            if place > 0 || geometry.width == Width::Fat32 {
                directory.extent = take(*bytes);
            }
        }
        for file in &mut nodes.files {
            file.extent = take(file.content.len());
        }
        Ok(Self { geometry, label, nodes, used })
    }

    /// The reserved sectors.
    fn write_start(&self, settings: &Settings, target: Target<'_>) -> Result<(), ImageError> {
        let label = self.label.as_ref().unwrap_or(b"NO NAME    ");
        let mut start = self.geometry.boot_sector(settings.volume_id, label, settings.hidden_sectors);
        if self.geometry.width == Width::Fat32 {
            start.extend(self.geometry.info_sector(self.used));
            // Of three boot sectors the third has only the mark.
            start.resize(3 * SECTOR as usize, 0);
            start[2 * SECTOR as usize + 510..].copy_from_slice(&[0x55, 0xaa]);
            target.write_at(BACKUP_SECTOR * SECTOR, &start).map_err(ImageError::Write)?;
        }
        target.write_at(0, &start).map_err(ImageError::Write)
    }

    /// Both copies of the table: an entry a cluster, which has the number of the next one of the same file.
    fn write_tables(&self, target: Target<'_>) -> Result<(), ImageError> {
        let (end, free_of_errors) = match self.geometry.width {
            Width::Fat16 => (0xffff, 0xffff),
            Width::Fat32 => (0x0fff_ffff, 0x0fff_ffff),
        };
        // The first two entries have the medium's type and the marks of a volume that is as it should be.
        let mut table = Table {
            width: self.geometry.width,
            positions: [self.geometry.table_position(0), self.geometry.table_position(1)],
            bytes: Vec::with_capacity(TABLE_BYTES),
            target,
        };
        table.entry(end & !0xff | 0xf8)?;
        table.entry(free_of_errors)?;
        let directories = self.nodes.directories.iter().map(|directory| directory.extent);
        for extent in directories.chain(self.nodes.files.iter().map(|file| file.extent)) {
            for index in 1..=extent.count {
                table.entry(if index == extent.count { end } else { extent.first + index })?;
            }
        }
        table.flush()
    }

    fn write_directory(&self, directory: &Directory<'_>, target: Target<'_>) -> Result<(), ImageError> {
        let bytes = self.nodes.entries(directory, self.label.as_ref())?;
        let position = match directory.extent.count {
            0 => self.geometry.root_position(),
            _ => self.geometry.cluster_position(directory.extent.first),
        };
        target.write_at(position, &bytes).map_err(ImageError::Write)
    }
}

struct Table<'a> {
    width: Width,
    /// Where the next entries of each copy go.
    positions: [u64; TABLES as usize],
    bytes: Vec<u8>,
    target: Target<'a>,
}

impl Table<'_> {
    fn entry(&mut self, number: u32) -> Result<(), ImageError> {
        match self.width {
            Width::Fat16 => self.bytes.extend((number as u16).to_le_bytes()),
            Width::Fat32 => self.bytes.extend(number.to_le_bytes()),
        }
        if self.bytes.len() >= TABLE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ImageError> {
        for position in &mut self.positions {
            self.target.write_at(*position, &self.bytes).map_err(ImageError::Write)?;
            *position += self.bytes.len() as u64;
        }
        self.bytes.clear();
        Ok(())
    }
}

fn geometry(sizes: &Sizes, settings: &Settings) -> Result<Geometry, ImageError> {
    let wrong = |reason: String| ImageError::Settings { format: FORMAT, reason };
    let Some(size) = settings.size else {
        return Geometry::for_need(sizes, SIZE_STEP / SECTOR)
            .ok_or_else(|| wrong("the files need more than the 2 TiB that a volume may have".to_owned()));
    };
    if !size.is_multiple_of(SECTOR) {
        return Err(wrong(format!("the size, {size} bytes, is not a multiple of {SECTOR}")));
    }
    match Geometry::of_size(size / SECTOR, sizes.root_entries()) {
        Some(geometry) if geometry.holds(sizes) => Ok(geometry),
        _ => {
            let smallest = Geometry::for_need(sizes, 8).map(|geometry| geometry.sectors * SECTOR);
            match smallest {
                Some(needed) if needed > size => Err(ImageError::TooSmall { format: FORMAT, needed, size }),
                _ => Err(wrong(format!("a volume of {size} bytes can't hold the files, or is over 2 TiB"))),
            }
        }
    }
}

/// The volume's name, padded.
fn label(text: &str) -> Result<Option<ShortName>, ImageError> {
    if text.is_empty() {
        return Ok(None);
    }
    let may =
        |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b" $%'-_@~`!(){}^#&".contains(&byte);
    if text.len() > 11 || !text.bytes().all(may) || text.starts_with(' ') {
        return Err(ImageError::Settings {
            format: FORMAT,
            reason: format!(
                "the label {text:?} is not up to 11 of A–Z, 0–9, space and $%'-_@~`!(){{}}^#&, with no space first"
            ),
        });
    }
    let mut label = [b' '; 11];
    label[..text.len()].copy_from_slice(text.as_bytes());
    Ok(Some(label))
}

/// The metadata and the content of a file, or of the one that a hardlink leads to.
fn file<'a>(tree: &'a ValidTree, node: &'a Node) -> Option<(Metadata, &'a Content)> {
    let node = match &node.kind {
        NodeKind::Hardlink(target) => tree.tree().get(target)?,
        _ => node,
    };
    match &node.kind {
        NodeKind::File(content) => Some((node.metadata, content)),
        _ => None,
    }
}

fn cannot_hold(path: &TreePath, reason: String) -> ImageError {
    ImageError::CannotHold { format: FORMAT, path: path.clone(), reason }
}

/// Copies a content to `position`.
fn copy(path: &TreePath, content: &Content, position: u64, target: Target<'_>) -> Result<(), ImageError> {
    let failed = |source| ImageError::Content { path: path.clone(), source };
    let mut reader = content.reader().map_err(failed)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut done = 0;
    loop {
        let data = reader.next_data(done).map_err(failed)?;
        if data != done {
            done = reader.seek(SeekFrom::Start(data)).map_err(failed)?;
        }
        match reader.read(&mut buffer).map_err(failed)? {
            0 => return Ok(()),
            count => {
                if buffer[..count].iter().any(|&byte| byte != 0) {
                    target.write_at(position + done, &buffer[..count]).map_err(ImageError::Write)?;
                }
                done += count as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests;
