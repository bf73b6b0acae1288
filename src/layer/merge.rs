//! How layers come together in one tree: who may claim a path.

use crate::tree::{Content, Node, NodeKind, Origin, Tree, TreePath};

/// Two layers that can't both be in one tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// Both bring a different node to the same path.
    #[error("{path} is brought by {first} ({first_is}) and by {second} ({second_is})")]
    Conflict {
        /// The path.
        path: TreePath,
        /// What brought it first.
        first: Origin,
        /// And what that is.
        first_is: &'static str,
        /// What brings it, too.
        second: Origin,
        /// And what that is.
        second_is: &'static str,
    },
    /// Two packages have one file, and neither says that it replaces the other's.
    #[error("{path} belongs to {first} and to {second}, and neither replaces the other's")]
    Packages {
        /// The path.
        path: TreePath,
        /// The package that was laid first.
        first: Origin,
        /// The other.
        second: Origin,
    },
    /// A path leads through links that run in a circle.
    #[error("{path}, which {origin} brings, leads through symbolic links that run in a circle")]
    LinkCircle {
        /// The path.
        path: TreePath,
        /// What brings it.
        origin: Origin,
    },
}

impl MergeError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Conflict { path, .. } => Some(format!(
                "leave one of the two out, or put the {} that you want into the overlay directory",
                path
            )),
            Self::Packages { first, second, .. } => Some(format!(
                "apk couldn't install both: leave {} or {} out, or ask whoever built them for a `replaces`",
                first.part, second.part
            )),
            Self::LinkCircle { .. } => None,
        }
    }
}

/// Who wins when a path is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precedence {
    /// Neither: it is an error, unless both are the same.
    Equal,
    /// What was there: the new node is dropped.
    First,
    /// The new node.
    Second,
}

/// Puts `node` at `path`. The directories on the way may be symbolic links that other layers brought (`/lib`
/// → `usr/lib`): they are followed inside the tree, as they would be on disk. Directories merge: the first
/// one's metadata stays. Says whether the node was put.
///
/// # Errors
/// [`MergeError`] as `precedence` says.
pub fn claim(
    tree: &mut Tree,
    path: &TreePath,
    node: Node,
    precedence: impl FnOnce(&Node) -> Precedence,
) -> Result<bool, MergeError> {
    let circle = || MergeError::LinkCircle { path: path.clone(), origin: node.origin.clone() };
    let place = tree.resolve_parent(path).ok_or_else(circle)?;
    if let Some(there) = tree.get(&place) {
        if is_directory(tree, &place, there) && matches!(node.kind, NodeKind::Directory) || same(there, &node)
        {
            return Ok(false);
        }
        match precedence(there) {
            Precedence::First => return Ok(false),
            Precedence::Second => {}
            Precedence::Equal => {
                return Err(MergeError::Conflict {
                    path: place,
                    first: there.origin.clone(),
                    first_is: there.kind.name(),
                    second: node.origin,
                    second_is: node.kind.name(),
                });
            }
        }
    }
    tree.insert_with_parents(place, node);
    Ok(true)
}

/// Lays `below` over `tree` at `prefix`, node by node, with equal rights.
///
/// # Errors
/// The first [`MergeError`] in path order.
pub fn lay(tree: &mut Tree, prefix: &TreePath, below: &Tree) -> Result<(), MergeError> {
    lay_with(tree, prefix, below, |_, _| Precedence::Equal)
}

/// As [`lay`], with `precedence` between what is there and what comes.
///
/// # Errors
/// As [`lay`].
pub fn lay_with(
    tree: &mut Tree,
    prefix: &TreePath,
    below: &Tree,
    precedence: impl Fn(&Node, &Node) -> Precedence,
) -> Result<(), MergeError> {
    for (path, node) in below.iter() {
        let full = prefix.join(path.as_bytes()).unwrap_or_else(|_| path.clone());
        let mut node = node.clone();
        if let NodeKind::Hardlink(target) = &node.kind {
            let target = prefix.join(target.as_bytes()).unwrap_or_else(|_| target.clone());
            node.kind = NodeKind::Hardlink(tree.resolve_parent(&target).unwrap_or(target));
        }
        let comes = node.clone();
        claim(tree, &full, node, |there| precedence(there, &comes))?;
    }
    Ok(())
}

/// A directory, or a link that leads to one.
fn is_directory(tree: &Tree, path: &TreePath, node: &Node) -> bool {
    match node.kind {
        NodeKind::Directory => true,
        NodeKind::Symlink(_) => tree
            .resolve(path)
            .and_then(|target| tree.get(&target))
            .is_some_and(|target| matches!(target.kind, NodeKind::Directory)),
        _ => false,
    }
}

/// Whether two nodes would be the same in an image; the time may differ.
fn same(first: &Node, second: &Node) -> bool {
    let metadata = |node: &Node| (node.metadata.mode, node.metadata.uid, node.metadata.gid);
    match (&first.kind, &second.kind) {
        (NodeKind::Symlink(first), NodeKind::Symlink(second)) => first == second,
        (NodeKind::File(a), NodeKind::File(b)) => metadata(first) == metadata(second) && same_content(a, b),
        _ => false,
    }
}

fn same_content(first: &Content, second: &Content) -> bool {
    /// Larger files that two layers bring are never the same file by accident.
    const MOST: u64 = 64 << 20;
    first.len() == second.len()
        && match (first.read(MOST), second.read(MOST)) {
            (Ok(first), Ok(second)) => first == second,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{LayerKind, Metadata};

    fn path(text: &str) -> TreePath {
        text.parse().expect("good")
    }

    fn file(part: &str, bytes: &[u8]) -> Node {
        Node::file(Content::from_bytes(bytes.to_vec()), Metadata::FILE, Origin::new(LayerKind::Package, part))
    }

    #[test]
    fn a_conflict_names_both() {
        let mut tree = Tree::new();
        let equal = |_: &Node| Precedence::Equal;
        assert_eq!(claim(&mut tree, &path("a/b"), file("one", b"1"), equal), Ok(true));
        assert_eq!(claim(&mut tree, &path("a/b"), file("two", b"1"), equal), Ok(false), "the same bytes");
        let error = claim(&mut tree, &path("a/b"), file("two", b"2"), equal).expect_err("a conflict");
        assert_eq!(
            error.to_string(),
            "/a/b is brought by package one (a regular file) and by package two (a regular file)"
        );
        assert_eq!(claim(&mut tree, &path("a/b"), file("two", b"2"), |_| Precedence::First), Ok(false));
        assert_eq!(claim(&mut tree, &path("a/b"), file("two", b"2"), |_| Precedence::Second), Ok(true));
        assert_eq!(&*tree.get(&path("a/b")).expect("there").origin.part, "two");
    }

    #[test]
    fn linked_directories_are_followed_inside_the_tree() {
        let mut tree = Tree::new();
        let origin = Origin::skeleton();
        tree.insert_with_parents(path("usr/lib"), Node::directory(Metadata::DIRECTORY, origin.clone()));
        tree.insert(path("lib"), Node::symlink("/../usr/lib", origin.clone()));
        let mut package = Tree::new();
        package.insert(path("lib"), Node::directory(Metadata::DIRECTORY, origin.clone()));
        package.insert(path("lib/x"), file("one", b"x"));
        package.insert(path("lib/y"), Node::new(NodeKind::Hardlink(path("lib/x")), Metadata::FILE, origin));
        lay(&mut tree, &TreePath::root(), &package).expect("merged");
        assert!(tree.get(&path("usr/lib/x")).is_some());
        assert!(tree.validate().is_ok());
    }
}
