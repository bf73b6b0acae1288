//! What a lock vouches for, from wherever it can be had.
//!
//! The lock stands in place of an index: lock → SHA-256 of the file → control member (or ADB block) → data, and the
//! package's own signature by one of the keys that were locked. So nothing depends on what an index names today.
//! Places are asked in this order: the cache, the vendor directory, the repositories, first the one that it came from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use super::address::Address;
use super::cache::{Sha256, Validators, hash_file, hash_rest};
use super::index::{VerifiedIndex, beyond, chain, limit_of};
use super::transport::Download;
use super::{FetchError, FetchErrorKind, Fetcher, error, index, is_index, load_keys, open_local};
use crate::apk::adb::{self, AdbHead, AdbPackage, MOST_PACKAGE_ADB_BYTES, Schema};
use crate::apk::checksum::sha256;
use crate::apk::{ApkError, Checksum, Index, IndexEntry, PackageHead, PublicKey};
use crate::arch::Arch;
use crate::lock::{ArchLock, LockedFile, LockedPackage, PackageHashes};
use crate::recipe::{InputLimit, InputLimits, Repository};
use crate::report::Event;

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

/// A file that has the hash that it should have.
pub(super) struct Found {
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// How messages call it.
    pub(super) location: String,
}

/// One place to look at.
enum Candidate {
    Local(PathBuf),
    Remote(Address),
}

