//! Indexes that a trusted key vouches for.

use super::envelope;
use super::error::shown;
use super::{FetchError, FetchErrorKind};
use crate::apk::index::IndexArchive;
use crate::apk::{Index, IndexEntry, PublicKey};
use crate::arch::Arch;
use crate::recipe::Repository;

/// A repository's index, signed by a trusted key (or taken unsigned because that was asked for). Made only by
/// [`super::Fetcher::index`].
#[derive(Debug, Clone)]
pub struct VerifiedIndex {
    index: Index,
    repository: Repository,
    arch: Arch,
    location: String,
    signed_by: Option<String>,
}

impl VerifiedIndex {
    /// What it says.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Where it is from.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The architecture that it was asked for.
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// The address or path of the index file, without credentials.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The name of the trusted key that signed it; `None` if it was taken untrusted.
    pub fn signed_by(&self) -> Option<&str> {
        self.signed_by.as_deref()
    }

    /// Whether the index names exactly this package.
    pub(super) fn names(&self, entry: &IndexEntry) -> bool {
        self.index.entries.iter().any(|named| {
            (&named.name, &named.version, &named.control_hash, named.size)
                == (&entry.name, &entry.version, &entry.control_hash, entry.size)
        })
    }
}

/// Where an index belongs to.
#[derive(Debug)]
pub(super) struct IndexSource<'a> {
    pub(super) repository: &'a Repository,
    pub(super) arch: Arch,
    pub(super) location: &'a str,
}

/// Checks the signature of an index and reads it.
///
/// # Errors
/// [`FetchErrorKind::Unverified`] unless a trusted key signed it; without any trusted signature it is taken
/// when `allow_untrusted`. A signature by a trusted key that does not fit is always an error.
pub(super) fn verify(
    file: &[u8],
    source: &IndexSource<'_>,
    keys: &[PublicKey],
    allow_untrusted: bool,
) -> Result<VerifiedIndex, FetchError> {
    let location = || source.location.to_owned();
    let archive = IndexArchive::open(file)
        .map_err(|error| FetchError::IndexDamaged { location: location(), problem: chain(&error) })?;
    let signatures = file.get(..file.len().saturating_sub(archive.signed.len())).unwrap_or_default();
    envelope::check(signatures, archive.signed)
        .map_err(|problem| FetchError::IndexDamaged { location: location(), problem: problem.to_owned() })?;
    let mut signed_by = None;
    let mut unfit = None;
    for signature in &archive.signatures {
        for key in keys.iter().filter(|key| key.name() == signature.key_name) {
            if key.verify(signature.kind, archive.signed, &signature.bytes).is_ok() {
                signed_by.get_or_insert_with(|| key.name().to_owned());
            } else {
                unfit.get_or_insert_with(|| shown(key.name()));
            }
        }
    }
    if signed_by.is_none() {
        if let Some(key) = unfit {
            return Err(FetchError::IndexChanged { location: location(), key });
        }
        if !allow_untrusted {
            if archive.signatures.is_empty() {
                return Err(FetchError::IndexUnsigned { location: location() });
            }
            let signers = archive.signatures.iter().map(|signature| shown(&signature.key_name)).collect();
            let trusted = keys.iter().map(|key| shown(key.name())).collect();
            return Err(FetchError::IndexUnknownKey { location: location(), keys: signers, trusted });
        }
    }
    let mut index = Index::parse(&archive.text)
        .map_err(|error| FetchError::Malformed { location: location(), problem: chain(&error) })?;
    index.description = archive.description;
    Ok(VerifiedIndex {
        index,
        repository: source.repository.clone(),
        arch: source.arch,
        location: location(),
        signed_by,
    })
}

/// An error with what caused it, in one line and safe to show.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some errors repeat their cause.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    shown(&text)
}

/// Whether fetching the bytes once more could make this error go away.
pub(super) fn is_of_contents(error: &FetchError) -> bool {
    matches!(error.kind(), FetchErrorKind::Unverified | FetchErrorKind::Malformed)
}
