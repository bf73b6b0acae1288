//! Stripping: what no loader reads of a program or a library goes.
//!
//! A loader reads the header, the program headers and the bytes that these cover; sections are for linkers, debuggers
//! and people. So every byte that a program header covers stays, and the sections of the loaded image (`SHF_ALLOC`) keep
//! their headers, because debuggers unwind and profilers name functions by them. What goes is what is for tools alone:
//! `.symtab` and its strings, debugging information, relocations that the linker left, notes that are not loaded. Where that
//! leaves whole pages free between segments, what follows moves up. A new section header table and its names end the
//! file.
//!
//! Three things stay: a section of an unknown name that no segment covers may be where a program keeps data of its own
//! (`PyInstaller` does); what stands behind everything that the headers tell of is a payload, and a file with one stays
//! as it is; what is no program or library (kernel modules, object files) is not touched at all.
//!
//! Sections of the image keep their numbers, since the loaded `.dynsym` names them: a header that goes before
//! the last of them leaves an `SHT_NULL` header.
//!
//! Specification: [System V ABI], chapters 4 (sections) and 5 (program headers).
//!
//! [System V ABI]: https://gabi.xinuos.com/

mod coverage;
mod holes;
mod names;
mod parts;
#[cfg(test)]
mod sample;
mod table;
#[cfg(test)]
mod tests;
mod tooling;
mod writer;

use std::fmt;
use std::ops::Range;

use coverage::Coverage;
use holes::Closed;
use object::elf;
use parts::{Parts, Place};
use table::Layout;
use writer::Writer;

use super::{Class, ElfError, Kind};

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stripped {
    /// The file without what no loader reads: shorter, or as long with zeros where nobody's bytes were.
    Changed(Vec<u8>),
    /// The file stays as it is.
    AsItIs(KeptWhole),
}

/// Why a file stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeptWhole {
    /// It would not become smaller: it is stripped already.
    NoSmaller,
    /// It is neither a program nor a library: stripping an object file or a kernel module breaks it, and the dump
    /// of a process is data.
    Kind(Kind),
    /// No program header loads a byte of it, or its code is elsewhere: it holds another file's debugging information.
    NothingLoaded,
    /// There is data that neither sections nor segments tell of, where a program may look for it: a
    /// self-extracting archive, an AppImage, a script or modules behind an interpreter.
    Payload {
        /// Where it begins, in bytes from the start of the file.
        offset: u64,
        /// How many bytes there are.
        size: u64,
    },
    /// A program header tells of more than the file has.
    SegmentOutOfFile {
        /// Which program header, from 0.
        index: usize,
        /// Where its bytes should begin.
        offset: u64,
        /// How many there should be.
        size: u64,
    },
    /// The program headers stand in the ELF header, as in files that are made to be tiny: what tells of sections there
    /// can't change without them.
    HeadersOverlap,
    /// The section headers are wrong. No loader minds, but nobody can tell what the bytes beyond the segments are.
    Sections(ElfError),
}

/// Removes what no loader reads from a program or a library, of any machine, class and byte order.
///
/// Everything that a program header covers keeps its bytes and its address. What no program header and no remaining
/// section covers between them is zeroed, and goes where it is larger than the alignment of what follows. A second time
/// nothing is left to do, and the result is [`KeptWhole::NoSmaller`]. Memory is the result's, which is no larger than the
/// file, and that of the headers.
///
/// # Errors
/// When the bytes are no ELF file, or one whose header or program headers no loader could read. Whatever else
/// is wrong is a reason to leave the file as it is.
pub fn strip(bytes: &[u8]) -> Result<Stripped, ElfError> {
    match attempt(bytes) {
        Ok(changed) => Ok(Stripped::Changed(changed)),
        Err(Stop::Whole(reason)) => Ok(Stripped::AsItIs(reason)),
        Err(Stop::Broken(error)) => Err(error),
    }
}

/// What ends the work early.
enum Stop {
    /// No loader could read it.
    Broken(ElfError),
    /// It stays as it is.
    Whole(KeptWhole),
}

impl From<KeptWhole> for Stop {
    fn from(reason: KeptWhole) -> Self {
        Self::Whole(reason)
    }
}

fn attempt(bytes: &[u8]) -> Result<Vec<u8>, Stop> {
    let mut parts = parts::read(bytes)?;
    refuse_companion(&parts)?;
    if !parts.sections.is_empty() && parts.program_headers.start < parts.header.end {
        return Err(KeptWhole::HeadersOverlap.into());
    }
    let loaded = parts.segments_coverage(bytes)?;
    refuse_payload(bytes, &parts, &loaded)?;
    parts.place_sections(&loaded);

    let mut image = loaded;
    for section in &parts.sections {
        if section.place == Place::InImage {
            image.add(section.file_range());
        }
    }
    image.settle();
    let closed = holes::close(&parts, &image);
    let table = table::lay_out(&parts, closed.moved(image.end() as u64))?;
    let zeroed = image.gaps(0..image.end()).any(|gap| bytes[gap].iter().any(|&byte| byte != 0));
    let length = bytes.len() as u64;
    if table.file_size > length || table.file_size == length && !zeroed {
        return Err(KeptWhole::NoSmaller.into());
    }
    Ok(write(bytes, &parts, &image, &closed, &table))
}

