//! Compressors of single blocks, and what the image says of them.
//!
//! Source: the "Compression Options" of the squashfs binary format; the kernel's `xz_wrapper.c`, `zstd_wrapper.c`,
//! `zlib_wrapper.c` and `lz4_wrapper.c`. A block is one zlib stream, one xz stream with CRC32, one zstd frame or
//! one bare LZ4 block.

use std::io;

use liblzma::stream::{Action, Check, Filters, LzmaOptions, Status, Stream};
use lz4::block::CompressionMode;

use super::Settings;
use super::format::{METADATA, put_16, put_32};
use crate::arch::Arch;
use crate::image::ImageError;
use crate::image::compress::{add_branch_filter, in_range, refused};
use crate::recipe::Compression;

/// The levels at which mksquashfs and the image's readers take the options for granted, so that they need no record.
const GZIP_LEVEL_UNSAID: u32 = 9;
const ZSTD_LEVEL_UNSAID: u32 = 15;
/// The largest window of deflate, as a power of two.
const GZIP_WINDOW: u16 = 15;
/// What `mksquashfs -Xhc` takes: `LZ4HC_CLEVEL_MAX`.
const LZ4_HIGH_LEVEL: i32 = 12;
/// The smallest dictionary that liblzma takes.
const XZ_LEAST_DICTIONARY: u32 = 4096;

/// A compressor with settings that hold for a whole image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Codec {
    kind: Kind,
    block_size: u32,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    None,
    Gzip { level: u32 },
    Xz { level: u32, filter: Option<Arch> },
    Zstd { level: u32 },
    Lz4 { high: bool },
}

impl Codec {
    pub(super) fn new(settings: &Settings) -> Result<Self, ImageError> {
        let kind = match settings.compression {
            Compression::None => Kind::None,
            Compression::Gzip { level } => Kind::Gzip { level: in_range("gzip", level.unwrap_or(9), 1..=9)? },
            Compression::Xz { level } => Kind::Xz {
                level: in_range("xz", level.unwrap_or(9), 0..=9)?,
                filter: settings.features.xz_bcj,
            },
            Compression::Zstd { level } => {
                Kind::Zstd { level: in_range("zstd", level.unwrap_or(19), 1..=22)? }
            }
            Compression::Lz4 => Kind::Lz4 { high: settings.lz4_high },
        };
        Ok(Self { kind, block_size: settings.block_size })
    }

    /// Whether nothing is compressed.
    pub(super) fn stores(self) -> bool {
        matches!(self.kind, Kind::None)
    }

    /// The superblock's number for it. There is none for no compression: that is zlib which is never used.
    pub(super) fn id(self) -> u16 {
        match self.kind {
            Kind::None | Kind::Gzip { .. } => 1,
            Kind::Xz { .. } => 4,
            Kind::Lz4 { .. } => 5,
            Kind::Zstd { .. } => 6,
        }
    }

    /// The record of its options, where there is something to say. The kernel needs that of LZ4 and looks at the
    /// dictionary's size of xz; all others are for tools.
    pub(super) fn options(self) -> Option<Vec<u8>> {
        /// The only format of LZ4 that there is.
        const LZ4_LEGACY: u32 = 1;
        let mut record = Vec::new();
        match self.kind {
            Kind::None
            | Kind::Gzip { level: GZIP_LEVEL_UNSAID }
            | Kind::Zstd { level: ZSTD_LEVEL_UNSAID } => {
                return None;
            }
            Kind::Gzip { level } => {
                put_32(&mut record, [level]);
                put_16(&mut record, [GZIP_WINDOW, 0]);
            }
            Kind::Xz { filter: Some(Arch::X86_64), .. } => {
                put_32(&mut record, [self.block_size.max(METADATA as u32), 1]);
            }
            // The filters of the other architectures are younger than the record: it has no bit for them.
            Kind::Xz { .. } => return None,
            Kind::Zstd { level } => put_32(&mut record, [level]),
            Kind::Lz4 { high } => put_32(&mut record, [LZ4_LEGACY, high.into()]),
        }
        Some(record)
    }

