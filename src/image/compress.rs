//! Compressors, with the settings that the kernel's decompressors can read.
//!
//! One archive is always one gzip member or one zstd frame: the kernel fails if a compressed member ends
//! before the archive does. Threads never change the bytes: xz and zstd cut the input at fixed sizes
//! whatever their number.

pub(in crate::image) mod lz4_block;
mod lz4_legacy;
mod match_finder;

use std::io::{self, Write};

use liblzma::stream::{Check, Filters, LzmaOptions, MtStreamBuilder};

use super::ImageError;
use crate::arch::Arch;
use crate::recipe::Compression;

/// What the kernel that will unpack the image can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DecompressorFeatures {
    /// The branch/call/jump filter for this architecture (`CONFIG_XZ_DEC_X86` …), if there is one.
    pub xz_bcj: Option<Arch>,
}

/// The largest xz dictionary: the kernel allocates it while it unpacks. Larger ones gain under 1 % on images
/// of this size.
const XZ_DICTIONARY: u32 = 8 << 20;
/// How much input one xz block takes; blocks are compressed in parallel. Three dictionaries, as `xz -T`
/// chooses: smaller blocks cost ratio.
const XZ_BLOCK: u64 = 3 * XZ_DICTIONARY as u64;
/// The largest zstd window (as a power of two) that every kernel takes without its decompressor's workspace
/// being raised.
const ZSTD_WINDOW_LOG: u32 = 23;

/// A compressing [`Write`]; [`Compressor::finish`] must be called.
pub struct Compressor<W: Write>(Inner<W>);

enum Inner<W: Write> {
    None(W),
    Gzip(flate2::write::GzEncoder<W>),
    Xz(Box<liblzma::write::XzEncoder<W>>),
    Zstd(zstd::Encoder<'static, W>),
    Lz4(lz4_legacy::Encoder<W>),
}

impl<W: Write> Compressor<W> {
    /// How many threads have something to do for so many bytes: each holds memory, of xz nearly 100 MB.
    pub(crate) fn useful_threads(compression: Compression, bytes: u64, threads: usize) -> usize {
        match compression {
            Compression::Xz { .. } => {
                let blocks = usize::try_from(bytes.div_ceil(XZ_BLOCK)).unwrap_or(usize::MAX);
                threads.min(blocks.max(1))
            }
            _ => threads,
        }
    }

    /// A compressor that writes to `output` with at most `threads` threads.
    ///
    /// # Errors
    /// [`ImageError::Compressor`] for a level that the compressor doesn't have.
    pub fn new(
        output: W,
        compression: Compression,
        features: DecompressorFeatures,
        threads: usize,
    ) -> Result<Self, ImageError> {
        let threads = u32::try_from(threads.max(1)).unwrap_or(1);
        Ok(Self(match compression {
            Compression::None => Inner::None(output),
            Compression::Gzip { level } => {
                let level = in_range("gzip", level.unwrap_or(9), 1..=9)?;
                Inner::Gzip(flate2::GzBuilder::new().mtime(0).write(output, flate2::Compression::new(level)))
            }
            Compression::Xz { level } => {
                let level = in_range("xz", level.unwrap_or(9), 0..=9)?;
                Inner::Xz(Box::new(liblzma::write::XzEncoder::new_stream(
                    output,
                    xz_stream(level, features, threads).map_err(|error| refused("xz", &error.to_string()))?,
                )))
            }
            Compression::Zstd { level } => {
                let level = in_range("zstd", level.unwrap_or(19), 1..=22)?;
                Inner::Zstd(
                    zstd_encoder(output, level, threads)
                        .map_err(|error| refused("zstd", &error.to_string()))?,
                )
            }
            Compression::Lz4 => Inner::Lz4(lz4_legacy::Encoder::new(output)),
        }))
    }

    /// Writes what is left and gives the output back.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Inner::None(output) => Ok(output),
            Inner::Gzip(encoder) => encoder.finish(),
            Inner::Xz(encoder) => encoder.finish(),
            Inner::Zstd(encoder) => encoder.finish(),
            Inner::Lz4(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::None(output) => output.write(bytes),
            Inner::Gzip(encoder) => encoder.write(bytes),
            Inner::Xz(encoder) => encoder.write(bytes),
            Inner::Zstd(encoder) => encoder.write(bytes),
            Inner::Lz4(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Inner::None(output) => output.flush(),
            Inner::Gzip(encoder) => encoder.flush(),
            Inner::Xz(encoder) => encoder.flush(),
            Inner::Zstd(encoder) => encoder.flush(),
            Inner::Lz4(encoder) => encoder.flush(),
        }
    }
}

/// The filter of xz for calls and jumps of an architecture's code.
pub(in crate::image) fn add_branch_filter(filters: &mut Filters, arch: Option<Arch>) {
    match arch {
        Some(Arch::X86_64) => {
            filters.x86();
        }
        Some(Arch::Aarch64) => {
            filters.arm64();
        }
        Some(Arch::Riscv64) => {
            filters.riscv();
        }
        None => {}
    }
}

fn xz_stream(
    level: u32,
    features: DecompressorFeatures,
    threads: u32,
) -> Result<liblzma::stream::Stream, liblzma::stream::Error> {
    let mut lzma = LzmaOptions::new_preset(level)?;
    if level >= 7 {
        lzma.dict_size(XZ_DICTIONARY);
    }
    let mut filters = Filters::new();
    add_branch_filter(&mut filters, features.xz_bcj);
    filters.lzma2(&lzma);
    MtStreamBuilder::new()
        .filters(filters)
        // The kernel knows CRC32 and none.
        .check(Check::Crc32)
        .threads(threads)
        .block_size(XZ_BLOCK)
        .encoder()
}

fn zstd_encoder<W: Write>(output: W, level: u32, threads: u32) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(output, level.cast_signed())?;
    encoder.window_log(ZSTD_WINDOW_LOG)?;
    encoder.include_checksum(true)?;
    // Never none: without workers the input is cut differently, and the bytes would depend on the machine.
    encoder.multithread(threads)?;
    Ok(encoder)
}

