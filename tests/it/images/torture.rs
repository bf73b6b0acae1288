//! A tree that has everything which is hard about file systems, made of named parts: a format's test leaves out what
//! the format can't hold, says why, and shows that its writer refuses it or reports the loss.

mod contents;
mod names;
mod nodes;
mod xattrs;

use std::collections::BTreeMap;

use leanfs::tree::{Content, Metadata, Node, NodeKind, Origin, Tree, TreePath, ValidTree};

use super::path;
use crate::end_to_end::bench;

/// What the tree is made of. Each part but [`Part::TrailerName`] stands in a directory of its own (one hardlink does not),
/// so that a difference names its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    /// Character and block devices with numbers of all sizes, named pipes.
    Devices,
    /// The character device 0:0, which overlayfs takes for a file that was removed.
    WhiteoutDevice,
    /// Files around all sizes of blocks.
    Sizes,
    /// Blocks of zeros at the beginning, in the middle, at the end, and alone.
    Zeros,
    /// 300 MiB with a few bytes in odd places (5 GiB).
    Sparse,
    /// 4 MiB of each of: incompressible, compressible, the same again.
    Contents,
    /// 3,000 files in one directory (100,000).
    ManyFiles,
    /// 500 directories in one (70,000, more than ext4 can count).
    ManyDirectories,
    /// Names of all bytes and lengths, names that sort oddly.
    Names,
    /// Names that mean a removed file in a layer of a container image.
    WhiteoutNames,
    /// `TRAILER!!!`, which ends a cpio archive.
    TrailerName,
    /// Paths of 4,095 bytes in few and in many components.
    DeepPaths,
    /// Targets of symbolic links of up to 255 bytes, with any bytes in them.
    Symlinks,
    /// Targets of up to 4,095 bytes.
    LongSymlinks,
    /// Further names of files in other directories, before and after them in path order.
    Hardlinks,
    /// Directories with nothing in them.
    EmptyDirectories,
    /// All permission bits.
    Modes,
    /// Owners and groups beyond 16 and 31 bits.
    Owners,
    /// Times from 1970 to 2106.
    Times,
    /// Times before 1970.
    EarlyTimes,
    /// Times after 2106, up to what ext4 can say (2446).
    LateTimes,
    /// `user.*` on files and directories.
    UserXattrs,
    /// Names of attributes with `=`, spaces, control characters, and bytes that are not UTF-8.
    XattrNames,
    /// Attributes with values and names as large as 4 KiB of them let be, and many on one file.
    LargeXattrs,
    /// A value of 60 KiB, and 60 KiB of values.
    HugeXattrs,
    /// `trusted.*` on every type of node.
    TrustedXattrs,
    /// `security.*`: file capabilities of versions 2 and 3, and a label.
    SecurityXattrs,
    /// POSIX access and default ACLs.
    Acls,
}

impl Part {
    /// Every part.
    pub(crate) const ALL: [Self; 28] = [
        Self::Devices,
        Self::WhiteoutDevice,
        Self::Sizes,
        Self::Zeros,
        Self::Sparse,
        Self::Contents,
        Self::ManyFiles,
        Self::ManyDirectories,
        Self::Names,
        Self::WhiteoutNames,
        Self::TrailerName,
        Self::DeepPaths,
        Self::Symlinks,
        Self::LongSymlinks,
        Self::Hardlinks,
        Self::EmptyDirectories,
        Self::Modes,
        Self::Owners,
        Self::Times,
        Self::EarlyTimes,
        Self::LateTimes,
        Self::UserXattrs,
        Self::XattrNames,
        Self::LargeXattrs,
        Self::HugeXattrs,
        Self::TrustedXattrs,
        Self::SecurityXattrs,
        Self::Acls,
    ];

    /// All parts but these.
    pub(crate) fn all_but(left_out: &[Self]) -> Vec<Self> {
        Self::ALL.into_iter().filter(|part| !left_out.contains(part)).collect()
    }
}

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// What takes seconds.
    Sampled,
    /// What takes minutes: the numbers in parentheses at [`Part`].
    Full,
}

impl Size {
    /// As the caller of the tests wants it.
    pub(crate) fn wanted() -> Self {
        if bench::full() { Self::Full } else { Self::Sampled }
    }
}

