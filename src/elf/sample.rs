//! A writer of small ELF files for tests: one loaded segment that is the whole file, at address 0.

use super::{Class, Endianness};
use object::elf;

/// What the file should say.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) class: Class,
    pub(crate) endianness: Endianness,
    pub(crate) os_abi: u8,
    pub(crate) machine: u16,
    pub(crate) kind: u16,
    pub(crate) interpreter: Option<String>,
    /// Tags whose values are strings, in order.
    pub(crate) strings: Vec<(u32, String)>,
    pub(crate) flags_1: u32,
    /// Library, then versions and whether they are weak.
    pub(crate) needs: Vec<(String, Vec<(String, bool)>)>,
    pub(crate) definitions: Vec<String>,
    /// Bytes at the end.
    pub(crate) rest: Vec<u8>,
}

impl Sample {
    pub(crate) const GLIBC: &str = "/lib64/ld-linux-x86-64.so.2";
    pub(crate) const MUSL: &str = "/lib/ld-musl-x86_64.so.1";

    fn new(kind: u16) -> Self {
        Self {
            class: Class::Elf64,
            endianness: Endianness::Little,
            os_abi: 0,
            machine: elf::EM_X86_64,
            kind,
            interpreter: None,
            strings: Vec::new(),
            flags_1: 0,
            needs: Vec::new(),
            definitions: Vec::new(),
            rest: Vec::new(),
        }
    }

    /// A position-independent program.
    pub(crate) fn program(interpreter: &str) -> Self {
        Self { interpreter: Some(interpreter.to_owned()), ..Self::new(elf::ET_DYN) }
    }

    /// A shared library; a plug-in if `soname` is empty.
    pub(crate) fn library(soname: &str) -> Self {
        let library = Self::new(elf::ET_DYN);
        if soname.is_empty() { library } else { library.string(elf::DT_SONAME, soname) }
    }

    /// An object file.
    pub(crate) fn object() -> Self {
        Self::new(elf::ET_REL)
    }

    /// glibc's loader, built for these directories.
    pub(crate) fn glibc_loader(directories: &[&str]) -> Self {
        let mut loader = Self::library("ld-linux-x86-64.so.2").defines(&["GLIBC_2.2.5", "GLIBC_PRIVATE"]);
        loader.rest.push(0);
        for directory in directories {
            loader.rest.extend_from_slice(format!("{directory}/\0").as_bytes());
        }
        loader
    }

    pub(crate) fn string(mut self, tag: u32, value: &str) -> Self {
        self.strings.push((tag, value.to_owned()));
        self
    }

    pub(crate) fn needs(mut self, names: &[&str]) -> Self {
        self.strings.extend(names.iter().map(|name| (elf::DT_NEEDED, (*name).to_owned())));
        self
    }

    pub(crate) fn needs_versions(mut self, library: &str, versions: &[&str]) -> Self {
        let versions = versions.iter().map(|version| match version.strip_suffix('?') {
            Some(weak) => (weak.to_owned(), true),
            None => ((*version).to_owned(), false),
        });
        self.needs.push((library.to_owned(), versions.collect()));
        self
    }

    pub(crate) fn defines(mut self, versions: &[&str]) -> Self {
        self.definitions.extend(versions.iter().map(|version| (*version).to_owned()));
        self
    }

    pub(crate) fn runpath(self, list: &str) -> Self {
        self.string(elf::DT_RUNPATH, list)
    }

