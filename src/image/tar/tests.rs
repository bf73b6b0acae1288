use super::*;
use crate::archive::{TarLimits, TarOptions, read_tar};
use crate::tree::{Metadata, Origin, SpoolWriter, Tree};

fn path(bytes: impl AsRef<[u8]>) -> TreePath {
    TreePath::parse(bytes.as_ref()).expect("a path")
}

fn node(kind: NodeKind) -> Node {
    Node::new(kind, Metadata::FILE, Origin::skeleton())
}

fn file(bytes: &[u8]) -> Node {
    node(NodeKind::File(Content::from_bytes(bytes)))
}

fn link(target: &str) -> Node {
    node(NodeKind::Hardlink(path(target)))
}

fn tree(nodes: impl IntoIterator<Item = (TreePath, Node)>) -> ValidTree {
    let mut tree = Tree::new();
    for (path, node) in nodes {
        tree.insert(path, node);
    }
    tree.validate().expect("valid")
}

fn archive(tree: &ValidTree) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(tree, Settings::default(), &mut bytes).expect("written");
    bytes
}

fn spool() -> SpoolWriter {
    SpoolWriter::new_in(&std::env::temp_dir()).expect("a spool")
}

/// Paths may be as deep as trees can be.
fn limits() -> TarLimits {
    TarLimits { path_depth: 4096, ..TarLimits::default() }
}

/// What our own reader makes of an archive, without its extended attributes, which it gives to nobody but `inspect`.
fn back(bytes: &[u8]) -> String {
    let mut spool = spool();
    let mut options = TarOptions {
        limits: limits(),
        keep: &|_| true,
        sha1: false,
        xattrs: &|_| false,
        inspect: &mut |_| Ok(()),
    };
    let entries = read_tar(bytes, &mut spool, &mut options).expect("readable");
    let tree = entries.into_tree(&spool.finish().expect("room"), &Origin::skeleton());
    tree.validate().expect("valid").dump().expect("readable")
}

/// Names and types in the order of the archive, and the names of their pax records.
fn entries(bytes: &[u8]) -> Vec<String> {
    let mut seen = Vec::new();
    let mut options = TarOptions {
        limits: limits(),
        keep: &|_| true,
        sha1: false,
        xattrs: &|_| false,
        inspect: &mut |entry| {
            let records: Vec<&str> = entry.pax.keys().map(String::as_str).collect();
            seen.push(format!("{} {:?} {}", entry.path, entry.kind, records.join(" ")).trim_end().to_owned());
            Ok(())
        },
    };
    read_tar(bytes, &mut spool(), &mut options).expect("readable");
    seen
}

fn part(tree: &ValidTree, contains: &[&str], whiteouts: &[&str]) -> Result<Vec<String>, ImageError> {
    let whiteouts: Vec<TreePath> = whiteouts.iter().map(path).collect();
    let contains: Vec<TreePath> = contains.iter().map(path).collect();
    let part = Part { contains: &|path, _| contains.contains(path), whiteouts: &whiteouts };
    let mut bytes = Vec::new();
    let written = write_part(tree, part, Settings::default(), &mut bytes);
    assert!(written.is_ok() || bytes.is_empty(), "refused after something was written");
    written.map(|()| entries(&bytes))
}

#[test]
fn what_ustar_holds_is_ustar() {
    let mut program = file(b"program");
    program.metadata = Metadata { mode: 0o4755, uid: 0o7_777_777, gid: 7, mtime: 0o77_777_777_777 };
    let tree = tree([
        (path([vec![b'p'; 80], vec![b'q'; 74], vec![b'n'; 98]].join(&b'/')), program),
        (path("link"), node(NodeKind::Symlink(vec![b't'; 100]))),
        (path("null"), node(NodeKind::CharDevice { major: 0o7_777_777, minor: 3 })),
        (path("disk"), node(NodeKind::BlockDevice { major: 8, minor: 1 })),
        (path("pipe"), node(NodeKind::Fifo)),
    ]);
    let bytes = archive(&tree);
    assert_eq!(back(&bytes), tree.dump().expect("readable"));
    // Eight headers, one block of content, two blocks of zeros.
    assert_eq!(bytes.len(), 11 * BLOCK);
    assert_eq!(&bytes[..3], b"./\0");
    assert!(bytes[9 * BLOCK..].iter().all(|&byte| byte == 0));
}

