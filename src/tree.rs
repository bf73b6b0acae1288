//! The root file system in memory: what every layer fills, what pruning takes from, what every image is
//! written from.
//!
//! A [`Tree`] maps a [`TreePath`] to a [`Node`]; file contents are handles ([`Content`]) that are read when
//! they are written, so memory grows with the number of files and not with their size. A writer takes only a
//! [`ValidTree`], of which every parent is a directory and every hardlink leads to a file.
//!
//! Invariant: this room knows no other room.

mod content;
mod dump;
mod hash;
mod node;
mod path;
mod spool;
mod xattr;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub use content::{Content, ContentReader};
pub use node::{LayerKind, Metadata, Node, NodeKind, Origin};
pub use path::{TreePath, TreePathError};
pub use spool::{Spool, SpoolRange, SpoolWriter};
pub use xattr::xattr_belongs_to_file;

/// A root file system under construction.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    nodes: BTreeMap<TreePath, Node>,
}

/// A defect that keeps a [`Tree`] from being written to an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// Something stands below a path that is no directory.
    #[error("{path} ({origin}) stands below {parent}, which is {parent_is} ({parent_origin})")]
    ParentIsNoDirectory {
        /// The node whose parent is wrong.
        path: TreePath,
        /// What brought the node.
        origin: Origin,
        /// The parent.
        parent: TreePath,
        /// What the parent is.
        parent_is: &'static str,
        /// What brought the parent.
        parent_origin: Origin,
    },
    /// A hardlink leads to nothing, or to something that is no regular file.
    #[error("the hardlink {path} ({origin}) leads to {target}, which is {target_is}")]
    DanglingHardlink {
        /// The hardlink.
        path: TreePath,
        /// What brought it.
        origin: Origin,
        /// Where it leads.
        target: TreePath,
        /// What is there.
        target_is: &'static str,
    },
}

impl Tree {
    /// An empty tree: not even a root directory, which [`Tree::validate`] adds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `node` at `path`, whatever was there; gives back what was there. Layers decide themselves whether
    /// they may replace something.
    pub fn insert(&mut self, path: TreePath, node: Node) -> Option<Node> {
        self.nodes.insert(path, node)
    }

    /// Puts `node` at `path`, and directories (mode 0755, root, the node's time and origin) above it where
    /// nothing stands yet.
    pub fn insert_with_parents(&mut self, path: TreePath, node: Node) -> Option<Node> {
        for parent in path.ancestors() {
            if parent.is_root() || self.nodes.contains_key(&parent) {
                continue;
            }
            let directory = Node::directory(
                Metadata { mtime: node.metadata.mtime, ..Metadata::DIRECTORY },
                node.origin.clone(),
            );
            self.nodes.insert(parent, directory);
        }
        self.nodes.insert(path, node)
    }

    /// The node at exactly `path`; symbolic links are not followed.
    pub fn get(&self, path: &TreePath) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Like [`Tree::get`], to change the node in place.
    pub fn get_mut(&mut self, path: &TreePath) -> Option<&mut Node> {
        self.nodes.get_mut(path)
    }

    /// Takes the node at `path` out; what stands below it stays, and makes [`Tree::validate`] fail or get a
    /// new parent.
    pub fn remove(&mut self, path: &TreePath) -> Option<Node> {
        self.nodes.remove(path)
    }

