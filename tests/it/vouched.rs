//! Every package and index of `../shared`: verified against the key and the index that belong to it, refused against any
//! other, and refused with any byte changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use leanfs::apk::IndexEntry;
use leanfs::arch::Arch;
use leanfs::fetch::{
    FetchError, FetchErrorKind, FetchSettings, Fetcher, VerifiedApk, VerifiedIndex, load_keys,
};
use leanfs::recipe::Repository;
use leanfs::tree::NodeKind;

use crate::fetch::{Recorder, quick};

fn shared(path: &str) -> Option<PathBuf> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    if !root.is_dir() {
        println!("SKIP: ../shared is absent");
        return None;
    }
    Some(root.join(path))
}

/// The packages beside these indexes are of other builds than those that they name.
fn is_unnamed(repository: &str) -> bool {
    repository.starts_with("real/v2/alpine-")
}

fn full() -> bool {
    std::env::var_os("LEANFS_TEST_FULL").is_some()
}

/// A repository in `../shared`: where it is, its index, its architecture, its key.
const REPOSITORIES: [(&str, &str, Arch, &str); 6] = [
    ("mirror/v3.23/main", "x86_64/APKINDEX.tar.gz", Arch::X86_64, "mirror/keys/test-mirror.rsa.pub"),
    ("mirror/v3.23/community", "x86_64/APKINDEX.tar.gz", Arch::X86_64, "mirror/keys/test-mirror.rsa.pub"),
    (
        "real/v2/alpine-316/APKINDEX.tar.gz",
        "",
        Arch::X86_64,
        "real/v2/keys/alpine-devel@lists.alpinelinux.org-6165ee59.rsa.pub",
    ),
    (
        "real/v2/alpine-317/APKINDEX.tar.gz",
        "",
        Arch::Aarch64,
        "real/v2/keys/alpine-devel@lists.alpinelinux.org-616ae350.rsa.pub",
    ),
    ("real/v2/rsa256-signed/APKINDEX.tar.gz", "", Arch::Aarch64, "real/v2/rsa256-signed/test-rsa256.rsa.pub"),
    ("real/v3/packages.adb", "", Arch::X86_64, "real/v3/apk.mossdef.org.pem"),
];

/// Somebody who trusts one key.
struct Reader {
    cache: tempfile::TempDir,
    keys: Vec<leanfs::apk::PublicKey>,
}

impl Reader {
    fn of(key: &Path) -> Self {
        let keys = load_keys(&[key.to_owned()]).expect("a key");
        Self { cache: tempfile::tempdir().expect("a directory"), keys }
    }

    fn with<T>(&self, use_it: impl FnOnce(&Fetcher<'_>) -> T) -> T {
        let recorder = Recorder::default();
        let settings = FetchSettings { keys: self.keys.clone(), ..quick(self.cache.path()) };
        use_it(&Fetcher::new(settings, &recorder).expect("a fetcher"))
    }

    fn index(&self, repository: &Path, arch: Arch) -> Result<VerifiedIndex, FetchError> {
        self.with(|fetcher| fetcher.index(&Repository::Directory(repository.to_owned()), arch))
    }

    fn package(&self, index: &VerifiedIndex, entry: &IndexEntry) -> Result<VerifiedApk, FetchError> {
        self.with(|fetcher| {
            let mut apks = fetcher.packages(&[(index, entry)], &|_, _| true)?;
            Ok(apks.remove(0))
        })
    }
}

/// What is read of a package; contents by their hashes.
fn outline(apk: &VerifiedApk) -> String {
    let nodes = apk.tree().iter().map(|(path, node)| {
        let kind = match &node.kind {
            NodeKind::File(content) => {
                let bytes = content.read(1 << 32).expect("readable");
                format!("{:?}", ring::digest::digest(&ring::digest::SHA256, &bytes))
            }
            other => format!("{other:?}"),
        };
        format!("{path} {kind} {:?} {:?}\n", node.metadata, node.xattrs)
    });
    format!("{:?} {:?} {:?} {}", apk.entry(), apk.info(), apk.scripts(), nodes.collect::<String>())
}

#[test]
fn every_index_is_verified_by_its_own_key_alone() {
    let Some(root) = shared("") else { return };
    let mut keys: BTreeMap<Vec<u8>, PathBuf> = BTreeMap::new();
    for (_, _, _, key) in REPOSITORIES {
        keys.insert(fs_err::read(root.join(key)).expect("a key"), root.join(key));
    }
    for directory in ["real/v2/keys", "real/v2/alpine-316", "real/v3"] {
        for entry in fs_err::read_dir(root.join(directory)).expect("there") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|ending| ending == "pub" || ending == "pem") {
                keys.entry(fs_err::read(&path).expect("a key")).or_insert(path);
            }
        }
    }
    assert!(keys.len() > 18, "{}", keys.len());
    for (repository, _, arch, own) in REPOSITORIES {
        let mut verified = Vec::new();
        for key in keys.values() {
            match Reader::of(key).index(&root.join(repository), arch) {
                Ok(index) => {
                    assert!(!index.index().entries.is_empty());
                    verified.push(fs_err::read(key).expect("a key"));
                }
                Err(FetchError::IndexUnknownKey { .. }) => {}
                Err(error) => panic!("{repository} by {}: {error}", key.display()),
            }
        }
        assert_eq!(verified, [fs_err::read(root.join(own)).expect("a key")], "{repository}");
    }
}

