//! Unified kernel images: an EFI stub with a kernel, an initramfs and a command line in sections of its own.
//!
//! Source: the UAPI group's
//! [Unified Kernel Image specification](https://uapi-group.org/specifications/specs/unified_kernel_image/) (the
//! sections), systemd-stub(7), and the PE format (how sections are laid out). The stub is any EFI program that looks for
//! these sections in itself, as systemd's `linuxx64.efi.stub` does.
//!
//! The stub's own bytes stay as they are but for its headers; the new sections stand behind it, in the file and in
//! memory. Nothing is copied: the image is a [`Content`] that is put together of others.

use std::io;

use super::super::ImageError;
use super::pe::{Headers, SECTION_BYTES, optional};
use crate::arch::Arch;
use crate::tree::Content;

const FORMAT: &str = "a unified kernel image";
/// Stubs have 50 to 200 kB.
const MOST_STUB_BYTES: u64 = 16 << 20;
/// As much of a kernel as its PE headers may take.
const KERNEL_HEAD_BYTES: usize = 64 * 1024;
/// Sections begin at pages, whatever the stub's own alignment is: kernels that are started where they lie need it.
const PAGE: u64 = 4096;
/// `IMAGE_SUBSYSTEM_EFI_APPLICATION`.
const EFI_APPLICATION: u16 = 10;

const CNT_CODE: u32 = 0x0000_0020;
const CNT_INITIALIZED_DATA: u32 = 0x0000_0040;
const MEM_READ: u32 = 0x4000_0000;

/// What an image is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The architecture that stub and kernel must have.
    pub arch: Arch,
    /// The EFI stub.
    pub stub: Content,
    /// The kernel, which must be an EFI program itself: a bzImage, an `Image` or a zboot file with an EFI stub built in.
    pub kernel: Content,
    /// The initramfs, compressed or not.
    pub initramfs: Option<Content>,
    /// The kernel's command line.
    pub command_line: String,
    /// The text of an os-release(5) file, by which boot menus call the image.
    pub os_release: Option<String>,
    /// The kernel's release, as `uname -r` says it.
    pub release: Option<String>,
}

/// Puts the image together.
///
/// # Errors
/// [`ImageError::Settings`] when stub or kernel are no EFI programs or are for another architecture, the stub's headers
/// have no room for more sections, a text has a NUL character in it, or the image would have 4 GiB or more.
/// [`ImageError::Input`] when stub or kernel can't be read.
pub fn build(parts: &Parts) -> Result<Content, ImageError> {
    let stub = parts.stub.read(MOST_STUB_BYTES).map_err(unreadable("the EFI stub"))?;
    let kernel = parts.kernel.read_head(KERNEL_HEAD_BYTES).map_err(unreadable("the kernel"))?;
    let stub_headers = headers(&stub, "the EFI stub", parts.arch)?;
    let kernel_headers = headers(&kernel, "the kernel", parts.arch)?;
    let mut additions = Vec::new();
    for (name, text) in [
        (".osrel", parts.os_release.as_deref()),
        (".cmdline", Some(&*parts.command_line)),
        (".uname", parts.release.as_deref()),
    ] {
        let text = text.unwrap_or_default();
        if text.contains('\0') {
            return Err(wrong(format!("the text of {name} has a NUL character in it")));
        }
        additions.push(Addition::data(name, Content::from_bytes(text.as_bytes())));
    }
    additions
        .push(Addition::data(".initrd", parts.initramfs.clone().unwrap_or_else(|| Content::from_bytes([]))));
    // Nothing can be said by leaving a section out.
    additions.retain(|addition| !addition.content.is_empty());
    additions.push(Addition {
        name: ".linux",
        content: parts.kernel.clone(),
        // A stub may start the kernel where it lies, and then it has its uninitialised data behind it.
        least_virtual_size: u64::from(kernel_headers.size_of_image),
        characteristics: CNT_CODE | MEM_READ,
    });
    extend(&stub, &stub_headers, &additions)
}

/// A section that is added.
struct Addition {
    name: &'static str,
    content: Content,
    least_virtual_size: u64,
    characteristics: u32,
}

impl Addition {
    fn data(name: &'static str, content: Content) -> Self {
        Self { name, content, least_virtual_size: 0, characteristics: CNT_INITIALIZED_DATA | MEM_READ }
    }
}

