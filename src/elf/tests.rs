use object::elf;
use proptest::prelude::*;

use super::sample::Sample;
use super::*;

fn rich() -> Sample {
    let mut sample = Sample::program(Sample::GLIBC)
        .needs(&["libz.so.1", "libc.so.6"])
        .string(elf::DT_SONAME, "me.so")
        .rpath("/opt/lib")
        .runpath("$ORIGIN/../lib:/x")
        .needs_versions("libc.so.6", &["GLIBC_2.34", "GLIBC_2.2.5?"])
        .needs_versions("libz.so.1", &["ZLIB_1.2.2"])
        .defines(&["ME_1", "ME_2"]);
    sample.flags_1 = elf::DF_1_PIE | elf::DF_1_NODEFLIB;
    sample
}

#[test]
fn everything_is_read_in_every_class_and_byte_order() {
    for class in [Class::Elf32, Class::Elf64] {
        for endianness in [Endianness::Little, Endianness::Big] {
            let file = ElfFile::parse(&Sample { class, endianness, ..rich() }.bytes()).expect("a good file");
            let need = |name: &str, weak| VersionNeed { name: name.to_owned(), weak };
            let expected = ElfFile {
                class,
                endianness,
                os_abi: 0,
                machine: Machine(elf::EM_X86_64),
                kind: Kind::Dynamic,
                interpreter: Some(Sample::GLIBC.to_owned()),
                dynamic: true,
                soname: Some("me.so".to_owned()),
                needed: vec!["libz.so.1".to_owned(), "libc.so.6".to_owned()],
                rpath: Some("/opt/lib".to_owned()),
                runpath: Some("$ORIGIN/../lib:/x".to_owned()),
                no_default_directories: true,
                pie: true,
                version_needs: vec![
                    VersionNeeds {
                        library: "libc.so.6".to_owned(),
                        versions: vec![need("GLIBC_2.34", false), need("GLIBC_2.2.5", true)],
                    },
                    VersionNeeds {
                        library: "libz.so.1".to_owned(),
                        versions: vec![need("ZLIB_1.2.2", false)],
                    },
                ],
                version_definitions: vec!["ME_1".to_owned(), "ME_2".to_owned()],
            };
            assert_eq!(file, expected);
            assert_eq!(
                ElfFile::read_from(std::io::Cursor::new(Sample { class, endianness, ..rich() }.bytes()))
                    .expect("a good file"),
                expected
            );
        }
    }
}

#[test]
fn bytes_at_any_address_are_read() {
    // A slice need not be aligned as the structures in it are.
    let bytes = [&[0][..], &rich().bytes()].concat();
    ElfFile::parse(&bytes[1..]).expect("a good file");
}

#[test]
fn kinds_of_files() {
    let parse = |sample: Sample| ElfFile::parse(&sample.bytes()).expect("a good file");
    let program = parse(Sample::program(Sample::MUSL));
    assert!(program.is_program() && program.is_loadable() && !program.is_static());
    let library = parse(Sample::library("libz.so.1"));
    assert!(!library.is_program() && library.is_loadable());
    let fixed = parse(Sample { kind: elf::ET_EXEC, ..Sample::library("") });
    assert!(fixed.is_static());
    let static_pie = parse(Sample { flags_1: elf::DF_1_PIE, ..Sample::library("") });
    assert!(static_pie.is_static());
    let object = parse(Sample::object());
    assert!(!object.is_loadable() && !object.is_program());
}

#[test]
fn the_libc_of_a_file() {
    for (sample, libc) in [
        (Sample::program(Sample::MUSL), Libc::Musl),
        // The interpreter says it, whatever the names are.
        (Sample::program(Sample::MUSL).needs(&["libc.so.6"]), Libc::Musl),
        (Sample::program(Sample::GLIBC), Libc::Glibc),
        (Sample::library("libz.so.1").needs(&["libc.musl-x86_64.so.1"]), Libc::Musl),
        (Sample::library("").needs(&["libc.so"]), Libc::Musl),
        (Sample::library("").needs(&["libz.so.1", "libm.so.6"]), Libc::Glibc),
        (Sample::library("").needs(&["libz.so.1"]).needs_versions("libz.so.1", &["GLIBC_2.4"]), Libc::Glibc),
        (Sample::library("libc.so.6"), Libc::Glibc),
        (Sample::library("libc.musl-x86_64.so.1"), Libc::Musl),
        (Sample::library("libicudata.so.74"), Libc::None),
        (Sample::library("").needs(&["libstdc++.so.6"]).defines(&["GLIBCXX_3.4"]), Libc::None),
    ] {
        assert_eq!(ElfFile::parse(&sample.bytes()).expect("a good file").libc(), libc, "{sample:?}");
    }
}

