//! Packages that an index vouches for, down to each file. Those of format v3 are in `adb_package`.
//!
//! The chain, for a package of a [`VerifiedIndex`]:
//!
//! 1. The hash of the compressed control member is the index's `C:`. A package with another control member is
//!    refused, however well it is signed (CVE-2026-42575 of apko was a missing link here).
//! 2. Each of the package's own signatures by a *trusted* key fits the control member. `apk` doesn't look at
//!    them in a package of a repository, since the index vouches already; leanfs does, so that a damaged
//!    signature member is found. Signatures by unknown keys can't be checked and don't matter. What no signature
//!    and no checksum covers must be as tools write it, so that a change of any byte shows (`envelope`).
//! 3. The file has the size that the index says.
//! 4. The SHA-256 of everything after the control member is the `datahash` of its `.PKGINFO`. It is computed
//!    before a byte is unpacked, so nothing hostile reaches the decompressor and the disk, and again while
//!    unpacking, so that a file that changes in between is found out.
//! 5. The data member is one gzip member, and nothing follows it.
//! 6. Each file that has `APK-TOOLS.checksum.SHA1` in its pax header has that SHA-1 (for a symbolic link, its
//!    target).

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::adb_package;
use super::cache::hash_rest;
use super::envelope;
use super::error::{Member, shown};
use super::index::{VerifiedIndex, beyond, chain, limit_of};
use super::{FetchError, PackageFilter};
use crate::apk::adb::MAGIC;
use crate::apk::checksum::{Checksum, sha1};
use crate::apk::member::split_member;
use crate::apk::{ApkError, IndexEntry, PackageHead, PackageInfo, PublicKey};
use crate::archive::{ArchiveError, ArchiveErrorKind, TarEntryKind, TarLimits, TarOptions, read_tar};
use crate::recipe::InputLimits;
use crate::tree::{LayerKind, Origin, SpoolWriter, Tree, TreePath, xattr_belongs_to_file};

/// The pax record with a file's hash, in hexadecimal digits.
const FILE_HASH: &str = "APK-TOOLS.checksum.SHA1";

/// A package of which everything was verified. Made only by [`super::Fetcher::packages`].
#[derive(Debug, Clone)]
pub struct VerifiedApk {
    entry: IndexEntry,
    info: PackageInfo,
    scripts: Vec<(String, Vec<u8>)>,
    owners: Vec<Owner>,
    tree: Tree,
    location: String,
}

/// Who owns a file, by name: format v3 has no numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The file.
    pub path: TreePath,
    /// Its user.
    pub user: String,
    /// Its group.
    pub group: String,
}

impl VerifiedApk {
    /// A package without files.
    pub(super) fn new(
        entry: IndexEntry,
        info: PackageInfo,
        scripts: Vec<(String, Vec<u8>)>,
        location: &str,
    ) -> Self {
        let location = location.to_owned();
        Self { entry, info, scripts, owners: Vec::new(), tree: Tree::new(), location }
    }

    pub(super) fn with_files(self, owners: Vec<Owner>, tree: Tree) -> Self {
        Self { owners, tree, ..self }
    }

    /// What its index says of it.
    pub fn entry(&self) -> &IndexEntry {
        &self.entry
    }

    /// Its `.PKGINFO`, with `replaces`, `triggers` and so on.
    pub fn info(&self) -> &PackageInfo {
        &self.info
    }

    /// Its scripts: name (`.post-install`, `.trigger` …) and text. They are never run.
    pub fn scripts(&self) -> &[(String, Vec<u8>)] {
        &self.scripts
    }

    /// Its files, those that the filter let through; contents are in a nameless file of the cache directory.
    /// Each node's origin is [`LayerKind::Package`] with name and version.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Those of its files that name an owner other than root, which only the image's accounts can turn into a number.
    /// Until then they belong to nobody (65534), as those stay whose owner isn't there. Empty for format v2, which
    /// has numbers.
    pub fn owners(&self) -> &[Owner] {
        &self.owners
    }

