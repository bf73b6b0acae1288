//! ext4 images: what `e2fsck`, `dumpe2fs`, `debugfs` and `resize2fs` say of them, and what a reader finds in them.

mod reader;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use leanfs::image::ImageError;
use leanfs::image::ext4::{Growth, Journal, Settings, Size, write};
use leanfs::image::target::Target;
use leanfs::tree::{Content, Metadata, Node, NodeKind, Origin, Tree, TreePath, ValidTree};
use proptest::prelude::*;

use crate::end_to_end::bench::{full, missing, succeed, text};
use reader::Reader;

/// 2020: `e2fsck` does not want it in the future.
const CREATED: i64 = 1_600_000_000;

/// A program of e2fsprogs, which may stand where only root looks for programs.
fn tool(name: &str) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    match places.map(|place| place.join(name)).find(|program| program.is_file()) {
        Some(program) => Some(Command::new(program)),
        None => missing(name),
    }
}

fn settings() -> Settings {
    Settings {
        uuid: *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff",
        hash_seed: *b"a seed of hashes",
        label: b"leanfs".to_vec(),
        created: CREATED,
        ..Settings::default()
    }
}

fn path(name: impl AsRef<[u8]>) -> TreePath {
    TreePath::parse(name.as_ref()).expect("a good path")
}

fn node(kind: NodeKind) -> Node {
    Node::new(kind, Metadata { mtime: 1_700_000_000, ..Metadata::FILE }, Origin::skeleton())
}

fn file(bytes: impl Into<Vec<u8>>) -> Node {
    node(NodeKind::File(Content::from_bytes(bytes.into())))
}

fn directory() -> Node {
    Node::directory(Metadata::DIRECTORY, Origin::skeleton())
}

/// Bytes without a zero.
fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8 | 1
        })
        .collect()
}

/// An image in a directory of its own.
struct Image {
    directory: tempfile::TempDir,
    length: u64,
}

impl Image {
    fn new(tree: &ValidTree, settings: &Settings) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let image = Self { directory, length: 0 };
        let file = File::create_new(image.path()).expect("a new file");
        let length = write(tree, settings, Target::new(&file)).expect("written");
        assert_eq!(file.metadata().expect("there").len(), length);
        Self { length, ..image }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    /// Bytes that it takes of the disk.
    fn disk(&self) -> u64 {
        fs_err::metadata(self.path()).expect("there").blocks() * 512
    }

    /// The image's tree is the one given, and `lost+found`.
    fn holds(&self, tree: &ValidTree) {
        let read = Reader::new(File::open(self.path()).expect("there")).tree();
        let mut expected = tree.clone().into_tree();
        let lost_found = path("lost+found");
        if expected.get(&lost_found).is_none() {
            let metadata = Metadata { mode: 0o700, mtime: CREATED, ..Metadata::DIRECTORY };
            expected.insert(lost_found, Node::directory(metadata, Origin::skeleton()));
        }
        let expected = expected.validate().expect("valid").dump().expect("readable");
        let read = read.dump().expect("readable");
        for (read, expected) in read.lines().zip(expected.lines()) {
            assert_eq!(read, expected);
        }
        assert_eq!(read.len(), expected.len());
    }

    /// `e2fsck` finds nothing to say.
    fn is_clean(&self) -> Option<()> {
        is_clean(&self.path())
    }

    /// What `dumpe2fs` says of the file system as a whole.
    fn told(&self, name: &str) -> Option<String> {
        let output = text(&succeed(tool("dumpe2fs")?.arg("-h").arg(self.path())));
        let line = output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Some(line.unwrap_or_else(|| panic!("no {name} in {output}")).trim().to_owned())
    }

    fn debugfs(&self, request: &str) -> Option<String> {
        Some(text(&succeed(tool("debugfs")?.arg("-R").arg(request).arg(self.path()))))
    }
}