    /// A compressor for data blocks.
    pub(super) fn data(self) -> Result<BlockCompressor, ImageError> {
        self.compressor(self.block_size as usize)
    }

    /// A compressor for blocks of metadata, which hold no code.
    pub(super) fn metadata(mut self) -> Result<BlockCompressor, ImageError> {
        if let Kind::Xz { filter, .. } = &mut self.kind {
            *filter = None;
        }
        self.compressor(METADATA)
    }

    fn compressor(self, most: usize) -> Result<BlockCompressor, ImageError> {
        Ok(BlockCompressor(match self.kind {
            Kind::None => Inner::None,
            Kind::Gzip { level } => Inner::Gzip(flate2::Compress::new(flate2::Compression::new(level), true)),
            Kind::Xz { level, filter } => {
                Inner::Xz { level, filter, other: vec![0; if filter.is_some() { most } else { 0 }] }
            }
            Kind::Zstd { level } => Inner::Zstd(
                zstd::bulk::Compressor::new(level.cast_signed())
                    .map_err(|error| refused("zstd", &error.to_string()))?,
            ),
            Kind::Lz4 { high } => Inner::Lz4(if high {
                CompressionMode::HIGHCOMPRESSION(LZ4_HIGH_LEVEL)
            } else {
                CompressionMode::DEFAULT
            }),
        }))
    }

    /// How large the buffer must be that `most` bytes are compressed into.
    pub(super) fn room(self, most: usize) -> usize {
        match self.kind {
            Kind::None => 0,
            Kind::Gzip { .. } | Kind::Xz { .. } => most,
            Kind::Zstd { .. } => zstd::zstd_safe::compress_bound(most),
            // LZ4_COMPRESSBOUND of lz4.h.
            Kind::Lz4 { .. } => most + most / 255 + 16,
        }
    }
}

/// Compresses one block after the other; each is compressed alone.
pub(super) struct BlockCompressor(Inner);

