//! Putting an image together: directories, links and devices, then files.

use std::io;

use super::cluster::Level;
use super::directory::{self, Entry};
use super::format::{
    BLOCK, BLOCK_BYTES, Compressor, INCOMPAT_CHUNKED_FILE, INCOMPAT_ZTAILPACKING, LABEL, Layout, SLOT,
    SUPER_OFFSET, SUPER_SIZE, Superblock, rdev,
};
use super::plan::{self, Plan};
use super::space::Space;
use super::{FORMAT, Settings, files};
use crate::image::ImageError;
use crate::image::target::Target;
use crate::tree::NodeKind;

/// An image that is being written.
pub(super) struct Image<'p, 't> {
    pub plan: &'p Plan<'p>,
    pub space: Space<'t>,
    /// The numbers of inodes, by the place of their node; 0 where there is none yet.
    pub nids: Vec<u64>,
    /// Some last extent stands beside its inode.
    pub has_tails: bool,
    /// Some file is stored in chunks.
    pub has_chunks: bool,
    /// Some file is compressed.
    pub has_compressed: bool,
}

/// Where a directory's content goes.
struct Home {
    place: usize,
    /// Its inode's.
    position: u64,
    layout: Layout,
}

pub(super) fn write(
    plan: &Plan<'_>,
    settings: &Settings,
    compressor: Option<(Compressor, Level)>,
    volume_name: [u8; LABEL],
    target: Target<'_>,
) -> Result<u64, ImageError> {
    let after_super = compressor.map_or(0, |(compressor, _)| compressor.settings().len() as u64);
    let mut image = Image {
        plan,
        space: Space::new(target, SUPER_OFFSET + SUPER_SIZE + after_super),
        nids: vec![0; plan.nodes.len()],
        has_tails: false,
        has_chunks: false,
        has_compressed: false,
    };
    let directories = image.place_directories()?;
    let xattr_blkaddr = image.shared_xattrs()?;
    image.small()?;
    files::write(&mut image, settings, compressor)?;
    image.directories(&directories)?;

    let mut feature_incompat = 0;
    if image.has_tails {
        feature_incompat |= INCOMPAT_ZTAILPACKING;
    }
    if image.has_chunks {
        feature_incompat |= INCOMPAT_CHUNKED_FILE;
    }
    let superblock = Superblock {
        // The root stands in the first block.
        root_nid: image.nids[0] as u16,
        inos: plan.inodes(),
        epoch: plan.epoch,
        blocks: image.space.next(),
        xattr_blkaddr,
        uuid: settings.uuid,
        volume_name,
        feature_incompat,
        compressor: compressor.map(|(compressor, _)| compressor).filter(|_| image.has_compressed),
    }
    .encode();
    let seal = |block: &mut [u8; BLOCK_BYTES]| {
        let start = SUPER_OFFSET as usize;
        block[start..start + superblock.len()].copy_from_slice(&superblock);
        Superblock::seal(block);
    };
    image.space.finish(seal).map_err(ImageError::Write)
}

impl Image<'_, '_> {
    /// Gives every directory its inode and its blocks; what is in them is not known yet.
    fn place_directories(&mut self) -> Result<Vec<Home>, ImageError> {
        let mut homes = Vec::new();
        for place in 0..self.plan.nodes.len() {
            let planned = self.plan.nodes[place];
            if !matches!(planned.node.kind, NodeKind::Directory) {
                continue;
            }
            let head = self.plan.head(place);
            let tail = planned.size % BLOCK;
            let (position, inline) = if place == 0 {
                self.space.place_first(head, tail).ok_or_else(|| self.too_large(place))?
            } else {
                let inline = head + tail <= BLOCK;
                (self.place(place, head, if inline { tail } else { 0 })?, inline)
            };
            let inline = inline && tail > 0;
            let blocks = if inline { planned.size / BLOCK } else { planned.size.div_ceil(BLOCK) };
            let startblk = self.blocks(place, blocks)?;
            let layout =
                if inline { Layout::FlatInline { startblk } } else { Layout::FlatPlain { startblk } };
            self.nids[place] = position / SLOT;
            homes.push(Home { place, position, layout });
        }
        Ok(homes)
    }

    /// Writes the attributes that inodes share, and gives the block where they begin.
    fn shared_xattrs(&mut self) -> Result<u32, ImageError> {
        let size = self.plan.xattrs.shared_size();
        if size == 0 {
            return Ok(0);
        }
        let start = self.blocks(0, size.div_ceil(BLOCK))?;
        let mut position = u64::from(start) * BLOCK;
        let mut bytes = Vec::new();
        for attribute in self.plan.xattrs.shared() {
            bytes.extend(attribute);
            if bytes.len() >= 1 << 20 {
                self.space.put(position, &bytes).map_err(ImageError::Write)?;
                position += bytes.len() as u64;
                bytes.clear();
            }
        }
        self.space.put(position, &bytes).map_err(ImageError::Write)?;
        Ok(start)
    }

