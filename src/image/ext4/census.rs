//! The nodes of a tree with their inode numbers, and what ext4 has no place for.

use std::collections::{BTreeMap, HashMap};

use ring::digest;

use super::content::Need;
use super::directory::{self, Directory, Entry, Shape};
use super::inode::{device_defect, file_type, time_defect};
use super::xattr::{Attributes, MOST_SHARERS};
use super::{BLOCK, FIRST_INODE, FORMAT, ROOT_INODE, Settings, checksum};
use crate::image::ImageError;
use crate::tree::{Content, Metadata, Node, NodeKind, Origin, TreePath, ValidTree};

/// `EXT4_LINK_MAX`.
pub(super) const MOST_LINKS: u32 = 65_000;
/// Blocks of a directory for what is found without a name.
const LOST_FOUND_BLOCKS: usize = 4;
/// The last block of a file has a number below 2^32 - 1.
const LARGEST_FILE: u64 = (u32::MAX as u64) * BLOCK;
/// A target that is shorter than this stands in the inode.
pub(super) const SHORT_LINK: usize = 60;

/// A name in the tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) path: &'a TreePath,
    /// For a hardlink, the node of its own: its inode is that of the file.
    pub(super) node: &'a Node,
    /// The place of the directory that holds it; its own for the root.
    pub(super) parent: u32,
    pub(super) inode: u32,
}

/// A block of attributes that several inodes may share, by the hash of what stands in it.
pub(super) type Digest = [u8; 32];

/// All names in path order, and all inodes.
#[derive(Debug)]
pub(super) struct Census<'a> {
    pub(super) items: Vec<Item<'a>>,
    /// The place of each inode's item: the root, then the inodes from the first on that is not reserved.
    holders: Vec<u32>,
    /// Names of each inode, or for a directory two and those below it.
    pub(super) links: Vec<u32>,
    /// The places of what directories hold, one directory after the other; where the part of each item begins.
    children: Vec<u32>,
    first_child: Vec<u32>,
    /// The first inode that holds a value of an attribute, by the inode that has the attribute.
    pub(super) values: BTreeMap<u32, u32>,
    /// How many inodes hold such values, and the blocks of these.
    pub(super) value_inodes: u32,
    value_blocks: u64,
    /// How many inodes have a block of attributes with this content.
    pub(super) shared: HashMap<Digest, u32>,
    hash_seed: [u8; 16],
    seed: u32,
}

/// The directory for what is found without a name, if the tree has none.
pub(super) fn lost_found(
    tree: &ValidTree,
    settings: &Settings,
) -> Result<Option<(TreePath, Node)>, ImageError> {
    let Ok(path) = TreePath::parse(b"lost+found") else { return Ok(None) };
    match tree.tree().get(&path).map(|node| &node.kind) {
        Some(NodeKind::Directory) => Ok(None),
        Some(kind) => {
            let reason = format!("it is {}, and e2fsck wants a directory of this name", kind.name());
            Err(ImageError::CannotHold { format: FORMAT, path, reason })
        }
        None => {
            let metadata = Metadata { mode: 0o700, mtime: settings.created, ..Metadata::DIRECTORY };
            Ok(Some((path, Node::directory(metadata, Origin::skeleton()))))
        }
    }
}

/// An inode's place in lists: the root is 0, the others follow from the first on that is not reserved.
pub(super) fn slot(inode: u32) -> usize {
    if inode == ROOT_INODE { 0 } else { (inode - FIRST_INODE + 1) as usize }
}

impl<'a> Census<'a> {
    /// Counts the tree's nodes, and `added` if it is given.
    ///
    /// # Errors
    /// [`ImageError::CannotHold`].
    pub(super) fn new(
        tree: &'a ValidTree,
        added: Option<&'a (TreePath, Node)>,
        settings: &Settings,
    ) -> Result<Self, ImageError> {
        let mut census = Self {
            items: Vec::new(),
            holders: Vec::new(),
            links: Vec::new(),
            children: Vec::new(),
            first_child: Vec::new(),
            values: BTreeMap::new(),
            value_inodes: 0,
            value_blocks: 0,
            shared: HashMap::new(),
            hash_seed: settings.hash_seed,
            seed: checksum::crc32c(checksum::START, &settings.uuid),
        };
        census.number(tree, added)?;
        census.sort_children();
        census.check_attributes()?;
        Ok(census)
    }

