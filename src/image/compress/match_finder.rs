//! Where bytes that come again have been before: a table of hashes with chains.
//!
//! Blocks know nothing of what stands before them, and each begins with an empty table. To empty it, positions are
//! counted on from block to block: what counts less than the block's first byte is of another one.

use super::lz4_block::WINDOW;

/// Slots of the chain: the power of two above the window.
const CHAIN: usize = 1 << 16;
/// How many places are looked at by their first four bytes where a match is known already.
const NEAR: u32 = 2;
/// Where the counting begins again.
const LAST: u32 = 1 << 31;

/// The places of four bytes each.
#[derive(Debug)]
pub(super) struct MatchFinder {
    /// By hash: the count of the last place.
    heads: Vec<u32>,
    /// By place in the block: how far back the place before it with the same hash is; 0 where there is none.
    chain: Box<[u16; CHAIN]>,
    /// How far the hash of four bytes is shifted to be a place in `heads`.
    shift: u32,
    /// Where the block begins.
    start: usize,
    /// What its first byte counts as; never 0, as which nothing counts.
    base: u32,
    /// The first place that is not in the tables yet.
    next: usize,
}

impl MatchFinder {
    /// For blocks of about so many bytes of input: the smaller the tables, the more of them is in the processor's cache.
    pub(super) fn new(block: usize) -> Self {
        let bits = block.next_power_of_two().ilog2().clamp(10, 16);
        Self {
            heads: vec![0; 1 << bits],
            chain: vec![0; CHAIN].try_into().expect("as long"),
            shift: u32::BITS - bits,
            start: 0,
            base: 1,
            next: 0,
        }
    }

    /// A block begins at `start`; it must have less than 1 GiB.
    pub(super) fn begin(&mut self, start: usize) {
        self.base += (self.next - self.start) as u32;
        if self.base > LAST {
            self.heads.fill(0);
            self.base = 1;
        }
        self.start = start;
        self.next = start;
    }

    /// The longest match at `here` that ends at `end` or earlier, and its distance. `known` is one that is known already.
    /// At most `depth` places are looked at, and none after one with a match of `enough` bytes.
    pub(super) fn longest(
        &mut self,
        input: &[u8],
        here: usize,
        end: usize,
        known: (usize, usize),
        depth: u32,
        enough: usize,
    ) -> (usize, usize) {
        self.note_up_to(input, here);
        let (mut best, mut distance) = known;
        if best >= enough {
            return known;
        }
        let lowest = here.saturating_sub(WINDOW).max(self.start);
        let wanted = read_u32(input, here);
        let mut left = depth;
        // The nearest ones, by their first four bytes.
        let near = if best < 4 { depth } else { NEAR.min(depth) };
        let mut next = self.head(wanted);
        while let Some(there) = next
            && there >= lowest
            && left > depth - near
        {
            left -= 1;
            next = self.before(there);
            if (best < 4 || here + best < end && input[there + best] == input[here + best])
                && read_u32(input, there) == wanted
            {
                let length = common(input, there, here, end);
                if length > best {
                    (best, distance) = (length, here - there);
                    if length >= enough || here + length >= end {
                        return (best, distance);
                    }
                    break;
                }
            }
        }
        if best < 4 {
            return (best, distance);
        }
        // A longer match has the four bytes up to the first that this one hasn't: they are rarer than its first four.
        'longer: while here + best < end {
            let ahead = best - 3;
            let wanted = read_u32(input, here + ahead);
            let mut next = self.head(wanted);
            while let Some(place) = next
                && place >= lowest + ahead
                && left > 0
            {
                left -= 1;
                next = self.before(place);
                let there = place - ahead;
                if read_u32(input, place) == wanted {
                    let length = common(input, there, here, end);
                    if length > best {
                        (best, distance) = (length, here - there);
                        if length >= enough {
                            break 'longer;
                        }
                        continue 'longer;
                    }
                }
            }
            break;
        }
        (best, distance)
    }

    /// The place before this one with the same hash.
    fn before(&self, place: usize) -> Option<usize> {
        let back = usize::from(self.chain[(place - self.start) % CHAIN]);
        if back == 0 { None } else { place.checked_sub(back) }
    }

    /// A match at `here`: where it begins. `here` is entered.
    pub(super) fn quick(&mut self, input: &[u8], here: usize) -> Option<usize> {
        let wanted = read_u32(input, here);
        let there = self.head(wanted);
        self.note(input, here);
        there.filter(|&there| here - there <= WINDOW && read_u32(input, there) == wanted)
    }

    /// Enters one place for [`MatchFinder::quick`].
    pub(super) fn note(&mut self, input: &[u8], place: usize) {
        let hash = self.hash(read_u32(input, place));
        self.heads[hash] = self.count(place);
        self.next = self.next.max(place + 1);
    }

    /// Enters all places before `here`.
    fn note_up_to(&mut self, input: &[u8], here: usize) {
        while self.next < here {
            let place = self.next;
            self.next += 1;
            let count = self.count(place);
            let hash = self.hash(read_u32(input, place));
            let slot = &mut self.heads[hash];
            let back = count - *slot;
            let known = *slot >= self.base && back as usize <= WINDOW;
            *slot = count;
            self.chain[(place - self.start) % CHAIN] = if known { back as u16 } else { 0 };
        }
    }

    fn head(&self, value: u32) -> Option<usize> {
        Some(self.start + self.heads[self.hash(value)].checked_sub(self.base)? as usize)
    }

    fn hash(&self, value: u32) -> usize {
        (value.wrapping_mul(2_654_435_761) >> self.shift) as usize
    }

    fn count(&self, place: usize) -> u32 {
        self.base + (place - self.start) as u32
    }
}

/// The four bytes at `place`, of which there must be as many.
pub(super) fn read_u32(input: &[u8], place: usize) -> u32 {
    let bytes = &input[place..place + 4];
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// How many bytes at `there` and `here` (which is later) are the same, up to `end`.
pub(super) fn common(input: &[u8], there: usize, here: usize, end: usize) -> usize {
    let ours = &input[here..end];
    let theirs = &input[there..there + ours.len()];
    let mut length = 0;
    for (a, b) in ours.chunks_exact(8).zip(theirs.chunks_exact(8)) {
        let a = u64::from_le_bytes([a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]]);
        let b = u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
        if a != b {
            return length + ((a ^ b).trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    length + ours[length..].iter().zip(&theirs[length..]).take_while(|(a, b)| a == b).count()
}
