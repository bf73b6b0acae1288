//! Packages whose data member is not what it seems.

use leanfs::archive::{ArchiveError, TarLimit, TarLimits, TarOptions, read_tar, read_whole_tar};
use leanfs::fetch::{FetchError, FetchErrorKind};
use leanfs::recipe::InputLimit;
use leanfs::tree::{Origin, SpoolWriter, Tree};

use super::{fetch, trusting};
use crate::repo::TestRepo;

/// A tar, made field by field.
#[derive(Default, Clone)]
struct Tar(Vec<u8>);

impl Tar {
    fn entry(mut self, kind: u8, path: &[u8], link: &[u8], content: &[u8]) -> Self {
        self.header(kind, path, link, &format!("{:011o}", content.len()).into_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn header(&mut self, kind: u8, path: &[u8], link: &[u8], size: &[u8]) {
        let mut block = [0; 512];
        for (at, field) in [
            (0, path),
            (100, &b"0000644\0"[..]),
            (108, b"0000000\0"),
            (116, b"0000000\0"),
            (124, size),
            (136, b"00000000000"),
            (148, b"        "),
            (156, &[kind]),
            (157, link),
            (257, b"ustar\x0000"),
        ] {
            block[at..at + field.len()].copy_from_slice(field);
        }
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
    }

    fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(b'0', path.as_bytes(), b"", content)
    }

    fn pax(self, records: &[(&str, &str)]) -> Self {
        self.extended(b'x', records)
    }

    fn extended(self, kind: u8, records: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (name, value) in records {
            let rest = format!(" {name}={value}\n");
            let mut length = rest.len() + 1;
            while length != rest.len() + length.to_string().len() {
                length = rest.len() + length.to_string().len();
            }
            text += &format!("{length}{rest}");
        }
        self.entry(kind, b"pax", b"", text.as_bytes())
    }

    fn end(mut self) -> Self {
        self.0.resize(self.0.len() + 1024, 0);
        self
    }

    fn read(&self) -> Result<Tree, ArchiveError> {
        let spool = SpoolWriter::new_in(&std::env::temp_dir()).expect("a spool");
        read_whole_tar(&self.0[..], spool, &Origin::skeleton())
    }
}

#[test]
fn what_another_reader_would_see_otherwise_is_refused() {
    let tar = Tar::default;
    let nul = b"long/name\0hidden";
    for (name, tar, expected) in [
        ("a size by pax", tar().pax(&[("size", "0")]).file("a", b"x"), "its pax record says 0 bytes"),
        (
            "a huge size by pax",
            tar().pax(&[("size", "18446744073709551615")]).file("a", b"x"),
            "is no number",
        ),
        ("a path twice", tar().pax(&[("path", "a"), ("path", "b")]).file("c", b""), "twice"),
        ("any record twice", tar().pax(&[("mtime", "1"), ("mtime", "1")]).file("c", b""), "twice"),
        ("two headers", tar().pax(&[("path", "a")]).pax(&[("path", "b")]).file("c", b""), "twice"),
        (
            "two long names",
            tar().entry(b'L', b"x", b"", b"a\0").entry(b'L', b"x", b"", b"b\0").file("c", b""),
            "twice",
        ),
        ("pax and GNU", tar().pax(&[("path", "a")]).entry(b'L', b"x", b"", b"b\0").file("c", b""), "twice"),
        (
            "GNU and pax",
            tar().entry(b'K', b"x", b"", b"b\0").pax(&[("linkpath", "a")]).entry(b'2', b"c", b"d", b""),
            "twice",
        ),
        ("a name after a NUL", tar().entry(b'L', b"x", b"", nul).file("c", b""), "after a NUL byte"),
        ("a NUL by pax", tar().pax(&[("path", "a\0b")]).file("c", b""), "NUL"),
        ("a link with a NUL by pax", tar().pax(&[("linkpath", "a\0b")]).entry(b'2', b"c", b"d", b""), "NUL"),
        ("no path by pax", tar().pax(&[("path", "")]).file("c", b"x"), "root can only be a directory"),
        ("a global path", tar().extended(b'g', &[("path", "a")]).file("c", b""), "global pax header"),
        (
            "a global hash",
            tar().extended(b'g', &[("APK-TOOLS.checksum.SHA1", "00")]).file("c", b""),
            "global pax",
        ),
        (
            "a global attribute",
            tar().extended(b'g', &[("SCHILY.xattr.security.capability", "x")]).file("c", b""),
            "global",
        ),
        (
            "a global sparse",
            tar().extended(b'g', &[("GNU.sparse.major", "1")]).file("c", b""),
            "global pax header",
        ),
        ("sparse 0.1", tar().pax(&[("GNU.sparse.map", "0,1")]).file("c", b"x"), "sparse"),
        (
            "sparse 1.0",
            tar().pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.name", "x")]).file("c", b"x"),
            "sparse",
        ),
        ("sparse by GNU", tar().entry(b'S', b"c", b"", b""), "not supported"),
        (
            "a directory with contents",
            tar().entry(b'5', b"d/", b"", &[0; 512]),
            "no regular file and has 512 bytes",
        ),
        ("a link with contents", tar().entry(b'2', b"l", b"d", b"x"), "no regular file and has 1 byte"),
        ("a device with contents", tar().entry(b'3', b"l", b"", b"x"), "no regular file and has 1 byte"),
        ("a file called as a directory", tar().file("d/", b"x"), "with the name of a directory"),
        ("a root that is a link", tar().entry(b'2', b"./", b"/etc", b""), "root can only be a directory"),
        ("a root that is a file", tar().file(".", b"x"), "root can only be a directory"),
        ("after the end", tar().file("a", b"").end().file("b", b""), "something follows the end"),
        ("a volume name", tar().entry(b'V', b"x", b"", b""), "not supported"),
        ("records of nothing", tar().file("a", b"").pax(&[("path", "x")]).end(), "ends after an extension"),
        (
            "a sign in a record's length",
            tar().entry(b'x', b"p", b"", b"+10 path=x\n").file("a", b""),
            "malformed",
        ),
    ] {
        match tar.read() {
            Ok(_) => panic!("{name} is taken"),
            Err(error) => assert!(error.to_string().contains(expected), "{name}: {error}"),
        }
    }
    Tar::default()
        .extended(b'g', &[("comment", "0123abc")])
        .file("a", b"x")
        .end()
        .read()
        .expect("as git writes it");
}

#[test]
fn links_lead_nowhere_else_in_whichever_order_they_come() {
    let tar = Tar::default;
    for (name, tar, expected) in [
        ("a link, then below", tar().entry(b'2', b"a", b"/etc", b"").file("a/passwd", b"x"), "below /a"),
        (
            "below, then a link",
            tar().file("a/passwd", b"x").entry(b'2', b"a", b"/etc", b""),
            "/a/passwd stands below it",
        ),
        ("deep below, then a file", tar().file("a/b/c/d", b"x").file("a/b", b""), "/a/b/c/d stands below it"),
        (
            "a neighbour between",
            tar().file("a-b", b"").file("a/x", b"").file("a", b""),
            "/a/x stands below it",
        ),
        (
            "a hardlink to a link",
            tar().entry(b'2', b"a", b"/etc/shadow", b"").entry(b'1', b"b", b"a", b""),
            "no file earlier",
        ),
        ("a hardlink to later", tar().entry(b'1', b"b", b"a", b"").file("a", b"x"), "no file earlier"),
        ("a hardlink to itself", tar().entry(b'1', b"b", b"b", b""), "no file earlier"),
        (
            "a hardlink to a directory",
            tar().entry(b'5', b"d/", b"", b"").entry(b'1', b"b", b"d", b""),
            "no file earlier",
        ),
        (
            "a hardlink over a file",
            tar().file("a", b"x").file("b", b"").entry(b'1', b"b", b"a", b""),
            "twice",
        ),
        (
            "a directory over a link",
            tar().entry(b'2', b"a", b"/etc", b"").entry(b'5', b"a/", b"", b""),
            "twice",
        ),
        ("dots hidden by slashes", tar().file("a//..//..//b", b""), "`..`"),
        ("the same path otherwise written", tar().file("a/b", b"1").file("./a//b", b"2"), "twice"),
    ] {
        match tar.read() {
            Ok(_) => panic!("{name} is taken"),
            Err(error) => assert!(error.to_string().contains(expected), "{name}: {error}"),
        }
    }
}

/// What is not kept is checked like everything else.
#[test]
fn what_is_left_out_hides_nothing() {
    for tar in [
        Tar::default().entry(b'2', b"dropped", b"/etc", b"").file("dropped/passwd", b"x"),
        Tar::default().file("dropped", b"").file("dropped/passwd", b"x"),
        Tar::default().file("dropped", b"1").entry(b'5', b"dropped/", b"", b""),
    ] {
        let mut spool = SpoolWriter::new_in(&std::env::temp_dir()).expect("a spool");
        let mut options = TarOptions {
            limits: TarLimits::default(),
            keep: &|path| path.as_bytes() != b"dropped",
            sha1: false,
            xattrs: &|_| false,
            inspect: &mut |_| Ok(()),
        };
        read_tar(&tar.0[..], &mut spool, &mut options).expect_err("it stands below what is no directory");
    }
}

#[test]
fn names_that_differ_in_case_or_form_stay_apart() {
    let names =
        ["etc/passwd", "etc/Passwd", "etc/PASSWD", "etc/passwd ", "etc/passw\u{501}", "e\u{301}", "\u{e9}"];
    let tar = names.iter().fold(Tar::default(), |tar, name| tar.file(name, name.as_bytes()));
    let tree = tar.read().expect("Linux's names are bytes");
    for name in names {
        let (_, content) = tree.file(&name.parse().expect("a path")).expect("there");
        assert_eq!(content.read(100).expect("readable"), name.as_bytes());
    }
}

#[test]
fn sizes_that_overflow_are_errors() {
    let mut base256 = [0xff; 12];
    for size in [
        &b"77777777777"[..],
        b"99999999999",
        b"-0000000001",
        &{
            base256[0] = 0x80;
            base256
        },
        &[0xff; 12],
        &{
            let mut most = [0; 12];
            most[0] = 0x80;
            most[4..].copy_from_slice(&u64::MAX.to_be_bytes());
            most
        },
        &{
            let mut most = [0; 12];
            most[0] = 0x80;
            most[4..].copy_from_slice(&(u64::MAX - 511).to_be_bytes());
            most
        },
    ] {
        for kind in [b'0', b'x', b'g', b'L', b'5', b'2'] {
            let mut tar = Tar::default();
            tar.header(kind, b"a", b"b", size);
            tar.0.resize(4096, b'x');
            assert!(tar.read().is_err(), "{size:x?} of {}", kind as char);
        }
    }
}

#[test]
fn each_limit_of_archives_holds_and_is_named() {
    let deep = "d/".repeat(9) + "x";
    let tar =
        Tar::default().pax(&[("comment", &"x".repeat(500))]).file(&deep, b"12345").file("y", b"12345").end();
    let exact = [
        (InputLimit::PackageEntries, TarLimit::Entries, 3),
        (InputLimit::PaxSize, TarLimit::ExtensionBytes, 513),
        (InputLimit::PathLength, TarLimit::PathBytes, 19),
        (InputLimit::PathDepth, TarLimit::PathDepth, 9),
        (InputLimit::NamesSize, TarLimit::NameBytes, 20),
    ];
    let directory = tempfile::tempdir().expect("a directory");
    let repository =
        TestRepo::new().package("a", "1.0-r0").raw_data(tar.0.clone()).build(&directory.path().join("r"));
    let cache = directory.path().join("cache");
    for (setting, limit, value) in exact {
        let mut settings = trusting(&cache);
        settings.limits.set(setting, value);
        fetch(settings.clone(), &repository)
            .unwrap_or_else(|error| panic!("{setting} of {value}: {error:?}"));
        settings.limits.set(setting, value - 1);
        let error = fetch(settings, &repository).expect_err("one too many");
        let FetchError::Archive { source, .. } = &error else { panic!("{setting}: {error:?}") };
        assert_eq!(source.limit(), Some(limit));
        assert!(error.hint().is_some_and(|hint| hint.contains(&format!("--limit {setting}="))), "{error:?}");
    }
    // These two are of the whole stream, headers and all.
    for (setting, value) in [(InputLimit::PackageUnpacked, 2048), (InputLimit::ControlSize, 100)] {
        let mut settings = trusting(&cache);
        settings.limits.set(setting, value);
        let error = fetch(settings, &repository).expect_err("too large");
        assert!(
            matches!(&error, FetchError::BeyondLimit { setting: found, .. } if *found == setting),
            "{error:?}"
        );
        assert_eq!(error.kind(), FetchErrorKind::Unverified);
    }
}

#[test]
fn a_bomb_of_a_package_is_seen_by_its_expansion() {
    let tar = Tar::default().file("zeros", &vec![0; 80 << 20]).end();
    let directory = tempfile::tempdir().expect("a directory");
    let repository =
        TestRepo::new().package("a", "1.0-r0").raw_data(tar.0).build(&directory.path().join("r"));
    let cache = directory.path().join("cache");
    let mut settings = trusting(&cache);
    settings.limits.expansion = 100;
    let error = fetch(settings.clone(), &repository).expect_err("a bomb");
    let of_it = matches!(&error, FetchError::BeyondLimit { setting: InputLimit::Expansion, .. });
    assert!(of_it, "{error:?}");
    settings.limits.expansion = 1032;
    fetch(settings, &repository).expect("as it was asked for");
}

/// A million entries of the longest paths would take gigabytes of memory, from a file of a few megabytes.
#[test]
fn the_longest_paths_do_not_fill_the_memory() {
    let long = format!("{}/", "x".repeat(250)).repeat(16);
    let mut tar = Tar::default();
    for number in 0..300 {
        tar = tar.pax(&[("path", &format!("{long}{number}"))]).file("x", b"");
    }
    let mut spool = SpoolWriter::new_in(&std::env::temp_dir()).expect("a spool");
    let limits = TarLimits { name_bytes: 1 << 20, ..TarLimits::default() };
    let mut options =
        TarOptions { limits, keep: &|_| false, sha1: false, xattrs: &|_| false, inspect: &mut |_| Ok(()) };
    let error = read_tar(&tar.0[..], &mut spool, &mut options).expect_err("1.2 MB of names");
    assert_eq!(error.limit(), Some(TarLimit::NameBytes));
}
