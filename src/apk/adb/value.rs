//! The values of an ADB block.
//!
//! A value is a 32-bit word: its type in the four highest bits, and in the others a number, or the offset in the
//! block of what it is. Arrays and objects are words there: first how many there are, itself included, then the
//! values. The two are the same but for their type, and `apk` writes either for an array.

use crate::apk::ApkError;

/// `adb_compat_ver`, `adb_ver`, two reserved bytes, the root value.
const HEADER: usize = 8;
/// How many times its own size may come out of a block: names and lists that are the same stand there once.
const MOST_EXPANSION: u64 = 64;
/// What may come out of the smallest block.
const LEAST_EXPANDED: u64 = 16 << 20;

/// The types of a value.
mod tag {
    pub(super) const INT: u32 = 0x1;
    pub(super) const INT_32: u32 = 0x2;
    pub(super) const INT_64: u32 = 0x3;
    pub(super) const BLOB_8: u32 = 0x8;
    pub(super) const BLOB_16: u32 = 0x9;
    pub(super) const BLOB_32: u32 = 0xa;
    pub(super) const ARRAY: u32 = 0xd;
    pub(super) const OBJECT: u32 = 0xe;
}

/// A value of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value(pub(super) u32);

impl Value {
    /// What is not there.
    pub(super) const NULL: Self = Self(0);

    fn tag(self) -> u32 {
        self.0 >> 28
    }

    fn number(self) -> u32 {
        self.0 & 0x0fff_ffff
    }
}

/// An ADB block, to look its values up.
///
/// A block can name the same value any number of times, so that a small one unfolds to anything: each look-up takes
/// what it gives from a budget that follows from the block's size.
#[derive(Debug)]
pub struct Adb<'a> {
    bytes: &'a [u8],
    root: Value,
    budget: std::cell::Cell<u64>,
}

/// The values of an object or an array, from 1 on. What is beyond the last is null.
#[derive(Debug, Clone, Copy)]
pub struct Slots<'a> {
    bytes: &'a [u8],
    /// Where it begins in the block, for messages.
    pub(super) offset: u64,
}

impl<'a> Adb<'a> {
    /// Looks at a block's header.
    ///
    /// # Errors
    /// When it is cut, or of a version that isn't compatible with version 0.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ApkError> {
        let Some((&[compatible, _, reserved_0, reserved_1, root @ ..], _)) =
            bytes.split_first_chunk::<HEADER>()
        else {
            return Err(adb_error(0, "it is shorter than its header"));
        };
        if compatible != 0 {
            return Err(adb_error(0, &format!("only readers of version {compatible} can read it")));
        }
        if (reserved_0, reserved_1) != (0, 0) {
            return Err(adb_error(2, "reserved bytes are not zero"));
        }
        let size = bytes.len() as u64;
        let budget = std::cell::Cell::new(LEAST_EXPANDED.saturating_add(size.saturating_mul(MOST_EXPANSION)));
        Ok(Self { bytes, root: Value(u32::from_le_bytes(root)), budget })
    }

    /// The object that the schema describes.
    ///
    /// # Errors
    /// When there is none.
    pub fn root(&self) -> Result<Slots<'a>, ApkError> {
        self.slots(self.root)?.ok_or_else(|| adb_error(4, "it is empty"))
    }

    /// A number; none for null.
    ///
    /// # Errors
    /// When it is something else, or stands outside of the block.
    pub fn number(&self, value: Value) -> Result<Option<u64>, ApkError> {
        let bytes = match value.tag() {
            tag::INT => return Ok(Some(value.number().into())),
            tag::INT_32 => self.at(value, 0, 4)?,
            tag::INT_64 => self.at(value, 0, 8)?,
            _ => return self.null(value, "a number"),
        };
        Ok(Some(little(bytes)))
    }

    /// Bytes; none for null.
    ///
    /// # Errors
    /// When it is something else, or stands outside of the block.
    pub fn blob(&self, value: Value) -> Result<Option<&'a [u8]>, ApkError> {
        let width = match value.tag() {
            tag::BLOB_8 => 1,
            tag::BLOB_16 => 2,
            tag::BLOB_32 => 4,
            _ => return self.null(value, "bytes"),
        };
        let length = little(self.at(value, 0, width)?);
        self.spend(value, length)?;
        self.at(value, width, length).map(Some)
    }

    /// Text in UTF-8; empty for null.
    ///
    /// # Errors
    /// When it is something else.
    pub fn text(&self, value: Value) -> Result<&'a str, ApkError> {
        let blob = self.blob(value)?.unwrap_or_default();
        std::str::from_utf8(blob).map_err(|_| adb_error(value.number().into(), "text is not UTF-8"))
    }

    /// An object or an array; none for null.
    ///
    /// # Errors
    /// When it is something else, or stands outside of the block.
    pub fn slots(&self, value: Value) -> Result<Option<Slots<'a>>, ApkError> {
        if !matches!(value.tag(), tag::ARRAY | tag::OBJECT) {
            return self.null(value, "an object or an array");
        }
        let count = little(self.at(value, 0, 4)?);
        if count == 0 {
            return Err(adb_error(value.number().into(), "an object counts less than itself"));
        }
        // At most 2³⁴.
        let length = count * 4;
        self.spend(value, length)?;
        let bytes = self.at(value, 0, length)?;
        Ok(Some(Slots { bytes, offset: value.number().into() }))
    }

    /// The values of an array that may be null.
    ///
    /// # Errors
    /// As [`Adb::slots`].
    pub fn items(&self, value: Value) -> Result<impl Iterator<Item = Value> + 'a, ApkError> {
        let slots = self.slots(value)?;
        Ok(slots.into_iter().flat_map(|slots| (1..slots.count()).map(move |index| slots.get(index))))
    }

    fn null<T>(&self, value: Value, expected: &str) -> Result<Option<T>, ApkError> {
        match value {
            Value::NULL => Ok(None),
            Value(word) => Err(adb_error(
                value.number().into(),
                &format!("{expected} expected, a value of type {:#x} found", word >> 28),
            )),
        }
    }

    /// `length` bytes behind the `skipped` first ones of what a value leads to.
    fn at(&self, value: Value, skipped: u64, length: u64) -> Result<&'a [u8], ApkError> {
        let start = u64::from(value.number()) + skipped;
        let range = start.checked_add(length).and_then(|end| {
            let range = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
            self.bytes.get(range)
        });
        range.ok_or_else(|| adb_error(start, "a value stands beyond the end of the block"))
    }

    fn spend(&self, value: Value, bytes: u64) -> Result<(), ApkError> {
        let left = self.budget.get().checked_sub(bytes.saturating_add(8)).ok_or_else(|| {
            adb_error(
                value.number().into(),
                "it unfolds to far more than its size: the same values over and over",
            )
        })?;
        self.budget.set(left);
        Ok(())
    }
}

