//! Extended attributes: in the inode, in a block, or a value in an inode of its own.
//!
//! Source: the kernel's [extended attributes](https://docs.kernel.org/filesystems/ext4/attributes.html), and
//! for the hashes and values in inodes `fs/ext4/xattr.c`. Access control lists are kept in a form of their own,
//! which is shorter than that of the system calls (`fs/ext4/acl.c`, `include/uapi/linux/posix_acl_xattr.h`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::BLOCK;
use super::checksum::crc32c;
use super::inode::ATTRIBUTE_SPACE;

const MAGIC: u32 = 0xea02_0000;
/// Bytes of an entry before its name.
const ENTRY: usize = 16;
/// Bytes of a block's header, and of the magic number in an inode.
const BLOCK_HEADER: usize = 32;
const INODE_HEADER: usize = 4;
/// A word of zeros ends the entries.
const END: usize = 4;
/// Bytes for entries and values in a block, and in an inode.
const IN_BLOCK: usize = BLOCK as usize - BLOCK_HEADER - END;
const IN_INODE: usize = ATTRIBUTE_SPACE - INODE_HEADER - END;
/// The kernel's `XATTR_SIZE_MAX`.
const LONGEST_VALUE: usize = 65_536;
/// `EXT4_XATTR_REFCOUNT_MAX`: as many inodes share a block at most.
pub(super) const MOST_SHARERS: u32 = 1024;

/// The beginnings of names that have a number. The kernel knows more, but none that a file of a tree can have.
const PREFIXES: [(u8, &[u8]); 3] = [(1, b"user."), (4, b"trusted."), (6, b"security.")];
const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attribute<'a> {
    /// The name's beginning.
    prefix: u8,
    /// Entries are sorted by prefix, then length of the name, then name.
    length: usize,
    name: &'a [u8],
    value: Cow<'a, [u8]>,
    /// Whether the value stands in an inode of its own.
    is_outside: bool,
}

/// Where the attributes of a node go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attributes<'a> {
    in_inode: Vec<Attribute<'a>>,
    in_block: Vec<Attribute<'a>>,
}

impl<'a> Attributes<'a> {
    /// Decides where the attributes go.
    ///
    /// # Errors
    /// Why the format has no room for them, or what is wrong with one.
    pub(super) fn new(xattrs: &'a BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Self, String> {
        let mut all = Vec::with_capacity(xattrs.len());
        for (name, value) in xattrs {
            let attribute = Attribute::new(name, value)
                .map_err(|reason| format!("its attribute {}: {reason}", name.escape_ascii()))?;
            all.push(attribute);
        }
        all.sort_unstable();
        loop {
            if let Some(arranged) = arrange(&all) {
                return Ok(arranged);
            }
            // The largest value, of equal ones the first, leaves.
            let largest = (0..all.len())
                .filter(|&place| !all[place].is_outside && !all[place].value.is_empty())
                .max_by_key(|&place| (all[place].value.len(), std::cmp::Reverse(place)));
            match largest {
                Some(place) => all[place].is_outside = true,
                None => return Err("its extended attributes are too many for one block".to_owned()),
            }
        }
    }

    /// Whether there is a block.
    pub(super) fn has_block(&self) -> bool {
        !self.in_block.is_empty()
    }

    /// The values that want inodes of their own, in the order in which these are numbered.
    pub(super) fn outside(&self) -> impl Iterator<Item = &[u8]> {
        let all = self.in_inode.iter().chain(&self.in_block);
        all.filter(|attribute| attribute.is_outside).map(|attribute| &*attribute.value)
    }

    /// The inode's part. The first value outside has the inode `first_outside`, the next one the next.
    pub(super) fn inode_bytes(&self, seed: u32, first_outside: u32) -> [u8; ATTRIBUTE_SPACE] {
        let mut bytes = [0; ATTRIBUTE_SPACE];
        if !self.in_inode.is_empty() {
            bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
            fill(&mut bytes[INODE_HEADER..], 0, &self.in_inode, seed, first_outside);
        }
        bytes
    }

    /// The block, but for the number of its sharers and its checksum, see [`seal`].
    pub(super) fn block_bytes(&self, seed: u32, first_outside: u32) -> [u8; BLOCK as usize] {
        let before = self.in_inode.iter().filter(|attribute| attribute.is_outside).count();
        let first_outside = first_outside + u32::try_from(before).unwrap_or_default();
        let mut bytes = [0; BLOCK as usize];
        let hash = fill(&mut bytes, BLOCK_HEADER, &self.in_block, seed, first_outside);
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[8..12].copy_from_slice(&1_u32.to_le_bytes());
        bytes[12..16].copy_from_slice(&hash.to_le_bytes());
        bytes
    }
}