enum Inner {
    None,
    Gzip(flate2::Compress),
    Xz {
        level: u32,
        filter: Option<Arch>,
        /// What the filter made of the block.
        other: Vec<u8>,
    },
    Zstd(zstd::bulk::Compressor<'static>),
    Lz4(CompressionMode),
}

impl BlockCompressor {
    /// Compresses `input` into `output`, which has [`Codec::room`]; gives how many bytes that took, or nothing where
    /// they are not fewer than before.
    pub(super) fn compress(&mut self, input: &[u8], output: &mut [u8]) -> Result<Option<usize>, ImageError> {
        let Some(most) = input.len().checked_sub(1) else { return Ok(None) };
        let length = match &mut self.0 {
            Inner::None => None,
            Inner::Gzip(compressor) => {
                compressor.reset();
                let status = compressor
                    .compress(input, &mut output[..most], flate2::FlushCompress::Finish)
                    .map_err(|error| refused("gzip", &error.to_string()))?;
                (status == flate2::Status::StreamEnd).then_some(compressor.total_out() as usize)
            }
            Inner::Xz { level, filter, other } => {
                let failed = |error: liblzma::stream::Error| refused("xz", &error.to_string());
                let plain = xz(*level, None, input, &mut output[..most]).map_err(failed)?;
                match filter {
                    Some(arch) if changes_code(*arch, input) => {
                        let most = plain.map_or(most, |length| length - 1);
                        let filtered = xz(*level, Some(*arch), input, &mut other[..most]).map_err(failed)?;
                        if let Some(length) = filtered {
                            output[..length].copy_from_slice(&other[..length]);
                        }
                        filtered.or(plain)
                    }
                    _ => plain,
                }
            }
            Inner::Zstd(compressor) => {
                let length = compressor
                    .compress_to_buffer(input, output)
                    .map_err(|error: io::Error| refused("zstd", &error.to_string()))?;
                Some(length)
            }
            Inner::Lz4(mode) => {
                let length = lz4::block::compress_to_buffer(input, Some(*mode), false, output)
                    .map_err(|error| refused("lz4", &error.to_string()))?;
                Some(length)
            }
        };
        Ok(length.filter(|&length| length <= most))
    }
}

/// One xz stream; nothing where it doesn't fit into `output`.
fn xz(
    level: u32,
    filter: Option<Arch>,
    input: &[u8],
    output: &mut [u8],
) -> Result<Option<usize>, liblzma::stream::Error> {
    let mut lzma = LzmaOptions::new_preset(level)?;
    // More than the input is of no use. The kernel's dictionary is as large as a block, or 8 KiB.
    let dictionary = u32::try_from(input.len().next_power_of_two()).unwrap_or(u32::MAX);
    lzma.dict_size(dictionary.max(XZ_LEAST_DICTIONARY));
    let mut filters = Filters::new();
    add_branch_filter(&mut filters, filter);
    filters.lzma2(&lzma);
    let mut stream = Stream::new_stream_encoder(&filters, Check::Crc32)?;
    loop {
        let (read, written) = (stream.total_in() as usize, stream.total_out() as usize);
        match stream.process(&input[read..], &mut output[written..], Action::Finish)? {
            Status::StreamEnd => return Ok(Some(stream.total_out() as usize)),
            _ if stream.total_out() as usize == output.len() => return Ok(None),
            _ if (read, written) == (stream.total_in() as usize, stream.total_out() as usize) => {
                return Ok(None);
            }
            _ => {}
        }
    }
}

/// How many bytes there are to a jump at least where a filter is of no use. In the libraries and programs of a Debian
/// what lies beyond has 0.3 % of what the x86 filter saves, and 40 % of the blocks, which take twice the time with it.
const BYTES_TO_A_JUMP: usize = 4096;

/// Whether the filter of an architecture finds enough in these bytes to change. Where it finds nothing, the stream
/// with it is the one without it and a longer header.
fn changes_code(arch: Arch, bytes: &[u8]) -> bool {
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let jumps = match arch {
        // CALL and JMP with a distance of 32 bits, of which the topmost 8 are the sign.
        Arch::X86_64 => memchr::memchr2_iter(0xe8, 0xe9, bytes)
            .filter(|place| matches!(bytes.get(place + 4), Some(0 | 0xff)))
            .count(),
        // BL and ADRP.
        Arch::Aarch64 => bytes
            .chunks_exact(4)
            .filter(|code| word(code) >> 26 == 0b10_0101 || word(code) & 0x9f00_0000 == 0x9000_0000)
            .count(),
        // JAL and AUIPC.
        Arch::Riscv64 => {
            bytes.chunks_exact(2).filter(|code| code[0] == 0xef || code[0] & 0x7f == 0x17).count()
        }
    };
    jumps > bytes.len() / BYTES_TO_A_JUMP
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::image::compress::DecompressorFeatures;

    fn settings(compression: Compression, xz_bcj: Option<Arch>) -> Settings {
        Settings { compression, features: DecompressorFeatures { xz_bcj }, ..Settings::default() }
    }

    fn compress(settings: &Settings, input: &[u8]) -> Option<Vec<u8>> {
        let codec = Codec::new(settings).expect("known");
        let mut output = vec![0; codec.room(input.len())];
        let length = codec.data().expect("set up").compress(input, &mut output).expect("compressed")?;
        output.truncate(length);
        Some(output)
    }

    fn decompress(compression: Compression, packed: &[u8], length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        match compression {
            Compression::None => bytes.extend(packed),
            Compression::Gzip { .. } => {
                flate2::read::ZlibDecoder::new(packed).read_to_end(&mut bytes).map(drop).expect("zlib");
            }
            Compression::Xz { .. } => {
                liblzma::read::XzDecoder::new(packed).read_to_end(&mut bytes).map(drop).expect("xz");
            }
            Compression::Zstd { .. } => bytes = zstd::decode_all(packed).expect("zstd"),
            Compression::Lz4 => bytes = lz4_flex::block::decompress(packed, length).expect("lz4"),
        }
        bytes
    }

    /// Calls of one function from everywhere.
    fn code() -> Vec<u8> {
        (0..10_000_u32)
            .flat_map(|index| {
                let [a, b, c, d] = (0x0040_0000_u32 - index * 9).to_le_bytes();
                [0xe8, a, b, c, d, (index * 37) as u8, 0x89, 0xc3, 0x90]
            })
            .collect()
    }

    #[test]
    fn what_is_compressed_comes_back() {
        let text = b"some words, and some more words ".repeat(300);
        let code = code();
        for compression in [
            Compression::Gzip { level: None },
            Compression::Gzip { level: Some(1) },
            Compression::Xz { level: None },
            Compression::Xz { level: Some(0) },
            Compression::Zstd { level: None },
            Compression::Zstd { level: Some(22) },
            Compression::Lz4,
        ] {
            for high in [false, true] {
                for arch in [None].into_iter().chain(Arch::ALL.map(Some)) {
                    let settings = Settings { lz4_high: high, ..settings(compression, arch) };
                    for input in [&text, &code] {
                        let packed = compress(&settings, input).expect("it becomes smaller");
                        assert!(packed.len() < input.len() / 2);
                        assert!(decompress(compression, &packed, input.len()) == *input, "{settings:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_does_not_become_smaller_stays() {
        let noise: Vec<u8> =
            (0..5000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for compression in [
            Compression::None,
            Compression::Gzip { level: None },
            Compression::Xz { level: None },
            Compression::Zstd { level: None },
            Compression::Lz4,
        ] {
            for input in [&b""[..], b"a", b"ab", &noise[..30]] {
                assert_eq!(
                    compress(&settings(compression, Some(Arch::X86_64)), input),
                    None,
                    "{compression:?}"
                );
            }
        }
        assert_eq!(compress(&settings(Compression::None, None), &[0; 1000]), None);
    }

    /// With the filter where it makes a block smaller, and only there.
    #[test]
    fn the_filter_is_taken_where_it_is_of_use() {
        let xz = Compression::Xz { level: None };
        let [with, without] =
            [Some(Arch::X86_64), None].map(|arch| compress(&settings(xz, arch), &code()).expect("smaller"));
        assert!(with.len() * 2 < without.len(), "{} bytes with it, {} without", with.len(), without.len());
        // Jumps that lead nowhere: what is made of them is worse.
        let mut data = b"\xe8 is a byte and \x00\xff and 0x00 \xe9".repeat(200);
        data.extend((0..2000_u32).flat_map(|index| [0xe8, 1, 2, 3, 0, index as u8]));
        let [with, without] =
            [Some(Arch::X86_64), None].map(|arch| compress(&settings(xz, arch), &data).expect("smaller"));
        assert!(changes_code(Arch::X86_64, &data));
        assert!(with == without);
        for arch in Arch::ALL {
            assert!(!changes_code(arch, &b"no code at all, but words. ".repeat(400)), "{arch}");
        }
    }

    #[test]
    fn records_of_options_are_as_specified() {
        for (settings, expected) in [
            (settings(Compression::None, None), None),
            (settings(Compression::Gzip { level: None }, None), None),
            (settings(Compression::Gzip { level: Some(6) }, None), Some("060000000f000000")),
            (settings(Compression::Xz { level: None }, None), None),
            (settings(Compression::Xz { level: None }, Some(Arch::X86_64)), Some("0000020001000000")),
            (settings(Compression::Xz { level: None }, Some(Arch::Aarch64)), None),
            (settings(Compression::Zstd { level: Some(15) }, None), None),
            (settings(Compression::Zstd { level: None }, None), Some("13000000")),
            (settings(Compression::Lz4, None), Some("0100000001000000")),
            (Settings { lz4_high: false, ..settings(Compression::Lz4, None) }, Some("0100000000000000")),
        ] {
            let codec = Codec::new(&settings).expect("known");
            assert_eq!(codec.options().map(hex::encode).as_deref(), expected, "{settings:?}");
        }
    }
}
