//! Where bytes that come again have been before: a table of hashes with chains.
//!
//! Positions of one input after the other are counted on and on, so that nothing has to be cleared between two
//! inputs: what is older than the input's beginning is passed over.

use super::lz4_block::WINDOW;

const HASH_BITS: u32 = 15;
/// Slots of the chain: the power of two above the window.
const CHAIN: usize = 1 << 16;
/// Where the counting begins again.
const LAST: u32 = u32::MAX / 2;

/// The places of four bytes each.
#[derive(Debug)]
pub(super) struct MatchFinder {
    /// By hash: the count of the last place, one more than it is (0 is none).
    heads: Vec<u32>,
    /// By place: how far back the place before it with the same hash is; 0 where there is none.
    chain: Vec<u16>,
    /// What the first place of the input counts as.
    base: u32,
    /// The length of the input.
    length: u32,
    /// The first place of the input that is not in the tables yet.
    next: usize,
}

impl MatchFinder {
    pub(super) fn new() -> Self {
        Self { heads: vec![0; 1 << HASH_BITS], chain: vec![0; CHAIN], base: 1, length: 0, next: 0 }
    }

    /// Another input of `length` bytes, of which at most 1 GiB are looked at.
    pub(super) fn begin(&mut self, length: usize) {
        let length = u32::try_from(length).unwrap_or(LAST).min(LAST);
        self.base += self.length;
        if self.base > LAST {
            self.heads.fill(0);
            self.base = 1;
        }
        self.length = length;
        self.next = 0;
    }

    /// The longest match at `here` that begins at `start` or later and ends at `end` or earlier, and its distance.
    /// `known` is one that is known already. At most `depth` places are looked at, and none after one with
    /// a match of `enough` bytes.
    #[allow(
        clippy::too_many_arguments,
        reason = "all of them change from byte to byte or are the parser's limits"
    )]
    pub(super) fn longest(
        &mut self,
        input: &[u8],
        here: usize,
        start: usize,
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
        let lowest = here.saturating_sub(WINDOW).max(start);
        let wanted = read_u32(input, here);
        let Some(mut there) = self.head(wanted) else { return known };
        // What an earlier block's parser looked at beyond its own end is in the chain too.
        let mut left = depth;
        loop {
            if there < lowest {
                break;
            }
            if there < here {
                if left == 0 {
                    break;
                }
                left -= 1;
                if (best < 4 || here + best < end && input[there + best] == input[here + best])
                    && read_u32(input, there) == wanted
                {
                    let length = common(input, there, here, end);
                    if length > best {
                        (best, distance) = (length, here - there);
                        if length >= enough || here + length >= end {
                            break;
                        }
                    }
                }
            }
            let back = usize::from(self.chain[(self.base as usize + there) % CHAIN]);
            if back == 0 || back > there {
                break;
            }
            there -= back;
        }
        (best, distance)
    }

    /// A match at `here` that begins at `start` or later: where it begins. `here` is entered.
    pub(super) fn quick(&mut self, input: &[u8], here: usize, start: usize) -> Option<usize> {
        let wanted = read_u32(input, here);
        let slot = &mut self.heads[hash(wanted)];
        let there = std::mem::replace(slot, self.base + here as u32);
        let there = there.checked_sub(self.base)? as usize;
        (there >= start && there < here && here - there <= WINDOW && read_u32(input, there) == wanted)
            .then_some(there)
    }

    /// Enters one place for [`MatchFinder::quick`].
    pub(super) fn note(&mut self, input: &[u8], place: usize) {
        self.heads[hash(read_u32(input, place))] = self.base + place as u32;
    }

    /// Enters all places before `here`.
    fn note_up_to(&mut self, input: &[u8], here: usize) {
        while self.next < here {
            let place = self.next;
            self.next += 1;
            let count = self.base + place as u32;
            let slot = &mut self.heads[hash(read_u32(input, place))];
            let back = count - *slot;
            let known = *slot >= self.base && back as usize <= WINDOW;
            self.chain[count as usize % CHAIN] = if known { back as u16 } else { 0 };
            *slot = count;
        }
    }

    fn head(&self, value: u32) -> Option<usize> {
        Some(self.heads[hash(value)].checked_sub(self.base)? as usize)
    }
}

fn hash(value: u32) -> usize {
    (value.wrapping_mul(2_654_435_761) >> (32 - HASH_BITS)) as usize
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
