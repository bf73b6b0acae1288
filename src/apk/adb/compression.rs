//! The outermost layer of an ADB file: `ADB.` begins an uncompressed one, `ADBd` a raw deflate stream (RFC 1951),
//! `ADBc` two bytes, algorithm and level, and a stream of that algorithm.

use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::str::FromStr;

use flate2::{Decompress, FlushDecompress, Status};

use crate::apk::ApkError;
use crate::archive::ZSTD_WINDOW_LOG;

/// How a file is compressed. Level 0 is the algorithm's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Raw deflate, levels to 9.
    Deflate(u8),
    /// Zstandard, levels to 22.
    Zstd(u8),
}

const DEFLATE: u8 = 1;
const ZSTD: u8 = 2;
const MOST_DEFLATE: u8 = 9;
const MOST_ZSTD: u8 = 22;

impl Default for Compression {
    /// As `apk`: deflate.
    fn default() -> Self {
        Self::Deflate(0)
    }
}

/// As `apk --compression` takes it: `none`, `deflate`, `zstd`, with a level after a colon.
impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, level.parse().ok()),
            None => (text, Some(0)),
        };
        match (name, level) {
            ("none", _) if name == text => Ok(Self::None),
            ("deflate", Some(level @ 0..=MOST_DEFLATE)) => Ok(Self::Deflate(level)),
            ("zstd", Some(level @ 0..=MOST_ZSTD)) => Ok(Self::Zstd(level)),
            _ => {
                Err("none, deflate, deflate:0 to deflate:9, zstd or zstd:0 to zstd:22 is expected".to_owned())
            }
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Deflate(level) => write!(f, "deflate:{level}"),
            Self::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

/// What comes out of a file's compression: `ADB.` and what follows it.
pub struct Decompressed<R: BufRead> {
    inner: Inner<R>,
    compression: Compression,
    limit: u64,
    taken: u64,
}

enum Inner<R: BufRead> {
    Plain(io::Chain<&'static [u8], R>),
    Deflate(Inflate<R>),
    Zstd(zstd::Decoder<'static, R>),
}

impl<R: BufRead> Decompressed<R> {
    /// Looks at the first bytes. At most `limit` bytes may come out.
    ///
    /// # Errors
    /// When it is no ADB file, or compressed in a way that is not known.
    pub fn open(mut reader: R, limit: u64) -> Result<Self, ApkError> {
        let failed = |source| ApkError::Damaged { member: "ADB", offset: 0, source };
        let unknown = |expected, found: &[u8]| ApkError::Structure {
            offset: 0,
            expected,
            found: format!("the bytes {found:02x?}"),
        };
        let mut magic = [0; 4];
        reader.read_exact(&mut magic).map_err(failed)?;
        let (inner, compression) = match &magic {
            // The magic number is the blocks' own too.
            b"ADB." => (Inner::Plain((&b"ADB."[..]).chain(reader)), Compression::None),
            b"ADBd" => (Inner::Deflate(Inflate::new(reader)), Compression::Deflate(0)),
            b"ADBc" => {
                let mut spec = [0; 2];
                reader.read_exact(&mut spec).map_err(failed)?;
                match spec {
                    [DEFLATE, level @ 0..=MOST_DEFLATE] => {
                        (Inner::Deflate(Inflate::new(reader)), Compression::Deflate(level))
                    }
                    [ZSTD, level @ 0..=MOST_ZSTD] => {
                        let mut decoder = zstd::Decoder::with_buffer(reader).map_err(failed)?.single_frame();
                        decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(failed)?;
                        (Inner::Zstd(decoder), Compression::Zstd(level))
                    }
                    _ => return Err(unknown("deflate or zstd, and its level", &spec)),
                }
            }
            _ => return Err(unknown("ADB. or ADBd or ADBc", &magic)),
        };
        Ok(Self { inner, compression, limit, taken: 0 })
    }

    /// What the file says of it.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Checks that the stream ends here, and the file with it.
    ///
    /// # Errors
    /// When more follows, or the stream is cut.
    pub fn finish(mut self) -> Result<(), ApkError> {
        let offset = self.taken;
        let failed = |source| ApkError::Damaged { member: "ADB", offset, source };
        let more = |found: &str| ApkError::Structure { offset, expected: "the end", found: found.to_owned() };
        if self.read(&mut [0]).map_err(failed)? != 0 {
            return Err(more("more bytes"));
        }
        let mut rest = match self.inner {
            Inner::Plain(chain) => chain.into_inner().1,
            Inner::Deflate(inflate) => inflate.reader,
            Inner::Zstd(decoder) => decoder.finish(),
        };
        if !rest.fill_buf().map_err(failed)?.is_empty() {
            return Err(more("bytes after the compressed stream"));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.inner {
            Inner::Plain(reader) => reader.read(buffer)?,
            Inner::Deflate(inflate) => inflate.read(buffer)?,
            Inner::Zstd(decoder) => decoder.read(buffer)?,
        };
        self.taken += count as u64;
        if self.taken > self.limit {
            let text = format!("more than {} bytes come out of its compression", self.limit);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        Ok(count)
    }
}

/// A raw deflate stream to its last block. (`flate2`'s own reader takes a stream that is cut for one that ends.)
struct Inflate<R> {
    reader: R,
    state: Decompress,
    ended: bool,
}

impl<R: BufRead> Inflate<R> {
    fn new(reader: R) -> Self {
        Self { reader, state: Decompress::new(false), ended: false }
    }
}

impl<R: BufRead> Read for Inflate<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.ended && !buffer.is_empty() {
            let input = self.reader.fill_buf()?;
            let at_end = input.is_empty();
            let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(input, buffer, FlushDecompress::None).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("the deflate stream is damaged: {error}"))
            })?;
            // Neither can be more than the buffers that were given.
            let consumed = (self.state.total_in() - before_in) as usize;
            let produced = (self.state.total_out() - before_out) as usize;
            self.reader.consume(consumed);
            self.ended = matches!(status, Status::StreamEnd);
            if produced != 0 {
                return Ok(produced);
            }
            if at_end && !self.ended {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the deflate stream is cut"));
            }
        }
        Ok(0)
    }
}

