//! Signatures of indexes and packages, and the public keys that verify them.
//!
//! A signature is a file `.SIGN.RSA.KEY` (PKCS#1 v1.5 over SHA-1: what Alpine's servers have), `.SIGN.RSA256.KEY`
//! or `.SIGN.RSA512.KEY` in the first member of an index or package, where `KEY` is the file name of the public
//! key (`alpine-devel@lists.alpinelinux.org-6165ee59.rsa.pub`). It covers the compressed bytes of what follows:
//! in a package the control member, in an index everything. One signature of a trusted key is enough.

use std::fmt;

use ring::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512,
    RsaParameters, UnparsedPublicKey,
};

use super::checksum::sha512;
use super::der::{self, Subject};
use super::ecdsa::Curve;
use super::{ApkError, Quoted};

/// The hash that an RSA signature (PKCS#1 v1.5) is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureKind {
    /// `.SIGN.RSA.`: SHA-1.
    RsaSha1,
    /// `.SIGN.RSA256.`
    RsaSha256,
    /// `.SIGN.RSA512.`
    RsaSha512,
}

impl SignatureKind {
    /// How the names of such signature files begin.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::RsaSha1 => ".SIGN.RSA.",
            Self::RsaSha256 => ".SIGN.RSA256.",
            Self::RsaSha512 => ".SIGN.RSA512.",
        }
    }

    fn parameters(self) -> &'static RsaParameters {
        match self {
            Self::RsaSha1 => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Self::RsaSha256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::RsaSha512 => &RSA_PKCS1_2048_8192_SHA512,
        }
    }
}

/// One signature file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// How it was made.
    pub kind: SignatureKind,
    /// The file name of the key that is said to have made it; text from outside.
    pub key_name: String,
    /// The signature itself.
    pub bytes: Vec<u8>,
}

impl Signature {
    /// How the name of every signature file begins, also of kinds that are not known here (`DSA`).
    pub const PREFIX: &'static str = ".SIGN.";

    /// The kind and the key's name, if the file name is one of a signature of a known kind.
    pub fn parse_name(file_name: &str) -> Option<(SignatureKind, &str)> {
        [SignatureKind::RsaSha1, SignatureKind::RsaSha256, SignatureKind::RsaSha512]
            .into_iter()
            .find_map(|kind| file_name.strip_prefix(kind.prefix()).map(|key| (kind, key)))
            .filter(|(_, key)| !key.is_empty())
    }

    /// The name of the file that holds it.
    pub fn file_name(&self) -> String {
        format!("{}{}", self.kind.prefix(), self.key_name)
    }

    /// The signatures among the files of a member; unknown kinds are left out, as `apk` does.
    pub(super) fn among(files: &[(String, &[u8])]) -> Vec<Self> {
        files
            .iter()
            .filter_map(|(name, content)| {
                let (kind, key) = Self::parse_name(name)?;
                Some(Self { kind, key_name: key.to_owned(), bytes: content.to_vec() })
            })
            .collect()
    }
}

/// A public key that may sign indexes and packages: RSA, or for format v3 also EC (P-256, P-384, P-521). In
/// format v2 `apk` finds the key for a signature by the key's file name, so that is part of it; in format v3 by
/// [`PublicKey::id`].
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    material: Material,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    /// `RSAPublicKey` in DER.
    Rsa(Vec<u8>),
    /// The point's bytes.
    Ec(Curve, Vec<u8>),
}

impl PublicKey {
    /// A key from a PEM file: `PUBLIC KEY` (as Alpine's are) or `RSA PUBLIC KEY`. `name` is the file's name
    /// without directories, with `.rsa.pub`.
    ///
    /// # Errors
    /// [`ApkError::Key`] when it is not such a key in DER, has less than 2,048 or more than 8,192 bits, or an exponent
    /// that is even, less than 65,537 or longer than 33 bits.
    pub fn from_pem(name: &str, pem: &[u8]) -> Result<Self, ApkError> {
        let refuse = |reason| ApkError::Key { name: Quoted::new(name), reason };
        let (label, der) = der::pem(pem).map_err(refuse)?;
        match label {
            "PUBLIC KEY" => {
                let subject = der::subject_of_spki(&der).map_err(refuse)?;
                // So that the file has the key's fingerprint for everyone's tools.
                if der::spki(subject) != der {
                    return Err(refuse("it is not encoded as DER has it"));
                }
                match subject {
                    Subject::Rsa(pkcs1) => Self::from_pkcs1(name, pkcs1.to_vec()),
                    Subject::Ec(curve, point) => Self::from_point(name, curve, point.to_vec()),
                }
            }
            "RSA PUBLIC KEY" => Self::from_pkcs1(name, der),
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => Err(refuse("it is a private key")),
            _ => Err(refuse("it is neither a PUBLIC KEY nor an RSA PUBLIC KEY")),
        }
    }

