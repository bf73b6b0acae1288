//! The area of data: blocks of files, each file's without a gap, and blocks of fragments between them.

use super::blocks::{Blocks, Run};
use super::codec::Codec;
use super::duplicates::{Duplicates, Found, Hash};
use super::format::{BLOCK_STORED, FragmentEntry, FragmentPlace};
use super::pipeline::{Block, Pipeline};
use super::{Fragments, Settings};
use crate::image::ImageError;
use crate::image::target::Target;
use crate::tree::{Content, TreePath};

/// In the list of blocks: not a block's size, which has 25 bits, but a number of blocks of zeros.
const ZEROS: u32 = 1 << 31;

/// Where a file's bytes stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileData {
    /// Of the first block that is stored.
    pub(super) start: Option<u64>,
    /// Bytes in blocks of zeros.
    pub(super) sparse: u64,
    pub(super) fragment: Option<FragmentPlace>,
    /// Its part of the list of blocks.
    first: usize,
    count: u32,
}

/// All that was stored, to be told by inodes and the table of fragments.
pub(super) struct Stored {
    pub(super) files: Vec<FileData>,
    pub(super) fragments: Vec<FragmentEntry>,
    /// The sizes of all blocks, file by file, and numbers of [`ZEROS`].
    sizes: Vec<u32>,
    /// Where the data ends.
    pub(super) end: u64,
}

impl Stored {
    /// Gives the sizes of a file's blocks in runs: how often, and which.
    pub(super) fn sizes(&self, file: &FileData) -> impl Iterator<Item = (u32, u32)> {
        self.sizes[file.first..][..file.count as usize]
            .iter()
            .map(|&size| if size & ZEROS == 0 { (1, size) } else { (size & !ZEROS, 0) })
    }
}

/// Whose a block is that was compressed.
enum Owner {
    /// A file's, and where its size belongs in the list.
    File {
        file: u32,
        place: usize,
    },
    Fragments(u32),
}

pub(super) struct Writer<'a> {
    target: Target<'a>,
    block_size: u32,
    fragments: Fragments,
    pipeline: Pipeline<Owner>,
    duplicates: Duplicates<'a>,
    /// Fragments that don't fill a block yet.
    open: Option<Block>,
    stored: Stored,
}

impl<'a> Writer<'a> {
    /// Data from `start` on, of files with the given lengths.
    pub(super) fn new(
        target: Target<'a>,
        start: u64,
        settings: &Settings,
        codec: Codec,
        lengths: Vec<u64>,
    ) -> Result<Self, ImageError> {
        Ok(Self {
            target,
            block_size: settings.block_size,
            fragments: settings.fragments,
            pipeline: Pipeline::new(codec, settings.block_size, settings.threads)?,
            duplicates: Duplicates::new(settings.block_size, lengths),
            open: None,
            stored: Stored { files: Vec::new(), fragments: Vec::new(), sizes: Vec::new(), end: start },
        })
    }

    /// Stores a file that is not empty; gives the index of its data, which is another file's where they are the same.
    pub(super) fn file(&mut self, path: &'a TreePath, content: &'a Content) -> Result<u32, ImageError> {
        let mut blocks = Blocks::new(path, content, self.block_size)?;
        let mut block = self.pipeline.spare();
        let first = blocks.next(&mut block.input)?;
        let index = self.stored.files.len() as u32;
        let looked = match self.duplicates.look(path, content, first, &block.input, index)? {
            Found::Stored(index) => {
                self.pipeline.give_back(block);
                return Ok(index);
            }
            Found::New(looked) => looked,
        };
        let start = self.stored.sizes.len();
        self.stored.files.push(FileData { start: None, sparse: 0, fragment: None, first: start, count: 0 });
        let is_packed = match self.fragments {
            Fragments::None => false,
            Fragments::SmallFiles => content.len() < self.block_size.into(),
            Fragments::Tails => true,
        };
        let mut hash = Hash::default();
        let mut run = first;
        let mut left = content.len();
        loop {
            if looked.is_some() {
                hash.update(run, &block.input);
            }
            match run {
                Run::End => break,
                Run::Zeros(count) => {
                    let bytes = left.min(count * u64::from(self.block_size));
                    left -= bytes;
                    self.stored.files[index as usize].sparse += bytes;
                    self.zeros(start, count);
                }
                Run::Data => {
                    left -= block.input.len() as u64;
                    if is_packed && block.input.len() < self.block_size as usize {
                        let place = self.fragment(&block.input)?;
                        self.stored.files[index as usize].fragment = Some(place);
                    } else {
                        let place = self.stored.sizes.len();
                        self.stored.sizes.push(0);
                        self.push(block, Owner::File { file: index, place })?;
                        block = self.pipeline.spare();
                    }
                }
            }
            run = blocks.next(&mut block.input)?;
        }
        self.pipeline.give_back(block);
        self.stored.files[index as usize].count = (self.stored.sizes.len() - start) as u32;
        if let Some(looked) = looked {
            self.duplicates.stored(&looked, hash);
        }
        Ok(index)
    }

    /// Counts blocks of zeros in the list of the file that begins at `start` in it.
    fn zeros(&mut self, start: usize, count: u64) {
        // Not more than a file may have blocks, which 31 bits hold.
        let count = count as u32;
        match self.stored.sizes[start..].last_mut() {
            Some(last) if *last & ZEROS != 0 => *last += count,
            _ => self.stored.sizes.push(ZEROS | count),
        }
    }

    /// Puts the end of a file to others.
    fn fragment(&mut self, bytes: &[u8]) -> Result<FragmentPlace, ImageError> {
        if self.open.as_ref().is_some_and(|open| open.input.len() + bytes.len() > self.block_size as usize) {
            self.end_fragments()?;
        }
        let open = self.open.get_or_insert_with(|| {
            let mut block = self.pipeline.spare();
            block.input.clear();
            block
        });
        let place =
            FragmentPlace { fragment: self.stored.fragments.len() as u32, offset: open.input.len() as u32 };
        open.input.extend_from_slice(bytes);
        Ok(place)
    }

    fn end_fragments(&mut self) -> Result<(), ImageError> {
        let Some(block) = self.open.take() else { return Ok(()) };
        let index = self.stored.fragments.len() as u32;
        self.stored.fragments.push(FragmentEntry::default());
        self.push(block, Owner::Fragments(index))
    }

    fn push(&mut self, block: Block, owner: Owner) -> Result<(), ImageError> {
        self.pipeline.push(block, owner)?;
        while self.pipeline.is_full() {
            self.write_next()?;
        }
        Ok(())
    }

    /// Writes the block that is the oldest on its way; whether there was one.
    fn write_next(&mut self) -> Result<bool, ImageError> {
        let Some((owner, block)) = self.pipeline.pop()? else { return Ok(false) };
        let (bytes, is_compressed) = block.packed();
        let position = self.stored.end;
        self.target.write_at(position, bytes).map_err(ImageError::Write)?;
        self.stored.end += bytes.len() as u64;
        let size = bytes.len() as u32 | if is_compressed { 0 } else { BLOCK_STORED };
        match owner {
            Owner::File { file, place } => {
                self.stored.sizes[place] = size;
                self.stored.files[file as usize].start.get_or_insert(position);
            }
            Owner::Fragments(index) => {
                self.stored.fragments[index as usize] = FragmentEntry { start_block: position, size };
            }
        }
        self.pipeline.give_back(block);
        Ok(true)
    }

    /// Writes all that is left.
    pub(super) fn finish(mut self) -> Result<Stored, ImageError> {
        self.end_fragments()?;
        while self.write_next()? {}
        Ok(self.stored)
    }
}
