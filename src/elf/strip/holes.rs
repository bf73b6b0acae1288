//! Closing the holes that sections leave between segments.
//!
//! A linker puts what it loads first, and what goes stands behind it. But `patchelf` and its like add segments behind
//! the debugging information, and what went would leave a hole of zeros, which takes memory where a file system has no
//! holes. So what follows a hole moves up, by whole multiples of every alignment that its program headers ask
//! for: offsets and addresses stay congruent (`p_vaddr ≡ p_offset` modulo `p_align`), as loaders demand.
//!
//! Addresses don't change, and neither does anything that is loaded but for `p_offset` in the program headers. What
//! precedes those never closes: old kernels compute their address from `e_phoff`.

use object::elf;

use super::coverage::Coverage;
use super::parts::Parts;

/// Pages are as large, or larger where the alignment says so.
const LEAST_ALIGNMENT: u64 = 4096;

/// How far each part of the image moves.
#[derive(Debug)]
pub(super) struct Closed {
    /// Where a part begins and how far it moves up, in order. What is before the first stays.
    steps: Vec<(u64, u64)>,
}

impl Closed {
    /// Where what stands at `offset` is afterwards.
    pub(super) fn moved(&self, offset: u64) -> u64 {
        let index = self.steps.partition_point(|&(start, _)| start <= offset);
        index.checked_sub(1).map_or(offset, |index| offset - self.steps[index].1)
    }

    /// Whether anything moves.
    pub(super) fn moves(&self) -> bool {
        !self.steps.is_empty()
    }
}

/// Plans which holes close, and how far.
pub(super) fn close(parts: &Parts<'_>, image: &Coverage) -> Closed {
    let mut steps = Vec::new();
    // Without section headers, nobody knows who looks for what where.
    if parts.sections.is_empty() {
        return Closed { steps };
    }
    let alignments = Alignments::of(parts);
    let mut shift = 0;
    for hole in image.gaps(0..image.end()) {
        let (size, end) = ((hole.end - hole.start) as u64, hole.end as u64);
        let alignment = alignments.from(end);
        if size >= alignment {
            shift += size - size % alignment;
            steps.push((end, shift));
        }
    }
    Closed { steps }
}

/// The alignments that program headers ask for.
struct Alignments {
    /// Offsets in order, each with the largest alignment from there to the end.
    from: Vec<(u64, u64)>,
}

impl Alignments {
    fn of(parts: &Parts<'_>) -> Self {
        let segments = parts.segments.iter().filter(|segment| segment.kind != elf::PT_NULL);
        let mut from: Vec<(u64, u64)> = segments
            .map(|segment| {
                let sound = segment.alignment <= 1 || segment.alignment.is_power_of_two();
                (segment.offset, if sound { segment.alignment } else { u64::MAX })
            })
            .chain([(parts.program_headers.start as u64, u64::MAX)])
            .collect();
        from.sort_unstable();
        let mut largest = LEAST_ALIGNMENT;
        for (_, alignment) in from.iter_mut().rev() {
            largest = largest.max(*alignment);
            *alignment = largest;
        }
        Self { from }
    }

    /// The largest of what begins at `offset` or behind. All are powers of two, or nothing can move.
    fn from(&self, offset: u64) -> u64 {
        let index = self.from.partition_point(|&(start, _)| start < offset);
        self.from.get(index).map_or(LEAST_ALIGNMENT, |&(_, alignment)| alignment)
    }
}
