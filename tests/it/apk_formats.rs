//! Alpine's formats: real repositories are read and verified, and what is written is taken by the real `apk`.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use leanfs::apk::index::IndexArchive;
use leanfs::apk::write::{PrivateKey, index_package, pack, pack_in_memory, write_index};
use leanfs::apk::{
    ApkError, Checksum, Dependency, Index, IndexEntry, PackageHead, PackageInfo, PublicKey, Signature,
    SignatureKind, Version, keys, member, version,
};
use leanfs::tree::{Content, Metadata, Node, NodeKind, Origin, Tree, TreePath, ValidTree};
use proptest::prelude::*;

const KEY_NAME: &str = "leanfs-test.rsa.pub";

fn private_key() -> PrivateKey {
    PrivateKey::from_pem(KEY_NAME, include_bytes!("../keys/leanfs-test.rsa")).expect("a good key")
}

fn public_key() -> PublicKey {
    PublicKey::from_pem(KEY_NAME, include_bytes!("../keys/leanfs-test.rsa.pub")).expect("a good key")
}

fn shared(path: &str) -> Option<PathBuf> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    if !root.is_dir() {
        println!("SKIP: ../shared is absent");
        return None;
    }
    Some(root.join(path))
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs_err::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

fn is_signed_by(keys: &[PublicKey], signatures: &[Signature], signed: &[u8]) -> bool {
    signatures.iter().any(|signature| {
        keys.iter().any(|key| {
            key.name() == signature.key_name && key.verify(signature.kind, signed, &signature.bytes).is_ok()
        })
    })
}

fn key_file(path: &Path) -> PublicKey {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    PublicKey::from_pem(name, &fs_err::read(path).expect("a key")).expect("a good key")
}

/// `version`, `!version`, `left operator right` or `left !operator right` in each line, comments after `#`.
#[test]
fn apk_tools_own_version_table() {
    let Some(path) = shared("conformance/apk-tools/unit/version.data") else { return };
    let text = fs_err::read_to_string(path).expect("the table");
    let mut wrong = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let words: Vec<&str> = line.split_whitespace().collect();
        let good = match words.as_slice() {
            [] => true,
            [word] => match word.strip_prefix('!') {
                Some(version) => !version::is_valid(version),
                None => version::is_valid(word),
            },
            [left, operator, right] => {
                let (expected, operator) = match operator.strip_prefix('!') {
                    Some(operator) => (false, operator),
                    None => (true, *operator),
                };
                let compared = match operator {
                    "<" => version::compare(left, right).is_lt(),
                    "=" => version::compare(left, right).is_eq(),
                    ">" => version::compare(left, right).is_gt(),
                    "~" => version::compare_fuzzy(left, right).is_eq(),
                    ">~" => version::compare_fuzzy(left, right).is_ge(),
                    "<~" => version::compare_fuzzy(left, right).is_le(),
                    other => panic!("{other}"),
                };
                compared == expected
            }
            other => panic!("{other:?}"),
        };
        if !good {
            wrong.push(line);
        }
    }
    assert!(text.lines().count() >= 785);
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn alpines_indexes_are_verified_and_read() {
    let Some(real) = shared("real/v2") else { return };
    let built_in = keys::built_in().expect("good keys");
    for (directory, arch) in [("alpine-316", "x86_64"), ("alpine-317", "aarch64")] {
        let file = fs_err::read(real.join(directory).join("APKINDEX.tar.gz")).expect("an index");
        let archive = IndexArchive::open(&file).expect("whole");
        assert!(is_signed_by(&built_in, &archive.signatures, archive.signed), "{directory}");
        let index = archive.index().expect("readable");
        assert!(index.entries.len() > 4900, "{}", index.entries.len());
        assert!(!index.description.is_empty());
        // A part of opensmtpd depends on a version that is none by the grammar, which apk 3 doesn't install either.
        let unusable: Vec<&str> =
            index.entries.iter().filter_map(|entry| entry.unusable.as_deref()).collect();
        assert!(
            unusable.len() < 5 && unusable.iter().all(|reason| reason.contains("6.8.0p2")),
            "{unusable:?}"
        );
        assert!(index.entries.iter().all(|entry| [arch, "noarch"].contains(&entry.arch.as_str())));
        // What is written is what was read, entry by entry.
        for entry in index.entries.iter().filter(|entry| entry.unusable.is_none()) {
            let again = Index::parse(&entry.to_string()).expect("readable");
            assert_eq!(again.entries, std::slice::from_ref(entry));
        }
        // One changed byte anywhere in what is signed.
        let mut changed = archive.signed.to_vec();
        changed[archive.signed.len() / 2] ^= 1;
        assert!(!is_signed_by(&built_in, &archive.signatures, &changed));
    }
}