impl Slots<'_> {
    /// How many slots there are; the first is this number itself.
    pub fn count(&self) -> usize {
        self.bytes.len() / 4
    }

    /// The value in a slot.
    pub fn get(&self, index: usize) -> Value {
        let word = self.bytes.get(index * 4..).and_then(|rest| rest.first_chunk());
        match word {
            Some(word) if index != 0 => Value(u32::from_le_bytes(*word)),
            _ => Value::NULL,
        }
    }
}

/// A number of at most eight bytes.
fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Something in an ADB block that can't be right.
pub(super) fn adb_error(offset: u64, problem: &str) -> ApkError {
    ApkError::Adb { offset, problem: problem.to_owned() }
}

/// Writes the values of a block. What is the same, and aligned as it must be, stands there once.
#[derive(Debug)]
pub(super) struct Builder {
    bytes: Vec<u8>,
    known: std::collections::HashMap<Vec<u8>, usize>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; HEADER], known: std::collections::HashMap::new() }
    }

    /// The block with this root.
    pub(super) fn finish(mut self, root: Value) -> Vec<u8> {
        self.bytes[4..HEADER].copy_from_slice(&root.0.to_le_bytes());
        self.bytes
    }

    /// A number.
    pub(super) fn number(&mut self, number: u64) -> Result<Value, ApkError> {
        match number {
            0..0x1000_0000 => Ok(Value(tag::INT << 28 | number as u32)),
            0x1000_0000..=0xffff_ffff => self.put(tag::INT_32, (number as u32).to_le_bytes().to_vec(), 4),
            _ => self.put(tag::INT_64, number.to_le_bytes().to_vec(), 4),
        }
    }

    /// Bytes; null for none.
    pub(super) fn blob(&mut self, bytes: &[u8]) -> Result<Value, ApkError> {
        let length = bytes.len();
        let (tag, prefix, alignment) = match length {
            0 => return Ok(Value::NULL),
            1..=0xff => (tag::BLOB_8, vec![length as u8], 1),
            0x100..=0xffff => (tag::BLOB_16, (length as u16).to_le_bytes().to_vec(), 2),
            _ => {
                let length = u32::try_from(length).map_err(|_| full())?;
                (tag::BLOB_32, length.to_le_bytes().to_vec(), 4)
            }
        };
        self.put(tag, [&prefix, bytes].concat(), alignment)
    }

    /// Bytes that are changed later, and so are no other's; gives their offset too.
    pub(super) fn own_blob(&mut self, bytes: [u8; 20]) -> Result<(Value, usize), ApkError> {
        let place = self.bytes.len();
        self.bytes.push(bytes.len() as u8);
        self.bytes.extend(bytes);
        Ok((value(tag::BLOB_8, place)?, place + 1))
    }

    /// An object with the values of its slots from 1 on; null if all of them are. Nulls at the end are left out.
    pub(super) fn object(&mut self, slots: &[Value]) -> Result<Value, ApkError> {
        self.words(tag::OBJECT, slots)
    }

    /// An object without a value, which is not null.
    pub(super) fn empty_object(&mut self) -> Result<Value, ApkError> {
        self.put(tag::OBJECT, 1_u32.to_le_bytes().to_vec(), 4)
    }

    /// An array of these values; null for none.
    pub(super) fn array(&mut self, items: &[Value]) -> Result<Value, ApkError> {
        self.words(tag::ARRAY, items)
    }

    fn words(&mut self, tag: u32, slots: &[Value]) -> Result<Value, ApkError> {
        let used = slots.iter().rposition(|&slot| slot != Value::NULL).map_or(0, |last| last + 1);
        if used == 0 {
            return Ok(Value::NULL);
        }
        let count = u32::try_from(used + 1).map_err(|_| full())?;
        let words = std::iter::once(count).chain(slots[..used].iter().map(|slot| slot.0));
        self.put(tag, words.flat_map(u32::to_le_bytes).collect(), 4)
    }

    fn put(&mut self, tag: u32, bytes: Vec<u8>, alignment: usize) -> Result<Value, ApkError> {
        if let Some(&place) = self.known.get(&bytes)
            && place.is_multiple_of(alignment)
        {
            return value(tag, place);
        }
        let place = self.bytes.len().next_multiple_of(alignment);
        self.bytes.resize(place, 0);
        self.bytes.extend_from_slice(&bytes);
        self.known.insert(bytes, place);
        value(tag, place)
    }
}

