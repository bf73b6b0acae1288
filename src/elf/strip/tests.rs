use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use proptest::prelude::*;

use super::super::{Class, Endianness};
use super::sample::{Pieces, START};
use super::*;

const EVERY: [(Class, Endianness); 4] = [
    (Class::Elf32, Endianness::Little),
    (Class::Elf32, Endianness::Big),
    (Class::Elf64, Endianness::Little),
    (Class::Elf64, Endianness::Big),
];

fn program() -> Pieces {
    Pieces::program(Class::Elf64, Endianness::Little)
}

fn changed(bytes: &[u8]) -> Vec<u8> {
    match strip(bytes).expect("an ELF file") {
        Stripped::Changed(changed) => {
            assert!(changed.len() <= bytes.len());
            assert_eq!(kept(&changed), KeptWhole::NoSmaller, "twice");
            changed
        }
        Stripped::AsItIs(reason) => panic!("it stays as it is: {reason}"),
    }
}

fn kept(bytes: &[u8]) -> KeptWhole {
    match strip(bytes).expect("an ELF file") {
        Stripped::AsItIs(reason) => reason,
        Stripped::Changed(changed) => panic!("{} became {}", bytes.len(), changed.len()),
    }
}

/// The sections of a file, as `object` sees them: name, type, place, references.
fn listing(bytes: &[u8]) -> Vec<String> {
    fn list<Elf: FileHeader<Endian = object::Endianness>>(bytes: &[u8]) -> Vec<String> {
        let header = Elf::parse(bytes).expect("a header");
        let endian = header.endian().expect("an order");
        let sections = header.sections(endian, bytes).expect("sections");
        sections
            .iter()
            .map(|section| {
                let name = sections.section_name(endian, section).expect("a name");
                let kind = section.sh_type(endian);
                if section.file_range(endian).is_some() {
                    section.data(endian, bytes).expect("data in the file");
                }
                format!(
                    "{} {kind} {:#x}+{} link {} info {}",
                    String::from_utf8_lossy(name),
                    section.sh_offset(endian).into(),
                    section.sh_size(endian).into(),
                    section.sh_link(endian),
                    section.sh_info(endian)
                )
            })
            .collect()
    }
    match bytes[4] {
        elf::ELFCLASS32 => list::<elf::FileHeader32<object::Endianness>>(bytes),
        _ => list::<elf::FileHeader64<object::Endianness>>(bytes),
    }
}

fn names(bytes: &[u8]) -> Vec<String> {
    listing(bytes).iter().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
}

/// The header without what it tells of section headers, which is all of it that may change.
fn header_but_sections(bytes: &[u8]) -> Vec<u8> {
    let mut header = bytes[..START].to_vec();
    for field in if bytes[4] == elf::ELFCLASS32 { [0x20..0x24, 0x30..0x34] } else { [0x28..0x30, 0x3c..0x40] }
    {
        header[field].fill(0);
    }
    header
}

#[test]
fn what_no_loader_reads_goes_in_every_class_and_byte_order() {
    for (class, endianness) in EVERY {
        let bytes = Pieces::program(class, endianness).bytes();
        let stripped = changed(&bytes);
        assert_eq!(
            listing(&stripped),
            [
                " 0 0x0+0 link 0 info 0",
                ".note.gnu.build-id 7 0x200+36 link 0 info 0",
                ".dynsym 11 0x224+48 link 3 info 0",
                ".dynstr 3 0x254+6 link 0 info 0",
                ".rela.plt 4 0x25c+24 link 2 info 6",
                ".text 1 0x274+100 link 0 info 0",
                ".got.plt 1 0x800+32 link 0 info 0",
                ".data 1 0x820+60 link 0 info 0",
                ".bss 8 0x85c+1048576 link 0 info 0",
                ".shstrtab 3 0x85c+82 link 0 info 0",
            ]
        );
        assert_eq!(header_but_sections(&stripped), header_but_sections(&bytes));
        assert_eq!(stripped[START..0x85c], bytes[START..0x85c], "what is loaded stays");
        let (word, entry) = if class == Class::Elf32 { (4, 40) } else { (8, 64) };
        assert_eq!(stripped.len(), (0x85c_usize + 82).next_multiple_of(word) + 10 * entry);
    }
}