#[test]
fn an_index_signed_over_sha256_is_verified() {
    let Some(directory) = shared("real/v2/rsa256-signed") else { return };
    let key = key_file(&directory.join("test-rsa256.rsa.pub"));
    let file = fs_err::read(directory.join("APKINDEX.tar.gz")).expect("an index");
    let archive = IndexArchive::open(&file).expect("whole");
    assert!(archive.signatures.iter().any(|signature| signature.kind == SignatureKind::RsaSha256));
    assert!(is_signed_by(&[key], &archive.signatures, archive.signed));
    assert!(!is_signed_by(&keys::built_in().expect("good"), &archive.signatures, archive.signed));
    assert!(!archive.index().expect("readable").entries.is_empty());
}

#[test]
fn real_packages_are_verified_and_read() {
    let Some(real) = shared("real/v2") else { return };
    let built_in = keys::built_in().expect("good keys");
    for (path, signed_by_alpine) in [
        ("alpine-316/alpine-baselayout-3.2.0-r23.apk", true),
        ("alpine-317/alpine-baselayout-3.4.0-r0.apk", true),
        ("hello-wolfi-2.12.1-r0.apk", false),
    ] {
        let mut file = BufReader::new(fs_err::File::open(real.join(path)).expect("a package"));
        let head = PackageHead::read(&mut file).expect(path);
        assert!(!head.signatures.is_empty());
        assert_eq!(is_signed_by(&built_in, &head.signatures, &head.control), signed_by_alpine, "{path}");
        assert!(path.contains(&head.info.name), "{path}");
        let data = member::split_member(&mut file, "data", head.data_offset, 1 << 30)
            .expect("a member")
            .expect("there")
            .finish()
            .expect("whole");
        assert_eq!(Some(data.sha256), head.info.data_hash, "{path}");
        assert_eq!(file.read(&mut [0]).expect("readable"), 0, "nothing follows");
    }
}

/// The mirror's index was made by the real `apk index`: ours has the same entries.
#[test]
fn an_index_is_made_as_apk_makes_it() {
    let Some(mirror) = shared("mirror") else { return };
    let key = key_file(&mirror.join("keys/test-mirror.rsa.pub"));
    let main = mirror.join("v3.23/main/x86_64");
    let file = fs_err::read(main.join("APKINDEX.tar.gz")).expect("an index");
    let archive = IndexArchive::open(&file).expect("whole");
    assert!(is_signed_by(&[key], &archive.signatures, archive.signed));
    let mut theirs = archive.index().expect("readable").entries;
    let mut ours: Vec<IndexEntry> = files(&main, "apk")
        .iter()
        .map(|path| {
            let mut reader = BufReader::new(fs_err::File::open(path).expect("a package"));
            index_package(&mut reader).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        })
        .collect();
    for list in [&mut theirs, &mut ours] {
        list.sort_by(|left, right| left.name.cmp(&right.name));
    }
    let differing: Vec<(&IndexEntry, &IndexEntry)> =
        ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs).collect();
    assert_eq!(differing, []);
    assert_eq!(ours.len(), theirs.len());
}

fn path(text: &str) -> TreePath {
    text.parse().expect("a good path")
}

