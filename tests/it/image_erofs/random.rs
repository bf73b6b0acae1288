//! Trees that nobody thought of.

use std::path::PathBuf;

use leanfs::image::erofs::Settings;
use leanfs::tree::{Content, NodeKind, Tree, TreePath, ValidTree};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::{Image, as_extracted, fsck_reads, kinds, noise, prose};
use crate::end_to_end::bench::full;
use crate::images::disk::powers;
use crate::images::guest::{Drive, in_kernel};
use crate::images::lines::assert_same;
use crate::images::{expected, path};

/// A tree of any names, sizes around those of blocks and clusters, holes, links, attributes.
fn any_tree() -> impl Strategy<Value = ValidTree> {
    let name = prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'-'), 1..=255_u8], 1..12)
        .prop_map(|name| name.into_iter().map(|byte| if byte == b'/' { b'_' } else { byte }).collect())
        .prop_filter("names of the directory itself", |name: &Vec<u8>| name != b"." && name != b"..");
    let size = prop_oneof![
        3 => 0..200_usize,
        3 => (0..6_usize, 0..5_usize).prop_map(|(blocks, more)| (blocks * 4096 + more).saturating_sub(2)),
        2 => 0..60_000_usize,
        1 => 0..700_000_usize,
    ];
    let content = (size, 0..6_u64, 0..4_u8).prop_map(|(size, seed, how)| match how {
        0 => noise(seed, size),
        1 => prose(seed, size),
        2 => noise(seed, size / 2).into_iter().chain(prose(seed, size - size / 2)).collect(),
        _ => {
            let mut bytes = vec![0; size];
            let place = seed as usize * 4096 % size.max(1);
            let end = size.min(place + 50);
            bytes[place..end].copy_from_slice(&noise(seed, end - place));
            bytes
        }
    });
    let xattrs = prop::collection::btree_map(
        "(trusted|security|user)\\.[a-c]{1,3}".prop_map(String::into_bytes),
        (0..4_u64, prop_oneof![0..4_usize, 0..2000_usize]).prop_map(|(seed, size)| noise(seed, size)),
        0..4,
    );
    let kind = prop_oneof![
        6 => content.prop_map(|bytes| NodeKind::File(Content::from_bytes(bytes))),
        4 => Just(NodeKind::Directory),
        1 => prop::collection::vec(1..=255_u8, 1..300).prop_map(NodeKind::Symlink),
        1 => (1..4096_u32, 0..1_u32 << 20).prop_map(|(major, minor)| NodeKind::CharDevice { major, minor }),
        1 => (0..4096_u32, 0..1_u32 << 20).prop_map(|(major, minor)| NodeKind::BlockDevice { major, minor }),
        1 => Just(NodeKind::Fifo),
    ];
    let owner = || prop_oneof![0..3_u32, any::<u32>().prop_map(|id| id.min(u32::MAX - 1))];
    let metadata =
        (0..0o10_000_u32, owner(), owner(), prop_oneof![Just(7_i64), -2_000_000_000..15_000_000_000_i64]);
    let one = (any::<prop::sample::Index>(), name, kind, metadata, xattrs, any::<bool>());
    prop::collection::vec(one, 0..70).prop_map(|all| {
        let mut tree = Tree::new();
        let mut directories = vec![TreePath::root()];
        let mut files: Vec<TreePath> = Vec::new();
        for (index, name, kind, (mode, uid, gid, mtime), xattrs, linked) in all {
            let Ok(at) = index.get(&directories).join(&name) else { continue };
            if tree.get(&at).is_some() {
                continue;
            }
            let mut node = super::node(kind);
            node.metadata = leanfs::tree::Metadata { mode, uid, gid, mtime };
            // Only files and directories have attributes of users.
            let plain = matches!(node.kind, NodeKind::File(_) | NodeKind::Directory);
            node.xattrs =
                xattrs.into_iter().filter(|(name, _)| plain || !name.starts_with(b"user.")).collect();
            match node.kind {
                NodeKind::Directory => directories.push(at.clone()),
                NodeKind::File(_) if linked && !files.is_empty() => {
                    node = super::node(NodeKind::Hardlink(index.get(&files).clone()));
                }
                NodeKind::File(_) => files.push(at.clone()),
                // Linux shows no other mode of a link.
                NodeKind::Symlink(_) => node.metadata.mode = 0o777,
                _ => {}
            }
            tree.insert(at, node);
        }
        tree.validate().expect("every parent is a directory")
    })
}

/// As many as a machine has room for; the same ones each time.
#[test]
fn the_kernel_sees_what_they_have() {
    let mut runner = TestRunner::deterministic();
    let mut any = || {
        let mut tree = any_tree().new_tree(&mut runner).expect("a tree").current().into_tree();
        for (name, mtime) in [("the first second", i64::MIN), ("the last second", i64::MAX)] {
            let mut node = super::node(NodeKind::Fifo);
            node.metadata.mtime = mtime;
            tree.insert(path(name), node);
        }
        tree.validate().expect("it was")
    };
    let made: Vec<(Settings, ValidTree, Image)> = (0..if full() { 10 } else { 2 })
        .flat_map(|_| kinds())
        .map(|settings| {
            let tree = any();
            let image = Image::new(&tree, &settings);
            (settings, tree, image)
        })
        .collect();
    let places: Vec<PathBuf> = made.iter().map(|(_, _, image)| image.path()).collect();
    let drives: Vec<Drive<'_>> = places.iter().map(|place| Drive::new(place, "erofs")).collect();
    let Some(seen) = in_kernel(&drives) else { return };
    for ((settings, tree, _), seen) in made.iter().zip(&seen) {
        assert_eq!(seen.complaints, [""; 0], "{settings:?}");
        assert_same(&format!("{settings:?}"), &expected(tree), &seen.listing);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if full() { 400 } else { 24 }, ..ProptestConfig::default() })]

    #[test]
    fn fsck_extracts_what_they_have(
        tree in any_tree(),
        settings in prop::sample::select(kinds()),
        threads in 1..4_usize,
    ) {
        if fsck_reads(&settings) && powers().is_some() {
            let image = Image::new(&tree, &Settings { threads, ..settings.clone() });
            if let Some(found) = image.extracted() {
                assert_same(&format!("{settings:?}"), &as_extracted(&tree), &found);
            }
        }
    }
}
