//! LZ4 blocks of a given *compressed* size: as much of an input as fits into so many bytes.
//!
//! Source: [LZ4 block format](https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md). A block is a row of
//! sequences: a token (high half: how many literals, low half: the match's length less 4), more bytes of the first
//! length where the half is 15 (each adds up to 255, the first that is not 255 ends it), the literals, the match's
//! distance (16 bits, little-endian), more bytes of the second length. The last sequence has literals only, at
//! least five, and no match begins in the last twelve bytes.
//!
//! The careful parser looks for the cheapest way to each byte: a match costs the same whatever its distance, so
//! the longest one at each place stands for all shorter ones, and where the cheapest way becomes dearer than what
//! there is to spend, the block ends. That is the best parse there is, but for matches that a search of limited
//! depth doesn't find and for the steps in the price of long runs of literals. The quick parser takes the
//! first match that it sees.

use super::match_finder::{self, MatchFinder};

/// The shortest match.
const LEAST_MATCH: usize = 4;
/// How many literals a block ends with at least.
const LAST_LITERALS: usize = 5;
/// No match begins in so many last bytes.
const MATCH_LIMIT: usize = 12;
/// The largest distance.
pub(in crate::image) const WINDOW: usize = 65_535;
/// What a half of a token holds at most; it stands for "and more bytes follow".
const HALF: usize = 15;

/// Within a match that goes on for so many bytes no other one is looked for.
const FAR: usize = 5;
/// After so many bytes in a row where nothing matches each step becomes one byte longer.
const PATIENCE: usize = 64;
/// A price that nothing has.
const UNREACHED: u32 = u32::MAX;

/// How the cheapest way to a byte ends. There are many, so they are small.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// Bytes from the block's beginning on, without the token of the literals at the end.
    price: u32,
    /// The length of the match that ends here, or 0 for a literal.
    length: u16,
    /// The distance of that match; of a literal, how many end here, where [`LITERALS`] are like [`HALF`].
    distance: u16,
}

/// As many literals more than [`HALF`] as make the next one cost as much as it did there.
const LITERALS: u16 = HALF as u16 + 255 * 256;

const NOWHERE: Step = Step { price: UNREACHED, length: 0, distance: 0 };

/// Compresses the blocks of one input after the other. The tables are made once.
#[derive(Debug)]
pub(in crate::image) struct Packer {
    finder: MatchFinder,
    steps: Vec<Step>,
    sequences: Vec<Sequence>,
    effort: Effort,
}

/// How much a [`Packer`] tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::image) enum Effort {
    /// The first match that is seen.
    Quick,
    /// The best parse, with so many places looked at for each byte at most; matches of `enough` bytes are taken as
    /// they are.
    Careful { depth: u32, enough: usize },
}

#[derive(Debug, Clone, Copy)]
struct Sequence {
    literals: usize,
    length: usize,
    distance: u16,
}

impl Packer {
    /// For blocks of at most about `capacity` bytes.
    pub(in crate::image) fn new(effort: Effort, capacity: usize) -> Self {
        Self {
            finder: MatchFinder::new(capacity.saturating_mul(2)),
            steps: Vec::new(),
            sequences: Vec::new(),
            effort,
        }
    }

    /// Compresses `input` from `start` on into `output`, which it clears, up to `capacity` bytes, and gives how many
    /// bytes of input they hold (0 where not even one fits). Memory grows with what a block holds: 8 bytes for each byte of input.
    pub(in crate::image) fn pack(
        &mut self,
        input: &[u8],
        start: usize,
        capacity: usize,
        output: &mut Vec<u8>,
    ) -> usize {
        output.clear();
        if start >= input.len() || capacity < 2 {
            return 0;
        }
        self.sequences.clear();
        self.finder.begin(start);
        let end = match self.effort {
            Effort::Quick => self.parse_quickly(input, start, capacity),
            Effort::Careful { depth, enough } => self.parse(input, start, capacity, depth, enough),
        };
        let mut position = start;
        for sequence in &self.sequences {
            put(output, &input[position..position + sequence.literals], Some(sequence));
            position += sequence.literals + sequence.length;
        }
        put(output, &input[position..end], None);
        end - start
    }

    /// How much [`Packer::pack`] would find room for at least, quickly.
    pub(in crate::image) fn glance(&mut self, input: &[u8], start: usize, capacity: usize) -> usize {
        self.sequences.clear();
        self.finder.begin(start);
        self.parse_quickly(input, start, capacity) - start
    }

