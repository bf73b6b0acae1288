//! `APKINDEX.tar.gz` from packages.

use std::io::{BufRead, Write};

use super::tar::SegmentWriter;
use super::{PrivateKey, gzip_bytes, signature_member, while_writing};
use crate::apk::checksum::Checksum;
use crate::apk::{ApkError, IndexEntry, PackageHead, Quoted, member};

/// The most bytes that may come out of a package's data member.
const MOST_DATA_BYTES: u64 = 1 << 40;

/// Reads a whole package and makes its entry for an index, as `apk index` does. Checks that the data member is
/// the one that the control member names, and that nothing follows it; not who signed it.
///
/// # Errors
/// When the package is damaged, or not whole.
pub fn index_package(reader: &mut impl BufRead) -> Result<IndexEntry, ApkError> {
    let head = PackageHead::read(reader)?;
    let offset = head.data_offset;
    let structure = |expected, found: String| ApkError::Structure { offset, expected, found };
    let data = member::split_member(reader, "data", offset, MOST_DATA_BYTES)?
        .ok_or_else(|| structure("a data member", "the end of the file".to_owned()))?
        .finish()?;
    if let Some(expected) = head.info.data_hash
        && expected != data.sha256
    {
        return Err(structure(
            "a data member with the hash that .PKGINFO names",
            format!("one with the SHA-256 {}", hex::encode(data.sha256)),
        ));
    }
    let size = offset + data.compressed_length;
    if !reader.fill_buf().map_err(|source| ApkError::Damaged { member: "data", offset, source })?.is_empty() {
        return Err(ApkError::Structure {
            offset: size,
            expected: "the end of the file after the data member",
            found: "more bytes".to_owned(),
        });
    }
    let entry = IndexEntry::of_package(head.info, Checksum::Sha1(head.control_sha1), size);
    Ok(IndexEntry { replaces: Vec::new(), ..entry })
}

/// Writes an `APKINDEX.tar.gz`: the entries in the order given, and what the repository says about itself.
/// Without a key it is unsigned, and neither `apk` nor leanfs takes it without being told to.
///
/// # Errors
/// [`ApkError::Unpackable`] for a value with a line break or another control character in it and for an entry
/// that was read but not understood, and when writing fails.
pub fn write_index(
    entries: &[IndexEntry],
    description: &str,
    key: Option<&PrivateKey>,
    output: &mut impl Write,
) -> Result<(), ApkError> {
    let mut text = String::new();
    for entry in entries {
        let refuse =
            |reason| ApkError::Unpackable { path: Quoted::new(entry.full_name()).to_string(), reason };
        if let Some(reason) = &entry.unusable {
            return Err(refuse(format!("not all of it was understood: {reason}")));
        }
        // The fields are lines: a break within a value would be a field of its own.
        let values = [
            &entry.name,
            &entry.version,
            &entry.arch,
            &entry.description,
            &entry.url,
            &entry.license,
            &entry.origin,
            &entry.maintainer,
            &entry.commit,
        ];
        let lists = [&entry.depends, &entry.provides, &entry.install_if, &entry.replaces];
        let words = lists.into_iter().flatten().map(ToString::to_string);
        if let Some(bad) =
            values.into_iter().cloned().chain(words).find(|value| value.contains(char::is_control))
        {
            return Err(refuse(format!("{} holds a control character", Quoted::new(bad))));
        }
        text.push_str(&entry.to_string());
        text.push('\n');
    }
    let mut segment = SegmentWriter::new(Vec::new());
    segment.file(b"DESCRIPTION", 0o644, description.as_bytes())?;
    segment.file(b"APKINDEX", 0o644, text.as_bytes())?;
    let member = gzip_bytes(&segment.finish()?)?;
    if let Some(key) = key {
        output.write_all(&signature_member(key, &member)?).map_err(while_writing)?;
    }
    output.write_all(&member).and_then(|()| output.flush()).map_err(while_writing)
}