/// What is looked for.
struct Wanted<'a> {
    /// The file's name.
    name: &'a str,
    /// How messages call it: with the lock's line.
    what: String,
    size: u64,
    sha256: Sha256,
    limit: InputLimit,
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
        let (mut file, path, location) = self.open_package(index, entry)?;
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
        let head = read_head(&mut file, &path, &location, package.size, keys, &self.limits)?;
        let differs = |part: &'static str, locked: String, found: String| FetchError::NotAsLocked {
            what: format!("the {part} of {}", what_of(package, sources)),
            location: location.clone(),
            expected: locked,
            found,
        };
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

    fn find_package(
        &self,
        package: &LockedPackage,
        arch: Arch,
        sources: &LockedSources<'_>,
    ) -> Result<Found, FetchError> {
        let name = format!("{}.apk", package.full_name());
        let wanted = Wanted {
            name: &name,
            what: what_of(package, sources),
            size: package.size,
            sha256: package.hashes.file,
            limit: InputLimit::PackageSize,
        };
        let mut candidates = Vec::new();
        candidates
            .extend(sources.vendor.map(|vendor| Candidate::Local(vendor.join(arch.alpine()).join(&name))));
        let is_its_own = |label: &str| label == package.repository;
        let own = sources.repositories.iter().filter(|(label, _)| is_its_own(label));
        let others = sources.repositories.iter().filter(|(label, _)| !is_its_own(label));
        for (_, repository) in own.chain(others) {
            let mut below = vec![format!("{}/{name}", arch.alpine())];
            if package.is_v3() && package.arch != arch.alpine() {
                // By the default of format v3, packages stand in the directory of their own architecture.
                below.push(format!("{}/{name}", package.arch));
            }
            for below in below {
                candidates.push(candidate(repository, &below, &name)?);
            }
        }
        match self.find(&wanted, candidates) {
            Err(missing @ FetchError::NoWhere { .. }) if package.is_v3() => {
                // Format v3 can keep packages anywhere; then the index must still name this one.
                self.find_by_index(&wanted, package, arch, sources).unwrap_or(Err(missing))
            }
            found => found,
        }
    }

    /// Nothing if no index names the package.
    fn find_by_index(
        &self,
        wanted: &Wanted<'_>,
        package: &LockedPackage,
        arch: Arch,
        sources: &LockedSources<'_>,
    ) -> Option<Result<Found, FetchError>> {
        sources.repositories.iter().find_map(|(_, repository)| {
            let index = self.index(repository, arch).ok()?;
            let entry = index.index().entries.iter().find(|entry| {
                (&entry.name, &entry.version) == (&package.name, &package.version)
                    && entry.control_hash.as_bytes() == package.identity.as_bytes()
            })?;
            let below = index.package_path(entry).ok()?;
            candidate(repository, &below, &below).ok().map(|place| self.find(wanted, vec![place]))
        })
    }

    /// The first place that has the right bytes.
    fn find(&self, wanted: &Wanted<'_>, candidates: Vec<Candidate>) -> Result<Found, FetchError> {
        let cached = || self.cached_object(wanted);
        if let Some(found) = cached()? {
            return Ok(found);
        }
        let mut wrong = None;
        let mut unreachable = None;
        let mut asked = Vec::new();
        for candidate in &candidates {
            let (location, result) = match candidate {
                Candidate::Local(path) => (path.display().to_string(), self.local_candidate(path, wanted)),
                Candidate::Remote(address) => (address.to_string(), self.remote_candidate(address, wanted)),
            };
            match result {
                Ok(found) => return Ok(found),
                Err(error @ (FetchError::NotAsLocked { .. } | FetchError::WrongSize { .. })) => {
                    wrong.get_or_insert(error);
                }
                Err(error) => match error.kind() {
                    FetchErrorKind::Missing => asked.push(error::shown(&location)),
                    FetchErrorKind::Network => drop(unreachable.get_or_insert(error)),
                    _ => return Err(error),
                },
            }
        }
        // A server that can't be reached might have had it; but bytes that are wrong are worse than bytes that lack.
        Err(wrong.or(unreachable).unwrap_or_else(|| FetchError::NoWhere { what: wanted.what.clone(), asked }))
    }

    fn cached_object(&self, wanted: &Wanted<'_>) -> Result<Option<Found>, FetchError> {
        let Some(file) = self.cache.open_object(&wanted.sha256, |path| self.warn_damaged(path))? else {
            return Ok(None);
        };
        self.reporter.report(Event::CacheHit { name: wanted.name.to_owned() });
        let path = self.cache.object_path(&wanted.sha256);
        Ok(Some(Found { file, location: path.display().to_string(), path }))
    }

    fn local_candidate(&self, path: &Path, wanted: &Wanted<'_>) -> Result<Found, FetchError> {
        let (mut file, location) = open_local(path)?;
        let unreadable = |error| FetchError::io(path, "read", error);
        let size = file.metadata().map_err(unreadable)?.len();
        if size > self.limits.get(wanted.limit) {
            return Err(beyond(location, wanted.limit, &self.limits));
        }
        let found = hash_file(&mut file).map_err(unreadable)?;
        check(wanted, &location, found)?;
        Ok(Found { file, path: path.to_owned(), location })
    }

    fn remote_candidate(&self, address: &Address, wanted: &Wanted<'_>) -> Result<Found, FetchError> {
        let transport = self.online(address)?;
        let mut part = self.part(address, wanted.name)?;
        // Somebody else may have brought it while this waited.
        if let Some(found) = self.cached_object(wanted)? {
            return Ok(found);
        }
        let download = Download {
            address,
            name: wanted.name,
            size: Some(wanted.size),
            limit: wanted.limit,
            validators: None,
        };
        self.verified_download(transport, &download, &mut part, |part| {
            let found = part.hash()?;
            check(wanted, &address.to_string(), found)
        })?;
        let sha256 = self.keep(&mut part, wanted.name)?;
        let path = self.cache.object_path(&sha256);
        let file = File::open(&path).map_err(|error| FetchError::io(&path, "open", error))?;
        Ok(Found { file, location: address.to_string(), path })
    }

    fn refer_locked(&self, entry: &IndexEntry, sha256: &Sha256) -> Result<(), FetchError> {
        let key = super::package_key(entry);
        match self.cache.reference(&key) {
            Some(_) => Ok(()),
            None => self.cache.refer(&key, sha256, &Validators::default()),
        }
    }
}

/// What a package says of itself.
struct Head {
    /// By the identity that indexes of its own format give it.
    entry: IndexEntry,
    control: Sha256,
    data: Option<Sha256>,
    /// Where the data begins, in format v2.
    data_offset: Option<u64>,
    /// Those of the keys that signed it.
    signed_by: Vec<PublicKey>,
}