fn is_clean(image: &Path) -> Option<()> {
    let output = tool("e2fsck")?.arg("-fn").arg(image).output().expect("started");
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    let passes = said.lines().filter(|line| line.starts_with("Pass ")).count();
    // A line of the version, five passes, a summary, and an empty line.
    assert_eq!((passes, said.lines().filter(|line| !line.is_empty()).count()), (5, 7), "{said}");
    Some(())
}

/// What there is: every kind of node, and what is special about each.
fn everything() -> ValidTree {
    let mut tree = Tree::new();
    for (name, node) in [
        ("empty", file([])),
        ("one", file(*b"1")),
        ("block", file(noise(4096, 1))),
        ("more", file(noise(3_000_001, 2))),
        ("zeros", file(vec![0; 1_000_000])),
        ("short", node(NodeKind::Symlink(vec![b'x'; 59]))),
        ("long", node(NodeKind::Symlink(vec![b'y'; 60]))),
        ("longest", node(NodeKind::Symlink(vec![b'z'; 4095]))),
        ("fifo", node(NodeKind::Fifo)),
        ("console", node(NodeKind::CharDevice { major: 5, minor: 1 })),
        ("null", node(NodeKind::CharDevice { major: 0, minor: 0 })),
        ("disk", node(NodeKind::BlockDevice { major: 259, minor: 70_000 })),
        ("last", node(NodeKind::BlockDevice { major: 4095, minor: 0xf_ffff })),
        ("a", directory()),
        ("a/b/c", file(*b"below")),
        ("a-b", file(*b"between a and a/b")),
        ("also", node(NodeKind::Hardlink(path("one")))),
        ("a/also", node(NodeKind::Hardlink(path("one")))),
    ] {
        tree.insert_with_parents(path(name), node);
    }
    tree.insert(path(b"\xff\xfe \n"), file(*b"no text"));
    tree.insert(path([b'n'; 255]), file(*b"a long name"));
    for (name, mtime) in [
        ("1901", -0x8000_0000),
        ("1969", -1),
        ("2038", 0x8000_0000),
        ("2106", 0x1_0000_0000),
        ("2446", 0x3_7fff_ffff),
    ] {
        let mut old = file(*b"time");
        old.metadata = Metadata { mode: 0o4755, uid: 70_000, gid: u32::MAX, mtime };
        tree.insert(path(name), old);
    }
    let mut sticky = directory();
    sticky.metadata.mode = 0o1777;
    tree.insert(path("tmp"), sticky);
    tree.validate().expect("valid")
}

