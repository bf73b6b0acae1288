//! The content-addressed cache, shared by all runs of a user, also at the same time.
//!
//! ```text
//! objects/sha256/ab/<64 hex>    contents by the SHA-256 of their bytes: complete, verified before they came here
//! refs/<64 hex>                 what was verified to be what: the SHA-256 of a key names a small JSON file; and how new
//!                               an index was, so that an older one is seen
//! partial/<64 hex>.{part,json}  a download that isn't complete, by the SHA-256 of its address, and what the
//!                               server said of it; `.lock` is there while someone works on it
//! tmp/                          files that are about to be renamed; unpacked contents, without a name
//! ```
//!
//! Invariants: a file gets its name in `objects` or `refs` only by a rename after its contents are on the
//! disk, so a killed run leaves nothing half-written there. An object is hashed again each time that it is
//! taken; a damaged one is dropped, and so is a reference that leads to nothing.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ring::digest::{self, SHA256};
use serde::{Deserialize, Serialize};

use super::FetchError;
use crate::os_error;

/// The tag of <https://bford.info/cachedir/>: backup programs pass the directory over.
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # Downloads of leanfs, which fetches again what is missing.\n";
/// A reference is a few hundred bytes; what is longer is none.
const LONGEST_REFERENCE: u64 = 64 * 1024;
/// Left by a killed run, and of no use to anyone.
const TEMPORARY_FILES_LIVE: Duration = Duration::from_secs(24 * 60 * 60);
/// Interrupted downloads that nobody came back for.
const PARTIAL_FILES_LIVE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The SHA-256 of some bytes.
pub(crate) type Sha256 = [u8; 32];

/// The cache of one user.
#[derive(Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// What is known of an address or a package from an earlier run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reference {
    /// What this is a reference of, to tell it from another whose hash is the same by a mistake.
    key: String,
    /// The SHA-256 of the contents, in hexadecimal digits.
    object: String,
    /// What the server said of them.
    #[serde(flatten)]
    pub(crate) validators: Validators,
}

/// How new an index was: what tells one that is rolled back.
#[derive(Debug, Serialize, Deserialize)]
struct Newest {
    newest_of: String,
    time: i64,
}

/// What a server says to recognise contents by (RFC 9110, section 8.8).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Validators {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_modified: Option<String>,
}

impl Reference {
    /// # Errors
    /// The object's name is no SHA-256.
    pub(crate) fn object(&self) -> Option<Sha256> {
        let mut sha256 = [0; 32];
        hex::decode_to_slice(&self.object, &mut sha256).ok()?;
        Some(sha256)
    }
}

