//! Packages and indexes as `abuild` and `apk index` make them, for `leanfs pack`, `leanfs index` and test
//! repositories. The real `apk` verifies and installs what is written here.
//!
//! Everything is a function of what is given: no clock, no randomness (an RSA signature by PKCS#1 v1.5 has
//! none), names in order. Signatures are over SHA-256 (`.SIGN.RSA256.`), which `apk` reads since 2.7 and 3.0.

mod generate;
mod index;
mod key;
mod package;
mod tar;

use std::io::{self, Write};

use flate2::{Compression, GzBuilder};

pub use index::{index_package, write_index};
pub use key::PrivateKey;
pub use package::{pack, pack_in_memory};

use super::{ApkError, SignatureKind};

/// zlib's usual level: the highest costs several times as much for a percent or two.
const LEVEL: Compression = Compression::new(6);

/// A gzip member without time and file name, so that equal content makes equal bytes.
fn gzip<W: Write>(output: W) -> flate2::write::GzEncoder<W> {
    GzBuilder::new().mtime(0).write(output, LEVEL)
}

fn gzip_bytes(content: &[u8]) -> Result<Vec<u8>, ApkError> {
    let mut encoder = gzip(Vec::new());
    encoder.write_all(content).and_then(|()| encoder.finish()).map_err(while_writing)
}

/// The signature member for what `signed` holds.
fn signature_member(key: &PrivateKey, signed: &[u8]) -> Result<Vec<u8>, ApkError> {
    let kind = SignatureKind::RsaSha256;
    let name = format!("{}{}", kind.prefix(), key.public().name());
    let mut segment = tar::SegmentWriter::new(Vec::new());
    segment.file(name.as_bytes(), 0o644, &key.sign(signed)?)?;
    gzip_bytes(&segment.without_end())
}

fn while_writing(source: io::Error) -> ApkError {
    ApkError::Io { doing: "writing".to_owned(), source }
}
