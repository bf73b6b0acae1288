//! Archives of root file systems, as GNU tar, bsdtar, Python and we ourselves read them.

pub(crate) mod disk;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use leanfs::archive::{TarLimits, TarOptions, read_tar};
use leanfs::image::tar::{self, Part, Settings};
use leanfs::tree::{Content, Metadata, Node, NodeKind, Origin, SpoolWriter, Tree, TreePath, ValidTree};
use proptest::prelude::*;

use super::end_to_end::bench::{full, skip, succeed, text, tools};

fn path(bytes: impl AsRef<[u8]>) -> TreePath {
    TreePath::parse(bytes.as_ref()).expect("a path")
}

fn node(kind: NodeKind) -> Node {
    Node::new(kind, Metadata { mtime: 1_700_000_000, ..Metadata::FILE }, Origin::skeleton())
}

fn file(bytes: &[u8]) -> Node {
    node(NodeKind::File(Content::from_bytes(bytes)))
}

fn owned(mut node: Node, mode: u32, uid: u32, gid: u32, mtime: i64) -> Node {
    node.metadata = Metadata { mode, uid, gid, mtime };
    node
}

fn with(mut node: Node, xattrs: &[(&str, &[u8])]) -> Node {
    for (name, value) in xattrs {
        node.xattrs.insert(name.as_bytes().to_vec(), value.to_vec());
    }
    node
}

/// `cap_net_bind_service=ep`, version 2.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// An access list that lets user 7 read: version 2; owner, user 7, group, mask, others.
const ACCESS: &[u8] = &[
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 7, 0, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16,
    0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
];

/// Everything that a Linux file system holds and an archive can say. Times before 1901 and after 2446 are left out:
/// ext4 has none.
pub(crate) fn everything() -> Tree {
    let mut tree = Tree::new();
    let directory = || Node::directory(Metadata::DIRECTORY, Origin::skeleton());
    tree.insert(path(""), with(owned(directory(), 0o751, 3, 4, 1_600_000_000), &[("user.root", b"yes")]));
    tree.insert(path("tmp"), owned(directory(), 0o1777, 0, 0, 12));
    tree.insert(path("late"), owned(file(b"late"), 0o644, 0, 0, 0o77_777_777_777 + 1));
    tree.insert(path("early"), owned(file(b"early"), 0o600, 1, 2, -1_000_000_000));
    tree.insert(path("empty"), file(b""));
    tree.insert(path("block"), file(&[b'b'; 512]));
    tree.insert(path("sparse"), file(&[0; 100_000]));
    tree.insert(path("suid"), owned(file(b"#!/bin/true"), 0o6755, 1000, 1001, 1));
    tree.insert(path("large-owner"), owned(file(b"x"), 0o640, 1 << 21, u32::MAX - 1, 1));
    let tool = with(
        owned(file(b"tool"), 0o4755, 5, 6, 7),
        &[("security.capability", CAPABILITY), ("user.empty", b""), ("user.binary", b"\0=\n\xff 12")],
    );
    tree.insert(path("usr/bin/tool"), tool);
    tree.insert(path("bin/tool"), node(NodeKind::Hardlink(path("usr/bin/tool"))));
    tree.insert(path("usr/bin/alias"), node(NodeKind::Hardlink(path("usr/bin/tool"))));
    tree.insert(path("usr/sbin/tool"), node(NodeKind::Hardlink(path("usr/bin/tool"))));
    tree.insert(
        path("acl"),
        with(owned(file(b"acl"), 0o640, 0, 0, 5), &[("system.posix_acl_access", ACCESS)]),
    );
    tree.insert(
        path("trusted"),
        with(owned(directory(), 0o755, 0, 0, 5), &[("trusted.x", b"1"), ("user.large", &[0xaa; 1500])]),
    );
    let mut symlink = |name: &str, target: Vec<u8>| {
        tree.insert(
            path(name),
            Node { metadata: Metadata { mode: 0o777, ..Metadata::FILE }, ..node(NodeKind::Symlink(target)) },
        );
    };
    symlink("link", b"usr/bin/tool".to_vec());
    symlink("dangling", b"/nowhere/../x/".to_vec());
    symlink("link-long", vec![b't'; 4095]);
    symlink("link-utf8", "zur Straße".into());
    symlink("link-raw", b"\xff\xfe".to_vec());
    symlink("link-raw-long", [b"\xff/".repeat(100), b"x".to_vec()].concat());
    tree.insert(path("dev/null"), owned(node(NodeKind::CharDevice { major: 1, minor: 3 }), 0o666, 0, 0, 1));
    tree.insert(
        path("dev/far"),
        owned(node(NodeKind::CharDevice { major: 4095, minor: 1_048_575 }), 0o600, 0, 0, 1),
    );
    tree.insert(path("dev/sda1"), owned(node(NodeKind::BlockDevice { major: 8, minor: 1 }), 0o660, 0, 6, 1));
    tree.insert(path("run/pipe"), owned(node(NodeKind::Fifo), 0o640, 1, 1, 1));
    tree.insert(path([vec![b'p'; 80], vec![b'q'; 74], vec![b'n'; 98]].join(&b'/')), file(b"prefix"));
    tree.insert(path("long/".repeat(60) + &"x".repeat(255)), file(b"long"));
    tree.insert(path("Ünïcode/文件"), file(b"utf8"));
    tree.insert(path(b"raw \xff\xfe"), file(b"raw"));
    tree.insert(path([b"raw-long/".to_vec(), vec![0xff; 200]].concat()), file(b"raw long"));
    tree.insert(path("odd names/ tab\t newline\n quote'\" back\\slash"), file(b"odd"));
    tree.insert(path("-rf"), file(b"dash"));
    tree
}

