//! Bytes that are known by their SHA-256: in the cache, or at the first place that has them.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::{LockedSources, what_of};
use crate::arch::Arch;
use crate::fetch::address::Address;
use crate::fetch::cache::{Sha256, hash_file};
use crate::fetch::index::beyond;
use crate::fetch::transport::Download;
use crate::fetch::{FetchError, FetchErrorKind, Fetcher, error, is_index, open_local};
use crate::lock::LockedPackage;
use crate::recipe::{InputLimit, Repository};
use crate::report::Event;

/// A file that has the hash that it should have.
pub(super) struct Found {
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// How messages call it.
    pub(super) location: String,
}

/// One place to look at.
pub(super) enum Candidate {
    Local(PathBuf),
    Remote(Address),
}

/// What is looked for.
pub(super) struct Wanted<'a> {
    /// The file's name.
    pub(super) name: &'a str,
    /// How messages call it: with the lock's line.
    pub(super) what: String,
    pub(super) size: u64,
    pub(super) sha256: Sha256,
    pub(super) limit: InputLimit,
}

impl Fetcher<'_> {
    pub(super) fn find_package(
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
    pub(super) fn find(&self, wanted: &Wanted<'_>, candidates: Vec<Candidate>) -> Result<Found, FetchError> {
        let cached = || self.cached_object(wanted);
        if let Some(found) = cached()? {
            return Ok(found);
        }
        let mut wrong = None;
        let mut unreachable = None;
        let mut asked = Vec::new();
        let (here, elsewhere): (Vec<&Candidate>, Vec<&Candidate>) =
            candidates.iter().partition(|candidate| matches!(candidate, Candidate::Local(_)));
        for candidate in here.into_iter().map(Some).chain([None]).chain(elsewhere.into_iter().map(Some)) {
            // Between this machine and the network: what the machines of a team share.
            let Some(candidate) = candidate else {
                if self.bring_object(&wanted.sha256)
                    && let Some(found) = cached()?
                {
                    return Ok(found);
                }
                continue;
            };
            let (location, result) = match candidate {
                Candidate::Local(path) => (path.display().to_string(), self.local_candidate(path, wanted)),
                Candidate::Remote(address) => (address.to_string(), self.remote_candidate(address, wanted)),
            };
            match result {
                Ok(found) => return Ok(found),
                Err(error @ FetchError::NotAsLocked { .. }) => {
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
        })
        .map_err(|error| match error {
            // The lock's size, not an index's.
            FetchError::WrongSize { location, expected, found } => FetchError::NotAsLocked {
                what: wanted.what.clone(),
                location,
                expected: format!("{expected} bytes"),
                found: format!("{found} bytes"),
            },
            error => error,
        })?;
        let sha256 = self.keep(&mut part, wanted.name)?;
        self.share(&sha256, None);
        let path = self.cache.object_path(&sha256);
        let file = File::open(&path).map_err(|error| FetchError::io(&path, "open", error))?;
        Ok(Found { file, location: address.to_string(), path })
    }
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
