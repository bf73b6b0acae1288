//! Disks, their file systems and what starts from them, as other programs see them.

mod boot;
mod kernel;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use leanfs::arch::Arch;
use leanfs::image::disk::qcow2::{self, ClusterCompression};
use leanfs::image::disk::{self, Guid, Partition, fat, gpt, uki};
use leanfs::image::target::Target;
use leanfs::tree::{Content, Metadata, Node, Origin, Tree, ValidTree};

use crate::end_to_end::bench::{missing, succeed, text};

/// Debian's stub, of the package systemd-boot-efi.
const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// A program, wherever Debian has put it; a visible skip without it, and a failure in CI.
fn program(name: &str) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let found = directories.map(|directory| directory.join(name)).find(|path| path.is_file());
    match found {
        Some(path) => Some(Command::new(path)),
        None => missing(name),
    }
}

fn stub() -> Option<Content> {
    match fs_err::metadata(STUB) {
        Ok(metadata) => Some(Content::from_path(STUB, metadata.len())),
        Err(_) => missing("the Debian package systemd-boot-efi"),
    }
}

fn add(tree: &mut Tree, name: &str, bytes: Vec<u8>) {
    let metadata = Metadata { mtime: 1_700_000_000, ..Metadata::FILE };
    let node = Node::file(Content::from_bytes(bytes), metadata, Origin::skeleton());
    tree.insert_with_parents(name.parse().expect("a good path"), node);
}

/// Bytes that no compressor makes smaller, others for each seed.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

fn guid(last: u8) -> Guid {
    let mut bytes = *b"\xa0\xa1\xa2\xa3\xa4\xa5\x46\xa7\xa8\xa9\xaa\xab\xac\xad\xae\xaf";
    bytes[15] = last;
    Guid::from_bytes(bytes)
}

fn bytes_of(path: &Path) -> Vec<u8> {
    fs_err::read(path).expect("readable")
}

/// Names that need long entries and names that don't, directories in directories, and files of every odd size.
fn many_files() -> ValidTree {
    let mut tree = Tree::new();
    for (number, name) in [
        "EFI/BOOT/BOOTX64.EFI",
        "EFI/Linux/leanfs-1.2.3.efi",
        "loader/loader.conf",
        "loader/entries/a rather long name with spaces.conf",
        "Grüße/日本語.txt",
        "𝄞 beyond the basic plane",
        "twenty-six characters long",
        "one.two.three.four",
        ".hidden",
        "UPPER",
        "lower",
        "MiXeD.tXt",
    ]
    .into_iter()
    .enumerate()
    {
        add(&mut tree, name, noise(number as u64, 3000 * number + number));
    }
    let name = "x".repeat(255);
    add(&mut tree, &name, b"the longest name".to_vec());
    add(&mut tree, "empty", vec![]);
    add(&mut tree, "zeros", [vec![0; 200_000], vec![1]].concat());
    for number in 0..300 {
        add(&mut tree, &format!("many/file number {number}"), number.to_string().into_bytes());
    }
    let directory = Node::directory(Metadata::DIRECTORY, Origin::skeleton());
    tree.insert("nothing in it".parse().expect("a good path"), directory);
    tree.validate().expect("valid")
}