fn archive(tree: &ValidTree) -> Vec<u8> {
    let mut bytes = Vec::new();
    tar::write(tree, Settings::default(), &mut bytes).expect("written");
    bytes
}

/// Whether this process may make every kind of node with every owner, and the test's directory keeps what it must.
pub(crate) fn root(directory: &Path) -> Option<()> {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can make devices and give files to others");
    }
    let probe = directory.join("probe");
    fs_err::write(&probe, b"").expect("a file");
    for name in ["user.x", "trusted.x"] {
        if rustix::fs::setxattr(&probe, name, b"x", rustix::fs::XattrFlags::empty()).is_err() {
            return skip(&format!("the temporary directory keeps no extended attributes like {name}"));
        }
    }
    fs_err::remove_file(probe).expect("removed");
    Some(())
}

/// Panics with what differs only.
pub(crate) fn assert_same(expected: &str, found: &str, who: &str) {
    if expected == found {
        return;
    }
    let mut text = String::new();
    for line in expected.lines().filter(|line| !found.lines().any(|other| other == *line)) {
        let _ = writeln!(text, "- {}", &line[..line.len().min(300)]);
    }
    for line in found.lines().filter(|line| !expected.lines().any(|other| other == *line)) {
        let _ = writeln!(text, "+ {}", &line[..line.len().min(300)]);
    }
    panic!("{who}:\n{text}");
}

/// What a tool that runs in a directory makes of an archive, as it then stands on the disk.
fn unpacked(program: &str, arguments: &[&str], locale: &str, bytes: &[u8]) -> (String, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let target = directory.path().join("root");
    fs_err::create_dir(&target).expect("a directory");
    let archive = directory.path().join("x.tar");
    fs_err::write(&archive, bytes).expect("written");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg("-xpf")
        .arg(&archive)
        .current_dir(&target)
        .env("LC_ALL", locale)
        .env("TZ", "UTC");
    let said = text(&succeed(&mut command));
    (disk::tree_of(&target).validate().expect("valid").dump().expect("readable"), said)
}

