//! The output directory: everything is written beside what is there, and put in its place at the end.

mod directory;
mod place;

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub use directory::DirectoryWriter;
use rustix::fs::SeekFrom;

use super::ImageError;
use super::hashing::Hashing;
use super::target::Target;
use crate::os_error;

/// The beginning of the names of files and directories that are being written.
const TEMPORARY_PREFIX: &str = ".leanfs-unfinished-";

/// A directory that this process alone writes to. Files and directories get their real names in
/// [`OutputDirectory::commit`], all together; a run that fails or is killed before leaves what was there.
#[derive(Debug)]
pub struct OutputDirectory {
    path: PathBuf,
    /// Holds the lock (`flock(2)`), which the kernel lets go when the process ends, however it ends.
    _lock: File,
    finished: Mutex<Vec<Finished>>,
}

/// What is complete, under its temporary name.
#[derive(Debug)]
struct Finished {
    temporary: Temporary,
    name: String,
}

#[derive(Debug)]
enum Temporary {
    File(tempfile::TempPath),
    Directory(tempfile::TempDir),
}

/// What was written to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its name in the directory.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256; none of a file that was written in any order and is larger than [`MOST_HASHED`].
    pub sha256: Option<[u8; 32]>,
}

/// The largest disk or file system whose hash is taken, in bytes: of a large one most is a hole, which costs no time
/// to write but as much as any data to hash.
pub const MOST_HASHED: u64 = 2 << 30;

impl OutputDirectory {
    /// Makes the directory if it isn't there, locks it, and clears away what a killed run left.
    ///
    /// # Errors
    /// [`ImageError::Busy`] when another process holds it; [`ImageError::Output`].
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let failed = |source| ImageError::Output { path: path.to_owned(), source };
        os_error::create_dir_all(path).map_err(failed)?;
        let lock = File::open(path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(ImageError::Busy(path.to_owned())),
            Err(std::fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        place::clear(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), _lock: lock, finished: Mutex::default() })
    }

    /// Writes one file by `write`, under a temporary name. Several threads may do so at a time.
    ///
    /// # Errors
    /// What `write` gives, and [`ImageError::Output`] for everything that this file itself refuses.
    pub fn file(
        &self,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<(), ImageError>,
    ) -> Result<Written, ImageError> {
        let (temporary, written) = write_file(&self.path, &self.path.join(name), write)?;
        self.finish(Temporary::File(temporary), name);
        Ok(Written { name: name.to_owned(), ..written })
    }

    /// Like [`OutputDirectory::file`], for what is written in any order; `write` gives the file's length in bytes.
    ///
    /// # Errors
    /// As there.
    pub fn target(
        &self,
        name: &str,
        write: impl FnOnce(Target<'_>) -> Result<u64, ImageError>,
    ) -> Result<Written, ImageError> {
        let shown = self.path.join(name);
        let failed = |source| ImageError::Output { path: shown.clone(), source };
        let (file, temporary) = temporary_file(&self.path).map_err(failed)?;
        let size = write(Target::new(&file)).map_err(|error| at(error, &shown))?;
        file.set_len(size).map_err(failed)?;
        let sha256 = if size <= MOST_HASHED { Some(file_sha256(&file, size).map_err(failed)?) } else { None };
        file.sync_all().map_err(failed)?;
        self.finish(Temporary::File(temporary), name);
        Ok(Written { name: name.to_owned(), size, sha256 })
    }

    fn finish(&self, temporary: Temporary, name: &str) {
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        finished.push(Finished { temporary, name: name.to_owned() });
    }

    /// Writes a whole directory by `write`, under a temporary name. In [`OutputDirectory::commit`] it replaces what is
    /// called `name` then, file or directory, with all that it holds.
    ///
    /// # Errors
    /// What `write` gives, and [`ImageError::Output`].
    pub fn directory<T>(
        &self,
        name: &str,
        write: impl FnOnce(&mut DirectoryWriter) -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        let shown = self.path.join(name);
        let temporary = tempfile::Builder::new()
            .prefix(&own_prefix())
            .permissions(Permissions::from_mode(0o777))
            .tempdir_in(&self.path)
            .map_err(|source| ImageError::Output { path: shown.clone(), source })?;
        let mut writer = DirectoryWriter::new(temporary.path(), &shown);
        let result = write(&mut writer)?;
        writer.finish()?;
        self.finish(Temporary::Directory(temporary), name);
        Ok(result)
    }

    /// Gives everything its real name, in the order in which it was finished, removes the files and directories
    /// called `stale` (which need not be there), and makes that last.
    ///
    /// # Errors
    /// [`ImageError::Output`]; what was not renamed yet is removed.
    pub fn commit(self, stale: &[String]) -> Result<(), ImageError> {
        let finished = self.finished.into_inner().unwrap_or_else(PoisonError::into_inner);
        for Finished { temporary, name } in finished {
            let path = self.path.join(&name);
            match temporary {
                Temporary::File(temporary) => temporary.persist(&path).map_err(|error| error.error),
                Temporary::Directory(temporary) => place::directory(temporary, &self.path, &name),
            }
            .map_err(|source| ImageError::Output { path, source })?;
        }
        for name in stale {
            let path = self.path.join(name);
            place::remove(&path).map_err(|source| ImageError::Output { path, source })?;
        }
        // The renames are only on disk once the directory is.
        self._lock.sync_all().map_err(|source| ImageError::Output { path: self.path, source })
    }
}

