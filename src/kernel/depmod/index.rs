//! The index that kmod looks things up in (`modules.dep.bin`, `modules.alias.bin` …): a trie, in which every key has
//! values with priorities.
//!
//! All numbers are 32 bits, the highest byte first: magic number, version, place of the root; then the nodes, each
//! before its children. Of a place the highest bits say what stands there: a prefix that ends with NUL, then
//! the lowest and highest byte that a key may go on with and a place for each byte between (0: none), then how many values,
//! and for each its priority and its text with NUL. Source: kmod's `libkmod-index`, and what depmod 34 writes.

use std::collections::BTreeMap;

const MAGIC: u32 = 0xb007_f457;
/// Major version 2, minor 1.
const VERSION: u32 = 0x0002_0001;
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;

/// An index under construction.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Of each key the values, by priority.
    keys: BTreeMap<Vec<u8>, Vec<(u32, Vec<u8>)>>,
}

impl Index {
    /// Adds a value; one that is there already is not added again.
    pub(super) fn insert(&mut self, key: &str, value: &str, priority: u32) {
        let values = self.keys.entry(key.as_bytes().to_vec()).or_default();
        if values.iter().any(|(_, there)| there == value.as_bytes()) {
            return;
        }
        let place = values.iter().position(|(there, _)| *there > priority).unwrap_or(values.len());
        values.insert(place, (priority, value.as_bytes().to_vec()));
    }

    /// The file's bytes; none if it is larger than places can say.
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = [MAGIC, VERSION, 0].map(u32::to_be_bytes).concat();
        let keys: Vec<Entry<'_>> =
            self.keys.iter().map(|(key, values)| (key.as_slice(), values.as_slice())).collect();
        let root = write(&keys, 0, &mut bytes, 0)?;
        bytes[8..12].copy_from_slice(&root.to_be_bytes());
        Some(bytes)
    }
}

type Entry<'a> = (&'a [u8], &'a [(u32, Vec<u8>)]);

/// Writes the node for sorted `keys`, which have their first `depth` bytes in common; gives its place. The root has no
/// prefix.
fn write(keys: &[Entry<'_>], depth: usize, bytes: &mut Vec<u8>, level: usize) -> Option<u32> {
    /// Keys are names and aliases, of a few hundred bytes at most.
    const DEEPEST: usize = 4096;
    if level > DEEPEST {
        return None;
    }
    let first = keys.first().map_or(&[][..], |(key, _)| *key);
    let last = keys.last().map_or(&[][..], |(key, _)| *key);
    let common = match level {
        // Sorted keys have in common what the first and the last have.
        1.. => first[depth..].iter().zip(&last[depth..]).take_while(|(one, other)| one == other).count(),
        0 => 0,
    };
    let end = depth + common;
    let (values, below) = match keys.split_first() {
        Some(((key, values), below)) if key.len() == end => (*values, below),
        _ => (&[][..], keys),
    };
    let groups: Vec<(u8, &[Entry<'_>])> = below
        .chunk_by(|(one, _), (other, _)| one.get(end) == other.get(end))
        .filter_map(|group| Some((*group.first()?.0.get(end)?, group)))
        .collect();
    let mut place = u32::try_from(bytes.len()).ok().filter(|place| *place < HAS_CHILDREN)?;
    if common > 0 {
        bytes.extend_from_slice(&first[depth..end]);
        bytes.push(0);
        place |= HAS_PREFIX;
    }
    let mut places = 0;
    if let (Some((lowest, _)), Some((highest, _))) = (groups.first(), groups.last()) {
        bytes.extend([*lowest, *highest]);
        places = bytes.len();
        bytes.resize(places + 4 * (usize::from(*highest - *lowest) + 1), 0);
        place |= HAS_CHILDREN;
    }
    if !values.is_empty() {
        bytes.extend(u32::try_from(values.len()).ok()?.to_be_bytes());
        for (priority, value) in values {
            bytes.extend(priority.to_be_bytes());
            bytes.extend_from_slice(value);
            bytes.push(0);
        }
        place |= HAS_VALUES;
    }
    for (byte, group) in &groups {
        let child = write(group, end + 1, bytes, level + 1)?;
        let slot = places + 4 * usize::from(*byte - groups[0].0);
        bytes[slot..slot + 4].copy_from_slice(&child.to_be_bytes());
    }
    Some(place)
}
