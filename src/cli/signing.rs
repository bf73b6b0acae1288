//! The key that `pack` and `index` sign with.

use std::path::{Path, PathBuf};

use clap::Args;
use leanfs::apk::ApkError;
use leanfs::apk::write::PrivateKey;

use super::failure::{Because, Failure};

/// Who signs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Signature")]
pub(super) struct SigningFlags {
    /// Sign with this RSA key (PEM, as `abuild-keygen` or `openssl genrsa` make it)
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The file name of the public key, by which apk and leanfs find it [default: FILE's name with .pub]
    #[arg(long, value_name = "NAME", requires = "key")]
    key_name: Option<String>,
}

impl SigningFlags {
    pub(super) fn load(&self) -> Result<Option<PrivateKey>, Failure> {
        let Some(path) = &self.key else { return Ok(None) };
        let pem = fs_err::read(path).map_err(|error| {
            Failure::usage(Because::new(format!("{} can't be read", path.display()), error))
        })?;
        let name = self.key_name.clone().unwrap_or_else(|| public_name(path));
        PrivateKey::from_pem(&name, &pem).map(Some).map_err(|error| {
            let hint = error.hint();
            Failure::usage(Because::new(format!("{} can't sign", path.display()), error)).hinted(hint)
        })
    }
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
