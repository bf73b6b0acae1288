//! Gets indexes, packages and tarballs, from the network or from disk, and verifies them.
//!
//! ```text
//! address ─► transport ─► part ─► verification ─► object and reference in the cache
//!            (retries,    (kept   (signature,
//!             resumes)     after   hashes)
//!                          a cut)
//! ```
//! - `transport`: HTTP downloads, by the proxies of `proxy`, from an `address`.
//! - `cache`: what came and was verified, shared by all runs.
//! - `index` and `package`: the chain from a trusted key to each file.
//! - `locked`: the same where a lock stands in place of an index.
//!
//! Local repositories are read where they stand: nothing of them is copied to the cache, and everything is
//! verified as if it had come from the network.
//!
//! Architecture invariants: [`VerifiedIndex`] and [`VerifiedApk`] are made only here, after verification; no
//! file gets into the cache's objects before it; credentials are in no error, event or file name.

mod adb_index;
mod adb_package;
mod address;
mod cache;
mod envelope;
mod error;
mod index;
mod kept;
mod keys;
mod locked;
mod package;
mod proxy;
mod shared;
mod transport;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use cache::hash_rest as sha256_of_rest;
pub use error::{FetchError, FetchErrorKind, Member};
pub use index::VerifiedIndex;
pub use keys::{load_keys, load_repository_keys};
pub use locked::{Identified, LockedSources, VENDORED_FILES, VENDORED_KEYS, vendored_file};
pub use package::{Owner, VerifiedApk};

use address::Address;
use cache::{Cache, Part, PartState, Sha256, Validators};
use index::{IndexSource, IndexTrust, Layout};
use package::Verification;
use shared::SharedCache;
use transport::{Download, Outcome, Transport, TransportSettings};

use crate::apk::{IndexEntry, PublicKey};
use crate::arch::Arch;
use crate::cache::{Derived, Remote};
use crate::recipe::{InputLimit, InputLimits, ProxySettings, Repository, SharedCacheSettings, date};
use crate::report::progress::Progress;
use crate::report::{Event, Reporter, Stage};
use crate::tree::TreePath;

/// The names of a repository's index in formats v2 and v3; the first that is there is taken.
const INDEX_FILES: [&str; 2] = ["APKINDEX.tar.gz", "Packages.adb"];
/// How the name of an index ends, where its own address is given.
const INDEX_ENDINGS: [&str; 2] = [".tar.gz", ".adb"];

/// Which paths of a package to keep: `true` for those. What is left out is verified all the same.
pub type PackageFilter<'a> = &'a (dyn Fn(&IndexEntry, &TreePath) -> bool + Sync);

/// How things are fetched. Make it with [`FetchSettings::new`] and set the fields that differ.
#[derive(Debug, Clone)]
pub struct FetchSettings {
    /// The directory of the cache; made if it isn't there.
    pub cache: PathBuf,
    /// Use only local repositories and what is in the cache (indexes too, as they are there).
    pub offline: bool,
    /// How many downloads, and packages that are unpacked, at a time; at least one.
    pub jobs: usize,
    /// Who may sign in repositories that have no keys of their own: see [`load_keys`].
    pub keys: Vec<PublicKey>,
    /// The repositories that have keys of their own: only those may sign there, and they sign nothing else. See
    /// [`load_repository_keys`].
    pub repository_keys: Vec<(Repository, Vec<PublicKey>)>,
    /// Take indexes that are not signed, or by unknown keys only, unless the repository has keys of its own. Hashes
    /// are still checked.
    pub allow_untrusted: bool,
    /// A file of PEM certificates to trust for `https://` instead of the built-in ones.
    pub ca_file: Option<PathBuf>,
    /// The proxies.
    pub proxy: ProxySettings,
    /// How much is taken from outside, and how long it may take.
    pub limits: InputLimits,
    /// Take no index whose newest package was built before this time, in seconds since 1970.
    pub not_before: Option<i64>,
    /// A cache that several machines share; not asked offline.
    pub shared: Option<SharedCacheSettings>,
    /// How often a download that fails in a way that may pass is tried again.
    pub retries: u32,
    /// The wait before the second try; it doubles with each further one.
    pub retry_wait: Duration,
}

