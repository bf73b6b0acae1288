//! Trees of extents: which blocks of a file stand where.
//!
//! Source: the kernel's [extent tree](https://docs.kernel.org/filesystems/ext4/dynamic.html#extent-tree). The
//! root, in the inode, has room for four entries, a block for 340. A tree is built from its leaves while the
//! file is written: a block of it is given out as soon as it is full, so that no more than one block a level is
//! held in memory.

use super::BLOCK;
use super::checksum::crc32c;
use super::inode::BlockField;

const MAGIC: u16 = 0xf30a;
const HEADER: usize = 12;
const ENTRY: usize = 12;
/// Entries in the inode.
const IN_ROOT: usize = 4;
/// Entries in a block, after its header and before its checksum.
const IN_BLOCK: usize = (BLOCK as usize - HEADER - 4) / ENTRY;
/// The longest extent; the upper bit of its length means that it was never written.
const LONGEST: u64 = 1 << 15;

/// A block of the tree, as it is written.
pub(super) type TreeBlock = [u8; BLOCK as usize];

/// How many blocks a tree of so many extents has beside its root.
pub(super) fn tree_blocks(extents: u64) -> u64 {
    let mut blocks = 0;
    let mut entries = extents;
    while entries > IN_ROOT as u64 {
        entries = entries.div_ceil(IN_BLOCK as u64);
        blocks += entries;
    }
    blocks
}

/// How many extents so many consecutive blocks need.
pub(super) fn extents_of(blocks: u64) -> u64 {
    blocks.div_ceil(LONGEST)
}

/// Consecutive blocks of a file that stand one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The first block's place in the file.
    pub(super) logical: u64,
    /// Where it stands.
    pub(super) physical: u64,
    /// How many there are.
    pub(super) length: u64,
}

/// A tree that is being built.
#[derive(Debug)]
pub(super) struct ExtentTree {
    /// Where its inode's checksums begin.
    seed: u32,
    last: Option<Run>,
    /// From the leaves up: the entries that are in no block yet.
    levels: Vec<Vec<[u8; ENTRY]>>,
    blocks: u64,
}

/// Gives a block of the tree a place.
pub(super) type Place<'a, E> = &'a mut dyn FnMut(&TreeBlock) -> Result<u64, E>;

impl ExtentTree {
    /// The tree of an inode that has no blocks yet.
    pub(super) fn new(inode_seed: u32) -> Self {
        Self { seed: inode_seed, last: None, levels: vec![Vec::new()], blocks: 0 }
    }

    /// Adds blocks, all of which stand behind those that are there in the file.
    pub(super) fn add<E>(&mut self, run: Run, place: Place<'_, E>) -> Result<(), E> {
        self.blocks += run.length;
        if let Some(last) = &mut self.last
            && last.logical + last.length == run.logical
            && last.physical + last.length == run.physical
        {
            last.length += run.length;
            return Ok(());
        }
        match self.last.replace(run) {
            Some(last) => self.extents(last, place),
            None => Ok(()),
        }
    }

    /// The root, and how many blocks there are, those of the tree included.
    pub(super) fn finish<E>(mut self, place: Place<'_, E>) -> Result<(BlockField, u64), E> {
        if let Some(last) = self.last.take() {
            self.extents(last, place)?;
        }
        let mut level = 0;
        while level + 1 < self.levels.len() || self.levels[level].len() > IN_ROOT {
            self.end_block(level, place)?;
            level += 1;
        }
        let mut root = [0; 60];
        fill(&mut root, level, &self.levels[level], IN_ROOT);
        Ok((root, self.blocks))
    }

    fn extents<E>(&mut self, run: Run, place: Place<'_, E>) -> Result<(), E> {
        let mut done = 0;
        while done < run.length {
            let length = (run.length - done).min(LONGEST);
            self.entry(0, extent(run.logical + done, run.physical + done, length), place)?;
            done += length;
        }
        Ok(())
    }

    fn entry<E>(&mut self, level: usize, entry: [u8; ENTRY], place: Place<'_, E>) -> Result<(), E> {
        if level == self.levels.len() {
            self.levels.push(Vec::new());
        }
        if self.levels[level].len() == IN_BLOCK {
            self.end_block(level, place)?;
        }
        self.levels[level].push(entry);
        Ok(())
    }

    fn end_block<E>(&mut self, level: usize, place: Place<'_, E>) -> Result<(), E> {
        let entries = std::mem::take(&mut self.levels[level]);
        let mut block = [0; BLOCK as usize];
        fill(&mut block, level, &entries, IN_BLOCK);
        let tail = HEADER + IN_BLOCK * ENTRY;
        let checksum = crc32c(self.seed, &block[..tail]);
        block[tail..].copy_from_slice(&checksum.to_le_bytes());
        let [a, b, c, d, e, f, ..] = place(&block)?.to_le_bytes();
        self.blocks += 1;
        let mut index = [0; ENTRY];
        index[..4].copy_from_slice(&entries[0][..4]);
        index[4..10].copy_from_slice(&[a, b, c, d, e, f]);
        self.entry(level + 1, index, place)
    }
}