#[test]
fn bytes_that_nobody_tells_of_are_zeroed_between_segments_only() {
    let mut pieces = program();
    // In the gap of the segments: what a linker left, and a section for tools.
    let bytes = pieces.bytes();
    let (code_end, data) = (0x274 + 100, 0x800);
    let mut dirty = bytes.clone();
    dirty[code_end..data].fill(0xcc);
    // A segment's own padding stays.
    dirty[0x25a] = 0xaa;
    let stripped = changed(&dirty);
    assert!(stripped[code_end..data].iter().all(|&byte| byte == 0));
    assert_eq!(stripped[0x25a], 0xaa);
    assert_eq!(stripped.len(), changed(&bytes).len());
    // What is stripped already but for that is as long afterwards.
    let mut dirty = changed(&bytes);
    dirty[code_end] = 1;
    assert_eq!(changed(&dirty), changed(&bytes));
    // A section of the image there is not padding, and neither is anybody's data.
    for flags in [elf::SHF_ALLOC, 0] {
        pieces.sections.truncate(13);
        pieces.section("gapdata", elf::SHT_PROGBITS, flags, &[9; 16]).offset = code_end + 8;
        let stripped = changed(&pieces.bytes());
        let line = listing(&stripped).into_iter().find(|line| line.starts_with("gapdata")).expect("it stays");
        let offset = line.split(['x', '+']).nth(1).and_then(|text| usize::from_str_radix(text, 16).ok());
        let offset = offset.expect("an offset");
        assert_eq!(stripped[offset..offset + 16], [9; 16]);
        assert_eq!(offset == code_end + 8, flags == elf::SHF_ALLOC, "{line}");
    }
}

#[test]
fn sections_of_the_image_keep_their_numbers() {
    let mut pieces = program();
    // The debugging information of a linker that puts it first.
    let debug = pieces.sections.remove(9);
    pieces.sections.insert(0, debug);
    for (section, link) in [(".dynsym", 4), (".rela.plt", 3)] {
        pieces.sections.iter_mut().find(|piece| piece.name == section).expect("there").link = link;
    }
    let stripped = changed(&pieces.bytes());
    assert_eq!(names(&stripped)[..4], ["", "", ".note.gnu.build-id", ".dynsym"]);
    assert_eq!(listing(&stripped)[1], " 0 0x0+0 link 0 info 0");
    assert_eq!(listing(&stripped)[3], ".dynsym 11 0x224+48 link 4 info 0");
}

#[test]
fn references_to_what_is_gone_are_none() {
    let mut pieces = program();
    // As in static programs, whose relocations refer to the symbols that go.
    let plt = &mut pieces.sections[3];
    (plt.link, plt.info) = (12, 10);
    let text = &mut pieces.sections[4];
    text.flags |= elf::SHF_GROUP;
    text.link = 500;
    let stripped = changed(&pieces.bytes());
    assert_eq!(listing(&stripped)[4], ".rela.plt 4 0x25c+24 link 0 info 0");
    assert_eq!(listing(&stripped)[5], ".text 1 0x274+100 link 0 info 0");
    let header = elf::FileHeader64::<object::Endianness>::parse(&*stripped).expect("a header");
    let sections = header.section_headers(object::Endianness::Little, &*stripped).expect("sections");
    let flags = |index: usize| sections[index].sh_flags(object::Endianness::Little);
    assert_eq!(flags(4), u64::from(elf::SHF_ALLOC), "no SHF_INFO_LINK");
    assert_eq!(flags(5), u64::from(elf::SHF_ALLOC | elf::SHF_EXECINSTR), "no SHF_GROUP");
}

#[test]
fn data_of_the_program_moves_up() {
    for (class, endianness) in EVERY {
        let mut pieces = Pieces::program(class, endianness);
        pieces.section("pydata", elf::SHT_PROGBITS, 0, &[0xab; 1000]).alignment = 16;
        pieces.section(".strtab2", elf::SHT_STRTAB, 0, &[0xab; 1000]);
        pieces.section("more", elf::SHT_LOUSER + 1, 0, b"more").link = 14;
        pieces.last().alignment = u64::from(u32::MAX);
        pieces.section("empty", elf::SHT_PROGBITS, 0, b"");
        let stripped = changed(&pieces.bytes());
        assert_eq!(
            listing(&stripped)[9..12],
            [
                "pydata 1 0x860+1000 link 0 info 0",
                "more 2147483649 0xc48+4 link 9 info 0",
                "empty 1 0xc4c+0 link 0 info 0",
            ]
        );
        assert_eq!(stripped[0x860..0x860 + 1000], [0xab; 1000]);
        assert_eq!(&stripped[0xc48..0xc4c], b"more");
    }
}