    /// Its files, to keep.
    pub fn into_tree(self) -> Tree {
        self.tree
    }

    /// The address or path that it came from, without credentials.
    pub fn location(&self) -> &str {
        &self.location
    }
}

/// What is needed to verify packages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verification<'a> {
    pub(super) keys: &'a [PublicKey],
    pub(super) limits: &'a InputLimits,
    /// Where nameless files can be made.
    pub(super) temporary: &'a Path,
}

/// Verifies and unpacks the package in `file`, which `location` names in messages.
///
/// # Errors
/// The first link of the chain that doesn't hold, or what a disk says.
pub(super) fn unpack(
    mut file: File,
    path: &Path,
    location: &str,
    index: &VerifiedIndex,
    entry: &IndexEntry,
    filter: PackageFilter<'_>,
    verification: Verification<'_>,
) -> Result<VerifiedApk, FetchError> {
    let package = Package { name: shown(&entry.full_name()), location, path };
    let unreadable = |error| FetchError::io(path, "read", error);
    let mut magic = Vec::new();
    (&file).take(MAGIC.len() as u64).read_to_end(&mut magic).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    if magic == MAGIC {
        return adb_package::unpack(&file, path, &package, index, entry, filter, verification);
    }
    let head = {
        let mut reader = BufReader::with_capacity(64 * 1024, &file);
        match PackageHead::read_within(&mut reader, verification.limits.control_size) {
            Ok(head) => head,
            Err(error) => {
                let member = head_member(&file, &error, &entry.control_hash);
                return Err(package.unusable(member, error, verification.limits));
            }
        }
    };
    check_head(&head, &package, index, entry, verification.keys)?;
    check_envelope(&file, &head, &package).map_err(unreadable)??;
    let size = file.metadata().map_err(unreadable)?.len();
    if entry.size != 0 && size != entry.size {
        return Err(FetchError::WrongSize {
            location: location.to_owned(),
            expected: entry.size,
            found: size,
        });
    }
    let data_hash = head
        .info
        .data_hash
        .ok_or_else(|| package.damaged(Member::Control, "its .PKGINFO has no datahash".to_owned()))?;

    file.seek(SeekFrom::Start(head.data_offset)).map_err(unreadable)?;
    let found = hash_rest(&mut file).map_err(unreadable)?;
    if found != data_hash {
        return Err(package.data_changed(data_hash, found));
    }
    file.seek(SeekFrom::Start(head.data_offset)).map_err(unreadable)?;
    let tree = unpack_data(&file, head.data_offset, data_hash, entry, &package, filter, verification)?;
    Ok(VerifiedApk::new(entry.clone(), head.info, head.scripts, location).with_files(Vec::new(), tree))
}

/// What messages name.
pub(super) struct Package<'a> {
    pub(super) name: String,
    pub(super) location: &'a str,
    /// The file that holds it on this machine.
    pub(super) path: &'a Path,
}

impl Package<'_> {
    pub(super) fn damaged(&self, member: Member, problem: String) -> FetchError {
        let (package, location) = (self.name.clone(), self.location.to_owned());
        FetchError::MemberDamaged { package, location, member, problem }
    }

    /// A limit or a disk that fails, if that is what it is: neither says that anybody changed the package.
    fn unusable(&self, member: Member, error: ApkError, limits: &InputLimits) -> FetchError {
        if let Some(setting) = limit_of(&error) {
            return beyond(self.location.to_owned(), setting, limits);
        }
        match error {
            ApkError::Damaged { source, .. } if is_of_disk(&source) => {
                FetchError::io(self.path, "read", source)
            }
            error => self.damaged(member, chain(&error)),
        }
    }

    fn data_changed(&self, expected: [u8; 32], found: [u8; 32]) -> FetchError {
        FetchError::MemberChanged {
            package: self.name.clone(),
            location: self.location.to_owned(),
            member: Member::Data,
            expected: hex::encode(expected),
            found: hex::encode(found),
        }
    }
}