#[test]
fn an_empty_tree_is_a_file_system() {
    let tree = Tree::new().validate().expect("valid");
    let image = Image::new(&tree, &settings());
    image.holds(&tree);
    // Superblock, descriptors, root, four blocks of lost+found, two bitmaps, a block of inodes.
    assert_eq!(image.length, 40_960);
    let check = || -> Option<()> {
        image.is_clean()?;
        assert_eq!(image.told("Filesystem volume name")?, "leanfs");
        assert_eq!(image.told("Filesystem UUID")?, "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(image.told("Directory Hash Seed")?, "61207365-6564-206f-6620-686173686573");
        assert_eq!(image.told("Reserved block count")?, "0");
        Some(())
    };
    let _ = check();
}

/// A data partition has what `mke2fs` gives it, but for what it reserves.
#[test]
fn a_data_partition_is_like_that_of_the_tool() {
    let tree = Tree::new().validate().expect("valid");
    // One group, several, several of 16; sizes that are no multiples of anything; a last group that is left out.
    for size in [9 << 20, 300 << 20, (5 << 30) + 12_345, (2 << 30) + (130 << 12), (128 << 20) + (300 << 12)] {
        let settings = Settings {
            size: Size::Exact(size),
            journal: Journal::Default,
            reserved_percent: 5,
            bytes_per_inode: 16_384,
            ..settings()
        };
        let image = Image::new(&tree, &settings);
        assert_eq!(image.length, size);
        assert!(image.disk() < 8 << 20, "{}", image.disk());
        let check = || -> Option<()> {
            image.is_clean()?;
            let other = Image { directory: tempfile::tempdir().expect("a directory"), length: size };
            File::create_new(other.path()).expect("a new file").set_len(size).expect("sized");
            let options = ["-qF", "-text4", "-b4096", "-i16384"];
            let features = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,\
                            sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum";
            succeed(tool("mke2fs")?.args(options).args(["-O", features]).arg(other.path()));
            for name in [
                "Filesystem features",
                "Filesystem flags",
                "Default mount options",
                "Inode count",
                "Block count",
                "Overhead clusters",
                "Free blocks",
                "Free inodes",
                "Group descriptor size",
                "Reserved GDT blocks",
                "Blocks per group",
                "Inodes per group",
                "Flex block group size",
                "First inode",
                "Required extra isize",
                "Journal inode",
                "Journal backup",
                "Total journal blocks",
                "Journal sequence",
            ] {
                assert_eq!(image.told(name)?, other.told(name)?, "{name} of {size}");
            }
            Some(())
        };
        let _ = check();
    }
}

#[test]
fn every_kind_of_node() {
    let tree = everything();
    for (size, journal) in [
        (Size::Fit, Journal::None),
        (Size::Fit, Journal::Bytes(5 << 20)),
        (Size::Free(200 << 20), Journal::Default),
        (Size::Exact(600 << 20), Journal::Default),
    ] {
        let image = Image::new(&tree, &Settings { size, journal, ..settings() });
        image.holds(&tree);
        let check = || -> Option<()> {
            image.is_clean()?;
            if let Size::Free(free) = size {
                let blocks: u64 = image.told("Free blocks")?.parse().expect("a number");
                assert!((free / 4096..free / 4096 + 60).contains(&blocks), "{blocks}");
            }
            // Another reader than the test's own.
            let dumped = image.directory.path().join("dumped");
            image.debugfs(&format!("dump /more {}", dumped.display()))?;
            assert_eq!(fs_err::read(dumped).expect("dumped"), noise(3_000_001, 2));
            assert!(image.debugfs("stat /disk")?.contains("number: 259:70000"));
            assert!(
                image.debugfs("stat /1969")?.contains("crtime: 0xffffffff:00000000 -- Wed Dec 31 23:59:59")
            );
            assert!(image.debugfs("stat /one")?.contains("Links: 3 "));
            assert!(image.debugfs("stat /zeros")?.contains("Blockcount: 0\n"));
            Some(())
        };
        let _ = check();
    }
}

/// The whole of an image is used, to its last block, and with one block less it is refused before it is begun.
#[test]
fn a_size_that_is_just_enough() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut tree = everything().into_tree();
    // What no upper bound fits: holes, more than four extents.
    let mut holes = vec![0; 3000 * 4096];
    for block in 0..1500 {
        holes[block * 8192 + 7] = 1;
    }
    fs_err::write(directory.path().join("holes"), &holes).expect("written");
    tree.insert(
        path("holes"),
        node(NodeKind::File(Content::from_path(directory.path().join("holes"), holes.len() as u64))),
    );
    let tree = tree.validate().expect("valid");
    let fit = Image::new(&tree, &settings());
    let _ = fit.is_clean();
    let exactly = |bytes: u64| Settings { size: Size::Exact(bytes), growth: Growth::None, ..settings() };
    let target = tempfile::tempfile().expect("a file");
    let error = write(&tree, &exactly(1 << 20), Target::new(&target)).expect_err("too small");
    let ImageError::TooSmall { needed, size, .. } = error else { panic!("{error}") };
    assert_eq!(size, 1 << 20);
    let image = Image::new(&tree, &exactly(needed));
    image.holds(&tree);
    assert_eq!(image.length, needed);
    let check = || -> Option<()> {
        image.is_clean()?;
        assert_eq!(image.told("Free blocks")?, "0");
        Some(())
    };
    let _ = check();
    let error = write(&tree, &exactly(needed - 1), Target::new(&target)).expect_err("too small");
    assert!(matches!(error, ImageError::TooSmall { needed: again, .. } if again == needed), "{error}");
    assert_eq!(target.metadata().expect("there").len(), 0, "nothing was written");
}