/// Packages that an index names are verified; and by every other index none of them is.
#[test]
fn every_package_is_verified_by_its_own_index_alone() {
    let Some(root) = shared("") else { return };
    let mut counts = BTreeMap::new();
    for (repository, _, arch, key) in REPOSITORIES {
        let reader = Reader::of(&root.join(key));
        let index = reader.index(&root.join(repository), arch).expect("verified");
        let place = match root.join(repository) {
            path if path.is_file() => path.parent().expect("a directory").to_owned(),
            path => path.join(arch.alpine()),
        };
        for entry in &index.index().entries {
            let file = place.join(entry.file_name());
            // The largest ones take seconds each.
            if !file.exists() || is_unnamed(repository) || entry.size > 8 << 20 && !full() {
                continue;
            }
            let apk =
                reader.package(&index, entry).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert!(!apk.tree().is_empty() || apk.info().installed_size < 5000, "{}", file.display());
            *counts.entry(repository).or_insert(0) += 1;

            // Another entry of the same index, or the same of an index with another hash, doesn't name this file.
            let other =
                index.index().entries.iter().find(|other| other.name != entry.name && other.size != 0);
            if let Some(other) = other {
                let strange = tempfile::tempdir().expect("a directory");
                let index_file = if root.join(repository).is_file() {
                    root.join(repository)
                } else {
                    place.join("APKINDEX.tar.gz")
                };
                fs_err::copy(&index_file, strange.path().join(index_file.file_name().expect("a name")))
                    .expect("copied");
                fs_err::copy(&file, strange.path().join(other.file_name())).expect("copied");
                let moved = strange.path().join(index_file.file_name().expect("a name"));
                let moved = reader.index(&moved, arch).expect("verified");
                let error = reader.package(&moved, other).expect_err("another package");
                assert!(matches!(error, FetchError::NotNamed { .. }), "{}: {error}", file.display());
            }
        }
    }
    let main = counts["mirror/v3.23/main"];
    assert!(main >= 58, "{counts:?}");
    assert_eq!(counts["real/v3/packages.adb"], 4, "{counts:?}");
    println!("{counts:?}");
}

/// No index at hand names these: the two of Alpine are of another architecture than the index beside them, signed by
/// its key; that of Wolfi is another package, and its key is not there.
#[test]
fn packages_that_no_index_names_are_refused() {
    let Some(root) = shared("real/v2") else { return };
    let files = [
        ("alpine-316", "alpine-baselayout-3.2.0-r23.apk", Arch::X86_64),
        ("alpine-317", "alpine-baselayout-3.4.0-r0.apk", Arch::Aarch64),
    ];
    let everybody =
        Reader { keys: load_keys(&[]).expect("built in"), ..Reader::of(&crate::repo::key_file()) };
    for (directory, file, arch) in files {
        let strange = tempfile::tempdir().expect("a directory");
        let index_file = strange.path().join("APKINDEX.tar.gz");
        fs_err::copy(root.join(directory).join("APKINDEX.tar.gz"), &index_file).expect("copied");
        let index = everybody.index(&index_file, arch).expect("verified");
        let named = |entry: &&IndexEntry| entry.name == "alpine-baselayout";
        let entry = index.index().entries.iter().find(named).expect("it names one");
        for package in [root.join(directory).join(file), root.join("hello-wolfi-2.12.1-r0.apk")] {
            fs_err::copy(&package, strange.path().join(entry.file_name())).expect("copied");
            let error = everybody.package(&index, entry).expect_err("no index names it");
            // Well signed, or by its own word another package.
            assert!(matches!(error, FetchError::NotNamed { .. }), "{}: {error}", package.display());
        }
        // Whoever doesn't know the key that signed it sees a package that was changed.
        fs_err::copy(root.join(directory).join(file), strange.path().join(entry.file_name()))
            .expect("copied");
        let nobody = Reader { keys: Vec::new(), ..Reader::of(&crate::repo::key_file()) };
        let error = nobody.package(&index, entry).expect_err("no index names it");
        let is_changed = matches!(error, FetchError::MemberChanged { .. } | FetchError::NotNamed { .. });
        assert!(is_changed, "{error}");
    }
}