/// Everything that a package can hold.
pub(crate) fn sample_tree() -> ValidTree {
    let origin = Origin::skeleton();
    let node = |kind, mode| {
        Node::new(kind, Metadata { mode, mtime: 1_700_000_000, ..Metadata::FILE }, origin.clone())
    };
    let mut tree = Tree::new();
    let content = |text: &str| NodeKind::File(Content::from_bytes(text.as_bytes().to_vec()));
    tree.insert(path("etc"), node(NodeKind::Directory, 0o755));
    tree.insert(path("etc/hello.conf"), node(content("greeting = hello\n"), 0o640));
    tree.insert(path("usr"), node(NodeKind::Directory, 0o755));
    tree.insert(path("usr/bin"), node(NodeKind::Directory, 0o755));
    tree.insert(path("usr/bin/hello"), node(content("#!/bin/sh\necho hello\n"), 0o4755));
    // The link comes before the file in path order.
    tree.insert(path("usr/bin/a-name"), node(NodeKind::Hardlink(path("usr/bin/hello")), 0o4755));
    tree.insert(path("usr/bin/salut"), node(NodeKind::Symlink(b"hello".to_vec()), 0o777));
    tree.insert(path("usr/empty"), node(content(""), 0o644));
    let long = format!("usr/share/{}/{}", "d".repeat(120), "f".repeat(130));
    tree.insert(path("usr/share"), node(NodeKind::Directory, 0o755));
    tree.insert(path(&long[..130]), node(NodeKind::Directory, 0o1777));
    tree.insert(path(&long), node(content(&"x".repeat(5000)), 0o644));
    tree.insert(path("usr/share/far"), node(NodeKind::Symlink(format!("/{long}").into_bytes()), 0o777));
    tree.validate().expect("valid")
}

pub(crate) fn sample_info() -> PackageInfo {
    PackageInfo {
        name: "hello".to_owned(),
        version: "1.2.3_rc1-r4".to_owned(),
        description: "Says hello = greets".to_owned(),
        url: "https://example.org/".to_owned(),
        arch: "x86_64".to_owned(),
        license: "MIT".to_owned(),
        origin: "hello".to_owned(),
        build_time: Some(1_700_000_000),
        provides: vec![Dependency::exactly("cmd:hello", "1.2.3_rc1-r4")],
        ..PackageInfo::default()
    }
}

#[test]
fn what_is_packed_is_read_back() {
    let scripts = vec![(".post-install".to_owned(), b"#!/bin/sh\ntrue\n".to_vec())];
    let packed =
        pack_in_memory(&sample_info(), &sample_tree(), &scripts, Some(&private_key())).expect("packed");
    assert_eq!(
        packed,
        pack_in_memory(&sample_info(), &sample_tree(), &scripts, Some(&private_key())).expect("packed"),
        "the same twice"
    );
    let mut scratch = tempfile::tempfile().expect("a file");
    let mut streamed = Vec::new();
    let info =
        pack(&sample_info(), &sample_tree(), &scripts, Some(&private_key()), &mut scratch, &mut streamed)
            .expect("packed");
    assert_eq!(packed, streamed);

    let mut reader = &packed[..];
    let head = PackageHead::read(&mut reader).expect("whole");
    assert!(is_signed_by(&[public_key()], &head.signatures, &head.control));
    assert_eq!(head.info, info);
    assert_eq!(head.info.installed_size, 17 + 21 + 5000);
    assert_eq!(head.scripts, scripts);
    assert_eq!(reader.len(), packed.len() - usize::try_from(head.data_offset).expect("small"));
    let mut data = Vec::new();
    flate2::read::GzDecoder::new(reader).read_to_end(&mut data).expect("whole");
    assert_eq!(data.len() % 512, 0);

    let entry = index_package(&mut &packed[..]).expect("whole");
    assert_eq!(entry.size, packed.len() as u64);
    let mut index = Vec::new();
    write_index(std::slice::from_ref(&entry), "leanfs's tests", Some(&private_key()), &mut index)
        .expect("written");
    let archive = IndexArchive::open(&index).expect("whole");
    assert!(is_signed_by(&[public_key()], &archive.signatures, archive.signed));
    assert_eq!(archive.description, "leanfs's tests");
    assert_eq!(archive.index().expect("readable").entries, [entry]);
}

