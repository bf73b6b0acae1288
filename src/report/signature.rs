//! The signature of a manifest: Ed25519 (RFC 8032) over the bytes of `manifest.json`, alone in a file of 64 bytes beside
//! it. Keys are what OpenSSL makes: PKCS#8 (RFC 8410) in PEM.
//!
//! ```text
//! openssl genpkey -algorithm ed25519 -out image.pem
//! openssl pkey -in image.pem -pubout -out image.pub.pem
//! openssl pkeyutl -verify -pubin -inkey image.pub.pem -rawin -in manifest.json -sigfile manifest.json.sig
//! ```

use std::fmt;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::apk::checksum::sha256;
use crate::apk::der::pem;

/// The name of the signature's file, beside the manifest.
pub const FILE_NAME: &str = "manifest.json.sig";

/// How many bytes a signature has.
pub const LENGTH: usize = 64;

/// What stands before the 32 bytes of a public key in its `SubjectPublicKeyInfo`: two sequences, the identifier
/// 1.3.101.112 (RFC 8410, section 3), and the head of a bit string.
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A file that holds no such key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SignatureError {
    reason: &'static str,
    is_private: bool,
}

impl SignatureError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        if self.is_private {
            "`openssl genpkey -algorithm ed25519 -out image.pem` makes a key that signs".to_owned()
        } else {
            "`openssl pkey -in image.pem -pubout -out image.pub.pem` makes the public key of image.pem"
                .to_owned()
        }
    }
}

/// A key that signs. It is not shown anywhere.
pub struct SigningKey(Ed25519KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public()).finish()
    }
}

impl SigningKey {
    /// Reads a PEM file with `PRIVATE KEY`.
    ///
    /// # Errors
    /// What is no PEM file, and no Ed25519 key.
    pub fn from_pem(text: &[u8]) -> Result<Self, SignatureError> {
        let refuse = |reason| SignatureError { reason, is_private: true };
        let (label, der) = pem(text).map_err(refuse)?;
        match label {
            "PRIVATE KEY" => {}
            "ENCRYPTED PRIVATE KEY" => return Err(refuse("it is encrypted")),
            "PUBLIC KEY" => return Err(refuse("it is a public key")),
            _ => return Err(refuse("it is no PKCS#8 key, which begins with `BEGIN PRIVATE KEY`")),
        }
        // OpenSSL's have no public key beside the private one.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der);
        pair.map(Self).map_err(|_| refuse("it is no Ed25519 key"))
    }

    /// The signature of some bytes. The same key and bytes always give the same.
    pub fn sign(&self, bytes: &[u8]) -> [u8; LENGTH] {
        let mut signature = [0; LENGTH];
        signature.copy_from_slice(self.0.sign(bytes).as_ref());
        signature
    }

    /// The key that verifies what this one signs.
    pub fn public(&self) -> VerifyingKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        VerifyingKey(key)
    }
}

/// A key that verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct VerifyingKey([u8; 32]);

impl VerifyingKey {
    /// Reads a PEM file with `PUBLIC KEY`.
    ///
    /// # Errors
    /// What is no PEM file, and no Ed25519 key.
    pub fn from_pem(text: &[u8]) -> Result<Self, SignatureError> {
        let refuse = |reason| SignatureError { reason, is_private: false };
        let (label, der) = pem(text).map_err(refuse)?;
        if label != "PUBLIC KEY" {
            return Err(refuse("it is no public key, which begins with `BEGIN PUBLIC KEY`"));
        }
        let bytes = der.strip_prefix(&SPKI_HEAD).and_then(|key| key.try_into().ok());
        bytes.map(Self).ok_or_else(|| refuse("it is no Ed25519 key"))
    }

    /// Whether `signature` is this key's, of these bytes.
    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(bytes, signature).is_ok()
    }

    /// SHA-256 of the `SubjectPublicKeyInfo`, by which keys are told apart: `sha256sum` of `openssl pkey -pubin -outform
    /// DER`.
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&[&SPKI_HEAD[..], &self.0].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 2, as `openssl pkey` writes the keys.
    const PRIVATE: &[u8] = b"-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7\n-----END PRIVATE KEY-----\n";
    const PUBLIC: &[u8] = b"-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=\n-----END PUBLIC KEY-----\n";

    #[test]
    fn as_the_standard_says() {
        let key = SigningKey::from_pem(PRIVATE).expect("a key");
        let public = VerifyingKey::from_pem(PUBLIC).expect("a key");
        let signature = key.sign(&[0x72]);
        let want = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                    085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        assert_eq!(hex::encode(signature), want);
        assert_eq!(key.public(), public);
        assert!(public.verifies(&[0x72], &signature));
        assert!(!public.verifies(&[0x73], &signature));
        for bit in 0..LENGTH * 8 {
            let mut changed = signature;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!public.verifies(&[0x72], &changed), "bit {bit}");
        }
        for short in [&signature[..63], &[], &[signature.as_slice(), &[0]].concat()] {
            assert!(!public.verifies(&[0x72], short));
        }
        assert_eq!(
            format!("{key:?}"),
            format!("SigningKey({public:?})"),
            "nothing of the private key is shown"
        );
    }

    #[test]
    fn other_files_are_refused() {
        let edit = |text: &[u8], from: &str, to: &str| {
            String::from_utf8(text.to_vec()).expect("PEM").replace(from, to).into_bytes()
        };
        let rsa = include_bytes!("../../tests/keys/leanfs-test.rsa");
        for (text, reason) in [
            (b"hello".to_vec(), "it is not a PEM file"),
            (PUBLIC.to_vec(), "it is a public key"),
            (edit(PRIVATE, "PRIVATE", "ENCRYPTED PRIVATE"), "it is encrypted"),
            (edit(PRIVATE, "MC4C", "MC4D"), "it is no Ed25519 key"),
            (edit(PRIVATE, "PRIVATE KEY", "X"), "it is no PKCS#8 key, which begins with `BEGIN PRIVATE KEY`"),
        ] {
            let error = SigningKey::from_pem(&text).expect_err(reason);
            assert_eq!(error.to_string(), reason);
            assert!(error.hint().contains("genpkey"));
        }
        assert!(SigningKey::from_pem(rsa).is_err());
        for text in [PRIVATE.to_vec(), edit(PUBLIC, "MCow", "MCoy"), edit(PUBLIC, "Zgw=", "Zg=="), Vec::new()]
        {
            let error = VerifyingKey::from_pem(&text).expect_err("no public key");
            assert!(error.hint().contains("-pubout"), "{error}");
        }
    }
}