/// Writes a file under a temporary name in `directory`; it is called `shown` in errors. The name in the result is
/// empty.
fn write_file(
    directory: &Path,
    shown: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), ImageError>,
) -> Result<(tempfile::TempPath, Written), ImageError> {
    let failed = |source| ImageError::Output { path: shown.to_owned(), source };
    let (file, temporary) = temporary_file(directory).map_err(failed)?;
    let mut output = Hashing::new(BufWriter::with_capacity(256 * 1024, file));
    write(&mut output).map_err(|error| at(error, shown))?;
    output.flush().map_err(failed)?;
    let (output, size, sha256) = output.finish();
    output.get_ref().sync_all().map_err(failed)?;
    Ok((temporary, Written { name: String::new(), size, sha256: Some(sha256) }))
}

/// The beginning of this process's temporary names.
fn own_prefix() -> String {
    format!("{TEMPORARY_PREFIX}{}-", std::process::id())
}

/// Removes what this process has not finished in an output directory, for when it is about to end by a signal. What can't
/// be removed the next run clears away.
pub fn remove_unfinished(directory: &Path) {
    let own = own_prefix();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(own.as_bytes()) {
            let _ = place::remove(&entry.path());
        }
    }
}

/// An empty file under a temporary name.
fn temporary_file(directory: &Path) -> io::Result<(File, tempfile::TempPath)> {
    let temporary = tempfile::Builder::new()
        .prefix(&own_prefix())
        // As open(2) would give it; tempfile's own default is 0600. The umask still applies.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)?;
    Ok(temporary.into_parts())
}

/// An error of writing, with the file that could not be written.
fn at(error: ImageError, shown: &Path) -> ImageError {
    match error {
        ImageError::Write(source) => ImageError::Output { path: shown.to_owned(), source },
        other => other,
    }
}