/// Puts what depends on its place into a block of attributes: how many inodes share it, and the checksum.
pub(super) fn seal(bytes: &mut [u8; BLOCK as usize], seed: u32, block: u64, sharers: u32) {
    bytes[4..8].copy_from_slice(&sharers.to_le_bytes());
    bytes[16..20].fill(0);
    let checksum = crc32c(crc32c(seed, &block.to_le_bytes()), &*bytes);
    bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
}

/// The hash of a value that stands in an inode of its own.
pub(super) fn value_hash(seed: u32, value: &[u8]) -> u32 {
    crc32c(seed, value)
}

impl<'a> Attribute<'a> {
    fn new(full_name: &'a [u8], value: &'a [u8]) -> Result<Self, String> {
        let value: Cow<'a, [u8]> =
            if is_acl(full_name) { Cow::Owned(acl(value)?) } else { Cow::Borrowed(value) };
        if value.len() > LONGEST_VALUE {
            return Err(format!("its value has {} bytes, and at most 65536 are allowed", value.len()));
        }
        let (prefix, name) = split(full_name).ok_or("names of this kind have no place in ext4")?;
        if name.len() > 255 {
            return Err(format!("its name has {} bytes, and at most 255 are allowed", name.len()));
        }
        Ok(Self { prefix, length: name.len(), name, value, is_outside: false })
    }

    /// What it takes of an inode or block.
    fn size(&self) -> usize {
        let value = if self.is_outside { 0 } else { self.value.len() };
        ENTRY + self.name.len().next_multiple_of(4) + value.next_multiple_of(4)
    }

    /// Over the name's bytes and the words of the value, or the hash of a value elsewhere.
    fn hash(&self, seed: u32) -> u32 {
        let of_name = self.name.iter().fold(0_u32, |hash, &byte| hash.rotate_left(5) ^ u32::from(byte));
        let with = |hash: u32, word: u32| hash.rotate_left(16) ^ word;
        if self.is_outside {
            return with(of_name, value_hash(seed, &self.value));
        }
        self.value.chunks(4).fold(of_name, |hash, chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            with(hash, u32::from_le_bytes(word))
        })
    }
}

fn is_acl(full_name: &[u8]) -> bool {
    full_name == ACL_ACCESS || full_name == ACL_DEFAULT
}

fn split(full_name: &[u8]) -> Option<(u8, &[u8])> {
    match full_name {
        ACL_ACCESS => Some((2, b"")),
        ACL_DEFAULT => Some((3, b"")),
        _ => PREFIXES.into_iter().find_map(|(number, prefix)| {
            full_name.strip_prefix(prefix).filter(|name| !name.is_empty()).map(|name| (number, name))
        }),
    }
}

/// All into the inode, or all into a block, or as many as fit into the inode (the smallest first) and the rest
/// into a block.
fn arrange<'a>(all: &[Attribute<'a>]) -> Option<Attributes<'a>> {
    let size: usize = all.iter().map(Attribute::size).sum();
    if size <= IN_INODE {
        return Some(Attributes { in_inode: all.to_vec(), in_block: Vec::new() });
    }
    if size <= IN_BLOCK {
        return Some(Attributes { in_inode: Vec::new(), in_block: all.to_vec() });
    }
    let mut by_size: Vec<usize> = (0..all.len()).collect();
    by_size.sort_by_key(|&place| all[place].size());
    let mut room = IN_INODE;
    let mut is_inside = vec![false; all.len()];
    for place in by_size {
        let size = all[place].size();
        if size > room {
            break;
        }
        room -= size;
        is_inside[place] = true;
    }
    if size - (IN_INODE - room) > IN_BLOCK {
        return None;
    }
    let part = |inside: bool| {
        let chosen = all.iter().zip(&is_inside).filter(|(_, is_inside)| **is_inside == inside);
        chosen.map(|(attribute, _)| attribute.clone()).collect()
    };
    Some(Attributes { in_inode: part(true), in_block: part(false) })
}

