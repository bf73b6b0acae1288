use std::os::unix::fs::FileExt;

use super::entry::date_and_time;
use super::*;
use crate::tree::{Origin, Tree};

fn path(text: &str) -> TreePath {
    text.parse().expect("a good path")
}

fn add(tree: &mut Tree, name: &str, content: Content) {
    tree.insert_with_parents(path(name), Node::file(content, Metadata::FILE, Origin::skeleton()));
}

fn written(tree: Tree, settings: &Settings) -> Vec<u8> {
    let file = tempfile::tempfile().expect("a file");
    let tree = tree.validate().expect("valid");
    let length = write(&tree, settings, Target::new(&file)).expect("written");
    assert_eq!(length, super::length(&tree, settings).expect("known"));
    let mut bytes = vec![0; length as usize];
    assert_eq!(file.metadata().expect("there").len(), length);
    file.read_exact_at(&mut bytes, 0).expect("read");
    bytes
}

fn refused(tree: Tree, settings: &Settings) -> ImageError {
    let file = tempfile::tempfile().expect("a file");
    let error = write(&tree.validate().expect("valid"), settings, Target::new(&file)).expect_err("refused");
    assert_eq!(file.metadata().expect("there").len(), 0, "nothing was written");
    error
}

#[test]
fn times() {
    for (mtime, expected) in [
        (0, "1980-01-01 00:00:00"),
        (i64::MIN, "1980-01-01 00:00:00"),
        (315_532_803, "1980-01-01 00:00:02"),
        (951_782_399, "2000-02-28 23:59:58"),
        (951_782_400, "2000-02-29 00:00:00"),
        (1_709_251_199, "2024-02-29 23:59:58"),
        (1_735_689_599, "2024-12-31 23:59:58"),
        (4_107_542_400, "2100-03-01 00:00:00"),
        (i64::MAX, "2107-12-31 23:59:58"),
    ] {
        let (date, time) = date_and_time(mtime);
        let text = format!(
            "{}-{:02}-{:02} {:02}:{:02}:{:02}",
            1980 + (date >> 9),
            date >> 5 & 15,
            date & 31,
            time >> 11,
            time >> 5 & 63,
            (time & 31) * 2
        );
        assert_eq!(text, expected, "{mtime}");
    }
}

#[test]
fn files_follow_each_other() {
    let mut tree = Tree::new();
    add(&mut tree, "EFI/BOOT/BOOTX64.EFI", Content::from_bytes(vec![7; 1025]));
    add(&mut tree, "empty", Content::from_bytes(vec![]));
    let volume = written(tree.clone(), &Settings { size: Some(3 << 20), ..Settings::default() });
    let sector = |field: usize| usize::from(u16::from_le_bytes([volume[field], volume[field + 1]]));
    let (reserved, table) = (sector(14), sector(22));
    assert_eq!(&volume[54..59], b"FAT16");
    let entries: Vec<u16> =
        volume[reserved * 512..][..16].chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    // /EFI, /EFI/BOOT, and three clusters of the file.
    assert_eq!(entries, [0xfff8, 0xffff, 0xffff, 0xffff, 5, 6, 0xffff, 0]);
    assert_eq!(volume[reserved * 512..][..512 * table], volume[(reserved + table) * 512..][..512 * table]);
    let data = (reserved + 2 * table + 32) * 512;
    assert_eq!(data % 4096, 0);
    assert_eq!(&volume[data + 512..][64..76], b"BOOTX64 EFI\x20");
    assert_eq!(&volume[data + 512 + 32..][..12], b"..         \x10");
    assert_eq!(volume[data + 512 + 32 + 26], 2, "the parent's cluster");
    assert_eq!(volume[data + 32 + 26], 0, "the root is called 0");
    assert_eq!(volume[data + 1024..][..1026], [vec![7; 1025], vec![0]].concat());

    let wide = written(tree, &Settings { size: Some(40 << 20), ..Settings::default() });
    assert_eq!(&wide[82..87], b"FAT32");
    assert_eq!(wide[..512], wide[6 * 512..7 * 512], "the copy of the boot sector");
    let number = |at: usize| u32::from_le_bytes(*wide[at..].first_chunk().expect("4 bytes"));
    // The root, two directories, three clusters.
    let clusters = (40 * 2048 - u32::from(wide[14]) - 2 * number(36)) / u32::from(wide[13]);
    assert_eq!((number(512 + 488), number(512 + 492)), (clusters - 6, 8));
}

