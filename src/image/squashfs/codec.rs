//! Compressors of single blocks, and what the image says of them.
//!
//! Source: the "Compression Options" of the squashfs binary format; the kernel's `xz_wrapper.c`, `zstd_wrapper.c`,
//! `zlib_wrapper.c` and `lz4_wrapper.c`. A block is one zlib stream, one xz stream with CRC32, one zstd frame or
//! one bare LZ4 block.

use std::io;

use liblzma::stream::{Action, Check, Filters, LzmaOptions, Status, Stream};

use super::format::{METADATA, put_16, put_32};
use crate::arch::Arch;
use crate::image::ImageError;
use crate::image::compress::{DecompressorFeatures, in_range, refused};
use crate::recipe::Compression;

/// The levels at which mksquashfs and the image's readers take the options for granted, so that they need no record.
const GZIP_LEVEL_UNSAID: u32 = 9;
const ZSTD_LEVEL_UNSAID: u32 = 15;
/// The largest window of deflate, as a power of two.
const GZIP_WINDOW: u16 = 15;
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
    Lz4,
}

impl Codec {
    pub(super) fn new(
        compression: Compression,
        features: DecompressorFeatures,
        block_size: u32,
    ) -> Result<Self, ImageError> {
        let kind = match compression {
            Compression::None => Kind::None,
            Compression::Gzip { level } => Kind::Gzip { level: in_range("gzip", level.unwrap_or(9), 1..=9)? },
            Compression::Xz { level } => {
                Kind::Xz { level: in_range("xz", level.unwrap_or(9), 0..=9)?, filter: features.xz_bcj }
            }
            Compression::Zstd { level } => {
                Kind::Zstd { level: in_range("zstd", level.unwrap_or(19), 1..=22)? }
            }
            Compression::Lz4 => Kind::Lz4,
        };
        Ok(Self { kind, block_size })
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
            Kind::Lz4 => 5,
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
            Kind::Lz4 => put_32(&mut record, [LZ4_LEGACY, 0]),
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
            Kind::Lz4 => Inner::Lz4,
        }))
    }

    /// How large the buffer must be that `most` bytes are compressed into.
    pub(super) fn room(self, most: usize) -> usize {
        match self.kind {
            Kind::None => 0,
            Kind::Gzip { .. } | Kind::Xz { .. } => most,
            Kind::Zstd { .. } => zstd::zstd_safe::compress_bound(most),
            Kind::Lz4 => lz4_flex::block::get_maximum_output_size(most),
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
    Lz4,
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
            Inner::Lz4 => {
                let length = lz4_flex::block::compress_into(input, output)
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
    match filter {
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

/// Whether the filter of an architecture may find something in these bytes to change. Where it finds nothing, the
/// stream with it is the one without it and a longer header.
fn changes_code(arch: Arch, bytes: &[u8]) -> bool {
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    match arch {
        // CALL and JMP with a distance of 32 bits, of which the topmost 8 are the sign.
        Arch::X86_64 => memchr::memchr2_iter(0xe8, 0xe9, bytes)
            .any(|place| matches!(bytes.get(place + 4), Some(0 | 0xff))),
        // BL and ADRP.
        Arch::Aarch64 => bytes
            .chunks_exact(4)
            .any(|code| word(code) >> 26 == 0b10_0101 || word(code) & 0x9f00_0000 == 0x9000_0000),
        // JAL and AUIPC.
        Arch::Riscv64 => bytes.chunks_exact(2).any(|code| code[0] == 0xef || code[0] & 0x7f == 0x17),
    }
}