#[test]
fn what_ustar_can_not_hold_is_in_records() {
    let mut odd = file(b"odd");
    odd.metadata = Metadata { mode: 0o644, uid: u32::MAX, gid: 1 << 21, mtime: i64::MIN };
    odd.xattrs.insert(b"user.binary".to_vec(), b"\0=\n\xff".to_vec());
    let mut late = file(b"");
    late.metadata.mtime = i64::MAX;
    let long = ["d"; 200].join("/") + "/" + &"x".repeat(255);
    let tree = tree([
        (path("odd"), odd),
        (path("late"), late),
        (path(long), file(b"")),
        (path(b"\xff"), file(b"")),
        (path([b'\xff'; 101]), file(b"")),
        (path("ä"), file(b"")),
        (path("öl"), node(NodeKind::Symlink("ß".into()))),
        (path("raw"), node(NodeKind::Symlink(vec![0xfe; 4095]))),
    ]);
    let bytes = archive(&tree);
    let dump = back(&bytes);
    assert_eq!(dump, tree.dump().expect("readable").replace(" user.binary=003d0aff", ""));
    let entries = entries(&bytes);
    let records = |name: &str| {
        let entry = entries.iter().find(|entry| entry.starts_with(name)).expect("there");
        entry.rsplit(')').next().expect("something").trim_start().to_owned()
    };
    assert_eq!(records("/odd File"), "SCHILY.xattr.user.binary gid mtime uid");
    assert_eq!(records("/late "), "mtime");
    assert_eq!(records("/\\xff File"), "");
    assert_eq!(records("/\\xff\\xff"), "hdrcharset path");
    assert_eq!(records("/ä"), "path");
    assert_eq!(records("/öl "), "linkpath path");
    assert_eq!(records("/raw "), "hdrcharset linkpath");
}

/// Our own reader takes a file's size from its header, Go's from the record: both must say the same.
#[test]
fn large_sizes_stand_in_the_header_too() {
    let size = (1 << 33) + 1;
    let large = node(NodeKind::File(Content::from_path("/nowhere", size)));
    let path = path("large");
    let headers = Entry::new(&path, &large).headers().expect("it fits");
    assert_eq!(headers.len(), 3 * BLOCK);
    assert!(headers[BLOCK..].starts_with(b"19 size=8589934593\n"));
    let mut header = tar::Header::new_old();
    header.as_mut_bytes().copy_from_slice(&headers[2 * BLOCK..]);
    assert_eq!(header.entry_size().expect("a number"), size);
}

#[test]
fn the_first_name_carries_the_content() {
    let mut data = file(b"data");
    data.xattrs.insert(b"user.x".to_vec(), vec![1]);
    data.metadata.mode = 0o755;
    let tree = tree([(path("b"), data), (path("a"), link("b")), (path("c/d"), link("b"))]);
    let bytes = archive(&tree);
    assert_eq!(
        entries(&bytes),
        [
            "/ Directory",
            "/a File(4) SCHILY.xattr.user.x",
            "/b Hardlink(/a) SCHILY.xattr.user.x",
            "/c Directory",
            "/c/d Hardlink(/a) SCHILY.xattr.user.x"
        ]
    );
    assert_eq!(back(&bytes), tree.dump().expect("readable").replace(" user.x=01", ""));
    assert_eq!(
        part(&tree, &["b", "c/d"], &[]).expect("written"),
        [
            "/ Directory",
            "/b File(4) SCHILY.xattr.user.x",
            "/c Directory",
            "/c/d Hardlink(/b) SCHILY.xattr.user.x"
        ]
    );
    assert_eq!(
        part(&tree, &["c/d"], &[]).expect("written"),
        ["/ Directory", "/c Directory", "/c/d File(4) SCHILY.xattr.user.x"]
    );
}

