//! The compact index of a compressed file: for each block of its content, which cluster it is in.
//!
//! Source: [the format's page on compressed data](https://erofs.docs.kernel.org/en/latest/ondisk/core_ondisk.html)
//! and the kernel's `fs/erofs/zmap.c`. A file is a row of *extents*, each stored in a physical cluster of whole
//! blocks, one cluster after the other. The index has an entry for each block of the content (*logical cluster*):
//! a HEAD says where in it an extent begins, a NONHEAD how many entries back the extent's HEAD stands. No block may
//! have two heads, so only a file's last extent may be shorter than a block. Entries are packed, two of 16 bits or
//! sixteen of 14 bits and an address of 32 bits after them; the address of a cluster is counted from it through the
//! heads before. Where clusters may have several blocks, the first NONHEAD says how many instead; a cluster
//! without one has one block.

use super::format::BLOCK;

/// The extent's data is stored as it is.
const PLAIN: u32 = 0;
const HEAD: u32 = 1;
const NONHEAD: u32 = 2;
/// Bits of what an entry says beside its type.
const LOW_BITS: u32 = BLOCK.trailing_zeros();
/// The first NONHEAD's number is the cluster's size in blocks.
const CBLKCNT: u32 = 1 << 11;
/// The largest distance; what is farther is found in several steps.
const FARTHEST: u32 = CBLKCNT - 1;

/// The map header (`z_erofs_map_header`), which stands before the index.
pub(super) const HEADER: u64 = 8;
/// The packs of 16 entries are there.
const ADVISE_COMPACTED_2B: u16 = 1;
/// Clusters may have several blocks; both kinds of head say so alike.
const ADVISE_BIG_PCLUSTER: u16 = 2 | 4;
/// The last extent follows the index.
const ADVISE_INLINE_PCLUSTER: u16 = 8;

/// The map header. `inline` is the size of the extent that follows the index, if there is one.
pub(super) fn header(algorithm: u8, large: bool, inline: Option<u16>) -> [u8; HEADER as usize] {
    let mut advise = ADVISE_COMPACTED_2B;
    if large {
        advise |= ADVISE_BIG_PCLUSTER;
    }
    if inline.is_some() {
        advise |= ADVISE_INLINE_PCLUSTER;
    }
    let [size_low, size_high] = inline.unwrap_or(0).to_le_bytes();
    let [advise_low, advise_high] = advise.to_le_bytes();
    // The last byte: logical clusters have the size of blocks.
    [0, 0, size_low, size_high, advise_low, advise_high, algorithm, 0]
}

/// How the entries of an index are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packing {
    /// Entries in pairs, before the index is aligned to 32 bytes.
    initial: u64,
    /// Entries in packs of 16.
    dense: u64,
    /// All entries.
    total: u64,
}

impl Packing {
    /// `start` is where the index begins, seen from a multiple of 32.
    fn new(start: u64, size: u64) -> Self {
        let total = size.div_ceil(BLOCK);
        let initial = (32 - start % 32) / 4 % 8;
        if initial < total {
            Self { initial, dense: (total - initial) / 16 * 16, total }
        } else {
            Self { initial: 0, dense: 0, total }
        }
    }

    /// How many entries the pack has in which entry `number` comes first.
    fn entries(self, number: u64) -> usize {
        if (self.initial..self.initial + self.dense).contains(&number) { 16 } else { 2 }
    }

    fn bytes(self) -> u64 {
        self.initial * 4 + self.dense * 2 + (self.total - self.initial - self.dense).next_multiple_of(2) * 4
    }
}

/// The size of the index of a file of `size` bytes. `start` is where it begins, seen from the inode's beginning.
pub(super) fn size(start: u64, size: u64) -> u64 {
    Packing::new(start, size).bytes()
}

/// Makes an index of a file's extents, which are given in their order.
#[derive(Debug)]
pub(super) struct Index {
    packing: Packing,
    large: bool,
    bytes: Vec<u8>,
    pack: Vec<u32>,
    /// The address after the pack that is being filled.
    base: u32,
    /// Entries so far.
    count: u64,
    /// Where in the file the next extent begins.
    position: u64,
    /// Where its cluster begins.
    address: u32,
}

impl Index {
    /// For a file of `size` bytes whose clusters stand from block `address` on; `start` as for [`size`], `large` says
    /// whether a cluster may have several blocks.
    pub(super) fn new(start: u64, size: u64, address: u32, large: bool) -> Self {
        let packing = Packing::new(start, size);
        Self {
            packing,
            large,
            bytes: Vec::with_capacity(usize::try_from(packing.bytes()).unwrap_or(0)),
            pack: Vec::with_capacity(16),
            base: 0,
            count: 0,
            position: 0,
            address,
        }
    }

