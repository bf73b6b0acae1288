//! A tree on a disk of this machine, with everything that Linux can say of its nodes: for tools that read directories,
//! and to show that the lister says what the tree says.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use leanfs::tree::{Content, Metadata, Node, NodeKind, TreePath, ValidTree};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::{Errno, Result};

use crate::end_to_end::bench;

/// A temporary directory whose contents may stand deeper than the standard library can remove.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, name: &str) -> std::path::PathBuf {
        self.path().join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(Command::new("rm").arg("-rf").arg(self.path()).status());
    }
}

/// Whether this process can make what the torture tree has: devices, owners, and attributes of root. A visible skip
/// where it is not root, or is one that may not.
pub(crate) fn powers() -> Option<()> {
    if !rustix::process::geteuid().is_root() {
        return bench::skip("only root can make devices and give files away");
    }
    let scratch = Scratch::new();
    let device = rustix::fs::makedev(4095, 0xf_ffff);
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        scratch.join("device"),
        FileType::CharacterDevice,
        Mode::from(0o600),
        device,
    )
    .and_then(|()| rustix::fs::lsetxattr(scratch.join("device"), "trusted.x", b"y", XattrFlags::empty()));
    match made {
        Ok(()) => Some(()),
        Err(error) => bench::skip(&format!("this root can't make devices with trusted attributes: {error}")),
    }
}

/// Makes the tree in an empty directory, whose own metadata become the root's.
pub(crate) fn materialise(tree: &ValidTree, directory: &Path) {
    let mut disk = Disk { root: open(rustix::fs::CWD, directory).expect("a directory"), near: None };
    let failed = |path: &TreePath, error: Errno| -> () { panic!("{path}: {error}") };
    for (path, node) in tree.iter() {
        disk.make(path, node).unwrap_or_else(|error| failed(path, error));
    }
    // The file may come after its further names.
    for (path, node) in tree.iter() {
        if let NodeKind::Hardlink(target) = &node.kind {
            disk.link(target, path).unwrap_or_else(|error| failed(path, error));
        }
    }
    // Only when everything has its place: what is made changes its directory's time.
    for (path, node) in tree.iter() {
        if !matches!(node.kind, NodeKind::Hardlink(_)) {
            disk.tell(path, node).unwrap_or_else(|error| failed(path, error));
        }
    }
}

struct Disk {
    root: OwnedFd,
    /// The directory that was used last.
    near: Option<(TreePath, OwnedFd)>,
}

fn open(at: impl rustix::fd::AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd> {
    rustix::fs::openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}

impl Disk {
    /// The directory of this path; a path may be longer than what one call takes.
    fn directory(&mut self, path: &TreePath) -> Result<&OwnedFd> {
        if self.near.as_ref().is_none_or(|(near, _)| near != path) {
            let (start, mut here) = match self.near.take() {
                Some((near, directory)) if path.is_below(&near) => (near, directory),
                _ => (TreePath::root(), self.root.try_clone().map_err(|_| Errno::MFILE)?),
            };
            let rest = path.strip_prefix(&start).unwrap_or_default();
            for name in rest.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
                here = open(&here, name)?;
            }
            self.near = Some((path.clone(), here));
        }
        Ok(&self.near.as_ref().expect("it was just put there").1)
    }

    fn make(&mut self, path: &TreePath, node: &Node) -> Result<()> {
        let Some(name) = path.file_name() else { return Ok(()) };
        let parent = self.directory(&path.parent().expect("it has a name"))?;
        let mode = Mode::from(0o600);
        let node_of = |kind, device| rustix::fs::mknodat(parent, name, kind, mode, device);
        match &node.kind {
            NodeKind::Directory => rustix::fs::mkdirat(parent, name, Mode::from(0o700)),
            NodeKind::File(content) => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                let file = rustix::fs::openat(parent, name, flags, mode)?;
                fill(&File::from(file), content);
                Ok(())
            }
            NodeKind::Symlink(target) => rustix::fs::symlinkat(target.as_slice(), parent, name),
            NodeKind::CharDevice { major, minor } => {
                node_of(FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))
            }
            NodeKind::BlockDevice { major, minor } => {
                node_of(FileType::BlockDevice, rustix::fs::makedev(*major, *minor))
            }
            NodeKind::Fifo => node_of(FileType::Fifo, 0),
            NodeKind::Hardlink(_) => Ok(()),
        }
    }

    fn link(&mut self, target: &TreePath, path: &TreePath) -> Result<()> {
        let parts =
            |path: &TreePath| (path.parent().unwrap_or_default(), path.file_name().map(<[u8]>::to_vec));
        let ((from, old), (to, new)) = (parts(target), parts(path));
        let from = self.directory(&from)?.try_clone().map_err(|_| Errno::MFILE)?;
        let to = self.directory(&to)?;
        rustix::fs::linkat(from, old.unwrap_or_default(), to, new.unwrap_or_default(), AtFlags::empty())
    }

    /// Gives a node its owner, mode, attributes and time: in this order, as each undoes some of what comes later.
    fn tell(&mut self, path: &TreePath, node: &Node) -> Result<()> {
        let parent = self.directory(&path.parent().unwrap_or_default())?;
        let name = path.file_name().unwrap_or(b".");
        let Metadata { mode, uid, gid, mtime } = node.metadata;
        let owner = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(parent, name, Some(owner.0), Some(owner.1), nofollow)?;
        if !matches!(node.kind, NodeKind::Symlink(_)) {
            rustix::fs::chmodat(parent, name, Mode::from(mode), AtFlags::empty())?;
        }
        // A name relative to an open directory, for calls that take only paths.
        let mut by_number =
            format!("/proc/self/fd/{}/", std::os::fd::AsRawFd::as_raw_fd(parent)).into_bytes();
        by_number.extend_from_slice(name);
        let by_number = std::ffi::OsStr::from_bytes(&by_number);
        for (name, value) in &node.xattrs {
            let name = CString::new(name.as_slice()).map_err(|_| Errno::INVAL)?;
            rustix::fs::lsetxattr(by_number, &*name, value, XattrFlags::empty())?;
        }
        let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(parent, name, &times, nofollow)
    }
}

/// Writes a content, and leaves holes where the host knows that it has some.
fn fill(file: &File, content: &Content) {
    let mut reader = content.reader().expect("readable");
    let mut buffer = vec![0; 1 << 16];
    let mut position = 0;
    loop {
        position = reader.next_data(position).expect("readable");
        reader.seek(SeekFrom::Start(position)).expect("inside");
        match reader.read(&mut buffer).expect("readable") {
            0 => break,
            count => {
                file.write_all_at(&buffer[..count], position).expect("room");
                position += count as u64;
            }
        }
    }
    file.set_len(content.len()).expect("room");
}