#[test]
fn what_no_package_can_hold_is_refused() {
    let origin = Origin::skeleton();
    let mut tree = Tree::new();
    tree.insert(path(".PKGINFO"), Node::file(Content::from_bytes(b"x".to_vec()), Metadata::FILE, origin));
    let dotted = tree.validate().expect("valid");
    let empty = || Tree::new().validate().expect("valid");
    let good = sample_info();
    let script = |name: &str| vec![(name.to_owned(), Vec::new())];
    for (info, tree, scripts) in [
        (good.clone(), dotted, vec![]),
        (PackageInfo { name: "../x".to_owned(), ..good.clone() }, empty(), vec![]),
        (PackageInfo { version: "x".to_owned(), ..good.clone() }, empty(), vec![]),
        (PackageInfo { description: "a\npkgname = b".to_owned(), ..good.clone() }, empty(), vec![]),
        (good, empty(), script("post-install")),
    ] {
        let error = pack_in_memory(&info, &tree, &scripts, None).expect_err("refused");
        assert!(matches!(error, ApkError::Unpackable { .. }), "{error}");
    }
    let entry =
        IndexEntry { description: "a\nP:b".to_owned(), ..IndexEntry::new("a", "1", Checksum::sha1_of(b"")) };
    let unusable = IndexEntry {
        unusable: Some("a dependency is missing".to_owned()),
        ..IndexEntry::new("a", "1", Checksum::sha1_of(b""))
    };
    for entry in [entry, unusable] {
        assert!(write_index(&[entry], "", None, &mut Vec::new()).is_err());
    }
}

#[test]
fn every_damage_to_a_package_is_found() {
    let packed = pack_in_memory(&sample_info(), &sample_tree(), &[], Some(&private_key())).expect("packed");
    let entry = index_package(&mut &packed[..]).expect("whole");
    // What fetch does, in short: the index names the control member, that names the data member.
    let accepted = |bytes: &[u8]| {
        index_package(&mut &bytes[..]).is_ok_and(|found| found.control_hash == entry.control_hash)
            && PackageHead::read(&mut &bytes[..])
                .is_ok_and(|head| is_signed_by(&[public_key()], &head.signatures, &head.control))
    };
    assert!(accepted(&packed));
    for end in 0..packed.len() {
        assert!(!accepted(&packed[..end]), "cut at {end}");
    }
    assert!(!accepted(&[&packed[..], b"x"].concat()));
    assert!(!accepted(&[&packed[..], &packed[..]].concat()));
    let head = PackageHead::read(&mut &packed[..]).expect("whole");
    let control_start = usize::try_from(head.data_offset).expect("small") - head.control.len();
    for place in control_start..packed.len() {
        let mut changed = packed.clone();
        changed[place] ^= 0x10;
        assert!(!accepted(&changed), "changed at {place}");
    }
    // Bytes of the signature member without a meaning (gzip's header, the last bits of a stream) may change; the
    // signature may not.
    for place in 0..control_start {
        let mut changed = packed.clone();
        changed[place] ^= 0x10;
        if accepted(&changed) {
            let changed = PackageHead::read(&mut &changed[..]).expect("accepted");
            assert_eq!(changed.signatures, head.signatures, "changed at {place}");
        }
    }
}

/// The real `apk`: by `LEANFS_APK`, which `cargo xtask test` sets, or on the PATH.
pub(crate) fn real_apk() -> Option<PathBuf> {
    let apk = std::env::var_os("LEANFS_APK").map_or_else(|| PathBuf::from("apk"), PathBuf::from);
    match Command::new(&apk).arg("--version").output() {
        Ok(output) if output.status.success() => Some(apk),
        _ => {
            assert!(std::env::var_os("CI").is_none_or(|value| value != "true"), "apk is missing in CI");
            println!("SKIP: no apk, neither by LEANFS_APK nor on the PATH");
            None
        }
    }
}

