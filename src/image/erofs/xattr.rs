//! Extended attributes: beside their inode, or once for all in an area that inodes share.
//!
//! Source: [the format's page on extended attributes](https://erofs.docs.kernel.org/en/latest/ondisk/core_ondisk.html)
//! and `fs/erofs/xattr.c`. The beginning of a name is a number; names that begin otherwise have no place. An
//! inode's attributes begin with a header of twelve bytes and the places of shared ones, in units of four bytes from
//! the area's beginning; each attribute is padded to four bytes.

use std::collections::HashMap;

use crate::tree::{Node, NodeKind, ValidTree};

/// The header of an inode's attributes.
const HEADER: usize = 12;
/// Sizes and places are counted in this.
const UNIT: usize = 4;
/// Attributes that only one inode has are beside it up to this, so that small files stay beside it too.
const MOST_INLINE: usize = 1024;
/// How many shared ones an inode may have.
const MOST_SHARED: usize = u8::MAX as usize;
/// The largest value.
pub(super) const MOST_VALUE: usize = u16::MAX as usize;

/// A name as the format has it: the number of its beginning, and the rest. `None` where it has none.
pub(super) fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    match name {
        b"system.posix_acl_access" => return Some((2, b"")),
        b"system.posix_acl_default" => return Some((3, b"")),
        _ => {}
    }
    [(1, &b"user."[..]), (4, b"trusted."), (6, b"security.")]
        .into_iter()
        .find_map(|(index, prefix)| Some((index, name.strip_prefix(prefix)?)))
        .filter(|(_, rest)| !rest.is_empty())
}

/// An attribute, padded.
fn encode(index: u8, name: &[u8], value: &[u8], bytes: &mut Vec<u8>) {
    // Names and values that are longer are refused before anything is written.
    bytes.extend_from_slice(&[name.len() as u8, index]);
    bytes.extend_from_slice(&(value.len() as u16).to_le_bytes());
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(UNIT), 0);
}

fn encoded_size(name: &[u8], value: &[u8]) -> usize {
    (UNIT + name.len() + value.len()).next_multiple_of(UNIT)
}

/// An attribute as the tree has it.
type Attribute<'a> = (&'a [u8], &'a [u8]);

/// Where all attributes of a tree stand.
#[derive(Debug, Default)]
pub(super) struct Xattrs<'a> {
    /// Where shared ones stand, in units.
    places: HashMap<Attribute<'a>, u32>,
    /// The shared ones, in their order.
    shared: Vec<Attribute<'a>>,
    size: u64,
}

impl<'a> Xattrs<'a> {
    pub(super) fn new(tree: &'a ValidTree) -> Self {
        let mut counts: HashMap<Attribute<'a>, u32> = HashMap::new();
        for attribute in nodes(tree).flat_map(attributes) {
            *counts.entry(attribute).or_default() += 1;
        }
        let mut all = Self::default();
        for node in nodes(tree) {
            let mut inline = 0;
            for (number, attribute @ (name, value)) in attributes(node).enumerate() {
                if all.places.contains_key(&attribute) {
                    continue;
                }
                let size = split(name).map_or(0, |(_, rest)| encoded_size(rest, value));
                let several = counts.get(&attribute).is_some_and(|&count| count > 1);
                if !several && inline + size <= MOST_INLINE || number >= MOST_SHARED {
                    inline += size;
                } else if let Ok(place) = u32::try_from(all.size / UNIT as u64) {
                    all.places.insert(attribute, place);
                    all.shared.push(attribute);
                    all.size += size as u64;
                }
            }
        }
        all
    }

    /// The size of the shared area in bytes.
    pub(super) fn shared_size(&self) -> u64 {
        self.size
    }

    /// The attributes of the shared area, padded, one after the other.
    pub(super) fn shared(&self) -> impl Iterator<Item = Vec<u8>> {
        self.shared.iter().filter_map(|(name, value)| {
            let (index, name) = split(name)?;
            let mut bytes = Vec::with_capacity(encoded_size(name, value));
            encode(index, name, value, &mut bytes);
            Some(bytes)
        })
    }

    /// The size of what follows a node's inode, in bytes.
    pub(super) fn size(&self, node: &'a Node) -> u64 {
        let mut size = 0;
        for (number, attribute @ (name, value)) in attributes(node).enumerate() {
            size += if number < MOST_SHARED && self.places.contains_key(&attribute) {
                UNIT
            } else {
                split(name).map_or(0, |(_, rest)| encoded_size(rest, value))
            };
        }
        if size == 0 { 0 } else { (HEADER + size) as u64 }
    }

