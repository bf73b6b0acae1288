//! Numbers and headers as bytes, in the class and byte order of the file.

use super::super::{Class, Endianness};
use super::parts::Header;

/// Writes numbers as a file of this class and byte order has them.
#[derive(Clone, Copy)]
pub(super) struct Writer {
    pub(super) class: Class,
    pub(super) endianness: Endianness,
}

impl Writer {
    fn put<const SIZE: usize>(self, out: &mut Vec<u8>, little: [u8; SIZE]) {
        let mut bytes = little;
        if self.endianness == Endianness::Big {
            bytes.reverse();
        }
        out.extend_from_slice(&bytes);
    }

    /// `Elf_Half`.
    pub(super) fn half(self, out: &mut Vec<u8>, value: u16) {
        self.put(out, value.to_le_bytes());
    }

    /// `Elf_Word`.
    pub(super) fn word(self, out: &mut Vec<u8>, value: u32) {
        self.put(out, value.to_le_bytes());
    }

    /// `Elf64_Xword`, `Elf64_Addr` or `Elf64_Off`, where a file of 32 bits has an `Elf32_Word`. What such a file
    /// had before fits into that, and what is new was checked to.
    pub(super) fn wide(self, out: &mut Vec<u8>, value: u64) {
        match self.class {
            Class::Elf32 => self.word(out, value as u32),
            Class::Elf64 => self.put(out, value.to_le_bytes()),
        }
    }

    pub(super) fn section_header(self, out: &mut Vec<u8>, name: u32, header: &Header) {
        self.word(out, name);
        self.word(out, header.kind);
        self.wide(out, header.flags);
        self.wide(out, header.address);
        self.wide(out, header.offset);
        self.wide(out, header.size);
        self.word(out, header.link);
        self.word(out, header.info);
        self.wide(out, header.alignment);
        self.wide(out, header.entry_size);
    }

    /// Replaces what stands at `offset` of a file that has its header.
    pub(super) fn set(self, out: &mut [u8], offset: usize, write: impl FnOnce(Self, &mut Vec<u8>)) {
        let mut field = Vec::with_capacity(8);
        write(self, &mut field);
        out[offset..offset + field.len()].copy_from_slice(&field);
    }
}
