//! Extended attributes: sets of them, each stored once, and values that are stored once.
//!
//! Source: the kernel's `fs/squashfs/xattr.c` and `xattr_id.c`. Of the names only `user.`, `trusted.` and `security.`
//! have a number; nothing else can be stored.

use std::collections::{BTreeMap, HashMap};

use super::codec::Codec;
use super::format::{NO_TABLE, Reference, XATTR_OUT_OF_LINE, XattrId, put_16, put_32, put_64, xattr_type};
use super::metadata::{Table, indexed};
use crate::image::ImageError;
use crate::image::target::Target;

/// The bytes of a reference that stands where a value would: a shorter value is stored again.
const OUT_OF_LINE: usize = 8;

/// The attributes that have a place, by their full names.
type Set<'a> = Vec<(&'a [u8], &'a [u8])>;

pub(super) struct Xattrs<'a> {
    table: Table<'static>,
    /// Every set that was seen, and its index.
    sets: HashMap<Set<'a>, u32>,
    ids: Vec<XattrId>,
    /// Where every value stands that is long enough to be pointed to.
    values: HashMap<&'a [u8], Reference>,
}

impl<'a> Xattrs<'a> {
    pub(super) fn new(codec: Codec) -> Result<Self, ImageError> {
        let table = Table::in_memory(codec)?;
        Ok(Self { table, sets: HashMap::new(), ids: Vec::new(), values: HashMap::new() })
    }

    /// The index of a node's set; nothing where it is empty.
    pub(super) fn index(
        &mut self,
        xattrs: &'a BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<Option<u32>, ImageError> {
        let set: Set<'a> = xattrs
            .iter()
            .filter(|(name, _)| xattr_type(name).is_some())
            .map(|(name, value)| (name.as_slice(), value.as_slice()))
            .collect();
        if set.is_empty() {
            return Ok(None);
        }
        if let Some(index) = self.sets.get(&set) {
            return Ok(Some(*index));
        }
        let start = self.table.position();
        let mut size = 0;
        for &(name, value) in &set {
            self.write(name, value)?;
            size += name.len() + 1 + value.len();
        }
        self.ids.push(XattrId { xattr: start, count: set.len() as u32, size: size as u32 });
        let index = self.sets.len() as u32;
        self.sets.insert(set, index);
        Ok(Some(index))
    }

    fn write(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), ImageError> {
        let Some((number, rest)) = xattr_type(name) else { return Ok(()) };
        let there = self.values.get(value).copied();
        let mut bytes = Vec::new();
        put_16(&mut bytes, [number | if there.is_some() { XATTR_OUT_OF_LINE } else { 0 }, rest.len() as u16]);
        bytes.extend(rest);
        self.table.write(&bytes)?;
        bytes.clear();
        match there {
            Some(place) => {
                put_32(&mut bytes, [OUT_OF_LINE as u32]);
                put_64(&mut bytes, [place.to_u64()]);
            }
            None => {
                if value.len() > OUT_OF_LINE {
                    self.values.insert(value, self.table.position());
                }
                put_32(&mut bytes, [value.len() as u32]);
                bytes.extend(value);
            }
        }
        self.table.write(&bytes)
    }

    /// Writes all of it from `*end` on and moves `*end` behind it; gives what the superblock points to.
    pub(super) fn finish(self, codec: Codec, target: Target<'_>, end: &mut u64) -> Result<u64, ImageError> {
        if self.ids.is_empty() {
            return Ok(NO_TABLE);
        }
        let (length, bytes) = self.table.finish()?;
        let start = *end;
        target.write_at(start, &bytes).map_err(ImageError::Write)?;
        *end += length;
        let mut head = Vec::new();
        put_64(&mut head, [start]);
        put_32(&mut head, [self.ids.len() as u32, 0]);
        indexed(codec, target, end, head, self.ids.iter().map(|id| id.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::squashfs::Settings;
    use crate::recipe::Compression;

    fn set(attributes: &[(&str, &[u8])]) -> BTreeMap<Vec<u8>, Vec<u8>> {
        attributes.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect()
    }

    #[test]
    fn equal_sets_and_long_values_are_stored_once() {
        let sets = [
            set(&[("user.a", b"123456789"), ("trusted.b", b"12345678")]),
            set(&[("system.lost", b"")]),
            set(&[("user.a", b"123456789"), ("trusted.b", b"12345678"), ("system.lost", b"")]),
            set(&[("security.c", b"123456789"), ("user.b", b"12345678")]),
        ];
        let settings = Settings { compression: Compression::None, ..Settings::default() };
        let codec = Codec::new(&settings).expect("known");
        let mut xattrs = Xattrs::new(codec).expect("set up");
        let indexes: Vec<_> = sets.iter().map(|set| xattrs.index(set).expect("written")).collect();
        assert_eq!(indexes, [Some(0), None, Some(0), Some(1)]);
        let ids: Vec<_> = xattrs.ids.iter().map(|id| (id.xattr.offset(), id.count, id.size)).collect();
        // Full names, each with a NUL, and values.
        assert_eq!(ids, [(0, 2, 9 + 9 + 1 + 8 + 6 + 1), (35, 2, 10 + 9 + 1 + 8 + 6 + 1)]);
        let (_, bytes) = xattrs.table.finish().expect("written");
        let first = "0100 0100 62 08000000 3132333435363738 0000 0100 61 09000000 313233343536373839";
        // The value that is longer than a reference is one: to the length that stands before it.
        let second = "0201 0100 63 08000000 1600000000000000 0000 0100 62 08000000 3132333435363738";
        let expected: String = format!("{first}{second}").split_whitespace().collect();
        assert_eq!(hex::encode(&bytes[2..]), expected);
    }
}
