//! squashfs images, as `unsquashfs` reads them.

mod kernel;
mod random;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use leanfs::arch::Arch;
use leanfs::image::ImageError;
use leanfs::image::compress::DecompressorFeatures;
use leanfs::image::squashfs::{self, Fragments, Settings};
use leanfs::image::target::Target;
use leanfs::layer::directory;
use leanfs::recipe::Compression;
use leanfs::tree::{Content, LayerKind, Metadata, Node, NodeKind, Origin, Tree, TreePath, ValidTree};

use super::end_to_end::bench::{checkout, succeed, text, tools};
use super::images::disk::powers;
use super::images::lines::assert_same;
use super::images::samples::{file, node, noise, prose};
use super::images::{expected, on_host};

const ALL: [Compression; 5] = [
    Compression::None,
    Compression::Gzip { level: None },
    Compression::Xz { level: Some(1) },
    Compression::Zstd { level: Some(1) },
    Compression::Lz4,
];
const FAST: Compression = Compression::Zstd { level: Some(1) };

fn path(text: impl AsRef<[u8]>) -> TreePath {
    TreePath::parse(text.as_ref()).expect("a good path")
}

fn owned(mut node: Node, mode: u32, uid: u32, gid: u32, mtime: i64) -> Node {
    node.metadata = Metadata { mode, uid, gid, mtime };
    node
}

fn with_xattrs(mut node: Node, xattrs: &[(&str, &[u8])]) -> Node {
    for (name, value) in xattrs {
        node.xattrs.insert(name.as_bytes().to_vec(), value.to_vec());
    }
    node
}

struct Image {
    directory: tempfile::TempDir,
    length: u64,
}

impl Image {
    fn new(tree: &ValidTree, settings: &Settings) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = File::create(directory.path().join("image")).expect("a file");
        let length = squashfs::write(tree, settings, Target::new(&file)).expect("written");
        assert_eq!(file.metadata().expect("there").len(), length);
        Self { directory, length }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    fn bytes(&self) -> Vec<u8> {
        fs_err::read(self.path()).expect("readable")
    }

    /// All of it, as unsquashfs writes it to the disk.
    fn extracted(&self) -> Option<String> {
        let to = self.directory.path().join("extracted");
        let mut unsquashfs = Command::new("unsquashfs");
        unsquashfs.args(["-quiet", "-no-progress", "-processors", "2", "-dest"]).arg(&to).arg(self.path());
        let said = text(&succeed(&mut unsquashfs));
        assert!(!said.contains("rror") && !said.contains("arning"), "{said}");
        on_host(&to)
    }

    /// What unsquashfs says that is in it: numbers of owners, times in UTC.
    fn listing(&self) -> String {
        let mut unsquashfs = Command::new("unsquashfs");
        unsquashfs.env("TZ", "UTC").args(["-quiet", "-no-progress", "-llnumeric"]);
        text(&succeed(unsquashfs.args(["-UTC"]).arg(self.path())))
    }
}

/// Only root can extract owners, devices and most attributes.
fn root() -> Option<()> {
    tools(&["unsquashfs"])?;
    powers()
}

