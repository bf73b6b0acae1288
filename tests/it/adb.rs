//! Format v3: what the real `apk` makes is read, and what is written it takes; the chain of trust, link by link.

mod hostile;
mod made;
mod written;

use std::path::{Path, PathBuf};
use std::process::Command;

use leanfs::apk::adb::write::{Owners, WriteOptions, index_package, pack, write_index};
use leanfs::apk::adb::{AdbHead, Compression, Schema, open};
use leanfs::apk::write::PrivateKey;
use leanfs::apk::{IndexEntry, PackageInfo};
use leanfs::arch::Arch;
use leanfs::fetch::{FetchError, FetchSettings, Fetcher, VerifiedApk, load_keys};
use leanfs::recipe::Repository;
use leanfs::tree::ValidTree;

use crate::apk_formats::{sample_info, sample_tree};
use crate::fetch::{Recorder, quick};

/// The private keys of the tests, and the files of their public ones.
pub(crate) const KEYS: [(&str, &str); 3] = [
    ("leanfs-test.rsa", "leanfs-test.rsa.pub"),
    ("leanfs-test-ec.pem", "leanfs-test-ec.pub.pem"),
    ("leanfs-test-ec384.pem", "leanfs-test-ec384.pub.pem"),
];

pub(crate) const COMPRESSIONS: [Compression; 5] = [
    Compression::None,
    Compression::Deflate(0),
    Compression::Deflate(9),
    Compression::Zstd(0),
    Compression::Zstd(19),
];

fn key_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name)
}

pub(crate) fn private(index: usize) -> PrivateKey {
    let (private, public) = KEYS[index];
    PrivateKey::from_pem(public, &fs_err::read(key_path(private)).expect("a key")).expect("a good key")
}

pub(crate) fn packed(info: &PackageInfo, tree: &ValidTree, options: &WriteOptions<'_>) -> Vec<u8> {
    let scripts = [(".post-install".to_owned(), b"#!/bin/sh\ntrue\n".to_vec())];
    let mut bytes = Vec::new();
    pack(info, tree, &scripts, &Owners::default(), options, &mut bytes).expect("packed");
    bytes
}

pub(crate) fn indexed(entries: &[IndexEntry], options: &WriteOptions<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_index(entries, "the tests' own", None, options, &mut bytes).expect("written");
    bytes
}

pub(crate) fn entry_of(package: &[u8]) -> IndexEntry {
    index_package(package, package.len() as u64).expect("whole")
}

/// Everything that a repository names, by somebody who trusts these keys.
pub(crate) fn fetch(
    repository: &Repository,
    arch: Arch,
    keys: &[PathBuf],
    cache: &Path,
) -> Result<Vec<VerifiedApk>, FetchError> {
    let recorder = Recorder::default();
    let settings = FetchSettings { keys: load_keys(keys)?, ..quick(cache) };
    let fetcher = Fetcher::new(settings, &recorder)?;
    let index = fetcher.index(repository, arch)?;
    let wanted: Vec<_> = index.index().entries.iter().map(|entry| (&index, entry)).collect();
    fetcher.packages(&wanted, &|_, _| true)
}

/// Small files for the fuzz target: an index and a package, compressed and not, and their ADB blocks.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let key = private(1);
    let of = |compression| WriteOptions { key: Some(&key), compression };
    let package = packed(&sample_info(), &sample_tree(), &of(Compression::None));
    let entry = entry_of(&package);
    let index =
        indexed(&[entry.clone(), IndexEntry { name: "other".to_owned(), ..entry }], &of(Compression::None));
    let mut seeds = vec![
        packed(&sample_info(), &sample_tree(), &of(Compression::Zstd(0))),
        packed(&sample_info(), &sample_tree(), &of(Compression::Deflate(0))),
    ];
    for (bytes, schema) in [(package, Schema::PACKAGE), (index, Schema::INDEX)] {
        let mut blocks = open(&bytes[..], 1 << 30).expect("good");
        seeds.push(AdbHead::read(&mut blocks, schema, 1 << 30).expect("good").0.adb);
        seeds.push(bytes);
    }
    seeds
}

/// Runs the real `apk`; its output, if it succeeds.
fn run(apk: &Path, arguments: &[&str]) -> String {
    let output = Command::new(apk).args(arguments).output().expect("apk runs");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "apk {arguments:?}: {text}");
    text
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}
