//! What is needed of the headers of a PE32+ file (an EFI program).
//!
//! Source: Microsoft, [PE Format](https://learn.microsoft.com/en-us/windows/win32/debug/pe-format), "MS-DOS Stub", "COFF
//! File Header", "Optional Header", "Section Table". Everything is little-endian. Nothing that a file says is believed
//! before it was compared with what the file has.
//!
//! Pure: bytes in, values out.

use crate::arch::Arch;

/// Where an MZ file has the offset of its PE signature.
const PE_POINTER: usize = 0x3c;
const SIGNATURE_BYTES: usize = 4;
const COFF_BYTES: usize = 20;
pub(super) const SECTION_BYTES: usize = 40;
/// Of the optional header, up to the data directories.
const OPTIONAL_BYTES: usize = 112;
const MAGIC_PE32_PLUS: u16 = 0x20b;
/// The loader of Windows has this limit too.
const MOST_SECTIONS: usize = 96;
const MOST_FILE_ALIGNMENT: u32 = 64 * 1024;
/// `IMAGE_FILE_MACHINE_*`.
const MACHINES: [(u16, Arch); 3] = [(0x8664, Arch::X86_64), (0xaa64, Arch::Aarch64), (0x5064, Arch::Riscv64)];

/// Offsets in the optional header.
pub(super) mod optional {
    pub(in super::super) const SIZE_OF_CODE: usize = 4;
    pub(in super::super) const SIZE_OF_INITIALIZED_DATA: usize = 8;
    pub(super) const SECTION_ALIGNMENT: usize = 32;
    pub(super) const FILE_ALIGNMENT: usize = 36;
    pub(in super::super) const SIZE_OF_IMAGE: usize = 56;
    pub(in super::super) const SIZE_OF_HEADERS: usize = 60;
    pub(in super::super) const CHECK_SUM: usize = 64;
    pub(super) const SUBSYSTEM: usize = 68;
    pub(super) const NUMBER_OF_DIRECTORIES: usize = 108;
    /// The fifth data directory, of signatures.
    pub(in super::super) const CERTIFICATES: usize = 112 + 4 * 8;
}

/// The headers of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Headers {
    pub(super) machine: u16,
    pub(super) subsystem: u16,
    /// Where the COFF file header begins.
    pub(super) coff: usize,
    /// Where the optional header begins.
    pub(super) optional: usize,
    /// Where the section headers end.
    pub(super) sections_end: usize,
    pub(super) sections: Vec<Section>,
    pub(super) section_alignment: u32,
    pub(super) file_alignment: u32,
    pub(super) size_of_image: u32,
    pub(super) size_of_headers: u32,
    /// Where signatures begin, if there are any.
    pub(super) certificates: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) name: [u8; 8],
    pub(super) virtual_size: u32,
    pub(super) virtual_address: u32,
    pub(super) raw_size: u32,
    pub(super) raw_offset: u32,
}

impl Section {
    /// The first address behind it. A loader takes the larger of both sizes.
    pub(super) fn virtual_end(&self) -> u64 {
        u64::from(self.virtual_address) + u64::from(self.virtual_size.max(self.raw_size))
    }
}

impl Headers {
    /// Reads the headers; `file` may be cut off behind them.
    ///
    /// # Errors
    /// In words, when this is no PE32+ file.
    pub(super) fn parse(file: &[u8]) -> Result<Self, String> {
        if !file.starts_with(b"MZ") {
            return Err("it is no PE file: it does not begin with MZ".to_owned());
        }
        let cut = || "its headers are cut off".to_owned();
        let signature = u32_at(file, PE_POINTER).ok_or_else(cut)? as usize;
        let coff = signature.checked_add(SIGNATURE_BYTES).ok_or_else(cut)?;
        if file.get(signature..coff) != Some(b"PE\0\0") {
            return Err(format!("it is no PE file: there is no PE signature at offset {signature}"));
        }
        let optional = coff.checked_add(COFF_BYTES).ok_or_else(cut)?;
        let machine = u16_at(file, coff).ok_or_else(cut)?;
        let number = usize::from(u16_at(file, coff + 2).ok_or_else(cut)?);
        let optional_bytes = usize::from(u16_at(file, coff + 16).ok_or_else(cut)?);
        let table = optional.checked_add(optional_bytes).ok_or_else(cut)?;
        let header = file.get(optional..table).ok_or_else(cut)?;
        if header.len() < OPTIONAL_BYTES || u16_at(header, 0) != Some(MAGIC_PE32_PLUS) {
            return Err("it is no PE32+ file".to_owned());
        }
        if number > MOST_SECTIONS {
            return Err(format!("it has {number} sections, and {MOST_SECTIONS} are the most"));
        }
        let sections_end = table.checked_add(number * SECTION_BYTES).ok_or_else(cut)?;
        let sections = file.get(table..sections_end).ok_or_else(cut)?;
        let field = |at: usize| u32_at(header, at).unwrap_or_default();
        let directories = field(optional::NUMBER_OF_DIRECTORIES) as usize;
        let certificates = (directories > 4 && field(optional::CERTIFICATES + 4) != 0)
            .then(|| field(optional::CERTIFICATES))
            .filter(|&offset| offset != 0);
        let headers = Self {
            machine,
            subsystem: u16_at(header, optional::SUBSYSTEM).unwrap_or_default(),
            coff,
            optional,
            sections_end,
            sections: sections.chunks_exact(SECTION_BYTES).map(section).collect(),
            section_alignment: field(optional::SECTION_ALIGNMENT),
            file_alignment: field(optional::FILE_ALIGNMENT),
            size_of_image: field(optional::SIZE_OF_IMAGE),
            size_of_headers: field(optional::SIZE_OF_HEADERS),
            certificates,
        };
        // The specification has file alignments from 512 to 64 KiB; some programs have smaller ones.
        if !headers.section_alignment.is_power_of_two()
            || !headers.file_alignment.is_power_of_two()
            || headers.file_alignment > MOST_FILE_ALIGNMENT
        {
            return Err(format!(
                "its alignments are no powers of two or too large: {} for sections, {} in the file",
                headers.section_alignment, headers.file_alignment
            ));
        }
        Ok(headers)
    }

