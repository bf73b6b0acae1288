//! Checksums as indexes and archives write them: `Q1` and the base64 of a SHA-1, `Q2` and that of a SHA-256.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest;

use super::{ApkError, Quoted};

/// The hash of a control member or of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Checksum {
    /// `Q1…`
    Sha1([u8; 20]),
    /// `Q2…`
    Sha256([u8; 32]),
    /// 20 bytes of which an index of format v3 does not say what they are: a SHA-1 if they name a package of format v2,
    /// a SHA-256 cut to 160 bits if they name one of v3. As text it is `Q1…`.
    Short([u8; 20]),
}

impl Checksum {
    /// The SHA-1 of some bytes.
    pub fn sha1_of(bytes: &[u8]) -> Self {
        Self::Sha1(sha1(bytes))
    }

    /// Whether these bytes have this checksum.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Sha1(hash) => sha1(bytes) == *hash,
            Self::Sha256(hash) => sha256(bytes) == *hash,
            Self::Short(hash) => sha1(bytes) == *hash || sha256(bytes)[..20] == *hash,
        }
    }

    /// What `apk` tells packages apart by: the first 20 bytes, whatever the kind.
    pub fn identity(&self) -> [u8; 20] {
        // Each kind has at least that many.
        std::array::from_fn(|index| self.as_bytes()[index])
    }

    /// The hash alone.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha1(hash) | Self::Short(hash) => hash,
            Self::Sha256(hash) => hash,
        }
    }
}

/// The SHA-1 of some bytes.
pub fn sha1(bytes: &[u8]) -> [u8; 20] {
    into_array(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref())
}

/// The SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    into_array(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// The SHA-512 of some bytes.
pub fn sha512(bytes: &[u8]) -> [u8; 64] {
    into_array(digest::digest(&digest::SHA512, bytes).as_ref())
}

/// A digest, whose algorithm decides its length, as an array of that length.
pub(super) fn into_array<const N: usize>(digest: &[u8]) -> [u8; N] {
    digest.try_into().expect("the algorithm's output has this length")
}

impl FromStr for Checksum {
    type Err = ApkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ApkError::Checksum(Quoted::new(text));
        // 44 characters of base64 are the longest that is understood.
        if text.len() > 2 + 44 {
            return Err(refuse());
        }
        let (kind, encoded) = text.split_at_checked(2).ok_or_else(refuse)?;
        let hash = STANDARD.decode(encoded).map_err(|_| refuse())?;
        match kind {
            "Q1" => hash.try_into().map(Self::Sha1).map_err(|_| refuse()),
            "Q2" => hash.try_into().map(Self::Sha256).map_err(|_| refuse()),
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Sha1(_) | Self::Short(_) => "Q1",
            Self::Sha256(_) => "Q2",
        };
        write!(f, "{kind}{}", STANDARD.encode(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_read_and_written() {
        let empty = Checksum::sha1_of(b"");
        assert_eq!(empty.to_string(), "Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=");
        assert_eq!(empty.to_string().parse::<Checksum>().expect("good"), empty);
        assert!(empty.matches(b"") && !empty.matches(b"x"));
        let longer = Checksum::Sha256(sha256(b"x"));
        assert_eq!(longer.to_string().parse::<Checksum>().expect("good"), longer);
        for bad in ["", "Q", "Q1", "Q3AAAA", "Q1AAAA", "é1AAAA", "Q2jmj7l5rSw0yVb/vlWAYkK/YBwk="] {
            assert!(bad.parse::<Checksum>().is_err(), "{bad}");
        }
    }
}