/// Entries from `start` on, values from the end down; their offsets count from the beginning of `bytes`. Gives the
/// hash over all.
fn fill(bytes: &mut [u8], start: usize, attributes: &[Attribute<'_>], seed: u32, first_outside: u32) -> u32 {
    let mut next_outside = first_outside;
    let mut at = start;
    let mut values = bytes.len();
    let mut hash = 0_u32;
    for attribute in attributes {
        let length = u32::try_from(attribute.value.len()).unwrap_or(u32::MAX);
        let mut offset = 0;
        let mut inode = 0;
        if attribute.is_outside {
            inode = next_outside;
            next_outside += 1;
        } else if !attribute.value.is_empty() {
            values -= attribute.value.len().next_multiple_of(4);
            bytes[values..values + attribute.value.len()].copy_from_slice(&attribute.value);
            offset = values;
        }
        let entry_hash = attribute.hash(seed);
        hash = hash.rotate_left(16) ^ entry_hash;
        let entry = &mut bytes[at..at + ENTRY + attribute.name.len()];
        entry[0] = u8::try_from(attribute.name.len()).unwrap_or(u8::MAX);
        entry[1] = attribute.prefix;
        // Within a block.
        entry[2..4].copy_from_slice(&u16::try_from(offset).unwrap_or_default().to_le_bytes());
        entry[4..8].copy_from_slice(&inode.to_le_bytes());
        entry[8..12].copy_from_slice(&length.to_le_bytes());
        entry[12..16].copy_from_slice(&entry_hash.to_le_bytes());
        entry[ENTRY..].copy_from_slice(attribute.name);
        at += ENTRY + attribute.name.len().next_multiple_of(4);
    }
    hash
}

/// An access control list in ext4's form: entries that name nobody (owner, group, mask, others) have no
/// identifier.
fn acl(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    const VERSION: u32 = 2;
    const EXT4_VERSION: u32 = 1;
    const USER: u16 = 0x02;
    const GROUP: u16 = 0x08;
    const NAMELESS: [u16; 4] = [0x01, 0x04, 0x10, 0x20];
    let (version, entries) = value.split_first_chunk::<4>().ok_or("it is no access control list")?;
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != VERSION || !rest.is_empty() {
        return Err("it is no access control list of version 2");
    }
    let mut bytes = EXT4_VERSION.to_le_bytes().to_vec();
    for entry in entries {
        match u16::from_le_bytes([entry[0], entry[1]]) {
            USER | GROUP => bytes.extend_from_slice(entry),
            tag if NAMELESS.contains(&tag) => bytes.extend_from_slice(&entry[..4]),
            _ => return Err("it is an access control list with an unknown kind of entry"),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(attributes: &[(&str, &[u8])]) -> BTreeMap<Vec<u8>, Vec<u8>> {
        attributes.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect()
    }

    #[test]
    fn small_ones_stand_in_the_inode() {
        let xattrs = map(&[("user.b", b"12345"), ("user.a", b""), ("security.capability", b"0123456789ab")]);
        let attributes = Attributes::new(&xattrs).expect("they fit");
        assert!(!attributes.has_block());
        let bytes = attributes.inode_bytes(0, 0);
        assert_eq!(bytes[..4], MAGIC.to_le_bytes());
        assert_eq!(bytes[4..12], [1, 1, 0, 0, 0, 0, 0, 0], "no value");
        assert_eq!(bytes[20], b'a');
        assert_eq!(bytes[24..28], [1, 1, 84, 0]);
        assert_eq!(&bytes[INODE_HEADER + 84..INODE_HEADER + 92], b"12345\0\0\0");
        assert_eq!(bytes[44..48], [10, 6, 72, 0]);
    }

    #[test]
    fn as_they_grow_they_go_into_a_block_then_into_inodes() {
        let long = vec![7; 3000];
        let xattrs = map(&[("user.a", &long)]);
        let attributes = Attributes::new(&xattrs).expect("they fit");
        assert!(attributes.has_block() && attributes.in_inode.is_empty());
        let xattrs = map(&[("user.a", &long), ("user.b", &[1; 1020]), ("user.c", b"x")]);
        let attributes = Attributes::new(&xattrs).expect("they fit");
        assert_eq!((attributes.in_inode.len(), attributes.in_block.len()), (1, 2));
        assert_eq!(attributes.outside().count(), 0);
        let xattrs = map(&[("user.a", &long), ("user.b", &[1; 3000]), ("user.c", &[2; 65_536])]);
        let attributes = Attributes::new(&xattrs).expect("they fit");
        assert_eq!(attributes.outside().map(<[u8]>::len).collect::<Vec<_>>(), [3000, 65_536]);
        assert_eq!(attributes, Attributes::new(&xattrs).expect("they fit"));
    }

    #[test]
    fn what_has_no_place_is_refused() {
        let names: Vec<String> = (0..20).map(|number| format!("user.{number:0>250}")).collect();
        let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
        let long = vec![0; 65_537];
        let name = format!("user.{}", "x".repeat(256));
        for xattrs in [
            map(&many),
            map(&[("user.a", &long)]),
            map(&[(&name, b"")]),
            map(&[("user.", b"")]),
            map(&[("system.data", b"x")]),
            map(&[("plain", b"x")]),
            map(&[("system.posix_acl_access", b"\x02\0\0")]),
            map(&[("system.posix_acl_access", b"\x01\0\0\0")]),
            map(&[("system.posix_acl_access", b"\x02\0\0\0\x03\0\x07\0\0\0\0\0")]),
        ] {
            assert!(Attributes::new(&xattrs).is_err(), "{xattrs:?}");
        }
    }

    #[test]
    fn access_control_lists_lose_the_identifiers_of_nobody() {
        let given =
            b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x06\0\xe8\x03\0\0\x20\0\0\0\xff\xff\xff\xff";
        let expected = b"\x01\0\0\0\x01\0\x07\0\x02\0\x06\0\xe8\x03\0\0\x20\0\0\0";
        assert_eq!(acl(given).expect("good"), expected);
    }
}