fn value(tag: u32, place: usize) -> Result<Value, ApkError> {
    let place = u32::try_from(place).ok().filter(|place| place >> 28 == 0).ok_or_else(full)?;
    Ok(Value(tag << 28 | place))
}

/// Offsets have 28 bits.
fn full() -> ApkError {
    ApkError::Unpackable {
        path: "the package or index".to_owned(),
        reason: "its metadata has more than 256 MiB, which format v3 can't hold".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back() {
        let mut builder = Builder::new();
        let numbers = [0, 1, 0x0fff_ffff, 0x1000_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX];
        let blobs = [vec![1], vec![2; 0xff], vec![3; 0x100], vec![4; 0xffff], vec![5; 0x1_0000]];
        let mut slots = Vec::new();
        for number in numbers {
            slots.push(builder.number(number).expect("small"));
        }
        for blob in &blobs {
            slots.push(builder.blob(blob).expect("small"));
        }
        assert_eq!(builder.blob(&blobs[4]).expect("small"), slots[11], "the same stands there once");
        slots.push(Value::NULL);
        let array = builder.array(&slots).expect("small");
        let bytes = builder.finish(array);
        let adb = Adb::parse(&bytes).expect("good");
        let root = adb.root().expect("there");
        assert_eq!(root.count(), 1 + numbers.len() + blobs.len(), "without the null at the end");
        for (index, number) in numbers.iter().enumerate() {
            assert_eq!(adb.number(root.get(index + 1)).expect("good"), Some(*number));
        }
        for (index, blob) in blobs.iter().enumerate() {
            let value = root.get(index + 1 + numbers.len());
            assert_eq!(adb.blob(value).expect("good"), Some(&blob[..]));
            assert!(adb.number(value).is_err() && adb.slots(value).is_err());
        }
        assert_eq!(root.get(0), Value::NULL);
        assert_eq!(root.get(99), Value::NULL);
        // Cut anywhere, nothing is read beyond the end.
        for end in 0..bytes.len().min(600) {
            if let Ok(adb) = Adb::parse(&bytes[..end]) {
                assert!(adb.root().is_err());
            }
        }
    }

    #[test]
    fn a_block_that_unfolds_without_end_is_refused() {
        let mut builder = Builder::new();
        let blob = builder.blob(&[7; 60_000]).expect("small");
        let mut value = builder.array(&[blob; 100]).expect("small");
        for _ in 0..10 {
            value = builder.array(&[value; 100]).expect("small");
        }
        let bytes = builder.finish(value);
        let adb = Adb::parse(&bytes).expect("good");
        fn walk(adb: &Adb<'_>, value: Value) -> Result<(), ApkError> {
            if adb.slots(value).is_err() {
                return adb.blob(value).map(drop);
            }
            adb.items(value)?.try_for_each(|item| walk(adb, item))
        }
        let error = walk(&adb, adb.root).expect_err("too much");
        assert!(error.to_string().contains("over and over"), "{error}");
    }
}
