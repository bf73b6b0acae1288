//! Tar (POSIX.1-1988 `ustar` with POSIX.1-2001 pax headers) as `apk` reads it.

use std::io::{Read, Write};

use crate::apk::ApkError;
pub(super) use crate::archive::ustar::Kind;
use crate::archive::ustar::{self, BLOCK, FieldTooSmall, NAME, pax_record};

/// One entry's header.
#[derive(Debug, Clone)]
pub(super) struct Header<'a> {
    /// Without a leading slash; directories end in one.
    pub(super) path: &'a [u8],
    pub(super) kind: Kind,
    /// Permission bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds since 1970.
    pub(super) mtime: i64,
    /// Bytes that follow.
    pub(super) size: u64,
    /// Where a link leads.
    pub(super) target: &'a [u8],
    pub(super) device: (u32, u32),
    /// Further pax records, by keyword.
    pub(super) pax: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Header<'a> {
    pub(super) fn new(path: &'a [u8], kind: Kind, mode: u32) -> Self {
        Self {
            path,
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: 0,
            size: 0,
            target: b"",
            device: (0, 0),
            pax: Vec::new(),
        }
    }
}

/// Writes a tar, or a segment of one.
pub(super) struct SegmentWriter<W: Write> {
    output: W,
}

impl<W: Write> SegmentWriter<W> {
    pub(super) fn new(output: W) -> Self {
        Self { output }
    }

    /// The bytes so far, without the blocks that end an archive: further segments can follow.
    pub(super) fn without_end(self) -> W {
        self.output
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> Result<W, ApkError> {
        self.write(&[0; 2 * BLOCK])?;
        Ok(self.output)
    }

    /// A small file.
    pub(super) fn file(&mut self, path: &[u8], mode: u32, content: &[u8]) -> Result<(), ApkError> {
        let header = Header { size: content.len() as u64, ..Header::new(path, Kind::File, mode) };
        self.entry(header, &mut &content[..])
    }

    /// An entry and its content, which must have the length that its header says.
    pub(super) fn entry(&mut self, mut header: Header<'_>, content: &mut dyn Read) -> Result<(), ApkError> {
        let (mut path, mut target) = (header.path, header.target);
        // What does not fit into ustar's fields goes into pax records; the fields keep the beginning.
        if path.len() > NAME {
            header.pax.push((b"path".to_vec(), path.to_vec()));
            path = &path[..NAME];
        }
        if target.len() > NAME {
            header.pax.push((b"linkpath".to_vec(), target.to_vec()));
            target = &target[..NAME];
        }
        if !header.pax.is_empty() {
            header.pax.sort();
            let records: Vec<u8> =
                header.pax.iter().flat_map(|(keyword, value)| pax_record(keyword, value)).collect();
            let pax = Header { size: records.len() as u64, ..Header::new(path, Kind::Pax, 0o644) };
            let block = self.block(&pax, path, b"")?;
            self.write(&block)?;
            self.content(&pax, &mut &records[..])?;
        }
        let block = self.block(&header, path, target)?;
        self.write(&block)?;
        self.content(&header, content)
    }

    fn content(&mut self, header: &Header<'_>, content: &mut dyn Read) -> Result<(), ApkError> {
        let failed = |source| ApkError::Io { doing: format!("packing {}", shown(header.path)), source };
        let copied = std::io::copy(&mut content.take(header.size), &mut self.output).map_err(failed)?;
        if copied != header.size {
            return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        // Also lets a content that grew say so.
        if content.read(&mut [0]).map_err(failed)? != 0 {
            return Err(failed(std::io::ErrorKind::InvalidData.into()));
        }
        let padding = copied.next_multiple_of(BLOCK as u64) - copied;
        self.write(&[0; BLOCK][..usize::try_from(padding).unwrap_or(0)])
    }

    fn block(&self, header: &Header<'_>, path: &[u8], target: &[u8]) -> Result<[u8; BLOCK], ApkError> {
        let unpackable = |reason| ApkError::Unpackable { path: shown(header.path), reason };
        let too_large =
            |field: &str, value: u64| unpackable(format!("its {field} {value} is too large for a package"));
        // apk reads octal digits only.
        if header.size > 0o77_777_777_777 {
            return Err(too_large("size", header.size));
        }
        let is_device = matches!(header.kind, Kind::CharDevice | Kind::BlockDevice);
        ustar::Header {
            uid: header.uid,
            gid: header.gid,
            size: header.size,
            mtime: u64::try_from(header.mtime)
                .map_err(|_| unpackable("its time is before 1970".to_owned()))?,
            linkname: target,
            uname: if header.uid == 0 { b"root" } else { b"" },
            gname: if header.gid == 0 { b"root" } else { b"" },
            device: is_device.then_some(header.device),
            ..ustar::Header::new(path, header.kind, header.mode)
        }
        .to_block()
        .map_err(|FieldTooSmall { field, value }| too_large(field, value))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ApkError> {
        self.output.write_all(bytes).map_err(super::while_writing)
    }
}

fn shown(path: &[u8]) -> String {
    format!("/{}", path.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut writer = SegmentWriter::new(Vec::new());
        for header in [
            Header { uid: 1 << 21, ..Header::new(b"a", Kind::File, 0o644) },
            Header { mtime: -1, ..Header::new(b"a", Kind::File, 0o644) },
            Header { size: 1 << 33, ..Header::new(b"a", Kind::File, 0o644) },
        ] {
            let error = writer.entry(header, &mut std::io::empty()).expect_err("too large");
            assert!(matches!(error, ApkError::Unpackable { .. }), "{error}");
        }
        let short = Header { size: 2, ..Header::new(b"a", Kind::File, 0o644) };
        assert!(writer.entry(short.clone(), &mut &b"x"[..]).is_err());
        assert!(writer.entry(short, &mut &b"xyz"[..]).is_err());
    }
}
