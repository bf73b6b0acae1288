//! What is written when everything has its place: the journal, the resize inode, inode tables, bitmaps,
//! descriptors, superblocks.

use std::ops::Range;

use super::census::{Census, slot};
use super::checksum::{crc32c, inode_seed};
use super::extent::{ExtentTree, TreeBlock};
use super::fill::States;
use super::group::{
    BLOCK_UNINIT, Bitmap, Descriptor, INODE_UNINIT, ITABLE_ZEROED, backups, has_backup, set_bits,
};
use super::inode::{
    ATTRIBUTE_SPACE, BlockField, EXTENTS_FLAG, Inode, S_IFDIR, S_IFREG, VALUE_FLAG, file_type,
};
use super::layout::Placement;
use super::output::Output;
use super::superblock::{OFFSET, Superblock};
use super::xattr::Attributes;
use super::{
    BLOCK, BLOCKS_PER_GROUP, FIRST_INODE, FORMAT, JOURNAL_INODE, RESIZE_INODE, ROOT_INODE, Settings, journal,
};
use crate::image::ImageError;
use crate::tree::NodeKind;

/// Bytes of a pointer in the resize inode's blocks.
const POINTER: usize = 4;
/// Pointers in a block.
const POINTERS: u64 = BLOCK / POINTER as u64;
/// Which word of `i_block` points to a block that points to blocks that point to blocks.
const DOUBLE_INDIRECT: usize = 13;

pub(super) struct Finish<'a, 'b> {
    pub(super) census: &'a Census<'a>,
    pub(super) settings: &'a Settings,
    pub(super) states: &'a States,
    pub(super) placement: &'a Placement,
    pub(super) output: &'a mut Output<'b>,
    pub(super) seed: u32,
}

impl Finish<'_, '_> {
    /// Writes everything.
    pub(super) fn write(mut self) -> Result<(), ImageError> {
        let journal = self.journal()?;
        let resize = self.resize_inode()?;
        let special = Special { journal, resize };
        let descriptors = self.groups(&special)?;
        self.superblocks(&special, &descriptors)
    }

    /// The journal's inode. Only its first block is not zero.
    fn journal(&mut self) -> Result<Option<Inode>, ImageError> {
        let Some(first) = self.placement.journal.first() else { return Ok(None) };
        let blocks = self.placement.layout.journal_blocks;
        self.output.put(first.physical, &journal::superblock(blocks, &self.settings.uuid))?;
        let mut places = self.placement.journal_tree.iter().copied();
        let output = &mut *self.output;
        let mut place = |block: &TreeBlock| -> Result<u64, ImageError> {
            // As many as the tree has blocks.
            let at = places.next().unwrap_or_default();
            output.put(at, block)?;
            Ok(at)
        };
        let mut tree = ExtentTree::new(inode_seed(self.seed, JOURNAL_INODE));
        for run in &self.placement.journal {
            tree.add(*run, &mut place)?;
        }
        let (block, own_blocks) = tree.finish(&mut place)?;
        Ok(Some(self.private(blocks * BLOCK, own_blocks, EXTENTS_FLAG, block)))
    }

    /// The inode to which the blocks belong that are kept for descriptors: it points, by way of one block, to
    /// those of group 0, and each of these to its copies.
    ///
    /// Source: `verify_reserved_gdb` in `fs/ext4/resize.c`.
    fn resize_inode(&mut self) -> Result<Option<Inode>, ImageError> {
        let Some(block) = self.placement.resize else { return Ok(None) };
        let layout = &self.placement.layout;
        let copies = backups(layout.groups);
        let pointer = |block: u64| u32::try_from(block).unwrap_or(u32::MAX).to_le_bytes();
        let mut all = [0; BLOCK as usize];
        let first = layout.descriptor_blocks;
        for number in first..first + layout.reserved_descriptor_blocks {
            let at = usize::try_from(number % POINTERS).unwrap_or_default() * POINTER;
            all[at..at + POINTER].copy_from_slice(&pointer(1 + number));
            let mut one = [0; BLOCK as usize];
            for (place, group) in one.as_chunks_mut::<POINTER>().0.iter_mut().zip(&copies) {
                *place = pointer(group * BLOCKS_PER_GROUP + 1 + number);
            }
            self.output.put(1 + number, &one)?;
        }
        self.output.put(block, &all)?;
        let mut field: BlockField = [0; 60];
        field[DOUBLE_INDIRECT * 4..DOUBLE_INDIRECT * 4 + 4].copy_from_slice(&pointer(block));
        // As large as a file can be that has 12 pointers, one to pointers, and one to pointers to pointers.
        let size = (12 + POINTERS + POINTERS * POINTERS) * BLOCK;
        let blocks = 1 + layout.reserved_descriptor_blocks * (1 + copies.len() as u64);
        Ok(Some(self.private(size, blocks, 0, field)))
    }

