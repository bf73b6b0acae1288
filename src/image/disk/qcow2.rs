//! QEMU's own format for disks, from a finished raw disk: what is zero takes no room, and the rest can be compressed.
//!
//! Source: QEMU, [Qcow2 Image File Format](https://www.qemu.org/docs/master/interop/qcow2.html), version 3. Everything
//! is big-endian, in clusters of 64 KiB. Data comes first, in the disk's order, with a table of second level behind the
//! 512 MiB that it describes; then the table of first level, the reference counts, and at last the header, in the
//! first cluster.
//!
//! A cluster is left out when all of it is zero, whatever the disk's file system knows of holes. The bytes do not depend
//! on the number of threads: clusters are compressed each on its own, and placed in order.

use std::io::{self, Read, Seek, SeekFrom};

use flate2::{Compress, Compression, FlushCompress, Status};

use super::super::ImageError;
use super::super::target::Target;
use crate::tree::{Content, ContentReader};

const FORMAT: &str = "qcow2";
const MAGIC: &[u8; 4] = b"QFI\xfb";
const VERSION: u32 = 3;
/// 64 KiB, which is QEMU's own choice.
const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Entries of a table of the first or second level, or of reference blocks, that a cluster holds.
const ENTRIES: u64 = CLUSTER / 8;
/// Reference counts have 16 bits.
const REFCOUNT_ORDER: u32 = 4;
const REFCOUNTS_A_BLOCK: u64 = CLUSTER / 2;
const HEADER_BYTES: u32 = 112;
const INCOMPATIBLE_COMPRESSION_TYPE: u64 = 1 << 3;
/// Only this entry names the cluster: it may be written in place.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// Where a compressed cluster's entry has the number of its sectors.
const SECTORS_SHIFT: u32 = 62 - (CLUSTER_BITS - 8);
const SECTOR: u64 = 512;
/// QEMU takes tables of the first level of 32 MiB at most: 2 PiB with these clusters.
const MOST_BYTES: u64 = (32 << 20) / 8 * ENTRIES * CLUSTER;
/// QEMU gives its inflater a window of 4 KiB (2¹²), so nothing may refer further back.
const ZLIB_WINDOW_BITS: u8 = 12;
/// zlib-rs comes to QEMU's own size only here: 13.6 MB of a kernel, where its level 6 gives 15.1 MB.
const ZLIB_LEVEL: u32 = 9;
const ZSTD_LEVEL: u32 = 12;
/// How many clusters each thread is given at a time.
const CLUSTERS_A_THREAD: usize = 16;

/// A file of its own kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How clusters are compressed.
    pub compression: ClusterCompression,
    /// How many threads compress.
    pub threads: usize,
}

impl Default for Settings {
    /// Not compressed.
    fn default() -> Self {
        Self { compression: ClusterCompression::None, threads: 1 }
    }
}

/// What clusters are compressed with. One that doesn't become smaller by a sector stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClusterCompression {
    /// Nothing.
    #[default]
    None,
    /// Deflate, which every program reads that knows the format; levels 1 to 9.
    Zlib {
        /// 9 when it is `None`.
        level: Option<u32>,
    },
    /// Zstandard, which QEMU reads since 5.1; levels 1 to 22.
    Zstd {
        /// 12 when it is `None`.
        level: Option<u32>,
    },
}

