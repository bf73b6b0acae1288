//! Kernels that were built, in the cache, and the directories in which builds run.
//!
//! ```text
//! kernels/built/<64 hex>/       a kernel by the SHA-256 of its source, its configuration and its toolchain: bzImage or
//!                               Image, vmlinux, System.map, config, modules/, and kernel.json, which describes it
//! kernels/requests/<64 hex>     the kernel of a request: of source, fragments and toolchain, so that neither needs
//!                               to be unpacked to know that it is there
//! kernels/logs/<64 hex>.log     what make said
//! kernels/work/<name>{,.lock}   a build that runs; swept away by the next one if nobody holds its lock
//! ```

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::{BuildError, BuiltKernel, source};
use crate::fetch::sha256_of_rest;

/// What `kernel.json` says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Description {
    /// The name of the image.
    pub(super) image: String,
    /// Its SHA-256, in hexadecimal.
    pub(super) sha256: String,
    /// `6.1.172`
    pub(super) release: String,
    /// The SHA-256 of the source.
    pub(super) source: String,
    /// What the compiler and the linker said that they are.
    pub(super) toolchain: String,
}

#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
}

/// A directory for one build, which goes when this is dropped.
#[derive(Debug)]
pub(super) struct Work {
    directory: PathBuf,
    lock_path: PathBuf,
    /// Held as long as the directory is there.
    _lock: File,
}

impl Work {
    pub(super) fn path(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What can't be taken away now, the next build sweeps.
        if fs::remove_dir_all(&self.directory).is_ok() {
            let _ = fs::remove_file(&self.lock_path);
        }
    }
}

impl Store {
    pub(super) fn open(cache: &Path) -> Result<Self, BuildError> {
        let root = cache.join("kernels");
        for below in ["built", "requests", "logs", "work"] {
            let path = root.join(below);
            fs::create_dir_all(&path).map_err(BuildError::io("make", path))?;
        }
        // A build needs the path as others see it.
        let root = fs::canonicalize(&root).map_err(BuildError::io("find", root))?;
        if root.as_os_str().as_encoded_bytes().iter().any(|byte| byte.is_ascii_whitespace() || *byte == b':')
        {
            return Err(BuildError::BadPath { path: root });
        }
        let store = Self { root };
        store.sweep();
        Ok(store)
    }

