//! How large a file system is, and where its tables stand.
//!
//! Everything that does not depend on contents has its place behind the contents: bitmaps, inode tables, the
//! journal. With `flex_bg` these can be anywhere. The tables of 16 groups stand together, in the first of these
//! where the contents have not come so far.

use std::ops::Range;

use super::extent::{Run, extents_of, tree_blocks};
use super::group::DESCRIPTORS_PER_BLOCK;
use super::inode::INODES_PER_BLOCK;
use super::space::Space;
use super::{BLOCK, BLOCKS_PER_GROUP, GROUPS_PER_FLEX, Growth, MOST_BLOCKS, Settings, journal};

/// One bitmap of a block has a bit for each inode.
pub(super) const MOST_INODES_PER_GROUP: u64 = BLOCK * 8;
/// `mke2fs` leaves a last group out that has less room than this beside its own blocks.
const LEAST_IN_LAST_GROUP: u64 = 50;
/// A block of the resize inode points to so many others.
const POINTERS_PER_BLOCK: u64 = BLOCK / 4;

/// The numbers that all else follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) blocks: u64,
    pub(super) groups: u64,
    pub(super) inodes_per_group: u64,
    pub(super) descriptor_blocks: u64,
    /// Blocks behind the descriptors that are kept for more of them.
    pub(super) reserved_descriptor_blocks: u64,
    pub(super) journal_blocks: u64,
}

impl Layout {
    /// The layout of a file system of `blocks` blocks with room for `inodes` inodes.
    pub(super) fn new(blocks: u64, inodes: u64, settings: &Settings) -> Self {
        let groups = blocks.div_ceil(BLOCKS_PER_GROUP).max(1);
        // Their number has 32 bits.
        let most = (u64::from(u32::MAX) / groups).min(MOST_INODES_PER_GROUP);
        let most = most - most % INODES_PER_BLOCK;
        let descriptor_blocks = groups.div_ceil(DESCRIPTORS_PER_BLOCK);
        Self {
            blocks,
            groups,
            inodes_per_group: inodes.div_ceil(groups).next_multiple_of(INODES_PER_BLOCK).min(most),
            descriptor_blocks,
            reserved_descriptor_blocks: reserved(blocks, descriptor_blocks, settings.growth),
            journal_blocks: journal::blocks(settings.journal, blocks),
        }
    }

    /// Blocks that a group with copies begins with: superblock, descriptors, what is kept for more of them.
    pub(super) fn base(&self) -> u64 {
        1 + self.descriptor_blocks + self.reserved_descriptor_blocks
    }

    /// The layout with less kept for more descriptors, so that [`Layout::base`] is at most `most`.
    fn within(self, most: u64) -> Self {
        let reserved = most.saturating_sub(1 + self.descriptor_blocks).min(self.reserved_descriptor_blocks);
        Self { reserved_descriptor_blocks: reserved, ..self }
    }

    /// Blocks of the inode table of a group.
    pub(super) fn table_blocks(&self) -> u64 {
        self.inodes_per_group / INODES_PER_BLOCK
    }

    /// How many inodes there are.
    pub(super) fn inodes(&self) -> u64 {
        self.groups * self.inodes_per_group
    }

    /// The blocks of a group.
    pub(super) fn group(&self, group: u64) -> Range<u64> {
        let start = group * BLOCKS_PER_GROUP;
        start..(start + BLOCKS_PER_GROUP).min(self.blocks)
    }

    /// What a last group has at least.
    fn least_last_group(&self) -> u64 {
        let base = if super::group::has_backup(self.groups - 1) { self.base() } else { 0 };
        2 + self.table_blocks() + base + LEAST_IN_LAST_GROUP
    }
}

/// As many as `mke2fs` keeps, or as the given size needs.
fn reserved(blocks: u64, descriptor_blocks: u64, growth: Growth) -> u64 {
    const MOST: u64 = u32::MAX as u64;
    let largest = match growth {
        Growth::None => return 0,
        Growth::Default if blocks < MOST / 1024 => blocks * 1024,
        Growth::Default => MOST,
        Growth::To(bytes) => bytes.div_ceil(BLOCK).min(MOST),
    };
    let wanted = largest.div_ceil(BLOCKS_PER_GROUP).div_ceil(DESCRIPTORS_PER_BLOCK);
    wanted.saturating_sub(descriptor_blocks).min(POINTERS_PER_BLOCK)
}

/// Where a group's bitmaps and its inode table stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tables {
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
}

/// Where everything stands that has no place before the contents are known.
#[derive(Debug, Clone)]
pub(super) struct Placement {
    pub(super) layout: Layout,
    pub(super) tables: Vec<Tables>,
    pub(super) journal: Vec<Run>,
    /// Blocks for the journal's extents.
    pub(super) journal_tree: Vec<u64>,
    /// The resize inode's only block of its own.
    pub(super) resize: Option<u64>,
    /// All used blocks, in order.
    pub(super) used: Vec<Range<u64>>,
    /// The block that everything stands before.
    end: u64,
}

