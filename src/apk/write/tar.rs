//! Tar (POSIX.1-1988 `ustar` with POSIX.1-2001 pax headers) as `apk` reads it.

use std::io::{Read, Write};

use crate::apk::ApkError;

/// Tar's unit.
const BLOCK: usize = 512;

/// What an entry is; the values are ustar's `typeflag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File = b'0' as isize,
    Hardlink = b'1' as isize,
    Symlink = b'2' as isize,
    CharDevice = b'3' as isize,
    BlockDevice = b'4' as isize,
    Directory = b'5' as isize,
    Fifo = b'6' as isize,
    Pax = b'x' as isize,
}

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
        const FIELD: usize = 100;
        if path.len() > FIELD {
            header.pax.push((b"path".to_vec(), path.to_vec()));
            path = &path[..FIELD];
        }
        if target.len() > FIELD {
            header.pax.push((b"linkpath".to_vec(), target.to_vec()));
            target = &target[..FIELD];
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
        let mut block = [0; BLOCK];
        let number = |field: &'static str, value: u64, digits: usize| {
            let text = format!("{value:0digits$o}");
            if text.len() > digits {
                return Err(ApkError::Unpackable {
                    path: shown(header.path),
                    reason: format!("its {field} {value} is too large for a package"),
                });
            }
            Ok(text.into_bytes())
        };
        let mtime = u64::try_from(header.mtime).map_err(|_| ApkError::Unpackable {
            path: shown(header.path),
            reason: "its time is before 1970".to_owned(),
        })?;
        let owner: &[u8] = if header.uid == 0 { b"root" } else { b"" };
        let group: &[u8] = if header.gid == 0 { b"root" } else { b"" };
        let mut fields: Vec<(usize, Vec<u8>)> = vec![
            (0, path.to_vec()),
            (100, number("mode", header.mode.into(), 7)?),
            (108, number("owner", header.uid.into(), 7)?),
            (116, number("group", header.gid.into(), 7)?),
            (124, number("size", header.size, 11)?),
            (136, number("time", mtime, 11)?),
            (148, b"        ".to_vec()),
            (156, vec![header.kind as u8]),
            (157, target.to_vec()),
            (257, b"ustar\x0000".to_vec()),
            (265, owner.to_vec()),
            (297, group.to_vec()),
        ];
        if matches!(header.kind, Kind::CharDevice | Kind::BlockDevice) {
            fields.push((329, number("device number", header.device.0.into(), 7)?));
            fields.push((337, number("device number", header.device.1.into(), 7)?));
        }
        for (offset, value) in fields {
            block[offset..offset + value.len()].copy_from_slice(&value);
        }
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        Ok(block)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ApkError> {
        self.output.write_all(bytes).map_err(super::while_writing)
    }
}

/// `LENGTH KEYWORD=VALUE\n`, where the length counts its own digits.
fn pax_record(keyword: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = keyword.len() + value.len() + b" =\n".len();
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", keyword, b"=", value, b"\n"].concat()
}

fn shown(path: &[u8]) -> String {
    format!("/{}", path.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_pax_records_count_themselves() {
        for (value, expected) in [("x", "6 a=x\n"), ("xxxx", "9 a=xxxx\n"), ("xxxxx", "11 a=xxxxx\n")] {
            assert_eq!(pax_record(b"a", value.as_bytes()), expected.as_bytes());
        }
        for length in [90, 93, 94, 95, 96, 990, 993, 994, 995, 1000] {
            let record = pax_record(b"a", &vec![b'x'; length]);
            let digits: Vec<u8> = record.iter().copied().take_while(u8::is_ascii_digit).collect();
            assert_eq!(String::from_utf8(digits).expect("digits"), record.len().to_string());
        }
    }

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