/// Links 1 and 2 of the chain.
fn check_head(
    head: &PackageHead,
    package: &Package<'_>,
    index: &VerifiedIndex,
    entry: &IndexEntry,
    keys: &[PublicKey],
) -> Result<(), FetchError> {
    let mut well_signed = false;
    let mut unfit = None;
    for signature in &head.signatures {
        for key in keys.iter().filter(|key| key.name() == signature.key_name) {
            match key.verify(signature.kind, &head.control, &signature.bytes) {
                Ok(()) => well_signed = true,
                Err(_) => unfit = Some(key.name()),
            }
        }
    }
    let (found_name, found_version) = (&head.info.name, &head.info.version);
    let is_another = (found_name, found_version) != (&entry.name, &entry.version);
    if !head.is(&entry.control_hash) {
        let (what, found) = match entry.control_hash {
            Checksum::Sha1(_) | Checksum::Short(_) => ("SHA-1", hex::encode(head.control_sha1)),
            Checksum::Sha256(_) => ("SHA-256", hex::encode(head.control_sha256)),
        };
        if well_signed || is_another {
            return Err(FetchError::NotNamed {
                package: package.name.clone(),
                location: package.location.to_owned(),
                found: shown(&format!("{found_name}-{found_version} with the control {what} {found}")),
                index: index.location().to_owned(),
            });
        }
        return Err(FetchError::MemberChanged {
            package: package.name.clone(),
            location: package.location.to_owned(),
            member: Member::Control,
            expected: hex::encode(entry.control_hash.as_bytes()),
            found,
        });
    }
    if let Some(key) = unfit {
        let problem = format!("its signature by {} does not fit the control member", shown(key));
        return Err(package.damaged(Member::Signature, problem));
    }
    if is_another {
        return Err(FetchError::NotNamed {
            package: package.name.clone(),
            location: package.location.to_owned(),
            found: shown(&format!("{found_name}-{found_version}")),
            index: index.location().to_owned(),
        });
    }
    Ok(())
}

/// The rest of link 2: that nothing in the signature member was changed, what means nothing included.
fn check_envelope(
    mut file: &File,
    head: &PackageHead,
    package: &Package<'_>,
) -> io::Result<Result<(), FetchError>> {
    let mut envelope = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(head.data_offset.saturating_sub(head.control.len() as u64)).read_to_end(&mut envelope)?;
    Ok(envelope::check(&envelope, &head.control)
        .map_err(|problem| package.damaged(Member::Signature, problem.to_owned())))
}

