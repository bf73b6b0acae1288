//! What the headers of a file tell: where its segments and sections are.

use std::ops::Range;

use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

use super::super::read::{self, Identified};
use super::super::{Class, ElfError, Endianness, Kind};
use super::coverage::Coverage;
use super::{KeptWhole, Stop, names, range_in, tooling};

/// The headers of a file, with numbers that are the same for every class and byte order.
pub(super) struct Parts<'data> {
    pub(super) class: Class,
    pub(super) endianness: Endianness,
    /// The ELF header.
    pub(super) header: Range<usize>,
    /// The program header table.
    pub(super) program_headers: Range<usize>,
    /// Whether `e_phnum` is [`elf::PN_XNUM`], so that the number of program headers is in section 0.
    pub(super) many_program_headers: bool,
    /// The program headers, in order.
    pub(super) segments: Vec<Segment>,
    /// The section header table.
    pub(super) table: Range<usize>,
    /// The section headers, in order, the reserved one at index 0 among them.
    pub(super) sections: Vec<Section>,
    /// The string table of the section names.
    pub(super) names: &'data [u8],
}

/// A program header.
pub(super) struct Segment {
    /// `p_type`.
    pub(super) kind: u32,
    /// `p_offset`.
    pub(super) offset: u64,
    /// `p_filesz`.
    pub(super) size: u64,
    /// `p_align`.
    pub(super) alignment: u64,
}

/// A section.
pub(super) struct Section {
    /// Where its name is in the string table of section names.
    pub(super) name: Range<usize>,
    pub(super) header: Header,
    pub(super) place: Place,
}

/// A section header: the fields of `Elf64_Shdr` behind `sh_name`, in their order.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Header {
    /// `sh_type`.
    pub(super) kind: u32,
    pub(super) flags: u64,
    pub(super) address: u64,
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) link: u32,
    pub(super) info: u32,
    pub(super) alignment: u64,
    pub(super) entry_size: u64,
}

impl Header {
    /// Whether the section has no bytes in the file.
    fn is_absent(&self) -> bool {
        self.size == 0 || matches!(self.kind, elf::SHT_NULL | elf::SHT_NOBITS)
    }
}

/// What becomes of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Its header and its bytes stay where they are.
    InImage,
    /// It stays, but no segment holds its bytes: they move up behind the image.
    Behind,
    /// It goes.
    Gone,
}

impl Section {
    /// Whether the section is part of the loaded image.
    pub(super) fn is_alloc(&self) -> bool {
        self.header.kind != elf::SHT_NULL && self.header.flags & u64::from(elf::SHF_ALLOC) != 0
    }

    /// Whether it has no bytes in the file, or is a note: what `objcopy --only-keep-debug` leaves of the image.
    pub(super) fn is_absent_or_note(&self) -> bool {
        matches!(self.header.kind, elf::SHT_NOBITS | elf::SHT_NOTE)
    }

    /// The bytes of the file, which has them all. Where an empty section is does not matter.
    pub(super) fn file_range(&self) -> Range<usize> {
        match self.header.is_absent() {
            true => 0..0,
            // Checked when the header was read.
            false => self.header.offset as usize..(self.header.offset + self.header.size) as usize,
        }
    }
}

/// Reads the headers of a file that may be stripped.
pub(super) fn read(bytes: &[u8]) -> Result<Parts<'_>, Stop> {
    match read::class(bytes).map_err(Stop::Broken)? {
        Class::Elf32 => Reader::<elf::FileHeader32<object::Endianness>>::read(bytes),
        Class::Elf64 => Reader::<elf::FileHeader64<object::Endianness>>::read(bytes),
    }
}

/// What there is of sections; see [`Parts`].
struct Sections<'data> {
    table: Range<usize>,
    names: &'data [u8],
    headers: Vec<Section>,
}

struct Reader<'data, Elf: FileHeader> {
    bytes: &'data [u8],
    header: &'data Elf,
    endian: Elf::Endian,
}

