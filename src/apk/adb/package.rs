//! The schema `pckg`: what a package says about itself, its scripts, and its files without their contents.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::Fields;
use super::value::{Adb, Slots, Value, adb_error};
use crate::apk::checksum::{sha256, sha512};
use crate::apk::{ApkError, PackageInfo, Quoted};
use crate::tree::TreePath;

/// The slots of the objects.
pub(super) mod slot {
    /// Of the root.
    pub(crate) const PACKAGE: [usize; 5] = [1, 2, 3, 4, 5];
    pub(crate) const INFO: usize = PACKAGE[0];
    pub(crate) const PATHS: usize = PACKAGE[1];
    pub(crate) const SCRIPTS: usize = PACKAGE[2];
    pub(crate) const TRIGGERS: usize = PACKAGE[3];
    pub(crate) const REPLACES_PRIORITY: usize = PACKAGE[4];
    /// Of `dir`; of `file` the first two too.
    pub(crate) const NAME: usize = 1;
    pub(crate) const ACL: usize = 2;
    pub(crate) const FILES: usize = 3;
    /// Of `file`.
    pub(crate) const SIZE: usize = 3;
    pub(crate) const MTIME: usize = 4;
    pub(crate) const HASHES: usize = 5;
    pub(crate) const TARGET: usize = 6;
    /// Of `acl`.
    pub(crate) const MODE: usize = 1;
    pub(crate) const USER: usize = 2;
    pub(crate) const GROUP: usize = 3;
    pub(crate) const XATTRS: usize = 4;
}

/// The scripts by their slots, from 1 on, with the names that format v2 gives them.
pub(super) const SCRIPTS: [&str; 7] = [
    ".trigger",
    ".pre-install",
    ".post-install",
    ".pre-deinstall",
    ".post-deinstall",
    ".pre-upgrade",
    ".post-upgrade",
];

/// The file types of `target`, as `st_mode` has them (`inode(7)`).
pub(super) mod file_type {
    pub(crate) const FIFO: u16 = 0o010_000;
    pub(crate) const CHAR_DEVICE: u16 = 0o020_000;
    pub(crate) const BLOCK_DEVICE: u16 = 0o060_000;
    pub(crate) const REGULAR: u16 = 0o100_000;
    pub(crate) const SYMLINK: u16 = 0o120_000;
}

/// The most entries of a package.
const MOST_ENTRIES: usize = 1_000_000;
/// The longest target of a link that Linux has, and the longest path.
const MOST_TARGET: usize = 4095;
/// `LOGIN_NAME_MAX` of Linux.
const MOST_NAME: usize = 255;

/// What the ADB block of a package says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdbPackage {
    /// As `.PKGINFO` would have it.
    pub info: PackageInfo,
    /// The scripts, by the names that format v2 gives them (`.post-install`). They are never run.
    pub scripts: Vec<(String, Vec<u8>)>,
    /// Its files and directories but the root, in its own order: that of the DATA blocks.
    pub entries: Vec<Entry>,
}

/// A file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub path: TreePath,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, at most `0o7777`.
    pub mode: u32,
    /// The owner's name.
    pub user: String,
    /// The group's name.
    pub group: String,
    /// Seconds since 1970; directories have none.
    pub mtime: Option<i64>,
    /// Extended attributes by full name, all that the package has.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The types of entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// In bytes.
        size: u64,
        /// Of its content.
        hash: FileHash,
        /// How its DATA block names it: the number of its directory, and its number there. Empty files have no block.
        place: (u32, u32),
    },
    /// A further name of a file that comes earlier.
    Hardlink(TreePath),
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A character device: major and minor number.
    CharDevice(u32, u32),
    /// A block device: major and minor number.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

/// The hash of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileHash {
    /// SHA-256.
    Sha256([u8; 32]),
    /// SHA-512.
    Sha512([u8; 64]),
}

impl FileHash {
    fn of_length(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().map(Self::Sha256).or_else(|_| bytes.try_into().map(Self::Sha512)).ok()
    }

