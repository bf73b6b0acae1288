//! What the tests of each format put into their trees.

use std::sync::Arc;

use leanfs::tree::{Content, Metadata, Node, NodeKind, Origin, Tree, TreePath, ValidTree};
use proptest::prelude::*;

/// A node of the mode that its kind usually has.
pub(crate) fn node(kind: NodeKind) -> Node {
    let metadata = match kind {
        NodeKind::Directory => Metadata::DIRECTORY,
        NodeKind::Symlink(_) => Metadata { mode: 0o777, ..Metadata::FILE },
        _ => Metadata::FILE,
    };
    Node::new(kind, metadata, Origin::skeleton())
}

/// A file of these bytes.
pub(crate) fn file(bytes: impl Into<Arc<[u8]>>) -> Node {
    node(NodeKind::File(Content::from_bytes(bytes)))
}

/// Bytes that no compressor makes smaller.
pub(crate) fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

/// Bytes that every compressor makes smaller.
pub(crate) fn prose(seed: u64, count: usize) -> Vec<u8> {
    noise(seed, count / 8 + 1)
        .iter()
        .flat_map(|byte| format!("word{:03} ", byte & 63).into_bytes())
        .take(count)
        .collect()
}

/// A tree of any names, sizes around those of blocks and clusters, holes, links, attributes, as root can put it on a
/// disk; with such times.
pub(crate) fn any_tree(times: impl Strategy<Value = i64>) -> impl Strategy<Value = ValidTree> {
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
    // ext4, where they may be extracted to, has room for 4 KiB of them.
    let xattrs = prop::collection::btree_map(
        "(trusted|security|user)\\.[a-c]{1,3}".prop_map(String::into_bytes),
        (0..4_u64, prop_oneof![0..4_usize, 0..1000_usize]).prop_map(|(seed, size)| noise(seed, size)),
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
    let metadata = (0..0o10_000_u32, owner(), owner(), times);
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
            let mut made = node(kind);
            made.metadata = Metadata { mode, uid, gid, mtime };
            // Only files and directories have attributes of users.
            let plain = matches!(made.kind, NodeKind::File(_) | NodeKind::Directory);
            made.xattrs =
                xattrs.into_iter().filter(|(name, _)| plain || !name.starts_with(b"user.")).collect();
            match made.kind {
                NodeKind::Directory => directories.push(at.clone()),
                NodeKind::File(_) if linked && !files.is_empty() => {
                    made = node(NodeKind::Hardlink(index.get(&files).clone()));
                }
                NodeKind::File(_) => files.push(at.clone()),
                // Linux shows no other mode of a link.
                NodeKind::Symlink(_) => made.metadata.mode = 0o777,
                _ => {}
            }
            tree.insert(at, made);
        }
        tree.validate().expect("every parent is a directory")
    })
}
