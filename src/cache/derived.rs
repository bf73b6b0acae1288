//! The directory of everything that was derived.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ring::digest::{self, SHA256};
use rustix::fs::{AtFlags, CWD};

use super::{Pack, Place, RULES, pack};
use crate::tree::Content;

/// A file that is used is marked so at most this often: that is what tells which were not used for long.
const MARKED_EVERY: Duration = Duration::from_secs(60 * 60);

/// A store that other machines use too. What it gives was made by one that is trusted.
pub trait Remote: std::fmt::Debug + Send + Sync {
    /// Writes what is called `name` into `to`, an empty file; `None` if it isn't there.
    fn get(&self, name: &str, to: &mut File) -> Option<()>;

    /// Takes what is called `name`; `None` if it doesn't.
    fn put(&self, name: &str, file: &mut File) -> Option<()>;
}

/// What is worth the way: unpacking a package is quicker than getting it unpacked.
const SHARED: [&str; 2] = ["memo", "member"];

/// Results of earlier runs, in the directory `derived` of the cache.
#[derive(Debug)]
pub struct Derived {
    root: PathBuf,
    /// Where the results of other machines are.
    remote: Option<Arc<dyn Remote>>,
    /// Nothing is read any more.
    forgetful: AtomicBool,
    /// What was opened, and whether it was found damaged since.
    opened: Mutex<Vec<(PathBuf, Arc<AtomicBool>)>>,
}

impl Derived {
    /// The directory below `cache`, which is made if it isn't there.
    #[must_use]
    pub fn open(cache: &Path) -> Self {
        let root = cache.join("derived");
        // Without it everything is a miss.
        let _ = fs_err::create_dir_all(&root);
        Self { root, remote: None, forgetful: AtomicBool::new(false), opened: Mutex::default() }
    }

    /// Asks `remote` for what isn't there, and gives it what is new.
    #[must_use]
    pub(crate) fn with_remote(mut self, remote: Arc<dyn Remote>) -> Self {
        self.remote = Some(remote);
        self
    }

    /// Forgets what was found damaged and reads nothing any more, so that the next try makes everything itself. Gives the
    /// damaged files; none if that was not what was wrong.
    pub(crate) fn start_again(&self) -> Vec<PathBuf> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let damaged: Vec<PathBuf> = opened
            .iter()
            .filter(|(_, damage)| damage.load(Ordering::Acquire))
            .map(|(path, _)| path.clone())
            .collect();
        for path in &damaged {
            let _ = std::fs::remove_file(path);
        }
        self.forgetful.store(!damaged.is_empty(), Ordering::Release);
        damaged
    }

    /// Whether nothing is read any more, because something was damaged.
    pub(crate) fn is_forgetful(&self) -> bool {
        self.forgetful.load(Ordering::Acquire)
    }

    /// A file without a name, to be filled and kept.
    ///
    /// # Errors
    /// When none can be made in the cache's directory.
    pub(crate) fn nameless(&self) -> io::Result<File> {
        tempfile::tempfile_in(&self.root)
    }

    /// Forgets what was made from `key`.
    pub(crate) fn forget(&self, kind: &str, key: &str) {
        let _ = std::fs::remove_file(self.path(kind, key));
    }

    fn path(&self, kind: &str, key: &str) -> PathBuf {
        self.root.join(file_name(kind, key))
    }

    /// The pack that was made from `key`, if it is there and whole.
    pub(crate) fn pack(&self, kind: &str, key: &str) -> Option<Pack> {
        if self.is_forgetful() {
            return None;
        }
        let path = self.path(kind, key);
        if let Ok(file) = File::open(&path) {
            mark_used(&file);
            if let Some(pack) = self.open_pack(&path, file) {
                return Some(pack);
            }
            let _ = std::fs::remove_file(&path);
        }
        let remote = self.remote.as_ref().filter(|_| SHARED.contains(&kind))?;
        let mut file = self.nameless().ok()?;
        remote.get(&file_name(kind, key), &mut file)?;
        let _ = self.give_name(&file, &path);
        self.open_pack(&path, file)
    }

    fn open_pack(&self, path: &Path, file: File) -> Option<Pack> {
        let damage = Arc::new(AtomicBool::new(false));
        let pack = Pack::open(file, Arc::clone(&damage)).ok()??;
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.push((path.to_owned(), damage));
        Some(pack)
    }

    /// A single content that was made from `key`.
    pub(crate) fn blob(&self, kind: &str, key: &str) -> Option<Content> {
        self.pack(kind, key)?.content(0)
    }

    /// Keeps a single content: all of `file`, which has no name yet.
    ///
    /// # Errors
    /// As [`Derived::keep`].
    pub(crate) fn keep_blob(&self, kind: &str, key: &str, content: &Content) -> io::Result<()> {
        let Some((file, offset, _)) = content.place() else { return Ok(()) };
        let place = Place { offset, length: content.len(), sha256: content.sha256()? };
        self.keep(kind, key, file, &[place], &[])
    }

    /// Keeps the contents of `file`, which has no name yet, and what is to be known `about` them, as what was made from
    /// `key`.
    ///
    /// # Errors
    /// When the disk doesn't take it; nothing is kept then, and the contents can still be read.
    pub(crate) fn keep(
        &self,
        kind: &str,
        key: &str,
        file: &File,
        places: &[Place],
        about: &[u8],
    ) -> io::Result<()> {
        pack::complete(file, places, about)?;
        self.give_name(file, &self.path(kind, key))?;
        if let Some(remote) = self.remote.as_ref().filter(|_| SHARED.contains(&kind)) {
            remote.put(&file_name(kind, key), &mut file.try_clone()?);
        }
        Ok(())
    }

    /// Gives a nameless file a name; where another process was quicker, that name is taken over.
    fn give_name(&self, file: &File, path: &Path) -> io::Result<()> {
        let link = |to: &Path| {
            let from = format!("/proc/self/fd/{}", file.as_raw_fd());
            rustix::fs::linkat(CWD, from, CWD, to, AtFlags::SYMLINK_FOLLOW).map_err(io::Error::from)
        };
        match link(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result,
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside =
            self.root.join(format!(".new-{}-{:?}-{name}", std::process::id(), std::thread::current().id()));
        let _ = std::fs::remove_file(&beside);
        link(&beside)?;
        std::fs::rename(&beside, path).inspect_err(|_| {
            let _ = std::fs::remove_file(&beside);
        })
    }
}

fn mark_used(file: &File) {
    let now = SystemTime::now();
    let marked = file.metadata().and_then(|metadata| metadata.modified());
    if marked.is_ok_and(|marked| now.duration_since(marked).is_ok_and(|since| since > MARKED_EVERY)) {
        let _ = file.set_modified(now);
    }
}

fn file_name(kind: &str, key: &str) -> String {
    let mut context = digest::Context::new(&SHA256);
    context.update(RULES.as_bytes());
    context.update(key.as_bytes());
    format!("{kind}-{}", hex::encode(context.finish()))
}
