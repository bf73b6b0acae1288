//! Reading: header → program headers → dynamic segment → strings and versions.

use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::read::{ReadCache, ReadRef};
use object::{elf, pod};

use super::{Class, ElfError, ElfFile, Endianness, Kind, Machine, ReadError, VersionNeed, VersionNeeds};

/// As long as a path can be (`PATH_MAX`): the kernel takes no longer interpreter, and a loader no longer name.
const MOST_NAME: usize = 4096;
/// The longest version names in use have some forty bytes.
const MOST_VERSION_NAME: usize = 256;
/// Lists of directories are joined paths; those that Nix and Guix write are long.
const MOST_DIRECTORIES: usize = 64 * 1024;
/// Programs of a few hundred libraries exist.
const MOST_NEEDED: usize = 4096;
/// Version indexes have 15 bits (`VERSYM_VERSION`).
const MOST_VERSIONS: usize = 1 << 15;
/// The dynamic segment of a file with [`MOST_NEEDED`] needs is far smaller.
const MOST_DYNAMIC: u64 = 1 << 20;
/// The largest string tables (LLVM, Chromium) have some ten megabytes.
const MOST_STRINGS: u64 = 256 << 20;

type Result<T> = std::result::Result<T, ElfError>;

pub(super) fn read_from(reader: impl Read + Seek) -> std::result::Result<ElfFile, ReadError> {
    let failure = Rc::new(RefCell::new(None));
    let cache = ReadCache::new(Recording { reader, failure: Rc::clone(&failure) });
    let result = read(&cache);
    match failure.borrow_mut().take() {
        Some(error) => Err(ReadError::Io(error)),
        None => Ok(result?),
    }
}

/// `object` drops the reasons why it couldn't read: this keeps the first.
struct Recording<R> {
    reader: R,
    failure: Rc<RefCell<Option<io::Error>>>,
}

impl<R> Recording<R> {
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let kind = error.kind();
            self.failure.borrow_mut().get_or_insert(error);
            kind.into()
        })
    }
}

impl<R: Read> Read for Recording<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.reader.read(buffer);
        self.note(result)
    }
}

impl<R: Seek> Seek for Recording<R> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let result = self.reader.seek(position);
        self.note(result)
    }
}

/// Reads a file of either class.
pub(super) fn read<'data, R: ReadRef<'data>>(data: R) -> Result<ElfFile> {
    match class(data)? {
        Class::Elf32 => Reader::<elf::FileHeader32<object::Endianness>, R>::read(data),
        Class::Elf64 => Reader::<elf::FileHeader64<object::Endianness>, R>::read(data),
    }
}

/// The class that the identification tells.
pub(super) fn class<'data, R: ReadRef<'data>>(data: R) -> Result<Class> {
    let ident = data.read_bytes_at(0, 16).unwrap_or_default();
    if !ident.starts_with(&ElfFile::MAGIC) {
        let head = data.read_bytes_at(0, 4).unwrap_or_default();
        return match head == ElfFile::MAGIC {
            true => Err(out_of_file("the ELF identification", 0, 16)),
            false => Err(ElfError::NotElf),
        };
    }
    match ident[4] {
        elf::ELFCLASS32 => Ok(Class::Elf32),
        elf::ELFCLASS64 => Ok(Class::Elf64),
        _ => Err(bad_identification(ident)),
    }
}

/// The header of a file, and what it says of itself.
pub(super) struct Identified<'data, Elf> {
    pub(super) header: &'data Elf,
    pub(super) endian: object::Endianness,
    pub(super) class: Class,
    pub(super) endianness: Endianness,
    pub(super) kind: Kind,
}