#[test]
fn fat_as_dosfstools_and_mtools_read_it() {
    let (Some(_), Some(_), Some(_)) = (program("fsck.fat"), program("mcopy"), program("minfo")) else {
        return;
    };
    let tree = many_files();
    let mib = |number: u64| Some(number << 20);
    for (size, expected) in [
        (None, "FAT16   "),
        (mib(31), "FAT16   "),
        (mib(33), "FAT32   "),
        (mib(100), "FAT32   "),
        (mib(300), "FAT32   "),
        (Some((40 << 20) + 4096 + 512), "FAT32   "),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let image = directory.path().join("fat");
        let file = File::create_new(&image).expect("made");
        let settings = fat::Settings {
            size,
            volume_id: 0x1234_abcd,
            label: "LEAN ESP".to_owned(),
            ..fat::Settings::default()
        };
        let length = fat::write(&tree, &settings, Target::new(&file)).expect("written");
        assert_eq!(size.unwrap_or(length), length);
        assert_eq!(file.metadata().expect("there").len(), length);

        let output = succeed(program("fsck.fat").expect("looked for").arg("-vn").arg(&image));
        let said = text(&output);
        assert!(said.contains(" files, ") && !said.contains("differ") && !said.contains("rror"), "{said}");
        let said = text(&succeed(program("minfo").expect("looked for").arg("-i").arg(&image).arg("::")));
        for part in [
            "serial number: 1234ABCD".to_owned(),
            "disk label=\"LEAN ESP   \"".to_owned(),
            format!("disk type=\"{expected}\""),
        ] {
            assert!(said.contains(&part), "{part:?} in {said}");
        }
        let out = directory.path().join("out");
        fs_err::create_dir(&out).expect("made");
        let mut mcopy = program("mcopy").expect("looked for");
        // Locales decide what mtools makes of names.
        mcopy.env("LC_ALL", "C.UTF-8").args(["-s", "-m", "-Q", "-i"]).arg(&image).arg("::*").arg(&out);
        succeed(&mut mcopy);
        for (path, node) in tree.iter().filter(|(path, _)| !path.is_root()) {
            let name = std::str::from_utf8(path.as_bytes()).expect("UTF-8");
            // mtools knows no characters beyond the basic plane.
            if name.starts_with('𝄞') {
                continue;
            }
            match &node.kind {
                leanfs::tree::NodeKind::File(content) => {
                    assert!(
                        bytes_of(&out.join(name)) == content.read(1 << 20).expect("readable"),
                        "{name} of {size:?}"
                    );
                    let modified =
                        fs_err::metadata(out.join(name)).expect("there").modified().expect("known");
                    let seconds = modified.duration_since(std::time::UNIX_EPOCH).expect("later").as_secs();
                    assert_eq!(seconds, 1_700_000_000, "{name}");
                }
                _ => assert!(out.join(name).is_dir(), "{name}"),
            }
        }
    }
}

#[test]
fn tables_as_sfdisk_reads_them() {
    let Some(mut sfdisk) = program("sfdisk") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let image = directory.path().join("disk.raw");
    let file = File::create_new(&image).expect("made");
    let esp = disk::esp_tree(Arch::Riscv64, Content::from_bytes(*b"MZ"), 1_700_000_000);
    let esp = esp.validate().expect("valid");
    let data = |text: &'static str, length: u64| {
        move |target: Target<'_>| {
            target.write_at(0, text.as_bytes()).map_err(leanfs::image::ImageError::Write)?;
            Ok(length)
        }
    };
    let partitions = vec![
        Partition::esp(guid(1), &esp, fat::Settings::default()),
        Partition::root(Arch::Aarch64, guid(2), data("the root", 5_000_000)),
        Partition { size: Some(8 << 20), ..Partition::data(guid(3), "Dätä 𝄞", data("the data", 1)) },
        Partition { kind: gpt::kinds::VAR, ..Partition::data(guid(4), "var", data("", 0)) },
    ];
    let settings = disk::Settings { disk_guid: guid(0), size: Some(64 << 20) };
    let layout = disk::write(partitions, &settings, Target::new(&file)).expect("written");
    assert_eq!(layout.length, 64 << 20);

    let said = text(&succeed(sfdisk.arg("--verify").arg(&image)));
    assert!(said.contains("No errors detected."), "{said}");
    let output = succeed(program("sfdisk").expect("looked for").arg("--json").arg(&image));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let table = &value["partitiontable"];
    assert_eq!(table["label"], "gpt");
    assert_eq!(table["id"], "A0A1A2A3-A4A5-46A7-A8A9-AAABACADAE00");
    assert_eq!((table["firstlba"].as_u64(), table["lastlba"].as_u64()), (Some(34), Some(131_072 - 34)));
    let found: Vec<String> = table["partitions"]
        .as_array()
        .expect("an array")
        .iter()
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap_or("-").to_owned();
            let number = |key: &str| entry[key].as_u64().expect("a number");
            format!(
                "{}+{} {} {} {} {}",
                number("start"),
                number("size"),
                text("type"),
                text("uuid"),
                text("name"),
                text("attrs")
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            "2048+6144 C12A7328-F81F-11D2-BA4B-00A0C93EC93B A0A1A2A3-A4A5-46A7-A8A9-AAABACADAE01 ESP -",
            "8192+10240 B921B045-1DF0-41C3-AF44-4C6F280D3FAE A0A1A2A3-A4A5-46A7-A8A9-AAABACADAE02 root GUID:60",
            "18432+16384 0FC63DAF-8483-4772-8E79-3D69D8477DE4 A0A1A2A3-A4A5-46A7-A8A9-AAABACADAE03 Dätä 𝄞 -",
            "34816+2048 4D21B016-B534-45C2-A9FB-5C16E091FD2D A0A1A2A3-A4A5-46A7-A8A9-AAABACADAE04 var -",
        ]
    );
    let at = |position: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, position).expect("read");
        bytes
    };
    assert_eq!(at(layout.partitions[1].0), *b"the root");
    assert_eq!(at(layout.partitions[2].0), *b"the data");

    // The backup is as good as the first table: without that, sfdisk reads the same from it.
    let first = output.stdout;
    file.write_all_at(&[0; 512], 512).expect("written");
    let output = succeed(program("sfdisk").expect("looked for").arg("--json").arg(&image));
    assert_eq!(output.stdout, first);

    let Some(mut mdir) = program("mdir") else { return };
    let place = format!("{}@@{}", image.display(), layout.partitions[0].0);
    let said = text(&succeed(mdir.args(["-i", &place, "-b", "-/", "::"])));
    assert!(said.contains("::/EFI/BOOT/BOOTRISCV64.EFI"), "{said}");
}