pub(super) fn in_range(
    compressor: &'static str,
    level: u32,
    range: std::ops::RangeInclusive<u32>,
) -> Result<u32, ImageError> {
    if range.contains(&level) {
        return Ok(level);
    }
    Err(refused(compressor, &format!("level {level} is not in {}–{}", range.start(), range.end())))
}

pub(super) fn refused(compressor: &'static str, reason: &str) -> ImageError {
    ImageError::Compressor { compressor, reason: reason.to_owned() }
}

impl Compression {
    /// What is appended to the name of an image that is compressed so: `.xz` and so on, nothing for none.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip { .. } => ".gz",
            Self::Xz { .. } => ".xz",
            Self::Zstd { .. } => ".zst",
            Self::Lz4 => ".lz4",
        }
    }

    /// The kernel option that an initramfs compressed so needs.
    pub fn kernel_option(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip { .. } => Some("CONFIG_RD_GZIP"),
            Self::Xz { .. } => Some("CONFIG_RD_XZ"),
            Self::Zstd { .. } => Some("CONFIG_RD_ZSTD"),
            Self::Lz4 => Some("CONFIG_RD_LZ4"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip { level: Some(1) },
        Compression::Xz { level: Some(1) },
        Compression::Zstd { level: Some(1) },
        Compression::Lz4,
    ];

    fn compress(compression: Compression, threads: usize, bytes: &[u8]) -> Vec<u8> {
        let features = DecompressorFeatures { xz_bcj: Some(Arch::X86_64) };
        let mut compressor = Compressor::new(Vec::new(), compression, features, threads).expect("set up");
        compressor.write_all(bytes).expect("compress");
        compressor.finish().expect("compress")
    }

    /// Compressible, but not trivially.
    fn text() -> Vec<u8> {
        (0..300_000_u32).flat_map(|number| (number.wrapping_mul(2_654_435_761) >> 20).to_le_bytes()).collect()
    }

    #[test]
    fn what_is_compressed_comes_back() {
        let text = text();
        for compression in ALL {
            let packed = compress(compression, 2, &text);
            let mut back = Vec::new();
            match compression {
                Compression::Lz4 => {
                    lz4_flex::frame::FrameDecoder::new(&packed[..]).read_to_end(&mut back).expect("read");
                }
                _ => {
                    crate::archive::decompress(&packed[..])
                        .expect("known")
                        .read_to_end(&mut back)
                        .expect("read");
                }
            }
            assert!(back == text, "{compression:?}");
        }
    }

    #[test]
    fn threads_do_not_change_the_bytes() {
        let text = text().repeat(4);
        for compression in ALL {
            let one = compress(compression, 1, &text);
            assert!(one == compress(compression, 1, &text), "{compression:?}");
            assert!(one == compress(compression, 4, &text), "{compression:?}");
        }
    }

    /// The filter's effect: calls of one function from everywhere become the same bytes.
    #[test]
    fn the_filter_for_code_is_applied() {
        let code: Vec<u8> = (0..20_000_u32)
            .flat_map(|index| {
                let [a, b, c, d] = (0x0040_0000_u32 - index * 9).to_le_bytes();
                [0xe8, a, b, c, d, (index * 37) as u8, 0x89, 0xc3, 0x90]
            })
            .collect();
        let with = compress(Compression::Xz { level: Some(6) }, 1, &code).len();
        let mut compressor = Compressor::new(
            Vec::new(),
            Compression::Xz { level: Some(6) },
            DecompressorFeatures::default(),
            1,
        )
        .expect("set up");
        compressor.write_all(&code).expect("compress");
        let without = compressor.finish().expect("compress").len();
        assert!(with * 2 < without, "{with} bytes with the filter, {without} without");
    }

    #[test]
    fn levels_that_are_not_there_are_refused() {
        for compression in [
            Compression::Gzip { level: Some(0) },
            Compression::Xz { level: Some(10) },
            Compression::Zstd { level: Some(23) },
        ] {
            assert!(Compressor::new(Vec::new(), compression, DecompressorFeatures::default(), 1).is_err());
        }
    }
}
