//! Extension headers: pax records (`x`, `g`) and GNU's long names (`L`, `K`).

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::{ArchiveErrorKind, TarLimit};

/// What extension headers say of the entry that follows them.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    records: BTreeMap<String, Vec<u8>>,
    gnu_path: Option<Vec<u8>>,
    gnu_link: Option<Vec<u8>>,
}

impl Extensions {
    /// Takes `entry` if it is an extension header; `false` if it is an entry of its own. Global pax headers
    /// are read and dropped: they may hold comments only.
    pub(super) fn take(
        &mut self,
        entry: &mut tar::Entry<'_, impl Read>,
        most: u64,
    ) -> Result<bool, ArchiveErrorKind> {
        let kind = entry.header().entry_type();
        if !matches!(
            kind,
            tar::EntryType::XHeader
                | tar::EntryType::XGlobalHeader
                | tar::EntryType::GNULongName
                | tar::EntryType::GNULongLink
        ) {
            return Ok(false);
        }
        let size = entry.size();
        if size > most {
            return Err(ArchiveErrorKind::TooLarge { limit: most, what: TarLimit::ExtensionBytes });
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(
                io::Error::new(io::ErrorKind::UnexpectedEof, "it ends within an extension header").into()
            );
        }
        match kind {
            tar::EntryType::XHeader if !self.records.is_empty() => return Err(twice("pax header")),
            tar::EntryType::GNULongName if self.gnu_path.is_some() => return Err(twice("long name")),
            tar::EntryType::GNULongLink if self.gnu_link.is_some() => return Err(twice("long link target")),
            tar::EntryType::XHeader => self.records = parse_records(&bytes)?,
            tar::EntryType::GNULongName => self.gnu_path = Some(until_nul(bytes)?),
            tar::EntryType::GNULongLink => self.gnu_link = Some(until_nul(bytes)?),
            _ => {
                // A comment is all that git writes there; everything else means something to some reader.
                if let Some(name) = parse_records(&bytes)?.into_keys().find(|name| name != "comment") {
                    return Err(ArchiveErrorKind::Unsupported(format!("{name:?} in a global pax header")));
                }
            }
        }
        for (record, gnu) in [("path", &self.gnu_path), ("linkpath", &self.gnu_link)] {
            if gnu.is_some() && self.records.contains_key(record) {
                return Err(twice("name, once by pax and once by GNU,"));
            }
        }
        if let Some(name) = self.records.keys().find(|name| name.starts_with("GNU.sparse.")) {
            return Err(ArchiveErrorKind::Unsupported(format!("a sparse file ({name:?})")));
        }
        Ok(true)
    }

    pub(super) fn records(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.records
    }

    /// The extended attributes that `keep` lets through, by full name.
    pub(super) fn xattrs(&self, keep: &dyn Fn(&[u8]) -> bool) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let named = self
            .records
            .iter()
            .filter_map(|(keyword, value)| Some((keyword.strip_prefix("SCHILY.xattr.")?.as_bytes(), value)));
        named.filter(|(name, _)| keep(name)).map(|(name, value)| (name.to_vec(), value.clone()))
    }

    pub(super) fn path(&self) -> Option<&[u8]> {
        self.records.get("path").or(self.gnu_path.as_ref()).map(Vec::as_slice)
    }

    pub(super) fn link(&self) -> Option<&[u8]> {
        self.records.get("linkpath").or(self.gnu_link.as_ref()).map(Vec::as_slice)
    }

    /// A pax size that differs from the header's would let one reader see other entries than the next.
    pub(super) fn check_size(&self, header_size: u64) -> Result<(), ArchiveErrorKind> {
        match self.number("size")? {
            Some(size) if u64::try_from(size) != Ok(header_size) => Err(ArchiveErrorKind::Malformed(
                format!("its pax record says {size} bytes and its header {header_size}"),
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn id(&self, name: &'static str) -> Result<Option<u32>, ArchiveErrorKind> {
        self.number(name)?
            .map(|id| {
                u32::try_from(id)
                    .map_err(|_| ArchiveErrorKind::Malformed(format!("{name} {id} is no 32-bit number")))
            })
            .transpose()
    }

    pub(super) fn mtime(&self) -> Result<Option<i64>, ArchiveErrorKind> {
        self.number("mtime")
    }

    /// A decimal number; the fraction that times may have is cut off.
    fn number(&self, name: &'static str) -> Result<Option<i64>, ArchiveErrorKind> {
        let Some(value) = self.records.get(name) else { return Ok(None) };
        std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.split('.').next()?.parse().ok())
            .map(Some)
            .ok_or_else(|| ArchiveErrorKind::Malformed(format!("the pax record {name:?} is no number")))
    }

    pub(super) fn must_be_empty(&self) -> Result<(), ArchiveErrorKind> {
        if self.records.is_empty() && self.gnu_path.is_none() && self.gnu_link.is_none() {
            return Ok(());
        }
        Err(ArchiveErrorKind::Malformed("the archive ends after an extension header".into()))
    }
}

/// The standard lets the last one win; a reader that takes the first sees another archive.
fn twice(what: &str) -> ArchiveErrorKind {
    ArchiveErrorKind::Malformed(format!("a {what} stands before the same entry twice"))
}

/// A name that ends with NUL bytes, as GNU tar writes it.
fn until_nul(mut bytes: Vec<u8>) -> Result<Vec<u8>, ArchiveErrorKind> {
    if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
        if bytes[end..].iter().any(|&byte| byte != 0) {
            return Err(ArchiveErrorKind::Malformed("a long name goes on after a NUL byte".into()));
        }
        bytes.truncate(end);
    }
    Ok(bytes)
}

/// `"%d %s=%s\n", length, keyword, value`, where the length counts the whole record.
fn parse_records(mut bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, ArchiveErrorKind> {
    let mut records = BTreeMap::new();
    while !bytes.is_empty() {
        let (record, rest) = split_record(bytes)
            .ok_or_else(|| ArchiveErrorKind::Malformed("a pax record is malformed".into()))?;
        if records.contains_key(&record.0) {
            return Err(twice(&format!("pax record {:?}", record.0)));
        }
        records.insert(record.0, record.1);
        bytes = rest;
    }
    Ok(records)
}

#[expect(clippy::type_complexity, reason = "a record and what follows it; named at its only caller")]
fn split_record(bytes: &[u8]) -> Option<((String, Vec<u8>), &[u8])> {
    let space = bytes.iter().take(20).position(|&byte| byte == b' ')?;
    // `usize::from_str` takes a sign.
    let digits = bytes.get(..space).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    let name = std::str::from_utf8(&record[..equals]).ok()?.to_owned();
    Some(((name, record[equals + 1..].to_vec()), &bytes[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let good = parse_records(b"6 a=b\n15 k=v=with\nnl\n").expect("good");
        assert_eq!(good["a"], b"b");
        assert_eq!(good["k"], b"v=with\nnl");
        for bad in [&b"6 a=b"[..], b"99 a=b\n", b"x a=b\n", b"4 a\n", b"0 a=b\n", b"2 a=b\n", b"\xff"] {
            assert!(parse_records(bad).is_err(), "{bad:?}");
        }
    }
}
