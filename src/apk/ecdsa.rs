//! ECDSA (FIPS 186-5) over a SHA-512, as format v3 has it on P-256, P-384 and P-521.
//!
//! `ring` pairs P-256 with SHA-256 and SHA-384 only, so these are the curves of RustCrypto.

use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::pkcs8::DecodePrivateKey;

use super::checksum::sha512;

/// The named curves that OpenSSL makes keys of for `apk`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
    /// secp521r1.
    P521,
}

impl Curve {
    /// All of them, with their object identifiers in DER (RFC 5480, 2.1.1.1).
    pub(super) const ALL: [(Self, &'static [u8]); 3] = [
        (Self::P256, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]),
        (Self::P384, &[0x2b, 0x81, 0x04, 0x00, 0x22]),
        (Self::P521, &[0x2b, 0x81, 0x04, 0x00, 0x23]),
    ];

    /// The object identifier.
    pub(super) fn identifier(self) -> &'static [u8] {
        match self {
            Self::P256 => Self::ALL[0].1,
            Self::P384 => Self::ALL[1].1,
            Self::P521 => Self::ALL[2].1,
        }
    }

    /// The length of its field's numbers.
    pub(super) fn bits(self) -> usize {
        match self {
            Self::P256 => 256,
            Self::P384 => 384,
            Self::P521 => 521,
        }
    }

    /// Whether these bytes (SEC 1, 2.3.3) are a point of the curve.
    pub(super) fn has_point(self, point: &[u8]) -> bool {
        match self {
            Self::P256 => p256::PublicKey::from_sec1_bytes(point).is_ok(),
            Self::P384 => p384::PublicKey::from_sec1_bytes(point).is_ok(),
            Self::P521 => p521::PublicKey::from_sec1_bytes(point).is_ok(),
        }
    }

    /// Whether the key at `point` made `signature` (`Ecdsa-Sig-Value` in DER) over the SHA-512 of `signed`.
    pub(super) fn verifies(self, point: &[u8], signed: &[u8], signature: &[u8]) -> bool {
        let hash = sha512(signed);
        let verified = || match self {
            Self::P256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(point)?
                .verify_prehash(&hash, &p256::ecdsa::Signature::from_der(signature)?),
            Self::P384 => p384::ecdsa::VerifyingKey::from_sec1_bytes(point)?
                .verify_prehash(&hash, &p384::ecdsa::Signature::from_der(signature)?),
            Self::P521 => p521::ecdsa::VerifyingKey::from_sec1_bytes(point)?
                .verify_prehash(&hash, &p521::ecdsa::Signature::from_der(signature)?),
        };
        verified().is_ok()
    }
}

/// A private key. There is none on P-521: RustCrypto's signatures with it take random numbers.
pub(super) enum Signer {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
}

impl Signer {
    /// From the DER of a PKCS#8 `PrivateKeyInfo`.
    pub(super) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let p256 = p256::SecretKey::from_pkcs8_der(der).ok().map(|key| Self::P256(key.into()));
        p256.or_else(|| p384::SecretKey::from_pkcs8_der(der).ok().map(|key| Self::P384(key.into())))
    }

    /// From the DER of an `ECPrivateKey` (RFC 5915). A key's length says its curve.
    pub(super) fn from_sec1(der: &[u8]) -> Option<Self> {
        let p256 = p256::SecretKey::from_sec1_der(der).ok().map(|key| Self::P256(key.into()));
        p256.or_else(|| p384::SecretKey::from_sec1_der(der).ok().map(|key| Self::P384(key.into())))
    }

    /// The curve and the uncompressed point of the public key.
    pub(super) fn public(&self) -> (Curve, Vec<u8>) {
        match self {
            Self::P256(key) => (Curve::P256, key.verifying_key().to_encoded_point(false).as_bytes().to_vec()),
            Self::P384(key) => (Curve::P384, key.verifying_key().to_encoded_point(false).as_bytes().to_vec()),
        }
    }

    /// A signature over the SHA-512 of `signed`, in DER. The same for the same bytes (RFC 6979).
    pub(super) fn sign(&self, signed: &[u8]) -> Option<Vec<u8>> {
        let hash = sha512(signed);
        Some(match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign_prehash(&hash).ok()?;
                signature.to_der().as_bytes().to_vec()
            }
            Self::P384(key) => {
                let signature: p384::ecdsa::Signature = key.sign_prehash(&hash).ok()?;
                signature.to_der().as_bytes().to_vec()
            }
        })
    }
}