#[test]
fn what_a_program_header_covers_stays_whatever_it_is() {
    let mut pieces = program();
    // As `.riscv.attributes` is, and a symbol table that a strange linker covered.
    let attributes = pieces.section(".riscv.attributes", 0x7000_0003, 0, &[1; 40]);
    let range = attributes.offset..attributes.offset + 40;
    pieces.segment(0x7000_0003, range.start, range.end);
    let symbols = &pieces.sections[11];
    let symbols = symbols.offset..symbols.offset + symbols.bytes.len();
    pieces.segment(elf::PT_NOTE, symbols.start, symbols.end);
    let bytes = pieces.bytes();
    let stripped = changed(&bytes);
    for (index, range) in [(4, range), (5, symbols)] {
        let offset = segments(&stripped)[index].1 as usize;
        assert_eq!(stripped[offset..offset + range.len()], bytes[range]);
    }
    assert_eq!(names(&stripped)[14], ".riscv.attributes", "it keeps its number");
    assert!(names(&stripped)[9..14].iter().all(String::is_empty), "the others are gone");
}

/// What the program headers tell: type, offset, address and size.
fn segments(bytes: &[u8]) -> Vec<(u32, u64, u64, u64)> {
    fn list<Elf: FileHeader<Endian = object::Endianness>>(bytes: &[u8]) -> Vec<(u32, u64, u64, u64)> {
        let header = Elf::parse(bytes).expect("a header");
        let endian = header.endian().expect("an order");
        let segments = header.program_headers(endian, bytes).expect("program headers");
        let fields = segments.iter().map(|segment| {
            let (offset, size) = segment.file_range(endian);
            (segment.p_type(endian), offset, segment.p_vaddr(endian).into(), size)
        });
        fields.collect()
    }
    match bytes[4] {
        elf::ELFCLASS32 => list::<elf::FileHeader32<object::Endianness>>(bytes),
        _ => list::<elf::FileHeader64<object::Endianness>>(bytes),
    }
}

/// A program to which `patchelf` gave a new segment, with the dynamic segment in it.
fn patched(class: Class, endianness: Endianness) -> Pieces {
    let mut pieces = Pieces::program(class, endianness);
    pieces.cursor = 0x4000;
    pieces.section(".dynamic", elf::SHT_DYNAMIC, elf::SHF_ALLOC, &[0xdd; 64]);
    pieces.section(".dynstr2", elf::SHT_STRTAB, elf::SHF_ALLOC, &[0xee; 1024]);
    pieces.segment(elf::PT_LOAD, 0x4000, 0x4440);
    pieces.segment(elf::PT_DYNAMIC, 0x4000, 0x4040);
    pieces
}

#[test]
fn holes_between_segments_close_by_whole_pages() {
    for (class, endianness) in EVERY {
        let mut pieces = patched(class, endianness);
        let bytes = pieces.bytes();
        let stripped = changed(&bytes);
        // The segment before ends at 0x85c: what was at 0x4000 can be at 0x1000 and no earlier.
        let (before, after) = (segments(&bytes), segments(&stripped));
        assert_eq!(after[..4], before[..4]);
        assert_eq!(after[4], (elf::PT_LOAD, 0x1000, 0x4000, 0x440));
        assert_eq!(after[5], (elf::PT_DYNAMIC, 0x1000, 0x4000, 64));
        assert_eq!(stripped[0x1000..0x1440], bytes[0x4000..0x4440]);
        assert_eq!(stripped[START..0x85c], bytes[START..0x85c]);
        assert!(stripped[0x85c..0x1000].iter().all(|&byte| byte == 0));
        let listing = listing(&stripped);
        assert_eq!(listing[8], ".bss 8 0x85c+1048576 link 0 info 0");
        assert_eq!(listing[14], ".dynamic 6 0x1000+64 link 0 info 0");
        assert_eq!(listing[15], ".dynstr2 3 0x1040+1024 link 0 info 0");
        // A larger alignment of what follows holds, one of what precedes does not matter.
        for (segment, alignment, offset) in
            [(4, 0x2000_u32, 0x2000), (4, 0x4000, 0x4000), (4, 3, 0x4000), (0, 0x4000, 0x1000)]
        {
            let mut bytes = bytes.clone();
            let field = match class {
                Class::Elf32 => 52 + 32 * segment + 28,
                Class::Elf64 => 64 + 56 * segment + if endianness == Endianness::Big { 52 } else { 48 },
            };
            let value =
                if endianness == Endianness::Big { alignment.to_be_bytes() } else { alignment.to_le_bytes() };
            bytes[field..field + 4].copy_from_slice(&value);
            assert_eq!(segments(&changed(&bytes))[4].1, offset, "{alignment:#x} of {segment}");
        }
        // What stays in the middle of the hole leaves two smaller ones.
        pieces.sections[9].flags = elf::SHF_ALLOC;
        assert_eq!(segments(&changed(&pieces.bytes()))[4].1, 0x2000);
    }
}