/// The program with more sections.
fn extend(stub: &[u8], headers: &Headers, additions: &[Addition]) -> Result<Content, ImageError> {
    let table_end = headers.sections_end + additions.len() * SECTION_BYTES;
    let size_of_headers = room(stub, headers, table_end)?;
    let file_alignment = u64::from(headers.file_alignment.max(512));
    let alignment = u64::from(headers.section_alignment).max(PAGE);
    // Signatures are of the stub alone, and stand at the end.
    let kept = headers.certificates.map_or(stub.len(), |offset| (offset as usize).min(stub.len()));
    let own_end = headers.sections.iter().map(|section| section.virtual_end()).max().unwrap_or_default();
    let raw_end = headers.sections.iter().map(|section| {
        if section.raw_size == 0 { 0 } else { u64::from(section.raw_offset) + u64::from(section.raw_size) }
    });
    if raw_end.max().is_some_and(|end| end > kept as u64) {
        return Err(wrong("the EFI stub is cut off: a section of it ends behind the file's end".to_owned()));
    }

    let mut new_headers = stub[..size_of_headers].to_vec();
    let mut position = (kept as u64).next_multiple_of(file_alignment);
    let mut address = own_end.max(u64::from(headers.size_of_image));
    let (mut code, mut data) = (0, 0);
    let mut pieces = vec![zeros(position - kept as u64)];
    let mut table = headers.sections_end;
    for Addition { name, content, least_virtual_size, characteristics } in additions {
        address = address.next_multiple_of(alignment);
        let length = content.len();
        let raw_size = length.checked_next_multiple_of(file_alignment).ok_or_else(too_large)?;
        let virtual_size = length.max(*least_virtual_size);
        put(&mut new_headers, table, name.as_bytes());
        for (index, field) in [virtual_size, address, raw_size, position].into_iter().enumerate() {
            put_u32(&mut new_headers, table + 8 + index * 4, field)?;
        }
        put_u32(&mut new_headers, table + 36, u64::from(*characteristics))?;
        table += SECTION_BYTES;
        pieces.extend([content.clone(), zeros(raw_size - length)]);
        position = position.checked_add(raw_size).ok_or_else(too_large)?;
        address = address.checked_add(virtual_size).ok_or_else(too_large)?;
        *(if characteristics & CNT_CODE != 0 { &mut code } else { &mut data }) += raw_size;
    }
    let size_of_image = address.next_multiple_of(u64::from(headers.section_alignment));
    if u32::try_from(position).is_err() {
        return Err(too_large());
    }

    let number = headers.sections.len() + additions.len();
    put(&mut new_headers, headers.coff + 2, &(number as u16).to_le_bytes());
    let optional = |field: usize| headers.optional + field;
    for (field, more) in [(optional::SIZE_OF_CODE, code), (optional::SIZE_OF_INITIALIZED_DATA, data)] {
        let at = optional(field);
        let now = new_headers[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        put_u32(&mut new_headers, at, u64::from(now) + more)?;
    }
    put_u32(&mut new_headers, optional(optional::SIZE_OF_IMAGE), size_of_image)?;
    put_u32(&mut new_headers, optional(optional::SIZE_OF_HEADERS), size_of_headers as u64)?;
    // Firmware does not look at the sum, and zero says that there is none.
    put_u32(&mut new_headers, optional(optional::CHECK_SUM), 0)?;
    if headers.certificates.is_some() {
        put(&mut new_headers, optional(optional::CERTIFICATES), &[0; 8]);
    }
    let mut all = vec![Content::from_bytes(new_headers), Content::from_bytes(&stub[size_of_headers..kept])];
    all.extend(pieces);
    Content::from_parts(all).ok_or_else(too_large)
}

/// How many bytes the headers take when the section headers end at `table_end`.
fn room(stub: &[u8], headers: &Headers, table_end: usize) -> Result<usize, ImageError> {
    let needed = table_end.max(headers.size_of_headers as usize);
    let needed = needed.next_multiple_of(headers.file_alignment as usize);
    // Headers end where the first section begins, in the file and in memory.
    let in_file = headers.sections.iter().filter(|section| section.raw_size > 0);
    let first = in_file
        .map(|section| section.raw_offset)
        .chain(headers.sections.iter().map(|section| section.virtual_address))
        .chain(headers.certificates)
        .min()
        .map_or(stub.len(), |first| first as usize)
        .min(stub.len());
    if table_end > first {
        return Err(wrong(format!(
            "the EFI stub has no room for more sections: their headers would end at byte {table_end}, and its first \
             section begins at byte {first}"
        )));
    }
    if stub[headers.sections_end..table_end].iter().any(|&byte| byte != 0) {
        return Err(wrong(
            "the EFI stub has no room for more sections: there is something else behind its section headers"
                .to_owned(),
        ));
    }
    Ok(needed.min(first))
}

fn headers(file: &[u8], what: &'static str, arch: Arch) -> Result<Headers, ImageError> {
    let headers =
        Headers::parse(file).map_err(|reason| wrong(format!("{what} is no EFI program: {reason}")))?;
    if headers.subsystem != EFI_APPLICATION {
        return Err(wrong(format!("{what} is no EFI program: its subsystem is {}", headers.subsystem)));
    }
    match headers.arch() {
        Some(own) if own == arch => Ok(headers),
        Some(own) => Err(wrong(format!("{what} is for {own}, and the image is for {arch}"))),
        None => Err(wrong(format!(
            "{what} is for a machine that leanfs doesn't know (0x{:04x}), and the image is for {arch}",
            headers.machine
        ))),
    }
}

fn zeros(count: u64) -> Content {
    // Less than 64 KiB, the largest alignment in a file.
    Content::from_bytes(vec![0; usize::try_from(count).unwrap_or_default()])
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

fn put_u32(bytes: &mut [u8], at: usize, number: u64) -> Result<(), ImageError> {
    put(bytes, at, &u32::try_from(number).map_err(|_| too_large())?.to_le_bytes());
    Ok(())
}

fn too_large() -> ImageError {
    wrong("it would have 4 GiB or more, and a PE file has less".to_owned())
}

fn wrong(reason: String) -> ImageError {
    ImageError::Settings { format: FORMAT, reason }
}

fn unreadable(what: &'static str) -> impl FnOnce(io::Error) -> ImageError {
    move |source| ImageError::Input { what, source }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::pe::sample;
    use super::*;

    fn parts(stub: Vec<u8>) -> Parts {
        Parts {
            arch: Arch::X86_64,
            stub: Content::from_bytes(stub),
            kernel: Content::from_bytes(sample::program(0x200)),
            initramfs: Some(Content::from_bytes(vec![5; 5000])),
            command_line: "console=ttyS0".to_owned(),
            os_release: Some("ID=leanfs\n".to_owned()),
            release: Some("6.12.1".to_owned()),
        }
    }

    fn built(parts: &Parts) -> Vec<u8> {
        build(parts).expect("built").read(1 << 20).expect("small")
    }

    #[test]
    fn sections_stand_behind_the_stub() {
        let stub = sample::program(0x400);
        let image = built(&parts(stub.clone()));
        let headers = Headers::parse(&image).expect("a program");
        let text: Vec<_> = headers
            .sections
            .iter()
            .map(|section| {
                let name = String::from_utf8_lossy(&section.name).trim_end_matches('\0').to_owned();
                (name, section.virtual_address, section.virtual_size, section.raw_offset, section.raw_size)
            })
            .collect();
        let expected = [
            (".text", 0x1000, 0x300, 0x400, 0x400),
            (".osrel", 0x2000, 10, 0x800, 0x200),
            (".cmdline", 0x3000, 13, 0xa00, 0x200),
            (".uname", 0x4000, 6, 0xc00, 0x200),
            (".initrd", 0x5000, 5000, 0xe00, 0x1400),
            (".linux", 0x7000, 0x2000, 0x2200, 0x600),
        ];
        assert_eq!(text, expected.map(|(name, a, b, c, d)| (name.to_owned(), a, b, c, d)));
        assert_eq!((headers.size_of_image, headers.size_of_headers), (0x9000, 0x400));
        assert_eq!(image.len(), 0x2800);
        assert_eq!(image[0x400..0x800], stub[0x400..], "the stub's own code");
        assert_eq!(&image[0xa00..0xa10], b"console=ttyS0\0\0\0");
        assert_eq!(image[0x2200..0x2800], sample::program(0x200)[..]);
        let field = |at: usize| u32::from_le_bytes(*image[0x58 + at..].first_chunk().expect("4 bytes"));
        assert_eq!([4, 8, 64].map(field), [0x400 + 0x600, 0x1400 + 3 * 0x200, 0], "code, data, no sum");
    }

    #[test]
    fn optional_sections_can_be_left_out() {
        let parts =
            Parts { initramfs: None, os_release: None, release: None, ..parts(sample::program(0x400)) };
        let headers = Headers::parse(&built(&parts)).expect("a program");
        assert_eq!(headers.sections.len(), 3);
    }

    #[test]
    fn headers_grow_only_into_what_is_free() {
        // The sample's section headers end at byte 368; five more of 40 bytes end at 568.
        let error = build(&parts(sample::program(0x200))).expect_err("too little room");
        assert!(error.to_string().contains("would end at byte 568"), "{error}");
        let mut small = sample::program(0x400);
        small[0x58 + 60..0x58 + 62].copy_from_slice(&0x200_u16.to_le_bytes());
        let headers = Headers::parse(&built(&parts(small.clone()))).expect("a program");
        assert_eq!(headers.size_of_headers, 0x400, "the room was there, and is named now");
        small[400] = 1;
        let error = build(&parts(small)).expect_err("not free");
        assert!(error.to_string().contains("something else"), "{error}");
    }

    #[test]
    fn signatures_are_taken_off() {
        let mut stub = sample::program(0x400);
        let end = stub.len() as u32;
        stub[0x58 + 144..0x58 + 148].copy_from_slice(&end.to_le_bytes());
        stub[0x58 + 148] = 8;
        stub.extend(b"signed by");
        let image = built(&parts(stub));
        assert!(!image.windows(9).any(|part| part == b"signed by"));
        assert_eq!(Headers::parse(&image).expect("a program").certificates, None);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let good = || sample::program(0x400);
        let with = |change: &dyn Fn(&mut Parts)| {
            let mut parts = parts(good());
            change(&mut parts);
            build(&parts).expect_err("refused").to_string()
        };
        let mut other = good();
        other[0x44..0x46].copy_from_slice(&0xaa64_u16.to_le_bytes());
        let mut unknown = good();
        unknown[0x44..0x46].copy_from_slice(&0x14c_u16.to_le_bytes());
        let mut driver = good();
        driver[0x58 + 68] = 11;
        let content = |bytes: &Vec<u8>| Content::from_bytes(bytes.clone());
        for (error, reason) in [
            (
                with(&|parts| parts.arch = Arch::Aarch64),
                "the EFI stub is for x86_64, and the image is for aarch64",
            ),
            (with(&|parts| parts.kernel = content(&other)), "the kernel is for aarch64"),
            (with(&|parts| parts.kernel = content(&unknown)), "doesn't know (0x014c)"),
            (with(&|parts| parts.kernel = content(&b"\x7fELF".to_vec())), "the kernel is no EFI program"),
            (with(&|parts| parts.stub = content(&driver)), "its subsystem is 11"),
            (with(&|parts| parts.stub = content(&good()[..0x700].to_vec())), "cut off"),
            (with(&|parts| parts.command_line = "a\0b".to_owned()), ".cmdline has a NUL"),
            (with(&|parts| parts.initramfs = Some(Content::from_path("/x", 1 << 32))), "4 GiB or more"),
            (with(&|parts| parts.initramfs = Some(Content::from_path("/x", u64::MAX))), "4 GiB or more"),
            (with(&|parts| parts.kernel = Content::from_path("/nowhere", 9)), "the kernel can't be read"),
        ] {
            assert!(error.contains(reason), "{error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(
            changes in prop::collection::vec((0..0x160_usize, any::<u8>()), 0..6),
            length in 0x100..0x900_usize,
        ) {
            let mut stub = sample::program(0x400);
            for (at, byte) in changes {
                stub[at] = byte;
            }
            stub.truncate(length);
            if let Ok(image) = build(&parts(stub)) {
                let head = image.read_head(1 << 16).expect("readable");
                prop_assert!(Headers::parse(&head).is_ok());
            }
        }
    }
}