    /// The hash alone.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(hash) => hash,
            Self::Sha512(hash) => hash,
        }
    }

    fn matches(&self, content: &[u8]) -> bool {
        match self {
            Self::Sha256(hash) => sha256(content) == *hash,
            Self::Sha512(hash) => sha512(content) == *hash,
        }
    }
}

impl AdbPackage {
    /// Reads the ADB block of a package.
    ///
    /// # Errors
    /// When its values are none of a package, or paths lead out of it, stand there twice or below what is no
    /// directory.
    pub fn parse(bytes: &[u8]) -> Result<Self, ApkError> {
        let adb = Adb::parse(bytes)?;
        let root = adb.root()?;
        let object =
            adb.slots(root.get(slot::INFO))?.ok_or_else(|| adb_error(root.offset, "it has no info"))?;
        let fields = Fields::read(&adb, object)?;
        let replaces_priority = adb
            .number(root.get(slot::REPLACES_PRIORITY))?
            .map(|number| u32::try_from(number).map_err(|_| adb_error(root.offset, "no priority is so high")))
            .transpose()?;
        let mut triggers = Vec::new();
        for item in adb.items(root.get(slot::TRIGGERS))? {
            triggers.push(adb.text(item)?.to_owned());
        }
        let mut scripts = Vec::new();
        if let Some(object) = adb.slots(root.get(slot::SCRIPTS))? {
            for (index, name) in SCRIPTS.iter().enumerate() {
                if let Some(text) = adb.blob(object.get(index + 1))? {
                    scripts.push(((*name).to_owned(), text.to_vec()));
                }
            }
        }
        let mut reader = Entries::default();
        for (index, item) in adb.items(root.get(slot::PATHS))?.enumerate() {
            if let Some(directory) = adb.slots(item)? {
                reader.directory(&adb, directory, index + 1)?;
            }
        }
        let info = PackageInfo {
            name: fields.name,
            version: fields.version,
            description: fields.description,
            url: fields.url,
            build_time: fields.build_time,
            installed_size: fields.installed_size,
            arch: fields.arch,
            origin: fields.origin,
            commit: fields.commit,
            maintainer: fields.maintainer,
            license: fields.license,
            depends: fields.depends,
            provides: fields.provides,
            provider_priority: fields.provider_priority,
            install_if: fields.install_if,
            replaces: fields.replaces,
            replaces_priority,
            triggers,
            ..PackageInfo::default()
        };
        Ok(Self { info, scripts, entries: reader.entries })
    }

    /// The files that have a DATA block, in the order of those.
    pub fn contents(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| matches!(entry.kind, EntryKind::File { size: 1.., .. }))
    }
}

/// What was read of the entries so far.
#[derive(Default)]
struct Entries {
    entries: Vec<Entry>,
    /// What stands at each path: its place in `entries`.
    known: BTreeMap<TreePath, usize>,
    /// Paths that something stands below.
    parents: BTreeSet<TreePath>,
}

impl Entries {
    fn directory(&mut self, adb: &Adb<'_>, object: Slots<'_>, number: usize) -> Result<(), ApkError> {
        let name = adb.blob(object.get(slot::NAME))?.unwrap_or_default();
        let path = parse_path(object.offset, name)?;
        let acl = Acl::read(adb, object)?;
        // Everything stands below the root, whose own metadata `apk` leaves alone.
        if !path.is_root() {
            self.add(object.offset, acl.entry(path.clone(), EntryKind::Directory, None))?;
        }
        for (index, item) in adb.items(object.get(slot::FILES))?.enumerate() {
            let Some(file) = adb.slots(item)? else {
                return Err(adb_error(object.offset, "a file is nothing"));
            };
            self.file(adb, file, &path, (number, index + 1))?;
        }
        Ok(())
    }