#[test]
fn gnu_tar_unpacks_all_of_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (Some(()), Some(())) = (tools(&["tar"]), root(directory.path())) else { return };
    let tree = everything().validate().expect("valid");
    let expected = tree.dump().expect("readable");
    for locale in ["C", "C.UTF-8"] {
        let (found, said) = unpacked(
            "tar",
            &["--numeric-owner", "--same-owner", "--xattrs", "--xattrs-include=*", "--warning=no-timestamp"],
            locale,
            &archive(&tree),
        );
        assert_same(&expected, &found, &format!("tar with {locale}"));
        let unexpected: Vec<&str> =
            said.lines().filter(|line| !line.ends_with("keyword 'hdrcharset'")).collect();
        assert!(unexpected.is_empty(), "{unexpected:?}");
    }
}

/// It knows access lists only by records of their own, and gives `./` no time, whoever wrote it.
#[test]
fn bsdtar_unpacks_all_that_it_can() {
    let directory = tempfile::tempdir().expect("a directory");
    let (Some(()), Some(())) = (tools(&["bsdtar"]), root(directory.path())) else { return };
    let mut tree = everything();
    tree.get_mut(&path("acl")).expect("there").xattrs.clear();
    let tree = tree.validate().expect("valid");
    let arguments = ["--numeric-owner", "--same-owner", "--xattrs", "--acls"];
    let (mut found, said) = unpacked("bsdtar", &arguments, "C.UTF-8", &archive(&tree));
    let (first, rest) = found.split_once('\n').expect("lines");
    let of_root: Vec<&str> = first.split(' ').collect();
    found = [&[of_root[0], of_root[1], "1600000000"], &of_root[3..]].concat().join(" ") + "\n" + rest;
    assert_same(&tree.dump().expect("readable"), &found, "bsdtar");
    assert_eq!(said, "");
}

/// Prints each member as a line of `ValidTree::dump()`.
const PYTHON: &str = r#"
import hashlib, os, sys, tarfile
def escaped(text):
    shown = range(0x21, 0x7f)
    return "".join(chr(b) if b in shown and b not in b"\"'\\" else "\\x%02x" % b for b in os.fsencode(text))
def at(name):
    return "/" + escaped(name).removeprefix("./").removeprefix(".").rstrip("/")
tar = tarfile.open(sys.argv[1], errors="surrogateescape")
for member in tar:
    what = "-"
    if member.isfile():
        letter, what = "f", "%d:%s" % (member.size, hashlib.sha256(tar.extractfile(member).read()).hexdigest())
    elif member.islnk():
        letter, what = "h", at(member.linkname)
    elif member.issym():
        letter, what = "l", escaped(member.linkname)
    elif member.ischr() or member.isblk():
        letter, what = "c" if member.ischr() else "b", "%d:%d" % (member.devmajor, member.devminor)
    else:
        letter = "d" if member.isdir() else "p"
    prefix = "SCHILY.xattr."
    records = [record for record in member.pax_headers.items() if record[0].startswith(prefix)]
    xattrs = sorted((key.removeprefix(prefix), value) for key, value in records)
    xattrs = "".join(" %s=%s" % (escaped(k), os.fsencode(v).hex()) for k, v in xattrs)
    numbers = (member.mode, member.uid, member.gid, member.mtime)
    print("%s%04o %d:%d %d %s %s%s" % (letter, *numbers, what, at(member.name), xattrs))
"#;

#[test]
fn python_reads_all_of_it() {
    let Some(()) = tools(&["python3"]) else { return };
    let tree = everything().validate().expect("valid");
    let directory = tempfile::tempdir().expect("a directory");
    let (program, archived) = (directory.path().join("list.py"), directory.path().join("x.tar"));
    fs_err::write(&program, PYTHON).expect("written");
    fs_err::write(&archived, archive(&tree)).expect("written");
    let output = succeed(Command::new("python3").arg(&program).arg(&archived).env("LC_ALL", "C.UTF-8"));
    assert_same(&tree.dump().expect("readable"), &String::from_utf8_lossy(&output.stdout), "python");
}