/// Writes the raw disk `disk` as a qcow2 file and gives the file's length in bytes. The file's first byte is the
/// target's.
///
/// # Errors
/// [`ImageError::Settings`] when the disk's length is no multiple of 512 or more than 2 PiB, or the level is none;
/// [`ImageError::Input`] when the disk can't be read; [`ImageError::Write`].
pub fn write(disk: &Content, settings: &Settings, target: Target<'_>) -> Result<u64, ImageError> {
    if !disk.len().is_multiple_of(SECTOR) || disk.len() > MOST_BYTES {
        return Err(ImageError::Settings {
            format: FORMAT,
            reason: format!(
                "the disk has {} bytes, and not a multiple of {SECTOR} up to {MOST_BYTES}",
                disk.len()
            ),
        });
    }
    settings.compression.check()?;
    let mut file = File { target, refcounts: vec![1], tail: 0 };
    let mut source = Source::new(disk)?;
    let mut first_level = Vec::new();
    let clusters = disk.len().div_ceil(CLUSTER);
    let threads = settings.threads.max(1);
    for table in 0..clusters.div_ceil(ENTRIES) {
        let mut second_level = vec![0; CLUSTER as usize];
        let end = clusters.min((table + 1) * ENTRIES);
        let mut cluster = table * ENTRIES;
        while let Some(batch) = source.batch(cluster, end, threads * CLUSTERS_A_THREAD)? {
            for ((number, plain), packed) in
                batch.iter().zip(compress(&batch, settings.compression, threads)?)
            {
                let entry = match packed {
                    Some(packed) => file.compressed(&packed)?,
                    None => file.plain(plain)?,
                };
                let at = (number % ENTRIES) as usize * 8;
                second_level[at..at + 8].copy_from_slice(&entry.to_be_bytes());
            }
            cluster = batch.last().map_or(end, |(number, _)| number + 1);
        }
        let is_used = second_level.iter().any(|&byte| byte != 0);
        first_level.push(if is_used { file.plain(&second_level)? } else { 0 });
    }
    source.end()?;
    let first_level_entries = first_level.len();
    let first_level_offset = file.table(&first_level)?;
    let (refcount_offset, refcount_clusters) = file.refcounts()?;
    let zstd = matches!(settings.compression, ClusterCompression::Zstd { .. });
    let header = Header {
        size: disk.len(),
        first_level_entries: first_level_entries as u32,
        first_level_offset,
        refcount_offset,
        refcount_clusters,
        zstd,
    };
    target.write_at(0, &header.encode()).map_err(ImageError::Write)?;
    let length = file.refcounts.len() as u64 * CLUSTER;
    target.set_len(length).map_err(ImageError::Write)?;
    Ok(length)
}

struct Header {
    size: u64,
    first_level_entries: u32,
    first_level_offset: u64,
    refcount_offset: u64,
    refcount_clusters: u32,
    zstd: bool,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES as usize + 8);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend([0; 12]); // No backing file.
        bytes.extend(CLUSTER_BITS.to_be_bytes());
        bytes.extend(self.size.to_be_bytes());
        bytes.extend([0; 4]); // No encryption.
        bytes.extend(self.first_level_entries.to_be_bytes());
        bytes.extend(self.first_level_offset.to_be_bytes());
        bytes.extend(self.refcount_offset.to_be_bytes());
        bytes.extend(self.refcount_clusters.to_be_bytes());
        bytes.extend([0; 12]); // No snapshots.
        bytes.extend(if self.zstd { INCOMPATIBLE_COMPRESSION_TYPE } else { 0 }.to_be_bytes());
        bytes.extend([0; 16]); // No compatible features, and none that are cleared.
        bytes.extend(REFCOUNT_ORDER.to_be_bytes());
        bytes.extend(HEADER_BYTES.to_be_bytes());
        bytes.extend([u8::from(self.zstd), 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([0; 8]); // No extensions.
        bytes
    }
}

/// The raw disk, cluster by cluster.
struct Source {
    reader: ContentReader,
    length: u64,
}

/// Clusters that are not all zero, each with its number; the disk's last one is filled up with zeros.
type Batch = Vec<(u64, Vec<u8>)>;

impl Source {
    fn new(disk: &Content) -> Result<Self, ImageError> {
        Ok(Self { reader: disk.reader().map_err(unreadable)?, length: disk.len() })
    }