    fn file(
        &mut self,
        adb: &Adb<'_>,
        object: Slots<'_>,
        directory: &TreePath,
        place: (usize, usize),
    ) -> Result<(), ApkError> {
        let at = object.offset;
        let name = adb.blob(object.get(slot::NAME))?.unwrap_or_default();
        let is_name = !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/');
        let path = directory.join(name).ok().filter(|_| is_name);
        let path =
            path.ok_or_else(|| adb_error(at, &format!("{} is the name of no file", Quoted::new(name))))?;
        let refuse = |problem: &str| Err(adb_error(at, &format!("{}: {problem}", shown(&path))));
        let acl = Acl::read(adb, object)?;
        let size = adb.number(object.get(slot::SIZE))?.unwrap_or_default();
        let mtime = adb.number(object.get(slot::MTIME))?.unwrap_or_default();
        let Ok(mtime) = i64::try_from(mtime) else { return refuse("its time is far from now") };
        let hashes = adb.blob(object.get(slot::HASHES))?;
        let hash = hashes.and_then(FileHash::of_length);
        if hashes.is_some() && hash.is_none() {
            return refuse("its hash is neither a SHA-256 nor a SHA-512");
        }
        let kind = match adb.blob(object.get(slot::TARGET))? {
            None => {
                let Some(hash) = hash else { return refuse("it has no hash") };
                if size == 0 && !hash.matches(b"") {
                    return refuse("it is empty, and its hash is not that of an empty file");
                }
                let place = (u32::try_from(place.0).ok(), u32::try_from(place.1).ok());
                let (Some(directory), Some(file)) = place else { return refuse("there are too many files") };
                EntryKind::File { size, hash, place: (directory, file) }
            }
            Some(target) => match self.special(target, at, &path)? {
                EntryKind::Hardlink(target) => {
                    let first = self.known.get(&target).and_then(|&index| self.entries.get(index));
                    match first.map(|first| &first.kind) {
                        Some(EntryKind::File { hash: theirs, .. })
                            if hash.is_none_or(|hash| hash == *theirs) =>
                        {
                            EntryKind::Hardlink(target)
                        }
                        Some(EntryKind::File { .. }) => {
                            return refuse("its hash is another than that of the file that it is a link to");
                        }
                        _ => return refuse("it is a hardlink to what is no file before it"),
                    }
                }
                other => other,
            },
        };
        let entry = acl.entry(path.clone(), kind, Some(mtime));
        self.add(at, entry)
    }

    /// What has a target: two bytes of file type, and what that type needs.
    fn special(&self, target: &[u8], at: u64, path: &TreePath) -> Result<EntryKind, ApkError> {
        let refuse = |problem: &str| adb_error(at, &format!("{}: {problem}", shown(path)));
        let Some((kind, rest)) = target.split_first_chunk() else {
            return Err(refuse("its target is cut"));
        };
        let device = || {
            let number = rest.try_into().map(u64::from_le_bytes);
            number.map(device_numbers).map_err(|_| refuse("its device number has not eight bytes"))
        };
        match u16::from_le_bytes(*kind) {
            file_type::FIFO => device().map(|_| EntryKind::Fifo),
            file_type::CHAR_DEVICE => device().map(|(major, minor)| EntryKind::CharDevice(major, minor)),
            file_type::BLOCK_DEVICE => device().map(|(major, minor)| EntryKind::BlockDevice(major, minor)),
            file_type::REGULAR => parse_path(at, rest).map(EntryKind::Hardlink),
            file_type::SYMLINK if rest.is_empty() || rest.len() > MOST_TARGET || rest.contains(&0) => {
                Err(refuse("the target of a symbolic link is empty, too long or holds a NUL byte"))
            }
            file_type::SYMLINK => Ok(EntryKind::Symlink(rest.to_vec())),
            _ => Err(refuse("its type is none of those that files have")),
        }
    }

    fn add(&mut self, at: u64, entry: Entry) -> Result<(), ApkError> {
        let refuse = |problem: String| Err(adb_error(at, &format!("{}: {problem}", shown(&entry.path))));
        if self.entries.len() == MOST_ENTRIES {
            return refuse(format!("the package has more than {MOST_ENTRIES} files"));
        }
        if self.known.contains_key(&entry.path) {
            return refuse("it stands there twice".to_owned());
        }
        let is_directory = entry.kind == EntryKind::Directory;
        if !is_directory && self.parents.contains(&entry.path) {
            return refuse("other files stand below it, and it is no directory".to_owned());
        }
        for parent in entry.path.ancestors() {
            let known = self.known.get(&parent).and_then(|&index| self.entries.get(index));
            if known.is_some_and(|known| known.kind != EntryKind::Directory) {
                return refuse(format!("it stands below {}, which is no directory", shown(&parent)));
            }
            self.parents.insert(parent);
        }
        self.known.insert(entry.path.clone(), self.entries.len());
        self.entries.push(entry);
        Ok(())
    }
}

