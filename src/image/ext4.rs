//! ext4: the file system that can be written to, for disks and data partitions.
//!
//! Source: the kernel's [ext4 data structures](https://docs.kernel.org/filesystems/ext4/); each file below
//! names its part. The features are those that `mke2fs -t ext4` gives by default, of which every kernel since
//! 3.18 mounts all: 64-bit block numbers, extents, checksums over all metadata, hashed directories, tables of
//! 16 groups together (`flex_bg`), large and many-linked files. `ea_inode` (Linux 4.13) is set only where a
//! value of an attribute wants it. Blocks have 4,096 bytes, inodes 256.
//!
//! # How an image comes to be
//!
//! Each content is read once, in large pieces; blocks are given out as it is read, from the first one up, and
//! blocks of zeros get none. What depends on contents (bitmaps, inode tables, the journal, the size itself) has
//! its place behind them, which `flex_bg` allows, and is written afterwards. All that must be known before is
//! how much room the descriptors of the groups take at the beginning: an upper bound that follows from the
//! sizes, of which too much becomes ordinary blocks again. So no data is moved, and memory grows with the
//! number of nodes only: a tree of extents is written block by block while its file is, bitmaps are made from
//! the few ranges that are used.
//!
//! Two things are read beforehand. Where a given size is too small by the sizes of the files, their contents
//! are read for their blocks of zeros, so that the size is refused before anything is written. And where large
//! files could make the room for descriptors much larger than it must be, they are read until it is clear that
//! they are not hardly more than holes, which takes a small part of them.
//!
//! # What is decided here
//!
//! * Access, change and creation time of a node are its modification time.
//! * `lost+found` is made where the tree has none, with mode 0700 and room for names, as `e2fsck` wants it.
//! * Nothing of a tree is lost. What has no place is refused: times outside 1901–2446 (and some that `e2fsck`
//!   takes for others), attributes that are no `user.`, `trusted.`, `security.` or access control list, more
//!   than 65,000 names of a file, empty links.

mod census;
mod checksum;
mod content;
mod directory;
mod extent;
mod fill;
mod finish;
mod group;
mod hash;
mod inode;
mod journal;
mod layout;
mod output;
mod space;
mod superblock;
mod xattr;

use census::Census;
use content::Need;
use finish::Finish;
use layout::{Demand, Layout, Placement};
use output::Output;
use space::Space;

use super::ImageError;
use super::target::Target;
use crate::tree::ValidTree;

/// Bytes of a block.
const BLOCK: u64 = 4096;
/// Blocks of a group: as many as a bitmap of one block has bits.
const BLOCKS_PER_GROUP: u64 = BLOCK * 8;
/// Groups whose tables stand together.
const GROUPS_PER_FLEX: usize = 16;
/// Files of as many bytes come before all else.
const LARGE: u64 = 16 << 20;
/// So many blocks of them are read beforehand for each block that this may save.
const WORTH_READING: u64 = 32;
/// Blocks of the largest image: 16 TiB.
const MOST_BLOCKS: u64 = 1 << 32;

const ROOT_INODE: u32 = 2;
const RESIZE_INODE: u32 = 7;
const JOURNAL_INODE: u32 = 8;
/// The first inode that is not reserved.
const FIRST_INODE: u32 = 11;

/// The format, in errors.
const FORMAT: &str = "ext4";

/// How large an image becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// As large as what it holds, and no larger: no block is free, and no more inodes than fill the last block of
    /// their table. Every 32,768 inodes want a group of 128 MiB, full or not.
    Fit,
    /// So many bytes: the file system takes all whole blocks of them. A last group of blocks that would have
    /// hardly more than its own tables is left out of it, as `mke2fs` does.
    Exact(u64),
    /// What it holds, and so many bytes free for more.
    Free(u64),
}

/// Whether there is a journal, and how large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    /// None: for what is never written to.
    None,
    /// As `mke2fs` chooses by the size of the file system: 4 MiB from 8 MiB on, 16 MiB from 128 MiB on … 1 GiB
    /// from 128 GiB on. None below 8 MiB.
    Default,
    /// So many bytes: at least 4 MiB.
    Bytes(u64),
}

/// To what size `resize2fs` can enlarge the file system later without moving anything, also while it is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// Not at all: for what never becomes larger.
    None,
    /// 1,024 times its size, as with `mke2fs`.
    Default,
    /// So many bytes.
    To(u64),
}

