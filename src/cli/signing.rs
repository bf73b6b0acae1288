//! The key that `pack` and `index` sign with.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use leanfs::apk::ApkError;
use leanfs::apk::adb::Compression;
use leanfs::apk::write::PrivateKey;

use super::failure::{Because, Failure};

/// The formats of packages and indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// As Alpine's servers have it: gzip and tar
    V2,
    /// As apk 3 makes it: ADB
    V3,
}

/// How format v3 is compressed.
#[derive(Debug, Args)]
pub(super) struct CompressionFlags {
    /// How format v3 is compressed: none, deflate[:LEVEL], zstd[:LEVEL] [default: deflate]
    #[arg(long, value_name = "METHOD")]
    compression: Option<Compression>,
}

impl CompressionFlags {
    pub(super) fn of(&self, format: Format) -> Result<Compression, Failure> {
        match (format, self.compression) {
            (Format::V2, Some(_)) => Err(Failure::usage("--compression is for --format v3: v2 is gzip")),
            (_, compression) => Ok(compression.unwrap_or_default()),
        }
    }
}

/// Who signs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Signature")]
pub(super) struct SigningFlags {
    /// Sign with this key: PEM, RSA (as `abuild-keygen` or `openssl genrsa` make it), or for format v3 also EC on P-256
    /// or P-384 (`openssl ecparam -genkey -name prime256v1`)
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The file name of the public key, by which apk and leanfs find it [default: FILE's name with .pub]
    #[arg(long, value_name = "NAME", requires = "key")]
    key_name: Option<String>,
}

impl SigningFlags {
    pub(super) fn load(&self) -> Result<Option<PrivateKey>, Failure> {
        self.key.as_deref().map(|path| private_key(path, self.key_name.clone())).transpose()
    }
}

/// The key in a file; by this name, or by the file's.
pub(super) fn private_key(path: &Path, name: Option<String>) -> Result<PrivateKey, Failure> {
    let pem = fs_err::read(path).map_err(|error| Failure::unreadable(path, error))?;
    let name = name.unwrap_or_else(|| public_name(path));
    PrivateKey::from_pem(&name, &pem).map_err(|error| {
        let hint = error.hint();
        Failure::usage(Because::new(format!("{} can't sign", path.display()), error)).hinted(hint)
    })
}

/// `me-4a6a0840.rsa` belongs to `me-4a6a0840.rsa.pub`.
fn public_name(private: &Path) -> String {
    let name = private.file_name().unwrap_or_default().to_string_lossy();
    format!("{}.pub", name.strip_suffix(".priv").unwrap_or(&name))
}

impl From<ApkError> for Failure {
    fn from(error: ApkError) -> Self {
        let hint = error.hint();
        Self::unmet(error).hinted(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_public_keys() {
        for (private, public) in [("keys/me.rsa", "me.rsa.pub"), ("me.rsa.priv", "me.rsa.pub")] {
            assert_eq!(public_name(Path::new(private)), public);
        }
    }
}
