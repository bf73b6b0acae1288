//! A writer of ELF files for tests, section by section and segment by segment.

use object::elf;

use super::super::sample::Out;
use super::super::{Class, Endianness};

/// Where the first section stands: behind the header and room for eight program headers.
pub(super) const START: usize = 0x200;

/// A file in the making.
#[derive(Debug, Clone)]
pub(super) struct Pieces {
    pub(super) class: Class,
    pub(super) endianness: Endianness,
    pub(super) kind: u16,
    /// Type, offset (which is the address, too) and size. What is loaded is aligned to 0x1000.
    pub(super) segments: Vec<(u32, u64, u64)>,
    /// Without the reserved one and that of the names.
    pub(super) sections: Vec<Piece>,
    /// Whether there are section headers.
    pub(super) table: bool,
    /// What follows the table.
    pub(super) payload: Vec<u8>,
    /// Where the next section stands.
    pub(super) cursor: usize,
}

/// A section.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) name: String,
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) offset: usize,
    pub(super) bytes: Vec<u8>,
    /// The size that the header tells.
    pub(super) size: u64,
    pub(super) link: u32,
    pub(super) info: u32,
    pub(super) alignment: u64,
}

impl Pieces {
    pub(super) fn new(class: Class, endianness: Endianness) -> Self {
        Self {
            class,
            endianness,
            kind: elf::ET_DYN,
            segments: Vec::new(),
            sections: Vec::new(),
            table: true,
            payload: Vec::new(),
            cursor: START,
        }
    }

    /// What a linker makes of a small program with debugging information: two loaded segments with a gap between,
    /// sections of all sorts.
    pub(super) fn program(class: Class, endianness: Endianness) -> Self {
        const LOADED: u32 = elf::SHF_ALLOC;
        let mut pieces = Self::new(class, endianness);
        pieces.section(".note.gnu.build-id", elf::SHT_NOTE, LOADED, &[7; 36]);
        pieces.section(".dynsym", elf::SHT_DYNSYM, LOADED, &[1; 48]).link = 3;
        pieces.section(".dynstr", elf::SHT_STRTAB, LOADED, b"\0puts\0");
        let plt = pieces.section(".rela.plt", elf::SHT_RELA, LOADED | elf::SHF_INFO_LINK, &[2; 24]);
        (plt.link, plt.info) = (2, 6);
        pieces.section(".text", elf::SHT_PROGBITS, LOADED | elf::SHF_EXECINSTR, &[0x90; 100]);
        let code_end = pieces.cursor;
        pieces.cursor = 0x800;
        pieces.section(".got.plt", elf::SHT_PROGBITS, LOADED | elf::SHF_WRITE, &[3; 32]);
        pieces.section(".data", elf::SHT_PROGBITS, LOADED | elf::SHF_WRITE, &[4; 60]);
        let data_end = pieces.cursor;
        pieces.section(".bss", elf::SHT_NOBITS, LOADED | elf::SHF_WRITE, &[]).size = 0x10_0000;
        pieces.section(".comment", elf::SHT_PROGBITS, elf::SHF_MERGE | elf::SHF_STRINGS, b"GCC: 14\0");
        pieces.section(".debug_info", elf::SHT_PROGBITS, 0, &[5; 4000]);
        pieces.section(".rela.text", elf::SHT_RELA, elf::SHF_INFO_LINK, &[6; 240]);
        (pieces.last().link, pieces.last().info) = (12, 5);
        pieces.section(".symtab", elf::SHT_SYMTAB, 0, &[8; 480]).link = 13;
        pieces.section(".strtab", elf::SHT_STRTAB, 0, b"\0main\0");
        pieces.segment(elf::PT_LOAD, 0, code_end);
        pieces.segment(elf::PT_LOAD, 0x800, data_end);
        pieces.segment(elf::PT_NOTE, START, START + 36);
        pieces.segment(elf::PT_GNU_STACK, 0, 0);
        pieces
    }