/// Several groups that are full to the last block: data goes around the copies of the superblock.
#[test]
fn full_groups() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut tree = Tree::new();
    // More than one group, or more than four extents; no block is a hole.
    let length: u64 = if full() { 700 << 20 } else { 130 << 20 };
    let name = directory.path().join("large");
    fs_err::write(&name, vec![7; usize::try_from(length).expect("fits")]).expect("written");
    tree.insert(path("large"), node(NodeKind::File(Content::from_path(&name, length))));
    tree.insert(path("small"), file(*b"behind it"));
    let tree = tree.validate().expect("valid");
    let target = tempfile::tempfile().expect("a file");
    let with = |size| Settings { size, ..settings() };
    let error = write(&tree, &with(Size::Exact(length)), Target::new(&target)).expect_err("too small");
    assert_eq!(target.metadata().expect("there").len(), 0, "nothing was written");
    let ImageError::TooSmall { needed, .. } = error else { panic!("{error}") };
    for size in [Size::Exact(needed), Size::Fit] {
        let image = Image::new(&tree, &with(size));
        let check = || -> Option<()> {
            image.is_clean()?;
            let free: u64 = image.told("Free blocks")?.parse().expect("a number");
            assert!(free <= if size == Size::Fit { 0 } else { 2 }, "{free} blocks of {size:?} are free");
            Some(())
        };
        let _ = check();
        image.holds(&tree);
    }
}

/// Holes are found by content, whoever knows of them, and take no room; a file may be larger than the image.
#[test]
fn sparse_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let length = 3 << 30;
    let place = |name: &str| directory.path().join(name);
    let sparse = File::create_new(place("sparse")).expect("a new file");
    sparse.set_len(length).expect("sized");
    sparse.write_all_at(b"middle", 1 << 30).expect("written");
    sparse.write_all_at(b"end", length - 3).expect("written");
    let mut bytes = vec![0; 40 << 20];
    bytes[20 << 20] = 1;
    let dense = File::create_new(place("dense")).expect("a new file");
    dense.write_all_at(&bytes, 0).expect("written");
    let host = |name: &str, length| node(NodeKind::File(Content::from_path(place(name), length)));
    let build = |known: Node| {
        let mut tree = Tree::new();
        tree.insert(path("sparse"), host("sparse", length));
        tree.insert(path("known"), known);
        tree.insert(path("small"), file(noise(10_000, 3)));
        tree.validate().expect("valid")
    };
    let tree = build(host("dense", 40 << 20));
    let image = Image::new(&tree, &settings());
    // Two blocks and one; three; no more than 20 of everything else.
    assert!(image.length < 26 * 4096, "{}", image.length);
    let same = Image::new(&build(file(bytes)), &settings());
    let read = |image: &Image| fs_err::read(image.path()).expect("there");
    assert!(read(&image) == read(&same), "the host's knowledge of holes changes nothing");
    let check = || -> Option<()> {
        image.is_clean()?;
        let extents = image.debugfs("stat /sparse")?;
        assert!(extents.contains("Size: 3221225472\n") && extents.contains("Blockcount: 16\n"), "{extents}");
        assert!(extents.contains("(262144):") && extents.contains("(786431):"), "{extents}");
        Some(())
    };
    let _ = check();
}

#[test]
fn many_names_in_one_directory() {
    let count = if full() { 100_000 } else { 5000 };
    let mut tree = Tree::new();
    for number in 0..count {
        let mut name = format!("many/{number}-").into_bytes();
        // Lengths up to 255, of bytes that are no text at times.
        name.resize(5 + (name.len() - 5).max(number % 256), if number % 3 == 0 { 0xe9 } else { b'n' });
        tree.insert_with_parents(path(name), file([]));
    }
    let tree = tree.validate().expect("valid");
    let image = Image::new(&tree, &settings());
    image.holds(&tree);
    let check = || -> Option<()> {
        image.is_clean()?;
        assert!(image.debugfs("stat /many")?.contains("Flags: 0x81000"), "a hash tree");
        let tree = image.debugfs("htree_dump /many")?;
        assert!(
            tree.contains("Hash Version: 1") && tree.contains("Number of entries (limit): 507"),
            "{tree}"
        );
        Some(())
    };
    let _ = check();
}

