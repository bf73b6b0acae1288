//! What a lock names, collected in a directory: a repository that `apk` and leanfs can use, and everything beside it.
//!
//! ```text
//! x86_64/APKINDEX.tar.gz, *.apk    packages of format v2, and their index
//! x86_64/Packages.adb              if there are packages of format v3: an index of all
//! keys/*.pub                       the key that signed the indexes, and those that signed packages
//! files/SHA256/NAME                tarballs of OTP, kernels
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};

use super::images::efi_stub;
use super::lock::locked_sources;
use super::{AssembleError, fetcher};
use crate::apk::adb::index::PackagePath;
use crate::apk::adb::{self, write::WriteOptions};
use crate::apk::index::IndexArchive;
use crate::apk::write::{PrivateKey, write_index};
use crate::apk::{Checksum, IndexEntry, PublicKey};
use crate::arch::Arch;
use crate::fetch::{Fetcher, VENDORED_KEYS, load_keys, sha256_of_rest, vendored_file};
use crate::lock::{ArchLock, FileRole, Lock, LockedFile, Sha256, is_file_name};
use crate::recipe::{KernelSource, OtpSource, Recipe};
use crate::report::Reporter;

/// What the indexes say of themselves.
const DESCRIPTION: &str = "leanfs vendor";
/// How the names of keys begin that were made for a vendor directory.
const KEY_PREFIX: &str = "leanfs-vendor";
/// An index of a lock is small.
const MOST_INDEX_BYTES: u64 = 256 << 20;

/// What was collected. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Vendored {
    /// How many packages.
    pub packages: usize,
    /// How many tarballs and kernels.
    pub files: usize,
    /// Of all of them.
    pub size: u64,
    /// How many of them were not there yet.
    pub copied: usize,
    /// The file of the key that verifies the indexes.
    pub key: PathBuf,
    /// Whether packages of format v3 are among them, which an index of format v3 names.
    pub has_v3: bool,
}

/// Collects everything that `lock`, the file at `path`, names in `directory`. Of the recipe for each of its architectures
/// repositories, keys and cache matter. The indexes are signed by `key`, or by one
/// that is made for them and forgotten afterwards; one that fits already stays as it is then.
///
/// # Errors
/// When something is nowhere or isn't what was locked, and when it can't be written.
pub fn vendor(
    lock: &Lock,
    path: &Path,
    recipes: &BTreeMap<Arch, Recipe>,
    directory: &Path,
    key: Option<&PrivateKey>,
    reporter: &dyn Reporter,
) -> Result<Vendored, AssembleError> {
    let mut vendored =
        Vendored { packages: 0, files: 0, size: 0, copied: 0, key: PathBuf::new(), has_v3: false };
    let mut entries: BTreeMap<Arch, Vec<IndexEntry>> = BTreeMap::new();
    let mut signers: BTreeMap<Sha256, PublicKey> = BTreeMap::new();
    for (&arch, section) in &lock.archs {
        let Some(recipe) = recipes.get(&arch) else {
            return Err(AssembleError::Bug(format!("there is no recipe for {arch}")));
        };
        let fetcher = fetcher(recipe, reporter)?;
        let sources = locked_sources(recipe, path);
        let indexes = fetcher.locked_indexes(section, arch, &sources)?;
        let keys = fetcher.locked_keys(section, &sources)?;
        signers.extend(keys.into_iter().map(|key| (key.fingerprint(), key)));
        let place = directory.join(arch.alpine());
        for package in &section.packages {
            let name = package.full_name();
            let found = indexes.iter().find_map(|index| index.locked_files().get(&name));
            let found = found.ok_or_else(|| AssembleError::Bug(format!("{name} was lost")))?;
            let target = place.join(format!("{name}.apk"));
            vendored.copied += usize::from(copy(found, &target, &package.hashes.file)?);
            vendored.packages += 1;
            vendored.size += package.size;
            vendored.has_v3 |= package.is_v3();
        }
        let mut all: Vec<IndexEntry> =
            indexes.into_iter().flat_map(|index| index.index().entries.clone()).collect();
        all.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        entries.insert(arch, all);
        for (file, at) in files(section, recipe) {
            let found = fetcher.locked_file(&file, &at, &sources)?;
            let target = vendored_file(directory, &file);
            vendored.copied += usize::from(copy(&found, &target, &file.sha256)?);
            vendored.files += 1;
            vendored.size += file.size;
        }
    }
    let keys = directory.join(VENDORED_KEYS);
    make_directory(&keys)?;
    for key in signers.values() {
        write(&keys.join(key_file(key)), key.to_pem().as_bytes())?;
    }
    let there = match key {
        Some(_) => None,
        None => signed_already(directory, &entries),
    };
    let public = match (there, key) {
        (Some(public), _) => public,
        (None, Some(key)) => {
            sign(directory, &entries, key)?;
            key.public().clone()
        }
        (None, None) => {
            let mut random = |bytes: &mut [u8]| SystemRandom::new().fill(bytes).is_ok();
            let key = PrivateKey::generate(KEY_PREFIX, &mut random).map_err(AssembleError::Sign)?;
            sign(directory, &entries, &key)?;
            forget_keys(&keys);
            key.public().clone()
        }
    };
    vendored.key = keys.join(key_file(&public));
    write(&vendored.key, public.to_pem().as_bytes())?;
    Ok(vendored)
}

