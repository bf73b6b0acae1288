//! Files of the cache that hold many contents, and one description of them.
//!
//! ```text
//! contents    the bytes of all contents
//! tail        where each content stands and which SHA-256 it has, and the description of the whole
//! trailer     the length of the tail (8 bytes, little-endian), its SHA-256 (32 bytes), MAGIC (8 bytes)
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::tree::Content;

const MAGIC: &[u8; 8] = b"leanfs\x01\n";
const TRAILER: u64 = 8 + 32 + 8;
/// A description of 100,000 files has some ten megabytes.
const MOST_TAIL_BYTES: u64 = 256 << 20;

/// Where a content stands in a pack, and its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) sha256: [u8; 32],
}

impl Place {
    /// The place of a content that stands in `file` and was hashed when it was written.
    pub(crate) fn of(content: &Content, file: &Arc<File>) -> Option<Self> {
        let (there, offset, sha256) = content.place()?;
        Arc::ptr_eq(there, file).then_some(Self { offset, length: content.len(), sha256: sha256? })
    }
}

#[derive(Serialize, Deserialize)]
struct Tail<'a> {
    places: Vec<Place>,
    #[serde(borrow)]
    about: &'a [u8],
}

/// A file of the cache, of which the tail was verified. Its contents are verified when they are read.
#[derive(Debug)]
pub(crate) struct Pack {
    file: Arc<File>,
    places: Vec<Place>,
    about: Vec<u8>,
    damage: Arc<AtomicBool>,
}

impl Pack {
    /// Reads the tail of the pack in `file`; `None` if it is damaged or none.
    pub(super) fn open(file: File, damage: Arc<AtomicBool>) -> io::Result<Option<Self>> {
        let length = file.metadata()?.len();
        let Some(tail_end) = length.checked_sub(TRAILER) else { return Ok(None) };
        let mut trailer = [0; TRAILER as usize];
        file.read_exact_at(&mut trailer, tail_end)?;
        let (size, rest) = trailer.split_at(8);
        let (sha256, magic) = rest.split_at(32);
        let size = size.try_into().map_or(u64::MAX, u64::from_le_bytes);
        let Some(contents) = tail_end.checked_sub(size) else { return Ok(None) };
        if magic != MAGIC || size > MOST_TAIL_BYTES {
            return Ok(None);
        }
        let mut tail = vec![0; usize::try_from(size).map_err(io::Error::other)?];
        file.read_exact_at(&mut tail, contents)?;
        if digest(&SHA256, &tail).as_ref() != sha256 {
            return Ok(None);
        }
        let Ok(Tail { places, about }) = postcard::from_bytes(&tail) else { return Ok(None) };
        let fits = |place: &Place| place.offset.checked_add(place.length).is_some_and(|end| end <= contents);
        if !places.iter().all(fits) {
            return Ok(None);
        }
        Ok(Some(Self { file: Arc::new(file), about: about.to_vec(), places, damage }))
    }

    /// The description.
    pub(crate) fn about(&self) -> &[u8] {
        &self.about
    }

    /// How many contents there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// A content by its number.
    pub(crate) fn content(&self, number: usize) -> Option<Content> {
        let &Place { offset, length, sha256 } = self.places.get(number)?;
        let (file, damage) = (Arc::clone(&self.file), Arc::clone(&self.damage));
        Some(Content::from_kept(file, offset, length, sha256, damage))
    }
}

/// Writes the tail behind everything that is in `file`, which makes it a pack.
pub(super) fn complete(file: &File, places: &[Place], about: &[u8]) -> io::Result<()> {
    let tail = Tail { places: places.to_vec(), about };
    let mut end = postcard::to_allocvec(&tail).map_err(io::Error::other)?;
    let sha256 = digest(&SHA256, &end);
    let size = end.len() as u64;
    end.extend_from_slice(&size.to_le_bytes());
    end.extend_from_slice(sha256.as_ref());
    end.extend_from_slice(MAGIC);
    file.write_all_at(&end, file.metadata()?.len())
}
