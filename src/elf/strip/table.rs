//! The new section header table: which section gets which number, where everything stands, and its bytes.

use object::elf;

use super::super::{Class, ElfError};
use super::KeptWhole;
use super::holes::Closed;
use super::names::{self, Names};
use super::parts::{Header, Parts, Place, Section};
use super::writer::Writer;

/// The section that holds the names of sections.
const NAMES: &[u8] = b".shstrtab";
/// What is behind the image is aligned as its section asks, but never more than a page.
const MOST_ALIGNMENT: u64 = 4096;

/// What stands where behind the image.
pub(super) struct Layout {
    /// The sections whose bytes move (by their old numbers), in the order in which they come, with their new offsets.
    behind: Vec<(usize, u64)>,
    /// The old number of the section at each new number; `None` where there is none, at the reserved 0 too. The
    /// last, of the names, is not among them.
    slots: Vec<Option<usize>>,
    names: Names,
    names_offset: u64,
    table_offset: u64,
    /// The size of the whole file.
    pub(super) file_size: u64,
}

/// Numbers what stays and gives it its place behind an image that ends at `image_end`.
pub(super) fn lay_out(parts: &Parts<'_>, image_end: u64) -> Result<Layout, KeptWhole> {
    let mut end = image_end;
    if parts.sections.is_empty() {
        let names = names::table(&[], &[]);
        let (behind, slots) = (Vec::new(), Vec::new());
        return Ok(Layout { behind, slots, names, names_offset: end, table_offset: end, file_size: end });
    }
    let slots = number(&parts.sections);
    let behind = move_up(&parts.sections, &mut end);

    // The names as ranges of the old table, with the new section's own name behind that.
    let mut pool = Vec::with_capacity(parts.names.len() + NAMES.len() + 1);
    pool.extend_from_slice(parts.names);
    pool.extend_from_slice(NAMES);
    pool.push(0);
    let own = parts.names.len()..parts.names.len() + NAMES.len();
    let ranges: Vec<_> = slots
        .iter()
        .map(|slot| slot.map_or(0..0, |index| parts.sections[index].name.clone()))
        .chain([own])
        .collect();
    let names = names::table(&pool, &ranges);

    let (alignment, entry) = match parts.class {
        Class::Elf32 => (4, size_of::<elf::SectionHeader32<object::Endianness>>()),
        Class::Elf64 => (8, size_of::<elf::SectionHeader64<object::Endianness>>()),
    };
    let names_offset = end;
    let table_offset = align(end.saturating_add(names.bytes.len() as u64), alignment);
    let table_size = (slots.len() as u64 + 1) * entry as u64;
    let file_size = table_offset.saturating_add(table_size);
    if parts.class == Class::Elf32 && u32::try_from(file_size).is_err() {
        let limit = u32::MAX as usize;
        return Err(KeptWhole::Sections(ElfError::TooMany { what: "bytes in a 32-bit file", limit }));
    }
    Ok(Layout { behind, slots, names, names_offset, table_offset, file_size })
}

/// Which section stands at each number. Those of the image and all before the last of them keep theirs, since loaded
/// symbols may name them; what goes leaves a gap there. Behind that, there are none.
fn number(sections: &[Section]) -> Vec<Option<usize>> {
    let last = sections.iter().rposition(|section| section.place == Place::InImage).unwrap_or(0);
    let mut slots = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        match section.place {
            Place::InImage | Place::Behind => slots.push(Some(index)),
            Place::Gone if index <= last => slots.push(None),
            Place::Gone => {}
        }
    }
    slots
}

/// Gives the sections that are not in the image their places from `end` on, in the order in which they are.
fn move_up(sections: &[Section], end: &mut u64) -> Vec<(usize, u64)> {
    let behind = sections.iter().enumerate().filter(|(_, section)| section.place == Place::Behind);
    let mut behind: Vec<(usize, u64)> = behind.map(|(index, _)| (index, 0)).collect();
    behind.sort_by_key(|&(index, _)| (sections[index].header.offset, sections[index].header.size, index));
    for (index, offset) in &mut behind {
        let Header { alignment, size, .. } = sections[*index].header;
        let alignment = if alignment.is_power_of_two() { alignment.min(MOST_ALIGNMENT) } else { 1 };
        *offset = align(*end, alignment);
        *end = offset.saturating_add(size);
    }
    behind
}

