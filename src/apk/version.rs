//! Version numbers as Alpine writes them, and their order.
//!
//! The grammar (`apk-package(5)`, "PACKAGE VERSION") is
//! `digits{.digits}{letter}{_suffix{digits}}{~hexdigits}{-rdigits}`, where the suffixes are, in their order,
//! `alpha beta pre rc` (before the release itself) and `cvs svn git hg p` (after it).
//!
//! Versions are compared part by part, from the left. The first component is a number; a later one is a number
//! too, unless one of the two begins with `0`: then both are compared as text, so that `1.05` comes before
//! `1.5`. Where one version ends and the other goes on, the longer one is greater, except that it is less when
//! it goes on with a suffix of a pre-release.
//!
//! Like `apk`, [`compare`] works on any text, as real indexes have versions that are not valid (`0.99f7-r0`):
//! what begins with the same parts and goes on with something invalid is less than what ends there.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::{ApkError, Quoted};

/// A version by apk's grammar, as it was written.
///
/// Equality is that of the order: `1.0-r01` equals `1.0-r1`.
///
/// ```
/// use leanfs::apk::Version;
/// let version: Version = "1.37.0-r30".parse()?;
/// assert!(version < "1.37.1_rc2".parse()?);
/// assert!("1.37.1_rc2".parse::<Version>()? < "1.37.1".parse()?);
/// # Ok::<(), leanfs::apk::ApkError>(())
/// ```
#[derive(Clone)]
pub struct Version(String);

impl Version {
    /// The version as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Version {
    type Err = ApkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_valid(text) { Ok(Self(text.to_owned())) } else { Err(ApkError::Version(Quoted::new(text))) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

/// Whether the text is a version by apk's grammar.
pub fn is_valid(text: &str) -> bool {
    let mut parts = Parts::new(text);
    loop {
        match parts.next_part() {
            Part::End => return true,
            Part::Invalid => return false,
            _ => {}
        }
    }
}

/// Compares two versions by apk's rules.
pub fn compare(left: &str, right: &str) -> Ordering {
    compare_parts(left, right, false)
}

/// Whether `version` begins with all the parts of `prefix`: `3.6.9-r1` matches `3.6`, and `3.8` doesn't match
/// `3.8.1`. The order otherwise, for the operators `>~` and `<~`.
pub fn compare_fuzzy(version: &str, prefix: &str) -> Ordering {
    compare_parts(version, prefix, true)
}

fn compare_parts(left: &str, right: &str, prefix_is_equal: bool) -> Ordering {
    let (mut left, mut right) = (Parts::new(left), Parts::new(right));
    loop {
        let (l, r) = (left.next_part(), right.next_part());
        let ordering = match (l, r) {
            (Part::End, Part::End) | (Part::Invalid, Part::Invalid) => return Ordering::Equal,
            (Part::First(l), Part::First(r))
            | (Part::SuffixNumber(l), Part::SuffixNumber(r))
            | (Part::Revision(l), Part::Revision(r)) => compare_numbers(l, r),
            (Part::Component(l), Part::Component(r)) if l.starts_with('0') || r.starts_with('0') => l.cmp(r),
            (Part::Component(l), Part::Component(r)) => compare_numbers(l, r),
            (Part::Letter(l), Part::Letter(r)) => l.cmp(&r),
            (Part::Suffix(l), Part::Suffix(r)) => l.cmp(&r),
            (Part::Hash(l), Part::Hash(r)) => l.cmp(r),
            (_, Part::End) if prefix_is_equal => return Ordering::Equal,
            (Part::Suffix(suffix), _) if suffix.is_before_release() => return Ordering::Less,
            (_, Part::Suffix(suffix)) if suffix.is_before_release() => return Ordering::Greater,
            // An earlier kind of part is the more specific one, and the greater: 1.0.1 > 1.0a > 1.0_p1 > 1.0.
            (l, r) => return r.place().cmp(&l.place()),
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
}

/// Compares digits as numbers of any length.
fn compare_numbers(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

/// The suffixes, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Suffix {
    Alpha,
    Beta,
    Pre,
    Rc,
    Cvs,
    Svn,
    Git,
    Hg,
    P,
}

impl Suffix {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "alpha" => Self::Alpha,
            "beta" => Self::Beta,
            "pre" => Self::Pre,
            "rc" => Self::Rc,
            "cvs" => Self::Cvs,
            "svn" => Self::Svn,
            "git" => Self::Git,
            "hg" => Self::Hg,
            "p" => Self::P,
            _ => return None,
        })
    }

    fn is_before_release(self) -> bool {
        self <= Self::Rc
    }
}

/// One part of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part<'a> {
    First(&'a str),
    Component(&'a str),
    Letter(u8),
    Suffix(Suffix),
    SuffixNumber(&'a str),
    Hash(&'a str),
    Revision(&'a str),
    End,
    Invalid,
}

impl Part<'_> {
    /// Where a part of its kind may stand: parts of a valid version never go back.
    fn place(self) -> u8 {
        match self {
            Self::First(_) => 0,
            Self::Component(_) => 1,
            Self::Letter(_) => 2,
            Self::Suffix(_) => 3,
            Self::SuffixNumber(_) => 4,
            Self::Hash(_) => 5,
            Self::Revision(_) => 6,
            Self::End => 7,
            Self::Invalid => 8,
        }
    }
}

/// Takes a version apart.
struct Parts<'a> {
    rest: &'a str,
    /// The place of the last part; `None` before the first.
    place: Option<u8>,
}

impl<'a> Parts<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text, place: None }
    }

    fn next_part(&mut self) -> Part<'a> {
        let part = self.read().unwrap_or(Part::Invalid);
        self.place = Some(part.place());
        part
    }

