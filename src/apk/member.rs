//! One gzip member (RFC 1952) of a file that is made of several, as `.apk` files and `APKINDEX.tar.gz` are.
//!
//! Signatures, the index's `C:` and `datahash` are all about the *compressed* bytes of a member, so its exact
//! end matters: [`Member`] reads through a decompressor that takes no byte beyond it, and hashes what it takes.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use super::ApkError;
use super::checksum::into_array;

/// What is known about a member once it was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberHashes {
    /// SHA-1 of the compressed bytes: an index's `C:Q1`.
    pub sha1: [u8; 20],
    /// SHA-256 of the compressed bytes: `datahash`, an index's `C:Q2`.
    pub sha256: [u8; 32],
    /// How many bytes the member has in the file.
    pub compressed_length: u64,
    /// How many bytes it holds.
    pub length: u64,
}

/// Reads what a member holds, and stops at its end.
pub struct Member<'a, R: BufRead> {
    decoder: GzDecoder<Tap<&'a mut R>>,
    name: &'static str,
    offset: u64,
    limit: u64,
    length: u64,
    /// The most bytes for each compressed one.
    expansion: u64,
}

/// So much may come of any member, whatever its expansion is.
pub const FREE_EXPANSION: u64 = 64 << 20;

/// Opens the member that begins where `reader` stands; `None` at the end of the file. `name` (signature,
/// control, data, index) and `offset` are for messages; at most `limit` bytes may come out of it.
///
/// # Errors
/// When reading fails, or something else than a gzip member begins here.
pub fn split_member<'a, R: BufRead>(
    reader: &'a mut R,
    name: &'static str,
    offset: u64,
    limit: u64,
) -> Result<Option<Member<'a, R>>, ApkError> {
    open(reader, name, offset, limit, None)
}

/// `keep` says how many of the compressed bytes are kept for [`Member::finish_with_bytes`].
fn open<'a, R: BufRead>(
    reader: &'a mut R,
    name: &'static str,
    offset: u64,
    limit: u64,
    keep: Option<u64>,
) -> Result<Option<Member<'a, R>>, ApkError> {
    /// ID1, ID2, and the only compression method there is.
    const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
    let head = reader.fill_buf().map_err(|source| ApkError::Damaged { member: name, offset, source })?;
    if head.is_empty() {
        return Ok(None);
    }
    // A buffer may end within the magic number; then the decompressor says what is wrong.
    if head.iter().zip(MAGIC).any(|(&found, expected)| found != expected) {
        return Err(ApkError::Structure {
            offset,
            expected: "a gzip member",
            found: format!("the bytes {:02x?}", &head[..head.len().min(4)]),
        });
    }
    Ok(Some(Member {
        decoder: GzDecoder::new(Tap::new(reader, keep)),
        name,
        offset,
        limit,
        length: 0,
        expansion: u64::MAX,
    }))
}

impl<R: BufRead> Member<'_, R> {
    /// At most `expansion` bytes may come out for each compressed one, once there are more than [`FREE_EXPANSION`].
    #[must_use]
    pub fn expanding_at_most(mut self, expansion: u64) -> Self {
        self.expansion = expansion;
        self
    }

    /// Reads all that is left in memory.
    ///
    /// # Errors
    /// When the member is damaged or larger than its limit.
    pub fn read_all(&mut self) -> Result<Vec<u8>, ApkError> {
        let mut bytes = Vec::new();
        match self.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Reads to the end of the member, checks its CRC and length, and gives its hashes.
    ///
    /// # Errors
    /// When the member is damaged, truncated or larger than its limit.
    pub fn finish(mut self) -> Result<MemberHashes, ApkError> {
        self.drain()?;
        let length = self.length;
        Ok(self.decoder.into_inner().hashes(length))
    }

    fn finish_with_bytes(mut self) -> Result<(MemberHashes, Vec<u8>), ApkError> {
        self.drain()?;
        let length = self.length;
        let mut tap = self.decoder.into_inner();
        let bytes = tap.kept.take().map(|(bytes, _)| bytes).unwrap_or_default();
        Ok((tap.hashes(length), bytes))
    }

    fn drain(&mut self) -> Result<(), ApkError> {
        io::copy(self, &mut io::sink()).map(drop).map_err(|error| self.explain(error))
    }

    /// Makes a reader's error, which may have gone through other readers, into this room's.
    pub fn explain(&self, source: io::Error) -> ApkError {
        let (member, offset) = (self.name, self.offset);
        if source.get_ref().is_some_and(|inner| inner.is::<BeyondLimit>()) {
            return ApkError::TooLarge { member, offset, limit: self.limit };
        }
        if source.get_ref().is_some_and(|inner| inner.is::<BeyondExpansion>()) {
            return ApkError::ExpandsTooMuch { member, offset, limit: self.expansion };
        }
        ApkError::Damaged { member, offset, source }
    }
}