/// Brings everything that a lock names for an architecture into the cache, but for what stands in directories of this
/// machine. Gives the number of things and their size in bytes.
///
/// # Errors
/// When something is nowhere or isn't what was locked.
pub fn fetch_locked(
    lock: &Lock,
    path: &Path,
    recipe: &Recipe,
    reporter: &dyn Reporter,
) -> Result<(usize, u64), AssembleError> {
    let Some(section) = lock.archs.get(&recipe.arch) else {
        return Err(AssembleError::ArchNotLocked { lock: path.to_owned(), arch: recipe.arch });
    };
    let fetcher: Fetcher<'_> = fetcher(recipe, reporter)?;
    let sources = locked_sources(recipe, path);
    fetcher.locked_indexes(section, recipe.arch, &sources)?;
    let files = files(section, recipe);
    for (file, at) in &files {
        fetcher.locked_file(file, at, &sources)?;
    }
    let sizes = section.packages.iter().map(|package| package.size);
    let sizes = sizes.chain(files.iter().map(|(file, _)| file.size));
    Ok((section.packages.len() + files.len(), sizes.sum()))
}

/// What is locked beside packages, each with where the recipe has it, if it has it.
fn files(section: &ArchLock, recipe: &Recipe) -> Vec<(LockedFile, String)> {
    let root = recipe.sysroot.clone().unwrap_or_else(|| PathBuf::from("/"));
    let libraries = section
        .libraries
        .iter()
        .filter(|library| library.link.is_none())
        .map(|library| (library.as_file(), root.join(&library.origin).to_string_lossy().into_owned()));
    let files = section.files.iter().map(|file| (file.clone(), recipe_place(recipe, file)));
    files.chain(libraries).collect()
}

