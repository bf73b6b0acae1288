//! A directory of this machine as a tree, to compare what a tool unpacked.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use leanfs::tree::{Content, Metadata, Node, NodeKind, Origin, Tree, TreePath};
use rustix::fs::{lgetxattr, llistxattr, major, minor};

/// Every node below a directory, and the directory itself, with all that Linux knows of them.
pub(crate) fn tree_of(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut names = BTreeMap::new();
    add(root, TreePath::root(), &mut tree, &mut names);
    tree
}

fn add(path: &Path, at: TreePath, tree: &mut Tree, names: &mut BTreeMap<(u64, u64), TreePath>) {
    let there = fs_err::symlink_metadata(path).expect("it is there");
    let kind = there.file_type();
    let metadata =
        Metadata { mode: there.mode() & 0o7777, uid: there.uid(), gid: there.gid(), mtime: there.mtime() };
    let device = (major(there.rdev()), minor(there.rdev()));
    let kind = if kind.is_dir() {
        let mut entries: Vec<_> =
            fs_err::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry")).collect();
        entries.sort_by_key(fs_err::DirEntry::file_name);
        for entry in entries {
            let at = at.join(entry.file_name().as_bytes()).expect("a name");
            add(&entry.path(), at, tree, names);
        }
        NodeKind::Directory
    } else if kind.is_symlink() {
        NodeKind::Symlink(fs_err::read_link(path).expect("a link").into_os_string().as_bytes().to_vec())
    } else if kind.is_fifo() {
        NodeKind::Fifo
    } else if kind.is_char_device() {
        NodeKind::CharDevice { major: device.0, minor: device.1 }
    } else if kind.is_block_device() {
        NodeKind::BlockDevice { major: device.0, minor: device.1 }
    } else {
        match names.get(&(there.dev(), there.ino())) {
            Some(first) => NodeKind::Hardlink(first.clone()),
            None => {
                names.insert((there.dev(), there.ino()), at.clone());
                NodeKind::File(Content::from_path(path, there.len()))
            }
        }
    };
    let mut node = Node::new(kind, metadata, Origin::skeleton());
    node.xattrs = xattrs(path);
    tree.insert(at, node);
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0; 64 * 1024];
    let length = llistxattr(path, &mut list[..]).expect("a list");
    list.truncate(length);
    let names = list.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 64 * 1024];
            let length = lgetxattr(path, name, &mut value[..]).expect("a value");
            value.truncate(length);
            (name.to_vec(), value)
        })
        .collect()
}