/// What our own reader makes of an archive; the extended attributes come from the records that it shows.
fn read_back(bytes: &[u8]) -> Tree {
    let mut spool = SpoolWriter::new_in(&std::env::temp_dir()).expect("a spool");
    let mut xattrs: BTreeMap<TreePath, BTreeMap<Vec<u8>, Vec<u8>>> = BTreeMap::new();
    let mut options = TarOptions {
        limits: TarLimits::default(),
        keep: &|_| true,
        sha1: false,
        xattrs: &|_| false,
        inspect: &mut |entry| {
            let records = entry.pax.iter();
            let of = records.filter_map(|(keyword, value)| {
                Some((keyword.strip_prefix("SCHILY.xattr.")?.as_bytes().to_vec(), value.clone()))
            });
            xattrs.insert(entry.path.clone(), of.collect());
            Ok(())
        },
    };
    let entries = read_tar(bytes, &mut spool, &mut options).expect("readable");
    let mut tree = entries.into_tree(&spool.finish().expect("room"), &Origin::skeleton());
    for (path, xattrs) in xattrs {
        tree.get_mut(&path).expect("there").xattrs = xattrs;
    }
    tree
}

#[test]
fn we_read_all_of_it() {
    let tree = everything().validate().expect("valid");
    let found = read_back(&archive(&tree)).validate().expect("valid").dump().expect("readable");
    assert_same(&tree.dump().expect("readable"), &found, "leanfs");
}

/// A name of any bytes, short or long.
fn any_name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => b'a'..=b'c', 1 => any::<u8>()].prop_map(|byte| match byte {
        b'/' | 0 => b'x',
        byte => byte,
    });
    let length = prop_oneof![6 => 1..4_usize, 1 => 90..110_usize, 1 => 250..=255_usize];
    length
        .prop_flat_map(move |length| proptest::collection::vec(byte.clone(), length))
        .prop_filter("no dots alone", |name| name != b"." && name != b"..")
}

fn any_node() -> impl Strategy<Value = Node> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..1200_usize);
    let target = || proptest::collection::vec(1..=255_u8, 1..300_usize);
    let number = || 0..=0o7_777_777_u32;
    let kind = prop_oneof![
        4 => bytes().prop_map(|bytes| NodeKind::File(Content::from_bytes(bytes))),
        2 => Just(NodeKind::Directory),
        2 => target().prop_map(NodeKind::Symlink),
        // Replaced by a hardlink to a file, if there is one.
        2 => Just(NodeKind::Hardlink(TreePath::root())),
        1 => (number(), number()).prop_map(|(major, minor)| NodeKind::CharDevice { major, minor }),
        1 => (number(), number()).prop_map(|(major, minor)| NodeKind::BlockDevice { major, minor }),
        1 => Just(NodeKind::Fifo),
    ];
    let mtime = prop_oneof![3 => 0..2_000_000_000_i64, 1 => any::<i64>()];
    let id = || prop_oneof![3 => 0..2000_u32, 1 => any::<u32>()];
    let xattrs = proptest::collection::btree_map("[a-z]{1,6}\\.[ -<>-~é]{1,20}", bytes(), 0..3);
    (kind, 0..=0o7777_u32, id(), id(), mtime, xattrs).prop_map(|(kind, mode, uid, gid, mtime, xattrs)| {
        let mut node = Node::new(kind, Metadata { mode, uid, gid, mtime }, Origin::skeleton());
        let names = xattrs.into_iter().filter(|(name, _)| !name.contains("%3D") && !name.contains("%25"));
        node.xattrs = names.map(|(name, value)| (name.into_bytes(), value)).collect();
        node
    })
}