/// The next multiple of a power of two. What doesn't fit is larger than any file, and so refused.
fn align(offset: u64, alignment: u64) -> u64 {
    offset.checked_next_multiple_of(alignment).unwrap_or(u64::MAX)
}

impl Layout {
    /// Writes what is behind the image, which `out` is, and makes the header in it tell of it.
    pub(super) fn write(
        &self,
        bytes: &[u8],
        parts: &Parts<'_>,
        closed: &Closed,
        writer: Writer,
        out: &mut Vec<u8>,
    ) {
        if parts.sections.is_empty() {
            return;
        }
        for &(index, offset) in &self.behind {
            out.resize(offset as usize, 0);
            out.extend_from_slice(&bytes[parts.sections[index].file_range()]);
        }
        out.resize(self.names_offset as usize, 0);
        out.extend_from_slice(&self.names.bytes);
        out.resize(self.table_offset as usize, 0);

        for (&name, header) in self.names.positions.iter().zip(self.headers(parts, closed)) {
            writer.section_header(out, name, &header);
        }
        self.tell(writer, out);
    }

    /// The number of the section of the names, the last.
    fn own_number(&self) -> u32 {
        // It fits: the old table had no fewer entries, and a number of 32 bits for each.
        self.slots.len() as u32
    }

    /// The new section headers, in order.
    fn headers(&self, parts: &Parts<'_>, closed: &Closed) -> Vec<Header> {
        let mut numbers = vec![0; parts.sections.len()];
        for (number, slot) in self.slots.iter().enumerate() {
            if let Some(index) = *slot {
                numbers[index] = number as u32;
            }
        }
        let header = |slot: &Option<usize>| {
            let Some(index) = *slot else { return Header::default() };
            let header = renumbered(&parts.sections[index].header, &numbers);
            let moved = closed.moved(header.offset);
            // An empty section may have been behind what the file ends with now.
            let offset = if header.size == 0 { moved.min(self.names_offset) } else { moved };
            Header { offset, ..header }
        };
        let mut headers: Vec<Header> = self.slots.iter().map(header).collect();
        for &(index, offset) in &self.behind {
            headers[numbers[index] as usize].offset = offset;
        }
        // What the ELF header has no room for is in the reserved one.
        let count = self.own_number() + 1;
        if parts.many_program_headers {
            headers[0].info = parts.sections[0].header.info;
        }
        if count >= u32::from(elf::SHN_LORESERVE) {
            headers[0].size = count.into();
        }
        if self.own_number() >= u32::from(elf::SHN_LORESERVE) {
            headers[0].link = self.own_number();
        }
        headers.push(Header {
            kind: elf::SHT_STRTAB,
            offset: self.names_offset,
            size: self.names.bytes.len() as u64,
            alignment: 1,
            ..Header::default()
        });
        headers
    }

    /// Puts the place of the table into the ELF header.
    fn tell(&self, writer: Writer, out: &mut [u8]) {
        let short = |number: u32, otherwise: u16| {
            u16::try_from(number).ok().filter(|&number| number < elf::SHN_LORESERVE).unwrap_or(otherwise)
        };
        let (e_shoff, e_shnum, e_shstrndx) = match writer.class {
            Class::Elf32 => (0x20, 0x30, 0x32),
            Class::Elf64 => (0x28, 0x3c, 0x3e),
        };
        writer.set(out, e_shoff, |writer, out| writer.wide(out, self.table_offset));
        writer.set(out, e_shnum, |writer, out| writer.half(out, short(self.own_number() + 1, 0)));
        writer
            .set(out, e_shstrndx, |writer, out| writer.half(out, short(self.own_number(), elf::SHN_XINDEX)));
    }
}

/// A header with the new numbers of the sections that it refers to; 0 for those that are gone.
fn renumbered(header: &Header, numbers: &[u32]) -> Header {
    let new = |number: u32| numbers.get(number as usize).copied().unwrap_or(0);
    let mut header = *header;
    let relocations = matches!(header.kind, elf::SHT_REL | elf::SHT_RELA);
    if relocations || header.flags & u64::from(elf::SHF_INFO_LINK) != 0 {
        let target = new(header.info);
        if target == 0 && header.info != 0 {
            header.flags &= !u64::from(elf::SHF_INFO_LINK);
        }
        header.info = target;
    }
    header.link = new(header.link);
    // Groups are for linkers; none is left.
    header.flags &= !u64::from(elf::SHF_GROUP);
    header
}
