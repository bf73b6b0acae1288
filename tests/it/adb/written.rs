//! What is written, judged by the real `apk`.

use std::path::Path;

use leanfs::apk::adb::write::{Owners, WriteOptions, pack};
use leanfs::apk::adb::{AdbHead, AdbIndex, AdbPackage, Compression, EntryKind, Schema, open};
use leanfs::apk::{ApkError, Checksum, Dependency, IndexEntry, PackageInfo};
use leanfs::arch::Arch;
use leanfs::recipe::Repository;
use leanfs::tree::{Content, Metadata, Node, NodeKind, Origin, Tree};

use super::{COMPRESSIONS, KEYS, entry_of, fetch, indexed, key_path, packed, private, run, text};
use crate::apk_formats::{real_apk, sample_info, sample_tree};

#[test]
fn what_is_packed_is_read_back() {
    for (index, compression) in COMPRESSIONS.iter().enumerate() {
        let key = private(index % KEYS.len());
        let options = WriteOptions { key: Some(&key), compression: *compression };
        let bytes = packed(&sample_info(), &sample_tree(), &options);
        assert_eq!(bytes, packed(&sample_info(), &sample_tree(), &options), "the same twice");
        let mut blocks = open(&bytes[..], 1 << 30).expect("good");
        let (head, data) = AdbHead::read(&mut blocks, Schema::PACKAGE, 1 << 30).expect("good");
        assert_eq!(head.signatures.len(), 1);
        head.signatures[0].verify(key.public(), Schema::PACKAGE, &head.adb).expect("it fits");
        head.signatures[0].verify(key.public(), Schema::INDEX, &head.adb).expect_err("another schema");
        for other in (0..KEYS.len()).filter(|other| *other != index % KEYS.len()) {
            head.signatures[0]
                .verify(private(other).public(), Schema::PACKAGE, &head.adb)
                .expect_err("another key");
        }
        let package = AdbPackage::parse(&head.adb).expect("good");
        assert_eq!(package.info, PackageInfo { installed_size: 17 + 21 + 5000, ..sample_info() });
        assert_eq!(package.scripts, [(".post-install".to_owned(), b"#!/bin/sh\ntrue\n".to_vec())]);
        let mut contents = Vec::new();
        package
            .read_contents(&mut blocks, data, &mut |entry, reader| {
                let mut content = Vec::new();
                reader.read_to_end(&mut content)?;
                contents.push((entry.path.to_string(), content));
                Ok(())
            })
            .expect("good");
        blocks.into_inner().finish().expect("the end");
        assert_eq!(contents.len(), 3, "the empty file has none, the link neither");
        // The first name of a file with two has the content.
        assert_eq!(contents[1], ("/usr/bin/a-name".to_owned(), b"#!/bin/sh\necho hello\n".to_vec()));
        let second = package.entries.iter().find(|entry| entry.path.to_string() == "/usr/bin/hello");
        assert_eq!(
            second.map(|entry| &entry.kind),
            Some(&EntryKind::Hardlink("usr/bin/a-name".parse().expect("good")))
        );
    }
}

#[test]
fn what_no_package_can_hold_is_refused() {
    let tree = |metadata: Metadata| {
        let mut tree = Tree::new();
        let content = Content::from_bytes(b"x".to_vec());
        tree.insert("x".parse().expect("good"), Node::file(content, metadata, Origin::skeleton()));
        tree.validate().expect("valid")
    };
    let good = sample_info();
    let plain = || tree(Metadata::FILE);
    let cases = [
        (good.clone(), tree(Metadata { uid: 7, ..Metadata::FILE }), ".trigger"),
        (good.clone(), tree(Metadata { mtime: -1, ..Metadata::FILE }), ".trigger"),
        (PackageInfo { name: "../x".to_owned(), ..good.clone() }, plain(), ".trigger"),
        (PackageInfo { version: "x".to_owned(), ..good.clone() }, plain(), ".trigger"),
        (PackageInfo { url: "a\nb".to_owned(), ..good.clone() }, plain(), ".trigger"),
        (good.clone(), plain(), "trigger"),
    ];
    for (info, tree, script) in cases {
        let scripts = [(script.to_owned(), b"x".to_vec())];
        let options = WriteOptions::default();
        let error = pack(&info, &tree, &scripts, &Owners::default(), &options, &mut Vec::new());
        assert!(matches!(error, Err(ApkError::Unpackable { .. })), "{error:?}");
    }
    let owners = Owners { users: [(7, "lp".to_owned())].into(), groups: [(7, "lp".to_owned())].into() };
    let owned = tree(Metadata { uid: 7, gid: 7, ..Metadata::FILE });
    pack(&good, &owned, &[], &owners, &WriteOptions::default(), &mut Vec::new())
        .expect("their names are known");
    let unusable = IndexEntry {
        unusable: Some("why".to_owned()),
        ..IndexEntry::new("a", "1", Checksum::Sha256([0; 32]))
    };
    {
        let entry = unusable;
        leanfs::apk::adb::write::write_index(&[entry], "", None, &WriteOptions::default(), &mut Vec::new())
            .expect_err("refused");
    }
}

