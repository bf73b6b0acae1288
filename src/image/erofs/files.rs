//! The data of files: read and compressed by several threads, written in path order.
//!
//! Small files are worked on several at a time, large ones in pieces; neither depends on the number of threads. What is
//! stored twice is found by its digest, which is only taken of files whose size another file has too.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};

use ring::digest;

use super::Settings;
use super::cluster::{Clusters, Level, Packed};
use super::format::{Algorithm, BLOCK, BLOCK_BYTES, Compressor, HOLE, Layout};
use super::index::{self, Index};
use super::ordered::ordered;
use super::plan::Plan;
use super::survey::{self, Blocks, Survey};
use super::writer::Image;
use crate::image::ImageError;
use crate::tree::{Content, NodeKind};

/// The least that a piece of a large file has. Each piece begins an extent anew, which costs half a block.
const LEAST_PIECE: u64 = 2 << 20;
/// How many bytes of small files are worked on at a time, and how many files.
const BATCH: (u64, usize) = (256 << 10, 64);

type Digest = [u8; 32];
/// The digest of a content, and whether its end is not in the blocks.
type Twin = (Digest, bool);

/// What is worked on at a time.
enum Unit {
    /// These files (places of nodes), each in one piece.
    Small(Vec<usize>),
    Piece(Piece),
    /// A file that is stored in chunks.
    Chunks(usize, u16),
}

/// A part of a large file.
#[derive(Debug, Clone, Copy)]
struct Piece {
    place: usize,
    offset: u64,
    length: usize,
    last: bool,
}

/// What has become of it.
enum Done {
    Small(Vec<(usize, Stored, Option<Digest>)>),
    Piece(Piece, Stored),
    Chunks(usize, u16),
}

enum Stored {
    Flat(Vec<u8>),
    Packed(Packed),
}

/// Where equal data is.
#[derive(Debug, Default)]
struct Twins {
    /// Sizes that several files have, in order.
    sizes: Vec<u64>,
    /// The blocks of small files.
    blocks: HashMap<Digest, u32>,
    /// The content of large files.
    contents: HashMap<Twin, u32>,
}

/// A large file of which some pieces have come.
struct Large {
    place: usize,
    /// Where its data begins.
    start: u32,
    /// Its data is there already.
    known: bool,
    /// By what others find its data.
    twin: Option<Twin>,
    /// What no block is full of stands beside the inode.
    inline: bool,
    index: Option<Index>,
    blocks: u64,
    compressed: bool,
}

/// What is the same for all files.
struct Work<'a> {
    plan: &'a Plan<'a>,
    compressor: Option<(Compressor, Level)>,
    tails: bool,
    sizes: &'a [u64],
}

impl Work<'_> {
    fn has_large_clusters(&self) -> bool {
        self.compressor.is_some_and(|(compressor, _)| compressor.cluster_blocks > 1)
    }
}

/// What each thread has for itself.
struct Worker {
    clusters: Option<io::Result<Clusters>>,
    buffer: Vec<u8>,
}

pub(super) fn write(
    image: &mut Image<'_, '_>,
    settings: &Settings,
    compressor: Option<(Compressor, Level)>,
) -> Result<(), ImageError> {
    let plan = image.plan;
    let piece = compressor.map_or(LEAST_PIECE, |(compressor, _)| {
        LEAST_PIECE.max(16 * u64::from(compressor.cluster_blocks) * BLOCK)
    });
    let mut twins = Twins { sizes: repeated_sizes(plan), ..Twins::default() };
    let surveys = surveys(plan, settings.threads, piece, compressor.is_some(), &twins.sizes)?;
    let sizes = std::mem::take(&mut twins.sizes);
    let work = Work { plan, compressor, tails: settings.pack_tails, sizes: &sizes };
    let mut large = None;
    ordered(
        settings.threads,
        units(plan, piece, &surveys),
        || Worker::new(&work),
        |worker, unit| worker.work(&work, unit),
        |done| match done {
            Done::Small(files) => files.into_iter().try_for_each(|(place, stored, digest)| {
                small(image, &work, &mut twins, place, stored, digest)
            }),
            Done::Piece(piece, stored) => {
                add_piece(image, &work, &mut twins, &surveys, &mut large, piece, stored)
            }
            Done::Chunks(place, bits) => chunks(image, place, bits),
        },
    )
}

/// The content of a node that has one of its own.
fn content<'a>(plan: &Plan<'a>, place: usize) -> Option<&'a Content> {
    let planned = &plan.nodes[place];
    match &planned.node.kind {
        NodeKind::File(content) if planned.home == place => Some(content),
        _ => None,
    }
}

