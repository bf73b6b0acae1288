//! Which inodes an image has, and what is known of each before any file is read.

use std::collections::HashMap;

use super::directory::{Kind, Measure};
use super::format::{Inode, mode, rdev};
use super::xattr::{self, MOST_VALUE, Xattrs};
use super::{FORMAT, Settings};
use crate::image::ImageError;
use crate::tree::{Node, NodeKind, TreePath, ValidTree};

/// The most bytes that the target of a symbolic link has: the kernel's `PATH_MAX` without the NUL.
const MOST_TARGET: usize = 4095;

/// A node of the tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planned<'a> {
    pub path: &'a TreePath,
    /// What it is; for a hardlink the file that it names.
    pub node: &'a Node,
    /// The place of the node whose inode this is a name of: its own, but for hardlinks.
    pub home: usize,
    /// The place of the directory that it is in; the root is in itself.
    pub parent: usize,
    /// How many names its inode has.
    pub nlink: u32,
    /// The size of its content.
    pub size: u64,
}

/// All nodes in path order, the root first.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub nodes: Vec<Planned<'a>>,
    /// Pairs of a directory's place and that of something in it, in order.
    children: Vec<(u32, u32)>,
    pub xattrs: Xattrs<'a>,
    /// The time of inodes without one of their own.
    pub epoch: i64,
}

impl<'a> Plan<'a> {
    /// # Errors
    /// [`ImageError::CannotHold`] for the first node in path order that has no place in the format.
    pub(super) fn new(tree: &'a ValidTree, settings: &Settings) -> Result<Self, ImageError> {
        let xattrs = Xattrs::new(tree);
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        let groups = tree.hardlink_groups();
        let mut nodes: Vec<Planned<'a>> = Vec::new();
        let mut children = Vec::new();
        for (place, (path, node)) in tree.iter().enumerate() {
            check(path, node, &xattrs).map_err(|reason| ImageError::CannotHold {
                format: FORMAT,
                path: path.clone(),
                reason,
            })?;
            let bytes = path.as_bytes();
            let end = bytes.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            // A valid tree has the directory that everything is in, and it comes first.
            let parent = places.get(&bytes[..end]).copied().unwrap_or(0);
            let mut nlink = 1;
            if matches!(node.kind, NodeKind::Directory) {
                places.insert(bytes, place);
                nlink = 2;
                if place > 0 {
                    nodes[parent].nlink += 1;
                }
            }
            if let Some(names) = groups.get(path) {
                nlink = u32::try_from(names.len()).unwrap_or(u32::MAX);
                places.insert(bytes, place);
            }
            if place > 0 {
                children.push((number(parent), number(place)));
            }
            nodes.push(Planned { path, node, home: place, parent, nlink, size: node.size() });
        }
        for place in 0..nodes.len() {
            if let NodeKind::Hardlink(target) = &nodes[place].node.kind
                && let Some(&home) = places.get(target.as_bytes())
            {
                nodes[place].home = home;
                nodes[place].node = nodes[home].node;
            }
        }
        children.sort_unstable();
        let epoch = settings.build_time.unwrap_or_else(|| most_common_time(&nodes));
        let mut plan = Self { nodes, children, xattrs, epoch };
        for place in 0..plan.nodes.len() {
            if matches!(plan.nodes[place].node.kind, NodeKind::Directory) {
                let mut measure = Measure::default();
                plan.names(place).iter().for_each(|(name, _)| measure.add(name));
                plan.nodes[place].size = measure.size();
            }
        }
        Ok(plan)
    }

