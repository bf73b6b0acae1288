//! The gzip members that hold signatures: the only bytes of a package or an index that no signature and no hash
//! covers. Gzip's checksum covers what they hold; this covers the rest, so that a change of a byte shows. (Only a
//! copy from one of several places with the same bytes can't be told from a copy from another.)
//!
//! Free of meaning are, in a gzip member (RFC 1952, RFC 1951): the fields time, extra flags and system of the
//! header, and the bits between the end of the compressed data and the next byte. What is taken of them is what
//! the tools write that sign: no time (or some time, where the signed member has one too), the values of extra
//! flags and system that are defined and in use, and zero bits.

use std::io::Read;

use flate2::bufread::GzDecoder;

/// ID1, ID2, CM, FLG, MTIME, XFL, OS.
const HEADER: usize = 10;
/// CRC32, ISIZE.
const TRAILER: usize = 8;
/// FLG: nothing, or a file name.
const FLAGS: [u8; 2] = [0, 8];
/// XFL: nothing said, best, fastest.
const EXTRA_FLAGS: [u8; 3] = [0, 2, 4];
/// OS: Unix, Macintosh, NTFS, Darwin (as zlib has it), unknown.
const SYSTEMS: [u8; 5] = [3, 7, 11, 19, 255];

/// Checks the members in `envelope`, which decompress well, and which are followed by `signed`.
///
/// # Errors
/// What is not as any tool writes it.
pub(super) fn check(mut envelope: &[u8], signed: &[u8]) -> Result<(), &'static str> {
    let is_timed = |member: &[u8]| member.get(4..8).is_some_and(|time| time != [0; 4]);
    while !envelope.is_empty() {
        let (content, length) = decompress(envelope).ok_or("it is no gzip member")?;
        let (member, rest) = envelope.split_at_checked(length).ok_or("it is cut")?;
        let [_, _, _, flags, _, _, _, _, extra_flags, system, ..] = *member else {
            return Err("it is cut");
        };
        if !FLAGS.contains(&flags) || !EXTRA_FLAGS.contains(&extra_flags) || !SYSTEMS.contains(&system) {
            return Err("its gzip header has values that nothing writes");
        }
        if is_timed(member) && !is_timed(signed) {
            return Err("its gzip header has a time, unlike what it signs");
        }
        // BFINAL, BTYPE 00 (stored), and then bits up to the next byte.
        if member.get(HEADER).is_some_and(|first| flags == 0 && first & 0b110 == 0 && first >> 3 != 0) {
            return Err("bits that mean nothing are set at its beginning");
        }
        if has_padding(member, &content) {
            return Err("bits that mean nothing are set at its end");
        }
        envelope = rest;
    }
    Ok(())
}

/// What the first member holds, and how long it is.
fn decompress(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut decoder = GzDecoder::new(bytes);
    let mut content = Vec::new();
    // Whoever calls has decompressed it before, within limits.
    decoder.read_to_end(&mut content).ok()?;
    Some((content, bytes.len() - decoder.into_inner().len()))
}

/// Whether a bit is set after the end of the compressed data. Such a bit is one that can be changed and changes
/// nothing.
fn has_padding(member: &[u8], content: &[u8]) -> bool {
    let Some(last) = member.len().checked_sub(TRAILER + 1).filter(|&last| last >= HEADER) else {
        return false;
    };
    let mut changed = member.to_vec();
    for bit in (0..8).rev().map(|bit| 1 << bit) {
        changed[last] = member[last] ^ bit;
        let means_nothing = decompress(&changed).is_some_and(|(other, _)| other == content);
        if !means_nothing {
            return false;
        }
        if member[last] & bit != 0 {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, GzBuilder};

    use super::*;

    fn gzip(builder: GzBuilder, level: u32) -> Vec<u8> {
        let mut encoder = builder.write(Vec::new(), Compression::new(level));
        // No byte twice: nothing can be copied from two places.
        encoder.write_all(&(0..=255).collect::<Vec<u8>>()).expect("to memory");
        encoder.finish().expect("to memory")
    }

    #[test]
    fn what_tools_write_is_taken() {
        let signed = gzip(GzBuilder::new(), 6);
        let timed = gzip(GzBuilder::new().mtime(1), 6);
        for level in [1, 6, 9] {
            let plain = gzip(GzBuilder::new(), level);
            assert_eq!(check(&plain, &signed), Ok(()));
            assert_eq!(check(&[plain.clone(), plain].concat(), &signed), Ok(()));
            assert_eq!(
                check(&gzip(GzBuilder::new().filename("x").operating_system(3), level), &signed),
                Ok(())
            );
            let later = gzip(GzBuilder::new().mtime(2), level);
            assert_eq!(check(&later, &timed), Ok(()));
            assert!(check(&later, &signed).is_err());
        }
        assert_eq!(check(b"", &signed), Ok(()));
    }

    #[test]
    fn any_changed_byte_shows() {
        for level in 1..=9 {
            let good = gzip(GzBuilder::new(), level);
            for place in 0..good.len() {
                for change in [1, 0x10, 0x80, 0xff] {
                    let mut bad = good.clone();
                    bad[place] ^= change;
                    assert!(check(&bad, &good).is_err(), "level {level}, byte {place} ^ {change:#x}");
                }
            }
        }
    }
}