    /// Fills `sequences`, and gives where the block ends.
    fn parse(&mut self, input: &[u8], start: usize, capacity: usize, depth: u32, enough: usize) -> usize {
        // No way costs more than one byte for each and one for 255: beyond it the literals end anyway.
        let budget = u32::try_from(capacity).unwrap_or(UNREACHED - 1);
        let rest = input.len() - start;
        self.steps.clear();
        self.steps.push(Step { price: 0, ..NOWHERE });
        let search_end = input.len().saturating_sub(MATCH_LIMIT);
        let match_end = input.len().saturating_sub(LAST_LITERALS);
        let mut known = (0_usize, 0_usize);
        let mut misses = 0;
        let mut place = 0;
        while place < rest {
            let step = self.steps[place];
            if step.price > budget {
                break;
            }
            self.reach(place + 1, step.after_literal());
            let here = start + place;
            if here >= search_end {
                place += 1;
                continue;
            }
            // What matched one byte earlier matches here too, one byte shorter.
            known = (known.0.saturating_sub(1), known.1);
            // After a literal, a match that began one byte earlier is dearer by it, wherever it ends.
            let dear = if step.length == 0 && place > 0 { known.0 } else { 0 };
            let payable = (budget - step.price) as usize * 255 + HALF + LEAST_MATCH;
            let end = match_end.min(here.saturating_add(payable.min(usize::from(u16::MAX))));
            let (length, distance) = if known.0 >= FAR {
                (known.0.min(end - here), known.1)
            } else {
                self.finder.longest(input, here, end, known, depth, enough)
            };
            known = (length, distance);
            if length < LEAST_MATCH {
                place += 1;
                misses += 1;
                // Where nothing has matched for long, most places are passed over.
                for _ in 0..misses / PATIENCE {
                    let step = self.steps[place];
                    if place >= rest || step.price > budget {
                        break;
                    }
                    self.reach(place + 1, step.after_literal());
                    place += 1;
                }
                continue;
            }
            misses = 0;
            if self.steps.len() <= place + length {
                self.steps.resize(place + length + 1, NOWHERE);
            }
            let distance = u16::try_from(distance).expect("no match is further away than the window");
            let base = step.price + 3;
            let ends = self.steps[place..=place + length].iter_mut().enumerate();
            for (length, slot) in ends.skip(LEAST_MATCH.max(dear + 1)) {
                let price = base + more_bytes(length - LEAST_MATCH);
                // At the same price a match is better than a literal: the run of literals begins anew.
                if price < slot.price || price == slot.price && slot.length == 0 {
                    *slot = Step { price, length: length as u16, distance };
                }
            }
            if length >= enough {
                place += length;
                known = (0, 0);
            } else {
                place += 1;
            }
        }
        let (from, end) = self.best_end(rest, budget);
        self.trace(from);
        start + end
    }

    fn reach(&mut self, place: usize, step: Step) {
        match self.steps.get_mut(place) {
            Some(slot) if step.price < slot.price => *slot = step,
            Some(_) => {}
            None => self.steps.push(step),
        }
    }

    /// Where the last match ends, and where the literals after it end: as far as the budget goes, and for the least.
    fn best_end(&self, rest: usize, budget: u32) -> (usize, usize) {
        /// The further back a match ends, the less it gains: so many that can be the last one are compared.
        const COMPARED: usize = 64;
        let mut best = (0, 0, UNREACHED);
        let mut compared = 0;
        for (place, step) in self.steps.iter().enumerate().rev() {
            if place > 0 && step.length == 0 || step.price >= budget {
                continue;
            }
            let literals = literals_for((budget - step.price) as usize).min(rest - place);
            let least = match place {
                0 => 1,
                _ => LAST_LITERALS.max(MATCH_LIMIT.saturating_sub(usize::from(step.length))),
            };
            if literals < least {
                continue;
            }
            let end = place + literals;
            let price = step.price + 1 + literals as u32 + more_bytes(literals);
            if end > best.1 || end == best.1 && price < best.2 {
                best = (place, end, price);
            }
            compared += 1;
            if compared == COMPARED {
                break;
            }
        }
        (best.0, best.1)
    }

    /// The sequences of the cheapest way to `place`, where a match ends.
    fn trace(&mut self, mut place: usize) {
        while place > 0 {
            let step = self.steps[place];
            let match_start = place - usize::from(step.length);
            let before = &self.steps[1..=match_start];
            let literals = before.iter().rev().take_while(|step| step.length == 0).count();
            self.sequences.push(Sequence {
                literals,
                length: usize::from(step.length),
                distance: step.distance,
            });
            place = match_start - literals;
        }
        self.sequences.reverse();
    }