/// What is decided about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How large it becomes; at most 16 TiB.
    pub size: Size,
    /// Its journal.
    pub journal: Journal,
    /// Room for growth.
    pub growth: Growth,
    /// The volume's name: at most 16 bytes without NUL.
    pub label: Vec<u8>,
    /// The file system's identifier.
    pub uuid: [u8; 16],
    /// What hashes of names begin with; all zeros for the default.
    pub hash_seed: [u8; 16],
    /// How much only root may use, in percent: at most 50.
    pub reserved_percent: u8,
    /// One inode is made for so many bytes of an exact size, or of free ones; 0 for 16 KiB, from 4 TiB on 32 KiB,
    /// from 16 TiB on 64 KiB, as `mke2fs` does. Never fewer than the tree needs. What is added later has as many
    /// inodes to a group as there are now.
    pub bytes_per_inode: u64,
    /// When the file system was made, in seconds since 1970: before 2310. `e2fsck` complains of a time in the
    /// future.
    pub created: i64,
}

impl Default for Settings {
    /// As large as the tree, without a journal, nothing reserved.
    fn default() -> Self {
        Self {
            size: Size::Fit,
            journal: Journal::None,
            growth: Growth::Default,
            label: Vec::new(),
            uuid: [0; 16],
            hash_seed: [0; 16],
            reserved_percent: 0,
            bytes_per_inode: 0,
            created: 0,
        }
    }
}

/// Writes the whole tree, and gives the image's length in bytes. The same tree and settings always give the
/// same bytes.
///
/// # Errors
/// Before anything is written: [`ImageError::CannotHold`], [`ImageError::Settings`], and
/// [`ImageError::TooSmall`] with the least larger size that is enough. Later: [`ImageError::Content`] and
/// [`ImageError::Write`]; and [`ImageError::TooSmall`] when a file has got fewer zeros than it had when it was
/// looked at.
pub fn write(tree: &ValidTree, settings: &Settings, target: Target<'_>) -> Result<u64, ImageError> {
    check(settings)?;
    let added = census::lost_found(tree, settings)?;
    let census = Census::new(tree, added.as_ref(), settings)?;
    let plan = Plan::new(&census, settings)?;
    if let Size::Exact(bytes) = settings.size {
        // The host's file system may have no files of this size.
        target.set_len(bytes).map_err(ImageError::Write)?;
    }
    let placement = std::thread::scope(|scope| {
        let mut output = Output::new(target, scope);
        let (space, states) = fill::fill(&census, settings, &plan, &mut output)?;
        let placement = plan.place(&space, &census, settings)?;
        let seed = checksum::crc32c(checksum::START, &settings.uuid);
        Finish {
            census: &census,
            settings,
            states: &states,
            placement: &placement,
            output: &mut output,
            seed,
        }
        .write()?;
        output.finish()?;
        Ok::<_, ImageError>(placement)
    })?;
    let length = match settings.size {
        Size::Exact(bytes) => return Ok(bytes),
        Size::Fit | Size::Free(_) => placement.layout.blocks * BLOCK,
    };
    target.set_len(length).map_err(ImageError::Write)?;
    Ok(length)
}

fn check(settings: &Settings) -> Result<(), ImageError> {
    let reason = if settings.label.len() > 16 || settings.label.contains(&0) {
        format!("a label has at most 16 bytes and no NUL, and \"{}\" has not", settings.label.escape_ascii())
    } else if settings.reserved_percent > 50 {
        format!("at most 50 % can be reserved, not {} %", settings.reserved_percent)
    } else if settings.created < 0 || inode::time_defect(settings.created).is_some() {
        format!("a file system can be made between 1970 and 2310, not {} s after 1970", settings.created)
    } else if let Journal::Bytes(bytes) = settings.journal
        && !(journal::LEAST..=journal::MOST).contains(&bytes.div_ceil(BLOCK))
    {
        let (least, most) = (journal::LEAST * BLOCK, journal::MOST * BLOCK);
        format!("a journal has {least} to {most} bytes, not {bytes}")
    } else if let Size::Exact(bytes) | Size::Free(bytes) = settings.size
        && bytes > MOST_BLOCKS * BLOCK
    {
        format!("an image has at most {} bytes, not {bytes}", MOST_BLOCKS * BLOCK)
    } else {
        return Ok(());
    };
    Err(ImageError::Settings { format: FORMAT, reason })
}

/// What is known of the size before contents are read.
enum Plan {
    /// At most this layout; so many free blocks; what all but large files need at most.
    AtMost(Layout, u64, Need),
    /// Exactly this one.
    Exact(Layout),
}

