//! Whether an output directory still holds what its manifest says: the size and the hash of every output, and the
//! manifest's signature. Nothing is started, nothing is written.
//!
//! - Of an output that is a directory (an OCI layout) every file that the manifest lists is checked.
//! - What has no hash (disks and file systems larger than 2 GiB) is told to be unchecked when its size is right.
//! - Names lead nowhere but into the directory: a manifest that says something else is wrong, and no link is followed.
//! - What the manifest doesn't name is nobody's business.

mod open;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;

use crate::image::output::file_sha256;
use crate::report::manifest::{Manifest, ManifestError, ManifestFile, Output};
use crate::report::signature::{self, VerifyingKey};

/// What was found of one directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The manifest's signature.
    pub signature: SignatureState,
    /// Every output, in the manifest's order; none if the signature is wrong, because then nothing that the manifest
    /// says counts.
    pub outputs: Vec<CheckedOutput>,
}

/// What is known of the signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum SignatureState {
    /// There is none, and no key was given.
    None,
    /// There is one, and no key was given.
    Unchecked,
    /// One of the keys made it.
    Valid {
        /// The key's [fingerprint](VerifyingKey::fingerprint), in hexadecimal.
        key: String,
    },
    /// A key was given, and there is none.
    Missing,
    /// None of the keys made it, of the manifest as it is now.
    Wrong,
}

impl SignatureState {
    /// Whether it speaks against the manifest.
    pub fn is_wrong(&self) -> bool {
        matches!(self, Self::Missing | Self::Wrong)
    }
}

/// An output, compared with what the manifest says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckedOutput {
    /// Its name in the manifest.
    pub name: String,
    /// The size that the manifest has, in bytes.
    pub size: u64,
    /// Whether its hash is right; not where the manifest has none.
    pub hashed: bool,
    /// What differs; nothing if all is well.
    pub problems: Vec<Problem>,
}

/// Something that is not as the manifest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, as the manifest names it: an output, or a file in one.
    pub file: String,
    /// What it is.
    #[serde(flatten)]
    pub what: Difference,
}

/// What can be wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "problem")]
pub enum Difference {
    /// It is not there.
    Missing,
    /// There is something else.
    Kind {
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// It has another size, in bytes.
    Size {
        /// The manifest's.
        expected: u64,
        /// The file's.
        found: u64,
    },
    /// It holds something else. SHA-256 in hexadecimal.
    Hash {
        /// The manifest's.
        expected: String,
        /// The file's.
        found: String,
    },
    /// The name leads somewhere else, or nowhere.
    Name,
    /// The manifest contradicts itself.
    Contradiction {
        /// What does.
        reason: String,
    },
    /// It can't be read.
    Unreadable {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Kind { expected, found } => write!(f, "{found} in place of {expected}"),
            Self::Size { expected, found } => write!(f, "{found} bytes, and not {expected}"),
            Self::Hash { expected, found } => write!(f, "SHA-256 {found}, and not {expected}"),
            Self::Name => f.write_str("no name of a file in this directory"),
            Self::Contradiction { reason } => write!(f, "the manifest contradicts itself: {reason}"),
            Self::Unreadable { reason } => write!(f, "can't be read: {reason}"),
        }
    }
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// There is no manifest that can be understood.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The signature can't be read.
    #[error("{} can't be read", .path.display())]
    Signature {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl CheckError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Manifest(error) => error.hint(),
            Self::Signature { .. } => None,
        }
    }
}

/// Checks the output directory `directory` by `threads` threads. With keys the manifest must be signed by one of them.
///
/// # Errors
/// [`CheckError`] when there is no manifest that can be understood. What differs is in the report.
pub fn check(directory: &Path, keys: &[VerifyingKey], threads: usize) -> Result<CheckReport, CheckError> {
    // As an output directory, even where a file of that name would be a manifest.
    let file = ManifestFile::read(&directory.join(Manifest::FILE_NAME)).map_err(|error| match error {
        ManifestError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            ManifestError::Missing { directory: directory.to_owned() }
        }
        other => other,
    })?;
    let signature = signature_of(directory, &file.bytes, keys)?;
    if signature.is_wrong() {
        return Ok(CheckReport { signature, outputs: Vec::new() });
    }
    let manifest = file.parse()?;
    let root = open::directory(directory)
        .map_err(|source| ManifestError::Read { path: directory.to_owned(), source })?;
    Ok(CheckReport { signature, outputs: outputs(&root, &manifest.outputs, threads) })
}

