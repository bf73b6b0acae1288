//! Files of the same content, which are stored once.
//!
//! Only files whose length another one has too are looked at. A file is found again by the hashes of its first block
//! and of all blocks, and then compared byte by byte: nothing depends on the hash but how often files are read. A file
//! of one block is read once, and what may be its twin once more; of larger files only those whose first block was seen
//! before are read before they are stored.

use std::collections::HashMap;

use twox_hash::XxHash3_64;

use super::blocks::{Blocks, Run, are_equal};
use crate::image::ImageError;
use crate::tree::{Content, TreePath};

/// A file that was stored, or is being stored.
struct Stored<'a> {
    path: &'a TreePath,
    content: &'a Content,
    /// Of all blocks; nothing while it is being stored.
    hash: Option<u64>,
    data: u32,
    /// The one before it whose first block has the same hash.
    before: Option<u32>,
}

/// The hash of blocks that come one after the other; blocks of zeros may come in runs of any length.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hash {
    state: u64,
    zeros: u64,
}

impl Hash {
    /// Takes what [`Blocks::next`] gave.
    pub(super) fn update(&mut self, run: Run, bytes: &[u8]) {
        match run {
            Run::Data => {
                self.end_zeros();
                self.mix(XxHash3_64::oneshot(bytes));
            }
            Run::Zeros(count) => self.zeros += count,
            Run::End => self.end_zeros(),
        }
    }

    fn end_zeros(&mut self) {
        if self.zeros > 0 {
            let zeros = std::mem::take(&mut self.zeros);
            self.mix(!zeros);
        }
    }

    fn mix(&mut self, value: u64) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.state.to_le_bytes());
        bytes[8..].copy_from_slice(&value.to_le_bytes());
        self.state = XxHash3_64::oneshot(&bytes);
    }

    fn finish(mut self) -> u64 {
        self.end_zeros();
        self.state
    }
}

/// A file that is about to be stored, of a length that others have too.
pub(super) struct Looked {
    place: u32,
}

pub(super) struct Duplicates<'a> {
    block_size: u32,
    /// The lengths that more than one file has, in order.
    lengths: Vec<u64>,
    stored: Vec<Stored<'a>>,
    /// By length and first block: the last of the files that have them.
    last: HashMap<(u64, u64), u32>,
}

/// What is known of a file before it is stored.
pub(super) enum Found {
    /// It is stored already, as the data of this index.
    Stored(u32),
    /// It has to be stored; what is needed to find it again, if that can happen.
    New(Option<Looked>),
}

impl<'a> Duplicates<'a> {
    /// For files of these lengths.
    pub(super) fn new(block_size: u32, mut lengths: Vec<u64>) -> Self {
        lengths.sort_unstable();
        let mut repeated: Vec<u64> =
            lengths.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        repeated.dedup();
        repeated.shrink_to_fit();
        Self { block_size, lengths: repeated, stored: Vec::new(), last: HashMap::new() }
    }

    /// Looks for a file whose first block is there: as `first`, and in `bytes` if it is data. If it is new it becomes
    /// the data of index `data`.
    pub(super) fn look(
        &mut self,
        path: &'a TreePath,
        content: &'a Content,
        first: Run,
        bytes: &[u8],
        data: u32,
    ) -> Result<Found, ImageError> {
        let length = content.len();
        if self.lengths.binary_search(&length).is_err() {
            return Ok(Found::New(None));
        }
        // How many blocks of zeros the host knows of is not the file's own.
        let head = if first == Run::Data { XxHash3_64::oneshot(bytes) } else { 0 };
        let mut candidate = self.last.get(&(length, head)).copied();
        let before = candidate;
        let single = length <= self.block_size.into();
        let mut hash = None;
        while let Some(place) = candidate {
            let stored = &self.stored[place as usize];
            let mut there = Blocks::new(stored.path, stored.content, self.block_size)?;
            if single {
                let mut block = Vec::new();
                if there.next(&mut block)? == first
                    && (first != Run::Data || block == bytes)
                    && there.next(&mut block)? == Run::End
                {
                    return Ok(Found::Stored(stored.data));
                }
            } else {
                let hash = match hash {
                    Some(hash) => hash,
                    None => *hash.insert(self.hash(path, content)?),
                };
                if stored.hash == Some(hash)
                    && are_equal(Blocks::new(path, content, self.block_size)?, there)?
                {
                    return Ok(Found::Stored(stored.data));
                }
            }
            candidate = stored.before;
        }
        let place = self.stored.len() as u32;
        self.stored.push(Stored { path, content, hash: None, data, before });
        self.last.insert((length, head), place);
        Ok(Found::New(Some(Looked { place })))
    }

