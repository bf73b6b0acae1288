//! What a path in the tree can be.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{Content, TreePath};

/// One entry of a tree.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Mode, owner and time. A hardlink's own metadata is not used: its target's is.
    pub metadata: Metadata,
    /// What brought it into the tree.
    pub origin: Origin,
    /// Extended attributes by full name (`security.capability`), in byte order.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The types of node that Linux file systems know.
#[derive(Debug, Clone)]
pub enum NodeKind {
    /// A directory; what it holds are the nodes whose paths stand below it.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link and its target, byte for byte.
    Symlink(Vec<u8>),
    /// A further name of the regular file at the given path.
    Hardlink(TreePath),
    /// A character device.
    CharDevice {
        /// The driver.
        major: u32,
        /// The device of that driver.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// The driver.
        major: u32,
        /// The device of that driver.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

impl NodeKind {
    /// The kind in words, for messages: "a directory", "a regular file" …
    pub fn name(&self) -> &'static str {
        match self {
            Self::Directory => "a directory",
            Self::File(_) => "a regular file",
            Self::Symlink(_) => "a symbolic link",
            Self::Hardlink(_) => "a hardlink",
            Self::CharDevice { .. } => "a character device",
            Self::BlockDevice { .. } => "a block device",
            Self::Fifo => "a named pipe",
        }
    }
}

/// Permission bits, owner and time of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky: at most `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, seconds since 1970-01-01 UTC; may be negative.
    pub mtime: i64,
}

impl Metadata {
    /// A directory as it usually is: 0755, root, 1970.
    pub const DIRECTORY: Self = Self { mode: 0o755, uid: 0, gid: 0, mtime: 0 };
    /// A file as it usually is: 0644, root, 1970.
    pub const FILE: Self = Self { mode: 0o644, uid: 0, gid: 0, mtime: 0 };
    /// A program as it usually is: 0755, root, 1970.
    pub const PROGRAM: Self = Self { mode: 0o755, uid: 0, gid: 0, mtime: 0 };
}

impl Node {
    /// A node without extended attributes.
    pub fn new(kind: NodeKind, metadata: Metadata, origin: Origin) -> Self {
        Self { kind, metadata, origin, xattrs: BTreeMap::new() }
    }

    /// A directory.
    pub fn directory(metadata: Metadata, origin: Origin) -> Self {
        Self::new(NodeKind::Directory, metadata, origin)
    }

    /// A regular file.
    pub fn file(content: Content, metadata: Metadata, origin: Origin) -> Self {
        Self::new(NodeKind::File(content), metadata, origin)
    }

    /// A symbolic link; links have no mode of their own, Linux shows 0777.
    pub fn symlink(target: impl Into<Vec<u8>>, origin: Origin) -> Self {
        Self::new(NodeKind::Symlink(target.into()), Metadata { mode: 0o777, ..Metadata::FILE }, origin)
    }

    /// The size of a regular file or of a link's target in bytes; 0 for everything else.
    pub fn size(&self) -> u64 {
        match &self.kind {
            NodeKind::File(content) => content.len(),
            NodeKind::Symlink(target) => target.len() as u64,
            _ => 0,
        }
    }
}

/// Which layer brought a node, and which of its parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The layer.
    pub layer: LayerKind,
    /// The package (`musl-1.2.5-r23`), the application (`kernel-10.2.7.1`), the library's host path …; may be
    /// empty where the layer has no parts.
    pub part: Arc<str>,
}

/// The layers that fill a tree, in the order in which they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerKind {
    /// An Alpine package.
    Package,
    /// An Erlang/OTP installation: its emulator and its applications.
    Otp,
    /// The release that the image is made for.
    Release,
    /// Shared libraries of the machine that assembles, or of `--sysroot`.
    Sysroot,
    /// A kernel's modules.
    Kernel,
    /// Files that every image gets, PID 1 among them.
    Skeleton,
    /// What the scripts of packages would have done: applet links, users, groups.
    Script,
    /// The user's own directory.
    Overlay,
}

impl Origin {
    /// A part of a layer.
    pub fn new(layer: LayerKind, part: impl Into<Arc<str>>) -> Self {
        Self { layer, part: part.into() }
    }

    /// The skeleton.
    pub fn skeleton() -> Self {
        Self::new(LayerKind::Skeleton, "")
    }
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Package => "package",
            Self::Otp => "otp",
            Self::Release => "release",
            Self::Sysroot => "sysroot",
            Self::Kernel => "kernel",
            Self::Skeleton => "skeleton",
            Self::Script => "script",
            Self::Overlay => "overlay",
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.layer)?;
        if !self.part.is_empty() {
            write!(f, " {}", self.part)?;
        }
        Ok(())
    }
}