/// Reads the head of a package of either format, from its first byte on.
fn read_head(
    file: &mut File,
    path: &Path,
    location: &str,
    size: u64,
    keys: &[PublicKey],
    limits: &InputLimits,
) -> Result<Head, FetchError> {
    let unreadable = |error| FetchError::io(path, "read", error);
    let failed = |error: ApkError| match (limit_of(&error), error) {
        (Some(setting), _) => beyond(location.to_owned(), setting, limits),
        (None, ApkError::Damaged { source, .. }) if source.raw_os_error().is_some() => unreadable(source),
        (None, error) => FetchError::Malformed { location: location.to_owned(), problem: chain(&error) },
    };
    file.rewind().map_err(unreadable)?;
    let mut magic = Vec::new();
    (&*file).take(adb::MAGIC.len() as u64).read_to_end(&mut magic).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    if magic == adb::MAGIC {
        let limit = limits.package_unpacked.saturating_add(2 * MOST_PACKAGE_ADB_BYTES);
        let mut blocks = adb::open(BufReader::new(&*file), limit).map_err(failed)?;
        let (head, _) =
            AdbHead::read(&mut blocks, Schema::PACKAGE, MOST_PACKAGE_ADB_BYTES).map_err(failed)?;
        let control = sha256(&head.adb);
        let is_signer = |key: &&PublicKey| {
            head.signatures.iter().any(|signature| {
                signature.key_id == key.id() && signature.verify(key, head.schema, &head.adb).is_ok()
            })
        };
        let signed_by = keys.iter().filter(is_signer).cloned().collect();
        let info = AdbPackage::parse(&head.adb).map_err(failed)?.info;
        let entry = IndexEntry::of_package(info, Checksum::Sha256(control), size);
        return Ok(Head { entry, control, data: None, data_offset: None, signed_by });
    }
    let head = PackageHead::read_within(&mut BufReader::new(&*file), limits.control_size).map_err(failed)?;
    let data = head.info.data_hash.ok_or_else(|| FetchError::Malformed {
        location: location.to_owned(),
        problem: "its .PKGINFO has no datahash".to_owned(),
    })?;
    let is_signer = |key: &&PublicKey| {
        let mut signatures = head.signatures.iter();
        signatures.any(|signature| key.verify(signature.kind, &head.control, &signature.bytes).is_ok())
    };
    let signed_by = keys.iter().filter(is_signer).cloned().collect();
    let entry = IndexEntry::of_package(head.info, Checksum::Sha1(head.control_sha1), size);
    Ok(Head {
        entry: IndexEntry { replaces: Vec::new(), ..entry },
        control: head.control_sha256,
        data: Some(data),
        data_offset: Some(head.data_offset),
        signed_by,
    })
}

fn check(wanted: &Wanted<'_>, location: &str, found: Sha256) -> Result<(), FetchError> {
    if found == wanted.sha256 {
        return Ok(());
    }
    Err(FetchError::NotAsLocked {
        what: wanted.what.clone(),
        location: location.to_owned(),
        expected: hex::encode(wanted.sha256),
        found: hex::encode(found),
    })
}

/// A package of a repository: `below` in one with a directory for each architecture, `beside` its index in another.
fn candidate(repository: &Repository, below: &str, beside: &str) -> Result<Candidate, FetchError> {
    Ok(match repository {
        Repository::Directory(path) if is_index(path.as_os_str().as_encoded_bytes()) => {
            Candidate::Local(path.parent().unwrap_or(Path::new("")).join(beside))
        }
        Repository::Directory(path) => Candidate::Local(path.join(below)),
        Repository::Url(url) if is_index(url.as_bytes()) => {
            let root = url.rsplit_once('/').map_or("", |(root, _)| root);
            Candidate::Remote(Address::parse(&format!("{root}/{beside}"))?)
        }
        Repository::Url(url) => {
            Candidate::Remote(Address::parse(&format!("{}/{below}", url.trim_end_matches('/')))?)
        }
    })
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