    /// The next clusters, at most `most` of them, from `first` on and before `end`. None when there are none.
    fn batch(&mut self, first: u64, end: u64, most: usize) -> Result<Option<Batch>, ImageError> {
        let mut batch = Vec::new();
        let mut number = first;
        while number < end && batch.len() < most {
            let data = self.reader.next_data(number * CLUSTER).map_err(unreadable)?;
            if data == self.length {
                number = end;
                continue;
            }
            number = data / CLUSTER;
            if number >= end {
                break;
            }
            let mut bytes = vec![0; CLUSTER as usize];
            let count = (self.length - number * CLUSTER).min(CLUSTER) as usize;
            self.reader.seek(SeekFrom::Start(number * CLUSTER)).map_err(unreadable)?;
            self.reader.read_exact(&mut bytes[..count]).map_err(unreadable)?;
            if bytes.iter().any(|&byte| byte != 0) {
                batch.push((number, bytes));
            }
            number += 1;
        }
        Ok(Some(batch).filter(|batch| !batch.is_empty()))
    }

    /// Sees that the disk has not grown meanwhile.
    fn end(&mut self) -> Result<(), ImageError> {
        self.reader.seek(SeekFrom::Start(self.length)).map_err(unreadable)?;
        self.reader.read(&mut [0]).map_err(unreadable)?;
        Ok(())
    }
}

/// The file that comes to be.
struct File<'a> {
    target: Target<'a>,
    /// Of each cluster of the file.
    refcounts: Vec<u16>,
    /// Where the last compressed cluster ends.
    tail: u64,
}

impl File<'_> {
    fn end(&self) -> u64 {
        self.refcounts.len() as u64 * CLUSTER
    }

    /// Writes a cluster and gives its entry.
    fn plain(&mut self, bytes: &[u8]) -> Result<u64, ImageError> {
        Ok(COPIED | self.clusters(bytes)?)
    }

    /// Writes compressed bytes behind the last ones, if they are not in the way of something else there, and gives the
    /// cluster's entry.
    fn compressed(&mut self, bytes: &[u8]) -> Result<u64, ImageError> {
        let length = bytes.len() as u64;
        // No room where the last ones end at a cluster's end.
        let room = self.tail.next_multiple_of(CLUSTER) - self.tail;
        let is_last = room > 0 && self.tail + room == self.end();
        let offset = if length <= room || is_last { self.tail } else { self.end() };
        self.tail = offset + length;
        let last = (self.tail - 1) / CLUSTER;
        self.refcounts.resize(self.refcounts.len().max(last as usize + 1), 0);
        for cluster in offset / CLUSTER..=last {
            // Every one has at least a few bytes, so fewer than 2¹⁶ are in a cluster.
            self.refcounts[cluster as usize] += 1;
        }
        self.target.write_at(offset, bytes).map_err(ImageError::Write)?;
        let more_sectors = (self.tail - 1) / SECTOR - offset / SECTOR;
        Ok(COMPRESSED | more_sectors << SECTORS_SHIFT | offset)
    }

    /// Writes a table at the end and gives its place.
    fn table(&mut self, entries: &[u64]) -> Result<u64, ImageError> {
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        self.clusters(&bytes)
    }

    /// Writes bytes at the end, in as many clusters as they need, and gives their place.
    fn clusters(&mut self, bytes: &[u8]) -> Result<u64, ImageError> {
        let offset = self.end();
        let count = bytes.len().div_ceil(CLUSTER as usize);
        self.refcounts.resize(self.refcounts.len() + count, 1);
        self.target.write_at(offset, bytes).map_err(ImageError::Write)?;
        Ok(offset)
    }

    /// Writes the reference counts and the table of their blocks, which are counted too; gives the place of the table
    /// and how many clusters it has.
    fn refcounts(&mut self) -> Result<(u64, u32), ImageError> {
        let before = self.refcounts.len() as u64;
        let (mut blocks, mut tables) = (0, 0);
        loop {
            let needed = (before + blocks + tables).div_ceil(REFCOUNTS_A_BLOCK);
            let needed = (needed, needed.div_ceil(ENTRIES));
            if needed == (blocks, tables) {
                break;
            }
            (blocks, tables) = needed;
        }
        let mut counts = self.refcounts.clone();
        counts.resize((before + blocks + tables) as usize, 1);
        let mut places = Vec::new();
        for block in counts.chunks(REFCOUNTS_A_BLOCK as usize) {
            let bytes: Vec<u8> = block.iter().flat_map(|count| count.to_be_bytes()).collect();
            places.push(self.clusters(&bytes)?);
        }
        // At most 2⁵⁰ bytes have 2³⁴ clusters, and those 64 clusters of table.
        Ok((self.table(&places)?, tables as u32))
    }
}

