//! Cutting content into extents and compressing each into whole blocks.
//!
//! A cluster has a size that it may not exceed, and its extent is as long as fits. Compressed data stands at the end of
//! its cluster; readers find its beginning by the zeros before it, so it must not begin with one: LZ4's first token
//! has literals, and zstd's frames begin with a magic number.

use std::io;

use zstd::zstd_safe::{CParameter, compress_bound};

use super::format::{BLOCK_BYTES, Compressor};
use crate::image::compress::lz4_block::{Effort, Packer};

/// The largest part of an extent that stands beside the inode instead of in a block: with more than this, the block
/// that inodes share would be little emptier than one of its own.
const MOST_TAIL: usize = 3840;
/// How many places the careful LZ4 parser looks at for each byte, and with which match it is content.
const LZ4_CARE: Effort = Effort::Careful { depth: 6, enough: 24 };

/// A part of a file, and where it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub length: u32,
    pub blocks: u16,
    /// Not compressed.
    pub plain: bool,
}

/// A row of extents.
#[derive(Debug, Default)]
pub(super) struct Packed {
    pub extents: Vec<Extent>,
    /// Their clusters: whole blocks.
    pub data: Vec<u8>,
    /// What the last extent has instead of blocks, if it stands beside the inode; in the index it counts as one block.
    pub tail: Option<Vec<u8>>,
}

impl Packed {
    /// Bytes as they are.
    fn plain(&mut self, bytes: &[u8]) {
        for block in bytes.chunks(BLOCK_BYTES) {
            self.extents.push(Extent { length: block.len() as u32, blocks: 1, plain: true });
            self.data.extend_from_slice(block);
        }
        self.data.resize(self.data.len().next_multiple_of(BLOCK_BYTES), 0);
    }

    /// A compressed cluster.
    fn compressed(&mut self, length: usize, cluster: &[u8]) {
        let blocks = cluster.len().div_ceil(BLOCK_BYTES);
        self.extents.push(Extent { length: length as u32, blocks: blocks as u16, plain: false });
        self.data.resize(self.data.len() + blocks * BLOCK_BYTES - cluster.len(), 0);
        self.data.extend_from_slice(cluster);
    }

    /// The last extent, beside the inode.
    fn tail(&mut self, bytes: &[u8], cluster: &[u8]) {
        let plain = cluster.is_empty() || bytes.len() <= cluster.len();
        self.extents.push(Extent { length: bytes.len() as u32, blocks: 1, plain });
        self.tail = Some(if plain { bytes } else { cluster }.to_vec());
    }
}

/// How much a compressor tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Lz4 { quick: bool },
    Zstd(i32),
}

/// Compresses extents. Each thread has its own.
pub(super) struct Clusters {
    method: Method,
    /// The most that a cluster takes.
    capacity: usize,
    /// The most that an extent holds.
    most: usize,
    tails: bool,
    cluster: Vec<u8>,
    /// The extent before could not be compressed, so the next one can't either, most likely.
    doubt: bool,
}

enum Method {
    Lz4(Box<Packer>),
    Zstd(Box<Fitting>),
}

impl Clusters {
    /// `tails` says whether a file's last extent may stand beside its inode.
    pub(super) fn new(compressor: Compressor, level: Level, tails: bool) -> io::Result<Self> {
        let capacity = usize::from(compressor.cluster_blocks) * BLOCK_BYTES;
        let method = match level {
            Level::Lz4 { quick: true } => Method::Lz4(Box::new(Packer::new(Effort::Quick, capacity))),
            Level::Lz4 { quick: false } => Method::Lz4(Box::new(Packer::new(LZ4_CARE, capacity))),
            Level::Zstd(level) => Method::Zstd(Box::new(Fitting::new(level, compressor.window_log)?)),
        };
        Ok(Self {
            method,
            capacity,
            most: (4 * capacity).max(1 << 20),
            tails,
            cluster: Vec::new(),
            doubt: false,
        })
    }