/// Fails with [`io::ErrorKind::FileTooLarge`] beyond the limit, and with what the decompressor says for damage.
impl<R: BufRead> Read for Member<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer)?;
        self.length += count as u64;
        if self.length > self.limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, BeyondLimit));
        }
        let taken = self.decoder.get_ref().taken;
        if self.length > FREE_EXPANSION && self.length / self.expansion.max(1) > taken {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, BeyondExpansion));
        }
        Ok(count)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("larger than its limit")]
struct BeyondLimit;

#[derive(Debug, thiserror::Error)]
#[error("far more came out than went in")]
struct BeyondExpansion;

/// A small member in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallMember {
    /// What it holds.
    pub content: Vec<u8>,
    /// Its bytes in the file: what signatures are about.
    pub compressed: Vec<u8>,
    /// The hashes of those.
    pub hashes: MemberHashes,
}

/// Reads a whole member into memory, both as it is in the file and what it holds; neither may be larger than
/// `limit`. `None` at the end of the file.
///
/// # Errors
/// When no gzip member begins here, or it is damaged, truncated or too large.
pub fn read_small<R: BufRead>(
    reader: &mut R,
    name: &'static str,
    offset: u64,
    limit: u64,
) -> Result<Option<SmallMember>, ApkError> {
    let Some(mut member) = open(reader, name, offset, limit, Some(limit))? else { return Ok(None) };
    let content = member.read_all()?;
    let (hashes, compressed) = member.finish_with_bytes()?;
    if hashes.compressed_length > limit {
        return Err(ApkError::TooLarge { member: name, offset, limit });
    }
    Ok(Some(SmallMember { content, compressed, hashes }))
}

/// Passes bytes on and hashes those that were taken.
struct Tap<R> {
    inner: R,
    sha1: Context,
    sha256: Context,
    taken: u64,
    /// Copies of the bytes, and how many at most.
    kept: Option<(Vec<u8>, u64)>,
}

impl<R: BufRead> Tap<R> {
    fn new(inner: R, keep: Option<u64>) -> Self {
        Self {
            inner,
            sha1: Context::new(&SHA1_FOR_LEGACY_USE_ONLY),
            sha256: Context::new(&SHA256),
            taken: 0,
            kept: keep.map(|limit| (Vec::new(), limit)),
        }
    }

    fn hashes(self, length: u64) -> MemberHashes {
        MemberHashes {
            sha1: into_array(self.sha1.finish().as_ref()),
            sha256: into_array(self.sha256.finish().as_ref()),
            compressed_length: self.taken,
            length,
        }
    }
}

impl<R: BufRead> Read for Tap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Tap<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if amount == 0 {
            return;
        }
        // What is consumed was in the buffer before, so this gives it again without reading.
        if let Ok(buffer) = self.inner.fill_buf() {
            let taken = &buffer[..amount.min(buffer.len())];
            self.sha1.update(taken);
            self.sha256.update(taken);
            self.taken += taken.len() as u64;
            if let Some((bytes, limit)) = &mut self.kept
                && (bytes.len() as u64) < *limit
            {
                bytes.extend_from_slice(taken);
            }
        }
        self.inner.consume(amount);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::apk::checksum::{sha1, sha256};

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).expect("to memory");
        encoder.finish().expect("to memory")
    }

    #[test]
    fn members_end_where_they_end() {
        let (one, two) = (gzip(b"one"), gzip(&[7; 100_000]));
        let whole = [one.clone(), two.clone()].concat();
        // Any size of the buffer behind it, a single byte at a time too.
        for capacity in [1, 7, 4096] {
            let mut reader = io::BufReader::with_capacity(capacity, &whole[..]);
            let first = read_small(&mut reader, "first", 0, 1 << 20).expect("good").expect("there");
            assert_eq!((&first.content[..], &first.compressed), (&b"one"[..], &one));
            assert_eq!(first.hashes.sha1, sha1(&one));
            let second = split_member(&mut reader, "second", one.len() as u64, 1 << 20).expect("good");
            let hashes = second.expect("there").finish().expect("good");
            assert_eq!(hashes.sha256, sha256(&two));
            assert_eq!((hashes.compressed_length, hashes.length), (two.len() as u64, 100_000));
            assert!(split_member(&mut reader, "third", 0, 1).expect("no error").is_none());
        }
    }

    #[test]
    fn damage_truncation_and_bombs_are_found() {
        let good = gzip(&[7; 100_000]);
        for end in 1..good.len() {
            assert!(read_small(&mut &good[..end], "data", 0, 1 << 20).is_err(), "cut at {end}");
        }
        for place in [0, 1, 20, good.len() - 8, good.len() - 1] {
            let mut bad = good.clone();
            bad[place] ^= 0x55;
            assert!(read_small(&mut &bad[..], "data", 0, 1 << 20).is_err(), "changed at {place}");
        }
        let error = read_small(&mut &good[..], "data", 0, 99_999).expect_err("a bomb");
        assert!(matches!(error, ApkError::TooLarge { limit: 99_999, .. }), "{error}");
    }
}
