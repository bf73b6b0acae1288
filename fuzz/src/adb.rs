//! Format v3 of packages and indexes.

use std::io::{self, Read};

use leanfs::apk::adb::write::{WriteOptions, write_index};
use leanfs::apk::adb::{self, AdbHead, AdbIndex, AdbPackage, Compression, Schema};

/// No seed is larger.
const LIMIT: u64 = 16 << 20;

/// A package or an index, compressed or not, and the ADB block of either alone. What is written of an index is read as
/// the same.
pub fn apk_adb(bytes: &[u8]) {
    for schema in [Schema::PACKAGE, Schema::INDEX] {
        let Ok(mut blocks) = adb::open(bytes, LIMIT) else { continue };
        let Ok((head, data)) = AdbHead::read(&mut blocks, schema, LIMIT) else { continue };
        block(&head.adb);
        let Ok(package) = AdbPackage::parse(&head.adb) else { continue };
        let mut count = 0;
        let whole = package.read_contents(&mut blocks, data, &mut |_, reader: &mut dyn Read| {
            count += 1;
            io::copy(reader, &mut io::sink()).map(drop)
        });
        if whole.is_ok() {
            assert_eq!(count, package.contents().count(), "every file that has a content");
            let _ = blocks.into_inner().finish();
        }
    }
    block(bytes);
}

fn block(bytes: &[u8]) {
    let _ = AdbPackage::parse(bytes);
    let Ok(AdbIndex { index, package_path }) = AdbIndex::parse(bytes) else { return };
    let options = WriteOptions { key: None, compression: Compression::None };
    let mut written = Vec::new();
    if write_index(&index.entries, &index.description, package_path.as_ref(), &options, &mut written).is_err()
    {
        return;
    }
    let mut blocks = adb::open(&written[..], u64::MAX).expect("it was written");
    let (head, _) = AdbHead::read(&mut blocks, Schema::INDEX, u64::MAX).expect("it was written");
    let again = AdbIndex::parse(&head.adb).expect("it was written");
    assert_eq!(again.index.entries.len(), index.entries.len());
    assert_eq!(again.package_path, package_path);
    let mut second = Vec::new();
    write_index(&again.index.entries, &again.index.description, package_path.as_ref(), &options, &mut second)
        .expect("it could be written before");
    assert!(second == written, "what is written is written again as it was");
}
