//! ext4 against those who know it best: `e2fsck` on every image, `dumpe2fs` and `debugfs` for what is in it, `resize2fs`
//! to enlarge it, and the kernel, which mounts and changes it.

mod random;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use leanfs::image::ImageError;
use leanfs::image::ext4::{self, Growth, Journal, Settings, Size};
use leanfs::image::target::Target;
use leanfs::tree::{Content, Metadata, Node, NodeKind, Origin, Tree, ValidTree};

use crate::end_to_end::bench::{full, succeed, text};
use crate::images::disk::Scratch;
use crate::images::guest::{Drive, in_kernel};
use crate::images::lines::assert_same;
use crate::images::torture::{self, Part};
use crate::images::{expected, path, tool};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const BLOCK: u64 = 4096;

fn settings() -> Settings {
    Settings {
        label: "leanfs test".to_owned(),
        uuid: *b"\x01\x23\x45\x67\x89\xab\xcd\xef\x10\x32\x54\x76\x98\xba\xdc\xfe",
        hash_seed: *b"a seed of hashes",
        created: 1_700_000_000,
        ..Settings::default()
    }
}

fn of_size(size: Size, journal: Journal) -> Settings {
    Settings { size, journal, ..settings() }
}

/// An image in a temporary directory.
struct Image {
    scratch: Scratch,
    length: u64,
}

impl Image {
    fn try_new(tree: &ValidTree, settings: &Settings) -> Result<Self, ImageError> {
        let scratch = Scratch::new();
        let file = File::create(scratch.join("image")).expect("room");
        let length = ext4::write(tree, settings, Target::new(&file))?;
        assert_eq!(file.metadata().expect("there").len(), length);
        Ok(Self { scratch, length })
    }

    /// An image that `e2fsck` finds nothing wrong with.
    fn new(tree: &ValidTree, settings: &Settings) -> Self {
        let image = Self::try_new(tree, settings).unwrap_or_else(|error| panic!("{settings:?}: {error}"));
        check(&image.path());
        image
    }

    fn path(&self) -> PathBuf {
        self.scratch.join("image")
    }

    fn bytes(&self) -> Vec<u8> {
        fs_err::read(self.path()).expect("it was written")
    }

    /// Bytes that the image takes of the disk.
    fn on_disk(&self) -> u64 {
        fs_err::metadata(self.path()).expect("there").blocks() * 512
    }

    /// What `debugfs` says to some requests, without the echo of these.
    fn debugfs(&self, requests: &str) -> Option<String> {
        let file = self.scratch.join("requests");
        fs_err::write(&file, requests).expect("room");
        let mut command = Command::new(tool("debugfs")?);
        command.env("TZ", "UTC").arg("-f").arg(file).arg(self.path());
        let output = succeed(&mut command);
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        Some(
            lines
                .lines()
                .filter(|line| !line.starts_with("debugfs"))
                .fold(String::new(), |all, line| all + line + "\n"),
        )
    }

    /// What `dumpe2fs -h` says.
    fn header(&self) -> Option<Header> {
        let output = succeed(Command::new(tool("dumpe2fs")?).env("TZ", "UTC").arg("-h").arg(self.path()));
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let fields = lines.lines().filter_map(|line| line.split_once(':'));
        Some(Header(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()))
    }
}

struct Header(BTreeMap<String, String>);

impl Header {
    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> u64 {
        self.get(name).parse().unwrap_or_else(|_| panic!("{name}: {:?}", self.0))
    }
}

#[track_caller]
fn check(image: &Path) {
    let Some(e2fsck) = tool("e2fsck") else { return };
    let output = Command::new(e2fsck).arg("-fn").arg(image).output().expect("it starts");
    assert!(output.status.success(), "{}", text(&output));
    let clean = [": Checking ", "/", "e2fsck 1."];
    for line in text(&output).lines() {
        assert!(clean.iter().any(|part| line.contains(part)), "{}", text(&output));
    }
}

fn node(kind: NodeKind) -> Node {
    Node::new(kind, Metadata { mtime: 1_650_000_000, ..Metadata::FILE }, Origin::skeleton())
}

fn file(bytes: impl Into<Vec<u8>>) -> Node {
    node(NodeKind::File(Content::from_bytes(bytes.into())))
}