#[test]
fn what_precedes_the_program_headers_does_not_close() {
    // They stand at the end of the new segment.
    let mut bytes = patched(Class::Elf64, Endianness::Little).bytes();
    let table = 64..64 + 6 * 56;
    let headers = bytes[table.clone()].to_vec();
    bytes[0x4000..0x4000 + headers.len()].copy_from_slice(&headers);
    bytes[table].fill(0);
    bytes[0x20..0x28].copy_from_slice(&0x4000_u64.to_le_bytes());
    let stripped = changed(&bytes);
    assert_eq!(segments(&stripped), segments(&bytes));
    assert!(stripped.len() < bytes.len(), "the section header table is smaller");
}

#[test]
fn a_section_header_table_that_is_loaded_is_replaced() {
    // As Go's linker writes it: behind the program headers, in the first segment.
    let mut pieces = program();
    pieces.table = false;
    let mut bytes = pieces.bytes();
    pieces.table = true;
    let with_table = pieces.bytes();
    let table = with_table.len() - 15 * 64;
    let moved = bytes.len();
    bytes.extend_from_slice(&with_table[table..]);
    bytes.extend_from_slice(&with_table[moved..table]);
    bytes[..64].copy_from_slice(&with_table[..64]);
    bytes[0x28..0x30].copy_from_slice(&(moved as u64).to_le_bytes());
    // The offset of the names.
    let own = moved + 14 * 64 + 24;
    bytes[own..own + 8].copy_from_slice(&((moved + 15 * 64) as u64).to_le_bytes());
    assert_eq!(names(&bytes), names(&with_table));
    assert_eq!(changed(&bytes), changed(&with_table));
}

#[test]
fn payloads_stay() {
    let mut pieces = program();
    let length = pieces.bytes().len() as u64;
    pieces.payload = b"\0\0PK\x03\x04 and so on".to_vec();
    let reason = kept(&pieces.bytes());
    assert_eq!(reason, KeptWhole::Payload { offset: length + 2, size: 14 });
    assert_eq!(
        reason.to_string(),
        format!(
            "14 bytes at offset {} are in no section and no segment: the program may look for them there",
            length + 2
        )
    );
    // Zeros are no data.
    pieces.payload = vec![0; 4096];
    assert_eq!(changed(&pieces.bytes()), changed(&program().bytes()));
    // Between the sections, too.
    let mut pieces = program();
    pieces.sections[9].size = 1000;
    assert!(matches!(kept(&pieces.bytes()), KeptWhole::Payload { size: 3000, .. }));
    // Without section headers nobody knows what is behind the segments, or between them.
    let mut bare = program();
    bare.table = false;
    assert_eq!(
        kept(&bare.bytes()),
        KeptWhole::Payload { offset: 0x85c, size: bare.bytes().len() as u64 - 0x85c }
    );
    let mut bare = bare.bytes()[..0x85c].to_vec();
    assert_eq!(kept(&bare), KeptWhole::NoSmaller);
    bare[0x700] = 1;
    assert_eq!(kept(&bare), KeptWhole::Payload { offset: 0x700, size: 0x100 });
    bare[0x700] = 0;
    bare.resize(0x1000, 0);
    assert_eq!(changed(&bare).len(), 0x85c);
}

#[test]
fn what_is_never_stripped() {
    for (kind, words) in [
        (elf::ET_REL, "an object file or kernel module is never stripped"),
        (elf::ET_CORE, "the dump of a process is never stripped"),
        (0xfe10, "an ELF file of type 0xfe10 is never stripped"),
    ] {
        let reason = kept(&Pieces { kind, ..program() }.bytes());
        assert!(matches!(reason, KeptWhole::Kind(_)));
        assert_eq!(reason.to_string(), words);
    }
    changed(&Pieces { kind: elf::ET_EXEC, ..program() }.bytes());
}