    /// The next part, `None` where the grammar allows none.
    fn read(&mut self) -> Option<Part<'a>> {
        const COMPONENT: u8 = 1;
        const SUFFIX: u8 = 3;
        const SUFFIX_NUMBER: u8 = 4;
        const HASH: u8 = 5;
        const REVISION: u8 = 6;
        let Some(place) = self.place else { return self.digits().map(Part::First) };
        let Some(&first) = self.rest.as_bytes().first() else { return Some(Part::End) };
        match first {
            b'.' if place <= COMPONENT => {
                self.skip(1);
                self.digits().map(Part::Component)
            }
            b'a'..=b'z' if place <= COMPONENT => {
                self.skip(1);
                Some(Part::Letter(first))
            }
            b'0'..=b'9' if place == SUFFIX => self.digits().map(Part::SuffixNumber),
            b'_' if place <= SUFFIX_NUMBER => {
                self.skip(1);
                Suffix::parse(self.take_while(|byte| byte.is_ascii_lowercase())).map(Part::Suffix)
            }
            b'~' if place < HASH => {
                self.skip(1);
                let hash = self.take_while(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                (!hash.is_empty()).then_some(Part::Hash(hash))
            }
            b'-' if place < REVISION && self.rest.as_bytes().get(1) == Some(&b'r') => {
                self.skip(2);
                self.digits().map(Part::Revision)
            }
            _ => None,
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn digits(&mut self) -> Option<&'a str> {
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        (!digits.is_empty()).then_some(digits)
    }

    /// Takes ASCII bytes off the front, so the rest stays text.
    fn take_while(&mut self, belongs: impl Fn(&u8) -> bool) -> &'a str {
        let length = self.rest.bytes().take_while(|byte| byte.is_ascii() && belongs(byte)).count();
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_are_valid_and_that_are_not() {
        for valid in [
            "1",
            "1.2",
            "1.2a",
            "0.1_pre2~1234abcd",
            "0.1_p1_pre2-r3",
            "20240101",
            "1.2.3b_rc1_git20240101~0aff-r12",
            "1_p",
        ] {
            assert!(is_valid(valid), "{valid}");
        }
        for invalid in [
            "", "a", ".1", "1.", "1..2", "1ab", "1a.2", "1_", "1_foo", "1~", "1~xyz", "1-r", "1-r1-r2",
            "1-r1_p1", "1 ", "1é",
        ] {
            assert!(!is_valid(invalid), "{invalid}");
        }
    }

    #[test]
    fn the_order() {
        let ascending = [
            "0.9",
            "1_alpha",
            "1_alpha1",
            "1_beta",
            "1_pre2",
            "1_rc1",
            "1",
            "1-r1",
            "1-r10",
            "1_cvs",
            "1_git1",
            "1_p",
            "1_p1",
            "1a",
            "1b",
            "1.0",
            "1.00",
            "1.01",
            "1.05",
            "1.1",
            "1.5",
            "1.10",
            "2",
            "18446744073709551616",
            "18446744073709551617",
        ];
        for (place, left) in ascending.iter().enumerate() {
            for (other, right) in ascending.iter().enumerate() {
                assert_eq!(compare(left, right), place.cmp(&other), "{left} {right}");
            }
        }
    }

    #[test]
    fn a_prefix_is_equal_when_fuzzy() {
        for (version, prefix, expected) in [
            ("3.6.9-r1", "3.6", Ordering::Equal),
            ("3.6_pre1", "3.6", Ordering::Equal),
            ("3.8", "3.8.1", Ordering::Less),
            ("3.60", "3.6", Ordering::Greater),
            ("3.5", "3.6", Ordering::Less),
        ] {
            assert_eq!(compare_fuzzy(version, prefix), expected, "{version} {prefix}");
        }
    }
}