    /// All nodes in byte order of their paths: a parent always comes before what it holds.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&TreePath, &Node)> {
        self.nodes.iter()
    }

    /// All nodes strictly below `directory`, in byte order.
    pub fn below<'a>(&'a self, directory: &TreePath) -> impl Iterator<Item = (&'a TreePath, &'a Node)> {
        let directory = directory.clone();
        self.nodes
            .range(directory.clone()..)
            .skip_while({
                let directory = directory.clone();
                move |(path, _)| **path == directory
            })
            // "a-b" sorts between "a" and "a/b": what only shares the prefix is passed over, not an end.
            .take_while({
                let directory = directory.clone();
                move |(path, _)| path.as_bytes().starts_with(directory.as_bytes())
            })
            .filter(move |(path, _)| path.is_below(&directory))
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Follows symbolic links inside the tree, in every component, the last one too, as the kernel would with
    /// this tree as its root. `None` when something on the way is missing or the links run in a circle.
    pub fn resolve(&self, path: &TreePath) -> Option<TreePath> {
        self.follow(path, true)
    }

    /// Like [`Tree::resolve`], but only the directories on the way are followed, and what is missing is kept
    /// as it is named: where a file that is called `path` would come to stand.
    pub fn resolve_parent(&self, path: &TreePath) -> Option<TreePath> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Some(path.clone());
        };
        self.follow(&parent, false)?.join(name).ok()
    }

    fn follow(&self, path: &TreePath, must_exist: bool) -> Option<TreePath> {
        /// As many as Linux follows in one look-up (path_resolution(7)).
        const MOST_LINKS: usize = 40;
        let mut links = 0;
        let mut rest: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
        let mut here = TreePath::root();
        while let Some(component) = rest.pop() {
            match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    here = here.parent().unwrap_or_default();
                    continue;
                }
                _ => {}
            }
            let next = here.join(&component).ok()?;
            match self.nodes.get(&next).map(|node| &node.kind) {
                Some(NodeKind::Symlink(target)) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return None;
                    }
                    if target.first() == Some(&b'/') {
                        here = TreePath::root();
                    }
                    rest.extend(target.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec));
                }
                // A directory need not be named to hold something: `validate` adds those that aren't.
                Some(_) | None => here = next,
            }
        }
        (!must_exist || here.is_root() || self.nodes.contains_key(&here)).then_some(here)
    }

    /// The regular file that `path` leads to, through symbolic and hard links.
    pub fn file(&self, path: &TreePath) -> Option<(&Node, &Content)> {
        let mut node = self.nodes.get(&self.resolve(path)?)?;
        if let NodeKind::Hardlink(target) = &node.kind {
            node = self.nodes.get(target)?;
        }
        match &node.kind {
            NodeKind::File(content) => Some((node, content)),
            _ => None,
        }
    }

    /// Checks the tree and adds the directories that are missing (the root too).
    ///
    /// # Errors
    /// [`TreeError`] names the first defect in path order.
    pub fn validate(mut self) -> Result<ValidTree, TreeError> {
        let mut missing = BTreeMap::new();
        for (path, node) in &self.nodes {
            for parent in path.ancestors() {
                match self.nodes.get(&parent) {
                    Some(Node { kind: NodeKind::Directory, .. }) => {}
                    Some(other) => {
                        return Err(TreeError::ParentIsNoDirectory {
                            path: path.clone(),
                            origin: node.origin.clone(),
                            parent,
                            parent_is: other.kind.name(),
                            parent_origin: other.origin.clone(),
                        });
                    }
                    None => {
                        missing
                            .entry(parent)
                            .or_insert_with(|| Node::directory(Metadata::DIRECTORY, node.origin.clone()));
                    }
                }
            }
            if let NodeKind::Hardlink(target) = &node.kind {
                let target_is = match self.nodes.get(target).map(|target| &target.kind) {
                    Some(NodeKind::File(_)) => continue,
                    Some(kind) => kind.name(),
                    None => "not in the tree",
                };
                return Err(TreeError::DanglingHardlink {
                    path: path.clone(),
                    origin: node.origin.clone(),
                    target: target.clone(),
                    target_is,
                });
            }
        }
        missing
            .entry(TreePath::root())
            .or_insert_with(|| Node::directory(Metadata::DIRECTORY, Origin::skeleton()));
        for (path, node) in missing {
            self.nodes.entry(path).or_insert(node);
        }
        Ok(ValidTree { tree: self })
    }
}

/// A tree that an image can be written from: it has a root, every parent is a directory that is there, every
/// hardlink leads to a regular file (and never to another hardlink).
#[derive(Debug, Clone)]
pub struct ValidTree {
    tree: Tree,
}