    /// Gives inode numbers, in path order but for `added`, which has the first one.
    fn number(&mut self, tree: &'a ValidTree, added: Option<&'a (TreePath, Node)>) -> Result<(), ImageError> {
        let groups = tree.hardlink_groups();
        let mut directories: HashMap<&[u8], u32> = HashMap::new();
        let mut linked: HashMap<&TreePath, u32> = HashMap::new();
        let mut nodes = tree.iter();
        let root = nodes.next();
        let added = added.map(|(path, node)| (path, node));
        for (path, node) in root.into_iter().chain(added).chain(nodes) {
            check(path, node)?;
            let place = count(self.items.len(), path)?;
            let bytes = path.as_bytes();
            let above = bytes.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            // A valid tree has every parent, and it comes first.
            let parent = directories.get(&bytes[..above]).copied().unwrap_or(0);
            let inode = if matches!(node.kind, NodeKind::Hardlink(_)) {
                // Known only when all are numbered.
                0
            } else {
                let names = groups.get(path).map_or(1, Vec::len);
                let inode = self.add_inode(place, path, node, names)?;
                if groups.contains_key(path) {
                    linked.insert(path, inode);
                }
                inode
            };
            if matches!(node.kind, NodeKind::Directory) {
                directories.insert(bytes, place);
                if !path.is_root() {
                    self.links[slot(self.items[parent as usize].inode)] += 1;
                }
            }
            self.items.push(Item { path, node, parent, inode });
        }
        for item in &mut self.items {
            if let NodeKind::Hardlink(target) = &item.node.kind {
                item.inode = linked.get(target).copied().unwrap_or_default();
            }
        }
        Ok(())
    }

    fn add_inode(
        &mut self,
        place: u32,
        path: &TreePath,
        node: &Node,
        names: usize,
    ) -> Result<u32, ImageError> {
        let number = count(self.holders.len(), path)?;
        let links = match node.kind {
            NodeKind::Directory => 2,
            _ => u32::try_from(names).unwrap_or(u32::MAX),
        };
        if links > MOST_LINKS {
            let reason = format!("it has {names} names, and at most {MOST_LINKS} are allowed");
            return Err(ImageError::CannotHold { format: FORMAT, path: path.clone(), reason });
        }
        self.holders.push(place);
        self.links.push(links);
        Ok(if number == 0 { ROOT_INODE } else { FIRST_INODE - 1 + number })
    }

    /// What each directory holds, by counting.
    fn sort_children(&mut self) {
        let mut ends = vec![0_u32; self.items.len() + 1];
        for item in &self.items[1..] {
            ends[item.parent as usize + 1] += 1;
        }
        let mut sum = 0;
        for end in &mut ends {
            sum += *end;
            *end = sum;
        }
        let mut next = ends.clone();
        self.children = vec![0; self.items.len() - 1];
        for (place, item) in (1..).zip(&self.items[1..]) {
            let at = &mut next[item.parent as usize];
            self.children[*at as usize] = place;
            *at += 1;
        }
        self.first_child = ends;
    }

    fn check_attributes(&mut self) -> Result<(), ImageError> {
        let mut values = self.first_value();
        for slot in 0..self.holders.len() {
            let item = self.holder(slot);
            if item.node.xattrs.is_empty() {
                continue;
            }
            let refuse = |reason| ImageError::CannotHold { format: FORMAT, path: item.path.clone(), reason };
            let attributes = Attributes::new(&item.node.xattrs).map_err(refuse)?;
            let first = values;
            for value in attributes.outside() {
                self.value_blocks += (value.len() as u64).div_ceil(BLOCK);
                values += 1;
                self.value_inodes += 1;
            }
            if values > first {
                if matches!(&item.node.kind, NodeKind::Symlink(target) if target.len() < SHORT_LINK) {
                    // Kernels take a link for a long one whose inode has blocks beside that of attributes.
                    return Err(refuse(
                        "its extended attributes are too large for one block, which a short link's must not be"
                            .to_owned(),
                    ));
                }
                self.values.insert(item.inode, first);
            }
            if attributes.has_block() {
                *self.shared.entry(digest(&attributes.block_bytes(self.seed, first))).or_default() += 1;
            }
        }
        Ok(())
    }

    /// The number of the first inode that holds a value of an attribute: they come after the tree's.
    pub(super) fn first_value(&self) -> u32 {
        FIRST_INODE - 1 + u32::try_from(self.holders.len()).unwrap_or(u32::MAX)
    }

    /// How many inodes the tree has; reserved ones and those of values are not among them.
    pub(super) fn nodes(&self) -> usize {
        self.holders.len()
    }

    /// How many inodes there are in all.
    pub(super) fn inodes(&self) -> u64 {
        // The root is a reserved one.
        u64::from(FIRST_INODE) - 1 + self.holders.len() as u64 - 1 + u64::from(self.value_inodes)
    }

