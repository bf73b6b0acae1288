//! What a lock vouches for, from wherever it can be had.
//!
//! The lock stands in place of an index: lock → SHA-256 of the file → control member (or ADB block) → data, and the
//! package's own signature by one of the keys that were locked. So nothing depends on what an index names today.
//! Places are asked in this order: the cache, the vendor directory, the repositories, first the one that it came from.

mod find;
mod head;

use std::collections::BTreeMap;
use std::io::Seek;
use std::path::{Path, PathBuf};

use self::find::{Candidate, Found, Wanted};
use self::head::read_head;
use super::address::Address;
use super::cache::{Sha256, Validators, hash_file, hash_rest};
use super::index::{self, VerifiedIndex};
use super::{FetchError, Fetcher, error, load_keys};
use crate::apk::{Checksum, Index, IndexEntry, PublicKey};
use crate::arch::Arch;
use crate::lock::{ArchLock, LockedFile, LockedPackage, PackageHashes};
use crate::recipe::{InputLimit, Repository};

/// The directory of keys in a vendor directory.
pub const VENDORED_KEYS: &str = "keys";
/// The directory of tarballs and kernels in a vendor directory: each in a directory of the name of its SHA-256.
pub const VENDORED_FILES: &str = "files";

/// Where locked things are looked for, beside the cache.
#[derive(Debug, Clone)]
pub struct LockedSources<'a> {
    /// The lock's file, for messages.
    pub lock: &'a Path,
    /// A directory as `leanfs vendor` makes it.
    pub vendor: Option<&'a Path>,
    /// Repositories, by what the lock would call them.
    pub repositories: Vec<(String, Repository)>,
}

/// A package by its hashes, and who signed it.
#[derive(Debug, Clone)]
pub struct Identified {
    /// In bytes.
    pub size: u64,
    /// The hashes.
    pub hashes: PackageHashes,
    /// Those of the trusted keys that signed the package itself.
    pub signed_by: Vec<PublicKey>,
}

