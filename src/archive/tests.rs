use super::*;

fn spool() -> SpoolWriter {
    SpoolWriter::new_in(&std::env::temp_dir()).expect("a spool")
}

fn read(bytes: &[u8]) -> Result<Tree, ArchiveError> {
    read_whole_tar(bytes, spool(), &Origin::skeleton())
}

struct Builder(tar::Builder<Vec<u8>>);

impl Builder {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn raw(mut self, kind: tar::EntryType, path: &[u8], link: &[u8], content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        header.as_old_mut().name[..path.len()].copy_from_slice(path);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        self.0.append(&header, content).expect("append");
        self
    }

    fn file(self, path: &str, content: &[u8]) -> Self {
        self.raw(tar::EntryType::Regular, path.as_bytes(), b"", content)
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("finish")
    }
}

#[test]
fn all_types_come_through() {
    let bytes = Builder::new()
        .raw(tar::EntryType::Directory, b"./", b"", b"")
        .raw(tar::EntryType::Directory, b"a/", b"", b"")
        .file("a/file", b"content")
        .raw(tar::EntryType::Symlink, b"a/link", b"../../anywhere", b"")
        .raw(tar::EntryType::Link, b"hard", b"a/file", b"")
        .raw(tar::EntryType::Link, b"harder", b"hard", b"")
        .raw(tar::EntryType::Fifo, b"pipe", b"", b"")
        .bytes();
    let dump = read(&bytes).expect("good").validate().expect("valid").dump().expect("readable");
    let hash = hex::encode(digest::digest(&digest::SHA256, b"content"));
    assert_eq!(
        dump,
        format!(
            "d0644 0:0 0 - /\nd0644 0:0 0 - /a\nf0644 0:0 0 7:{hash} /a/file\n\
             l0644 0:0 0 ../../anywhere /a/link\nh0644 0:0 0 /a/file /hard\n\
             h0644 0:0 0 /a/file /harder\np0644 0:0 0 - /pipe\n"
        )
    );
}

#[test]
fn what_leads_out_is_refused() {
    let cases: [(&str, Builder, &str); 9] = [
        ("dots", Builder::new().file("a/../../b", b""), "`..`"),
        ("absolute", Builder::new().file("/etc/passwd", b""), "absolute"),
        (
            "below a link",
            Builder::new().raw(tar::EntryType::Symlink, b"a", b"/etc", b"").file("a/passwd", b""),
            "below /a, which is a symbolic link",
        ),
        ("below a file", Builder::new().file("a", b"").file("a/b", b""), "below /a, which is a regular file"),
        ("twice", Builder::new().file("a", b"1").file("a", b"2"), "twice"),
        ("hardlink out", Builder::new().raw(tar::EntryType::Link, b"a", b"/etc/passwd", b""), "absolute"),
        ("hardlink up", Builder::new().raw(tar::EntryType::Link, b"a", b"../b", b""), "`..`"),
        ("hardlink to nothing", Builder::new().raw(tar::EntryType::Link, b"a", b"b", b""), "no file earlier"),
        ("sparse", Builder::new().raw(tar::EntryType::GNUSparse, b"a", b"", b""), "not supported"),
    ];
    for (name, builder, expected) in cases {
        let error = read(&builder.bytes()).expect_err(name).to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
fn long_names_and_pax_records() {
    let long = "d/".repeat(100) + "name";
    let mut builder = Builder::new();
    builder.0.append_pax_extensions([("path", long.as_bytes()), ("mtime", b"12.5")]).expect("append");
    let bytes =
        builder.file("short", b"x").raw(tar::EntryType::GNULongName, b"x", b"", b"gnu/name\0").file("y", b"");
    let tree = read(&bytes.bytes()).expect("good");
    let node = tree.get(&TreePath::parse(long.as_bytes()).expect("good")).expect("there");
    assert_eq!(node.metadata.mtime, 12);
    assert!(tree.get(&"gnu/name".parse().expect("good")).is_some());
}

#[test]
fn pax_tricks_are_refused() {
    for (name, record) in [
        ("size", &b"9"[..]),
        ("GNU.sparse.major", b"1"),
        ("uid", b"4294967296"),
        ("mtime", b"soon"),
        ("path", b"../x"),
    ] {
        let mut builder = Builder::new();
        builder.0.append_pax_extensions([(name, record)]).expect("append");
        assert!(read(&builder.file("a", b"x").bytes()).is_err(), "{name}");
    }
    let mut builder = Builder::new();
    builder.0.append_pax_extensions([("path", &b"x"[..])]).expect("append");
    assert!(read(&builder.bytes()).is_err(), "records of nothing");
    let large = vec![b'x'; 2 << 20];
    let builder = Builder::new().raw(tar::EntryType::GNULongName, b"x", b"", &large);
    assert!(read(&builder.file("a", b"").bytes()).is_err(), "a long name of 2 MiB");
}

#[test]
fn limits_hold() {
    let bytes = Builder::new().file("a", b"12345").file("b", b"12345").bytes();
    for (limits, fits) in [
        (TarLimits { entries: 2, bytes: 10, extension_bytes: 0, ..TarLimits::default() }, true),
        (TarLimits { entries: 1, ..TarLimits::default() }, false),
        (TarLimits { bytes: 9, ..TarLimits::default() }, false),
    ] {
        let mut options =
            TarOptions { limits, keep: &|_| true, sha1: false, xattrs: &|_| false, inspect: &mut |_| Ok(()) };
        assert_eq!(read_tar(&bytes[..], &mut spool(), &mut options).is_ok(), fits, "{limits:?}");
    }
}

#[test]
fn inspect_sees_hashes_and_what_is_not_kept() {
    let bytes = Builder::new()
        .file("kept", b"abc")
        .file("dropped", b"")
        .raw(tar::EntryType::Link, b"link", b"dropped", b"")
        .bytes();
    let mut seen = Vec::new();
    let mut inspect = |entry: &TarEntry<'_>| {
        seen.push((entry.path.to_string(), entry.sha1.map(hex::encode)));
        Ok(())
    };
    let mut options = TarOptions {
        limits: TarLimits::default(),
        keep: &|path| path.as_bytes() != b"dropped",
        sha1: true,
        xattrs: &|_| false,
        inspect: &mut inspect,
    };
    let mut writer = spool();
    let entries = read_tar(&bytes[..], &mut writer, &mut options).expect("good");
    let tree = entries.into_tree(&writer.finish().expect("spooled"), &Origin::skeleton());
    assert_eq!(tree.len(), 1, "a link to what was dropped goes with it");
    assert_eq!(seen[0].1.as_deref(), Some("a9993e364706816aba3e25717850c26c9cd0d89d"));
    assert_eq!(seen.len(), 3);
}

#[test]
fn cuts_and_noise_give_errors_and_never_panic() {
    let bytes = Builder::new().file("a", &[7; 3000]).file("b", b"x").bytes();
    for cut in [1, 100, 511, 600, 2000, 3500] {
        assert!(read(&bytes[..cut]).is_err(), "{cut}");
    }
    let mut noisy = bytes;
    for position in 0..600 {
        for value in [0, 0xff, b'/', b'9'] {
            let before = std::mem::replace(&mut noisy[position], value);
            let _ = read(&noisy);
            noisy[position] = before;
        }
    }
}
