//! A directory of an output that is being written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Written, write_file};
use crate::image::ImageError;

/// A directory that gets its real name later, as a whole; see [`super::OutputDirectory::directory`].
#[derive(Debug)]
pub struct DirectoryWriter {
    path: PathBuf,
    /// What it will be called, for errors.
    shown: PathBuf,
    /// Itself and the directories made in it.
    directories: BTreeSet<PathBuf>,
    /// The sizes of the files by their names, in bytes, and their hashes.
    files: BTreeMap<String, (u64, [u8; 32])>,
}

impl DirectoryWriter {
    pub(super) fn new(path: &Path, shown: &Path) -> Self {
        Self {
            path: path.to_owned(),
            shown: shown.to_owned(),
            directories: BTreeSet::from([path.to_owned()]),
            files: BTreeMap::new(),
        }
    }

    /// Writes one file; directories on the way to it are made. What was called `name` is replaced.
    ///
    /// # Errors
    /// What `write` gives, and [`ImageError::Output`].
    pub fn file(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<(), ImageError>,
    ) -> Result<Written, ImageError> {
        self.file_called(|_| name.to_owned(), write)
    }

    /// Writes one file whose name comes from its SHA-256.
    ///
    /// # Errors
    /// As [`DirectoryWriter::file`].
    pub fn file_called(
        &mut self,
        name: impl FnOnce(&[u8; 32]) -> String,
        write: impl FnOnce(&mut dyn Write) -> Result<(), ImageError>,
    ) -> Result<Written, ImageError> {
        let (temporary, written) = write_file(&self.path, &self.shown, write)?;
        let sha256 = written.sha256.unwrap_or_default();
        let name = name(&sha256);
        if name.split('/').any(|component| matches!(component, "" | "." | "..")) {
            let reason = format!("{name:?} is no name in a directory");
            let source = io::Error::new(io::ErrorKind::InvalidInput, reason);
            return Err(ImageError::Output { path: self.shown.clone(), source });
        }
        self.make_parents(&name)
            .and_then(|()| temporary.persist(self.path.join(&name)).map_err(|error| error.error))
            .map_err(|source| ImageError::Output { path: self.shown.join(&name), source })?;
        self.files.insert(name.clone(), (written.size, sha256));
        Ok(Written { name, ..written })
    }

    /// How many bytes all files have that stand in it now.
    pub fn size(&self) -> u64 {
        self.files.values().map(|(size, _)| size).sum()
    }

    /// The files that stand in it now: name, size in bytes and SHA-256, in order of their names.
    pub fn files(&self) -> impl Iterator<Item = (&str, u64, &[u8; 32])> {
        self.files.iter().map(|(name, (size, sha256))| (name.as_str(), *size, sha256))
    }

    /// Makes the directories that `name` needs.
    fn make_parents(&mut self, name: &str) -> io::Result<()> {
        let mut path = self.path.clone();
        let mut components = name.split('/').peekable();
        while let (Some(component), Some(_)) = (components.next(), components.peek()) {
            path.push(component);
            if !self.directories.contains(&path) {
                fs_err::create_dir(&path)?;
                self.directories.insert(path.clone());
            }
        }
        Ok(())
    }

    /// Makes last what stands in it.
    pub(super) fn finish(self) -> Result<(), ImageError> {
        for path in &self.directories {
            File::open(path)
                .and_then(|directory| directory.sync_all())
                .map_err(|source| ImageError::Output { path: self.shown.clone(), source })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_come_from_the_content_and_stay_inside() {
        let place = tempfile::tempdir().expect("a directory");
        let mut writer = DirectoryWriter::new(place.path(), Path::new("shown"));
        let put = |writer: &mut DirectoryWriter, name: &str| {
            writer.file(name, |file| file.write_all(b"x").map_err(ImageError::Write))
        };
        for _ in 0..2 {
            let written = writer
                .file_called(
                    |hash| format!("a/b/{}", hex::encode(&hash[..2])),
                    |file| file.write_all(b"abc").map_err(ImageError::Write),
                )
                .expect("written");
            assert_eq!((written.name.as_str(), written.size), ("a/b/ba78", 3));
        }
        assert_eq!(fs_err::read(place.path().join("a/b/ba78")).expect("there"), b"abc");
        for name in ["", "/x", "../x", "a/../../x", "a//x", "a/", "."] {
            let error = put(&mut writer, name).expect_err("it leads elsewhere");
            assert!(error.to_string().starts_with("shown"), "{error}");
        }
        put(&mut writer, "a/c").expect("written");
        assert_eq!(writer.size(), 3 + 1, "what was replaced doesn't count");
        let failing = writer.file("x", |_| Err(ImageError::Write(io::ErrorKind::StorageFull.into())));
        assert!(matches!(failing, Err(ImageError::Output { path, .. }) if path == Path::new("shown")));
        writer.finish().expect("synced");
        assert_eq!(fs_err::read_dir(place.path()).expect("readable").count(), 1, "only `a`");
    }
}