#[test]
fn sections_as_binutils_read_them() {
    let (Some(stub), Some(_), Some(_)) = (stub(), program("objdump"), program("objcopy")) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    // Another EFI program stands for the kernel: the boot loader of the same package.
    let loader = bytes_of(Path::new("/usr/lib/systemd/boot/efi/systemd-bootx64.efi"));
    let initramfs = noise(1, 1_234_567);
    let content = uki::build(&uki::Parts {
        arch: Arch::X86_64,
        stub,
        kernel: Content::from_bytes(loader.clone()),
        initramfs: Some(Content::from_bytes(initramfs.clone())),
        command_line: "console=ttyS0 quiet".to_owned(),
        os_release: Some("ID=leanfs\nVERSION_ID=1\n".to_owned()),
        release: Some("6.12.1-lean".to_owned()),
    })
    .expect("an image");
    fs_err::write(path("uki.efi"), content.read(1 << 24).expect("readable")).expect("written");

    let sections = |file: &Path| -> Vec<(String, u64, u64, u64)> {
        let output = succeed(program("objdump").expect("looked for").arg("-h").arg(file));
        let said = text(&output);
        assert!(said.contains("file format pei-x86-64"), "{said}");
        let number = |word: &str| u64::from_str_radix(word, 16).expect("a number");
        said.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| words.len() == 7 && words[0].parse::<u32>().is_ok())
            .map(|words| (words[1].to_owned(), number(words[2]), number(words[3]), number(words[5])))
            .collect()
    };
    let (own, all) = (sections(Path::new(STUB)), sections(&path("uki.efi")));
    assert_eq!(all[..own.len()], own, "the stub's own sections stay where they are");
    let names: Vec<&str> = all[own.len()..].iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, [".osrel", ".cmdline", ".uname", ".initrd", ".linux"]);
    let mut end = own.iter().map(|(_, size, address, _)| size + address).max().expect("some");
    for (name, size, address, offset) in &all[own.len()..] {
        assert!(*address >= end && address % 4096 == 0 && offset % 512 == 0, "{name}");
        end = address + size;
    }
    let dump = |name: &str| {
        let mut objcopy = program("objcopy").expect("looked for");
        objcopy.arg(format!("--dump-section={name}={}", path("section").display()));
        succeed(objcopy.arg(path("uki.efi")).arg(path("copy.efi")));
        bytes_of(&path("section"))
    };
    let mut section = dump(".linux");
    let loader_size = loader.len();
    assert!(section.split_off(loader_size).iter().all(|&byte| byte == 0));
    assert!(section == loader);
    assert!(dump(".initrd") == initramfs);
    assert_eq!(dump(".cmdline"), b"console=ttyS0 quiet");
    assert_eq!(dump(".osrel"), b"ID=leanfs\nVERSION_ID=1\n");
    assert_eq!(dump(".uname"), b"6.12.1-lean");
    for (name, ..) in &own {
        succeed(
            program("objcopy")
                .expect("looked for")
                .arg(format!("--dump-section={name}={}", path("section").display()))
                .arg(STUB)
                .arg(path("copy.efi")),
        );
        let before = bytes_of(&path("section"));
        assert!(dump(name) == before, "{name}");
    }
}