    /// Takes away what killed builds left.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(self.root.join("work")) else { return };
        for path in entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension() == Some("lock".as_ref()))
        {
            if File::open(&path).is_ok_and(|lock| lock.try_lock().is_ok()) {
                let directory = path.with_extension("");
                if !directory.exists() || fs::remove_dir_all(&directory).is_ok() {
                    let _ = fs::remove_file(&path);
                }
            }
        }
    }

    /// An empty directory for a build.
    pub(super) fn work(&self) -> Result<Work, BuildError> {
        let below = self.root.join("work");
        let failed = |error| BuildError::io("write to", &below)(error);
        let name = tempfile::Builder::new().suffix(".lock").tempfile_in(&below).map_err(failed)?;
        let (lock, lock_path) = name.keep().map_err(|error| failed(error.error))?;
        lock.try_lock().map_err(|error| failed(io::Error::other(error)))?;
        let directory = lock_path.with_extension("");
        fs::create_dir(&directory).map_err(failed)?;
        Ok(Work { directory, lock_path, _lock: lock })
    }

    pub(super) fn log(&self, request: &str) -> PathBuf {
        self.root.join("logs").join(format!("{request}.log"))
    }

    /// The kernel that a request led to, if it is there and whole.
    pub(super) fn requested(&self, request: &str) -> Option<BuiltKernel> {
        let key = fs::read_to_string(self.root.join("requests").join(request)).ok()?;
        let is_key = key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_key.then(|| self.built(&key))?
    }

    /// The kernel of a key, if it is there and whole.
    pub(super) fn built(&self, key: &str) -> Option<BuiltKernel> {
        read(&self.root.join("built").join(key))
    }

    /// Puts a complete directory there as the kernel of a key.
    pub(super) fn keep(&self, directory: &Path, key: &str, request: &str) -> Result<BuiltKernel, BuildError> {
        let place = self.root.join("built").join(key);
        if self.built(key).is_none() {
            // One that is damaged.
            if place.exists() {
                fs::remove_dir_all(&place).map_err(BuildError::io("remove", &place))?;
            }
            match fs::rename(directory, &place) {
                Err(_) if self.built(key).is_some() => {}
                renamed => renamed.map_err(BuildError::io("write", &place))?,
            }
        }
        self.refer(request, key)?;
        let built = self.built(key).ok_or_else(|| {
            BuildError::io("read", &place)(io::Error::new(io::ErrorKind::InvalidData, "it is not whole"))
        })?;
        Ok(BuiltKernel { from_cache: false, ..built })
    }

    pub(super) fn refer(&self, request: &str, key: &str) -> Result<(), BuildError> {
        let place = self.root.join("requests").join(request);
        let failed = |error| BuildError::io("write", &place)(error);
        let mut file = tempfile::NamedTempFile::new_in(self.root.join("requests")).map_err(failed)?;
        io::Write::write_all(&mut file, key.as_bytes()).map_err(failed)?;
        file.persist(&place).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

/// The kernel in a directory, if it is whole.
pub(super) fn read(directory: &Path) -> Option<BuiltKernel> {
    /// It has a few hundred bytes.
    const MOST: u64 = 64 << 10;
    let json = source::read_text(&directory.join("kernel.json"), MOST).ok()?;
    let description: Description = serde_json::from_str(&json).ok()?;
    if description.image.contains('/') {
        return None;
    }
    let image = directory.join(&description.image);
    let hash = File::open(&image).and_then(|mut file| sha256_of_rest(&mut file)).ok()?;
    let config = directory.join("config");
    let is_whole = hex::encode(hash) == description.sha256 && config.is_file();
    is_whole.then(|| BuiltKernel {
        config,
        release: description.release,
        image,
        directory: directory.to_owned(),
        from_cache: true,
    })
}

/// The SHA-256 of several texts, each with its length, in hexadecimal.
pub(super) fn key(parts: &[&str]) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    hex::encode(context.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(directory: &Path, text: &str) -> PathBuf {
        let made = directory.join("made");
        fs::create_dir(&made).expect("made");
        fs::write(made.join("bzImage"), text).expect("written");
        fs::write(made.join("config"), "CONFIG_A=y\n").expect("written");
        let description = Description {
            image: "bzImage".to_owned(),
            sha256: hex::encode(ring::digest::digest(&SHA256, text.as_bytes())),
            release: "6.1.1".to_owned(),
            source: String::new(),
            toolchain: String::new(),
        };
        fs::write(made.join("kernel.json"), serde_json::to_vec(&description).expect("JSON"))
            .expect("written");
        made
    }

    #[test]
    fn kernels_are_kept_and_damaged_ones_are_not_taken() {
        let cache = tempfile::tempdir().expect("a directory");
        let store = Store::open(cache.path()).expect("opened");
        let (one, request) = (key(&["a", "b"]), key(&["ab", ""]));
        assert_ne!(one, request, "lengths count");
        assert!(store.requested(&request).is_none());
        let kept = store.keep(&kernel(cache.path(), "kernel"), &one, &request).expect("kept");
        assert!(!kept.from_cache);
        let found = store.requested(&request).expect("it is there");
        assert_eq!((found.release.as_str(), found.from_cache), ("6.1.1", true));
        fs::write(&found.image, "damage").expect("written");
        assert!(store.requested(&request).is_none());
        store.keep(&kernel(cache.path(), "kernel"), &one, &request).expect("kept in its place");
        assert_eq!(
            fs::read_to_string(store.requested(&request).expect("there").image).expect("read"),
            "kernel"
        );
    }

    #[test]
    fn what_a_killed_build_left_is_swept() {
        let cache = tempfile::tempdir().expect("a directory");
        let store = Store::open(cache.path()).expect("opened");
        let running = store.work().expect("a directory");
        let work = cache.path().join("kernels/work");
        fs::create_dir(work.join("left")).expect("made");
        fs::write(work.join("left.lock"), "").expect("written");
        Store::open(cache.path()).expect("opened");
        assert!(running.path().is_dir(), "somebody builds there");
        assert!(!work.join("left").exists() && !work.join("left.lock").exists());
        drop(running);
        assert_eq!(fs::read_dir(&work).expect("there").count(), 0);
    }

    #[test]
    fn paths_that_make_cannot_cope_with_are_refused() {
        let cache = tempfile::tempdir().expect("a directory");
        let error = Store::open(&cache.path().join("a b")).expect_err("a space");
        assert!(error.to_string().contains("has a space or a colon in its path"), "{error}");
    }
}