#[test]
fn files_of_debugging_information_stay() {
    // As `objcopy --only-keep-debug` makes them, or `eu-strip -f`, which leaves the sizes of the segments.
    let mut pieces = program();
    for piece in &mut pieces.sections[..8] {
        if piece.kind != elf::SHT_NOTE {
            piece.kind = elf::SHT_NOBITS;
        }
    }
    assert_eq!(kept(&pieces.bytes()), KeptWhole::NothingLoaded);
    pieces.segments[1] = (elf::PT_LOAD, 1 << 20, 1 << 20);
    assert_eq!(kept(&pieces.bytes()), KeptWhole::NothingLoaded);
    pieces.segments.clear();
    assert_eq!(kept(&pieces.bytes()), KeptWhole::NothingLoaded);
}

#[test]
fn headers_of_nothing_say_nothing() {
    let mut pieces = program();
    for piece in &mut pieces.sections[..7] {
        piece.kind = elf::SHT_NULL;
    }
    // All that is left of the image is `.bss`.
    assert_eq!(kept(&pieces.bytes()), KeptWhole::NothingLoaded);
    // The reserved header is none, whatever it says.
    let mut bytes = program().bytes();
    let reserved = bytes.len() - 15 * 64;
    bytes[reserved + 4] = elf::SHT_PROGBITS as u8;
    bytes[reserved + 8] = elf::SHF_ALLOC as u8;
    assert_eq!(changed(&bytes), changed(&program().bytes()));
}

#[test]
fn empty_sections_stay_within_the_file() {
    let mut pieces = program();
    pieces.section(".init_array", elf::SHT_INIT_ARRAY, elf::SHF_ALLOC, b"");
    let stripped = changed(&pieces.bytes());
    assert_eq!(listing(&stripped)[14], ".init_array 14 0x85c+0 link 0 info 0");
    pieces.last().offset = 0;
    let mut bytes = pieces.bytes();
    let offset = bytes.len() - 2 * 64 + 24;
    bytes[offset..offset + 8].fill(0xff);
    assert_eq!(changed(&bytes), stripped, "wherever it was");
}

#[test]
fn more_sections_than_the_header_can_count() {
    const MANY: usize = 0xff00;
    for (class, endianness) in EVERY {
        let mut pieces = Pieces::program(class, endianness);
        for _ in 0..MANY {
            pieces.section(".debug_types", elf::SHT_PROGBITS, 0, b"");
        }
        assert_eq!(changed(&pieces.bytes()), changed(&Pieces::program(class, endianness).bytes()));
        // Those that stay are as many.
        for piece in &mut pieces.sections[13..] {
            piece.flags = elf::SHF_ALLOC;
        }
        let stripped = changed(&pieces.bytes());
        let listing = listing(&stripped);
        assert_eq!(listing.len(), MANY + 15);
        assert!(listing[MANY + 13].starts_with(".debug_types 1 "));
        assert!(listing[MANY + 14].starts_with(".shstrtab 3 "));
    }
}

#[test]
fn many_program_headers_are_counted_in_the_reserved_section() {
    let bytes = program().bytes();
    let table = bytes.len() - 15 * 64;
    let mut many = bytes.clone();
    many[0x38..0x3a].copy_from_slice(&elf::PN_XNUM.to_le_bytes());
    many[table + 44..table + 48].copy_from_slice(&4_u32.to_le_bytes());
    let stripped = changed(&many);
    assert_eq!(stripped.len(), changed(&bytes).len());
    let header = elf::FileHeader64::<object::Endianness>::parse(&*stripped).expect("a header");
    assert_eq!(header.program_headers(object::Endianness::Little, &*stripped).expect("headers").len(), 4);
}

#[test]
fn sections_need_no_names() {
    let bytes = program().bytes();
    let mut nameless = bytes.clone();
    nameless[0x3e..0x40].fill(0);
    // What is not known by its type is the program's.
    let stripped = changed(&nameless);
    assert_eq!(names(&stripped).len(), 12);
    assert!(names(&stripped)[..11].iter().all(String::is_empty));
}