    /// The next extent: `length` bytes of content in `blocks` blocks, as they are or compressed.
    pub(super) fn push(&mut self, length: u64, blocks: u32, plain: bool) {
        let offset = self.position % BLOCK;
        debug_assert_eq!(self.count, self.position / BLOCK, "two extents begin in one block");
        let distance = (offset + length) / BLOCK;
        self.entry(if plain { PLAIN } else { HEAD }, offset as u32, 0, self.address);
        for back in 1..distance {
            let ahead = near(distance - back);
            if back == 1 && self.large {
                let count = CBLKCNT | blocks;
                self.entry(NONHEAD, count, count, self.address);
            } else {
                self.entry(NONHEAD, near(back), ahead, self.address + blocks);
            }
        }
        self.position += length;
        self.address += blocks;
    }

    /// The index, and the block after the last cluster.
    pub(super) fn finish(mut self) -> (Vec<u8>, u32) {
        if self.count < self.packing.total {
            // The last block, in which no extent begins: it ends where the file does.
            self.entry(PLAIN, (self.position % BLOCK) as u32, 0, self.address);
        }
        debug_assert_eq!(self.count, self.packing.total);
        if !self.pack.is_empty() {
            self.pack.push(0);
            self.end_pack();
        }
        (self.bytes, self.address)
    }

    /// An entry, `low` being what it says; the last entry of a pack says `last` instead if it is no head, the way to
    /// the next head. `next` is the address of the next cluster whose size no entry before has told.
    fn entry(&mut self, kind: u32, low: u32, last: u32, next: u32) {
        if self.pack.is_empty() {
            // Where clusters have one block, readers count the head itself too.
            self.base = if self.large { next } else { next.wrapping_sub(1) };
        }
        let is_last = self.pack.len() + 1 == self.packing.entries(self.count - self.pack.len() as u64);
        let low = if is_last && kind == NONHEAD { last } else { low };
        self.pack.push(kind << LOW_BITS | low);
        self.count += 1;
        if is_last {
            self.end_pack();
        }
    }

    fn end_pack(&mut self) {
        let width = if self.pack.len() == 16 { 14 } else { 16 };
        let (mut bits, mut held) = (0_u32, 0);
        for entry in self.pack.drain(..) {
            bits |= entry << held;
            held += width;
            while held >= 8 {
                self.bytes.push(bits as u8);
                bits >>= 8;
                held -= 8;
            }
        }
        self.bytes.extend_from_slice(&self.base.to_le_bytes());
    }
}

