//! The tables of inodes and of directories, which are written together: an inode of a directory says where its listing
//! stands, and a listing where the inodes stand.

use std::collections::HashMap;

use super::codec::Codec;
use super::data::Stored;
use super::directory::{self, Entry, Listing};
use super::format::{Body, Inode, InodeType, Reference, device, put_32};
use super::layout::{Layout, Place};
use super::metadata::Table;
use super::xattrs::Xattrs;
use crate::image::ImageError;
use crate::image::target::Target;
use crate::tree::NodeKind;

/// No data: an empty file.
pub(super) const NO_DATA: u32 = u32::MAX;

/// What the writing of inodes gives.
pub(super) struct Inodes<'a> {
    /// By number, from 1 on.
    pub(super) references: Vec<Reference>,
    /// Bytes of the table of inodes.
    pub(super) length: u64,
    /// The table of directories.
    pub(super) directories: Vec<u8>,
    /// Owners and groups, by index.
    pub(super) ids: Vec<u32>,
    pub(super) xattrs: Xattrs<'a>,
}

/// Writes the table of inodes from `start` on. `data` has by a node's place which of what is stored is its.
pub(super) fn write<'a>(
    layout: &Layout<'a>,
    stored: &Stored,
    data: &[u32],
    codec: Codec,
    target: Target<'_>,
    start: u64,
) -> Result<Inodes<'a>, ImageError> {
    let mut writer = Writer {
        layout,
        stored,
        data,
        table: Table::at(codec, target, start)?,
        references: vec![None; layout.inodes() as usize],
        listings: HashMap::new(),
        ids: Ids::default(),
        xattrs: Xattrs::new(codec)?,
    };
    let mut directories = Table::in_memory(codec)?;
    for directory in layout.directories() {
        for child in layout.children(directory) {
            writer.inode(layout.home(child))?;
        }
        let entries = layout.children(directory).map(|child| writer.entry(child));
        let listing = directory::write(&mut directories, entries)?;
        writer.listings.insert(directory, listing);
    }
    writer.inode(0)?;
    let Writer { table, references, ids, xattrs, .. } = writer;
    Ok(Inodes {
        references: references.into_iter().map(Option::unwrap_or_default).collect(),
        length: table.finish()?.0,
        directories: directories.finish()?.1,
        ids: ids.ids,
        xattrs,
    })
}

struct Writer<'a, 'b, 'c> {
    layout: &'b Layout<'a>,
    stored: &'b Stored,
    data: &'b [u32],
    table: Table<'c>,
    /// By number, from 1 on; nothing for what is not written yet.
    references: Vec<Option<Reference>>,
    /// Of directories whose inodes are not written yet.
    listings: HashMap<Place, Listing<'a>>,
    ids: Ids,
    xattrs: Xattrs<'a>,
}

impl<'a> Writer<'a, '_, '_> {
    /// Writes an inode, unless it was under another name.
    fn inode(&mut self, place: Place) -> Result<(), ImageError> {
        let number = self.layout.number_of(place);
        let slot = number as usize - 1;
        if self.references[slot].is_some() {
            return Ok(());
        }
        self.references[slot] = Some(self.table.position());
        let (_, node) = self.layout.node(place);
        let listing = self.listings.remove(&place).unwrap_or_default();
        let mut sizes = None;
        let body = match &node.kind {
            NodeKind::Directory => Body::Directory {
                listing: listing.start,
                size: listing.size,
                parent: self.layout.number_of_parent(place),
                index: &listing.index,
            },
            NodeKind::File(content) => {
                let file = self.stored.files.get(self.data[place] as usize);
                sizes = file;
                Body::File {
                    start: file.and_then(|file| file.start).unwrap_or(0),
                    size: content.len(),
                    sparse: file.map_or(0, |file| file.sparse),
                    fragment: file.and_then(|file| file.fragment),
                }
            }
            NodeKind::Symlink(target) => Body::Symlink(target),
            NodeKind::CharDevice { major, minor } => {
                Body::CharDevice(device(*major, *minor).unwrap_or_default())
            }
            NodeKind::BlockDevice { major, minor } => {
                Body::BlockDevice(device(*major, *minor).unwrap_or_default())
            }
            NodeKind::Fifo => Body::Fifo,
            NodeKind::Hardlink(_) => unreachable!("a home is no hardlink"),
        };
        let metadata = node.metadata;
        let inode = Inode {
            mode: (metadata.mode & 0o7777) as u16,
            uid: self.ids.index(metadata.uid),
            guid: self.ids.index(metadata.gid),
            // limits::check has seen that it fits.
            mtime: u32::try_from(metadata.mtime).unwrap_or_default(),
            number,
            links: self.layout.links(place),
            xattr: self.xattrs.index(&node.xattrs)?,
            body,
        };
        let mut bytes = Vec::new();
        inode.write(&mut bytes);
        self.table.write(&bytes)?;
        match sizes {
            Some(file) => self.sizes(file),
            None => Ok(()),
        }
    }

    fn sizes(&mut self, file: &super::data::FileData) -> Result<(), ImageError> {
        const AT_ONCE: u32 = 1024;
        let mut bytes = Vec::new();
        for (mut count, size) in self.stored.sizes(file) {
            while count > 0 {
                let now = count.min(AT_ONCE);
                put_32(&mut bytes, std::iter::repeat_n(size, now as usize));
                count -= now;
                if bytes.len() >= AT_ONCE as usize * 4 {
                    self.table.write(&bytes)?;
                    bytes.clear();
                }
            }
        }
        self.table.write(&bytes)
    }

    fn entry(&self, child: Place) -> Entry<'a> {
        let (path, _) = self.layout.node(child);
        let number = self.layout.number_of(child);
        Entry {
            name: path.file_name().unwrap_or_default(),
            inode_type: match self.layout.node(self.layout.home(child)).1.kind {
                NodeKind::Directory => InodeType::Directory,
                NodeKind::File(_) | NodeKind::Hardlink(_) => InodeType::File,
                NodeKind::Symlink(_) => InodeType::Symlink,
                NodeKind::CharDevice { .. } => InodeType::CharDevice,
                NodeKind::BlockDevice { .. } => InodeType::BlockDevice,
                NodeKind::Fifo => InodeType::Fifo,
            },
            number,
            inode: self.references[number as usize - 1].unwrap_or_default(),
        }
    }
}

/// Owners and groups in the order in which they came.
#[derive(Default)]
struct Ids {
    ids: Vec<u32>,
    indexes: HashMap<u32, u16>,
}

impl Ids {
    fn index(&mut self, id: u32) -> u16 {
        *self.indexes.entry(id).or_insert_with(|| {
            self.ids.push(id);
            // limits::check has counted them.
            (self.ids.len() - 1) as u16
        })
    }
}