/// Everything that a tree can have.
fn everything() -> ValidTree {
    let mut tree = Tree::new();
    tree.insert(TreePath::root(), owned(node(NodeKind::Directory), 0o755, 0, 0, 1_700_000_000));
    let mut put = |name: &str, node: Node| {
        assert!(tree.insert_with_parents(path(name), node).is_none(), "{name}");
    };
    put("empty", file(*b""));
    put("small", owned(file(*b"small"), 0o4755, 1000, 100, u32::MAX.into()));
    put("large/noise", file(noise(1, 700_001)));
    put("large/prose", owned(file(prose(1, 700_001)), 0o600, u32::MAX - 1, 65_534, 1));
    put("large/whole", file(prose(2, 512 << 10)));
    put("large/again", file(prose(2, 512 << 10)));
    put("small too", file(*b"small"));
    let mut holes = vec![0; 1_000_000];
    holes[400_000..400_100].copy_from_slice(&noise(3, 100));
    put("holes/middle", file(holes.clone()));
    put("holes/end", file([noise(4, 200_000), vec![0; 300_001]].concat()));
    put("holes/all", file(vec![0; 300_001]));
    put("holes/small", file(vec![0; 10]));
    put("holes/again", file(holes));
    put("names/first", owned(file(prose(5, 200_000)), 0o640, 7, 8, 9));
    put("names/second", node(NodeKind::Hardlink(path("names/first"))));
    put("a name before", node(NodeKind::Hardlink(path("names/first"))));
    put("link", node(NodeKind::Symlink(b"large/noise".to_vec())));
    put(
        "long link",
        owned(node(NodeKind::Symlink(noise(6, 4095).iter().map(|byte| byte | 1).collect())), 0o777, 5, 5, 5),
    );
    put("dev/null", owned(node(NodeKind::CharDevice { major: 1, minor: 3 }), 0o666, 0, 0, 0));
    put("dev/far", node(NodeKind::BlockDevice { major: 4095, minor: 1_048_575 }));
    put("dev/pipe", owned(node(NodeKind::Fifo), 0o622, 1, 2, 3));
    put("emptied", owned(node(NodeKind::Directory), 0o1777, 3, 4, 5));
    put("a-b", node(NodeKind::Directory));
    put("a/b", file(*b"between"));
    let value = noise(7, 3000);
    put("x/file", with_xattrs(file(*b"x"), &[("user.a", b"1"), ("user.long", &value), ("trusted.t", b"\0")]));
    put("x/same", with_xattrs(file(*b"y"), &[("user.a", b"1"), ("user.long", &value), ("trusted.t", b"\0")]));
    put("x/value", with_xattrs(file(*b"z"), &[("user.other", &value), ("user.empty", b"")]));
    put("x/directory", with_xattrs(node(NodeKind::Directory), &[("security.leanfs", b"123456789")]));
    put("x/link", with_xattrs(node(NodeKind::Symlink(b"file".to_vec())), &[("trusted.t", b"123456789")]));
    put("x/dev", with_xattrs(node(NodeKind::CharDevice { major: 5, minor: 1 }), &[("trusted.u", b"v")]));
    put("x/pipe", with_xattrs(node(NodeKind::Fifo), &[("trusted.u", b"v")]));
    tree.insert(path(b"not\xff utf-8\n\x1b"), file(*b"name"));
    tree.insert(path([b'n'; 255]), file(*b"long name"));
    tree.validate().expect("valid")
}

#[test]
fn everything_comes_back() {
    (|| {
        root()?;
        let tree = everything();
        // Fragments of all ends, no duplicates, exportable; then what is stored as it is, or that there are options.
        let flags = 1 << 5 | 1 << 6 | 1 << 7;
        let (stored, options) = (1 | 1 << 1 | 1 << 3 | 1 << 8 | 1 << 11, 1 << 10);
        let said = [(1, stored), (1, 0), (4, options), (6, options), (5, options)];
        for (compression, (id, more)) in ALL.into_iter().zip(said) {
            let said = (id, flags | more);
            let settings = Settings {
                compression,
                features: DecompressorFeatures { xz_bcj: Some(Arch::X86_64) },
                fragments: Fragments::Tails,
                threads: 2,
                ..Settings::default()
            };
            let image = Image::new(&tree, &settings);
            let superblock = kernel::mount(&image.bytes());
            assert_eq!((superblock.compression, superblock.flags), said, "{compression:?}");
            assert_same(&format!("{compression:?}"), &expected(&tree), &image.extracted()?);
        }
        for (block_size, fragments, export) in [
            (4096, Fragments::None, false),
            (4096, Fragments::SmallFiles, true),
            (64 << 10, Fragments::SmallFiles, false),
            (1 << 20, Fragments::Tails, true),
        ] {
            let settings =
                Settings { block_size, fragments, export, compression: FAST, ..Settings::default() };
            let image = Image::new(&tree, &settings);
            let superblock = kernel::mount(&image.bytes());
            assert_eq!(superblock.block_size, block_size);
            assert_eq!(superblock.fragments == 0, fragments == Fragments::None);
            assert_same(&format!("{settings:?}"), &expected(&tree), &image.extracted()?);
        }
        Some(())
    })();
}