fn any_tree() -> impl Strategy<Value = ValidTree> {
    let path = proptest::collection::vec(any_name(), 0..5).prop_map(|names| path(names.join(&b'/')));
    proptest::collection::vec((path, any_node()), 0..25).prop_map(|nodes| {
        let mut tree = Tree::new();
        let mut links = Vec::new();
        for (path, node) in nodes {
            let above = path.ancestors();
            let taken = above.iter().any(|above| {
                tree.get(above).is_some_and(|node: &Node| !matches!(node.kind, NodeKind::Directory))
            });
            let holds = tree.below(&path).next().is_some();
            let is_link = matches!(node.kind, NodeKind::Hardlink(_));
            if taken || (holds || path.is_root()) && !matches!(node.kind, NodeKind::Directory) {
                continue;
            }
            if is_link {
                links.push(path.clone());
            }
            tree.insert(path, node);
        }
        let files: Vec<TreePath> = tree
            .iter()
            .filter(|(_, node)| matches!(node.kind, NodeKind::File(_)))
            .map(|(path, _)| path.clone())
            .collect();
        for (index, path) in links.iter().enumerate() {
            match files.get(index % files.len().max(1)) {
                Some(file) => match tree.get_mut(path) {
                    Some(node) if matches!(node.kind, NodeKind::Hardlink(_)) => {
                        node.kind = NodeKind::Hardlink(file.clone());
                    }
                    _ => {}
                },
                None => {
                    tree.remove(path);
                }
            }
        }
        tree.validate().expect("valid")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_is_read_back(tree in any_tree()) {
        let bytes = archive(&tree);
        prop_assert_eq!(&bytes, &archive(&tree));
        let found = read_back(&bytes).validate().expect("valid").dump().expect("readable");
        prop_assert_eq!(tree.dump().expect("readable"), found);
    }

    /// Two parts that together are everything give the tree again when the second is laid over the first.
    #[test]
    fn parts_make_the_whole(tree in any_tree(), seed in any::<u64>()) {
        // All names of a file are in the same part: links don't reach into another archive.
        let number = |path: &TreePath, node: &Node| {
            let home = match &node.kind {
                NodeKind::Hardlink(target) => target,
                _ => path,
            };
            let sum: u64 = home.as_bytes().iter().map(|&byte| u64::from(byte)).sum();
            (sum ^ seed) & 1
        };
        let mut whole = Tree::new();
        for wanted in [0, 1] {
            let contains = |path: &TreePath, node: &Node| number(path, node) == wanted;
            let mut bytes = Vec::new();
            tar::write_part(&tree, Part { contains: &contains, whiteouts: &[] }, Settings::default(), &mut bytes)
                .expect("written");
            for (path, node) in read_back(&bytes).iter() {
                let of_tree = tree.tree().get(path).expect("of the tree");
                prop_assert!(contains(path, of_tree) || matches!(node.kind, NodeKind::Directory));
                whole.insert(path.clone(), node.clone());
            }
        }
        prop_assert_eq!(tree.dump().expect("readable"), whole.validate().expect("valid").dump().expect("readable"));
    }
}

/// Zeros that are written become holes.
struct Sparse {
    file: fs_err::File,
    length: u64,
}

impl Write for Sparse {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        if bytes.iter().any(|&byte| byte != 0) {
            self.file.file().write_all_at(bytes, self.length)?;
        }
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)
    }
}

#[test]
fn eight_gibibytes_are_listed() {
    if !full() {
        println!("SKIP: takes half a minute (LEANFS_TEST_FULL=1 runs it)");
        return;
    }
    let Some(()) = tools(&["tar", "bsdtar", "python3"]) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let (large, archived) = (directory.path().join("large"), directory.path().join("x.tar"));
    let size = (8_u64 << 30) + 5;
    fs_err::File::create(&large).expect("a file").set_len(size).expect("a hole");
    let mut tree = Tree::new();
    tree.insert(path("large"), node(NodeKind::File(Content::from_path(&large, size))));
    tree.insert(path("next"), file(b"x"));
    let mut output = Sparse { file: fs_err::File::create(&archived).expect("a file"), length: 0 };
    tar::write(&tree.validate().expect("valid"), Settings::default(), &mut output).expect("written");
    output.flush().expect("the length");
    for (program, arguments) in
        [("tar", &["-tvf"][..]), ("bsdtar", &["-tvf"]), ("python3", &["-m", "tarfile", "-v", "-l"])]
    {
        let said = text(&succeed(Command::new(program).args(arguments).arg(&archived)));
        assert!(said.contains("8589934597") && said.contains("next"), "{program}: {said}");
    }
}
