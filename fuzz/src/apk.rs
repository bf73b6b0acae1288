//! Alpine's formats (version 2), and tar streams.

use leanfs::apk::index::IndexArchive;
use leanfs::apk::{Dependency, Index, InstalledDatabase, PackageHead, PackageInfo, PublicKey, version};
use leanfs::archive::{self, TarLimits, TarOptions};
use leanfs::tree::{LayerKind, Origin, SpoolWriter};

/// A signed index.
pub fn apk_index(bytes: &[u8]) {
    if let Ok(archive) = IndexArchive::open(bytes) {
        assert!(bytes.ends_with(archive.signed), "what is signed is the end of the file");
        let _ = archive.index();
    }
}

/// The text of an index: each entry is read again as it is written, and names a file in the repository's directory.
pub fn apk_index_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(index) = Index::parse(text) else { return };
    for entry in &index.entries {
        let name = entry.file_name();
        assert!(!name.contains(['/', '\0', '\n']) && !name.starts_with('.'), "{name:?}");
        // What apk would pass over is not written.
        if entry.unusable.is_none() {
            let again = Index::parse(&entry.to_string()).expect("what is written can be read");
            assert_eq!(again.entries.first(), Some(entry));
        }
    }
}

/// A package: its head, and its data as an archive.
pub fn apk_package(bytes: &[u8]) {
    let mut reader = bytes;
    let Ok(head) = PackageHead::read(&mut reader) else { return };
    assert_eq!(head.data_offset, (bytes.len() - reader.len()) as u64);
    assert!(head.control.len() as u64 <= head.data_offset);
    tar(reader);
}

/// `.PKGINFO`, read again as it is written.
pub fn apk_info(bytes: &[u8]) {
    let Ok(info) = PackageInfo::parse(bytes) else { return };
    if let Ok(text) = info.to_text() {
        assert_eq!(PackageInfo::parse(text.as_bytes()).ok(), Some(info));
    }
}

/// The database of installed packages: what is written of it is read again as the same.
pub fn apk_installed(bytes: &[u8]) {
    let Ok(mut database) = InstalledDatabase::parse(bytes) else { return };
    let _ = (database.read_triggers(bytes), database.read_scripts(bytes));
    if let Ok(text) = database.to_bytes() {
        let again = InstalledDatabase::parse(&text).expect("it was written");
        assert_eq!(again.to_bytes().expect("it could be written"), text);
    }
}

/// Dependencies and versions, each on a line: they are read again as they are written, and versions have an order.
pub fn apk_dependency(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for list in [Dependency::parse_list(text), text.lines().map(Dependency::parse).collect()] {
        for dependency in list.into_iter().flatten() {
            assert_eq!(Dependency::parse(&dependency.to_string()).ok(), Some(dependency));
        }
    }
    let versions: Vec<&str> = text.lines().take(16).collect();
    for (place, left) in versions.iter().enumerate() {
        let _ = (version::is_valid(left), Dependency::parse_provided(left));
        for right in &versions[place..] {
            let order = version::compare(left, right);
            assert_eq!(version::compare(right, left), order.reverse(), "{left:?} and {right:?}");
            assert!(left != right || order.is_eq());
            let _ = version::compare_fuzzy(left, right);
        }
    }
}

/// A public key in a PEM file, read again as it is written.
pub fn apk_key(bytes: &[u8]) {
    if let Ok(key) = PublicKey::from_pem("fuzz.rsa.pub", bytes) {
        assert!(PublicKey::from_pem("fuzz.rsa.pub", key.to_pem().as_bytes()).is_ok_and(|again| again == key));
    }
}

/// A tar stream, compressed or not: a tree comes of it that contradicts nothing, within the limits.
pub fn tar(bytes: &[u8]) {
    const LIMITS: TarLimits = TarLimits {
        entries: 1_000,
        bytes: 1 << 20,
        extension_bytes: 1 << 16,
        path_bytes: 4095,
        path_depth: 64,
        name_bytes: 1 << 20,
    };
    let Ok(reader) = archive::decompress(bytes) else { return };
    let Ok(mut spool) = SpoolWriter::new_in(&std::env::temp_dir()) else { return };
    let (mut count, mut size) = (0, 0);
    let mut inspect = |entry: &archive::TarEntry<'_>| {
        count += 1;
        if let archive::TarEntryKind::File(bytes) = entry.kind {
            size += bytes;
        }
        Ok(())
    };
    let mut options =
        TarOptions { limits: LIMITS, keep: &|_| true, sha1: true, xattrs: &|_| true, inspect: &mut inspect };
    let Ok(entries) = archive::read_tar(reader, &mut spool, &mut options) else { return };
    assert!(count <= LIMITS.entries && size <= LIMITS.bytes, "{count} entries, {size} bytes");
    let spool = spool.finish().expect("there is room for a megabyte");
    let tree = entries.into_tree(&spool, &Origin::new(LayerKind::Package, "fuzz"));
    if let Ok(tree) = tree.validate() {
        let _ = tree.dump().expect("what was spooled can be read");
    }
}