impl Fetcher<'_> {
    /// Finds and verifies every package of `lock`, and makes the indexes that name exactly these, in the order of
    /// [`ArchLock::repositories`]. Their packages are then had by [`Fetcher::packages`].
    ///
    /// # Errors
    /// When a package is nowhere, has other bytes than were locked, or isn't signed by a key that was locked.
    pub fn locked_indexes(
        &self,
        lock: &ArchLock,
        arch: Arch,
        sources: &LockedSources<'_>,
    ) -> Result<Vec<VerifiedIndex>, FetchError> {
        let keys = self.locked_keys(lock, sources)?;
        let packages: Vec<&LockedPackage> = lock.packages.iter().collect();
        let entries =
            self.in_parallel(&packages, |package| self.locked_entry(package, arch, &keys, sources))?;
        let mut found: Vec<(&LockedPackage, (IndexEntry, PathBuf))> =
            packages.into_iter().zip(entries).collect();
        let mut indexes = Vec::new();
        for place in &lock.repositories {
            let label = place.label();
            let (of_it, others) = found.into_iter().partition(|(package, _)| package.repository == label);
            found = others;
            let of_it: Vec<(&LockedPackage, (IndexEntry, PathBuf))> = of_it;
            let files: BTreeMap<String, PathBuf> =
                of_it.iter().map(|(_, (entry, path))| (entry.full_name(), path.clone())).collect();
            let entries = of_it.into_iter().map(|(_, (entry, _))| entry).collect();
            let repository =
                Repository::parse(&place.name).unwrap_or_else(|name| Repository::Directory(name.into()));
            let signer =
                place.signed_by.and_then(|key| lock.keys.iter().find(|known| known.fingerprint == key));
            let location = error::shown(&sources.lock.display().to_string());
            let signer = signer.map(|key| key.name.clone());
            let index = Index { description: String::new(), entries };
            indexes.push(index::of_lock(index, repository, arch, location, signer, files));
        }
        Ok(indexes)
    }

    /// The path of a locked tarball or kernel: `at` if that is where it is, or one from the cache or the vendor
    /// directory. Verified.
    ///
    /// # Errors
    /// When it is nowhere, or has other bytes than were locked.
    pub fn locked_file(
        &self,
        locked: &LockedFile,
        at: &str,
        sources: &LockedSources<'_>,
    ) -> Result<PathBuf, FetchError> {
        let mut candidates = Vec::new();
        candidates.extend(sources.vendor.map(|vendor| Candidate::Local(vendored_file(vendor, locked))));
        match at.split_once("://") {
            Some(("file", path)) => candidates.push(Candidate::Local(path.into())),
            Some(_) => candidates.push(Candidate::Remote(Address::parse(at)?)),
            None => candidates.push(Candidate::Local(at.into())),
        }
        let wanted = Wanted {
            name: &locked.name,
            what: format!("{} ({})", error::shown(&locked.name), place_of(sources.lock, locked.line)),
            size: locked.size,
            sha256: locked.sha256,
            limit: InputLimit::TarballSize,
        };
        self.find(&wanted, candidates).map(|found| found.path)
    }

    /// The keys that were locked, as far as they are at hand: among those that are trusted, and in the vendor directory.
    ///
    /// # Errors
    /// When a file of the vendor directory is no key.
    pub fn locked_keys(
        &self,
        lock: &ArchLock,
        sources: &LockedSources<'_>,
    ) -> Result<Vec<PublicKey>, FetchError> {
        let vendored = match sources.vendor.map(|vendor| vendor.join(VENDORED_KEYS)) {
            Some(directory) if directory.is_dir() => match load_keys(&[directory]) {
                Ok(keys) => keys,
                Err(FetchError::NoKeys { .. }) => Vec::new(),
                Err(error) => return Err(error),
            },
            _ => Vec::new(),
        };
        let of_repositories = self.repository_keys.iter().flat_map(|(_, keys)| keys);
        let mut keys: Vec<PublicKey> = Vec::new();
        for key in self.keys.iter().chain(of_repositories).chain(&vendored) {
            let fingerprint = key.fingerprint();
            let is_locked = lock.keys.iter().any(|locked| locked.fingerprint == fingerprint);
            if is_locked && keys.iter().all(|there| there.fingerprint() != fingerprint) {
                keys.push(key.clone());
            }
        }
        Ok(keys)
    }

    /// All hashes of packages that [`Fetcher::packages`] gave, and who signed them; in the same order.
    ///
    /// # Errors
    /// When one isn't there any more, or is another one by now.
    pub fn identify(
        &self,
        packages: &[(&VerifiedIndex, &IndexEntry)],
    ) -> Result<Vec<Identified>, FetchError> {
        self.in_parallel(packages, |&(index, entry)| self.identify_one(index, entry))
    }

    /// The key that signed an index, if one did and it is at hand.
    pub fn signer(&self, index: &VerifiedIndex) -> Option<&PublicKey> {
        let name = index.signed_by()?;
        self.keys_of(index.repository()).0.iter().find(|key| key.name() == name)
    }

    fn identify_one(&self, index: &VerifiedIndex, entry: &IndexEntry) -> Result<Identified, FetchError> {
        let opened = match self.open_package(index, entry) {
            // What was unpacked can be in the cache without the package.
            Err(FetchError::Offline { .. }) => {
                self.package(index, entry, &|_, _| false)?;
                self.open_package(index, entry)
            }
            opened => opened,
        };
        let (mut file, path, location) = opened?;
        let unreadable = |error| FetchError::io(&path, "read", error);
        let size = file.metadata().map_err(unreadable)?.len();
        let whole = hash_file(&mut file).map_err(unreadable)?;
        let keys = self.keys_of(index.repository()).0;
        let head = read_head(&mut file, &path, &location, size, keys, &self.limits)?;
        let is_named = match entry.control_hash {
            Checksum::Short(hash) => head.entry.control_hash.as_bytes()[..20] == hash,
            hash => hash == head.entry.control_hash || Checksum::Sha256(head.control) == hash,
        };
        let data_fits = match (head.data, head.data_offset) {
            (Some(expected), Some(offset)) => {
                file.seek(std::io::SeekFrom::Start(offset)).map_err(unreadable)?;
                hash_rest(&mut file).map_err(unreadable)? == expected
            }
            _ => true,
        };
        if !is_named || !data_fits {
            let problem = "it has changed since it was verified".to_owned();
            return Err(FetchError::Malformed { location, problem });
        }
        let hashes = PackageHashes { file: whole, control: head.control, data: head.data };
        Ok(Identified { size, hashes, signed_by: head.signed_by })
    }

    /// Finds a package and makes its index entry of what it says of itself.
    fn locked_entry(
        &self,
        package: &LockedPackage,
        arch: Arch,
        keys: &[PublicKey],
        sources: &LockedSources<'_>,
    ) -> Result<(IndexEntry, PathBuf), FetchError> {
        let Found { mut file, path, location } = self.find_package(package, arch, sources)?;
        let size = file.metadata().map_err(|error| FetchError::io(&path, "read", error))?.len();
        let head = read_head(&mut file, &path, &location, size, keys, &self.limits)?;
        let differs = |part: &'static str, locked: String, found: String| FetchError::NotAsLocked {
            what: format!("the {part} of {}", what_of(package, sources)),
            location: location.clone(),
            expected: locked,
            found,
        };
        if size != package.size {
            return Err(differs("size", package.size.to_string(), size.to_string()));
        }
        let (entry, hashes) = (head.entry, &package.hashes);
        if (&entry.name, &entry.version, &entry.arch) != (&package.name, &package.version, &package.arch) {
            let found = error::shown(&format!("{} for {}", entry.full_name(), entry.arch));
            return Err(differs("name", format!("{} for {}", package.full_name(), package.arch), found));
        }
        if head.control != hashes.control || head.data != hashes.data {
            let part = if head.control != hashes.control { "control member" } else { "data member" };
            let (locked, found) = match part {
                "data member" => (hashes.data.unwrap_or_default(), head.data.unwrap_or_default()),
                _ => (hashes.control, head.control),
            };
            return Err(differs(part, hex::encode(locked), hex::encode(found)));
        }
        let identity_fits = match package.identity {
            Checksum::Short(hash) => head.control[..20] == hash,
            Checksum::Sha256(hash) => head.control == hash,
            hash => entry.control_hash == hash,
        };
        if !identity_fits {
            return Err(differs("identity", package.identity.to_string(), entry.control_hash.to_string()));
        }
        let is_signed = head.signed_by.iter().any(|key| package.signed_by.contains(&key.fingerprint()));
        if !package.signed_by.is_empty() && !is_signed {
            let keys = package.signed_by.iter().map(|key| format!("sha256:{}", hex::encode(key))).collect();
            return Err(FetchError::NoLockedKey { what: what_of(package, sources), keys });
        }
        let entry = IndexEntry { control_hash: package.identity, ..entry };
        if path == self.cache.object_path(&hashes.file) {
            // So that runs without a lock find it, too; they can do without.
            let _ = self.refer_locked(&entry, &hashes.file);
        }
        Ok((entry, path))
    }

    fn refer_locked(&self, entry: &IndexEntry, sha256: &Sha256) -> Result<(), FetchError> {
        let key = super::package_key(entry);
        match self.cache.reference(&key) {
            Some(_) => Ok(()),
            None => self.cache.refer(&key, sha256, &Validators::default()),
        }
    }
}

/// Where a vendor directory has a tarball or a kernel.
pub fn vendored_file(vendor: &Path, file: &LockedFile) -> PathBuf {
    vendor.join(VENDORED_FILES).join(hex::encode(file.sha256)).join(&file.name)
}

fn what_of(package: &LockedPackage, sources: &LockedSources<'_>) -> String {
    format!("{} ({})", package.full_name(), place_of(sources.lock, package.line))
}

/// `leanfs.lock:12`
fn place_of(lock: &Path, line: usize) -> String {
    let path = error::shown(&lock.display().to_string());
    if line == 0 { path } else { format!("{path}:{line}") }
}

impl VerifiedIndex {
    /// The file of an entry, if a lock names it.
    pub(super) fn locked_file(&self, entry: &IndexEntry) -> Option<&PathBuf> {
        self.locked_files().get(&entry.full_name())
    }
}