impl Placement {
    /// Gives the rest its place behind what `space` has given out already. With `spread`, tables of groups that
    /// are not reached yet stand there.
    fn new(mut space: Space, layout: Layout, spread: bool) -> Self {
        space.settle(layout.base(), u64::MAX >> 1);
        let resize = (layout.reserved_descriptor_blocks > 0).then(|| space.together(1, 0));
        let mut journal = Vec::new();
        let mut extents = 0;
        let mut logical = 0;
        while logical < layout.journal_blocks {
            let Some(range) = space.take_behind(layout.journal_blocks - logical) else { break };
            let length = range.end - range.start;
            journal.push(Run { logical, physical: range.start, length });
            extents += extents_of(length);
            logical += length;
        }
        let journal_tree = (0..tree_blocks(extents)).map(|_| space.together(1, 0)).collect();
        let mut tables = Vec::new();
        for first in (0..layout.groups).step_by(GROUPS_PER_FLEX) {
            let count = (layout.groups - first).min(GROUPS_PER_FLEX as u64);
            let from = if spread { first * BLOCKS_PER_GROUP } else { 0 };
            let mut each =
                |blocks: u64| -> Vec<u64> { (0..count).map(|_| space.together(blocks, from)).collect() };
            let block_bitmaps = each(1);
            let inode_bitmaps = each(1);
            let inode_tables = each(layout.table_blocks());
            tables.extend(block_bitmaps.into_iter().zip(inode_bitmaps).zip(inode_tables).map(
                |((block_bitmap, inode_bitmap), inode_table)| Tables {
                    block_bitmap,
                    inode_bitmap,
                    inode_table,
                },
            ));
        }
        let used = space.used(layout.blocks);
        let end = used.last().map_or(0, |last| last.end);
        Self { layout, tables, journal, journal_tree, resize, used, end }
    }

    /// Spread where that fits.
    fn spread_if_possible(space: &Space, layout: Layout) -> Self {
        let spread = Self::new(space.clone(), layout.clone(), true);
        if spread.end <= layout.blocks { spread } else { Self::new(space.clone(), layout, false) }
    }

    /// How many blocks are used.
    pub(super) fn used_blocks(&self) -> u64 {
        self.used.iter().map(|range| range.end - range.start).sum()
    }

    /// How many blocks there must be so that all is within them and `free` are free.
    fn needed(&self, free: u64) -> u64 {
        self.end.max(self.used_blocks().saturating_add(free))
    }

    /// What no file can ever have: the groups' own blocks, and the journal's.
    pub(super) fn overhead(&self) -> u64 {
        let copies = 1 + super::group::backups(self.layout.groups).len() as u64;
        let own = self.layout.groups * (2 + self.layout.table_blocks());
        copies * self.layout.base() + own + self.layout.journal_blocks
    }
}

/// What a tree needs at most, or exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Demand {
    /// Blocks of directories, contents, trees of extents, attributes.
    pub(super) blocks: u64,
    /// Further blocks that trees of extents need if every file is cut by as many copies of the superblock as
    /// can be.
    pub(super) cuts: u64,
    pub(super) inodes: u64,
}

impl Demand {
    /// The space after all of it was given out, in a file system with this layout.
    fn taken(self, layout: &Layout) -> Space {
        self.taken_from(Space::new(layout.base(), u64::MAX >> 1))
    }

    fn taken_from(self, mut space: Space) -> Space {
        space.take_all(self.blocks);
        // A copy cuts one file, whose tree becomes larger by no more blocks than it has levels: five at most.
        space.take_all(self.cuts.min(space.copies_passed() * 5));
        space
    }
}

/// The smallest file system for what `space` says is used, given a layout, that has `free` free blocks.
fn smallest(
    inodes: u64,
    free: u64,
    settings: &Settings,
    most_base: u64,
    space: impl Fn(&Layout) -> Space,
) -> Placement {
    let inodes = inodes.saturating_add(free / inode_blocks(free, settings));
    // The placement in so many blocks, or how many more it needs.
    let attempt = |blocks: u64| -> Result<Placement, u64> {
        let layout = Layout::new(blocks, inodes, settings).within(most_base);
        let last = layout.group(layout.groups - 1);
        if super::group::has_backup(layout.groups - 1) && last.end - last.start <= layout.base() {
            return Err(last.start + layout.base() + 1);
        }
        let placement = Placement::new(space(&layout), layout, false);
        let needed = placement.needed(free);
        if needed <= blocks { Ok(placement) } else { Err(needed) }
    };
    // As many groups as the inodes need.
    let least = (inodes.div_ceil(MOST_INODES_PER_GROUP) - 1) * BLOCKS_PER_GROUP + 1;
    let mut blocks = least;
    let mut placement = loop {
        match attempt(blocks) {
            Ok(placement) => break placement,
            Err(needed) => blocks = needed,
        }
    };
    // A layout on the way may have needed more than the one that was found.
    while let needed = placement.needed(free).max(least)
        && needed < placement.layout.blocks
        && let Ok(smaller) = attempt(needed)
    {
        placement = smaller;
    }
    if free == 0 {
        return placement;
    }
    let space = space(&placement.layout);
    Placement::spread_if_possible(&space, placement.layout)
}