    /// An inode without a name that only root may read.
    fn private(&self, size: u64, blocks: u64, flags: u32, block: BlockField) -> Inode {
        Inode {
            mode: S_IFREG | 0o600,
            uid: 0,
            gid: 0,
            size,
            time: self.settings.created,
            links: 1,
            blocks,
            flags,
            block,
            attribute_block: 0,
            attributes: [0; ATTRIBUTE_SPACE],
            value_hash: None,
        }
    }

    /// Writes bitmaps and inode tables.
    fn groups(&mut self, special: &Special) -> Result<Vec<Descriptor>, ImageError> {
        let layout = &self.placement.layout;
        let used_inodes = self.census.inodes();
        let mut descriptors = Vec::with_capacity(self.placement.tables.len());
        let mut used = &self.placement.used[..];
        for (group, tables) in (0..).zip(&self.placement.tables) {
            let blocks = layout.group(group);
            while used.first().is_some_and(|range| range.end <= blocks.start) {
                used = &used[1..];
            }
            let first_inode = group * layout.inodes_per_group;
            let inodes = used_inodes.saturating_sub(first_inode).min(layout.inodes_per_group);
            let mut descriptor = Descriptor {
                block_bitmap: tables.block_bitmap,
                inode_bitmap: tables.inode_bitmap,
                inode_table: tables.inode_table,
                flags: ITABLE_ZEROED,
                ..Descriptor::default()
            };
            let is_last = group + 1 == layout.groups;
            let free = block_bitmap(used, &blocks, is_last);
            descriptor.free_blocks = match &free {
                Some((_, free)) => *free,
                None => number(BLOCKS_PER_GROUP),
            };
            match free {
                Some((bitmap, _)) => {
                    descriptor.block_bitmap_checksum = crc32c(self.seed, &bitmap);
                    self.output.put(tables.block_bitmap, &bitmap)?;
                }
                None => descriptor.flags |= BLOCK_UNINIT,
            }
            descriptor.free_inodes = number(layout.inodes_per_group - inodes);
            descriptor.unused_inodes = descriptor.free_inodes;
            if inodes == 0 {
                descriptor.flags |= INODE_UNINIT;
            } else {
                let mut bitmap: Bitmap = [0; BLOCK as usize];
                set_bits(&mut bitmap, 0, inodes);
                set_bits(&mut bitmap, layout.inodes_per_group, BLOCK * 8);
                let bytes = usize::try_from(layout.inodes_per_group / 8).unwrap_or(bitmap.len());
                descriptor.inode_bitmap_checksum = crc32c(self.seed, &bitmap[..bytes]);
                self.output.put(tables.inode_bitmap, &bitmap)?;
                descriptor.used_directories =
                    self.table(tables.inode_table, first_inode + 1..first_inode + 1 + inodes, special)?;
            }
            descriptors.push(descriptor);
        }
        Ok(descriptors)
    }

    /// Writes the inodes of a group, and gives the number of its directories.
    fn table(&mut self, first_block: u64, inodes: Range<u64>, special: &Special) -> Result<u32, ImageError> {
        let mut directories = 0;
        let mut bytes = Vec::with_capacity(1 << 16);
        let mut block = first_block;
        for inode in inodes {
            // Inode numbers have 32 bits, which the census has made sure of.
            let inode = u32::try_from(inode).unwrap_or(u32::MAX);
            match self.inode(inode, special)? {
                Some(contents) => {
                    directories += u32::from(contents.mode & 0o170_000 == S_IFDIR);
                    bytes.extend_from_slice(&contents.to_bytes(self.seed, inode));
                }
                None => bytes.resize(bytes.len() + super::inode::INODE, 0),
            }
            if bytes.len() == 1 << 16 {
                self.output.put(block, &bytes)?;
                block += bytes.len() as u64 / BLOCK;
                bytes.clear();
            }
        }
        self.output.put(block, &bytes)?;
        Ok(directories)
    }

