//! Libraries and programs of other architectures: 32 and 64 bits, both byte orders. They can't run here, but
//! `readelf` reads them all.

use std::path::{Path, PathBuf};
use std::process::Command;

use leanfs::elf::{Class, ElfFile, Endianness};

use super::oracle::{self, Binutils};
use super::{files_below, find, for_each, is_loadable, output, skip};

/// Triples with what their files are. Debian's `libc6-ARCH-cross` packages hold the libraries.
const ARCHITECTURES: &[(&str, Class, Endianness)] = &[
    ("aarch64-linux-gnu", Class::Elf64, Endianness::Little),
    ("arm-linux-gnueabihf", Class::Elf32, Endianness::Little),
    ("i686-linux-gnu", Class::Elf32, Endianness::Little),
    ("powerpc-linux-gnu", Class::Elf32, Endianness::Big),
    ("riscv64-linux-gnu", Class::Elf64, Endianness::Little),
    ("s390x-linux-gnu", Class::Elf64, Endianness::Big),
];

#[test]
fn libraries_of_other_architectures_lose_nothing_that_is_loaded() {
    if !oracle::available() {
        return;
    }
    for &(triple, class, endianness) in ARCHITECTURES {
        let files = files_below(&Path::new("/usr").join(triple).join("lib"));
        let files: Vec<PathBuf> = files.into_iter().filter(|path| is_loadable(path)).collect();
        if files.len() < 10 {
            skip(&format!("glibc for {triple}"));
            continue;
        }
        let strip = format!("{triple}-strip");
        let binutils = Binutils { strip: find(&strip).map(|_| strip.as_str()) };
        let directory = tempfile::tempdir().expect("a directory");
        for_each(&files, |path| {
            let file = ElfFile::read_from(fs_err::File::open(path).expect("readable")).expect("an ELF file");
            assert_eq!((file.class, file.endianness), (class, endianness), "{}", path.display());
            oracle::check(path, directory.path(), binutils);
        });
    }
}

/// Assembly without an instruction, so that every assembler takes it.
const SOURCE: &str = r#"
    .section .text,"ax",%progbits
    .globl _start
    .type _start,%function
_start:
    .long 1, 2, 3, 4
    .size _start, 16
    .section .data,"aw",%progbits
    .globl pointer
    .type pointer,%object
pointer:
    .dc.a _start
    .size pointer, 4
    .section .bss,"aw",%nobits
    .skip 100000
    .section .debug_info,"",%progbits
    .dc.a _start
    .fill 20000, 1, 5
    .section pydata,"",%progbits
    .ascii "data of the program"
    .section .note.tool,"",%note
    .long 4, 4, 1, 0x54534554, 7
    .ident "by hand"
"#;

#[test]
fn programs_for_other_architectures_are_stripped() {
    if !oracle::available() {
        return;
    }
    for triple in ["aarch64-linux-gnu", "powerpc-linux-gnu", "riscv64-linux-gnu", "s390x-linux-gnu"] {
        let tool = |name: &str| format!("{triple}-{name}");
        if find(&tool("ld")).is_none() {
            // Those of two byte orders and widths are enough.
            match triple {
                "aarch64-linux-gnu" | "powerpc-linux-gnu" => skip(&format!("binutils for {triple}")),
                _ => println!("no binutils for {triple}"),
            }
            continue;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs_err::write(at("source.s"), SOURCE).expect("written");
        output(Command::new(tool("as")).arg("-o").args([at("object.o"), at("source.s")]));
        for (name, options) in [
            ("fixed", &[][..]),
            ("pie", &["-pie", "--no-dynamic-linker"]),
            ("library", &["-shared", "-soname", "library.so"]),
            ("relocations", &["-shared", "--emit-relocs"]),
        ] {
            let name = format!("{triple}-{name}");
            output(Command::new(tool("ld")).args(options).arg("-o").args([at(&name), at("object.o")]));
            let stripped = tempfile::tempdir().expect("a directory");
            let strip = tool("strip");
            let outcome = oracle::check(&at(&name), stripped.path(), Binutils { strip: Some(&strip) });
            assert_eq!(outcome.reason, None, "{name}");
            assert!(outcome.theirs.is_some() && outcome.after + 20_000 < outcome.before, "{name}");
            let ours = stripped.path().join(&name);
            let sections = output(Command::new("readelf").arg("-SW").arg(&ours));
            for gone in [".symtab", ".debug_info", ".comment", ".note.tool", ".rela.data"] {
                assert!(!sections.contains(gone), "{name}: {gone} is still there\n{sections}");
            }
            let data = output(Command::new("readelf").args(["-p", "pydata"]).arg(&ours));
            assert!(data.contains("data of the program"), "{name}: {data}");
        }
    }
}
