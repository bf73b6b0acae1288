//! The external term format, as `.boot` files are written in it.
//! Specification: <https://www.erlang.org/doc/apps/erts/erl_ext_dist.html>.
//!
//! Why not the crate `eetf`: it panics on tags that it does not implement, recurses without a limit and
//! allocates what a length field says.

use std::io::Read;

use flate2::read::ZlibDecoder;

use super::{BeamError, Term};

/// The version byte in front of every term.
const VERSION: u8 = 131;
/// The most that a compressed term may unpack to: the largest real boot scripts have about 1 MB.
const MOST_BYTES: usize = 64 << 20;
/// The deepest nesting: real boot scripts have about a dozen levels, and every level costs stack.
const MOST_DEPTH: usize = 128;
/// The most values in all: each takes more memory than the one byte that it may stand for.
const MOST_TERMS: usize = 4 << 20;

const COMPRESSED: u8 = 80;
const NEW_FLOAT: u8 = 70;
const BIT_BINARY: u8 = 77;
const NEW_PID: u8 = 88;
const NEW_PORT: u8 = 89;
const NEWER_REFERENCE: u8 = 90;
const SMALL_INTEGER: u8 = 97;
const INTEGER: u8 = 98;
const FLOAT: u8 = 99;
const ATOM: u8 = 100;
const PORT: u8 = 102;
const PID: u8 = 103;
const SMALL_TUPLE: u8 = 104;
const LARGE_TUPLE: u8 = 105;
const NIL: u8 = 106;
const STRING: u8 = 107;
const LIST: u8 = 108;
const BINARY: u8 = 109;
const SMALL_BIG: u8 = 110;
const LARGE_BIG: u8 = 111;
const NEW_FUN: u8 = 112;
const EXPORT: u8 = 113;
const NEW_REFERENCE: u8 = 114;
const SMALL_ATOM: u8 = 115;
const MAP: u8 = 116;
const ATOM_UTF8: u8 = 118;
const SMALL_ATOM_UTF8: u8 = 119;
const V4_PORT: u8 = 120;

/// The term that `erlang:term_to_binary` wrote, compressed or not.
///
/// # Errors
/// What is truncated, malformed, too large or nested too deep, and bytes after the term.
pub fn decode(bytes: &[u8]) -> Result<Term, BeamError> {
    let found = |byte: Option<&u8>| byte.map_or_else(|| "the end".to_owned(), |byte| byte.to_string());
    match bytes {
        [VERSION, COMPRESSED, size @ ..] if size.len() >= 4 => {
            let (size, compressed) = size.split_at(4);
            let size = u32::from_be_bytes([size[0], size[1], size[2], size[3]]) as usize;
            if size > MOST_BYTES {
                return Err(BeamError::TooLarge { what: "the unpacked term", limit: MOST_BYTES });
            }
            let unpacked = inflate(compressed, size).map_err(|found| BeamError::Binary {
                offset: 6,
                expected: "a zlib stream of the size that is announced",
                found,
            })?;
            whole(&unpacked, 0)
        }
        [VERSION, ..] => whole(bytes, 1),
        _ => Err(BeamError::Binary {
            offset: 0,
            expected: "the version byte 131 of an external term",
            found: found(bytes.first()),
        }),
    }
}

/// Unpacks a zlib stream of `size` bytes; the error says what is there instead.
pub(super) fn inflate(compressed: &[u8], size: usize) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    match ZlibDecoder::new(compressed).take(size as u64 + 1).read_to_end(&mut unpacked) {
        Err(error) => Err(error.to_string()),
        Ok(length) if length != size => Err(format!("{length} bytes or more where {size} are announced")),
        Ok(_) => Ok(unpacked),
    }
}

fn whole(bytes: &[u8], offset: usize) -> Result<Term, BeamError> {
    let mut decoder = Decoder { bytes, offset, depth: 0, terms: 0 };
    let term = decoder.term()?;
    if decoder.offset < bytes.len() {
        return decoder.fail("the end", format!("{} more bytes", bytes.len() - decoder.offset));
    }
    Ok(term)
}