    /// A key from the point of an EC key, which must be uncompressed: one key, one encoding, one fingerprint.
    pub(super) fn from_point(name: &str, curve: Curve, point: Vec<u8>) -> Result<Self, ApkError> {
        if point.first() != Some(&4) || !curve.has_point(&point) {
            let reason = "it is no uncompressed point of its curve";
            return Err(ApkError::Key { name: Quoted::new(name), reason });
        }
        Ok(Self { name: name.to_owned(), material: Material::Ec(curve, point) })
    }

    /// A key from the DER of an `RSAPublicKey`.
    pub(super) fn from_pkcs1(name: &str, pkcs1: Vec<u8>) -> Result<Self, ApkError> {
        let refuse = |reason| ApkError::Key { name: Quoted::new(name), reason };
        let (modulus, exponent) = der::rsa_public_numbers(&pkcs1).ok_or_else(|| refuse("it is damaged"))?;
        // One key, one encoding, one fingerprint.
        if der::rsa_public_key(modulus, exponent) != pkcs1 {
            return Err(refuse("its numbers are not encoded as DER has them"));
        }
        match bits(modulus) {
            ..2048 => return Err(refuse("it has less than 2,048 bits")),
            2048..=8192 => {}
            _ => return Err(refuse("it has more than 8,192 bits")),
        }
        if modulus.last().is_none_or(|last| last & 1 == 0) {
            return Err(refuse("its modulus is an even number, so it is no RSA key"));
        }
        check_exponent(exponent).map_err(refuse)?;
        Ok(Self { name: name.to_owned(), material: Material::Rsa(pkcs1) })
    }

    /// The file name by which signatures refer to it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The SHA-256 of the key's `SubjectPublicKeyInfo` in DER: what stands for the key, whatever its file is called.
    pub fn fingerprint(&self) -> [u8; 32] {
        super::checksum::sha256(&self.spki())
    }

    /// `RSA` or `EC`.
    pub fn algorithm(&self) -> &'static str {
        match self.material {
            Material::Rsa(_) => "RSA",
            Material::Ec(..) => "EC",
        }
    }

    /// The size of its modulus, or of its curve's field, in bits.
    pub fn bits(&self) -> usize {
        match &self.material {
            Material::Rsa(pkcs1) => der::rsa_public_numbers(pkcs1).map_or(0, |(modulus, _)| bits(modulus)),
            Material::Ec(curve, _) => curve.bits(),
        }
    }

    /// The key as a PEM file (`PUBLIC KEY`), as Alpine distributes keys.
    pub fn to_pem(&self) -> String {
        use base64::Engine;
        let encoded = base64::engine::general_purpose::STANDARD.encode(self.spki());
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        // RFC 7468: 64 characters a line.
        for line in encoded.as_bytes().chunks(64) {
            pem.extend(line.iter().copied().map(char::from));
            pem.push('\n');
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        pem
    }

    /// `SubjectPublicKeyInfo` in DER.
    fn spki(&self) -> Vec<u8> {
        der::spki(match &self.material {
            Material::Rsa(pkcs1) => Subject::Rsa(pkcs1),
            Material::Ec(curve, point) => Subject::Ec(*curve, point),
        })
    }

    /// By what signatures of format v3 name the key: the first 16 bytes of the SHA-512 of its `RSAPublicKey`, or
    /// of its point.
    pub fn id(&self) -> [u8; 16] {
        let (Material::Rsa(bytes) | Material::Ec(_, bytes)) = &self.material;
        std::array::from_fn(|index| sha512(bytes)[index])
    }

    /// Checks that this key made `signature`, one of format v2, over `signed`. EC keys make none.
    ///
    /// # Errors
    /// [`ApkError::Signature`] when it did not.
    pub fn verify(&self, kind: SignatureKind, signed: &[u8], signature: &[u8]) -> Result<(), ApkError> {
        let fits = match &self.material {
            Material::Rsa(pkcs1) => {
                UnparsedPublicKey::new(kind.parameters(), pkcs1).verify(signed, signature).is_ok()
            }
            Material::Ec(..) => false,
        };
        if fits { Ok(()) } else { Err(self.mismatch()) }
    }

    /// Checks that this key made `signature` over the SHA-512 of `signed`, as signatures of format v3 are.
    ///
    /// # Errors
    /// [`ApkError::Signature`] when it did not.
    pub(super) fn verify_sha512(&self, signed: &[u8], signature: &[u8]) -> Result<(), ApkError> {
        let fits = match &self.material {
            Material::Rsa(pkcs1) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA512, pkcs1).verify(signed, signature).is_ok()
            }
            Material::Ec(curve, point) => curve.verifies(point, signed, signature),
        };
        if fits { Ok(()) } else { Err(self.mismatch()) }
    }

    fn mismatch(&self) -> ApkError {
        ApkError::Signature { key: Quoted::new(&self.name) }
    }
}

