//! Packages of format v3 that an index vouches for, down to each file.
//!
//! The chain, for a package of a [`VerifiedIndex`]:
//!
//! 1. The hash of the ADB block is the index's. A package with another one is refused, however well it is signed.
//!    (An index can name packages by 20 bytes too: these are a SHA-256 cut to 160 bits. `apk` takes any 20 bytes if a
//!    trusted key signed the package; leanfs doesn't, for then a mirror could choose among all that was ever signed.)
//! 2. Each of the package's own signatures by a *trusted* key fits. Signatures by unknown keys can't be checked and
//!    don't matter; one that a trusted key made, under another key's id, was changed.
//! 3. The file has the size that the index says.
//! 4. The DATA blocks are those of the files that the ADB block names, in its order, each with that file's size and
//!    numbers, and nothing follows. They are not looked at before link 1 holds.
//! 5. Each content has the SHA-256 or SHA-512 that the ADB block names, as it is written to the spool.
//!
//! Outside of the chain are the compressed stream, of which other bytes can mean the same (deflate has several ways to
//! write anything), the level in `ADBc`, and signatures by unknown keys. What is read is the same with any of them.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::error::{Member, shown};
use super::index::{VerifiedIndex, beyond, chain};
use super::package::{Owner, Package, Verification, VerifiedApk, is_of_disk};
use super::{FetchError, PackageFilter};
use crate::apk::adb::{
    self, AdbHead, AdbPackage, Blocks, Decompressed, Entry, EntryKind, MOST_PACKAGE_ADB_BYTES, Schema,
};
use crate::apk::checksum::{Checksum, sha256};
use crate::apk::{ApkError, IndexEntry, PublicKey};
use crate::recipe::{InputLimit, InputLimits};
use crate::tree::{
    LayerKind, Metadata, Node, NodeKind, Origin, SpoolRange, SpoolWriter, Tree, TreePath,
    xattr_belongs_to_file,
};

/// Who owns what names no user or group that is there: as for `apk`, nobody.
const NOBODY: u32 = 65_534;

/// Verifies and unpacks the package in `file`, which stands at its beginning.
///
/// # Errors
/// The first link of the chain that doesn't hold, or what a disk says.
pub(super) fn unpack(
    file: &File,
    path: &Path,
    package: &Package<'_>,
    index: &VerifiedIndex,
    entry: &IndexEntry,
    filter: PackageFilter<'_>,
    verification: Verification<'_>,
) -> Result<VerifiedApk, FetchError> {
    let damaged = |error: ApkError| match error {
        ApkError::Damaged { source, .. } if source.raw_os_error().is_some() => {
            FetchError::io(path, "read", source)
        }
        error => package.damaged(Member::Adb, chain(&error)),
    };
    let reader = BufReader::with_capacity(256 * 1024, file);
    let limits = verification.limits;
    // Headers of blocks beside the contents.
    let limit = limits.package_unpacked.saturating_add(2 * MOST_PACKAGE_ADB_BYTES);
    let mut blocks = adb::open(reader, limit).map_err(damaged)?;
    let (head, data) =
        AdbHead::read(&mut blocks, Schema::PACKAGE, MOST_PACKAGE_ADB_BYTES).map_err(damaged)?;
    let contents = check_head(&head, package, index, entry, verification.keys)?;
    check_limits(&contents, package, limits)?;
    let size = file.metadata().map_err(|error| FetchError::io(path, "read", error))?.len();
    if entry.size != 0 && size != entry.size {
        let location = package.location.to_owned();
        return Err(FetchError::WrongSize { location, expected: entry.size, found: size });
    }
    let tree = unpack_data(&contents, blocks, data, entry, package, filter, verification.temporary)?;
    let owners = contents.entries.iter().filter(|entry| tree.get(&entry.path).is_some()).filter_map(owner);
    Ok(VerifiedApk::new(entry.clone(), contents.info.clone(), contents.scripts.clone(), package.location)
        .with_files(owners.collect(), tree))
}