/// `acl`: permission bits, owner, extended attributes.
struct Acl {
    mode: u32,
    user: String,
    group: String,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Acl {
    fn read(adb: &Adb<'_>, owner: Slots<'_>) -> Result<Self, ApkError> {
        let value = owner.get(slot::ACL);
        let object = adb.slots(value)?.ok_or_else(|| adb_error(owner.offset, "an entry has no acl"))?;
        let at = object.offset;
        let mode = adb.number(object.get(slot::MODE))?.unwrap_or_default();
        let Some(mode) = u32::try_from(mode).ok().filter(|mode| *mode <= 0o7777) else {
            return Err(adb_error(at, "a mode has more than permission bits"));
        };
        let name = |value: Value| -> Result<String, ApkError> {
            let name = adb.text(value)?;
            let odd = |c: char| c.is_control() || c.is_whitespace() || ":/".contains(c);
            if name.is_empty() || name.len() > MOST_NAME || name.contains(odd) {
                return Err(adb_error(at, &format!("{} is the name of no owner", Quoted::new(name))));
            }
            Ok(name.to_owned())
        };
        let mut xattrs = BTreeMap::new();
        for item in adb.items(object.get(slot::XATTRS))? {
            let blob = adb.blob(item)?.unwrap_or_default();
            let end = blob.iter().position(|&byte| byte == 0).filter(|&end| end != 0);
            let Some(end) = end else {
                return Err(adb_error(at, "an extended attribute has no name"));
            };
            if xattrs.insert(blob[..end].to_vec(), blob[end + 1..].to_vec()).is_some() {
                let problem =
                    format!("the extended attribute {} stands there twice", Quoted::new(&blob[..end]));
                return Err(adb_error(at, &problem));
            }
        }
        Ok(Self { mode, user: name(object.get(slot::USER))?, group: name(object.get(slot::GROUP))?, xattrs })
    }

    fn entry(self, path: TreePath, kind: EntryKind, mtime: Option<i64>) -> Entry {
        let Self { mode, user, group, xattrs } = self;
        Entry { path, kind, mode, user, group, mtime, xattrs }
    }
}

/// A path from the root, without a slash at its beginning.
fn parse_path(at: u64, path: &[u8]) -> Result<TreePath, ApkError> {
    let refuse = |problem: &str| adb_error(at, &format!("the path {}: {problem}", Quoted::new(path)));
    if path.first() == Some(&b'/') {
        return Err(refuse("it is absolute"));
    }
    let parsed = TreePath::parse(path).map_err(|error| refuse(&error.to_string()))?;
    match parsed.as_bytes() == path {
        true => Ok(parsed),
        false => Err(refuse("it is written as nobody writes it")),
    }
}

fn shown(path: &TreePath) -> Quoted {
    Quoted::new(path.as_bytes())
}

/// Major and minor number, as `makedev(3)` of musl and glibc puts them together.
fn device_numbers(device: u64) -> (u32, u32) {
    let major = (device >> 32 & 0xffff_f000) | (device >> 8 & 0xfff);
    let minor = (device >> 12 & 0xffff_ff00) | (device & 0xff);
    // Masked to 32 bits.
    (major as u32, minor as u32)
}

/// The other way round.
pub(super) fn device_number(major: u32, minor: u32) -> u64 {
    let (major, minor) = (u64::from(major), u64::from(minor));
    (major & 0xffff_f000) << 32 | (major & 0xfff) << 8 | (minor & 0xffff_ff00) << 12 | minor & 0xff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_come_back() {
        for (major, minor) in
            [(1, 3), (8, 0), (0xfff, 0xff), (0x1234_5678, 0x9abc_def0), (u32::MAX, u32::MAX)]
        {
            assert_eq!(device_numbers(device_number(major, minor)), (major, minor));
        }
        assert_eq!(device_number(5, 1), 0x501);
    }
}