impl FetchSettings {
    /// The usual settings: on-line, four at a time, no key trusted, no proxy; the usual limits,
    /// four more tries after half a second, one, two and four seconds.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            cache: cache.into(),
            offline: false,
            jobs: 4,
            keys: Vec::new(),
            repository_keys: Vec::new(),
            allow_untrusted: false,
            ca_file: None,
            proxy: ProxySettings::default(),
            limits: InputLimits::default(),
            not_before: None,
            shared: None,
            retries: 4,
            retry_wait: Duration::from_millis(500),
        }
    }
}

/// Fetches and verifies. Can be used from several threads at the same time.
pub struct Fetcher<'a> {
    cache: Cache,
    /// None when the network must not be used.
    transport: Option<Transport>,
    jobs: usize,
    keys: Vec<PublicKey>,
    repository_keys: Vec<(Repository, Vec<PublicKey>)>,
    allow_untrusted: bool,
    limits: InputLimits,
    not_before: Option<i64>,
    derived: Derived,
    shared: Option<Arc<SharedCache>>,
    reporter: &'a dyn Reporter,
}

impl<'a> Fetcher<'a> {
    /// Opens the cache and reads what the settings name.
    ///
    /// # Errors
    /// When the cache directory can't be made, or a proxy or the file of certificates can't be used.
    pub fn new(settings: FetchSettings, reporter: &'a dyn Reporter) -> Result<Self, FetchError> {
        let transport_settings = TransportSettings {
            proxy: settings.proxy,
            ca_file: settings.ca_file,
            limits: settings.limits,
            retries: settings.retries,
            retry_wait: settings.retry_wait,
        };
        let transport = if settings.offline { None } else { Some(Transport::new(&transport_settings)?) };
        // Offline there is only what this machine has.
        let shared = match &settings.shared {
            Some(shared) if !settings.offline => {
                let transport = Transport::new(&transport_settings)?;
                Some(Arc::new(SharedCache::new(shared, transport, settings.limits.package_size)?))
            }
            _ => None,
        };
        let mut derived = Derived::open(&settings.cache);
        if let Some(shared) = &shared {
            derived = derived.with_remote(Arc::clone(shared) as Arc<dyn Remote>);
        }
        Ok(Self {
            cache: Cache::open(&settings.cache)?,
            derived,
            shared,
            transport,
            jobs: settings.jobs.max(1),
            keys: settings.keys,
            repository_keys: settings.repository_keys,
            allow_untrusted: settings.allow_untrusted,
            limits: settings.limits,
            not_before: settings.not_before,
            reporter,
        })
    }

    /// The directory for nameless temporary files ([`crate::tree::SpoolWriter::new_in`]), inside the cache.
    pub fn temporary_directory(&self) -> PathBuf {
        self.cache.temporary()
    }

    /// What earlier runs have worked out.
    pub fn derived(&self) -> &Derived {
        &self.derived
    }

    /// The verified index of a repository for an architecture, of format v2 (`ARCH/APKINDEX.tar.gz`) or, if there is
    /// none, of v3 (`ARCH/Packages.adb`). A repository whose address or path ends in `.adb` or `.tar.gz` is an index
    /// itself, with its packages beside it. From a server it is asked for each time (conditionally, if it is in the
    /// cache); offline the cache's is taken.
    ///
    /// # Errors
    /// When it can't be had, or no trusted key signed it.
    pub fn index(&self, repository: &Repository, arch: Arch) -> Result<VerifiedIndex, FetchError> {
        let index = match repository {
            Repository::Directory(path) if is_index(path.as_os_str().as_encoded_bytes()) => {
                self.local_index(path, repository, arch, Layout::Beside)?
            }
            Repository::Directory(directory) => first_that_is_there(|name| {
                let path = directory.join(arch.alpine()).join(name);
                self.local_index(&path, repository, arch, Layout::ByArch)
            })?,
            Repository::Url(url) if is_index(url.as_bytes()) => {
                self.index_at(&Address::parse(url)?, repository, arch, Layout::Beside)?
            }
            Repository::Url(url) => first_that_is_there(|name| {
                let url = url.trim_end_matches('/');
                let address = Address::parse(&format!("{url}/{}/{name}", arch.alpine()))?;
                self.index_at(&address, repository, arch, Layout::ByArch)
            })?,
        };
        if index.signed_by().is_none() {
            let text = format!("{} is used although no trusted key signed it", index.location());
            self.reporter.report(Event::Warning { text });
        }
        Ok(index)
    }

