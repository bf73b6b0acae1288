//! Tar streams into trees, with no trust in what they say.
//!
//! The tar formats are POSIX.1-1988 `ustar`, POSIX.1-2001 `pax` and GNU's long names, as
//! [`pax(1)`](https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html) and
//! [GNU tar](https://www.gnu.org/software/tar/manual/html_node/Standard.html) describe them. Extension headers
//! are read here and not by the `tar` crate, because their sizes must be capped before they are held in
//! memory.
//!
//! What is refused: `..`, absolute paths, entries below a link or a file of the same archive (whichever comes first), the
//! same path twice, a root that is no directory, hardlinks to what is not there, sparse files, more entries or bytes than
//! [`TarLimits`] allows, and everything that another reader could take for something else: sizes that contradict each
//! other, contents of what has none, a record or a name that is said twice, a file with a directory's name, global
//! records, and entries after the end.

mod compressed;
mod pax;
pub(crate) mod ustar;

use std::collections::BTreeMap;
use std::io::{self, Read};

use ring::digest;

pub use compressed::{CompressionFormat, decompress, open};
pub(crate) use compressed::{XZ_MEMORY, ZSTD_WINDOW_LOG};

use crate::tree::{
    Metadata, Node, NodeKind, Origin, Spool, SpoolRange, SpoolWriter, Tree, TreePath, TreePathError,
};

/// How much an archive may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TarLimits {
    /// Entries of every type.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// Bytes of one extension header (pax records, a long name).
    pub extension_bytes: u64,
    /// Bytes of one path.
    pub path_bytes: u64,
    /// Directories above one path.
    pub path_depth: u64,
    /// Bytes of all paths, link targets and extended attributes together.
    pub name_bytes: u64,
}

/// Which of [`TarLimits`] an archive breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TarLimit {
    /// [`TarLimits::entries`].
    Entries,
    /// [`TarLimits::bytes`].
    Bytes,
    /// [`TarLimits::extension_bytes`].
    ExtensionBytes,
    /// [`TarLimits::path_bytes`].
    PathBytes,
    /// [`TarLimits::path_depth`].
    PathDepth,
    /// [`TarLimits::name_bytes`].
    NameBytes,
}

impl std::fmt::Display for TarLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Entries => "entries",
            Self::Bytes => "bytes",
            Self::ExtensionBytes => "bytes in one extension header",
            Self::PathBytes => "bytes in one path",
            Self::PathDepth => "directories above one path",
            Self::NameBytes => "bytes in all paths and links together",
        })
    }
}

impl Default for TarLimits {
    /// A million entries, 16 GiB, extension headers of 1 MiB, paths as Linux has them, of 128 directories, and 256 MiB of
    /// them: far more than any package or release has.
    fn default() -> Self {
        Self {
            entries: 1_000_000,
            bytes: 16 << 30,
            extension_bytes: 1 << 20,
            path_bytes: 4095,
            path_depth: 128,
            name_bytes: 256 << 20,
        }
    }
}

/// How an archive is read.
pub struct TarOptions<'a> {
    /// What may be in it.
    pub limits: TarLimits,
    /// Which entries to keep; the others are still checked, but their contents are not spooled.
    pub keep: &'a dyn Fn(&TreePath) -> bool,
    /// Whether to compute the SHA-1 of each file for `inspect`.
    pub sha1: bool,
    /// Which extended attributes to keep, by full name: those of pax records `SCHILY.xattr.NAME`, as GNU tar, libarchive
    /// and `abuild` write them. [`crate::tree::xattr_belongs_to_file`] for files whose archive is trusted.
    pub xattrs: &'a dyn Fn(&[u8]) -> bool,
    /// Sees every entry after its content has been read, whether it is kept or not. An `Err` ends the reading
    /// with [`ArchiveErrorKind::Refused`].
    pub inspect: &'a mut dyn FnMut(&TarEntry<'_>) -> Result<(), String>,
}

/// What [`TarOptions::inspect`] sees of an entry.
#[derive(Debug)]
pub struct TarEntry<'a> {
    /// Where it stands.
    pub path: &'a TreePath,
    /// Its type.
    pub kind: TarEntryKind<'a>,
    /// Its pax records; not the global ones.
    pub pax: &'a BTreeMap<String, Vec<u8>>,
    /// The SHA-1 of a file's content, if it was asked for.
    pub sha1: Option<[u8; 20]>,
    /// The owner by name, as the archive says; may be empty.
    pub user_name: &'a [u8],
    /// The group by name, as the archive says; may be empty.
    pub group_name: &'a [u8],
}

