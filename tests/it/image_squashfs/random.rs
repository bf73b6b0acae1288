//! Trees that nobody thought of.

use leanfs::image::squashfs::{Fragments, Settings};
use leanfs::tree::{Content, NodeKind, Tree, TreePath, ValidTree};
use proptest::prelude::*;

use super::super::end_to_end::bench::full;
use super::{ALL, Image, assert_same, kernel, noise, owned, prose, root};

/// A tree that root can extract as it is: names, sizes around those of blocks, holes, links, attributes.
fn any_tree() -> impl Strategy<Value = ValidTree> {
    let name = prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'-'), 1..=255_u8], 1..12)
        .prop_map(|name| {
            name.into_iter().map(|byte| if byte == b'/' { b'_' } else { byte }).collect::<Vec<u8>>()
        })
        .prop_filter("names of the directory itself", |name| name != b"." && name != b"..");
    let size = prop_oneof![
        3 => 0..200_usize,
        2 => (0..4_usize, 0..5_usize).prop_map(|(blocks, more)| (blocks * 4096 + more).saturating_sub(2)),
        1 => 0..40_000_usize,
    ];
    let content = (size, 0..6_u64, 0..3_u8).prop_map(|(size, seed, how)| match how {
        0 => noise(seed, size),
        1 => prose(seed, size),
        _ => {
            let mut bytes = vec![0; size];
            let place = seed as usize * 4096 % size.max(1);
            let end = size.min(place + 50);
            bytes[place..end].copy_from_slice(&noise(seed, end - place));
            bytes
        }
    });
    let xattrs = prop::collection::btree_map(
        "(trusted|security)\\.[a-c]{1,3}".prop_map(String::into_bytes),
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..4),
            (0..4_u64, 0..2000_usize).prop_map(|(seed, size)| noise(seed, size)),
        ],
        0..3,
    );
    let kind = prop_oneof![
        5 => content.prop_map(|bytes| NodeKind::File(Content::from_bytes(bytes))),
        4 => Just(NodeKind::Directory),
        1 => prop::collection::vec(1..=255_u8, 1..300).prop_map(NodeKind::Symlink),
        1 => (0..4096_u32, 0..1_u32 << 20).prop_map(|(major, minor)| NodeKind::CharDevice { major, minor }),
        1 => (0..4096_u32, 0..1_u32 << 20).prop_map(|(major, minor)| NodeKind::BlockDevice { major, minor }),
        1 => Just(NodeKind::Fifo),
    ];
    let mode = (
        0..0o10_000_u32,
        prop_oneof![0..3_u32, any::<u32>().prop_map(|id| id.min(u32::MAX - 1))],
        0..3_u32,
        any::<u32>(),
    );
    let one = (any::<prop::sample::Index>(), name, kind, mode, xattrs, any::<bool>());
    prop::collection::vec(one, 0..60).prop_map(|all| {
        let mut tree = Tree::new();
        let mut directories = vec![TreePath::root()];
        let mut files: Vec<TreePath> = Vec::new();
        for (index, name, kind, (mode, uid, gid, mtime), xattrs, linked) in all {
            let Ok(at) = index.get(&directories).join(&name) else { continue };
            if tree.get(&at).is_some() {
                continue;
            }
            let mut node = owned(super::node(kind), mode, uid, gid, mtime.into());
            node.xattrs = xattrs;
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

proptest! {
    #![proptest_config(ProptestConfig { cases: if full() { 400 } else { 24 }, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_comes_back(
        tree in any_tree(),
        compression in prop::sample::select(ALL.to_vec()),
        block_size in prop::sample::select(vec![4096, 8192, 128 << 10]),
        fragments in prop::sample::select(vec![Fragments::None, Fragments::SmallFiles, Fragments::Tails]),
        threads in 1..4_usize,
    ) {
        if root().is_some() {
            let settings = Settings { compression, block_size, fragments, threads, ..Settings::default() };
            let image = Image::new(&tree, &settings);
            kernel::mount(&image.bytes());
            assert_same(&tree, &image.extracted(), &format!("{settings:?}"));
        }
    }
}
