//! EROFS images, as the kernel and `fsck.erofs` read them.

mod random;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use leanfs::image::ImageError;
use leanfs::image::erofs::{self, Settings};
use leanfs::image::target::Target;
use leanfs::recipe::Compression;
use leanfs::tree::{Content, Metadata, Node, NodeKind, Origin, Tree, ValidTree};

use crate::end_to_end::bench::{succeed, text};
use crate::images::disk::powers;
use crate::images::guest::{Drive, in_kernel};
use crate::images::lines::assert_same;
use crate::images::samples::{file, node, noise, prose};
use crate::images::torture::{self, Part, Size};
use crate::images::{expected, on_host, path, tool};

const ZSTD: Compression = Compression::Zstd { level: Some(3) };

/// Every kind of image.
fn kinds() -> Vec<Settings> {
    let settings = |compression, cluster_size, pack_tails, quick| Settings {
        compression,
        cluster_size,
        pack_tails,
        quick,
        threads: 2,
        ..Settings::default()
    };
    vec![
        settings(Compression::None, 4096, false, false),
        settings(Compression::Lz4, 4096, false, false),
        settings(Compression::Lz4, 4096, true, false),
        settings(Compression::Lz4, 65_536, true, false),
        settings(Compression::Lz4, 16_384, false, true),
        settings(ZSTD, 4096, true, false),
        settings(ZSTD, 65_536, false, false),
        settings(ZSTD, 1 << 20, true, false),
    ]
}

/// Debian 12's tools know no other compressor than LZ4.
fn fsck_reads(settings: &Settings) -> bool {
    !matches!(settings.compression, Compression::Zstd { .. })
}

struct Image {
    directory: tempfile::TempDir,
    length: u64,
}

impl Image {
    fn new(tree: &ValidTree, settings: &Settings) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = File::create(directory.path().join("image")).expect("a file");
        let length = erofs::write(tree, settings, Target::new(&file)).expect("written");
        assert_eq!(file.metadata().expect("there").len(), length);
        assert_eq!(length % 4096, 0);
        Self { directory, length }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    fn bytes(&self) -> Vec<u8> {
        fs_err::read(self.path()).expect("readable")
    }

    /// What `fsck.erofs` makes of it on disk. It decompresses everything on the way.
    fn extracted(&self) -> Option<String> {
        let to = self.directory.path().join("extracted");
        let mut fsck = Command::new(tool("fsck.erofs")?);
        let mut extract = std::ffi::OsString::from("--extract=");
        extract.push(&to);
        let said = text(&succeed(fsck.arg("-d1").arg(extract).arg(self.path())));
        assert!(!said.contains("<E>") && !said.contains("<W>"), "{said}");
        let found = on_host(&to);
        drop(Command::new("rm").arg("-rf").arg(&to).status());
        found
    }
}

/// What `fsck.erofs` 1.5 extracts: copies of hardlinks, no extended attributes, and hardly any set-ID bits, as it gives files
/// away after it sets them.
fn as_extracted(tree: &ValidTree) -> String {
    let mut copies = tree.tree().clone();
    for (path, node) in tree.iter() {
        let mut node = match &node.kind {
            NodeKind::Hardlink(target) => tree.tree().get(target).expect("valid").clone(),
            _ => node.clone(),
        };
        node.xattrs.clear();
        if !matches!(node.kind, NodeKind::Directory) {
            // chown(2) leaves the set-group-ID bit where the group may not execute: it means something else there.
            node.metadata.mode &= if node.metadata.mode & 0o010 == 0 { 0o3777 } else { 0o1777 };
        }
        copies.insert(path.clone(), node);
    }
    expected(&copies.validate().expect("it was"))
}

fn with_file(bytes: impl Into<Arc<[u8]>>) -> ValidTree {
    let mut tree = Tree::new();
    tree.insert(path("x"), file(bytes));
    tree.validate().expect("valid")
}

/// A sparse file of `size` bytes on disk with these bytes at `place`.
fn sparse(place: &Path, size: u64, parts: &[(u64, &[u8])]) -> Content {
    let file = File::create(place).expect("room");
    file.set_len(size).expect("sized");
    for (position, bytes) in parts {
        file.write_all_at(bytes, *position).expect("written");
    }
    Content::from_path(place, size)
}

