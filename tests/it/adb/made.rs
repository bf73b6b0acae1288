//! What the real `apk mkpkg` and `apk mkndx` make of a directory, read.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use leanfs::arch::Arch;
use leanfs::fetch::VerifiedApk;
use leanfs::layer::directory;
use leanfs::recipe::Repository;
use leanfs::tree::{Content, LayerKind, Node, NodeKind, Origin, Tree, TreePath, xattr_belongs_to_file};
use rustix::fs::XattrFlags;

use super::{KEYS, fetch, key_path, run, text};
use crate::apk_formats::real_apk;

/// A directory with everything that the user may make.
fn everything(root: &Path) {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let at = |name: &str| root.join(name);
    for name in ["usr/bin", "usr/empty", "etc", "dev", "var/lib/some", "a-b", "a/b"] {
        fs_err::create_dir_all(at(name)).expect("made");
    }
    let mut large = Vec::new();
    for number in 0..400_000_u32 {
        large.extend(number.to_le_bytes());
    }
    for (name, content) in [
        ("usr/bin/program", &large[..]),
        ("usr/bin/small", b"#!/bin/sh\n"),
        ("etc/nothing", b""),
        ("etc/.hidden", b"x"),
        (".at-the-top", b"y"),
        ("a-b/z", b"sorted"),
        ("a/b/c", b"sorted too"),
        ("var/lib/some/name with blanks \u{e9}", b"z"),
    ] {
        fs_err::write(at(name), content).expect("written");
    }
    fs_err::set_permissions(at("usr/bin/program"), PermissionsExt::from_mode(0o4755)).expect("set");
    fs_err::set_permissions(at("usr/bin/small"), PermissionsExt::from_mode(0o711)).expect("set");
    fs_err::set_permissions(at("usr/empty"), PermissionsExt::from_mode(0o1777)).expect("set");
    fs_err::hard_link(at("usr/bin/program"), at("etc/also-program")).expect("linked");
    fs_err::hard_link(at("usr/bin/program"), at("usr/bin/also")).expect("linked");
    symlink("../bin/program", at("usr/link")).expect("linked");
    // No named pipe: apk 3.0.8 opens what it packs, and waits there for somebody to write.
    let xattr = |name: &str, key: &str, value: &[u8]| {
        rustix::fs::lsetxattr(at(name), key, value, XattrFlags::empty())
            .unwrap_or_else(|error| println!("SKIP: {key} can't be set here: {error}"));
    };
    xattr("usr/bin/small", "user.note", b"\0binary\xff");
    xattr("usr/empty", "user.of-a-directory", b"d");
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: only root makes devices, owners and capabilities");
        return;
    }
    // cap_net_bind_service+ep, as the kernel has it (version 2).
    xattr(
        "usr/bin/program",
        "security.capability",
        &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    // user::rw-, user:8:r--, group::r--, mask::r--, other::r--.
    let acl: Vec<u8> = [(1, 6, u32::MAX), (2, 4, 8), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 4, u32::MAX)]
        .iter()
        .flat_map(|&(tag, permissions, id): &(u16, u16, u32)| {
            [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        })
        .collect();
    xattr("a/b/c", "system.posix_acl_access", &[&[2, 0, 0, 0][..], &acl].concat());
    rustix::fs::chown(
        at("etc/.hidden"),
        Some(rustix::fs::Uid::from_raw(1)),
        Some(rustix::fs::Gid::from_raw(2)),
    )
    .expect("owned");
    for (name, kind, device) in [
        ("dev/null", rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
        ("dev/disk", rustix::fs::FileType::BlockDevice, rustix::fs::makedev(259, 70_000)),
    ] {
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        if let Err(error) = rustix::fs::mknodat(rustix::fs::CWD, at(name), kind, mode, device) {
            println!("SKIP: {name} can't be made here: {error}");
        }
    }
}

/// A node as text, but for what a package doesn't have: times of directories.
fn described(node: &Node) -> String {
    let content = |content: &Content| content.read(1 << 30).expect("readable");
    let kind = match &node.kind {
        NodeKind::File(bytes) => {
            format!("file {:?}", ring::digest::digest(&ring::digest::SHA256, &content(bytes)))
        }
        other => format!("{other:?}"),
    };
    let metadata = node.metadata;
    let mtime = if matches!(node.kind, NodeKind::Directory) { 0 } else { metadata.mtime };
    let xattrs: BTreeMap<_, _> =
        node.xattrs.iter().map(|(name, value)| (String::from_utf8_lossy(name), value)).collect();
    format!("{kind} {:o} {}:{} {mtime} {xattrs:?}", metadata.mode, metadata.uid, metadata.gid)
}

/// Every name of a file by what all of them are; a hardlink is described by the file.
fn outline(tree: &Tree) -> BTreeMap<TreePath, String> {
    let first = |path: &TreePath| match tree.get(path).map(|node| &node.kind) {
        Some(NodeKind::Hardlink(target)) => target.clone(),
        _ => path.clone(),
    };
    tree.iter()
        .filter(|(path, _)| !path.is_root())
        .map(|(path, _)| {
            let target = first(path);
            let names: Vec<String> = tree
                .iter()
                .filter(|(other, _)| first(other) == target)
                .map(|(other, _)| other.to_string())
                .collect();
            let node = tree.get(&target).expect("a valid tree");
            let owned = if names.len() > 1 { names.join(" ") } else { String::new() };
            (path.clone(), format!("{} {owned}", described(node)))
        })
        .collect()
}

fn with_owners(apk: &VerifiedApk) -> Tree {
    // As the host's own accounts have them, by which `apk mkpkg` named them.
    let number = |file: &str, name: &str| {
        let text = fs_err::read_to_string(file).expect("the host has accounts");
        let line = text.lines().find(|line| line.split(':').next() == Some(name)).expect("the name is there");
        line.split(':').nth(2).expect("three fields").parse::<u32>().expect("a number")
    };
    let mut tree = apk.tree().clone();
    for owner in apk.owners() {
        let node = tree.get_mut(&owner.path).expect("its path is there");
        assert!([0, 65_534].contains(&node.metadata.uid));
        node.metadata.uid = number("/etc/passwd", &owner.user);
        node.metadata.gid = number("/etc/group", &owner.group);
    }
    tree
}

/// What this `apk` compresses with: not every one is built with Zstandard.
pub(super) fn compressions(apk: &Path) -> Vec<&'static str> {
    let mut all = vec!["none", "deflate", "deflate:1", "zstd", "zstd:22"];
    let output = Command::new(apk).args(["--compression", "zstd", "--version"]).output().expect("apk runs");
    if !output.status.success() {
        println!("SKIP: this apk has no Zstandard");
        all.truncate(3);
    }
    all
}