/// More subdirectories than a count of links can tell.
#[test]
fn many_directories_in_one() {
    let count = if full() { 65_100 } else { 1100 };
    let mut tree = Tree::new();
    for number in 0..count {
        tree.insert_with_parents(path(format!("many/{number}")), directory());
    }
    let tree = tree.validate().expect("valid");
    let image = Image::new(&tree, &settings());
    image.holds(&tree);
    let check = || -> Option<()> {
        image.is_clean()?;
        let links = if full() { "Links: 1 " } else { "Links: 1102 " };
        assert!(image.debugfs("stat /many")?.contains(links));
        Some(())
    };
    let _ = check();
}

#[test]
fn attributes_of_every_size() {
    let acl = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x06\0\xe8\x03\0\0\x04\0\x05\0\xff\xff\xff\xff\
                \x10\0\x07\0\xff\xff\xff\xff\x20\0\x05\0\xff\xff\xff\xff";
    let mut tree = Tree::new();
    let with = |name: &str, attributes: &[(&[u8], Vec<u8>)]| {
        let mut node = if name.ends_with('/') { directory() } else { file(*b"content") };
        node.xattrs = attributes.iter().map(|(name, value)| (name.to_vec(), value.clone())).collect();
        (path(name), node)
    };
    let long_name = [b"user.".to_vec(), vec![b'\xe4'; 255]].concat();
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    for (path, node) in [
        with("small", &[(b"user.a", b"1".to_vec()), (b"user.b", vec![])]),
        with("capability", &[(b"security.capability", capability.clone())]),
        with(
            "acl/",
            &[(b"system.posix_acl_access", acl.to_vec()), (b"system.posix_acl_default", acl.to_vec())],
        ),
        with("block", &[(b"user.block", noise(3900, 1)), (b"trusted.t", noise(17, 2))]),
        with(
            "both",
            &[(b"user.block", noise(3990, 1)), (b"trusted.t", noise(19, 2)), (b"user.c", noise(5, 3))],
        ),
        with(
            "outside",
            &[(b"user.large", noise(65_536, 3)), (b"user.other", noise(5000, 4)), (b"user.c", vec![9])],
        ),
        with("name", &[(&long_name, noise(100, 5))]),
    ] {
        tree.insert(path, node);
    }
    for number in 0..1500 {
        let (path, node) = with(&format!("same/{number}"), &[(b"security.selinux", noise(200, 6))]);
        tree.insert_with_parents(path, node);
    }
    let tree = tree.validate().expect("valid");
    let image = Image::new(&tree, &settings());
    image.holds(&tree);
    let check = || -> Option<()> {
        image.is_clean()?;
        assert!(image.told("Filesystem features")?.contains("ea_inode"));
        let listed = image.debugfs("ea_list /capability")?;
        let bytes = "01 00 00 02 00 20 00 00 00 00 00 00 00 00 00 00 00 00 00 00";
        assert!(listed.contains(&format!("security.capability (20) = {bytes} \n")), "{listed}");
        let listed = image.debugfs("ea_list /acl")?;
        for name in ["access", "default"] {
            assert!(listed.contains(&format!("system.posix_acl_{name} (28)")), "{listed}");
        }
        let blocks = |name: &str| -> Option<String> {
            let said = image.debugfs(&format!("stat {name}"))?;
            Some(said.lines().find(|line| line.starts_with("File ACL")).expect("a block").to_owned())
        };
        // Two blocks for 1,500 inodes.
        assert_eq!(blocks("/same/0")?, blocks("/same/1")?);
        let mut all: Vec<String> =
            (0..1500).step_by(100).filter_map(|number| blocks(&format!("/same/{number}"))).collect();
        all.dedup();
        assert!((1..=3).contains(&all.len()), "{all:?}");
        Some(())
    };
    let _ = check();
    let plain = Image::new(&everything(), &settings());
    if let Some(features) = plain.told("Filesystem features") {
        assert!(!features.contains("ea_inode"));
    }
}