/// Without being root, and with what can't be extracted by anyone.
#[test]
fn what_is_listed_is_what_is_there() {
    (|| {
        tools(&["unsquashfs"])?;
        let mut tree = everything().into_tree();
        // Debian 12's unsquashfs shows large numbers of devices wrongly; it extracts them as they are.
        tree.remove(&path("dev/far"));
        let image = Image::new(
            &tree.validate().expect("valid"),
            &Settings { compression: FAST, ..Settings::default() },
        );
        let listing = image.listing();
        let lines: BTreeSet<Vec<&str>> =
            listing.lines().map(|line| line.split_whitespace().collect()).collect();
        for line in [
            "-rwsr-xr-x 1000/100 5 2106-02-07 06:28 squashfs-root/small",
            "-rw------- 4294967294/65534 700001 1970-01-01 00:00 squashfs-root/large/prose",
            "-rw-r----- 7/8 200000 1970-01-01 00:00 squashfs-root/names/second",
            "crw-rw-rw- 0/0 1, 3 1970-01-01 00:00 squashfs-root/dev/null",
            "prw--w--w- 1/2 0 1970-01-01 00:00 squashfs-root/dev/pipe",
            "drwxrwxrwt 3/4 3 1970-01-01 00:00 squashfs-root/emptied",
            "lrwxrwxrwx 0/0 11 1970-01-01 00:00 squashfs-root/link -> large/noise",
        ] {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert!(lines.contains(&words), "{line} is not in\n{listing}");
        }
        Some(())
    })();
}

#[test]
fn neither_threads_nor_order_of_making_change_a_byte() {
    let tree = everything();
    for compression in ALL {
        let image = |threads| {
            let settings = Settings { compression, threads, block_size: 4096, ..Settings::default() };
            Image::new(&tree, &settings).bytes()
        };
        let one = image(1);
        for threads in [0, 2, usize::MAX] {
            assert!(image(threads) == one, "{compression:?} with {threads} threads");
        }
    }
    // Which of its names a file is kept under is not the image's.
    let image = |kept: &str, linked: &str| {
        let mut tree = Tree::new();
        tree.insert(path("0"), file(prose(1, 9)));
        tree.insert(path(kept), owned(file(*b"x"), 0o644, 1, 2, 3));
        tree.insert(path("m"), file(prose(2, 9)));
        tree.insert(path(linked), node(NodeKind::Hardlink(path(kept))));
        Image::new(&tree.validate().expect("valid"), &Settings::default()).bytes()
    };
    assert!(image("a", "z") == image("z", "a"));
}

/// Names of every length, so that headers and indexes stand at every place of a block of metadata.
#[test]
fn a_directory_of_a_hundred_thousand_names() {
    (|| {
        tools(&["unsquashfs"])?;
        let mut tree = Tree::new();
        let name = |index: usize| format!("d/{index:06}{}", "n".repeat(index * 7 % 250));
        for index in 0..100_000 {
            let kind = match index % 3 {
                0 => NodeKind::File(Content::from_bytes(*b"")),
                1 => NodeKind::Symlink(index.to_string().into_bytes()),
                _ => NodeKind::Fifo,
            };
            tree.insert(path(name(index)), node(kind));
        }
        let tree = tree.validate().expect("valid");
        let image = Image::new(&tree, &Settings { compression: FAST, ..Settings::default() });
        let superblock = kernel::mount(&image.bytes());
        assert_eq!(superblock.inodes, 100_002);
        let listing = image.listing();
        assert_eq!(listing.lines().count(), 100_002);
        for index in (0..100_000).step_by(997) {
            assert!(listing.contains(&format!("squashfs-root/{}", name(index))), "{index}");
        }
        Some(())
    })();
}