/// All that an entry can say.
fn full_info() -> PackageInfo {
    let list = |words: &str| Dependency::parse_list(words).expect("good");
    PackageInfo {
        name: "hello-full".to_owned(),
        commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        maintainer: "Some One <one@example.org>".to_owned(),
        depends: list("hello>1 cmd:hello !nothing !other<2 so:libz.so.1~1.2 a>=1 b<=2 c<~3 d>~4 e=5 e=6")
            .into_iter()
            .filter(|dependency| {
                ["hello", "cmd:hello", "nothing", "other"].contains(&dependency.name.as_str())
            })
            .collect(),
        install_if: list("hello=1.2.3_rc1-r4 some-c<~3 some-d>~4 some-a>=1 some-b<=2"),
        replaces: list("hello<9"),
        replaces_priority: Some(3),
        provider_priority: Some(77),
        provides: vec![Dependency::any("greeter"), Dependency::exactly("cmd:hi", "1.2.3_rc1-r4")],
        triggers: vec!["/usr/bin".to_owned(), "/usr/share/*".to_owned()],
        installed_size: 1,
        ..sample_info()
    }
}

/// A repository of two packages in `directory`, by each of the keys.
fn repository(directory: &Path, key: usize, compression: Compression) -> Vec<IndexEntry> {
    let below = directory.join("x86_64");
    fs_err::create_dir_all(&below).expect("made");
    let key = private(key);
    let options = WriteOptions { key: Some(&key), compression };
    let mut entries = Vec::new();
    for info in [sample_info(), full_info()] {
        let mut tree = sample_tree().into_tree();
        if info.name != "hello" {
            let only =
                Node::new(NodeKind::Fifo, Metadata { mode: 0o600, ..Metadata::FILE }, Origin::skeleton());
            tree = Tree::new();
            tree.insert_with_parents("run/hello".parse().expect("good"), only);
        }
        let bytes = packed(&info, &tree.validate().expect("valid"), &options);
        let entry = entry_of(&bytes);
        fs_err::write(below.join(entry.file_name()), bytes).expect("written");
        entries.push(entry);
    }
    fs_err::write(below.join("Packages.adb"), indexed(&entries, &options)).expect("written");
    entries
}

