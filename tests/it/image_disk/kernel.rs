//! What is taken out of a kernel, compared with what the usual tools take out of it.

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use leanfs::arch::Arch;
use leanfs::archive;
use leanfs::kernel;
use leanfs::tree::{Content, Origin, SpoolWriter};

use super::{bytes_of, program};
use crate::end_to_end::bench::{shared, succeed, text};

/// The kernel of Alpine's `linux-virt`.
pub(super) fn linux_virt() -> Option<kernel::Kernel> {
    let repository = shared()?.join("mirror/v3.23/main/x86_64");
    let package: PathBuf = fs_err::read_dir(repository)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("linux-virt-")))
        .expect("the mirror has it");
    let spool = SpoolWriter::new_in(&std::env::temp_dir()).expect("a spool");
    let tar = archive::open(&package).expect("an .apk");
    let tree = archive::read_whole_tar(tar, spool, &Origin::skeleton()).expect("a package");
    Some(kernel::from_package(&tree, Arch::X86_64, &[]).expect("a kernel package"))
}

/// As the kernel's `scripts/extract-vmlinux` does it: from each place on where a compressor's magic stands, its tool tries,
/// and what begins as an ELF file does is the kernel.
fn extract_vmlinux(kernel: &[u8]) -> Option<Vec<u8>> {
    for (magic, tool) in [
        (b"\x1f\x8b\x08".as_slice(), "gzip"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x02\x21\x4c\x18", "lz4"),
        (b"\x5d\0\0\0", "xz"),
    ] {
        let places = kernel.windows(magic.len()).enumerate().filter(|(_, window)| *window == magic);
        for (place, _) in places.take(20) {
            let mut child = program(tool)?
                .args(["-d", "-c"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("started");
            let mut input = child.stdin.take().expect("piped");
            let rest = kernel[place..].to_vec();
            // A tool that has seen enough closes its end; what stands behind the stream is an error to it.
            let feeder = std::thread::spawn(move || drop(input.write_all(&rest)));
            let output = child.wait_with_output().expect("waited").stdout;
            feeder.join().expect("no panic");
            if output.starts_with(b"\x7fELF") {
                return Some(output);
            }
        }
    }
    None
}

#[test]
fn vmlinux_is_what_extract_vmlinux_finds() {
    let Some(kernel) = linux_virt() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("vmlinux");
    let mut file = fs_err::File::create(&path).expect("made");
    let size = kernel::unpack(&kernel.image, "vmlinuz-virt", Arch::X86_64, &mut file).expect("unpacked");
    assert_eq!(file.metadata().expect("there").len(), size);
    let Some(expected) = extract_vmlinux(&kernel.image.read(1 << 30).expect("readable")) else { return };
    assert!(bytes_of(&path) == expected);
    let Some(mut readelf) = program("readelf") else { return };
    let said = text(&succeed(readelf.args(["-W", "-h", "-l"]).arg(&path)));
    for part in ["Class:                             ELF64", "Advanced Micro Devices X86-64", "LOAD"] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert!(!said.contains("Error") && !said.contains("Warning"), "{said}");
}

/// The compressors that the package's kernel does not use, with their own tools.
#[test]
fn payloads_of_the_real_tools() {
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf[18] = 62;
    elf.extend(super::noise(1, 300_000));
    elf.extend(b"some text ".repeat(100_000));
    let directory = tempfile::tempdir().expect("a directory");
    fs_err::write(directory.path().join("elf"), &elf).expect("written");
    // As scripts/Makefile.lib calls them.
    for (tool, arguments) in [
        ("gzip", ["-n", "-9", "-c"].as_slice()),
        ("xz", &["--check=crc32", "--x86", "--lzma2=dict=32MiB", "-c"]),
        ("xz", &["--format=lzma", "-9", "-c"]),
        ("zstd", &["-22", "--ultra", "-c"]),
        ("lz4", &["-l", "-9", "-c"]),
    ] {
        let Some(mut command) = program(tool) else { return };
        command.args(arguments).current_dir(directory.path());
        let mut payload = succeed(
            command.stdin(fs_err::File::open(directory.path().join("elf")).expect("there").into_file()),
        )
        .stdout;
        if tool != "gzip" {
            payload.extend((elf.len() as u32).to_le_bytes());
        }
        let mut image = vec![0; 1024];
        image[0x1f1] = 1;
        image[0x202..0x208].copy_from_slice(b"HdrS\x0f\x02");
        image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend(payload);
        let mut output = Vec::new();
        kernel::unpack(&Content::from_bytes(image), "kernel", Arch::X86_64, &mut output).unwrap_or_else(
            |error| panic!("{tool} {arguments:?}: {error}: {:?}", std::error::Error::source(&error)),
        );
        assert!(output == elf, "{tool} {arguments:?}");
    }
}