impl<'data, Elf: FileHeader<Endian = object::Endianness>> Reader<'data, Elf> {
    fn read(bytes: &'data [u8]) -> Result<Parts<'data>, Stop> {
        let Identified { header, endian, class, endianness, kind } =
            read::identify::<Elf, _>(bytes).map_err(Stop::Broken)?;
        if !matches!(kind, Kind::Executable | Kind::Dynamic) {
            return Err(KeptWhole::Kind(kind).into());
        }
        let reader = Reader { bytes, header, endian };
        let (program_headers, segments) = reader.segments().map_err(Stop::Broken)?;
        let Sections { table, names, headers } = reader.sections().map_err(KeptWhole::Sections)?;
        Ok(Parts {
            class,
            endianness,
            header: 0..size_of::<Elf>(),
            program_headers,
            many_program_headers: header.e_phnum(endian) == elf::PN_XNUM,
            segments,
            table,
            sections: headers,
            names,
        })
    }

    fn segments(&self) -> Result<(Range<usize>, Vec<Segment>), ElfError> {
        let what = "the program headers";
        let (header, endian) = (self.header, self.endian);
        let offset: u64 = header.e_phoff(endian).into();
        let count = match header.e_phnum(endian) {
            elf::PN_XNUM => header.phnum(endian, self.bytes).map_err(|_| {
                read::out_of_file("the number of the program headers", header.e_shoff(endian).into(), 1)
            })?,
            count => usize::from(count),
        };
        if offset == 0 || count == 0 {
            return Ok((0..0, Vec::new()));
        }
        let entry = size_of::<Elf::ProgramHeader>();
        entry_size(what, entry, header.e_phentsize(endian))?;
        let size = count as u64 * entry as u64;
        let range = range_in(self.bytes.len(), offset, size);
        let headers = header.program_headers(endian, self.bytes);
        let (Some(range), Ok(headers)) = (range, headers) else {
            return Err(read::out_of_file(what, offset, size));
        };
        let segments = headers.iter().map(|segment| {
            let (offset, size) = segment.file_range(endian);
            Segment { kind: segment.p_type(endian), offset, size, alignment: segment.p_align(endian).into() }
        });
        Ok((range, segments.collect()))
    }

    fn sections(&self) -> Result<Sections<'data>, ElfError> {
        let what = "the section headers";
        let (header, endian, length) = (self.header, self.endian, self.bytes.len());
        let offset: u64 = header.e_shoff(endian).into();
        if offset == 0 {
            return Ok(Sections { table: 0..0, names: &[], headers: Vec::new() });
        }
        let entry = size_of::<Elf::SectionHeader>();
        entry_size(what, entry, header.e_shentsize(endian))?;
        let out_of_file = |count: usize| read::out_of_file(what, offset, count as u64 * entry as u64);
        let count = header.shnum(endian, self.bytes).map_err(|_| out_of_file(1))?;
        if count == 0 {
            return Err(ElfError::NoSuchSection { what: "the reserved section", index: 0, count: 0 });
        }
        let size = (count as u64).saturating_mul(entry as u64);
        let table = range_in(length, offset, size).ok_or(read::out_of_file(what, offset, size))?;
        let headers = header.section_headers(endian, self.bytes).map_err(|_| out_of_file(count))?;
        let names = self.names(headers)?;
        let positions: Vec<u32> = headers.iter().map(|section| section.sh_name(endian)).collect();
        let mut sections = Vec::with_capacity(headers.len());
        for (section, name) in headers.iter().zip(names::find(names, &positions)?) {
            let header = Header {
                kind: section.sh_type(endian),
                flags: section.sh_flags(endian).into(),
                address: section.sh_addr(endian).into(),
                offset: section.sh_offset(endian).into(),
                size: section.sh_size(endian).into(),
                link: section.sh_link(endian),
                info: section.sh_info(endian),
                alignment: section.sh_addralign(endian).into(),
                entry_size: section.sh_entsize(endian).into(),
            };
            if !header.is_absent() && range_in(length, header.offset, header.size).is_none() {
                return Err(read::out_of_file("a section", header.offset, header.size));
            }
            sections.push(Section { name, header, place: Place::Gone });
        }
        Ok(Sections { table, names, headers: sections })
    }

    /// Where the names of sections are. A file need not have any.
    fn names(&self, headers: &[Elf::SectionHeader]) -> Result<&'data [u8], ElfError> {
        let what = "the names of sections";
        let index = match self.header.e_shstrndx(self.endian) {
            elf::SHN_XINDEX => headers.first().map_or(0, |first| first.sh_link(self.endian)),
            index => u32::from(index),
        };
        if index == 0 {
            return Ok(&[]);
        }
        let section = headers.get(index as usize).ok_or(ElfError::NoSuchSection {
            what,
            index: index.into(),
            count: headers.len() as u64,
        })?;
        let (offset, size) = section.file_range(self.endian).unwrap_or_default();
        let range = range_in(self.bytes.len(), offset, size);
        range.map(|range| &self.bytes[range]).ok_or(read::out_of_file(what, offset, size))
    }
}

fn entry_size(what: &'static str, expected: usize, found: u16) -> Result<(), ElfError> {
    match usize::from(found) == expected {
        true => Ok(()),
        false => Err(ElfError::EntrySize { what, expected: expected as u64, found: found.into() }),
    }
}

impl Parts<'_> {
    /// The bytes that a loader can read: the header, the program headers and what they cover.
    pub(super) fn segments_coverage(&self, bytes: &[u8]) -> Result<Coverage, KeptWhole> {
        let mut coverage = Coverage::default();
        coverage.add(self.header.clone());
        coverage.add(self.program_headers.clone());
        for (index, segment) in self.segments.iter().enumerate() {
            let Segment { kind, offset, size, .. } = *segment;
            if kind == elf::PT_NULL || size == 0 {
                continue;
            }
            let range = range_in(bytes.len(), offset, size);
            coverage.add(range.ok_or(KeptWhole::SegmentOutOfFile { index, offset, size })?);
        }
        coverage.settle();
        Ok(coverage)
    }

    /// Decides what becomes of each section, given what the segments cover.
    pub(super) fn place_sections(&mut self, loaded: &Coverage) {
        // Section 0 is reserved, whatever it says.
        for section in self.sections.iter_mut().skip(1) {
            let range = section.file_range();
            let name = &self.names[section.name.clone()];
            let kind = section.header.kind;
            section.place = if section.is_alloc() {
                Place::InImage
            } else if kind == elf::SHT_NOBITS || tooling::is_linking_table(kind) {
                Place::Gone
            } else if loaded.holds(&range) {
                Place::InImage
            } else if tooling::is_for_tools(kind, name) {
                Place::Gone
            } else if loaded.touches(&range) {
                Place::InImage
            } else {
                Place::Behind
            };
        }
    }
}
