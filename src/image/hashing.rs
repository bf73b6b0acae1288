//! Counts and hashes what is written through it.

use std::io::{self, Write};

use ring::digest;

/// A [`Write`] that knows the SHA-256 and the number of the bytes that went through it.
pub(super) struct Hashing<W> {
    output: W,
    context: digest::Context,
    size: u64,
}

impl<W: Write> Hashing<W> {
    pub(super) fn new(output: W) -> Self {
        Self { output, context: digest::Context::new(&digest::SHA256), size: 0 }
    }

    /// The output, how many bytes it got, and their hash.
    pub(super) fn finish(self) -> (W, u64, [u8; 32]) {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.context.finish().as_ref());
        (self.output, self.size, sha256)
    }
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