fn repeated_sizes(plan: &Plan<'_>) -> Vec<u64> {
    let mut sizes: Vec<u64> = (0..plan.nodes.len())
        .filter_map(|place| content(plan, place))
        .map(Content::len)
        .filter(|&size| size >= BLOCK)
        .collect();
    sizes.sort_unstable();
    let mut repeated: Vec<u64> =
        sizes.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    repeated.dedup();
    repeated
}

/// Surveys all files that are larger than a piece.
fn surveys(
    plan: &Plan<'_>,
    threads: usize,
    piece: u64,
    compressed: bool,
    sizes: &[u64],
) -> Result<HashMap<usize, Survey>, ImageError> {
    let mut surveys = HashMap::new();
    let large: Vec<usize> = (0..plan.nodes.len())
        .filter(|&place| content(plan, place).is_some_and(|content| content.len() > piece))
        .collect();
    let threads = threads.clamp(1, large.len().max(1));
    ordered(
        threads,
        large.into_iter(),
        || (),
        |(), place| {
            let Some(content) = content(plan, place) else { return Ok(None) };
            let hash = sizes.binary_search(&content.len()).is_ok();
            let survey =
                survey::survey(content, compressed, hash).map_err(|source| failed(plan, place, source))?;
            Ok(Some((place, survey)))
        },
        |survey| {
            surveys.extend(survey);
            Ok(())
        },
    )?;
    Ok(surveys)
}

/// All files in path order, as units of work.
fn units<'a>(
    plan: &'a Plan<'a>,
    piece: u64,
    surveys: &'a HashMap<usize, Survey>,
) -> impl Iterator<Item = Unit> + 'a {
    let mut places =
        (0..plan.nodes.len()).filter_map(move |place| Some((place, content(plan, place)?.len()))).peekable();
    let mut rest: Option<(usize, u64, u64)> = None;
    std::iter::from_fn(move || {
        if let Some((place, offset, size)) = rest.take() {
            let length = (size - offset).min(piece);
            let last = offset + length == size;
            if !last {
                rest = Some((place, offset + length, size));
            }
            return Some(Unit::Piece(Piece { place, offset, length: length as usize, last }));
        }
        let (place, size) = places.next()?;
        if size > piece {
            if let Some(Survey { chunks: Some(bits), .. }) = surveys.get(&place) {
                return Some(Unit::Chunks(place, *bits));
            }
            rest = Some((place, piece, size));
            return Some(Unit::Piece(Piece { place, offset: 0, length: piece as usize, last: false }));
        }
        let (mut batch, mut bytes) = (vec![place], size);
        while let Some(&(place, size)) = places.peek()
            && size <= piece
            && bytes + size <= BATCH.0
            && batch.len() < BATCH.1
        {
            places.next();
            batch.push(place);
            bytes += size;
        }
        Some(Unit::Small(batch))
    })
}

fn failed(plan: &Plan<'_>, place: usize, source: io::Error) -> ImageError {
    ImageError::Content { path: plan.nodes[place].path.clone(), source }
}

impl Worker {
    fn new(work: &Work<'_>) -> Self {
        let clusters =
            work.compressor.map(|(compressor, level)| Clusters::new(compressor, level, work.tails));
        Self { clusters, buffer: Vec::new() }
    }

    fn work(&mut self, work: &Work<'_>, unit: Unit) -> Result<Done, ImageError> {
        match unit {
            Unit::Small(places) => {
                let files = places.into_iter().map(|place| {
                    let stored = self.small(work, place)?;
                    let digest = work
                        .sizes
                        .binary_search(&work.plan.nodes[place].size)
                        .ok()
                        .and_then(|_| digest_of(work, place, &stored));
                    Ok((place, stored, digest))
                });
                Ok(Done::Small(files.collect::<Result<_, ImageError>>()?))
            }
            Unit::Piece(piece) => {
                self.read(work, piece)?;
                let stored = match self.pack(piece.last)? {
                    Some(packed) => Stored::Packed(packed),
                    None => Stored::Flat(std::mem::take(&mut self.buffer)),
                };
                Ok(Done::Piece(piece, stored))
            }
            Unit::Chunks(place, bits) => Ok(Done::Chunks(place, bits)),
        }
    }

    /// A file in one piece: compressed if that takes less room in all.
    fn small(&mut self, work: &Work<'_>, place: usize) -> Result<Stored, ImageError> {
        let size = work.plan.nodes[place].size;
        // A small file's size is less than a piece's.
        self.read(work, Piece { place, offset: 0, length: size as usize, last: true })?;
        if size > 0
            && let Some(packed) = self.pack(true)?
        {
            let head = work.plan.head(place);
            let start = head.next_multiple_of(8) + index::HEADER;
            let tail = packed.tail.as_ref().map_or(0, Vec::len) as u64;
            let compressed = packed.data.len() as u64 + start + index::size(start, size) + tail;
            let blocks = Image::flat_blocks(work.plan, place, size);
            let flat = blocks * BLOCK + head + size.saturating_sub(blocks * BLOCK);
            if compressed < flat {
                return Ok(Stored::Packed(packed));
            }
        }
        Ok(Stored::Flat(self.buffer.clone()))
    }