impl ClusterCompression {
    fn check(self) -> Result<(), ImageError> {
        let (name, level, range) = match self {
            Self::None => return Ok(()),
            Self::Zlib { level } => ("zlib", level.unwrap_or(ZLIB_LEVEL), 1..=9),
            Self::Zstd { level } => ("zstd", level.unwrap_or(ZSTD_LEVEL), 1..=22),
        };
        if range.contains(&level) {
            return Ok(());
        }
        let reason = format!("level {level} of {name} is not in {}–{}", range.start(), range.end());
        Err(ImageError::Settings { format: FORMAT, reason })
    }
}

/// Compresses clusters; None for one that stays as it is.
fn compress(
    batch: &[(u64, Vec<u8>)],
    compression: ClusterCompression,
    threads: usize,
) -> Result<Vec<Option<Vec<u8>>>, ImageError> {
    if compression == ClusterCompression::None {
        return Ok(vec![None; batch.len()]);
    }
    let each = batch.len().div_ceil(threads).max(1);
    let work = |part: &[(u64, Vec<u8>)]| -> Result<Vec<Option<Vec<u8>>>, ImageError> {
        let mut compressor = Compressor::new(compression)?;
        part.iter().map(|(_, bytes)| compressor.compress(bytes)).collect()
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = batch.chunks(each).map(|part| scope.spawn(move || work(part))).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut all = Vec::with_capacity(batch.len());
    for result in results {
        all.extend(result?);
    }
    Ok(all)
}

enum Compressor {
    Zlib(Compress),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Compressor {
    fn new(compression: ClusterCompression) -> Result<Self, ImageError> {
        match compression {
            ClusterCompression::Zstd { level } => {
                // Without a sum behind the frame: QEMU stops reading when a cluster is full.
                zstd::bulk::Compressor::new(level.unwrap_or(ZSTD_LEVEL).cast_signed())
                    .map(Self::Zstd)
                    .map_err(|error| unusable("zstd", &error))
            }
            ClusterCompression::Zlib { level } => Ok(Self::zlib(level.unwrap_or(ZLIB_LEVEL))),
            ClusterCompression::None => Ok(Self::zlib(0)),
        }
    }

    fn zlib(level: u32) -> Self {
        Self::Zlib(Compress::new_with_window_bits(Compression::new(level), false, ZLIB_WINDOW_BITS))
    }

    fn compress(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, ImageError> {
        let most = (CLUSTER - SECTOR) as usize;
        match self {
            Self::Zlib(compress) => {
                compress.reset();
                // Room for whatever comes: zlib-rs 0.6 fails where its output has none, at level 1 with a panic.
                let mut packed = Vec::with_capacity(2 * CLUSTER as usize);
                let status = compress
                    .compress_vec(bytes, &mut packed, FlushCompress::Finish)
                    .map_err(|error| unusable("zlib", &error))?;
                Ok(Some(packed).filter(|packed| status == Status::StreamEnd && packed.len() <= most))
            }
            Self::Zstd(compressor) => {
                let packed = compressor.compress(bytes).map_err(|error| unusable("zstd", &error))?;
                Ok(Some(packed).filter(|packed| packed.len() <= most))
            }
        }
    }
}

fn unusable(compressor: &'static str, error: &dyn std::error::Error) -> ImageError {
    ImageError::Compressor { compressor, reason: error.to_string() }
}

fn unreadable(source: io::Error) -> ImageError {
    ImageError::Input { what: "the raw disk", source }
}

#[cfg(test)]
mod tests;