    /// Adds a section behind the last.
    pub(super) fn section(&mut self, name: &str, kind: u32, flags: u32, bytes: &[u8]) -> &mut Piece {
        let offset = self.cursor.next_multiple_of(4);
        self.cursor = offset + bytes.len();
        self.sections.push(Piece {
            name: name.to_owned(),
            kind,
            flags,
            offset,
            bytes: bytes.to_vec(),
            size: bytes.len() as u64,
            link: 0,
            info: 0,
            alignment: 4,
        });
        self.last()
    }

    pub(super) fn last(&mut self) -> &mut Piece {
        self.sections.last_mut().expect("there is one")
    }

    /// Adds a program header for the bytes from `start` to `end`.
    pub(super) fn segment(&mut self, kind: u32, start: usize, end: usize) {
        self.segments.push((kind, start as u64, (end - start) as u64));
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let wide = self.class == Class::Elf64;
        let mut out = Out { bytes: Vec::new(), wide, big: self.endianness == Endianness::Big };
        let (header, segment, section) = if wide { (64, 56, 64) } else { (52, 32, 40) };
        let end = self.sections.iter().map(|piece| piece.offset + piece.bytes.len()).max().unwrap_or(START);
        let mut names = vec![0];
        let mut name = |text: &str| {
            let position = names.len() as u32;
            names.extend_from_slice(text.as_bytes());
            names.push(0);
            position
        };
        let positions: Vec<u32> = self.sections.iter().map(|piece| name(&piece.name)).collect();
        let own = name(".shstrtab");
        let table = (end + names.len()).next_multiple_of(8);
        let count = self.sections.len() as u64 + 2;

        out.bytes.extend_from_slice(&elf::ELFMAG);
        let class = if wide { elf::ELFCLASS64 } else { elf::ELFCLASS32 };
        let data = if out.big { elf::ELFDATA2MSB } else { elf::ELFDATA2LSB };
        out.bytes.extend_from_slice(&[class, data, elf::EV_CURRENT, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        out.half(self.kind).half(elf::EM_X86_64).word(1).address(0).address(header);
        out.address(if self.table { table as u64 } else { 0 }).word(0);
        out.half(header as u16).half(segment).half(self.segments.len() as u16);
        let (many, reserved) = (count >= 0xff00, u64::from(elf::SHN_LORESERVE));
        match self.table {
            false => out.half(0).half(0).half(0),
            true if many => out.half(section).half(0).half(elf::SHN_XINDEX),
            true => out.half(section).half(count as u16).half(count as u16 - 1),
        };
        for &(kind, offset, size) in &self.segments {
            out.word(kind);
            if wide {
                out.word(elf::PF_R);
            }
            out.address(offset).address(offset).address(offset).address(size).address(size);
            if !wide {
                out.word(elf::PF_R);
            }
            out.address(if kind == elf::PT_LOAD { 0x1000 } else { 4 });
        }
        out.bytes.resize(end.max(START), 0);
        for piece in &self.sections {
            out.bytes[piece.offset..piece.offset + piece.bytes.len()].copy_from_slice(&piece.bytes);
        }
        if self.table {
            let names_size = names.len() as u64;
            out.bytes.extend_from_slice(&names);
            out.bytes.resize(table, 0);
            let (size, link) = if count >= reserved { (count, count as u32 - 1) } else { (0, 0) };
            out.section(0, elf::SHT_NULL, 0, [0, size], [link, 0], 0);
            for (piece, position) in self.sections.iter().zip(positions) {
                let place = [piece.offset as u64, piece.size];
                let flags = piece.flags.into();
                out.section(position, piece.kind, flags, place, [piece.link, piece.info], piece.alignment);
            }
            out.section(own, elf::SHT_STRTAB, 0, [end as u64, names_size], [0, 0], 1);
        }
        out.bytes.extend_from_slice(&self.payload);
        out.bytes
    }
}

impl Out {
    fn section(
        &mut self,
        name: u32,
        kind: u32,
        flags: u64,
        place: [u64; 2],
        references: [u32; 2],
        alignment: u64,
    ) {
        self.word(name).word(kind).address(flags).address(0).address(place[0]).address(place[1]);
        self.word(references[0]).word(references[1]).address(alignment).address(0);
    }
}