/// `resize2fs` makes a larger file system of it, and a smaller one again.
#[test]
fn it_can_grow() {
    let tree = everything();
    for (growth, journal, to) in [
        (Growth::Default, Journal::Default, 3_u64 << 30),
        (Growth::To(20 << 30), Journal::None, 20 << 30),
        (Growth::None, Journal::None, 1 << 30),
    ] {
        let image = Image::new(&tree, &Settings { growth, journal, size: Size::Free(8 << 20), ..settings() });
        let check = || -> Option<()> {
            image.is_clean()?;
            let file = File::options().write(true).open(image.path()).expect("there");
            file.set_len(to).expect("sized");
            let said = text(&succeed(tool("resize2fs")?.arg("-f").arg(image.path())));
            assert!(said.contains(&format!("is now {} (4k) blocks long", to / 4096)), "{said}");
            image.is_clean()?;
            image.holds(&tree);
            succeed(tool("resize2fs")?.args(["-f", "-M"]).arg(image.path()));
            image.is_clean()?;
            image.holds(&tree);
            Some(())
        };
        let _ = check();
    }
}

/// Thousands of groups, and hardly anything is written of them.
#[test]
fn large_images() {
    let tree = everything();
    let exactly = |bytes| Settings { size: Size::Exact(bytes), journal: Journal::Default, ..settings() };
    let image = Image::new(&tree, &exactly(1 << 40));
    image.holds(&tree);
    assert!(image.disk() < 24 << 20, "{}", image.disk());
    let _ = image.is_clean();
    if !full() {
        return;
    }
    // 131,072 groups. A block less than there can be, which is more than a file of ext4 itself has room for.
    let image = Image::new(&tree, &exactly((1 << 44) - 4096));
    // Descriptors and 23 copies of them, 8 MiB each; 8,192 bitmaps.
    assert!(image.disk() < 260 << 20, "{}", image.disk());
    image.holds(&tree);
    let check = || -> Option<()> {
        image.is_clean()?;
        assert_eq!(image.told("Block count")?, "4294967295");
        assert_eq!(image.told("Inode count")?, "536870912");
        assert!(image.debugfs("ls /a/b")?.contains("c  "));
        Some(())
    };
    let _ = check();
}