    fn local_index(
        &self,
        path: &Path,
        repository: &Repository,
        arch: Arch,
        layout: Layout,
    ) -> Result<VerifiedIndex, FetchError> {
        let (mut file, location) = open_local(path)?;
        let bytes = self.read_index(&mut file, path)?;
        self.verify_index(&bytes, &IndexSource { repository, arch, location: &location, layout })
    }

    /// The indexes of several repositories, in their order; several are fetched at a time.
    ///
    /// # Errors
    /// As [`Fetcher::index`].
    pub fn indexes(&self, repositories: &[Repository], arch: Arch) -> Result<Vec<VerifiedIndex>, FetchError> {
        self.in_parallel(repositories, |repository| self.index(repository, arch))
    }

    /// The verified packages that entries of indexes name, in the same order. Several are fetched and unpacked
    /// at a time.
    ///
    /// # Errors
    /// When one can't be had or isn't what the index says; then no further one is begun.
    pub fn packages(
        &self,
        wanted: &[(&VerifiedIndex, &IndexEntry)],
        filter: PackageFilter<'_>,
    ) -> Result<Vec<VerifiedApk>, FetchError> {
        self.each_package(wanted, |index, entry| self.package(index, entry, filter))
    }

    /// Gets each of several packages by `get`, some at a time, and tells how much is done.
    fn each_package(
        &self,
        wanted: &[(&VerifiedIndex, &IndexEntry)],
        get: impl Fn(&VerifiedIndex, &IndexEntry) -> Result<VerifiedApk, FetchError> + Sync,
    ) -> Result<Vec<VerifiedApk>, FetchError> {
        let sizes = wanted.iter().map(|(_, entry)| entry.size);
        let progress = Progress::of(sizes.fold(0, u64::saturating_add));
        let tell = || {
            let (done, total) = progress.get();
            self.reporter.report(Event::StageProgress { stage: Stage::Fetch, done, total });
        };
        tell();
        self.in_parallel(wanted, |&(index, entry)| {
            let apk = get(index, entry)?;
            progress.add(entry.size);
            tell();
            Ok(apk)
        })
    }

    /// A file that is known by its SHA-256: from an `http://` or `https://` address by way of the cache, or
    /// (`file://` or without a scheme) where it stands. The path is that of the verified file; it may not have
    /// the name that it has at its address.
    ///
    /// # Errors
    /// When it can't be had or isn't what was asked for.
    pub fn tarball(&self, url: &str, sha256: [u8; 32]) -> Result<PathBuf, FetchError> {
        let path = match url.split_once("://") {
            Some(("file", path)) => path,
            Some(_) => return self.tarball_at(&Address::parse(url)?, sha256),
            None => url,
        };
        self.local_tarball(Path::new(path), sha256)?;
        Ok(PathBuf::from(path))
    }

    /// Checks a file of this machine, where it stands.
    ///
    /// # Errors
    /// When it can't be read or isn't what was asked for.
    pub fn local_tarball(&self, path: &Path, sha256: [u8; 32]) -> Result<(), FetchError> {
        let (mut file, location) = open_local(path)?;
        let found = cache::hash_file(&mut file).map_err(|error| FetchError::io(path, "read", error))?;
        check_hash(&location, &sha256, &found)
    }