/// The tree of these parts.
pub(crate) fn tree(size: Size, parts: &[Part]) -> ValidTree {
    let mut maker = Maker { tree: Tree::new(), size };
    // The root has metadata of its own too.
    maker.add("/", NodeKind::Directory);
    for part in parts {
        match part {
            Part::Devices => nodes::devices(&mut maker),
            Part::WhiteoutDevice => {
                maker.add("whiteout-device/0:0", NodeKind::CharDevice { major: 0, minor: 0 });
            }
            Part::Sizes => contents::sizes(&mut maker),
            Part::Zeros => contents::zeros(&mut maker),
            Part::Sparse => contents::sparse(&mut maker),
            Part::Contents => contents::contents(&mut maker),
            Part::ManyFiles => names::many_files(&mut maker),
            Part::ManyDirectories => names::many_directories(&mut maker),
            Part::Names => names::names(&mut maker),
            Part::WhiteoutNames => {
                for name in [".wh.gone", ".wh..wh..opq"] {
                    maker.file(&format!("whiteout-names/{name}"), name.as_bytes());
                }
            }
            Part::TrailerName => maker.file("TRAILER!!!", b"in the middle"),
            Part::DeepPaths => names::deep(&mut maker),
            Part::Symlinks => nodes::symlinks(&mut maker),
            Part::LongSymlinks => nodes::long_symlinks(&mut maker),
            Part::Hardlinks => nodes::hardlinks(&mut maker),
            Part::EmptyDirectories => {
                for name in ["empty", "empty/a", "empty/a/b", "empty/c"] {
                    maker.add(name, NodeKind::Directory);
                }
            }
            Part::Modes => nodes::modes(&mut maker),
            Part::Owners => nodes::owners(&mut maker),
            Part::Times => nodes::times(&mut maker, "times", &nodes::TIMES),
            Part::EarlyTimes => nodes::times(&mut maker, "early-times", &nodes::EARLY_TIMES),
            Part::LateTimes => nodes::times(&mut maker, "late-times", &nodes::LATE_TIMES),
            Part::UserXattrs => xattrs::user(&mut maker),
            Part::XattrNames => xattrs::names(&mut maker),
            Part::LargeXattrs => xattrs::large(&mut maker),
            Part::HugeXattrs => xattrs::huge(&mut maker),
            Part::TrustedXattrs => xattrs::trusted(&mut maker),
            Part::SecurityXattrs => xattrs::security(&mut maker),
            Part::Acls => xattrs::acls(&mut maker),
        }
    }
    maker.tree.validate().expect("a valid tree")
}

struct Maker {
    tree: Tree,
    size: Size,
}

impl Maker {
    fn is_full(&self) -> bool {
        self.size == Size::Full
    }

    /// Puts a node somewhere, with metadata that depend on its path; gives it back to be changed.
    fn put(&mut self, place: TreePath, kind: NodeKind) -> &mut Node {
        // From the nearest that is there on, so that deep paths don't cost their square.
        let mut missing = Vec::new();
        let mut parent = place.parent();
        while let Some(directory) = parent.filter(|directory| self.tree.get(directory).is_none()) {
            parent = directory.parent();
            missing.push(directory);
        }
        for directory in missing {
            let node = Node::directory(metadata(&directory, 0o755), Origin::skeleton());
            self.tree.insert(directory, node);
        }
        let mode = match kind {
            NodeKind::Directory => 0o755,
            NodeKind::Symlink(_) => 0o777,
            _ => 0o644,
        };
        let node = Node::new(kind, metadata(&place, mode), Origin::skeleton());
        self.tree.insert(place.clone(), node);
        self.tree.get_mut(&place).expect("it was just put there")
    }

    fn add(&mut self, place: &str, kind: NodeKind) -> &mut Node {
        self.put(path(place), kind)
    }

    fn file(&mut self, place: &str, content: &[u8]) {
        self.add(place, NodeKind::File(Content::from_bytes(content)));
    }

    /// One node of each type below a directory, each changed by `change`.
    fn one_of_each(&mut self, directory: &str, change: impl Fn(&mut Node)) {
        let kinds = [
            ("file", NodeKind::File(Content::from_bytes(*b"content"))),
            ("directory", NodeKind::Directory),
            ("symlink", NodeKind::Symlink(b"target".to_vec())),
            ("char", NodeKind::CharDevice { major: 1, minor: 3 }),
            ("block", NodeKind::BlockDevice { major: 7, minor: 0 }),
            ("fifo", NodeKind::Fifo),
        ];
        for (name, kind) in kinds {
            change(self.add(&format!("{directory}/{name}"), kind));
        }
    }

    fn with_xattrs(&mut self, place: &str, kind: NodeKind, xattrs: &[(&[u8], &[u8])]) {
        let all: BTreeMap<Vec<u8>, Vec<u8>> =
            xattrs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        self.add(place, kind).xattrs = all;
    }
}

/// Metadata by which nodes can be told apart.
fn metadata(place: &TreePath, mode: u32) -> Metadata {
    let hash = place.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let pick = |shift: u32, most: u64| hash >> shift & (most - 1);
    // Group and others may differ from the owner.
    let mode = if mode == 0o777 { mode } else { mode ^ u32::try_from(pick(40, 64)).expect("small") };
    Metadata {
        mode,
        uid: [0, 1, 1000, 65_534][usize::try_from(pick(50, 4)).expect("small")],
        gid: [0, 5, 999, 100][usize::try_from(pick(54, 4)).expect("small")],
        mtime: 1_500_000_000 + pick(8, 1 << 28).cast_signed(),
    }
}

/// Bytes that no compressor makes smaller, others for each seed.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}
