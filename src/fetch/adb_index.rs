//! Indexes of format v3 that a trusted key vouches for.

use super::FetchError;
use super::error::shown;
use super::index::{IndexSource, IndexTrust, Layout, VerifiedIndex, beyond, chain, taken};
use crate::apk::adb::index::PackagePath;
use crate::apk::adb::{self, AdbHead, AdbIndex, MOST_INDEX_ADB_BYTES, Schema};
use crate::apk::{ApkError, PublicKey};
use crate::recipe::InputLimit;

/// As [`super::index::verify`]: signatures are over the ADB block, and name keys by their id.
pub(super) fn verify(
    file: &[u8],
    source: &IndexSource<'_>,
    trust: &IndexTrust<'_>,
) -> Result<VerifiedIndex, FetchError> {
    let &IndexTrust { keys, allow_untrusted, limits, not_before } = trust;
    let location = || source.location.to_owned();
    let damaged = |error: ApkError| match error {
        ApkError::TooLarge { .. } => beyond(location(), InputLimit::IndexUnpacked, limits),
        error => FetchError::IndexDamaged { location: location(), problem: chain(&error) },
    };
    let most = limits.index_unpacked.min(MOST_INDEX_ADB_BYTES);
    // Headers and signatures beside the ADB block.
    let mut blocks = adb::open(file, most.saturating_add(1 << 20)).map_err(damaged)?;
    let (head, data) = AdbHead::read(&mut blocks, Schema::INDEX, most).map_err(damaged)?;
    if data.is_some() {
        let problem = "it holds files".to_owned();
        return Err(FetchError::IndexDamaged { location: location(), problem });
    }
    blocks.into_inner().finish().map_err(damaged)?;
    let mut signed_by = None;
    let mut unfit = None;
    for signature in &head.signatures {
        let fits = |key: &&PublicKey| signature.verify(key, head.schema, &head.adb).is_ok();
        let mut named = keys.iter().filter(|key| key.id() == signature.key_id).peekable();
        match (named.peek().copied(), named.find(fits)) {
            (Some(_), Some(key)) => drop(signed_by.get_or_insert_with(|| key.name().to_owned())),
            (Some(first), None) => drop(unfit.get_or_insert_with(|| shown(first.name()))),
            // Under another key's id it is as good as changed.
            (None, _) => {
                if let Some(key) = keys.iter().find(fits) {
                    unfit.get_or_insert_with(|| shown(key.name()));
                }
            }
        }
    }
    if signed_by.is_none() {
        if let Some(key) = unfit {
            return Err(FetchError::IndexChanged { location: location(), key });
        }
        if !allow_untrusted {
            if head.signatures.is_empty() {
                return Err(FetchError::IndexUnsigned { location: location() });
            }
            let signers = head.signatures.iter().map(|signature| hex::encode(signature.key_id)).collect();
            let trusted = keys.iter().map(|key| shown(key.name())).collect();
            return Err(FetchError::IndexUnknownKey { location: location(), keys: signers, trusted });
        }
    }
    let AdbIndex { index, package_path } = AdbIndex::parse(&head.adb)
        .map_err(|error| FetchError::Malformed { location: location(), problem: chain(&error) })?;
    if index.entries.len() as u64 > limits.index_entries {
        return Err(beyond(location(), InputLimit::IndexEntries, limits));
    }
    let default = match source.layout {
        Layout::ByArch => PackagePath::in_repository(),
        Layout::Beside => PackagePath::beside_index(),
    };
    taken(index, source, not_before, signed_by, Some(package_path.unwrap_or(default)))
}