/// apk unpacks no package whose size is 0.
#[test]
fn a_package_of_nothing_but_links_has_a_size() {
    let mut tree = Tree::new();
    tree.insert_with_parents(
        "bin/sh".parse().expect("good"),
        Node::symlink("/bin/busybox", Origin::skeleton()),
    );
    let size = |tree: Tree, scripts: &[(String, Vec<u8>)]| {
        let tree = tree.validate().expect("valid");
        let packed = pack_in_memory(&sample_info(), &tree, scripts, None).expect("packed");
        PackageHead::read(&mut &packed[..]).expect("whole").info.installed_size
    };
    assert_eq!(size(tree, &[]), 1);
    assert_eq!(size(Tree::new(), &[(".post-install".to_owned(), b"#!/bin/sh\n".to_vec())]), 1);
    assert_eq!(size(Tree::new(), &[]), 0);
}

#[test]
fn the_real_apk_verifies_and_installs_what_is_written() {
    let Some(apk) = real_apk() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let repository = directory.path().join("repository/x86_64");
    let (root, keys) = (directory.path().join("root"), directory.path().join("keys"));
    for path in [&repository, &root, &keys] {
        fs_err::create_dir_all(path).expect("made");
    }
    let key = private_key();
    fs_err::write(keys.join(KEY_NAME), key.public().to_pem()).expect("written");
    let user = PackageInfo {
        name: "hello-user".to_owned(),
        depends: vec!["hello>1".parse().expect("good"), "cmd:hello".parse().expect("good")],
        provides: vec![],
        ..sample_info()
    };
    let empty = Tree::new().validate().expect("valid");
    let mut entries = Vec::new();
    for (info, tree) in [(sample_info(), sample_tree()), (user, empty)] {
        let packed = pack_in_memory(&info, &tree, &[], Some(&key)).expect("packed");
        let entry = index_package(&mut &packed[..]).expect("whole");
        fs_err::write(repository.join(entry.file_name()), packed).expect("written");
        entries.push(entry);
    }
    let mut index = Vec::new();
    write_index(&entries, "leanfs's tests", Some(&key), &mut index).expect("written");
    fs_err::write(repository.join("APKINDEX.tar.gz"), index).expect("written");

    // As root, apk installs as root does.
    let usermode = if rustix::process::geteuid().is_root() { "--progress=no" } else { "--usermode" };
    let run = |arguments: &[&str]| {
        let output = Command::new(&apk)
            .args(["--root".as_ref(), root.as_os_str(), "--keys-dir".as_ref(), keys.as_os_str()])
            .args(["--arch", "x86_64", "--no-cache"])
            .args(["--repositories-file", "/dev/null", "-X"])
            .arg(directory.path().join("repository"))
            .args(arguments)
            .output()
            .expect("apk runs");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(output.status.success(), "apk {arguments:?}: {text}");
        text
    };
    for file in files(&repository, "apk") {
        run(&["verify", file.to_str().expect("UTF-8")]);
    }
    let installed = run(&["add", "--initdb", usermode, "--no-scripts", "hello-user"]);
    assert!(installed.contains("(2/2) Installing hello-user"), "{installed}");
    let greeting = fs_err::read_to_string(root.join("etc/hello.conf")).expect("installed");
    assert_eq!(greeting, "greeting = hello\n");
    assert_eq!(fs_err::read_link(root.join("usr/bin/salut")).expect("a link"), Path::new("hello"));
    use std::os::unix::fs::MetadataExt;
    let inode = |name: &str| fs_err::metadata(root.join("usr/bin").join(name)).expect("installed").ino();
    assert_eq!(inode("hello"), inode("a-name"));
    // What was installed has the checksums that were written.
    let audit = run(&["audit", "--full"]);
    assert!(!audit.lines().any(|line| line.starts_with(['U', 'M', 'X'])), "{audit}");

    // A changed byte in the index, or an unknown key, is refused.
    fs_err::remove_file(keys.join(KEY_NAME)).expect("removed");
    let refused = Command::new(&apk)
        .args(["--root".as_ref(), root.as_os_str(), "--keys-dir".as_ref(), keys.as_os_str()])
        .args(["--arch", "x86_64", "--no-cache", "--repositories-file", "/dev/null", "-X"])
        .arg(directory.path().join("repository"))
        .args(["add", "--simulate", "--initdb", usermode, "hello"])
        .output()
        .expect("apk runs");
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("UNTRUSTED"), "{text}");
}

