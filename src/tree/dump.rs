//! The canonical text form of a tree: one line a node, for tests and for comparing images.

use std::fmt::{self, Write};

use ring::digest;

use super::{Node, NodeKind, Tree, TreePath, ValidTree};

impl ValidTree {
    /// One line a node in path order: type and mode in octal, `uid:gid`, mtime, then what the node is (size
    /// and SHA-256 of a file, target of a link, numbers of a device), then the path. Two trees are equal
    /// exactly when their dumps are.
    ///
    /// ```text
    /// d0755 0:0 0 - /usr
    /// f0644 0:0 1774422169 5:5feceb66… /usr/x
    /// ```
    ///
    /// # Errors
    /// When a file's content can't be read.
    pub fn dump(&self) -> std::io::Result<String> {
        let mut text = String::new();
        for (path, node) in self.iter() {
            line(&mut text, self.tree(), path, node)?;
        }
        Ok(text)
    }
}

fn line(text: &mut String, tree: &Tree, path: &TreePath, node: &Node) -> std::io::Result<()> {
    let metadata = match &node.kind {
        NodeKind::Hardlink(target) => tree.get(target).map_or(node.metadata, |target| target.metadata),
        _ => node.metadata,
    };
    let (letter, what) = match &node.kind {
        NodeKind::Directory => ('d', "-".to_owned()),
        NodeKind::File(content) => {
            let mut context = digest::Context::new(&digest::SHA256);
            let mut reader = content.reader()?;
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match std::io::Read::read(&mut reader, &mut buffer)? {
                    0 => break,
                    count => context.update(&buffer[..count]),
                }
            }
            ('f', format!("{}:{}", content.len(), hex::encode(context.finish())))
        }
        NodeKind::Symlink(target) => ('l', format!("{:?}", String::from_utf8_lossy(target))),
        NodeKind::Hardlink(target) => ('h', target.to_string()),
        NodeKind::CharDevice { major, minor } => ('c', format!("{major}:{minor}")),
        NodeKind::BlockDevice { major, minor } => ('b', format!("{major}:{minor}")),
        NodeKind::Fifo => ('p', "-".to_owned()),
    };
    (|| -> fmt::Result {
        write!(
            text,
            "{letter}{:04o} {}:{} {} {what} {path}",
            metadata.mode, metadata.uid, metadata.gid, metadata.mtime
        )?;
        for (name, value) in &node.xattrs {
            write!(text, " {}={}", String::from_utf8_lossy(name), hex::encode(value))?;
        }
        writeln!(text)
    })()
    .expect("writing to a String can't fail");
    Ok(())
}
