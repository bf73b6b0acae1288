//! The pass over the tree: gives blocks to everything in it, and writes these.
//!
//! Directories come first, all together, then in path order what other nodes have: attributes, the targets of
//! long links, contents. Each content is read once, in large pieces, and gets its blocks as it is read. Very
//! large files come before all else: how much of them is holes decides how large the image can become.

use std::collections::HashMap;
use std::ops::Range;

use super::census::{Census, Digest, SHORT_LINK, digest};
use super::checksum::{crc32c, inode_seed};
use super::content::{PIECE, Pieces, next_data};
use super::extent::{ExtentTree, Run, TreeBlock};
use super::inode::{BlockField, INDEX_FLAG, device};
use super::output::Output;
use super::space::Space;
use super::xattr::{Attributes, MOST_SHARERS, seal, value_hash};
use super::{BLOCK, FORMAT, LARGE, Plan, Settings, checksum};
use crate::image::ImageError;
use crate::tree::{Content, NodeKind, TreePath};

/// What the tree does not say of an inode.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) block: BlockField,
    /// All blocks of the inode.
    pub(super) blocks: u64,
    pub(super) attribute_block: u64,
    /// Of a directory.
    pub(super) size: u64,
    /// Beside that of extents.
    pub(super) flags: u32,
}

/// An inode that holds a value of an attribute.
#[derive(Debug, Clone)]
pub(super) struct ValueState {
    pub(super) block: BlockField,
    pub(super) blocks: u64,
    pub(super) size: u64,
    pub(super) hash: u32,
    /// The inode whose attribute it is; owner and group are the same.
    pub(super) slot: u32,
}

/// All inodes, in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct States {
    pub(super) nodes: Vec<State>,
    pub(super) values: Vec<ValueState>,
}

/// A block of attributes that was written.
#[derive(Debug, Default)]
struct Shared {
    block: u64,
    /// How many inodes may still have this block, and how many still want one with its content.
    room: u32,
    wanting: u32,
}

struct Filling<'a, 'b> {
    census: &'a Census<'a>,
    space: &'a mut Space,
    output: &'a mut Output<'b>,
    seed: u32,
    shared: HashMap<Digest, Shared>,
    states: States,
}

/// Writes everything that the tree holds.
///
/// # Errors
/// [`ImageError::Content`], [`ImageError::Write`]; [`ImageError::TooSmall`] where contents have changed since
/// they were looked at.
pub(super) fn fill(
    census: &Census<'_>,
    settings: &Settings,
    plan: &Plan,
    output: &mut Output<'_>,
) -> Result<(Space, States), ImageError> {
    let empty = State { block: [0; 60], blocks: 0, attribute_block: 0, size: 0, flags: 0 };
    let states = States { nodes: vec![empty; census.nodes()], values: Vec::new() };
    let seed = crc32c(checksum::START, &settings.uuid);
    let mut space = plan.space();
    let mut filling = Filling { census, space: &mut space, output, seed, shared: HashMap::new(), states };
    let slots = 0..census.nodes();
    let is_large = |slot: usize| census.content(slot).is_some_and(|content| content.len() >= LARGE);
    if slots.clone().any(is_large) {
        for slot in slots.clone().filter(|&slot| is_large(slot)) {
            filling.node(slot)?;
        }
        plan.settle(filling.space, census, settings);
    }
    for slot in slots.clone() {
        if matches!(census.holder(slot).node.kind, NodeKind::Directory) {
            filling.directory(slot)?;
        }
    }
    for slot in slots {
        filling.attributes(slot)?;
        if !is_large(slot) {
            filling.node(slot)?;
        }
    }
    let states = filling.states;
    Ok((space, states))
}

impl Filling<'_, '_> {
    fn directory(&mut self, slot: usize) -> Result<(), ImageError> {
        let place = self.census.place(slot);
        let shape = self.census.shape(place)?;
        let (directory, entries) = self.census.directory(place);
        let mut file = File::new(directory.seed, self.space, self.output);
        shape.write(&directory, &entries, &mut |block| file.append(block))?;
        let size = file.length * BLOCK;
        let (block, blocks) = file.finish()?;
        let state = &mut self.states.nodes[slot];
        state.flags = if shape.is_tree() { INDEX_FLAG } else { 0 };
        (state.block, state.blocks, state.size) = (block, blocks, size);
        Ok(())
    }

    fn attributes(&mut self, slot: usize) -> Result<(), ImageError> {
        let item = self.census.holder(slot);
        if item.node.xattrs.is_empty() {
            return Ok(());
        }
        let refuse = |reason| ImageError::CannotHold { format: FORMAT, path: item.path.clone(), reason };
        let attributes = Attributes::new(&item.node.xattrs).map_err(refuse)?;
        let first = self.census.values.get(&item.inode).copied().unwrap_or_default();
        for (inode, value) in (first..).zip(attributes.outside()) {
            let mut file = File::new(inode_seed(self.seed, inode), self.space, self.output);
            file.append(value)?;
            let (block, blocks) = file.finish()?;
            let (size, hash) = (value.len() as u64, value_hash(self.seed, value));
            // They count as the owner's, too.
            self.states.nodes[slot].blocks += blocks;
            let slot = u32::try_from(slot).unwrap_or_default();
            self.states.values.push(ValueState { block, blocks, size, hash, slot });
        }
        if !attributes.has_block() {
            return Ok(());
        }
        let mut bytes = attributes.block_bytes(self.seed, first);
        let digest = digest(&bytes);
        let shared = self.shared.entry(digest).or_insert_with(|| Shared {
            wanting: self.census.shared.get(&digest).copied().unwrap_or(1),
            ..Shared::default()
        });
        if shared.room == 0 {
            shared.room = shared.wanting.min(MOST_SHARERS);
            shared.block = take(self.space, 1)?.start;
            seal(&mut bytes, self.seed, shared.block, shared.room);
            self.output.put(shared.block, &bytes)?;
        }
        shared.room -= 1;
        shared.wanting -= 1;
        let state = &mut self.states.nodes[slot];
        state.attribute_block = shared.block;
        state.blocks += 1;
        Ok(())
    }