/// Reads the header of a file whose class is that of `Elf`.
pub(super) fn identify<'data, Elf, R>(data: R) -> Result<Identified<'data, Elf>>
where
    Elf: FileHeader<Endian = object::Endianness>,
    R: ReadRef<'data>,
{
    let size = size_of::<Elf>() as u64;
    let header: &Elf = data.read_at(0).map_err(|()| out_of_file("the ELF header", 0, size))?;
    let ident = data.read_bytes_at(0, 16).unwrap_or_default();
    if !header.is_supported() {
        return Err(bad_identification(ident));
    }
    let endian = header.endian().map_err(|_| bad_identification(ident))?;
    Ok(Identified {
        header,
        endian,
        class: if header.is_class_64() { Class::Elf64 } else { Class::Elf32 },
        endianness: if header.is_little_endian() { Endianness::Little } else { Endianness::Big },
        kind: match header.e_type(endian) {
            elf::ET_REL => Kind::Relocatable,
            elf::ET_EXEC => Kind::Executable,
            elf::ET_DYN => Kind::Dynamic,
            elf::ET_CORE => Kind::Core,
            other => Kind::Other(other),
        },
    })
}

pub(super) fn out_of_file(what: &'static str, offset: u64, size: u64) -> ElfError {
    ElfError::OutOfFile { what, offset, size }
}

fn bad_identification(ident: &[u8]) -> ElfError {
    ElfError::Identification { found: hex::encode(ident.get(4..8).unwrap_or_default()) }
}

struct Reader<'data, Elf: FileHeader, R> {
    data: R,
    endian: Elf::Endian,
    segments: &'data [Elf::ProgramHeader],
    strings: &'data [u8],
}

/// What the dynamic segment says, by tag.
#[derive(Default)]
struct Dynamic {
    present: bool,
    needed: Vec<u64>,
    soname: Option<u64>,
    rpath: Option<u64>,
    runpath: Option<u64>,
    strings: Option<u64>,
    strings_size: u64,
    flags_1: u64,
    version_needs: Option<u64>,
    version_needs_count: u64,
    version_definitions: Option<u64>,
    version_definitions_count: u64,
}