fn tree_of(nodes: impl IntoIterator<Item = (String, Node)>) -> ValidTree {
    let mut tree = Tree::new();
    for (name, node) in nodes {
        tree.insert_with_parents(path(&name), node);
    }
    tree.validate().expect("valid")
}

fn empty() -> ValidTree {
    Tree::new().validate().expect("valid")
}

/// `count` blocks that differ from each other and from zeros.
fn blocks(count: u64) -> Vec<u8> {
    let mut bytes = vec![0xb1; usize::try_from(count * BLOCK).expect("memory")];
    for (number, block) in (0_u64..).zip(bytes.as_chunks_mut::<4096>().0) {
        block[8..16].copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

/// A file of `length` bytes that holds one byte at each of the places and nothing between them.
fn sparse(length: u64, places: impl IntoIterator<Item = u64>) -> Node {
    let file = tempfile::tempfile().expect("room");
    file.set_len(length).expect("room");
    for place in places {
        file.write_all_at(b"x", place).expect("room");
    }
    node(NodeKind::File(Content::from_range(Arc::new(file), 0, length)))
}

/// The torture tree but for what has more attributes than an inode and a block have room for.
fn tortured() -> ValidTree {
    torture::tree(torture::Size::wanted(), &Part::all_but(&[Part::HugeXattrs]))
}

#[test]
fn the_kernel_sees_what_the_tree_holds() {
    let tree = tortured();
    let fit = Image::new(&tree, &settings());
    let large = Image::new(&tree, &of_size(Size::Exact(2 * GIB), Journal::Default));
    // The guest fills it up.
    let parts = [Part::Sizes, Part::Symlinks, Part::UserXattrs, Part::Hardlinks, Part::ManyFiles];
    let small = torture::tree(torture::Size::Sampled, &parts);
    let changed = Image::new(&small, &of_size(Size::Free(40 * MIB), Journal::Bytes(4 * MIB)));
    let data = Image::new(&empty(), &of_size(Size::Exact(64 * MIB), Journal::Default));
    let [fit_path, large_path, changed_path, data_path] = [&fit, &large, &changed, &data].map(Image::path);
    let drives = [
        Drive::new(&fit_path, "ext4"),
        Drive::new(&large_path, "ext4"),
        Drive { change: true, ..Drive::new(&changed_path, "ext4") },
        Drive { change: true, ..Drive::new(&data_path, "ext4") },
    ];
    let Some(seen) = in_kernel(&drives) else { return };
    for seen in &seen {
        // A busy host's clock is not the file system's.
        let complaints = seen.complaints.iter().filter(|line| !line.starts_with("kernel clocksource: "));
        assert_eq!(complaints.collect::<Vec<_>>(), [""; 0]);
    }
    let expected = expected(&tree);
    assert_same("as large as what it holds", &expected, &seen[0].listing);
    assert_same("larger", &expected, &seen[1].listing);
    assert!(seen[2].listing.contains("/changed/moved/link"));
    assert!(seen[3].listing.contains("/changed/moved/link"));
    check(&changed_path);
    check(&data_path);
}

#[test]
fn what_has_no_place_is_refused_before_anything_is_written() {
    let huge = torture::tree(torture::Size::Sampled, &[Part::HugeXattrs]);
    let with_xattr = |name: &[u8]| {
        let mut node = file(*b"x");
        node.xattrs.insert(name.to_vec(), b"value".to_vec());
        tree_of([("refused".to_owned(), node)])
    };
    let at = |mtime| {
        let mut node = file(*b"x");
        node.metadata.mtime = mtime;
        tree_of([("refused".to_owned(), node)])
    };
    let links = (0..65_000).map(|number| (format!("{number}"), node(NodeKind::Hardlink(path("refused")))));
    let long = Content::from_range(Arc::new(tempfile::tempfile().expect("room")), 0, 1 << 44);
    let one = |node| tree_of([("refused".to_owned(), node)]);
    for (tree, place) in [
        (huge, "/huge-xattrs/many"),
        (with_xattr(b"system.other"), "/refused"),
        (with_xattr(b"system.posix_acl_access"), "/refused"),
        (at(-0x8000_0001), "/refused"),
        (at(0x3_8000_0000), "/refused"),
        (at(i64::MIN), "/refused"),
        (tree_of(links.chain([("refused".to_owned(), file(*b"x"))])), "/refused"),
        (one(node(NodeKind::File(long))), "/refused"),
        (one(node(NodeKind::Symlink(vec![b'x'; 4096]))), "/refused"),
        (one(node(NodeKind::Symlink(vec![]))), "/refused"),
        (one(node(NodeKind::CharDevice { major: 4096, minor: 0 })), "/refused"),
        (tree_of([("lost+found".to_owned(), file(*b"x"))]), "/lost+found"),
    ] {
        let target = tempfile::tempfile().expect("room");
        match ext4::write(&tree, &settings(), Target::new(&target)) {
            Err(ImageError::CannotHold { path, .. }) => assert_eq!(path.to_string(), place),
            other => panic!("{place}: {other:?}"),
        }
        assert_eq!(target.metadata().expect("there").len(), 0);
    }
    let of = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        settings
    };
    for settings in [
        of(&|settings| settings.label = "seventeen letters".to_owned()),
        of(&|settings| settings.label = "nul\0".to_owned()),
        of(&|settings| settings.reserved_percent = 51),
        of(&|settings| settings.created = -1),
        of(&|settings| settings.journal = Journal::Bytes(4 * MIB - BLOCK)),
        of(&|settings| settings.journal = Journal::Bytes(u64::MAX)),
        of(&|settings| settings.size = Size::Exact(u64::MAX)),
        of(&|settings| settings.size = Size::Free(u64::MAX)),
    ] {
        let result = Image::try_new(&empty(), &settings);
        assert!(matches!(result, Err(ImageError::Settings { .. })), "{settings:?}");
    }
}

#[test]
fn the_header_says_what_was_asked_for() {
    let image = Image::new(
        &empty(),
        &Settings { reserved_percent: 5, ..of_size(Size::Exact(GIB + 5), Journal::Default) },
    );
    assert_eq!(image.length, GIB + 5);
    let Some(header) = image.header() else { return };
    for (name, value) in [
        ("Filesystem volume name", "leanfs test"),
        ("Filesystem UUID", "01234567-89ab-cdef-1032-547698badcfe"),
        ("Directory Hash Seed", "61207365-6564-206f-6620-686173686573"),
        ("Filesystem created", "Tue Nov 14 22:13:20 2023"),
        ("Default directory hash", "half_md4"),
        ("Inode size", "256"),
        ("Inode count", "65536"),
        ("Block count", "262144"),
        ("Reserved block count", "13107"),
        ("Total journal size", "32M"),
        ("Checksum type", "crc32c"),
        ("Filesystem state", "clean"),
    ] {
        assert_eq!(header.get(name), value, "{name}");
    }
    let features: Vec<&str> = header.get("Filesystem features").split(' ').collect();
    for feature in [
        "has_journal",
        "ext_attr",
        "resize_inode",
        "dir_index",
        "filetype",
        "extent",
        "64bit",
        "flex_bg",
        "sparse_super",
        "large_file",
        "huge_file",
        "dir_nlink",
        "extra_isize",
        "metadata_csum",
    ] {
        assert!(features.contains(&feature), "{feature}");
    }
    let bare =
        Image::new(&empty(), &Settings { growth: Growth::None, ..of_size(Size::Exact(GIB), Journal::None) });
    let features = bare.header().expect("it was there").get("Filesystem features").to_owned();
    assert!(!features.contains("has_journal") && !features.contains("resize_inode"), "{features}");
    assert_eq!(bare.header().expect("it was there").get("Reserved block count"), "0");
}

#[test]
fn debugfs_reads_what_the_tree_holds() {
    let mut early = file(blocks(3));
    early.metadata = Metadata { mode: 0o4711, uid: 70_000, gid: 0x8000_0001, mtime: -86_400 };
    early.xattrs.insert(b"user.short".to_vec(), b"value".to_vec());
    let mut late = file(*b"late");
    late.metadata.mtime = 0x1_0000_0000;
    late.xattrs.insert(b"user.long".to_vec(), vec![b'l'; 2000]);
    late.xattrs.insert(
        b"security.capability".to_vec(),
        vec![1, 0, 0, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    let image = Image::new(
        &tree_of([
            ("early".to_owned(), early),
            ("another name".to_owned(), node(NodeKind::Hardlink(path("early")))),
            ("late".to_owned(), late),
            ("new".to_owned(), node(NodeKind::BlockDevice { major: 259, minor: 70_000 })),
            ("old".to_owned(), node(NodeKind::CharDevice { major: 5, minor: 1 })),
            ("link".to_owned(), node(NodeKind::Symlink(b"early".to_vec()))),
            ("empty".to_owned(), file(*b"")),
        ]),
        &settings(),
    );
    let dumped = image.scratch.join("dumped");
    let mut requests = String::new();
    for name in ["early", "late", "new", "old", "link", "empty"] {
        writeln!(requests, "stat /{name}\nea_list /{name}").expect("memory");
    }
    let value = image.scratch.join("value");
    writeln!(requests, "dump /early {}", dumped.display()).expect("memory");
    writeln!(requests, "ea_get -f {} /late user.long", value.display()).expect("memory");
    let Some(said) = image.debugfs(&requests) else { return };
    for part in [
        "Mode:  04711",
        "User: 70000   Group: -2147483647",
        "Size: 12288",
        "Links: 2",
        "mtime: 0xfffeae80:00000000 -- Wed Dec 31 00:00:00 1969",
        "mtime: 0x00000000:00000001 -- Sun Feb  7 06:28:16 2106",
        "user.short (5) = \"value\"",
        "user.long (2000)",
        "security.capability (20) = 01 00 00 02 04",
        "Device major/minor number: 259:70000",
        "Device major/minor number: 05:01",
        "Fast link dest: \"early\"",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(fs_err::read(dumped).expect("dumped"), blocks(3));
    assert_eq!(fs_err::read(value).expect("dumped"), [b'l'; 2000]);
}

#[test]
fn the_same_bytes_every_time_and_holes_are_no_difference() {
    let bytes: Vec<u8> = [vec![0; 500_000], blocks(5), vec![0; 300_000], b"end".to_vec()].concat();
    let of = |content: Content| {
        let tree = tree_of([("file".to_owned(), node(NodeKind::File(content)))]);
        Image::new(&tree, &of_size(Size::Free(MIB), Journal::Bytes(4 * MIB))).bytes()
    };
    let holes = tempfile::tempfile().expect("room");
    holes.write_all_at(&blocks(5), 500_000).expect("room");
    holes.write_all_at(b"end", bytes.len() as u64 - 3).expect("room");
    let length = bytes.len() as u64;
    let whole = of(Content::from_bytes(bytes));
    assert!(whole == of(Content::from_range(Arc::new(holes), 0, length)));
}

#[test]
fn a_size_is_enough_to_the_last_block_or_the_error_says_what_is() {
    let tree = tree_of(
        (0..40).map(|number| (format!("directory {}/{number}", number % 7), file(blocks(number * 3)))).chain(
            [
                ("zeros".to_owned(), file(vec![0; 100 << 10])),
                ("sparse".to_owned(), sparse(300 * MIB, [5, 7 * MIB, 100 * MIB])),
            ],
        ),
    );
    for journal in [Journal::None, Journal::Default, Journal::Bytes(5 * MIB)] {
        let fit = Image::new(&tree, &of_size(Size::Fit, journal));
        for too_small in [0, 1, BLOCK, MIB, 2 * MIB] {
            let scratch = tempfile::tempfile().expect("room");
            let result = ext4::write(&tree, &of_size(Size::Exact(too_small), journal), Target::new(&scratch));
            let Err(ImageError::TooSmall { needed, size, .. }) = result else {
                panic!("{too_small}: {result:?}")
            };
            assert_eq!(size, too_small);
            assert_eq!(scratch.metadata().expect("there").len(), 0, "nothing was written");
            assert!(needed.abs_diff(fit.length) < MIB, "{needed}, {}", fit.length);
            Image::new(&tree, &of_size(Size::Exact(needed), journal));
            let less = Image::try_new(&tree, &of_size(Size::Exact(needed - 1), journal));
            assert!(matches!(less, Err(ImageError::TooSmall { .. })), "{needed}");
        }
    }
    let full = Image::new(&tree, &Settings { growth: Growth::None, ..settings() });
    if let Some(header) = full.header() {
        assert!(header.number("Free blocks") <= 64, "{}", header.number("Free blocks"));
    }
    let free = Image::new(&tree, &of_size(Size::Free(50 * MIB), Journal::Default));
    if let Some(header) = free.header() {
        let bytes = header.number("Free blocks") * BLOCK;
        assert!((50 * MIB..52 * MIB).contains(&bytes), "{bytes}");
    }
}

#[test]
fn a_file_without_holes_fills_the_image_to_its_last_block() {
    // Around the end of a group of blocks.
    for count in [1, 32_760, 40_000] {
        let tree = tree_of([("file".to_owned(), file(blocks(count)))]);
        let image = Image::new(&tree, &settings());
        if let Some(header) = image.header() {
            assert!(header.number("Free blocks") <= 2, "{count}: {}", header.number("Free blocks"));
            assert_eq!(header.number("Block count") * BLOCK, image.length);
        }
        Image::new(&tree, &of_size(Size::Exact(image.length + 64 * BLOCK), Journal::None));
    }
}

/// Sizes around the ends of groups, where a last group may be too small for what it begins with.
#[test]
fn every_size_is_a_good_one() {
    let group = 32_768 * BLOCK;
    let tree = tree_of([("file".to_owned(), file(*b"x"))]);
    for groups in [1, 2, 3, 9, 16, 17] {
        for more in
            [0, 1, BLOCK, 3 * BLOCK, 51 * BLOCK, 300 * BLOCK, 700 * BLOCK, 1100 * BLOCK, group - BLOCK]
        {
            for journal in [Journal::None, Journal::Default] {
                let size = groups * group + more;
                assert_eq!(Image::new(&tree, &of_size(Size::Exact(size), journal)).length, size);
            }
        }
    }
}

#[test]
fn images_grow() {
    let Some(resize2fs) = tool("resize2fs") else { return };
    let tree = torture::tree(torture::Size::Sampled, &[Part::Sizes, Part::ManyFiles, Part::UserXattrs]);
    let all = expected(&tree).lines().count();
    for (settings, grown) in [
        (settings(), "100M"),
        (of_size(Size::Exact(200 * MIB), Journal::Default), "5G"),
        (of_size(Size::Exact(4 * GIB), Journal::Default), "200G"),
        (Settings { growth: Growth::None, ..of_size(Size::Exact(MIB * 50), Journal::None) }, "300M"),
        (Settings { growth: Growth::To(GIB * 64), ..of_size(Size::Exact(MIB * 50), Journal::None) }, "64G"),
    ] {
        let image = Image::new(&tree, &settings);
        succeed(Command::new(&resize2fs).arg(image.path()).arg(grown));
        check(&image.path());
        let header = image.header().expect("one package");
        let inodes = header.number("Inode count") - header.number("Free inodes");
        // Ten reserved ones and lost+found are the image's own, the root is reserved.
        assert_eq!(inodes, all as u64 + 10);
    }
}

#[test]
fn files_in_many_pieces_have_deep_trees_of_extents() {
    // Each second block: three levels at 340 pieces a block, and the end of a group within.
    let pieces = if full() { 500_000 } else { 5_000 };
    let content = sparse(2 * pieces * BLOCK, (0..pieces).map(|piece| 2 * piece * BLOCK + 17));
    let image = Image::new(
        &tree_of([("a".to_owned(), file(blocks(31_000))), ("pieces".to_owned(), content)]),
        &of_size(Size::Free(MIB), Journal::None),
    );
    let Some(said) = image.debugfs("extents /pieces\n") else { return };
    let leaves =
        said.lines().filter(|line| line.trim_start().starts_with(if full() { "3/ 3" } else { "2/ 2" }));
    assert_eq!(leaves.count() as u64, pieces);
    let dumped = image.scratch.join("dumped");
    image.debugfs(&format!("dump /pieces {}", dumped.display()));
    let dumped = fs_err::read(dumped).expect("dumped");
    assert_eq!(dumped.len() as u64, 2 * pieces * BLOCK);
    let mut expected = vec![0; 8192];
    expected[17] = b'x';
    assert!(dumped.chunks(8192).all(|two| *two == expected));
}

#[test]
fn holes_take_no_room() {
    let length = 300 * MIB;
    let tree = tree_of([
        ("sparse".to_owned(), sparse(length, [0, 150 * MIB, length - 1])),
        ("hole".to_owned(), sparse(length, [])),
        ("zeros".to_owned(), file(vec![0; 10 << 20])),
        ("empty".to_owned(), file(*b"")),
    ]);
    let image = Image::new(&tree, &settings());
    assert!(image.length < MIB, "{}", image.length);
    let large = Image::new(&tree, &of_size(Size::Exact(8 * GIB), Journal::Default));
    assert!(large.on_disk() < 8 * MIB, "{}", large.on_disk());
    let requests = ["sparse", "hole", "zeros", "empty"].map(|name| format!("stat /{name}\n")).concat();
    let Some(said) = large.debugfs(&requests) else { return };
    let counts: Vec<&str> =
        said.split("Blockcount: ").skip(1).filter_map(|rest| rest.lines().next()).collect();
    assert_eq!(counts, ["24", "0", "0", "0"]);
}

#[test]
fn every_name_of_a_large_directory_is_found() {
    let count = if full() { 100_000 } else { 5_000 };
    let name = |number: u64| format!("directory/a name with some length {number}");
    let tree = tree_of((0..count).map(|number| (name(number), file(*b""))));
    // e2fsck compares each name's hash with its place in the tree.
    let image = Image::new(&tree, &settings());
    let looked_up = [0, 1, count / 2, count - 1];
    let requests: String = looked_up.iter().map(|&number| format!("stat \"/{}\"\n", name(number))).collect();
    let Some(said) = image.debugfs(&(requests + "htree_dump /directory\n")) else { return };
    assert_eq!(said.matches("Type: regular").count(), looked_up.len());
    assert!(said.contains("Hash Version: 1"));
    assert!(said.contains(if full() { "Indirect levels: 1" } else { "Indirect levels: 0" }));
}

/// From a list to a tree with one leaf, and to one with two.
#[test]
fn directories_of_about_one_block_are_good_ones() {
    let long = |number: usize, length: usize| {
        let mut name = format!("directory/{number:02}");
        name.push_str(&"n".repeat(length - 2));
        name
    };
    for last in [80, 91, 92, 93, 96, 112, 113, 120, 255] {
        let names = (0..15_usize).map(|number| long(number, 255_usize)).chain([long(99, last)]);
        Image::new(&tree_of(names.map(|name| (name, node(NodeKind::Fifo)))), &settings());
    }
}

#[test]
fn an_image_of_sixteen_tib_is_laid_out_in_a_moment() {
    // One block less is the largest file of many hosts; what a host has no room for it refuses.
    let image = match Image::try_new(&empty(), &of_size(Size::Exact((16 << 40) - BLOCK), Journal::Default)) {
        Ok(image) => image,
        Err(ImageError::Write(error)) => {
            assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
            return;
        }
        Err(error) => panic!("{error}"),
    };
    assert!(image.on_disk() < 300 * MIB, "{}", image.on_disk());
    let Some(header) = image.header() else { return };
    assert_eq!(header.number("Block count"), (1 << 32) - 1);
    assert_eq!(header.get("Total journal size"), "1024M");
    if full() {
        check(&image.path());
    }
    Image::new(&empty(), &of_size(Size::Exact(100 * GIB), Journal::Default));
}

#[test]
fn a_directory_for_what_was_lost_stays_as_the_tree_has_it() {
    let mut lost = Node::directory(Metadata::DIRECTORY, Origin::skeleton());
    lost.metadata = Metadata { mode: 0o711, uid: 5, gid: 6, mtime: 7 };
    let tree = tree_of([("lost+found".to_owned(), lost), ("lost+found/file".to_owned(), file(*b"x"))]);
    let image = Image::new(&tree, &settings());
    let Some(said) = image.debugfs("stat /lost+found\nstat /lost+found/file\n") else { return };
    assert!(said.contains("Mode:  0711") && said.contains("User:     5   Group:     6"), "{said}");
}