/// The SHA-256 of a file's first `size` bytes. Holes are not read.
pub(crate) fn file_sha256(file: &File, size: u64) -> io::Result<[u8; 32]> {
    let mut hashing = Hashing::new(io::sink());
    let mut buffer = vec![0; 256 * 1024];
    let zeros = vec![0; 256 * 1024];
    let mut position = 0;
    while position < size {
        let data = match rustix::fs::seek(file, SeekFrom::Data(position)) {
            Ok(data) => data.min(size),
            Err(rustix::io::Errno::NXIO) => size,
            // A file system that knows no holes.
            Err(_) => position,
        };
        let count = if position < data {
            let most = (data - position).min(zeros.len() as u64);
            let most = usize::try_from(most).unwrap_or(zeros.len());
            hashing.write(&zeros[..most])?
        } else {
            let most = (size - position).min(buffer.len() as u64);
            let most = usize::try_from(most).unwrap_or(buffer.len());
            let count = file.read_at(&mut buffer[..most], position)?;
            hashing.write(&buffer[..count])?
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        position += count as u64;
    }
    Ok(hashing.finish().2)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn put(output: &OutputDirectory, name: &str, bytes: &[u8]) -> Result<Written, ImageError> {
        output.file(name, |file| file.write_all(bytes).map_err(ImageError::Write))
    }

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs_err::read_dir(path)
            .expect("readable")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_changes_before_the_end() {
        let directory = tempfile::tempdir().expect("a directory");
        fs_err::write(directory.path().join("a"), "old").expect("write");
        fs_err::write(directory.path().join(format!("{TEMPORARY_PREFIX}x")), "left").expect("write");

        let output = OutputDirectory::open(directory.path()).expect("open");
        put(&output, "a", b"new").expect("write");
        assert!(put(&output, "b", b"x").is_ok());
        assert!(matches!(OutputDirectory::open(directory.path()), Err(ImageError::Busy(_))));
        drop(output);
        assert_eq!(names(directory.path()), ["a"], "what is given up leaves nothing");
        assert_eq!(fs_err::read(directory.path().join("a")).expect("read"), b"old");

        let output = OutputDirectory::open(directory.path()).expect("open");
        let written = put(&output, "a", b"new").expect("write");
        assert_eq!(written.size, 3);
        output.commit(&[]).expect("commit");
        assert_eq!(names(directory.path()), ["a"]);
        assert_eq!(fs_err::read(directory.path().join("a")).expect("read"), b"new");
    }

    #[test]
    fn what_is_written_in_any_order_has_the_hash_of_its_bytes() {
        let directory = tempfile::tempdir().expect("a directory");
        let output = OutputDirectory::open(directory.path()).expect("open");
        let length = 3_000_000_u64;
        let written = output
            .target("disk", |target| {
                target.write_at(2_000_001, b"end").map_err(ImageError::Write)?;
                target.write_at(5, b"begin").map_err(ImageError::Write)?;
                Ok(length)
            })
            .expect("written");
        let sparse = output.target("large", |_| Ok(MOST_HASHED + 1)).expect("written");
        assert_eq!((sparse.size, sparse.sha256), (MOST_HASHED + 1, None));
        let error = output.target("full", |_| Err(ImageError::Write(io::ErrorKind::StorageFull.into())));
        assert!(matches!(error, Err(ImageError::Output { path, .. }) if path.ends_with("full")));
        output.commit(&[]).expect("commit");
        assert_eq!(names(directory.path()), ["disk", "large"]);
        let mut bytes = vec![0; usize::try_from(length).expect("small")];
        bytes[5..10].copy_from_slice(b"begin");
        bytes[2_000_001..2_000_004].copy_from_slice(b"end");
        assert_eq!(fs_err::read(directory.path().join("disk")).expect("read"), bytes);
        assert_eq!(written.size, length);
        assert_eq!(
            written.sha256.as_ref().map(<[u8; 32]>::as_slice),
            Some(ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref())
        );
    }

    #[test]
    fn a_failing_writer_leaves_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let output = OutputDirectory::open(directory.path()).expect("open");
        let error = output
            .file("a", |_| Err(ImageError::Write(io::ErrorKind::StorageFull.into())))
            .expect_err("it fails");
        assert!(error.hint().is_some_and(|hint| hint.contains("full")), "{error}");
        drop(output);
        assert_eq!(names(directory.path()), [""; 0]);
    }

    #[test]
    fn a_directory_appears_whole_or_not_at_all() {
        let place = tempfile::tempdir().expect("a directory");
        let old = place.path().join("d/old");
        fs_err::create_dir_all(&old).expect("a directory");
        fs_err::write(old.join("file"), "old").expect("write");
        let left = place.path().join(format!("{TEMPORARY_PREFIX}x/y"));
        fs_err::create_dir_all(&left).expect("a directory");
        fs_err::write(left.join("file"), "left").expect("write");

        let output = OutputDirectory::open(place.path()).expect("open");
        assert_eq!(names(place.path()), ["d"], "what a killed run left is gone");
        let write = |directory: &mut DirectoryWriter| {
            directory.file("a/b", |file| file.write_all(b"1").map_err(ImageError::Write))
        };
        output.directory("d", write).expect("written");
        let failing = |directory: &mut DirectoryWriter| {
            write(directory)?;
            Err::<(), _>(ImageError::Write(io::ErrorKind::StorageFull.into()))
        };
        output.directory("e", failing).expect_err("it fails");
        assert_eq!(names(&place.path().join("d")), ["old"], "not yet");
        drop(output);
        assert_eq!(names(place.path()), ["d"]);

        for target in ["d", "new", "file"] {
            if target == "file" {
                fs_err::write(place.path().join("file"), "a file").expect("write");
            }
            let output = OutputDirectory::open(place.path()).expect("open");
            output.directory(target, write).expect("written");
            output.commit(&[]).expect("commit");
            assert_eq!(names(&place.path().join(target)), ["a"]);
            assert_eq!(fs_err::read(place.path().join(target).join("a/b")).expect("read"), b"1");
        }
        assert_eq!(names(place.path()), ["d", "file", "new"]);
        let stale = ["d", "file", "none"].map(str::to_owned);
        OutputDirectory::open(place.path()).expect("open").commit(&stale).expect("commit");
        assert_eq!(names(place.path()), ["new"]);
        let mode = |path: &str| {
            let there = fs_err::metadata(place.path().join(path)).expect("there");
            there.permissions().mode() & 0o777
        };
        let plain = place.path().join("plain");
        fs_err::create_dir(&plain).expect("a directory");
        fs_err::write(plain.join("file"), "").expect("write");
        assert_eq!(mode("new"), mode("plain"), "the umask's, as of any other directory");
        assert_eq!(mode("new/a"), mode("plain"));
        assert_eq!(mode("new/a/b"), mode("plain/file"));
    }
}