fn near(distance: u64) -> u32 {
    u32::try_from(distance).unwrap_or(FARTHEST).min(FARTHEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One extent, as a reader finds it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Found {
        begins: u64,
        address: u32,
        blocks: u32,
        plain: bool,
    }

    /// A reader, after the description of the format.
    struct Reader<'a> {
        bytes: &'a [u8],
        packing: Packing,
        large: bool,
    }

    impl Reader<'_> {
        /// The pack of entry `number`: its entries and its base, and the entry's place in it.
        fn pack(&self, number: u64) -> (Vec<u32>, u32, usize) {
            let Packing { initial, dense, .. } = self.packing;
            let (start, entries, within) = if number < initial {
                (0, 2, number)
            } else if number < initial + dense {
                (initial * 4, 16, number - initial)
            } else {
                (initial * 4 + dense * 2, 2, number - initial - dense)
            };
            let size = if entries == 16 { 32 } else { 8 };
            let at = (start + within / entries * size) as usize;
            let pack = &self.bytes[at..at + size as usize];
            let width = if entries == 16 { 14 } else { 16 };
            let bit = |bit: usize| u32::from(pack[bit / 8] >> (bit % 8) & 1);
            let values = (0..entries as usize)
                .map(|entry| (0..width).map(|place| bit(entry * width + place) << place).sum())
                .collect();
            let base = u32::from_le_bytes(pack[pack.len() - 4..].try_into().expect("four bytes"));
            (values, base, (within % entries) as usize)
        }

        /// The extent that byte `position` is in.
        fn find(&self, position: u64) -> Found {
            let mut number = position / BLOCK;
            loop {
                let (pack, base, place) = self.pack(number);
                let (kind, low) = (pack[place] >> 12, pack[place] & 0xfff);
                if kind != NONHEAD && u64::from(low) > position - number * BLOCK && number == position / BLOCK
                {
                    number -= 1;
                    continue;
                }
                if kind != NONHEAD {
                    let mut address = base;
                    if !self.large {
                        address +=
                            1 + pack[..place].iter().filter(|entry| *entry >> 12 != NONHEAD).count() as u32;
                    } else {
                        let mut before = 0;
                        while before < place {
                            let (kind, low) = (pack[before] >> 12, pack[before] & 0xfff);
                            if kind == NONHEAD && low & CBLKCNT != 0 {
                                address += low & !CBLKCNT;
                            } else if kind != NONHEAD {
                                let next = pack[before + 1];
                                if next >> 12 != NONHEAD {
                                    address += 1;
                                }
                            }
                            before += 1;
                        }
                    }
                    let mut blocks = 1;
                    if self.large && number + 1 < self.packing.total {
                        let (pack, _, place) = self.pack(number + 1);
                        if pack[place] >> 12 == NONHEAD {
                            assert!(pack[place] & CBLKCNT != 0, "the size comes first");
                            blocks = pack[place] & 0xfff & !CBLKCNT;
                        }
                    }
                    return Found {
                        begins: number * BLOCK + u64::from(low),
                        address,
                        blocks,
                        plain: kind == PLAIN,
                    };
                }
                number -= if low & CBLKCNT != 0 {
                    assert!(self.large);
                    1
                } else if place + 1 < pack.len() {
                    u64::from(low)
                } else {
                    // The last one says how far the next head is: how far back its own is, the one before says.
                    let before = pack[place - 1];
                    match (before >> 12, before & 0xfff) {
                        (NONHEAD, low) if low & CBLKCNT != 0 => 2,
                        (NONHEAD, low) => u64::from(low) + 1,
                        _ => 1,
                    }
                };
            }
        }
    }

    fn check(start: u64, extents: &[(u64, u32, bool)], large: bool) {
        let total: u64 = extents.iter().map(|extent| extent.0).sum();
        let mut index = Index::new(start, total, 1000, large);
        for &(length, blocks, plain) in extents {
            index.push(length, blocks, plain);
        }
        let (bytes, end) = index.finish();
        assert_eq!(bytes.len() as u64, size(start, total));
        assert_eq!(end, 1000 + extents.iter().map(|extent| extent.1).sum::<u32>());
        let reader = Reader { bytes: &bytes, packing: Packing::new(start, total), large };
        let (mut begins, mut address) = (0, 1000);
        for &(length, blocks, plain) in extents {
            let expected = Found { begins, address, blocks, plain };
            for position in [begins, begins + length / 2, begins + length - 1] {
                assert_eq!(reader.find(position), expected, "at {position} of {extents:?}");
            }
            begins += length;
            address += blocks;
        }
    }

    #[test]
    fn packs_are_aligned() {
        // Twelve bytes short of a multiple of 32 can't be: an index begins at a multiple of 8.
        for (start, blocks, expected) in [
            (0, 1, 8),
            (0, 16, 32),
            (0, 17, 40),
            (8, 6, 24),
            (8, 7, 32),
            (8, 22, 24 + 32),
            (24, 20, 8 + 32 + 8),
        ] {
            assert_eq!(size(start, blocks * BLOCK), expected, "{blocks} from {start}");
        }
    }

    #[test]
    fn extents_longer_than_a_distance_are_found() {
        check(8, &[(5000, 1, false), (3000 * BLOCK, 200, false), (4096, 1, true), (9, 1, true)], true);
        check(8, &[(5000, 1, false), (3000 * BLOCK, 1, false), (4096, 1, true), (9, 1, true)], false);
    }

    proptest! {
        #[test]
        fn every_extent_is_found(
            start in 0..4_u64,
            large: bool,
            extents in prop::collection::vec((1..40_000_u64, 1..5_u32, any::<bool>()), 0..60),
            last in 1..9000_u64,
        ) {
            let mut extents: Vec<_> = extents
                .into_iter()
                .map(|(more, blocks, plain)| {
                    if plain {
                        (BLOCK, 1, true)
                    } else {
                        let blocks = if large { blocks } else { 1 };
                        (u64::from(blocks) * BLOCK + more, blocks, false)
                    }
                })
                .collect();
            extents.push((last, if last > 2 * BLOCK && large { 2 } else { 1 }, last <= BLOCK));
            check(start * 8, &extents, large);
        }
    }
}
