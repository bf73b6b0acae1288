//! The chain of trust of format v3, link by link.

use std::path::{Path, PathBuf};

use leanfs::apk::adb::write::WriteOptions;
use leanfs::apk::adb::{AdbHead, Compression, Schema, open};
use leanfs::apk::{Checksum, IndexEntry, PackageInfo};
use leanfs::arch::Arch;
use leanfs::fetch::{FetchError, FetchErrorKind, Member, VerifiedApk};
use leanfs::recipe::Repository;
use leanfs::tree::Tree;

use super::{KEYS, entry_of, fetch, indexed, key_path, packed, private};
use crate::apk_formats::{sample_info, sample_tree};

const PACKAGE: &str = "hello-1.2.3_rc1-r4.apk";
const INDEX: &str = "Packages.adb";

/// A repository of one package, signed by the first EC key.
struct Case(tempfile::TempDir);

impl Case {
    fn new() -> Self {
        Self::compressed(Compression::None)
    }

    fn compressed(compression: Compression) -> Self {
        let case = Self(tempfile::tempdir().expect("a directory"));
        fs_err::create_dir_all(case.0.path().join("x86_64")).expect("made");
        let key = private(1);
        let options = WriteOptions { key: Some(&key), compression };
        let package = packed(&sample_info(), &sample_tree(), &options);
        case.write(PACKAGE, &package);
        case.write(INDEX, &indexed(&[entry_of(&package)], &options));
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("x86_64").join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs_err::read(self.path(name)).expect("there")
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs_err::write(self.path(name), bytes).expect("written");
    }

    fn names(&self, entry: IndexEntry) {
        let key = private(1);
        self.write(
            INDEX,
            &indexed(&[entry], &WriteOptions { key: Some(&key), compression: Compression::None }),
        );
    }

    fn fetch(&self) -> Result<Vec<VerifiedApk>, FetchError> {
        let source = Repository::Directory(self.0.path().to_owned());
        fetch(&source, Arch::X86_64, &[key_path(KEYS[1].1)], &self.0.path().join("cache"))
    }

    fn error(&self) -> FetchError {
        self.fetch().expect_err("refused")
    }
}

fn tree_text(tree: &Tree) -> Vec<String> {
    tree.iter()
        .map(|(path, node)| {
            let content = match &node.kind {
                leanfs::tree::NodeKind::File(content) => content.read(1 << 30).expect("readable"),
                _ => Vec::new(),
            };
            format!("{path} {:?} {:?} {content:?}", node.kind.name(), node.metadata)
        })
        .collect()
}

/// What is used of a package.
fn used(apks: &[VerifiedApk]) -> Vec<String> {
    let parts = |apk: &VerifiedApk| {
        format!("{:?} {:?} {:?} {:?}", apk.entry(), apk.info(), apk.scripts(), tree_text(apk.tree()))
    };
    apks.iter().map(parts).collect()
}

/// Bytes of a package and an index that are not compressed: each change is refused.
#[test]
fn any_changed_byte_is_refused() {
    let case = Case::new();
    let good = used(&case.fetch().expect("good"));
    for name in [PACKAGE, INDEX] {
        let bytes = case.read(name);
        // All of them in full runs; else those of headers and of the end, and some.
        let full = std::env::var_os("LEANFS_TEST_FULL").is_some();
        let places = (0..bytes.len())
            .filter(|place| full || *place < 40 || bytes.len() - place < 40 || place % 7 == 0);
        for place in places {
            let mut changed = bytes.clone();
            changed[place] ^= 0x10;
            case.write(name, &changed);
            match case.fetch() {
                Err(error) => assert_ne!(error.kind(), FetchErrorKind::Io, "{name} byte {place}: {error}"),
                Ok(_) => panic!("{name}: byte {place} of {} was changed, and it is taken", bytes.len()),
            }
        }
        case.write(name, &bytes);
        for end in [0, 3, 4, 7, 8, 12, bytes.len() / 2, bytes.len() - 8, bytes.len() - 1] {
            case.write(name, &bytes[..end]);
            case.fetch().expect_err("cut");
        }
        case.write(name, &[&bytes[..], b"\0\0\0\0"].concat());
        case.fetch().expect_err("more follows");
        case.write(name, &bytes);
    }
    assert_eq!(used(&case.fetch().expect("good again")), good);
}

