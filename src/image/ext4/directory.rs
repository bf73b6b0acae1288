//! Directories: one block of names, or a hash tree over many.
//!
//! Source: the kernel's [directory entries](https://docs.kernel.org/filesystems/ext4/directory.html). What fits
//! into one block is a plain list. Everything else is a tree: its root in block 0, which looks like a block
//! with `.` and `..` to those that know no trees, then its inner nodes, then the leaves, in which names stand
//! in the order of their hashes. A leaf is as full as can be.

use super::BLOCK;
use super::checksum::crc32c;
use super::hash::half_md4;

/// Bytes of an entry before its name.
const ENTRY: usize = 8;
/// What a block of names ends with: an entry without a name that holds the checksum.
const TAIL: usize = 12;
/// Bytes for names in a block.
const SPACE: usize = BLOCK as usize - TAIL;
/// `.` and `..`.
const DOTS: usize = 24;
/// The file type of the entry with the checksum.
const TAIL_TYPE: u8 = 0xde;
const DIRECTORY_TYPE: u8 = 2;

/// `DX_HASH_HALF_MD4`; whether bytes are signed says the superblock.
const HALF_MD4: u8 = 1;
/// Where the root's and a node's entries begin.
const ROOT_ENTRIES: usize = 32;
const NODE_ENTRIES: usize = 8;
/// Bytes of an entry of the tree, and of the checksum at a node's end.
const TREE_ENTRY: usize = 8;
/// Entries of the root and of a node.
const ROOT_LIMIT: usize = (BLOCK as usize - ROOT_ENTRIES) / TREE_ENTRY - 1;
const NODE_LIMIT: usize = (BLOCK as usize - NODE_ENTRIES) / TREE_ENTRY - 1;
/// Leaves of a tree with one level of nodes below its root: more levels want a feature that old kernels don't
/// have.
const MOST_LEAVES: usize = ROOT_LIMIT * NODE_LIMIT;

/// A block of a directory.
pub(super) type DirectoryBlock = [u8; BLOCK as usize];

/// A name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u32,
    /// As in [`file_type`].
    pub(super) file_type: u8,
}

/// The directory that the names stand in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory {
    pub(super) inode: u32,
    pub(super) parent: u32,
    /// Where its inode's checksums begin.
    pub(super) seed: u32,
    pub(super) hash_seed: [u8; 16],
    /// Blocks that it has at least, empty ones: a hash tree has no such.
    pub(super) least_blocks: usize,
}

/// The code of a type in entries, by the type bits of a mode.
pub(super) fn file_type(mode: u16) -> u8 {
    match mode & 0o170_000 {
        super::inode::S_IFREG => 1,
        super::inode::S_IFDIR => DIRECTORY_TYPE,
        super::inode::S_IFCHR => 3,
        super::inode::S_IFBLK => 4,
        super::inode::S_IFIFO => 5,
        super::inode::S_IFLNK => 7,
        _ => 0,
    }
}

/// How a directory's names are divided among blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// A list in one block, and empty blocks up to this number.
    List(usize),
    /// A hash tree.
    Tree {
        /// Hashes, and the names' places among the entries.
        order: Vec<(u32, u32)>,
        /// Where each leaf begins in the order.
        leaves: Vec<usize>,
    },
}