impl Plan {
    fn new(census: &Census<'_>, settings: &Settings) -> Result<Self, ImageError> {
        let own = census.own_need()?;
        let mut small = own;
        let mut large = Need::default();
        for (_, content) in census.files() {
            let need = Need::at_most(content.len());
            *(if content.len() < LARGE { &mut small } else { &mut large }) += need;
        }
        let inodes = census.inodes();
        let with = |large: Need| Self::from_need(large + small, small, inodes, settings);
        if let Some(plan) = with(large) {
            let Self::AtMost(layout, free, _) = &plan else { return Ok(plan) };
            // What is kept for descriptors at the beginning can be more than all else where large files are hardly
            // more than holes. That is soon found out.
            let least = layout::bound(demand(small, inodes), *free, settings);
            let most = (layout.base() - least.base().min(layout.base())) * WORTH_READING;
            return Ok(holds(census, LARGE, most)?.and_then(with).unwrap_or(plan));
        }
        let exactly = holds(census, 0, u64::MAX)?.unwrap_or_default() + own;
        Self::from_need(exactly, small, inodes, settings).ok_or_else(|| {
            let demand = demand(exactly, inodes);
            let (needed, size) = match settings.size {
                Size::Exact(bytes) => (layout::least_exact(demand, bytes / BLOCK, settings), bytes),
                Size::Fit => (layout::bound(demand, 0, settings).blocks, MOST_BLOCKS * BLOCK),
                Size::Free(bytes) => {
                    (layout::bound(demand, bytes.div_ceil(BLOCK), settings).blocks, MOST_BLOCKS * BLOCK)
                }
            };
            ImageError::TooSmall { format: FORMAT, needed: needed.saturating_mul(BLOCK), size }
        })
    }

    /// The plan, if there is room for so much.
    fn from_need(need: Need, small: Need, inodes: u64, settings: &Settings) -> Option<Self> {
        if need.blocks > MOST_BLOCKS {
            return None;
        }
        let demand = demand(need, inodes);
        let free = match settings.size {
            Size::Fit => 0,
            Size::Free(bytes) => bytes.div_ceil(BLOCK),
            Size::Exact(bytes) => {
                return layout::exact(demand, bytes / BLOCK, settings).ok().map(Self::Exact);
            }
        };
        let layout = layout::bound(demand, free, settings);
        (layout.blocks <= MOST_BLOCKS).then_some(Self::AtMost(layout, free, small))
    }

    /// The space that contents are put into.
    fn space(&self) -> Space {
        match self {
            // A block more, for the descriptors of more groups: what is not needed becomes free again.
            Self::AtMost(layout, ..) => Space::new(layout.base() + 1, MOST_BLOCKS),
            Self::Exact(layout) => Space::new(layout.base(), layout.blocks),
        }
    }

    /// Lowers the bound, now that large files have their blocks.
    fn settle(&self, space: &mut Space, census: &Census<'_>, settings: &Settings) {
        if let Self::AtMost(_, free, small) = self {
            let layout = layout::bound_behind(space, demand(*small, census.inodes()), *free, settings);
            space.settle((layout.base() + 1).min(space.base()), MOST_BLOCKS);
        }
    }

    /// Where the rest stands, now that contents have their places.
    fn place(
        &self,
        space: &Space,
        census: &Census<'_>,
        settings: &Settings,
    ) -> Result<Placement, ImageError> {
        let (blocks, needed) = match self {
            Self::AtMost(_, free, _) => {
                let placement = layout::fit(space, census.inodes(), *free, settings);
                if placement.layout.blocks <= MOST_BLOCKS {
                    return Ok(placement);
                }
                (MOST_BLOCKS, placement.layout.blocks)
            }
            Self::Exact(layout) => match layout::place(space, layout) {
                Ok(placement) => return Ok(placement),
                Err(needed) => (layout.blocks, needed),
            },
        };
        Err(ImageError::TooSmall { format: FORMAT, needed: needed * BLOCK, size: blocks * BLOCK })
    }
}

/// What the files of at least so many bytes need, which are read for that; none as soon as they turn out to
/// have more than `most` blocks with something in them.
fn holds(census: &Census<'_>, least: u64, most: u64) -> Result<Option<Need>, ImageError> {
    let mut sum = Need::default();
    let mut buffer = vec![0; content::PIECE];
    for (path, content) in census.files().filter(|(_, content)| content.len() >= least) {
        let left = most - sum.blocks.min(most);
        let need = Need::of(content, left, &mut buffer)
            .map_err(|source| ImageError::Content { path: path.clone(), source })?;
        match need {
            Some(need) => sum += need,
            None => return Ok(None),
        }
    }
    Ok(Some(sum))
}

fn demand(need: Need, inodes: u64) -> Demand {
    Demand { blocks: need.blocks, cuts: need.cuts, inodes }
}
