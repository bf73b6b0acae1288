//! Names, each once, and the order in which `apk` goes through all of them.
//!
//! `apk` keeps names in a hash table, and what depends on a name stands in the order of that table. Since it
//! takes no decision back, that order decides now and then which package is chosen, so it is followed here: the
//! buckets by number, in each the last name first.

use std::collections::HashMap;

use super::universe::NameId;

/// The buckets of apk's table.
const BUCKETS: u32 = 20_000;
/// The seed of its hash.
const SEED: u32 = 5381;

#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    by_text: HashMap<&'a str, NameId>,
    buckets: Vec<u32>,
}

impl<'a> Names<'a> {
    pub(super) fn with_capacity(names: usize) -> Self {
        Self { by_text: HashMap::with_capacity(names), buckets: Vec::with_capacity(names) }
    }

    /// The name, and whether it was not known before.
    pub(super) fn intern(&mut self, text: &'a str) -> (NameId, bool) {
        let next = NameId::new(self.buckets.len());
        let name = *self.by_text.entry(text).or_insert(next);
        if name == next {
            self.buckets.push(murmur3(text.as_bytes(), SEED) % BUCKETS);
        }
        (name, name == next)
    }

    pub(super) fn get(&self, text: &str) -> Option<NameId> {
        self.by_text.get(text).copied()
    }

    /// All names as apk goes through them.
    pub(super) fn in_table_order(&self) -> Vec<NameId> {
        let mut order: Vec<NameId> = (0..self.buckets.len()).map(NameId::new).collect();
        order.sort_unstable_by_key(|name| (self.buckets[name.index()], std::cmp::Reverse(*name)));
        order
    }
}

/// MurmurHash3 for 32 bits (Austin Appleby, public domain).
fn murmur3(bytes: &[u8], seed: u32) -> u32 {
    let scramble = |block: u32| block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut hash = seed;
    let mut blocks = bytes.chunks_exact(4);
    for block in &mut blocks {
        let block = u32::from_le_bytes(block.try_into().expect("four bytes"));
        hash = (hash ^ scramble(block)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let rest = blocks.remainder();
    if !rest.is_empty() {
        let last = rest.iter().rev().fold(0, |last, &byte| last << 8 | u32::from(byte));
        hash ^= scramble(last);
    }
    // The hash is defined on the length as 32 bits.
    #[expect(clippy::cast_possible_truncation)]
    let length = bytes.len() as u32;
    hash ^= length;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_murmur3() {
        // Published test vectors.
        for (text, seed, expected) in [
            ("", 0, 0),
            ("", 1, 0x514e_28b7),
            ("test", 0, 0xba6b_d213),
            ("Hello, world!", 0, 0xc036_3e43),
            ("The quick brown fox jumps over the lazy dog", 0x9747_b28c, 0x2fa8_26cd),
        ] {
            assert_eq!(murmur3(text.as_bytes(), seed), expected, "{text}");
        }
    }

    #[test]
    fn names_are_known_again_and_buckets_are_filled_from_the_front() {
        let mut names = Names::default();
        let (a, new) = names.intern("a");
        assert!(new && names.intern("a") == (a, false));
        let texts: Vec<String> = (0..1000).map(|number| format!("name{number}")).collect();
        for text in &texts {
            names.intern(text);
        }
        let order = names.in_table_order();
        assert_eq!(order.len(), 1001);
        for pair in order.windows(2) {
            let [left, right] = [pair[0], pair[1]].map(|name| names.buckets[name.index()]);
            assert!(left < right || left == right && pair[0] > pair[1]);
        }
    }
}