impl Shape {
    /// The shape of a directory with these names; none when there are too many.
    pub(super) fn of(entries: &[Entry<'_>], directory: &Directory) -> Option<Self> {
        let total = DOTS + entries.iter().map(|entry| size(entry.name)).sum::<usize>();
        if total <= SPACE {
            return Some(Self::List(directory.least_blocks.max(1)));
        }
        if total > MOST_LEAVES * SPACE {
            return None;
        }
        let mut order: Vec<(u32, u32)> = (0..)
            .zip(entries)
            .map(|(place, entry)| (half_md4(entry.name, &directory.hash_seed), place))
            .collect();
        order.sort_unstable();
        let mut leaves = Vec::new();
        let mut room = 0;
        for (at, &(_, place)) in order.iter().enumerate() {
            let needed = size(entries[place as usize].name);
            if needed > room {
                leaves.push(at);
                room = SPACE;
            }
            room -= needed;
        }
        (leaves.len() <= MOST_LEAVES).then_some(Self::Tree { order, leaves })
    }

    /// How many blocks the directory has.
    pub(super) fn blocks(&self) -> usize {
        match self {
            Self::List(blocks) => *blocks,
            Self::Tree { leaves, .. } => 1 + nodes(leaves.len()) + leaves.len(),
        }
    }

    /// Whether the inode must say that there is a tree.
    pub(super) fn is_tree(&self) -> bool {
        matches!(self, Self::Tree { .. })
    }

    /// Gives out all blocks in their order.
    pub(super) fn write<E>(
        &self,
        directory: &Directory,
        entries: &[Entry<'_>],
        put: &mut dyn FnMut(&DirectoryBlock) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::List(blocks) => {
                let mut names = Names::new();
                names.dots(directory, None);
                for entry in entries {
                    names.push(entry.inode, entry.name, entry.file_type);
                }
                put(&names.finish(directory.seed))?;
                for _ in 1..*blocks {
                    put(&Names::new().finish(directory.seed))?;
                }
                Ok(())
            }
            Self::Tree { order, leaves } => {
                write_index(directory, order, leaves, put)?;
                for (number, &start) in leaves.iter().enumerate() {
                    let end = leaves.get(number + 1).copied().unwrap_or(order.len());
                    let mut names = Names::new();
                    for &(_, place) in &order[start..end] {
                        let entry = &entries[place as usize];
                        names.push(entry.inode, entry.name, entry.file_type);
                    }
                    put(&names.finish(directory.seed))?;
                }
                Ok(())
            }
        }
    }
}

/// The root and the nodes.
fn write_index<E>(
    directory: &Directory,
    order: &[(u32, u32)],
    leaves: &[usize],
    put: &mut dyn FnMut(&DirectoryBlock) -> Result<(), E>,
) -> Result<(), E> {
    let nodes = nodes(leaves.len());
    let children: Vec<(u32, u32)> = (1 + nodes..)
        .zip(leaves)
        .map(|(block, &start)| {
            // The lowest bit says that names with this hash stand in the leaf before, too.
            let goes_on = start > 0 && order[start - 1].0 == order[start].0;
            (order[start].0 | u32::from(goes_on), number(block))
        })
        .collect();
    let mut root = Names::new();
    root.dots(directory, Some(BLOCK as usize - 12));
    let mut root = root.block;
    // Eight bytes: hash version, their number, levels below the root.
    root[DOTS + 4..DOTS + 7].copy_from_slice(&[HALF_MD4, 8, u8::from(nodes > 0)]);
    if nodes == 0 {
        index(&mut root, ROOT_ENTRIES, &children, directory.seed);
        return put(&root);
    }
    let children = children.chunks(NODE_LIMIT);
    let heads: Vec<(u32, u32)> =
        (1..).zip(children.clone()).map(|(block, children)| (children[0].0, block)).collect();
    index(&mut root, ROOT_ENTRIES, &heads, directory.seed);
    put(&root)?;
    for children in children {
        let mut node = [0; BLOCK as usize];
        // An entry without a name that is as long as the block.
        node[4..6].copy_from_slice(&length(BLOCK as usize));
        index(&mut node, NODE_ENTRIES, children, directory.seed);
        put(&node)?;
    }
    Ok(())
}

/// The nodes between the root and so many leaves.
fn nodes(leaves: usize) -> usize {
    if leaves <= ROOT_LIMIT { 0 } else { leaves.div_ceil(NODE_LIMIT) }
}

/// Entries of the tree, and the checksum over what stands before their end. The first one has no hash: the
/// limit and the number of entries stand in its place.
fn index(block: &mut DirectoryBlock, start: usize, children: &[(u32, u32)], seed: u32) {
    let limit = (BLOCK as usize - start) / TREE_ENTRY - 1;
    for (place, (hash, child)) in block[start..].as_chunks_mut::<TREE_ENTRY>().0.iter_mut().zip(children) {
        place[..4].copy_from_slice(&hash.to_le_bytes());
        place[4..].copy_from_slice(&child.to_le_bytes());
    }
    block[start..start + 2].copy_from_slice(&length(limit));
    block[start + 2..start + 4].copy_from_slice(&length(children.len()));
    let tail = start + limit * TREE_ENTRY;
    let checksum = crc32c(seed, &block[..start + children.len() * TREE_ENTRY]);
    // The reserved word of the tail, and the field of the checksum itself, as zeros.
    let checksum = crc32c(checksum, &[0; 8]);
    block[tail + 4..].copy_from_slice(&checksum.to_le_bytes());
}

/// The bytes of an entry with a name: it begins at a multiple of four.
fn size(name: &[u8]) -> usize {
    (ENTRY + name.len()).next_multiple_of(4)
}

/// Blocks of a directory are fewer than 2^18.
fn number(block: usize) -> u32 {
    u32::try_from(block).unwrap_or(u32::MAX)
}

/// A length within a block.
fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_le_bytes()
}

/// A block of names that is being filled.
struct Names {
    block: DirectoryBlock,
    /// Where the last entry begins, and where it ends.
    last: usize,
    end: usize,
}

impl Names {
    fn new() -> Self {
        Self { block: [0; BLOCK as usize], last: 0, end: 0 }
    }

    /// `.` and `..`, the latter as long as is given.
    fn dots(&mut self, directory: &Directory, length_of_parent: Option<usize>) {
        self.push(directory.inode, b".", DIRECTORY_TYPE);
        self.push(directory.parent, b"..", DIRECTORY_TYPE);
        if let Some(bytes) = length_of_parent {
            self.block[self.last + 4..self.last + 6].copy_from_slice(&length(bytes));
        }
    }

