use super::*;
use crate::apk::Index;

/// As apk 3.0.8 writes it, but for the made up `g:`, `s:` and `f:`.
const TEXT: &str = "C:Q19cIuu/B2wmiclbRdRyuhlR/qZTg=\nP:alpine-baselayout\nV:3.7.2-r0\nA:x86_64\nS:6471\nI:6552\n\
    T:Alpine base dir structure and init scripts\nU:\nL:GPL-2.0-only\no:alpine-baselayout\nm:N <n@example.com>\n\
    t:1774422169\nc:15b3b78187b3808104f98f765e9632e0b09281a7\nk:10\nD:alpine-baselayout-data=3.7.2-r0 /bin/sh\n\
    p:cmd:x=1\ni:a b\ng:one two\nr:old<3 older\nq:1000\ns:edge\nf:fsx\nF:\nR:x\nF:dev\nF:etc\nR:motd\n\
    Z:Q1SLkS9hBidUbPwwrw+XR0Whv3ww8=\nF:etc/crontabs\nR:root\na:0:0:600\nZ:Q1vfk1apUWI4yLJGhhNRd0kJixfvY=\nF:tmp\n\
    M:0:0:1777\nR:y\na:1:2:4755:Q1vfk1apUWI4yLJGhhNRd0kJixfvY=\n\nC:Q1xmQgSFQmCEJjunZNOpyQlQY1mkI=\nP:zlib\nV:1\n\
    S:0\nI:0\nT:\nU:\nL:\n\n";

fn sample() -> InstalledDatabase {
    InstalledDatabase::parse(TEXT.as_bytes()).expect("good")
}

#[test]
fn what_is_read_is_written_the_same() {
    let database = sample();
    assert_eq!(String::from_utf8(database.to_bytes().expect("writable")).expect("text"), TEXT);
    let [first, second] = &*database.packages else { panic!("two packages") };
    assert_eq!(first.directories.len(), 5);
    assert_eq!(first.directories[0].path, b"");
    assert_eq!(
        first.flags,
        Flags { broken_files: true, broken_script: true, broken_xattrs: true, sha256: false }
    );
    assert_eq!(first.directories[4].files[0].access.mode, 0o4755);
    assert_eq!(first.entry.replaces.len(), 2);
    assert!(second.directories.is_empty());
    // The index's reader passes files over.
    assert_eq!(Index::parse(TEXT).expect("good").entries.len(), 2);
}

#[test]
fn what_apk_could_not_read_is_refused() {
    for bad in ["F:a\n", "P:a\nV:1\nF:a\n", "C:Q1\n", "xx\nyy\n", "C:Q19cIuu/B2wmiclbRdRyuhlR/qZTg=\nV:1\n"] {
        InstalledDatabase::parse(bad.as_bytes()).expect_err(bad);
    }
    for line in [
        "R:x",
        "M:0:0:755",
        "Z:Q1SLkS9hBidUbPwwrw+XR0Whv3ww8=",
        "a:0:0:644",
        "f:y",
        "y:new",
        "X:new",
        "?:x",
        "F:a\nZ:Q1",
        "F:a\nM:0:0",
        "F:a\nM:0:-1:755",
        "F:a\nM:0:0:+55",
        "F:a\nM:0:0:17777",
        "F:a\nM:0:4294967296:755",
        "F:a\nM:0:0:755:Q1",
        "F:a\na:0:0:644",
        "F:a\nR:b\nZ:x",
        "\u{e9}:1",
    ] {
        let text = format!("C:Q19cIuu/B2wmiclbRdRyuhlR/qZTg=\nP:a\nV:1\n{line}\n");
        InstalledDatabase::parse(text.as_bytes()).expect_err(line);
    }
}

#[test]
fn names_that_would_be_lines_are_not_written() {
    let mut database = sample();
    database.packages[0].directories[1].files.push(InstalledFile {
        name: b"x\nR:y".to_vec(),
        access: Access::FILE,
        hash: None,
    });
    assert!(matches!(database.to_bytes(), Err(ApkError::Unpackable { .. })));
    assert!(is_installable_name("é ü".as_bytes()) && !is_installable_name(b"\x7f"));
}

#[test]
fn packages_are_in_apks_order() {
    let named = |name: &str| InstalledPackage::new(IndexEntry::new(name, "1", Checksum::Sha1([0; 20])));
    let database = InstalledDatabase::new(["b", "a-b", "B", "a", "a.b", "aB"].map(named).into());
    let names: Vec<&str> = database.packages.iter().map(|package| &*package.entry.name).collect();
    assert_eq!(names, ["a", "a-b", "a.b", "aB", "B", "b"]);
}

#[test]
fn scripts_and_triggers_come_back() {
    let mut database = sample();
    database.packages[0].entry.name =
        "a-name-that-makes-the-entry-longer-than-a-header-of-tar-can-hold".to_owned();
    database.packages[0].scripts =
        vec![("pre-install".to_owned(), b"#!/bin/sh\n".to_vec()), ("trigger".to_owned(), vec![b'#'; 1025])];
    database.packages[1].scripts = vec![("post-deinstall".to_owned(), Vec::new())];
    database.packages[1].triggers = vec!["/usr/*".to_owned(), "/bin".to_owned()];
    let (archive, triggers) = (database.scripts_archive().expect("packed"), database.triggers());
    assert_eq!(triggers, b"Q1xmQgSFQmCEJjunZNOpyQlQY1mkI= /usr/* /bin\n");
    let mut again = InstalledDatabase::parse(&database.to_bytes().expect("written")).expect("read");
    again.read_scripts(&archive).expect("read");
    again.read_triggers(&triggers).expect("read");
    assert_eq!(again, database);
    for end in [1, archive.len() / 2, archive.len() - 1] {
        sample().read_scripts(&archive[..end]).expect_err("cut");
    }
    sample().read_triggers(b"x /bin\n").expect_err("no hash");
    // Of another package.
    sample().read_triggers(b"Q1SLkS9hBidUbPwwrw+XR0Whv3ww8= /bin\n").expect("passed over");
}

#[test]
fn sha256_is_cut_to_twenty_bytes() {
    let package = InstalledPackage::new(IndexEntry::new("a", "1", Checksum::Sha256(sha256(b"control"))));
    assert!(package.flags.sha256);
    assert_eq!(package.identity(), sha256(b"control")[..20]);
    assert_eq!(package.hash(b"x"), sha256(b"x")[..20]);
    let text = InstalledDatabase::new(vec![package]).to_bytes().expect("written");
    let text = String::from_utf8(text).expect("text");
    assert!(text.starts_with("C:Q1") && text.ends_with("\nf:S\n\n"), "{text}");
}

#[test]
fn attributes_are_hashed_with_their_lengths() {
    assert_eq!(xattr_hash([]), None);
    let one = xattr_hash([(&b"user.a"[..], &b"b"[..])]);
    assert_eq!(one, Some(sha1(b"\0\0\0\x06user.a\0\0\0\x01b")));
    assert_ne!(one, xattr_hash([(&b"user."[..], &b"ab"[..])]));
}
