//! A directory of the host as it is: owners, modes, times, devices, hardlinks and extended attributes.
//!
//! [`super::overlay`] takes a directory whose metadata says nothing (a checkout); this one takes a root file system
//! that something else has made: what a tool extracted or installed, as root.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::tree::{Content, Metadata, Node, NodeKind, Origin, Tree, TreePath, TreePathError};

/// The largest list of names, and the largest value, that Linux has (xattr(7)).
const MOST_XATTR_BYTES: usize = 65_536;

/// A directory that can't be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The directory or something in it can't be read.
    #[error("the directory can't be read")]
    Io(#[from] std::io::Error),
    /// A name that has no place in an image.
    #[error(transparent)]
    Path(#[from] TreePathError),
    /// Extended attributes that can't be read.
    #[error("the extended attributes of {} can't be read", .path.display())]
    Xattr {
        /// Whose they are.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A socket, which lives only as long as the program that made it.
    #[error("{} is a socket, which no image holds", .0.display())]
    Socket(PathBuf),
}

/// Reads `directory` with everything that a [`Tree`] can say of it. The tree's root is the directory itself. File
/// contents are read when they are used; fractions of seconds are dropped. Of a file with several names in the
/// directory the first in path order is the file, the others are its hardlinks.
///
/// Extended attributes are those that this process sees: `trusted.*` are root's. `keep_xattr` says by full name which
/// of them are taken: labels of a security module (`security.selinux`) belong to the host and not to the files.
///
/// ```
/// use leanfs::layer::directory;
/// use leanfs::tree::{LayerKind, Origin};
/// let keep = |name: &[u8]| name != b"security.selinux";
/// let tree = directory::read("fixtures".as_ref(), &Origin::new(LayerKind::Overlay, "fixtures"), &keep)?;
/// assert!(tree.get(&"apps".parse()?).is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`DirectoryError`] names the path; nothing is left out in silence.
pub fn read(
    directory: &Path,
    origin: &Origin,
    keep_xattr: &dyn Fn(&[u8]) -> bool,
) -> Result<Tree, DirectoryError> {
    // A link to a directory stands for it; links in it are what they are.
    let directory = fs_err::canonicalize(directory)?;
    let mut reader = Reader { origin, keep_xattr, buffer: vec![0; MOST_XATTR_BYTES] };
    let mut tree = Tree::new();
    // By device and inode, the names of each file that may have several.
    let mut names: BTreeMap<(u64, u64), Vec<TreePath>> = BTreeMap::new();
    tree.insert(TreePath::root(), reader.node(&directory)?.0);
    let mut open = vec![(directory, TreePath::root())];
    while let Some((host, path)) = open.pop() {
        for entry in fs_err::read_dir(&host)? {
            let entry = entry?;
            let path = path.join(entry.file_name().as_bytes())?;
            let (node, key) = reader.node(&entry.path())?;
            if matches!(node.kind, NodeKind::Directory) {
                open.push((entry.path(), path.clone()));
            }
            if let Some(key) = key {
                names.entry(key).or_default().push(path.clone());
            }
            tree.insert(path, node);
        }
    }
    for mut names in names.into_values() {
        names.sort_unstable();
        let Some((first, others)) = names.split_first() else { continue };
        for other in others {
            if let Some(node) = tree.get_mut(other) {
                node.kind = NodeKind::Hardlink(first.clone());
                node.xattrs.clear();
            }
        }
    }
    Ok(tree)
}

struct Reader<'a> {
    origin: &'a Origin,
    keep_xattr: &'a dyn Fn(&[u8]) -> bool,
    /// What names and values of extended attributes are read into.
    buffer: Vec<u8>,
}

impl Reader<'_> {
    /// One node and, of a regular file that has several names, its device and inode.
    fn node(&mut self, host: &Path) -> Result<(Node, Option<(u64, u64)>), DirectoryError> {
        let found = fs_err::symlink_metadata(host)?;
        let file_type = found.file_type();
        let major = || rustix::fs::major(found.rdev());
        let minor = || rustix::fs::minor(found.rdev());
        let mut key = None;
        let kind = if file_type.is_dir() {
            NodeKind::Directory
        } else if file_type.is_symlink() {
            NodeKind::Symlink(fs_err::read_link(host)?.into_os_string().into_encoded_bytes())
        } else if file_type.is_file() {
            key = (found.nlink() > 1).then(|| (found.dev(), found.ino()));
            NodeKind::File(Content::from_path(host, found.len()))
        } else if file_type.is_char_device() {
            NodeKind::CharDevice { major: major(), minor: minor() }
        } else if file_type.is_block_device() {
            NodeKind::BlockDevice { major: major(), minor: minor() }
        } else if file_type.is_fifo() {
            NodeKind::Fifo
        } else {
            return Err(DirectoryError::Socket(host.to_owned()));
        };
        let metadata = Metadata {
            mode: found.mode() & 0o7777,
            uid: found.uid(),
            gid: found.gid(),
            mtime: found.mtime(),
        };
        let mut node = Node::new(kind, metadata, self.origin.clone());
        node.xattrs = self
            .xattrs(host)
            .map_err(|error| DirectoryError::Xattr { path: host.to_owned(), source: error.into() })?;
        Ok((node, key))
    }

    fn xattrs(&mut self, host: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Errno> {
        let length = match rustix::fs::llistxattr(host, &mut self.buffer[..]) {
            // A file system without them.
            Err(Errno::NOTSUP) => 0,
            length => length?,
        };
        let names: Vec<CString> = self.buffer[..length]
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty() && (self.keep_xattr)(name))
            .map(|name| CString::new(name).expect("it was cut at each NUL"))
            .collect();
        let mut all = BTreeMap::new();
        for name in names {
            let length = rustix::fs::lgetxattr(host, &*name, &mut self.buffer[..])?;
            all.insert(name.into_bytes(), self.buffer[..length].to_vec());
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn origin() -> Origin {
        Origin::new(crate::tree::LayerKind::Overlay, "")
    }

    fn path(text: &str) -> TreePath {
        text.parse().expect("good")
    }

    #[test]
    fn it_is_taken_as_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs_err::create_dir(at("z")).expect("made");
        fs_err::write(at("z/file"), b"content").expect("written");
        fs_err::hard_link(at("z/file"), at("a name")).expect("linked");
        symlink("z/\u{e9}", at("link")).expect("linked");
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), fifo, rustix::fs::Mode::from(0o640), 0)
            .expect("made");
        for (name, mode) in [("z/file", 0o4751), ("z", 0o1770), ("", 0o705)] {
            fs_err::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).expect("changed");
        }
        for (name, seconds) in [("z/file", -7), ("z", 5_000_000_000), ("", 11)] {
            let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 999_999_999 };
            let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(rustix::fs::CWD, at(name), &times, rustix::fs::AtFlags::empty())
                .expect("changed");
        }
        let flags = rustix::fs::XattrFlags::empty();
        let labelled = rustix::fs::lsetxattr(at("z/file"), "user.kept", b"\0value", flags)
            .and_then(|()| rustix::fs::lsetxattr(at("z/file"), "user.not", b"x", flags));
        let tree = read(directory.path(), &origin(), &|name| name == b"user.kept").expect("read");

        let file = tree.get(&path("a name")).expect("the first name is the file");
        assert!(
            matches!(&file.kind, NodeKind::File(content) if content.read(99).expect("read") == b"content")
        );
        assert_eq!((file.metadata.mode, file.metadata.mtime), (0o4751, -7));
        let mut expected = BTreeMap::new();
        // Some file systems have none.
        if labelled.is_ok() {
            expected.insert(b"user.kept".to_vec(), b"\0value".to_vec());
        }
        assert_eq!(file.xattrs, expected);
        let other = tree.get(&path("z/file")).expect("there");
        assert!(matches!(&other.kind, NodeKind::Hardlink(to) if *to == path("a name")));
        let root = tree.get(&TreePath::root()).expect("it was read too");
        assert_eq!((root.metadata.mode, root.metadata.mtime), (0o705, 11));
        let z = tree.get(&path("z")).expect("there").metadata;
        assert_eq!((z.mode, z.mtime), (0o1770, 5_000_000_000));
        assert_eq!(z.uid, rustix::process::geteuid().as_raw());
        let link = &tree.get(&path("link")).expect("there").kind;
        assert!(matches!(link, NodeKind::Symlink(target) if target == "z/\u{e9}".as_bytes()));
        assert!(matches!(tree.get(&path("fifo")).expect("there").kind, NodeKind::Fifo));
        assert_eq!(tree.len(), 6);
        tree.validate().expect("whole");
    }

    #[test]
    fn what_no_image_holds_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("s");
        let _socket = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let error = read(directory.path(), &origin(), &|_| true).expect_err("a socket");
        assert!(matches!(&error, DirectoryError::Socket(path) if *path == socket), "{error}");
        let error = read(&directory.path().join("none"), &origin(), &|_| true).expect_err("nothing there");
        assert!(matches!(error, DirectoryError::Io(_)), "{error}");
    }
}