#[test]
fn the_real_apk_verifies_indexes_and_installs_what_is_written() {
    let Some(apk) = real_apk() else { return };
    let usermode = if rustix::process::geteuid().is_root() { "--progress=no" } else { "--usermode" };
    let zstd = super::made::compressions(&apk).len() > 3;
    let all = COMPRESSIONS.iter().filter(|compression| zstd || !matches!(compression, Compression::Zstd(_)));
    for (index, compression) in all.enumerate() {
        let place = tempfile::tempdir().expect("a directory");
        let at = |name: &str| place.path().join(name);
        let (_, public) = KEYS[index % KEYS.len()];
        let entries = repository(&at("repository"), index % KEYS.len(), *compression);
        fs_err::create_dir_all(at("keys")).expect("made");
        fs_err::copy(key_path(public), at("keys").join(public)).expect("copied");
        let keys = at("keys");
        let keys = text(&keys);
        let below = at("repository/x86_64");
        let files: Vec<_> = entries.iter().map(|entry| below.join(entry.file_name())).collect();
        for file in files.iter().chain([&below.join("Packages.adb")]) {
            let said = run(&apk, &["verify", "--keys-dir", keys, text(file)]);
            assert!(said.contains("OK"), "{said}");
        }

        // The index is what `apk mkndx` makes of the packages.
        let theirs = at("theirs.adb");
        let mut mkndx = vec!["mkndx", "--keys-dir", keys, "-d", "the tests' own", "-o", text(&theirs)];
        mkndx.extend(files.iter().map(|file| text(file)));
        run(&apk, &mkndx);
        let dump = |path: &Path| {
            let dump = run(&apk, &["adbdump", text(path)]);
            dump.lines()
                .filter(|line| !line.starts_with('#'))
                .map(|line| format!("{line}\n"))
                .collect::<String>()
        };
        assert_eq!(dump(&below.join("Packages.adb")), dump(&theirs));
        assert_eq!(dump(&theirs).lines().filter(|line| line.starts_with("  - name:")).count(), 2);
        let read = fs_err::read(&theirs).expect("an index");
        let mut blocks = open(&read[..], 1 << 30).expect("good");
        let (head, _) = AdbHead::read(&mut blocks, Schema::INDEX, 1 << 30).expect("good");
        let read = AdbIndex::parse(&head.adb).expect("good").index;
        assert_eq!(read.entries.len(), entries.len());
        for entry in &entries {
            let sorted = |mut entry: IndexEntry| {
                for list in [&mut entry.depends, &mut entry.provides, &mut entry.install_if] {
                    list.sort();
                }
                entry
            };
            let theirs = read.entries.iter().find(|read| read.name == entry.name).expect("there");
            assert_eq!(sorted(theirs.clone()), sorted(entry.clone()));
        }

        // It installs from the repository, by its kind and by the index's own path.
        fs_err::write(at("repositories"), format!("v3 {}\n", text(&at("repository")))).expect("written");
        for (root, sources) in [
            ("root-v3", vec!["--repositories-file".to_owned(), text(&at("repositories")).to_owned()]),
            (
                "root-ndx",
                vec![
                    "-X".to_owned(),
                    text(&below.join("Packages.adb")).to_owned(),
                    "--repositories-file=/dev/null".to_owned(),
                ],
            ),
        ] {
            let root = at(root);
            fs_err::create_dir_all(&root).expect("made");
            let mut arguments =
                vec!["--root", text(&root), "--keys-dir", keys, "--arch", "x86_64", "--no-cache"];
            arguments.extend(sources.iter().map(String::as_str));
            let with = |more: &[&'static str]| [&arguments[..], more].concat();
            let said = run(&apk, &with(&["add", "--initdb", usermode, "--no-scripts", "hello-full"]));
            assert!(said.contains("(2/2) Installing hello-full"), "{said}");
            assert_eq!(
                fs_err::read_to_string(root.join("etc/hello.conf")).expect("there"),
                "greeting = hello\n"
            );
            use std::os::unix::fs::{FileTypeExt, MetadataExt};
            let inode = |name: &str| fs_err::metadata(root.join("usr/bin").join(name)).expect("there").ino();
            assert_eq!(inode("hello"), inode("a-name"));
            assert_eq!(fs_err::metadata(root.join("usr/bin/hello")).expect("there").mode() & 0o7777, 0o4755);
            assert!(fs_err::symlink_metadata(root.join("run/hello")).expect("there").file_type().is_fifo());
            let audit = run(&apk, &with(&["audit", "--full"]));
            assert!(!audit.lines().any(|line| line.starts_with(['U', 'M', 'X'])), "{audit}");
        }

        // leanfs itself, by both layouts.
        for source in [at("repository"), below.join("Packages.adb")] {
            let source = Repository::Directory(source);
            let apks = fetch(&source, Arch::X86_64, &[key_path(public)], &at("cache")).expect("verified");
            assert_eq!(apks.len(), 2);
            let error = fetch(&source, Arch::X86_64, &[key_path(KEYS[(index + 1) % 3].1)], &at("cache"));
            assert!(error.expect_err("another key").to_string().contains("not trusted"));
        }
    }
}
