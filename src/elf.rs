//! ELF files, pure: what they need and what they offer, as a dynamic loader sees it, and [`strip()`], which leaves
//! what a loader can see.
//!
//! What [`ElfFile`] tells is read from the program headers and the dynamic segment, never from section headers: those are
//! what the loader reads, and stripped files may have no sections. The specifications are the [System V ABI],
//! chapters 4 and 5, and for symbol versions the [LSB].
//!
//! Invariant: hostile bytes give an [`ElfError`], never a panic, and the size of the values
//! that come out is bounded whatever the file says. All names are text without control characters, so they can be shown as they are.
//!
//! [System V ABI]: https://gabi.xinuos.com/
//! [LSB]: https://refspecs.linuxfoundation.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/symversion.html

mod libc;
mod read;
#[cfg(test)]
pub(crate) mod sample;
mod strip;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{Read, Seek};

use object::elf;

pub(crate) use libc::compare_versions;
pub use libc::{Libc, glibc_version, is_musl_own, system_directories};
pub use strip::{KeptWhole, Stripped, strip};

/// What a loader reads of an ELF file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ElfFile {
    /// Whether addresses have 32 or 64 bits.
    pub class: Class,
    /// The order of bytes.
    pub endianness: Endianness,
    /// `EI_OSABI`: 0 (System V) and 3 (GNU) are what Linux runs.
    pub os_abi: u8,
    /// `e_machine`.
    pub machine: Machine,
    /// `e_type`.
    pub kind: Kind,
    /// The path of `PT_INTERP`: the dynamic loader that the kernel starts for a program.
    pub interpreter: Option<String>,
    /// Whether there is a dynamic segment with anything in it.
    pub dynamic: bool,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// `DT_NEEDED`, in order.
    pub needed: Vec<String>,
    /// `DT_RPATH`: directories with colons between.
    pub rpath: Option<String>,
    /// `DT_RUNPATH`: the same, but for the file's own needs only (in glibc).
    pub runpath: Option<String>,
    /// `DF_1_NODEFLIB`: glibc doesn't look into its default directories for this file.
    pub no_default_directories: bool,
    /// `DF_1_PIE`: an executable that can stand at any address.
    pub pie: bool,
    /// `DT_VERNEED`: the versions of symbols that are taken from each library, in order.
    pub version_needs: Vec<VersionNeeds>,
    /// `DT_VERDEF`: the versions that the file's own symbols have (its base name not counted), in order. A
    /// library without any satisfies every version, as far as glibc is concerned.
    pub version_definitions: Vec<String>,
}

/// The versions that one file needs of one library.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VersionNeeds {
    /// The library, by its soname (`vn_file`).
    pub library: String,
    /// The versions, in order.
    pub versions: Vec<VersionNeed>,
}

/// A version that is needed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VersionNeed {
    /// `GLIBC_2.34`.
    pub name: String,
    /// `VER_FLG_WEAK`: the loader doesn't mind if it is missing.
    pub weak: bool,
}

/// `EI_CLASS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Class {
    /// `ELFCLASS32`.
    Elf32,
    /// `ELFCLASS64`.
    Elf64,
}

/// `EI_DATA`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Endianness {
    /// `ELFDATA2LSB`.
    Little,
    /// `ELFDATA2MSB`.
    Big,
}

/// `e_machine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Machine(pub u16);

/// `e_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// `ET_REL`: an object file or a kernel module.
    Relocatable,
    /// `ET_EXEC`: a program with a fixed address.
    Executable,
    /// `ET_DYN`: a library, a plug-in or a position-independent program.
    Dynamic,
    /// `ET_CORE`: the memory of a process that died.
    Core,
    /// Anything else.
    Other(u16),
}

