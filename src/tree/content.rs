//! What a regular file holds, without holding it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use ring::digest;

/// A handle to the bytes of a regular file: some bytes in memory, a range of an open file (the unpacked
/// contents of a package, see [`super::Spool`]), or a path on the host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Content(Inner, Option<Arc<AtomicU64>>);

#[derive(Debug, Clone)]
enum Inner {
    Bytes(Arc<[u8]>),
    Range { file: Arc<File>, offset: u64, length: u64, sum: Option<Arc<Sum>> },
    Path { path: Arc<Path>, length: u64, sum: Arc<OnceLock<[u8; 32]>> },
    Parts { parts: Arc<[Content]>, length: u64 },
}

/// The SHA-256 that some bytes had when they were written.
#[derive(Debug)]
struct Sum {
    sha256: [u8; 32],
    /// They were written by this process, or were found to have it.
    holds: AtomicBool,
    /// Set when they don't have it.
    damage: Option<Arc<AtomicBool>>,
}

/// A file, where in it some bytes stand, and their SHA-256.
type Place<'a> = (&'a Arc<File>, u64, Option<[u8; 32]>);

impl Content {
    /// Bytes in memory, for small and generated files.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(Inner::Bytes(bytes.into()), None)
    }

    /// `length` bytes from `offset` on of an open file.
    pub fn from_range(file: Arc<File>, offset: u64, length: u64) -> Self {
        Self(Inner::Range { file, offset, length, sum: None }, None)
    }

    /// Like [`Content::from_range`], of bytes that this process has just written and hashed.
    pub(crate) fn from_hashed(file: Arc<File>, offset: u64, length: u64, sha256: [u8; 32]) -> Self {
        let sum = Sum { sha256, holds: AtomicBool::new(true), damage: None };
        Self(Inner::Range { file, offset, length, sum: Some(Arc::new(sum)) }, None)
    }

    /// Like [`Content::from_range`], of bytes that an earlier process wrote. They are hashed before any of them is
    /// given away for the first time; if they have another SHA-256 by then, that is an error of reading and `damage`
    /// is set.
    pub(crate) fn from_kept(
        file: Arc<File>,
        offset: u64,
        length: u64,
        sha256: [u8; 32],
        damage: Arc<AtomicBool>,
    ) -> Self {
        let sum = Sum { sha256, holds: AtomicBool::new(false), damage: Some(damage) };
        Self(Inner::Range { file, offset, length, sum: Some(Arc::new(sum)) }, None)
    }

    /// Where the bytes stand in an open file, if they do, and their SHA-256 if it is known.
    pub(crate) fn place(&self) -> Option<Place<'_>> {
        match &self.0 {
            Inner::Range { file, offset, sum, .. } => {
                Some((file, *offset, sum.as_ref().map(|sum| sum.sha256)))
            }
            _ => None,
        }
    }

    /// The SHA-256 of all bytes: known, or computed from them.
    ///
    /// # Errors
    /// When they must be read and can't be.
    pub fn sha256(&self) -> io::Result<[u8; 32]> {
        match &self.0 {
            Inner::Range { sum: Some(sum), .. } => Ok(sum.sha256),
            Inner::Path { sum, .. } => match sum.get() {
                Some(sha256) => Ok(*sha256),
                None => {
                    let sha256 = self.compute_sha256()?;
                    Ok(*sum.get_or_init(|| sha256))
                }
            },
            _ => self.compute_sha256(),
        }
    }

    fn compute_sha256(&self) -> io::Result<[u8; 32]> {
        let mut context = digest::Context::new(&digest::SHA256);
        if let Inner::Bytes(bytes) = &self.0 {
            context.update(bytes);
        } else {
            let mut reader = Self(self.0.clone(), None).reader()?;
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match reader.read(&mut buffer)? {
                    0 => break,
                    count => context.update(&buffer[..count]),
                }
            }
        }
        Ok(as_array(&context.finish()))
    }

    /// The file at `path`, which has `length` bytes now and must still have when it is read.
    pub fn from_path(path: impl Into<PathBuf>, length: u64) -> Self {
        Self(Inner::Path { path: path.into().into(), length, sum: Arc::default() }, None)
    }

    /// The bytes of several contents, one after the other: a file that is put together of others, without copying
    /// them. None when they have more bytes together than a file can have (2⁶³ − 1).
    pub fn from_parts(parts: impl Into<Arc<[Self]>>) -> Option<Self> {
        let parts = parts.into();
        let length = parts.iter().try_fold(0_u64, |length, part| length.checked_add(part.len()))?;
        i64::try_from(length).is_ok().then_some(Self(Inner::Parts { parts, length }, None))
    }

    /// The same bytes; how many are read of them is added to `count`.
    pub fn watched(&self, count: Arc<AtomicU64>) -> Self {
        Self(self.0.clone(), Some(count))
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Inner::Bytes(bytes) => bytes.len() as u64,
            Inner::Range { length, .. } | Inner::Path { length, .. } | Inner::Parts { length, .. } => *length,
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
    /// When a host file can't be opened, or bytes that were kept by an earlier run are damaged.
    pub fn reader(&self) -> io::Result<ContentReader> {
        let source = match &self.0 {
            Inner::Bytes(bytes) => Source::Bytes(Arc::clone(bytes)),
            Inner::Range { file, offset, length, sum } => {
                if let Some(sum) = sum.as_ref().filter(|sum| !sum.holds.load(Ordering::Acquire)) {
                    sum.check(file, *offset, *length, &mut io::sink())?;
                }
                Source::Range { file: Arc::clone(file), offset: *offset }
            }
            Inner::Path { path, .. } => Source::Path {
                file: fs_err::File::open(path.as_ref())?.into_parts().0,
                path: Arc::clone(path),
            },
            Inner::Parts { parts, .. } => Source::Parts {
                readers: parts.iter().map(Self::reader).collect::<io::Result<_>>()?,
                current: 0,
            },
        };
        Ok(ContentReader { source, position: 0, length: self.len(), watch: self.1.clone() })
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

    /// Writes all bytes, in one pass also where they must be checked: then the error comes after the bytes.
    ///
    /// # Errors
    /// As [`Content::reader`], when they can't be read, and when `output` doesn't take them.
    pub(crate) fn copy_to(&self, output: &mut dyn Write) -> io::Result<()> {
        match &self.0 {
            Inner::Range { file, offset, length, sum: Some(sum) } if !sum.holds.load(Ordering::Acquire) => {
                sum.check(file, *offset, *length, output)
            }
            _ => io::copy(&mut self.reader()?, output).map(drop),
        }
    }

    /// Like [`Content::read_head`], but what an earlier run kept is not checked: for a look at what is read in full, and
    /// so checked, later.
    ///
    /// # Errors
    /// When they can't be read.
    pub(crate) fn peek(&self, most: usize) -> io::Result<Vec<u8>> {
        let Inner::Range { file, offset, length, .. } = &self.0 else { return self.read_head(most) };
        let mut bytes = vec![0; most.min(usize::try_from(*length).unwrap_or(usize::MAX))];
        file.read_exact_at(&mut bytes, *offset).map_err(|error| of_open_file(file, error))?;
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

impl Sum {
    /// Reads all bytes once, and passes them on.
    fn check(&self, file: &File, offset: u64, length: u64, output: &mut dyn Write) -> io::Result<()> {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut buffer = vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(64 * 1024)];
        let mut done = 0;
        let damaged = loop {
            let wanted = buffer.len().min(usize::try_from(length - done).unwrap_or(usize::MAX));
            if wanted == 0 {
                break as_array(&context.finish()) != self.sha256;
            }
            let read = file.read_at(&mut buffer[..wanted], offset + done);
            match read.map_err(|error| of_open_file(file, error))? {
                0 => break true,
                count => {
                    context.update(&buffer[..count]);
                    output.write_all(&buffer[..count])?;
                    done += count as u64;
                }
            }
        };
        if damaged {
            if let Some(damage) = &self.damage {
                damage.store(true, Ordering::Release);
            }
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "what an earlier run kept in the cache is damaged",
            ));
        }
        self.holds.store(true, Ordering::Release);
        Ok(())
    }
}

