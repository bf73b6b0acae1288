//! Signatures over an ADB block.
//!
//! A signature block holds the version of its own form (0), the number of a hash (4, SHA-512), the key's id, and the
//! signature: over the file's schema, these 18 bytes, and the SHA-512 of the ADB block. It is RSA (PKCS#1 v1.5) or
//! ECDSA, both over SHA-512.

use crate::apk::checksum::sha512;
use crate::apk::{ApkError, PublicKey};

use super::Schema;

/// Version, hash, id.
const HEADER: usize = 18;
/// `sign_ver`
const VERSION: u8 = 0;
/// `hash_alg`: SHA-512.
const SHA512: u8 = 4;

/// One signature block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdbSignature {
    /// Of the key that is said to have made it: [`PublicKey::id`].
    pub key_id: [u8; 16],
    /// The signature itself.
    pub bytes: Vec<u8>,
}

impl AdbSignature {
    /// The most bytes that a signature block may have.
    pub(super) const MOST_BYTES: u64 = 2048;

    /// Takes the content of a signature block apart, which begins at `offset` of its file.
    ///
    /// # Errors
    /// When it is cut, or of a version or over a hash that nothing writes.
    pub(super) fn parse(bytes: &[u8], offset: u64) -> Result<Self, ApkError> {
        let wrong = |expected, found: String| ApkError::Structure { offset, expected, found };
        match bytes {
            [VERSION, SHA512, rest @ ..] => match rest.split_first_chunk() {
                Some((key_id, signature)) if !signature.is_empty() => {
                    Ok(Self { key_id: *key_id, bytes: signature.to_vec() })
                }
                _ => Err(wrong("a key's id and a signature", "less".to_owned())),
            },
            [version, hash, ..] => Err(wrong(
                "a signature of version 0 over hash 4",
                format!("one of version {version} over hash {hash}"),
            )),
            _ => Err(wrong("a signature", "less".to_owned())),
        }
    }

    /// The content of its block.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        [&header(&self.key_id)[..], &self.bytes].concat()
    }

    /// Checks that `key` made it over `adb`, in a file of `schema`. The id is not compared: it is part of what
    /// is signed, and a signature that fits but for another id fits.
    ///
    /// # Errors
    /// [`ApkError::Signature`] when it did not.
    pub fn verify(&self, key: &PublicKey, schema: Schema, adb: &[u8]) -> Result<(), ApkError> {
        key.verify_sha512(&signed(schema, &key.id(), adb), &self.bytes)
    }
}

fn header(key_id: &[u8; 16]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..2].copy_from_slice(&[VERSION, SHA512]);
    header[2..].copy_from_slice(key_id);
    header
}

/// What a signature is over.
pub(super) fn signed(schema: Schema, key_id: &[u8; 16], adb: &[u8]) -> Vec<u8> {
    [&schema.0.to_le_bytes()[..], &header(key_id), &sha512(adb)].concat()
}