    fn parse_quickly(&mut self, input: &[u8], start: usize, capacity: usize) -> usize {
        /// What must be left for the last sequence: its token, and literals enough after the shortest match.
        const RESERVE: usize = 1 + MATCH_LIMIT - LEAST_MATCH;
        let search_end = input.len().saturating_sub(MATCH_LIMIT);
        let match_end = input.len().saturating_sub(LAST_LITERALS);
        let mut spent = 0;
        let mut anchor = start;
        let mut place = start;
        let mut misses = 0;
        while place < search_end {
            // Literals alone would not fit any more.
            if spent + (place - anchor) > capacity {
                break;
            }
            let Some(found) = self.finder.quick(input, place) else {
                misses += 1;
                place += 1 + misses / PATIENCE;
                continue;
            };
            misses = 0;
            let (mut here, mut there) = (place, found);
            while here > anchor && there > start && input[here - 1] == input[there - 1] {
                here -= 1;
                there -= 1;
            }
            let literals = here - anchor;
            let price = 3 + literals + more_bytes(literals) as usize;
            let Some(left) = capacity.checked_sub(spent + price + RESERVE) else { break };
            // A length of 14 more than the shortest needs no further byte, and each byte stands for 255.
            let payable = left * 255 + LEAST_MATCH + HALF - 1;
            let length =
                match_finder::common(input, there, here, match_end.min(here.saturating_add(payable)));
            spent += price + more_bytes(length - LEAST_MATCH) as usize;
            let distance = u16::try_from(here - there).expect("no match is further away than the window");
            self.sequences.push(Sequence { literals, length, distance });
            anchor = here + length;
            if anchor < search_end {
                self.finder.note(input, anchor - 2);
            }
            place = anchor;
        }
        anchor + literals_for(capacity - spent).min(input.len() - anchor)
    }
}

impl Step {
    fn after_literal(self) -> Self {
        let before = if self.length == 0 { self.distance } else { 0 };
        let literals = if before + 1 == LITERALS { HALF as u16 } else { before + 1 };
        let longer = literals >= HALF as u16 && (literals - HALF as u16).is_multiple_of(255);
        Self { price: self.price + 1 + u32::from(longer), length: 0, distance: literals }
    }
}

/// How many bytes follow the token for a length of `over` (what the half of the token would hold, were it larger).
fn more_bytes(over: usize) -> u32 {
    if over < HALF { 0 } else { 1 + ((over - HALF) / 255) as u32 }
}

/// How many literals fit into a last sequence of `room` bytes.
fn literals_for(room: usize) -> usize {
    let fits = |literals| 1 + literals + more_bytes(literals) as usize <= room;
    if room <= HALF {
        return room.saturating_sub(1);
    }
    // Exact but for one or two bytes.
    let mut literals = (room - 2) * 255 / 256;
    while fits(literals + 1) {
        literals += 1;
    }
    while !fits(literals) {
        literals -= 1;
    }
    literals
}

fn put(output: &mut Vec<u8>, literals: &[u8], sequence: Option<&Sequence>) {
    let over = sequence.map_or(0, |sequence| sequence.length - LEAST_MATCH);
    let token = literals.len().min(HALF) << 4 | over.min(HALF);
    output.push(token as u8);
    put_length(output, literals.len());
    output.extend_from_slice(literals);
    if let Some(sequence) = sequence {
        output.extend_from_slice(&sequence.distance.to_le_bytes());
        put_length(output, over);
    }
}