#[test]
fn everything_that_apk_packs_comes_into_the_tree() {
    let Some(apk) = real_apk() else { return };
    let place = tempfile::tempdir().expect("a directory");
    let at = |name: &str| place.path().join(name);
    fs_err::create_dir_all(at("repository/x86_64")).expect("made");
    fs_err::create_dir_all(at("keys")).expect("made");
    fs_err::create_dir(at("root")).expect("made");
    everything(&at("root"));
    fs_err::write(at("post-install"), "#!/bin/sh\necho installed\n").expect("written");
    let expected = {
        let origin = Origin::new(LayerKind::Overlay, "");
        let tree = directory::read(&at("root"), &origin, &xattr_belongs_to_file).expect("readable");
        outline(&tree)
    };
    for (index, compression) in compressions(&apk).into_iter().enumerate() {
        let (private, public) = KEYS[index % KEYS.len()];
        let key = key_path(private);
        let package = at("repository/x86_64").join("all-1.0-r0.apk");
        let script = format!("post-install:{}", text(&at("post-install")));
        let root = at("root");
        let mkpkg = [
            "mkpkg",
            "--compression",
            compression,
            "--sign-key",
            text(&key),
            "-F",
            text(&root),
            "-o",
            text(&package),
            "-I",
            "name:all",
            "-I",
            "version:1.0-r0",
            "-I",
            "arch:x86_64",
            "-I",
            "depends:musl>=1.2 !other so:libx.so.1",
            "-I",
            "provides:cmd:all=1.0-r0",
            "-I",
            "description:All there is",
            "-I",
            "replaces-priority:5",
            "-s",
            &script,
            "-t",
            "/usr/bin",
            "-t",
            "/etc/*",
        ];
        run(&apk, &mkpkg);
        let keys = at("keys");
        fs_err::copy(key_path(public), keys.join(public)).expect("copied");
        let ndx = at("repository/x86_64").join("Packages.adb");
        run(
            &apk,
            &[
                "mkndx",
                "--compression",
                compression,
                "--keys-dir",
                text(&keys),
                "--sign-key",
                text(&key),
                "-o",
                text(&ndx),
                text(&package),
            ],
        );
        let source = Repository::Directory(at("repository"));
        let apks = fetch(&source, Arch::X86_64, &[key_path(public)], &at("cache")).expect("verified");
        let found = outline(&with_owners(&apks[0]));
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{compression}");
        for (path, expected) in &expected {
            assert_eq!(&found[path], expected, "{path} {compression}");
        }
        let info = apks[0].info();
        assert_eq!((info.replaces_priority, info.triggers.len(), info.depends.len()), (Some(5), 2, 3));
        assert_eq!(
            apks[0].scripts(),
            [(".post-install".to_owned(), b"#!/bin/sh\necho installed\n".to_vec())]
        );
    }
}