    /// All of a file's blocks are stored; `hash` took them.
    pub(super) fn stored(&mut self, looked: &Looked, hash: Hash) {
        self.stored[looked.place as usize].hash = Some(hash.finish());
    }

    fn hash(&self, path: &TreePath, content: &Content) -> Result<u64, ImageError> {
        let mut blocks = Blocks::new(path, content, self.block_size)?;
        let mut block = Vec::new();
        let mut hash = Hash::default();
        loop {
            match blocks.next(&mut block)? {
                Run::End => return Ok(hash.finish()),
                run => hash.update(run, &block),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_does_not_depend_on_how_zeros_are_counted() {
        let hash = |runs: &[(Run, &[u8])]| {
            let mut hash = Hash::default();
            for (run, bytes) in runs {
                hash.update(*run, bytes);
            }
            hash.finish()
        };
        let one: (Run, &[u8]) = (Run::Data, b"one");
        let zeros = |count| -> (Run, &[u8]) { (Run::Zeros(count), b"ignored") };
        assert_eq!(
            hash(&[zeros(3), one, zeros(1)]),
            hash(&[zeros(1), zeros(2), one, zeros(1), (Run::End, b"")])
        );
        let all =
            [hash(&[one]), hash(&[zeros(1), one]), hash(&[one, zeros(1)]), hash(&[one, one]), hash(&[])];
        for (index, hash) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(hash), "{all:?}");
        }
    }

    /// Files whose length no other has are not even looked at.
    #[test]
    fn only_lengths_that_come_twice_matter() {
        let duplicates = Duplicates::new(4096, vec![5, 3, 5, 4, 5, 3, 0]);
        assert_eq!(duplicates.lengths, [3, 5]);
    }

    /// The same hash is not enough.
    #[test]
    fn what_only_has_the_same_hash_is_not_the_same() {
        let (a, b): (TreePath, TreePath) = ("a".parse().expect("good"), "b".parse().expect("good"));
        for (one, other, block_size) in
            [(&b"12345"[..], &b"12346"[..], 4096), (&[1; 9000][..], &[&[1; 8999][..], b"x"].concat(), 4096)]
        {
            let [one, other] = [one, other].map(Content::from_bytes);
            let mut duplicates = Duplicates::new(block_size, vec![one.len(); 2]);
            let (mut bytes, mut hash) = (Vec::new(), Hash::default());
            let mut blocks = Blocks::new(&a, &one, block_size).expect("readable");
            let first = blocks.next(&mut bytes).expect("readable");
            let found = duplicates.look(&a, &one, first, &bytes, 0).expect("readable");
            let Found::New(Some(looked)) = found else { panic!("it is the first") };
            hash.update(first, &bytes);
            duplicates.stored(&looked, hash);
            // As if all hashes of the other were those of the first.
            let other_hash = duplicates.hash(&b, &other).expect("readable");
            duplicates.stored[0].hash = Some(other_hash);
            let head = XxHash3_64::oneshot(&other.read(9000).expect("readable")[..bytes.len()]);
            let place = *duplicates.last.values().next().expect("one");
            duplicates.last.insert((one.len(), head), place);

            let mut blocks = Blocks::new(&b, &other, block_size).expect("readable");
            let first = blocks.next(&mut bytes).expect("readable");
            let found = duplicates.look(&b, &other, first, &bytes, 1).expect("readable");
            assert!(matches!(found, Found::New(Some(_))));
        }
    }
}