impl<'data, Elf, R> Reader<'data, Elf, R>
where
    Elf: FileHeader<Endian = object::Endianness>,
    R: ReadRef<'data>,
{
    fn read(data: R) -> Result<ElfFile> {
        let Identified { header, endian, class, endianness, kind } = identify::<Elf, R>(data)?;
        let mut file = ElfFile {
            class,
            endianness,
            os_abi: header.e_ident().os_abi,
            machine: Machine(header.e_machine(endian)),
            kind,
            interpreter: None,
            dynamic: false,
            soname: None,
            needed: Vec::new(),
            rpath: None,
            runpath: None,
            no_default_directories: false,
            pie: false,
            version_needs: Vec::new(),
            version_definitions: Vec::new(),
        };
        if !file.is_loadable() {
            return Ok(file);
        }
        let segments = header.program_headers(endian, data).map_err(|_| {
            let count = u64::from(header.e_phnum(endian));
            out_of_file(
                "the program headers",
                header.e_phoff(endian).into(),
                count * size_of::<Elf::ProgramHeader>() as u64,
            )
        })?;
        Self { data, endian, segments, strings: &[] }.fill(&mut file)?;
        Ok(file)
    }

    fn fill(mut self, file: &mut ElfFile) -> Result<()> {
        let mut dynamic = Dynamic::default();
        for segment in self.segments {
            match segment.p_type(self.endian) {
                elf::PT_INTERP if file.interpreter.is_none() => {
                    file.interpreter = Some(self.interpreter(segment)?);
                }
                elf::PT_DYNAMIC if !dynamic.present => dynamic = self.dynamic(segment)?,
                _ => {}
            }
        }
        file.dynamic = dynamic.present;
        file.pie = dynamic.flags_1 & u64::from(elf::DF_1_PIE) != 0;
        file.no_default_directories = dynamic.flags_1 & u64::from(elf::DF_1_NODEFLIB) != 0;
        if let Some(address) = dynamic.strings {
            self.strings = self.strings(address, dynamic.strings_size)?;
        }
        for position in dynamic.needed {
            file.needed.push(self.string("the name of a needed library", position, MOST_NAME)?);
        }
        let optional = |what, position: Option<u64>, limit| {
            position.map(|position| self.string(what, position, limit)).transpose()
        };
        file.soname = optional("DT_SONAME", dynamic.soname, MOST_NAME)?;
        file.rpath = optional("DT_RPATH", dynamic.rpath, MOST_DIRECTORIES)?;
        file.runpath = optional("DT_RUNPATH", dynamic.runpath, MOST_DIRECTORIES)?;
        if let Some(address) = dynamic.version_needs {
            file.version_needs = self.version_needs(address, dynamic.version_needs_count)?;
        }
        if let Some(address) = dynamic.version_definitions {
            file.version_definitions =
                self.version_definitions(address, dynamic.version_definitions_count)?;
        }
        Ok(())
    }

    fn interpreter(&self, segment: &Elf::ProgramHeader) -> Result<String> {
        let (offset, size) = segment.file_range(self.endian);
        let limited = size.min(MOST_NAME as u64);
        let what = "the interpreter's path";
        let bytes = self.data.read_bytes_at(offset, limited).map_err(|()| out_of_file(what, offset, size))?;
        let end = bytes.iter().position(|&byte| byte == 0).ok_or(ElfError::LongString {
            what,
            position: 0,
            limit: bytes.len(),
        })?;
        text(what, &bytes[..end])
    }

    fn dynamic(&self, segment: &Elf::ProgramHeader) -> Result<Dynamic> {
        let (offset, size) = segment.file_range(self.endian);
        let what = "the dynamic segment";
        if size > MOST_DYNAMIC {
            return Err(ElfError::TooMany {
                what: "bytes in the dynamic segment",
                limit: MOST_DYNAMIC as usize,
            });
        }
        let entries: &[Elf::Dyn] = self
            .data
            .read_bytes_at(offset, size)
            .and_then(|bytes| pod::slice_from_bytes(bytes, bytes.len() / size_of::<Elf::Dyn>()))
            .map_err(|()| out_of_file(what, offset, size))?
            .0;
        let mut dynamic = Dynamic::default();
        for entry in entries {
            let value: u64 = entry.d_val(self.endian).into();
            let Some(tag) = entry.tag32(self.endian) else { continue };
            dynamic.present |= tag != elf::DT_NULL;
            match tag {
                elf::DT_NULL => break,
                elf::DT_NEEDED => dynamic.needed.push(value),
                elf::DT_SONAME => dynamic.soname = Some(value),
                elf::DT_RPATH => dynamic.rpath = Some(value),
                elf::DT_RUNPATH => dynamic.runpath = Some(value),
                elf::DT_STRTAB => dynamic.strings = Some(value),
                elf::DT_STRSZ => dynamic.strings_size = value,
                elf::DT_FLAGS_1 => dynamic.flags_1 = value,
                elf::DT_VERNEED => dynamic.version_needs = Some(value),
                elf::DT_VERNEEDNUM => dynamic.version_needs_count = value,
                elf::DT_VERDEF => dynamic.version_definitions = Some(value),
                elf::DT_VERDEFNUM => dynamic.version_definitions_count = value,
                _ => {}
            }
        }
        if dynamic.needed.len() > MOST_NEEDED {
            return Err(ElfError::TooMany { what: "needed libraries", limit: MOST_NEEDED });
        }
        Ok(dynamic)
    }

    /// Where in the file the byte at `address` is.
    fn offset_of(&self, what: &'static str, address: u64) -> Result<u64> {
        self.segments
            .iter()
            .filter(|segment| segment.p_type(self.endian) == elf::PT_LOAD)
            .find_map(|segment| {
                let (offset, size) = segment.file_range(self.endian);
                let distance = address.checked_sub(segment.p_vaddr(self.endian).into())?;
                if distance < size { offset.checked_add(distance) } else { None }
            })
            .ok_or(ElfError::NotLoaded { what, address })
    }

    fn strings(&self, address: u64, size: u64) -> Result<&'data [u8]> {
        if size == 0 {
            return Ok(&[]);
        }
        if size > MOST_STRINGS {
            return Err(ElfError::TooMany {
                what: "bytes in the string table",
                limit: MOST_STRINGS as usize,
            });
        }
        let what = "the string table";
        let offset = self.offset_of(what, address)?;
        self.data.read_bytes_at(offset, size).map_err(|()| out_of_file(what, offset, size))
    }

    fn string(&self, what: &'static str, position: u64, limit: usize) -> Result<String> {
        let long = ElfError::LongString { what, position, limit };
        let Some(bytes) = usize::try_from(position).ok().and_then(|start| self.strings.get(start..)) else {
            return Err(long);
        };
        match bytes.iter().take(limit).position(|&byte| byte == 0) {
            Some(end) => text(what, &bytes[..end]),
            None => Err(long),
        }
    }

    fn record<T: pod::Pod>(&self, what: &'static str, offset: u64) -> Result<&'data T> {
        self.data.read_at(offset).map_err(|()| out_of_file(what, offset, size_of::<T>() as u64))
    }

    fn version_needs(&self, address: u64, count: u64) -> Result<Vec<VersionNeeds>> {
        let what = "a needed version";
        let mut offset = self.offset_of(what, address)?;
        let mut all = Vec::new();
        let mut budget = Budget::default();
        for _ in 0..count {
            budget.spend()?;
            let need: &elf::Verneed<object::Endianness> = self.record(what, offset)?;
            let library = self.string(
                "the library of a needed version",
                need.vn_file.get(self.endian).into(),
                MOST_NAME,
            )?;
            let mut versions = Vec::new();
            let mut inner = offset.saturating_add(need.vn_aux.get(self.endian).into());
            for _ in 0..need.vn_cnt.get(self.endian) {
                budget.spend()?;
                let version: &elf::Vernaux<object::Endianness> = self.record(what, inner)?;
                versions.push(VersionNeed {
                    name: self.string(
                        "the name of a needed version",
                        version.vna_name.get(self.endian).into(),
                        MOST_VERSION_NAME,
                    )?,
                    weak: version.vna_flags.get(self.endian) & elf::VER_FLG_WEAK != 0,
                });
                match version.vna_next.get(self.endian) {
                    0 => break,
                    next => inner = inner.saturating_add(next.into()),
                }
            }
            all.push(VersionNeeds { library, versions });
            match need.vn_next.get(self.endian) {
                0 => break,
                next => offset = offset.saturating_add(next.into()),
            }
        }
        Ok(all)
    }

    fn version_definitions(&self, address: u64, count: u64) -> Result<Vec<String>> {
        let what = "a version definition";
        let mut offset = self.offset_of(what, address)?;
        let mut all = Vec::new();
        let mut budget = Budget::default();
        for _ in 0..count {
            budget.spend()?;
            let definition: &elf::Verdef<object::Endianness> = self.record(what, offset)?;
            // Only the first name counts: further ones say from which versions it inherits.
            if definition.vd_flags.get(self.endian) & elf::VER_FLG_BASE == 0
                && definition.vd_cnt.get(self.endian) > 0
            {
                let inner = offset.saturating_add(definition.vd_aux.get(self.endian).into());
                let name: &elf::Verdaux<object::Endianness> = self.record(what, inner)?;
                all.push(self.string(
                    "the name of a version definition",
                    name.vda_name.get(self.endian).into(),
                    MOST_VERSION_NAME,
                )?);
            }
            match definition.vd_next.get(self.endian) {
                0 => break,
                next => offset = offset.saturating_add(next.into()),
            }
        }
        Ok(all)
    }
}

/// Counts version records: hostile ones can overlap, and be more than the file has bytes.
#[derive(Default)]
struct Budget(usize);

impl Budget {
    fn spend(&mut self) -> Result<()> {
        self.0 += 1;
        if self.0 > MOST_VERSIONS {
            return Err(ElfError::TooMany { what: "version records", limit: MOST_VERSIONS });
        }
        Ok(())
    }
}

fn text(what: &'static str, bytes: &[u8]) -> Result<String> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err(ElfError::NotText { what, escaped: bytes.escape_ascii().to_string() }),
    }
}
