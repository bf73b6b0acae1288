//! The header of an entry (`ustar`) and the records of an extension header (`pax`), as bytes.
//!
//! Source: [`pax(1)`](https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html), "ustar Interchange
//! Format" and "pax Extended Header". Packages and images write with them.

/// Tar's unit.
pub(crate) const BLOCK: usize = 512;
/// The bytes of the fields `name` and `linkname`.
pub(crate) const NAME: usize = 100;
/// The bytes of the field `prefix`.
const PREFIX: usize = 155;

/// The field `typeflag`: what an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    File = b'0',
    Hardlink = b'1',
    Symlink = b'2',
    CharDevice = b'3',
    BlockDevice = b'4',
    Directory = b'5',
    Fifo = b'6',
    /// The extension header of the entry that follows.
    Pax = b'x',
    /// GNU tar's: the name of the entry that follows, and a NUL.
    GnuLongName = b'L',
}

/// The fields of one header, by the names that the standard gives them. Of a name that is too long the field keeps the
/// beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header<'a> {
    /// What stands in front of the name and a slash; empty where the name is all.
    pub(crate) prefix: &'a [u8],
    pub(crate) name: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Bytes that follow. From 8 GiB on the number is binary ("base-256"), as GNU tar and libarchive write and
    /// everyone reads it.
    pub(crate) size: u64,
    /// Seconds since 1970.
    pub(crate) mtime: u64,
    pub(crate) typeflag: Kind,
    pub(crate) linkname: &'a [u8],
    pub(crate) uname: &'a [u8],
    pub(crate) gname: &'a [u8],
    /// The fields `devmajor` and `devminor`; left empty where there are none.
    pub(crate) device: Option<(u32, u32)>,
}

/// A number that its field can't hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FieldTooSmall {
    /// What the field is called in messages.
    pub(crate) field: &'static str,
    pub(crate) value: u64,
}

impl<'a> Header<'a> {
    /// A header of nothing but a name, a type and permission bits.
    pub(crate) fn new(name: &'a [u8], typeflag: Kind, mode: u32) -> Self {
        Self {
            prefix: b"",
            name,
            mode,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 0,
            typeflag,
            linkname: b"",
            uname: b"",
            gname: b"",
            device: None,
        }
    }

    /// The block, with its checksum.
    pub(crate) fn to_block(self) -> Result<[u8; BLOCK], FieldTooSmall> {
        self.block(false)
    }

    /// The same as GNU tar marks it and apk writes it: size and time fill their fields, with no NUL after them.
    pub(crate) fn to_gnu_block(self) -> Result<[u8; BLOCK], FieldTooSmall> {
        self.block(true)
    }

    fn block(self, gnu: bool) -> Result<[u8; BLOCK], FieldTooSmall> {
        let mut block = [0; BLOCK];
        let mut put = |offset: usize, length: usize, value: &[u8]| {
            let value = &value[..value.len().min(length)];
            block[offset..offset + value.len()].copy_from_slice(value);
        };
        put(0, NAME, self.name);
        put(100, 8, &octal::<7>("mode", self.mode.into())?);
        put(108, 8, &octal::<7>("owner", self.uid.into())?);
        put(116, 8, &octal::<7>("group", self.gid.into())?);
        match octal::<11>("size", self.size) {
            Ok(_) if gnu => put(124, 12, &octal::<12>("size", self.size)?),
            Ok(digits) => put(124, 12, &digits),
            Err(_) => {
                put(124, 1, &[0x80]);
                put(128, 8, &self.size.to_be_bytes());
            }
        }
        match gnu {
            true => put(136, 12, &octal::<12>("time", self.mtime)?),
            false => put(136, 12, &octal::<11>("time", self.mtime)?),
        }
        put(148, 8, b"        ");
        put(156, 1, &[self.typeflag as u8]);
        put(157, NAME, self.linkname);
        put(257, 8, if gnu { b"ustar  \0" } else { b"ustar\x0000" });
        put(265, 32, self.uname);
        put(297, 32, self.gname);
        if let Some((major, minor)) = self.device {
            put(329, 8, &octal::<7>("device number", major.into())?);
            put(337, 8, &octal::<7>("device number", minor.into())?);
        }
        put(345, PREFIX, self.prefix);
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        Ok(block)
    }
}