/// What is wrong with the bytes of an ELF file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// The first four bytes are not `\x7fELF`.
    #[error("it is no ELF file")]
    NotElf,
    /// Class, byte order or version in the identification are none that exist.
    #[error("the ELF identification at offset 4 is {found}, which no ELF file has")]
    Identification {
        /// The bytes, in hexadecimal.
        found: String,
    },
    /// A table or a string is not where the file says.
    #[error("{what} should stand at offset {offset} with {size} bytes, but the file ends before that")]
    OutOfFile {
        /// Which part.
        what: &'static str,
        /// Where, in bytes from the start of the file.
        offset: u64,
        /// How long.
        size: u64,
    },
    /// An address that no part of the file is loaded at.
    #[error("{what} is at address {address:#x}, where nothing of the file is loaded")]
    NotLoaded {
        /// Which part.
        what: &'static str,
        /// The address.
        address: u64,
    },
    /// A name that doesn't end, or is longer than any name can be.
    #[error("{what} at position {position} of the strings has no end within {limit} bytes")]
    LongString {
        /// Which name.
        what: &'static str,
        /// Where it begins in the string table.
        position: u64,
        /// How long it may be.
        limit: usize,
    },
    /// A name that is not UTF-8, or has control characters in it.
    #[error("{what} is no text: {escaped}")]
    NotText {
        /// Which name.
        what: &'static str,
        /// The name, escaped.
        escaped: String,
    },
    /// A section is named by its number, and there are fewer.
    #[error("{what} should be section {index}, but there are {count} sections")]
    NoSuchSection {
        /// Which section.
        what: &'static str,
        /// Its number, from 0.
        index: u64,
        /// How many there are.
        count: u64,
    },
    /// The headers of a table have another size than the format's.
    #[error("{what} should have {expected} bytes each, but have {found}")]
    EntrySize {
        /// Which table.
        what: &'static str,
        /// The size that they have in every file of this class.
        expected: u64,
        /// The size that the file tells.
        found: u64,
    },
    /// More records than any real file has.
    #[error("there are more than {limit} of {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
}

/// Why an ELF file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its bytes could not be had.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Its bytes are wrong.
    #[error(transparent)]
    Elf(#[from] ElfError),
}

impl ElfFile {
    /// The first bytes of every ELF file.
    pub const MAGIC: [u8; 4] = elf::ELFMAG;

    /// Reads a whole file that is in memory.
    ///
    /// # Errors
    /// [`ElfError`] says what is wrong and where.
    pub fn parse(bytes: &[u8]) -> Result<Self, ElfError> {
        read::read(bytes)
    }

    /// Reads only the parts of a file that are needed: some kilobytes of one that may have gigabytes.
    ///
    /// # Errors
    /// When `reader` gives an error, or the bytes are wrong.
    pub fn read_from(reader: impl Read + Seek) -> Result<Self, ReadError> {
        read::read_from(reader)
    }

    /// Whether this is something that runs or is loaded into what runs: not an object file, a kernel module
    /// or a core file.
    pub fn is_loadable(&self) -> bool {
        matches!(self.kind, Kind::Executable | Kind::Dynamic)
    }

    /// Whether the kernel can start it: it names an interpreter, or needs none. (A shared library with an
    /// interpreter is a program too: glibc's `libc.so.6` is one.)
    pub fn is_program(&self) -> bool {
        self.kind == Kind::Executable
            || self.kind == Kind::Dynamic && (self.interpreter.is_some() || self.pie)
    }

    /// Whether this is a program that needs no loader.
    pub fn is_static(&self) -> bool {
        self.is_program() && self.interpreter.is_none()
    }

    /// Whether a loader would take `version` of this library as there.
    pub fn offers(&self, version: &str) -> bool {
        self.version_definitions.is_empty() || self.version_definitions.iter().any(|have| have == version)
    }

    /// The libc that the file is for: by its interpreter, then by the libraries and versions that it needs,
    /// then by its own name.
    pub fn libc(&self) -> Libc {
        Libc::of(self)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            elf::EM_X86_64 => "x86_64",
            elf::EM_AARCH64 => "aarch64",
            elf::EM_RISCV => "riscv",
            elf::EM_386 => "x86",
            elf::EM_ARM => "arm",
            elf::EM_PPC64 => "ppc64",
            elf::EM_PPC => "ppc",
            elf::EM_S390 => "s390",
            elf::EM_LOONGARCH => "loongarch",
            elf::EM_MIPS => "mips",
            elf::EM_BPF => "bpf",
            other => return write!(f, "machine {other}"),
        })
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Elf32 => "32-bit",
            Self::Elf64 => "64-bit",
        })
    }
}
