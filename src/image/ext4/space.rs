//! Which blocks are given out.
//!
//! Blocks are given out from the first one up, past the copies of superblock and descriptors, so that nearly
//! all of what is used is a few long ranges, however large the file system is.

use std::ops::Range;

use super::BLOCKS_PER_GROUP;
use super::group::backups;

/// The blocks of a file system that is being made.
#[derive(Debug, Clone)]
pub(super) struct Space {
    /// Blocks that every group with copies begins with.
    base: u64,
    /// The first block that there isn't.
    limit: u64,
    /// The first block that was not looked at yet.
    next: u64,
    /// The first blocks of the groups with copies, without group 0, and how many of them were passed.
    copies: Vec<u64>,
    passed: usize,
    /// What was given out, neighbours joined.
    used: Vec<Range<u64>>,
    /// What was passed over, and may be given out later.
    gaps: Vec<Range<u64>>,
}

impl Space {
    /// An empty file system of at most `limit` blocks, of which groups with copies begin with `base` blocks.
    pub(super) fn new(base: u64, limit: u64) -> Self {
        let copies =
            backups(limit.div_ceil(BLOCKS_PER_GROUP)).into_iter().map(|group| group * BLOCKS_PER_GROUP);
        Self { base, limit, next: base, copies: copies.collect(), passed: 0, used: vec![], gaps: vec![] }
    }

    /// The first block that there isn't.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Blocks that every group with copies begins with.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// How many groups with copies were passed, without group 0.
    pub(super) fn copies_passed(&self) -> u64 {
        self.passed as u64
    }

    /// Up to `most` consecutive blocks, from gaps first; none where there are no more.
    pub(super) fn take(&mut self, most: u64) -> Option<Range<u64>> {
        match self.gaps.iter_mut().find(|gap| !gap.is_empty()) {
            Some(gap) => {
                let range = gap.start..gap.end.min(gap.start.saturating_add(most));
                gap.start = range.end;
                Some(self.record(range))
            }
            None => self.take_behind(most),
        }
    }

    /// Up to `most` consecutive blocks behind everything that is used; none where there are no more.
    pub(super) fn take_behind(&mut self, most: u64) -> Option<Range<u64>> {
        self.pass_copies();
        let end = self.next.saturating_add(most).min(self.next_copies()).min(self.limit);
        (end > self.next).then(|| self.give(end))
    }

    /// Takes as many blocks and says whether they were there.
    pub(super) fn take_all(&mut self, count: u64) -> bool {
        let mut left = count;
        while left > 0 {
            match self.take(left) {
                Some(range) => left -= range.end - range.start,
                None => return false,
            }
        }
        true
    }

    /// From now on groups with copies begin with `base` blocks, no more than before, and there are `limit`
    /// blocks: what was kept for more is a gap.
    pub(super) fn settle(&mut self, base: u64, limit: u64) {
        if self.next == self.base {
            self.next = base;
        } else {
            let starts = std::iter::once(0).chain(self.copies[..self.passed].iter().copied());
            self.gaps.extend(starts.map(|start| start + base..start + self.base));
            self.gaps.retain(|gap| !gap.is_empty());
            self.gaps = joined(std::mem::take(&mut self.gaps));
        }
        let copies =
            backups(limit.div_ceil(BLOCKS_PER_GROUP)).into_iter().map(|group| group * BLOCKS_PER_GROUP);
        self.copies = copies.collect();
        self.base = base;
        self.limit = limit;
    }

    /// The first of `count` blocks that stand together: in a gap, or behind everything that is used and not before
    /// block `from`. May lie beyond the end.
    pub(super) fn together(&mut self, count: u64, from: u64) -> u64 {
        if from <= self.next
            && let Some(gap) = self.gaps.iter_mut().find(|gap| gap.end - gap.start >= count)
        {
            let start = gap.start;
            gap.start += count;
            return self.record(start..start + count).start;
        }
        while self.next_copies() < from {
            self.passed += 1;
        }
        self.next = self.next.max(from);
        loop {
            self.pass_copies();
            let copies = self.next_copies();
            if self.next + count <= copies {
                return self.give(self.next + count).start;
            }
            self.gaps.push(self.next..copies);
            self.next = copies;
        }
    }

    /// All that is used of a file system of `blocks` blocks, in order, neighbours joined.
    pub(super) fn used(&self, blocks: u64) -> Vec<Range<u64>> {
        let mut all = self.used.clone();
        let groups = blocks.div_ceil(BLOCKS_PER_GROUP);
        let copies = std::iter::once(0).chain(backups(groups)).map(|group| group * BLOCKS_PER_GROUP);
        all.extend(copies.map(|start| start..start + self.base));
        joined(all)
    }

    fn next_copies(&self) -> u64 {
        self.copies.get(self.passed).copied().unwrap_or(u64::MAX)
    }

    fn pass_copies(&mut self) {
        while self.next == self.next_copies() {
            self.next += self.base;
            self.passed += 1;
        }
    }

    fn give(&mut self, end: u64) -> Range<u64> {
        let range = self.next..end;
        self.next = end;
        self.record(range)
    }

    fn record(&mut self, range: Range<u64>) -> Range<u64> {
        match self.used.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.used.push(range.clone()),
        }
        range
    }
}

/// The same in order, neighbours as one.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, range| {
        let is_next = range.end == next.start;
        if is_next {
            range.end = next.end;
        }
        is_next
    });
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: u64 = BLOCKS_PER_GROUP;

    #[test]
    fn copies_are_passed_over() {
        let mut space = Space::new(10, 4 * GROUP);
        assert_eq!(space.take(5), Some(10..15));
        assert_eq!(space.take(u64::MAX), Some(15..GROUP));
        assert_eq!(space.take(u64::MAX), Some(GROUP + 10..3 * GROUP));
        assert_eq!(space.take(u64::MAX), Some(3 * GROUP + 10..4 * GROUP));
        assert_eq!(space.take(1), None);
        assert_eq!(space.used(4 * GROUP), vec![0..4 * GROUP]);
        assert!(Space::new(10, 30).take_all(20));
        assert!(!Space::new(10, 30).take_all(21));
    }

    #[test]
    fn what_was_kept_for_copies_is_used_when_there_are_fewer() {
        let mut space = Space::new(10, 4 * GROUP);
        assert!(space.take_all(GROUP));
        space.settle(8, 3 * GROUP);
        assert_eq!(space.take(1), Some(8..9));
        space.settle(6, 2 * GROUP);
        assert_eq!(space.together(3, 0), GROUP + 6);
        assert_eq!(space.take(3), Some(6..8), "what is left of two gaps");
        assert_eq!(space.together(1, 0), 9);
        assert_eq!(space.together(4, 0), GROUP + 20);
        assert_eq!(space.used(2 * GROUP), [0..GROUP + 9, GROUP + 10..GROUP + 24]);
    }

    #[test]
    fn what_stands_together_does_not_cross_copies() {
        let mut space = Space::new(10, 20 * GROUP);
        assert!(space.take_all(GROUP - 20));
        assert_eq!(space.together(100, 0), GROUP + 10);
        assert_eq!(space.together(7, 0), GROUP - 10, "the gap before the copies");
        assert_eq!(space.together(7, 16 * GROUP), 16 * GROUP);
        assert_eq!(space.together(7, 16 * GROUP), 16 * GROUP + 7);
        let used = space.used(20 * GROUP);
        assert_eq!(used[..3], [0..GROUP - 3, GROUP..GROUP + 110, 3 * GROUP..3 * GROUP + 10]);
        assert_eq!(used.last(), Some(&(16 * GROUP..16 * GROUP + 14)));
    }
}
