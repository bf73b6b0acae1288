//! The first two members of a `.apk`: its signatures, and its control member with `.PKGINFO` and the scripts.
//!
//! What follows is the data member, for [`super::member::split_member`]; its SHA-256 must be the
//! [`PackageInfo::data_hash`], and nothing may follow it.

use std::io::BufRead;

use super::checksum::Checksum;
use super::member::{self, SmallMember};
use super::{ApkError, PackageInfo, Signature, segment};

/// The most bytes that a signature member may have.
const MOST_SIGNATURE_BYTES: u64 = 1 << 20;
/// The most bytes that a control member may have: scripts and triggers are small.
const MOST_CONTROL_BYTES: u64 = 16 << 20;
/// The most signature members before the control member.
const MOST_SIGNATURE_MEMBERS: usize = 16;

/// The names of the scripts that a control member may hold.
pub const SCRIPTS: [&str; 7] = [
    ".pre-install",
    ".post-install",
    ".pre-deinstall",
    ".post-deinstall",
    ".pre-upgrade",
    ".post-upgrade",
    ".trigger",
];

/// What stands before the files of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageHead {
    /// Its signatures over [`PackageHead::control`]; none if it is unsigned.
    pub signatures: Vec<Signature>,
    /// The compressed bytes of the control member: what signatures and the index are about.
    pub control: Vec<u8>,
    /// SHA-1 of those.
    pub control_sha1: [u8; 20],
    /// SHA-256 of those.
    pub control_sha256: [u8; 32],
    /// `.PKGINFO`.
    pub info: PackageInfo,
    /// The scripts, by the names in [`SCRIPTS`], in the package's order. They are never run.
    pub scripts: Vec<(String, Vec<u8>)>,
    /// Where the data member begins in the file.
    pub data_offset: u64,
}

impl PackageHead {
    /// Reads the head of a package from its first byte on, and not a byte more.
    ///
    /// # Errors
    /// When members are missing, damaged or too large, or `.PKGINFO` is missing or wrong.
    pub fn read(reader: &mut impl BufRead) -> Result<Self, ApkError> {
        Self::read_within(reader, MOST_CONTROL_BYTES)
    }

    /// As [`PackageHead::read`], of a control member of at most so many bytes, compressed or not.
    ///
    /// # Errors
    /// As [`PackageHead::read`].
    pub fn read_within(reader: &mut impl BufRead, control_bytes: u64) -> Result<Self, ApkError> {
        let mut signatures = Vec::new();
        let mut offset = 0;
        for _ in 0..=MOST_SIGNATURE_MEMBERS {
            let SmallMember { content, compressed, hashes } =
                member::read_small(reader, "control", offset, control_bytes)?.ok_or_else(|| {
                    ApkError::Structure {
                        offset,
                        expected: "a control member with .PKGINFO",
                        found: "the end of the file".to_owned(),
                    }
                })?;
            let end = offset + hashes.compressed_length;
            let files = segment::files(&content, "control", offset)?;
            if files.iter().all(|(name, _)| name.starts_with(Signature::PREFIX)) && !files.is_empty() {
                if hashes.length > MOST_SIGNATURE_BYTES {
                    return Err(ApkError::TooLarge {
                        member: "signature",
                        offset,
                        limit: MOST_SIGNATURE_BYTES,
                    });
                }
                signatures.extend(Signature::among(&files));
                offset = end;
                continue;
            }
            let mut informations = files.iter().filter(|(name, _)| name == ".PKGINFO");
            let (Some((_, text)), None) = (informations.next(), informations.next()) else {
                return Err(ApkError::Structure {
                    offset,
                    expected: "a control member with one .PKGINFO",
                    found: "none, or several".to_owned(),
                });
            };
            let scripts = files
                .iter()
                .filter(|(name, _)| SCRIPTS.contains(&name.as_str()))
                .map(|(name, content)| (name.clone(), content.to_vec()))
                .collect();
            return Ok(Self {
                signatures,
                control: compressed,
                control_sha1: hashes.sha1,
                control_sha256: hashes.sha256,
                info: PackageInfo::parse(text)?,
                scripts,
                data_offset: end,
            });
        }
        Err(ApkError::Structure {
            offset,
            expected: "a control member with .PKGINFO",
            found: format!("more than {MOST_SIGNATURE_MEMBERS} signature members"),
        })
    }

    /// Whether this is the control member that an index names.
    pub fn is(&self, named: &Checksum) -> bool {
        match named {
            Checksum::Sha1(hash) | Checksum::Short(hash) => *hash == self.control_sha1,
            Checksum::Sha256(hash) => *hash == self.control_sha256,
        }
    }
}