/// The identity can be cut to 160 bits, and an index of format v3 can name packages of v2.
#[test]
fn both_formats_in_one_index_and_short_identities() {
    let Some(apk) = real_apk() else { return };
    let place = tempfile::tempdir().expect("a directory");
    let at = |name: &str| place.path().join(name);
    fs_err::create_dir_all(at("repository/x86_64")).expect("made");
    fs_err::create_dir_all(at("root/etc")).expect("made");
    fs_err::write(at("root/etc/x"), "x").expect("written");
    let (private, public) = KEYS[1];
    let (key, third) = (key_path(private), at("repository/x86_64/three-1-r0.apk"));
    let root = at("root");
    run(
        &apk,
        &[
            "mkpkg",
            "--sign-key",
            text(&key),
            "-F",
            text(&root),
            "-o",
            text(&third),
            "-I",
            "name:three",
            "-I",
            "version:1-r0",
            "-I",
            "arch:x86_64",
        ],
    );
    let second = at("repository/x86_64/two-1-r0.apk");
    let info = leanfs::apk::PackageInfo {
        name: "two".to_owned(),
        version: "1-r0".to_owned(),
        arch: "x86_64".to_owned(),
        ..Default::default()
    };
    let tree = crate::apk_formats::sample_tree();
    let bytes = leanfs::apk::write::pack_in_memory(&info, &tree, &[], None).expect("packed");
    fs_err::write(&second, bytes).expect("written");
    for hash in ["sha256", "sha256-160"] {
        let ndx = at("repository/x86_64").join("Packages.adb");
        run(
            &apk,
            &[
                "mkndx",
                "--allow-untrusted",
                "--hash",
                hash,
                "--sign-key",
                text(&key),
                "-o",
                text(&ndx),
                text(&second),
                text(&third),
            ],
        );
        let source = Repository::Directory(at("repository"));
        let apks = fetch(&source, Arch::X86_64, &[key_path(public)], &at("cache"));
        let names: Vec<String> = apks
            .unwrap_or_else(|error| panic!("{hash}: {error}"))
            .iter()
            .map(|apk| apk.entry().full_name())
            .collect();
        assert_eq!(names, ["three-1-r0", "two-1-r0"], "{hash}");
    }
    // Ours is the same, but for the order of what it lists.
    let output = Command::new(env!("CARGO_BIN_EXE_leanfs"))
        .args(["index", "--format", "v3", "-o", text(&at("ours.adb")), "--key", text(&key)])
        .args([&second, &third])
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs = at("theirs.adb");
    run(&apk, &["mkndx", "--allow-untrusted", "-o", text(&theirs), text(&second), text(&third)]);
    let dump = |path: &Path| {
        let dump = run(&apk, &["adbdump", text(path)]);
        dump.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(dump(&at("ours.adb")), dump(&theirs));
}
