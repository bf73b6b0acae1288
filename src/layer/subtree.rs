//! A part of a tree as a tree of its own: archives put everything into one directory, or into none, and some
//! (`systools:make_tar`) don't name their directories.

use crate::tree::{NodeKind, Tree, TreePath};

/// What stands below `prefix`, with paths that start there; hardlinks keep leading to the same files. A hardlink
/// to what stands elsewhere is left out, and directories that were not named are added.
pub(crate) fn subtree(tree: &Tree, prefix: &TreePath) -> Tree {
    let mut part = Tree::new();
    for (path, node) in tree.below(prefix) {
        let Some(Ok(below)) = path.strip_prefix(prefix).map(TreePath::parse) else { continue };
        let mut node = node.clone();
        if let NodeKind::Hardlink(target) = &node.kind {
            match target.strip_prefix(prefix).map(TreePath::parse) {
                Some(Ok(target)) => node.kind = NodeKind::Hardlink(target),
                _ => continue,
            }
        }
        part.insert_with_parents(below, node);
    }
    part
}

/// Which part of a release or of an installation of OTP a path belongs to: the application (`kernel-10.2`), the
/// emulator (`erts-15.2`), or none.
pub(crate) fn part_of(path: &TreePath) -> Option<String> {
    let mut components = path.components();
    let part = match components.next()? {
        b"lib" => components.next()?,
        first if first.starts_with(b"erts-") => first,
        _ => return None,
    };
    Some(String::from_utf8_lossy(part).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Metadata, Node, Origin};

    #[test]
    fn hardlinks_go_along() {
        let path = |text: &str| TreePath::parse(text.as_bytes()).expect("good");
        let mut tree = Tree::new();
        tree.insert(
            path("x/a"),
            Node::file(Content::from_bytes(vec![1]), Metadata::FILE, Origin::skeleton()),
        );
        tree.insert(
            path("x/b"),
            Node::new(NodeKind::Hardlink(path("x/a")), Metadata::FILE, Origin::skeleton()),
        );
        tree.insert(path("xy"), Node::directory(Metadata::DIRECTORY, Origin::skeleton()));
        let part = subtree(&tree, &path("x"));
        assert_eq!(part.len(), 2);
        assert!(part.file(&path("b")).is_some());
    }
}