fn as_array(digest: &digest::Digest) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// Reads a [`Content`].
#[derive(Debug)]
pub struct ContentReader {
    source: Source,
    position: u64,
    length: u64,
    watch: Option<Arc<AtomicU64>>,
}

#[derive(Debug)]
enum Source {
    Bytes(Arc<[u8]>),
    Range {
        file: Arc<File>,
        offset: u64,
    },
    Path {
        file: File,
        path: Arc<Path>,
    },
    /// All before `current` are read, all behind it stand at their beginning.
    Parts {
        readers: Vec<ContentReader>,
        current: usize,
    },
}

impl Read for ContentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Source::Parts { readers, current } = &mut self.source {
            // The end of each part is read too: that is where one that grew is found out.
            while let Some(reader) = readers.get_mut(*current)
                && !buffer.is_empty()
            {
                match reader.read(buffer)? {
                    0 => *current += 1,
                    count => {
                        self.count(count);
                        return Ok(count);
                    }
                }
            }
            return Ok(0);
        }
        let left = self.length - self.position;
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if wanted == 0 {
            if let Source::Path { file, path } = &self.source
                && left == 0
                && !buffer.is_empty()
                && named(path, file.read_at(&mut [0], self.length))? != 0
            {
                return Err(changed(path, self.length, "is longer now"));
            }
            return Ok(0);
        }
        let count = match &self.source {
            Source::Bytes(bytes) => {
                let start = usize::try_from(self.position).expect("a position in memory fits");
                buffer[..wanted].copy_from_slice(&bytes[start..start + wanted]);
                wanted
            }
            Source::Range { file, offset } => {
                let read = file.read_at(&mut buffer[..wanted], *offset + self.position);
                read.map_err(|error| of_open_file(file, error))?
            }
            Source::Path { file, path } => {
                match named(path, file.read_at(&mut buffer[..wanted], self.position))? {
                    0 => return Err(changed(path, self.length, "is shorter now")),
                    count => count,
                }
            }
            Source::Parts { .. } => 0,
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.count(count);
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
        if let Source::Parts { readers, current } = &mut self.source {
            let mut before = 0;
            *current = readers.len();
            for (index, reader) in readers.iter_mut().enumerate() {
                let within = position.saturating_sub(before).min(reader.length);
                reader.seek(SeekFrom::Start(within))?;
                before += reader.length;
                if position < before {
                    *current = index.min(*current);
                }
            }
        }
        self.position = position;
        Ok(position)
    }
}