/// 65,537 is what everyone uses, and the least that NIST allows (SP 800-56B, 6.2): with an exponent of 1 every text
/// signs itself, with an even one nothing is signed, and with 3 a careless check of the padding is enough for
/// forgeries. The upper bound is `ring`'s.
fn check_exponent(exponent: &[u8]) -> Result<(), &'static str> {
    const LEAST: u64 = 65_537;
    const MOST_BITS: usize = 33;
    if bits(exponent) > MOST_BITS {
        return Err("its public exponent has more than 33 bits");
    }
    let value = exponent.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
    match value {
        _ if value & 1 == 0 => Err("its public exponent is an even number, so it is no RSA key"),
        ..LEAST => Err("its public exponent is less than 65,537"),
        _ => Ok(()),
    }
}

/// The name alone.
impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?})", self.name)
    }
}

/// Of a number without leading zeros.
fn bits(number: &[u8]) -> usize {
    number.len() * 8 - number.first().map_or(0, |first| first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_signature_files() {
        for (name, expected) in [
            (".SIGN.RSA.a.rsa.pub", Some((SignatureKind::RsaSha1, "a.rsa.pub"))),
            (".SIGN.RSA256.b", Some((SignatureKind::RsaSha256, "b"))),
            (".SIGN.RSA512.b", Some((SignatureKind::RsaSha512, "b"))),
            (".SIGN.DSA.b", None),
            (".SIGN.RSA.", None),
            ("APKINDEX", None),
        ] {
            assert_eq!(Signature::parse_name(name), expected, "{name}");
        }
    }

    #[test]
    fn keys_that_can_not_be_used() {
        for bad in [
            "",
            "hello",
            "-----BEGIN PUBLIC KEY-----\nAQID\n-----END PUBLIC KEY-----\n",
            "-----BEGIN RSA PUBLIC KEY-----\nMAYCAQECAQM=\n-----END RSA PUBLIC KEY-----\n",
            "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n",
        ] {
            assert!(matches!(PublicKey::from_pem("x", bad.as_bytes()), Err(ApkError::Key { .. })), "{bad}");
        }
    }

    /// The PEM of a key of these numbers, big-endian and without leading zeros.
    fn pem(modulus: &[u8], exponent: &[u8]) -> String {
        PublicKey { name: String::new(), material: Material::Rsa(der::rsa_public_key(modulus, exponent)) }
            .to_pem()
    }

    #[test]
    fn weak_keys_are_refused_with_the_reason() {
        let modulus = |bits: usize, last: u8| {
            let mut bytes = vec![0xa5; bits / 8];
            *bytes.last_mut().expect("bytes") = last;
            bytes
        };
        let good = [1, 0, 1];
        for (modulus, exponent, expected) in [
            (modulus(2048, 1), &good[..], None),
            (modulus(2048, 1), &[1, 0xff, 0xff, 0xff, 0xff], None),
            (modulus(8192, 1), &good, None),
            (modulus(1024, 1), &good, Some("less than 2,048 bits")),
            (modulus(2040, 1), &good, Some("less than 2,048 bits")),
            (modulus(8200, 1), &good, Some("more than 8,192 bits")),
            (modulus(2048, 2), &good, Some("modulus is an even number")),
            (modulus(2048, 1), &[1], Some("less than 65,537")),
            (modulus(2048, 1), &[3], Some("less than 65,537")),
            (modulus(2048, 1), &[1, 0, 0], Some("exponent is an even number")),
            (modulus(2048, 1), &[], Some("exponent is an even number")),
            (modulus(2048, 1), &[2, 0, 0, 0, 1], Some("more than 33 bits")),
            (modulus(2048, 1), &[1; 300], Some("more than 33 bits")),
        ] {
            let result = PublicKey::from_pem("x", pem(&modulus, exponent).as_bytes());
            match expected {
                None => drop(result.expect("a key")),
                Some(expected) => {
                    let error = result.expect_err(expected).to_string();
                    assert!(error.contains(expected), "{error}");
                }
            }
        }
    }

    #[test]
    fn one_key_has_one_encoding_and_one_fingerprint() {
        let (name, good) = crate::apk::keys::BUILT_IN[0];
        let key = PublicKey::from_pem(name, good).expect("Alpine's key");
        // openssl pkey -pubin -in alpine-devel@lists.alpinelinux.org-4a6a0840.rsa.pub -outform DER | sha256sum
        assert_eq!(
            hex::encode(key.fingerprint()),
            "4e0c26751a474db486b0a8f37e37ff02e12465e8cea8ef08614ac173cb870f28"
        );
        assert_eq!(key.bits(), 2048);
        let renamed = PublicKey::from_pem("other", good).expect("the same key");
        assert_eq!(renamed.fingerprint(), key.fingerprint());
        // A zero more before the exponent: the same numbers, other bytes.
        let Material::Rsa(pkcs1) = &key.material else { panic!("an RSA key") };
        let (modulus, exponent) = der::rsa_public_numbers(pkcs1).expect("numbers");
        let padded = der::rsa_public_key(modulus, &[&[0, 0], exponent].concat());
        assert!(der::rsa_public_numbers(&padded).is_some(), "the numbers can be read");
        let error = PublicKey::from_pkcs1("x", padded).expect_err("not DER");
        assert!(error.to_string().contains("as DER has them"), "{error}");
    }

    #[test]
    fn a_key_cut_or_changed_anywhere_is_another_key_or_none() {
        use base64::Engine;
        let (name, good) = crate::apk::keys::BUILT_IN[0];
        let key = PublicKey::from_pem(name, good).expect("Alpine's key");
        let armour = |der: &[u8]| {
            let body = base64::engine::general_purpose::STANDARD.encode(der);
            format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
        };
        let der = key.spki();
        assert!(PublicKey::from_pem(name, armour(&der).as_bytes()).is_ok());
        for length in 0..der.len() {
            assert!(PublicKey::from_pem(name, armour(&der[..length]).as_bytes()).is_err(), "cut at {length}");
        }
        assert!(PublicKey::from_pem(name, armour(&[&der[..], &[0]].concat()).as_bytes()).is_err());
        for place in 0..der.len() {
            for bit in 0..8 {
                let mut changed = der.clone();
                changed[place] ^= 1 << bit;
                if let Ok(other) = PublicKey::from_pem(name, armour(&changed).as_bytes()) {
                    assert_ne!(other.fingerprint(), key.fingerprint(), "byte {place}, bit {bit}");
                }
            }
        }
    }

    #[test]
    fn a_key_is_written_as_it_was_read() {
        for (name, pem) in crate::apk::keys::BUILT_IN {
            let key = PublicKey::from_pem(name, pem).expect("Alpine's key");
            assert_eq!(key.to_pem().as_bytes(), *pem, "{name}");
        }
    }
}
