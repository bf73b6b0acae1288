//! Reading a manifest back.

use std::io::Read;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::Deserialize;

use super::Manifest;

/// The most of a manifest that is read, in bytes. One of an image with a hundred thousand files has about 40 MiB.
const MOST_BYTES: u64 = 256 << 20;

/// Why a manifest can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The directory holds no manifest: it is no output directory.
    #[error("{}: no {}, so this is no output directory of leanfs", .directory.display(), Manifest::FILE_NAME)]
    Missing {
        /// The directory.
        directory: PathBuf,
    },
    /// A file that can't be read.
    #[error("{}: cannot be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is no manifest.
    #[error("{}: not a manifest", .path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A manifest that another version of leanfs wrote.
    #[error("{}: format {found}, but this leanfs reads format {expected}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format in it.
        found: u64,
        /// The format that is read.
        expected: u32,
    },
}

impl ManifestError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => {
                Some("assemble an image into it first: leanfs assemble -o DIR".to_owned())
            }
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Some("name the directory that `leanfs assemble` wrote, or a manifest.json".to_owned())
            }
            Self::Bad { .. } => Some(
                "name the manifest.json that `leanfs assemble` wrote, or assemble the image again".to_owned(),
            ),
            Self::Format { found, expected, .. } if *found > u64::from(*expected) => {
                Some("a newer leanfs wrote it: read it with that one, or assemble the image again".to_owned())
            }
            Self::Format { .. } => Some("assemble the image again".to_owned()),
            Self::Read { .. } => None,
        }
    }
}

/// A manifest's file, as it stands there: what its hash and its signature are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// Where it is.
    pub path: PathBuf,
    /// All of it.
    pub bytes: Vec<u8>,
}

impl ManifestFile {
    /// Reads the file at `path`: itself, or the one in the output directory that this is.
    ///
    /// # Errors
    /// [`ManifestError`]; a file that is larger than any manifest (256 MiB) is not read.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let in_directory = path.is_dir();
        let file = if in_directory { path.join(Manifest::FILE_NAME) } else { path.to_owned() };
        let failed = |source| ManifestError::Read { path: file.clone(), source };
        let opened = match fs::File::open(&file) {
            Ok(opened) => opened,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound && in_directory => {
                return Err(ManifestError::Missing { directory: path.to_owned() });
            }
            Err(source) => return Err(failed(source)),
        };
        let too_large = || {
            let text = "larger than any manifest (256 MiB)";
            failed(std::io::Error::new(std::io::ErrorKind::FileTooLarge, text))
        };
        if opened.metadata().map_err(failed)?.len() > MOST_BYTES {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        // What is no regular file has no length.
        opened.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(too_large());
        }
        Ok(Self { path: file, bytes })
    }

    /// What it says.
    ///
    /// # Errors
    /// [`ManifestError::Bad`] and [`ManifestError::Format`].
    pub fn parse(&self) -> Result<Manifest, ManifestError> {
        let bad = |source| ManifestError::Bad { path: self.path.clone(), source };
        // What every format has; the rest may differ.
        #[derive(Deserialize)]
        struct Format {
            format: u64,
        }
        let Format { format } = serde_json::from_slice(&self.bytes).map_err(bad)?;
        if format != u64::from(Manifest::FORMAT) {
            let path = self.path.clone();
            return Err(ManifestError::Format { path, found: format, expected: Manifest::FORMAT });
        }
        serde_json::from_slice(&self.bytes).map_err(bad)
    }
}

impl Manifest {
    /// The name of the manifest in an output directory.
    pub const FILE_NAME: &str = "manifest.json";

    /// Reads the manifest at `path`: the file itself, or the output directory that holds it.
    ///
    /// # Errors
    /// [`ManifestError`]; a file that is larger than any manifest (256 MiB) is not read.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        ManifestFile::read(path)?.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn directories_and_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let manifest = sample::manifest();
        let file = directory.path().join(Manifest::FILE_NAME);
        fs::write(&file, serde_json::to_vec(&manifest).expect("JSON")).expect("written");
        for path in [directory.path(), &file] {
            assert_eq!(Manifest::read(path).expect("a manifest"), manifest);
        }
    }

    #[test]
    fn says_what_is_wrong_and_what_to_do() {
        let nothing = Path::new("/nonexistent");
        let error = Manifest::read(nothing).expect_err("nothing there");
        assert_eq!(error.to_string(), "/nonexistent: cannot be read");
        assert!(error.hint().is_some_and(|hint| hint.contains("name the directory")), "{error}");

        for (text, message, hint) in [
            (None, "no manifest.json, so this is no output directory of leanfs", "leanfs assemble -o DIR"),
            (Some("{"), "manifest.json: not a manifest", "name the manifest.json"),
            (Some("{\"format\":3}"), "manifest.json: not a manifest", "assemble the image again"),
            (Some("{\"format\":2}"), "format 2, but this leanfs reads format 3", "assemble the image again"),
            (Some("{\"format\":4}"), "format 4, but this leanfs reads format 3", "a newer leanfs wrote it"),
        ] {
            let directory = tempfile::tempdir().expect("a directory");
            if let Some(text) = text {
                fs::write(directory.path().join(Manifest::FILE_NAME), text).expect("written");
            }
            let error = Manifest::read(directory.path()).expect_err(message);
            assert!(error.to_string().ends_with(message), "{error}");
            assert!(error.hint().is_some_and(|there| there.contains(hint)), "{error}: {:?}", error.hint());
        }
    }

    #[test]
    fn what_is_too_large_is_not_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = fs::File::create(directory.path().join(Manifest::FILE_NAME)).expect("made");
        file.set_len(MOST_BYTES + 1).expect("a sparse file");
        let error = Manifest::read(directory.path()).expect_err("too large");
        assert!(matches!(error, ManifestError::Read { .. }), "{error}");
    }
}