/// The types of entry that archives can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TarEntryKind<'a> {
    /// A directory.
    Directory,
    /// A regular file and its size in bytes.
    File(u64),
    /// A symbolic link and its target.
    Symlink(&'a [u8]),
    /// A hardlink and its target.
    Hardlink(&'a TreePath),
    /// A device or a named pipe.
    Special,
}

/// The entries of an archive; their contents are in the spool that was being written.
#[derive(Debug)]
pub struct TarEntries {
    nodes: BTreeMap<TreePath, (Metadata, Pending)>,
    /// Of nodes that have any.
    xattrs: BTreeMap<TreePath, BTreeMap<Vec<u8>, Vec<u8>>>,
}

#[derive(Debug)]
enum Pending {
    File(SpoolRange),
    Other(NodeKind),
    /// Seen, but not kept.
    Skipped(Skipped),
}

/// What was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skipped {
    Directory,
    File,
    Other,
}

/// An archive that can't be taken.
#[derive(Debug, thiserror::Error)]
#[error("entry {entry} ({}): {kind}", .path.escape_ascii())]
pub struct ArchiveError {
    /// The number of the entry, from 1.
    pub entry: u64,
    /// Its name in the archive, as far as it is known; empty otherwise.
    pub path: Vec<u8>,
    /// What is wrong.
    #[source]
    pub kind: ArchiveErrorKind,
}

impl ArchiveError {
    /// The limit that was broken, if that is what is wrong.
    pub fn limit(&self) -> Option<TarLimit> {
        match self.kind {
            ArchiveErrorKind::TooLarge { what, .. } => Some(what),
            _ => None,
        }
    }
}