/// An upper bound for a file system of the least size that holds the demand and has `free` free blocks.
pub(super) fn bound(demand: Demand, free: u64, settings: &Settings) -> Layout {
    smallest(demand.inodes, free, settings, u64::MAX, |layout| demand.taken(layout)).layout
}

/// Like [`bound`], where a part of the contents has its blocks already.
pub(super) fn bound_behind(space: &Space, demand: Demand, free: u64, settings: &Settings) -> Layout {
    let taken = |layout: &Layout| {
        let mut space = space.clone();
        space.settle(layout.base(), u64::MAX >> 1);
        demand.taken_from(space)
    };
    smallest(demand.inodes, free, settings, space.base(), taken).layout
}

/// The least file system for what was given out.
pub(super) fn fit(space: &Space, inodes: u64, free: u64, settings: &Settings) -> Placement {
    smallest(inodes, free, settings, space.base(), |_| space.clone())
}

/// How many blocks there are to an inode in a file system of `blocks` blocks.
fn inode_blocks(blocks: u64, settings: &Settings) -> u64 {
    const FOUR_TIB: u64 = 1 << 30;
    let bytes = match settings.bytes_per_inode {
        0 if blocks < FOUR_TIB => 16_384,
        0 if blocks < MOST_BLOCKS => 32_768,
        0 => 65_536,
        bytes => bytes,
    };
    bytes.div_ceil(BLOCK)
}

/// The layout of a file system in exactly `blocks` blocks that has room for the demand, or the number of blocks
/// that it needs at least (there may be more to it).
pub(super) fn exact(demand: Demand, blocks: u64, settings: &Settings) -> Result<Layout, u64> {
    let usual = demand.inodes.max(blocks / inode_blocks(blocks, settings));
    let wanted = exact_with(demand, blocks, usual, settings);
    if wanted.is_ok() { wanted } else { exact_with(demand, blocks, demand.inodes, settings) }
}

fn exact_with(demand: Demand, blocks: u64, inodes: u64, settings: &Settings) -> Result<Layout, u64> {
    let mut layout = Layout::new(blocks, inodes, settings);
    let last = layout.group(layout.groups - 1);
    let least = last.start + layout.least_last_group();
    let is_cut = layout.groups > 1 && blocks < least && last.end - last.start < BLOCKS_PER_GROUP;
    if is_cut {
        layout = Layout::new(last.start, inodes, settings);
    }
    let placement = Placement::spread_if_possible(&demand.taken(&layout), layout.clone());
    if layout.inodes() < demand.inodes {
        let groups = demand.inodes.div_ceil(MOST_INODES_PER_GROUP);
        Err(((groups - 1) * BLOCKS_PER_GROUP + 1).max(blocks + 1))
    } else if placement.end <= layout.blocks {
        Ok(layout)
    } else if is_cut {
        Err(placement.end.max(least))
    } else {
        Err(placement.end)
    }
}

/// The least number of blocks, more than `too_few`, for which [`exact`] finds a layout. (The journal that
/// `mke2fs` gives to a larger file system can be so much larger that there is less room.)
pub(super) fn least_exact(demand: Demand, too_few: u64, settings: &Settings) -> u64 {
    let mut blocks = too_few + 1;
    while let Err(needed) = exact(demand, blocks, settings) {
        blocks = needed.max(blocks + 1);
    }
    // A layout on the way may have needed more than the one that was found. Of sizes with the same number of
    // groups, all from the least on are enough.
    loop {
        let mut failing = ((blocks - 1) / BLOCKS_PER_GROUP * BLOCKS_PER_GROUP).max(too_few);
        let least = failing;
        while failing + 1 < blocks {
            let middle = failing + (blocks - failing) / 2;
            match exact(demand, middle, settings) {
                Ok(_) => blocks = middle,
                Err(_) => failing = middle,
            }
        }
        if failing > least || least == too_few || exact(demand, least, settings).is_err() {
            return blocks;
        }
        blocks = least;
    }
}