    /// An inode; none for one that is reserved and not used.
    fn inode(&self, inode: u32, special: &Special) -> Result<Option<Inode>, ImageError> {
        match inode {
            JOURNAL_INODE => return Ok(special.journal.clone()),
            RESIZE_INODE => return Ok(special.resize.clone()),
            ROOT_INODE | FIRST_INODE.. => {}
            _ => return Ok(None),
        }
        let slot = slot(inode);
        let Some(state) = self.states.nodes.get(slot) else {
            return Ok(self.value_inode(slot - self.states.nodes.len()));
        };
        let item = self.census.holder(slot);
        let links = self.census.links[slot];
        let kind = &item.node.kind;
        let is_short = matches!(kind, NodeKind::Symlink(target) if target.len() < super::census::SHORT_LINK);
        let has_extents =
            matches!(kind, NodeKind::Directory | NodeKind::File(_) | NodeKind::Symlink(_)) && !is_short;
        let attributes = if item.node.xattrs.is_empty() {
            [0; ATTRIBUTE_SPACE]
        } else {
            let refuse = |reason| ImageError::CannotHold { format: FORMAT, path: item.path.clone(), reason };
            let first = self.census.values.get(&inode).copied().unwrap_or_default();
            Attributes::new(&item.node.xattrs).map_err(refuse)?.inode_bytes(self.seed, first)
        };
        let metadata = item.node.metadata;
        Ok(Some(Inode {
            // Permission bits are twelve.
            mode: file_type(kind) | u16::try_from(metadata.mode & 0o7777).unwrap_or_default(),
            uid: metadata.uid,
            gid: metadata.gid,
            size: if matches!(kind, NodeKind::Directory) { state.size } else { item.node.size() },
            time: metadata.mtime,
            // A directory that has more has one: its true number is not told.
            links: if links > super::census::MOST_LINKS { 1 } else { u16::try_from(links).unwrap_or(1) },
            blocks: state.blocks,
            flags: state.flags | if has_extents { EXTENTS_FLAG } else { 0 },
            block: state.block,
            attribute_block: state.attribute_block,
            attributes,
            value_hash: None,
        }))
    }

    fn value_inode(&self, place: usize) -> Option<Inode> {
        let value = self.states.values.get(place)?;
        let owner = self.census.holder(value.slot as usize).node.metadata;
        Some(Inode {
            uid: owner.uid,
            gid: owner.gid,
            value_hash: Some(value.hash),
            ..self.private(value.size, value.blocks, EXTENTS_FLAG | VALUE_FLAG, value.block)
        })
    }

    fn superblocks(&mut self, special: &Special, descriptors: &[Descriptor]) -> Result<(), ImageError> {
        let layout = &self.placement.layout;
        let free = layout.blocks - self.placement.used_blocks();
        let mut label = [0; 16];
        label[..self.settings.label.len()].copy_from_slice(&self.settings.label);
        let superblock = Superblock {
            inodes: number(layout.inodes()),
            inodes_per_group: number(layout.inodes_per_group),
            free_inodes: number(layout.inodes() - self.census.inodes()),
            blocks: layout.blocks,
            reserved_blocks: layout.blocks / 100 * u64::from(self.settings.reserved_percent),
            free_blocks: free,
            overhead: number(self.placement.overhead()),
            reserved_descriptor_blocks: u16::try_from(layout.reserved_descriptor_blocks).unwrap_or(u16::MAX),
            created: u64::try_from(self.settings.created).unwrap_or_default(),
            uuid: self.settings.uuid,
            label,
            hash_seed: self.settings.hash_seed,
            journal: special.journal.as_ref().map(|inode| (inode.block, inode.size)),
            has_value_inodes: !self.states.values.is_empty(),
        };
        let mut table = Vec::with_capacity(descriptors.len() * super::group::DESCRIPTOR);
        for (group, descriptor) in (0..).zip(descriptors) {
            table.extend_from_slice(&descriptor.to_bytes(self.seed, group));
        }
        for group in (0..layout.groups).filter(|&group| has_backup(group)) {
            let start = group * BLOCKS_PER_GROUP;
            let bytes = superblock.to_bytes(group);
            if group == 0 {
                // The first sector of all is left to boot loaders.
                let mut block = [0; BLOCK as usize];
                let at = usize::try_from(OFFSET).unwrap_or_default();
                block[at..at + bytes.len()].copy_from_slice(&bytes);
                self.output.put(start, &block)?;
            } else {
                self.output.put(start, &bytes)?;
            }
            self.output.put(start + 1, &table)?;
        }
        Ok(())
    }
}

/// Inodes that are no node of the tree.
struct Special {
    journal: Option<Inode>,
    resize: Option<Inode>,
}

/// The bitmap of a group and how many blocks are free in it; none where all are, and it need not be written.
/// What lies beyond the last group's end counts as used.
fn block_bitmap(used: &[Range<u64>], group: &Range<u64>, is_last: bool) -> Option<(Bitmap, u32)> {
    let here = used.iter().take_while(|range| range.start < group.end);
    if here.clone().next().is_none() && !is_last {
        return None;
    }
    let mut bitmap = [0; BLOCK as usize];
    let mut free = group.end - group.start;
    for range in here {
        let start = range.start.max(group.start);
        let end = range.end.min(group.end);
        free -= end - start;
        set_bits(&mut bitmap, start - group.start, end - group.start);
    }
    set_bits(&mut bitmap, group.end - group.start, BLOCKS_PER_GROUP);
    Some((bitmap, number(free)))
}

/// A number that the layout keeps below 2^32.
fn number(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
