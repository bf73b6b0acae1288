//! A nameless temporary file that holds the unpacked contents of an archive while an image is assembled.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

use ring::digest;

use super::Content;

/// How much is read at a time, in bytes.
const BUFFER: usize = 64 * 1024;

/// Unpacked file contents, one after the other, in a temporary file that has no name and vanishes with the
/// last [`Content`] that reads from it (also when the process is killed).
#[derive(Debug, Clone)]
pub struct Spool {
    file: Arc<File>,
}

/// Fills a [`Spool`].
#[derive(Debug)]
pub struct SpoolWriter {
    file: BufWriter<File>,
    position: u64,
    buffer: Vec<u8>,
}

/// Where some bytes stand in a spool, and their hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolRange {
    offset: u64,
    length: u64,
    sha256: [u8; 32],
}

impl SpoolWriter {
    /// A spool in `directory`, which must exist.
    ///
    /// # Errors
    /// When no file can be made there.
    pub fn new_in(directory: &Path) -> io::Result<Self> {
        let file = tempfile::tempfile_in(directory)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", directory.display())))?;
        Ok(Self { file: BufWriter::with_capacity(256 * 1024, file), position: 0, buffer: vec![0; BUFFER] })
    }

    /// Takes everything that `reader` gives.
    ///
    /// # Errors
    /// When reading or writing fails (a full disk, for one).
    pub fn append(&mut self, reader: &mut dyn Read) -> io::Result<SpoolRange> {
        let offset = self.position;
        let mut context = digest::Context::new(&digest::SHA256);
        loop {
            match reader.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => {
                    context.update(&self.buffer[..count]);
                    self.file.write_all(&self.buffer[..count])?;
                    self.position += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(context.finish().as_ref());
        Ok(SpoolRange { offset, length: self.position - offset, sha256 })
    }

    /// Ends the writing.
    ///
    /// # Errors
    /// When the last bytes can't be written.
    pub fn finish(mut self) -> io::Result<Spool> {
        self.file.flush()?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Spool { file: Arc::new(file) })
    }
}

impl Spool {
    /// The bytes at `range`, which [`SpoolWriter::append`] of this spool gave.
    pub fn content(&self, range: SpoolRange) -> Content {
        Content::from_hashed(Arc::clone(&self.file), range.offset, range.length, range.sha256)
    }
}
