//! Packages and indexes of format v3, as `apk mkpkg` and `apk mkndx` make them.
//!
//! Everything is a function of what is given: signatures have no randomness in them (PKCS#1 v1.5, RFC 6979).

mod files;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use super::compression::Compressor;
use super::container::{write_block, write_header};
use super::fields::Fields;
use super::index::{PackagePath, fields_of, slot as index_slot};
use super::package::{SCRIPTS, slot};
use super::signature::signed;
use super::value::{Builder, Value};
use super::{AdbHead, AdbPackage, AdbSignature, BlockKind, Compression, MAGIC, Schema};
use crate::apk::checksum::sha256;
use crate::apk::package_info::package_name;
use crate::apk::write::PrivateKey;
use crate::apk::{ApkError, Checksum, IndexEntry, PackageInfo, Quoted, Version, version};
use crate::tree::{Content, ValidTree};

use files::Files;

/// How a file is written.
#[derive(Debug, Default)]
pub struct WriteOptions<'a> {
    /// Who signs it; nobody as a rule, for a package that an index names.
    pub key: Option<&'a PrivateKey>,
    /// How it is compressed.
    pub compression: Compression,
}

/// The names of owners, which format v3 holds instead of numbers.
#[derive(Debug, Clone, Default)]
pub struct Owners {
    /// Of users. The user 0 is `root` without being there.
    pub users: BTreeMap<u32, String>,
    /// Of groups. The group 0 is `root` without being there.
    pub groups: BTreeMap<u32, String>,
}

/// Writes a package: `info` (its size is computed), the files of `tree`, and scripts by the names of format v2.
/// Contents are read twice: for their hashes, and to be written. Gives the description as it is in the package.
///
/// # Errors
/// [`ApkError::Unpackable`] for what no package can hold, and when reading contents or writing fails.
pub fn pack(
    info: &PackageInfo,
    tree: &ValidTree,
    scripts: &[(String, Vec<u8>)],
    owners: &Owners,
    options: &WriteOptions<'_>,
    output: &mut impl Write,
) -> Result<PackageInfo, ApkError> {
    let unpackable = |path: &str, reason: String| ApkError::Unpackable { path: path.to_owned(), reason };
    package_name(&info.name).map_err(|reason| unpackable("pkgname", reason))?;
    info.version.parse::<Version>().map_err(|error| unpackable("pkgver", error.to_string()))?;

    let mut files = Files { owners, builder: Builder::new(), contents: Vec::new(), size: 0 };
    let paths = files.paths(tree)?;
    let Files { mut builder, contents, size, .. } = files;
    // A package of size 0 is for apk one that has neither files nor scripts: it isn't even unpacked.
    let is_more =
        scripts.iter().any(|(_, text)| !text.is_empty()) || tree.iter().any(|(path, _)| !path.is_root());
    let installed_size = if is_more { size.max(1) } else { size };
    let info = PackageInfo { installed_size, data_hash: None, ..info.clone() };
    let (uid, uid_offset) = builder.own_blob([0; 20])?;
    let mut slots = [Value::NULL; slot::PACKAGE.len()];
    let mut set = |slot: usize, value| slots[slot - 1] = value;
    set(slot::INFO, fields_of_package(&info).write(&mut builder, uid)?);
    set(slot::PATHS, paths);
    set(slot::SCRIPTS, write_scripts(&mut builder, scripts)?);
    let triggers: Vec<Value> =
        info.triggers.iter().map(|trigger| builder.blob(trigger.as_bytes())).collect::<Result<_, _>>()?;
    set(slot::TRIGGERS, builder.array(&triggers)?);
    if let Some(priority) = info.replaces_priority {
        set(slot::REPLACES_PRIORITY, builder.number(priority.into())?);
    }
    let root = builder.object(&slots)?;
    let mut adb = builder.finish(root);
    // apk's own number of the package: the hash of everything else.
    let uid = sha256(&adb);
    adb[uid_offset..uid_offset + 20].copy_from_slice(&uid[..20]);

    let mut output = begin(Schema::PACKAGE, &adb, options, output)?;
    for (place, path, content) in contents {
        write_data(&mut output, place, content)
            .map_err(|source| ApkError::Io { doing: format!("packing {path}"), source })?;
    }
    output.finish().and_then(|output| output.flush()).map_err(while_writing)?;
    Ok(info)
}

/// Writes an index of packages. Without a key it is unsigned, and neither `apk` nor leanfs takes it without being
/// told to.
///
/// # Errors
/// [`ApkError::Unpackable`] for an entry that was read but not understood, and when writing fails.
pub fn write_index(
    entries: &[IndexEntry],
    description: &str,
    package_path: Option<&PackagePath>,
    options: &WriteOptions<'_>,
    output: &mut impl Write,
) -> Result<(), ApkError> {
    let mut builder = Builder::new();
    let mut sorted: Vec<&IndexEntry> = entries.iter().collect();
    sorted.sort_by(|a, b| in_index(a, b));
    let mut items = Vec::new();
    for entry in sorted {
        let refuse =
            |reason| ApkError::Unpackable { path: Quoted::new(entry.full_name()).to_string(), reason };
        if let Some(reason) = &entry.unusable {
            return Err(refuse(format!("not all of it was understood: {reason}")));
        }
        let fields = fields_of(entry);
        let hashes = builder.blob(&fields.hashes)?;
        items.push(fields.write(&mut builder, hashes)?);
    }
    let mut slots = [Value::NULL; index_slot::PKGNAME_SPEC];
    slots[index_slot::DESCRIPTION - 1] = builder.blob(description.as_bytes())?;
    slots[index_slot::PACKAGES - 1] = builder.array(&items)?;
    if let Some(path) = package_path {
        slots[index_slot::PKGNAME_SPEC - 1] = builder.blob(path.as_str().as_bytes())?;
    }
    let mut root = builder.object(&slots)?;
    if root == Value::NULL {
        // An index of nothing is one nevertheless.
        root = builder.empty_object()?;
    }
    let adb = builder.finish(root);
    begin(Schema::INDEX, &adb, options, output)?
        .finish()
        .and_then(|output| output.flush())
        .map_err(while_writing)
}