    /// Compresses a piece of a file; the extents of the next piece follow. All pieces but the `last` have whole blocks.
    pub(super) fn pack(&mut self, piece: &[u8], last: bool) -> io::Result<Packed> {
        debug_assert!(last || piece.len().is_multiple_of(BLOCK_BYTES));
        let may_be_tail = last && self.tails;
        let mut packed = Packed::default();
        if let Method::Zstd(fitting) = &mut self.method {
            fitting.guess = 3 * self.capacity;
        }
        self.doubt = false;
        let mut at = 0;
        while at < piece.len() {
            let rest = &piece[at..];
            if rest.len() <= BLOCK_BYTES && !may_be_tail {
                packed.plain(rest);
                break;
            }
            let mut taken = self.fit(piece, at, self.capacity)?;
            if taken == rest.len() && may_be_tail {
                let size = if self.cluster.is_empty() { taken } else { self.cluster.len().min(taken) };
                if size <= MOST_TAIL {
                    packed.tail(rest, &self.cluster);
                    break;
                }
                let whole = self.cluster.len() / BLOCK_BYTES * BLOCK_BYTES;
                if whole > 0 && (1..=MOST_TAIL).contains(&(self.cluster.len() - whole)) {
                    // Full blocks only, and what is left beside the inode.
                    taken = self.fit(piece, at, whole)?;
                }
            }
            let blocks = self.cluster.len().div_ceil(BLOCK_BYTES);
            self.doubt = self.cluster.is_empty() || taken <= blocks * BLOCK_BYTES;
            if !self.doubt {
                packed.compressed(taken, &self.cluster);
                at += taken;
            } else {
                // Nothing is gained. Only the end of a piece may be less than a block.
                let whole = (taken / BLOCK_BYTES).max(1) * BLOCK_BYTES;
                let plain = if taken == rest.len() { taken } else { whole.min(rest.len()) };
                packed.plain(&rest[..plain]);
                at += plain;
            }
        }
        Ok(packed)
    }

    /// Compresses into `cluster` what fits of `piece` from `at` on, and gives how much that is. An empty cluster: it can't
    /// be compressed.
    fn fit(&mut self, piece: &[u8], at: usize, capacity: usize) -> io::Result<usize> {
        let end = piece.len().min(at + self.most);
        match &mut self.method {
            Method::Lz4(packer) => {
                let enough = end - at > capacity;
                if self.doubt && enough && packer.glance(&piece[..end], at, capacity) < capacity {
                    self.cluster.clear();
                    return Ok(capacity);
                }
                Ok(packer.pack(&piece[..end], at, capacity, &mut self.cluster))
            }
            Method::Zstd(fitting) => fitting.fit(&piece[at..end], capacity, &mut self.cluster),
        }
    }
}

/// Finds by trying how much of an input fits when it is compressed.
struct Fitting {
    compressor: zstd::bulk::Compressor<'static>,
    trial: Vec<u8>,
    /// How much fitted last.
    guess: usize,
}

impl Fitting {
    fn new(level: i32, window_log: u8) -> io::Result<Self> {
        let mut compressor = zstd::bulk::Compressor::new(level)?;
        compressor.set_parameter(CParameter::WindowLog(u32::from(window_log)))?;
        Ok(Self { compressor, trial: Vec::new(), guess: 0 })
    }