    /// What follows a node's inode.
    pub(super) fn encode(&self, node: &'a Node) -> Vec<u8> {
        let (mut places, mut inline) = (Vec::new(), Vec::new());
        for (number, attribute @ (name, value)) in attributes(node).enumerate() {
            match (self.places.get(&attribute), split(name)) {
                (Some(place), _) if number < MOST_SHARED => places.extend_from_slice(&place.to_le_bytes()),
                (_, Some((index, rest))) => encode(index, rest, value, &mut inline),
                _ => {}
            }
        }
        if places.is_empty() && inline.is_empty() {
            return Vec::new();
        }
        let mut bytes = vec![0; HEADER];
        bytes[4] = (places.len() / UNIT) as u8;
        bytes.extend_from_slice(&places);
        bytes.extend_from_slice(&inline);
        bytes
    }
}

/// What an inode says of the size of its attributes (`i_xattr_icount`). `None` where they are too many.
pub(super) fn icount(size: u64) -> Option<u16> {
    match size.checked_sub(HEADER as u64) {
        None => Some(0),
        Some(more) => u16::try_from(more / UNIT as u64 + 1).ok(),
    }
}

/// The nodes whose attributes are used: a hardlink has its target's.
fn nodes(tree: &ValidTree) -> impl Iterator<Item = &Node> {
    tree.iter().map(|(_, node)| node).filter(|node| !matches!(node.kind, NodeKind::Hardlink(_)))
}

/// Those that have a place.
fn attributes(node: &Node) -> impl Iterator<Item = Attribute<'_>> {
    node.xattrs
        .iter()
        .map(|(name, value)| (name.as_slice(), value.as_slice()))
        .filter(|(name, _)| split(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Metadata, Origin, Tree};

    fn tree(nodes: &[&[(&str, &[u8])]]) -> ValidTree {
        let mut tree = Tree::new();
        for (number, xattrs) in nodes.iter().enumerate() {
            let mut node = Node::file(Content::from_bytes(*b""), Metadata::FILE, Origin::skeleton());
            node.xattrs =
                xattrs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect();
            tree.insert(format!("{number:03}").parse().expect("good"), node);
        }
        tree.validate().expect("valid")
    }

    fn node(tree: &ValidTree, number: usize) -> &Node {
        tree.iter().nth(number + 1).expect("it has so many").1
    }

    #[test]
    fn beginnings_are_numbers() {
        for (name, expected) in [
            ("user.x", Some((1, &b"x"[..]))),
            ("trusted.overlay.opaque", Some((4, b"overlay.opaque"))),
            ("security.capability", Some((6, b"capability"))),
            ("system.posix_acl_access", Some((2, b""))),
            ("system.posix_acl_default", Some((3, b""))),
            ("system.nfs4_acl", None),
            ("user.", None),
            ("user", None),
        ] {
            assert_eq!(split(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn what_several_have_is_there_once() {
        let large = [7; 2000];
        let tree = tree(&[
            &[("security.a", b"12"), ("user.own", b"x")],
            &[("security.a", b"12")],
            &[("user.large", &large)],
            &[("system.other", b"lost")],
        ]);
        let xattrs = Xattrs::new(&tree);
        let shared: Vec<u8> = xattrs.shared().flatten().collect();
        assert_eq!(shared.len() as u64, xattrs.shared_size());
        assert_eq!(shared[..8], [1, 6, 2, 0, b'a', b'1', b'2', 0]);
        assert_eq!(shared[8..17], [5, 1, 0xd0, 7, b'l', b'a', b'r', b'g', b'e']);
        let header = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        let own = [3, 1, 1, 0, b'o', b'w', b'n', b'x'];
        for (number, expected) in [
            [&header[..], &[0; 4], &own].concat(),
            [&header[..], &[0; 4]].concat(),
            [&header[..], &[2, 0, 0, 0]].concat(),
            vec![],
        ]
        .into_iter()
        .enumerate()
        {
            let bytes = xattrs.encode(node(&tree, number));
            assert_eq!(bytes, expected, "{number}");
            assert_eq!(xattrs.size(node(&tree, number)), bytes.len() as u64);
        }
        assert_eq!([0, 12, 16, 24].map(icount), [0, 1, 2, 4].map(Some));
        assert_eq!(icount(12 + 4 * 65_534), Some(u16::MAX));
        assert_eq!(icount(12 + 4 * 65_535), None);
    }

    #[test]
    fn more_than_can_be_shared_stand_beside_the_inode() {
        let names: Vec<String> = (0..300).map(|number| format!("user.{number:03}")).collect();
        let all: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &[1; 20][..])).collect();
        let tree = tree(&[&all, &all]);
        let xattrs = Xattrs::new(&tree);
        for number in 0..2 {
            let bytes = xattrs.encode(node(&tree, number));
            assert_eq!(bytes[4], 255);
            assert_eq!(bytes.len(), HEADER + 255 * 4 + 45 * 28);
            assert_eq!(xattrs.size(node(&tree, number)), bytes.len() as u64);
        }
    }
}
