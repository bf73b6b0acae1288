//! The output directory: everything is written beside what is there, and put in its place at the end.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use ring::digest;

use super::ImageError;

/// The beginning of the names of files that are being written.
const TEMPORARY_PREFIX: &str = ".leanfs-unfinished-";

/// A directory that this process alone writes to. Files get their real names in [`OutputDirectory::commit`],
/// all together; a run that fails or is killed before leaves what was there.
#[derive(Debug)]
pub struct OutputDirectory {
    path: PathBuf,
    /// Holds the lock (`flock(2)`), which the kernel lets go when the process ends, however it ends.
    _lock: File,
    finished: Vec<Finished>,
}

/// A file that is complete, under its temporary name.
#[derive(Debug)]
struct Finished {
    temporary: tempfile::TempPath,
    name: String,
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
        for entry in fs_err::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()) {
                fs_err::remove_file(entry.path()).map_err(failed)?;
            }
        }
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
        let failed = |source| ImageError::Output { path: self.path.join(name), source };
        let temporary = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            // As open(2) would give it; tempfile's own default is 0600. The umask still applies.
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .tempfile_in(&self.path)
            .map_err(failed)?;
        let (file, temporary) = temporary.into_parts();
        let mut output = Hashing {
            output: BufWriter::with_capacity(256 * 1024, file),
            context: digest::Context::new(&digest::SHA256),
            size: 0,
        };
        write(&mut output).map_err(|error| match error {
            ImageError::Write(source) => failed(source),
            other => other,
        })?;
        output.flush().map_err(failed)?;
        output.output.get_ref().sync_all().map_err(failed)?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(output.context.finish().as_ref());
        self.finished.push(Finished { temporary, name: name.to_owned() });
        Ok(Written { name: name.to_owned(), size: output.size, sha256 })
    }

    /// Gives every file its real name, in the order in which they were written, removes the files called
    /// `stale` (which need not be there), and makes that last.
    ///
    /// # Errors
    /// [`ImageError::Output`]; what was not renamed yet is removed.
    pub fn commit(self, stale: &[String]) -> Result<(), ImageError> {
        for Finished { temporary, name } in self.finished {
            let path = self.path.join(name);
            temporary.persist(&path).map_err(|error| ImageError::Output { path, source: error.error })?;
        }
        for name in stale {
            match fs_err::remove_file(self.path.join(name)) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(ImageError::Output { path: self.path.join(name), source });
                }
                _ => {}
            }
        }
        // The renames are only on disk once the directory is.
        self._lock.sync_all().map_err(|source| ImageError::Output { path: self.path, source })
    }
}

struct Hashing<W> {
    output: W,
    context: digest::Context,
    size: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.output.write(bytes)?;
        self.context.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
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
}
