//! Random trees in images of random sizes.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

use leanfs::image::ImageError;
use leanfs::image::ext4::{Journal, Settings, Size};
use leanfs::tree::{Content, Metadata, Node, NodeKind, Origin, Tree, TreePath, ValidTree};
use proptest::prelude::*;

use super::{GIB, Image, MIB, settings};
use crate::end_to_end::bench::full;

/// Names, kinds and contents of a random tree's nodes, and what the image is like.
fn any_case() -> impl Strategy<Value = (ValidTree, Settings)> {
    let content = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..100),
        2 => (0_usize..200_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
        1 => prop::collection::vec(any::<bool>(), 0..60).prop_map(|blocks| {
            blocks.iter().flat_map(|&data| vec![u8::from(data); 4096]).collect()
        }),
    ];
    let kind = prop_oneof![
        3 => Just(NodeKind::Directory),
        6 => content.prop_map(|bytes| NodeKind::File(Content::from_bytes(bytes))),
        1 => prop::collection::vec(1_u8.., 1..4095).prop_map(NodeKind::Symlink),
        1 => (0_u32..4096, 0_u32..1 << 20).prop_map(|(major, minor)| NodeKind::CharDevice { major, minor }),
        1 => (0_u32..4096, 0_u32..1 << 20).prop_map(|(major, minor)| NodeKind::BlockDevice { major, minor }),
        1 => Just(NodeKind::Fifo),
    ];
    let xattrs = prop::collection::btree_map(
        (prop_oneof![Just("user."), Just("trusted."), Just("security.")], "[a-zé]{1,40}")
            .prop_map(|(prefix, name)| format!("{prefix}{name}").into_bytes()),
        prop::collection::vec(any::<u8>(), 0..300),
        0..5,
    );
    let metadata = (0_u32..0o10_000, any::<u32>(), any::<u32>(), -(1_i64 << 31)..1 << 33)
        .prop_map(|(mode, uid, gid, mtime)| Metadata { mode, uid, gid, mtime });
    let name = prop::collection::vec(1_u8.., 1..60);
    let node = (any::<prop::sample::Index>(), name, kind, metadata, xattrs);
    let size = prop_oneof![
        Just(Size::Fit),
        (0..100 * MIB).prop_map(Size::Free),
        (40 * MIB..3 * GIB).prop_map(Size::Exact)
    ];
    let journal =
        prop_oneof![Just(Journal::None), Just(Journal::Default), (4 * MIB..9 * MIB).prop_map(Journal::Bytes)];
    (prop::collection::vec(node, 0..60), size, journal, any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(
        |(nodes, size, journal, uuid, hash_seed)| {
            let mut tree = Tree::new();
            let mut directories = vec![TreePath::root()];
            for (parent, name, kind, metadata, xattrs) in nodes {
                let Ok(place) = parent.get(&directories).join(&name) else { continue };
                if tree.get(&place).is_some()
                    || place.parent().is_none_or(|parent| !directories.contains(&parent))
                {
                    continue;
                }
                if matches!(kind, NodeKind::Directory) {
                    directories.push(place.clone());
                }
                tree.insert(place, node_of(&kind, metadata, &xattrs));
            }
            let settings = Settings { size, journal, uuid, hash_seed, ..settings() };
            (tree.validate().expect("every parent is a directory"), settings)
        },
    )
}

fn node_of(kind: &NodeKind, metadata: Metadata, xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Node {
    Node { xattrs: xattrs.clone(), ..Node::new(kind.clone(), metadata, Origin::skeleton()) }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if full() { 500 } else { 20 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Each file comes back, and `e2fsck` has nothing to say.
    #[test]
    fn random_trees_come_back((tree, settings) in any_case()) {
        let image = Image::new(&tree, &settings);
        let again = Image::try_new(&tree, &settings).expect("as before");
        prop_assert_eq!(image.length, again.length);
        if image.length < 100 * MIB {
            prop_assert!(image.bytes() == again.bytes());
        }
        let out = image.scratch.join("out");
        fs_err::create_dir(&out).expect("room");
        if image.debugfs(&format!("rdump / {}\n", out.display())).is_some() {
            for (path, node) in tree.iter() {
                let NodeKind::File(content) = &node.kind else { continue };
                let place = out.join(std::ffi::OsStr::from_bytes(path.as_bytes()));
                let dumped = fs_err::read(&place).expect("it was dumped");
                prop_assert!(dumped == content.read(MIB).expect("in memory"));
            }
        }
    }

    /// What an error says is needed is enough, and nothing less is.
    #[test]
    fn what_is_needed_is_known((tree, settings) in any_case()) {
        let of = |bytes| Settings { size: Size::Exact(bytes), ..settings.clone() };
        let Err(ImageError::TooSmall { needed, .. }) = Image::try_new(&tree, &of(0)) else {
            panic!("nothing is too small for a file system");
        };
        Image::new(&tree, &of(needed));
        for less in [needed - 1, needed / 2] {
            let result = Image::try_new(&tree, &of(less));
            let Err(ImageError::TooSmall { needed: same, .. }) = result else { panic!("{less} bytes are enough") };
            prop_assert_eq!(same, needed);
        }
    }
}