/// All that is hard about file systems, in every kind of image.
#[test]
fn the_kernel_sees_what_the_tree_has() {
    let tree = torture::tree(Size::wanted(), &Part::ALL);
    let wanted = expected(&tree);
    let images: Vec<Image> = kinds().iter().map(|settings| Image::new(&tree, settings)).collect();
    let places: Vec<PathBuf> = images.iter().map(Image::path).collect();
    let drives: Vec<Drive<'_>> = places.iter().map(|place| Drive::new(place, "erofs")).collect();
    let Some(seen) = in_kernel(&drives) else { return };
    for (settings, seen) in kinds().iter().zip(&seen) {
        assert_eq!(seen.complaints, [""; 0], "{settings:?}");
        assert_same(&format!("{settings:?}"), &wanted, &seen.listing);
    }
}

/// `fsck.erofs` 1.5 leaves out holes instead of making them, and follows no paths that are longer than it can say.
#[test]
fn fsck_extracts_what_the_tree_has() {
    if powers().is_none() {
        return;
    }
    let tree = torture::tree(Size::Sampled, &Part::all_but(&[Part::Sparse, Part::DeepPaths]));
    let wanted = as_extracted(&tree);
    for settings in kinds().iter().filter(|settings| fsck_reads(settings)) {
        let Some(found) = Image::new(&tree, settings).extracted() else { return };
        assert_same(&format!("{settings:?}"), &wanted, &found);
    }
}

#[test]
fn neither_threads_nor_holes_on_the_host_change_a_byte() {
    let scratch = tempfile::tempdir().expect("a directory");
    let large = [prose(1, 3_000_000), noise(2, 2_500_000), vec![0; 3_000_000]].concat();
    let holes = sparse(&scratch.path().join("holes"), 40 << 20, &[(5_000_000, b"x"), (30 << 20, &large)]);
    let written = Content::from_bytes(holes.read(40 << 20).expect("readable"));
    let tree = |holes: &Content| {
        let mut tree = torture::tree(Size::Sampled, &[Part::Sizes, Part::Zeros, Part::ManyFiles]).into_tree();
        tree.insert(path("large"), file(large.clone()));
        tree.insert(path("holes"), node(NodeKind::File(holes.clone())));
        tree.validate().expect("valid")
    };
    for settings in kinds() {
        let image = |threads, holes| {
            let settings = Settings { threads, ..settings.clone() };
            Image::new(&tree(holes), &settings).bytes()
        };
        let one = image(1, &holes);
        for threads in [0, 2, 5] {
            assert!(image(threads, &holes) == one, "{threads} threads: {settings:?}");
        }
        assert!(image(2, &written) == one, "{settings:?}");
    }
}