/// As deep as a path can be.
#[test]
fn directories_in_directories() {
    (|| {
        tools(&["unsquashfs"])?;
        let deep = ["a"; 2000].join("/");
        let mut tree = Tree::new();
        tree.insert_with_parents(path(&deep), file(*b"deep down"));
        let tree = tree.validate().expect("valid");
        let image = Image::new(&tree, &Settings { compression: FAST, ..Settings::default() });
        assert_eq!(kernel::mount(&image.bytes()).inodes, 2001);
        let listing = image.listing();
        assert!(listing.contains(&format!("squashfs-root/{deep}")));
        Some(())
    })();
}

#[test]
fn files_larger_than_four_gigabytes() {
    (|| {
        tools(&["unsquashfs"])?;
        let directory = tempfile::tempdir().expect("a directory");
        let host = directory.path().join("host");
        let length = (5 << 30) + 12_345;
        let content = File::create(&host).expect("a file");
        content.set_len(length).expect("sized");
        for (place, seed) in [(1 << 20, 1), ((4 << 30) + 77, 2), (length - 3000, 3)] {
            std::os::unix::fs::FileExt::write_all_at(&content, &noise(seed, 3000), place).expect("written");
        }
        let mut tree = Tree::new();
        let large = || node(NodeKind::File(Content::from_path(&host, length)));
        tree.insert(path("one"), large());
        tree.insert(path("two"), large());
        let tree = tree.validate().expect("valid");
        let image = Image::new(&tree, &Settings { compression: FAST, ..Settings::default() });
        kernel::mount(&image.bytes());
        assert!(image.length < 24_576, "{} bytes: one of two that are the same", image.length);
        let to = directory.path().join("extracted");
        let mut unsquashfs = Command::new("unsquashfs");
        succeed(unsquashfs.args(["-quiet", "-no-progress", "-dest"]).arg(&to).arg(image.path()).arg("one"));
        let one = File::open(to.join("one")).expect("extracted");
        assert_eq!(one.metadata().expect("there").len(), length);
        for (place, seed) in [(1 << 20, 1), ((4 << 30) + 77, 2), (length - 3000, 3)] {
            let mut bytes = vec![0; 3000];
            std::os::unix::fs::FileExt::read_exact_at(&one, &mut bytes, place).expect("read");
            assert!(bytes == noise(seed, 3000), "{place}");
        }
        Some(())
    })();
}

/// What is the same is stored once, whatever it is named, and only what is the same.
#[test]
fn duplicates_are_stored_once() {
    let one = noise(1, 300_000);
    let mut other_end = one.clone();
    other_end[299_999] ^= 1;
    let mut other_middle = one.clone();
    other_middle[150_000] ^= 1;
    let small = noise(2, 5_000);
    let mut tree = Tree::new();
    for (name, bytes) in [
        ("1", &one),
        ("2", &other_end),
        ("3", &one),
        ("4", &other_middle),
        ("5", &other_end),
        ("6", &small),
        ("7", &small),
    ] {
        tree.insert(path(name), file(bytes.clone()));
    }
    let tree = tree.validate().expect("valid");
    for fragments in [Fragments::None, Fragments::SmallFiles, Fragments::Tails] {
        let settings = Settings { compression: Compression::None, fragments, ..Settings::default() };
        let image = Image::new(&tree, &settings);
        let data = 3 * 300_000 + 5_000;
        assert!((data..data + 4096 + 1000).contains(&image.length), "{} bytes", image.length);
    }
}