/// Where the recipe has a file, if it has it.
fn recipe_place(recipe: &Recipe, file: &LockedFile) -> String {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    match (file.role, &recipe.otp, &recipe.kernel) {
        (FileRole::Otp, OtpSource::Tarball { path, .. }, _) => text(path),
        (FileRole::Otp, OtpSource::Url { url, .. }, _) => url.clone(),
        (FileRole::Kernel, _, KernelSource::File(path)) => text(path),
        (FileRole::EfiStub, _, _) => {
            let mut stubs = recipe.images.iter().map(|spec| efi_stub(spec, recipe.arch));
            stubs.find(|path| path.ends_with(&file.name)).map(|path| text(&path)).unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// The key that signed indexes which say just this already, if it is one that was made for the directory.
fn signed_already(directory: &Path, entries: &BTreeMap<Arch, Vec<IndexEntry>>) -> Option<PublicKey> {
    let keys = load_keys(&[directory.join(VENDORED_KEYS)]).ok()?;
    keys.into_iter().filter(|key| key.name().starts_with(KEY_PREFIX)).find(|key| {
        entries.iter().all(|(arch, entries)| {
            let mut wanted = Vec::new();
            if entries.iter().any(is_v3) || write_index(entries, DESCRIPTION, None, &mut wanted).is_err() {
                return false;
            }
            let mut there = Vec::new();
            let read = File::open(directory.join(arch.alpine()).join("APKINDEX.tar.gz"))
                .and_then(|file| file.take(MOST_INDEX_BYTES).read_to_end(&mut there));
            let Ok(archive) = read.map_err(drop).and_then(|_| IndexArchive::open(&there).map_err(drop))
            else {
                return false;
            };
            archive.signed == wanted
                && archive
                    .signatures
                    .iter()
                    .any(|signature| key.verify(signature.kind, archive.signed, &signature.bytes).is_ok())
        })
    })
}

/// Writes the indexes.
fn sign(
    directory: &Path,
    entries: &BTreeMap<Arch, Vec<IndexEntry>>,
    key: &PrivateKey,
) -> Result<(), AssembleError> {
    for (arch, entries) in entries {
        let place = directory.join(arch.alpine());
        make_directory(&place)?;
        let v2: Vec<IndexEntry> = entries.iter().filter(|entry| !is_v3(entry)).cloned().collect();
        let mut index = Vec::new();
        write_index(&v2, DESCRIPTION, Some(key), &mut index).map_err(AssembleError::Sign)?;
        write(&place.join("APKINDEX.tar.gz"), &index)?;
        if v2.len() == entries.len() {
            continue;
        }
        // Packages for every architecture stand here too, and not where format v3 has them by itself.
        let spec = format!("{}/${{name}}-${{version}}.apk", arch.alpine());
        let spec = PackagePath::parse(&spec).map_err(AssembleError::Sign)?;
        let options = WriteOptions { key: Some(key), ..WriteOptions::default() };
        let mut index = Vec::new();
        adb::write::write_index(entries, DESCRIPTION, Some(&spec), &options, &mut index)
            .map_err(AssembleError::Sign)?;
        write(&place.join("Packages.adb"), &index)?;
    }
    Ok(())
}

fn is_v3(entry: &IndexEntry) -> bool {
    !matches!(entry.control_hash, Checksum::Sha1(_))
}

/// What the name of a key's file is: that which signatures refer to, unless it leads somewhere else.
fn key_file(key: &PublicKey) -> String {
    match key.name() {
        name if is_file_name(name) && (name.ends_with(".pub") || name.ends_with(".pem")) => name.to_owned(),
        _ => format!("{}.pub", hex::encode(key.fingerprint())),
    }
}

/// Takes out the keys that were made for indexes of which nothing is left: they verify nothing any more.
fn forget_keys(keys: &Path) {
    let Ok(entries) = std::fs::read_dir(keys) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(KEY_PREFIX) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Copies a file whose SHA-256 is known, unless it is there already.
fn copy(from: &Path, to: &Path, sha256: &Sha256) -> Result<bool, AssembleError> {
    let there = File::open(to).and_then(|mut file| sha256_of_rest(&mut file));
    if there.is_ok_and(|there| there == *sha256) {
        return Ok(false);
    }
    let unreadable = |source| AssembleError::Vendor { path: from.to_owned(), source };
    let mut file = File::open(from).map_err(unreadable)?;
    whole(to, &mut |target| {
        let mut hasher = ring::digest::Context::new(&ring::digest::SHA256);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => {
                    hasher.update(&buffer[..count]);
                    target.write_all(&buffer[..count])?;
                }
            }
        }
        if hasher.finish().as_ref() != sha256 {
            let problem = format!("{} has changed while it was copied", from.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(())
    })?;
    Ok(true)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), AssembleError> {
    whole(path, &mut |file| file.write_all(bytes))
}

/// Writes a file so that it is there whole or not at all.
fn whole(path: &Path, write: &mut dyn FnMut(&mut File) -> io::Result<()>) -> Result<(), AssembleError> {
    let failed = |source| AssembleError::Vendor { path: path.to_owned(), source };
    let directory = path.parent().unwrap_or(Path::new("."));
    make_directory(directory)?;
    let mut file = tempfile::Builder::new()
        .prefix(".leanfs-unfinished-")
        // As open(2) would give it: the umask still applies.
        .permissions(PermissionsExt::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(failed)?;
    write(file.as_file_mut()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

fn make_directory(path: &Path) -> Result<(), AssembleError> {
    std::fs::create_dir_all(path).map_err(|source| AssembleError::Vendor { path: path.to_owned(), source })
}