    /// Adds a name, for which there is room.
    fn push(&mut self, inode: u32, name: &[u8], file_type: u8) {
        let size = size(name);
        let entry = &mut self.block[self.end..self.end + size];
        entry[..4].copy_from_slice(&inode.to_le_bytes());
        entry[4..6].copy_from_slice(&length(size));
        // A name has at most 255 bytes.
        entry[6..8].copy_from_slice(&[u8::try_from(name.len()).unwrap_or(u8::MAX), file_type]);
        entry[ENTRY..ENTRY + name.len()].copy_from_slice(name);
        self.last = self.end;
        self.end += size;
    }

    /// The last entry, or an empty one, takes what is left, and the checksum ends the block.
    fn finish(mut self, seed: u32) -> DirectoryBlock {
        self.block[self.last + 4..self.last + 6].copy_from_slice(&length(SPACE - self.last));
        let checksum = crc32c(seed, &self.block[..SPACE]);
        let tail = &mut self.block[SPACE..];
        tail[4..6].copy_from_slice(&length(TAIL));
        tail[7] = TAIL_TYPE;
        tail[8..].copy_from_slice(&checksum.to_le_bytes());
        self.block
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const DIRECTORY: Directory =
        Directory { inode: 12, parent: 2, seed: 9, hash_seed: [7; 16], least_blocks: 1 };

    fn blocks(names: &[Vec<u8>], directory: &Directory) -> (Shape, Vec<DirectoryBlock>) {
        let entries: Vec<Entry<'_>> =
            (20..).zip(names).map(|(inode, name)| Entry { name, inode, file_type: 1 }).collect();
        let shape = Shape::of(&entries, directory).expect("not too many");
        let mut blocks = Vec::new();
        let written = shape.write(directory, &entries, &mut |block| {
            blocks.push(*block);
            Ok::<_, Infallible>(())
        });
        assert_eq!(written, Ok(()));
        assert_eq!(blocks.len(), shape.blocks());
        (shape, blocks)
    }

    fn word(block: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(block[at..at + 4].try_into().expect("four bytes"))
    }

    /// All names of a block that is no node.
    fn names_of(block: &DirectoryBlock) -> Vec<Vec<u8>> {
        let mut names = Vec::new();
        let mut at = 0;
        while at < BLOCK as usize {
            let length = usize::from(u16::from_le_bytes([block[at + 4], block[at + 5]]));
            if word(block, at) != 0 {
                names.push(block[at + 8..at + 8 + usize::from(block[at + 6])].to_vec());
            }
            at += length;
        }
        assert_eq!(at, BLOCK as usize);
        names
    }

    #[test]
    fn a_full_block_is_still_a_list() {
        // 24 bytes of dots, 15 entries of 264 bytes, one of 100 bytes.
        let mut names: Vec<Vec<u8>> = (0..15).map(|number| vec![b'a' + number; 255]).collect();
        names.push(vec![b'z'; 92]);
        let (shape, written) = blocks(&names, &DIRECTORY);
        assert_eq!(shape, Shape::List(1));
        assert_eq!(names_of(&written[0])[2..], names);
        names[15].push(b'z');
        let (shape, written) = blocks(&names, &DIRECTORY);
        assert!(shape.is_tree());
        assert_eq!(written.len(), 2, "a root and a leaf, which has no dots");
    }

    #[test]
    fn empty_blocks_follow_a_list() {
        let (_, written) = blocks(&[], &Directory { least_blocks: 4, ..DIRECTORY });
        assert_eq!(written.len(), 4);
        assert_eq!(names_of(&written[0]), [b".".to_vec(), b"..".to_vec()]);
        assert!(names_of(&written[3]).is_empty());
    }

    /// Every name is found by the way of its hash, in trees of one and of two levels.
    #[test]
    fn every_name_is_found() {
        for (count, length) in [(100, 200), (20_000, 1), (8_200, 250)] {
            let names: Vec<Vec<u8>> = (0..count)
                .map(|number: u32| {
                    let mut name = number.to_string().into_bytes();
                    name.resize(name.len().max(length), b'\xee');
                    name
                })
                .collect();
            let (_, written) = blocks(&names, &DIRECTORY);
            let levels = usize::from(written[0][30]);
            assert_eq!(levels, usize::from(length == 250));
            for name in &names {
                let hash = half_md4(name, &DIRECTORY.hash_seed);
                let mut node = 0;
                let mut start = ROOT_ENTRIES;
                for _ in 0..=levels {
                    let block = &written[node];
                    let count = usize::from(u16::from_le_bytes([block[start + 2], block[start + 3]]));
                    let place = (1..count).take_while(|n| word(block, start + n * 8) <= hash).count();
                    node = word(block, start + place * 8 + 4) as usize;
                    start = NODE_ENTRIES;
                }
                assert!(names_of(&written[node]).contains(name), "{name:?}");
            }
        }
    }

    #[test]
    fn what_no_tree_holds_is_none() {
        let name = [b'x'; 255];
        let entry = Entry { name: &name, inode: 20, file_type: 1 };
        assert!(Shape::of(&vec![entry; MOST_LEAVES * 16], &DIRECTORY).is_none());
    }
}
