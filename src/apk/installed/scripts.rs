//! `scripts.tar.gz`: GNU tar with a long name in an entry of its own, as apk writes it.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{InstalledDatabase, InstalledPackage};
use crate::apk::package::SCRIPTS;
use crate::apk::{ApkError, Checksum, segment};
use crate::archive::ustar::{BLOCK, Header, Kind, NAME};

/// More bytes than all scripts of a system have.
const MOST_BYTES: u64 = 256 << 20;

impl InstalledDatabase {
    /// The bytes of `scripts.tar.gz`.
    ///
    /// # Errors
    /// [`ApkError::Unpackable`] when a header can't hold a time or a size.
    pub fn scripts_archive(&self) -> Result<Vec<u8>, ApkError> {
        let failed = |source| ApkError::Io { doing: "packing scripts".to_owned(), source };
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&self.scripts_tar()?).map_err(failed)?;
        encoder.finish().map_err(failed)
    }

    /// What `scripts.tar.gz` holds.
    pub(super) fn scripts_tar(&self) -> Result<Vec<u8>, ApkError> {
        let mut tar = Vec::new();
        for package in &self.packages {
            for kind in SCRIPTS.map(|name| name.trim_start_matches('.')) {
                if let Some((_, text)) = package.scripts.iter().find(|(there, _)| there == kind) {
                    entry(&mut tar, package, kind, text)?;
                }
            }
        }
        tar.resize(tar.len() + 2 * BLOCK, 0);
        Ok(tar)
    }

    /// Takes up the scripts of `scripts.tar.gz`. Those of packages that are not there are passed over, as apk does.
    ///
    /// # Errors
    /// When the archive is damaged or too large.
    pub fn read_scripts(&mut self, bytes: &[u8]) -> Result<(), ApkError> {
        let member = "scripts";
        let mut tar = Vec::new();
        MultiGzDecoder::new(bytes)
            .take(MOST_BYTES + 1)
            .read_to_end(&mut tar)
            .map_err(|source| ApkError::Damaged { member, offset: 0, source })?;
        if tar.len() as u64 > MOST_BYTES {
            return Err(ApkError::TooLarge { member, offset: 0, limit: MOST_BYTES });
        }
        for (name, text) in segment::all_files(&tar, member, 0)? {
            let Some((rest, kind)) = name.rsplit_once('.') else { continue };
            let Some(hash) = rest.rsplit_once('.').and_then(|(_, identity)| identity_of(identity)) else {
                continue;
            };
            if !SCRIPTS.iter().any(|script| script.trim_start_matches('.') == kind) {
                continue;
            }
            if let Some(package) = self.packages.iter_mut().find(|package| package.identity() == hash) {
                package.scripts.push((kind.to_owned(), text.to_vec()));
            }
        }
        Ok(())
    }
}

/// `X1` and hexadecimal digits, or as older versions of apk wrote it, `Q1` and base64.
fn identity_of(text: &str) -> Option<[u8; 20]> {
    if let Some(digits) = text.strip_prefix("X1") {
        let mut hash = [0; 20];
        hex::decode_to_slice(digits, &mut hash).ok()?;
        return Some(hash);
    }
    match text.parse() {
        Ok(Checksum::Sha1(hash)) => Some(hash),
        _ => None,
    }
}

fn entry(tar: &mut Vec<u8>, package: &InstalledPackage, kind: &str, text: &[u8]) -> Result<(), ApkError> {
    let name =
        format!("{}.X1{}.{kind}", package.entry.full_name(), hex::encode(package.identity())).into_bytes();
    let header = Header {
        mtime: package.entry.build_time.and_then(|time| time.try_into().ok()).unwrap_or(0),
        uname: b"root",
        gname: b"root",
        ..Header::new(&name[..name.len().min(NAME - 1)], Kind::File, 0o755)
    };
    let mut put = |header: Header<'_>, size: usize, content: &[u8]| {
        let block =
            Header { size: size as u64, ..header }.to_gnu_block().map_err(|error| ApkError::Unpackable {
                path: package.entry.full_name(),
                reason: format!("a tar header has no place for the {} {}", error.field, error.value),
            })?;
        tar.extend_from_slice(&block);
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
        Ok(())
    };
    if name.len() >= NAME {
        let long = Header { name: b"././@LongLink", typeflag: Kind::GnuLongName, ..header };
        // The NUL at its end is not counted.
        put(long, name.len(), &[&*name, b"\0"].concat())?;
    }
    put(header, text.len(), text)
}