/// `struct ext4_extent`.
fn extent(logical: u64, physical: u64, length: u64) -> [u8; ENTRY] {
    let logical = logical.to_le_bytes();
    let physical = physical.to_le_bytes();
    let mut entry = [0; ENTRY];
    entry[..4].copy_from_slice(&logical[..4]);
    entry[4..6].copy_from_slice(&length.to_le_bytes()[..2]);
    entry[6..8].copy_from_slice(&physical[4..6]);
    entry[8..].copy_from_slice(&physical[..4]);
    entry
}

fn fill(node: &mut [u8], depth: usize, entries: &[[u8; ENTRY]], most: usize) {
    // None of the three is larger than 340.
    let field = |number: usize| u16::try_from(number).unwrap_or(u16::MAX).to_le_bytes();
    node[..2].copy_from_slice(&MAGIC.to_le_bytes());
    node[2..4].copy_from_slice(&field(entries.len()));
    node[4..6].copy_from_slice(&field(most));
    node[6..8].copy_from_slice(&field(depth));
    let place = node[HEADER..].as_chunks_mut::<ENTRY>().0;
    place[..entries.len()].copy_from_slice(entries);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;

    /// Builds a tree and reads it again.
    fn round(runs: &[Run]) -> (Vec<Run>, u16, u64) {
        let mut blocks: BTreeMap<u64, TreeBlock> = BTreeMap::new();
        let mut place = |block: &TreeBlock| {
            let at = (1 << 33) + blocks.len() as u64;
            blocks.insert(at, *block);
            Ok::<_, Infallible>(at)
        };
        let mut tree = ExtentTree::new(5);
        for run in runs {
            let _ = tree.add(*run, &mut place);
        }
        let Ok((root, total)) = tree.finish(&mut place);
        assert_eq!(total, runs.iter().map(|run| run.length).sum::<u64>() + blocks.len() as u64);
        let mut found = Vec::new();
        let depth = u16::from_le_bytes([root[6], root[7]]);
        read(&root, depth, &blocks, &mut found);
        (found, depth, blocks.len() as u64)
    }

    fn read(node: &[u8], depth: u16, blocks: &BTreeMap<u64, TreeBlock>, found: &mut Vec<Run>) {
        let field = |at: usize| u16::from_le_bytes([node[at], node[at + 1]]);
        assert_eq!((field(0), field(6)), (MAGIC, depth));
        assert_eq!(usize::from(field(4)), (node.len() - HEADER) / ENTRY);
        assert!(field(2) <= field(4));
        for entry in &node[HEADER..].as_chunks::<ENTRY>().0[..usize::from(field(2))] {
            let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
            let logical = number(&entry[..4]);
            if depth == 0 {
                let physical = number(&entry[6..8]) << 32 | number(&entry[8..]);
                found.push(Run { logical, physical, length: number(&entry[4..6]) });
            } else {
                let block = &blocks[&number(&entry[4..10])];
                let tail: [u8; 4] = block[4092..].try_into().expect("four bytes");
                assert_eq!(u32::from_le_bytes(tail), crc32c(5, &block[..4092]));
                let before = found.len();
                read(block, depth - 1, blocks, found);
                assert_eq!(found[before].logical, logical);
            }
        }
    }

    #[test]
    fn trees_of_every_depth_can_be_read() {
        for (count, depth) in [
            (0, 0),
            (1, 0),
            (4, 0),
            (5, 1),
            (340, 1),
            (341, 1),
            (1360, 1),
            (1361, 2),
            (115_601, 2),
            (462_401, 3),
        ] {
            let runs: Vec<Run> = (0..count)
                .map(|number| Run { logical: number * 2, physical: (1 << 32) + number * 3, length: 1 })
                .collect();
            let (found, deep, blocks) = round(&runs);
            assert_eq!(found, runs);
            assert_eq!((deep, blocks), (depth, tree_blocks(count)), "{count}");
        }
    }

    #[test]
    fn neighbours_become_one_and_long_ones_are_cut() {
        let run = |logical, physical, length| Run { logical, physical, length };
        let (found, ..) = round(&[run(0, 10, 3), run(3, 13, 1), run(4, 15, 1), run(6, 16, 70_000)]);
        let cut = [run(6, 16, 32_768), run(32_774, 32_784, 32_768), run(65_542, 65_552, 4464)];
        assert_eq!(found[..2], [run(0, 10, 4), run(4, 15, 1)]);
        assert_eq!(found[2..], cut);
        assert_eq!(extents_of(70_000), 3);
    }
}