/// Of a compressed stream other bytes can mean the same: then what is read is the same.
#[test]
fn a_changed_byte_of_a_compressed_file_is_refused_or_changes_nothing() {
    for compression in [Compression::Deflate(0), Compression::Zstd(0)] {
        let case = Case::compressed(compression);
        let good = used(&case.fetch().expect("good"));
        for name in [PACKAGE, INDEX] {
            let bytes = case.read(name);
            let mut taken = Vec::new();
            for place in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[place] ^= 0x10;
                case.write(name, &changed);
                if let Ok(apks) = case.fetch() {
                    assert_eq!(used(&apks), good, "{name} byte {place}");
                    taken.push(place);
                }
            }
            // The level, bits of headers, copies from another place with the same bytes.
            assert!(taken.len() <= 12, "{compression} {name}: {taken:?} of {}", bytes.len());
            case.write(name, &bytes);
        }
    }
}

#[test]
fn each_link_has_its_error() {
    // Another package, however well it is signed.
    let case = Case::new();
    let key = private(1);
    let options = WriteOptions { key: Some(&key), compression: Compression::None };
    let old = PackageInfo { version: "1.2.2-r0".to_owned(), ..sample_info() };
    for info in [old, PackageInfo { description: "another build".to_owned(), ..sample_info() }] {
        case.write(PACKAGE, &packed(&info, &sample_tree(), &options));
        assert!(matches!(case.error(), FetchError::NotNamed { .. }), "{}", case.error());
    }
    // Nobody's package of that name.
    let unsigned = WriteOptions { key: None, compression: Compression::None };
    let info = PackageInfo { description: "another build".to_owned(), ..sample_info() };
    case.write(PACKAGE, &packed(&info, &sample_tree(), &unsigned));
    let error = case.error();
    assert!(matches!(error, FetchError::MemberChanged { member: Member::Adb, .. }), "{error}");

    // An unsigned package is fine, as the index vouches; one that is signed by somebody unknown too.
    let case = Case::new();
    for key in [None, Some(private(2))] {
        let package = packed(
            &sample_info(),
            &sample_tree(),
            &WriteOptions { key: key.as_ref(), compression: Compression::None },
        );
        case.write(PACKAGE, &package);
        case.names(entry_of(&package));
        case.fetch().expect("the index names it");
        // But not by another name, size or kind of hash.
        let entry = entry_of(&package);
        case.names(IndexEntry { size: entry.size + 8, ..entry.clone() });
        assert!(matches!(case.error(), FetchError::WrongSize { .. }));
        case.names(IndexEntry { version: "1.2.3_rc1-r5".to_owned(), ..entry.clone() });
        fs_err::copy(case.path(PACKAGE), case.path("hello-1.2.3_rc1-r5.apk")).expect("copied");
        assert!(matches!(case.error(), FetchError::NotNamed { .. }), "{}", case.error());
        let Checksum::Sha256(hash) = entry.control_hash else { panic!("a SHA-256") };
        let mut short = [0; 20];
        short.copy_from_slice(&hash[..20]);
        case.names(IndexEntry { control_hash: Checksum::Short(short), ..entry.clone() });
        case.fetch().expect("the same hash, cut");
        short[19] ^= 1;
        case.names(IndexEntry { control_hash: Checksum::Short(short), ..entry.clone() });
        case.fetch().expect_err("another hash");
    }

    // Signatures of the package itself.
    let case = Case::new();
    let bytes = case.read(PACKAGE);
    let signature = signature_place(&bytes);
    for (place, said) in [(signature + 30, "does not fit"), (signature + 2, "names another key")] {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        case.write(PACKAGE, &changed);
        let error = case.error();
        assert!(matches!(&error, FetchError::MemberDamaged { member: Member::Signature, .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
    // A file's content.
    let place = find(&bytes, b"greeting = hello");
    let mut changed = bytes.clone();
    changed[place] ^= 1;
    case.write(PACKAGE, &changed);
    assert!(matches!(case.error(), FetchError::FileChanged { .. }), "{}", case.error());

    // The index.
    let case = Case::new();
    let bytes = case.read(INDEX);
    let place = find(&bytes, b"Says hello");
    let mut changed = bytes.clone();
    changed[place] ^= 1;
    case.write(INDEX, &changed);
    assert!(matches!(case.error(), FetchError::IndexChanged { .. }), "{}", case.error());
    let package = case.read(PACKAGE);
    case.write(INDEX, &indexed(&[entry_of(&package)], &unsigned));
    assert!(matches!(case.error(), FetchError::IndexUnsigned { .. }), "{}", case.error());
    let other = private(2);
    let options = WriteOptions { key: Some(&other), compression: Compression::None };
    case.write(INDEX, &indexed(&[entry_of(&package)], &options));
    assert!(matches!(case.error(), FetchError::IndexUnknownKey { .. }), "{}", case.error());
    // A package is no index, however well it is signed, and the other way round.
    case.write(INDEX, &package);
    assert!(matches!(case.error(), FetchError::IndexDamaged { .. }), "{}", case.error());
    case.write(INDEX, &bytes);
    case.write(PACKAGE, &bytes);
    assert!(matches!(case.error(), FetchError::MemberDamaged { .. }), "{}", case.error());
    // An index of format v2 under a name of v3.
    case.write(INDEX, b"\x1f\x8b\x08\x00");
    assert!(case.error().to_string().contains("of format v2"), "{}", case.error());
    // No index at all.
    fs_err::remove_file(case.path(INDEX)).expect("removed");
    let error = case.error();
    assert!(matches!(error, FetchError::NoSuchFile { .. }), "{error}");
    assert!(error.hint().expect("a hint").contains("Packages.adb"));
}

/// Where the first signature block's content begins.
fn signature_place(bytes: &[u8]) -> usize {
    let mut blocks = open(bytes, 1 << 30).expect("good");
    let (head, _) = AdbHead::read(&mut blocks, Schema::PACKAGE, 1 << 30).expect("good");
    // The file's header, two blocks' headers and the padding of the first.
    8 + (4 + head.adb.len()).next_multiple_of(8) + 4
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|window| window == what).expect("it is there")
}

/// A repository on a server, with a path of its own for packages.
#[test]
fn packages_stand_where_the_index_says() {
    let case = Case::new();
    let package = case.read(PACKAGE);
    let key = private(1);
    let options = WriteOptions { key: Some(&key), compression: Compression::Deflate(0) };
    let write = |spec: &str| {
        let path = leanfs::apk::adb::index::PackagePath::parse(spec).expect("good");
        let mut bytes = Vec::new();
        leanfs::apk::adb::write::write_index(&[entry_of(&package)], "", Some(&path), &options, &mut bytes)
            .expect("written");
        case.write(INDEX, &bytes);
    };
    write("pool/${name:1}/${name}-${version}.${hash:8}.apk");
    let hash = hex::encode(entry_of(&package).control_hash.as_bytes());
    let place = case.0.path().join("pool/h");
    fs_err::create_dir_all(&place).expect("made");
    fs_err::rename(case.path(PACKAGE), place.join(format!("hello-1.2.3_rc1-r4.{}.apk", &hash[..8])))
        .expect("moved");
    assert_eq!(case.fetch().expect("found").len(), 1);

    let server = crate::server::Server::http();
    server.put_directory("/r", case.0.path());
    let keys = [key_path(KEYS[1].1)];
    let cache = case.0.path().join("cache-of-server");
    let of = |url: String| fetch(&Repository::Url(url), Arch::X86_64, &keys, Path::new(&cache));
    assert_eq!(of(server.url("/r")).expect("found").len(), 1);
    // The index's own address: its directory is the root.
    write("${name}-${version}.apk");
    case.write(PACKAGE, &package);
    server.put_directory("/s", case.0.path());
    assert_eq!(of(server.url("/s/x86_64/Packages.adb")).expect("found").len(), 1);
}