struct Decoder<'a> {
    bytes: &'a [u8],
    offset: usize,
    depth: usize,
    terms: usize,
}

impl<'a> Decoder<'a> {
    fn fail<T>(&self, expected: &'static str, found: String) -> Result<T, BeamError> {
        Err(BeamError::Binary { offset: self.offset, expected, found })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], BeamError> {
        let rest = &self.bytes[self.offset..];
        match rest.get(..length) {
            Some(taken) => {
                self.offset += length;
                Ok(taken)
            }
            None => self.fail("more bytes", format!("the end, {} bytes too early", length - rest.len())),
        }
    }

    fn number(&mut self, bytes: usize) -> Result<usize, BeamError> {
        Ok(self.take(bytes)?.iter().fold(0, |value, &byte| value << 8 | usize::from(byte)))
    }

    /// How many terms follow: each has at least one byte, so more than there are bytes can't be true.
    fn count(&mut self, bytes: usize) -> Result<usize, BeamError> {
        let count = self.number(bytes)?;
        let left = self.bytes.len() - self.offset;
        if count > left {
            return self.fail("as many terms as announced", format!("{left} bytes for {count} terms"));
        }
        Ok(count)
    }

    fn sequence(&mut self, count: usize) -> Result<Vec<Term>, BeamError> {
        let mut terms = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            terms.push(self.term()?);
        }
        Ok(terms)
    }

    fn term(&mut self) -> Result<Term, BeamError> {
        self.terms += 1;
        if self.depth == MOST_DEPTH {
            return Err(BeamError::TooLarge { what: "the nesting", limit: MOST_DEPTH });
        }
        if self.terms > MOST_TERMS {
            return Err(BeamError::TooLarge { what: "the number of terms", limit: MOST_TERMS });
        }
        self.depth += 1;
        let start = self.offset;
        let tag = self.number(1)? as u8;
        let term = match tag {
            SMALL_INTEGER => Term::Integer(self.number(1)? as i64),
            INTEGER => Term::Integer(i64::from(self.number(4)? as u32 as i32)),
            SMALL_BIG => self.big(1)?,
            LARGE_BIG => self.big(4)?,
            NEW_FLOAT => {
                let bits = self.take(8)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
                Term::Float(f64::from_bits(bits))
            }
            FLOAT => {
                let text = self.take(31)?;
                let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
                match std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok()) {
                    Some(value) => Term::Float(value),
                    None => return self.fail("a float as text", "something else".to_owned()),
                }
            }
            ATOM => self.latin1_atom(2)?,
            SMALL_ATOM => self.latin1_atom(1)?,
            ATOM_UTF8 => self.atom(2)?,
            SMALL_ATOM_UTF8 => self.atom(1)?,
            SMALL_TUPLE => {
                let count = self.count(1)?;
                Term::Tuple(self.sequence(count)?)
            }
            LARGE_TUPLE => {
                let count = self.count(4)?;
                Term::Tuple(self.sequence(count)?)
            }
            NIL => Term::List(Vec::new(), None),
            STRING => {
                let length = self.number(2)?;
                let bytes = self.take(length)?;
                self.terms += length;
                Term::list(bytes.iter().map(|&byte| Term::Integer(i64::from(byte))).collect())
            }
            LIST => {
                let count = self.count(4)?;
                let mut elements = self.sequence(count)?;
                match self.term()? {
                    Term::List(tail, None) if tail.is_empty() => Term::list(elements),
                    Term::List(more, tail) => {
                        elements.extend(more);
                        Term::List(elements, tail)
                    }
                    Term::Text(text) => {
                        elements.extend(text.chars().map(|c| Term::Integer(i64::from(u32::from(c)))));
                        Term::list(elements)
                    }
                    tail if elements.is_empty() => tail,
                    tail => Term::List(elements, Some(Box::new(tail))),
                }
            }
            MAP => {
                let count = self.count(4)?;
                let mut pairs = Vec::with_capacity(count.min(1024));
                for _ in 0..count {
                    let key = self.term()?;
                    pairs.push((key, self.term()?));
                }
                Term::Map(pairs)
            }
            BINARY => {
                let length = self.number(4)?;
                Term::Binary(self.take(length)?.to_vec())
            }
            BIT_BINARY => {
                let length = self.number(4)?;
                let last_bits = self.number(1)? as u8;
                let bytes = self.take(length)?.to_vec();
                match last_bits {
                    8 => Term::Binary(bytes),
                    1..=7 if !bytes.is_empty() => Term::BitString { bytes, last_bits },
                    _ => {
                        self.offset = start;
                        return self.fail("a bit string", format!("{last_bits} bits of the last byte"));
                    }
                }
            }
            EXPORT => match self.sequence(3)?.as_slice() {
                [Term::Atom(module), Term::Atom(function), Term::Integer(arity @ 0..=255)] => {
                    Term::Export { module: module.clone(), function: function.clone(), arity: *arity as u32 }
                }
                _ => {
                    self.offset = start;
                    return self.fail("a module, a function and an arity", "other terms".to_owned());
                }
            },
            NEW_FUN => {
                // The size counts itself.
                let size = self.number(4)?;
                self.take(size.saturating_sub(4))?;
                Term::Opaque("Fun")
            }
            PID => self.opaque("Pid", 9)?,
            NEW_PID => self.opaque("Pid", 12)?,
            PORT => self.opaque("Port", 5)?,
            NEW_PORT => self.opaque("Port", 8)?,
            V4_PORT => self.opaque("Port", 12)?,
            NEW_REFERENCE => {
                let words = self.number(2)?;
                self.opaque("Ref", 1 + 4 * words)?
            }
            NEWER_REFERENCE => {
                let words = self.number(2)?;
                self.opaque("Ref", 4 + 4 * words)?
            }
            _ => {
                self.offset = start;
                return self.fail("the tag of a term", tag.to_string());
            }
        };
        self.depth -= 1;
        Ok(term)
    }

    /// A node's name, and `length` bytes behind it.
    fn opaque(&mut self, what: &'static str, length: usize) -> Result<Term, BeamError> {
        self.term()?;
        self.take(length)?;
        Ok(Term::Opaque(what))
    }

    fn big(&mut self, length_bytes: usize) -> Result<Term, BeamError> {
        let length = self.number(length_bytes)?;
        let negative = self.number(1)? != 0;
        let magnitude = self.take(length)?;
        let significant = magnitude.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let magnitude = &magnitude[..significant];
        if magnitude.len() <= 8 {
            let value = magnitude.iter().rev().fold(0i128, |value, &byte| value << 8 | i128::from(byte));
            if let Ok(value) = i64::try_from(if negative { -value } else { value }) {
                return Ok(Term::Integer(value));
            }
        }
        Ok(Term::BigInteger { negative, magnitude: magnitude.to_vec() })
    }

    fn atom(&mut self, length_bytes: usize) -> Result<Term, BeamError> {
        let length = self.number(length_bytes)?;
        let start = self.offset;
        match std::str::from_utf8(self.take(length)?) {
            Ok(name) => Ok(Term::atom(name)),
            Err(_) => {
                self.offset = start;
                self.fail("UTF-8", "something else".to_owned())
            }
        }
    }

    fn latin1_atom(&mut self, length_bytes: usize) -> Result<Term, BeamError> {
        let length = self.number(length_bytes)?;
        let name: String = self.take(length)?.iter().map(|&byte| char::from(byte)).collect();
        Ok(Term::Atom(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    /// `{script,"ab",[1,-2,a|b],#{k => <<1>>},1 bsl 64,[],2.5}` by `term_to_binary`, with atoms as OTP 26 and later write them.
    const SAMPLE: &[u8] = &[
        131, 104, 7, 119, 6, 115, 99, 114, 105, 112, 116, 107, 0, 2, 97, 98, 108, 0, 0, 0, 3, 97, 1, 98, 255,
        255, 255, 254, 119, 1, 97, 119, 1, 98, 116, 0, 0, 0, 1, 119, 1, 107, 109, 0, 0, 0, 1, 1, 110, 9, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 1, 106, 70, 64, 4, 0, 0, 0, 0, 0, 0,
    ];
    const SAMPLE_TEXT: &str =
        "{script,\"ab\",[1,-2,a|b],#{k => <<\"\\x{1}\">>},16#010000000000000000,[],2.5}";

    #[test]
    fn a_sample_of_every_common_tag() {
        assert_eq!(decode(SAMPLE).expect("good").to_string(), SAMPLE_TEXT);
        let mut packed = vec![VERSION, COMPRESSED];
        packed.extend_from_slice(&((SAMPLE.len() - 1) as u32).to_be_bytes());
        let mut encoder = flate2::write::ZlibEncoder::new(packed, flate2::Compression::default());
        encoder.write_all(&SAMPLE[1..]).expect("memory");
        let packed = encoder.finish().expect("memory");
        assert_eq!(decode(&packed).expect("good").to_string(), SAMPLE_TEXT);
    }

    #[test]
    fn older_and_rarer_tags() {
        for (bytes, expected) in [
            (&[131, 100, 0, 1, 0xe9][..], "é"),
            (&[131, 115, 1, 97], "a"),
            (&[131, 110, 8, 1, 0, 0, 0, 0, 0, 0, 0, 128], "-9223372036854775808"),
            (&[131, 110, 8, 0, 0, 0, 0, 0, 0, 0, 0, 128], "16#8000000000000000"),
            (&[131, 111, 0, 0, 0, 1, 0, 7], "7"),
            (&[131, 103, 119, 1, 97, 0, 0, 0, 1, 0, 0, 0, 0, 0], "#Pid"),
            (&[131, 113, 119, 1, 97, 119, 1, 98, 97, 1], "fun a:b/1"),
            (&[131, 107, 0, 2, 1, 2], "[1,2]"),
        ] {
            let text = decode(bytes).expect(expected).to_string();
            assert_eq!(text.trim_matches('\''), expected);
        }
    }

    #[test]
    fn every_truncation_and_what_lies() {
        for end in 0..SAMPLE.len() {
            assert!(matches!(decode(&SAMPLE[..end]), Err(BeamError::Binary { .. })), "{end}");
        }
        for (bytes, expected) in [
            (&[131, 108, 255, 255, 255, 255, 106][..], "as many terms as announced"),
            (&[131, 109, 255, 255, 255, 255, 1], "more bytes"),
            (&[131, 106, 106], "the end"),
            (&[131, 68, 0], "the tag of a term"),
            (&[131, 82, 0], "the tag of a term"),
            (&[130, 106], "the version byte 131 of an external term"),
            (&[131, 119, 1, 255], "UTF-8"),
            (&[131, 80, 0, 0, 0, 9, 1, 2, 3], "a zlib stream of the size that is announced"),
        ] {
            match decode(bytes) {
                Err(BeamError::Binary { expected: wanted, .. }) => assert_eq!(wanted, expected),
                other => panic!("{bytes:?}: {other:?}"),
            }
        }
        let deep = [&[131][..], &[104, 1].repeat(1_000_000)].concat();
        assert!(matches!(decode(&deep), Err(BeamError::TooLarge { .. })));
        assert!(matches!(decode(&[131, 80, 255, 255, 255, 255]), Err(BeamError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&[&[131], bytes.as_slice()].concat());
        }

        #[test]
        fn no_changed_byte_panics(at in 0..SAMPLE.len(), byte in any::<u8>()) {
            let mut changed = SAMPLE.to_vec();
            changed[at] = byte;
            let _ = decode(&changed);
        }
    }
}