#[test]
fn what_fat_can_not_hold_is_named_before_writing() {
    let node = |kind| Node::new(kind, Metadata::FILE, Origin::skeleton());
    for (kind, reason) in [
        (NodeKind::Symlink(b"x".to_vec()), "FAT can't hold /a/b: it is a symbolic link"),
        (NodeKind::Fifo, "a named pipe"),
        (NodeKind::CharDevice { major: 1, minor: 3 }, "a character device"),
        (NodeKind::File(Content::from_path("/nowhere", 1 << 32)), "smaller than 4 GiB"),
        (NodeKind::File(Content::from_path("/nowhere", u64::MAX)), "smaller than 4 GiB"),
    ] {
        let mut tree = Tree::new();
        tree.insert_with_parents(path("a/b"), node(kind));
        let error = refused(tree, &Settings::default());
        assert!(matches!(&error, ImageError::CannotHold { path: at, .. } if *at == path("a/b")), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let mut tree = Tree::new();
    add(&mut tree, "d/A", Content::from_bytes(*b""));
    add(&mut tree, "d/a", Content::from_bytes(*b""));
    let error = refused(tree, &Settings::default());
    assert!(matches!(&error, ImageError::CannotHold { path: at, .. } if *at == path("d/a")), "{error}");
    let mut tree = Tree::new();
    for number in 0..22_000 {
        add(&mut tree, &format!("many/a name with {number}"), Content::from_bytes(*b""));
    }
    let error = refused(tree, &Settings::default());
    assert!(error.to_string().contains("/many: it needs 65992 directory entries"), "{error}");
}

#[test]
fn sizes_and_labels_that_can_not_be() {
    let mut tree = Tree::new();
    add(&mut tree, "a", Content::from_bytes(vec![1; 5 << 20]));
    let with = |size| Settings { size: Some(size), ..Settings::default() };
    match refused(tree.clone(), &with(4 << 20)) {
        ImageError::TooSmall { needed, .. } => {
            written(tree.clone(), &with(needed));
            assert!(matches!(refused(tree.clone(), &with(needed - 4096)), ImageError::TooSmall { .. }));
        }
        error => panic!("{error}"),
    }
    for size in [0, 512, 1 << 20] {
        assert!(matches!(refused(Tree::new(), &with(size)), ImageError::TooSmall { .. }), "{size}");
    }
    for settings in [
        with((4 << 20) + 1),
        with(u64::MAX - 511),
        with(u64::MAX),
        with(3 << 40),
        Settings { free: u64::MAX, ..Settings::default() },
        Settings { label: "lower".to_owned(), ..Settings::default() },
        Settings { label: "TWELVE CHARS".to_owned(), ..Settings::default() },
        Settings { label: " X".to_owned(), ..Settings::default() },
    ] {
        let error = refused(tree.clone(), &settings);
        assert!(matches!(error, ImageError::Settings { .. }), "{error}");
    }
}

#[test]
fn a_file_that_changes_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let host = directory.path().join("x");
    fs_err::write(&host, b"x").expect("written");
    let mut tree = Tree::new();
    add(&mut tree, "empty", Content::from_path(&host, 0));
    let file = tempfile::tempfile().expect("a file");
    let error = write(&tree.validate().expect("valid"), &Settings::default(), Target::new(&file))
        .expect_err("it grew");
    assert!(matches!(&error, ImageError::Content { path: at, .. } if *at == path("empty")), "{error}");
}

#[test]
fn losses_are_told() {
    let mut tree = Tree::new();
    let mut node = Node::file(Content::from_bytes(*b""), Metadata::FILE, Origin::skeleton());
    node.metadata = Metadata { mode: 0o4755, mtime: 1 << 30, ..node.metadata };
    node.xattrs.insert(b"user.x".to_vec(), b"y".to_vec());
    tree.insert(path("a"), node);
    let mut link = Node::new(NodeKind::Hardlink(path("a")), Metadata::FILE, Origin::skeleton());
    link.metadata.mtime = 1 << 30;
    tree.insert(path("b"), link);
    let losses = losses(&tree.validate().expect("valid"));
    assert_eq!(losses.len(), 4, "{losses:?}");
    assert!(losses[0].ends_with("everything else (1 of them)"), "{losses:?}");
    assert!(losses[1].ends_with("the nearest (1 of them)"), "only the root's: {losses:?}");
    assert!(losses[2].contains("user.x of /a"), "{losses:?}");
    assert!(losses[3].contains("/b is a copy of /a"), "{losses:?}");
}