impl ValidTree {
    /// All nodes in byte order of their paths, the root first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&TreePath, &Node)> {
        self.tree.iter()
    }

    /// The tree itself, to look things up in.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// How many bytes all regular files have, each counted once whatever its names.
    pub fn bytes(&self) -> u64 {
        let sizes = self.iter().map(|(_, node)| match &node.kind {
            NodeKind::File(content) => content.len(),
            _ => 0,
        });
        sizes.fold(0, u64::saturating_add)
    }

    /// The same tree; how many bytes of its files are read is added to `count`.
    pub fn watched(&self, count: &Arc<AtomicU64>) -> Self {
        let mut tree = self.tree.clone();
        for node in tree.nodes.values_mut() {
            if let NodeKind::File(content) = &mut node.kind {
                *content = content.watched(Arc::clone(count));
            }
        }
        Self { tree }
    }

    /// Gives the tree back, to change it.
    pub fn into_tree(self) -> Tree {
        self.tree
    }

    /// How many names each regular file has: for each target of a hardlink, all its names, its own first.
    pub fn hardlink_groups(&self) -> BTreeMap<&TreePath, Vec<&TreePath>> {
        let mut groups: BTreeMap<&TreePath, Vec<&TreePath>> = BTreeMap::new();
        for (path, node) in self.iter() {
            if let NodeKind::Hardlink(target) = &node.kind {
                groups.entry(target).or_insert_with(|| vec![target]).push(path);
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text.as_bytes()).expect("a good path")
    }

    fn file(bytes: &[u8]) -> Node {
        Node::file(Content::from_bytes(bytes.to_vec()), Metadata::FILE, Origin::skeleton())
    }

    #[test]
    fn a_valid_tree_has_all_its_parents() {
        let mut tree = Tree::new();
        tree.insert(path("usr/lib/x"), file(b"x"));
        let valid = tree.validate().expect("valid");
        let names: Vec<String> = valid.iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!(names, ["/", "/usr", "/usr/lib", "/usr/lib/x"]);
    }

    #[test]
    fn nothing_stands_below_a_file_or_a_link() {
        for kind in [NodeKind::Symlink(b"elsewhere".to_vec()), NodeKind::File(Content::from_bytes(vec![]))] {
            let mut tree = Tree::new();
            tree.insert(path("a"), Node { kind, ..file(b"") });
            tree.insert(path("a/b"), file(b"x"));
            assert!(matches!(tree.validate(), Err(TreeError::ParentIsNoDirectory { .. })));
        }
    }

    #[test]
    fn a_hardlink_needs_a_file() {
        let mut tree = Tree::new();
        tree.insert(path("a"), Node { kind: NodeKind::Hardlink(path("b")), ..file(b"") });
        assert!(matches!(tree.clone().validate(), Err(TreeError::DanglingHardlink { .. })));
        tree.insert(path("b"), Node { kind: NodeKind::Hardlink(path("a")), ..file(b"") });
        assert!(matches!(tree.clone().validate(), Err(TreeError::DanglingHardlink { .. })));
        tree.insert(path("b"), file(b"x"));
        let valid = tree.validate().expect("valid");
        assert_eq!(valid.hardlink_groups()[&path("b")], [&path("b"), &path("a")]);
    }

    #[test]
    fn links_are_followed_inside_the_tree_only() {
        let mut tree = Tree::new();
        let link = |target: &str| Node { kind: NodeKind::Symlink(target.into()), ..file(b"") };
        tree.insert_with_parents(path("usr/lib/libz.so.1.3"), file(b"z"));
        tree.insert(path("usr/lib/libz.so.1"), link("libz.so.1.3"));
        tree.insert(path("lib"), link("usr/lib"));
        tree.insert(path("up"), link("../../../lib/libz.so.1"));
        tree.insert(path("round"), link("round"));
        assert_eq!(tree.resolve(&path("lib/libz.so.1")), Some(path("usr/lib/libz.so.1.3")));
        assert_eq!(tree.resolve(&path("up")), Some(path("usr/lib/libz.so.1.3")));
        assert_eq!(tree.resolve(&path("round")), None);
        assert_eq!(tree.resolve(&path("lib/none")), None);
        assert_eq!(tree.resolve_parent(&path("lib/none")), Some(path("usr/lib/none")));
        tree.insert(path("boot/config"), file(b"c"));
        assert_eq!(
            tree.resolve(&path("boot/config")),
            Some(path("boot/config")),
            "its directory isn't named"
        );
        assert!(tree.file(&path("boot/config")).is_some());
    }

    #[test]
    fn below_passes_over_names_that_only_share_a_prefix() {
        let mut tree = Tree::new();
        for name in ["a", "a-b", "a/b", "a/b/c", "ab"] {
            tree.insert(path(name), Node::directory(Metadata::DIRECTORY, Origin::skeleton()));
        }
        let names: Vec<String> = tree.below(&path("a")).map(|(path, _)| path.to_string()).collect();
        assert_eq!(names, ["/a/b", "/a/b/c"]);
        assert_eq!(tree.below(&TreePath::root()).count(), 5);
    }
}