#[test]
fn the_superblock_says_what_was_asked_for() {
    let Some(dump) = tool("dump.erofs") else { return };
    let settings = Settings {
        uuid: *b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef",
        label: "sixteen letters!".to_owned(),
        build_time: Some(1_774_422_169),
        cluster_size: 4096,
        ..Settings::default()
    };
    let said = |settings: &Settings, bytes: Vec<u8>| {
        let image = Image::new(&with_file(bytes), settings);
        assert_eq!(image.bytes()[1024 + 64..1024 + 80], *b"sixteen letters!");
        // Version 1.5 has no word for packed tails: bit 4 of `feature_incompat`.
        let packs_tails = image.bytes()[1024 + 80] & 0x10 != 0;
        let said = succeed(Command::new(&dump).env("TZ", "UTC").arg("-s").arg(image.path()));
        (text(&said), packs_tails)
    };
    let (shown, packs_tails) = said(&settings, prose(1, 20_000));
    assert!(packs_tails);
    for line in [
        "Filesystem UUID:                              01234567-89ab-cdef-0123-456789abcdef",
        "Filesystem created:                           Wed Mar 25 07:02:49 2026",
        "Filesystem inode count:                       2",
        "0padding ",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    // Nothing that a file doesn't need is asked of readers.
    let (none, packs_tails) = said(&settings, noise(1, 20_000));
    assert!(!none.contains("0padding") && !packs_tails, "{none}");
    let (plain, packs_tails) = said(&Settings { pack_tails: false, ..settings }, prose(1, 20_000));
    assert!(plain.contains("0padding") && !packs_tails, "{plain}");
}

/// Without a time of its own an image has the one that most nodes have, and those need not say it.
#[test]
fn nodes_with_the_time_of_the_image_take_half_the_room() {
    let tree = |times: &dyn Fn(i64) -> i64| {
        let mut tree = Tree::new();
        for index in 0..10_000 {
            let mut node = node(NodeKind::Fifo);
            node.metadata.mtime = times(index);
            tree.insert(path(&format!("d/{index}")), node);
        }
        Image::new(&tree.validate().expect("valid"), &Settings::default()).length
    };
    let (same, different) = (tree(&|_| 5), tree(&|index| index));
    let saved = different - same;
    assert!((300_000..330_000).contains(&saved), "{saved} bytes");
}

#[test]
fn equal_data_is_stored_once() {
    for settings in kinds() {
        for size in [10_000, 200_000, 5_000_001] {
            let tree = |count: usize| {
                let mut tree = Tree::new();
                for index in 0..count {
                    let mut node = file(noise(3, size));
                    // Other attributes, another owner: it is the data that is the same.
                    node.metadata.uid = index as u32;
                    node.xattrs.insert(b"user.x".to_vec(), vec![1; index * 10]);
                    tree.insert(path(&format!("{index}")), node);
                }
                Image::new(&tree.validate().expect("valid"), &settings).length
            };
            let (one, four) = (tree(1), tree(4));
            // What is left at the end stands beside each inode.
            assert!(four <= one + 3 * 4096 + 20_000, "{one} and {four}: {settings:?}");
        }
    }
}

#[test]
fn large_holes_cost_little() {
    let scratch = tempfile::tempdir().expect("a directory");
    let size = 5 << 30;
    let end = size - 3;
    let content = sparse(&scratch.path().join("x"), size, &[(1 << 32, &prose(1, 10_000)), (end, b"end")]);
    let mut tree = Tree::new();
    tree.insert(path("x"), node(NodeKind::File(content)));
    let tree = tree.validate().expect("valid");
    for settings in kinds() {
        let image = Image::new(&tree, &settings);
        assert!(image.length < 500_000, "{} bytes: {settings:?}", image.length);
        if fsck_reads(&settings) {
            let Some(fsck) = tool("fsck.erofs") else { return };
            succeed(Command::new(fsck).arg(image.path()));
        }
    }
}

/// The kernel looks names up by halving: across blocks, and in them.
#[test]
fn every_name_of_a_large_directory_is_found() {
    let Some(dump) = tool("dump.erofs") else { return };
    let mut tree = Tree::new();
    let name = |index: usize| format!("d/{:06}{}", index, "n".repeat(index * 7 % 240));
    for index in 0..20_000 {
        tree.insert(path(&name(index)), node(NodeKind::Symlink(index.to_string().into_bytes())));
    }
    for odd in ["d/!", "d/-", "d/.-", "d/...", "d/~"] {
        tree.insert(path(odd), node(NodeKind::Fifo));
    }
    let image = Image::new(&tree.validate().expect("valid"), &Settings::default());
    for name in (0..20_000).step_by(1999).map(name).chain(["d/!", "d/.-", "d/..."].map(str::to_owned)) {
        let said = text(&succeed(Command::new(&dump).arg(format!("--path=/{name}")).arg(image.path())));
        assert!(said.contains(&format!("File : /{name}\n")), "{said}");
    }
}

#[test]
fn what_has_no_place_is_refused_before_writing() {
    let of = |kind: NodeKind, xattrs: &[(&str, usize)]| {
        let mut node = node(kind);
        for (name, size) in xattrs {
            node.xattrs.insert(name.as_bytes().to_vec(), vec![1; *size]);
        }
        let mut tree = Tree::new();
        tree.insert(path("a"), file(*b"first"));
        tree.insert(path("x"), node);
        let target = tempfile::tempfile().expect("a file");
        let result =
            erofs::write(&tree.validate().expect("valid"), &Settings::default(), Target::new(&target));
        let written = target.metadata().expect("there").len();
        assert!(result.is_ok() == (written > 0), "{written} bytes: {result:?}");
        result
    };
    let names: Vec<String> = (0..5).map(|index| format!("user.{index}")).collect();
    let device = |major, minor| NodeKind::CharDevice { major, minor };
    let all: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 65_535)).collect();
    let long = format!("user.{}", "n".repeat(256));
    for (kind, xattrs, fits) in [
        (device(4095, 1_048_575), &[][..], true),
        (device(4096, 0), &[], false),
        (NodeKind::BlockDevice { major: 0, minor: 1 << 20 }, &[], false),
        (NodeKind::Symlink(vec![b'x'; 4095]), &[], true),
        (NodeKind::Symlink(vec![b'x'; 4096]), &[], false),
        (NodeKind::Symlink(vec![]), &[], false),
        (NodeKind::Fifo, &[("user.x", 65_535)], true),
        (NodeKind::Fifo, &[("user.x", 65_536)], false),
        (NodeKind::Fifo, &all, true),
        (NodeKind::Fifo, &[(&long[..260], 1)], true),
        (NodeKind::Fifo, &[(&long, 1)], false),
        (NodeKind::File(Content::from_path("/nowhere", u64::MAX)), &[], false),
    ] {
        match of(kind, xattrs) {
            Ok(_) => assert!(fits, "{xattrs:?}"),
            Err(ImageError::CannotHold { path: named, .. }) => {
                assert!(!fits && named == path("x"), "{xattrs:?}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    let gone = of(NodeKind::File(Content::from_path("/nowhere", i64::MAX as u64)), &[]);
    assert!(matches!(gone, Err(ImageError::Content { .. })), "{gone:?}");
}

#[test]
fn settings_that_are_not_there_are_refused() {
    let tree = with_file(*b"x");
    for settings in [
        Settings { compression: Compression::Gzip { level: None }, ..Settings::default() },
        Settings { compression: Compression::Xz { level: None }, ..Settings::default() },
        Settings { compression: Compression::Zstd { level: Some(0) }, ..Settings::default() },
        Settings { compression: Compression::Zstd { level: Some(23) }, ..Settings::default() },
        Settings { cluster_size: 0, ..Settings::default() },
        Settings { cluster_size: 5000, ..Settings::default() },
        Settings { cluster_size: 2 << 20, ..Settings::default() },
        Settings { label: "seventeen letters".to_owned(), ..Settings::default() },
        Settings { label: "a\0b".to_owned(), ..Settings::default() },
    ] {
        let target = tempfile::tempfile().expect("a file");
        let error = erofs::write(&tree, &settings, Target::new(&target)).expect_err("refused");
        assert!(matches!(error, ImageError::Settings { .. }), "{error}");
        assert_eq!(target.metadata().expect("there").len(), 0);
    }
}

#[test]
fn a_file_that_changes_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    for (size, now) in [(5, 4), (5, 6), (5_000_000, 4_000_000), (5_000_000, 6_000_000)] {
        let place = directory.path().join("x");
        fs_err::write(&place, noise(1, now)).expect("room");
        let mut tree = Tree::new();
        tree.insert(path("x"), node(NodeKind::File(Content::from_path(&place, size))));
        let tree = tree.validate().expect("valid");
        let target = tempfile::tempfile().expect("a file");
        let error = erofs::write(&tree, &Settings::default(), Target::new(&target)).expect_err("it changed");
        assert!(matches!(&error, ImageError::Content { path: named, .. } if *named == path("x")), "{error}");
    }
}

#[test]
fn attributes_without_a_place_are_told() {
    let mut tree = Tree::new();
    let mut node = file(*b"x");
    for name in ["user.kept", "system.posix_acl_access", "system.nfs4_acl", "btrfs.compression"] {
        node.xattrs.insert(name.as_bytes().to_vec(), b"1".to_vec());
    }
    tree.insert(path("x"), node);
    tree.insert(path("y"), Node::new(NodeKind::Hardlink(path("x")), Metadata::FILE, Origin::skeleton()));
    let losses = erofs::losses(&tree.validate().expect("valid"));
    assert_eq!(
        losses,
        [
            "erofs has no place for btrfs.compression: it is lost from /x",
            "erofs has no place for system.nfs4_acl: it is lost from /x"
        ]
    );
}
