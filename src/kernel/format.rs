//! What a kernel file is, by its first bytes.
//!
//! Formats: Linux's `Documentation/arch/x86/boot.rst` (bzImage), `Documentation/arch/arm64/booting.rst`,
//! `Documentation/arch/riscv/boot-image-header.rst`, and `drivers/firmware/efi/libstub/zboot-header.S`.

use std::fmt;

use crate::arch::Arch;

/// As much of a kernel file as is looked at: bzImage's version string stands within the first 64 KiB and 512
/// bytes, because a 16-bit offset leads there.
pub(super) const HEAD_BYTES: usize = 0x1_0000 + 0x200 + MOST_VERSION_BYTES;
/// A version string is a line of about 100 bytes.
const MOST_VERSION_BYTES: usize = 1024;

/// Where bzImage's header has its magic, and where the offset of the version string.
const BZIMAGE_MAGIC_OFFSET: usize = 0x202;
const BZIMAGE_VERSION_OFFSET: usize = 0x20e;
/// What that offset is counted from.
const BZIMAGE_VERSION_BASE: usize = 0x200;
/// Where arm64's and riscv64's headers have theirs.
const IMAGE_MAGIC_OFFSET: usize = 56;
/// Where a zboot file has its magic, after `MZ` and padding.
const ZBOOT_MAGIC_OFFSET: usize = 4;
/// Where an MZ file has the offset of its PE header.
const PE_POINTER_OFFSET: usize = 0x3c;
/// `IMAGE_FILE_MACHINE_*` of the PE format.
const PE_MACHINES: [(u16, Arch); 3] =
    [(0x8664, Arch::X86_64), (0xaa64, Arch::Aarch64), (0x5064, Arch::Riscv64)];

/// The kinds of kernel files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelFormat {
    /// x86's own, compressed and with its decompressor.
    BzImage,
    /// arm64's plain `Image`.
    Arm64Image,
    /// riscv64's plain `Image`.
    RiscvImage,
    /// A compressed `Image` with an EFI program that unpacks it (`vmlinuz.efi`).
    EfiZboot(Arch),
    /// A compressed `Image` without a decompressor, which QEMU unpacks for arm64.
    Gzip,
    /// An uncompressed `vmlinux`.
    Elf(Arch),
}

impl KernelFormat {
    /// What [`KernelFormat::parse`] looks for, in words.
    pub const EXPECTED: &'static str =
        "the header of a bzImage, of an arm64 or riscv64 Image, of an EFI zboot or of an ELF file";

    /// Takes the beginning of a file: 64 bytes and more for most formats, 0x206 for a bzImage. None when it is
    /// no kernel.
    pub fn parse(head: &[u8]) -> Option<Self> {
        let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
        if at(0, b"\x7fELF") {
            return elf_arch(head).map(Self::Elf);
        }
        if at(BZIMAGE_MAGIC_OFFSET, b"HdrS") {
            return Some(Self::BzImage);
        }
        if at(0, b"MZ") && at(ZBOOT_MAGIC_OFFSET, b"zimg") {
            return pe_arch(head).map(Self::EfiZboot);
        }
        if at(IMAGE_MAGIC_OFFSET, b"ARM\x64") {
            return Some(Self::Arm64Image);
        }
        if at(IMAGE_MAGIC_OFFSET, b"RSC\x05") {
            return Some(Self::RiscvImage);
        }
        at(0, b"\x1f\x8b").then_some(Self::Gzip)
    }

    /// Whether a machine of this architecture can start it.
    pub fn boots_on(self, arch: Arch) -> bool {
        match self {
            Self::BzImage => arch == Arch::X86_64,
            Self::Arm64Image | Self::Gzip => arch == Arch::Aarch64,
            Self::RiscvImage => arch == Arch::Riscv64,
            Self::EfiZboot(own) | Self::Elf(own) => arch == own,
        }
    }
}

impl fmt::Display for KernelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BzImage => f.write_str("a bzImage (x86_64)"),
            Self::Arm64Image => f.write_str("an Image (aarch64)"),
            Self::RiscvImage => f.write_str("an Image (riscv64)"),
            Self::EfiZboot(arch) => write!(f, "an EFI zboot kernel ({arch})"),
            Self::Gzip => f.write_str("a gzip file (an aarch64 kernel at most)"),
            Self::Elf(arch) => write!(f, "an ELF file ({arch})"),
        }
    }
}

/// The release in a bzImage's version string: its first word (`6.18.56-0-virt`).
pub(super) fn bzimage_release(head: &[u8]) -> Option<String> {
    if KernelFormat::parse(head) != Some(KernelFormat::BzImage) {
        return None;
    }
    let pointer = little_endian(head, BZIMAGE_VERSION_OFFSET)?;
    if pointer == 0 {
        return None;
    }
    let version = head.get(BZIMAGE_VERSION_BASE + usize::from(pointer)..)?;
    let version = &version[..version.iter().take(MOST_VERSION_BYTES).position(|&byte| byte == 0)?];
    let release = version.split(|&byte| byte == b' ').next()?;
    let release = std::str::from_utf8(release).ok()?;
    (!release.is_empty() && release.chars().all(|character| character.is_ascii_graphic()))
        .then(|| release.to_owned())
}

