//! Which bytes of a file something tells of.

use std::ops::Range;

/// A set of bytes, as ranges.
#[derive(Debug, Clone, Default)]
pub(super) struct Coverage {
    ranges: Vec<Range<usize>>,
}

impl Coverage {
    /// Adds a range; an empty one is nothing. [`Self::settle`] must follow before anything is asked.
    pub(super) fn add(&mut self, range: Range<usize>) {
        if !range.is_empty() {
            self.ranges.push(range);
        }
    }

    /// Puts the ranges in order and joins those that touch.
    pub(super) fn settle(&mut self) {
        self.ranges.sort_unstable_by_key(|range| (range.start, range.end));
        self.ranges.dedup_by(|next, joined| {
            let touches = next.start <= joined.end;
            if touches {
                joined.end = joined.end.max(next.end);
            }
            touches
        });
    }

    /// Behind the last byte.
    pub(super) fn end(&self) -> usize {
        self.ranges.last().map_or(0, |range| range.end)
    }

    /// What is in the set, in order.
    pub(super) fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// Whether every byte of a range is in the set, and there is one.
    pub(super) fn holds(&self, range: &Range<usize>) -> bool {
        self.meeting(range).is_some_and(|found| found.start <= range.start && range.end <= found.end)
    }

    /// Whether any byte of a range is in the set.
    pub(super) fn touches(&self, range: &Range<usize>) -> bool {
        self.meeting(range).is_some()
    }

    /// The first range that has a byte of this one.
    fn meeting(&self, range: &Range<usize>) -> Option<&Range<usize>> {
        if range.is_empty() {
            return None;
        }
        let index = self.ranges.partition_point(|found| found.end <= range.start);
        self.ranges.get(index).filter(|found| found.start < range.end)
    }

    /// What is not in the set of a range, in order.
    pub(super) fn gaps(&self, within: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
        let ends = self.ranges.iter().map(|range| range.end);
        let starts = self.ranges.iter().map(|range| range.start);
        std::iter::once(0)
            .chain(ends)
            .zip(starts.chain([usize::MAX]))
            .map(move |(start, end)| start.max(within.start)..end.min(within.end))
            .filter(|gap| !gap.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coverage(ranges: &[Range<usize>]) -> Coverage {
        let mut coverage = Coverage::default();
        ranges.iter().for_each(|range| coverage.add(range.clone()));
        coverage.settle();
        coverage
    }

    #[test]
    fn ranges_are_joined_and_their_gaps_are_what_is_left() {
        let some = coverage(&[40..50, 0..10, 5..8, 10..20, 30..30, 45..60]);
        assert_eq!(some.ranges, [0..20, 40..60]);
        assert_eq!(some.end(), 60);
        assert_eq!(some.gaps(0..100).collect::<Vec<_>>(), [20..40, 60..100]);
        assert_eq!(some.gaps(25..70).collect::<Vec<_>>(), [25..40, 60..70]);
        assert_eq!(some.gaps(0..0).count(), 0);
        assert!(coverage(&[]).gaps(3..9).eq(std::iter::once(3..9)));
        assert_eq!(coverage(&[]).end(), 0);
    }

    #[test]
    fn ranges_are_held_or_touched() {
        let some = coverage(&[10..20, 40..60]);
        for held in [10..20, 10..11, 19..20, 45..60] {
            assert!(some.holds(&held) && some.touches(&held), "{held:?}");
        }
        for touched in [0..11, 19..21, 0..100, 15..45] {
            assert!(!some.holds(&touched) && some.touches(&touched), "{touched:?}");
        }
        for outside in [0..10, 20..40, 60..61, 15..15] {
            assert!(!some.holds(&outside) && !some.touches(&outside), "{outside:?}");
        }
    }
}