    fn tarball_at(&self, address: &Address, sha256: Sha256) -> Result<PathBuf, FetchError> {
        let name = address.file_name();
        let hit = || -> Result<bool, FetchError> {
            let hit = self.cache.open_object(&sha256, |path| self.warn_damaged(path))?.is_some();
            if hit {
                self.reporter.report(Event::CacheHit { name: name.clone() });
            }
            Ok(hit)
        };
        if !hit()? {
            let transport = self.online(address)?;
            let mut part = self.part(address, &name)?;
            // Somebody else may have brought it while this waited.
            let is_there = hit()? || self.bring_object(&sha256) && hit()?;
            if !is_there {
                let download = Download {
                    address,
                    name: &name,
                    size: None,
                    limit: InputLimit::TarballSize,
                    validators: None,
                };
                self.verified_download(transport, &download, &mut part, |part| {
                    let found = part.hash()?;
                    check_hash(&address.to_string(), &sha256, &found)
                })?;
                self.keep(&mut part, &name)?;
                self.share(&sha256, None);
            }
        }
        Ok(self.cache.object_path(&sha256))
    }

    fn index_at(
        &self,
        address: &Address,
        repository: &Repository,
        arch: Arch,
        layout: Layout,
    ) -> Result<VerifiedIndex, FetchError> {
        let location = address.to_string();
        let source = IndexSource { repository, arch, location: &location, layout };
        let key = format!("index {}", address.request_target());
        // Which of several indexes it is tells only the path.
        let name = match layout {
            Layout::ByArch => format!("{}/{arch}/{}", repository_name(repository), address.file_name()),
            Layout::Beside => address.file_name(),
        };
        let Some(transport) = &self.transport else {
            let (bytes, _) = self.cached_index(&key)?.ok_or_else(|| self.offline(address))?;
            return self.verify_index(&bytes, &source);
        };
        let mut part = self.part(address, &name)?;
        // What a killed run had got completely may be old by now: the server must be asked.
        if part.length() > 0 && part.state().total == Some(part.length()) {
            part.restart(PartState::default())?;
        }
        let cached = self.cached_index(&key)?;
        let validators = cached.as_ref().map(|(_, validators)| validators);
        let download =
            Download { address, name: &name, size: None, limit: InputLimit::IndexSize, validators };
        let mut verified = None;
        let outcome = self.verified_download(transport, &download, &mut part, |part| {
            let bytes = self.read_index(&mut part.reader()?, part.path())?;
            verified = Some(self.verify_index(&bytes, &source)?);
            Ok(())
        })?;
        match (outcome, verified, cached) {
            (Outcome::Complete(validators), Some(index), _) => {
                self.warn_of_rollback(&index, &key);
                let sha256 = self.keep(&mut part, &name)?;
                self.cache.refer(&key, &sha256, &validators)?;
                Ok(index)
            }
            (_, _, Some((bytes, _))) => {
                part.discard();
                self.reporter.report(Event::CacheHit { name });
                self.verify_index(&bytes, &source)
            }
            (_, _, None) => Err(FetchError::Malformed {
                location,
                problem: "the server says that it is unchanged, but was not asked that".to_owned(),
            }),
        }
    }

    /// Who may sign in a repository, and whether those keys are its own.
    fn keys_of(&self, repository: &Repository) -> (&[PublicKey], bool) {
        match self.repository_keys.iter().find(|(of, _)| of == repository) {
            Some((_, own)) => (own, true),
            None => (&self.keys, false),
        }
    }

    fn verify_index(&self, bytes: &[u8], source: &IndexSource<'_>) -> Result<VerifiedIndex, FetchError> {
        let (keys, are_its_own) = self.keys_of(source.repository);
        // Whoever names the keys of a repository does not mean that it may do without.
        let trust = IndexTrust {
            keys,
            allow_untrusted: self.allow_untrusted && !are_its_own,
            limits: &self.limits,
            not_before: self.not_before,
        };
        index::verify(bytes, source, &trust)
    }

    fn read_index(&self, file: &mut File, path: &Path) -> Result<Vec<u8>, FetchError> {
        read_bounded(file, path, self.limits.index_size, Some(InputLimit::IndexSize))
    }

    /// Warns of an index that is older than one that came from the same address before, or that is another
    /// release's: whoever owns a mirror can serve what was signed long ago, with the holes that have been mended since.
    fn warn_of_rollback(&self, index: &VerifiedIndex, key: &str) {
        let location = index.location();
        if let Some((asked, found)) = index.other_release() {
            self.warn(format!("{location} is asked for {asked}, and is an index of {found}"));
        }
        let Some(newest) = index.index().newest_build() else { return };
        let seen = self.cache.newest(key);
        if let Some(seen) = seen.filter(|&seen| newest < seen) {
            self.warn(format!(
                "{location} is older than an index that came from there before: its newest package was built on {}, and \
                 then there was one of {}; a mirror that lags behind, or an attack",
                date(newest),
                date(seen)
            ));
        } else if seen != Some(newest) {
            // What can't be written down is only not warned of.
            let _ = self.cache.set_newest(key, newest);
        }
    }