    fn read(&mut self, work: &Work<'_>, piece: Piece) -> Result<(), ImageError> {
        let Piece { place, offset, length, last } = piece;
        let read = |buffer: &mut Vec<u8>| -> io::Result<()> {
            let Some(content) = content(work.plan, place) else { return Ok(()) };
            buffer.resize(length, 0);
            let mut reader = content.reader()?;
            if offset > 0 {
                reader.seek(SeekFrom::Start(offset))?;
            }
            reader.read_exact(buffer)?;
            if last && reader.read(&mut [0])? > 0 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer now"));
            }
            Ok(())
        };
        read(&mut self.buffer).map_err(|source| failed(work.plan, place, source))
    }

    /// What was read, compressed; `None` where nothing is.
    fn pack(&mut self, last: bool) -> Result<Option<Packed>, ImageError> {
        let packed = match &mut self.clusters {
            None => return Ok(None),
            Some(Ok(clusters)) => clusters.pack(&self.buffer, last),
            Some(Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        packed
            .map(Some)
            .map_err(|error| ImageError::Compressor { compressor: "zstd", reason: error.to_string() })
    }
}

/// The digest of the blocks that a file takes, if it takes some.
fn digest_of(work: &Work<'_>, place: usize, stored: &Stored) -> Option<Digest> {
    let blocks = match stored {
        Stored::Packed(packed) => &packed.data[..],
        Stored::Flat(bytes) => {
            let blocks = Image::flat_blocks(work.plan, place, bytes.len() as u64);
            &bytes[..bytes.len().min(blocks as usize * BLOCK_BYTES)]
        }
    };
    if blocks.is_empty() {
        return None;
    }
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(blocks);
    // As they are in the image.
    context.update(&[0; BLOCK_BYTES][..blocks.len().next_multiple_of(BLOCK_BYTES) - blocks.len()]);
    context.finish().as_ref().try_into().ok()
}

/// Writes a small file.
fn small(
    image: &mut Image<'_, '_>,
    work: &Work<'_>,
    twins: &mut Twins,
    place: usize,
    stored: Stored,
    digest: Option<Digest>,
) -> Result<(), ImageError> {
    let known = digest.and_then(|digest| twins.blocks.get(&digest).copied());
    let start = match stored {
        Stored::Flat(bytes) => image.flat(place, &bytes, known)?,
        Stored::Packed(packed) => {
            let blocks = packed.data.len() as u64 / BLOCK;
            let start = image.data(place, blocks, &packed.data, known)?;
            let mut index = new_index(work, place, start);
            push(&mut index, &packed);
            compressed(image, work, place, index, blocks, packed.tail.as_deref())?;
            start
        }
    };
    if let Some(digest) = digest {
        twins.blocks.entry(digest).or_insert(start);
    }
    Ok(())
}

/// Writes a piece of a large file, and its inode after the last.
fn add_piece(
    image: &mut Image<'_, '_>,
    work: &Work<'_>,
    twins: &mut Twins,
    surveys: &HashMap<usize, Survey>,
    large: &mut Option<Large>,
    piece: Piece,
    stored: Stored,
) -> Result<(), ImageError> {
    let place = piece.place;
    let mut file = large.take().unwrap_or_else(|| {
        let size = work.plan.nodes[place].size;
        // Without a compressor, what is left beside the inode is not in the blocks.
        let inline =
            work.compressor.is_none() && Image::flat_blocks(work.plan, place, size) < size.div_ceil(BLOCK);
        let twin = surveys.get(&place).and_then(|survey| survey.digest).map(|digest| (digest, inline));
        let known = twin.and_then(|twin| twins.contents.get(&twin).copied());
        let start = known.unwrap_or(image.space.next());
        let index = work.compressor.is_some().then(|| new_index(work, place, start));
        Large { place, start, known: known.is_some(), twin, inline, index, blocks: 0, compressed: false }
    });
    debug_assert_eq!(file.place, place, "the pieces of a file come one after the other");
    let (data, tail) = match &stored {
        Stored::Flat(bytes) => {
            let full = if file.inline { bytes.len() / BLOCK_BYTES * BLOCK_BYTES } else { bytes.len() };
            let (data, tail) = bytes.split_at(full);
            (data, Some(tail).filter(|tail| !tail.is_empty()))
        }
        Stored::Packed(packed) => {
            if let Some(index) = &mut file.index {
                push(index, packed);
            }
            file.compressed |= packed.extents.iter().any(|extent| !extent.plain);
            (&packed.data[..], packed.tail.as_deref())
        }
    };
    let blocks = (data.len() as u64).div_ceil(BLOCK);
    // The blocks of all pieces are one row: nothing else takes any in between.
    image.data(place, blocks, data, file.known.then_some(file.start))?;
    file.blocks += blocks;
    if !piece.last {
        *large = Some(file);
        return Ok(());
    }
    let start = file.start;
    let fits = tail.is_none_or(|tail| work.plan.head(place) + tail.len() as u64 <= BLOCK);
    match file.index {
        Some(index) if file.compressed || !fits => {
            compressed(image, work, place, index, file.blocks, tail)?;
        }
        // Nothing was gained, so its blocks are what they would be without compression.
        _ => match tail {
            Some(tail) => image.inode(place, Layout::FlatInline { startblk: start }, tail)?,
            None => image.inode(place, Layout::FlatPlain { startblk: start }, &[])?,
        },
    }
    if let Some(twin) = file.twin {
        twins.contents.entry(twin).or_insert(start);
    }
    Ok(())
}

fn new_index(work: &Work<'_>, place: usize, address: u32) -> Index {
    let start = work.plan.head(place).next_multiple_of(8) + index::HEADER;
    Index::new(start, work.plan.nodes[place].size, address, work.has_large_clusters())
}

fn push(index: &mut Index, packed: &Packed) {
    for extent in &packed.extents {
        index.push(extent.length.into(), extent.blocks.into(), extent.plain);
    }
}

/// Writes the inode of a compressed file.
fn compressed(
    image: &mut Image<'_, '_>,
    work: &Work<'_>,
    place: usize,
    index: Index,
    blocks: u64,
    tail: Option<&[u8]>,
) -> Result<(), ImageError> {
    let algorithm = work.compressor.map_or(Algorithm::Lz4, |(compressor, _)| compressor.algorithm);
    // As many blocks as there are addresses.
    let layout = Layout::CompressedCompact { blocks: blocks as u32 };
    let mut head = work.plan.encode(place, layout);
    head.resize(head.len().next_multiple_of(8), 0);
    // A tail is less than a block.
    let inline = tail.map(|tail| tail.len() as u16);
    head.extend_from_slice(&index::header(algorithm as u8, work.has_large_clusters(), inline));
    head.extend(index.finish().0);
    image.has_compressed = true;
    image.has_tails |= tail.is_some();
    image.put(place, head, tail.unwrap_or_default())
}

/// Writes a file in chunks: those that are all zeros have no blocks.
fn chunks(image: &mut Image<'_, '_>, place: usize, bits: u16) -> Result<(), ImageError> {
    let plan = image.plan;
    let Some(content) = content(plan, place) else { return Ok(()) };
    let failed = |source| failed(plan, place, source);
    let total = content.len().div_ceil(BLOCK);
    let mut addresses: Vec<u8> = Vec::new();
    let count = total.div_ceil(1 << bits);
    let mut chunk: Option<(u64, u32)> = None;
    let mut blocks = Blocks::new(content).map_err(failed)?;
    loop {
        blocks.skip().map_err(failed)?;
        let first = blocks.position / BLOCK;
        let bytes = blocks.next().map_err(failed)?;
        if bytes.is_empty() {
            break;
        }
        for (number, block) in (first..).zip(bytes.chunks(BLOCK_BYTES)) {
            if survey::is_zero(block) {
                continue;
            }
            let here = number >> bits;
            let start = match chunk {
                Some((known, start)) if known == here => start,
                _ => {
                    let start = image.blocks(place, (1 << bits).min(total - (here << bits)))?;
                    pad_addresses(&mut addresses, here);
                    addresses.extend_from_slice(&start.to_le_bytes());
                    start
                }
            };
            chunk = Some((here, start));
            // The image is not larger than its blocks' numbers.
            let address = start + (number - (here << bits)) as u32;
            image.space.write(address, block).map_err(ImageError::Write)?;
        }
    }
    pad_addresses(&mut addresses, count);
    image.has_chunks = true;
    let mut head = plan.encode(place, Layout::ChunkBased { blkbits: bits });
    head.extend(addresses);
    image.put(place, head, &[])
}

/// Makes all chunks before the given one holes that have no address yet.
fn pad_addresses(addresses: &mut Vec<u8>, chunk: u64) {
    const { assert!(HOLE == u32::MAX, "a hole is all ones") };
    addresses.resize(chunk as usize * size_of::<u32>(), u8::MAX);
}