/// `DIGITS` octal digits, with leading zeros.
fn octal<const DIGITS: usize>(field: &'static str, value: u64) -> Result<[u8; DIGITS], FieldTooSmall> {
    if value >> (3 * DIGITS) != 0 {
        return Err(FieldTooSmall { field, value });
    }
    // At most eight: the mask leaves three bits.
    Ok(std::array::from_fn(|index| b'0' + (value >> (3 * (DIGITS - 1 - index)) & 7) as u8))
}

/// The values of `prefix` and `name` that stand for `path`; none if it is too long, or no slash stands where it
/// could be cut.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME {
        return Some((b"", path));
    }
    let earliest = path.len() - NAME - 1;
    let slash = earliest + path[earliest..].iter().position(|&byte| byte == b'/')?;
    let name = &path[slash + 1..];
    (slash != 0 && slash <= PREFIX && !name.is_empty()).then_some((&path[..slash], name))
}

/// `LENGTH KEYWORD=VALUE\n`, where the length counts its own digits.
pub(crate) fn pax_record(keyword: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = keyword.len() + value.len() + b" =\n".len();
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", keyword, b"=", value, b"\n"].concat()
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
    fn a_header_is_as_the_crate_reads_it() {
        let header = Header {
            prefix: b"some/where",
            uid: 0o7_777_777,
            gid: 5,
            size: 0o77_777_777_777,
            mtime: 0o77_777_777_777,
            linkname: b"to",
            uname: b"u",
            gname: b"g",
            device: Some((0o7_777_777, 1)),
            ..Header::new(b"name", Kind::CharDevice, 0o4755)
        };
        let read = |header: Header<'_>| {
            let mut read = tar::Header::new_old();
            read.as_mut_bytes().copy_from_slice(&header.to_block().expect("it fits"));
            read
        };
        let block = read(header);
        assert_eq!(block.path_bytes(), &b"some/where/name"[..]);
        assert_eq!(block.link_name_bytes().expect("there"), &b"to"[..]);
        assert_eq!((block.mode().expect("a number"), block.entry_type().as_byte()), (0o4755, b'3'));
        assert_eq!((block.uid().expect("a number"), block.gid().expect("a number")), (0o7_777_777, 5));
        assert_eq!(block.entry_size().expect("a number"), header.size);
        assert_eq!(block.mtime().expect("a number"), header.mtime);
        assert_eq!(block.device_major().expect("a number"), Some(0o7_777_777));
        let mut again = block.clone();
        again.set_cksum();
        assert_eq!(again.cksum().expect("a number"), block.cksum().expect("a number"));
        for size in [1 << 33, u64::MAX] {
            assert_eq!(read(Header { size, ..header }).entry_size().expect("a number"), size);
        }
        for wrong in [
            Header { uid: 1 << 21, ..header },
            Header { gid: 1 << 21, ..header },
            Header { mtime: 1 << 33, ..header },
            Header { device: Some((0, 1 << 21)), ..header },
        ] {
            wrong.to_block().expect_err("too large");
        }
    }

    #[test]
    fn a_path_is_cut_at_a_slash_if_one_stands_right() {
        let long = |before: usize, after: usize| [vec![b'p'; before], vec![b'n'; after]].join(&b'/');
        for (path, expected) in [
            (vec![b'x'; 100], Some((0, 100))),
            (vec![b'x'; 101], None),
            (long(1, 100), Some((1, 100))),
            (long(155, 100), Some((155, 100))),
            (long(156, 99), None),
            (long(1, 101), None),
            (long(0, 100), None),
            (long(100, 0), None),
            ([b"a/b/".to_vec(), vec![b'x'; 98]].concat(), Some((1, 100))),
            ([b"d/".to_vec(), vec![b'x'; 98], b"/".to_vec()].concat(), Some((1, 99))),
        ] {
            let cut = split(&path);
            assert_eq!(cut.map(|(prefix, name)| (prefix.len(), name.len())), expected, "{path:?}");
        }
    }
}