fn signature_of(
    directory: &Path,
    manifest: &[u8],
    keys: &[VerifyingKey],
) -> Result<SignatureState, CheckError> {
    let path = directory.join(signature::FILE_NAME);
    let bytes = match open::read_head(&path, signature::LENGTH + 1) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(if keys.is_empty() { SignatureState::None } else { SignatureState::Missing });
        }
        Err(source) => return Err(CheckError::Signature { path, source }),
    };
    if keys.is_empty() {
        return Ok(SignatureState::Unchecked);
    }
    Ok(match keys.iter().find(|key| key.verifies(manifest, &bytes)) {
        Some(key) => SignatureState::Valid { key: hex::encode(key.fingerprint()) },
        None => SignatureState::Wrong,
    })
}

/// One file to look at.
struct Task<'a> {
    /// Which output it belongs to.
    output: usize,
    /// Its path below the directory.
    path: String,
    size: u64,
    sha256: Option<&'a str>,
}

fn outputs(root: &File, outputs: &[Output], threads: usize) -> Vec<CheckedOutput> {
    let mut checked: Vec<CheckedOutput> = Vec::with_capacity(outputs.len());
    let mut tasks = Vec::new();
    for (number, output) in outputs.iter().enumerate() {
        let mut problems = Vec::new();
        let hashed = !output.files.is_empty() || output.sha256.is_some();
        if !open::is_name(&output.name) {
            problems.push(Problem { file: output.name.clone(), what: Difference::Name });
        } else if output.files.is_empty() {
            let (path, sha256) = (output.name.clone(), output.sha256.as_deref());
            tasks.push(Task { output: number, path, size: output.size, sha256 });
        } else {
            problems.extend(contradiction(output));
            for file in &output.files {
                let path = format!("{}/{}", output.name, file.name);
                if file.name.split('/').all(open::is_name) {
                    tasks.push(Task { output: number, path, size: file.size, sha256: Some(&file.sha256) });
                } else {
                    problems.push(Problem { file: path, what: Difference::Name });
                }
            }
        }
        checked.push(CheckedOutput { name: output.name.clone(), size: output.size, hashed, problems });
    }

    let next = AtomicUsize::new(0);
    let found: Mutex<Vec<(usize, Difference)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, tasks.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(task) = tasks.get(number) else { return };
                    if let Err(what) = compare(root, task)
                        && let Ok(found) = found.lock().as_mut()
                    {
                        found.push((number, what));
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.sort_by_key(|(number, _)| *number);
    for (number, what) in found {
        let task = &tasks[number];
        checked[task.output].problems.push(Problem { file: task.path.clone(), what });
    }
    checked
}

/// What the manifest says of a directory and of the files in it.
fn contradiction(output: &Output) -> Option<Problem> {
    let sum = output.files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.size));
    let has_manifest = output.sha256.as_ref().is_none_or(|digest| {
        let name = format!("blobs/sha256/{digest}");
        output.files.iter().any(|file| file.name == name && file.sha256 == *digest)
    });
    let reason = if sum != Some(output.size) {
        format!("the sizes of its files don't come to {} bytes", output.size)
    } else if !has_manifest {
        "its image manifest is none of its files".to_owned()
    } else {
        return None;
    };
    Some(Problem { file: output.name.clone(), what: Difference::Contradiction { reason } })
}

fn compare(root: &File, task: &Task<'_>) -> Result<(), Difference> {
    let file = open::below(root, &task.path)?;
    let unreadable = |error: std::io::Error| Difference::Unreadable { reason: error.to_string() };
    let found = file.metadata().map_err(unreadable)?.len();
    if found != task.size {
        return Err(Difference::Size { expected: task.size, found });
    }
    let Some(expected) = task.sha256 else { return Ok(()) };
    let found = hex::encode(file_sha256(&file, found).map_err(unreadable)?);
    if found == expected { Ok(()) } else { Err(Difference::Hash { expected: expected.to_owned(), found }) }
}

#[cfg(test)]
mod tests;