impl Cache {
    /// The cache in `root`, which is made if it isn't there.
    ///
    /// # Errors
    /// When it can't be made.
    pub(crate) fn open(root: &Path) -> Result<Self, FetchError> {
        for below in ["objects/sha256", "refs", "partial", "tmp"] {
            let path = root.join(below);
            os_error::create_dir_all(&path)
                .map_err(|source| FetchError::io(&path, "make the directory", source))?;
        }
        let cache = Self { root: root.to_owned() };
        let tag = root.join("CACHEDIR.TAG");
        if !tag.exists() {
            cache.write_whole(&tag, CACHEDIR_TAG.as_bytes())?;
        }
        cache.sweep("tmp", TEMPORARY_FILES_LIVE);
        cache.sweep("partial", PARTIAL_FILES_LIVE);
        Ok(cache)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where nameless files can be made.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Where an object stands, if it is there.
    pub(crate) fn object_path(&self, sha256: &Sha256) -> PathBuf {
        let name = hex::encode(sha256);
        self.root.join("objects/sha256").join(&name[..2]).join(name)
    }

    /// Opens an object after hashing all of it. `Ok(None)` when it isn't there; a damaged one is dropped,
    /// `damaged` is called, and it isn't there either.
    ///
    /// # Errors
    /// When it is there and can't be read.
    pub(crate) fn open_object(
        &self,
        sha256: &Sha256,
        damaged: impl FnOnce(&Path),
    ) -> Result<Option<File>, FetchError> {
        let path = self.object_path(sha256);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FetchError::io(&path, "open", error)),
        };
        let found = hash_file(&mut file).map_err(|error| FetchError::io(&path, "read", error))?;
        if found == *sha256 {
            return Ok(Some(file));
        }
        damaged(&path);
        self.drop_object(sha256);
        Ok(None)
    }

    /// Takes an object out. That it can't be taken out is no error: whoever takes it next hashes it again.
    pub(crate) fn drop_object(&self, sha256: &Sha256) {
        let _ = std::fs::remove_file(self.object_path(sha256));
    }

    /// Makes a complete and verified download an object, under the name of its contents.
    ///
    /// # Errors
    /// When the disk doesn't take it.
    pub(crate) fn keep(&self, part: &mut Part) -> Result<Sha256, FetchError> {
        let sha256 = part.hash()?;
        let path = self.object_path(&sha256);
        let directory = path.parent().unwrap_or(&self.root);
        os_error::create_dir_all(directory)
            .map_err(|source| FetchError::io(directory, "make the directory", source))?;
        part.file.sync_all().map_err(|error| FetchError::io(&part.path, "write", error))?;
        std::fs::rename(&part.path, &path).map_err(|error| FetchError::io(&path, "write", error))?;
        sync_directory(directory)?;
        let _ = std::fs::remove_file(&part.state_path);
        Ok(sha256)
    }

    /// Makes a complete file an object, under the name of its contents, which the caller has hashed.
    ///
    /// # Errors
    /// When the disk doesn't take it.
    pub(crate) fn adopt(&self, sha256: &Sha256, file: tempfile::NamedTempFile) -> Result<(), FetchError> {
        let path = self.object_path(sha256);
        let directory = path.parent().unwrap_or(&self.root);
        os_error::create_dir_all(directory)
            .map_err(|source| FetchError::io(directory, "make the directory", source))?;
        let failed = |error| FetchError::io(&path, "write", error);
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        sync_directory(directory)
    }

    /// What was written down under `key`, if that can still be read.
    pub(crate) fn reference(&self, key: &str) -> Option<Reference> {
        let mut text = String::new();
        File::open(self.reference_path(key)).ok()?.take(LONGEST_REFERENCE).read_to_string(&mut text).ok()?;
        let reference: Reference = serde_json::from_str(&text).ok()?;
        (reference.key == key).then_some(reference)
    }

    /// Writes down that `key` is the object `sha256`; the object that it was before is dropped.
    ///
    /// # Errors
    /// When the disk doesn't take it.
    pub(crate) fn refer(
        &self,
        key: &str,
        sha256: &Sha256,
        validators: &Validators,
    ) -> Result<(), FetchError> {
        let before = self.reference(key).and_then(|before| before.object());
        let reference =
            Reference { key: key.to_owned(), object: hex::encode(sha256), validators: validators.clone() };
        let text = serde_json::to_vec_pretty(&reference)
            .map_err(|error| FetchError::io(&self.root, "write", io::Error::other(error)))?;
        self.write_whole(&self.reference_path(key), &text)?;
        if let Some(before) = before.filter(|before| before != sha256) {
            self.drop_object(&before);
        }
        Ok(())
    }

    /// The newest time that an index under `key` had, in seconds since 1970.
    pub(crate) fn newest(&self, key: &str) -> Option<i64> {
        let mut text = String::new();
        let path = self.reference_path(&format!("newest {key}"));
        File::open(path).ok()?.take(LONGEST_REFERENCE).read_to_string(&mut text).ok()?;
        let newest: Newest = serde_json::from_str(&text).ok()?;
        (newest.newest_of == key).then_some(newest.time)
    }

    /// Writes down the newest time that an index under `key` had.
    ///
    /// # Errors
    /// When the disk doesn't take it.
    pub(crate) fn set_newest(&self, key: &str, time: i64) -> Result<(), FetchError> {
        let text = serde_json::to_vec(&Newest { newest_of: key.to_owned(), time })
            .map_err(|error| FetchError::io(&self.root, "write", io::Error::other(error)))?;
        self.write_whole(&self.reference_path(&format!("newest {key}")), &text)
    }

    /// Forgets what was written down under `key`.
    pub(crate) fn forget(&self, key: &str) {
        let _ = std::fs::remove_file(self.reference_path(key));
    }

    fn reference_path(&self, key: &str) -> PathBuf {
        self.root.join("refs").join(name_of(key))
    }

    /// Takes the right to download `url`, waiting for whoever has it (`waiting` is called then), and opens what
    /// has come of it so far.
    ///
    /// # Errors
    /// When the files can't be made.
    pub(crate) fn part(&self, url: &str, waiting: impl FnOnce()) -> Result<Part, FetchError> {
        let stem = self.root.join("partial").join(name_of(url));
        let lock = Lock::take(stem.with_extension("lock"), waiting)?;
        let path = stem.with_extension("part");
        let state_path = stem.with_extension("json");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| FetchError::io(&path, "create", error))?;
        let length = file.seek(SeekFrom::End(0)).map_err(|error| FetchError::io(&path, "read", error))?;
        let state = read_state(&state_path).unwrap_or_default();
        Ok(Part { file, path, state_path, length, state, resumed: length > 0, _lock: lock })
    }

    /// Writes a small file so that it is there whole or not at all.
    fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<(), FetchError> {
        write_whole(&self.temporary(), path, bytes).map_err(|error| FetchError::io(path, "write", error))
    }

    /// Removes what killed runs left in a directory long ago.
    fn sweep(&self, below: &str, lives: Duration) {
        let Ok(entries) = std::fs::read_dir(self.root.join(below)) else { return };
        for entry in entries.flatten() {
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            let age = changed.ok().and_then(|changed| SystemTime::now().duration_since(changed).ok());
            if age.is_some_and(|age| age > lives) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// A download that is going on, or was interrupted; nobody else works on it while this exists.
#[derive(Debug)]
pub(crate) struct Part {
    file: File,
    path: PathBuf,
    state_path: PathBuf,
    length: u64,
    state: PartState,
    resumed: bool,
    _lock: Lock,
}

/// What the server said of the contents when the download began.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct PartState {
    #[serde(flatten)]
    pub(crate) validators: Validators,
    /// The whole size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<u64>,
}

impl Part {
    /// How many bytes have come.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn state(&self) -> &PartState {
        &self.state
    }

    /// Whether the bytes are from more than one answer.
    pub(crate) fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// More bytes of an earlier answer follow those that are there.
    pub(crate) fn mark_resumed(&mut self) {
        self.resumed = true;
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Begins from nothing, with what the server says now.
    pub(crate) fn restart(&mut self, state: PartState) -> Result<(), FetchError> {
        // The old state goes first: bytes must never stand beside the state of others.
        let _ = std::fs::remove_file(&self.state_path);
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(|error| FetchError::io(&self.path, "write", error))?;
        self.length = 0;
        self.resumed = false;
        if let Some(directory) = self.state_path.parent() {
            serde_json::to_vec(&state)
                .map_err(io::Error::other)
                .and_then(|text| write_whole(directory, &self.state_path, &text))
                .map_err(|error| FetchError::io(&self.state_path, "write", error))?;
        }
        self.state = state;
        Ok(())
    }

    /// Puts some more bytes at the end.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(bytes).map_err(|error| FetchError::io(&self.path, "write", error))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Throws everything away.
    pub(crate) fn discard(mut self) {
        self.remove();
    }

    /// Takes the files away; the part must not be used any more.
    pub(crate) fn remove(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(&self.state_path);
    }

    /// The SHA-256 of all bytes.
    pub(crate) fn hash(&mut self) -> Result<Sha256, FetchError> {
        hash_file(&mut self.file).map_err(|error| FetchError::io(&self.path, "read", error))
    }

    /// A reader of all bytes from the first.
    pub(crate) fn reader(&self) -> Result<File, FetchError> {
        File::open(&self.path).map_err(|error| FetchError::io(&self.path, "open", error))
    }
}

/// What never began leaves nothing.
impl Drop for Part {
    fn drop(&mut self) {
        if self.length == 0 {
            self.remove();
        }
    }
}

/// A lock file that exists while it is held. Held locks end with their process, whatever ends it.
#[derive(Debug)]
struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    fn take(path: PathBuf, waiting: impl FnOnce()) -> Result<Self, FetchError> {
        let mut waiting = Some(waiting);
        loop {
            let opened = File::options().write(true).create(true).truncate(false).open(&path);
            let file = opened.map_err(|error| FetchError::io(&path, "create", error))?;
            if file.try_lock().is_err() {
                if let Some(waiting) = waiting.take() {
                    waiting();
                }
                file.lock().map_err(|error| FetchError::io(&path, "lock", error))?;
            }
            // Whoever held it has removed it in the meantime: then this is a lock on nothing.
            let held = file.metadata().map_err(|error| FetchError::io(&path, "lock", error))?;
            match std::fs::metadata(&path) {
                Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => {
                    return Ok(Self { file, path });
                }
                _ => continue,
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

/// The SHA-256 of a whole file, which is at its start afterwards.
pub(crate) fn hash_file(file: &mut File) -> io::Result<Sha256> {
    file.seek(SeekFrom::Start(0))?;
    let sha256 = hash_rest(file)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(sha256)
}

/// The SHA-256 of what has not been read of a file.
///
/// # Errors
/// When reading fails.
pub fn hash_rest(file: &mut impl Read) -> io::Result<Sha256> {
    let mut context = digest::Context::new(&SHA256);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => context.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(context.finish().as_ref());
    Ok(sha256)
}

fn name_of(key: &str) -> String {
    hex::encode(digest::digest(&SHA256, key.as_bytes()))
}

fn read_state(path: &Path) -> Option<PartState> {
    let mut text = String::new();
    File::open(path).ok()?.take(LONGEST_REFERENCE).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Writes `path` by a file in `directory` (of the same file system) that is renamed when it is on the disk.
fn write_whole(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix("new-").tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Makes a rename in `directory` survive a power cut.
fn sync_directory(directory: &Path) -> Result<(), FetchError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| FetchError::io(directory, "write", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = Cache::open(&directory.path().join("cache")).expect("a cache");
        (directory, cache)
    }

    fn keep(cache: &Cache, url: &str, bytes: &[u8]) -> Sha256 {
        let mut part = cache.part(url, || panic!("nobody else is here")).expect("a part");
        part.restart(PartState::default()).expect("empty");
        part.append(bytes).expect("written");
        cache.keep(&mut part).expect("kept")
    }

    fn files_in(directory: PathBuf) -> usize {
        std::fs::read_dir(directory).expect("a directory").count()
    }

    #[test]
    fn an_object_is_found_by_its_hash_and_by_its_reference() {
        let (_directory, cache) = cache();
        let sha256 = keep(&cache, "http://h/a", b"contents");
        assert_eq!(sha256, digest::digest(&SHA256, b"contents").as_ref());
        let mut text = String::new();
        let file = cache.open_object(&sha256, |_| panic!("not damaged")).expect("readable");
        file.expect("there").read_to_string(&mut text).expect("text");
        assert_eq!(text, "contents");
        assert_eq!(files_in(cache.root.join("partial")), 0, "neither part nor lock is left");

        let validators = Validators { etag: Some("\"1\"".to_owned()), last_modified: None };
        cache.refer("index http://h/a", &sha256, &validators).expect("written");
        let reference = cache.reference("index http://h/a").expect("there");
        assert_eq!((reference.object(), reference.validators), (Some(sha256), validators));
        assert_eq!(cache.reference("index http://h/b"), None);

        let newer = keep(&cache, "http://h/a", b"newer contents");
        cache.refer("index http://h/a", &newer, &Validators::default()).expect("written");
        assert!(!cache.object_path(&sha256).exists(), "what nothing refers to any more is gone");
        assert_eq!(files_in(cache.temporary()), 0);
    }

    #[test]
    fn a_damaged_object_or_reference_is_not_there() {
        let (_directory, cache) = cache();
        let sha256 = keep(&cache, "http://h/a", b"contents");
        std::fs::write(cache.object_path(&sha256), b"CONTENTS").expect("written");
        let mut told = false;
        assert!(cache.open_object(&sha256, |_| told = true).expect("readable").is_none());
        assert!(told);
        assert!(!cache.object_path(&sha256).exists());

        cache.refer("k", &sha256, &Validators::default()).expect("written");
        for damage in [&b"{"[..], b"", b"{\"key\":\"other\",\"object\":\"00\"}", &[0xff; 100]] {
            std::fs::write(cache.reference_path("k"), damage).expect("written");
            assert_eq!(cache.reference("k"), None);
        }
    }

    #[test]
    fn a_part_goes_on_where_it_was_left() {
        let (_directory, cache) = cache();
        let state = PartState {
            validators: Validators { etag: Some("\"1\"".to_owned()), last_modified: None },
            total: Some(8),
        };
        let mut part = cache.part("u", || ()).expect("a part");
        part.restart(state).expect("empty");
        part.append(b"cont").expect("written");
        drop(part);
        let mut part = cache.part("u", || ()).expect("a part");
        assert!(part.is_resumed());
        assert_eq!((part.length(), part.state().total), (4, Some(8)));
        part.append(b"ents").expect("written");
        assert_eq!(part.hash().expect("readable"), digest::digest(&SHA256, b"contents").as_ref());
        part.discard();
        assert_eq!(files_in(cache.root.join("partial")), 0);
    }

    #[test]
    fn one_at_a_time() {
        let (_directory, cache) = cache();
        let running = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let part = cache.part("u", || ()).expect("a part");
                        assert_eq!(running.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        running.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(part);
                    }
                });
            }
        });
        assert!(!cache.root.join("partial").join(name_of("u")).with_extension("lock").exists());
    }

    #[test]
    fn a_full_disk_is_said() {
        let (_directory, cache) = cache();
        let full = cache.root.join("partial").join(name_of("u")).with_extension("part");
        std::os::unix::fs::symlink("/dev/full", &full).expect("linked");
        let mut part = cache.part("u", || ()).expect("a part");
        let error = part.append(b"contents").expect_err("full");
        assert!(matches!(&error, FetchError::DiskFull { path, .. } if *path == full), "{error:?}");
    }

    #[test]
    fn what_killed_runs_left_long_ago_is_swept() {
        let (_directory, cache) = cache();
        let (old, young) = (cache.temporary().join("new-old"), cache.temporary().join("new-young"));
        std::fs::write(&young, b"").expect("written");
        std::fs::write(&old, b"").expect("written");
        let long_ago = SystemTime::now() - TEMPORARY_FILES_LIVE - Duration::from_secs(60);
        File::options().write(true).open(&old).and_then(|file| file.set_modified(long_ago)).expect("set");
        Cache::open(&cache.root).expect("a cache");
        assert!(!old.exists() && young.exists());
    }
}