#[test]
fn what_has_no_place_is_refused_before_writing() {
    let tree_of = |name: &str, node: Node| {
        let mut tree = Tree::new();
        tree.insert(path(name), node);
        tree.validate().expect("valid")
    };
    let timed = |mtime: i64| {
        let mut node = file([]);
        node.metadata.mtime = mtime;
        node
    };
    let attribute = |name: &[u8], value: Vec<u8>| {
        let mut node = file([]);
        node.xattrs.insert(name.to_vec(), value);
        node
    };
    let mut attributes = node(NodeKind::Symlink(b"short".to_vec()));
    attributes.xattrs.insert(b"security.x".to_vec(), vec![1; 5000]);
    let mut linked = Tree::new();
    linked.insert(path("x"), file([]));
    for number in 0..65_000 {
        linked.insert(path(number.to_string()), node(NodeKind::Hardlink(path("x"))));
    }
    let target = tempfile::tempfile().expect("a file");
    for (name, tree) in [
        ("time", tree_of("time", timed(i64::MIN))),
        ("time", tree_of("time", timed(1 << 40))),
        ("large", tree_of("large", node(NodeKind::File(Content::from_path("/nowhere", u64::MAX))))),
        ("link", tree_of("link", node(NodeKind::Symlink(vec![])))),
        ("link", tree_of("link", node(NodeKind::Symlink(vec![b'x'; 4096])))),
        ("link", tree_of("link", node(NodeKind::Symlink(b"a\0b".to_vec())))),
        ("link", tree_of("link", attributes)),
        ("device", tree_of("device", node(NodeKind::CharDevice { major: u32::MAX, minor: 0 }))),
        ("lost+found", tree_of("lost+found", file([]))),
        ("kind", tree_of("kind", attribute(b"system.nfs4_acl", vec![1]))),
        ("value", tree_of("value", attribute(b"user.x", vec![1; 65_537]))),
        ("x", linked.validate().expect("valid")),
    ] {
        let error = write(&tree, &settings(), Target::new(&target)).expect_err("no place");
        assert!(
            matches!(&error, ImageError::CannotHold { path: found, .. } if *found == path(name)),
            "{error}"
        );
    }
    let empty = Tree::new().validate().expect("valid");
    for bad in [
        Settings { label: vec![b'x'; 17], ..settings() },
        Settings { label: b"a\0".to_vec(), ..settings() },
        Settings { reserved_percent: 51, ..settings() },
        Settings { created: -1, ..settings() },
        Settings { created: i64::MAX, ..settings() },
        Settings { journal: Journal::Bytes(1 << 20), ..settings() },
        Settings { journal: Journal::Bytes(u64::MAX), ..settings() },
        Settings { size: Size::Exact(u64::MAX), ..settings() },
        Settings { size: Size::Free(u64::MAX), ..settings() },
    ] {
        let error = write(&empty, &bad, Target::new(&target)).expect_err("bad settings");
        assert!(matches!(error, ImageError::Settings { .. }), "{error}");
    }
    for size in [0, 1, 4096, 40_959] {
        let error = write(&empty, &Settings { size: Size::Exact(size), ..settings() }, Target::new(&target));
        assert!(matches!(error, Err(ImageError::TooSmall { needed: 40_960.., .. })), "{error:?}");
    }
    let gone = tree_of("gone", node(NodeKind::File(Content::from_path("/nowhere", 5))));
    let too_small = Settings { size: Size::Exact(40_960), ..settings() };
    let error = write(&gone, &too_small, Target::new(&target)).expect_err("gone");
    assert!(matches!(&error, ImageError::Content { path: found, .. } if *found == path("gone")), "{error}");
    assert_eq!(target.metadata().expect("there").len(), 0, "nothing was written");
}

/// Sparse files that are larger together than any image are read for what they hold.
#[test]
fn more_holes_than_any_image_has_room_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut tree = Tree::new();
    for name in ["a", "b", "c"] {
        let place = directory.path().join(name);
        let file = File::create_new(&place).expect("a new file");
        file.set_len(7 << 40).expect("sized");
        file.write_all_at(name.as_bytes(), 5 << 40).expect("written");
        tree.insert(path(name), node(NodeKind::File(Content::from_path(place, 7 << 40))));
    }
    let tree = tree.validate().expect("valid");
    let image = Image::new(&tree, &settings());
    assert!(image.length < 1 << 20, "{}", image.length);
    let _ = image.is_clean();
    let _ = image.debugfs("stat /c").map(|said| assert!(said.contains("(1342177280):"), "{said}"));
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(1..=255_u8, 1..=12),
        prop::collection::vec(1..=255_u8, 1..=255),
        (0..20_u8).prop_map(|number| vec![b'a' + number]),
    ]
    .prop_map(|mut name| {
        for byte in &mut name {
            if *byte == b'/' {
                *byte = b'_';
            }
        }
        if name == b"." || name == b".." {
            name = b"dots".to_vec();
        }
        name
    })
}

fn contents() -> impl Strategy<Value = Vec<u8>> {
    let piece = (any::<bool>(), 0..5000_usize, any::<u8>());
    prop::collection::vec(piece, 0..20).prop_map(|pieces| {
        let piece = |(is_hole, size, byte): (bool, usize, u8)| {
            vec![if is_hole { 0 } else { byte }; if is_hole { 3 * size } else { size }]
        };
        pieces.into_iter().flat_map(piece).collect()
    })
}