    /// What a directory holds, in the order of names, with `.` and `..`: each name with the place of its node.
    pub(super) fn names(&self, directory: usize) -> Vec<(&'a [u8], usize)> {
        let start = self.children.partition_point(|&(parent, _)| (parent as usize) < directory);
        let mut names: Vec<(&'a [u8], usize)> = self.children[start..]
            .iter()
            .take_while(|&&(parent, _)| parent as usize == directory)
            .map(|&(_, child)| {
                let child = child as usize;
                (self.nodes[child].path.file_name().unwrap_or_default(), child)
            })
            .collect();
        names.push((b".", directory));
        names.push((b"..", self.nodes[directory].parent));
        names.sort_unstable();
        names
    }

    /// The time that its inode has to name.
    fn mtime(&self, planned: &Planned<'_>) -> Option<i64> {
        Some(planned.node.metadata.mtime).filter(|&mtime| mtime != self.epoch)
    }

    /// The size of an inode and its extended attributes.
    pub(super) fn head(&self, place: usize) -> u64 {
        let planned = &self.nodes[place];
        let metadata = planned.node.metadata;
        Inode::form(planned.size, metadata.uid, metadata.gid, planned.nlink, self.mtime(planned))
            + self.xattrs.size(planned.node)
    }

    /// An inode and its extended attributes.
    pub(super) fn encode(&self, place: usize, layout: super::format::Layout) -> Vec<u8> {
        let planned = &self.nodes[place];
        let metadata = planned.node.metadata;
        let kind = match planned.node.kind {
            NodeKind::Directory => mode::DIRECTORY,
            NodeKind::File(_) | NodeKind::Hardlink(_) => mode::FILE,
            NodeKind::Symlink(_) => mode::SYMLINK,
            NodeKind::CharDevice { .. } => mode::CHAR,
            NodeKind::BlockDevice { .. } => mode::BLOCK,
            NodeKind::Fifo => mode::FIFO,
        };
        let mut bytes = Inode {
            layout,
            xattr_icount: xattr::icount(self.xattrs.size(planned.node)).unwrap_or_default(),
            mode: kind | (metadata.mode & 0o7777) as u16,
            nlink: planned.nlink,
            size: planned.size,
            ino: number(place).saturating_add(1),
            uid: metadata.uid,
            gid: metadata.gid,
            mtime: self.mtime(planned),
        }
        .encode(self.epoch);
        bytes.extend(self.xattrs.encode(planned.node));
        bytes
    }

    /// How many inodes there are.
    pub(super) fn inodes(&self) -> u64 {
        self.nodes.iter().enumerate().filter(|(place, planned)| planned.home == *place).count() as u64
    }
}

/// What an entry of a directory says of a node.
pub(super) fn kind(node: &Node) -> Kind {
    match node.kind {
        NodeKind::Directory => Kind::Directory,
        NodeKind::File(_) | NodeKind::Hardlink(_) => Kind::File,
        NodeKind::Symlink(_) => Kind::Symlink,
        NodeKind::CharDevice { .. } => Kind::CharDevice,
        NodeKind::BlockDevice { .. } => Kind::BlockDevice,
        NodeKind::Fifo => Kind::Fifo,
    }
}

/// The place of a node in 32 bits: more nodes than that don't fit into memory.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// The time that most inodes have, of equals the earliest: they need not name it and take half the room.
fn most_common_time(nodes: &[Planned<'_>]) -> i64 {
    let mut counts: HashMap<i64, u64> = HashMap::new();
    for (place, planned) in nodes.iter().enumerate() {
        if planned.home == place {
            *counts.entry(planned.node.metadata.mtime).or_default() += 1;
        }
    }
    let most = counts.into_iter().max_by_key(|&(mtime, count)| (count, std::cmp::Reverse(mtime)));
    most.map_or(0, |(mtime, _)| mtime)
}

fn check(path: &TreePath, node: &Node, xattrs: &Xattrs<'_>) -> Result<(), String> {
    match &node.kind {
        NodeKind::Hardlink(_) => return Ok(()),
        NodeKind::File(content) if i64::try_from(content.len()).is_err() => {
            return Err(format!("it has {} bytes, and no file has more than {}", content.len(), i64::MAX));
        }
        NodeKind::Symlink(target) if target.is_empty() || target.len() > MOST_TARGET => {
            return Err(format!(
                "its target has {} bytes, and it must have 1 to {MOST_TARGET}",
                target.len()
            ));
        }
        NodeKind::CharDevice { major, minor } | NodeKind::BlockDevice { major, minor }
            if rdev(*major, *minor).is_none() =>
        {
            return Err(format!("its numbers, {major}:{minor}, are larger than 4095:1048575"));
        }
        _ => {}
    }
    for (name, value) in &node.xattrs {
        let Some((_, rest)) = xattr::split(name) else { continue };
        if rest.len() > usize::from(u8::MAX) {
            return Err(format!("the name of an extended attribute has {} bytes", name.len()));
        }
        if value.len() > MOST_VALUE {
            return Err(format!(
                "its extended attribute {} has {} bytes, and at most {MOST_VALUE} fit",
                name.escape_ascii(),
                value.len()
            ));
        }
    }
    let _ = path;
    let size = xattrs.size(node);
    if xattr::icount(size).is_none() {
        return Err(format!("its extended attributes take {size} bytes, and at most 262,148 fit"));
    }
    Ok(())
}
