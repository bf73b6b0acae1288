//! Kernels without their own compression, as Firecracker and other monitors without firmware start them.
//!
//! Source: Linux's `Documentation/arch/x86/boot.rst` (`setup_sects`, `payload_offset` and `payload_length` of bzImage's
//! header, since protocol 2.08), `drivers/firmware/efi/libstub/zboot-header.S`, and `scripts/Makefile.lib` (what comes
//! behind the compressed bytes).

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};

use super::KernelError;
use super::format::{self, HEAD_BYTES, KernelFormat};
use crate::arch::Arch;
use crate::archive::{self, CompressionFormat};
use crate::tree::{Content, ContentReader};

/// Offsets in bzImage's header.
const SETUP_SECTORS: usize = 0x1f1;
const PROTOCOL: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
/// The protocol that brought both.
const PROTOCOL_WITH_PAYLOAD: u16 = 0x0208;
const SECTOR: u64 = 512;
/// The setup's sectors where the header says 0, as very old ones do.
const OLD_SETUP_SECTORS: u64 = 4;
/// Offsets in a zboot file's header.
const ZBOOT_PAYLOAD_OFFSET: usize = 8;
const ZBOOT_PAYLOAD_LENGTH: usize = 12;

/// The largest kernel that is unpacked: `linux-lts` has 60 MB, one with every driver built in 200.
const MOST_BYTES: u64 = 1 << 30;
/// Memory that an LZMA stream may ask for.
const LZMA_MEMORY: u64 = 256 << 20;
/// As much as tells what an unpacked kernel is.
const MAGIC_BYTES: u64 = 64;

/// Where the compressed kernel stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Payload {
    offset: u64,
    length: u64,
    /// Whether the last four bytes are the uncompressed size (modulo 2³²): with gzip its own, else added.
    ends_with_size: bool,
}

/// Writes the kernel as it is without compression: an ELF file (`vmlinux`) of a bzImage, with the relocations that
/// may stand behind it; an `Image` of an EFI zboot or gzip file. What isn't compressed is written as it is. Gives the
/// number of bytes. `name` is the file's path, for messages.
///
/// # Errors
/// When it can't be read, is no kernel or none for `arch`; [`KernelError::NotUnpackable`] when there is no compressed
/// kernel in it, or one that is compressed with what leanfs can't read, is larger than 1 GiB or no kernel itself;
/// [`KernelError::Write`].
pub fn unpack(image: &Content, name: &str, arch: Arch, output: &mut dyn Write) -> Result<u64, KernelError> {
    let kernel = super::from_file(image.clone(), name, arch)?;
    let mut reader = image.reader().map_err(KernelError::read(name))?;
    let refuse = |reason: String| KernelError::NotUnpackable { name: name.to_owned(), reason };
    let payload = match kernel.format {
        KernelFormat::Elf(_) | KernelFormat::Arm64Image | KernelFormat::RiscvImage => {
            return copy(&mut reader, name, output);
        }
        KernelFormat::Gzip => Payload { offset: 0, length: image.len(), ends_with_size: false },
        KernelFormat::BzImage | KernelFormat::EfiZboot(_) => {
            let head = image.read_head(HEAD_BYTES).map_err(KernelError::read(name))?;
            let payload = if kernel.format == KernelFormat::BzImage { bzimage(&head) } else { zboot(&head) };
            payload.map_err(refuse)?
        }
    };
    let end = payload.offset.checked_add(payload.length).filter(|&end| end <= image.len());
    if end.is_none() {
        return Err(refuse(format!(
            "its header says that the compressed kernel has {} bytes from byte {} on, and the file has {}",
            payload.length,
            payload.offset,
            image.len()
        )));
    }
    let expected_size = match payload.ends_with_size {
        true => Some(size_behind(&mut reader, payload).map_err(KernelError::read(name))?),
        false => None,
    };
    reader.seek(SeekFrom::Start(payload.offset)).map_err(KernelError::read(name))?;
    let compressed = BufReader::new((&mut reader).take(payload.length));
    let unpacked = decompressed(compressed, payload).map_err(KernelError::read(name))?.map_err(refuse)?;
    let mut unpacked = unpacked.take(MOST_BYTES + 1);
    let mut head = Vec::new();
    (&mut unpacked).take(MAGIC_BYTES).read_to_end(&mut head).map_err(KernelError::read(name))?;
    match KernelFormat::parse(&head) {
        Some(found @ (KernelFormat::Elf(_) | KernelFormat::Arm64Image | KernelFormat::RiscvImage))
            if found.boots_on(arch) => {}
        Some(found) => return Err(refuse(format!("what is compressed in it is {found}"))),
        None => {
            let found = format::first_bytes(&head);
            return Err(refuse(format!("what is compressed in it is no kernel, it begins with {found}")));
        }
    }
    let size = copy(&mut io::Cursor::new(head).chain(&mut unpacked), name, output)?;
    if size > MOST_BYTES {
        return Err(refuse(format!("it has more than {MOST_BYTES} bytes when it is unpacked")));
    }
    match expected_size {
        Some(expected) if size as u32 != expected => {
            Err(refuse(format!("it has {size} bytes when it is unpacked, and says that it has {expected}")))
        }
        _ => Ok(size),
    }
}