#[test]
fn qcow2_as_qemu_reads_it() {
    let Some(_) = program("qemu-img") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let raw = File::create_new(path("raw")).expect("made");
    let size = (1 << 30) + 512 * 7;
    raw.set_len(size).expect("sized");
    for (position, bytes) in [
        (0, noise(1, 3 << 20)),
        (10 << 20, vec![7; 5_000_000]),
        (20 << 20, b"line of text\n".repeat(100_000)),
        // Of both kinds, cluster by cluster.
        (
            30 << 20,
            (0..64).flat_map(|n| if n % 2 == 0 { noise(n, 65_536) } else { vec![9; 65_536] }).collect(),
        ),
        (600 << 20, noise(2, 100_000)),
        (size - 512, vec![1; 512]),
    ] {
        raw.write_all_at(&bytes, position).expect("written");
    }
    let raw = Arc::new(raw);
    let small = File::create_new(path("small")).expect("made");
    small.set_len(512).expect("sized");
    small.write_all_at(b"x", 100).expect("written");
    let small = Arc::new(small);
    let empty = Arc::new(File::create_new(path("empty")).expect("made"));
    for (name, source, size) in [("raw", &raw, size), ("small", &small, 512), ("empty", &empty, 0)] {
        for (compression, kind) in [
            (ClusterCompression::None, "zlib"),
            (ClusterCompression::Zlib { level: Some(1) }, "zlib"),
            (ClusterCompression::Zlib { level: Some(9) }, "zlib"),
            (ClusterCompression::Zstd { level: None }, "zstd"),
        ] {
            let made = path("made.qcow2");
            let file = File::create(&made).expect("made");
            let settings = qcow2::Settings { compression, threads: 2 };
            let content = Content::from_range(Arc::clone(source), 0, size);
            qcow2::write(&content, &settings, Target::new(&file)).expect("written");
            let qemu_img = |arguments: &[&str]| {
                let mut command = program("qemu-img").expect("looked for");
                succeed(command.current_dir(directory.path()).args(arguments))
            };
            let said = text(&qemu_img(&["check", "-f", "qcow2", "made.qcow2"]));
            assert!(said.contains("No errors were found"), "{said}");
            qemu_img(&["compare", "-f", "raw", "-F", "qcow2", name, "made.qcow2"]);
            let info = qemu_img(&["info", "--output=json", "made.qcow2"]);
            let info: serde_json::Value = serde_json::from_slice(&info.stdout).expect("JSON");
            assert_eq!(info["format"], "qcow2");
            assert_eq!(info["virtual-size"], size);
            assert_eq!(info["cluster-size"], 65_536);
            let specific = &info["format-specific"]["data"];
            assert_eq!(specific["compat"], "1.1");
            assert_eq!(specific["compression-type"], kind);
            assert_eq!((&specific["corrupt"], &specific["lazy-refcounts"]), (&false.into(), &false.into()));
            // QEMU writes into it, too.
            if size >= 1 << 30 {
                let mut qemu_io = program("qemu-io").expect("of the same package");
                qemu_io.current_dir(directory.path()).args(["-c", "write -P 5 1M 20M", "made.qcow2"]);
                succeed(&mut qemu_io);
                let said = text(&qemu_img(&["check", "-f", "qcow2", "made.qcow2"]));
                assert!(said.contains("No errors were found"), "{said}");
            }
        }
    }
}

#[test]
fn the_same_disk_has_the_same_bytes() {
    let tree = many_files();
    let make = |threads| {
        let file = tempfile::tempfile().expect("a file");
        let partitions = vec![Partition::esp(guid(1), &tree, fat::Settings::default())];
        let settings = disk::Settings { disk_guid: guid(0), size: None };
        let layout = disk::write(partitions, &settings, Target::new(&file)).expect("written");
        let raw = Content::from_range(Arc::new(file), 0, layout.length);
        let file = tempfile::tempfile().expect("a file");
        let settings = qcow2::Settings { compression: ClusterCompression::Zstd { level: Some(1) }, threads };
        let length = qcow2::write(&raw, &settings, Target::new(&file)).expect("written");
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, 0).expect("read");
        (raw.read(1 << 30).expect("readable"), bytes)
    };
    assert!(make(1) == make(3));
}
