//! Packages that an earlier run has verified and unpacked.
//!
//! A package is named by the hash of its control member (of format v3: of its ADB block), which its index vouches for, and
//! which vouches for everything in it. What was unpacked from it is kept under that hash, the keys and limits that it was
//! verified with, and what was unpacked of it; so it holds for the same entry of any index, without the package itself.

use std::fs::File;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::package::{Owner, VerifiedApk};
use super::{FetchError, Fetcher, PackageFilter, VerifiedIndex};
use crate::apk::{IndexEntry, PackageInfo};
use crate::cache::{Derived, Memo, Pack, Place};
use crate::report::Event;
use crate::tree::{LayerKind, Metadata, Node, NodeKind, Origin, Tree, TreePath};

const KIND: &str = "tree";

#[derive(Serialize, Deserialize)]
struct KeptPackage {
    info: PackageInfo,
    scripts: Vec<(String, Vec<u8>)>,
    owners: Vec<(Vec<u8>, String, String)>,
    nodes: Vec<KeptNode>,
}

#[derive(Serialize, Deserialize)]
struct KeptNode {
    path: Vec<u8>,
    kind: KeptKind,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Serialize, Deserialize)]
enum KeptKind {
    Directory,
    /// The number of its content.
    File(u32),
    Symlink(Vec<u8>),
    Hardlink(Vec<u8>),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

impl Fetcher<'_> {
    /// What earlier runs worked out for the release that is called `name`.
    ///
    /// # Errors
    /// When no file for new results can be made in the cache.
    pub fn memo(&self, name: &str) -> Result<Memo, FetchError> {
        let temporary = self.cache.temporary();
        Memo::open(Some(&self.derived), name, &temporary)
            .map_err(|error| FetchError::io(&temporary, "make a file in", error))
    }

    /// As [`Fetcher::packages`], but what was unpacked is kept for the next run. `what` names the filter: two of the same
    /// name let the same through.
    ///
    /// # Errors
    /// As there.
    pub fn kept_packages(
        &self,
        wanted: &[(&VerifiedIndex, &IndexEntry)],
        what: &str,
        filter: PackageFilter<'_>,
    ) -> Result<Vec<VerifiedApk>, FetchError> {
        self.each_package(wanted, |index, entry| {
            let keys: Vec<String> = (self.keys_of(index.repository()).0.iter())
                .map(|key| format!("{} {}", key.name(), hex::encode(key.id())))
                .collect();
            let (limits, keys) = (&self.limits, keys.join(","));
            let name = format!(
                "{what}\n{}\n{} {}\n{limits:?}\n{keys}",
                entry.full_name(),
                entry.control_hash,
                entry.size
            );
            if index.names(entry)
                && let Some(apk) = recall(&self.derived, &name, entry)
            {
                self.reporter.report(Event::CacheHit { name: entry.file_name() });
                return Ok(apk);
            }
            let apk = self.package(index, entry, filter)?;
            // What can't be kept is unpacked again.
            let _ = keep(&self.derived, &name, &apk);
            Ok(apk)
        })
    }
}

fn recall(derived: &Derived, name: &str, entry: &IndexEntry) -> Option<VerifiedApk> {
    let pack = derived.pack(KIND, name)?;
    let kept: KeptPackage = postcard::from_bytes(pack.about()).ok()?;
    let origin = Origin::new(LayerKind::Package, entry.full_name());
    let mut tree = Tree::new();
    for node in kept.nodes {
        let path = TreePath::parse(&node.path).ok()?;
        let kind = node.kind.restore(&pack)?;
        let metadata = Metadata { mode: node.mode, uid: node.uid, gid: node.gid, mtime: node.mtime };
        let mut restored = Node::new(kind, metadata, origin.clone());
        restored.xattrs = node.xattrs.into_iter().collect();
        tree.insert(path, restored);
    }
    let owners = kept
        .owners
        .into_iter()
        .map(|(path, user, group)| TreePath::parse(&path).ok().map(|path| Owner { path, user, group }));
    let apk = VerifiedApk::new(entry.clone(), kept.info, kept.scripts, &entry.file_name());
    Some(apk.with_files(owners.collect::<Option<_>>()?, tree))
}

impl KeptKind {
    fn restore(self, pack: &Pack) -> Option<NodeKind> {
        Some(match self {
            Self::Directory => NodeKind::Directory,
            Self::File(number) => NodeKind::File(pack.content(usize::try_from(number).ok()?)?),
            Self::Symlink(target) => NodeKind::Symlink(target),
            Self::Hardlink(target) => NodeKind::Hardlink(TreePath::parse(&target).ok()?),
            Self::CharDevice(major, minor) => NodeKind::CharDevice { major, minor },
            Self::BlockDevice(major, minor) => NodeKind::BlockDevice { major, minor },
            Self::Fifo => NodeKind::Fifo,
        })
    }

    /// A node's kind; the place of a file's content in `file` becomes the last of `places`.
    fn of(kind: &NodeKind, file: &Arc<File>, places: &mut Vec<Place>) -> Option<Self> {
        Some(match kind {
            NodeKind::Directory => Self::Directory,
            NodeKind::File(content) => {
                let number = u32::try_from(places.len()).ok()?;
                places.push(Place::of(content, file)?);
                Self::File(number)
            }
            NodeKind::Symlink(target) => Self::Symlink(target.clone()),
            NodeKind::Hardlink(target) => Self::Hardlink(target.as_bytes().to_vec()),
            NodeKind::CharDevice { major, minor } => Self::CharDevice(*major, *minor),
            NodeKind::BlockDevice { major, minor } => Self::BlockDevice(*major, *minor),
            NodeKind::Fifo => Self::Fifo,
        })
    }
}

/// Keeps a package whose contents all stand in the one file that it was unpacked into.
fn keep(derived: &Derived, name: &str, apk: &VerifiedApk) -> Option<()> {
    let mut contents = apk.tree().iter().filter_map(|(_, node)| match &node.kind {
        NodeKind::File(content) => Some(content),
        _ => None,
    });
    let file = match contents.next() {
        Some(content) => Arc::clone(content.place()?.0),
        None => Arc::new(derived.nameless().ok()?),
    };
    let mut places = Vec::new();
    let mut nodes = Vec::new();
    for (path, node) in apk.tree().iter() {
        let Metadata { mode, uid, gid, mtime } = node.metadata;
        let kind = KeptKind::of(&node.kind, &file, &mut places)?;
        let xattrs = node.xattrs.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        nodes.push(KeptNode { path: path.as_bytes().to_vec(), kind, mode, uid, gid, mtime, xattrs });
    }
    let owner = |owner: &Owner| (owner.path.as_bytes().to_vec(), owner.user.clone(), owner.group.clone());
    let kept = KeptPackage {
        info: apk.info().clone(),
        scripts: apk.scripts().to_vec(),
        owners: apk.owners().iter().map(owner).collect(),
        nodes,
    };
    let about = postcard::to_allocvec(&kept).ok()?;
    derived.keep(KIND, name, &file, &places, &about).ok()
}
