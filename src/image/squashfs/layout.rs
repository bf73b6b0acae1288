//! The tree as the image has it: which node is in which directory, which names are one inode, in which order
//! everything is written, and how inodes are numbered.
//!
//! What a directory holds is written and numbered in one piece, before the directory itself, so that its listing needs
//! few headers. Directories come in the reverse order of their paths: none comes before what is below it.

use std::collections::HashMap;

use crate::tree::{Content, Node, NodeKind, TreePath, ValidTree};

/// A node's place in path order; the root's is 0.
pub(super) type Place = usize;

pub(super) struct Layout<'a> {
    nodes: Vec<(&'a TreePath, &'a Node)>,
    /// By a node's place: the directory that holds it.
    parents: Vec<u32>,
    /// What directories hold, by the directory and in the order of names.
    children: Vec<u32>,
    /// By a directory's place: where what it holds begins among `children`.
    first_child: Vec<u32>,
    /// By a node's place: the file that a hardlink names, for all else the node itself.
    homes: Vec<u32>,
    /// How many names a file has that has several.
    links: HashMap<Place, u32>,
    /// By a node's place: the number of its inode, from 1 on.
    numbers: Vec<u32>,
    inodes: u32,
}

impl<'a> Layout<'a> {
    pub(super) fn new(tree: &'a ValidTree) -> Self {
        let nodes: Vec<(&TreePath, &Node)> = tree.iter().collect();
        let place_of = |path: &[u8]| {
            nodes
                .binary_search_by(|(other, _)| other.as_bytes().cmp(path))
                .expect("a valid tree has every parent and the file of every hardlink")
        };
        let mut parents = vec![0; nodes.len()];
        let mut first_child = vec![0; nodes.len() + 1];
        let mut parent = 0;
        for (place, (path, _)) in nodes.iter().enumerate().skip(1) {
            let path = path.as_bytes();
            let directory = &path[..path.iter().rposition(|&byte| byte == b'/').unwrap_or(0)];
            if nodes[parent].0.as_bytes() != directory {
                parent = place_of(directory);
            }
            parents[place] = parent as u32;
            first_child[parent + 1] += 1;
        }
        for place in 1..first_child.len() {
            first_child[place] += first_child[place - 1];
        }
        let mut next = first_child.clone();
        let mut children = vec![0; nodes.len() - 1];
        for (place, &parent) in parents.iter().enumerate().skip(1) {
            let slot = &mut next[parent as usize];
            children[*slot as usize] = place as u32;
            *slot += 1;
        }
        let homes = nodes
            .iter()
            .enumerate()
            .map(|(place, (_, node))| match &node.kind {
                NodeKind::Hardlink(target) => place_of(target.as_bytes()) as u32,
                _ => place as u32,
            })
            .collect();
        let links = tree
            .hardlink_groups()
            .into_iter()
            .map(|(path, names)| (place_of(path.as_bytes()), names.len() as u32))
            .collect();
        let numbers = vec![0; nodes.len()];
        let mut layout = Self { nodes, parents, children, first_child, homes, links, numbers, inodes: 0 };
        layout.number();
        layout
    }

    fn number(&mut self) {
        for directory in (0..self.nodes.len()).rev() {
            for slot in self.child_slots(directory) {
                self.number_next(self.homes[self.children[slot] as usize] as usize);
            }
        }
        self.number_next(0);
    }

    fn number_next(&mut self, place: Place) {
        if self.numbers[place] == 0 {
            self.inodes += 1;
            self.numbers[place] = self.inodes;
        }
    }

    fn child_slots(&self, directory: Place) -> std::ops::Range<usize> {
        self.first_child[directory] as usize..self.first_child[directory + 1] as usize
    }

    /// How many inodes there are.
    pub(super) fn inodes(&self) -> u32 {
        self.inodes
    }