fn put_length(output: &mut Vec<u8>, length: usize) {
    if let Some(mut over) = length.checked_sub(HALF) {
        while over >= 255 {
            output.push(255);
            over -= 255;
        }
        output.push(over as u8);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAREFUL: Effort = Effort::Careful { depth: 64, enough: 64 };

    /// Reads a block as the specification has it, and sees that it ends as it must.
    fn unpack(block: &[u8]) -> Vec<u8> {
        fn length(block: &[u8], at: &mut usize, half: u8) -> usize {
            let mut length = usize::from(half);
            if length == HALF {
                loop {
                    let more = block[*at];
                    *at += 1;
                    length += usize::from(more);
                    if more != 255 {
                        break;
                    }
                }
            }
            length
        }
        let mut bytes = Vec::new();
        let mut at = 0;
        let mut last_match_start = None;
        loop {
            let token = block[at];
            at += 1;
            let literals = length(block, &mut at, token >> 4);
            bytes.extend_from_slice(&block[at..at + literals]);
            at += literals;
            if at == block.len() {
                assert!(last_match_start.is_none() || literals >= LAST_LITERALS);
                assert!(last_match_start.is_none_or(|start| start + MATCH_LIMIT <= bytes.len()));
                return bytes;
            }
            let distance = usize::from(u16::from_le_bytes([block[at], block[at + 1]]));
            at += 2;
            let length = length(block, &mut at, token & 15) + LEAST_MATCH;
            assert!(distance > 0 && distance <= bytes.len(), "{distance} of {}", bytes.len());
            last_match_start = Some(bytes.len());
            for _ in 0..length {
                bytes.push(bytes[bytes.len() - distance]);
            }
        }
    }

    /// All blocks of an input; each one must be what it says it is.
    fn blocks(packer: &mut Packer, input: &[u8], capacity: usize) -> usize {
        let (mut at, mut count) = (0, 0);
        let mut block = Vec::new();
        while at < input.len() {
            let taken = packer.pack(input, at, capacity, &mut block);
            assert!(taken > 0 && block.len() <= capacity, "{taken} bytes in {} of {capacity}", block.len());
            assert!(unpack(&block) == input[at..at + taken]);
            assert!(lz4_flex::block::decompress(&block, taken).expect("a block") == input[at..at + taken]);
            at += taken;
            count += 1;
        }
        count
    }

    fn text() -> Vec<u8> {
        (0..60_000_u32)
            .flat_map(|n| format!("{} ", n.wrapping_mul(2_654_435_761) >> 19).into_bytes())
            .collect()
    }

    #[test]
    fn blocks_are_full_and_hold_what_they_say() {
        let mut careful = Packer::new(CAREFUL, 4096);
        let mut quick = Packer::new(Effort::Quick, 4096);
        for input in [text(), vec![0; 1_200_000], (0..=255_u8).cycle().take(100_000).collect()] {
            for capacity in [64, 4096, 65_536] {
                let few = blocks(&mut careful, &input, capacity);
                let more = blocks(&mut quick, &input, capacity);
                assert!(few <= more, "{few} blocks with care, {more} without");
            }
        }
    }

    /// What a block holds is the most that fits: the same bytes in one piece must be larger than the block.
    #[test]
    fn care_beats_the_quick_parser_clearly_on_text() {
        let input = [&include_bytes!("../../tree.rs")[..], include_bytes!("../../recipe.rs")].concat();
        let size = |effort| {
            let mut packer = Packer::new(effort, 4096);
            let mut block = Vec::new();
            assert_eq!(packer.pack(&input, 0, input.len(), &mut block), input.len());
            block.len()
        };
        let (careful, quick) = (size(CAREFUL), size(Effort::Quick));
        assert!(careful * 10 < quick * 9, "{careful} bytes with care, {quick} without");
    }

    #[test]
    fn literals_fill_what_room_there_is() {
        for room in 0..2000 {
            let literals = literals_for(room);
            let cost = |literals| 1 + literals + more_bytes(literals) as usize;
            assert!(room == 0 || cost(literals) <= room && cost(literals + 1) > room, "{literals} in {room}");
        }
    }

    #[test]
    fn bytes_without_repetition_cost_their_length_and_a_little() {
        let mut state = 1_u64;
        let noise: Vec<u8> = (0..10_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        for effort in [CAREFUL, Effort::Quick] {
            let mut packer = Packer::new(effort, 4096);
            let mut block = Vec::new();
            // A token, 16 more bytes of the length, the literals.
            assert_eq!(packer.pack(&noise, 0, 4096, &mut block), 4079);
            assert_eq!(unpack(&block), noise[..4079]);
        }
    }

    proptest! {
        #[test]
        fn any_input_comes_back(
            pieces in prop::collection::vec((prop::collection::vec(0..4_u8, 1..40), 1..30_usize), 0..40),
            capacity in 2..400_usize,
            quick: bool,
        ) {
            let input: Vec<u8> = pieces.iter().flat_map(|(bytes, times)| bytes.repeat(*times)).collect();
            let effort = if quick { Effort::Quick } else { CAREFUL };
            let mut packer = Packer::new(effort, 4096);
            // The second input must not see what the first one left.
            blocks(&mut packer, &input, capacity);
            let other: Vec<u8> = input.iter().rev().copied().collect();
            let with = blocks(&mut packer, &other, capacity);
            prop_assert_eq!(with, blocks(&mut Packer::new(effort, 4096), &other, capacity));
        }
    }
}
