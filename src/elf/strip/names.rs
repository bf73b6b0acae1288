//! The string tables of section names: where the names are in the old one, and a new one, as small as linkers make it. A
//! name that another ends with is not stored again (`.text` stands in `.rela.text`).
//!
//! Hostile tables have a million names that are all the end of one long one. Time and memory are bounded by the number of
//! sections and the size of the table, not by their product.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::ElfError;

/// Where the names are that begin at these positions of a string table, in the order of the positions. Without a table,
/// names are empty.
pub(super) fn find(table: &[u8], positions: &[u32]) -> Result<Vec<Range<usize>>, ElfError> {
    let mut names = vec![0..0; positions.len()];
    if table.is_empty() {
        return Ok(names);
    }
    // From the last position to the first, each byte is looked at once: where a name runs into one that was found
    // before, the two end together.
    let mut order: Vec<usize> = (0..positions.len()).collect();
    order.sort_unstable_by_key(|&index| std::cmp::Reverse(positions[index]));
    let mut known: Option<Range<usize>> = None;
    for index in order {
        let start = positions[index] as usize;
        let until = known.as_ref().map_or(table.len(), |name| name.start);
        let unknown = table.get(start..until).unwrap_or_default();
        let end = match unknown.iter().position(|&byte| byte == 0) {
            Some(length) => start + length,
            None => known.map(|name| name.end).ok_or(ElfError::LongString {
                what: "the name of a section",
                position: start as u64,
                limit: unknown.len(),
            })?,
        };
        names[index] = start..end;
        known = Some(start..end);
    }
    Ok(names)
}

/// A string table, and where in it each name is, in the order of the names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) bytes: Vec<u8>,
    pub(super) positions: Vec<u32>,
}

/// Makes the table for names that are ranges of `pool`, each followed by a zero there. Those with one end are one string.
pub(super) fn table(pool: &[u8], names: &[Range<usize>]) -> Names {
    let mut longest: BTreeMap<usize, usize> = BTreeMap::new();
    for name in names.iter().filter(|name| !name.is_empty()) {
        let start = longest.entry(name.end).or_insert(name.start);
        *start = name.start.min(*start);
    }
    // Ordered by their last bytes, backwards, a name follows the names that end with it.
    let mut strings: Vec<Range<usize>> = longest.iter().map(|(&end, &start)| start..end).collect();
    strings.sort_by(|a, b| {
        let (a, b) = (pool[a.clone()].iter().rev(), pool[b.clone()].iter().rev());
        b.cmp(a)
    });
    let mut bytes = vec![0];
    let mut ends: BTreeMap<usize, usize> = BTreeMap::new();
    let mut last: &[u8] = &[];
    for range in strings {
        let string = &pool[range.clone()];
        if !last.ends_with(string) {
            bytes.extend_from_slice(string);
            bytes.push(0);
            last = string;
        }
        // Behind the last string's text stands its zero.
        ends.insert(range.end, bytes.len() - 1);
    }
    let position = |name: &Range<usize>| match name.is_empty() {
        true => 0,
        false => ends.get(&name.end).map_or(0, |end| (end - name.len()) as u32),
    };
    Names { positions: names.iter().map(position).collect(), bytes }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The name that a position gives.
    fn read(bytes: &[u8], position: u32) -> &[u8] {
        let rest = &bytes[position as usize..];
        &rest[..rest.iter().position(|&byte| byte == 0).expect("a zero ends it")]
    }

    fn pool(names: &[&str]) -> (Vec<u8>, Vec<Range<usize>>) {
        let mut pool = Vec::new();
        let ranges = names.iter().map(|name| {
            let start = pool.len();
            pool.extend_from_slice(name.as_bytes());
            pool.push(0);
            start..start + name.len()
        });
        let ranges = ranges.collect();
        (pool, ranges)
    }

    #[test]
    fn a_name_stands_in_the_one_that_ends_with_it() {
        let names = [".text", ".rela.text", "", ".data", ".text", "text", ".rela.plt", ".plt"];
        let (pool, ranges) = pool(&names);
        let table = table(&pool, &ranges);
        assert_eq!(table.bytes.len(), 1 + ".rela.text.data.rela.plt".len() + 3);
        let read: Vec<_> = table.positions.iter().map(|&position| read(&table.bytes, position)).collect();
        assert_eq!(read, names.map(str::as_bytes));
    }

    #[test]
    fn names_are_found_where_they_begin() {
        let table = b"\0.text\0.data\0";
        assert_eq!(
            find(table, &[7, 1, 0, 3, 1, 12, 6]),
            Ok(vec![7..12, 1..6, 0..0, 3..6, 1..6, 12..12, 6..6])
        );
        assert_eq!(find(b"", &[5, 0]), Ok(vec![0..0, 0..0]));
        for (table, positions, position, limit) in [
            (&b"\0.text"[..], &[0, 3, 1][..], 3, 3),
            (b"\0.text\0", &[7, 1], 7, 0),
            (b"\0", &[u32::MAX], u32::MAX, 0),
        ] {
            let (what, position) = ("the name of a section", position.into());
            assert_eq!(find(table, positions), Err(ElfError::LongString { what, position, limit }));
        }
    }

    #[test]
    fn no_names_are_one_zero() {
        assert_eq!(table(b"", &[]), Names { bytes: vec![0], positions: vec![] });
        assert_eq!(table(b"\0", &[0..0, 0..0]), Names { bytes: vec![0], positions: vec![0, 0] });
    }

    proptest! {
        #[test]
        fn every_name_is_found(names in proptest::collection::vec("[ab.]{0,4}", 0..40)) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let (pool, ranges) = pool(&names);
            let first = table(&pool, &ranges);
            for (name, &position) in names.iter().zip(&first.positions) {
                prop_assert_eq!(read(&first.bytes, position), name.as_bytes());
            }
            // Made again from what came out, it is the same.
            let again: Vec<_> = names.iter().zip(&first.positions)
                .map(|(name, &position)| position as usize..position as usize + name.len()).collect();
            prop_assert_eq!(table(&first.bytes, &again), first);
        }
    }
}
