//! What a regular file holds, without holding it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A handle to the bytes of a regular file: some bytes in memory, a range of an open file (the unpacked
/// contents of a package, see [`super::Spool`]), or a path on the host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Content(Inner);

#[derive(Debug, Clone)]
enum Inner {
    Bytes(Arc<[u8]>),
    Range { file: Arc<File>, offset: u64, length: u64 },
    Path { path: Arc<Path>, length: u64 },
}

impl Content {
    /// Bytes in memory, for small and generated files.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(Inner::Bytes(bytes.into()))
    }

    /// `length` bytes from `offset` on of an open file.
    pub fn from_range(file: Arc<File>, offset: u64, length: u64) -> Self {
        Self(Inner::Range { file, offset, length })
    }

    /// The file at `path`, which has `length` bytes now and must still have when it is read.
    pub fn from_path(path: impl Into<PathBuf>, length: u64) -> Self {
        Self(Inner::Path { path: path.into().into(), length })
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Inner::Bytes(bytes) => bytes.len() as u64,
            Inner::Range { length, .. } | Inner::Path { length, .. } => *length,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes from the first on. The reader gives exactly [`Content::len`] bytes or an error: a host file
    /// that shrank or grew since it was looked at is an [`io::ErrorKind::InvalidData`] error that names it.
    ///
    /// # Errors
    /// When a host file can't be opened.
    pub fn reader(&self) -> io::Result<ContentReader> {
        let source = match &self.0 {
            Inner::Bytes(bytes) => Source::Bytes(Arc::clone(bytes)),
            Inner::Range { file, offset, .. } => Source::Range { file: Arc::clone(file), offset: *offset },
            Inner::Path { path, .. } => {
                Source::Path { file: fs_err::File::open(path.as_ref())?, path: Arc::clone(path) }
            }
        };
        Ok(ContentReader { source, position: 0, length: self.len() })
    }

    /// All bytes at once.
    ///
    /// # Errors
    /// When there are more than `limit` bytes, or they can't be read.
    pub fn read(&self, limit: u64) -> io::Result<Vec<u8>> {
        if self.len() > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("{} bytes, where at most {limit} are expected", self.len()),
            ));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(self.len()).unwrap_or(0));
        self.reader()?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The first bytes, at most `most`: to look at a file's magic number.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn read_head(&self, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(most);
        self.reader()?.take(most as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads a [`Content`].
#[derive(Debug)]
pub struct ContentReader {
    source: Source,
    position: u64,
    length: u64,
}

#[derive(Debug)]
enum Source {
    Bytes(Arc<[u8]>),
    Range { file: Arc<File>, offset: u64 },
    Path { file: fs_err::File, path: Arc<Path> },
}

impl Read for ContentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.length - self.position;
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if wanted == 0 {
            if let Source::Path { file, path } = &mut self.source
                && left == 0
                && !buffer.is_empty()
                && file.read(&mut [0])? != 0
            {
                return Err(changed(path, self.length, "is longer now"));
            }
            return Ok(0);
        }
        let count = match &mut self.source {
            Source::Bytes(bytes) => {
                let start = usize::try_from(self.position).expect("a position in memory fits");
                buffer[..wanted].copy_from_slice(&bytes[start..start + wanted]);
                wanted
            }
            Source::Range { file, offset } => file.read_at(&mut buffer[..wanted], *offset + self.position)?,
            Source::Path { file, path } => match file.read(&mut buffer[..wanted])? {
                0 => return Err(changed(path, self.length, "is shorter now")),
                count => count,
            },
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for ContentReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(distance) => self.length.checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        let position = position.filter(|&position| position <= self.length).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a position outside of the content")
        })?;
        if let Source::Path { file, .. } = &mut self.source {
            file.seek(SeekFrom::Start(position))?;
        }
        self.position = position;
        Ok(position)
    }
}

fn changed(path: &Path, length: u64, how: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{} changed while it was read: it had {length} bytes and {how}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changes_is_found_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x");
        fs_err::write(&path, b"12345").expect("write");
        assert_eq!(Content::from_path(&path, 5).read(10).expect("read"), b"12345");
        for wrong in [4, 6] {
            let error = Content::from_path(&path, wrong).read(10).expect_err("it changed");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
    }

    #[test]
    fn ranges_and_limits() {
        let mut file = tempfile::tempfile().expect("a file");
        io::Write::write_all(&mut file, b"abcdef").expect("write");
        let content = Content::from_range(Arc::new(file), 2, 3);
        assert_eq!(content.read(3).expect("read"), b"cde");
        assert_eq!(content.read_head(2).expect("read"), b"cd");
        assert_eq!(content.read(2).expect_err("too large").kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn every_kind_of_content_can_be_read_from_anywhere() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x");
        fs_err::write(&path, b"--abcdef").expect("write");
        let range = Arc::new(File::open(&path).expect("open"));
        fs_err::write(directory.path().join("y"), b"abcdef").expect("write");
        for content in [
            Content::from_bytes(b"abcdef".to_vec()),
            Content::from_range(range, 2, 6),
            Content::from_path(directory.path().join("y"), 6),
        ] {
            let mut reader = content.reader().expect("a reader");
            let mut two = [0; 2];
            for (to, expected) in
                [(SeekFrom::End(-2), b"ef"), (SeekFrom::Start(1), b"bc"), (SeekFrom::Current(1), b"ef")]
            {
                reader.seek(to).expect("seek");
                reader.read_exact(&mut two).expect("read");
                assert_eq!(&two, expected);
            }
            assert!(reader.seek(SeekFrom::Start(7)).is_err());
            assert!(reader.seek(SeekFrom::End(-7)).is_err());
        }
    }
}