    fn warn(&self, text: String) {
        self.reporter.report(Event::Warning { text });
    }

    fn cached_index(&self, key: &str) -> Result<Option<(Vec<u8>, Validators)>, FetchError> {
        let Some(reference) = self.cache.reference(key) else { return Ok(None) };
        let Some(sha256) = reference.object() else { return Ok(None) };
        let Some(mut file) = self.cache.open_object(&sha256, |path| self.warn_damaged(path))? else {
            return Ok(None);
        };
        let bytes = self.read_index(&mut file, &self.cache.object_path(&sha256))?;
        Ok(Some((bytes, reference.validators)))
    }

    fn package(
        &self,
        index: &VerifiedIndex,
        entry: &IndexEntry,
        filter: PackageFilter<'_>,
    ) -> Result<VerifiedApk, FetchError> {
        let name = entry.file_name();
        if !index.names(entry) {
            return Err(FetchError::NotNamed {
                package: error::shown(&entry.full_name()),
                location: error::shown(&name),
                found: "a package".to_owned(),
                index: index.location().to_owned(),
            });
        }
        // Alpine's grammar of names and versions has none of these; with them the name would be a path or a query.
        if name.starts_with('.')
            || name.contains(|c: char| c.is_control() || c.is_whitespace() || "/\\?#%:".contains(c))
        {
            return Err(FetchError::Malformed {
                location: index.location().to_owned(),
                problem: format!("{:?} can't be the name of a package's file", entry.file_name()),
            });
        }
        let keys = self.keys_of(index.repository()).0;
        let verification = Verification { keys, limits: &self.limits, temporary: &self.cache.temporary() };
        let unpack = |file: File, path: &Path, location: &str| {
            package::unpack(file, path, location, index, entry, filter, verification)
        };
        if let Some(path) = index.locked_file(entry) {
            let (file, location) = open_local(path)?;
            return unpack(file, path, &location);
        }
        match self.place(index, entry)? {
            Place::Local(path) => {
                let (file, location) = open_local(&path)?;
                unpack(file, &path, &location)
            }
            Place::Remote(address) => self.package_at(&address, entry, &unpack),
        }
    }

    /// Where the package of an entry is.
    fn place(&self, index: &VerifiedIndex, entry: &IndexEntry) -> Result<Place, FetchError> {
        let below = index.package_path(entry)?;
        Ok(match index.repository() {
            Repository::Directory(directory) => {
                let root = match is_index(directory.as_os_str().as_encoded_bytes()) {
                    true => directory.parent().unwrap_or(Path::new("")),
                    false => directory,
                };
                Place::Local(root.join(below))
            }
            Repository::Url(url) => {
                let root = match is_index(url.as_bytes()) {
                    true => url.rsplit_once('/').map_or("", |(root, _)| root),
                    false => url.trim_end_matches('/'),
                };
                Place::Remote(Address::parse(&format!("{root}/{below}"))?)
            }
        })
    }

    /// The file of a package that was fetched before: where it stands, or the cache's.
    fn open_package(
        &self,
        index: &VerifiedIndex,
        entry: &IndexEntry,
    ) -> Result<(File, PathBuf, String), FetchError> {
        let local = |path: &Path| open_local(path).map(|(file, location)| (file, path.to_owned(), location));
        if let Some(path) = index.locked_file(entry) {
            return local(path);
        }
        match self.place(index, entry)? {
            Place::Local(path) => local(&path),
            Place::Remote(address) => {
                let sha256 = self.cache.reference(&package_key(entry)).and_then(|there| there.object());
                let Some(sha256) = sha256 else { return Err(self.offline(&address)) };
                let file = self.cache.open_object(&sha256, |path| self.warn_damaged(path))?;
                let file = file.ok_or_else(|| self.offline(&address))?;
                Ok((file, self.cache.object_path(&sha256), address.to_string()))
            }
        }
    }

