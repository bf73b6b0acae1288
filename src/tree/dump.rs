//! The canonical text form of a tree: one line a node, for tests and for comparing images.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Content, NodeKind, TreePath, ValidTree};

impl ValidTree {
    /// One line a node in path order: type and mode in octal, `uid:gid`, mtime, then what the node is (size
    /// and SHA-256 of a file, target of a symbolic link, numbers of a device), then the path, then extended
    /// attributes as `NAME=HEX`. Of a file with several names the first in path order is the file (`f`), the others
    /// are its hardlinks (`h`), with the file's metadata and its path. Bytes that are not printable ASCII, spaces,
    /// quotes and backslashes are `\\xNN` in names and targets. Two trees are equal exactly when their dumps are.
    ///
    /// ```text
    /// d0755 0:0 0 - /usr
    /// f0644 0:0 1774422169 5:5feceb66… /usr/x
    /// h0644 0:0 1774422169 /usr/x /usr/y
    /// ```
    ///
    /// # Errors
    /// When a file's content can't be read.
    pub fn dump(&self) -> std::io::Result<String> {
        self.listing(|content| Ok(format!("{}:{}", content.len(), hex::encode(content.sha256()?))))
    }

    /// Like [`ValidTree::dump`] without the hashes of files: no content is read.
    pub fn outline(&self) -> String {
        self.listing(|content| Ok(content.len().to_string())).unwrap_or_default()
    }

    fn listing(&self, file: impl Fn(&Content) -> std::io::Result<String>) -> std::io::Result<String> {
        // A file's first name, by the name that the tree keeps it under.
        let mut first: BTreeMap<&TreePath, &TreePath> = BTreeMap::new();
        for (path, node) in self.iter() {
            if let NodeKind::Hardlink(target) = &node.kind {
                let name = first.entry(target).or_insert(target);
                *name = path.min(name);
            }
        }
        let mut text = String::new();
        for (path, node) in self.iter() {
            let (home, node) = match &node.kind {
                NodeKind::Hardlink(target) => (target, self.tree().get(target).unwrap_or(node)),
                _ => (path, node),
            };
            let (letter, what) = match &node.kind {
                _ if first.get(home).is_some_and(|first| *first != path) => ('h', absolute(first[home])),
                NodeKind::Directory => ('d', "-".to_owned()),
                NodeKind::File(content) => ('f', file(content)?),
                NodeKind::Symlink(target) => ('l', escaped(target)),
                NodeKind::Hardlink(target) => ('h', absolute(target)),
                NodeKind::CharDevice { major, minor } => ('c', format!("{major}:{minor}")),
                NodeKind::BlockDevice { major, minor } => ('b', format!("{major}:{minor}")),
                NodeKind::Fifo => ('p', "-".to_owned()),
            };
            let metadata = node.metadata;
            let _ = write!(
                text,
                "{letter}{:04o} {}:{} {} {what} {}",
                metadata.mode,
                metadata.uid,
                metadata.gid,
                metadata.mtime,
                absolute(path)
            );
            for (name, value) in &node.xattrs {
                let _ = write!(text, " {}={}", escaped(name), hex::encode(value));
            }
            text.push('\n');
        }
        Ok(text)
    }
}

fn absolute(path: &TreePath) -> String {
    format!("/{}", escaped(path.as_bytes()))
}

/// So that no two byte strings look alike, and none holds a space.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'"' | b'\'' | b'\\' => {
                let _ = write!(text, "\\x{byte:02x}");
            }
            _ if byte.is_ascii_graphic() => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::tree::{Content, Metadata, Node, NodeKind, Origin, Tree, TreePath};

    fn path(bytes: &[u8]) -> TreePath {
        TreePath::parse(bytes).expect("a path")
    }

    #[test]
    fn hardlinks_are_told_the_same_whichever_name_the_tree_keeps() {
        let file = || {
            let mut node = Node::file(Content::from_bytes(*b"x"), Metadata::PROGRAM, Origin::skeleton());
            node.xattrs.insert(b"user.a b".to_vec(), vec![0, 255]);
            node
        };
        let link = |to: &[u8]| Node::new(NodeKind::Hardlink(path(to)), Metadata::FILE, Origin::skeleton());
        let dump = |keeper: &[u8], other: &[u8]| {
            let mut tree = Tree::new();
            tree.insert(path(keeper), file());
            tree.insert(path(other), link(keeper));
            tree.validate().expect("valid").dump().expect("readable")
        };
        let text = dump(b"b", b"a \xff\\");
        assert_eq!(text, dump(b"a \xff\\", b"b"));
        let hash = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
        assert_eq!(
            text,
            format!(
                "d0755 0:0 0 - /\nf0755 0:0 0 1:{hash} /a\\x20\\xff\\x5c user.a\\x20b=00ff\n\
                 h0755 0:0 0 /a\\x20\\xff\\x5c /b user.a\\x20b=00ff\n"
            )
        );
    }
}