/// The first bytes of a file, for a message.
pub(super) fn first_bytes(head: &[u8]) -> String {
    if head.is_empty() {
        return "nothing".to_owned();
    }
    hex::encode(&head[..head.len().min(8)])
}

/// The architecture of a 64-bit little-endian ELF file, if it is one that leanfs knows.
pub(super) fn elf_arch(head: &[u8]) -> Option<Arch> {
    const CLASS_64_LITTLE_ENDIAN: [u8; 2] = [2, 1];
    const MACHINE_OFFSET: usize = 18;
    if !head.starts_with(b"\x7fELF") || head.get(4..6)? != CLASS_64_LITTLE_ENDIAN {
        return None;
    }
    let machine = little_endian(head, MACHINE_OFFSET)?;
    Arch::ALL.into_iter().find(|arch| arch.elf_machine() == machine)
}

fn pe_arch(head: &[u8]) -> Option<Arch> {
    let pointer = head.get(PE_POINTER_OFFSET..)?.first_chunk()?;
    let header = head.get(usize::try_from(u32::from_le_bytes(*pointer)).ok()?..)?;
    let machine = little_endian(header.strip_prefix(b"PE\0\0")?, 0)?;
    PE_MACHINES.into_iter().find(|(number, _)| *number == machine).map(|(_, arch)| arch)
}

pub(super) fn little_endian(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|field| u16::from_le_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(length: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; length];
        for (offset, part) in parts {
            bytes[*offset..*offset + part.len()].copy_from_slice(part);
        }
        bytes
    }

    #[test]
    fn formats_are_told_by_their_magic() {
        let zboot = |machine: u16| {
            with(
                256,
                &[(0, b"MZ\0\0zimg"), (0x3c, &[0x80]), (0x80, b"PE\0\0"), (0x84, &machine.to_le_bytes())],
            )
        };
        let elf =
            |class: u8, machine: u8| with(64, &[(0, &[0x7f, b'E', b'L', b'F', class, 1]), (18, &[machine])]);
        for (bytes, expected) in [
            (with(0x300, &[(0, b"MZ"), (0x202, b"HdrS")]), Some(KernelFormat::BzImage)),
            (with(64, &[(0, b"MZ"), (56, b"ARM\x64")]), Some(KernelFormat::Arm64Image)),
            (with(64, &[(56, b"RSC\x05")]), Some(KernelFormat::RiscvImage)),
            (zboot(0xaa64), Some(KernelFormat::EfiZboot(Arch::Aarch64))),
            (zboot(0x1234), None),
            (with(16, &[(0, b"MZ\0\0zimg")]), None),
            (vec![0x1f, 0x8b, 8], Some(KernelFormat::Gzip)),
            (elf(2, 62), Some(KernelFormat::Elf(Arch::X86_64))),
            (elf(2, 243), Some(KernelFormat::Elf(Arch::Riscv64))),
            (elf(1, 62), None),
            (b"#!/bin/sh\n".to_vec(), None),
            (vec![], None),
        ] {
            assert_eq!(KernelFormat::parse(&bytes), expected, "{}", first_bytes(&bytes));
        }
    }

    #[test]
    fn a_bzimage_says_its_release() {
        let image = |pointer: u16, text: &[u8]| {
            with(0x1000, &[(0x202, b"HdrS"), (0x20e, &pointer.to_le_bytes()), (0x600, text)])
        };
        let release = |pointer, text: &[u8]| bzimage_release(&image(pointer, text));
        assert_eq!(release(0x400, b"6.18.56-0-virt (me@there) #1 SMP\0").as_deref(), Some("6.18.56-0-virt"));
        assert_eq!(release(0, b"6.18\0"), None);
        assert_eq!(release(0xffff, b"6.18\0"), None);
        assert_eq!(release(0x400, b"6.\x1b[0m\0"), None);
        let unterminated = with(0x604, &[(0x202, b"HdrS"), (0x20e, &[0, 4]), (0x600, b"6.18")]);
        assert_eq!(bzimage_release(&unterminated), None);
    }

    #[test]
    fn a_kernel_file_must_fit_the_machine() {
        use crate::kernel::{KernelError, from_file};
        use crate::tree::Content;
        let bytes = with(0x300, &[(0x202, b"HdrS")]);
        let kernel = from_file(Content::from_bytes(bytes.clone()), "k", Arch::X86_64).expect("a kernel");
        assert_eq!((kernel.format, kernel.release), (KernelFormat::BzImage, None));
        let error = from_file(Content::from_bytes(bytes), "k", Arch::Aarch64).expect_err("another machine");
        assert_eq!(error.to_string(), "k is a bzImage (x86_64), and the image is for aarch64");
        let error = from_file(Content::from_bytes(*b"#!/bin/sh"), "k", Arch::X86_64).expect_err("a script");
        assert!(matches!(error, KernelError::NotAKernel { .. }));
        assert!(error.hint().is_some());
    }
}