    /// The architecture, if it is one that leanfs knows.
    pub(super) fn arch(&self) -> Option<Arch> {
        MACHINES.into_iter().find(|(number, _)| *number == self.machine).map(|(_, arch)| arch)
    }
}

fn section(header: &[u8]) -> Section {
    let mut name = [0; 8];
    name.copy_from_slice(&header[..8]);
    let field = |at: usize| u32_at(header, at).unwrap_or_default();
    Section {
        name,
        virtual_size: field(8),
        virtual_address: field(12),
        raw_size: field(16),
        raw_offset: field(20),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|field| u16::from_le_bytes(*field))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|field| u32::from_le_bytes(*field))
}

/// Small programs for tests.
#[cfg(test)]
pub(super) mod sample {
    /// A program for x86-64 with one section of 0x300 bytes at address 0x1000, whose headers have `room` bytes.
    pub(in super::super) fn program(room: u32) -> Vec<u8> {
        let mut file = vec![0; 0x40];
        file[..2].copy_from_slice(b"MZ");
        file[0x3c] = 0x40;
        file.extend(b"PE\0\0");
        for field in [0x8664_u16, 1, 0, 0, 0, 0, 0, 0, 240, 0x0206] {
            file.extend(field.to_le_bytes());
        }
        let optional = file.len();
        file.resize(optional + 240, 0);
        let mut put = |at: usize, bytes: &[u8]| {
            file[optional + at..optional + at + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &0x20b_u16.to_le_bytes());
        put(4, &0x400_u32.to_le_bytes());
        put(32, &0x1000_u32.to_le_bytes());
        put(36, &0x200_u32.to_le_bytes());
        put(56, &0x2000_u32.to_le_bytes());
        put(60, &room.to_le_bytes());
        put(64, &0x1234_u32.to_le_bytes());
        put(68, &10_u16.to_le_bytes());
        put(108, &16_u32.to_le_bytes());
        file.extend(b".text\0\0\0");
        for field in [0x300_u32, 0x1000, 0x400, room, 0, 0, 0, 0x6000_0020] {
            file.extend(field.to_le_bytes());
        }
        file.resize(room as usize, 0);
        file.resize(room as usize + 0x400, 0xcc);
        file
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers_are_read() {
        let headers = Headers::parse(&sample::program(0x200)).expect("a program");
        assert_eq!((headers.arch(), headers.subsystem), (Some(Arch::X86_64), 10));
        assert_eq!((headers.size_of_image, headers.size_of_headers), (0x2000, 0x200));
        assert_eq!(headers.sections_end, 0x40 + 24 + 240 + 40);
        assert_eq!(headers.sections[0].virtual_end(), 0x1400);
        assert_eq!(headers.certificates, None);
    }

    #[test]
    fn what_is_no_program_is_said() {
        let good = sample::program(0x200);
        let changed = |at: usize, bytes: &[u8]| {
            let mut file = good.clone();
            file[at..at + bytes.len()].copy_from_slice(bytes);
            file
        };
        for (file, reason) in [
            (b"ELF".to_vec(), "does not begin with MZ"),
            (good[..0x3d].to_vec(), "cut off"),
            (good[..0x100].to_vec(), "cut off"),
            (good[..0x40 + 24 + 240 + 39].to_vec(), "cut off"),
            (changed(0x3c, &[0xff; 4]), "no PE signature at offset 4294967295"),
            (changed(0x46, &[97, 0]), "97 sections"),
            (changed(0x46, &[90, 0]), "cut off"),
            (changed(0x58, &[0x0b, 1]), "no PE32+ file"),
            (changed(0x54, &[100, 0]), "no PE32+ file"),
            (changed(0x58 + 32, &[0; 4]), "no powers of two"),
            (changed(0x58 + 36, &[0, 3]), "no powers of two"),
        ] {
            let error = Headers::parse(&file).expect_err(reason);
            assert!(error.contains(reason), "{error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(
            changes in prop::collection::vec((0..0x160_usize, any::<u8>()), 0..12),
            length in 0..0x600_usize,
        ) {
            let mut file = sample::program(0x200);
            for (at, byte) in changes {
                file[at] = byte;
            }
            file.truncate(length);
            let _ = Headers::parse(&file);
        }
    }
}
