//! What can be wrong with Alpine's formats.

use std::fmt;
use std::io;

/// Something that is not as Alpine's formats want it, or that can't be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApkError {
    /// Not a version by apk's grammar.
    #[error(
        "{0} is no version: digits{{.digits}}{{letter}}{{_suffix{{digits}}}}{{~hash}}{{-rDIGITS}} is expected"
    )]
    Version(Quoted),
    /// Not a dependency.
    #[error("{text} is no dependency: {reason}")]
    Dependency {
        /// What was given.
        text: Quoted,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Not a checksum as indexes and archives write them.
    #[error("{0} is no checksum: Q1 and 20 bytes, or Q2 and 32 bytes, in base64 are expected")]
    Checksum(Quoted),
    /// A line of an index or of a `.PKGINFO` that can't be used.
    #[error("{file}, line {line}: {reason}: {text}")]
    Line {
        /// Which file: `APKINDEX` or `.PKGINFO`.
        file: &'static str,
        /// The line, from 1 on.
        line: usize,
        /// What is wrong.
        reason: String,
        /// The line's text.
        text: Quoted,
    },
    /// A field that must be there is not.
    #[error("{file}: {record} has no {field}")]
    Missing {
        /// Which file: `APKINDEX` or `.PKGINFO`.
        file: &'static str,
        /// Which package of it, as far as known.
        record: String,
        /// The field.
        field: &'static str,
    },
    /// A member of an archive is damaged or ends too early.
    #[error("the {member} member, which begins at byte {offset}, can't be read")]
    Damaged {
        /// Signature, control, data or index.
        member: &'static str,
        /// Where it begins in the file.
        offset: u64,
        /// What the decompressor or the reader said.
        #[source]
        source: io::Error,
    },
    /// A member is larger than anything of its kind has reason to be.
    #[error("the {member} member, which begins at byte {offset}, is larger than {limit} bytes")]
    TooLarge {
        /// Signature, control, data or index.
        member: &'static str,
        /// Where it begins in the file.
        offset: u64,
        /// The limit that it broke, in bytes.
        limit: u64,
    },
    /// A member of which far more comes than any content gives.
    #[error(
        "of the {member} member, which begins at byte {offset}, come more than {limit} bytes for each of its bytes"
    )]
    ExpandsTooMuch {
        /// Signature, control, data or index.
        member: &'static str,
        /// Where it begins in the file.
        offset: u64,
        /// How many bytes for each may come.
        limit: u64,
    },
    /// More of something than an index may have.
    #[error("the index has more than {limit} {what}")]
    TooMany {
        /// Of what: `packages` or `relations`.
        what: &'static str,
        /// The limit that it broke.
        limit: u64,
    },
    /// An archive is not made of the members that it should be made of.
    #[error("at byte {offset}: {expected} expected, {found} found")]
    Structure {
        /// Where in the file.
        offset: u64,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// An ADB block (format v3) that can't be what its schema describes.
    #[error("the ADB block, at byte {offset}: {problem}")]
    Adb {
        /// Where in the block.
        offset: u64,
        /// What is wrong; text from outside is quoted.
        problem: String,
    },
    /// A file's content in a package of format v3 that has not the hash that the package names.
    #[error("{path} has the {} {found}, and {expected} is expected", if expected.len() == 64 { "SHA-256" } else { "SHA-512" })]
    FileChanged {
        /// The file in the package.
        path: Quoted,
        /// Hexadecimal digits.
        expected: String,
        /// Hexadecimal digits.
        found: String,
    },
    /// Not a public or private key that can be used.
    #[error("the key {name} can't be used: {reason}")]
    Key {
        /// Its file name.
        name: Quoted,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A signature that the key did not make over these bytes.
    #[error("the signature does not match: {key} did not sign these bytes")]
    Signature {
        /// The key's file name.
        key: Quoted,
    },
    /// A tree or its description that no package can hold.
    #[error("{path} can't be packed: {reason}")]
    Unpackable {
        /// The node, or the field of the description.
        path: String,
        /// Why not.
        reason: String,
    },
    /// Reading contents or writing the result failed.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

impl ApkError {
    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged { .. } => {
                Some("the file is truncated or damaged; remove it, so that it is downloaded again".to_owned())
            }
            Self::Key { .. } => Some(
                "keys are PEM files: RSA with 2,048 to 8,192 bits, as `abuild-keygen` or `openssl genrsa 4096` \
                 make them, or for format v3 EC, as `openssl ecparam -genkey -name prime256v1` makes them"
                    .to_owned(),
            ),
            Self::Signature { .. } => Some(
                "the file was changed after it was signed, or another key of the same name signed it"
                    .to_owned(),
            ),
            Self::Dependency { .. } => Some(
                "a dependency is NAME, NAME@TAG, NAME=VERSION (also < > <= >= ~), or !NAME for what must not be there"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// Text from outside, for messages: in quotes, without control characters, and not longer than is of use.
#[derive(Clone, PartialEq, Eq)]
pub struct Quoted(String);

impl Quoted {
    const MOST_CHARACTERS: usize = 120;

    /// Takes the text; what is too long is cut when it is shown.
    pub fn new(text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        Self(String::from_utf8_lossy(&text[..text.len().min(4 * Self::MOST_CHARACTERS)]).into_owned())
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(Self::MOST_CHARACTERS) {
            Some((end, _)) => write!(f, "{:?}…", &self.0[..end]),
            None => write!(f, "{:?}", self.0),
        }
    }
}

impl fmt::Debug for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_can_not_write_to_a_terminal() {
        assert_eq!(Quoted::new("a\x1b[31m").to_string(), "\"a\\u{1b}[31m\"");
        assert_eq!(Quoted::new("x".repeat(1000)).to_string().chars().count(), 123);
        assert_eq!(Quoted::new(b"\xff").to_string(), "\"\u{fffd}\"");
    }
}