fn any_version() -> impl Strategy<Value = String> {
    let suffix = prop_oneof!["_alpha[0-9]{0,2}", "_rc[0-9]{0,2}", "_p[0-9]{0,2}", "_git[0-9]{0,4}"];
    (
        "[0-9]{1,3}(\\.[0-9]{1,3}){0,3}[a-c]?",
        proptest::collection::vec(suffix, 0..3),
        "(~[0-9a-f]{1,6})?(-r[0-9]{1,2})?",
    )
        .prop_map(|(digits, suffixes, rest)| format!("{digits}{}{rest}", suffixes.concat()))
}

fn any_dependency() -> impl Strategy<Value = String> {
    (
        "!?",
        "(so:|cmd:|pc:|/bin/)?[a-z][a-z0-9+._-]{0,12}",
        proptest::option::of((prop_oneof!["=", "<", ">", "<=", ">=", "~", ">~", "<~"], any_version())),
    )
        .prop_map(|(conflict, name, bound)| {
            let bound = bound.map(|(operator, version)| operator + &version).unwrap_or_default();
            format!("{conflict}{name}{bound}")
        })
}

proptest! {
    #[test]
    fn versions_are_totally_ordered(a in any_version(), b in any_version(), c in any_version()) {
        let [a, b, c] = [a, b, c].map(|text| text.parse::<Version>().expect("by the grammar"));
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        if a <= b && b <= c {
            prop_assert!(a <= c);
        }
        if a == b {
            prop_assert_eq!(a.cmp(&c), b.cmp(&c));
        }
    }

    #[test]
    fn dependencies_are_written_as_they_were_read(text in any_dependency()) {
        let dependency: Dependency = text.parse().expect("by the grammar");
        prop_assert_eq!(dependency.to_string(), text);
    }

    #[test]
    fn no_text_is_too_strange(text in "\\PC*", left in "[0-9a-z._~r-]*", right in "[0-9a-z._~r-]*") {
        let _ = text.parse::<Dependency>();
        let _ = text.parse::<Checksum>();
        let _ = Index::parse(&text);
        let _ = PackageInfo::parse(text.as_bytes());
        let _ = PublicKey::from_pem("x", text.as_bytes());
        prop_assert_eq!(version::compare(&left, &right), version::compare(&right, &left).reverse());
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = IndexArchive::open(&bytes);
        let _ = PackageHead::read(&mut &bytes[..]);
        let with_magic = [&[0x1f, 0x8b, 8, 0][..], &bytes].concat();
        let _ = IndexArchive::open(&with_magic);
        let _ = PackageHead::read(&mut &with_magic[..]);
        // Well compressed, but strange inside.
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &bytes).expect("to memory");
        let member = encoder.finish().expect("to memory");
        let _ = IndexArchive::open(&member);
        let _ = PackageHead::read(&mut &member[..]);
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &bytes)
        );
        let _ = PublicKey::from_pem("x", pem.as_bytes());
        let _ = PrivateKey::from_pem("x", pem.replace("PUBLIC", "PRIVATE").as_bytes());
    }

    #[test]
    fn indexes_are_written_as_they_were_read(
        versions in proptest::collection::vec(any_version(), 0..5),
        dependencies in proptest::collection::vec(any_dependency(), 0..5),
        description in "[ -~]{0,20}",
        priority in proptest::option::of(any::<u32>()),
    ) {
        let dependencies: Vec<Dependency> =
            dependencies.iter().map(|text| text.parse().expect("by the grammar")).collect();
        let entries: Vec<IndexEntry> = versions
            .into_iter()
            .map(|version| IndexEntry {
                description: description.clone(),
                depends: dependencies.clone(),
                install_if: dependencies.clone(),
                provider_priority: priority,
                ..IndexEntry::new("a", version, Checksum::sha1_of(b""))
            })
            .collect();
        let mut file = Vec::new();
        write_index(&entries, "", None, &mut file).expect("written");
        prop_assert_eq!(IndexArchive::open(&file).expect("whole").index().expect("readable").entries, entries);
    }
}