/// Links 4 (for the second time) to 6.
fn unpack_data(
    file: &File,
    offset: u64,
    data_hash: [u8; 32],
    entry: &IndexEntry,
    package: &Package<'_>,
    filter: PackageFilter<'_>,
    Verification { limits, temporary, .. }: Verification<'_>,
) -> Result<Tree, FetchError> {
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let mut member = split_member(&mut reader, "data", offset, limits.package_unpacked)
        .map_err(|error| package.unusable(Member::Data, error, limits))?
        .ok_or_else(|| package.damaged(Member::Data, "it is not there".to_owned()))?
        .expanding_at_most(limits.expansion);
    let full = |error| FetchError::io(temporary, "write unpacked contents to", error);
    let mut spool = SpoolWriter::new_in(temporary).map_err(full)?;
    let mut wrong_file = None;
    let mut inspect = |seen: &crate::archive::TarEntry<'_>| -> Result<(), String> {
        let Some(record) = seen.pax.get(FILE_HASH) else { return Ok(()) };
        let found = match seen.kind {
            TarEntryKind::File(_) => seen.sha1,
            TarEntryKind::Symlink(target) => Some(sha1(target)),
            _ => None,
        };
        let Some(found) = found else { return Ok(()) };
        let mut expected = [0; 20];
        if hex::decode_to_slice(record, &mut expected).is_ok() && expected == found {
            return Ok(());
        }
        wrong_file = Some(FetchError::FileChanged {
            location: package.location.to_owned(),
            path: shown(&seen.path.to_string()),
            expected: shown(&String::from_utf8_lossy(&record[..record.len().min(40)])),
            found: hex::encode(found),
        });
        Err("its hash does not fit".to_owned())
    };
    let keep = |path: &TreePath| filter(entry, path);
    let tar_limits = TarLimits {
        entries: limits.package_entries,
        bytes: limits.package_unpacked,
        extension_bytes: limits.pax_size,
        path_bytes: limits.path_length,
        path_depth: limits.path_depth,
        name_bytes: limits.names_size,
    };
    let mut options = TarOptions {
        limits: tar_limits,
        keep: &keep,
        sha1: true,
        xattrs: &xattr_belongs_to_file,
        inspect: &mut inspect,
    };
    let entries = match read_tar(&mut member, &mut spool, &mut options) {
        Ok(entries) => entries,
        Err(ArchiveError { kind: ArchiveErrorKind::Io(error), .. }) if is_of_disk(&error) => {
            return Err(full(error));
        }
        // The decompressor's own limits come as errors of reading.
        Err(ArchiveError { kind: ArchiveErrorKind::Io(error), .. })
            if error.kind() == io::ErrorKind::FileTooLarge =>
        {
            return Err(package.unusable(Member::Data, member.explain(error), limits));
        }
        Err(error) => {
            return Err(wrong_file.unwrap_or_else(|| FetchError::Archive {
                location: package.location.to_owned(),
                source: Box::new(error),
            }));
        }
    };
    let hashes = member.finish().map_err(|error| package.unusable(Member::Data, error, limits))?;
    let more = reader.fill_buf().map_err(|error| FetchError::io(package.path, "read", error))?;
    if !more.is_empty() {
        return Err(package.damaged(Member::Data, "something follows it".to_owned()));
    }
    if hashes.sha256 != data_hash {
        return Err(package.data_changed(data_hash, hashes.sha256));
    }
    let spool = spool.finish().map_err(full)?;
    Ok(entries.into_tree(&spool, &Origin::new(LayerKind::Package, entry.full_name())))
}

/// Whether an error is the spool's disk and not the archive's contents.
pub(super) fn is_of_disk(error: &io::Error) -> bool {
    error.raw_os_error().is_some()
        || matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Which member an error of the head is about. What is damaged can't say itself what it was; but if the control
/// member that the index names follows, then it was a signature member.
fn head_member(mut file: &File, error: &ApkError, control_hash: &Checksum) -> Member {
    /// Signature members have less than 2 kB for each signature.
    const MOST_SIGNATURE_BYTES: u64 = 64 * 1024;
    const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
    let offset = match error {
        ApkError::Damaged { offset, .. }
        | ApkError::TooLarge { offset, .. }
        | ApkError::Structure { offset, .. } => *offset,
        _ => return Member::Control,
    };
    let mut start = Vec::new();
    let read = file
        .seek(SeekFrom::Start(offset))
        .and_then(|_| file.take(MOST_SIGNATURE_BYTES).read_to_end(&mut start));
    if read.is_err() {
        return Member::Control;
    }
    let follows = (1..start.len()).filter(|&place| start[place..].starts_with(&GZIP_MAGIC)).any(|place| {
        let from_there = file.seek(SeekFrom::Start(offset + place as u64));
        let head = from_there.map(|_| PackageHead::read(&mut BufReader::new(file)));
        head.is_ok_and(|head| head.is_ok_and(|head| head.is(control_hash)))
    });
    if follows { Member::Signature } else { Member::Control }
}