#[test]
fn files_that_are_read_first_come_first() {
    let mut tree = Tree::new();
    for name in ["a", "b", "c", "d"] {
        tree.insert(path(name), file(format!("content of {name}").into_bytes()));
    }
    tree.insert(path("to"), node(NodeKind::Symlink(b"d".to_vec())));
    tree.insert(path("z"), node(NodeKind::Hardlink(path("b"))));
    let tree = tree.validate().expect("valid");
    let order = |order: &[&str]| {
        let order = order.iter().map(path).collect();
        let settings = Settings { compression: Compression::None, order, ..Settings::default() };
        let bytes = Image::new(&tree, &settings).bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.match_indices("content of ")
            .map(|(at, text_of)| text[at + text_of.len()..][..1].to_owned())
            .collect::<String>()
    };
    assert_eq!(order(&[]), "abcd");
    assert_eq!(order(&["to", "z", "nothing", "to", "d"]), "dbac");
}

#[test]
fn what_has_no_place_is_refused_or_told() {
    let refused = |name: &str, node: Node, settings: &Settings| {
        let mut tree = Tree::new();
        tree.insert(path(name), node);
        let target = tempfile::tempfile().expect("a file");
        let error = squashfs::write(&tree.validate().expect("valid"), settings, Target::new(&target))
            .expect_err("it has no place");
        assert_eq!(target.metadata().expect("there").len(), 0, "nothing is written");
        error
    };
    let large = |length| node(NodeKind::File(Content::from_path("/nowhere", length)));
    let settings = Settings::default();
    for (node, word) in [
        (owned(file(*b""), 0, 0, 0, -1), "-1 s"),
        (owned(file(*b""), 0, 0, 0, 1 << 32), "4294967296 s"),
        (large(u64::MAX), "18446744073709551615 bytes"),
        (large(1 << 48), "281474976710656 bytes"),
        (large((1 << 48) - (1 << 20)), "4 GiB"),
        (node(NodeKind::Symlink(vec![b'a'; 4096])), "4096 bytes"),
        (node(NodeKind::Symlink(vec![])), "empty"),
        (node(NodeKind::CharDevice { major: 4096, minor: 0 }), "4096:0"),
        (node(NodeKind::BlockDevice { major: 0, minor: 1 << 20 }), "0:1048576"),
        (with_xattrs(file(*b""), &[("user.large", &[0; 65_537])]), "65537 bytes"),
        (with_xattrs(file(*b""), &[(&format!("user.{}", "n".repeat(251)), b"")]), "255 bytes"),
    ] {
        let error = refused("x", node, &settings);
        assert!(matches!(&error, ImageError::CannotHold { path: at, .. } if *at == path("x")), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    for block_size in [0, 2048, 100_000, 2 << 20] {
        let error = refused("x", file(*b""), &Settings { block_size, ..Settings::default() });
        assert!(matches!(error, ImageError::Settings { .. }), "{error}");
    }
    for compression in [Compression::Gzip { level: Some(0) }, Compression::Xz { level: Some(10) }] {
        let error = refused("x", file(*b""), &Settings { compression, ..Settings::default() });
        assert!(matches!(error, ImageError::Compressor { .. }), "{error}");
    }

    let mut tree = Tree::new();
    for id in 0..=32_768_u32 {
        tree.insert(path(format!("{id:05}")), owned(file(*b""), 0, id, 100_000 + id, 0));
    }
    let target = tempfile::tempfile().expect("a file");
    let mut tree = tree.validate().expect("valid");
    let error = squashfs::write(&tree, &settings, Target::new(&target)).expect_err("too many");
    assert!(error.to_string().contains("/32767"), "{error}");
    let mut less = tree.into_tree();
    less.remove(&path("32767"));
    less.remove(&path("32768"));
    // Root's own is one of them.
    tree = less.validate().expect("valid");
    let image = Image::new(&tree, &Settings { compression: FAST, ..Settings::default() });
    assert_eq!(kernel::mount(&image.bytes()).ids, 65_534);

    let mut tree = Tree::new();
    let xattrs: &[(&str, &[u8])] = &[("system.posix_acl_access", b"1"), ("user.kept", b"2"), ("user.", b"3")];
    tree.insert(path("x"), with_xattrs(file(*b""), xattrs));
    let tree = tree.validate().expect("valid");
    let losses = squashfs::losses(&tree);
    assert_eq!(losses.len(), 2, "{losses:?}");
    assert!(losses[0].contains("system.posix_acl_access of /x"), "{losses:?}");
    Image::new(&tree, &settings);
}

/// Files that can't be read, or that are not what they were.
#[test]
fn contents_that_fail_are_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let host = directory.path().join("host");
    fs_err::write(&host, noise(1, 10_000)).expect("written");
    for length in [9_999, 10_001] {
        for threads in [1, 3] {
            let mut tree = Tree::new();
            tree.insert(path("a"), file(noise(2, 400_000)));
            tree.insert(path("b"), node(NodeKind::File(Content::from_path(&host, length))));
            let target = tempfile::tempfile().expect("a file");
            let settings = Settings { threads, block_size: 4096, ..Settings::default() };
            let error = squashfs::write(&tree.validate().expect("valid"), &settings, Target::new(&target))
                .expect_err("it changed");
            assert!(matches!(&error, ImageError::Content { path: at, .. } if *at == path("b")), "{error}");
        }
    }
}

/// A target that can't be written is an error, with blocks on their way too.
#[test]
fn a_full_disk_is_an_error() {
    let mut tree = Tree::new();
    tree.insert(path("a"), file(noise(2, 4_000_000)));
    let tree = tree.validate().expect("valid");
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    for compression in ALL {
        let settings = Settings { compression, threads: 2, ..Settings::default() };
        let error = squashfs::write(&tree, &settings, Target::new(&full)).expect_err("full");
        assert!(matches!(&error, ImageError::Write(_)), "{error}");
    }
}

#[test]
fn an_empty_tree_is_an_image() {
    (|| {
        tools(&["unsquashfs"])?;
        let tree = Tree::new().validate().expect("valid");
        for (compression, pad) in ALL.into_iter().zip([true, false, true, false, true]) {
            let image = Image::new(&tree, &Settings { compression, pad, mtime: 77, ..Settings::default() });
            let superblock = kernel::mount(&image.bytes());
            assert_eq!((superblock.inodes, superblock.ids, superblock.mkfs_time), (1, 1, 77));
            assert_eq!(image.length, if pad { 4096 } else { superblock.bytes_used });
            assert!(image.listing().contains("squashfs-root"));
        }
        Some(())
    })();
}

/// Not larger than what mksquashfs makes of the same files.
#[test]
fn it_is_as_small_as_of_mksquashfs() {
    (|| {
        tools(&["mksquashfs"])?;
        let source = checkout().join("src");
        let origin = Origin::new(LayerKind::Overlay, "");
        let tree = directory::read(&source, &origin, &|_| true).expect("readable").validate().expect("valid");
        for (compression, arguments) in [
            (Compression::Gzip { level: None }, "gzip"),
            (Compression::Xz { level: None }, "xz"),
            (Compression::Zstd { level: Some(15) }, "zstd"),
        ] {
            let image = Image::new(&tree, &Settings { compression, ..Settings::default() });
            let theirs = image.directory.path().join("theirs");
            let mut mksquashfs = Command::new("mksquashfs");
            mksquashfs.arg(&source).arg(&theirs).args(["-quiet", "-no-progress", "-comp", arguments]);
            succeed(&mut mksquashfs);
            let (ours, theirs) = (kernel::mount(&image.bytes()), kernel_bytes(&theirs));
            assert!(ours.bytes_used * 100 <= theirs * 101, "{arguments}: {} and {theirs}", ours.bytes_used);
        }
        Some(())
    })();
}

fn kernel_bytes(image: &Path) -> u64 {
    kernel::mount(&fs_err::read(image).expect("readable")).bytes_used
}
