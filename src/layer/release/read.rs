//! Reads a directory or a tarball as a tree whose nodes don't depend on who made it.

use std::path::Path;

use super::{Lookalike, ReleaseError};
use crate::archive;
use crate::layer::subtree::{part_of, subtree};
use crate::tree::{Content, LayerKind, Metadata, Node, NodeKind, Origin, SpoolWriter, Tree, TreePath};

/// The owner's executable bit.
const EXECUTABLE: u32 = 0o100;

fn origin() -> Origin {
    Origin::new(LayerKind::Release, "")
}

/// Mode by the executable bit, root, and the given time.
fn metadata(mode: u32, mtime: i64) -> Metadata {
    let base = if mode & EXECUTABLE == 0 { Metadata::FILE } else { Metadata::PROGRAM };
    Metadata { mtime, ..base }
}

/// Everything below `directory`; contents are handles to the host's files.
pub(super) fn directory(directory: &Path, mtime: i64, notes: &mut Vec<String>) -> Result<Tree, ReleaseError> {
    let io_error = |source| ReleaseError::Io { path: directory.to_owned(), source };
    let mut tree = Tree::new();
    let mut open = vec![(directory.to_owned(), TreePath::root())];
    while let Some((host, path)) = open.pop() {
        for entry in fs_err::read_dir(&host).map_err(io_error)? {
            let entry = entry.map_err(io_error)?;
            let path = path
                .join(entry.file_name().as_encoded_bytes())
                .map_err(|error| io_error(std::io::Error::other(error)))?;
            if path.as_bytes() == b"tmp" {
                notes.push("the release's directory tmp/, written when it ran, is left out".to_owned());
                continue;
            }
            let host = entry.path();
            let there = fs_err::symlink_metadata(&host).map_err(io_error)?;
            let node = if there.is_dir() {
                open.push((host, path.clone()));
                Node::directory(Metadata { mtime, ..Metadata::DIRECTORY }, origin())
            } else if there.is_symlink() {
                let target = fs_err::read_link(&host).map_err(io_error)?;
                let mut node = Node::symlink(target.into_os_string().into_encoded_bytes(), origin());
                node.metadata.mtime = mtime;
                node
            } else if there.is_file() {
                let mode = std::os::unix::fs::PermissionsExt::mode(&there.permissions());
                Node::file(Content::from_path(host, there.len()), metadata(mode, mtime), origin())
            } else {
                return Err(ReleaseError::Unsupported {
                    path: directory.to_owned(),
                    inside: path,
                    what: "a device, a socket or a named pipe",
                });
            };
            tree.insert(path, node);
        }
    }
    Ok(tree)
}

/// Everything in a tarball, without the one directory that it may all stand in.
pub(super) fn tarball(path: &Path, spool_dir: &Path, mtime: i64) -> Result<Tree, ReleaseError> {
    let io_error = |source| ReleaseError::Io { path: path.to_owned(), source };
    let reader = archive::open(path).map_err(io_error)?;
    let spool = SpoolWriter::new_in(spool_dir).map_err(io_error)?;
    let tree = archive::read_whole_tar(reader, spool, &origin())
        .map_err(|source| ReleaseError::Archive { path: path.to_owned(), source })?;
    if tree.is_empty() {
        return Err(ReleaseError::NotARelease {
            path: path.to_owned(),
            reason: "it is no directory and no tarball that holds anything".to_owned(),
            is: Lookalike::Archive,
        });
    }
    let mut release = subtree(&tree, &prefix(&tree));
    for inside in release.iter().map(|(inside, _)| inside.clone()).collect::<Vec<_>>() {
        let Some(node) = release.get_mut(&inside) else { continue };
        node.metadata = match &node.kind {
            NodeKind::Directory => Metadata { mtime, ..Metadata::DIRECTORY },
            NodeKind::File(_) | NodeKind::Hardlink(_) => metadata(node.metadata.mode, mtime),
            NodeKind::Symlink(_) => Metadata { mode: 0o777, mtime, ..Metadata::FILE },
            NodeKind::CharDevice { .. } | NodeKind::BlockDevice { .. } | NodeKind::Fifo => {
                return Err(ReleaseError::Unsupported {
                    path: path.to_owned(),
                    inside,
                    what: "a device or a named pipe",
                });
            }
        };
    }
    Ok(release)
}

/// The one directory that `releases/` stands in, if it doesn't stand at the top.
fn prefix(tree: &Tree) -> TreePath {
    let mut found = TreePath::root();
    for (path, _) in tree.iter() {
        let mut components = path.components();
        match (components.next(), components.next()) {
            (Some(b"releases"), _) => return TreePath::root(),
            (Some(first), Some(b"releases")) if found.is_root() => {
                found = TreePath::parse(first).unwrap_or_default();
            }
            _ => {}
        }
    }
    found
}

/// The links that the release can't do without must lead to something in it: those that stand for the
/// emulator, for an application, or for its `ebin` or `priv`.
pub(super) fn check_links(host: &Path, tree: &Tree) -> Result<(), ReleaseError> {
    for (path, node) in tree.iter() {
        let NodeKind::Symlink(target) = &node.kind else { continue };
        let components: Vec<&[u8]> = path.components().collect();
        let needed = match components.as_slice() {
            [first] => *first == b"lib" || *first == b"releases" || first.starts_with(b"erts-"),
            [b"lib", _] | [b"lib", _, b"ebin" | b"priv"] => true,
            _ => false,
        };
        if needed && (target.starts_with(b"/") || tree.resolve(path).is_none()) {
            return Err(ReleaseError::LinkLeadsOut {
                path: host.to_owned(),
                inside: path.clone(),
                target: target.escape_ascii().to_string(),
            });
        }
    }
    Ok(())
}

/// Names the part of the release that brought each node: the application, the emulator, or nothing.
pub(super) fn set_origins(tree: &mut Tree) {
    for path in tree.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>() {
        if let Some(part) = part_of(&path)
            && let Some(node) = tree.get_mut(&path)
        {
            node.origin = Origin::new(LayerKind::Release, part.as_str());
        }
    }
}