    pub(crate) fn rpath(self, list: &str) -> Self {
        self.string(elf::DT_RPATH, list)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let wide = self.class == Class::Elf64;
        let (header, segment) = if wide { (64, 56) } else { (52, 32) };
        let mut strings = Strings(vec![0]);
        let mut entries: Vec<(u32, u64)> =
            self.strings.iter().map(|(tag, text)| (*tag, strings.add(text).into())).collect();
        if self.flags_1 != 0 {
            entries.push((elf::DT_FLAGS_1, self.flags_1.into()));
        }
        let needs = self.version_needs(&mut strings);
        let definitions = self.version_definitions(&mut strings);
        let dynamic = self.kind != elf::ET_REL && (!entries.is_empty() || !strings.0.is_empty());
        let segments = 1 + usize::from(self.interpreter.is_some()) + usize::from(dynamic);

        let mut at = header + segments * segment;
        let mut place = |length: usize| {
            let here = at.next_multiple_of(8);
            at = here + length;
            here
        };
        let interpreter = self.interpreter.as_ref().map(|path| [path.as_bytes(), b"\0"].concat());
        let interpreter_at = place(interpreter.as_ref().map_or(0, Vec::len));
        let strings_at = place(strings.0.len());
        let needs_at = place(needs.len());
        let definitions_at = place(definitions.len());
        entries.push((elf::DT_STRTAB, strings_at as u64));
        entries.push((elf::DT_STRSZ, strings.0.len() as u64));
        if !self.needs.is_empty() {
            entries.push((elf::DT_VERNEED, needs_at as u64));
            entries.push((elf::DT_VERNEEDNUM, self.needs.len() as u64));
        }
        if !self.definitions.is_empty() {
            entries.push((elf::DT_VERDEF, definitions_at as u64));
            entries.push((elf::DT_VERDEFNUM, self.definitions.len() as u64 + 1));
        }
        entries.push((elf::DT_NULL, 0));
        let dynamic_size = entries.len() * if wide { 16 } else { 8 };
        let dynamic_at = place(dynamic_size);
        let rest_at = place(self.rest.len());
        let size = at;

        let mut out = self.out();
        out.bytes.extend_from_slice(&elf::ELFMAG);
        let class = if wide { elf::ELFCLASS64 } else { elf::ELFCLASS32 };
        let data = if self.endianness == Endianness::Little { elf::ELFDATA2LSB } else { elf::ELFDATA2MSB };
        out.bytes.extend_from_slice(&[class, data, elf::EV_CURRENT, self.os_abi]);
        out.bytes.extend_from_slice(&[0; 8]);
        out.half(self.kind).half(self.machine).word(1).address(0).address(header as u64).address(0).word(0);
        out.half(header as u16).half(segment as u16).half(segments as u16).half(0).half(0).half(0);
        out.segment(elf::PT_LOAD, 0, size);
        if let Some(path) = &interpreter {
            out.segment(elf::PT_INTERP, interpreter_at, path.len());
        }
        if dynamic {
            out.segment(elf::PT_DYNAMIC, dynamic_at, dynamic_size);
        }
        out.at(interpreter_at).bytes.extend(interpreter.unwrap_or_default());
        out.at(strings_at).bytes.extend(strings.0);
        out.at(needs_at).bytes.extend(needs);
        out.at(definitions_at).bytes.extend(definitions);
        out.at(dynamic_at);
        for (tag, value) in entries {
            out.address(tag.into()).address(value);
        }
        out.at(rest_at).bytes.extend_from_slice(&self.rest);
        out.bytes
    }

    fn out(&self) -> Out {
        Out { bytes: Vec::new(), wide: self.class == Class::Elf64, big: self.endianness == Endianness::Big }
    }

    fn version_needs(&self, strings: &mut Strings) -> Vec<u8> {
        let mut out = self.out();
        for (index, (library, versions)) in self.needs.iter().enumerate() {
            let last = index + 1 == self.needs.len();
            let next = if last { 0 } else { 16 + 16 * versions.len() as u32 };
            out.half(1).half(versions.len() as u16).word(strings.add(library)).word(16).word(next);
            for (index, (version, weak)) in versions.iter().enumerate() {
                let next = if index + 1 == versions.len() { 0 } else { 16 };
                let flags = if *weak { elf::VER_FLG_WEAK } else { 0 };
                out.word(0).half(flags).half(2).word(strings.add(version)).word(next);
            }
        }
        out.bytes
    }

    fn version_definitions(&self, strings: &mut Strings) -> Vec<u8> {
        let mut out = self.out();
        let names = std::iter::once(("base", elf::VER_FLG_BASE))
            .chain(self.definitions.iter().map(|name| (name.as_str(), 0)));
        for (index, (name, flags)) in names.enumerate() {
            let next = if index == self.definitions.len() { 0 } else { 28 };
            out.half(1).half(flags).half(index as u16 + 1).half(1).word(0).word(20).word(next);
            out.word(strings.add(name)).word(0);
        }
        out.bytes
    }
}

struct Strings(Vec<u8>);

impl Strings {
    fn add(&mut self, text: &str) -> u32 {
        let position = self.0.len() as u32;
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        position
    }
}

/// Numbers of a file's class and endianness.
pub(super) struct Out {
    pub(super) bytes: Vec<u8>,
    pub(super) wide: bool,
    pub(super) big: bool,
}

impl Out {
    pub(super) fn half(&mut self, value: u16) -> &mut Self {
        self.bytes.extend_from_slice(&if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    pub(super) fn word(&mut self, value: u32) -> &mut Self {
        self.bytes.extend_from_slice(&if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    pub(super) fn address(&mut self, value: u64) -> &mut Self {
        match (self.wide, self.big) {
            (false, _) => return self.word(value as u32),
            (true, true) => self.bytes.extend_from_slice(&value.to_be_bytes()),
            (true, false) => self.bytes.extend_from_slice(&value.to_le_bytes()),
        }
        self
    }

    fn segment(&mut self, kind: u32, at: usize, size: usize) {
        let (at, size) = (at as u64, size as u64);
        self.word(kind);
        if self.wide {
            self.word(4);
        }
        self.address(at).address(at).address(at).address(size).address(size);
        if !self.wide {
            self.word(4);
        }
        self.address(8);
    }

    fn at(&mut self, offset: usize) -> &mut Self {
        self.bytes.resize(offset, 0);
        self
    }
}
