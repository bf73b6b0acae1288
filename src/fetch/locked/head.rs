//! What a package of either format says of itself, and who signed it.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use crate::apk::adb::{self, AdbHead, AdbPackage, MOST_PACKAGE_ADB_BYTES, Schema};
use crate::apk::checksum::sha256;
use crate::apk::{ApkError, Checksum, IndexEntry, PackageHead, PublicKey};
use crate::fetch::FetchError;
use crate::fetch::cache::Sha256;
use crate::fetch::index::{beyond, chain, limit_of};
use crate::recipe::InputLimits;

/// What a package says of itself.
pub(super) struct Head {
    /// By the identity that indexes of its own format give it.
    pub(super) entry: IndexEntry,
    pub(super) control: Sha256,
    pub(super) data: Option<Sha256>,
    /// Where the data begins, in format v2.
    pub(super) data_offset: Option<u64>,
    /// Those of the keys that signed it.
    pub(super) signed_by: Vec<PublicKey>,
}

/// Reads the head of a package of either format, from its first byte on.
pub(super) fn read_head(
    file: &mut File,
    path: &Path,
    location: &str,
    size: u64,
    keys: &[PublicKey],
    limits: &InputLimits,
) -> Result<Head, FetchError> {
    let unreadable = |error| FetchError::io(path, "read", error);
    let failed = |error: ApkError| match (limit_of(&error), error) {
        (Some(setting), _) => beyond(location.to_owned(), setting, limits),
        (None, ApkError::Damaged { source, .. }) if source.raw_os_error().is_some() => unreadable(source),
        (None, error) => FetchError::Malformed { location: location.to_owned(), problem: chain(&error) },
    };
    file.rewind().map_err(unreadable)?;
    let mut magic = Vec::new();
    (&*file).take(adb::MAGIC.len() as u64).read_to_end(&mut magic).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    if magic == adb::MAGIC {
        let limit = limits.package_unpacked.saturating_add(2 * MOST_PACKAGE_ADB_BYTES);
        let mut blocks = adb::open(BufReader::new(&*file), limit).map_err(failed)?;
        let (head, _) =
            AdbHead::read(&mut blocks, Schema::PACKAGE, MOST_PACKAGE_ADB_BYTES).map_err(failed)?;
        let control = sha256(&head.adb);
        let is_signer = |key: &&PublicKey| {
            head.signatures.iter().any(|signature| {
                signature.key_id == key.id() && signature.verify(key, head.schema, &head.adb).is_ok()
            })
        };
        let signed_by = keys.iter().filter(is_signer).cloned().collect();
        let info = AdbPackage::parse(&head.adb).map_err(failed)?.info;
        let entry = IndexEntry::of_package(info, Checksum::Sha256(control), size);
        return Ok(Head { entry, control, data: None, data_offset: None, signed_by });
    }
    let head = PackageHead::read_within(&mut BufReader::new(&*file), limits.control_size).map_err(failed)?;
    let data = head.info.data_hash.ok_or_else(|| FetchError::Malformed {
        location: location.to_owned(),
        problem: "its .PKGINFO has no datahash".to_owned(),
    })?;
    let is_signer = |key: &&PublicKey| {
        let mut signatures = head.signatures.iter();
        signatures.any(|signature| key.verify(signature.kind, &head.control, &signature.bytes).is_ok())
    };
    let signed_by = keys.iter().filter(is_signer).cloned().collect();
    let entry = IndexEntry::of_package(head.info, Checksum::Sha1(head.control_sha1), size);
    Ok(Head {
        entry: IndexEntry { replaces: Vec::new(), ..entry },
        control: head.control_sha256,
        data: Some(data),
        data_offset: Some(head.data_offset),
        signed_by,
    })
}