    /// Writes everything that is neither a directory nor a file.
    fn small(&mut self) -> Result<(), ImageError> {
        for place in 0..self.plan.nodes.len() {
            let node = self.plan.nodes[place].node;
            match &node.kind {
                NodeKind::Directory | NodeKind::File(_) | NodeKind::Hardlink(_) => {}
                NodeKind::Symlink(target) => {
                    self.flat(place, target, None)?;
                }
                NodeKind::CharDevice { major, minor } | NodeKind::BlockDevice { major, minor } => {
                    let rdev = rdev(*major, *minor).unwrap_or_default();
                    self.inode(place, Layout::Device { rdev }, &[])?;
                }
                NodeKind::Fifo => self.inode(place, Layout::Device { rdev: 0 }, &[])?,
            }
        }
        Ok(())
    }

    /// How many blocks a flat file takes beside its inode.
    pub(super) fn flat_blocks(plan: &Plan<'_>, place: usize, size: u64) -> u64 {
        let tail = size % BLOCK;
        if tail > 0 && plan.head(place) + tail <= BLOCK { size / BLOCK } else { size.div_ceil(BLOCK) }
    }

    /// Writes an uncompressed file or link, and gives the block where it begins: `known`, if its blocks are there already.
    pub(super) fn flat(&mut self, place: usize, bytes: &[u8], known: Option<u32>) -> Result<u32, ImageError> {
        let blocks = Self::flat_blocks(self.plan, place, bytes.len() as u64);
        // Not more than there is in memory.
        let (full, tail) = bytes.split_at(bytes.len().min(blocks as usize * BLOCK_BYTES));
        let startblk = self.data(place, blocks, full, known)?;
        let layout =
            if tail.is_empty() { Layout::FlatPlain { startblk } } else { Layout::FlatInline { startblk } };
        self.inode(place, layout, tail)?;
        Ok(startblk)
    }

    /// Takes blocks and writes data to them, but for data that is `known` from some block on, and gives where it begins.
    pub(super) fn data(
        &mut self,
        place: usize,
        blocks: u64,
        bytes: &[u8],
        known: Option<u32>,
    ) -> Result<u32, ImageError> {
        if let Some(start) = known {
            return Ok(start);
        }
        let start = self.blocks(place, blocks)?;
        self.space.write(start, bytes).map_err(ImageError::Write)?;
        Ok(start)
    }

    /// Writes an inode and what may not lie in two blocks after it.
    pub(super) fn inode(&mut self, place: usize, layout: Layout, tail: &[u8]) -> Result<(), ImageError> {
        let bytes = self.plan.encode(place, layout);
        self.put(place, bytes, tail)
    }

    /// Writes an inode with what follows it.
    pub(super) fn put(&mut self, place: usize, mut head: Vec<u8>, tail: &[u8]) -> Result<(), ImageError> {
        let position = self.place(place, head.len() as u64, tail.len() as u64)?;
        self.nids[place] = position / SLOT;
        head.extend_from_slice(tail);
        self.space.put(position, &head).map_err(ImageError::Write)
    }

    /// Writes what is in the directories.
    fn directories(&mut self, homes: &[Home]) -> Result<(), ImageError> {
        for home in homes {
            let names = self.plan.names(home.place);
            let entries: Vec<Entry<'_>> = names
                .iter()
                .map(|&(name, place)| {
                    let planned = &self.plan.nodes[place];
                    Entry { name, nid: self.nids[planned.home], kind: plan::kind(planned.node) }
                })
                .collect();
            let bytes = directory::encode(&entries);
            let mut head = self.plan.encode(home.place, home.layout);
            let written: io::Result<()> = match home.layout {
                Layout::FlatInline { startblk } => {
                    let (full, tail) = bytes.split_at(bytes.len() / BLOCK_BYTES * BLOCK_BYTES);
                    head.extend_from_slice(tail);
                    self.space.write(startblk, full)
                }
                Layout::FlatPlain { startblk } => self.space.write(startblk, &bytes),
                _ => Ok(()),
            };
            written.and_then(|()| self.space.put(home.position, &head)).map_err(ImageError::Write)?;
        }
        Ok(())
    }

    /// Takes `count` blocks for a node; any address will do for none.
    pub(super) fn blocks(&mut self, place: usize, count: u64) -> Result<u32, ImageError> {
        self.space.blocks(count).ok_or_else(|| self.too_large(place))
    }

    fn place(&mut self, place: usize, head: u64, tail: u64) -> Result<u64, ImageError> {
        self.space.place(head, tail).ok_or_else(|| self.too_large(place))
    }

    fn too_large(&self, place: usize) -> ImageError {
        ImageError::CannotHold {
            format: FORMAT,
            path: self.plan.nodes[place].path.clone(),
            reason: "with it the image would be larger than 16 TiB".to_owned(),
        }
    }
}
