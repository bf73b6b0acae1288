//! What the cache holds, whether it is whole, and taking out what was not used for long.
//!
//! All of it may be done while others use the cache: what is taken from under somebody who reads it stays readable for
//! him, and what he looks for next is a miss.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::Pack;
use crate::tree::Content;

/// What was used so recently is somebody's who is not done.
const IN_USE: Duration = Duration::from_secs(2 * 60 * 60);
/// A cache is kept within its size at most so often.
const KEPT_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// The file that says when that was, by its time.
const STAMP: &str = "pruned";

/// A kind of thing in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// Packages, indexes and tarballs as they came, by their SHA-256.
    Downloads,
    /// Downloads that were interrupted.
    Partial,
    /// Notes of what was verified to be what.
    References,
    /// Packages, unpacked.
    Trees,
    /// Rewritten files, and what is known of modules and libraries.
    Results,
    /// Compressed members of archives.
    Members,
    /// Kernels that were built.
    Kernels,
    /// What runs work with, and what killed ones left.
    Temporary,
}

impl Kind {
    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Downloads => "downloads",
            Self::Partial => "interrupted downloads",
            Self::References => "references",
            Self::Trees => "unpacked packages",
            Self::Results => "rewritten files and facts",
            Self::Members => "compressed members",
            Self::Kernels => "kernels",
            Self::Temporary => "temporary files",
        }
    }

    /// Where a file stands says what it is.
    fn of(below: &Path) -> Option<Self> {
        let mut parts = below.iter().map(|part| part.to_string_lossy());
        let (first, last) = (parts.next()?, parts.next_back());
        Some(match &*first {
            "objects" => Self::Downloads,
            "partial" => Self::Partial,
            "refs" => Self::References,
            "kernels" => Self::Kernels,
            "tmp" => Self::Temporary,
            "derived" => match last?.split_once('-')?.0 {
                "tree" => Self::Trees,
                "memo" => Self::Results,
                "member" => Self::Members,
                _ => Self::Temporary,
            },
            _ => return None,
        })
    }

    /// Whether it can be taken out, to be had again.
    fn can_go(self) -> bool {
        // References are small, and remember how new indexes were.
        !matches!(self, Self::Temporary | Self::Partial | Self::References)
    }
}

/// How much there is of a kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// Files.
    pub files: u64,
    /// Bytes that they take on the disk.
    pub bytes: u64,
}

/// A file of the cache.
#[derive(Debug)]
struct Stored {
    path: PathBuf,
    kind: Kind,
    bytes: u64,
    used: SystemTime,
}

/// A file that is not what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damaged {
    /// Where it stood: it was taken out.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
}

/// What there is, by kind.
///
/// # Errors
/// When a directory of the cache can't be read. One that isn't there is empty.
pub fn info(cache: &Path) -> io::Result<BTreeMap<Kind, Amount>> {
    let mut amounts: BTreeMap<Kind, Amount> = BTreeMap::new();
    for Stored { kind, bytes, .. } in walk(cache)? {
        let amount = amounts.entry(kind).or_default();
        amount.files += 1;
        amount.bytes += bytes;
    }
    Ok(amounts)
}

/// Reads everything, and takes out what is damaged: it is made or fetched again when it is needed. Gives that, and how
/// much was looked at.
///
/// # Errors
/// When something can't be read.
pub fn verify(cache: &Path, jobs: usize) -> io::Result<(Amount, Vec<Damaged>)> {
    let files = walk(cache)?;
    let next = AtomicUsize::new(0);
    let damaged = Mutex::new(Vec::new());
    let work = || -> io::Result<Amount> {
        let mut amount = Amount::default();
        while let Some(stored) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            match problem_of(stored) {
                Ok(None) => {}
                Ok(Some(problem)) => {
                    let _ = std::fs::remove_file(&stored.path);
                    let mut damaged = damaged.lock().unwrap_or_else(PoisonError::into_inner);
                    damaged.push(Damaged { path: stored.path.clone(), problem });
                }
                // Somebody has taken it out.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(named(&stored.path, &error)),
            }
            amount.files += 1;
            amount.bytes += stored.bytes;
        }
        Ok(amount)
    };
    let amounts: Vec<io::Result<Amount>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.clamp(1, 64)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker doesn't panic")).collect()
    });
    let mut all = Amount::default();
    for amount in amounts {
        let Amount { files, bytes } = amount?;
        all.files += files;
        all.bytes += bytes;
    }
    let mut damaged = damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
    damaged.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((all, damaged))
}

/// Takes out what was not used for the longest time until no more than `most` bytes are left, and what was not used for
/// `unused`. What was used in the last two hours stays. Gives what went.
///
/// # Errors
/// When a directory of the cache can't be read.
pub fn prune(cache: &Path, most: u64, unused: Option<Duration>) -> io::Result<Amount> {
    let now = SystemTime::now();
    let age = |stored: &Stored| now.duration_since(stored.used).unwrap_or_default();
    let mut files = walk(cache)?;
    files.sort_by_key(|stored| stored.used);
    let mut left: u64 = files.iter().map(|stored| stored.bytes).sum();
    let mut gone = Amount::default();
    for stored in files.iter().filter(|stored| stored.kind.can_go() && age(stored) > IN_USE) {
        let too_old = unused.is_some_and(|unused| age(stored) > unused);
        if (left > most || too_old) && std::fs::remove_file(&stored.path).is_ok() {
            left -= stored.bytes;
            gone.files += 1;
            gone.bytes += stored.bytes;
        }
    }
    Ok(gone)
}

