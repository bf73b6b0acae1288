//! Private keys that sign packages and indexes.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};

use crate::apk::{ApkError, PublicKey, Quoted, der};

/// An RSA key that signs packages and indexes.
pub struct PrivateKey {
    pair: RsaKeyPair,
    public: PublicKey,
}

impl PrivateKey {
    /// A key from a PEM file: `PRIVATE KEY` (PKCS#8) or `RSA PRIVATE KEY` (PKCS#1), not encrypted, with 2,048 to
    /// 4,096 bits. `name` is the file name of its *public* key, by which `apk` finds that in `/etc/apk/keys`
    /// (`me@example.org-4a6a0840.rsa.pub`).
    ///
    /// # Errors
    /// [`ApkError::Key`] when it is not such a key, or no name.
    pub fn from_pem(name: &str, pem: &[u8]) -> Result<Self, ApkError> {
        let refuse = |reason| ApkError::Key { name: Quoted::new(name), reason };
        if name.is_empty() || name.len() > 80 || name.contains(|c: char| c == '/' || c.is_control()) {
            return Err(refuse("the name of its public key must be a file name of at most 80 bytes"));
        }
        let (label, der) = der::pem(pem).map_err(refuse)?;
        let pair = match label {
            "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&der),
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der),
            "ENCRYPTED PRIVATE KEY" => return Err(refuse("it is encrypted")),
            "PUBLIC KEY" | "RSA PUBLIC KEY" => return Err(refuse("it is a public key")),
            _ => return Err(refuse("it is neither a PRIVATE KEY nor an RSA PRIVATE KEY")),
        };
        let pair = pair.map_err(|_| refuse("it is not an RSA key with 2,048 to 4,096 bits"))?;
        let public = PublicKey::from_pkcs1(name, pair.public_key().as_ref().to_vec())?;
        Ok(Self { pair, public })
    }

    /// The key that verifies its signatures.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A signature over SHA-256, the same for the same bytes.
    pub(super) fn sign(&self, signed: &[u8]) -> Result<Vec<u8>, ApkError> {
        let mut signature = vec![0; self.pair.public().modulus_len()];
        // The random numbers only blind the computation: PKCS#1 v1.5 signatures have none in them.
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed, &mut signature).map_err(|_| {
            ApkError::Key { name: Quoted::new(self.public.name()), reason: "it does not fit together" }
        })?;
        Ok(signature)
    }
}

/// The name alone.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({:?})", self.public.name())
    }
}
