//! Private keys that sign packages and indexes.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair};

use super::generate;
use crate::apk::ecdsa::Signer;
use crate::apk::{ApkError, PublicKey, Quoted, der};

/// A key that signs packages and indexes: RSA, or for format v3 also EC.
pub struct PrivateKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(Signer),
}

impl PrivateKey {
    /// A key from a PEM file: `PRIVATE KEY` (PKCS#8), `RSA PRIVATE KEY` (PKCS#1) or `EC PRIVATE KEY` (SEC 1), not
    /// encrypted; RSA with 2,048 to 4,096 bits, EC on P-256 or P-384. `name` is the file name of its *public* key, by which `apk` finds that in `/etc/apk/keys`
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
        const NO_KEY: &str =
            "it is neither an RSA key with 2,048 to 4,096 bits nor an EC key on P-256 or P-384";
        let rsa = |pair: Result<RsaKeyPair, _>| pair.ok().map(Pair::Rsa);
        let pair = match label {
            "PRIVATE KEY" => {
                rsa(RsaKeyPair::from_pkcs8(&der)).or_else(|| Signer::from_pkcs8(&der).map(Pair::Ec))
            }
            "RSA PRIVATE KEY" => rsa(RsaKeyPair::from_der(&der)),
            "EC PRIVATE KEY" => Signer::from_sec1(&der).map(Pair::Ec),
            "ENCRYPTED PRIVATE KEY" => return Err(refuse("it is encrypted")),
            "PUBLIC KEY" | "RSA PUBLIC KEY" => return Err(refuse("it is a public key")),
            _ => return Err(refuse("it is neither a PRIVATE KEY nor an RSA or EC PRIVATE KEY")),
        };
        let pair = pair.ok_or_else(|| refuse(NO_KEY))?;
        let public = match &pair {
            Pair::Rsa(pair) => PublicKey::from_pkcs1(name, pair.public_key().as_ref().to_vec())?,
            Pair::Ec(signer) => {
                let (curve, point) = signer.public();
                PublicKey::from_point(name, curve, point)?
            }
        };
        Ok(Self { pair, public })
    }

    /// A new RSA key of 2,048 bits. Its public key is called `PREFIX-HHHHHHHH.rsa.pub`, by the first digits of the
    /// fingerprint. `random` fills bytes with random numbers that nobody can guess, or says that it can't.
    ///
    /// # Errors
    /// [`ApkError::Key`] when there are no random numbers.
    pub fn generate(prefix: &str, random: &mut dyn FnMut(&mut [u8]) -> bool) -> Result<Self, ApkError> {
        let refuse = |reason| ApkError::Key { name: Quoted::new(prefix), reason };
        let der = generate::rsa_private_key(random).ok_or_else(|| refuse("there are no random numbers"))?;
        let pair = RsaKeyPair::from_der(&der).map_err(|_| refuse("the new key does not fit together"))?;
        let pkcs1 = pair.public_key().as_ref().to_vec();
        let fingerprint = PublicKey::from_pkcs1(prefix, pkcs1.clone())?.fingerprint();
        let name = format!("{prefix}-{}.rsa.pub", hex::encode(&fingerprint[..4]));
        Ok(Self { pair: Pair::Rsa(pair), public: PublicKey::from_pkcs1(&name, pkcs1)? })
    }

    /// The key that verifies its signatures.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A signature over SHA-256 for format v2, the same for the same bytes.
    pub(super) fn sign(&self, signed: &[u8]) -> Result<Vec<u8>, ApkError> {
        match &self.pair {
            Pair::Rsa(pair) => self.sign_rsa(pair, &RSA_PKCS1_SHA256, signed),
            Pair::Ec(_) => Err(self.refuse("it is an EC key, and those sign format v3 only")),
        }
    }

    /// A signature over SHA-512 for format v3, the same for the same bytes.
    pub(in crate::apk) fn sign_sha512(&self, signed: &[u8]) -> Result<Vec<u8>, ApkError> {
        match &self.pair {
            Pair::Rsa(pair) => self.sign_rsa(pair, &RSA_PKCS1_SHA512, signed),
            Pair::Ec(signer) => signer.sign(signed).ok_or_else(|| self.refuse("it does not fit together")),
        }
    }

    fn sign_rsa(
        &self,
        pair: &RsaKeyPair,
        encoding: &'static dyn RsaEncoding,
        signed: &[u8],
    ) -> Result<Vec<u8>, ApkError> {
        let mut signature = vec![0; pair.public().modulus_len()];
        // The random numbers only blind the computation: PKCS#1 v1.5 signatures have none in them.
        pair.sign(encoding, &SystemRandom::new(), signed, &mut signature)
            .map_err(|_| self.refuse("it does not fit together"))?;
        Ok(signature)
    }

    fn refuse(&self, reason: &'static str) -> ApkError {
        ApkError::Key { name: Quoted::new(self.public.name()), reason }
    }
}

/// The name alone.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({:?})", self.public.name())
    }
}