/// What can be wrong with an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveErrorKind {
    /// The path starts with `/`.
    #[error("the path is absolute; archives may hold only relative paths")]
    Absolute,
    /// The path or a hardlink's target has `..`, a NUL byte or is too long.
    #[error(transparent)]
    Path(#[from] TreePathError),
    /// The entry stands below something that is no directory.
    #[error("it stands below {parent}, which is {parent_is} in the same archive")]
    BelowNoDirectory {
        /// What it stands below.
        parent: TreePath,
        /// What that is.
        parent_is: &'static str,
    },
    /// The entry is no directory, and others before it stand below it.
    #[error("it is no directory, and {below} stands below it in the same archive")]
    AboveEntry {
        /// One of those.
        below: TreePath,
    },
    /// The path was there before.
    #[error("the same path stands in the archive twice")]
    Duplicate,
    /// A hardlink to what did not come before it, or is no file.
    #[error("it is a hardlink to {0}, which is no file earlier in the archive")]
    DanglingHardlink(TreePath),
    /// More than the limits allow.
    #[error("the archive holds more than {limit} {what}")]
    TooLarge {
        /// The limit.
        limit: u64,
        /// Of what.
        what: TarLimit,
    },
    /// A type or an extension that is not supported.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// A field that can't be right.
    #[error("{0}")]
    Malformed(String),
    /// [`TarOptions::inspect`] said no.
    #[error("{0}")]
    Refused(String),
    /// Reading the archive or writing the spool failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads a tar stream to its end: checks every entry and puts the contents of those that are kept into
/// `spool`. Works with and without the blocks that end an archive.
///
/// # Errors
/// The first entry that can't be taken.
pub fn read_tar(
    reader: impl Read,
    spool: &mut SpoolWriter,
    options: &mut TarOptions<'_>,
) -> Result<TarEntries, ArchiveError> {
    let mut reading = Reading {
        nodes: BTreeMap::new(),
        xattrs: BTreeMap::new(),
        bytes: 0,
        name_bytes: 0,
        entry: 0,
        path: Vec::new(),
    };
    match reading.run(reader, spool, options) {
        Ok(()) => Ok(TarEntries { nodes: reading.nodes, xattrs: reading.xattrs }),
        Err(kind) => Err(ArchiveError { entry: reading.entry, path: reading.path, kind }),
    }
}

struct Reading {
    nodes: BTreeMap<TreePath, (Metadata, Pending)>,
    xattrs: BTreeMap<TreePath, BTreeMap<Vec<u8>, Vec<u8>>>,
    bytes: u64,
    name_bytes: u64,
    entry: u64,
    path: Vec<u8>,
}

impl Reading {
    fn run(
        &mut self,
        reader: impl Read,
        spool: &mut SpoolWriter,
        options: &mut TarOptions<'_>,
    ) -> Result<(), ArchiveErrorKind> {
        let mut archive = tar::Archive::new(reader);
        let mut extensions = pax::Extensions::default();
        for entry in archive.entries()?.raw(true) {
            self.entry += 1;
            if self.entry > options.limits.entries {
                let limit = options.limits.entries;
                return Err(ArchiveErrorKind::TooLarge { limit, what: TarLimit::Entries });
            }
            let mut entry = entry?;
            if extensions.take(&mut entry, options.limits.extension_bytes)? {
                continue;
            }
            self.entry(entry, &std::mem::take(&mut extensions), spool, options)?;
        }
        extensions.must_be_empty()?;
        nothing_follows(archive.into_inner())
    }

    /// Paths and link targets stay in memory until the image is written.
    fn check_names(
        &mut self,
        path: &TreePath,
        link: &[u8],
        limits: &TarLimits,
    ) -> Result<(), ArchiveErrorKind> {
        let length = path.as_bytes().len() as u64;
        let depth = path.components().count().saturating_sub(1) as u64;
        self.name_bytes = self.name_bytes.saturating_add(length).saturating_add(link.len() as u64);
        for (found, limit, what) in [
            (length, limits.path_bytes, TarLimit::PathBytes),
            (depth, limits.path_depth, TarLimit::PathDepth),
            (self.name_bytes, limits.name_bytes, TarLimit::NameBytes),
        ] {
            if found > limit {
                return Err(ArchiveErrorKind::TooLarge { limit, what });
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        mut entry: tar::Entry<'_, impl Read>,
        extensions: &pax::Extensions,
        spool: &mut SpoolWriter,
        options: &mut TarOptions<'_>,
    ) -> Result<(), ArchiveErrorKind> {
        let header = entry.header().clone();
        self.path = extensions.path().map_or_else(|| header.path_bytes().into_owned(), <[u8]>::to_vec);
        if self.path.first() == Some(&b'/') {
            return Err(ArchiveErrorKind::Absolute);
        }
        let path = TreePath::parse(&self.path)?;
        extensions.check_size(entry.size())?;

        let link = extensions
            .link()
            .map(<[u8]>::to_vec)
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();
        self.check_names(&path, &link, &options.limits)?;
        self.check_parents(&path)?;
        check_kind(&header, &self.path, &path, entry.size())?;
        let metadata = Metadata {
            mode: header.mode()? & 0o7777,
            uid: extensions.id("uid")?.map_or_else(|| narrow(header.uid()?, "owner"), Ok)?,
            gid: extensions.id("gid")?.map_or_else(|| narrow(header.gid()?, "group"), Ok)?,
            mtime: extensions.mtime()?.map_or_else(|| header.mtime().map(u64::cast_signed), Ok)?,
        };
        let keep = (options.keep)(&path);
        let mut sha1 = None;
        let hardlink;
        let (kind, pending) = match header.entry_type() {
            tar::EntryType::Directory => (TarEntryKind::Directory, Pending::Other(NodeKind::Directory)),
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                let size = entry.size();
                self.bytes = self.bytes.saturating_add(size);
                if self.bytes > options.limits.bytes {
                    let limit = options.limits.bytes;
                    return Err(ArchiveErrorKind::TooLarge { limit, what: TarLimit::Bytes });
                }
                let range;
                (range, sha1) = spool_content(&mut entry, size, keep.then_some(&mut *spool), options.sha1)?;
                (TarEntryKind::File(size), range.map_or(Pending::Skipped(Skipped::File), Pending::File))
            }
            tar::EntryType::Symlink => {
                if link.is_empty() || link.contains(&0) || link.len() > 4095 {
                    return Err(ArchiveErrorKind::Malformed(
                        "the target of a symbolic link is empty, too long or holds a NUL byte".into(),
                    ));
                }
                (TarEntryKind::Symlink(&link), Pending::Other(NodeKind::Symlink(link.clone())))
            }
            tar::EntryType::Link => {
                hardlink = self.hardlink_target(&link)?;
                (TarEntryKind::Hardlink(&hardlink), Pending::Other(NodeKind::Hardlink(hardlink.clone())))
            }
            kind @ (tar::EntryType::Char | tar::EntryType::Block) => {
                let (major, minor) =
                    (header.device_major()?.unwrap_or_default(), header.device_minor()?.unwrap_or_default());
                let node = match kind {
                    tar::EntryType::Char => NodeKind::CharDevice { major, minor },
                    _ => NodeKind::BlockDevice { major, minor },
                };
                (TarEntryKind::Special, Pending::Other(node))
            }
            tar::EntryType::Fifo => (TarEntryKind::Special, Pending::Other(NodeKind::Fifo)),
            other => {
                return Err(ArchiveErrorKind::Unsupported(format!(
                    "the entry type {:?}",
                    other.as_byte() as char
                )));
            }
        };
        (options.inspect)(&TarEntry {
            path: &path,
            kind,
            pax: extensions.records(),
            sha1,
            user_name: header.username_bytes().unwrap_or_default(),
            group_name: header.groupname_bytes().unwrap_or_default(),
        })
        .map_err(ArchiveErrorKind::Refused)?;
        let is_directory = header.entry_type() == tar::EntryType::Directory;
        let pending = match pending {
            pending if keep => pending,
            Pending::File(_) => Pending::Skipped(Skipped::File),
            Pending::Other(NodeKind::Directory) => Pending::Skipped(Skipped::Directory),
            Pending::Other(_) => Pending::Skipped(Skipped::Other),
            skipped @ Pending::Skipped(_) => skipped,
        };
        if !is_directory && let Some(below) = self.first_below(&path) {
            return Err(ArchiveErrorKind::AboveEntry { below: below.clone() });
        }
        match self.nodes.get(&path) {
            // The root stands in many archives; a directory may be named again.
            Some((_, Pending::Other(NodeKind::Directory))) if is_directory => {}
            Some((_, Pending::Skipped(Skipped::Directory))) if is_directory => {}
            Some(_) => return Err(ArchiveErrorKind::Duplicate),
            None => {}
        }
        let xattrs: BTreeMap<_, _> = extensions.xattrs(options.xattrs).collect();
        // A hardlink has those of its file.
        let held: usize = xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.name_bytes = self.name_bytes.saturating_add(held as u64);
        if keep && !xattrs.is_empty() && header.entry_type() != tar::EntryType::Link {
            self.xattrs.insert(path.clone(), xattrs);
        }
        self.nodes.insert(path, (metadata, pending));
        Ok(())
    }

    fn check_parents(&self, path: &TreePath) -> Result<(), ArchiveErrorKind> {
        for parent in path.ancestors() {
            let parent_is = match self.nodes.get(&parent) {
                None
                | Some((_, Pending::Other(NodeKind::Directory) | Pending::Skipped(Skipped::Directory))) => {
                    continue;
                }
                Some((_, Pending::File(_) | Pending::Skipped(Skipped::File))) => "a regular file",
                Some((_, Pending::Skipped(Skipped::Other))) => "no directory",
                Some((_, Pending::Other(kind))) => kind.name(),
            };
            return Err(ArchiveErrorKind::BelowNoDirectory { parent, parent_is });
        }
        Ok(())
    }

    /// An entry that stands below `path`.
    fn first_below(&self, path: &TreePath) -> Option<&TreePath> {
        // No name is less than this one: NUL is in none. What has no room below it has nothing there.
        let first = path.join([1]).ok()?;
        self.nodes.range(first..).next().map(|(next, _)| next).filter(|next| next.is_below(path))
    }

    /// Where a hardlink really leads: a link to a link leads where that does.
    fn hardlink_target(&self, link: &[u8]) -> Result<TreePath, ArchiveErrorKind> {
        if link.first() == Some(&b'/') {
            return Err(ArchiveErrorKind::Absolute);
        }
        let target = TreePath::parse(link)?;
        match self.nodes.get(&target) {
            Some((_, Pending::File(_) | Pending::Skipped(Skipped::File))) => Ok(target),
            // Of a link that was not kept it isn't known to what; it goes with it.
            Some((_, Pending::Skipped(Skipped::Other))) => Ok(target),
            Some((_, Pending::Other(NodeKind::Hardlink(first)))) => Ok(first.clone()),
            _ => Err(ArchiveErrorKind::DanglingHardlink(target)),
        }
    }
}

/// What readers disagree about: some take the contents of what has none for the next entry, and a file whose name ends in
/// a slash for a directory.
fn check_kind(header: &tar::Header, name: &[u8], path: &TreePath, size: u64) -> Result<(), ArchiveErrorKind> {
    let kind = header.entry_type();
    let is_file = matches!(kind, tar::EntryType::Regular | tar::EntryType::Continuous);
    if size != 0 && !is_file && kind != tar::EntryType::GNUSparse {
        return Err(ArchiveErrorKind::Malformed(format!(
            "it is no regular file and has {size} bytes of contents"
        )));
    }
    if is_file && name.last() == Some(&b'/') {
        return Err(ArchiveErrorKind::Malformed("it is a regular file with the name of a directory".into()));
    }
    if path.is_root() && kind != tar::EntryType::Directory {
        return Err(ArchiveErrorKind::Malformed("the root can only be a directory".into()));
    }
    Ok(())
}

/// Some readers stop at the blocks that end an archive, others pass over them.
fn nothing_follows(mut reader: impl Read) -> Result<(), ArchiveErrorKind> {
    let mut buffer = [0; 8192];
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        if buffer[..count].iter().any(|&byte| byte != 0) {
            return Err(ArchiveErrorKind::Malformed("something follows the end of the archive".into()));
        }
    }
}

fn narrow(id: u64, what: &str) -> Result<u32, ArchiveErrorKind> {
    u32::try_from(id).map_err(|_| ArchiveErrorKind::Malformed(format!("the {what} {id} is no 32-bit number")))
}

/// Reads a file's content to its end, into the spool if there is one, hashing it if asked.
fn spool_content(
    content: &mut impl Read,
    size: u64,
    spool: Option<&mut SpoolWriter>,
    sha1: bool,
) -> Result<(Option<SpoolRange>, Option<[u8; 20]>), ArchiveErrorKind> {
    let mut hashing = Hashing {
        inner: content,
        context: sha1.then(|| digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY)),
        count: 0,
    };
    let range = match spool {
        Some(spool) => Some(spool.append(&mut hashing)?),
        None => {
            io::copy(&mut hashing, &mut io::sink())?;
            None
        }
    };
    if hashing.count != size {
        return Err(ArchiveErrorKind::Io(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("the archive ends after {} of the {size} bytes of this file", hashing.count),
        )));
    }
    let sha1 = hashing.context.map(|context| {
        let mut hash = [0; 20];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    });
    Ok((range, sha1))
}