/// A file of debugging information has the headers of the program that it is for, and none of its bytes.
fn refuse_companion(parts: &Parts<'_>) -> Result<(), KeptWhole> {
    let loads = |segment: &parts::Segment| segment.kind == elf::PT_LOAD && segment.size > 0;
    let mut image = parts.sections.iter().skip(1).filter(|section| section.is_alloc()).peekable();
    let hollow = image.peek().is_some() && image.all(parts::Section::is_absent_or_note);
    match hollow || !parts.segments.iter().any(loads) {
        true => Err(KeptWhole::NothingLoaded),
        false => Ok(()),
    }
}

/// Looks for data that only the program itself can know of: bytes that are not zero, behind the segments, and that no
/// section holds. Between the segments there may be what a linker left, which nobody finds; but without any section
/// headers nothing is known of those bytes either.
fn refuse_payload(bytes: &[u8], parts: &Parts<'_>, loaded: &Coverage) -> Result<(), KeptWhole> {
    let mut known = loaded.clone();
    known.add(parts.table.clone());
    for section in &parts.sections {
        known.add(section.file_range());
    }
    known.settle();
    let from = if parts.sections.is_empty() { 0 } else { loaded.end() };
    for gap in known.gaps(from..bytes.len()) {
        if let Some(first) = bytes[gap.clone()].iter().position(|&byte| byte != 0) {
            let offset = gap.start + first;
            return Err(KeptWhole::Payload { offset: offset as u64, size: (gap.end - offset) as u64 });
        }
    }
    Ok(())
}

fn write(bytes: &[u8], parts: &Parts<'_>, image: &Coverage, closed: &Closed, table: &Layout) -> Vec<u8> {
    let mut out = Vec::with_capacity(table.file_size as usize);
    for range in image.ranges() {
        out.resize(closed.moved(range.start as u64) as usize, 0);
        out.extend_from_slice(&bytes[range.clone()]);
    }
    let writer = Writer { class: parts.class, endianness: parts.endianness };
    if closed.moves() {
        move_segments(parts, closed, writer, &mut out);
    }
    table.write(bytes, parts, closed, writer, &mut out);
    debug_assert_eq!(out.len() as u64, table.file_size);
    out
}

/// Makes the program headers tell where the segments are now.
fn move_segments(parts: &Parts<'_>, closed: &Closed, writer: Writer, out: &mut [u8]) {
    let (p_offset, entry) = match parts.class {
        Class::Elf32 => (4, size_of::<elf::ProgramHeader32<object::Endianness>>()),
        Class::Elf64 => (8, size_of::<elf::ProgramHeader64<object::Endianness>>()),
    };
    for (index, segment) in
        parts.segments.iter().enumerate().filter(|(_, segment)| segment.kind != elf::PT_NULL)
    {
        // The program headers themselves never move.
        let field = parts.program_headers.start + index * entry + p_offset;
        writer.set(out, field, |writer, out| writer.wide(out, closed.moved(segment.offset)));
    }
}

impl fmt::Display for KeptWhole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSmaller => f.write_str("it would not become smaller"),
            Self::Kind(kind) => write!(f, "{kind} is never stripped"),
            Self::NothingLoaded => {
                f.write_str("nothing of it is loaded: it holds the debugging information of another file")
            }
            Self::Payload { offset, size } => write!(
                f,
                "{size} bytes at offset {offset} are in no section and no segment: the program may look for them there"
            ),
            Self::SegmentOutOfFile { index, offset, size } => write!(
                f,
                "program header {index} tells of {size} bytes at offset {offset}, but the file ends before that"
            ),
            Self::HeadersOverlap => f.write_str("its program headers overlap the ELF header"),
            Self::Sections(error) => write!(f, "its section headers are damaged: {error}"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relocatable => f.write_str("an object file or kernel module"),
            Self::Executable => f.write_str("a program with a fixed address"),
            Self::Dynamic => f.write_str("a library or position-independent program"),
            Self::Core => f.write_str("the dump of a process"),
            Self::Other(kind) => write!(f, "an ELF file of type {kind:#x}"),
        }
    }
}

/// The bytes from `offset`, `size` of them, if that is within a file of `length`.
fn range_in(length: usize, offset: u64, size: u64) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    (end <= length).then_some(start..end)
}
