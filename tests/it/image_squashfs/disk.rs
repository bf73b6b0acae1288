//! A directory of the host as a tree, with all that Linux knows of its files.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use leanfs::tree::{Content, Metadata, Node, NodeKind, Origin, Tree, TreePath, ValidTree};

/// All that stands in `directory`, and the directory itself as the root.
pub(super) fn read(directory: &Path) -> ValidTree {
    let mut tree = Tree::new();
    let mut seen = HashMap::new();
    let mut waiting: Vec<(PathBuf, TreePath)> = vec![(directory.to_owned(), TreePath::root())];
    while let Some((file, path)) = waiting.pop() {
        let node = node(&file, &path, &mut seen);
        if matches!(node.kind, NodeKind::Directory) {
            for entry in fs_err::read_dir(&file).expect("readable") {
                let entry = entry.expect("readable");
                waiting.push((entry.path(), path.join(entry.file_name().as_bytes()).expect("short enough")));
            }
        }
        tree.insert(path, node);
    }
    tree.validate().expect("what stands on a disk is a tree")
}

fn node(file: &Path, path: &TreePath, seen: &mut HashMap<u64, TreePath>) -> Node {
    let metadata = fs_err::symlink_metadata(file).expect("there");
    let file_type = metadata.file_type();
    let device = |device: u64| (rustix::fs::major(device), rustix::fs::minor(device));
    let kind = if file_type.is_dir() {
        NodeKind::Directory
    } else if file_type.is_symlink() {
        NodeKind::Symlink(fs_err::read_link(file).expect("a link").into_os_string().as_bytes().to_vec())
    } else if file_type.is_file() {
        match seen.get(&metadata.ino()) {
            Some(first) => NodeKind::Hardlink(first.clone()),
            None => {
                seen.insert(metadata.ino(), path.clone());
                NodeKind::File(Content::from_path(file, metadata.len()))
            }
        }
    } else if file_type.is_char_device() {
        let (major, minor) = device(metadata.rdev());
        NodeKind::CharDevice { major, minor }
    } else if file_type.is_block_device() {
        let (major, minor) = device(metadata.rdev());
        NodeKind::BlockDevice { major, minor }
    } else if file_type.is_fifo() {
        NodeKind::Fifo
    } else {
        panic!("{} is of no kind that a tree has", file.display());
    };
    let mut node = Node::new(
        kind,
        Metadata {
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: metadata.mtime(),
        },
        Origin::skeleton(),
    );
    if !matches!(node.kind, NodeKind::Hardlink(_)) {
        node.xattrs = xattrs(file);
    }
    node
}

fn xattrs(file: &Path) -> std::collections::BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(file, &mut names[..]).unwrap_or(0);
    names[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let length = rustix::fs::lgetxattr(file, std::ffi::OsStr::from_bytes(name), &mut value[..])
                .expect("it is listed");
            value.truncate(length);
            (name.to_vec(), value)
        })
        .collect()
}