    fn package_at(
        &self,
        address: &Address,
        entry: &IndexEntry,
        unpack: &dyn Fn(File, &Path, &str) -> Result<VerifiedApk, FetchError>,
    ) -> Result<VerifiedApk, FetchError> {
        let name = entry.file_name();
        let location = address.to_string();
        let key = package_key(entry);
        let cached = || -> Result<Option<VerifiedApk>, FetchError> {
            let Some(sha256) = self.cache.reference(&key).and_then(|reference| reference.object()) else {
                return Ok(None);
            };
            let Some(file) = self.cache.open_object(&sha256, |path| self.warn_damaged(path))? else {
                self.cache.forget(&key);
                return Ok(None);
            };
            match unpack(file, &self.cache.object_path(&sha256), &location) {
                Ok(apk) => {
                    self.reporter.report(Event::CacheHit { name: name.clone() });
                    Ok(Some(apk))
                }
                // A reference to something else; or the keys are others than then.
                Err(error) if index::is_of_contents(&error) && self.transport.is_some() => {
                    self.cache.forget(&key);
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        };
        if let Some(apk) = cached()? {
            return Ok(apk);
        }
        let transport = self.online(address)?;
        let mut part = self.part(address, &name)?;
        // Somebody else may have brought it while this waited.
        if let Some(apk) = cached()? {
            return Ok(apk);
        }
        if self.bring_shared(&key)
            && let Some(apk) = cached()?
        {
            return Ok(apk);
        }
        let size = (entry.size != 0).then_some(entry.size);
        let download =
            Download { address, name: &name, size, limit: InputLimit::PackageSize, validators: None };
        let mut verified = None;
        self.verified_download(transport, &download, &mut part, |part| {
            verified = Some(unpack(part.reader()?, part.path(), &location)?);
            Ok(())
        })?;
        let sha256 = self.keep(&mut part, &name)?;
        self.cache.refer(&key, &sha256, &Validators::default())?;
        self.share(&sha256, Some(&key));
        verified
            .ok_or_else(|| FetchError::Malformed { location, problem: "the server sent nothing".to_owned() })
    }

    /// Downloads into `part` and lets `verify` judge. What doesn't verify is thrown away; if it was put together
    /// from several answers, it is first fetched once more in one.
    fn verified_download(
        &self,
        transport: &Transport,
        download: &Download<'_>,
        part: &mut Part,
        mut verify: impl FnMut(&mut Part) -> Result<(), FetchError>,
    ) -> Result<Outcome, FetchError> {
        loop {
            let outcome = transport.download(download, part, self.reporter)?;
            if matches!(outcome, Outcome::NotModified) {
                return Ok(outcome);
            }
            match verify(part) {
                Ok(()) => return Ok(outcome),
                Err(error) if index::is_of_contents(&error) => {
                    let again = part.is_resumed();
                    part.restart(PartState::default())?;
                    if !again {
                        part.remove();
                        return Err(error);
                    }
                    self.reporter.report(Event::DownloadRetry {
                        name: download.name.to_owned(),
                        reason: format!("the parts of several answers don't fit together: {error}"),
                        wait_ms: 0,
                    });
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn keep(&self, part: &mut Part, name: &str) -> Result<Sha256, FetchError> {
        let size = part.length();
        let sha256 = self.cache.keep(part)?;
        self.reporter.report(Event::DownloadFinished { name: name.to_owned(), size });
        Ok(sha256)
    }

    fn part(&self, address: &Address, name: &str) -> Result<Part, FetchError> {
        self.cache.part(&address.request_target(), || {
            self.reporter
                .report(Event::Note { text: format!("waiting for another run that downloads {name}") });
        })
    }

    fn online(&self, address: &Address) -> Result<&Transport, FetchError> {
        self.transport.as_ref().ok_or_else(|| self.offline(address))
    }

    fn offline(&self, address: &Address) -> FetchError {
        FetchError::Offline { url: address.to_string(), cache: self.cache.root().to_owned() }
    }

    fn warn_damaged(&self, path: &Path) {
        let text = format!("{} was damaged and is dropped from the cache", path.display());
        self.reporter.report(Event::Warning { text });
    }

    /// Does `work` for each of `items`, some at a time, and gives the results in the same order. After an error
    /// nothing new is begun; of several errors the first in the items' order is given.
    fn in_parallel<T: Sync, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> Result<R, FetchError> + Sync,
    ) -> Result<Vec<R>, FetchError> {
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let results: Vec<Mutex<Option<Result<R, FetchError>>>> =
            items.iter().map(|_| Mutex::new(None)).collect();
        let worker = || {
            while !failed.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let (Some(item), Some(place)) = (items.get(number), results.get(number)) else { return };
                let result = work(item);
                failed.fetch_or(result.is_err(), Ordering::Relaxed);
                *place.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(result);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.jobs.min(items.len()) {
                scope.spawn(worker);
            }
            worker();
        });
        // Those without a result were not begun, because of an error that stands in another place.
        results
            .into_iter()
            .filter_map(|place| place.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
            .collect()
    }
}

/// Where a package is.
enum Place {
    Local(PathBuf),
    Remote(Address),
}

/// The key of a package's reference in the cache. Not its address: the same package of another mirror is the same.
fn package_key(entry: &IndexEntry) -> String {
    format!("package {} {}", entry.control_hash, entry.size)
}

/// An address as it may be shown: without the user name and password that may stand in it, and without a query,
/// which may be a secret too.
pub fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match path.split_once('?') {
        Some((path, _)) => format!("{scheme}://{host}{path}?…"),
        None => format!("{scheme}://{host}{path}"),
    }
}

/// Whether a repository's address or path is that of an index.
fn is_index(text: &[u8]) -> bool {
    INDEX_ENDINGS.iter().any(|ending| text.ends_with(ending.as_bytes()))
}

/// The index of the first name that is there; if none is, what was said of the first.
fn first_that_is_there(
    mut read: impl FnMut(&str) -> Result<VerifiedIndex, FetchError>,
) -> Result<VerifiedIndex, FetchError> {
    let mut missing = None;
    for name in INDEX_FILES {
        match read(name) {
            Err(error) if error.kind() == FetchErrorKind::Missing => drop(missing.get_or_insert(error)),
            result => return result,
        }
    }
    Err(missing.unwrap_or_else(|| FetchError::Malformed {
        location: String::new(),
        problem: "no index has a name".to_owned(),
    }))
}

/// The last part of a repository's address: `main`, `community`.
fn repository_name(repository: &Repository) -> String {
    let text = repository.to_string();
    error::shown(text.rsplit('/').next().unwrap_or_default())
}

fn check_hash(location: &str, expected: &Sha256, found: &Sha256) -> Result<(), FetchError> {
    if expected == found {
        return Ok(());
    }
    Err(FetchError::WrongHash {
        location: location.to_owned(),
        expected: hex::encode(expected),
        found: hex::encode(found),
    })
}

/// A file of a local repository, and how messages call it.
fn open_local(path: &Path) -> Result<(File, String), FetchError> {
    match File::open(path) {
        Ok(file) => Ok((file, error::shown(&path.display().to_string()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(FetchError::NoSuchFile { path: path.to_owned() })
        }
        Err(error) => Err(FetchError::io(path, "open", error)),
    }
}

/// Reads a whole file. Of which setting the limit is, if it is of one.
fn read_bounded(
    file: &mut File,
    path: &Path,
    limit: u64,
    setting: Option<InputLimit>,
) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| FetchError::io(path, "read", error))?;
    if bytes.len() as u64 > limit {
        let url = error::shown(&path.display().to_string());
        return Err(FetchError::TooLarge { url, limit, setting });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        for (url, shown) in [
            ("https://user:pass@host/a", "https://host/a"),
            ("https://host/a@b", "https://host/a@b"),
            ("https://u:p@x@host:1/a?token=secret", "https://host:1/a?…"),
            ("https://user:pass@host", "https://host"),
            ("/a/b@c", "/a/b@c"),
        ] {
            assert_eq!(without_credentials(url), shown);
        }
    }
}