/// `apk`'s order: by name, then by version.
fn in_index(a: &IndexEntry, b: &IndexEntry) -> Ordering {
    a.name
        .cmp(&b.name)
        .then_with(|| version::compare(&a.version, &b.version))
        .then_with(|| a.control_hash.as_bytes().cmp(b.control_hash.as_bytes()))
        .then_with(|| a.arch.cmp(&b.arch))
}

/// Reads a whole package of format v3, of `size` bytes, and makes its entry for an index, as `apk mkndx` does. Checks
/// the contents of files by their hashes; not who signed it.
///
/// # Errors
/// When the package is damaged, or not whole.
pub fn index_package(reader: impl io::BufRead, size: u64) -> Result<IndexEntry, ApkError> {
    /// The most bytes that may come out of a package.
    const MOST_BYTES: u64 = 1 << 40;
    let mut blocks = super::open(reader, MOST_BYTES)?;
    let (head, data) = AdbHead::read(&mut blocks, Schema::PACKAGE, super::MOST_PACKAGE_ADB_BYTES)?;
    let package = AdbPackage::parse(&head.adb)?;
    package.read_contents(&mut blocks, data, &mut |_, reader| io::copy(reader, &mut io::sink()).map(drop))?;
    blocks.into_inner().finish()?;
    Ok(IndexEntry::of_package(package.info, Checksum::Sha256(sha256(&head.adb)), size))
}

/// Whether a file begins as those of format v3 do.
pub fn is_v3(head: &[u8]) -> bool {
    head.starts_with(&MAGIC)
}

/// Writes the header, the ADB block and the signature.
fn begin<'a, W: Write>(
    schema: Schema,
    adb: &[u8],
    options: &WriteOptions<'_>,
    output: &'a mut W,
) -> Result<Compressor<&'a mut W>, ApkError> {
    let mut output = Compressor::new(output, options.compression).map_err(while_writing)?;
    output
        .write_all(b"ADB.")
        .and_then(|()| output.write_all(&schema.0.to_le_bytes()))
        .and_then(|()| write_block(&mut output, BlockKind::Adb, adb))
        .map_err(while_writing)?;
    if let Some(key) = options.key {
        let key_id = key.public().id();
        let bytes = key.sign_sha512(&signed(schema, &key_id, adb))?;
        let block = AdbSignature { key_id, bytes }.to_bytes();
        write_block(&mut output, BlockKind::Signature, &block).map_err(while_writing)?;
    }
    Ok(output)
}

fn write_data(output: &mut impl Write, place: (u32, u32), content: &Content) -> io::Result<()> {
    let length = content.len();
    let padding = write_header(output, BlockKind::Data, length.saturating_add(8))?;
    output.write_all(&place.0.to_le_bytes())?;
    output.write_all(&place.1.to_le_bytes())?;
    let mut reader = content.reader()?;
    let copied = io::copy(&mut (&mut reader).take(length), output)?;
    // Also lets a content that grew say so.
    if copied != length || reader.read(&mut [0])? != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its size has changed"));
    }
    output.write_all(&[0; 8][..padding])
}

fn fields_of_package(info: &PackageInfo) -> Fields {
    Fields {
        name: info.name.clone(),
        version: info.version.clone(),
        description: info.description.clone(),
        arch: info.arch.clone(),
        license: info.license.clone(),
        origin: info.origin.clone(),
        maintainer: info.maintainer.clone(),
        url: info.url.clone(),
        commit: info.commit.clone(),
        build_time: info.build_time,
        installed_size: info.installed_size,
        provider_priority: info.provider_priority,
        depends: info.depends.clone(),
        provides: info.provides.clone(),
        replaces: info.replaces.clone(),
        install_if: info.install_if.clone(),
        ..Fields::default()
    }
}

fn write_scripts(builder: &mut Builder, scripts: &[(String, Vec<u8>)]) -> Result<Value, ApkError> {
    let mut slots = [Value::NULL; SCRIPTS.len()];
    for (name, text) in scripts {
        let Some(slot) = SCRIPTS.iter().position(|known| known == name) else {
            let reason = format!("it is none of the scripts {}", SCRIPTS.join(" "));
            return Err(ApkError::Unpackable { path: name.escape_debug().to_string(), reason });
        };
        slots[slot] = builder.blob(text)?;
    }
    builder.object(&slots)
}

fn while_writing(source: io::Error) -> ApkError {
    ApkError::Io { doing: "writing".to_owned(), source }
}