    /// The item of an inode.
    pub(super) fn holder(&self, slot: usize) -> Item<'a> {
        self.items[self.holders[slot] as usize]
    }

    /// The place of an inode's item.
    pub(super) fn place(&self, slot: usize) -> usize {
        self.holders[slot] as usize
    }

    /// The directory at a place among the items, and what it holds, in path order.
    pub(super) fn directory(&self, place: usize) -> (Directory, Vec<Entry<'a>>) {
        let item = &self.items[place];
        let is_lost_found = item.parent == 0 && item.path.as_bytes() == b"lost+found";
        let directory = Directory {
            inode: item.inode,
            parent: self.items[item.parent as usize].inode,
            seed: checksum::inode_seed(self.seed, item.inode),
            hash_seed: self.hash_seed,
            least_blocks: if is_lost_found { LOST_FOUND_BLOCKS } else { 1 },
        };
        let range = self.first_child[place] as usize..self.first_child[place + 1] as usize;
        let entries = self.children[range].iter().map(|&child| {
            let child = &self.items[child as usize];
            Entry {
                name: child.path.file_name().unwrap_or_default(),
                inode: child.inode,
                file_type: directory::file_type(file_type(&child.node.kind)),
            }
        });
        (directory, entries.collect())
    }

    /// What everything but the regular files needs.
    ///
    /// # Errors
    /// [`ImageError::CannotHold`]: a directory with too many names.
    pub(super) fn own_need(&self) -> Result<Need, ImageError> {
        let sharing = self.shared.values().map(|&sharers| u64::from(sharers.div_ceil(MOST_SHARERS)));
        let mut need = Need { blocks: self.value_blocks + sharing.sum::<u64>(), cuts: 0 };
        for slot in 0..self.holders.len() {
            let place = self.place(slot);
            match &self.items[place].node.kind {
                NodeKind::Directory => need += Need::of_blocks(self.shape(place)?.blocks() as u64),
                NodeKind::Symlink(target) if target.len() >= SHORT_LINK => need.blocks += 1,
                _ => {}
            }
        }
        Ok(need)
    }

    /// All regular files.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'a TreePath, &'a Content)> {
        (0..self.holders.len()).filter_map(|slot| {
            let item = self.holder(slot);
            self.content(slot).map(|content| (item.path, content))
        })
    }

    /// The content of an inode, if it is a regular file.
    pub(super) fn content(&self, slot: usize) -> Option<&'a Content> {
        match &self.holder(slot).node.kind {
            NodeKind::File(content) => Some(content),
            _ => None,
        }
    }

    pub(super) fn shape(&self, place: usize) -> Result<Shape, ImageError> {
        let (directory, entries) = self.directory(place);
        Shape::of(&entries, &directory).ok_or_else(|| ImageError::CannotHold {
            format: FORMAT,
            path: self.items[place].path.clone(),
            reason: format!(
                "it holds {} names, more than a hash tree of two levels has room for",
                entries.len()
            ),
        })
    }
}

/// The hash of a block of attributes.
pub(super) fn digest(block: &[u8]) -> Digest {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, block).as_ref());
    hash
}

fn count(number: usize, path: &TreePath) -> Result<u32, ImageError> {
    // Far more than memory has room for.
    u32::try_from(number).ok().filter(|&number| number < u32::MAX - 100).ok_or_else(|| {
        ImageError::CannotHold {
            format: FORMAT,
            path: path.clone(),
            reason: "there are more than 2^32 nodes".to_owned(),
        }
    })
}

fn check(path: &TreePath, node: &Node) -> Result<(), ImageError> {
    if matches!(node.kind, NodeKind::Hardlink(_)) {
        return Ok(());
    }
    let defect = match &node.kind {
        NodeKind::File(content) if content.len() > LARGEST_FILE => {
            Some(format!("it has {} bytes, and at most {LARGEST_FILE} are allowed", content.len()))
        }
        NodeKind::Symlink(target) if target.is_empty() => Some("its target is empty".to_owned()),
        NodeKind::Symlink(target) if target.len() >= BLOCK as usize => {
            Some(format!("its target has {} bytes, and at most {} are allowed", target.len(), BLOCK - 1))
        }
        NodeKind::Symlink(target) if target.contains(&0) => Some("its target holds a NUL byte".to_owned()),
        NodeKind::CharDevice { major, minor } | NodeKind::BlockDevice { major, minor } => {
            device_defect(*major, *minor)
        }
        _ => None,
    };
    match defect.or_else(|| time_defect(node.metadata.mtime)) {
        Some(reason) => Err(ImageError::CannotHold { format: FORMAT, path: path.clone(), reason }),
        None => Ok(()),
    }
}