/// Puts `value` (in the file's width) where the dynamic entry of `tag` has its own.
fn set(bytes: &mut [u8], tag: u32, value: u64) {
    let entry = (0..bytes.len() - 16)
        .step_by(8)
        .rev()
        .find(|&at| bytes[at..at + 8] == u64::from(tag).to_le_bytes())
        .expect("the entry is there");
    bytes[entry + 8..entry + 16].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn hostile_files_are_told_what_is_wrong() {
    type Change = fn(&mut Vec<u8>);
    let cases: [(Change, &str); 14] = [
        (|bytes| bytes.clear(), "it is no ELF file"),
        (|bytes| bytes[0] = b'x', "it is no ELF file"),
        (|bytes| bytes.truncate(10), "the ELF identification should stand at offset 0"),
        (|bytes| bytes.truncate(40), "the ELF header should stand at offset 0 with 64 bytes"),
        (|bytes| bytes[4] = 9, "the ELF identification at offset 4 is 09010100"),
        (|bytes| bytes[5] = 7, "the ELF identification at offset 4 is 02070100"),
        (|bytes| bytes[32..40].fill(0xff), "the program headers should stand at offset 18446744073709551615"),
        (|bytes| set(bytes, elf::DT_STRTAB, 1 << 40), "the string table is at address 0x10000000000, where"),
        (|bytes| set(bytes, elf::DT_STRSZ, 1 << 40), "there are more than 268435456 of bytes in the string"),
        (|bytes| set(bytes, elf::DT_STRSZ, 1 << 20), "the string table should stand at offset"),
        (|bytes| set(bytes, elf::DT_SONAME, u64::MAX), "DT_SONAME at position 18446744073709551615 of the"),
        (|bytes| set(bytes, elf::DT_VERNEED, u64::MAX), "a needed version is at address 0xffffffffffffffff"),
        (|bytes| set(bytes, elf::DT_VERDEF, 1 << 30), "a version definition is at address 0x40000000"),
        (
            |bytes| {
                let at = bytes.windows(5).position(|text| text == b"me.so").expect("the soname");
                bytes[at] = 0x1b;
            },
            "DT_SONAME is no text: \\x1be.so",
        ),
    ];
    for (change, expected) in cases {
        let mut bytes = rich().bytes();
        change(&mut bytes);
        let error = ElfFile::parse(&bytes).expect_err(expected).to_string();
        assert!(error.starts_with(expected), "{error}\nexpected: {expected}");
        let from_reader = ElfFile::read_from(std::io::Cursor::new(bytes)).expect_err(expected).to_string();
        assert_eq!(from_reader, error);
    }
}

#[test]
fn versions_that_go_round_end() {
    let sample = Sample::library("x").needs_versions("l", &["V"]).needs_versions("m", &["W"]);
    let mut bytes = sample.bytes();
    set(&mut bytes, elf::DT_VERNEEDNUM, u64::MAX);
    ElfFile::parse(&bytes).expect("the last record says that it is the last");
    // Every record says that the next begins four bytes on, in its own middle.
    let many = Sample { rest: [4, 0, 0, 0].repeat(100_000), ..sample };
    let mut bytes = many.bytes();
    let at = bytes.len() - many.rest.len();
    set(&mut bytes, elf::DT_VERNEED, at as u64);
    set(&mut bytes, elf::DT_VERNEEDNUM, u64::MAX);
    assert_eq!(ElfFile::parse(&bytes), Err(ElfError::TooMany { what: "version records", limit: 1 << 15 }));
}

#[test]
fn failures_to_read_are_kept() {
    struct Broken(std::io::Cursor<Vec<u8>>);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.position() > 16 {
                return Err(std::io::Error::other("the disk is on fire"));
            }
            self.0.read(buffer)
        }
    }
    impl Seek for Broken {
        fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }
    let error = ElfFile::read_from(Broken(std::io::Cursor::new(rich().bytes()))).expect_err("it fails");
    assert!(matches!(&error, ReadError::Io(_)), "{error}");
    assert_eq!(error.to_string(), "the disk is on fire");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_never_panic(
        wide in any::<bool>(),
        big in any::<bool>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let class = if wide { Class::Elf64 } else { Class::Elf32 };
        let endianness = if big { Endianness::Big } else { Endianness::Little };
        let mut bytes = Sample { class, endianness, ..rich() }.bytes();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let whole = ElfFile::parse(&bytes);
        let parts = ElfFile::read_from(std::io::Cursor::new(&bytes));
        match (whole, parts) {
            (Ok(whole), Ok(parts)) => prop_assert_eq!(whole, parts),
            (Err(whole), Err(parts)) => prop_assert_eq!(whole.to_string(), parts.to_string()),
            (whole, parts) => prop_assert!(false, "{whole:?} and {parts:?}"),
        }
    }

    #[test]
    fn whatever_follows_the_magic_never_panics(tail in proptest::collection::vec(any::<u8>(), 0..512)) {
        let bytes = [&ElfFile::MAGIC[..], &[2, 1, 1, 0], &tail].concat();
        let _ = ElfFile::parse(&bytes);
        let bytes = [&ElfFile::MAGIC[..], &tail].concat();
        let _ = ElfFile::parse(&bytes);
        let _ = system_directories(&tail);
    }
}
