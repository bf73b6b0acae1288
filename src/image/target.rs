//! Where an image is written that is no stream: a file system, a disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A part of a file, from some byte on, that is written in any order and from any thread; what is never written
/// reads as zeros and takes no room on a file system that knows sparse files.
///
/// The file must be empty from that byte on.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    file: &'a File,
    start: u64,
}

impl<'a> Target<'a> {
    /// The whole of an empty file.
    pub fn new(file: &'a File) -> Self {
        Self { file, start: 0 }
    }

    /// What begins `offset` bytes further on: a partition of a disk.
    pub fn from(self, offset: u64) -> Self {
        Self { file: self.file, start: self.start + offset }
    }

    /// Writes all of `bytes` at `position`.
    ///
    /// # Errors
    /// When the file can't be written (a full disk, for one), or would become larger than files can be.
    pub fn write_at(self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let position = self.start.checked_add(position).ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, "a position beyond what a file holds")
        })?;
        self.file.write_all_at(bytes, position)
    }

    /// Makes the file end `length` bytes after the target's beginning, with a hole where nothing was written.
    ///
    /// # Errors
    /// When the file can't be that large.
    pub fn set_len(self, length: u64) -> io::Result<()> {
        self.file.set_len(self.start.saturating_add(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_file_knows_nothing_of_the_rest() {
        let file = tempfile::tempfile().expect("a file");
        let part = Target::new(&file).from(3).from(2);
        part.write_at(4, b"x").expect("written");
        part.write_at(0, b"a").expect("written");
        part.set_len(6).expect("set");
        let mut bytes = [1; 11];
        file.read_exact_at(&mut bytes, 0).expect("read");
        assert_eq!(&bytes, b"\0\0\0\0\0a\0\0\0x\0");
        assert_eq!(file.metadata().expect("there").len(), 11);
        assert!(part.write_at(u64::MAX, b"x").is_err());
    }
}