    fn node(&mut self, slot: usize) -> Result<(), ImageError> {
        let item = self.census.holder(slot);
        let seed = inode_seed(self.seed, item.inode);
        let (block, blocks) = match &item.node.kind {
            NodeKind::Directory | NodeKind::Hardlink(_) | NodeKind::Fifo => return Ok(()),
            NodeKind::CharDevice { major, minor } | NodeKind::BlockDevice { major, minor } => {
                (device(*major, *minor), 0)
            }
            NodeKind::Symlink(target) if target.len() < SHORT_LINK => {
                let mut block = [0; 60];
                block[..target.len()].copy_from_slice(target);
                (block, 0)
            }
            NodeKind::Symlink(target) => {
                let mut file = File::new(seed, self.space, self.output);
                file.append(target)?;
                file.finish()?
            }
            NodeKind::File(content) => {
                let mut file = File::new(seed, self.space, self.output);
                file.content(item.path, content)?;
                file.finish()?
            }
        };
        let state = &mut self.states.nodes[slot];
        state.block = block;
        state.blocks += blocks;
        Ok(())
    }
}

/// Blocks of one inode that are given out and written.
struct File<'a, 'b> {
    space: &'a mut Space,
    output: &'a mut Output<'b>,
    tree: ExtentTree,
    /// Blocks that [`File::append`] has written.
    length: u64,
}

impl<'a, 'b> File<'a, 'b> {
    fn new(inode_seed: u32, space: &'a mut Space, output: &'a mut Output<'b>) -> Self {
        Self { space, output, tree: ExtentTree::new(inode_seed), length: 0 }
    }

    /// Writes bytes from the next block on, at most [`PIECE`].
    fn append(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        let room = self.output.room(bytes.len().next_multiple_of(BLOCK as usize))?;
        let place = self.output.bytes(room.clone());
        place[..bytes.len()].copy_from_slice(bytes);
        place[bytes.len()..].fill(0);
        let blocks = room.len() as u64 / BLOCK;
        self.keep(room, self.length)?;
        self.length += blocks;
        Ok(())
    }

    /// Writes what is not zero of a content.
    fn content(&mut self, path: &TreePath, content: &Content) -> Result<(), ImageError> {
        let failed = |source| ImageError::Content { path: path.clone(), source };
        let mut pieces = Pieces::new(content).map_err(failed)?;
        loop {
            let room = self.output.room(pieces.room())?;
            let Some((first, length)) = pieces.next(self.output.bytes(room.clone())).map_err(failed)? else {
                return Ok(());
            };
            let mut from = 0;
            // What is kept moves towards the room's beginning, and never over what was not looked at.
            while let Some((start, end)) = next_data(self.output.bytes(room.start..room.start + length), from)
            {
                self.keep(room.start + start..room.start + end, first + start as u64 / BLOCK)?;
                from = end;
            }
        }
    }

    /// Gives blocks to what stands in the output's buffer.
    fn keep(&mut self, range: Range<usize>, logical: u64) -> Result<(), ImageError> {
        let Range { mut start, end } = range;
        let mut logical = logical;
        while start < end {
            let blocks = take(self.space, (end - start) as u64 / BLOCK)?;
            let length = blocks.end - blocks.start;
            // No more than was asked for.
            let count = usize::try_from(length * BLOCK).unwrap_or(PIECE);
            self.output.keep(start..start + count, blocks.start)?;
            let Self { space, output, tree, .. } = self;
            let mut place = |block: &TreeBlock| place_tree_block(space, output, block);
            tree.add(Run { logical, physical: blocks.start, length }, &mut place)?;
            start += count;
            logical += length;
        }
        Ok(())
    }

    fn finish(self) -> Result<(BlockField, u64), ImageError> {
        let Self { space, output, tree, .. } = self;
        tree.finish(&mut |block: &TreeBlock| place_tree_block(space, output, block))
    }
}

fn place_tree_block(space: &mut Space, output: &Output<'_>, block: &TreeBlock) -> Result<u64, ImageError> {
    let place = take(space, 1)?.start;
    output.put_now(place, block)?;
    Ok(place)
}

fn take(space: &mut Space, most: u64) -> Result<Range<u64>, ImageError> {
    space.take(most).ok_or_else(|| ImageError::TooSmall {
        format: FORMAT,
        needed: (space.limit() + 1).saturating_mul(BLOCK),
        size: space.limit().saturating_mul(BLOCK),
    })
}