fn bzimage(head: &[u8]) -> Result<Payload, String> {
    let cut = || "its header is cut off".to_owned();
    let protocol = format::little_endian(head, PROTOCOL).ok_or_else(cut)?;
    if protocol < PROTOCOL_WITH_PAYLOAD {
        return Err(format!(
            "its boot protocol is {}.{:02}, and only since 2.08 the header says where the kernel is",
            protocol >> 8,
            protocol & 0xff
        ));
    }
    let setup = match head.get(SETUP_SECTORS).ok_or_else(cut)? {
        0 => OLD_SETUP_SECTORS,
        &sectors => u64::from(sectors),
    };
    let offset = u32_at(head, PAYLOAD_OFFSET).ok_or_else(cut)?;
    let length = u32_at(head, PAYLOAD_LENGTH).ok_or_else(cut)?;
    if length < 4 {
        return Err("its header says that there is no compressed kernel in it".to_owned());
    }
    let offset = (setup + 1) * SECTOR + u64::from(offset);
    Ok(Payload { offset, length: u64::from(length), ends_with_size: true })
}

/// Here the length is without a size behind it, where that isn't gzip's own.
fn zboot(head: &[u8]) -> Result<Payload, String> {
    let field = |at| u32_at(head, at).map(u64::from).ok_or_else(|| "its header is cut off".to_owned());
    let (offset, length) = (field(ZBOOT_PAYLOAD_OFFSET)?, field(ZBOOT_PAYLOAD_LENGTH)?);
    Ok(Payload { offset, length, ends_with_size: false })
}

fn size_behind(reader: &mut ContentReader, payload: Payload) -> io::Result<u32> {
    let mut size = [0; 4];
    reader.seek(SeekFrom::Start(payload.offset + payload.length - 4))?;
    reader.read_exact(&mut size)?;
    Ok(u32::from_le_bytes(size))
}

/// The uncompressed bytes of one stream; what stands behind it is not looked at.
fn decompressed<'a>(
    mut compressed: impl BufRead + Send + 'a,
    payload: Payload,
) -> io::Result<Result<Box<dyn Read + 'a>, String>> {
    let head = compressed.fill_buf()?;
    let unknown = |what: &str| Ok(Err(format!("it is compressed with {what}, which leanfs can't read")));
    Ok(Ok(match (CompressionFormat::of(head), head) {
        (CompressionFormat::Gzip, _) => Box::new(flate2::bufread::GzDecoder::new(compressed)),
        (CompressionFormat::Xz, _) => {
            let stream = liblzma::stream::Stream::new_stream_decoder(archive::XZ_MEMORY, 0)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(compressed, stream))
        }
        (CompressionFormat::Zstd, _) => {
            let mut decoder = zstd::Decoder::with_buffer(compressed)?.single_frame();
            decoder.window_log_max(archive::ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        (_, [0x5d, 0, 0, ..]) => {
            let stream = liblzma::stream::Stream::new_lzma_decoder(LZMA_MEMORY)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(compressed, stream))
        }
        (_, [0x02, 0x21, 0x4c, 0x18, ..]) => {
            // Nothing marks the end of this format: the size behind it would be taken for another block.
            let size = if payload.ends_with_size { 4 } else { 0 };
            Box::new(lz4_flex::frame::FrameDecoder::new(compressed.take(payload.length - size)))
        }
        (_, [b'B', b'Z', b'h', ..]) => return unknown("bzip2"),
        (_, [0x89, b'L', b'Z', b'O', ..]) => return unknown("LZO"),
        (_, head) => return unknown(&format!("something that begins with {}", format::first_bytes(head))),
    }))
}

