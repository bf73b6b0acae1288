//! ELF files.

use std::io::Cursor;
use std::ops::Range;

use leanfs::elf::{ElfFile, KeptWhole, ReadError, Stripped, glibc_version, strip, system_directories};
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};

/// Reading: of a whole file and of its parts, with one result.
pub fn elf_read(bytes: &[u8]) {
    let whole = ElfFile::parse(bytes);
    let parts = ElfFile::read_from(Cursor::new(bytes));
    match (&whole, parts) {
        (Ok(whole), Ok(parts)) => assert_eq!(*whole, parts),
        (Err(whole), Err(ReadError::Elf(parts))) => assert_eq!(*whole, parts),
        (whole, parts) => panic!("{whole:?} and {parts:?}"),
    }
    if let Ok(file) = whole {
        let _ = (file.libc(), glibc_version(&file), file.is_static());
    }
    let _ = system_directories(bytes);
}

/// Stripping: what comes out is no larger, can't be stripped again, and has everything that was loaded.
pub fn elf_strip(bytes: &[u8]) {
    let Ok(Stripped::Changed(changed)) = strip(bytes) else { return };
    assert!(changed.len() <= bytes.len());
    assert_eq!(strip(&changed), Ok(Stripped::AsItIs(KeptWhole::NoSmaller)));
    match bytes[4] {
        elf::ELFCLASS32 => same_segments::<elf::FileHeader32<object::Endianness>>(bytes, &changed),
        _ => same_segments::<elf::FileHeader64<object::Endianness>>(bytes, &changed),
    }
}

fn same_segments<Elf: FileHeader<Endian = object::Endianness>>(before: &[u8], after: &[u8]) {
    let segments = |bytes| {
        let header = Elf::parse(bytes).expect("a header");
        let endian = header.endian().expect("a byte order");
        let segments = header.program_headers(endian, bytes).expect("program headers");
        let start: u64 = header.e_phoff(endian).into();
        (endian, segments, start as usize..start as usize + size_of_val(segments))
    };
    let ((endian, old, table), (_, new, new_table)) = (segments(before), segments(after));
    assert_eq!((old.len(), &table), (new.len(), &new_table));
    // What a header tells of places in the file may change.
    let hidden: [Range<usize>; 2] = [0..size_of::<Elf>(), table];
    for (old, new) in old.iter().zip(new) {
        assert_eq!(old.p_type(endian), new.p_type(endian));
        assert_eq!(old.p_vaddr(endian).into(), new.p_vaddr(endian).into());
        let ((old_start, size), (new_start, new_size)) = (old.file_range(endian), new.file_range(endian));
        assert_eq!(size, new_size);
        if size == 0 || old.p_type(endian) == elf::PT_NULL {
            continue;
        }
        let alignment: u64 = old.p_align(endian).into();
        assert!(new_start <= old_start && (old_start - new_start).is_multiple_of(alignment.max(1)));
        let of = |bytes: &'_ [u8], start: u64| bytes[start as usize..(start + size) as usize].to_vec();
        let (mut old_bytes, mut new_bytes) = (of(before, old_start), of(after, new_start));
        // Headers never move.
        for hidden in &hidden {
            for (bytes, start) in [(&mut old_bytes, old_start), (&mut new_bytes, new_start)] {
                let (start, end) = (start as usize, (start + size) as usize);
                let common = hidden.start.clamp(start, end)..hidden.end.clamp(start, end);
                bytes[common.start - start..common.end - start].fill(0);
            }
        }
        assert!(old_bytes == new_bytes, "loaded bytes changed");
    }
}
