//! The output directory: everything is written beside what is there, and put in its place at the end.

mod directory;
mod place;

use std::fs::{File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub use directory::DirectoryWriter;

use super::ImageError;
use super::hashing::Hashing;

/// The beginning of the names of files and directories that are being written.
const TEMPORARY_PREFIX: &str = ".leanfs-unfinished-";

/// A directory that this process alone writes to. Files and directories get their real names in
/// [`OutputDirectory::commit`], all together; a run that fails or is killed before leaves what was there.
#[derive(Debug)]
pub struct OutputDirectory {
    path: PathBuf,
    /// Holds the lock (`flock(2)`), which the kernel lets go when the process ends, however it ends.
    _lock: File,
    finished: Vec<Finished>,
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
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

impl OutputDirectory {
    /// Makes the directory if it isn't there, locks it, and clears away what a killed run left.
    ///
    /// # Errors
    /// [`ImageError::Busy`] when another process holds it; [`ImageError::Output`].
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let failed = |source| ImageError::Output { path: path.to_owned(), source };
        fs_err::create_dir_all(path).map_err(failed)?;
        let lock = File::open(path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(ImageError::Busy(path.to_owned())),
            Err(std::fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        place::clear(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), _lock: lock, finished: Vec::new() })
    }

    /// Writes one file by `write`, under a temporary name.
    ///
    /// # Errors
    /// What `write` gives, and [`ImageError::Output`] for everything that this file itself refuses.
    pub fn file(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<(), ImageError>,
    ) -> Result<Written, ImageError> {
        let (temporary, written) = write_file(&self.path, &self.path.join(name), write)?;
        self.finished.push(Finished { temporary: Temporary::File(temporary), name: name.to_owned() });
        Ok(Written { name: name.to_owned(), ..written })
    }

    /// Writes a whole directory by `write`, under a temporary name. In [`OutputDirectory::commit`] it replaces what is
    /// called `name` then, file or directory, with all that it holds.
    ///
    /// # Errors
    /// What `write` gives, and [`ImageError::Output`].
    pub fn directory<T>(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut DirectoryWriter) -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        let shown = self.path.join(name);
        let temporary = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .permissions(Permissions::from_mode(0o777))
            .tempdir_in(&self.path)
            .map_err(|source| ImageError::Output { path: shown.clone(), source })?;
        let mut writer = DirectoryWriter::new(temporary.path(), &shown);
        let result = write(&mut writer)?;
        writer.finish()?;
        self.finished.push(Finished { temporary: Temporary::Directory(temporary), name: name.to_owned() });
        Ok(result)
    }

    /// Gives everything its real name, in the order in which it was written, removes the files and directories
    /// called `stale` (which need not be there), and makes that last.
    ///
    /// # Errors
    /// [`ImageError::Output`]; what was not renamed yet is removed.
    pub fn commit(self, stale: &[String]) -> Result<(), ImageError> {
        for Finished { temporary, name } in self.finished {
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
    let temporary = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        // As open(2) would give it; tempfile's own default is 0600. The umask still applies.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(failed)?;
    let (file, temporary) = temporary.into_parts();
    let mut output = Hashing::new(BufWriter::with_capacity(256 * 1024, file));
    write(&mut output).map_err(|error| match error {
        ImageError::Write(source) => failed(source),
        other => other,
    })?;
    output.flush().map_err(failed)?;
    let (output, size, sha256) = output.finish();
    output.get_ref().sync_all().map_err(failed)?;
    Ok((temporary, Written { name: String::new(), size, sha256 }))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn put(output: &mut OutputDirectory, name: &str, bytes: &[u8]) -> Result<Written, ImageError> {
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

        let mut output = OutputDirectory::open(directory.path()).expect("open");
        put(&mut output, "a", b"new").expect("write");
        assert!(put(&mut output, "b", b"x").is_ok());
        assert!(matches!(OutputDirectory::open(directory.path()), Err(ImageError::Busy(_))));
        drop(output);
        assert_eq!(names(directory.path()), ["a"], "what is given up leaves nothing");
        assert_eq!(fs_err::read(directory.path().join("a")).expect("read"), b"old");

        let mut output = OutputDirectory::open(directory.path()).expect("open");
        let written = put(&mut output, "a", b"new").expect("write");
        assert_eq!(written.size, 3);
        output.commit(&[]).expect("commit");
        assert_eq!(names(directory.path()), ["a"]);
        assert_eq!(fs_err::read(directory.path().join("a")).expect("read"), b"new");
    }

    #[test]
    fn a_failing_writer_leaves_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut output = OutputDirectory::open(directory.path()).expect("open");
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

        let mut output = OutputDirectory::open(place.path()).expect("open");
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
            let mut output = OutputDirectory::open(place.path()).expect("open");
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