/// Compresses an ADB file while it is written.
pub(super) enum Compressor<W: Write> {
    Plain(W),
    Deflate(flate2::write::DeflateEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    pub(super) fn new(mut output: W, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(output),
            Compression::Deflate(level) => {
                match level {
                    0 => output.write_all(b"ADBd")?,
                    level => output.write_all(&[b'A', b'D', b'B', b'c', DEFLATE, level])?,
                }
                let level = if level == 0 { 6 } else { level.min(MOST_DEFLATE) };
                Self::Deflate(flate2::write::DeflateEncoder::new(
                    output,
                    flate2::Compression::new(level.into()),
                ))
            }
            Compression::Zstd(level) => {
                let level = level.min(MOST_ZSTD);
                output.write_all(&[b'A', b'D', b'B', b'c', ZSTD, level])?;
                // Zstandard's own default is 0 as well.
                let mut encoder = zstd::Encoder::new(output, level.into())?;
                // Signatures and hashes don't cover the compressed stream: a checksum finds changes of it that
                // change nothing else.
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
        })
    }

    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(output) => Ok(output),
            Self::Deflate(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(output) => output.write(bytes),
            Self::Deflate(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(output) => output.flush(),
            Self::Deflate(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        let mut writer = Compressor::new(Vec::new(), compression).expect("to memory");
        writer.write_all(bytes).expect("to memory");
        writer.finish().expect("to memory")
    }

    fn read(bytes: &[u8], limit: u64) -> Result<Vec<u8>, String> {
        // A byte at a time.
        let reader = io::BufReader::with_capacity(7, bytes);
        let mut reader = Decompressed::open(reader, limit).map_err(|error| error.to_string())?;
        let mut back = Vec::new();
        reader.read_to_end(&mut back).map_err(|error| error.to_string())?;
        reader.finish().map_err(|error| error.to_string())?;
        Ok(back)
    }

    #[test]
    fn what_is_compressed_comes_back_and_cuts_are_found() {
        let text = [&b"ADB."[..], &b"some text ".repeat(3000)].concat();
        let all = [
            Compression::None,
            Compression::Deflate(0),
            Compression::Deflate(9),
            Compression::Zstd(0),
            Compression::Zstd(19),
        ];
        for compression in all {
            let bytes = compressed(compression, &text);
            assert_eq!(read(&bytes, 1 << 20).as_ref(), Ok(&text), "{compression}");
            assert!(read(&bytes, text.len() as u64 - 1).expect_err("a bomb").contains("come out"));
            if compression == Compression::None {
                continue;
            }
            for end in 0..bytes.len() {
                assert!(read(&bytes[..end], 1 << 20).is_err(), "{compression} cut at {end}");
            }
            assert!(read(&[&bytes[..], b"x"].concat(), 1 << 20).is_err(), "{compression}");
        }
        for bad in [&b"ADBc\0\0"[..], b"ADBc\x03\0", b"ADBc\x01\x0a", b"ADBc\x02\x17", b"ADBx", b"AD", b""] {
            assert!(read(bad, 100).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn words_for_compression() {
        for (text, expected) in [
            ("none", Some(Compression::None)),
            ("deflate", Some(Compression::Deflate(0))),
            ("deflate:9", Some(Compression::Deflate(9))),
            ("zstd:22", Some(Compression::Zstd(22))),
            ("zstd:23", None),
            ("none:1", None),
            ("deflate:", None),
            ("gzip", None),
        ] {
            assert_eq!(text.parse::<Compression>().ok(), expected, "{text}");
        }
    }
}