/// Links 1 and 2 of the chain.
fn check_head(
    head: &AdbHead,
    package: &Package<'_>,
    index: &VerifiedIndex,
    entry: &IndexEntry,
    keys: &[PublicKey],
) -> Result<AdbPackage, FetchError> {
    let not_named = |found: String| FetchError::NotNamed {
        package: package.name.clone(),
        location: package.location.to_owned(),
        found: shown(&found),
        index: index.location().to_owned(),
    };
    let mut well_signed = false;
    let mut unfit = None;
    for signature in &head.signatures {
        let mut named = keys.iter().filter(|key| key.id() == signature.key_id).peekable();
        if named.peek().is_some() {
            let fits = named.any(|key| signature.verify(key, head.schema, &head.adb).is_ok());
            well_signed |= fits;
            if !fits {
                unfit = Some("a signature by a trusted key does not fit the ADB block".to_owned());
            }
        } else if let Some(key) =
            keys.iter().find(|key| signature.verify(key, head.schema, &head.adb).is_ok())
        {
            unfit = Some(format!("the signature by {} names another key", shown(key.name())));
        }
    }
    let found = sha256(&head.adb);
    let is_named = match entry.control_hash {
        Checksum::Sha256(hash) => found == hash,
        Checksum::Short(hash) => found[..20] == hash,
        Checksum::Sha1(_) => false,
    };
    let contents = AdbPackage::parse(&head.adb).map_err(|error| package.damaged(Member::Adb, chain(&error)));
    if !is_named {
        if let Checksum::Sha1(_) = entry.control_hash {
            return Err(not_named("a package of format v3, which a SHA-1 does not name".to_owned()));
        }
        // What can't be read can't be another package.
        let full_name = contents.map(|contents| format!("{}-{}", contents.info.name, contents.info.version));
        if let Ok(name) = full_name
            && (well_signed || name != entry.full_name())
        {
            return Err(not_named(format!("{name} with the ADB SHA-256 {}", hex::encode(found))));
        }
        return Err(FetchError::MemberChanged {
            package: package.name.clone(),
            location: package.location.to_owned(),
            member: Member::Adb,
            expected: hex::encode(entry.control_hash.as_bytes()),
            found: hex::encode(&found[..entry.control_hash.as_bytes().len()]),
        });
    }
    if let Some(problem) = unfit {
        return Err(package.damaged(Member::Signature, problem));
    }
    let contents = contents?;
    if (&contents.info.name, &contents.info.version) != (&entry.name, &entry.version) {
        return Err(not_named(format!("{}-{}", contents.info.name, contents.info.version)));
    }
    Ok(contents)
}

/// That the package is not more than any real one.
fn check_limits(
    contents: &AdbPackage,
    package: &Package<'_>,
    limits: &InputLimits,
) -> Result<(), FetchError> {
    let (mut bytes, mut names) = (0_u64, 0_u64);
    for Entry { path, kind, xattrs, .. } in &contents.entries {
        let length = path.as_bytes().len() as u64;
        let depth = path.components().count().saturating_sub(1) as u64;
        let (size, target) = match kind {
            EntryKind::File { size, .. } => (*size, 0),
            EntryKind::Symlink(target) => (0, target.len() as u64),
            EntryKind::Hardlink(target) => (0, target.as_bytes().len() as u64),
            _ => (0, 0),
        };
        bytes = bytes.saturating_add(size);
        names = names.saturating_add(length).saturating_add(target);
        for (found, setting) in [
            (contents.entries.len() as u64, InputLimit::PackageEntries),
            (bytes, InputLimit::PackageUnpacked),
            (length, InputLimit::PathLength),
            (depth, InputLimit::PathDepth),
            (names, InputLimit::NamesSize),
            (xattrs.values().map(|value| value.len() as u64).sum(), InputLimit::PaxSize),
        ] {
            if found > limits.get(setting) {
                return Err(beyond(package.location.to_owned(), setting, limits));
            }
        }
    }
    Ok(())
}