impl ContentReader {
    /// So many bytes more have been read.
    fn count(&mut self, bytes: usize) {
        self.position += bytes as u64;
        if let Some(watch) = &self.watch {
            watch.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Where the next byte stands, from `position` on, that may be something else than zero: a hint from the
    /// host's file system, which knows holes in its files. `position` itself where it knows none; the length of the
    /// content where everything up to the end is a hole. What lies between reads as zeros.
    ///
    /// # Errors
    /// When the host's file system fails.
    pub fn next_data(&self, position: u64) -> io::Result<u64> {
        let (file, offset) = match &self.source {
            Source::Bytes(_) => return Ok(position),
            Source::Range { file, offset } => (&**file, *offset),
            Source::Path { file, .. } => (file, 0),
            Source::Parts { readers, .. } => {
                let mut before = 0;
                for reader in readers {
                    let end = before + reader.length;
                    if position < end {
                        let data = reader.next_data(position.saturating_sub(before))?;
                        if data < reader.length {
                            return Ok(position.max(before + data));
                        }
                    }
                    before = end;
                }
                return Ok(self.length);
            }
        };
        // It moves the position that all readers of an open file share; none of them uses it.
        match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset + position)) {
            Ok(data) => Ok((data - offset).min(self.length)),
            Err(rustix::io::Errno::NXIO) => {
                let there = file.metadata()?.len();
                match &self.source {
                    Source::Path { path, .. } if there < self.length => {
                        Err(changed(path, self.length, "is shorter now"))
                    }
                    _ => Ok(self.length),
                }
            }
            Err(rustix::io::Errno::INVAL) => Ok(position),
            Err(error) => Err(error.into()),
        }
    }
}