/// [`prune`], unless that was done a short time ago.
///
/// # Errors
/// As there.
pub fn keep_within(cache: &Path, most: u64) -> io::Result<()> {
    let stamp = cache.join(STAMP);
    let done = std::fs::metadata(&stamp).and_then(|metadata| metadata.modified());
    if done.is_ok_and(|done| done.elapsed().is_ok_and(|since| since < KEPT_EVERY)) {
        return Ok(());
    }
    std::fs::write(&stamp, b"")?;
    prune(cache, most, None).map(drop)
}

/// The regular files of the cache that are of a known kind.
fn walk(cache: &Path) -> io::Result<Vec<Stored>> {
    let mut files = Vec::new();
    let mut directories = vec![cache.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(named(&directory, &error)),
        };
        for entry in entries {
            let path = entry.map_err(|error| named(&directory, &error))?.path();
            // Others may take files out at the same time.
            let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                directories.push(path);
            } else if metadata.is_file()
                && let Some(kind) = path.strip_prefix(cache).ok().and_then(Kind::of)
            {
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                files.push(Stored { path, kind, bytes: metadata.len(), used });
            }
        }
    }
    Ok(files)
}

fn problem_of(stored: &Stored) -> io::Result<Option<String>> {
    match stored.kind {
        Kind::Downloads => {
            let found = hex::encode(Content::from_path(&stored.path, stored.bytes).sha256()?);
            let name = stored.path.file_name().unwrap_or_default().to_string_lossy();
            Ok((found != name).then(|| format!("its SHA-256 is {found}")))
        }
        Kind::Trees | Kind::Results | Kind::Members => {
            let damage = Arc::new(AtomicBool::new(false));
            let Some(pack) = Pack::open(File::open(&stored.path)?, Arc::clone(&damage))? else {
                return Ok(Some("it does not end as it should".to_owned()));
            };
            for content in (0..pack.len()).filter_map(|number| pack.content(number)) {
                match content.reader() {
                    Ok(_) => {}
                    Err(_) if damage.load(Ordering::Acquire) => {
                        return Ok(Some("the hash of a content does not fit".to_owned()));
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(None)
        }
        Kind::References => {
            let text = std::fs::read(&stored.path)?;
            let whole = serde_json::from_slice::<serde_json::Value>(&text).is_ok();
            Ok((!whole).then(|| "it is no JSON".to_owned()))
        }
        Kind::Partial | Kind::Kernels | Kind::Temporary => Ok(None),
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Derived, Memo};

    fn cache() -> tempfile::TempDir {
        let cache = tempfile::tempdir().expect("a directory");
        let derived = Derived::open(cache.path());
        let memo = Memo::open(Some(&derived), "hello", cache.path()).expect("a memo");
        for number in 0..10_u8 {
            memo.remember("rule", &[number; 32], &[number; 1000]).expect("kept");
        }
        memo.save(&derived, "hello").expect("saved");
        let objects = cache.path().join("objects/sha256/ba");
        std::fs::create_dir_all(&objects).expect("a directory");
        let name = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        std::fs::write(objects.join(name), "abc").expect("written");
        cache
    }

    fn set_age(path: &Path, age: Duration) {
        let file = File::options().append(true).open(path).expect("open");
        file.set_modified(SystemTime::now() - age).expect("set");
    }

    #[test]
    fn every_damaged_byte_is_found_and_only_that_file_goes() {
        let cache = cache();
        assert_eq!(verify(cache.path(), 2).expect("readable").1, []);
        let files: Vec<PathBuf> = walk(cache.path()).expect("readable").into_iter().map(|f| f.path).collect();
        assert_eq!(files.len(), 2);
        for path in &files {
            let whole = std::fs::read(path).expect("read");
            for place in (0..whole.len())
                .step_by(7)
                .chain(whole.len().saturating_sub(60)..whole.len())
                .filter(|p| *p < whole.len())
            {
                let mut bytes = whole.clone();
                bytes[place] ^= 0x40;
                std::fs::write(path, &bytes).expect("written");
                let (_, damaged) = verify(cache.path(), 2).expect("readable");
                assert_eq!(damaged.len(), 1, "byte {place} of {}", path.display());
                assert_eq!((&damaged[0].path, path.exists()), (path, false));
            }
            std::fs::write(path, &whole).expect("written");
        }
        assert_eq!(verify(cache.path(), 2).expect("readable").1, []);
    }

    #[test]
    fn what_was_used_least_goes_first_and_nothing_that_is_in_use() {
        let cache = cache();
        let total: u64 = info(cache.path()).expect("readable").values().map(|amount| amount.bytes).sum();
        assert_eq!(prune(cache.path(), 0, None).expect("done"), Amount::default(), "it was used just now");
        let mut files = walk(cache.path()).expect("readable");
        files.sort_by_key(|stored| stored.bytes);
        set_age(&files[0].path, IN_USE * 3);
        set_age(&files[1].path, IN_USE * 2);
        let gone = prune(cache.path(), total - 1, None).expect("done");
        assert_eq!(gone, Amount { files: 1, bytes: 3 });
        assert!(!files[0].path.exists() && files[1].path.exists());
        assert_eq!(prune(cache.path(), total, Some(IN_USE * 3)).expect("done").files, 0);
        assert_eq!(prune(cache.path(), total, Some(IN_USE)).expect("done").files, 1);
        keep_within(cache.path(), 0).expect("done");
        assert_eq!(info(&cache.path().join("none")).expect("empty"), BTreeMap::new());
    }
}