    /// How many names and the root there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn node(&self, place: Place) -> (&'a TreePath, &'a Node) {
        self.nodes[place]
    }

    /// All directories, none before one that is below it.
    pub(super) fn directories(&self) -> impl Iterator<Item = Place> {
        (0..self.nodes.len()).rev().filter(|&place| matches!(self.nodes[place].1.kind, NodeKind::Directory))
    }

    /// What a directory holds, in the order of names.
    pub(super) fn children(&self, directory: Place) -> impl Iterator<Item = Place> {
        self.children[self.child_slots(directory)].iter().map(|&place| place as usize)
    }

    /// The node that has the inode.
    pub(super) fn home(&self, place: Place) -> Place {
        self.homes[place] as usize
    }

    /// The number of a node's inode; of a hardlink its file's.
    pub(super) fn number_of(&self, place: Place) -> u32 {
        self.numbers[self.home(place)]
    }

    /// The number of the inode of the directory that holds a node. The root's is one that no inode has, as mksquashfs
    /// writes it.
    pub(super) fn number_of_parent(&self, place: Place) -> u32 {
        if place == 0 { self.inodes + 1 } else { self.numbers[self.parents[place] as usize] }
    }

    /// What an inode's link count says: of a directory the directories in it, its own name and its `.`.
    pub(super) fn links(&self, place: Place) -> u32 {
        match self.nodes[place].1.kind {
            NodeKind::Directory => {
                let is_directory = |place: &Place| matches!(self.nodes[*place].1.kind, NodeKind::Directory);
                2 + self.children(place).filter(is_directory).count() as u32
            }
            _ => self.links.get(&place).copied().unwrap_or(1),
        }
    }

    /// Every file that is not empty once, in the order in which data is written: those that `first` leads to, then the
    /// others in the order of their first names.
    pub(super) fn files(
        &self,
        tree: &ValidTree,
        first: &[TreePath],
    ) -> Vec<(Place, &'a TreePath, &'a Content)> {
        let first = first.iter().filter_map(|path| {
            let path = tree.tree().resolve(path)?;
            self.nodes.binary_search_by(|(other, _)| (*other).cmp(&path)).ok()
        });
        let mut taken = vec![false; self.nodes.len()];
        let mut files = Vec::new();
        for place in first.chain(0..self.nodes.len()) {
            let home = self.home(place);
            let (path, node) = self.nodes[home];
            if let NodeKind::File(content) = &node.kind
                && !content.is_empty()
                && !std::mem::replace(&mut taken[home], true)
            {
                files.push((home, path, content));
            }
        }
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Metadata, Origin, Tree};

    fn path(text: &str) -> TreePath {
        text.parse().expect("good")
    }

    fn sample() -> ValidTree {
        let mut tree = Tree::new();
        let mut put = |name: &str, kind| {
            tree.insert_with_parents(path(name), Node::new(kind, Metadata::FILE, Origin::skeleton()));
        };
        let file = || NodeKind::File(Content::from_bytes(*b"x"));
        put("a/b/x", file());
        put("a-b/x", file());
        put("a/c", NodeKind::Hardlink(path("a-b/x")));
        put("a/empty", NodeKind::File(Content::from_bytes(*b"")));
        put("link", NodeKind::Symlink(b"a/b".to_vec()));
        put("z", NodeKind::Hardlink(path("a-b/x")));
        tree.validate().expect("valid")
    }

    fn name(layout: &Layout<'_>, place: Place) -> String {
        layout.node(place).0.to_string()
    }

    #[test]
    fn directories_hold_what_is_directly_below_them() {
        let tree = sample();
        let layout = Layout::new(&tree);
        let all: Vec<(String, Vec<String>)> = layout
            .directories()
            .map(|directory| {
                let children = layout.children(directory).map(|child| name(&layout, child)).collect();
                (name(&layout, directory), children)
            })
            .collect();
        let expected: [(&str, &[&str]); 4] = [
            ("/a/b", &["/a/b/x"]),
            ("/a-b", &["/a-b/x"]),
            ("/a", &["/a/b", "/a/c", "/a/empty"]),
            ("/", &["/a", "/a-b", "/link", "/z"]),
        ];
        let expected = expected.map(|(directory, children)| {
            (directory.to_owned(), children.iter().map(|&child| child.to_owned()).collect())
        });
        assert_eq!(all, expected);
    }

    #[test]
    fn inodes_are_numbered_directory_by_directory() {
        let tree = sample();
        let layout = Layout::new(&tree);
        // Nine names and the root, two of them links to a file.
        assert_eq!((layout.len(), layout.inodes()), (10, 8));
        let numbers: Vec<(String, u32, u32, u32)> = (0..layout.len())
            .map(|place| {
                let parent = layout.number_of_parent(place);
                (name(&layout, place), layout.number_of(place), parent, layout.links(layout.home(place)))
            })
            .collect();
        let expected = [
            ("/", 8, 9, 4),
            ("/a", 5, 8, 3),
            ("/a-b", 6, 8, 2),
            ("/a-b/x", 2, 6, 3),
            ("/a/b", 3, 5, 2),
            ("/a/b/x", 1, 3, 1),
            ("/a/c", 2, 5, 3),
            ("/a/empty", 4, 5, 1),
            ("/link", 7, 8, 1),
            ("/z", 2, 8, 3),
        ]
        .map(|(name, number, parent, links)| (name.to_owned(), number, parent, links));
        assert_eq!(numbers, expected);
    }

    #[test]
    fn files_come_once_and_in_the_order_that_is_wanted() {
        let tree = sample();
        let layout = Layout::new(&tree);
        let files = |first: &[&str]| -> Vec<String> {
            let first: Vec<TreePath> = first.iter().map(|name| path(name)).collect();
            layout.files(&tree, &first).iter().map(|(_, path, _)| path.to_string()).collect()
        };
        assert_eq!(files(&[]), ["/a-b/x", "/a/b/x"]);
        assert_eq!(files(&["link/x", "z"]), ["/a/b/x", "/a-b/x"]);
        assert_eq!(files(&["nothing", "a", "a/empty", "a/c"]), ["/a-b/x", "/a/b/x"]);
    }
}