fn copy(reader: &mut dyn Read, name: &str, output: &mut dyn Write) -> Result<u64, KernelError> {
    let mut buffer = vec![0; 128 * 1024];
    let mut size = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(size),
            Ok(count) => {
                output.write_all(&buffer[..count]).map_err(KernelError::Write)?;
                size += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(KernelError::read(name)(error)),
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|field| u32::from_le_bytes(*field))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::image::compress::{Compressor, DecompressorFeatures};
    use crate::recipe::Compression;

    /// An ELF file for x86-64 and an `Image` for arm64, each with relocations or the like behind it.
    fn kernel(arch: Arch) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        match arch {
            Arch::X86_64 => {
                bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
                bytes[18] = 62;
            }
            _ => bytes[56..60].copy_from_slice(b"ARM\x64"),
        }
        bytes.extend((0..400_000_u32).flat_map(|number| (number / 7).to_le_bytes()));
        bytes
    }

    fn packed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        let features = DecompressorFeatures { xz_bcj: Some(Arch::X86_64) };
        let mut compressor = Compressor::new(Vec::new(), compression, features, 1).expect("set up");
        compressor.write_all(bytes).expect("compressed");
        compressor.finish().expect("compressed")
    }

    fn lzma(bytes: &[u8]) -> Vec<u8> {
        let options = liblzma::stream::LzmaOptions::new_preset(6).expect("a preset");
        let stream = liblzma::stream::Stream::new_lzma_encoder(&options).expect("an encoder");
        let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
        encoder.write_all(bytes).expect("compressed");
        encoder.finish().expect("compressed")
    }

    /// A bzImage of two sectors of setup and a decompressor of 100 bytes.
    fn bzimage(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 3 * 512 + 100];
        bytes[SETUP_SECTORS] = 2;
        bytes[0x202..0x208].copy_from_slice(b"HdrS\x0f\x02");
        bytes[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&100_u32.to_le_bytes());
        bytes[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend(payload);
        bytes.extend(b"more of the decompressor");
        bytes
    }

    fn zboot(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 128];
        bytes[..8].copy_from_slice(b"MZ\0\0zimg");
        bytes[8..12].copy_from_slice(&128_u32.to_le_bytes());
        bytes[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes[0x3c] = 0x40;
        bytes[0x40..0x46].copy_from_slice(b"PE\0\0\x64\xaa");
        bytes.extend(payload);
        bytes.extend(b"more of the program");
        bytes
    }

    fn unpacked(image: Vec<u8>, arch: Arch) -> Result<Vec<u8>, KernelError> {
        let mut output = Vec::new();
        let size = unpack(&Content::from_bytes(image), "kernel", arch, &mut output)?;
        assert_eq!(size, output.len() as u64);
        Ok(output)
    }

    fn with_size(mut packed: Vec<u8>, size: usize) -> Vec<u8> {
        packed.extend((size as u32).to_le_bytes());
        packed
    }

    const OTHERS: [Compression; 3] =
        [Compression::Xz { level: Some(1) }, Compression::Zstd { level: Some(1) }, Compression::Lz4];

    #[test]
    fn every_compressor_of_a_bzimage() {
        let kernel = kernel(Arch::X86_64);
        let gzip = packed(Compression::Gzip { level: Some(1) }, &kernel);
        assert!(unpacked(bzimage(&gzip), Arch::X86_64).expect("gzip") == kernel);
        for compressed in OTHERS.map(|other| packed(other, &kernel)).into_iter().chain([lzma(&kernel)]) {
            let image = bzimage(&with_size(compressed, kernel.len()));
            assert!(unpacked(image, Arch::X86_64).expect("one of them") == kernel);
        }
    }

    #[test]
    fn images_of_arm64() {
        let kernel = kernel(Arch::Aarch64);
        for compression in OTHERS.into_iter().chain([Compression::Gzip { level: Some(1) }]) {
            let packed = packed(compression, &kernel);
            assert!(unpacked(zboot(&packed), Arch::Aarch64).expect("zboot") == kernel, "{compression:?}");
        }
        let gzip = packed(Compression::Gzip { level: None }, &kernel);
        assert!(unpacked(gzip, Arch::Aarch64).expect("gzip") == kernel);
        assert!(unpacked(kernel.clone(), Arch::Aarch64).expect("as it is") == kernel);
    }

    #[test]
    fn what_can_not_be_unpacked_is_said_before_anything_is_written() {
        let kernel = kernel(Arch::X86_64);
        let zstd = packed(Compression::Zstd { level: Some(1) }, &kernel);
        let good = bzimage(&with_size(zstd.clone(), kernel.len()));
        let changed = |at: usize, bytes: &[u8]| {
            let mut image = good.clone();
            image[at..at + bytes.len()].copy_from_slice(bytes);
            image
        };
        let other = packed(Compression::Zstd { level: None }, &self::kernel(Arch::Aarch64));
        let text = packed(Compression::Zstd { level: None }, b"no kernel");
        for (image, reason) in [
            (changed(0x206, &[7, 2]), "its boot protocol is 2.07"),
            (changed(PAYLOAD_LENGTH, &[0xff; 4]), "has 4294967295 bytes from byte 1636 on"),
            (changed(PAYLOAD_OFFSET, &[0xff; 4]), "bytes from byte 4294968831 on"),
            (changed(PAYLOAD_LENGTH, &[3, 0, 0, 0]), "no compressed kernel"),
            (bzimage(b"BZh91AY&SY....."), "compressed with bzip2, which leanfs can't read"),
            (bzimage(b"\x89LZO\0\r\n\x1a\n..."), "compressed with LZO"),
            (bzimage(b"\0\x01\x02\x03\x04\x05\x06\x07"), "begins with 0001020304050607"),
            (bzimage(&with_size(other, kernel.len())), "what is compressed in it is an Image (aarch64)"),
            (bzimage(&with_size(text, 9)), "no kernel, it begins with 6e6f206b65726e65"),
            (good[..0x240].to_vec(), "its header is cut off"),
        ] {
            let mut output = Vec::new();
            let error =
                unpack(&Content::from_bytes(image), "kernel", Arch::X86_64, &mut output).expect_err(reason);
            assert!(matches!(error, KernelError::NotUnpackable { .. }), "{error}");
            assert!(error.to_string().contains(reason), "{error}");
            assert!(output.is_empty());
        }
        let error = unpacked(bzimage(&with_size(zstd.clone(), 5)), Arch::X86_64).expect_err("another size");
        assert!(error.to_string().contains("and says that it has 5"), "{error}");
        let cut = with_size(zstd[..zstd.len() / 2].to_vec(), kernel.len());
        let error = unpacked(bzimage(&cut), Arch::X86_64).expect_err("cut off");
        assert!(matches!(error, KernelError::Read { .. }), "{error}");
        let error = unpacked(good, Arch::Aarch64).expect_err("for another machine");
        assert!(matches!(error, KernelError::WrongArch { .. }), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn nothing_makes_it_panic(
            compression in prop::sample::select(&OTHERS[..]),
            in_zboot: bool,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            header in prop::collection::vec((0x1f1..0x250_usize, any::<u8>()), 0..3),
            cut in any::<prop::sample::Index>(),
        ) {
            let arch = if in_zboot { Arch::Aarch64 } else { Arch::X86_64 };
            let kernel = &kernel(arch)[..20_000];
            let payload = with_size(packed(compression, kernel), kernel.len());
            let mut image = if in_zboot { zboot(&payload) } else { bzimage(&payload) };
            for (index, byte) in changes {
                let at = index.index(image.len());
                image[at] = byte;
            }
            for (at, byte) in header {
                image[at.min(payload.len())] = byte;
            }
            image.truncate(cut.index(image.len() * 4) + 1);
            let _ = unpack(&Content::from_bytes(image), "kernel", arch, &mut io::sink());
        }
    }
}