fn nodes() -> impl Strategy<Value = Node> {
    let kind = prop_oneof![
        4 => contents().prop_map(|bytes| NodeKind::File(Content::from_bytes(bytes))),
        2 => Just(NodeKind::Directory),
        1 => prop::collection::vec(1..=255_u8, 1..200).prop_map(NodeKind::Symlink),
        1 => (0..4096_u32, 0..1_u32 << 20).prop_map(|(major, minor)| NodeKind::CharDevice { major, minor }),
        1 => (0..4096_u32, 0..1_u32 << 20).prop_map(|(major, minor)| NodeKind::BlockDevice { major, minor }),
        1 => Just(NodeKind::Fifo),
    ];
    let name = (
        prop::sample::select(vec!["user.", "trusted.", "security."]),
        prop::collection::vec(1..=255_u8, 1..40),
    );
    let name = name.prop_map(|(prefix, rest)| [prefix.as_bytes(), &rest].concat());
    let value = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..60),
        2 => prop::collection::vec(any::<u8>(), 0..3000),
        1 => prop::collection::vec(any::<u8>(), 0..20_000),
    ];
    let xattrs =
        prop_oneof![3 => Just(Default::default()), 1 => prop::collection::btree_map(name, value, 0..6)];
    (kind, 0..=0o7777_u32, any::<u32>(), any::<u32>(), -0x8000_0000..0x2_8000_0000_i64, xattrs).prop_map(
        |(kind, mode, uid, gid, mtime, xattrs)| {
            let mut node = Node::new(kind, Metadata { mode, uid, gid, mtime }, Origin::skeleton());
            node.xattrs = xattrs;
            if matches!(node.kind, NodeKind::Symlink(_)) {
                // A short link has no place for long ones.
                node.xattrs.values_mut().for_each(|value| value.truncate(100));
            }
            node
        },
    )
}

/// Any tree: nodes at places below others, where these are directories, and further names of files.
fn trees() -> impl Strategy<Value = ValidTree> {
    let nodes = prop::collection::vec((any::<prop::sample::Index>(), names(), nodes()), 0..120);
    let links =
        prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), names()), 0..10);
    (nodes, links).prop_map(|(nodes, links)| {
        let mut tree = Tree::new();
        let mut directories = vec![TreePath::root()];
        let mut files = Vec::new();
        let add = |tree: &mut Tree, directory: &TreePath, name: &[u8], node: Node| -> Option<TreePath> {
            let path = directory.join(name).ok()?;
            if tree.get(&path).is_some() {
                return None;
            }
            tree.insert(path.clone(), node);
            Some(path)
        };
        for (place, name, node) in nodes {
            let directory = place.get(&directories).clone();
            let kind = node.kind.clone();
            match (add(&mut tree, &directory, &name, node), kind) {
                (Some(path), NodeKind::Directory) => directories.push(path),
                (Some(path), NodeKind::File(_)) => files.push(path),
                _ => {}
            }
        }
        for (place, file, name) in links.into_iter().filter(|_| !files.is_empty()) {
            let directory = place.get(&directories).clone();
            add(&mut tree, &directory, &name, node(NodeKind::Hardlink(file.get(&files).clone())));
        }
        tree.validate().expect("valid")
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if full() { 400 } else { 24 },
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_tree(
        tree in trees(),
        journal: bool,
        seed: [u8; 16],
        spare in prop_oneof![Just(None), (0..50_000_000_u64).prop_map(Some)],
    ) {
        let journal = if journal { Journal::Default } else { Journal::None };
        let settings = Settings { journal, hash_seed: seed, ..settings() };
        let image = Image::new(&tree, &settings);
        image.holds(&tree);
        let _ = image.is_clean();
        let size = match spare {
            Some(bytes) => Size::Free(bytes),
            None => Size::Exact(image.length + (1 << 16)),
        };
        let larger = Image::new(&tree, &Settings { size, ..settings });
        larger.holds(&tree);
        let _ = larger.is_clean();
    }
}
