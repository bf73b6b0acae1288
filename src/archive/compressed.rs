//! Compressed streams, told apart by their first bytes.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// The compressions that archives come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionFormat {
    /// Not compressed.
    None,
    /// RFC 1952, one member or several.
    Gzip,
    /// The .xz format, one stream or several.
    Xz,
    /// RFC 8878, one frame or several.
    Zstd,
}

/// Memory that an xz stream may ask for: its largest preset (`-9`) takes 65 MiB.
pub(crate) const XZ_MEMORY: u64 = 256 << 20;
/// The largest window that zstd streams may ask for, as a power of two: that of `--ultra -22`.
pub(crate) const ZSTD_WINDOW_LOG: u32 = 27;

impl CompressionFormat {
    /// Looks at the first bytes of a stream (six are enough).
    pub fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// The decompressed bytes of a stream of any [`CompressionFormat`].
///
/// # Errors
/// When its first bytes can't be read or a decompressor can't be made.
pub fn decompress<'a>(mut reader: impl BufRead + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match CompressionFormat::of(reader.fill_buf()?) {
        CompressionFormat::None => Box::new(reader),
        CompressionFormat::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        CompressionFormat::Xz => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(reader, stream))
        }
        CompressionFormat::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(reader)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

/// The decompressed bytes of the file at `path`.
///
/// # Errors
/// When it can't be opened or read.
pub fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    decompress(BufReader::with_capacity(256 * 1024, fs_err::File::open(path)?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn every_format_is_recognised() {
        let text = b"the same text".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).expect("compress");
        let gzip = gzip.finish().expect("compress");
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&text).expect("compress");
        let zstd = zstd::encode_all(&text[..], 1).expect("compress");
        for stream in [text.clone(), gzip, xz.finish().expect("compress"), zstd] {
            let mut back = Vec::new();
            decompress(&stream[..]).expect("known").read_to_end(&mut back).expect("decompress");
            assert!(back == text);
            if CompressionFormat::of(&stream) != CompressionFormat::None {
                let mut cut = decompress(&stream[..stream.len() / 2]).expect("known");
                assert!(cut.read_to_end(&mut Vec::new()).is_err(), "a cut stream is an error");
            }
        }
    }
}
