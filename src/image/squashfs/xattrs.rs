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