/// Links 4 and 5.
fn unpack_data(
    contents: &AdbPackage,
    mut blocks: Blocks<Decompressed<BufReader<&File>>>,
    data: Option<u64>,
    entry: &IndexEntry,
    package: &Package<'_>,
    filter: PackageFilter<'_>,
    temporary: &Path,
) -> Result<Tree, FetchError> {
    let full = |error| FetchError::io(temporary, "write unpacked contents to", error);
    let mut spool = SpoolWriter::new_in(temporary).map_err(full)?;
    let mut ranges: Vec<(&TreePath, SpoolRange)> = Vec::new();
    let damaged = |error: ApkError| match error {
        ApkError::FileChanged { path, expected, found } => FetchError::FileChanged {
            location: package.location.to_owned(),
            path: path.to_string(),
            expected,
            found,
        },
        ApkError::Damaged { source, .. } if is_of_disk(&source) => full(source),
        error => package.damaged(Member::Data, chain(&error)),
    };
    contents
        .read_contents(&mut blocks, data, &mut |file, reader: &mut dyn Read| {
            if filter(entry, &file.path) {
                ranges.push((&file.path, spool.append(reader)?));
                return Ok(());
            }
            io::copy(reader, &mut io::sink()).map(drop)
        })
        .map_err(damaged)?;
    blocks.into_inner().finish().map_err(damaged)?;
    // Empty files have no block.
    let nothing = spool.append(&mut io::empty()).map_err(full)?;
    let spool = spool.finish().map_err(full)?;

    let origin = Origin::new(LayerKind::Package, entry.full_name());
    let mut ranges = ranges.into_iter().peekable();
    let mut tree = Tree::new();
    for file in contents.entries.iter().filter(|file| filter(entry, &file.path)) {
        let kind = match &file.kind {
            EntryKind::Directory => NodeKind::Directory,
            EntryKind::File { .. } => {
                // Contents came in the order of the entries.
                let range =
                    ranges.next_if(|(path, _)| **path == file.path).map_or(nothing, |(_, range)| range);
                NodeKind::File(spool.content(range))
            }
            // A hardlink to a file that was not kept is dropped with it.
            EntryKind::Hardlink(target) if tree.get(target).is_none() => continue,
            EntryKind::Hardlink(target) => NodeKind::Hardlink(target.clone()),
            EntryKind::Symlink(target) => NodeKind::Symlink(target.clone()),
            EntryKind::CharDevice(major, minor) => NodeKind::CharDevice { major: *major, minor: *minor },
            EntryKind::BlockDevice(major, minor) => NodeKind::BlockDevice { major: *major, minor: *minor },
            EntryKind::Fifo => NodeKind::Fifo,
        };
        let id = |name: &str| if name == "root" { 0 } else { NOBODY };
        let metadata = Metadata {
            mode: file.mode,
            uid: id(&file.user),
            gid: id(&file.group),
            // Directories have no time of their own: the package's.
            mtime: file.mtime.or(contents.info.build_time).unwrap_or(0),
        };
        let mut node = Node::new(kind, metadata, origin.clone());
        let xattrs = file.xattrs.iter().filter(|(name, _)| xattr_belongs_to_file(name));
        node.xattrs = xattrs.map(|(name, value)| (name.clone(), value.clone())).collect();
        tree.insert(file.path.clone(), node);
    }
    Ok(tree)
}

/// The owner of an entry, unless it is root.
fn owner(entry: &Entry) -> Option<Owner> {
    let Entry { path, user, group, .. } = entry;
    let is_root = user == "root" && group == "root";
    (!is_root).then(|| Owner { path: path.clone(), user: user.clone(), group: group.clone() })
}