#[test]
fn damage_is_told() {
    /// The offset of a field of a section header of `program()`.
    fn field(bytes: &[u8], section: usize, at: usize) -> usize {
        bytes.len() - (15 - section) * 64 + at
    }
    type Change = fn(&mut Vec<u8>);
    let damages: [(Change, &str); 9] = [
        (|bytes| bytes[0x3a] = 40, "the section headers should have 64 bytes each, but have 40"),
        (|bytes| bytes[0x3e] = 200, "the names of sections should be section 200, but there are 15 sections"),
        (|bytes| bytes[0x2f] = 0x80, "the section headers should stand at offset 92233720368547"),
        (|bytes| bytes.truncate(bytes.len() - 1), "the section headers should stand at offset"),
        (|bytes| bytes[0x3d] = 0xfe, "the section headers should stand at offset"),
        (
            |bytes| bytes[0x3c..0x3e].fill(0),
            "the reserved section should be section 0, but there are 0 sections",
        ),
        (
            |bytes| {
                let at = field(bytes, 10, 32);
                bytes[at..at + 8].fill(0xff);
            },
            "a section should stand at offset 2148 with 18446744073709551615 bytes",
        ),
        (
            |bytes| {
                let at = field(bytes, 14, 24);
                bytes[at..at + 8].fill(0xff);
            },
            "the names of sections should stand at offset 18446744073709551615",
        ),
        (
            |bytes| {
                let at = field(bytes, 3, 0);
                bytes[at..at + 4].fill(0xff);
            },
            "the name of a section at position 4294967295 of the strings has no end within 0 bytes",
        ),
    ];
    for (change, expected) in damages {
        let mut bytes = program().bytes();
        change(&mut bytes);
        let reason = kept(&bytes).to_string();
        assert!(reason.starts_with(&format!("its section headers are damaged: {expected}")), "{reason}");
    }
    let mut pieces = program();
    pieces.segments[1].2 = 1 << 40;
    assert_eq!(
        kept(&pieces.bytes()).to_string(),
        "program header 1 tells of 1099511627776 bytes at offset 2048, but the file ends before that"
    );
    let errors: [(Change, &str); 5] = [
        (|bytes| bytes[0] = 0, "it is no ELF file"),
        (|bytes| bytes.truncate(20), "the ELF header should stand at offset 0 with 64 bytes"),
        (|bytes| bytes[5] = 3, "the ELF identification at offset 4 is 02030100"),
        (|bytes| bytes[0x36] = 1, "the program headers should have 56 bytes each, but have 1"),
        (|bytes| bytes[0x27] = 1, "the program headers should stand at offset 7205759403792"),
    ];
    for (change, expected) in errors {
        let mut bytes = program().bytes();
        change(&mut bytes);
        let error = strip(&bytes).expect_err(expected).to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn program_headers_within_the_header_are_left_alone() {
    let mut bytes = program().bytes();
    let headers = bytes[64..64 + 4 * 56].to_vec();
    bytes[56..56 + headers.len()].copy_from_slice(&headers);
    bytes[0x20] = 56;
    // The last fields of the header, which are the type and the flags of the first program header now: four program
    // headers of 56 bytes, fifteen section headers of 64, the last of which has the names.
    bytes[0x36..0x40].copy_from_slice(&[56, 0, 4, 0, 64, 0, 15, 0, 14, 0]);
    assert_eq!(kept(&bytes), KeptWhole::HeadersOverlap);
    assert_eq!(kept(&bytes).to_string(), "its program headers overlap the ELF header");
}

/// What must hold of every result.
fn check(bytes: &[u8]) {
    let Ok(Stripped::Changed(changed)) = strip(bytes) else { return };
    assert!(changed.len() <= bytes.len());
    assert_eq!(strip(&changed), Ok(Stripped::AsItIs(KeptWhole::NoSmaller)));
}

#[test]
fn a_file_that_is_cut_anywhere_is_no_danger() {
    for (class, endianness) in EVERY {
        let bytes = patched(class, endianness).bytes();
        (0..bytes.len()).for_each(|length| check(&bytes[..length]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_are_no_danger(
        which in 0..EVERY.len(),
        // Most of what can go wrong is in the headers.
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..8),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let (class, endianness) = EVERY[which];
        let mut pieces = patched(class, endianness);
        pieces.section("pydata", elf::SHT_PROGBITS, 0, &[0xab; 100]);
        let mut bytes = pieces.bytes();
        let length = bytes.len();
        let table = length - 18 * if class == Class::Elf32 { 40 } else { 64 };
        for (at, value, place) in changes {
            let at = match place {
                0 => at.index(length),
                1 => at.index(START),
                _ => table + at.index(length - table),
            };
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(length));
        }
        check(&bytes);
    }
}