    fn fit(&mut self, input: &[u8], capacity: usize, cluster: &mut Vec<u8>) -> io::Result<usize> {
        /// More trials gain less than they cost.
        const TRIALS: usize = 8;
        /// Of a block, what may be left empty without another trial.
        const LEFT: usize = BLOCK_BYTES / 32;
        cluster.clear();
        // What fits, and the least that is known not to fit.
        let (mut fits, mut too_much) = (0, input.len() + 1);
        let mut length = self.guess.clamp(1, input.len());
        for _ in 0..TRIALS {
            self.trial.clear();
            self.trial.reserve(compress_bound(length));
            let size = self.compressor.compress_to_buffer(&input[..length], &mut self.trial)?;
            if size <= capacity {
                fits = length;
                std::mem::swap(cluster, &mut self.trial);
                if length == input.len() || size + LEFT >= capacity {
                    break;
                }
            } else {
                if size >= length && fits == 0 && length <= 2 * capacity {
                    break;
                }
                too_much = length;
            }
            if too_much - fits <= 1 {
                break;
            }
            // As if every byte took as much as those so far; a little less, so that it fits.
            let scaled = (length as u64 * capacity as u64 / size as u64) as usize;
            length = (scaled - scaled / 256).clamp(fits + 1, too_much - 1);
        }
        if fits == 0 {
            return Ok(capacity.min(input.len()));
        }
        self.guess = fits;
        Ok(fits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::image::erofs::format::Algorithm;

    fn compressor(algorithm: Algorithm, cluster_blocks: u16) -> Compressor {
        Compressor { algorithm, cluster_blocks, window_log: 17 }
    }

    const LEVELS: [(Algorithm, Level); 3] = [
        (Algorithm::Lz4, Level::Lz4 { quick: false }),
        (Algorithm::Lz4, Level::Lz4 { quick: true }),
        (Algorithm::Zstd, Level::Zstd(3)),
    ];

    fn unpack(level: Level, cluster: &[u8], length: usize) -> Vec<u8> {
        let start = cluster.iter().position(|&byte| byte != 0).expect("data");
        assert!(start < BLOCK_BYTES, "readers look for the beginning in the first block");
        match level {
            Level::Lz4 { .. } => lz4_flex::block::decompress(&cluster[start..], length).expect("a block"),
            Level::Zstd(_) => zstd::bulk::decompress(&cluster[start..], length).expect("a frame"),
        }
    }

    /// The extents, decompressed; and that they are as an index can tell them.
    fn content(level: Level, packed: &Packed, piece: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut data = &packed.data[..];
        let mut last_head = None;
        for (number, extent) in packed.extents.iter().enumerate() {
            let head = bytes.len() / BLOCK_BYTES;
            assert!(last_head.is_none_or(|last| last < head), "two extents begin in block {head}");
            last_head = Some(head);
            let length = extent.length as usize;
            let is_last = number + 1 == packed.extents.len();
            let cluster = match &packed.tail {
                Some(tail) if is_last => &tail[..],
                _ => data.split_off(..usize::from(extent.blocks) * BLOCK_BYTES).expect("as many blocks"),
            };
            if extent.plain {
                bytes.extend_from_slice(&cluster[..length]);
            } else {
                let stored = usize::from(extent.blocks) * BLOCK_BYTES;
                assert!(length > stored || packed.tail.is_some() && is_last, "{extent:?} gains nothing");
                bytes.extend(unpack(level, cluster, length));
            }
            assert_eq!(bytes.len().min(piece), bytes.len());
        }
        assert!(data.is_empty());
        bytes
    }

    fn noise(count: usize) -> Vec<u8> {
        let mut state = 1_u64;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect()
    }

    #[test]
    fn what_is_incompressible_stays_as_it_is() {
        let noise = noise(300_000);
        for (algorithm, level) in LEVELS {
            let mut clusters = Clusters::new(compressor(algorithm, 16), level, true).expect("set up");
            let packed = clusters.pack(&noise, true).expect("packed");
            assert!(packed.extents.iter().all(|extent| extent.plain), "{level:?}");
            assert_eq!(packed.data, noise[..packed.data.len()]);
            assert_eq!(packed.tail.as_deref(), Some(&noise[packed.data.len()..]));
        }
    }

    #[test]
    fn clusters_are_full() {
        let text: Vec<u8> = (0..200_000_u32)
            .flat_map(|n| format!("{} ", n.wrapping_mul(2_654_435_761) >> 19).into_bytes())
            .collect();
        for (algorithm, level) in LEVELS {
            let mut clusters = Clusters::new(compressor(algorithm, 4), level, false).expect("set up");
            let packed = clusters.pack(&text, true).expect("packed");
            let zeros: usize = packed
                .data
                .chunks(4 * BLOCK_BYTES)
                .rev()
                .skip(1)
                .map(|cluster| cluster.iter().take_while(|byte| **byte == 0).count())
                .sum();
            assert!(
                zeros * 100 < packed.data.len(),
                "{level:?}: {zeros} bytes of {} unused",
                packed.data.len()
            );
            assert!(content(level, &packed, text.len()) == text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn content_comes_back(
            pieces in prop::collection::vec((0..6000_usize, any::<bool>()), 0..12),
            cluster_blocks in 1..5_u16,
            tails: bool,
            which in 0..3_usize,
        ) {
            let noise = noise(6000);
            let bytes: Vec<u8> = pieces
                .iter()
                .flat_map(|&(size, plain)| if plain { noise[..size].to_vec() } else { b"text ".repeat(size) })
                .collect();
            let (algorithm, level) = LEVELS[which];
            let mut clusters =
                Clusters::new(compressor(algorithm, cluster_blocks), level, tails).expect("set up");
            let packed = clusters.pack(&bytes, true).expect("packed");
            prop_assert!(content(level, &packed, bytes.len()) == bytes);
            prop_assert!(tails || packed.tail.is_none());
            let first = &bytes[..bytes.len() / BLOCK_BYTES * BLOCK_BYTES];
            let packed = clusters.pack(first, false).expect("packed");
            prop_assert!(packed.tail.is_none());
            prop_assert!(content(level, &packed, first.len()) == first);
        }
    }
}