#[test]
fn a_part_has_the_directories_that_it_needs() {
    let tree = tree(["a", "a-b", "a/b/c", "a/b/d", "e/f", "e/g/h"].map(|name| match name {
        "a" => (
            path(name),
            Node::directory(Metadata { mode: 0o1777, ..Metadata::DIRECTORY }, Origin::skeleton()),
        ),
        _ => (path(name), file(b"")),
    }));
    assert_eq!(
        part(&tree, &["a-b", "a/b/d", "e/g"], &[]).expect("written"),
        [
            "/ Directory",
            "/a Directory",
            "/a/b Directory",
            "/a/b/d File(0)",
            "/a-b File(0)",
            "/e Directory",
            "/e/g Directory"
        ]
    );
    assert_eq!(
        part(&tree, &["a/b", "a/b/c"], &["e/g/z", "a/y", "e/g/z"]).expect("written"),
        [
            "/ Directory",
            "/a Directory",
            "/a/.wh.y File(0)",
            "/e Directory",
            "/e/g Directory",
            "/e/g/.wh.z File(0)",
            "/a/b Directory",
            "/a/b/c File(0)"
        ]
    );
    assert_eq!(part(&tree, &[], &[]).expect("written"), [""; 0]);
    let mut bytes = Vec::new();
    write(&tree, Settings { root: false }, &mut bytes).expect("written");
    assert_eq!(entries(&bytes)[0], "/a Directory");
}

#[test]
fn what_does_not_fit_is_refused_before_writing() {
    let with_xattr = |name: &[u8], value: Vec<u8>| {
        let mut node = file(b"x");
        node.xattrs.insert(name.to_vec(), value);
        node
    };
    for (bad, expected) in [
        (node(NodeKind::CharDevice { major: 1 << 21, minor: 0 }), "device number"),
        (node(NodeKind::BlockDevice { major: 0, minor: u32::MAX }), "device number"),
        (node(NodeKind::Symlink(Vec::new())), "is empty"),
        (node(NodeKind::Symlink(b"a\0b".to_vec())), "NUL"),
        (node(NodeKind::File(Content::from_path("/nowhere", u64::MAX))), "more than files can have"),
        (with_xattr(b"user.a=b", vec![]), "`=`"),
        (with_xattr(b"user.a%3Db", vec![]), "two ways"),
        (with_xattr(b"", vec![]), "no keyword"),
        (with_xattr(b"user.\xff", vec![]), "no keyword"),
        (with_xattr(b"user.large", vec![0; 1 << 20]), "1048576 at most"),
    ] {
        let tree = tree([(path("a"), file(b"y")), (path("bad"), bad)]);
        let mut bytes = Vec::new();
        let error = write(&tree, Settings::default(), &mut bytes).expect_err("too much");
        assert!(
            matches!(&error, ImageError::CannotHold { path, .. } if path.as_bytes() == b"bad"),
            "{error}"
        );
        assert!(error.to_string().contains(expected), "{error}");
        assert!(bytes.is_empty());
    }
    let fits = tree([(path("a"), with_xattr(b"user.50%", vec![7; (1 << 20) - 100]))]);
    archive(&fits);
}

#[test]
fn whiteouts_that_can_not_be() {
    let tree = tree([(path("a/.wh.b"), file(b"")), (path("f"), file(b""))]);
    archive(&tree);
    assert!(matches!(
        check_part(&tree, Part { contains: &|_, _| true, whiteouts: &[] }),
        Err(ImageError::CannotHold { .. })
    ));
    for (contains, whiteout, expected) in [
        ("a/.wh.b", "z", "are whiteouts"),
        ("a", "", "the root"),
        ("a", "none/z", "its directory"),
        ("a", "f/z", "its directory"),
        ("a", &*"x".repeat(252), "longer than 251"),
    ] {
        let error = part(&tree, &[contains], &[whiteout]).expect_err("it can't be");
        assert!(error.to_string().contains(expected), "{error}");
    }
    part(&tree, &["a"], &[&"x".repeat(251)]).expect("the longest");
}

#[test]
fn a_content_that_changed_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let host = directory.path().join("x");
    fs_err::write(&host, b"12345").expect("write");
    for length in [4, 6] {
        let tree = tree([(path("x"), node(NodeKind::File(Content::from_path(&host, length))))]);
        let error = write(&tree, Settings::default(), &mut io::sink()).expect_err("it changed");
        assert!(matches!(&error, ImageError::Content { path, .. } if path.as_bytes() == b"x"), "{error}");
    }
}