/// Where everything stands in a file system with a given layout; the number of blocks that it would need where
/// it has no room for that.
pub(super) fn place(space: &Space, layout: &Layout) -> Result<Placement, u64> {
    let placement = Placement::spread_if_possible(space, layout.clone());
    if placement.end <= layout.blocks { Ok(placement) } else { Err(placement.end) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Journal;
    use super::*;

    fn settings(growth: Growth, journal: Journal) -> Settings {
        Settings { growth, journal, ..Settings::default() }
    }

    fn demand(blocks: u64, inodes: u64) -> Demand {
        Demand { blocks, cuts: 0, inodes }
    }

    /// What is used is used once, and lies within the file system.
    fn check(placement: &Placement, contents: u64) {
        let layout = &placement.layout;
        assert!(placement.end <= layout.blocks, "{layout:?}");
        let copies = super::super::group::backups(layout.groups).into_iter().chain([0]);
        let starts = copies.map(|group| group * BLOCKS_PER_GROUP);
        let mut all: Vec<Range<u64>> = starts.map(|start| start..start + layout.base()).collect();
        all.extend(placement.journal.iter().map(|run| run.physical..run.physical + run.length));
        all.extend(placement.journal_tree.iter().chain(&placement.resize).map(|&block| block..block + 1));
        for tables in &placement.tables {
            all.push(tables.block_bitmap..tables.block_bitmap + 1);
            all.push(tables.inode_bitmap..tables.inode_bitmap + 1);
            all.push(tables.inode_table..tables.inode_table + layout.table_blocks());
        }
        all.sort_unstable_by_key(|range| range.start);
        assert!(all.windows(2).all(|pair| pair[0].end <= pair[1].start), "{all:?}");
        let own: u64 = all.iter().map(|range| range.end - range.start).sum();
        assert_eq!(placement.tables.len() as u64, layout.groups);
        assert_eq!(placement.used_blocks(), own + contents);
        let others = placement.journal_tree.len() + usize::from(placement.resize.is_some());
        assert_eq!(placement.overhead() + others as u64, own);
    }

    #[test]
    fn more_than_a_size_has_room_for_is_told() {
        let settings = settings(Growth::None, Journal::None);
        // Superblock, descriptors, two bitmaps, a block of inodes.
        assert_eq!(least_exact(demand(10, 16), 0, &settings), 15);
        assert_eq!(exact(demand(10, 16), 14, &settings), Err(15));
        // A second group, which has a copy, for one inode more.
        assert_eq!(Layout::new(BLOCKS_PER_GROUP + 1, 32_769, &settings).inodes_per_group, 16_400);
        assert!(least_exact(demand(10, 32_769), 100, &settings) > BLOCKS_PER_GROUP);
        assert!(bound(demand(10, 32_769), 0, &settings).blocks > BLOCKS_PER_GROUP);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

        #[test]
        fn sizes_are_enough_and_no_more(
            blocks in prop_oneof![1..2000_u64, 1..200_000_u64, 30_000..34_000_u64, 1_000_000..1_100_000_u64],
            inodes in prop_oneof![16..2000_u64, 16..150_000_u64],
            more in prop_oneof![0..100_u64, 0..100_000_u64],
            free in prop_oneof![Just(0), 0..100_000_u64],
            grows: bool,
            journal in prop_oneof![Just(Journal::None), Just(Journal::Default), Just(Journal::Bytes(5 << 20))],
        ) {
            let settings = settings(
                if grows { Growth::Default } else { Growth::None },
                journal,
            );
            let demand = demand(blocks, inodes);
            let least = least_exact(demand, 0, &settings);
            prop_assert!(exact(demand, least - 1, &settings).is_err());
            let mut sizes = vec![least];
            if journal == Journal::Default {
                sizes.push(least_exact(demand, least + more, &settings));
                prop_assert!(sizes[1] > least + more);
            } else {
                sizes.push(least + more);
            }
            for size in sizes {
                let layout = exact(demand, size, &settings);
                prop_assert!(layout.is_ok(), "{size} blocks are not enough, and {least} are");
                let layout = layout.expect("just seen");
                let space = demand.taken(&layout);
                let placement = place(&space, &layout);
                prop_assert!(placement.is_ok());
                check(&placement.expect("just seen"), blocks);
            }
            // The bound is made for what the contents turn out to be, or less.
            let bound = bound(demand, free, &settings);
            for share in [1, 2, 10] {
                let mut space = Space::new(bound.base() + 1, MOST_BLOCKS);
                space.take_all(blocks / share);
                let placement = fit(&space, inodes, free, &settings);
                prop_assert!(placement.layout.blocks <= bound.blocks + 1);
                prop_assert!(placement.layout.blocks - placement.used_blocks() >= free);
                prop_assert!(placement.layout.inodes() >= inodes);
                check(&placement, blocks / share);
            }
        }
    }
}
