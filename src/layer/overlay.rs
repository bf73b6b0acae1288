//! The user's own directory, laid over everything else.

use std::path::Path;

use super::subtree::subtree;
use crate::tree::{Content, LayerKind, Metadata, Node, NodeKind, Origin, Tree, TreePath, TreePathError};

/// An overlay that can't be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OverlayError {
    /// The directory or something in it can't be read.
    #[error("the overlay can't be read")]
    Io(#[from] std::io::Error),
    /// A name that has no place in an image.
    #[error(transparent)]
    Path(#[from] TreePathError),
    /// Something that is no file, directory or link.
    #[error("{} is a {what}: an overlay holds files, directories and symbolic links", .path.display())]
    Unsupported {
        /// Where it stands.
        path: std::path::PathBuf,
        /// What it is.
        what: &'static str,
    },
}

/// Reads a directory of the host as a tree. So that the image does not depend on who assembles it and with
/// which umask, everything belongs to root, the mode is 0755 for directories and files that their owner may
/// execute, 0644 for the others, and the time is `mtime`.
///
/// # Errors
/// [`OverlayError`] names the path.
pub fn read(directory: &Path, mtime: i64) -> Result<Tree, OverlayError> {
    let mut tree = Tree::new();
    let origin = Origin::new(LayerKind::Overlay, "");
    let mut open = vec![(directory.to_owned(), TreePath::root())];
    while let Some((host, path)) = open.pop() {
        for entry in fs_err::read_dir(&host)? {
            let entry = entry?;
            let path = path.join(entry.file_name().as_encoded_bytes())?;
            let metadata = fs_err::symlink_metadata(entry.path())?;
            let file_type = metadata.file_type();
            let node = if file_type.is_dir() {
                open.push((entry.path(), path.clone()));
                Node::directory(Metadata { mtime, ..Metadata::DIRECTORY }, origin.clone())
            } else if file_type.is_symlink() {
                let target = fs_err::read_link(entry.path())?;
                let mut node = Node::symlink(target.into_os_string().into_encoded_bytes(), origin.clone());
                node.metadata.mtime = mtime;
                node
            } else if file_type.is_file() {
                let executable =
                    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o100 != 0;
                let base = if executable { Metadata::PROGRAM } else { Metadata::FILE };
                Node::file(
                    Content::from_path(entry.path(), metadata.len()),
                    Metadata { mtime, ..base },
                    origin.clone(),
                )
            } else {
                use std::os::unix::fs::FileTypeExt;
                let what = if file_type.is_socket() {
                    "socket"
                } else if file_type.is_fifo() {
                    "named pipe"
                } else {
                    "device"
                };
                return Err(OverlayError::Unsupported { path: entry.path(), what });
            };
            tree.insert(path, node);
        }
    }
    Ok(tree)
}

/// Lays the part of an overlay that stands below `root` over the release that will stand there, so that how the
/// release is started is worked out from the user's `vm.args`, `sys.config` and `env.sh`.
pub fn lay_over_release(release: &mut Tree, overlay: &Tree, root: &TreePath) {
    lay(release, &subtree(overlay, root));
}

/// Lays an overlay over `tree`. Directories merge, everything else replaces what was there; a file that takes
/// the place of a directory takes all that the directory held.
pub fn lay(tree: &mut Tree, overlay: &Tree) {
    for (path, node) in overlay.iter() {
        let place = tree.resolve_parent(path).unwrap_or_else(|| path.clone());
        let is_directory = matches!(node.kind, NodeKind::Directory);
        if is_directory {
            let leads_to = tree.resolve(&place).unwrap_or_else(|| place.clone());
            if tree.get(&leads_to).is_some_and(|there| matches!(there.kind, NodeKind::Directory)) {
                continue;
            }
        } else {
            let held: Vec<TreePath> = tree.below(&place).map(|(path, _)| path.clone()).collect();
            for path in held {
                tree.remove(&path);
            }
        }
        tree.insert_with_parents(place, node.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overlay_wins() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs_err::create_dir_all(path.parent().expect("it has one")).expect("made");
            fs_err::write(path, text).expect("written");
        };
        write("etc/motd", "mine");
        write("opt", "a file where a directory was");
        std::os::unix::fs::symlink("motd", directory.path().join("etc/link")).expect("linked");
        let overlay = read(directory.path(), 7).expect("read");

        let mut tree = Tree::new();
        for name in ["etc/motd", "etc/other", "opt/deep/file"] {
            let node = Node::file(Content::from_bytes(*b"theirs"), Metadata::FILE, Origin::skeleton());
            tree.insert_with_parents(name.parse().expect("good"), node);
        }
        lay(&mut tree, &overlay);
        let dump = tree.validate().expect("valid").dump().expect("readable");
        let lines: Vec<&str> =
            dump.lines().filter_map(|line| line.split_once(" /").map(|(_, path)| path)).collect();
        assert_eq!(lines, ["", "etc", "etc/link", "etc/motd", "etc/other", "opt"]);
        assert!(dump.contains("f0644 0:0 7 4:"), "{dump}");
    }

    #[test]
    fn sockets_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let _socket = std::os::unix::net::UnixListener::bind(directory.path().join("s")).expect("a socket");
        assert!(matches!(read(directory.path(), 0), Err(OverlayError::Unsupported { what: "socket", .. })));
    }
}