struct Hashing<'a, R> {
    inner: &'a mut R,
    context: Option<digest::Context>,
    count: u64,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some(context) = &mut self.context {
            context.update(&buffer[..count]);
        }
        self.count += count as u64;
        Ok(count)
    }
}

impl TarEntries {
    /// The entries that were kept, as a tree whose file contents are in `spool`. A hardlink to a file that was
    /// not kept is dropped with it.
    pub fn into_tree(mut self, spool: &Spool, origin: &Origin) -> Tree {
        let mut tree = Tree::new();
        for (path, (metadata, pending)) in self.nodes {
            let kind = match pending {
                Pending::File(range) => NodeKind::File(spool.content(range)),
                Pending::Other(kind) => kind,
                Pending::Skipped(_) => continue,
            };
            let mut node = Node::new(kind, metadata, origin.clone());
            node.xattrs = self.xattrs.remove(&path).unwrap_or_default();
            tree.insert(path, node);
        }
        let dangling: Vec<TreePath> = tree
            .iter()
            .filter(
                |(_, node)| matches!(&node.kind, NodeKind::Hardlink(target) if tree.get(target).is_none()),
            )
            .map(|(path, _)| path.clone())
            .collect();
        for path in dangling {
            tree.remove(&path);
        }
        tree
    }
}

/// Reads a whole archive into a tree: keeps everything but extended attributes, no hashes.
///
/// # Errors
/// As [`read_tar`].
pub fn read_whole_tar(
    reader: impl Read,
    mut spool: SpoolWriter,
    origin: &Origin,
) -> Result<Tree, ArchiveError> {
    let mut options = TarOptions {
        limits: TarLimits::default(),
        keep: &|_| true,
        sha1: false,
        xattrs: &|_| false,
        inspect: &mut |_| Ok(()),
    };
    let entries = read_tar(reader, &mut spool, &mut options)?;
    let spool =
        spool.finish().map_err(|error| ArchiveError { entry: 0, path: Vec::new(), kind: error.into() })?;
    Ok(entries.into_tree(&spool, origin))
}

#[cfg(test)]
mod tests;