/// Each index and each small package with bytes changed.
#[test]
fn with_any_byte_changed_it_is_refused_or_the_same() {
    let Some(root) = shared("") else { return };
    let most = if full() { usize::MAX } else { 24 };
    let (mut refused, mut same) = (0, 0);
    for (number, (repository, _, arch, key)) in REPOSITORIES.into_iter().enumerate() {
        let reader = Reader::of(&root.join(key));
        let index_file = match root.join(repository) {
            path if path.is_file() => path,
            path => path.join(arch.alpine()).join("APKINDEX.tar.gz"),
        };
        let place = index_file.parent().expect("a directory");
        let copy = tempfile::tempdir().expect("a directory");
        let index_copy = copy.path().join(index_file.file_name().expect("a name"));
        let good = fs_err::read(&index_file).expect("an index");
        fs_err::write(&index_copy, &good).expect("written");
        let index = reader.index(&index_copy, arch).expect("verified");
        for at in places(good.len(), if good.len() > 100_000 { most.min(12) } else { most }, number) {
            let mut changed = good.clone();
            changed[at] ^= 0x20;
            fs_err::write(&index_copy, &changed).expect("written");
            match reader.index(&index_copy, arch) {
                Err(error) => {
                    assert_eq!(error.kind(), FetchErrorKind::Unverified, "{repository} byte {at}: {error}");
                    refused += 1;
                }
                Ok(read) => {
                    assert!(read.index() == index.index(), "{repository} byte {at}");
                    same += 1;
                }
            }
        }
        fs_err::write(&index_copy, &good).expect("written");
        for (other, entry) in index.index().entries.iter().enumerate() {
            let file = place.join(entry.file_name());
            let small = entry.size <= 64 << 10 || full() && entry.size < 8 << 20;
            if !file.exists() || is_unnamed(repository) || !small {
                continue;
            }
            let good = fs_err::read(&file).expect("a package");
            let package_copy = copy.path().join(entry.file_name());
            fs_err::write(&package_copy, &good).expect("written");
            let outline_of = |apk: &VerifiedApk| outline(apk);
            let before = outline_of(&reader.package(&index, entry).expect("verified"));
            let count = if entry.size > 64 << 10 { 200 } else { most };
            for at in places(good.len(), count, number * 7 + other) {
                let mut changed = good.clone();
                changed[at] ^= 0x20;
                fs_err::write(&package_copy, &changed).expect("written");
                match reader.package(&index, entry) {
                    Err(error) => {
                        assert_eq!(
                            error.kind(),
                            FetchErrorKind::Unverified,
                            "{} byte {at}: {error}",
                            file.display()
                        );
                        refused += 1;
                    }
                    Ok(apk) => {
                        assert!(outline_of(&apk) == before, "{} byte {at}", file.display());
                        // Only of compressed format v3 can other bytes mean the same.
                        assert!(changed.starts_with(b"ADB"), "{} byte {at} is taken", file.display());
                        same += 1;
                    }
                }
            }
        }
    }
    println!("{refused} refused, {same} the same");
    assert!(refused > 500 && same * 20 < refused, "{refused} refused, {same} the same");
}

/// Some of the places of a file, others each time: its first and last bytes, and a number of those between.
fn places(length: usize, most: usize, seed: usize) -> Vec<usize> {
    if length <= most {
        return (0..length).collect();
    }
    let step = length / most;
    (0..most)
        .map(|number| (number * step + (seed * 31 + number * 17) % step.max(1)).min(length - 1))
        .chain([0, length - 1])
        .collect()
}