/// The result with the path in its error.
fn named<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| at(path, &error))
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The error with the path of an open file, where the kernel tells it. One of an unpacked package has no name, but a
/// directory that it is in.
fn of_open_file(file: &File, error: io::Error) -> io::Error {
    match std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())) {
        Ok(path) => at(&path, &error),
        Err(_) => error,
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
    fn holes_are_known_and_reading_goes_on_where_it_was() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x");
        let file = File::create(&path).expect("a file");
        file.set_len(1 << 20).expect("sized");
        file.write_all_at(b"data", 512 << 10).expect("written");
        let content = Content::from_path(&path, 1 << 20);
        let mut reader = content.reader().expect("a reader");
        reader.read_exact(&mut [0; 3]).expect("read");
        let data = reader.next_data(3).expect("known");
        // A file system that knows no holes says 3.
        assert!(data == 3 || data == 512 << 10, "{data}");
        let after = reader.next_data((512 << 10) + 70_000).expect("known");
        assert!(after == (512 << 10) + 70_000 || after == 1 << 20, "{after}");
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).expect("read");
        assert_eq!(rest.len(), (1 << 20) - 3);
        file.set_len(600 << 10).expect("sized");
        if after == 1 << 20 {
            reader.next_data((512 << 10) + 70_000).expect_err("it is shorter now");
        }
        assert_eq!(Content::from_bytes(*b"abc").reader().expect("a reader").next_data(2).expect("known"), 2);
    }

    #[test]
    fn parts_are_found_out_and_have_holes_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x");
        let file = File::create(&path).expect("a file");
        file.set_len(1 << 20).expect("sized");
        let hole = Content::from_path(&path, 1 << 20);
        let content =
            Content::from_parts([hole.clone(), Content::from_bytes(*b"data"), hole]).expect("small");
        let reader = content.reader().expect("a reader");
        let ends = |position| reader.next_data(position).expect("known");
        assert!([0, 1 << 20].contains(&ends(0)), "{}", ends(0));
        assert_eq!(ends((1 << 20) + 1), (1 << 20) + 1);
        assert!([(1 << 20) + 9, (2 << 20) + 4].contains(&ends((1 << 20) + 9)));
        assert_eq!(ends((2 << 20) + 4), (2 << 20) + 4);
        file.set_len((1 << 20) + 1).expect("sized");
        assert_eq!(content.read(4 << 20).expect_err("it grew").kind(), io::ErrorKind::InvalidData);
        let large = Content::from_path("/nowhere", u64::MAX / 2);
        assert!(Content::from_parts([large.clone(), large.clone()]).is_none());
        assert!(Content::from_parts([large.clone(), large.clone(), large]).is_none());
    }

    #[test]
    fn every_kind_of_content_can_be_read_from_anywhere() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x");
        fs_err::write(&path, b"--abcdef").expect("write");
        let range = Arc::new(File::open(&path).expect("open"));
        fs_err::write(directory.path().join("y"), b"abcdef").expect("write");
        let parts = [Content::from_bytes(*b"a"), Content::from_bytes(*b""), Content::from_bytes(*b"bcd")];
        let parts = [Content::from_parts(parts).expect("small"), Content::from_range(range.clone(), 6, 2)];
        for content in [
            Content::from_bytes(b"abcdef".to_vec()),
            Content::from_range(range, 2, 6),
            Content::from_path(directory.path().join("y"), 6),
            Content::from_parts(parts).expect("small"),
        ] {
            assert_eq!(content.read(6).expect("read"), b"abcdef");
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
